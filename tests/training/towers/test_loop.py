from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tastemaker_training.evaluation import slates
from tastemaker_training.towers import loop
from tastemaker_training.towers.loop import ALONE, State, Step, Task, World
from tastemaker_training.towers.two_tower import Batch


def test_a_fit_goes_through_its_stages_and_keeps_the_best(tower_task: Task) -> None:
    heard: list[Step] = []
    state = loop.fit(tower_task, heard.append)
    fit, refresh = tower_task.stages
    assert [step.done for step in heard] == [*range(1, fit.steps + 1), *range(1, refresh.steps + 1)]
    reached = [step.done for step in heard if step.reached and step.stage == "fit"]
    assert reached == [*range(fit.validate_every, fit.steps, fit.validate_every), fit.steps]
    torch.testing.assert_close(state["fitted"], state["best"]["model"])
    curve = state["curves"]["fit"]
    assert curve["loss"] == pytest.approx([step.loss.item() for step in heard if step.stage == "fit"])
    assert curve["loss"][-1] < curve["loss"][0]
    assert [step for step, _ in curve["score"]] == reached
    assert state["best"]["score"] == max(score for _, score in curve["score"])


def test_the_same_seed_fits_the_same_model(tower_task: Task) -> None:
    torch.testing.assert_close(loop.fit(tower_task)["model"], loop.fit(tower_task)["model"])


def test_a_fit_leaves_its_task_as_it_was(tower_task: Task) -> None:
    facts = tower_task.stages[0].items.metadata.clone()
    loop.fit(tower_task)
    assert torch.equal(tower_task.stages[0].items.metadata, facts)


def test_a_restart_goes_on_from_what_was_reached(tower_task: Task) -> None:
    reached = _first_state(tower_task)
    again = list(loop.steps(loop.fresh(tower_task), tower_task, loop.sampler, reached))
    assert [step.done for step in again][:3] == [11, 12, 13]
    last = again[-1].reached
    assert last is not None
    curve = last["curves"]["fit"]
    assert len(curve["loss"]) == tower_task.stages[0].steps
    assert [step for step, _ in curve["score"]] == [10, 20]


def test_what_is_kept_is_the_average_of_the_steps(tower_task: Task) -> None:
    model = loop.fresh(tower_task)
    recipe = replace(tower_task.recipe, average=0.97)
    average, weights = loop.average_of(model, recipe, {}), [model.users.aging.item()]
    for step in range(400):
        with torch.no_grad():
            model.users.aging.fill_(step % 2)
        average.update_parameters(model)
        weights.append(average.module.users.aging.item())
    assert weights[1] == 0.0
    assert weights[-1] == pytest.approx(0.5, abs=0.02)
    again = loop.average_of(model, recipe, {"average": average.state_dict()})
    torch.testing.assert_close(again.state_dict(), average.state_dict())


def test_a_stage_ends_with_its_average(tower_task: Task) -> None:
    for average in (0.0, 0.97):
        task = replace(tower_task, recipe=replace(tower_task.recipe, average=average))
        model, last = loop.fresh(task), State()
        for step in loop.steps(model, task, loop.sampler):
            last = step.reached or last
        same = torch.equal(last["model"]["items.id.weight"], model.items.id.weight)
        assert same == (average == 0.0)


def test_patience_is_not_renewed_by_a_restart(tower_task: Task) -> None:
    hopeless = {**_first_state(tower_task), "worse": tower_task.recipe.patience - 1}
    hopeless["best"] = {**hopeless["best"], "score": 9.0}
    again = loop.steps(loop.fresh(tower_task), tower_task, loop.sampler, hopeless)
    after = next(step.reached for step in again if step.reached)
    assert (after["stage"], after["step"]) == (1, 0), "the stage is over"


def test_shares_add_up_to_the_batch_and_compete_with_all_of_it(tower_task: Task) -> None:
    batch = loop.sampler(tower_task, tower_task.stages[0], np.random.default_rng(0)).draw(64)
    shares = [World(rank, 3).share(batch) for rank in range(3)]
    assert [len(_users(share)) for share in shares] == [22, 21, 21]
    assert sorted(user for share in shares for user in _users(share)) == sorted(_users(batch))
    assert all(share.pool is batch.pool for share in shares)
    assert ALONE.share(batch) is batch


def test_the_loss_of_a_batch_is_that_of_its_shares(tower_task: Task) -> None:
    batch = loop.sampler(tower_task, tower_task.stages[0], np.random.default_rng(0)).draw(64)
    model = loop.fresh(tower_task).eval()
    with torch.no_grad():
        halves = [model(World(rank, 2).share(batch)) for rank in range(2)]
        torch.testing.assert_close(torch.stack(halves).mean(), model(batch), rtol=0.02, atol=0)


def _users(batch: Batch) -> list[list[int]]:
    """What tells the users of a batch apart, well enough."""
    return [bucket for part in batch.parts for bucket in part.histories.user.tolist()]


def _first_state(task: Task) -> State:
    for step in loop.steps(loop.fresh(task), task, loop.sampler):
        if step.reached:
            return step.reached
    raise AssertionError("no step was validated")


def test_a_validation_scores_some_users_at_a_time(tower_task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    model, validation = loop.fresh(tower_task), tower_task.validation
    at_once = loop.validate(model, validation)
    sizes: list[int] = []

    def spy(scores: torch.Tensor, *rest: Any) -> slates.Slates:
        sizes.append(len(scores))
        return slates.best_unseen(scores, *rest)

    monkeypatch.setattr(slates, "MOST_SCORES", 7 * 40)
    monkeypatch.setattr(loop, "best_unseen", spy)
    assert loop.validate(model, validation) == pytest.approx(at_once)
    assert max(sizes) == 7
    assert sum(sizes) == len(validation.truth.users)
