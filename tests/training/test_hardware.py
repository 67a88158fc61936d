from __future__ import annotations

import pytest

from tastemaker.errors import InvalidInput
from tastemaker_training.hardware import Hardware, hardware


@pytest.mark.parametrize(
    ("text", "expected", "ray"), [("1", Hardware(), 1), ("3", Hardware(3, 3), 3), ("1-4", Hardware(1, 4), (1, 4))]
)
def test_a_range_is_elastic(text: str, expected: Hardware, ray: int | tuple[int, int]) -> None:
    assert hardware(text) == expected
    assert hardware(text).workers == ray


@pytest.mark.parametrize("text", ["0", "4-2", "two", "-1", "1-", ""])
def test_what_is_no_number_of_workers_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="--workers"):
        hardware(text)
