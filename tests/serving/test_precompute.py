from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from redis import Redis

from tastemaker.bundle import Bundle
from tastemaker.config import Edge, Settings
from tastemaker.features import trail
from tastemaker.ids import key_of
from tastemaker_serving import precompute
from tastemaker_serving.batch import Models, Plan
from tastemaker_serving.bench import seed_users
from tastemaker_serving.edge.app import create_app
from tastemaker_serving.precompute import Wanted

pytestmark = pytest.mark.stack


async def test_a_precomputed_slate_is_a_cache_hit_until_the_users_next_event(
    tmp_path: Path, redis_url: str, model_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [f"item-{code}" for code in range(model_bundle.manifest.items)]
    user, other = seed_users(redis_url, items, users=2, events=8)
    plan = Plan.of(Settings(home=tmp_path), redis_url, Models("tastemaker/7", model_bundle.path))

    summary = precompute.fill(plan, Wanted("home", 5, (None, "tv"), keep_s=7200), [user, other])

    assert (summary.users, summary.slates) == (2, 4)
    settings = Settings(home=tmp_path, edge=Edge(cache_ttl_s=1))
    app = create_app(settings, model_bundle.path, redis_url, "tastemaker/7")
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:

            async def slate(n: int = 5, device: str | None = None) -> dict[str, Any]:
                wanted = {"n": n} | ({"device": device} if device else {})
                answer = await client.get(f"/v1/users/{user}/recommendations", params=wanted)
                answer.raise_for_status()
                return dict(answer.json())

            clock = time.time() + 1800  # long after `cache_ttl_s`
            monkeypatch.setattr(time, "time", lambda: clock)
            for device in (None, "tv"):
                found = await slate(device=device)
                assert (found["served_from"], found["degraded"]) == ("cache", [])
                assert found["model_version"] == "tastemaker/7"
            whole, shorter = await slate(), await slate(n=4)
            assert shorter["served_from"] == "cache"
            assert shorter["items"] == whole["items"][:4]
            assert (await slate(n=6))["served_from"] != "cache"

            record = np.array([(key_of("item-1"), int(clock), 1.0)], trail.RECORD)
            with Redis.from_url(redis_url) as redis:
                redis.append(trail.trail_key(user), trail.encode(record))
                redis.incr(trail.epoch_key(user))
            stale = await slate()
            assert stale["degraded"] == ["ray"], "the models are asked, as there are none here"


async def test_a_slate_that_is_too_short_is_left_to_the_edge(
    tmp_path: Path, redis_url: str, model_bundle: Bundle
) -> None:
    records = np.zeros(model_bundle.manifest.items - 3, trail.RECORD)
    records["item"] = [key_of(f"item-{code}") for code in range(len(records))]
    records["timestamp"] = int(time.time()) - 60
    with Redis.from_url(redis_url) as redis:
        redis.set(trail.trail_key("u"), trail.encode(records))
    plan = Plan.of(Settings(home=tmp_path), redis_url, Models("tastemaker/7", model_bundle.path))
    summary = precompute.fill(plan, Wanted("home", 5, (None,), keep_s=7200), ["u", "new"])
    assert (summary.users, summary.slates) == (2, 1)
