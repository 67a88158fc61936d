from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tastemaker import bundle
from tastemaker.errors import BundleMismatch, NotFound
from tastemaker.lake import ITEM_SCHEMA
from tastemaker.manifest import MANIFEST, Manifest

WINDOW = (datetime(2018, 1, 1, tzinfo=UTC), datetime(2018, 9, 24, tzinfo=UTC))
ITEMS = 4


def make_parts(tmp_path: Path) -> dict[str, Any]:
    blob = tmp_path / "program.pt2"
    blob.write_bytes(b"a program")
    return {
        "items": pa.table({"item_id": [f"i{code}" for code in range(ITEMS)], "title": ["a", "b", "c", "d"]}),
        "item_vectors": np.arange(ITEMS * 3, dtype=np.float32).reshape(ITEMS, 3),
        "index": blob,
        "als_factors": np.zeros((ITEMS, 2), dtype=np.float32),
        "als_gram": np.eye(2, dtype=np.float32),
        "content_vectors": np.zeros((ITEMS, 2), dtype=np.float32),
        "content_idf": np.zeros(8, dtype=np.float32),
        "content_directions": np.zeros((8, 2), dtype=np.float16),
        "neighbours": np.zeros((ITEMS, 2), dtype=np.int32),
        "neighbour_weights": np.zeros((ITEMS, 2), dtype=np.float32),
        "user_tower": blob,
        "ranker": blob,
        "ranker_items": np.zeros((ITEMS, 5), dtype=np.float16),
        "popularity": {"overall": [0, 1, 2, 3]},
        "vocabulary": ["drama"],
        "report": {},
        "recipe": {},
    }


def write(path: Path, parts: dict[str, Any]) -> Manifest:
    return bundle.write(path, parts, feature_service="ranking_v1", feature_schema="abc", data_window=WINDOW)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write(tmp_path / "bundle", make_parts(tmp_path))
    return tmp_path / "bundle"


def test_what_was_written_is_read_back(written: Path) -> None:
    opened = bundle.read(written, feature_schema="abc")
    assert opened.manifest.items == ITEMS
    assert opened.manifest.dim == 3
    assert opened.array("item_vectors")[1].tolist() == [3, 4, 5]
    assert opened.table("items")["title"].to_pylist() == ["a", "b", "c", "d"]
    assert opened.items().schema == ITEM_SCHEMA
    assert opened.items()["author"].to_pylist() == [None] * ITEMS
    assert opened.json("vocabulary") == ["drama"]
    assert opened.file("user_tower").read_bytes() == b"a program"


def test_the_version_names_the_content(tmp_path: Path, written: Path) -> None:
    again = write(tmp_path / "again", make_parts(tmp_path))
    other = write(tmp_path / "other", make_parts(tmp_path) | {"vocabulary": ["comedy"]})
    here = bundle.read(written).manifest.version
    assert again.version == here
    assert other.version != here


def test_no_bundle_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="tastemaker train"):
        bundle.read(tmp_path)


def test_a_missing_part_is_named_when_writing(tmp_path: Path) -> None:
    parts = make_parts(tmp_path)
    del parts["ranker"]
    with pytest.raises(BundleMismatch, match="lacks ranker"):
        write(tmp_path / "bundle", parts)


def test_a_refused_bundle_leaves_nothing_and_the_old_one_stays(tmp_path: Path, written: Path) -> None:
    short = make_parts(tmp_path) | {"ranker_items": np.zeros((ITEMS - 1, 5), dtype=np.float16)}
    with pytest.raises(BundleMismatch, match="ranker_items has 3 rows for 4 items"):
        write(written, short)
    assert bundle.read(written).array("ranker_items").shape == (ITEMS, 5)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["bundle"]


@pytest.mark.parametrize("part", ["index", "item_vectors", "popularity"])
def test_an_altered_part_is_refused(written: Path, part: str) -> None:
    file = bundle.read(written).file(part)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleMismatch, match=rf"part {part} .*checksum differs"):
        bundle.read(written)


def test_a_lost_file_is_refused(written: Path) -> None:
    bundle.read(written).file("ranker").unlink()
    with pytest.raises(BundleMismatch, match=r"part ranker .* is missing"):
        bundle.read(written)


def test_only_the_parts_asked_for_are_checked(written: Path) -> None:
    bundle.read(written).file("ranker").unlink()
    assert bundle.read(written, only=("items", "popularity")).json("popularity") == {"overall": [0, 1, 2, 3]}


def test_items_of_another_catalogue_are_refused(tmp_path: Path, written: Path) -> None:
    others = make_parts(tmp_path)
    others["items"] = pa.table({"item_id": ["x", "y", "z", "w"], "title": ["a", "b", "c", "d"]})
    write(tmp_path / "others", others)
    foreign = json.loads((tmp_path / "others" / MANIFEST).read_text())["parts"]["items"]
    manifest = json.loads((written / MANIFEST).read_text())
    manifest["parts"]["items"] = foreign
    (written / MANIFEST).write_text(json.dumps(manifest))
    (written / "items.parquet").write_bytes((tmp_path / "others" / "items.parquet").read_bytes())
    with pytest.raises(BundleMismatch, match="items are not the catalogue"):
        bundle.read(written)


def test_another_feature_schema_is_refused(written: Path) -> None:
    with pytest.raises(BundleMismatch, match=r"feature schema abc, this installation has\s+xyz"):
        bundle.read(written, feature_schema="xyz")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 3}, "has format 3, this installation reads 2"),
        ({"surprise": 1}, "'surprise'"),
        ({"libraries": {"torch": "99.0.0"}}, r"written with torch 99\.0\.0"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(written: Path, change: dict[str, Any], reason: str) -> None:
    file = written / MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(BundleMismatch, match=reason):
        bundle.read(written)


def test_a_part_outside_the_bundle_is_refused(written: Path) -> None:
    file = written / MANIFEST
    manifest = json.loads(file.read_text())
    manifest["parts"]["report"]["file"] = "../program.pt2"
    file.write_text(json.dumps(manifest))
    with pytest.raises(BundleMismatch, match="outside the bundle"):
        bundle.read(written)
