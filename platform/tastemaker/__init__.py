"""Tastemaker: the nouns, contracts and stores that the offline and the online path share."""
