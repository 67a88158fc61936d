"""Where a run keeps what it may go on from: any fsspec URL that all its workers reach."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.fs
import ray.train
import torch

from tastemaker.config import Settings
from tastemaker.errors import InvalidInput

FILE = "state.pt"
ALIVE = "alive"
"""File in a run's folder: when it was last known to be under way, as an ISO 8601 time."""
ABANDONED = timedelta(days=7)
"""A folder whose run was not heard of for so long is cleared."""
State = dict[str, Any]


@dataclass(frozen=True)
class Storage:
    """A folder for the checkpoints of one run."""

    url: str  # file path, s3://, gs:// … of a store that outlives the process

    def __post_init__(self) -> None:
        if self.url.startswith("memory:"):
            raise InvalidInput(
                f"checkpoints cannot lie at {self.url}: another process would not find them",
                "Give a path or an s3:// or gs:// URL",
            )

    @cached_property
    def path(self) -> str:
        """The folder's path in its file system."""
        return str(self._found[1])

    @cached_property
    def filesystem(self) -> pyarrow.fs.FileSystem:
        """The file system as Ray Train takes it."""
        filesystem = self._found[0]
        if "file" in filesystem.protocol:
            # Ray reads a checkpoint in place where the file system is Arrow's own local one.
            return pyarrow.fs.LocalFileSystem()
        return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem))

    def touch(self) -> None:
        """Note that the run is under way: its folder is not to be cleared."""
        filesystem, path = self._found
        filesystem.makedirs(path, exist_ok=True)
        filesystem.pipe_file(f"{path}/{ALIVE}", datetime.now(UTC).isoformat().encode())

    def forget(self) -> None:
        """Remove the folder, when the run is over."""
        filesystem, path = self._found
        if filesystem.exists(path):
            filesystem.rm(path, recursive=True)

    @cached_property
    def _found(self) -> tuple[fsspec.AbstractFileSystem, str]:
        try:
            filesystem, path = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise InvalidInput(
                f"no file system for checkpoints at {self.url}: {error}", "Install what it names, or use another URL"
            ) from error
        return filesystem, path


def storage(settings: Settings, run: str) -> Storage:
    """Where the run of this name keeps its checkpoints."""
    return Storage(f"{_folder(settings)}/{run}")


def clear(settings: Settings) -> list[str]:
    """Remove the folders of runs that nobody went on with for ABANDONED; returns their names.

    A folder without an `alive` of ours is somebody else's, and stays.
    """
    filesystem, folder = Storage(_folder(settings))._found
    cleared = []
    for path in filesystem.ls(folder, detail=False) if filesystem.isdir(folder) else ():
        try:
            last = datetime.fromisoformat(filesystem.cat_file(f"{path}/{ALIVE}").decode())
            if datetime.now(UTC) - last > ABANDONED:
                filesystem.rm(path, recursive=True)
                cleared.append(path.rstrip("/").rpartition("/")[2])
        except (OSError, ValueError):
            continue
    return cleared


def _folder(settings: Settings) -> str:
    """The URL of the folder of all runs."""
    return (settings.training.storage_url or str((settings.home / "runs").absolute())).rstrip("/")


def load(checkpoint: ray.train.Checkpoint) -> State:
    """The state that a checkpoint holds: tensors and numbers only."""
    with checkpoint.as_directory() as directory:
        return torch.load(Path(directory) / FILE, weights_only=True, map_location="cpu")  # type: ignore[no-any-return]


def last() -> State | None:
    """On a worker: the state that it goes on from, None where it starts afresh."""
    checkpoint = ray.train.get_checkpoint()
    return load(checkpoint) if checkpoint else None


def report(state: State, metrics: dict[str, Any], rank: int) -> None:
    """On every worker: report `metrics` and, from rank 0, `state` as a checkpoint."""
    if rank != 0:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as directory:
        torch.save(state, Path(directory) / FILE)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(directory))
