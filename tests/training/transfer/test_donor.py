from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tastemaker import columns
from tastemaker.errors import InvalidInput, NotFound
from tastemaker_training.bench import synthetic
from tastemaker_training.transfer import donor


def parquet(path: Path, **values: Any) -> Path:
    pq.write_table(pa.table({"item_id": ["a", "b"], "vector": [[1.0, 0.0], [0.0, 1.0]], **values}), path)
    return path


def test_a_file_of_vectors_brings_ids_and_what_else_it_says(tmp_path: Path) -> None:
    read = donor.read(parquet(tmp_path / "v.parquet", title=["A", None], popularity=[1, 5]), None)
    assert read.same_ids
    assert read.vectors.tolist() == [[1, 0], [0, 1]]
    assert read.items[columns.TITLE].to_pylist() == ["A", None]
    assert read.popularity == {"overall": [1, 0]}


def test_an_array_takes_its_ids_from_a_file_beside_it(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(2))
    (tmp_path / "ids.txt").write_text("a\nb\n")
    read = donor.read(tmp_path / "v.npy", tmp_path / "ids.txt")
    assert read.items[columns.ITEM_ID].to_pylist() == ["a", "b"]
    assert read.vectors.tolist() == [[1, 0], [0, 1]]


def test_a_bundle_brings_its_items_and_its_popularity(tmp_path: Path) -> None:
    synthetic.write(tmp_path / "bundle", items=30, dim=8)
    read = donor.read(tmp_path / "bundle", None)
    assert (read.same_ids, read.vectors.shape, read.items.num_rows) == (False, (30, 8), 30)
    assert len(read.popularity["overall"]) == 30


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vector": [[1.0, 2.0], [1.0]]}, r"row 1: the vector has 1 numbers, that of row 0 has 2"),
        ({"vector": [[1.0, 2.0], None]}, r"row 1: the vector has 0 numbers"),
        ({"vector": [[1.0, 2.0], [1.0, float("nan")]]}, r"row 1: number 1 of the vector is nan"),
        ({"vector": [1.0, 2.0]}, r"column vector holds double"),
        ({"item_id": ["a", "a"]}, r"row 1: item 'a' has row 0, too"),
        ({"item_id": ["a", None]}, r"row 1: there is no item_id"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        donor.read(parquet(tmp_path / "v.parquet", **values), None)


def test_what_is_no_donor_is_refused_with_what_would_be_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no file .*nowhere.parquet.*item_id and vector"):
        donor.read(tmp_path / "nowhere.parquet", None)
    (tmp_path / "v.csv").write_text("a,1")
    with pytest.raises(InvalidInput, match="no known kind"):
        donor.read(tmp_path / "v.csv", None)
    (tmp_path / "v.parquet").write_text("a,1")
    with pytest.raises(InvalidInput, match="not Parquet"):
        donor.read(tmp_path / "v.parquet", None)
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "w.parquet")
    with pytest.raises(InvalidInput, match="no column item_id and no column vector, but id"):
        donor.read(tmp_path / "w.parquet", None)
    np.save(tmp_path / "v.npy", np.eye(2))
    with pytest.raises(InvalidInput, match="--ids"):
        donor.read(tmp_path / "v.npy", None)
    (tmp_path / "ids.txt").write_text("a\n")
    with pytest.raises(InvalidInput, match="1 ids for the 2 rows"):
        donor.read(tmp_path / "v.npy", tmp_path / "ids.txt")
