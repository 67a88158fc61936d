from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from tests.training.histories import interactions_of

from tastemaker_training import hybrid, recipes
from tastemaker_training.interactions import Floats, Interactions, Ints
from tastemaker_training.quality.formats import leave_last_out

RECIPE = replace(recipes.smoke(), hybrid=replace(recipes.smoke().hybrid, candidates=4))


@dataclass(frozen=True)
class Told:
    """A source that knows what each user will like next, or the contrary."""

    sign: float

    def scores(self, known: Interactions, users: Ints) -> Floats:
        found = np.tile(np.linspace(0, 0.1, 12, dtype=np.float32), (len(users), 1))
        found[np.arange(len(users)), users % 12] = self.sign
        return found


def world() -> Interactions:
    """User u likes u + 1 to u + 3 and at last u itself, of 12 items."""
    return interactions_of(*([(user + step) % 12 for step in (1, 2, 3, 0)] for user in range(60)), items=12)


def test_nothing_seen_is_proposed_and_every_source_is_heard() -> None:
    known = leave_last_out(world(), 0).past
    users = np.arange(5)
    proposed = hybrid.propose({"good": Told(1.0), "bad": Told(-1.0)}, known, users, 3)
    assert proposed.signals.shape == (2, *proposed.codes.shape)
    for user, codes in zip(users, proposed.codes, strict=True):
        real = codes[codes >= 0].tolist()
        assert len(set(real)) == len(real)
        assert user in real
        assert not set(real) & set(known.items[known.of(int(user))].tolist())


def test_the_ranker_learns_whom_to_believe() -> None:
    inner = leave_last_out(world(), 0)
    sources = {"good": Told(1.0), "bad": Told(-1.0)}
    slow = replace(RECIPE, ranker=replace(RECIPE.ranker, epochs=30, weight_decay=0.01))
    model = hybrid.fit(sources, sources, inner, inner.past, slow, lambda _: None)
    scores = model.scores(inner.past, np.arange(12))
    assert (scores.argmax(axis=1) == np.arange(12)).mean() > 0.8
    assert np.isneginf(scores).any(axis=1).all()
