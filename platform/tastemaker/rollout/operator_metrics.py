"""Phases of the rollouts as metrics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, get_args

from tastemaker.metrics import ROLLOUT_PHASE, ROLLOUT_PHASE_SECONDS
from tastemaker.rollout.resources import Phase

PHASES: tuple[str, ...] = get_args(Phase)


class Shown:
    """The rollouts whose series exist: those of a deleted one go with it."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def update(self, bodies: Iterable[dict[str, Any]]) -> None:
        """Show these ModelRollouts and no others."""
        now, names = datetime.now(UTC), set()
        for body in bodies:
            name, status = body["metadata"]["name"], body.get("status") or {}
            names.add(name)
            _show(
                name, status.get("phase", "Pending"), status.get("since") or body["metadata"]["creationTimestamp"], now
            )
        for name in self._names - names:
            for phase in PHASES:
                ROLLOUT_PHASE.remove(name, phase)
                _forget(name, phase)
        self._names = names


def _show(name: str, current: str, since: str, now: datetime) -> None:
    for phase in PHASES:
        ROLLOUT_PHASE.labels(name, phase).set(phase == current)
        if phase != current:
            _forget(name, phase)
    ROLLOUT_PHASE_SECONDS.labels(name, current).set((now - datetime.fromisoformat(since)).total_seconds())


def _forget(name: str, phase: str) -> None:
    with contextlib.suppress(KeyError):
        ROLLOUT_PHASE_SECONDS.remove(name, phase)
