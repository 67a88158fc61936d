"""The stages of a request, each a small module named by its role."""
