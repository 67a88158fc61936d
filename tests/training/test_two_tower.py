from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from tastemaker.config import Settings
from tastemaker_training import recipes
from tastemaker_training.dataset import Sampler, category_matrix, item_inputs, latest_histories
from tastemaker_training.interactions import Interactions, from_lake
from tastemaker_training.two_tower import TwoTower, export_user_tower

RECIPE = recipes.smoke().two_tower
LIKED = 0.6
PROFILE = 6


@pytest.fixture(scope="module")
def interactions(two_tastes: pa.Table, catalogue: pa.Table) -> Interactions:
    return from_lake(two_tastes, catalogue, Settings())


@pytest.fixture(scope="module")
def categories(catalogue: pa.Table) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return category_matrix(catalogue, ["Comedy", "Drama"])


@pytest.fixture
def sampler(interactions: Interactions) -> Sampler:
    profiles = np.zeros((len(interactions.items) + 1, PROFILE), dtype=np.float32)
    profiles[-1, 0] = 1.0
    return Sampler(interactions, profiles, LIKED, RECIPE, np.random.default_rng(0))


@pytest.fixture
def model(interactions: Interactions, catalogue: pa.Table, categories: np.ndarray) -> TwoTower:
    torch.manual_seed(0)
    return TwoTower(item_inputs(catalogue, categories, interactions, LIKED, RECIPE), PROFILE, RECIPE)


def test_a_target_is_never_in_its_own_history(sampler: Sampler) -> None:
    for _ in range(20):
        batch = sampler.draw(32)
        assert not (batch.history[:, :, None] == batch.targets[:, None, :]).any()
        assert torch.isin(batch.targets, batch.pool).all()


def test_targets_are_liked_and_histories_are_the_users_own(sampler: Sampler, interactions: Interactions) -> None:
    batch = sampler.draw(32)
    loved = {user: set(interactions.items[interactions.of(user)][:14].tolist()) for user in range(60)}
    seen = {user: set(interactions.items[interactions.of(user)].tolist()) for user in range(60)}
    for history, targets in zip(batch.history.tolist(), batch.targets.tolist(), strict=True):
        owners = [user for user in range(60) if set(targets) <= loved[user]]
        assert any(set(history) - {-1} <= seen[user] for user in owners)


def test_examples_without_a_moment_in_time_have_no_profile(interactions: Interactions) -> None:
    everything = RECIPE.__class__(**{**RECIPE.__dict__, "future_share": 0.0})
    profiles = np.zeros((len(interactions.items) + 1, PROFILE), dtype=np.float32)
    profiles[-1, 0] = 1.0
    sampler = Sampler(interactions, profiles, LIKED, everything, np.random.default_rng(0))
    assert (sampler.draw(16).profile[:, 0] == 1.0).all()


def test_the_same_seed_draws_the_same(interactions: Interactions, sampler: Sampler) -> None:
    again = Sampler(interactions, sampler.profiles, LIKED, RECIPE, np.random.default_rng(0))
    assert torch.equal(sampler.draw(16).targets, again.draw(16).targets)


def test_it_learns_two_tastes(model: TwoTower, sampler: Sampler, interactions: Interactions) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = model(sampler.draw(64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    model.eval()
    users = np.array([0, 1])
    with torch.no_grad():
        batch = latest_histories(interactions, users, np.zeros((2, PROFILE), dtype=np.float32), RECIPE)
        scores = model.user_vectors(batch) @ model.items(torch.arange(40)).T
    comedies, dramas = scores[:, 0::2].mean(1), scores[:, 1::2].mean(1)
    assert comedies[0] > dramas[0]
    assert dramas[1] > comedies[1]


def test_the_exported_tower_equals_the_trained_one(model: TwoTower, interactions: Interactions, tmp_path: Path) -> None:
    model.eval()
    users = np.array([3, 4, 5])
    profiles = np.random.default_rng(0).random((3, PROFILE)).astype(np.float32)
    batch = latest_histories(interactions, users, profiles, RECIPE)
    torch.export.save(export_user_tower(model, PROFILE), tmp_path / "tower.pt2")
    tower = torch.export.load(tmp_path / "tower.pt2").module()
    with torch.no_grad():
        trained = model.user_vectors(batch)
        # The length of the history is free: the newest 20 places hold all 15 events.
        served = tower(batch.history[:, -20:], batch.preference[:, -20:], batch.age[:, -20:], batch.user, batch.profile)
    assert torch.allclose(trained, served, atol=1e-5)


def test_a_user_without_history_has_a_vector(model: TwoTower) -> None:
    model.eval()
    tower = export_user_tower(model, PROFILE).module()
    nothing = torch.full((1, 1), -1)
    with torch.no_grad():
        vector = tower(nothing, torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1, 2).long(), torch.zeros(1, PROFILE))
    assert vector.shape == (1, RECIPE.dim)
    assert torch.isfinite(vector).all()


def test_how_old_a_history_is_as_a_whole_changes_nothing(model: TwoTower, interactions: Interactions) -> None:
    model.eval()
    torch.nn.init.constant_(model.users.aging, -0.5)
    batch = latest_histories(interactions, np.array([0]), np.zeros((1, PROFILE), dtype=np.float32), RECIPE)
    older = {**batch.__dict__, "age": (batch.age.expm1() + 3000 * (batch.history >= 0)).log1p()}
    with torch.no_grad():
        assert torch.allclose(model.user_vectors(batch), model.user_vectors(batch.__class__(**older)), atol=1e-2)
