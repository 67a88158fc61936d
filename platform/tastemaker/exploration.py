"""Which items that nobody knows enough of are tried next: Thompson sampling on the posterior of their click rates.

An item's click rate has a Beta distribution: a prior, which is worth `STRENGTH` impressions at the rate of the whole
catalogue, and what was counted since. A request draws one rate for each item and takes those with the highest, so that
an item is tried as often as it is likely to be the best (Thompson 1933; Chapelle & Li 2011, NIPS).

Counts are online, in two hashes by item id: an impression is a slate with the item in it that was computed and shown, a
click counts once per user, item and day.

N items, M of them in the pool that requests draw from, B users, E explored of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from redis.asyncio import Redis

from tastemaker.candidates import Codes
from tastemaker.features.tower_inputs import KeyIndex
from tastemaker.ids import keys_of
from tastemaker.scenes import Explore, Scene
from tastemaker.user_keys import user_key

Doubles = npt.NDArray[np.float64]
Seeds = npt.NDArray[np.uint64]

SHOWN_KEY: Final = "tm:clicks:shown"
CLICKED_KEY: Final = "tm:clicks:clicked"
STRENGTH: Final = 20.0
"""Impressions that the prior is worth."""
POOL: Final = 256
"""Items that the requests of a while draw from; these are drawn from all in the same way."""
DRAWS: Final = 2_000
"""Requests that are played to estimate how likely an item is to be among the first."""
MOST: Final = 10
"""Explored items of one slate, at most."""
DRAWN: Final = 2 * MOST
"""Items that are drawn for it: the user may have seen some, and other sources may propose some."""
DAY_S: Final = 86_400


@dataclass(frozen=True)
class Exploring:
    """How much is explored in the slates of B users, and what decides of chance there."""

    expected: Doubles  # (B,) explored places of the slate, on average
    lengths: npt.NDArray[np.int64]  # (B,) of the slates
    seeds: Seeds  # (B,)


@dataclass(frozen=True)
class Counts:
    """Impressions and clicks of a catalogue."""

    shown: Doubles  # (N,)
    clicked: Doubles  # (N,)

    @classmethod
    def of(cls, shown: Mapping[bytes, bytes], clicked: Mapping[bytes, bytes], index: KeyIndex) -> Counts:
        """From what the two hashes hold; items that the catalogue lacks are left out."""
        impressions, clicks = _column(shown, index), _column(clicked, index)
        return cls(impressions, np.minimum(clicks, impressions))


@dataclass(frozen=True)
class Pool:
    """The items that a scene explores for a while."""

    codes: Codes  # (M,)
    clicks: Doubles  # (M,) first parameter of each item's posterior
    passes: Doubles  # (M,) the second one
    chance: Doubles  # (M, MOST + 1) of being among the first 0, 1, … of a draw

    def draw(self, seed: int, n: int) -> npt.NDArray[np.intp]:
        """The places in the pool of the `n` items with the highest rates drawn, highest first; `seed` decides."""
        rates = np.random.default_rng(seed).beta(self.clicks, self.passes)
        return np.argsort(-rates)[:n]


def exploring(scenes: Sequence[Scene], lengths: Sequence[int], request_ids: Sequence[str]) -> Exploring | None:
    """What is explored in slates of these lengths (B); None where it is nothing. The same request, the same chance."""
    expected = np.array([scene.explore.share * length for scene, length in zip(scenes, lengths, strict=True)])
    if not expected.any():
        return None
    return Exploring(np.minimum(expected, MOST), np.array(lengths, dtype=np.int64), keys_of(request_ids))


async def read(redis: Redis, index: KeyIndex) -> Counts:
    """What was counted so far, in one round trip.

    Raises:
        redis.RedisError: Redis did not answer.
    """
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(SHOWN_KEY)
        pipe.hgetall(CLICKED_KEY)
        shown, clicked = await pipe.execute()
    return Counts.of(shown, clicked, index)


def record(pipe: Any, shown: Mapping[str, int], clicked: Mapping[str, int]) -> None:
    """Queue on a pipeline, of asyncio or not, that items were shown and clicked so often; the caller executes it."""
    for key, counts in ((SHOWN_KEY, shown), (CLICKED_KEY, clicked)):
        for item_id, count in counts.items():
            pipe.hincrby(key, item_id, count)


def clicked_key(user_id: str, now: float) -> str:
    """Key of the set of the items that a user clicked on the day of `now` (seconds since 1970)."""
    return user_key(user_id, f"clicked:{int(now // DAY_S)}")


def clicked_keys(user_id: str, now: float) -> list[str]:
    """Keys of all such sets that there may be: one is kept for a day, and another's clock may be a little ahead."""
    return [clicked_key(user_id, now + days * DAY_S) for days in (-1, 0, 1)]


def pool_of(counts: Counts, rule: Explore, seed: int) -> Pool:
    """What a scene explores for a while: of the items that are not known well enough, those drawn highest."""
    generator = np.random.default_rng(seed)
    rate = (counts.clicked.sum() + 1) / (counts.shown.sum() + STRENGTH)
    clicks = counts.clicked + STRENGTH * rate
    passes = counts.shown - counts.clicked + STRENGTH * (1 - rate)
    open_ = np.flatnonzero((counts.shown < rule.shown) & (_uncertainty(clicks, passes) > rule.uncertainty))
    best = open_[np.argsort(-generator.beta(clicks[open_], passes[open_]))[:POOL]]
    clicks, passes = clicks[best], passes[best]
    return Pool(best.astype(np.int32), clicks, passes, _chances(generator, clicks, passes))


def propensity(pool: Pool, places: npt.NDArray[np.intp], expected: float) -> Doubles:
    """How likely the items at `places` (E,) are to be explored in a slate with `expected` such places, (E,)."""
    whole = int(expected)
    fraction = expected - whole
    chance: Doubles = pool.chance[places, whole]
    return chance if fraction == 0 else (1 - fraction) * chance + fraction * pool.chance[places, whole + 1]


def _column(counts: Mapping[bytes, bytes], index: KeyIndex) -> Doubles:
    column = np.zeros(len(index.codes))
    codes = index.find(keys_of(name.decode() for name in counts)) if counts else np.empty(0, dtype=np.int32)
    values = np.fromiter((float(value) for value in counts.values()), dtype=np.float64, count=len(counts))
    column[codes[codes >= 0]] = values[codes >= 0]
    return column


def _uncertainty(clicks: Doubles, passes: Doubles) -> Doubles:
    """Standard deviation of each rate over its mean."""
    deviation: Doubles = np.sqrt(passes / (clicks * (clicks + passes + 1)))
    return deviation


def _chances(generator: np.random.Generator, clicks: Doubles, passes: Doubles) -> Doubles:
    """The share of draws in which each item is among the first 0, 1, …, never quite 0 but of none."""
    if len(clicks) == 0:
        return np.empty((0, MOST + 1))
    rates = generator.beta(clicks, passes, size=(DRAWS, len(clicks)))
    first = np.argsort(-rates, axis=1)[:, :MOST]
    came = np.zeros((len(clicks), MOST + 1))
    for place in range(first.shape[1]):
        came[:, place + 1] = np.bincount(first[:, place], minlength=len(clicks))
    chances: Doubles = np.maximum(np.cumsum(came, axis=1), 0.5) / DRAWS
    chances[:, 0] = 0.0
    return chances
