"""Complete, named training runs. A variant is a copy with a few fields changed, here or in a file (recipe_file)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tastemaker.errors import InvalidInput

Width = Annotated[int, Meta(ge=2)]
Count = Annotated[int, Meta(ge=1)]
Number = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Part = Annotated[float, Meta(gt=0, lt=1)]
"""More than nothing, and not everything."""
Dropout = Annotated[float, Meta(ge=0, lt=1)]
Preference = Annotated[float, Meta(ge=-1, le=1)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""Of a recipe: folders and checkpoints are called by it."""


@dataclass(frozen=True)
class TwoTowerRecipe:
    """The retrieval model and how it is trained."""

    dim: Width = 256  # of user and item vectors, at most (towers.suited); the last place carries the item's bias
    id_rows: Count = 500_000  # items that have a row of their own; a larger catalogue hashes into as many
    user_buckets: Count = 2_048
    token_buckets: Count = 8_192
    tokens: Count = 16  # words of title and text kept per item
    history: Count = 100  # newest events that the user tower sees
    start_length: Amount = 1.4  # root mean square of the ids' vectors at the start
    start_damping: Amount = 0.0  # likes that every user and item has besides, when the graph is made
    start_tilt: float = 0.0  # exponent of an item's likes: told less, liked more
    branch_start: Amount = 0.1  # share of PyTorch's weights that branches beside the graph begin with
    user_length: Positive | None = None  # of all users' vectors at the start; None: narrow histories have longer ones
    recency: Amount = 0.5  # an event that r others followed starts with the weight (1 + r) ** -recency
    blocks: Number = 1  # of the sequence encoder
    heads: Count = 2
    sequence_start: Amount = 0.1  # of the encoder's place beside the pooled taste, which is heard first
    steps: Count = 20_000  # at most
    passes: Positive = 4.0  # times that each like ends a moment, or is left out, before that
    refresh_share: Share = 0.3  # of the steps, on all data, after the best step is known
    batch: Count = 128  # users in a step, over all workers
    moments: Count = 8  # of each user's history
    targets: Count = 8  # liked items drawn per moment
    uniform_negatives: Count = 1_024
    window: Count = 50  # likes ahead that a target is drawn from; no further than the holdout of the validation reaches
    future_share: Share = 0.5  # examples that predict what comes next; the others complete a set
    learning_rate: Positive = 3e-3
    refresh_learning_rate: Positive = 1.5e-3
    weight_decay: Amount = 10.0  # towards where the graph puts the items, and towards nothing of anything else
    temperature: Positive = 1.0
    item_id_dropout: Dropout = 0.1  # so that an unknown item lives by its content
    user_id_dropout: Dropout = 0.5  # so that an unknown user lives by their history
    profile_dropout: Dropout = 0.5
    history_dropout: Dropout = 0.2
    dropout: Dropout = 0.1
    average: Dropout = 0.0  # of the weights that are kept, from step to step
    validations: Count = 8  # over the steps
    patience: Count = 5  # validations without a better one before it stops


@dataclass(frozen=True)
class NeighboursRecipe:
    """The item-to-item table."""

    neighbours: Count = 100
    ridge: Positive = 200.0
    window: Count = 30  # events between two items that still count as a pair
    sequence_share: Share = 0.5


@dataclass(frozen=True)
class TransitionRecipe:
    """What follows what."""

    window: Count = 10  # events between two items that still count as a pair
    gap_decay: Share = 0.8
    backward: Amount = 0.4  # share of a transition that counts in the other direction, too
    source_exponent: float = 0.35
    target_exponent: float = 0.08
    recency: Share = 0.7  # an event counts this much less than the next


@dataclass(frozen=True)
class ContentRecipe:
    """What an item is about."""

    word_buckets: Count = 32_768
    dim: Count = 64
    memory: Count = 50  # newest events that speak
    decay: Amount = 0.5  # an event of age a (0 is the newest) speaks by (1 + a) ** -decay


@dataclass(frozen=True)
class HybridRecipe:
    """How the sources' proposals become the ranker's lists."""

    candidates: Count = 100  # of each source
    lists: Count = 15_000  # users that the ranker learns from, at most


@dataclass(frozen=True)
class RankerRecipe:
    """The ranking model and how it is trained."""

    hidden: Count = 64
    dropout: Dropout = 0.3
    epochs: Count = 10
    batch: Count = 32
    negatives: Count = 200
    learning_rate: Positive = 2e-3
    weight_decay: Amount = 3.0
    dislike: Positive = 30.0  # how many candidates that nothing came of a disliked one counts for
    held_out: Part = 0.1  # share of the users whose lists calibrate the probabilities
    histories: Count = 2  # examples made of each user, with cuts at different times


@dataclass(frozen=True)
class ALSRecipe:
    """The collaborative baseline."""

    factors: Count = 64
    regularization: Positive = 30.0
    alpha: Amount = 10.0  # confidence of a like; everything else has 1
    iterations: Count = 15


@dataclass(frozen=True)
class GraphFilterRecipe:
    """What is smooth on the graph of users and items."""

    directions: Count = 512  # of the low-pass filter
    smooth: Amount = 0.17  # weight of the low-pass filter beside one step on the graph
    sharpening: Amount = 0.57  # weight of the step back
    popularity: float = 0.16  # exponent of an item's degree that scores are multiplied by


@dataclass(frozen=True)
class Recipe:
    """A whole run: from the lake to a registered bundle."""

    name: Name
    seed: Number = 0
    liked: Preference = 0.6  # preference from which an item counts as liked (a rating of 4 of 5)
    holdout: Part = 0.2  # newest share of each user's events: the test
    validation: Part = 0.15  # newest share of what is left: early stopping, and the ranker's examples
    slate: Count = 20
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
        raise InvalidInput(f"unknown recipe {name!r}", f"Use one of {', '.join(RECIPES)}, or a YAML file of your own")
    return RECIPES[name]()


def from_document(document: dict[str, Any]) -> Recipe:
    """The recipe that a bundle carries as JSON; what an earlier Tastemaker did not know of has its default."""
    return msgspec.convert({name: document[name] for name in Recipe.__dataclass_fields__ if name in document}, Recipe)
