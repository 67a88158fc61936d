from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from tastemaker.config import Settings
from tastemaker_training import recipes
from tastemaker_training.dataset import category_matrix
from tastemaker_training.interactions import Floats, Interactions, from_lake
from tastemaker_training.towers.inputs import item_inputs
from tastemaker_training.towers.sampler import Sampler, latest_histories
from tastemaker_training.towers.two_tower import Batch, Histories, Part, TwoTower, export_user_tower

RECIPE = recipes.smoke().two_tower
LIKED = 0.6
PROFILE = 6


@pytest.fixture(scope="module")
def interactions(two_tastes: pa.Table, catalogue: pa.Table) -> Interactions:
    return from_lake(two_tastes, catalogue, Settings())


@pytest.fixture(scope="module")
def categories(catalogue: pa.Table) -> Floats:
    return category_matrix(catalogue, ["Comedy", "Drama"])


@pytest.fixture
def sampler(interactions: Interactions) -> Sampler:
    profiles = np.zeros((len(interactions.items) + 1, PROFILE), dtype=np.float32)
    profiles[-1, 0] = 1.0
    return Sampler(interactions, profiles, LIKED, RECIPE, np.random.default_rng(0))


@pytest.fixture
def model(interactions: Interactions, catalogue: pa.Table, categories: Floats) -> TwoTower:
    torch.manual_seed(0)
    return TwoTower(item_inputs(catalogue, categories, interactions, LIKED, RECIPE), PROFILE, RECIPE)


@pytest.fixture
def trained(model: TwoTower, sampler: Sampler) -> TwoTower:
    """After a few steps, so that nothing is zero any more."""
    _descend(model, sampler, 5)
    return model.eval()


def test_it_learns_two_tastes(model: TwoTower, sampler: Sampler, interactions: Interactions) -> None:
    losses = _descend(model, sampler, 40)
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    model.eval()
    with torch.no_grad():
        scores = model.user_vectors(_latest(interactions, [0, 1])) @ model.item_vectors().T
    comedies, dramas = scores[:, 0::2].mean(1), scores[:, 1::2].mean(1)
    assert comedies[0] > dramas[0]
    assert dramas[1] > comedies[1]


def test_the_same_seed_gives_the_same_losses(
    interactions: Interactions, catalogue: pa.Table, categories: Floats, sampler: Sampler
) -> None:
    def losses() -> list[float]:
        torch.manual_seed(0)
        model = TwoTower(item_inputs(catalogue, categories, interactions, LIKED, RECIPE), PROFILE, RECIPE)
        again = Sampler(interactions, sampler.profiles, LIKED, RECIPE, np.random.default_rng(0))
        return _descend(model, again, 3)

    assert losses() == losses()


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_a_later_event_never_changes_what_was_known_before(
    blocks: int, interactions: Interactions, catalogue: pa.Table, categories: Floats
) -> None:
    recipe = replace(RECIPE, blocks=blocks)
    model = TwoTower(item_inputs(catalogue, categories, interactions, LIKED, recipe), PROFILE, recipe).eval()
    histories = _at_every_event(_latest(interactions, [0, 1, 2]))
    later = histories.items.clone()
    later[:, -3:] = 39
    with torch.no_grad():
        before = model.moments(histories)
        after = model.moments(replace(histories, items=later, preference=histories.preference.flip(1)))
        changed = model.moments(replace(histories, items=later))
    assert torch.equal(before[:, :-3], changed[:, :-3])
    assert not torch.allclose(before[:, -3:], changed[:, -3:])
    assert not torch.allclose(before, after)


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_padding_changes_nothing(
    blocks: int, interactions: Interactions, catalogue: pa.Table, categories: Floats
) -> None:
    recipe = replace(RECIPE, blocks=blocks)
    model = TwoTower(item_inputs(catalogue, categories, interactions, LIKED, recipe), PROFILE, recipe).eval()
    histories = _at_every_event(_latest(interactions, [0, 1]))
    pad = {"items": -1, "preference": 0.7, "age": 1.0}
    padded = {name: torch.nn.functional.pad(getattr(histories, name), (5, 0), value=pad[name]) for name in pad}
    with torch.no_grad():
        expected = model.moments(histories)
        found = model.moments(replace(histories, **padded, at=histories.at + 5))
    torch.testing.assert_close(found, expected)


