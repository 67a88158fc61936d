"""What `bench quality` is asked for, and what it calls what it measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tastemaker.errors import InvalidInput
from tastemaker_training.quality.run import measure


@pytest.mark.parametrize(
    ("layout", "asked", "problem"),
    [
        ("ctr", {"model": "als"}, "for the ranker alone, not for 'als'"),
        ("ctr", {"model": "hybrid", "delay": "60"}, "--delay is for --format clicks"),
        ("ctr", {"model": "hybrid", "train_on_validation": True}, "ctr has no validation items"),
        ("clicks", {"model": "hybrid", "train_on_validation": True}, "clicks has no validation items"),
        ("clicks", {"model": "hybrid", "delay": "soon"}, "neither seconds nor 'hour'"),
        ("pairs", {"model": "hybrid", "delay": "hour"}, "not for pairs"),
    ],
)
def test_what_a_format_does_not_have_is_refused(
    tmp_path: Path, layout: str, asked: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidInput, match=problem):
        measure(layout, tmp_path, **asked)


def test_what_ctr_tables_measure_is_called_the_ranker(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.csv").write_text("label,user\n" + "0,a\n1,b\n" * 20)
    outcome = measure("ctr", tmp_path, "hybrid")
    assert outcome.model == "ranker"
    assert outcome.metrics["auc"] == 1.0
