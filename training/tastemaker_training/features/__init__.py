"""Batch features: what the lake says of users and items, hour by hour, each computed once."""
