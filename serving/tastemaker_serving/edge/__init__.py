"""The front door: plain ASGI, no Ray, no model library."""
