"""The catalogue while it changes: what clients send, the log of changes, and items as tables."""
