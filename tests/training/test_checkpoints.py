from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pyarrow.fs
import pytest

from tastemaker.config import Settings
from tastemaker.errors import InvalidInput
from tastemaker.training import Training
from tastemaker_training.checkpoints import ABANDONED, Storage, clear, storage


def test_checkpoints_lie_in_the_state_directory_unless_a_url_is_given(tmp_path: Path) -> None:
    assert storage(Settings(home=tmp_path), "a").path == str(tmp_path / "runs" / "a")
    elsewhere = Settings(home=tmp_path, training=Training(storage_url="s3://bucket/runs/"))
    assert storage(elsewhere, "a").url == "s3://bucket/runs/a"


def test_a_local_folder_is_read_in_place_and_forgotten(tmp_path: Path) -> None:
    folder = Storage(f"file://{tmp_path}/runs")
    assert isinstance(folder.filesystem, pyarrow.fs.LocalFileSystem)
    folder.filesystem.create_dir(f"{folder.path}/two-tower")
    folder.forget()
    assert not (tmp_path / "runs").exists()
    folder.forget()


def test_any_other_file_system_is_one_of_arrow_too(tmp_path: Path) -> None:
    folder = Storage(f"simplecache::file://{tmp_path}/runs")
    folder.filesystem.create_dir(folder.path)
    with folder.filesystem.open_output_stream(f"{folder.path}/state.pt") as file:
        file.write(b"state")
    assert fsspec.open(f"file://{tmp_path}/runs/state.pt").open().read() == b"state"


def test_only_runs_that_nobody_came_back_for_are_cleared(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, training=Training(storage_url=f"file://{tmp_path}/runs"))
    assert clear(settings) == []
    for name in ("live", "resumed", "abandoned", "another's"):
        (tmp_path / "runs" / name / "two-tower").mkdir(parents=True)
    long_ago = (datetime.now(UTC) - ABANDONED - timedelta(minutes=1)).isoformat()
    for name in ("resumed", "abandoned"):
        (tmp_path / "runs" / name / "alive").write_text(long_ago)
    for name in ("live", "resumed"):
        storage(settings, name).touch()
    (tmp_path / "runs" / "another's" / "alive").write_text("and well")
    (tmp_path / "runs" / "a file").write_text(long_ago)
    assert clear(settings) == ["abandoned"]
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"live", "resumed", "another's", "a file"}


@pytest.mark.parametrize("url", ["memory://runs", "nowhere://runs"])
def test_what_no_other_process_would_find_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="runs"):
        Storage(url).filesystem  # noqa: B018
