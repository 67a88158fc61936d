"""Rows that clients change one by one (items, profiles): the log of changes, and their way into the lake."""
