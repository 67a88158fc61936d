"""The models of a platform that has no events yet: they have nothing to learn from, and need not.

B users, L history, C candidates, N items, D vector width, P profile width.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tastemaker.features.cross import CROSS_FEATURES, LASTING, LIKING, PREFERENCE
from tastemaker_training.interactions import Floats

BLENDED = ("two_tower", "item_to_item")
"""Cross features whose sum, all standardised, is a candidate's score."""
POPULAR = 6.0
"""Weight of an item's popularity in [0, 1] beside them, of which the best candidates have some 3 each. On the sample a
weight of 0.1 stays below the list of what is popular (docs/features.md)."""
TEMPERATURE = 4.0
"""Scores are divided by it, so that the largest are still apart as probabilities."""


class AverageTower(nn.Module):
    """A user is the mean of what they liked: item vectors by liking and recency, of length 1.

    Whoever has no history is the mean of what is popular. (Averaged item vectors make a strong user vector where there
    is nothing to learn one from: Pal et al. 2020 begin there.)
    """

    def __init__(self, vectors: Floats, popular: Floats) -> None:
        """Args: item vectors (N, D), the vector (D,) of a user without a history."""
        super().__init__()
        nothing = np.zeros((1, vectors.shape[1]), dtype=np.float32)
        self.table: Tensor
        self.popular: Tensor
        self.preferences: Tensor
        self.slopes: Tensor
        self.register_buffer("table", torch.from_numpy(np.concatenate([nothing, vectors])))  # row 0 is padding
        self.register_buffer("popular", torch.from_numpy(popular))
        # `features.cross.liking` as a sum of ramps, which is a program of tensors.
        steps = np.diff(LIKING) / np.diff(PREFERENCE)
        self.register_buffer("preferences", torch.from_numpy(PREFERENCE[:-1].astype(np.float32)))
        self.register_buffer("slopes", torch.from_numpy(np.diff(steps, prepend=0.0).astype(np.float32)))

    def forward(self, history: Tensor, preference: Tensor, age: Tensor, user: Tensor, profile: Tensor) -> Tensor:
        """User vectors (B, D); the arguments are those of the bundle's `user_tower`."""
        known = history >= 0
        rank = (known.flip(1).cumsum(1).flip(1) - 1).clamp(min=0)  # newest last
        ramps = (preference.unsqueeze(-1) - self.preferences).clamp(min=0)
        liking = (ramps * self.slopes).sum(-1).clamp(max=float(LIKING[-1]))
        weight = liking * known * (1.0 + rank) ** -LASTING.decay
        taste = torch.bmm(weight.unsqueeze(1), F.embedding(history + 1, self.table)).squeeze(1)
        is_empty = weight.sum(1, keepdim=True) == 0
        return F.normalize(torch.where(is_empty, self.popular, taste), dim=1)


class Blend(nn.Module):
    """The sum of both retrievals, and popularity: the ranker before anything was learned."""

    def __init__(self) -> None:
        super().__init__()
        weights = [1.0 if name in BLENDED else 0.0 for name in CROSS_FEATURES]
        self.weights: Tensor
        self.register_buffer("weights", torch.tensor(weights))

    def forward(self, user_vector: Tensor, profile: Tensor, item_half: Tensor, cross: Tensor) -> Tensor:
        """What stands for probabilities (B, C, 1): arguments as the bundle's `ranker`, an item half is popularity."""
        score = cross @ self.weights + POPULAR * item_half.float().squeeze(-1)
        return (score / TEMPERATURE).sigmoid().unsqueeze(-1)


def export_tower(tower: AverageTower, profile: int) -> torch.export.ExportedProgram:
    """The tower as a program; users and history length stay free."""
    batch, length = torch.export.Dim("users", min=1, max=4096), torch.export.Dim("length", min=1, max=8192)
    line = {0: batch, 1: length}
    example = (
        torch.zeros(3, 5, dtype=torch.long),
        torch.zeros(3, 5),
        torch.zeros(3, 5),
        torch.zeros(3, 2, dtype=torch.long),
        torch.zeros(3, profile),
    )
    return torch.export.export(tower.eval(), example, dynamic_shapes=(line, line, line, {0: batch}, {0: batch}))


def export_blend(vector: int, profile: int) -> torch.export.ExportedProgram:
    """The blend as a program over D = `vector` and P = `profile`; users and candidates stay free."""
    batch, length = torch.export.Dim("users", min=1, max=4096), torch.export.Dim("candidates", min=1, max=65_536)
    line = {0: batch, 1: length}
    example = (
        torch.zeros(3, vector),
        torch.zeros(3, profile),
        torch.zeros(3, 5, 1, dtype=torch.float16),
        torch.zeros(3, 5, len(CROSS_FEATURES)),
    )
    return torch.export.export(Blend().eval(), example, dynamic_shapes=({0: batch}, {0: batch}, line, line))
