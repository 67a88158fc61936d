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

    dim: int = 256  # of user and item vectors, at most (towers.suited); the last place carries the item's bias
    id_rows: int = 500_000  # items that have a row of their own; a larger catalogue hashes into as many
    user_buckets: int = 2_048
    token_buckets: int = 8_192
    tokens: int = 16  # words of title and text kept per item
    history: int = 100  # newest events that the user tower sees
    start_length: float = 1.4  # root mean square of the ids' vectors at the start
    start_damping: float = 0.0  # likes that every user and item has besides, when the graph is made
    start_tilt: float = 0.0  # exponent of an item's likes: told less, liked more
    branch_start: float = 0.1  # share of PyTorch's weights that branches beside the graph begin with
    user_length: float | None = None  # of all users' vectors at the start; None lets narrow histories have longer ones
    recency: float = 0.5  # an event that r others followed starts with the weight (1 + r) ** -recency
    blocks: int = 1  # of the sequence encoder
    heads: int = 2
    sequence_start: float = 0.1  # of the encoder's place beside the pooled taste, which is heard first
    steps: int = 20_000  # at most
    passes: float = 4.0  # times that each like ends a moment, or is left out, before that
    refresh_share: float = 0.3  # of the steps, on all data, after the best step is known
    batch: int = 128  # users in a step, over all workers
    moments: int = 8  # of each user's history
    targets: int = 8  # liked items drawn per moment
    uniform_negatives: int = 1_024
    window: int = 50  # likes ahead that a target is drawn from; no further than the holdout of the validation reaches
    future_share: float = 0.5  # examples that predict what comes next; the others complete a set
    learning_rate: float = 3e-3
    refresh_learning_rate: float = 1.5e-3
    weight_decay: float = 10.0  # towards where the graph puts the items, and towards nothing of anything else
    temperature: float = 1.0
    item_id_dropout: float = 0.1  # so that an unknown item lives by its content
    user_id_dropout: float = 0.5  # so that an unknown user lives by their history
    profile_dropout: float = 0.5
    history_dropout: float = 0.2
    dropout: float = 0.1
    average: float = 0.0  # of the weights that are kept, from step to step
    validations: int = 8  # over the steps
    patience: int = 5  # validations without a better one before it stops


@dataclass(frozen=True)
class NeighboursRecipe:
    """The item-to-item table."""

    neighbours: int = 100
    ridge: float = 200.0
    window: int = 30  # events between two items that still count as a pair
    sequence_share: float = 0.5


@dataclass(frozen=True)
class TransitionRecipe:
    """What follows what."""

    window: int = 10  # events between two items that still count as a pair
    gap_decay: float = 0.8
    backward: float = 0.4  # share of a transition that counts in the other direction, too
    source_exponent: float = 0.35
    target_exponent: float = 0.08
    recency: float = 0.7  # an event counts this much less than the next


@dataclass(frozen=True)
class ContentRecipe:
    """What an item is about."""

    word_buckets: int = 32_768
    dim: int = 64
    memory: int = 50  # newest events that speak
    decay: float = 0.5  # an event of age a (0 is the newest) speaks by (1 + a) ** -decay


@dataclass(frozen=True)
class HybridRecipe:
    """How the sources' proposals become the ranker's lists."""

    candidates: int = 100  # of each source
    lists: int = 15_000  # users that the ranker learns from, at most


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
    dislike: float = 30.0  # how many candidates that nothing came of a disliked one counts for
    held_out: float = 0.1  # share of the users whose lists calibrate the probabilities
    histories: int = 2  # examples made of each user, with cuts at different times


@dataclass(frozen=True)
class ALSRecipe:
    """The collaborative baseline."""

    factors: int = 64
    regularization: float = 30.0
    alpha: float = 10.0  # confidence of a like; everything else has 1
    iterations: int = 15


@dataclass(frozen=True)
class GraphFilterRecipe:
    """What is smooth on the graph of users and items."""

    directions: int = 512  # of the low-pass filter
    smooth: float = 0.17  # weight of the low-pass filter beside one step on the graph
    sharpening: float = 0.57  # weight of the step back
    popularity: float = 0.16  # exponent of an item's degree that scores are multiplied by


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
    transition: TransitionRecipe = field(default_factory=TransitionRecipe)
    content: ContentRecipe = field(default_factory=ContentRecipe)
    hybrid: HybridRecipe = field(default_factory=HybridRecipe)
    ranker: RankerRecipe = field(default_factory=RankerRecipe)
    als: ALSRecipe = field(default_factory=ALSRecipe)
    graph_filter: GraphFilterRecipe = field(default_factory=GraphFilterRecipe)


def default() -> Recipe:
    """What `tastemaker train` runs."""
    return Recipe("default")


def smoke() -> Recipe:
    """A run of seconds that proves the path and learns little: for tests and first looks."""
    whole = default()
    return replace(
        whole,
        name="smoke",
        two_tower=replace(whole.two_tower, dim=16, steps=20, passes=100.0, refresh_share=0.25, validations=2),
        ranker=replace(whole.ranker, epochs=1, histories=1),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"default": default, "smoke": smoke}


def named(name: str) -> Recipe:
    """The recipe `name`. Raises InvalidInput, listing those there are, when there is none."""
    if name not in RECIPES:
        raise InvalidInput(f"unknown recipe {name!r}", f"Use one of {', '.join(RECIPES)}")
    return RECIPES[name]()


def from_document(document: dict[str, Any]) -> Recipe:
    """The recipe that a bundle carries as JSON; what an earlier Tastemaker did not know of has its default."""
    return msgspec.convert({name: document[name] for name in Recipe.__dataclass_fields__ if name in document}, Recipe)
