"""What a new colour is warmed with, on a real Valkey."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis import Redis

from tastemaker.rollout import meter


def test_requests_are_remembered_for_an_hour_and_no_longer(redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    meter.remember(redis, b"of ann")
    assert meter.recent_bodies(redis) == [b"of ann"]
    assert 0 < redis.ttl(meter.REQUESTS_KEY) <= meter.RECENT_S, "where nobody asks any more nothing is trimmed"
    later = time.time() + meter.RECENT_S + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert meter.recent_bodies(redis) == []
    redis.xadd(meter.REQUESTS_KEY, {meter.BODY: b"of bob"}, id=f"{int(later * 1000)}-0")
    meter.remember(redis, b"of bob again")
    assert b"of ann" not in [fields[meter.BODY] for _, fields in redis.xrange(meter.REQUESTS_KEY)]


def test_the_newest_come_first_and_the_oldest_are_dropped(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "RECENT_LENGTH", 2)
    for body in (b"one", b"two", b"three"):
        meter.remember(redis, body)
    assert meter.recent_bodies(redis) == [b"three", b"two"]