def test_how_old_a_history_is_as_a_whole_changes_nothing(trained: TwoTower, interactions: Interactions) -> None:
    torch.nn.init.constant_(trained.users.aging, -0.5)
    histories = _latest(interactions, [0])
    older = replace(histories, age=(histories.age.expm1() + 3).log1p())
    with torch.no_grad():
        torch.testing.assert_close(trained.user_vectors(histories), trained.user_vectors(older), atol=1e-3, rtol=1e-3)


def test_time_between_events_matters(trained: TwoTower, interactions: Interactions) -> None:
    assert trained.users.encoder is not None
    torch.nn.init.normal_(trained.users.encoder.blocks[-1].gap.weight)  # type: ignore[union-attr, arg-type]
    histories = _latest(interactions, [0])
    slower = replace(histories, age=(histories.age.expm1() * 1_000).log1p())
    with torch.no_grad():
        assert not torch.allclose(trained.user_vectors(histories), trained.user_vectors(slower))


def test_an_unknown_user_has_a_vector_from_the_history(trained: TwoTower, interactions: Interactions) -> None:
    histories = _latest(interactions, [0, 1])
    strangers = replace(histories, user=(histories.user + 7) % RECIPE.user_buckets)
    with torch.no_grad():
        known, unknown = trained.user_vectors(histories), trained.user_vectors(strangers)
    assert torch.cosine_similarity(known, unknown).min() > 0.5
    assert not torch.allclose(unknown[0], unknown[1])


def test_users_vectors_have_one_length_unless_nothing_is_known(
    interactions: Interactions, catalogue: pa.Table, categories: Floats
) -> None:
    recipe = replace(RECIPE, user_length=3.0, branch_start=0.0, blocks=0)
    model = TwoTower(item_inputs(catalogue, categories, interactions, LIKED, recipe), PROFILE, recipe).eval()
    known = _latest(interactions, [0, 1, 2])
    with torch.no_grad():
        lengths = model.user_vectors(known)[:, :-1].norm(dim=1)
        nothing = model.user_vectors(replace(known, items=torch.full_like(known.items, -1)))
    assert ((lengths > 2.5) & (lengths <= 3.0)).all()
    assert not nothing[:, :-1].any()


def test_an_unknown_item_has_a_vector_from_its_content(
    catalogue: pa.Table, categories: Floats, interactions: Interactions
) -> None:
    known = interactions.where(interactions.items > 3)
    inputs = item_inputs(catalogue, categories, known, LIKED, RECIPE)
    model = TwoTower(inputs, PROFILE, RECIPE).eval()
    with torch.no_grad():
        identity, content = model.items.parts(torch.arange(6))
        vectors = model.item_vectors()[:4]
    assert not identity[:4].any()
    assert identity[4:].all()
    assert not torch.allclose(content[0], content[1])
    assert not torch.allclose(vectors[0], vectors[1])


def test_a_catalogue_beyond_the_budget_hashes_its_ids(
    catalogue: pa.Table, categories: Floats, interactions: Interactions
) -> None:
    exact = item_inputs(catalogue, categories, interactions, LIKED, RECIPE)
    hashed = item_inputs(catalogue, categories, interactions, LIKED, replace(RECIPE, id_rows=10))
    assert exact.ids.shape == (40, 1)
    assert hashed.ids.shape == (40, 2)
    assert len(torch.unique(exact.ids)) == 40
    assert int(hashed.ids.max()) <= 10
    assert TwoTower(hashed, PROFILE, RECIPE).item_vectors().shape == (40, RECIPE.dim)


