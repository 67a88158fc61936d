from __future__ import annotations

from pathlib import Path

import numpy as np

from tastemaker import bundle
from tastemaker.features.definitions import schema_hash
from tastemaker_training.bench import synthetic


def test_a_synthetic_bundle_passes_every_check_and_is_the_same_for_a_seed(tmp_path: Path) -> None:
    synthetic.write(tmp_path / "a", items=40, dim=8)
    synthetic.write(tmp_path / "b", items=40, dim=8)

    one = bundle.read(tmp_path / "a", feature_schema=schema_hash())
    other = bundle.read(tmp_path / "b")

    assert (one.manifest.items, one.manifest.dim) == (40, 8)
    assert np.array_equal(one.array("item_vectors"), other.array("item_vectors"))
    neighbours = one.array("neighbours")
    assert all(code not in row and len(set(row)) == len(row) for code, row in enumerate(neighbours.tolist()))
