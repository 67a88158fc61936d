from __future__ import annotations

import numpy as np
import pytest

from tastemaker.bundle import Bundle
from tastemaker.candidates import ITEM_TO_ITEM, POPULAR, TWO_TOWER
from tastemaker_serving import models
from tastemaker_serving.stages.reasons import liked_neighbours, reason


def test_the_strongest_liked_neighbour_speaks_for_an_item(model_bundle: Bundle) -> None:
    model = models.load_personal(model_bundle)
    # Of item 10 the neighbours are 11, 12, …; the nearer, the stronger. 12 was disliked.
    history = np.array([[-1, 20, 12, 14], [-1, -1, -1, 250]])
    preference = np.array([[0.0, 1.0, -1.0, 1.0], [0.0, 0.0, 0.0, 1.0]], dtype=np.float32)

    found = liked_neighbours(model, np.array([[10], [10]], dtype=np.int32), history, preference)

    assert found.tolist() == [[14], [-1]]


@pytest.mark.parametrize(
    ("source", "because", "segment", "sentence"),
    [
        (TWO_TOWER, 1, None, "Because you liked Heat"),
        (ITEM_TO_ITEM, -1, None, "Similar to what you liked"),
        (TWO_TOWER, -1, "Drama", "Matches your taste"),
        (POPULAR, 1, "Drama", "Popular in Drama"),
        (POPULAR, -1, None, "Popular with everybody"),
    ],
)
def test_reasons_are_sentences(source: int, because: int, segment: str | None, sentence: str) -> None:
    assert reason(source, because, segment, ["Alien", "Heat"]) == sentence
