from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.candidates import Codes, Floats
from tastemaker_serving.stages.diversity import Determinantal, Marginal
from tastemaker_serving.stages.relevance import scaled
from tastemaker_serving.stages.rerank import Quota, choose

USERS, DIM = 3, 4
Method = Literal["mmr", "dpp"]


def ranked(seed: int, items: int, padding: int) -> tuple[Floats, torch.Tensor]:
    """Scores (3, items) best first, the last `padding` of the first user's missing, and unit vectors."""
    random = np.random.default_rng(seed)
    scores = -np.sort(-random.normal(size=(USERS, items)).astype(np.float32), axis=1)
    scores[0, items - padding :] = -np.inf
    vectors = torch.from_numpy(random.normal(size=(USERS, items, DIM)).astype(np.float32))
    return scores, torch.nn.functional.normalize(vectors, dim=2)


def diverse(method: Method, scores: Floats, vectors: torch.Tensor, n: int, weight: float) -> Codes:
    likeness = torch.bmm(vectors, vectors.transpose(1, 2)).numpy()
    novelty = Marginal(likeness) if method == "mmr" else Determinantal(likeness, n)
    return choose(scaled(scores), novelty, weight, [], nothing_pinned(len(scores), n))


def nothing_pinned(users: int, n: int) -> Codes:
    return np.full((users, n), -1, dtype=np.int32)


def one_at_a_time(scores: Floats, vectors: torch.Tensor, n: int, weight: float) -> list[int]:
    """Maximal marginal relevance for one user, as plainly as it can be written."""
    real = np.flatnonzero(np.isfinite(scores))
    likeness = (vectors @ vectors.T).numpy()
    relevance = scaled(scores[None])[0]
    chosen: list[int] = []
    while len(chosen) < min(n, len(real)):
        left = [place for place in real.tolist() if place not in chosen]
        gain = [
            (1 - weight) * relevance[place] - weight * max((likeness[place, other] for other in chosen), default=0)
            for place in left
        ]
        chosen.append(left[int(np.argmax(gain))])
    return chosen


def by_determinants(scores: Floats, vectors: torch.Tensor, n: int, weight: float) -> list[int]:
    """Greedy MAP of the same point process for one user, a whole determinant for each item that might be next."""
    real = np.flatnonzero(np.isfinite(scores))
    likeness = (vectors @ vectors.T).numpy().astype(np.float64)
    relevance = scaled(scores[None])[0]

    def value(places: list[int]) -> float:
        volume = np.linalg.slogdet(likeness[np.ix_(places, places)]).logabsdet
        return float((1 - weight) * relevance[places].sum() + weight * volume)

    chosen: list[int] = []
    while len(chosen) < min(n, len(real)):
        left = [place for place in real.tolist() if place not in chosen]
        chosen.append(max(left, key=lambda place: value([*chosen, place])))
    return chosen


