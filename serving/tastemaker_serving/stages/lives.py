"""How long items live in a scene: what came out longer ago comes in only by sources that know that it is read now.

B users, N items, X items left out. A code of -1 is padding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from tastemaker.candidates import EXPLORE, STREAM, TRENDING, Codes, among
from tastemaker.decisions.drops import OUTLIVED, Drop
from tastemaker.retrieval import Heard, Wanted
from tastemaker.scenes import Scenes

HOUR_S: Final = 3600.0
Moments = npt.NDArray[np.float64]

KNOWING: Final = frozenset({STREAM, TRENDING, EXPLORE})
"""Sources that go by what is read now, or that try what nobody has read yet."""

Young = Callable[[Mapping[int, Heard], Wanted], tuple[Mapping[int, Heard], tuple[Drop, ...]]]
"""What the sources say without what outlived its scene, and that."""


@dataclass(frozen=True)
class Lives:
    """How old items may be, by scene, in seconds; scenes without a limit are not among them."""

    of: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def declared(cls, scenes: Scenes) -> Lives:
        """Those of `scenes`."""
        named = scenes.by_name.items()
        return cls({name: scene.item_life_h * HOUR_S for name, scene in named if scene.item_life_h is not None})

    def by(self, published: Callable[[], Moments], clock: Callable[[], float] = time.time) -> Young:
        """`young`, by what is `published` and the time when it is asked."""
        return lambda heard, wanted: self.young(heard, wanted, published(), clock())

    def young(
        self, heard: Mapping[int, Heard], wanted: Wanted, published: Moments, now: float
    ) -> tuple[Mapping[int, Heard], tuple[Drop, ...]]:
        """What the sources propose without what outlived its scene, and that, where it is traced.

        Args:
            published: when each item came out (N,), in seconds since 1970; NaN, of which nothing is known, is long ago.
        """
        drops: list[Drop] = []
        for place, scene in enumerate(wanted.scenes):
            life = self.of.get(scene)
            if life is None:
                continue
            rows = np.flatnonzero(wanted.scene == place)
            alive = published >= now - life
            left = {source: _of_age(said.proposed, rows, alive) for source, said in heard.items() if _is_blind(source)}
            if wanted.traced:
                drops.append(_dropped(heard, left, rows, f"{life / HOUR_S:g}"))
            heard = {**heard, **{source: replace(heard[source], proposed=codes) for source, codes in left.items()}}
        return heard, tuple(drops)


def everything(heard: Mapping[int, Heard], wanted: Wanted) -> tuple[Mapping[int, Heard], tuple[Drop, ...]]:
    """`Young` where items live for ever."""
    return heard, ()


def _is_blind(source: int) -> bool:
    return source not in KNOWING


def _of_age(codes: Codes, rows: npt.NDArray[np.intp], alive: npt.NDArray[np.bool_]) -> Codes:
    """The proposals (B, k), in the `rows` without what is not `alive` (N,): the others move up."""
    theirs = codes[rows]
    kept = (theirs >= 0) & alive[theirs]
    order = np.argsort(~kept, axis=1, kind="stable")
    codes = codes.copy()
    codes[rows] = np.take_along_axis(np.where(kept, theirs, np.int32(-1)), order, axis=1)
    return codes


def _dropped(heard: Mapping[int, Heard], left: Mapping[int, Codes], rows: npt.NDArray[np.intp], hours: str) -> Drop:
    """What nobody proposes any more, whose scene has a life of so many `hours`."""
    before = np.concatenate([heard[source].proposed for source in left], axis=1)
    still = [*left.values(), *(heard[source].proposed for source in heard if not _is_blind(source))]
    gone = np.full(before.shape, -1, dtype=np.int32)
    gone[rows] = np.where(among(before, np.concatenate(still, axis=1)), np.int32(-1), before)[rows]
    return Drop(OUTLIVED, gone, why=hours)
