"""The HTTP API from Python: `Client`, and `AsyncClient` for asyncio.

    from tastemaker.client import Client

    with Client("http://127.0.0.1:8000", key="tm_…") as tastemaker:
        slate = tastemaker.recommend("42", n=10)
        tastemaker.send([EventForm(user_id="42", item_id=slate.items[0].item_id, event_type="click")])

Both have the calls of `tastemaker.client.calls`, with the same parameters and answers. A refused call raises the error
of `tastemaker.errors` that the API names; one that may succeed later (429, 503, no connection) is first tried again.
"""

from __future__ import annotations

from tastemaker.client.clients import AsyncClient, Client
from tastemaker.events.schema import EventForm
from tastemaker.types import Item

__all__ = ["AsyncClient", "Client", "EventForm", "Item"]
