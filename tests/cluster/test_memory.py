"""A thousand looks leave no trace in memory."""

from __future__ import annotations

import gc
from typing import NamedTuple

import psutil
from tests.cluster.stand_ins import NAME, Answers, Cluster, Edges, Kubelet

from tastemaker.config import Settings
from tastemaker.registry import Registry
from tastemaker.rollout.operator import Operator, Surroundings
from tastemaker.rollout.operator_run import impatient, url_of

LOOKS = 1000


class Weight(NamedTuple):
    """Objects that the collector knows, and bytes of memory."""

    objects: int
    resident: int


ALLOWED = Weight(1000, 8_000_000)
"""Of growth: caches fill up, but a look that left anything behind would leave a thousand of it."""


def test_a_thousand_looks_in_flat_memory(
    cluster: Cluster, settings: Settings, answers: Answers, kubelet: Kubelet, edges: Edges
) -> None:
    redis = impatient(str(settings.redis_url))
    surroundings = Surroundings(cluster.api, redis, Registry(settings), NAME, url=url_of(answers.url))
    operator = Operator(surroundings)
    edges.silent = True
    cluster.recommender()

    bodies = [cluster.api.get("Recommender", NAME)]

    def look() -> None:
        found = operator.freshest(bodies)
        operator.look(found[0], found[1:])

    def reached(kind: str, name: str, phase: str) -> bool:
        kubelet.tick()
        look()
        return bool(cluster.status(kind, name).get("phase") == phase)

    cluster.until("it serves", lambda: reached("Recommender", NAME, "Ready"))
    bodies.append(cluster.rollout("long"))
    cluster.until("it is measured", lambda: reached("ModelRollout", "long", "Shadow"))
    for _ in range(100):
        look()
    before = weight()
    for _ in range(LOOKS):
        look()
    after = weight()
    redis.close()
    assert cluster.status("ModelRollout", "long")["phase"] == "Shadow"
    assert after.objects - before.objects < ALLOWED.objects
    assert after.resident - before.resident < ALLOWED.resident


def weight() -> Weight:
    gc.collect()
    return Weight(len(gc.get_objects()), psutil.Process().memory_info().rss)
