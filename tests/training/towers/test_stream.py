from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tastemaker import ray_session
from tastemaker.config import Settings
from tastemaker.training import Training
from tastemaker_training.checkpoints import Storage
from tastemaker_training.cluster import Run
from tastemaker_training.hardware import Hardware
from tastemaker_training.towers import loop, stream, worker
from tastemaker_training.towers.loop import Draws, Stage, Task
from tastemaker_training.towers.two_tower import Batch


@pytest.fixture
def stage(tower_task: Task) -> Stage:
    stage = tower_task.stages[0]
    profiles = np.random.default_rng(0).random(stage.profiles.shape).astype(np.float32)
    return Stage(**{**stage.__dict__, "profiles": profiles})


def test_rows_carry_everything(stage: Stage) -> None:
    back = stream.filled(stream.hollow(stage), stream.rows(stage, seed=0))
    assert back.interactions.user_ids == stage.interactions.user_ids
    for name in ("offsets", "items", "preferences", "timestamps"):
        np.testing.assert_array_equal(getattr(back.interactions, name), getattr(stage.interactions, name))
    np.testing.assert_array_equal(back.profiles, stage.profiles)


def test_a_hollow_stage_travels_light(stage: Stage) -> None:
    hollow = stream.hollow(stage)
    assert len(hollow.interactions.items) == 0
    assert len(hollow.profiles) == 1
    assert hollow.interactions.item_ids == stage.interactions.item_ids


def test_rows_are_shuffled_so_that_a_chunk_is_a_sample(stage: Stage) -> None:
    order = stream.rows(stage, seed=0)["row"].to_pylist()
    assert sorted(order) == list(range(60))
    assert order != sorted(order)
    assert order != stream.rows(stage, seed=1)["row"].to_pylist()


def test_a_part_of_the_rows_is_a_set_of_its_own(stage: Stage) -> None:
    table = stream.rows(stage, seed=0)
    part = stream.filled(stream.hollow(stage), table.slice(20, 7))
    assert part.interactions.user_ids == sorted(table["user"][20:27].to_pylist())
    whole = stage.interactions
    for row, user in enumerate(part.interactions.user_ids):
        here, there = part.interactions.of(row), whole.of(whole.user_ids.index(user))
        np.testing.assert_array_equal(part.interactions.items[here], whole.items[there])
        np.testing.assert_array_equal(part.profiles[here], stage.profiles[there])


def test_what_fits_is_held_and_more_streams(stage: Stage) -> None:
    table = stream.rows(stage, seed=0)
    assert stream.chunk_users(table, workers=1, memory=table.nbytes) is None
    assert stream.chunk_users(table, workers=2, memory=table.nbytes // 2 + 1) is None
    assert stream.chunk_users(table, workers=1, memory=table.nbytes // 2) == 10, "three chunks fit into a half"


def test_chunks_follow_one_another_and_are_made_ready_ahead(stage: Stage) -> None:
    table, made = stream.rows(stage, seed=0), list[int]()

    class Source:
        def __init__(self, rows: list[int]) -> None:
            self.rows = rows

        def draw(self, size: int) -> Batch:
            return self.rows  # type: ignore[return-value]

    def source(chunk: pa.Table) -> Draws:
        made.append(chunk.num_rows)
        return Source(chunk["row"].to_pylist())

    def endless() -> Iterator[pa.Table]:
        while True:
            yield from (table.slice(start, 7) for start in range(0, 60, 7))

    chunks = stream.Chunks(endless(), source)
    drawn: list[Any] = [chunks.draw(4) for _ in range(18)]
    assert drawn[0] == drawn[1], "seven users give two batches of four"
    assert drawn[1] != drawn[2]
    assert sorted(row for rows in drawn[::2] for row in rows) == list(range(60)), "a pass meets every user"
    assert max(made) == 7
    assert len(made) <= 9 + 2, "one chunk is made ready, no more"


@pytest.mark.parametrize(("hardware", "streams"), [(Hardware(2, 8), True), (Hardware(8, 8), False)])
def test_a_shard_fits_the_fewest_workers_or_is_streamed(hardware: Hardware, streams: bool, tmp_path: Path) -> None:
    table = pa.table({"row": np.arange(2**18)})
    settings = Training(shard_mb=table.nbytes / 8 / 2**20)
    users = worker.chunk_users(table, Run("elastic", Storage(str(tmp_path)), hardware, settings))
    assert (users is not None) == streams
    if users is not None:
        assert stream.RESIDENT_CHUNKS * users * 8 <= settings.shard_mb * 2**20


@pytest.mark.stack
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
def test_ray_fits_what_a_bare_loop_fits(tower_task: Task, tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    bare = loop.fit(tower_task)
    with ray_session.session(Settings(home=tmp_path), 2):
        passes = list(_two_passes(tower_task.stages[0]))
        one = Run("whole", Storage(str(tmp_path / "a")), Hardware(), Training())
        state = worker.fit(tower_task, one, heard.append, print)
        two = Run("chunks", Storage(str(tmp_path / "b")), Hardware(2, 2), Training(shard_mb=0.01))
        streamed = worker.fit(tower_task, two, print, print)
    assert state["curves"]["fit"]["loss"] == pytest.approx(bare["curves"]["fit"]["loss"], rel=1e-3), "the same arrays"
    assert heard[-1]["step"] == heard[-1]["steps"]
    first, second = streamed["curves"]["fit"]["loss"], bare["curves"]["fit"]["loss"]
    assert len(first) == len(second)
    assert np.mean(first[-5:]) == pytest.approx(np.mean(second[-5:]), rel=0.15), "other draws of the same data"
    assert sorted(passes[0]) == sorted(passes[1])
    assert passes[0] != passes[1], "each pass has an order of its own"


def _two_passes(stage: Stage) -> Iterator[list[int]]:
    """The users of a shard in the order of two passes over it."""
    chunks = stream.passes(stream.dataset(stream.rows(stage, seed=0), workers=1).iterator(), users=7)
    for _ in range(2):
        rows: list[int] = []
        while len(rows) < 60:
            rows += next(chunks)["row"].to_pylist()
        yield rows
