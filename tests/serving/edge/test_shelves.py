from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tastemaker import config
from tastemaker.errors import Unavailable
from tastemaker.registry import Registry
from tastemaker_serving.edge import shelves


@pytest.fixture
def registered(bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A version in a real registry, which the commands that the edge starts find, too."""
    monkeypatch.setenv("TASTEMAKER_HOME", str(tmp_path))
    config.load.cache_clear()
    yield str(Registry(config.load()).register(bundle_path, {}, {}))
    config.load.cache_clear()


async def test_the_catalogue_of_another_version_is_fetched_by_a_command(registered: str) -> None:
    async with asyncio.timeout(120):
        shelf = await shelves.fetch(registered)
    assert (shelf.version, len(shelf.item_ids)) == (registered, 60)


async def test_a_version_that_is_not_there_is_named(registered: str) -> None:
    with pytest.raises(Unavailable, match="no 'tastemaker' version '7'"):
        await shelves.fetch("tastemaker/7")
