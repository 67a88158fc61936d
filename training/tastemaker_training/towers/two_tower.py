"""The two-tower retrieval model: a user vector and an item vector whose inner product is the logit of "will like".

Trained by sampled softmax with log-Q correction (Yi et al. 2019) over the batch's targets and uniform negatives (mixed,
Yang et al. 2020), at many moments of each history.

Shapes: B users, L history, M moments, T targets of each, K items of a step, N items, P profile, D dim.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tastemaker_training.recipes import TwoTowerRecipe
from tastemaker_training.towers.item_tower import ItemInputs, ItemTower, drop_rows, id_table
from tastemaker_training.towers.user_tower import FACTS, Seen, UserTower

MASKED = -1e9
PASS = 512
"""Users whose vectors are computed at once, outside training."""


@dataclass(frozen=True)
class Histories:
    """What is known of users at some moments."""

    items: Tensor  # (B, L) item codes, newest last; -1 is padding, which comes first
    preference: Tensor  # (B, L)
    age: Tensor  # (B, L) log1p(days before any one time of the user)
    user: Tensor  # (B, 2) hashed buckets
    at: Tensor  # (B, M) moments: the slots up to which the history is known
    profile: Tensor  # (B, M, P) as of then

    def to(self, device: torch.device) -> Histories:
        """The same on `device`."""
        return Histories(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def split(self, users: int) -> list[Histories]:
        """The same in parts of so many users."""
        parts = zip(*(getattr(self, field.name).split(users) for field in fields(self)), strict=True)
        return [Histories(*part) for part in parts]


@dataclass(frozen=True)
class Part:
    """Users whose histories are about as long, and what follows at the moments."""

    histories: Histories
    targets: Tensor  # (B, M, T) item codes
    is_target: Tensor  # (B, M, T) False where there is none

    def to(self, device: torch.device) -> Part:
        """The same on `device`."""
        return Part(self.histories.to(device), self.targets.to(device), self.is_target.to(device))


@dataclass(frozen=True)
class Batch:
    """Examples of one step. Its parts are padded each to its own longest history."""

    parts: tuple[Part, ...]
    pool: Tensor  # (K,) item codes that compete for all users, ascending
    log_q: Tensor  # (K,) log probability that an item is in the pool

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return Batch(tuple(part.to(device) for part in self.parts), self.pool.to(device), self.log_q.to(device))


class TwoTower(nn.Module):
    """Both towers and their loss."""

    def __init__(self, inputs: ItemInputs, profile: int, recipe: TwoTowerRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.items = ItemTower(inputs, recipe)
        self.users = UserTower(inputs.categories.shape[1] + FACTS, profile, recipe)
        self.own_id = id_table(inputs.id_rows, recipe.dim - 1)  # what an item says in a history beyond what it is
        if inputs.start is not None:
            nn.init.zeros_(self.own_id.weight)

    def forward(self, batch: Batch) -> Tensor:
        """Mean sampled-softmax loss over users. One call does it all, so that gradients are averaged over workers."""
        codes = torch.unique(torch.cat([part.histories.items.flatten() for part in batch.parts]).clamp(min=0))
        table, items = self.history_table(codes), self.items(batch.pool)
        losses = [self._losses(part, self._moments(part.histories, codes, table), items, batch) for part in batch.parts]
        return torch.cat(losses).mean()

    def _losses(self, part: Part, users: Tensor, items: Tensor, batch: Batch) -> Tensor:
        """Mean loss of each user (B,), of vectors `users` (B, M, D) against the pool's `items` (K, D)."""
        users = users / self.recipe.temperature
        place = torch.searchsorted(batch.pool, part.targets).clamp(max=len(batch.pool) - 1)  # where it is a target
        positive = (users[:, :, None] * items[place]).sum(3) - batch.log_q[place]
        # In place: what a step writes to memory takes longer than what it computes.
        others = (users @ items.T).float().add_(_handicap(part, place, batch)[:, None]).logsumexp(2, keepdim=True)
        loss = F.softplus(others - positive) * part.is_target
        per_user: Tensor = loss.sum((1, 2)) / part.is_target.sum((1, 2)).clamp(min=1)
        return per_user

    def moments(self, histories: Histories) -> Tensor:
        """User vectors (B, M, D) at the moments of histories."""
        codes = torch.unique(histories.items.clamp(min=0))
        return self._moments(histories, codes, self.history_table(codes))

    def _moments(self, histories: Histories, codes: Tensor, table: Tensor) -> Tensor:
        rows = torch.searchsorted(codes, histories.items.clamp(min=0))
        seen = Seen(rows, histories.preference, histories.age, histories.items >= 0)
        vectors: Tensor = self.users(seen, histories.at, histories.user, histories.profile, table)
        return vectors

    def user_vectors(self, histories: Histories) -> Tensor:
        """User vectors (B, D) at the first moment of each history."""
        return torch.cat([self.moments(part)[:, 0] for part in histories.split(PASS)])

    def item_vectors(self) -> Tensor:
        """Vectors (N, D) of the whole catalogue."""
        vectors: Tensor = self.items(torch.arange(len(self.items.ids), device=self.items.ids.device))
        return vectors

    def history_table(self, codes: Tensor) -> Tensor:
        """What the user tower knows of the items `codes` (K,) in a history."""
        identity, content = self.items.parts(codes, told=True)
        identity = identity + self.own_id(self.items.ids[codes]).sum(1)
        if self.training:
            identity = drop_rows(identity, self.recipe.item_id_dropout)
        traits = torch.cat([self.items.categories[codes], self.items.metadata[codes][:, :FACTS]], 1)
        return self.users.table(identity + content, traits)


