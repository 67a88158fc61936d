"""What tests of the operator work with: a namespace as its administrator sees it, and stand-ins for the rest.

No pod is started (their node does not exist), so no image is needed: `Kubelet` plays the node's part and writes the
pods' statuses, `Edges` counts requests as edges do, `Answers` is what every colour answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import kopf
import yaml
from redis import Redis

from tastemaker.config import Settings
from tastemaker.errors import NotFound, Unavailable
from tastemaker.rollout import meter, routing
from tastemaker.rollout.operator import Operator, Surroundings, registered
from tastemaker.rollout.operator import settings as kopf_settings
from tastemaker.rollout.operator_api import Api, Object
from tastemaker.rollout.operator_run import Options, run
from tastemaker.rollout.pods import COLOUR_LABEL, VERSION_ANNOTATION

NAME = "tastemaker"
NOWHERE = {"tastemaker.dev/no-such-node": "true"}
CLUSTER_KINDS = {
    "CustomResourceDefinition": "apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "Namespace": "api/v1/namespaces",
    "Node": "api/v1/nodes",
    "Role": "apis/rbac.authorization.k8s.io/v1/{namespace}/roles",
    "RoleBinding": "apis/rbac.authorization.k8s.io/v1/{namespace}/rolebindings",
    "Secret": "api/v1/{namespace}/secrets",
    "ServiceAccount": "api/v1/{namespace}/serviceaccounts",
}
Do = Callable[[], Any]


def until(what: str, found: Do, timeout_s: float = 60.0) -> Any:
    """The first result that is true. Everything here is polled: nothing depends on how long it takes."""
    deadline = time.monotonic() + timeout_s
    while not (result := found()):
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.1)
    return result


class Cluster:
    """The namespace of a test, seen by its administrator."""

    until = staticmethod(until)

    def __init__(self, api: Api) -> None:
        self.api = api
        self.namespace = api.namespace

    def new(self, kind: str, name: str, spec: Object) -> Object:
        """As `kubectl create` does: unknown fields are refused."""
        return self.api._ask("POST", kind, query={"fieldValidation": "Strict"}, body=self._object(kind, name, spec))

    def recommender(self, name: str = NAME, **spec: Any) -> Object:
        found = {"image": "example.com/tastemaker:0.1.0", "drain": "1s", "head": {"nodeSelector": NOWHERE}} | spec
        return self.api.apply(self._object("Recommender", name, found))

    def rollout(self, name: str, model: str = "2", recommender: str = NAME, **spec: Any) -> Object:
        quick: dict[str, Any] = {
            "shadow": {"duration": "1s"},
            "steps": [{"weight": 10, "duration": "1s"}, {"weight": 100, "duration": "1s"}],
            "guardrails": {"minRequests": 10},
            "clickThrough": {"enabled": False},
        }
        return self.api.apply(
            self._object("ModelRollout", name, {"model": model, "recommender": recommender} | quick | spec)
        )

    def change(self, kind: str, name: str, **spec: Any) -> Object:
        """As `kubectl patch --type=merge` does."""
        return self.api._ask("PATCH", kind, name, body={"spec": spec}, content="merge-patch+json")

    def status(self, kind: str, name: str) -> Any:
        return self.api.get(kind, name).get("status") or {}

    def until_phase(self, name: str, phase: str, kind: str = "ModelRollout", timeout_s: float = 60.0) -> Any:
        def reached() -> Any:
            status = self.status(kind, name)
            return status if status.get("phase") == phase else None

        try:
            return until(f"{kind} {name} is {phase}", reached, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {json.dumps(self.status(kind, name), indent=1)}") from None

    def until_message(self, name: str, words: str) -> Any:
        """The status of a Recommender, once its message has these words."""

        def said() -> Any:
            status = self.status("Recommender", name)
            return status if words in status.get("message", "") else None

        return until(f"{name} says {words!r}", said)

    def colours(self) -> dict[str, str]:
        """Versions by the colours that have objects."""
        found = self.api.list("Deployment", "app.kubernetes.io/component=models")
        return {
            one["metadata"]["labels"][COLOUR_LABEL]: one["metadata"]["annotations"][VERSION_ANNOTATION] for one in found
        }

    def events(self, name: str) -> list[tuple[str, str]]:
        found = [one for one in self.api.list("Event") if one["involvedObject"]["name"] == name]
        return [
            (one["type"], one["reason"])
            for one in sorted(found, key=lambda one: int(one["metadata"]["resourceVersion"]))
        ]

    def _object(self, kind: str, name: str, spec: Object) -> Object:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "tastemaker.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


class Kubelet:
    """Stands in for the node: pods become ready, except those of a colour that is held back or crashes."""

    def __init__(self, api: Api) -> None:
        self.held: set[str] = set()
        self.crashing: dict[str, str] = {}
        self._api = api

    def tick(self) -> None:
        for pod in self._api.list("Pod"):
            version = pod["metadata"].get("annotations", {}).get(VERSION_ANNOTATION)
            known = pod.get("status", {}).get("containerStatuses")
            if version in self.held or (known and known[0]["ready"] == (version not in self.crashing)):
                continue
            with contextlib.suppress(NotFound):
                path = f"{pod['metadata']['name']}/status"
                self._api._ask("PATCH", "Pod", path, body={"status": self._status(version)}, content="merge-patch+json")

    def _status(self, version: str) -> Object:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        words = self.crashing.get(version)
        container: dict[str, Any] = {"name": "models", "image": "x", "imageID": "x", "restartCount": 0}
        container |= {"ready": words is None, "started": words is None}
        if words is None:
            container["state"] = {"running": {"startedAt": now}}
        else:
            container |= {"restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
            container["lastState"] = {"terminated": {"exitCode": 1, "message": words, "containerID": "x"}}
        ready = {"type": "Ready", "status": "True" if words is None else "False", "lastTransitionTime": now}
        return {"phase": "Running", "conditions": [ready], "containerStatuses": [container]}


class Edges:
    """Stand in for the edges: follow the routing, count requests of both colours."""

    def __init__(self, redis: Redis) -> None:
        self.silent = False
        self.redis = redis
        meter.remember(redis, b"a recent request")

    def tick(self) -> None:
        document = routing.read(self.redis)
        if self.silent or document is None or not document.period or document.candidate is None:
            return
        for target in (document.stable, document.candidate):
            self.redis.hincrby(meter.sums_key(document.period, target.colour), "requests", 20)
            self.redis.hincrby(meter.sums_key(document.period, target.colour), "le:3", 20)


class Answers:
    """Stands in for the colours' own servers: answers what is posted."""

    def __init__(self) -> None:
        self.code = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(outer.code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


class OperatorThread:
    """The operator inside this process: what it does is the same, and it starts at once."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(20)

    def _run(self) -> None:
        api = self._surroundings.api
        run = kopf.operator(
            registry=registered(Operator(self._surroundings), api),
            settings=kopf_settings(),
            namespaces=[api.namespace],
            standalone=True,
            stop_flag=self._stop,
        )
        asyncio.run(run)


class OperatorProcess:
    """`tastemaker operator run`, as a process that may be killed."""

    def __init__(self, namespace: str, configured: Settings, url: str) -> None:
        self._command = [sys.executable, "-m", "tastemaker.cli", "operator", "run", "--namespace", namespace]
        self._command += ["--metrics-port", "0", "--health-port", "0", "--colour-url", url]
        self._log = configured.home / "operator.log"
        self._process: subprocess.Popen[bytes] | None = None
        settings = configured.home / "tastemaker.yaml"
        settings.write_text(yaml.safe_dump({"gates": configured.gates and configured.gates.model_dump()}))
        self.environment = os.environ | {
            "TASTEMAKER_CONFIG": str(settings),
            "TASTEMAKER_HOME": str(configured.home),
            "TASTEMAKER_REDIS_URL": str(configured.redis_url),
            "MLFLOW_TRACKING_URI": configured.tracking_uri,
            "TASTEMAKER_LOG_LEVEL": "info",
        }

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self.environment, stdout=log, stderr=log)

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None

    @property
    def log(self) -> str:
        return self._log.read_text()


class OperatorFork:
    """The operator as a process that may be killed and is back at once: its parent has imported everything."""

    def __init__(self, namespace: str, configured: Settings, url: str) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tastemaker.rollout.operator_run", "mlflow.tracking"])
        self._arguments = (configured, Options(namespace, colour_url=url))
        self._process: Any = None

    def start(self) -> None:
        self._process = self._context.Process(target=run, args=self._arguments, daemon=True)
        self._process.start()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join(20)
            self._process = None


@contextlib.contextmanager
def ticking(*parts: Any, every_s: float = 0.25) -> Iterator[None]:
    """Runs the stand-ins beside the test."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(every_s):
            for part in parts:
                with contextlib.suppress(NotFound, Unavailable):
                    part.tick()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join()
