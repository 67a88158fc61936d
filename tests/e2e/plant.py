"""Runs in a pod: registers three versions beside the champion, for a rehearsal of rollouts.

- `good`: the champion's bundle under another number, so that nothing speaks against it;
- `broken`: its ranker is not a program, as if it had been written by a training run that went wrong;
- `worse`: the catalogue upside down. It takes each item for the one at the other end of popularity; it loads, answers
  in time, and is clicked less.

Prints {"good": VERSION, "broken": VERSION, "worse": VERSION}.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

from tastemaker import bundle, config
from tastemaker.bundle import Bundle, PartValue
from tastemaker.registry import Registry


def main() -> None:
    """Register the three."""
    registry = Registry(config.load())
    source = bundle.read(registry.download(registry.resolve("champion")))
    print(json.dumps({name: _register(registry, source, name) for name in ("good", "broken", "worse")}))


def _register(registry: Registry, source: Bundle, name: str) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        changed = _changed(source, name, Path(scratch))
        draft = Path(scratch) / f"rehearsal-{name}"
        manifest = source.manifest
        bundle.write(
            draft,
            {part: changed.get(part, _value(source, part)) for part in manifest.parts},
            feature_service=manifest.feature_service,
            feature_schema=manifest.feature_schema,
            data_window=manifest.data_window,
        )
        return registry.register(draft, {}, {"rehearsal": name}, f"rehearsal-{name}").version


def _changed(source: Bundle, name: str, scratch: Path) -> dict[str, PartValue]:
    if name == "broken":
        ranker = scratch / "ranker.pt2"
        ranker.write_bytes(b"this is no program")
        return {"ranker": ranker}
    if name == "worse":
        return _upside_down(source, scratch)
    return {}


def _upside_down(source: Bundle, scratch: Path) -> dict[str, PartValue]:
    """Every part as it is, but each item in the place of its opposite: the most popular for the least popular one."""
    items = source.manifest.items
    popularity = source.json("popularity")
    order = np.array([*popularity["overall"], *sorted(set(range(items)) - set(popularity["overall"]))])
    opposite = np.empty(items, dtype=np.int32)
    opposite[order] = order[::-1]
    vectors = np.ascontiguousarray(source.array("item_vectors")[opposite])
    index = scratch / "index.faiss"
    flat = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    flat.train(vectors)
    flat.add(vectors)
    faiss.write_index(flat, str(index))
    neighbours = source.array("neighbours")
    return {
        "item_vectors": vectors,
        "index": index,
        "ranker_items": source.array("ranker_items")[opposite],
        "neighbours": np.where(neighbours < 0, neighbours, opposite[neighbours]),
        "popularity": {
            "overall": opposite[popularity["overall"]].tolist(),
            "category": _turned(popularity["category"], opposite),
            "segment": _turned(popularity["segment"], opposite),
        },
    }


def _turned(lists: dict[str, list[int]], opposite: npt.NDArray[np.int32]) -> dict[str, list[int]]:
    return {name: opposite[codes].tolist() for name, codes in lists.items()}


def _value(source: Bundle, part: str) -> PartValue:
    """A part as `bundle.write` takes it."""
    file = source.file(part)
    if file.suffix == ".npy":
        return source.array(part)
    if file.suffix == ".json":
        return source.json(part)
    if file.suffix == ".parquet":
        return source.table(part)
    return file


if __name__ == "__main__":
    main()
