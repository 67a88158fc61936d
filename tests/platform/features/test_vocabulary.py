from __future__ import annotations

from pathlib import Path

import pytest

from tastemaker.errors import NotFound
from tastemaker.features import vocabulary
from tastemaker.lake import Lake


def test_a_category_keeps_its_place_for_ever(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))

    assert vocabulary.extend(lake, ["Drama", "Comedy", "Drama"]) == ["Comedy", "Drama"]
    assert vocabulary.extend(lake, ["Action", "Drama"]) == ["Comedy", "Drama", "Action"]
    assert vocabulary.extend(lake, []) == vocabulary.read(lake) == ["Comedy", "Drama", "Action"]


def test_before_the_first_build_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="tastemaker features build"):
        vocabulary.read(Lake(str(tmp_path)))
