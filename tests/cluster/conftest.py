"""A namespace of a real cluster and an operator in it.

`KUBECONFIG` names the cluster; without one these tests are skipped. Run them from the root of the repository.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from redis import Redis
from tests.cluster.stand_ins import (
    CLUSTER_KINDS,
    NAME,
    Answers,
    Cluster,
    Edges,
    Kubelet,
    OperatorFork,
    OperatorProcess,
    OperatorThread,
    ticking,
    until,
)

from tastemaker import embedded
from tastemaker.config import Settings
from tastemaker.errors import NotFound, Unavailable
from tastemaker.registry import Registry
from tastemaker.rollout import operator_api
from tastemaker.rollout.crds import crds
from tastemaker.rollout.operator import Surroundings
from tastemaker.rollout.operator_api import Api
from tastemaker.rollout.operator_run import impatient, url_of


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def admin() -> Iterator[Callable[[str], Api]]:
    """An API client for a namespace, with the rights of KUBECONFIG."""
    if "KUBECONFIG" not in os.environ:
        pytest.skip("no cluster: KUBECONFIG is not set")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operator_api, "PLACES", {**operator_api.PLACES, **CLUSTER_KINDS})
        try:
            api = Api("default")
            for crd in crds():
                api.apply(crd)
        except Unavailable as error:
            pytest.skip(f"no cluster: {error}")
        for crd in crds():
            name = crd["metadata"]["name"]
            until(f"{name} is established", partial(_is_established, api, name))
        yield Api
        api.close()


@pytest.fixture(scope="session")
def deleted(admin: Callable[[str], Api]) -> Iterator[list[str]]:
    """Namespaces that tests deleted. They are gone in the end, although no operator runs any more: no finalizer."""
    names: list[str] = []
    yield names
    api = admin("default")
    for name in names:
        until(f"namespace {name} is gone", partial(_is_gone, api, "Namespace", name))
    api.close()


@pytest.fixture
def cluster(admin: Callable[[str], Api], deleted: list[str]) -> Iterator[Cluster]:
    """A fresh namespace."""
    name = f"tm-test-{secrets.token_hex(4)}"
    api = admin(name)
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        yield Cluster(api)
    finally:
        api.delete("Namespace", name)
        deleted.append(name)
        api.close()


def _is_established(api: Api, name: str) -> bool:
    conditions = api.get("CustomResourceDefinition", name).get("status", {}).get("conditions", [])
    return any((one["type"], one["status"]) == ("Established", "True") for one in conditions)


def _is_gone(api: Api, kind: str, name: str) -> bool:
    try:
        api.get(kind, name)
    except NotFound:
        return True
    return False


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with versions 1 (champion) to 4, and no artefacts."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    uri = f"sqlite:///{file}"
    Registry(Settings(home=file.parent, mlflow_tracking_uri=uri))
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri, uri)
    client.create_registered_model(NAME)
    for number in range(1, 5):
        client.create_model_version(NAME, f"file:///nowhere/{number}")
    client.set_registered_model_alias(NAME, "champion", "1")
    return file


@pytest.fixture
def settings(tmp_path: Path, versions: Path) -> Iterator[Settings]:
    """Of an operator, with a real Valkey."""
    shutil.copy(versions, tmp_path / "mlflow.db")
    with embedded.server(Settings(home=tmp_path)) as url:
        yield Settings(
            home=tmp_path, gates=None, redis_url=url, mlflow_tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}"
        )


@pytest.fixture
def redis(settings: Settings) -> Iterator[Redis]:
    with Redis.from_url(str(settings.redis_url)) as client:
        yield client


@pytest.fixture
def answers() -> Iterator[Answers]:
    found = Answers()
    threading.Thread(target=found.server.serve_forever, daemon=True).start()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def kubelet(cluster: Cluster) -> Kubelet:
    return Kubelet(cluster.api)


@pytest.fixture
def edges(redis: Redis) -> Edges:
    return Edges(redis)


@pytest.fixture
def stand_ins(kubelet: Kubelet, edges: Edges) -> Iterator[None]:
    with ticking(kubelet, edges):
        yield


@pytest.fixture
def operator(
    admin: Callable[[str], Api], cluster: Cluster, settings: Settings, answers: Answers, stand_ins: None
) -> Iterator[OperatorThread]:
    """Started by the test."""
    assert settings.redis_url is not None
    surroundings = Surroundings(
        api=admin(cluster.namespace),
        redis=impatient(settings.redis_url),
        registry=Registry(settings),
        model_name=NAME,
        url=url_of(answers.url),
    )
    found = OperatorThread(surroundings)
    yield found
    found.stop()
    surroundings.api.close()
    surroundings.redis.close()


@pytest.fixture
def process(cluster: Cluster, settings: Settings, answers: Answers, stand_ins: None) -> Iterator[OperatorProcess]:
    """`tastemaker operator run` as a process; started by the test, its log shown where the test failed."""
    found = OperatorProcess(cluster.namespace, settings, answers.url)
    yield found
    found.kill()
    print(found.log[-6000:])


@pytest.fixture
def fork(cluster: Cluster, settings: Settings, answers: Answers, stand_ins: None) -> Iterator[OperatorFork]:
    """An operator that is killed again and again."""
    found = OperatorFork(cluster.namespace, settings, answers.url)
    yield found
    found.kill()
