from __future__ import annotations

import pytest
from pydantic import ValidationError

from tastemaker.decisions.sampling import Decisions, Shares


def test_chance_decides_how_a_request_is_logged() -> None:
    shares = Shares(slates=0.5, full=0.1)
    assert [shares.detail_at(chance) for chance in (0.0, 0.09, 0.1, 0.49, 0.5, 0.99)] == [
        "full",
        "full",
        "slate",
        "slate",
        None,
        None,
    ]


def test_a_scene_may_have_shares_of_its_own() -> None:
    decisions = Decisions(slates=0, full=0, scenes={"news": Shares(slates=1, full=1)})
    assert decisions.detail_of("home", 0.0) is None
    assert decisions.detail_of("news", 0.99) == "full"


def test_more_in_full_than_at_all_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"`full` \(0.5\) must not exceed `slates` \(0.1\)"):
        Shares(slates=0.1, full=0.5)
