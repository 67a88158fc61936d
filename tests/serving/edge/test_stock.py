from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest

from tastemaker.catalogue.log import ItemChange
from tastemaker.scenes import Scene
from tastemaker.types import Item
from tastemaker_serving.edge.shelf import load
from tastemaker_serving.edge.standing import standing
from tastemaker_serving.edge.stock import Stock


@pytest.fixture
def stock(bundle_path: Path) -> Stock:
    return Stock(load(bundle_path))


async def test_an_older_change_of_an_item_comes_too_late(stock: Stock) -> None:
    """A change is told by whoever made it and by the log, and neither waits for the other."""
    await stock.apply([ItemChange(12, "i1", None), ItemChange(12, "new", Item("new", "Newest"))])
    older = [ItemChange(11, "i1", Item("i1", "Older")), ItemChange(11, "new", None), ItemChange(11, "i2", None)]
    await stock.apply(older)
    shelf = stock.shelf
    assert shelf.gone == {"i1", "i2"}
    assert (shelf.titles[1], shelf.titles[shelf.code_of["new"]]) == ("Film 1", "Newest")
    assert [hit.item_id for hit in shelf.words.search("newest older", 5)] == ["new"]

    await stock.apply([ItemChange(13, "i1", Item("i1", "Again"))])
    assert stock.shelf.gone == {"i2"}
    assert stock.shelf.titles[1] == "Again"


async def test_an_item_that_is_gone_is_not_pinned(stock: Stock) -> None:
    pin = {"name": "pins", "action": "pin", "items": ["i1", "new", "i2"]}
    scene = Scene.model_validate({"sources": {"popular": 1}, "rules": [pin]})
    await stock.apply([ItemChange(1, "i1", None), ItemChange(2, "new", Item("new", "New", available=False))])
    assert standing(scene, stock.shelf).pins == ((0, "i2"),)
    await stock.apply([ItemChange(3, "new", Item("new", "New"))])
    assert standing(scene, stock.shelf).pins == ((0, "new"), (0, "i2"))


async def test_what_the_shelf_was_does_not_stay(stock: Stock) -> None:
    ban = {"name": "ban", "action": "ban", "items": ["i1"]}
    scene = Scene.model_validate({"sources": {"popular": 1}, "rules": [ban], "caps": {"category": 2}})
    former: list[weakref.ref[object]] = []
    for version in range(1, 4):
        assert standing(scene, stock.shelf) is standing(scene, stock.shelf)
        assert standing(scene, stock.shelf).quotas()
        former += [weakref.ref(stock.shelf), weakref.ref(stock.shelf.attributes)]
        await stock.apply([ItemChange(version, "i2", Item("i2", "Another"))])
    gc.collect()
    assert [each() for each in former] == [None] * len(former)
