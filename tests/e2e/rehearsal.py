"""The whole life of an installation, on a real cluster, under load: install, four changes of the model, an upgrade, an
alert, the end. Not one request may fail.

    make e2e IMAGE=registry.example.com/tastemaker:dev

builds and pushes the image first. Prometheus and Alertmanager, where their operator runs, are asked through the API
server.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from tests.e2e.cluster import Cluster, NotSeen

HERE = Path(__file__).parent
HOUSE = HERE.parents[1]
CHART = HOUSE / "helm" / "tastemaker"
RELEASE = "tastemaker"
RATE = 20
PROMETHEUS = "prometheus-operated:9090"
ALERTMANAGER = "alertmanager-operated:9093"
ALERT = "TastemakerLatencyHigh"

ROLLOUT = {
    "shadow": {"share": 50, "duration": "15s"},
    "steps": [{"weight": 25, "duration": "20s"}, {"weight": 50, "duration": "30s"}, {"weight": 100, "duration": "15s"}],
    # Two cores carry two colours, the viewers and a whole cluster here: latency says nothing of the model.
    "guardrails": {"minRequests": 50, "maxP99Milliseconds": 800, "maxFallbackShare": 0.2, "maxErrorShare": 0.05},
    "clickThrough": {"maxLoss": 0.4, "minUsers": 30},
}

# Stops the ranker's processes of a colour again and again, as a disk or a neighbour that takes all would.
STALL = """
import glob, os, signal, time
end = time.time() + {seconds}
def rankers():
    for path in glob.glob('/proc/[0-9]*/cmdline'):
        pid = int(path.split('/')[2])
        try:
            if pid != os.getpid() and b'ServeReplica:tastemaker:Ranker' in open(path, 'rb').read():
                yield pid
        except OSError:
            pass
while time.time() < end:
    for pid in rankers():
        os.kill(pid, signal.SIGSTOP)
    time.sleep(1)
for pid in rankers():
    os.kill(pid, signal.SIGCONT)
"""


def main(
    image: Annotated[str, typer.Option(help="Image that is installed.")],
    upgrade_image: Annotated[str, typer.Option(help="Image that the upgrade goes to.")],
    run_in: Annotated[str, typer.Option(help="Command that runs a client in the cluster's network.")] = "",
    namespace: Annotated[str, typer.Option(help="Made at the start and deleted at the end.")] = "tastemaker-e2e",
    monitoring: Annotated[str, typer.Option(help="Namespace of Prometheus and Alertmanager; empty: none.")] = "",
) -> None:
    """Rehearse, and print a transcript. Exit code 1 when a request failed or something was not seen."""
    cluster = Cluster(namespace, shlex.split(run_in))
    try:
        with cluster.step("helm install, with the demonstration"):
            install(cluster, image, monitoring)
        with cluster.step("a slate over HTTP (helm test)"):
            cluster.say("   " + cluster.helm("test", RELEASE).strip().splitlines()[-1])
        with cluster.step(f"viewers: {RATE} requests a second until the end"):
            start_viewers(cluster, image)
            versions = plant(cluster)
        with cluster.step("a good model is promoted"):
            expect(cluster, roll_out(cluster, "good", versions["good"]), "Completed")
        with cluster.step("a model that does not start is rolled back"):
            expect(cluster, roll_out(cluster, "broken", versions["broken"]), "RolledBack")
        with cluster.step("a model that is clicked less is rolled back"):
            expect(cluster, roll_out(cluster, "worse", versions["worse"]), "RolledBack")
        with cluster.step(f"helm upgrade to {upgrade_image}"):
            upgrade(cluster, upgrade_image, monitoring)
        if monitoring:
            with cluster.step("every component is scraped, and a stalled ranker fires the latency alert"):
                scraped(cluster, monitoring)
                alert(cluster, monitoring)
        failed = stop_viewers(cluster)
        with cluster.step("helm uninstall leaves nothing but the volumes"):
            uninstall(cluster)
    except NotSeen as problem:
        cluster.say(f"NOT SEEN: {problem}")
        raise typer.Exit(1) from problem
    cluster.say(f"{failed} failed requests")
    raise typer.Exit(1 if failed else 0)


def values(image: str, monitoring: str) -> list[str]:
    """Arguments of helm: the laptop's values and this image."""
    repository, _, tag = image.rpartition(":")
    settings = {
        "image.repository": repository,
        "image.tag": tag,
        "image.pullPolicy": "Always",
        "demo.traffic.enabled": "false",
        "jobs.features.enabled": "false",
        "jobs.training.enabled": "false",
    }
    if monitoring:
        settings |= {
            "monitoring.podMonitor.enabled": "true",
            "monitoring.rules.enabled": "true",
            "monitoring.prometheusUrl": f"http://prometheus-operated.{monitoring}:9090",
        }
    pairs = [f"{name}={value}" for name, value in settings.items()]
    return ["--values", str(CHART / "ci" / "laptop-values.yaml"), "--set", ",".join(pairs)]


