from __future__ import annotations

import json

import pytest
from redis import Redis
from typer.testing import CliRunner

from tastemaker import config
from tastemaker.cli import app
from tastemaker.config import Settings
from tastemaker.events.stream import Group, stream_key


@pytest.fixture(autouse=True)
def _settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "load", lambda: settings)


def show(redis_url: str, *options: str) -> str:
    result = CliRunner().invoke(app, ["ingest", "dead-letters", "--redis-url", redis_url, *options])
    assert result.exit_code == 0, result.output
    return result.output


def test_dead_letters_are_shown_with_their_reason(redis: Redis, redis_url: str) -> None:
    assert "no dead letters" in show(redis_url)
    assert json.loads(show(redis_url, "--json")) == []
    redis.xadd(stream_key(1), {"events": "nonsense"})
    group = Group(redis, "online", 1, {"view"})
    group.finish(group.read(1), 10)
    assert "nonsense" in show(redis_url)
    (letter,) = json.loads(show(redis_url, "--json"))
    assert letter["shard"] == 1
    assert letter["reason"].startswith("not a list of events")
    assert letter["payload"] == "nonsense"
    assert letter["filed"].endswith("+00:00")
