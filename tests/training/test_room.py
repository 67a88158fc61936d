from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.train.v2._internal.constants import WORKER_GROUP_START_TIMEOUT_S_ENV_VAR
from ray.util.placement_group import placement_group, remove_placement_group

from tastemaker import ray_session
from tastemaker.config import Settings
from tastemaker.errors import InvalidInput, Unavailable
from tastemaker.training import Training
from tastemaker_training import cluster, room
from tastemaker_training.checkpoints import Storage
from tastemaker_training.hardware import Hardware

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")]

CORES = 3
ELSEWHERE = Settings(ray_address="ray-head:6379", training=Training(room_wait_s=1))


@pytest.fixture(scope="module", autouse=True)
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with (
        pytest.MonkeyPatch.context() as patch,
        ray_session.session(Settings(home=tmp_path_factory.mktemp("home")), CORES),
    ):
        patch.setenv(WORKER_GROUP_START_TIMEOUT_S_ENV_VAR, "1")
        yield


def test_this_machine_is_not_waited_for(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(InvalidInput, match=r"no room for 2 workers with a GPU each: .* 0 GPU .* Leave --gpu out"):
        room.find(Hardware(2, 4, gpu=True), Settings(home=tmp_path), said.append)
    room.find(Hardware(CORES, 9), Settings(home=tmp_path), said.append)
    assert not said


@pytest.mark.parametrize(
    ("hardware", "who"), [(Hardware(9, 9), "9 workers with one CPU each"), (Hardware(gpu=True), "1 worker with a GPU")]
)
def test_a_cluster_is_waited_for_and_not_for_ever(hardware: Hardware, who: str) -> None:
    said: list[str] = []
    with pytest.raises(
        InvalidInput, match=rf"no room for {who}: the cluster at ray-head:6379 has \d [CG]PU, \d of them free"
    ):
        room.find(hardware, ELSEWHERE, said.append)
    (told,) = said
    assert told.startswith(f"waiting up to 1 s for room for {who}")


def test_a_run_begins_when_another_leaves_it_room() -> None:
    other, said = placement_group([{"CPU": 1}] * CORES), list[str]()
    ray.get(other.ready())

    def say(text: str) -> None:
        said.append(text)
        remove_placement_group(other)

    room.find(Hardware(CORES, CORES), ELSEWHERE.model_copy(update={"training": Training(room_wait_s=60)}), say)
    assert len(said) == 1
    room.find(Hardware(CORES, CORES), ELSEWHERE, said.append)
    assert len(said) == 1, "what it waited with is given back"


def test_room_that_is_lost_in_the_middle_of_a_run_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    run = cluster.Run("lost", Storage(str(tmp_path)), Hardware(9, 9), Training(room_wait_s=1))
    with pytest.raises(Unavailable, match=r"the workers of lost cannot be started: .*timed out.*`ray status`"):
        cluster.fit(lambda config: None, {}, run, print, print)
