"""Keeps the edge's shelf that of the stable colour's bundle.

When a rollout is promoted, another bundle is fetched from the registry by a command of its own: the edge stands without
MLflow, and what its client needs in memory and start-up time stays out of this process.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from redis.asyncio import Redis

from tastemaker.catalogue.log import ItemChange
from tastemaker.errors import TastemakerError, Unavailable
from tastemaker_serving.edge import shelf as shelf_of_bundle
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.colours import Colours
from tastemaker_serving.edge.shelf import Shelf
from tastemaker_serving.edge.stock import Stock

LOOK_S = 1.0
STOCK_S = 0.5
"""A change of the catalogue is on the shelf after so long, at most."""
AGAIN_S = 10.0

log = logging.getLogger(__name__)


class Downloaded(msgspec.Struct):
    """What `tastemaker registry download --json` prints."""

    version: str
    path: str


class Shelves:
    """The shelf of the stable colour, up to date with the catalogue's log.

    Args:
        first: what is served until another version is; None: nothing until there is a bundle.
    """

    def __init__(self, first: Shelf | None, redis: Redis, breaker: Breaker) -> None:
        self._redis = redis
        self._breaker = breaker
        self._stock = None if first is None else Stock(first)

    @property
    def current(self) -> Shelf | None:
        """The shelf as of the last look at the log; None until there is a bundle."""
        return None if self._stock is None else self._stock.shelf

    async def refresh(self) -> None:
        """Look at the catalogue's log once. Raises `Unavailable` when Redis does not answer; all stays as it was."""
        if self._stock is not None:
            await self._stock.refresh(self._redis, self._breaker)

    async def apply(self, changes: Sequence[ItemChange]) -> None:
        """Know of changes before the next look at the log."""
        if self._stock is not None:
            await self._stock.apply(changes)

    async def keep_stocked(self) -> None:
        """Follow the catalogue's log until cancelled."""
        while True:
            await asyncio.sleep(STOCK_S)
            with suppress(Unavailable):
                await self.refresh()

    async def keep_current(self, colours: Colours) -> None:
        """Follow the stable colour's version until cancelled."""
        while True:
            routing = colours.routing
            wanted = routing.stable.version if routing else None
            if wanted is None or (self.current is not None and self.current.version == wanted):
                await asyncio.sleep(LOOK_S)
                continue
            try:
                stock = Stock(await fetch(wanted))
            except TastemakerError as error:
                log.warning("the edge keeps its old catalogue: %s", error)
                await asyncio.sleep(AGAIN_S)
                continue
            with suppress(Unavailable):
                await stock.refresh(self._redis, self._breaker)
            self._stock = stock


async def fetch(version: str) -> Shelf:
    """The shelf of a registered version, named as in answers (`tastemaker/3`).

    Raises:
        Unavailable: it could not be downloaded.
        BundleMismatch: what was downloaded cannot be used.
    """
    number = version.rpartition("/")[2]
    command = (sys.executable, "-m", "tastemaker.cli", "registry", "download", number, "--json")
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode != 0:
        said = err.decode(errors="replace").strip().splitlines()
        raise Unavailable(f"version {number} could not be fetched: {said[-1] if said else 'no reason given'}")
    downloaded = msgspec.json.decode(out, type=Downloaded)
    return await asyncio.to_thread(shelf_of_bundle.load, Path(downloaded.path), version)
