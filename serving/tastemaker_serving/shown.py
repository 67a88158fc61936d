"""What a batch's users were shown lately, as the array that the pipeline takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tastemaker.candidates import Codes
from tastemaker.features.tower_inputs import KeyIndex
from tastemaker.ids import keys_of
from tastemaker_serving.wire import Query


def shown_by(queries: Sequence[Query], index: KeyIndex) -> Codes | None:
    """Items of the users' last K slates (B, K, W), newest first, -1 is padding; None where no query has any."""
    slates = max((len(query.shown) for query in queries), default=0)
    if not slates:
        return None
    width = max(len(item_ids) for query in queries for item_ids in query.shown)
    codes = np.full((len(queries), slates, width), -1, dtype=np.int32)
    for row, query in enumerate(queries):
        for place, item_ids in enumerate(query.shown):
            codes[row, place, : len(item_ids)] = index.find(keys_of(item_ids))
    return codes
