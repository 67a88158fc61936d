"""The news benchmark: a log of clicks, replayed to the running system, whose slates must hold what was read next.

Its clicks are posted as events, and some are asked for before they are: the slate of their reader in the scene `news`,
at their moment, when the reader's own clicks are in and everybody's up to the beginning of their minute. The same log
is replayed to the same ranker alone (`clickstream.replay`, which `tastemaker bench quality --format clicks` measures),
and both figures are given.

V predictions, N articles, E clicks.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
from redis import Redis
from tenacity import AsyncRetrying, retry_if_result, stop_after_delay, wait_fixed

from tastemaker import columns
from tastemaker.clickstream.decay import Doubles, Ints
from tastemaker.clickstream.log import ClickLog
from tastemaker.clickstream.ranker import StreamRanker, StreamRecipe
from tastemaker.clickstream.replay import PLACES, hits, predictions, replay
from tastemaker.clickstream.state import MINUTE, StreamState
from tastemaker.client import AsyncClient, EventForm
from tastemaker.errors import Unavailable
from tastemaker.events import followers, stream
from tastemaker.events.schema import MAX_EVENTS
from tastemaker_serving.launch import Stack

SCENE: Final = "news"
DELAY_S: Final = 60.0
"""Of the ranker alone. What the running system knows of others is up to a minute old, too: of the minute's start."""
WITHIN: Final = 0.02
"""HR@10 that the running system may stay below the ranker alone."""
AT_ONCE: Final = 32
ATTEMPTS: Final = 50
POLL_S: Final = 0.005
TIMEOUT_S: Final = 30.0
LONGEST_S: Final = 900.0
DEVICE: Final = ("device", "deviceGroup", "os")
"""Columns of the log that say what an event's `device` says."""


@dataclass(frozen=True)
class News:
    """HR@10 and MRR@10 of the ranker alone on all predictions, and of both on those that were asked for."""

    predictions: int
    sample: int
    offline: dict[str, float]
    offline_sample: dict[str, float]
    served: dict[str, float]
    served_from: dict[str, int]
    degraded: int

    @property
    def difference(self) -> float:
        """HR@10 as served less that of the ranker alone, on the same predictions."""
        return self.served["hr@10"] - self.offline_sample["hr@10"]


@dataclass(frozen=True)
class Round:
    """Predictions of one minute, none of them of one session with another."""

    begins: float  # seconds since 1970
    clicks: Ints


def catalogue(log: ClickLog) -> pa.Table:
    """The articles of a log as items."""
    articles = log.articles
    return pa.table(
        {
            columns.ITEM_ID: [_item(code) for code in range(len(articles.category))],
            columns.TITLE: [f"Article {code}" for code in range(len(articles.category))],
            columns.CATEGORIES: [[f"category-{code}"] if code else [] for code in articles.category.tolist()],
            columns.PUBLISHED_AT: pa.array(
                [None if np.isnan(each) else _moment(each) for each in articles.created.tolist()],
                pa.timestamp("us", "UTC"),
            ),
        }
    )


def sampled(log: ClickLog, most: int, seed: int) -> Ints:
    """The predictions of minutes that are drawn at random until there are `most` of them, in the order of time."""
    asked = predictions(log)
    minutes = np.floor((log.times[asked] - log.times[0]) / MINUTE)
    drawn = np.random.default_rng(seed).permutation(np.unique(minutes))
    sizes = np.bincount(minutes.astype(np.int64))[drawn.astype(np.int64)]
    enough = int(np.searchsorted(np.cumsum(sizes), most)) + 1
    return asked[np.isin(minutes, drawn[:enough])][:most]


def offline(log: ClickLog, seed: int, tell: Callable[[str], None]) -> tuple[Ints, Ints]:
    """Every prediction (V,) and what the ranker alone puts first (V, PLACES)."""
    contexts = log.context.max(axis=1, initial=0) + 1
    ranker = StreamRanker(StreamState(log.articles, contexts), StreamRecipe(), seed)
    return replay(log, ranker, DELAY_S, tell)


def compared(
    log: ClickLog, everything: tuple[Ints, Ints], asked: Ints, slates: Ints, served_from: Counter[str], degraded: int
) -> News:
    """What the ranker alone made of everything, and of those `asked` for (V,), beside their `slates` (V, PLACES)."""
    clicks, alone = everything
    rows = np.searchsorted(clicks, asked)
    return News(
        len(clicks),
        len(asked),
        _figures(*hits(log, clicks, alone)),
        _figures(*hits(log, asked, alone[rows])),
        _figures(*hits(log, asked, slates)),
        dict(served_from.most_common()),
        degraded,
    )


