from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker.bundle import Bundle
from tastemaker.config import Edge, Settings
from tastemaker.decisions import recent
from tastemaker.features import trail
from tastemaker.ids import key_of
from tastemaker_serving import precompute
from tastemaker_serving.batch import Models, Plan
from tastemaker_serving.bench import seed_users
from tastemaker_serving.edge.app import create_app
from tastemaker_serving.edge.cache import Entry
from tastemaker_serving.precompute import Wanted


@pytest.mark.stack
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


@pytest.mark.stack
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


# A process of its own: Ray Serve, once it is imported, changes the process that does it.
RUN = """
import json, sys
from pathlib import Path
import msgspec
import pyarrow as pa
from redis import Redis
from tastemaker.config import Settings
from tastemaker.decisions.sampling import Decisions
from tastemaker.features.trail import shown_key
from tastemaker_serving.batch import Models, Plan
from tastemaker_serving.edge import recent
from tastemaker_serving.edge.cache import Entry
from tastemaker_serving.precompute import PrecomputeWorker, Wanted
home, redis_url, bundle = sys.argv[1:]
scene = {"explore": {"share": 0.4}, "repetition": {"discount": 1.0}, "diversity": {"weight": 0.0}}
settings = Settings(home=Path(home), scenes={"home": scene}, decisions=Decisions(full=0.5))
plan = Plan.of(settings, redis_url, Models("tastemaker/7", Path(bundle)))
worker = PrecomputeWorker(plan, Wanted("home", 5, (None,), keep_s=7200))
users = [f"u{number}" for number in range(40)]
redis, runs = Redis.from_url(redis_url), []
for _ in range(2):
    worker(pa.table({"users": [users]}))
    entries = {user: redis.get(next(redis.scan_iter(f"tm:{{{user}}}:slate:*"))) for user in users}
    runs.append([entries[user].hex() for user in users])
    for user in users:
        items = [item.item_id for item in msgspec.msgpack.decode(entries[user], type=Entry).items]
        redis.set(shown_key(user, "home"), recent.encode([recent.Shown(0, items)]))
print(json.dumps(runs))
"""


async def test_a_slate_computed_ahead_is_one_of_its_user(tmp_path: Path, redis_url: str, model_bundle: Bundle) -> None:
    """Chance, memory and log are those of a request of the user's own."""
    command = [sys.executable, "-c", RUN, str(tmp_path), redis_url, str(model_bundle.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    decoder = msgspec.msgpack.Decoder(Entry)
    first, second = [[decoder.decode(bytes.fromhex(blob)) for blob in run] for run in json.loads(done.stdout)]

    assert len({entry.request_id for entry in (*first, *second)}) == 80
    explored = [tuple(item.item_id for item in entry.items if item.source == "explore") for entry in (*first, *second)]
    assert len(set(explored)) > 40, "users and runs draw for themselves"
    for entry, tried in zip((*first, *second), explored, strict=True):
        assert entry.is_ahead
        assert all(0 < entry.propensities[item_id] < 1 for item_id in tried)
    for before, after in zip(first, second, strict=True):
        known = {item.item_id for item in before.items}
        assert not known & {item.item_id for item in after.items if item.source != "explore"}, "what was shown sinks"

    async with AsyncRedis.from_url(redis_url) as redis:
        logged = [await recent.find(redis, entry.request_id) for entry in second]
    traced = [(entry, found) for entry, found in zip(second, logged, strict=True) if found is not None]
    assert 0 < len(traced) < len(second)
    for entry, found in traced:
        assert (found.detail, found.colour, found.origin) == ("full", "precompute", "")
        assert found.trace is not None
        assert found.trace.slate == [item.item_id for item in entry.items]
        assert {shown.item_id: shown.propensity for shown in found.items} == entry.propensities