@given(
    st.sampled_from(["mmr", "dpp", None]),
    st.integers(0, 1000),
    st.integers(1, 15),
    st.integers(0, 15),
    st.integers(0, 8),
    st.floats(0, 1),
    st.integers(1, 4),
)
def test_a_shorter_slate_is_the_beginning_of_a_longer_one(
    method: Method | None, seed: int, items: int, n: int, more: int, weight: float, most: int
) -> None:
    """`Scene.begins_alike` counts on it; where an item is pinned to a later place it does not hold."""
    scores, vectors = ranked(seed, items, items // 3)
    groups = np.random.default_rng(seed).integers(-1, 3, size=(USERS, items, 2)).astype(np.int32)

    def slates(places: int) -> Codes:
        likeness = torch.bmm(vectors, vectors.transpose(1, 2)).numpy()
        novelty = {"mmr": Marginal(likeness), "dpp": Determinantal(likeness, places), None: None}[method]
        return choose(scaled(scores), novelty, weight, [Quota(groups, most)], nothing_pinned(USERS, places))

    assert np.array_equal(slates(n + more)[:, :n], slates(n))


@given(
    st.sampled_from(["mmr", "dpp"]),
    st.integers(0, 1000),
    st.integers(0, 15),
    st.integers(0, 20),
    st.integers(0, 15),
    st.floats(0, 1),
)
def test_no_place_is_lost_or_doubled(
    method: Method, seed: int, items: int, n: int, padding: int, weight: float
) -> None:
    padding = min(padding, items)
    scores, vectors = ranked(seed, items, padding)

    places = diverse(method, scores, vectors, n, weight)

    assert places.shape == (USERS, n)
    for row, real in enumerate((items - padding, items, items)):
        chosen = [place for place in places[row].tolist() if place >= 0]
        assert len(chosen) == min(n, real)
        assert len(set(chosen)) == len(chosen)
        assert all(place < real for place in chosen)


@given(st.integers(0, 1000))
def test_a_batch_chooses_what_the_paper_chooses_for_each_user(seed: int) -> None:
    scores, vectors = ranked(seed, items=12, padding=3)

    places = diverse("mmr", scores, vectors, n=6, weight=0.4)

    for row in range(USERS):
        assert places[row].tolist() == one_at_a_time(scores[row], vectors[row], 6, 0.4)


@given(st.integers(0, 1000), st.floats(0.05, 0.95))
def test_the_growing_factor_gives_the_determinants(seed: int, weight: float) -> None:
    scores, vectors = ranked(seed, items=12, padding=3)

    places = diverse("dpp", scores, vectors, n=DIM, weight=weight)

    for row in range(USERS):
        assert places[row].tolist() == by_determinants(scores[row], vectors[row], DIM, weight)


@pytest.mark.parametrize("method", ["mmr", "dpp"])
def test_without_diversity_the_order_of_scores_stays(method: Method) -> None:
    scores, vectors = ranked(seed=0, items=10, padding=0)
    assert diverse(method, scores, vectors, n=5, weight=0.0).tolist() == [list(range(5))] * USERS


@pytest.mark.parametrize("method", ["mmr", "dpp"])
def test_a_copy_of_the_first_item_gives_way_to_something_new(method: Method) -> None:
    first, other = [1.0, 0.0], [0.0, 1.0]
    scores = np.array([[1.0, 0.9, 0.8, 0.0]], dtype=np.float32)
    vectors = torch.tensor([[first, first, other, other]])

    assert diverse(method, scores, vectors, n=2, weight=0.5).tolist() == [[0, 2]]
    assert sorted(diverse(method, scores, vectors, n=4, weight=0.5)[0].tolist()) == [0, 1, 2, 3]


def test_a_full_group_is_passed_over_and_its_items_do_not_come_later() -> None:
    relevance = np.array([[1.0, 0.9, 0.8, 0.1]], dtype=np.float32)
    groups = np.array([[[7, 2], [7, -1], [-1, -1], [2, -1]]], dtype=np.int32)

    places = choose(relevance, None, 0.0, [Quota(groups, 1)], nothing_pinned(1, 4))

    assert places.tolist() == [[0, 2, -1, -1]]


def test_pinned_items_count_in_their_groups_from_the_start() -> None:
    relevance = np.array([[1.0, 0.9, 0.8]], dtype=np.float32)
    groups = np.array([[[7], [3], [7]]], dtype=np.int32)

    places = choose(relevance, None, 0.0, [Quota(groups, 1)], np.array([[-1, -1, 2]], dtype=np.int32))

    assert places.tolist() == [[1, 2, -1]], "no place stays empty: what is pinned to the third moves up"


def test_pinned_items_come_even_if_their_group_is_overfull_and_they_were_not_ranked() -> None:
    relevance = np.array([[1.0, -np.inf, -np.inf]], dtype=np.float32)
    groups = np.array([[[7], [7], [7]]], dtype=np.int32)

    places = choose(relevance, None, 0.0, [Quota(groups, 1)], np.array([[1, -1, 2]], dtype=np.int32))

    assert places.tolist() == [[1, 2, -1]]
