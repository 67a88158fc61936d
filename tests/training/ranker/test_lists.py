from __future__ import annotations

from dataclasses import replace

import torch

from tastemaker_training.ranker.lists import Lists


def lists() -> Lists:
    """20 lists of 20 places, the last two of them empty; the first two candidates were liked, the third disliked."""
    codes = torch.arange(20).repeat(20, 1)
    codes[:, 18:] = -1
    place = torch.arange(20).expand(20, 20)
    made = Lists.of_likes(torch.zeros(20, 4), torch.zeros(20, 3), codes, torch.zeros(20, 20, 5), place < 2)
    return replace(made, disliked=place == 2)


def test_a_sample_holds_what_came_of_candidates_and_no_padding_before_others() -> None:
    sampled = lists().sample(10)
    assert sampled.codes.shape == (20, 10)
    assert (sampled.codes >= 0).all()
    assert (sampled.labels.sum(1) == 2).all()
    assert (sampled.disliked.sum(1) == 1).all()


def test_what_is_always_in_a_sample_weighs_as_in_the_whole_list() -> None:
    sampled = lists().sample(10)
    told = sampled.labels[..., 0] | sampled.disliked
    assert (sampled.weight[told] == 0.5).all()
    assert (sampled.weight[~told] == 1.0).all()


def test_joined_lists_are_as_long_as_the_longest() -> None:
    short = lists().sample(10)
    joined = Lists.joined([short, lists()])
    assert joined.codes.shape == joined.weight.shape == (40, 20)
    assert (joined.codes[:20, 10:] == -1).all()
    assert not joined.labels[:20, 10:].any()


def test_lists_that_nothing_came_of_are_not_worth_learning_from() -> None:
    empty = replace(lists(), labels=torch.arange(20).view(20, 1, 1).expand(20, 20, 1) < 5)
    assert empty.worth().users.tolist() == [0, 1, 2, 3, 4]
