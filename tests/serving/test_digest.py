from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tastemaker.bundle import Bundle
from tastemaker.config import Settings
from tastemaker.errors import InvalidInput, Unavailable
from tastemaker_serving import digest
from tastemaker_serving.batch import Models, Plan
from tastemaker_serving.bench import seed_users

USERS = 300
PART = 10
RUN = """
import sys
from pathlib import Path
from tastemaker.config import Settings
from tastemaker_serving import digest
from tastemaker_serving.batch import Models, Plan
home, redis_url, bundle, out = sys.argv[1:]
plan = Plan.of(Settings(home=Path(home)), redis_url, Models("tastemaker/7", Path(bundle)))
digest.write(plan, out, 5, None, lambda: [f"u{number}" for number in range(300)], part_users=10)
"""


def plan_for(home: Path, redis_url: str, bundle: Bundle, version: str = "tastemaker/7") -> Plan:
    return Plan.of(Settings(home=home), redis_url, Models(version, bundle.path))


def everyone() -> list[str]:
    return [f"u{number}" for number in range(USERS)]


def nobody() -> list[str]:
    raise AssertionError("users are looked up where a run begins")


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", RUN, *arguments], start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.stack
@pytest.mark.timeout(600)
def test_a_killed_run_goes_on_and_every_user_is_there_once(
    tmp_path: Path, redis_url: str, model_bundle: Bundle
) -> None:
    out = tmp_path / "digest.parquet"
    work = tmp_path / ".digest.parquet.parts"
    with started(str(tmp_path), redis_url, str(model_bundle.path), str(out)) as process:
        deadline = time.monotonic() + 300
        while len(list(work.glob("part-*.parquet"))) < 3:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(2)  # workers that were over a part file it, or die
    done = {file.name: file.stat().st_mtime_ns for file in work.glob("part-*.parquet")}
    assert 3 <= len(done) < USERS / PART
    assert not out.exists()

    summary = digest.write(
        plan_for(tmp_path, redis_url, model_bundle), str(out), 5, None, nobody, _untouched(work, done), part_users=PART
    )

    assert (summary.users, summary.users_before, summary.rows) == (USERS, PART * len(done), USERS * 5)
    slates = pq.read_table(out)
    assert slates.schema.names == digest.SLATES.names
    assert Counter(slates["user_id"].to_pylist()) == dict.fromkeys(everyone(), 5)
    assert len(set(zip(slates["user_id"].to_pylist(), slates["item_id"].to_pylist(), strict=True))) == USERS * 5
    assert slates["position"].to_pylist() == list(range(5)) * USERS
    assert set(slates["model_version"].to_pylist()) == {"tastemaker/7"}
    assert not work.exists()


def _untouched(work: Path, done: dict[str, int]) -> Any:
    """A progress that checks, while the work is there, that nothing that was done is done again."""

    def progress(_done: int, _all: int) -> None:
        assert {name: (work / name).stat().st_mtime_ns for name in done} == done

    return progress


@pytest.mark.stack
def test_users_of_a_file_get_the_slates_that_serving_gives_them_as_csv(
    tmp_path: Path, redis_url: str, model_bundle: Bundle
) -> None:
    items = [f"item-{code}" for code in range(model_bundle.manifest.items)]
    users = seed_users(redis_url, items, users=3, events=8)
    out = tmp_path / "of, some.csv"
    settings = Settings(home=tmp_path, scenes={"digest": {"explore": {"share": 1.0}}})
    plan = Plan.of(settings, redis_url, Models("tastemaker/7", model_bundle.path))
    summary = digest.write(plan, str(out), 4, [*users, "stranger", users[0]], nobody)
    assert (summary.users, summary.rows) == (4, 16)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(dict.fromkeys(row["user_id"] for row in rows)) == [*users, "stranger"]
    assert all(0 < float(row["score"]) < 1 for row in rows)
    assert "explore" not in {row["source"] for row in rows}
    assert os.listdir(tmp_path) == [out.name] or ".of, some.csv.parts" not in os.listdir(tmp_path)


def test_another_model_or_length_begins_anew(tmp_path: Path) -> None:
    work = str(tmp_path / "work")
    wanted = digest.Wanted("tastemaker/7", 5, "digest", "", PART)
    assert digest._begin_or_continue(work, wanted, None, lambda: ["a", "b"]) == ["a", "b"]
    assert digest._begin_or_continue(work, wanted, None, nobody) == ["a", "b"]
    (tmp_path / "work" / "part-000000.parquet").touch()
    other = digest.Wanted("tastemaker/8", 5, "digest", "", PART)
    assert digest._begin_or_continue(work, other, None, lambda: ["c"]) == ["c"]
    assert not (tmp_path / "work" / "part-000000.parquet").exists()


def test_an_unfinished_run_of_the_day_before_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = str(tmp_path / "work")
    wanted = digest.Wanted("tastemaker/7", 5, "digest", "", PART)
    digest._begin_or_continue(work, wanted, None, lambda: ["a"])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + digest.LASTING_S + 1)
    assert digest._begin_or_continue(work, wanted, None, lambda: ["b"]) == ["b"]


@pytest.mark.parametrize("out", ["digest", "digest.xlsx", ".csv", "folder/"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, model_bundle: Bundle, out: str) -> None:
    with pytest.raises(InvalidInput, match="no file"):
        digest.write(plan_for(tmp_path, "redis://nowhere", model_bundle), out, 5, ["a"], nobody)


def test_nobody_is_refused(tmp_path: Path, model_bundle: Bundle) -> None:
    with pytest.raises(InvalidInput, match="nobody"):
        digest.write(plan_for(tmp_path, "redis://nowhere", model_bundle), str(tmp_path / "a.csv"), 5, [], nobody)
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.stack
def test_without_redis_nothing_is_written_and_the_reason_told(tmp_path: Path, model_bundle: Bundle) -> None:
    out = tmp_path / "digest.parquet"
    with pytest.raises(Unavailable, match="degraded: trails, features"):
        digest.write(plan_for(tmp_path, "redis://127.0.0.1:1", model_bundle), str(out), 5, ["a"], nobody)
    assert not out.exists()
