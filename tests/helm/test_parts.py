"""Every optional part: switched off, as it is by default, and with a value of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

Object = dict[str, Any]
Values = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """An object that values switch. `is_there`: by default. `own`: a value of one's own, and where it must arrive."""

    kind: str
    name: str
    off: Values
    on: Values
    is_there: bool
    own: Values
    arrives_at: str
    arrives_as: Any


def switch(path: str, value: Any) -> Values:
    """Nested values from a path such as edge.ingress.enabled."""
    head, _, rest = path.partition(".")
    return {head: switch(rest, value) if rest else value}


def merged(*many: Values) -> Values:
    """Values over values."""
    found: Values = {}
    for one in many:
        for key, value in one.items():
            both = isinstance(value, dict) and isinstance(found.get(key), dict)
            found[key] = merged(found[key], value) if both else value
    return found


def part(kind: str, name: str, path: str, is_there: bool, own: tuple[str, Any], at: str, arrives: Any = None) -> Part:
    """A part with a switch of its own."""
    value = own[1] if arrives is None else arrives
    return Part(kind, name, switch(path, False), switch(path, True), is_there, switch(*own), at, value)


KUBERAY = switch("ray.provider", "kuberay")
CONTAINER = "spec.template.spec.containers.0"
PARTS = [
    part("HorizontalPodAutoscaler", "edge", "edge.autoscaling.enabled", True,
         ("edge.autoscaling.maxReplicas", 40), "spec.maxReplicas"),
    part("PodDisruptionBudget", "edge", "edge.podDisruptionBudget.enabled", True,
         ("edge.podDisruptionBudget.maxUnavailable", "25%"), "spec.maxUnavailable"),
    part("Ingress", "edge", "edge.ingress.enabled", False, ("edge.ingress.hosts", ["a.example"]), "spec.rules.0.host",
         "a.example"),
    part("HTTPRoute", "edge", "edge.httpRoute.enabled", False, ("edge.httpRoute.parentRefs", [{"name": "public"}]),
         "spec.parentRefs.0.name", "public"),
    part("HorizontalPodAutoscaler", "ingest", "ingest.autoscaling.enabled", False,
         ("ingest.autoscaling.minReplicas", 3), "spec.minReplicas"),
    part("ScaledObject", "ingest", "ingest.keda.enabled", False, ("ingest.keda.lag", 77),
         "spec.triggers.0.metadata.lagCount", "77"),
    part("TriggerAuthentication", "ingest", "ingest.keda.enabled", False, ("existingSecret", "mine"),
         "spec.secretTargetRef.0.name"),
    part("CronJob", "features", "jobs.features.enabled", True,
         ("jobs.features.schedule", "1 2 * * *"), "spec.schedule"),
    part("CronJob", "erase", "jobs.erase.enabled", True, ("jobs.erase.schedule", "1 2 * * *"), "spec.schedule"),
    part("CronJob", "digest", "jobs.digest.enabled", False, ("jobs.digest.out", "s3://letters/today.csv"),
         "spec.jobTemplate.spec.template.spec.containers.0.args.0", "tastemaker digest --out 's3://letters/today.csv'\n"),
    part("CronJob", "precompute", "jobs.precompute.enabled", False, ("jobs.precompute.devices", ["tv", "mobile"]),
         "spec.jobTemplate.spec.template.spec.containers.0.args.0",
         "tastemaker precompute --days 7 --device tv --device mobile\n"),
    part("CronJob", "training", "jobs.training.enabled", True, ("jobs.training.recipe", "smoke"),
         "spec.jobTemplate.spec.template.spec.containers.0.args.0",
         "tastemaker train --challenger --recipe smoke --workers 1\n"),
    part("Deployment", "traffic", "demo.enabled", False, ("demo.traffic.rate", 3), f"{CONTAINER}.args.1", "--rate=3"),
    part("Deployment", "mlflow", "mlflow.enabled", True, ("mlflow.persistence.existingClaim", "mine"),
         "spec.template.spec.volumes.2.persistentVolumeClaim.claimName"),
    part("PersistentVolumeClaim", "mlflow", "mlflow.enabled", True, ("mlflow.persistence.size", "3Gi"),
         "spec.resources.requests.storage"),
    part("StatefulSet", "redis", "redis.enabled", True, ("redis.persistence.storageClass", "fast"),
         "spec.volumeClaimTemplates.0.spec.storageClassName"),
    part("Service", "redis", "redis.enabled", True, ("fullnameOverride", "shop"), "metadata.name", "shop-redis"),
    part("Deployment", "feast", "feast.server.enabled", False, ("feast.server.replicas", 3), "spec.replicas"),
    part("InferenceService", "ranker-champion", "kserve.enabled", False, ("kserve.maxReplicas", 9),
         "spec.predictor.maxReplicas"),
    part("PodMonitor", "monitoring", "monitoring.podMonitor.enabled", False,
         ("monitoring.podMonitor.labels", {"release": "mine"}), "metadata.labels.release", "mine"),
    part("PrometheusRule", "monitoring", "monitoring.rules.enabled", False,
         ("monitoring.rules.clickThroughBaseline", 0.25), "spec.groups.-1.rules.0.expr", "vector(0.25)"),
    part("ConfigMap", "dashboards", "monitoring.dashboards.enabled", False,
         ("monitoring.dashboards.labels", {"board": "yes"}), "metadata.labels.board", "yes"),
    part("NetworkPolicy", "edge", "networkPolicy.enabled", True, ("networkPolicy.edgeFrom", [{"podSelector": {}}]),
         "spec.ingress.0.from.-1.podSelector", {}),
    part("NetworkPolicy", "models", "networkPolicy.enabled", True, ("fullnameOverride", "shop"),
         "spec.podSelector.matchLabels", {"tastemaker.dev/recommender": "shop"}),
    part("ServiceAccount", "jobs", "serviceAccount.create", True, ("serviceAccount.annotations.jobs", {"role": "lake"}),
         "metadata.annotations.role", "lake"),
    Part("Secret", "secrets", switch("existingSecret", "mine"), switch("existingSecret", ""), True,
         switch("nameOverride", "tastemaker"), "stringData.redis-url", None),
    Part("PersistentVolumeClaim", "lake", switch("lake.url", "s3://bucket/lake"), switch("lake.url", ""), True,
         switch("lake.persistence.accessModes", ["ReadWriteMany"]), "spec.accessModes.0", "ReadWriteMany"),
    Part("RayCronJob", "training", {}, KUBERAY, False, merged(KUBERAY, switch("jobs.training.schedule", "@weekly")),
         "spec.schedule", "@weekly"),
]  # fmt: skip
NEEDS = {
    "mlflow.enabled": switch("mlflow.url", "http://mlflow.example"),
    "redis.enabled": switch("redis.urlSecret.name", "mine"),
}
"""What switching a bundled service off asks for."""


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.kind}-{part.name}")
def test_a_part_switched_off_is_gone(part: Part, render: Any) -> None:
    needed = [more for path, more in NEEDS.items() if part.off == switch(path, False)]
    assert render(merged(part.off, *needed)).find(part.kind, part.name) is None


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.kind}-{part.name}")
def test_a_part_is_there_by_default_or_not(part: Part, render: Any) -> None:
    assert (render().find(part.kind, part.name) is not None) is part.is_there


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.kind}-{part.name}")
def test_a_value_of_ones_own_arrives(part: Part, render: Any) -> None:
    one = render(merged(part.on, part.own)).get(part.kind, part.name)
    for step in part.arrives_at.split("."):
        one = one[int(step)] if isinstance(one, list) else one[step]
    assert part.arrives_as is None or one == part.arrives_as
