"""Keeps the edge's shelf that of the stable colour's bundle.

When a rollout is promoted, another bundle is fetched from the registry by a command of its own: the edge stands without
MLflow, and what its client needs in memory and start-up time stays out of this process.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import msgspec

from tastemaker.errors import TastemakerError, Unavailable
from tastemaker_serving.edge import shelf as shelf_of_bundle
from tastemaker_serving.edge.colours import Colours
from tastemaker_serving.edge.shelf import Shelf

LOOK_S = 1.0
AGAIN_S = 10.0

log = logging.getLogger(__name__)


class Downloaded(msgspec.Struct):
    """What `tastemaker registry download --json` prints."""

    version: str
    path: str


class Shelves:
    """`current` is None until there is a bundle."""

    def __init__(self, first: Shelf | None) -> None:
        self.current = first

    async def keep_current(self, colours: Colours) -> None:
        """Follow the stable colour's version until cancelled."""
        while True:
            routing = colours.routing
            wanted = routing.stable.version if routing else None
            if wanted is None or (self.current is not None and self.current.version == wanted):
                await asyncio.sleep(LOOK_S)
                continue
            try:
                self.current = await fetch(wanted)
            except TastemakerError as error:
                log.warning("the edge keeps its old catalogue: %s", error)
                await asyncio.sleep(AGAIN_S)


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
