"""Events: their schema, their stream, and the worker that takes them in."""
