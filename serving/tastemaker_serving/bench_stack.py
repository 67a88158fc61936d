"""What a serving benchmark runs against: the champion and the lake's users, or a synthetic bundle in its own world."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from redis import Redis

from tastemaker import bundle, columns, config, embedded
from tastemaker.features.files import MATERIALIZED_KEY
from tastemaker.lake import Lake
from tastemaker.registry import Registry
from tastemaker_serving.bench import Result, bench_serve, seed_users, write_synthetic
from tastemaker_serving.launch import running

SYNTHETIC_USERS = 2_000


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
    with tempfile.TemporaryDirectory(prefix="tastemaker-bench-") as scratch:
        settings = _own_world(Path(scratch))
        say(f"writing a bundle of {items:,} items")
        path = Path(scratch) / "bundle"
        write_synthetic(path, items, dim)
        item_ids = bundle.read(path, only=("items",)).table("items")[columns.ITEM_ID].to_pylist()
        with embedded.server(settings) as redis_url:
            user_ids = seed_users(redis_url, item_ids, SYNTHETIC_USERS, settings.serving.funnel.history)
            with Redis.from_url(redis_url) as redis:
                redis.set(MATERIALIZED_KEY, int(time.time()))
            with running(settings, path, "synthetic", say) as stack:
                say(f"{requests} requests by {concurrency} clients")
                return bench_serve(stack.url, requests, concurrency, user_ids, _servers(), path)


def _own_world(scratch: Path) -> config.Settings:
    """Settings of a state directory and ports of their own, for this process and the programs that it starts."""
    os.environ |= {
        "TASTEMAKER_HOME": str(scratch / "home"),
        "TASTEMAKER_EDGE__CACHE_TTL_S": "0",
        "TASTEMAKER_EDGE__PORT": str(_free_port()),
        "TASTEMAKER_SERVING__PORT": str(_free_port()),
    }
    for elsewhere in ("TASTEMAKER_REDIS_URL", "TASTEMAKER_LAKE_URL", "TASTEMAKER_RAY_ADDRESS", "RAY_ADDRESS"):
        os.environ.pop(elsewhere, None)
    config.load.cache_clear()
    return config.load()


def _servers() -> list[int]:
    return [child.pid for child in psutil.Process().children()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
