from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import typer
from redis import Redis
from typer.testing import CliRunner

from tastemaker import config
from tastemaker.bundle import Bundle
from tastemaker.erasure import TOMBSTONES
from tastemaker.errors import InvalidInput
from tastemaker.lake import EVENT_SCHEMA, Lake
from tastemaker.registry import CHAMPION, Registry
from tastemaker.rollout import routing
from tastemaker.rollout.routing import Routing, Target
from tastemaker_serving import batch_cli, digest, precompute
from tastemaker_serving.batch import Plan

app = typer.Typer()
app.command("digest")(batch_cli.digest)
app.command("precompute")(batch_cli.precompute)


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[config.Settings]:
    """An installation with events of three users, of whom one wants to be forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TASTEMAKER_REDIS_URL", redis_url)
    config.load.cache_clear()
    settings = config.load()
    events = [
        {"event_id": user, "user_id": user, "item_id": "i", "event_type": "click", "timestamp": datetime.now(UTC)}
        for user in ("a", "b", "gone")
    ]
    Lake(settings.lake).append_events(pa.Table.from_pylist(events, EVENT_SCHEMA))
    with Redis.from_url(redis_url) as redis:
        redis.hset(TOMBSTONES, "gone", "1")
    yield settings
    config.load.cache_clear()


def run(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    if done.exception is not None:
        raise done.exception
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_digest_is_for_everyone_who_is_not_forgotten(
    settings: config.Settings, model_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def write(
        plan: Plan, out: str, n: int, given: object, everyone: Callable[[], Sequence[str]], progress: object
    ) -> digest.Summary:
        asked.append((plan.models.version, plan.models.bundle(settings), out, n, given, everyone()))
        return digest.Summary(out, "v", 2, 0, 40, 1.0)

    monkeypatch.setattr(digest, "write", write)
    assert run("digest", "--bundle", str(model_bundle.path))["rows"] == 40
    place = f"{settings.lake}/digest/slates.parquet"
    assert asked == [("bundle", model_bundle.path, place, 20, None, ["a", "b"])]


def test_users_of_a_digest_may_be_named_in_a_file(
    tmp_path: Path, model_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []

    def write(_plan: Plan, out: str, _n: int, users: object, *_: object) -> digest.Summary:
        given.append(users)
        return digest.Summary(out, "v", 2, 0, 40, 1.0)

    monkeypatch.setattr(digest, "write", write)
    (tmp_path / "users.txt").write_text("a\n\nü\r\n")
    run("digest", "--users", "users.txt", "--bundle", str(model_bundle.path))
    assert given == [["a", "ü"]]
    with pytest.raises(InvalidInput, match="nowhere"):
        run("digest", "--users", "nowhere", "--bundle", str(model_bundle.path))


def test_precomputed_is_what_the_stable_colour_serves_for_its_users(
    settings: config.Settings, redis_url: str, model_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(settings)
    for _ in range(2):
        registry.register(model_bundle.path, {}, {}, CHAMPION)
    stable, candidate = Target("blue", "http://blue", "tastemaker/1"), Target("green", "http://green", "tastemaker/2")
    with Redis.from_url(redis_url) as redis:
        routing.write(redis, Routing(stable, candidate, weight=50.0, salt="s1"))
    mine = [user for user in ("a", "b") if routing.place("s1", user) >= 50.0]
    asked: list[Any] = []

    def fill(plan: Plan, wanted: precompute.Wanted, users: Sequence[str], progress: object) -> precompute.Summary:
        asked.append((plan.models.version, wanted.scene, wanted.n, wanted.devices, users))
        return precompute.Summary("v", 1, 1, 1.0)

    monkeypatch.setattr(precompute, "fill", fill)
    run("precompute", "--device", "tv")
    assert asked == [("tastemaker/1", "home", 20, (None, "tv"), mine)]


def test_a_scene_without_a_cache_is_not_precomputed() -> None:
    with pytest.raises(InvalidInput, match="'search' are not cached"):
        run("precompute", "--scene", "search")
