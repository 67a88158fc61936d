"""The online path: from a request to a slate."""
