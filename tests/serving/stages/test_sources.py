from __future__ import annotations

import threading

import numpy as np
import pytest

from tastemaker.candidates import ALS, CONTENT, POPULAR
from tastemaker.config import Sources
from tastemaker.errors import InvalidInput
from tastemaker.retrieval import Heard, Source, Wanted
from tastemaker_serving.stages.sources import Panel, among_first

NOTHING = np.empty((1, 0), dtype=np.int32)
ONE = np.zeros(1, dtype=np.int32)
WANTED = Wanted(NOTHING.astype(np.float32), NOTHING, NOTHING.astype(np.float32), ONE, NOTHING, NOTHING, ONE, ONE)
LENGTHS = {ALS: 3, CONTENT: 2, POPULAR: 1}


def says(code: int) -> Source:
    return lambda _wanted, length: Heard(np.full((1, length), code, dtype=np.int32))


def fails(_wanted: Wanted, _length: int) -> Heard:
    raise ValueError("no such factors")


async def test_every_source_is_asked_for_its_length() -> None:
    panel = Panel({ALS: says(4), POPULAR: says(5)}, Sources(), threads=1)

    heard, dropped = await panel.ask(WANTED, LENGTHS)

    assert {source: said.proposed.tolist() for source, said in heard.items()} == {ALS: [[4, 4, 4]], POPULAR: [[5]]}
    assert dropped == []


async def test_one_that_raises_and_one_that_sleeps_are_dropped_and_named() -> None:
    wake = threading.Event()

    def sleeps(_wanted: Wanted, _length: int) -> Heard:
        wake.wait()
        return Heard(NOTHING)

    budgets = Sources(budget_ms=10_000, budgets_ms={"content": 30})
    panel = Panel({ALS: fails, CONTENT: sleeps, POPULAR: says(5)}, budgets, threads=1)

    for _ in range(3):  # the sleeping one is neither waited for again nor given more work
        heard, dropped = await panel.ask(WANTED, LENGTHS)
        assert list(heard) == [POPULAR]
        assert dropped == ["als", "content"]
    wake.set()


async def test_a_late_source_is_asked_again_when_it_has_come_back() -> None:
    wake = threading.Event()

    def sleeps_once(wanted: Wanted, length: int) -> Heard:
        wake.wait()
        return says(4)(wanted, length)

    panel = Panel({ALS: sleeps_once}, Sources(budget_ms=100), threads=1)
    assert (await panel.ask(WANTED, LENGTHS))[1] == ["als"]
    wake.set()
    panel._late[ALS].result(10)

    heard, dropped = await panel.ask(WANTED, LENGTHS)

    assert (list(heard), dropped) == ([ALS], [])


def test_a_budget_for_no_source_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'alss'"):
        Panel({}, Sources(budgets_ms={"alss": 3}), threads=1)


def test_what_others_have_not_heard_of_is_padding() -> None:
    def hears(_wanted: Wanted, _length: int) -> Heard:
        return Heard(np.array([[3, 5, 4, -1]], dtype=np.int32))

    assert among_first(5, hears)(WANTED, 4).proposed.tolist() == [[3, -1, 4, -1]]
    assert among_first(6, hears)(WANTED, 4).proposed.tolist() == [[3, 5, 4, -1]]
