"""Decisions in the lake: `decisions/date=YYYY-MM-DD/*.parquet`, filed by the UTC day on which the lake received them.

A file may repeat what another holds, as a worker that dies writes its last ones again; readers take the first.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import fsspec
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from tastemaker import columns
from tastemaker.decisions.record import Decision, Dropped, Shown, Trace
from tastemaker.lake import TIMESTAMP_TYPE, Lake
from tastemaker.preferences import Preferences

FOLDER: Final = "decisions"
TRACE: Final = "trace"
_FLOATS = pa.list_(pa.float32())
_STRINGS = pa.list_(pa.string())
_NUMBERS_BY_NAME = pa.map_(pa.string(), pa.float64())
_DROPPED = pa.struct([("stage", pa.string()), ("why", pa.string()), ("item_ids", _STRINGS), ("values", _FLOATS)])
_TRACE = pa.struct(
    [
        ("query", pa.binary()),
        ("now", pa.int64()),
        ("trail", pa.binary()),
        ("profile", _FLOATS),
        ("candidates", _STRINGS),
        ("sources", _STRINGS),
        ("scores", _FLOATS),
        ("signal_names", _STRINGS),
        ("signals", _FLOATS),  # of all candidates by the first signal, then by the second, …
        ("ranked", pa.int32()),
        ("dropped", pa.list_(_DROPPED)),
        ("slate", _STRINGS),
        ("live", pa.map_(pa.string(), _STRINGS)),
        (columns.COUNTRY, pa.string()),
        ("preferences", pa.struct([("categories", _STRINGS), ("items", _STRINGS)])),
    ]
)
_SHOWN = pa.struct(
    [
        (columns.ITEM_ID, pa.string()),
        ("score", pa.float64()),
        ("source", pa.string()),
        ("reason", pa.string()),
        ("propensity", pa.float64()),
    ]
)
SCHEMA: Final = pa.schema(
    [
        (columns.REQUEST_ID, pa.string()),
        (columns.USER_ID, pa.string()),
        (columns.SCENE, pa.string()),
        (columns.TIMESTAMP, TIMESTAMP_TYPE),
        ("n", pa.int32()),
        (columns.DEVICE, pa.string()),
        ("exclude", _STRINGS),
        ("colour", pa.string()),
        ("routing", pa.string()),
        ("experiments", pa.map_(pa.string(), pa.string())),
        ("model_version", pa.string()),
        ("served_from", pa.string()),
        ("degraded", _STRINGS),
        ("stage_ms", _NUMBERS_BY_NAME),
        ("items", pa.list_(_SHOWN)),
        ("origin", pa.string()),
        (TRACE, _TRACE),
    ]
)


def append(lake: Lake, decisions: Sequence[Decision]) -> None:
    """Add decisions as one new file."""
    if decisions:
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"
        lake.write(f"{FOLDER}/date={datetime.now(UTC):%Y-%m-%d}/{name}", to_arrow(decisions))


def files(lake: Lake) -> list[str]:
    """Names of all files, relative to the lake, in the order of arrival."""
    return [name for name in lake.files(FOLDER) if name.endswith(".parquet")]


@retry(retry=retry_if_exception_type(FileNotFoundError), stop=stop_after_attempt(5), reraise=True)
def find(lake: Lake, request_id: str) -> Decision | None:
    """The decision of one request, that of a cached slate with the trace of the request that computed it.

    Looked for again where a file went meanwhile: too old ones are deleted (`retention`).

    Returns:
        None where the lake has none.
    """
    decision = _find(lake, request_id)
    if decision is None or not decision.origin:
        return decision
    return decision.computed_by(_find(lake, decision.origin))


def _find(lake: Lake, request_id: str) -> Decision | None:
    source = _dataset(lake)
    if source is None:
        return None
    wanted = ds.field(columns.REQUEST_ID) == request_id
    # Only the ids of all files are read, and the rest of the one that has it.
    files = source.to_table(columns=["__filename"], filter=wanted)["__filename"].to_pylist()
    if not files:
        return None
    found = ds.dataset(files[0], SCHEMA, format="parquet", filesystem=source.filesystem).to_table(filter=wanted)
    return from_row(found.slice(0, 1).to_pylist()[0])


def traced(lake: Lake, since: datetime | None = None, scene: str | None = None) -> Iterator[Decision]:
    """Decisions in full detail, once each, in the order of arrival.

    Args:
        since: those of requests from then on.
        scene: those of this scene.
    """
    source = _dataset(lake)
    if source is None:
        return
    wanted = ds.field(TRACE).is_valid()
    if since is not None:
        wanted &= ds.field(columns.TIMESTAMP) >= pa.scalar(since, TIMESTAMP_TYPE)
    if scene is not None:
        wanted &= ds.field(columns.SCENE) == scene
    known: set[str] = set()
    for batch in source.to_batches(filter=wanted, batch_size=100):
        for row in batch.to_pylist():
            if row[columns.REQUEST_ID] not in known:
                known.add(row[columns.REQUEST_ID])
                yield from_row(row)


def to_arrow(decisions: Sequence[Decision]) -> pa.Table:
    """Decisions as a table in SCHEMA."""
    return pa.Table.from_pylist([_row(decision) for decision in decisions], SCHEMA)


def from_row(row: dict[str, Any]) -> Decision:
    """The decision in a row of SCHEMA."""
    told = dict(row)
    told["time"] = told.pop(columns.TIMESTAMP).timestamp()
    told["experiments"], told["stage_ms"] = dict(told["experiments"]), dict(told["stage_ms"])
    told["items"] = [Shown(**item) for item in told["items"]]
    trace = told[TRACE]
    if trace is not None:
        arrays = {name: _bytes(trace[name]) for name in ("profile", "scores", "signals")}
        said = trace["preferences"]
        whole = {
            "live": dict(trace["live"]),
            "dropped": [Dropped(**drop) for drop in trace["dropped"]],
            "preferences": said and Preferences(tuple(said["categories"]), tuple(said["items"])),
        }
        told[TRACE] = Trace(**(trace | arrays | whole))
    return Decision(**told)


def _row(decision: Decision) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(decision, builtin_types=(bytes,))
    row[columns.TIMESTAMP] = datetime.fromtimestamp(row.pop("time"), UTC)
    row["experiments"], row["stage_ms"] = list(row["experiments"].items()), list(row["stage_ms"].items())
    if row[TRACE] is not None:
        row[TRACE]["live"] = list(row[TRACE]["live"].items())
        for name in ("profile", "scores", "signals"):
            row[TRACE][name] = np.frombuffer(row[TRACE][name], np.float32)
    return row


def _bytes(values: list[float]) -> bytes:
    return np.array(values, np.float32).tobytes()


def _dataset(lake: Lake) -> Any:
    """All files as one; None where there is none."""
    filesystem, root = fsspec.url_to_fs(lake.url)
    files = sorted(filesystem.glob(f"{root}/{FOLDER}/date=*/*.parquet"))
    return ds.dataset(files, SCHEMA, format="parquet", filesystem=filesystem) if files else None
