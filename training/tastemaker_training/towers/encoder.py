"""The sequence encoder: what the order and the timing of events say.

A causal transformer over a history (Kang & McAuley 2018) with gated, pre-norm blocks (LiGR, Borisyuk et al. 2025). How
long ago an event was, in events and in time, biases the attention paid to it (as in HSTU, Zhai et al. 2024), so that
what a moment sees depends on nothing but the events up to it, wherever the history is cut.

Shapes: B users, L history, M moments, W width, H heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RANK_LEVELS = 16
RANK_SCALE = 1.7  # a level of the distance in events is 1 / 1.7 doublings
GAP_LEVELS = 24
MINUTES = 1_440.0  # of a day: a level of the distance in time is a doubling of minutes
MASKED = -1e9
SCALE = 8.0  # of item vectors beside what else is known of an event (Vaswani et al. 2017, section 3.4)


@dataclass(frozen=True)
class Distance:
    """How far M moments are from the L events of a history."""

    known: Tensor  # (B, L) False is padding
    past: Tensor  # (B, M, L) False where the event comes after the moment, or is padding
    rank: Tensor  # (B, M, L) events between them
    days: Tensor  # (B, M, L) time between them

    @classmethod
    def between(cls, at: Tensor, known: Tensor, age: Tensor) -> Distance:
        """The distances between the slots `at` (B, M) and all slots (B, L).

        Args:
            known: (B, L) False is padding. age: (B, L) log1p(days before any one time).
        """
        slot = torch.arange(known.shape[1], device=known.device)
        behind = at[:, :, None] - slot  # (B, M, L)
        days = age.expm1()
        since = days[:, None, :] - days.gather(1, at)[:, :, None]
        past = (behind >= 0) & known[:, None, :]
        return cls(known, past, behind.clamp(min=0), since.clamp(min=0))

    @property
    def rank_level(self) -> Tensor:
        """(B, M, L) below RANK_LEVELS."""
        return (torch.log2(1 + self.rank.float()) * RANK_SCALE).long().clamp(max=RANK_LEVELS - 1)

    @property
    def gap_level(self) -> Tensor:
        """(B, M, L) below GAP_LEVELS."""
        return torch.log2(1 + MINUTES * self.days).long().clamp(max=GAP_LEVELS - 1)


class Encoder(nn.Module):
    """Events of a history and M moments in it → what the events up to each moment say (B, M, W)."""

    def __init__(self, width: int, levels: int, heads: int, blocks: int, dropout: float, start: float) -> None:
        super().__init__()
        self.level = nn.Embedding(levels, width)
        nn.init.normal_(self.level.weight, std=0.05)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        nn.init.constant_(self.norm.weight, start)
        self.dropout = nn.Dropout(dropout)

    def forward(self, items: Tensor, level: Tensor, at: Tensor, distance: Distance, age: Tensor) -> Tensor:
        """Encode at the slots `at` (B, M), which are `distance` from the events.

        Args:
            items: (B, L, W). level: (B, L) how much each was liked, below `levels`. age: (B, L).
        """
        stream = self.dropout((SCALE * items + self.level(level)) * distance.known[:, :, None])
        if len(self.blocks) > 1:  # only the last block may look from the asked moments alone
            slots = torch.arange(items.shape[1], device=at.device).expand(len(at), -1)
            every = Distance.between(slots, distance.known, age)
            for block in self.blocks[:-1]:
                stream = block(stream, stream, every)
        moments = stream.gather(1, at[:, :, None].expand(-1, -1, stream.shape[2]))
        encoded: Tensor = self.norm(self.blocks[-1](moments, stream, distance))
        return encoded


class Block(nn.Module):
    """Attention and a feed-forward net, each behind a gate that may shut it off."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        inner = heads * math.ceil(width / heads)
        self.heads = heads
        self.attention_norm, self.net_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, inner) for _ in range(3))
        self.out = nn.Linear(inner, width)
        self.attention_gate, self.net_gate = nn.Linear(width, width), nn.Linear(width, width)
        self.net = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.rank, self.gap = nn.Embedding(RANK_LEVELS, heads), nn.Embedding(GAP_LEVELS, heads)
        self.dropout = nn.Dropout(dropout)
        for bias in (self.rank, self.gap):
            nn.init.zeros_(bias.weight)

    def forward(self, moments: Tensor, events: Tensor, distance: Distance) -> Tensor:
        """The moments (B, M, W), having looked at the events (B, L, W) before them."""
        attended = self._attend(self.attention_norm(moments), self.attention_norm(events), distance)
        moments = moments + self.dropout(attended) * self.attention_gate(moments).sigmoid()
        digested = self.net(self.net_norm(moments))
        whole: Tensor = moments + self.dropout(digested) * self.net_gate(moments).sigmoid()
        return whole

    def _attend(self, moments: Tensor, events: Tensor, distance: Distance) -> Tensor:
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(moments), self.key(events), self.value(events))
        )
        bias = (self.rank(distance.rank_level) + self.gap(distance.gap_level)).permute(0, 3, 1, 2)
        logits = query @ key.transpose(2, 3) / math.sqrt(key.shape[3]) + bias
        logits = logits.masked_fill(~distance.past[:, None], MASKED)
        # A zero beside them takes what attention no event deserves, all of it where there is no event.
        weights = F.softmax(F.pad(logits, (1, 0)), dim=3)[..., 1:]
        attended: Tensor = self.out((self.dropout(weights) @ value).transpose(1, 2).flatten(2))
        return attended
