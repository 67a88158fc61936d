from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from tastemaker.bundle import Bundle
from tastemaker.config import Settings
from tastemaker_training import recipes, report
from tastemaker_training.evaluation import slates
from tastemaker_training.evaluation.metrics import judgements
from tastemaker_training.interactions import Interactions, split_by_time
from tastemaker_training.quality.problem import bare_catalogue
from tastemaker_training.towers.inputs import item_inputs
from tastemaker_training.towers.two_tower import TwoTower, export_user_tower

ITEMS, PROFILE = 12, 5
RECIPE = recipes.smoke().two_tower


def world(users: int) -> Interactions:
    """Each user with five events of likes."""
    return Interactions(
        user_ids=[f"u{user}" for user in range(users)],
        item_ids=[f"i{item}" for item in range(ITEMS)],
        offsets=np.arange(users + 1) * 5,
        items=np.random.default_rng(0).integers(0, ITEMS, users * 5),
        preferences=np.ones(users * 5, dtype=np.float32),
        timestamps=np.tile(np.arange(5), users),
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """What the report asks of a bundle with an untrained model."""
    nothing = np.zeros((ITEMS, 0), dtype=np.float32)
    known = world(8)
    inputs = item_inputs(bare_catalogue(known.item_ids), nothing, known, 0.6, RECIPE)
    model = TwoTower(inputs, PROFILE, RECIPE).eval()
    program = tmp_path_factory.mktemp("bundle") / "tower.pt2"
    torch.export.save(export_user_tower(model, PROFILE), program)
    documents: dict[str, Any] = {"recipe": {"user_buckets": RECIPE.user_buckets}, "vocabulary": []}
    vectors = model.item_vectors().detach().numpy()
    told = SimpleNamespace(
        json=documents.__getitem__,
        manifest=SimpleNamespace(data_window=(None, datetime.fromtimestamp(10, UTC))),
        file=lambda _: program,
        array=lambda _: vectors,
    )
    return cast(Bundle, told)


@pytest.fixture(autouse=True)
def without_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "Features", lambda _: None)
    monkeypatch.setattr(
        report, "cut_profiles", lambda _, split, users, categories: np.zeros((len(users), PROFILE), "f4")
    )


def test_more_users_than_the_exported_tower_takes_at_once_are_asked_about(bundle: Bundle) -> None:
    split = split_by_time(world(4_097), 0.2)
    found = report.two_tower_slates(bundle, Settings(), split, judgements(split, 0.6), 4)
    assert found.shape == (4_097, 4)


def test_a_slate_has_the_nearest_unseen_and_is_padded_where_the_catalogue_is_smaller(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = split_by_time(world(20), 0.2)
    truth = judgements(split, 0.6)
    whole = report.two_tower_slates(bundle, Settings(), split, truth, 20)
    assert whole.shape == (20, 20)
    for user, slate in zip(truth.users, whole.tolist(), strict=True):
        unseen = set(range(ITEMS)) - set(split.past.items[split.past.of(user)].tolist())
        assert set(slate[: len(unseen)]) == unseen
        assert set(slate[len(unseen) :]) == {-1}
    monkeypatch.setattr(slates, "MOST_SCORES", 3 * ITEMS)
    assert (report.two_tower_slates(bundle, Settings(), split, truth, 20) == whole).all(), "in passes of three users"
