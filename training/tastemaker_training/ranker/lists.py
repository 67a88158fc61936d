"""Candidate lists with what came of them: what the ranker learns from, and what it is asked about.

Q lists, C candidates, D vector width, P profile width, F cross features, T heads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tastemaker.heads import HEADS


@dataclass(frozen=True)
class Lists:
    """Q candidate lists with what the users went on to do. Widths D, P and F may be 0."""

    users: Tensor  # (Q,) whom each list is for
    user_vectors: Tensor  # (Q, D)
    profiles: Tensor  # (Q, P)
    codes: Tensor  # (Q, C) item codes, -1 is padding
    cross: Tensor  # (Q, C, F)
    labels: Tensor  # (Q, C, T) bool
    disliked: Tensor  # (Q, C) bool
    weight: Tensor  # (Q, C) how much a candidate counts among those that another is compared with
    heads: tuple[str, ...]

    @staticmethod
    def of_likes(user_vectors: Tensor, profiles: Tensor, codes: Tensor, cross: Tensor, liked: Tensor) -> Lists:
        """Lists of as many users of which nothing is known but what they liked, (Q, C) bool."""
        return Lists(
            users=torch.arange(len(codes)),
            user_vectors=user_vectors,
            profiles=profiles,
            codes=codes,
            cross=cross,
            labels=liked.unsqueeze(-1),
            disliked=torch.zeros_like(liked),
            weight=torch.ones(codes.shape),
            heads=HEADS[:1],
        )

    @staticmethod
    def joined(parts: Sequence[Lists]) -> Lists:
        """All lists of `parts` in one, padded to the longest."""
        width = max(part.codes.shape[1] for part in parts)
        padded = [part.widened(width) for part in parts]
        return _made({name: torch.cat([getattr(part, name) for part in padded]) for name in TENSORS}, parts[0].heads)

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Tensor) -> Lists:
        """The lists `rows`: their places, or a mask (Q,)."""
        return self._each(lambda tensor: tensor[rows])

    def to(self, device: torch.device) -> Lists:
        """The same lists on `device`."""
        return self._each(lambda tensor: tensor.to(device))

    def worth(self) -> Lists:
        """The lists that a loss learns from: something came of them."""
        return self.take(self.labels.flatten(1).any(1))

    def with_heads(self, heads: Sequence[str]) -> Lists:
        """The same lists with some of their heads."""
        places = [self.heads.index(name) for name in heads]
        return replace(self, labels=self.labels[..., places], heads=tuple(heads))

    def sample(self, negatives: int) -> Lists:
        """Lists of at most `negatives` places: all candidates that something came of, if they fit, others at random.

        What is kept for sure weighs as little as it would among all candidates (importance sampling), so that a head
        does not take the candidates of another, which are always there, for the most frequent ones.
        """
        told = self.labels.any(-1) | self.disliked
        order = torch.rand(self.codes.shape, device=self.codes.device) + 2 * told - 2 * (self.codes < 0).float()
        places = order.topk(min(negatives, order.shape[1]), dim=1).indices
        share = places.shape[1] / self.codes.shape[1]
        wide = places.unsqueeze(-1)
        return replace(
            self,
            codes=self.codes.gather(1, places),
            cross=self.cross.gather(1, wide.expand(-1, -1, self.cross.shape[2])),
            labels=self.labels.gather(1, wide.expand(-1, -1, self.labels.shape[2])),
            disliked=self.disliked.gather(1, places),
            weight=torch.where(told, self.weight * share, self.weight).gather(1, places),
        )

    def widened(self, width: int) -> Lists:
        """The same lists padded to `width` places."""
        more = (0, width - self.codes.shape[1])
        return replace(
            self,
            codes=F.pad(self.codes, more, value=-1),
            cross=F.pad(self.cross, (0, 0, *more)),
            labels=F.pad(self.labels, (0, 0, *more)),
            disliked=F.pad(self.disliked, more),
            weight=F.pad(self.weight, more, value=1.0),
        )

    def _each(self, change: Callable[[Tensor], Tensor]) -> Lists:
        return _made({name: change(getattr(self, name)) for name in TENSORS}, self.heads)


TENSORS = tuple(field.name for field in fields(Lists) if field.name != "heads")


def _made(tensors: dict[str, Tensor], heads: tuple[str, ...]) -> Lists:
    return Lists(**tensors, heads=heads)
