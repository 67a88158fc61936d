"""Rollouts on Kubernetes as the command line sees them, against a played API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tastemaker.errors import Conflict, InvalidInput, NotFound, Unavailable
from tastemaker.rollout.cli import rollout
from tastemaker.rollout.cluster import ClusterRollouts

PATH = "/apis/tastemaker.dev/v1alpha1/namespaces/shop/modelrollouts"
pytest.importorskip("kubernetes")


class ApiServer(HTTPServer):
    """Keeps what is created; says no when told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Api)
        self.kept: dict[str, Any] = {}
        self.refusal: tuple[int, str] | None = None


class Api(BaseHTTPRequestHandler):
    server: ApiServer

    def do_GET(self) -> None:
        self._answer(200, {"items": list(self.server.kept.values())})

    def do_POST(self) -> None:
        body = self._body()
        stamps = {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
        body["metadata"] |= stamps
        self.server.kept[body["metadata"]["name"]] = body
        self._answer(201, body)

    def do_PATCH(self) -> None:
        found = self.server.kept.get(self.path.rsplit("/", 1)[1])
        if found is not None:
            found["spec"] |= self._body()["spec"]
        self._answer(200 if found else 404, found or {"message": "not found"})

    def do_DELETE(self) -> None:
        found = self.server.kept.pop(self.path.rsplit("/", 1)[1], None)
        self._answer(200 if found else 404, found or {"message": "not found"})

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["content-length"])))

    def _answer(self, status: int, document: Any) -> None:
        if not self.path.startswith(PATH):
            status, document = 404, {"message": "no such path"}
        if self.server.refusal is not None:
            status, document = self.server.refusal[0], {"message": self.server.refusal[1]}
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    with ApiServer() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(file))
        yield server
        server.shutdown()
        thread.join()


def run(*arguments: str) -> str:
    done = CliRunner().invoke(rollout, [*arguments, "-n", "shop"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_rollout_from_start_to_deletion(api: ApiServer, tmp_path: Path) -> None:
    file = tmp_path / "rollout.yaml"
    spec = {"model": "3", "shadow": {"enabled": False}}
    document = {"apiVersion": "tastemaker.dev/v1alpha1", "kind": "ModelRollout", "metadata": {"name": "a"}}
    file.write_text(yaml.safe_dump(document | {"spec": spec}))
    run("start", "--file", str(file))
    assert api.kept["a"]["spec"] == spec  # defaults are the CRD's to fill in
    run("pause", "a")
    assert api.kept["a"]["spec"]["action"] == "Pause"
    api.kept["a"]["status"] = {"phase": "Paused", "previousVersion": "2", "version": "3"}
    (found,) = json.loads(run("list", "--json"))
    assert (found["name"], found["status"]["phase"]) == ("a", "Paused")
    run("delete", "a")
    assert api.kept == {}


@pytest.mark.parametrize(
    ("status", "expected"), [(409, Conflict), (422, InvalidInput), (403, Unavailable), (500, Unavailable)]
)
def test_what_the_api_server_says_is_what_people_read(api: ApiServer, status: int, expected: type[Exception]) -> None:
    api.refusal = status, "the reason why"
    with pytest.raises(expected, match="the reason why"):
        ClusterRollouts("shop").create("a", {})


def test_what_is_not_there_is_said(api: ApiServer) -> None:
    with pytest.raises(NotFound, match="not found"):
        ClusterRollouts("shop").delete("a")
    api.refusal = 404, "nothing"
    with pytest.raises(NotFound, match="helm install"):
        ClusterRollouts("shop").all()


def test_a_cluster_that_is_away_is_said(api: ApiServer, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(file.read_text().replace(f":{api.server_port}", ":9"))
    with pytest.raises(Unavailable, match="the cluster does not answer"):
        ClusterRollouts("shop").all()
