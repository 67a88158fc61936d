"""Rollouts as documents in Redis."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from redis import Redis

from tastemaker.errors import Conflict, NotFound
from tastemaker.rollout import local
from tastemaker.rollout.local import LocalRollouts
from tastemaker.rollout.resources import ModelRolloutStatus, RecommenderStatus
from tastemaker.rollout.world import Outcome


def test_a_rollout_is_kept_with_its_status(redis: Redis) -> None:
    rollouts = LocalRollouts(redis)
    rollouts.create("a", {"model": "3"})
    (found,) = rollouts.all()
    assert (found.name, found.spec.model, found.status.phase) == ("a", "3", "Pending")
    assert (datetime.now(UTC) - found.created).total_seconds() < 60
    rollouts.keep("a", found.uid, ModelRolloutStatus(phase="Shadow", colour="green"))
    rollouts.act("a", "Pause")
    (found,) = rollouts.all()
    assert (found.spec.action, found.spec.model, found.status.phase) == ("Pause", "3", "Shadow")


def test_a_name_is_taken_once(redis: Redis) -> None:
    LocalRollouts(redis).create("a", {})
    with pytest.raises(Conflict, match="there is a rollout 'a' already"):
        LocalRollouts(redis).create("a", {})


def test_what_is_not_there_is_said(redis: Redis) -> None:
    with pytest.raises(NotFound, match="no rollout 'a'"):
        LocalRollouts(redis).act("a", "Pause")
    with pytest.raises(NotFound, match="no rollout 'a'"):
        LocalRollouts(redis).delete("a")


def test_a_status_never_outlives_its_rollout(redis: Redis) -> None:
    rollouts = LocalRollouts(redis)
    rollouts.create("a", {})
    old = rollouts.all()[0].uid
    rollouts.delete("a")
    rollouts.keep("a", old, ModelRolloutStatus(phase="Shadow"))
    assert redis.hgetall(local.KEY) == {}
    rollouts.create("a", {})
    rollouts.keep("a", old, ModelRolloutStatus(phase="Shadow"))
    assert rollouts.all()[0].status.phase == "Pending"


def test_a_look_is_persisted(redis: Redis) -> None:
    LocalRollouts(redis).create("a", {})
    status = RecommenderStatus(phase="RollingOut", rollout="a")
    local.persist(redis, LocalRollouts(redis).all(), Outcome(status, {"a": ModelRolloutStatus(phase="Warming")}))
    assert local.recommender(redis) == status
    assert LocalRollouts(redis).all()[0].status.phase == "Warming"


def test_a_new_start_ends_what_was_under_way(redis: Redis) -> None:
    rollouts = LocalRollouts(redis)
    for name in ("waiting", "going", "done", "promoting"):
        rollouts.create(name, {})
    uids = {one.name: one.uid for one in rollouts.all()}
    rollouts.keep("going", uids["going"], ModelRolloutStatus(phase="Progressing", step=1, weight=5, version="4"))
    rollouts.keep("done", uids["done"], ModelRolloutStatus(phase="Completed", version="2"))
    rollouts.keep("promoting", uids["promoting"], ModelRolloutStatus(phase="Promoting", version="3"))
    local.begin(redis, "3")
    found = {one.name: one.status for one in rollouts.all()}
    assert found["waiting"].phase == "Pending"
    assert (found["going"].phase, found["going"].reason, found["going"].weight) == ("RolledBack", "ServerStopped", 0)
    assert "tastemaker rollout start" in found["going"].message
    assert found["done"].history == []
    assert found["promoting"].phase == "Completed"
    active = local.recommender(redis).active
    assert active is not None
    assert (active.colour, active.version) == ("blue", "3")
