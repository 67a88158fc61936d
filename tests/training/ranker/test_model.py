from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tastemaker.features.cross import CROSS_FEATURES
from tastemaker.standardise import Standardise
from tastemaker_training.ranker.lists import Lists
from tastemaker_training.ranker.loop import RankerTask, fit, fresh
from tastemaker_training.ranker.model import (
    Ranker,
    ServedRanker,
    export_ranker,
    item_halves,
    logits,
    probabilities,
    starting_weights,
)
from tastemaker_training.recipes import RankerRecipe

VECTOR, PROFILE, ITEM, ITEMS = 4, 3, 6, 50
RECIPE = RankerRecipe(hidden=16, epochs=20, batch=16, negatives=20, weight_decay=0.1, learning_rate=1e-2)


def lists_of(count: int, candidates: int = 20, seed: int = 0) -> tuple[Lists, torch.Tensor]:
    """Users whose vector's sign says which half of the items they like; the cross features know nothing.

    A second head has the other half of them.
    """
    random = torch.Generator().manual_seed(seed)
    items = torch.randn(ITEMS, ITEM, generator=random)
    vectors = torch.randn(count, VECTOR, generator=random)
    codes = torch.stack([torch.randperm(ITEMS, generator=random)[:candidates] for _ in range(count)])
    liked = (items[codes][..., 0] > 0) == (vectors[:, :1] > 0)
    codes[:, -2:] = -1
    liked[:, -2:] = False
    cross = torch.randn(count, candidates, len(CROSS_FEATURES), generator=random)
    profiles = torch.rand(count, PROFILE, generator=random)
    lists = Lists.of_likes(vectors, profiles, codes, cross, liked)
    labels = torch.stack([liked, ~liked & (codes >= 0)], dim=-1)
    return dataclasses.replace(lists, labels=labels, heads=("like", "click")), items


def task(lists: Lists, items: torch.Tensor, recipe: RankerRecipe = RECIPE, seed: int = 0) -> RankerTask:
    return RankerTask(recipe, lists, items, seed, starting_weights())


@pytest.fixture(scope="module")
def fitted() -> tuple[Ranker, Lists, torch.Tensor]:
    lists, items = lists_of(300)
    return fit(task(lists, items)), lists, items


def scores(ranker: Ranker, lists: Lists, items: torch.Tensor) -> torch.Tensor:
    return logits(ranker.eval(), lists, items)


