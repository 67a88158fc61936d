"""The models that the benchmarks can name, and how each is fitted to a problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tastemaker.errors import InvalidInput
from tastemaker_training import hybrid
from tastemaker_training.interactions import Floats, Interactions, Ints, Split
from tastemaker_training.quality.problem import Problem
from tastemaker_training.recipes import Recipe
from tastemaker_training.sources import als, content, graph_filter, transition
from tastemaker_training.sources.source import Source
from tastemaker_training.towers import stage as towers

Fit = Callable[[Interactions], Source]
Tell = Callable[[str], None]

MODELS = ("popularity", "als", "content", "transition", "graph-filter", "two-tower", "hybrid")
NEEDS = {"content": "words or categories of items", "transition": "two events of a user in time order to learn from"}


@dataclass(frozen=True)
class Popularity:
    """The same for everybody: how often each item was liked."""

    likes: Floats  # (N,)

    def scores(self, known: Interactions, users: Ints) -> Floats:
        """Likes of every item (B, N): Source.scores."""
        return np.tile(self.likes, (len(users), 1))


def fit(model: str, problem: Problem, recipe: Recipe, tell: Tell) -> Source:
    """The model named `model`, fitted to what `problem` allows.

    Raises:
        InvalidInput: there is no such model, or it has nothing to learn from here.
    """
    if model not in MODELS:
        raise InvalidInput(f"unknown model {model!r}", f"Use one of {', '.join(MODELS)}")
    fits = _fits(problem, recipe)
    if model == "hybrid":
        return _hybrid(fits, problem, recipe, tell)
    tell(f"fitting {model}")
    if model == "two-tower":
        return towers.fit(problem.train, problem.items, problem.holdout, recipe)
    if model not in fits:
        known = [*fits, "two-tower", "hybrid"]
        raise InvalidInput(f"{model} needs {NEEDS[model]}, which these data lack", f"Use one of {', '.join(known)}")
    return fits[model](problem.train)


def _hybrid(fits: Mapping[str, Fit], problem: Problem, recipe: Recipe, tell: Tell) -> Source:
    """The ranker over all sources; the two-tower model is fitted once, to the past, and then refreshed."""
    inner = _of_some(problem.holdout(problem.train, recipe.seed), problem.train, recipe)
    tell("fitting two-tower")
    tower_past, tower_whole = towers.fit_both(problem.train, problem.items, inner, recipe)
    past: dict[str, Source] = {"two-tower": tower_past}
    whole: dict[str, Source] = {"two-tower": tower_whole}
    for name, make in fits.items():
        tell(f"fitting {name}")
        past[name], whole[name] = make(inner.past), make(problem.train)
    return hybrid.fit(past, whole, inner, problem.train, recipe, tell)


def _of_some(split: Split, whole: Interactions, recipe: Recipe) -> Split:
    """The same split of as many users as the ranker learns from; all events of the others are learnt from."""
    users = np.flatnonzero(np.diff(split.future.offsets))
    if len(users) <= recipe.hybrid.lists:
        return split
    chosen = np.random.default_rng(recipe.seed).choice(users, recipe.hybrid.lists, replace=False)
    is_past = split.is_past | ~np.isin(whole.users, chosen)
    return Split(whole.where(is_past), whole.where(~is_past), is_past)


def _fits(problem: Problem, recipe: Recipe) -> dict[str, Fit]:
    """How each source but the two-tower model is fitted, of those that have something to go by in `problem`."""
    about = content.fit(problem.items, recipe.content, recipe.seed)
    fits: dict[str, Fit] = {
        "popularity": lambda data: Popularity(_likes(data, recipe.liked)),
        "als": lambda data: als.fit(data, recipe.als, recipe.liked, recipe.seed),
        "graph-filter": lambda data: graph_filter.fit(data, recipe.graph_filter, recipe.seed),
    }
    if about.vectors.any():
        fits["content"] = lambda _: about
    if problem.train.ordered:
        fits["transition"] = lambda data: transition.fit(data, recipe.transition)
    return fits


def _likes(interactions: Interactions, liked: float) -> Floats:
    counts = np.bincount(interactions.items, interactions.preferences >= liked, len(interactions.item_ids))
    return counts.astype(np.float32)
