"""The offline path: from the lake to a registered model bundle."""
