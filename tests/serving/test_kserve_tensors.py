from __future__ import annotations

from pathlib import Path

import pytest

from tastemaker_serving.kserve_tensors import RANKER_INPUTS, RANKER_OUTPUTS, TOWER_INPUTS, TOWER_OUTPUTS, Tensor

DOCUMENT = Path(__file__).parents[2] / "docs" / "kserve.md"


@pytest.mark.parametrize("tensor", [*RANKER_INPUTS, *RANKER_OUTPUTS, *TOWER_INPUTS, *TOWER_OUTPUTS])
def test_the_documentation_lists_every_tensor(tensor: Tensor) -> None:
    shape = ", ".join(map(str, tensor.shape))
    assert f"| `{tensor.name}` | {tensor.datatype} | ({shape}) | {tensor.about} |" in DOCUMENT.read_text()
