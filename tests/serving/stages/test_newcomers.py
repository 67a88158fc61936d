from __future__ import annotations

import numpy as np

from tastemaker.features.tower_inputs import KeyIndex, TowerInputs
from tastemaker.popular import Person
from tastemaker.preferences import Preferences
from tastemaker_serving.stages.newcomers import CATEGORY, FEW, MOST, SAID, SEGMENT, Introduced, PopularLists, introduce

ITEMS = 40
VOCABULARY = ["Comedy", "Drama"]
INDEX = KeyIndex.of([f"i{code}" for code in range(ITEMS)])
LISTS = PopularLists({"Comedy": [1, 3, 5], "Drama": [2, 3, 4]}, {"country": {"DE": [8], "FR": list(range(20, 40))}})


def introduced(
    *histories: list[int], people: list[Person] | None = None, said: dict[int, Preferences] | None = None
) -> Introduced:
    width = max(1, *map(len, histories))
    history = np.array([[-1] * (width - len(codes)) + codes for codes in histories])
    known = history >= 0
    inputs = TowerInputs(
        history=history,
        preference=known.astype(np.float32),
        age=np.where(known, np.arange(width, 0, -1), 0).astype(np.float32),
        user=np.zeros((len(history), 2), dtype=np.int64),
        seen=history.astype(np.int32),
    )
    unknown = np.full(len(history), -1, dtype=np.int32)
    return introduce(inputs, unknown, people or [], said or {}, lists=LISTS, index=INDEX, vocabulary=VOCABULARY)


def test_liked_categories_stand_before_liked_items_and_the_best_come_last() -> None:
    found = introduced([], said={0: Preferences(("Drama", "Comedy", "Opera"), ("i9", "nothing"))})

    assert found.inputs.history[0].tolist() == [5, 4, 3, 1, 2, 9]
    assert found.inputs.preference[0].tolist() == [np.float32(CATEGORY)] * 5 + [SAID]
    assert found.segment.tolist() == [1]


def test_only_what_the_user_named_is_known_to_them_and_a_reason() -> None:
    found = introduced([7], said={0: Preferences(("Drama",), ("i9",))})

    assert set(found.inputs.seen[0].tolist()) == {7, 9}
    reasons = dict(zip(found.inputs.history[0].tolist(), found.done[0].tolist(), strict=True))
    assert reasons == {4: 0.0, 3: 0.0, 2: 0.0, 9: 1.0, 7: 1.0}


def test_stand_ins_are_as_old_as_the_oldest_event() -> None:
    found = introduced([6, 7], said={0: Preferences(items=("i9",))})

    assert found.inputs.history[0].tolist() == [9, 6, 7]
    assert found.inputs.age[0].tolist() == [2, 2, 1]


def test_a_stranger_is_taken_for_people_like_them() -> None:
    found = introduced([], [], people=[Person("FR"), Person("XX")])

    assert found.inputs.history[0].tolist() == list(range(20 + MOST - 1, 19, -1))
    assert set(found.inputs.preference[0].tolist()) == {np.float32(SEGMENT)}
    assert (found.inputs.history[1] == -1).all()
    assert (found.inputs.seen == -1).all()
    assert not found.done.any()


def test_whoever_did_or_said_something_is_no_stranger() -> None:
    found = introduced([7], [], people=[Person("FR")] * 2, said={1: Preferences(items=("i9",))})

    assert [row[row >= 0].tolist() for row in found.inputs.history] == [[7], [9]]


def test_a_history_speaks_for_itself() -> None:
    long = list(range(10, 10 + FEW))
    found = introduced(long, said={0: Preferences(("Drama",), ("i9",))})

    assert found.inputs.history[0].tolist() == long
    assert found.segment.tolist() == [-1]