class ServedUserTower(nn.Module):
    """The user tower as it is exported: the history table of the whole catalogue is computed once."""

    def __init__(self, model: TwoTower) -> None:
        super().__init__()
        with torch.no_grad():
            table = model.history_table(torch.arange(len(model.items.ids)))
        self.tower = model.users
        self.table: Tensor
        self.register_buffer("table", table)

    def forward(self, history: Tensor, preference: Tensor, age: Tensor, user: Tensor, profile: Tensor) -> Tensor:
        """User vectors (B, D); the arguments are those of the bundle's `user_tower`."""
        seen = Seen(history.clamp(min=0), preference, age, history >= 0)
        newest = torch.full_like(user[:, :1], history.shape[1] - 1)
        return self.tower(seen, newest, user, profile[:, None], self.table)[:, 0]  # type: ignore[no-any-return]


def export_user_tower(model: TwoTower, profile: int) -> torch.export.ExportedProgram:
    """The user tower as a program that runs without this package; users and history length stay free."""
    served = ServedUserTower(model).eval()
    users, length = torch.export.Dim("users", min=1, max=4096), torch.export.Dim("length", min=1, max=8192)
    example = (
        torch.zeros(3, 5, dtype=torch.long),
        torch.zeros(3, 5),
        torch.zeros(3, 5),
        torch.zeros(3, 2, dtype=torch.long),
        torch.zeros(3, profile),
    )
    sequence = {0: users, 1: length}
    with torch.no_grad():
        return torch.export.export(
            served, example, dynamic_shapes=(sequence, sequence, sequence, {0: users}, {0: users})
        )


def _handicap(part: Part, place: Tensor, batch: Batch) -> Tensor:
    """What is added to the logits of each user's rivals (B, K).

    An item that is rarely in a pool stands for many of its kind. What a user has had or is about to like competes with
    no target.

    Args:
        place: (B, M, T) of the targets in the pool.
    """
    items, size = part.histories.items, len(batch.pool)
    near = torch.searchsorted(batch.pool, items.clamp(min=0)).clamp(max=size - 1)
    seen = torch.where(batch.pool[near] == items, near, size)
    own = torch.cat([seen, torch.where(part.is_target, place, size).flatten(1)], 1)
    # What is not in the pool lands in an extra last column.
    handicap = F.pad(-batch.log_q, (0, 1)).repeat(len(own), 1)
    return handicap.scatter_(1, own, MASKED)[:, :size]
