"""Room for a run's workers: Ray itself would wait for it for ever, and say nothing."""

from __future__ import annotations

from collections.abc import Callable

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from tastemaker.config import Settings
from tastemaker.errors import InvalidInput
from tastemaker_training.hardware import Hardware

SOON_S = 5.0
"""Room that is there is found within this time."""


def find(hardware: Hardware, settings: Settings, say: Callable[[str], None]) -> None:
    """Return once there is room for the fewest workers of `hardware`.

    This machine will not grow. A cluster may: nobody can tell from within whether it has an autoscaler, or whether
    another run is about to end. So it is asked for the room, which makes an autoscaler bring it, and waited for.

    Args:
        say: told that it is waited for.

    Raises:
        InvalidInput: there is none, after `training.room_wait_s` on a cluster.
    """
    if settings.ray_address is None:
        if hardware.gpu and _has("GPU") < hardware.fewest:
            raise InvalidInput(
                f"there is no room for {_workers(hardware)}: Ray finds {_has('GPU'):g} GPU in this machine",
                "Leave --gpu out, give fewer --workers, or let RAY_ADDRESS name a cluster that has GPUs",
            )
        return
    asked = placement_group([{hardware.resource: 1}] * hardware.fewest)
    try:
        ready = [asked.ready()]
        if ray.wait(ready, timeout=SOON_S)[0]:
            return
        free = ray.available_resources().get(hardware.resource, 0)  # type: ignore[no-untyped-call]
        has = f"{_has(hardware.resource):g} {hardware.resource}, {free:g} of them free"
        there = f"the cluster at {settings.ray_address} has {has}"
        limit_s = settings.training.room_wait_s
        say(f"waiting up to {limit_s:g} s for room for {_workers(hardware)}: {there}")
        if not ray.wait(ready, timeout=limit_s)[0]:
            raise InvalidInput(
                f"there is no room for {_workers(hardware)}: {there}",
                "Give fewer --workers, or a range such as 1-4; if the cluster grows slowly, raise training.room_wait_s",
            )
    finally:
        remove_placement_group(asked)


def _has(resource: str) -> float:
    return float(ray.cluster_resources().get(resource, 0))  # type: ignore[no-untyped-call]


def _workers(hardware: Hardware) -> str:
    plural = "s" * (hardware.fewest > 1)
    return f"{hardware.fewest} worker{plural} with {'a GPU' if hardware.gpu else 'one CPU'}{' each' * bool(plural)}"