class Replay:
    """A log on its way through a running stack."""

    def __init__(self, log: ClickLog, stack: Stack, tell: Callable[[str], None]) -> None:
        self._log, self._stack, self._tell = log, stack, tell
        self._posted = np.zeros(len(log.times), dtype=bool)
        self._slates: list[list[int]] = []
        self.served_from: Counter[str] = Counter()
        self.degraded = 0
        self._item_ids = {_item(code): code for code in range(len(log.articles.category))}
        told = [row for row, name in enumerate(log.context_names) if name.removeprefix("click_") in DEVICE]
        self._devices = log.context[told]

    async def run(self, asked: Ints) -> tuple[Ints, Ints]:
        """Post everything up to the last of `asked`, and ask for these on the way.

        Returns:
            The predictions in the order in which they were asked for (V,), and their slates (V, PLACES).

        Raises:
            Unavailable: the stack does not keep up with the events.
        """
        key = self._stack.settings.edge.api_key
        secret = key.get_secret_value() if key else None
        order: list[Ints] = []
        with Redis.from_url(self._stack.redis_url) as redis:
            async with AsyncClient(self._stack.url, key=secret, timeout_s=TIMEOUT_S, attempts=ATTEMPTS) as client:
                await client.recommend("nobody", scene=SCENE)  # whereupon the source begins to follow
                await self._settled(redis)
                for one in _rounds(self._log, asked):
                    before = int(np.searchsorted(self._log.times, one.begins))
                    await self._post(client, np.flatnonzero(~self._posted[:before]))
                    await self._post(client, self._own(one.clicks))
                    await self._settled(redis)
                    await self._ask(client, one.clicks)
                    order.append(one.clicks)
                    self._tell(f"{len(self._slates):,} of {len(asked):,} slates, {int(self._posted.sum()):,} events")
        return np.concatenate(order), np.array(self._slates)

    def _own(self, clicks: Ints) -> Ints:
        """What the sessions of `clicks` did before them and has not been posted."""
        log = self._log
        places = [np.arange(log.place[click] - log.position[click], log.place[click]) for click in clicks.tolist()]
        own: Ints = np.unique(log.by_session[np.concatenate(places)])
        missing: Ints = own[~self._posted[own]]
        return missing

    async def _post(self, client: AsyncClient, clicks: Ints) -> None:
        for start in range(0, len(clicks), MAX_EVENTS):
            await client.send([self._event(click) for click in clicks[start : start + MAX_EVENTS].tolist()])
        self._posted[clicks] = True

    async def _ask(self, client: AsyncClient, clicks: Ints) -> None:
        for start in range(0, len(clicks), AT_ONCE):
            some = clicks[start : start + AT_ONCE].tolist()
            slates = await asyncio.gather(
                *(
                    client.recommend(_user(self._log.users[click]), scene=SCENE, n=PLACES, device=self._device(click))
                    for click in some
                )
            )
            for slate in slates:
                codes = [self._item_ids[item.item_id] for item in slate.items]
                self._slates.append(codes + [-1] * (PLACES - len(codes)))
                self.served_from[slate.served_from] += 1
                self.degraded += bool(slate.degraded)

    async def _settled(self, redis: Redis) -> None:
        """Wait until every event is in its user's trail, and everyone who follows has taken it in."""
        shards = self._stack.settings.ingest.shards

        async def settled() -> bool:
            waiting = stream.backlog(redis, shards, [stream.ONLINE])[stream.ONLINE]
            return not waiting and followers.look(redis, shards, time.time()).are_abreast

        wait = AsyncRetrying(
            wait=wait_fixed(POLL_S),
            stop=stop_after_delay(LONGEST_S),
            retry=retry_if_result(lambda done: not done),
            retry_error_callback=lambda _: False,
        )
        if not await wait(settled):
            raise Unavailable(f"events were not taken in within {LONGEST_S:.0f} s", f"See {self._stack.logs}")

    def _event(self, click: int) -> EventForm:
        log = self._log
        return EventForm(
            event_id=f"click-{click}",
            user_id=_user(log.users[click]),
            item_id=_item(log.items[click]),
            event_type="click",
            timestamp=_moment(log.times[click]),
            session_id=f"session-{log.by_session[log.place[click] - log.position[click]]}",
            device=self._device(click),
        )

    def _device(self, click: int) -> str | None:
        return "/".join(map(str, self._devices[:, click].tolist())) or None


def _rounds(log: ClickLog, asked: Ints) -> Iterator[Round]:
    """Those asked for, minute by minute; of a session one after the other."""
    minutes = np.floor((log.times[asked] - log.times[0]) / MINUTE)
    for clicks in np.split(asked, np.flatnonzero(np.diff(minutes)) + 1):
        begins = log.times[0] + float(np.floor((log.times[clicks[0]] - log.times[0]) / MINUTE)) * MINUTE
        sessions = log.by_session[log.place[clicks] - log.position[clicks]]
        turn = np.array([int((sessions[:place] == one).sum()) for place, one in enumerate(sessions)])
        for number in range(int(turn.max()) + 1):
            yield Round(begins, clicks[turn == number])


def _figures(hit: Doubles, gain: Doubles) -> dict[str, float]:
    return {"hr@10": round(float(hit.mean()), 4), "mrr@10": round(float(gain.mean()), 4)}


def _item(code: int) -> str:
    return f"article-{code}"


def _user(code: int) -> str:
    return f"reader-{code}"


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def table_of(news: News) -> Sequence[tuple[str, Any]]:
    """What to print, line by line."""
    return [
        ("predictions", f"{news.predictions:,}, of which {news.sample:,} were asked for"),
        ("ranker alone, all", news.offline),
        ("ranker alone, sample", news.offline_sample),
        ("served, sample", news.served),
        ("HR@10 served less alone", f"{news.difference:+.4f}"),
        ("served from", news.served_from),
        ("degraded", news.degraded),
    ]
