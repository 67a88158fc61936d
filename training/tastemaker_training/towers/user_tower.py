"""The user tower: what a user is about to like, from their history, id and profile.

A pool of the history weighted by preference and recency says what belongs to the user's taste (Covington et al. 2016),
the sequence encoder what comes next. Ids and profiles are left out at random in training, so that an unknown user lives
by their history.

Shapes: B users, L history, M moments, K items, G categories, P profile, W width, D dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tastemaker_training.recipes import TwoTowerRecipe
from tastemaker_training.towers.encoder import RANK_LEVELS, RANK_SCALE, Distance, Encoder
from tastemaker_training.towers.item_tower import drop_rows, shrink

PREFERENCE_LEVELS = 11  # preferences are rounded to tenths of their range [-1, 1]
NEUTRAL = 0.4  # the preference that speaks neither for nor against an item's traits
LITTLE = 0.5  # length of a taste of which little is known
FACTS = 3  # of an item's metadata, averaged over the history


@dataclass(frozen=True)
class Seen:
    """The histories of a batch, newest last."""

    rows: Tensor  # (B, L) where each event's item lies in the history table, anything where not known
    preference: Tensor  # (B, L)
    age: Tensor  # (B, L) log1p(days before any one time)
    known: Tensor  # (B, L) False is padding, which comes first

    @property
    def level(self) -> Tensor:
        """The preferences in tenths (B, L)."""
        return ((self.preference + 1) * 5).round().long().clamp(0, PREFERENCE_LEVELS - 1)


class UserTower(nn.Module):
    """Histories, hashed ids and profiles → (B, M, D)."""

    def __init__(self, traits: int, profile: int, recipe: TwoTowerRecipe) -> None:
        super().__init__()
        self.width = width = recipe.dim - 1
        self.recipe = recipe
        self.user_id = nn.Embedding(recipe.user_buckets, width)
        nn.init.normal_(self.user_id.weight, std=recipe.branch_start / 2)
        self.liking = nn.Embedding(PREFERENCE_LEVELS, 1)
        self.recency = nn.Embedding(RANK_LEVELS, 1)
        self.aging = nn.Parameter(torch.zeros(()))
        self.sureness = None if recipe.user_length is None else nn.Parameter(torch.zeros(()))
        self.trait = nn.Linear(traits, width, bias=False)
        self.contrast = nn.Linear(traits, width, bias=False)
        self.habit = nn.Linear(3, width)
        self.profile = nn.Linear(profile, width, bias=False)
        self.encoder = (
            Encoder(width, PREFERENCE_LEVELS, recipe.heads, recipe.blocks, recipe.dropout, recipe.sequence_start)
            if recipe.blocks
            else None
        )
        self.mix = nn.Sequential(
            nn.Linear(2 * width, 2 * width), nn.GELU(), nn.Dropout(recipe.dropout), nn.Linear(2 * width, width)
        )
        for branch in (self.trait, self.contrast, self.habit, self.mix[3]):
            shrink(branch, recipe.branch_start)
        nn.init.zeros_(self.profile.weight)
        with torch.no_grad():
            self.liking.weight[:, 0] = torch.tensor([-3, -3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.2])
            self.recency.weight[:, 0] = -recipe.recency * np.log(2) / RANK_SCALE * torch.arange(RANK_LEVELS)

    def table(self, vectors: Tensor, traits: Tensor) -> Tensor:
        """What a history says of its items (K, 3 W): their vectors (K, W), and their traits for and against a taste.

        Args:
            traits: (K, G + FACTS) categories and facts.
        """
        return torch.cat([vectors, 3 * self.trait(traits), 7.5 * self.contrast(traits)], 1)

    def forward(self, seen: Seen, at: Tensor, user: Tensor, profile: Tensor, table: Tensor) -> Tensor:
        """User vectors (B, M, D) as of the events in the slots `at` (B, M), for profiles (B, M, P)."""
        events = F.embedding(seen.rows, table) * seen.known[:, :, None]  # (B, L, 3 W)
        distance = Distance.between(at, self._shown(seen.known), seen.age)
        weight = self._weights(seen, distance)  # (B, M, L)
        total = weight.sum(2, keepdim=True) + 1.0
        pooled = weight @ events[:, :, : 2 * self.width] / total
        history, likes = pooled[:, :, : self.width], pooled[:, :, self.width :]
        taste = likes + self._dislikes(seen, distance, weight, events[:, :, 2 * self.width :]) + self._profile(profile)
        whole = 4 * history + taste + self._identity(user)[:, None]
        if self.encoder is not None:
            whole = whole + self.encoder(events[:, :, : self.width], seen.level, at, distance, seen.age)
        whole = whole + self.mix(torch.cat([F.layer_norm(history, history.shape[-1:]), taste], 2))
        return torch.cat([self._sure(whole), torch.ones_like(total)], 2)

    def _shown(self, known: Tensor) -> Tensor:
        """The events that may be looked at; in training some are left out."""
        if not self.training:
            return known
        return known & (torch.rand(known.shape, device=known.device) > self.recipe.history_dropout)

    def _weights(self, seen: Seen, distance: Distance) -> Tensor:
        """What each event weighs in the taste of each moment (B, M, L).

        Time is counted from the user's newest event: somebody who was away for a year has not lost their tastes.
        """
        liking, recency = self.liking(seen.level)[:, None, :, 0], self.recency(distance.rank_level)[..., 0]
        logit: Tensor = liking + recency + self.aging * distance.days.log1p()
        return logit.clamp(max=8).exp() * distance.past

    def _dislikes(self, seen: Seen, distance: Distance, weight: Tensor, traits: Tensor) -> Tensor:
        """What traits (B, L, W) the user likes more or less than others, and how the user judges (B, M, W)."""
        liked = (seen.preference - NEUTRAL)[:, None] * distance.past  # (B, M, L)
        count = distance.past.sum(2, keepdim=True).clamp(min=1).float()
        strongest = weight.amax(2, keepdim=True) / (weight.sum(2, keepdim=True) + 1.0)
        habit = torch.cat([liked.sum(2, keepdim=True) / count, count.log1p() / 3 - 1, strongest], 2)
        judged: Tensor = liked @ traits / count + self.habit(habit)
        return judged

    def _sure(self, taste: Tensor) -> Tensor:
        """Where the recipe gives them a length: tastes (B, M, W) of this one, but of those of whom little is known.

        How narrow a history is then does not say how sure the model is: a few users would make most of the loss.
        """
        if self.sureness is None or self.recipe.user_length is None:
            return taste
        length = (taste.square().sum(2, keepdim=True) + LITTLE**2).sqrt()
        return taste / length * (self.recipe.user_length * self.sureness.exp())

    def _identity(self, user: Tensor) -> Tensor:
        identity: Tensor = self.user_id(user).sum(1)
        return drop_rows(identity, self.recipe.user_id_dropout) if self.training else identity

    def _profile(self, profile: Tensor) -> Tensor:
        shown = drop_rows(profile, self.recipe.profile_dropout) if self.training else profile
        vector: Tensor = self.profile(shown)
        return vector
