"""The candidates that a batch's queries name, as the arrays that the pipeline takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tastemaker.candidates import Named
from tastemaker.features.tower_inputs import KeyIndex
from tastemaker.ids import keys_of
from tastemaker.scenes import Scenes
from tastemaker_serving.wire import Query


def named_by(queries: Sequence[Query], index: KeyIndex, scenes: Scenes) -> Named | None:
    """The candidates of B queries without those unknown or excluded; None where no query names any.

    Raises:
        InvalidInput: a query that names some is of an unknown scene.
    """
    asked = np.array([bool(query.candidates) for query in queries], dtype=bool)
    if not asked.any():
        return None
    codes = np.full((len(queries), max(len(query.candidates) for query in queries)), -1, dtype=np.int32)
    scores = np.zeros(codes.shape, dtype=np.float32)
    personal = np.zeros(len(queries), dtype=np.float32)
    for row in np.flatnonzero(asked).tolist():
        query = queries[row]
        found = index.find(keys_of(query.candidates))
        wanted = (found >= 0) & ~np.isin(query.candidates, query.exclude)
        codes[row, : wanted.sum()] = found[wanted]
        scores[row, : wanted.sum()] = np.array(query.candidate_scores, dtype=np.float32)[wanted]
        personal[row] = scenes[query.scene].personal
    return Named(asked, codes, scores, personal)
