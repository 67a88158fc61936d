"""What the chart promises beyond single objects: names, upgrades, refusals in words, and settings that arrive."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tastemaker import config, scenes
from tastemaker.config import Settings
from tastemaker.ray_env import RAY_VERSION
from tastemaker_training import recipe_file, recipes

Object = dict[str, Any]
Values = dict[str, Any]

DEMO: Values = {"demo": {"enabled": True}}


# -- Names and upgrades ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("tastemaker", {}, "tastemaker"),
        ("my-tastemaker", {}, "my-tastemaker"),
        ("shop", {}, "shop-tastemaker"),
        ("shop", {"nameOverride": "films"}, "shop-films"),
        ("shop", {"fullnameOverride": "films"}, "films"),
        ("a" * 53, {}, "a" * 40),
    ],
)
def test_names_follow_the_release(render: Any, release: str, values: Values, name: str) -> None:
    found = render(values, release=release)
    (recommender,) = [one for one in found.objects if one["kind"] == "Recommender"]
    assert recommender["metadata"]["name"] == name
    assert found.get("Deployment", "edge")["metadata"]["name"] == f"{name}-edge"


def test_a_changed_demo_job_has_another_name(render: Any) -> None:
    """A job cannot be changed: the same name would end an upgrade."""

    def name(values: Values) -> str:
        (job,) = [one for one in render(values).objects if one["kind"] == "Job"]
        return str(job["metadata"]["name"])

    assert name(DEMO) == name(DEMO | {"edge": {"preStopSeconds": 3}})
    assert name(DEMO) != name(DEMO | {"image": {"tag": "2"}})


def test_an_upgrade_of_the_application_leaves_redis_alone(render: Any) -> None:
    redis = render().get("StatefulSet", "redis")["spec"]
    assert redis["updateStrategy"] == {"type": "OnDelete"}


def test_volumes_with_data_stay(render: Any) -> None:
    for name in ("lake", "mlflow"):
        claim = render().get("PersistentVolumeClaim", name)
        assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_nothing_but_the_test_is_a_hook(render: Any, scenario: str) -> None:
    """Helm forgets hooks when it uninstalls; the test deletes itself."""
    for one in render(scenario=scenario).objects:
        annotations = one["metadata"].get("annotations", {})
        if "helm.sh/hook" in annotations:
            assert annotations["helm.sh/hook"] == "test"
            assert {"hook-succeeded", "hook-failed"} <= set(annotations["helm.sh/hook-delete-policy"].split(","))


def test_a_lake_of_one_node_keeps_its_pods_together(render: Any) -> None:
    bound = {("Deployment", "ingest"), ("Deployment", "traffic")}
    for values, together in (
        (DEMO, True),
        (DEMO | {"lake": {"persistence": {"accessModes": ["ReadWriteMany"]}}}, False),
    ):
        for kind, name in bound:
            template = render(values).get(kind, name)["spec"]["template"]
            assert ("affinity" in template["spec"]) is together
            if together:
                (term,) = template["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
                assert term["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()


# -- Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ray": {"provider": "kuberay"}}, ["ray.io/v1/Ray", "helm install kuberay-operator"]),
        ({"ingest": {"keda": {"enabled": True}}}, ["ingest.keda.enabled", "helm install keda"]),
        ({"kserve": {"enabled": True}}, ["kserve.enabled", "helm install kserve"]),
        ({"monitoring": {"rules": {"enabled": True}}}, ["monitoring.rules.enabled", "kube-prometheus-stack"]),
        ({"monitoring": {"podMonitor": {"enabled": True}}}, ["PodMonitor", "kube-prometheus-stack"]),
        ({"edge": {"httpRoute": {"enabled": True}}}, ["edge.httpRoute.enabled", "kubectl apply"]),
    ],
)
def test_a_missing_prerequisite_is_named_with_its_command(refuse: Any, values: Values, words: list[str]) -> None:
    said = refuse(values, apis=())
    assert all(word in said for word in words), said
    assert "--api-versions" in said, "without a cluster Helm cannot know"


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"mlflow": {"enabled": False}}, "mlflow.url is needed"),
        ({"redis": {"enabled": False}}, "redis.urlSecret.name is needed"),
        ({"image": {"tag": "latest"}}, "image.tag must not be latest"),
        ({"ingest": {"autoscaling": {"enabled": True}, "keda": {"enabled": True}}}, "exclude each other"),
        ({"kserve": {"enabled": True, "rank": True}}, "must be version numbers"),
        ({"ray": {"provider": "kuberay"}, "jobs": {"training": {"workers": 2}}}, "jobs.training.sharedClaim is needed"),
        (
            {"redis": {"enabled": False, "urlSecret": {"name": "x"}}, "ingest": {"keda": {"enabled": True}}},
            "ingest.keda.address",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused(refuse: Any, values: Values, word: str) -> None:
    assert word in refuse(values)


# -- Settings that arrive ----------------------------------------------------------------------------------------------


def test_every_setting_in_a_variable_exists(render: Any, scenario: str) -> None:
    """The application refuses variables that name no setting."""
    known = {f"TASTEMAKER_{name.upper()}" for name in Settings.model_fields} | config.OTHER_VARIABLES
    for name in _variables(render(scenario=scenario).objects):
        if name.startswith("TASTEMAKER_"):
            assert name.split("__")[0] in known, name


def test_the_settings_are_what_the_application_reads(
    render: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = render(scenario="production-gpu")
    file = tmp_path / "tastemaker.yaml"
    file.write_text(found.get("ConfigMap", "config")["data"]["tastemaker.yaml"])
    monkeypatch.setenv(config.CONFIG_VARIABLE, str(file))
    from_file = Settings()
    assert (from_file.edge.deadline_ms, from_file.serving.funnel.slate) == (500, 30)
    assert from_file.event_types["buy"].weight == 1.0

    monkeypatch.delenv(config.CONFIG_VARIABLE)
    (recommender,) = [one for one in found.objects if one["kind"] == "Recommender"]
    for variable in recommender["spec"]["env"]:
        if "value" in variable:
            monkeypatch.setenv(variable["name"], variable["value"])
    as_variables = Settings()
    assert as_variables.event_types == from_file.event_types
    assert as_variables.serving == from_file.serving
    assert as_variables.lake == "s3://recommend-lake/production"


def test_scenes_are_the_same_in_the_edge_and_in_the_models(
    render: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ban = {"name": "withdrawn", "action": "ban", "items": ["318"], "from": "2026-03-01"}
    found = render({"config": {"scenes": {"home": {"caps": {"author": 2}, "rules": [ban]}}}})
    file = tmp_path / "tastemaker.yaml"
    file.write_text(found.get("ConfigMap", "config")["data"]["tastemaker.yaml"])
    monkeypatch.setenv(config.CONFIG_VARIABLE, str(file))
    at_the_edge = scenes.load(Settings())
    monkeypatch.delenv(config.CONFIG_VARIABLE)
    recommender = found.get("Recommender", "tastemaker")
    (said,) = [one["value"] for one in recommender["spec"]["env"] if one["name"] == "TASTEMAKER_SCENES"]
    monkeypatch.setenv("TASTEMAKER_SCENES", said)
    assert scenes.load(Settings()) == at_the_edge
    assert at_the_edge["home"].caps.author == 2
    assert [rule.name for rule in at_the_edge["home"].rules] == ["withdrawn"]


@pytest.mark.parametrize(("provider", "kind"), [("builtin", "CronJob"), ("kuberay", "RayCronJob")])
def test_training_runs_a_recipe_of_ones_own(render: Any, tmp_path: Path, provider: str, kind: str) -> None:
    values = {
        "ray": {"provider": provider},
        "recipes": {"wide": {"base": "smoke", "two_tower": {"dim": 128}}},
        "jobs": {"training": {"recipe": "wide"}},
    }
    found = render(values)
    template = found.get(kind, "training")["spec"]["jobTemplate"]
    container = None if kind == "RayCronJob" else template["spec"]["template"]["spec"]["containers"][0]
    command = shlex.split(template["entrypoint"] if container is None else container["args"][0])
    folder, _, name = command[command.index("--recipe") + 1].rpartition("/")
    head = template.get("rayClusterSpec", {}).get("headGroupSpec")
    mounts = (container or head["template"]["spec"]["containers"][0])["volumeMounts"]
    assert folder in [mount["mountPath"] for mount in mounts if mount["name"] == "config"]
    (tmp_path / name).write_text(found.get("ConfigMap", "config")["data"][name])
    smoke = recipes.smoke()
    assert recipe_file.read(tmp_path / name) == replace(smoke, name="wide", two_tower=replace(smoke.two_tower, dim=128))


def test_colours_find_the_ranker_of_their_version(render: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = render(scenario="external-services")
    (recommender,) = [one for one in found.objects if one["kind"] == "Recommender"]
    (ranking,) = [one["value"] for one in recommender["spec"]["env"] if one["name"] == "TASTEMAKER_RANKING"]
    url = json.loads(ranking)["url"].replace("{version}", "8")
    service = found.get("InferenceService", "ranker-8")["metadata"]["name"]
    assert url == f"{service}-predictor:8081"


def test_ray_pods_share_a_token_where_a_colour_has_several(render: Any) -> None:
    def variables(values: Values, scenario: str = "default") -> set[str]:
        (recommender,) = [one for one in render(values, scenario=scenario).objects if one["kind"] == "Recommender"]
        return {one["name"] for one in recommender["spec"]["env"]}

    assert "RAY_AUTH_TOKEN" not in variables({})
    assert "RAY_AUTH_TOKEN" in variables({"recommender": {"workers": [{"name": "cpu"}]}})
    assert "RAY_AUTH_TOKEN" not in variables({}, "kuberay"), "KubeRay makes its own"


def test_kuberay_is_told_the_ray_of_the_image(render: Any) -> None:
    training = render(scenario="kuberay").get("RayCronJob", "training")
    assert training["spec"]["jobTemplate"]["rayClusterSpec"]["rayVersion"] == RAY_VERSION


def test_an_edge_reads_its_keys_from_a_secret(render: Any) -> None:
    pod = render({"edge": {"keysSecret": "our-keys"}}).get("Deployment", "edge")["spec"]["template"]["spec"]
    file = next(it["value"] for it in pod["containers"][0]["env"] if it["name"] == "TASTEMAKER_EDGE__KEYS_FILE")
    mount = next(it for it in pod["containers"][0]["volumeMounts"] if it["name"] == "keys")
    assert file == f"{mount['mountPath']}/keys.json"
    assert {"name": "keys", "secret": {"secretName": "our-keys"}} in pod["volumes"]


def test_pods_are_made_anew_when_their_settings_change(render: Any) -> None:
    for name in ("edge", "ingest", "operator"):
        sums = [
            render(values).get("Deployment", name)["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
            for values in ({}, {"config": {"log_level": "debug"}})
        ]
        assert sums[0] != sums[1]


def test_every_alert_and_board_is_in_the_chart(render: Any, chart: Path) -> None:
    values = {"monitoring": {"rules": {"enabled": True}, "dashboards": {"enabled": True}}}
    groups = render(values).get("PrometheusRule", "monitoring")["spec"]["groups"]
    written = [yaml.safe_load(file.read_text())["groups"] for file in sorted((chart / "files/rules").glob("*.yaml"))]
    assert groups == [group for file in written for group in file]
    boards = render(values).get("ConfigMap", "dashboards")["data"]
    for file in (chart / "files/dashboards").glob("*.json"):
        assert json.loads(boards[file.name]) == json.loads(file.read_text())


def _variables(objects: tuple[Object, ...]) -> list[str]:
    """Names of all variables in all containers."""
    found = []
    todo: list[Any] = list(objects)
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            found += [variable["name"] for variable in one.get("env") or []]
            todo += one.values()
        elif isinstance(one, list):
            todo += one
    return found
