"""What a serving benchmark runs against: the champion and the lake's users, or a synthetic bundle in its own world."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from redis import Redis

from tastemaker import bundle, columns, config, embedded
from tastemaker.clickstream.log import read as read_log
from tastemaker.features.files import MATERIALIZED_KEY
from tastemaker.lake import Lake
from tastemaker.registry import Registry
from tastemaker_serving import news, ports
from tastemaker_serving.bench import Result, bench_serve, seed_users, write_synthetic
from tastemaker_serving.freshness import Freshness, measure
from tastemaker_serving.launch import Stack, running
from tastemaker_serving.news import News
from tastemaker_serving.offline import one_thread
from tastemaker_serving.traffic import Crowd

SYNTHETIC_USERS = 2_000
FRESHNESS_USERS = 20_000
"""So many that nearly all who ask meanwhile have no slate in the cache, and cost what a slate costs."""
FRESHNESS_ITEMS, FRESHNESS_DIM = 10_000, 64
CACHE_TTL_S = 300
NEWS_DIM = 64


def bench_champion(requests: int, concurrency: int, say: Callable[[str], None]) -> Result:
    """Serve the champion and load it with requests of the lake's users."""
    settings = config.load()
    registry = Registry(settings)
    ref = registry.resolve()
    path = registry.download(ref)
    user_ids = Lake(settings.lake).events()[columns.USER_ID].unique().to_pylist()
    with running(settings, path, str(ref), say) as stack:
        say(f"{requests} requests by {concurrency} clients")
        return bench_serve(stack.url, requests, concurrency, user_ids, _servers(), path)


def bench_synthetic(requests: int, concurrency: int, items: int, dim: int, say: Callable[[str], None]) -> Result:
    """Serve `items` random items of `dim` dimensions with the cache off, apart from everything that is configured."""
    with _synthetic(items, dim, SYNTHETIC_USERS, 0, say) as (stack, bundle_path, user_ids):
        say(f"{requests} requests by {concurrency} clients")
        return bench_serve(stack.url, requests, concurrency, user_ids, _servers(), bundle_path)


def bench_freshness(tries: int, rate: float, say: Callable[[str], None]) -> Freshness:
    """Serve random items apart from everything that is configured, and see how soon events change slates."""
    users = FRESHNESS_USERS + tries
    with _synthetic(FRESHNESS_ITEMS, FRESHNESS_DIM, users, CACHE_TTL_S, say) as (stack, _, user_ids):
        key = stack.settings.edge.api_key
        crowd = Crowd(stack.url, user_ids[tries:], {}, key.get_secret_value() if key else None)
        told = partial(_tell, say, tries)
        return asyncio.run(measure(crowd, rate, user_ids[:tries], told))


def bench_news(path: Path, sample: int, seed: int, say: Callable[[str], None]) -> News:
    """Replay the log of clicks at `path` to a system of its own, and to the ranker of its scene alone.

    Raises:
        NotFound: there is no log. InvalidInput: it cannot be used.
    """
    log = read_log(path)
    asked = news.sampled(log, sample, seed)
    with _scratch(0) as (scratch, settings):
        write_synthetic(scratch / "bundle", 0, NEWS_DIM, news.catalogue(log))
        with embedded.server(settings) as redis_url:
            with Redis.from_url(redis_url) as redis:
                redis.set(MATERIALIZED_KEY, int(time.time()))
            with running(settings, scratch / "bundle", "synthetic", say) as stack:
                replayed = news.Replay(log, stack, say)
                order, slates = asyncio.run(replayed.run(asked))
    with one_thread():
        alone = news.offline(log, seed, lambda told: say(f"the ranker alone: {told}"))
    by_time = np.argsort(order, kind="stable")
    return news.compared(log, alone, order[by_time], slates[by_time], replayed.served_from, replayed.degraded)


def _tell(say: Callable[[str], None], tries: int, done: int) -> None:
    say(f"{done} of {tries} tries")


@contextmanager
def _synthetic(
    items: int, dim: int, users: int, cache_ttl_s: int, say: Callable[[str], None]
) -> Iterator[tuple[Stack, Path, list[str]]]:
    """A synthetic bundle, served in its own world to synthetic users: the stack, the bundle's path, the users' ids."""
    with _scratch(cache_ttl_s) as (scratch, settings):
        say(f"writing a bundle of {items:,} items")
        path = scratch / "bundle"
        write_synthetic(path, items, dim)
        item_ids = bundle.read(path, only=("items",)).table("items")[columns.ITEM_ID].to_pylist()
        with embedded.server(settings) as redis_url:
            user_ids = seed_users(redis_url, item_ids, users, settings.serving.funnel.history)
            with Redis.from_url(redis_url) as redis:
                redis.set(MATERIALIZED_KEY, int(time.time()))
            with running(settings, path, "synthetic", say) as stack:
                yield stack, path, user_ids


@contextmanager
def _scratch(cache_ttl_s: int) -> Iterator[tuple[Path, config.Settings]]:
    with tempfile.TemporaryDirectory(prefix="tastemaker-bench-") as scratch:
        yield Path(scratch), _own_world(Path(scratch), cache_ttl_s)


def _own_world(scratch: Path, cache_ttl_s: int) -> config.Settings:
    """Settings of a state directory and ports of their own, for this process and the programs that it starts."""
    os.environ |= {
        "TASTEMAKER_HOME": str(scratch / "home"),
        "TASTEMAKER_EDGE__CACHE_TTL_S": str(cache_ttl_s),
        "TASTEMAKER_EDGE__PORT": str(ports.free()),
        "TASTEMAKER_SERVING__PORT": str(ports.free()),
    }
    for elsewhere in ("TASTEMAKER_REDIS_URL", "TASTEMAKER_LAKE_URL", "TASTEMAKER_RAY_ADDRESS", "RAY_ADDRESS"):
        os.environ.pop(elsewhere, None)
    config.load.cache_clear()
    return config.load()


def _servers() -> list[int]:
    return [child.pid for child in psutil.Process().children()]