def test_standardise_folds_into_the_layer_behind_it() -> None:
    torch.manual_seed(0)
    scale, layer, values = Standardise(5, 0.1), torch.nn.Linear(5, 3), 4 + 3 * torch.randn(40, 5)
    scale.see(values)
    weight, bias = scale.folded(layer)
    torch.testing.assert_close(values @ weight.T + bias, layer(scale(values)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scale(values).mean(0), torch.zeros(5), atol=1e-5, rtol=0)


def test_the_split_first_layer_is_one_linear_layer() -> None:
    lists, items = lists_of(8)
    ranker = fresh(task(lists, items))
    torch.nn.init.normal_(ranker.output.weight)
    layer = torch.nn.Linear(VECTOR + PROFILE + ITEM + len(CROSS_FEATURES), RECIPE.hidden)
    layer.weight.data = torch.cat([ranker.user.weight, ranker.item.weight, ranker.cross.weight], 1)
    layer.bias.data = ranker.user.bias.data
    places = lists.codes.shape[1]
    user = ranker.user_scale(torch.cat([lists.user_vectors, lists.profiles], 1)).unsqueeze(1).expand(-1, places, -1)
    cross = ranker.cross_scale(lists.cross)
    whole = torch.cat([user, ranker.item_scale(items[lists.codes.clamp(min=0)]), cross], 2)
    hidden = torch.relu(ranker.hidden(torch.relu(layer(whole))))
    expected = ranker.output(hidden) + ranker.skip(cross)
    torch.testing.assert_close(scores(ranker, lists, items), expected, atol=1e-5, rtol=1e-5)


def test_an_untrained_ranker_adds_both_retrievals() -> None:
    lists, items = lists_of(8)
    ranker = fresh(task(lists, items))
    used = [CROSS_FEATURES.index(name) for name in ("two_tower", "item_to_item")]
    expected = ranker.cross_scale(lists.cross)[..., used].sum(-1)
    for head in range(2):
        torch.testing.assert_close(scores(ranker, lists, items)[..., head], expected)


def test_the_exported_ranker_scores_as_the_trained_one(
    fitted: tuple[Ranker, Lists, torch.Tensor], tmp_path: Path
) -> None:
    ranker, lists, items = fitted
    ranker = copy.deepcopy(ranker)
    ranker.take((0.5, 2.0), (-3.0, 1.0))
    file = tmp_path / "ranker.pt2"
    torch.export.save(export_ranker(ranker, VECTOR, PROFILE), file)
    program = torch.export.load(file).module()
    halves = torch.from_numpy(item_halves(ranker, items))
    assert halves.dtype == torch.float16
    for users, places in ((1, 1), (1, 18), (30, 7)):
        part = lists.take(torch.arange(users))
        codes, cross = part.codes[:, :places].clamp(min=0), part.cross[:, :places]
        with torch.no_grad():
            raw = ranker.score(part.user_vectors, part.profiles, halves[codes].float(), cross)
            expected = torch.sigmoid(raw * torch.tensor([0.5, 2.0]) + torch.tensor([-3.0, 1.0]))
            found = program(part.user_vectors, part.profiles, halves[codes], cross)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_serving_changes_none_of_its_inputs(fitted: tuple[Ranker, Lists, torch.Tensor]) -> None:
    ranker, lists, items = fitted
    half = ranker.item_half(items)[lists.codes.clamp(min=0)].detach()
    before = half.clone()
    with torch.no_grad():
        ServedRanker(ranker).eval()(lists.user_vectors, lists.profiles, half, lists.cross)
    torch.testing.assert_close(half, before, rtol=0, atol=0)


def test_it_learns_a_planted_preference(fitted: tuple[Ranker, Lists, torch.Tensor]) -> None:
    ranker, _, items = fitted
    unseen, _ = lists_of(100, seed=1)
    liked = (items[unseen.codes.clamp(min=0)][..., 0] > 0) == (unseen.user_vectors[:, :1] > 0)
    found = scores(ranker, unseen, items).masked_fill(unseen.codes.unsqueeze(-1) < 0, -torch.inf)
    best = found.argmax(1)
    liked_share, clicked_share = liked.gather(1, best).float().mean(0)
    assert liked_share > 0.9
    assert clicked_share < 0.1


def test_padding_weighs_nothing() -> None:
    lists, items = lists_of(20)
    ranker = fresh(task(lists, items)).eval()
    torch.testing.assert_close(ranker(lists.widened(40), items), ranker(lists, items))


def test_the_same_seed_fits_the_same_ranker() -> None:
    lists, items = lists_of(40)
    recipe = dataclasses.replace(RECIPE, epochs=1)
    one, two, other = (scores(fit(task(lists, items, recipe, seed)), lists, items) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert not torch.allclose(one, other)


def test_scores_of_any_number_of_sources_are_enough() -> None:
    random = torch.Generator().manual_seed(0)
    cross = torch.randn(200, 15, 3, generator=random)
    liked = cross[..., 2].argsort(1).argsort(1) >= 13  # the third source is right
    nothing = torch.empty(200, 0)
    lists = Lists.of_likes(nothing, nothing, torch.arange(15).expand(200, 15), cross, liked)
    ranker = fit(RankerTask(RECIPE, lists, torch.empty(15, 0), 0, (1.0, 1.0, 1.0)))
    best = logits(ranker, lists, torch.empty(15, 0))[..., 0].topk(2, 1).indices
    assert liked.gather(1, best).float().mean() > 0.9


def test_a_disliked_candidate_sinks_below_those_that_nothing_is_known_of() -> None:
    random = torch.Generator().manual_seed(0)
    cross = torch.randn(200, 15, 2, generator=random)
    disliked = cross[..., 0] > 1
    liked = ~disliked & (torch.rand(200, 15, generator=random) < 0.2)
    nothing = torch.empty(200, 0)
    lists = Lists.of_likes(nothing, nothing, torch.arange(15).expand(200, 15), cross, liked)
    found = []
    for marked in (lists, dataclasses.replace(lists, disliked=disliked)):
        ranker = fit(
            RankerTask(dataclasses.replace(RECIPE, dislike=20.0), marked.worth(), torch.empty(15, 0), 0, (0.0, 0.0))
        )
        best = probabilities(ranker, lists, torch.empty(15, 0))[..., 0].topk(5, 1).indices
        found.append(disliked.gather(1, best).float().mean())
    assert found[1] <= found[0] < 0.05