def install(cluster: Cluster, image: str, monitoring: str) -> None:
    """Install, and wait until the demonstration has trained and its model serves."""
    cluster.helm("install", RELEASE, str(CHART), "--create-namespace", *values(image, monitoring))
    said = ""

    def ready() -> str | None:
        nonlocal said
        status = cluster.get("recommender", RELEASE).get("status", {})
        if (message := status.get("message", "")) != said:
            said = message
            cluster.say(f"   {status.get('phase')}: {message}")
        return "ready" if status.get("phase") == "Ready" else None

    cluster.wait("the recommender is ready", ready, 900)
    cluster.kubectl("wait", "--for=condition=Available", f"deployment/{RELEASE}-edge", "--timeout", "180s")


def start_viewers(cluster: Cluster, image: str) -> None:
    """The chart's simulated viewers, as a pod of their own that outlives an upgrade."""
    arguments = values(image, "")  # a template without a cluster knows no monitoring
    arguments[-1] = arguments[-1].replace("demo.traffic.enabled=false", "demo.traffic.enabled=true")
    rendered = yaml.safe_load_all(cluster.helm("template", RELEASE, str(CHART), *arguments))
    traffic = next(one for one in rendered if one and one["metadata"]["name"] == f"{RELEASE}-traffic")
    template = traffic["spec"]["template"]
    container = template["spec"]["containers"][0]
    url = f"http://{RELEASE}-edge:8000"
    container["args"] = ["--url", url, "--rate", str(RATE), "--json"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": template["metadata"] | {"name": "viewers"},
        "spec": template["spec"] | {"restartPolicy": "Never"},
    }
    cluster.apply(pod)
    cluster.wait("viewers ask", lambda: "yes" if tally(cluster) else None, 180)


def tally(cluster: Cluster) -> dict[str, Any] | None:
    """What the viewers counted last."""
    lines = cluster.kubectl("logs", "viewers", "--tail", "1").strip().splitlines()
    found: dict[str, Any] | None = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else None
    return found


def plant(cluster: Cluster) -> dict[str, str]:
    """Register the versions that are rolled out below."""
    script = (HERE / "plant.py").read_text()
    printed = cluster.kubectl("exec", "--stdin", f"deployment/{RELEASE}-ingest", "--", "python3", "-", given=script)
    versions: dict[str, str] = json.loads(printed.strip().splitlines()[-1])
    cluster.say(f"   registered {versions}")
    return versions


def roll_out(cluster: Cluster, name: str, version: str) -> dict[str, Any]:
    """Apply a ModelRollout and tell its story; returns its last status."""
    cluster.apply(
        {
            "apiVersion": "tastemaker.dev/v1alpha1",
            "kind": "ModelRollout",
            "metadata": {"name": name},
            "spec": ROLLOUT | {"recommender": RELEASE, "model": version},
        }
    )
    told: list[Any] = []

    def over() -> str | None:
        status = cluster.get("modelrollout", name).get("status", {})
        for entry in status.get("history", [])[len(told) :]:
            told.append(entry)
            cluster.say(f"   {entry['phase']} (step {entry['step']}) {entry['reason']}: {entry['message']}")
        return "over" if status.get("phase") in {"Completed", "RolledBack", "Failed"} else None

    cluster.wait(f"the rollout {name} ends", over, 600)
    status: dict[str, Any] = cluster.get("modelrollout", name)["status"]
    cluster.say("   viewers: " + json.dumps({k: v for k, v in (tally(cluster) or {}).items() if k != "slates"}))
    return status


def expect(cluster: Cluster, status: dict[str, Any], phase: str) -> None:
    """Refuse another end of a rollout than the one foreseen."""
    if status["phase"] != phase:
        raise NotSeen(f"{phase}; it is {status['phase']}: {status.get('message')}")
    cluster.say("   " + cluster.kubectl("get", "modelrollouts").replace("\n", "\n        ").rstrip())


def upgrade(cluster: Cluster, image: str, monitoring: str) -> None:
    """Upgrade every component; the models go through the idle colour."""
    before = cluster.get("recommender", RELEASE)["status"]["active"]["colour"]
    cluster.helm("upgrade", RELEASE, str(CHART), *values(image, monitoring))
    for component in ("operator", "edge", "ingest", "mlflow"):
        cluster.kubectl("rollout", "status", f"deployment/{RELEASE}-{component}", "--timeout", "240s")

    def switched() -> str | None:
        status = cluster.get("recommender", RELEASE)["status"]
        active = status["active"]["colour"]
        return active if active != before and status["phase"] == "Ready" else None

    colour = cluster.wait("the models run from the new image", switched, 400)
    pods = cluster.get("pods")["items"]
    old = [pod["metadata"]["name"] for pod in pods if _runs_another(pod, image)]
    cluster.say(f"   {before} → {colour}; on the old image still: {', '.join(old) or 'nothing'}")


