from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from tastemaker.bundle import Bundle
from tastemaker.config import Settings
from tastemaker.registry import CHAMPION, Registry
from tastemaker_training.incumbent import incumbent, translated


class Catalogue(Bundle):
    """A bundle of which only the items are known."""

    def __init__(self, *items: str) -> None:
        self.item_ids = list(items)

    def table(self, part: str) -> pa.Table:
        assert part == "items"
        return pa.table({"item_id": self.item_ids})


def test_slates_of_another_catalogue_are_told_in_ours() -> None:
    slates = np.array([[0, 1, 2], [2, -1, -1]], dtype=np.int32)
    found = translated(slates, Catalogue("a", "gone", "c"), Catalogue("c", "new", "a"))
    assert found.tolist() == [[2, -1, 0], [0, -1, -1]]


def test_a_champion_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    registry = Registry(Settings(home=tmp_path / "home"))
    assert incumbent(registry) is None
    (tmp_path / "draft").mkdir()
    (tmp_path / "draft" / "manifest.json").write_text("{}")
    ref = registry.register(tmp_path / "draft", {}, {}, CHAMPION)
    assert incumbent(registry, ref.version) is None, "nobody is compared with themselves"
    found = incumbent(registry)
    assert found is not None
    assert (found.version, found.bundle) == (ref.version, None)
    assert "manifest.json does not fit" in found.problem
