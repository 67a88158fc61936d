"""Runs in a pod: registers three versions beside the champion, for a rehearsal of rollouts.

- `good`: the champion's bundle under another number, so that nothing speaks against it;
- `broken`: its ranker is not a program, as if it had been written by a training run that went wrong;
- `worse`: it ranks the catalogue upside down: each item has the ranker's features of the item at the other end of
  popularity. It loads, answers in time, and is clicked less.

Prints {"good": VERSION, "broken": VERSION, "worse": VERSION}.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

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
        halves = source.array("ranker_items")
        popular = source.json("popularity")["overall"]
        order = np.array([*popular, *sorted(set(range(len(halves))) - set(popular))])
        upside_down = np.empty_like(halves)
        upside_down[order] = halves[order[::-1]]
        return {"ranker_items": upside_down}
    return {}


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
