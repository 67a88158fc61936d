"""Complete, named training runs. A variant is a copy with a few fields changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from tastemaker.errors import InvalidInput


@dataclass(frozen=True)
class TwoTowerRecipe:
    """The retrieval model and how it is trained."""

    dim: int = 64  # of user and item vectors; the last place carries the item's bias
    id_buckets: int = 16_384
    user_buckets: int = 2_048
    token_buckets: int = 8_192
    tokens: int = 16  # words of title and text kept per item
    history: int = 100  # newest events that the user tower sees
    steps: int = 350
    refresh_steps: int = 100  # on all data, after the best step is known
    batch: int = 256  # users in a step, over all workers
    targets: int = 8  # liked items drawn per user and step
    uniform_negatives: int = 1_024
    window: int = 50  # liked items after the cut that a target is drawn from
    future_share: float = 0.5  # examples that predict the future; the others predict items left out at random
    learning_rate: float = 3e-3
    refresh_learning_rate: float = 1.5e-3
    weight_decay: float = 0.3
    temperature: float = 1.0
    item_id_dropout: float = 0.1  # so that an unknown item lives by its content
    user_id_dropout: float = 0.5  # so that an unknown user lives by their history
    profile_dropout: float = 0.5
    history_dropout: float = 0.2
    dropout: float = 0.1
    validate_every: int = 50
    patience: int = 3  # validations without a better one before it stops


@dataclass(frozen=True)
class NeighboursRecipe:
    """The item-to-item table."""

    neighbours: int = 100
    ridge: float = 200.0
    window: int = 30  # events between two items that still count as a pair
    sequence_share: float = 0.5


@dataclass(frozen=True)
class RankerRecipe:
    """The ranking model and how it is trained."""

    hidden: int = 64
    dropout: float = 0.3
    epochs: int = 10
    batch: int = 32
    negatives: int = 200
    learning_rate: float = 2e-3
    weight_decay: float = 3.0
    histories: int = 2  # examples made of each user, with cuts at different times


@dataclass(frozen=True)
class ALSRecipe:
    """The collaborative baseline."""

    factors: int = 64
    regularization: float = 0.1
    alpha: float = 1.0
    iterations: int = 15


@dataclass(frozen=True)
class Recipe:
    """A whole run: from the lake to a registered bundle."""

    name: str
    seed: int = 0
    liked: float = 0.6  # preference from which an item counts as liked (a rating of 4 of 5)
    holdout: float = 0.2  # newest share of each user's events: the test
    validation: float = 0.15  # newest share of what is left: early stopping, and the ranker's examples
    slate: int = 20
    two_tower: TwoTowerRecipe = field(default_factory=TwoTowerRecipe)
    neighbours: NeighboursRecipe = field(default_factory=NeighboursRecipe)
    ranker: RankerRecipe = field(default_factory=RankerRecipe)
    als: ALSRecipe = field(default_factory=ALSRecipe)


def default() -> Recipe:
    """What `tastemaker train` runs."""
    return Recipe("default")


def smoke() -> Recipe:
    """A run of seconds that proves the path and learns little: for tests and first looks."""
    whole = default()
    return replace(
        whole,
        name="smoke",
        two_tower=replace(whole.two_tower, dim=16, steps=20, refresh_steps=5, batch=64, validate_every=10),
        ranker=replace(whole.ranker, epochs=1, histories=1),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"default": default, "smoke": smoke}


def named(name: str) -> Recipe:
    """The recipe `name`. Raises InvalidInput, listing those there are, when there is none."""
    if name not in RECIPES:
        raise InvalidInput(f"unknown recipe {name!r}", f"Use one of {', '.join(RECIPES)}")
    return RECIPES[name]()


def from_document(document: dict[str, Any]) -> Recipe:
    """The recipe that a bundle carries as JSON."""
    return msgspec.convert({name: document[name] for name in Recipe.__dataclass_fields__}, Recipe)
