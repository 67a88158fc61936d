from __future__ import annotations

import numpy as np
import pytest

from tastemaker.bundle import Bundle
from tastemaker.config import Serving, Settings
from tastemaker.features.profile import profile_width
from tastemaker_serving import offline

from .conftest import FUNNEL, NOW, trail_of

SETTINGS = Settings(serving=Serving(funnel=FUNNEL))


def test_a_replay_has_a_slate_for_everyone_and_knows_what_came_up(
    model_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "TIMED", 3)
    trails = [trail_of(number, number + 50) for number in range(40)]
    users = [f"u{number}" for number in range(40)]
    profiles = np.zeros((40, profile_width(20)), dtype=np.float32)

    found = offline.replay(model_bundle, SETTINGS, users, trails, profiles, NOW, n=20)

    assert found.slates.shape == (40, 20)
    assert all(len(set(slate)) == 20 for slate in found.slates.tolist())
    assert all(number not in slate for number, slate in enumerate(found.slates.tolist()))
    assert found.ranked[found.slates].all(), "a slate holds what was ranked"
    assert found.proposed[found.ranked].all(), "what is ranked was proposed"
    assert found.slates.shape[1] < found.ranked.sum() < found.proposed.sum()
    assert found.proposed[found.reached].all(), "what is reached was proposed"
    assert found.reached.sum() < found.proposed.sum()
    assert found.cpu_ms.shape == (3,)
    assert (found.cpu_ms > 0).all()


def test_one_user_reaches_a_twentieth_of_the_catalogue_however_much_is_proposed(model_bundle: Bundle) -> None:
    profiles = np.zeros((1, profile_width(20)), dtype=np.float32)
    found = offline.replay(model_bundle, SETTINGS, ["u"], [trail_of(1, 2)], profiles, NOW, n=20)
    assert found.proposed.sum() == 100
    assert found.reached.sum() == 15