def test_a_catalogue_without_content_and_users_without_features_train(
    interactions: Interactions, catalogue: pa.Table
) -> None:
    bare = catalogue.set_column(catalogue.column_names.index("title"), "title", pa.array([""] * 40))
    inputs = item_inputs(bare, np.zeros((40, 0), dtype=np.float32), interactions, LIKED, RECIPE)
    profiles = np.ones((len(interactions.items) + 1, 1), dtype=np.float32)
    sampler = Sampler(interactions, profiles, LIKED, RECIPE, np.random.default_rng(0))
    losses = _descend(TwoTower(inputs, 1, RECIPE), sampler, 20)
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_the_rarer_of_two_candidates_counts_for_more(model: TwoTower, sampler: Sampler) -> None:
    """Log-Q: an item that is in one pool in e stands for e of its kind."""
    model.eval()
    part = sampler.draw(16).parts[0]
    other = int(np.setdiff1d(np.arange(40), part.histories.items[0])[0])
    one = part.histories.split(1)[0]
    target = part.targets[:1, :1, :1]
    one = replace(one, at=one.at[:, :1], profile=one.profile[:, :1])
    asked = Part(one, target, torch.ones(1, 1, 1, dtype=torch.bool))
    pool = torch.unique(torch.cat([target[0, 0], torch.tensor([other])]))

    def loss(log_q: float) -> Tensor:
        correction = torch.where(pool == other, log_q, 0.0)
        result: Tensor = model(Batch((asked,), pool, correction))
        return result

    certain = loss(0.0).detach().expm1()  # the odds of the other against the target
    torch.testing.assert_close(loss(-1.0).detach().expm1(), certain * np.e, rtol=1e-4, atol=1e-6)


def test_what_a_user_has_had_does_not_compete(model: TwoTower, sampler: Sampler) -> None:
    model.eval()
    batch = sampler.draw(1)
    (part,) = batch.parts
    own = torch.cat([part.histories.items.flatten(), part.targets[part.is_target]])

    def loss(boosted: Tensor) -> float:
        log_q = torch.where(torch.isin(batch.pool, boosted), -20.0, batch.log_q)
        return float(model(replace(batch, log_q=log_q)).detach())

    unseen = batch.pool[~torch.isin(batch.pool, own)]
    history = part.histories.items[0]
    history = history[~torch.isin(history, part.targets)]
    assert loss(history) == loss(batch.pool[:0])
    assert loss(unseen) > loss(batch.pool[:0])


def test_the_exported_tower_equals_the_trained_one(
    trained: TwoTower, interactions: Interactions, tmp_path: Path
) -> None:
    profiles = np.random.default_rng(0).random((3, PROFILE)).astype(np.float32)
    whole = latest_histories(interactions, np.array([3, 4, 5]), profiles, RECIPE)
    torch.export.save(export_user_tower(trained, PROFILE), tmp_path / "tower.pt2")
    tower = torch.export.load(tmp_path / "tower.pt2").module()
    sequence = (whole.items, whole.preference, whole.age)
    # The length of the history is free.
    wide = (torch.nn.functional.pad(part, (4, 0), value=-1) for part in sequence)
    with torch.no_grad():
        expected = trained.user_vectors(whole)
        torch.testing.assert_close(tower(*sequence, whole.user, whole.profile[:, 0]), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(tower(*wide, whole.user, whole.profile[:, 0]), expected, atol=1e-5, rtol=1e-5)


def test_a_user_without_history_has_a_vector(trained: TwoTower) -> None:
    tower = export_user_tower(trained, PROFILE).module()
    nothing = torch.full((1, 1), -1)
    with torch.no_grad():
        vector = tower(nothing, torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1, 2).long(), torch.zeros(1, PROFILE))
    assert vector.shape == (1, RECIPE.dim)
    assert torch.isfinite(vector).all()


def _latest(interactions: Interactions, users: list[int]) -> Histories:
    profiles = np.zeros((len(users), PROFILE), dtype=np.float32)
    return latest_histories(interactions, np.array(users), profiles, RECIPE)


def _at_every_event(histories: Histories) -> Histories:
    moments = torch.arange(histories.items.shape[1]).expand_as(histories.items)
    return replace(histories, at=moments, profile=histories.profile.expand(-1, moments.shape[1], -1))


def _descend(model: TwoTower, sampler: Sampler, steps: int) -> list[float]:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        loss = model(sampler.draw(64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
