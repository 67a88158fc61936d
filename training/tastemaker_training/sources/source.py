"""What a fitted model offers to the benchmarks, the hybrid and the ranker: scores of the whole catalogue."""

from __future__ import annotations

from typing import Protocol

from tastemaker_training.interactions import Floats, Interactions, Ints


class Source(Protocol):
    """A fitted model that scores every item for a user, from the user's history."""

    def scores(self, known: Interactions, users: Ints) -> Floats:
        """Scores (B, N) of all items for user codes `users` (B,), higher is better; items seen are not masked.

        Args:
            known: the histories to go by, of the same users and items that the model was fitted to. They may hold
                events that it was not fitted to.
        """
        ...