def _runs_another(pod: dict[str, Any], image: str) -> bool:
    return bool(pod["status"]["phase"] == "Running" and pod["spec"]["containers"][0]["image"] != image)


def scraped(cluster: Cluster, monitoring: str) -> None:
    """Wait until Prometheus has scraped every component."""
    wanted = {"edge", "ingest", "operator"}

    def all_up() -> str | None:
        answer = cluster.service(monitoring, PROMETHEUS, "/api/v1/targets?state=active")
        mine = [one for one in answer["data"]["activeTargets"] if one["labels"].get("namespace") == cluster.namespace]
        up = {one["labels"].get("component", "?") for one in mine if one["health"] == "up"}
        return ", ".join(sorted(up)) if wanted <= up else None

    cluster.say("   scraped: " + cluster.wait("every component is scraped", all_up, 120))


def alert(cluster: Cluster, monitoring: str) -> None:
    """Stall the ranker until the latency alert has reached Alertmanager; on a small node it may fire from the start."""
    quiet = cluster.wait(f"{ALERT} is silent", lambda: None if _firing(cluster, monitoring) else "yes", 600)
    cluster.say(f"   {ALERT} is silent: {quiet}; the ranker is stalled")
    colour = cluster.get("recommender", RELEASE)["status"]["active"]["colour"]
    stall = STALL.format(seconds=560)
    command = [
        "kubectl",
        "-n",
        cluster.namespace,
        "exec",
        f"deployment/{RELEASE}-{colour}",
        "--",
        "python3",
        "-c",
        stall,
    ]
    stalling = subprocess.Popen([*cluster.prefix, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        said = cluster.wait(f"{ALERT} reaches Alertmanager", lambda: _firing(cluster, monitoring), 540)
        cluster.say(f"   {ALERT}: {said}")
    finally:
        stalling.terminate()


def _firing(cluster: Cluster, monitoring: str) -> str | None:
    """What Alertmanager says of the alert, while it fires for this namespace."""
    alerts = cluster.service(monitoring, ALERTMANAGER, "/api/v2/alerts?active=true")
    here = {"alertname": ALERT, "namespace": cluster.namespace}
    mine = [one for one in alerts if here.items() <= one["labels"].items()]
    return str(mine[0]["annotations"]["description"]) if mine else None


def stop_viewers(cluster: Cluster) -> int:
    """Send the viewers home; returns how many of their requests failed."""
    cluster.kubectl("exec", "viewers", "--", "python3", "-c", "import os, signal; os.kill(1, signal.SIGINT)")
    cluster.wait("the viewers went", lambda: _ended(cluster), 60)
    counted = tally(cluster)
    cluster.say("   viewers in all: " + json.dumps(counted))
    return int(counted["failed"]) if counted else 1


def _ended(cluster: Cluster) -> str | None:
    phase = str(cluster.get("pod", "viewers")["status"]["phase"])
    return phase if phase in {"Succeeded", "Failed"} else None


def uninstall(cluster: Cluster) -> None:
    """Uninstall, and wait until all but the volumes is gone."""
    cluster.kubectl("delete", "pod", "viewers")
    cluster.kubectl("delete", "modelrollouts", "--all")
    cluster.helm("uninstall", RELEASE, "--wait")
    kinds = (
        "recommenders,modelrollouts,deployments,statefulsets,replicasets,pods,services,configmaps,secrets,jobs,cronjobs,"
        "serviceaccounts,roles,rolebindings,horizontalpodautoscalers,poddisruptionbudgets,networkpolicies"
    )

    def gone() -> str | None:
        items = cluster.get(kinds)["items"]
        left = [f"{one['kind']}/{one['metadata']['name']}" for one in items if not _of_kubernetes(one)]
        if left:
            raise NotSeen("left behind: " + ", ".join(left))
        return "nothing"

    cluster.wait("nothing is left", gone, 90)
    volumes = [one["metadata"]["name"] for one in cluster.get("persistentvolumeclaims")["items"]]
    cluster.say(f"   what stays: {', '.join(volumes)}")
    cluster.run("kubectl", "delete", "namespace", cluster.namespace)


def _of_kubernetes(one: dict[str, Any]) -> bool:
    """What every namespace has."""
    return one["metadata"]["name"] in {"kube-root-ca.crt", "default"}


if __name__ == "__main__":
    typer.run(main)
