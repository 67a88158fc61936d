from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.candidates import Codes, Floats
from tastemaker_serving.stages.rerank import maximal_marginal_relevance

USERS, DIM = 3, 4


def ranked(seed: int, items: int, padding: int) -> tuple[Floats, torch.Tensor]:
    """Scores (3, items) best first, the last `padding` of the first user's missing, and unit vectors."""
    random = np.random.default_rng(seed)
    scores = -np.sort(-random.normal(size=(USERS, items)).astype(np.float32), axis=1)
    scores[0, items - padding :] = -np.inf
    vectors = torch.from_numpy(random.normal(size=(USERS, items, DIM)).astype(np.float32))
    return scores, torch.nn.functional.normalize(vectors, dim=2)


def one_at_a_time(scores: Floats, vectors: torch.Tensor, n: int, diversity: float) -> list[int]:
    """The paper's greedy choice for one user, as plainly as it can be written."""
    real = np.flatnonzero(np.isfinite(scores))
    likeness = (vectors @ vectors.T).numpy()
    low, high = scores[real].min(), scores[real].max()
    relevance = (scores - low) / (high - low if high > low else 1)
    chosen: list[int] = []
    while len(chosen) < min(n, len(real)):
        left = [place for place in real.tolist() if place not in chosen]
        gain = [
            (1 - diversity) * relevance[place]
            - diversity * max((likeness[place, other] for other in chosen), default=0)
            for place in left
        ]
        chosen.append(left[int(np.argmax(gain))])
    return chosen


@given(st.integers(0, 1000), st.integers(1, 15), st.integers(0, 20), st.integers(0, 15), st.floats(0, 1))
def test_no_place_is_lost_or_doubled(seed: int, items: int, n: int, padding: int, diversity: float) -> None:
    padding = min(padding, items)
    scores, vectors = ranked(seed, items, padding)

    places = maximal_marginal_relevance(scores, vectors, n, diversity)

    assert places.shape == (USERS, min(n, items))
    for row, real in enumerate((items - padding, items, items)):
        chosen = [place for place in places[row].tolist() if place >= 0]
        assert len(chosen) == min(n, real)
        assert len(set(chosen)) == len(chosen)
        assert all(place < real for place in chosen)


@given(st.integers(0, 1000))
def test_a_batch_chooses_what_the_paper_chooses_for_each_user(seed: int) -> None:
    scores, vectors = ranked(seed, items=12, padding=3)

    places = maximal_marginal_relevance(scores, vectors, n=6, diversity=0.4)

    for row in range(USERS):
        assert places[row].tolist() == one_at_a_time(scores[row], vectors[row], 6, 0.4)


def test_without_diversity_the_order_of_scores_stays() -> None:
    scores, vectors = ranked(seed=0, items=10, padding=0)

    places: Codes = maximal_marginal_relevance(scores, vectors, n=5, diversity=0.0)

    assert places.tolist() == [list(range(5))] * USERS


def test_a_copy_of_the_first_item_gives_way_to_something_new() -> None:
    first, other = [1.0, 0.0], [0.0, 1.0]
    scores = np.array([[1.0, 0.9, 0.8, 0.0]], dtype=np.float32)
    vectors = torch.tensor([[first, first, other, other]])

    assert maximal_marginal_relevance(scores, vectors, n=2, diversity=0.5).tolist() == [[0, 2]]
