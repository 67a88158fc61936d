"""The two-tower retrieval model: a user vector and an item vector whose inner product is the logit of "will like".

Both towers sum hashed ids and content, so that an unknown user lives by history and an unknown item by its words.
Covington et al. 2016 (history encoder), Yi et al. 2019 (sampled softmax with log-Q correction).

Shapes: B users, L history, T targets, K items of a step, N items, G categories, M metadata, W words, P profile, D dim.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tastemaker_training.recipes import TwoTowerRecipe

PREFERENCE_LEVELS = 11  # preferences are rounded to tenths of their range [-1, 1]
RANK_LEVELS = 16
RANK_SCALE = 1.7  # a level of the history's position is 1 / 1.7 doublings
MASKED = -1e9


@dataclass(frozen=True)
class ItemInputs:
    """What the item tower knows of the catalogue."""

    hashes: Tensor  # (N, 2) rows of the two id tables
    categories: Tensor  # (N, G) rows of unit length
    metadata: Tensor  # (N, M)
    words: Tensor  # (N, W) rows of the word table, its last row is padding


@dataclass(frozen=True)
class Batch:
    """Examples of one step."""

    history: Tensor  # (B, L) item codes, -1 is padding, newest last
    preference: Tensor  # (B, L)
    age: Tensor  # (B, L) log1p(days before the target)
    rank: Tensor  # (B, L) events between this one and the target
    user: Tensor  # (B, 2) hashed buckets
    profile: Tensor  # (B, P)
    targets: Tensor  # (B, T) item codes
    is_target: Tensor  # (B, T) False where a target is drawn twice
    pool: Tensor  # (K,) item codes that compete
    log_q: Tensor  # (K,) log probability that an item is in the pool

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return Batch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True)
class Seen:
    """The histories of a batch."""

    rows: Tensor  # (B, L) where each event's item lies in HistoryItems, anything where not known
    preference: Tensor  # (B, L)
    age: Tensor  # (B, L)
    rank: Tensor  # (B, L)
    known: Tensor  # (B, L) False is padding


@dataclass(frozen=True)
class HistoryItems:
    """What the user tower knows of items in a history."""

    table: Tensor  # (K, D - 1 + G + FACTS) representation, categories, facts
    categories: Tensor  # (K, G)


class ItemTower(nn.Module):
    """Item codes → (K, D); the last place is the item's bias, met by a 1 in the user vector."""

    def __init__(self, inputs: ItemInputs, recipe: TwoTowerRecipe) -> None:
        super().__init__()
        width = recipe.dim - 1
        self.hashes: Tensor
        self.categories: Tensor
        self.metadata: Tensor
        self.words: Tensor
        self.id_dropout = recipe.item_id_dropout
        for field in fields(inputs):
            self.register_buffer(field.name, getattr(inputs, field.name), persistent=False)
        metadata, categories = inputs.metadata.shape[1], inputs.categories.shape[1]
        self.first_id = _embedding(recipe.id_buckets, width)
        self.second_id = _embedding(recipe.id_buckets, width)
        self.word = _embedding(recipe.token_buckets + 1, width, padding=recipe.token_buckets)
        self.category = nn.Linear(categories, width)
        self.fact = nn.Linear(metadata, width)
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.bias = nn.Sequential(nn.Linear(metadata + width, 32), nn.GELU(), nn.Linear(32, 1))
        self.id_bias = nn.Embedding(recipe.id_buckets, 1)
        nn.init.zeros_(self.id_bias.weight)
        _shrink(self.mix[2])

    def see(self, inputs: ItemInputs) -> None:
        """Take newer facts of the same catalogue."""
        for field in fields(inputs):
            getattr(self, field.name).copy_(getattr(inputs, field.name))

    def parts(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """What the ids say and what the content says, each (K, D - 1)."""
        first, second = self.hashes[codes].unbind(1)
        words = self.words[codes]
        known = (words < self.word.num_embeddings - 1).sum(1, keepdim=True).clamp(min=1).float().sqrt()
        content = self.word(words).sum(1) / known + self.category(self.categories[codes])
        return self.first_id(first) + self.second_id(second), content

    def forward(self, codes: Tensor) -> Tensor:
        """Item vectors (K, D) of codes (K,)."""
        identity, content = self.parts(codes)
        facts = self.metadata[codes]
        if self.training:
            identity = _drop_rows(identity, self.id_dropout)
        whole = identity + content + self.fact(facts)
        whole = whole + self.mix(F.layer_norm(whole, whole.shape[-1:]))
        bias = self.bias(torch.cat([facts, content], 1)) + self.id_bias(self.hashes[codes, 0])
        return torch.cat([whole, bias], 1)


class UserTower(nn.Module):
    """History, hashed id and profile → (B, D)."""

    FACTS = 3  # of an item's metadata, averaged over the history

    def __init__(self, categories: int, profile: int, recipe: TwoTowerRecipe) -> None:
        super().__init__()
        self.width = width = recipe.dim - 1
        self.recipe = recipe
        self.own_id = _embedding(recipe.id_buckets, width)
        self.user_id = _embedding(recipe.user_buckets, width)
        self.liking = nn.Embedding(PREFERENCE_LEVELS, 1)
        self.recency = nn.Embedding(RANK_LEVELS, 1)
        self.aging = nn.Parameter(torch.zeros(()))
        self.taste = nn.Linear(2 * categories + self.FACTS + 3, width)
        self.profile = nn.Linear(profile, width, bias=False)
        self.mix = nn.Sequential(
            nn.Linear(2 * width, 2 * width), nn.GELU(), nn.Dropout(recipe.dropout), nn.Linear(2 * width, width)
        )
        _shrink(self.mix[3])
        nn.init.zeros_(self.profile.weight)
        with torch.no_grad():
            self.liking.weight[:, 0] = torch.tensor([-3, -3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.2])
            # exp(weight) starts as rank ** -0.5
            self.recency.weight[:, 0] = -0.5 * np.log(2) / RANK_SCALE * torch.arange(RANK_LEVELS)

    def forward(self, seen: Seen, user: Tensor, profile: Tensor, items: HistoryItems) -> Tensor:
        """User vectors (B, D)."""
        weight = self._weights(seen)  # (B, L)
        total = weight.sum(1, keepdim=True) + 1.0
        pooled = _weighted_sum(seen.rows, weight, items.table) / total
        history, facts = pooled[:, : self.width], pooled[:, self.width :]
        liked = (seen.preference - 0.4) * seen.known
        count = seen.known.float().sum(1, keepdim=True).clamp(min=1)
        contrast = _weighted_sum(seen.rows, liked, items.categories) / count
        spread = torch.cat(
            [liked.sum(1, keepdim=True) / count, count.log1p() / 3 - 1, weight.amax(1, keepdim=True) / total], 1
        )
        taste = self.taste(torch.cat([3 * facts, 7.5 * contrast, spread], 1)) + self._profile(profile)
        whole = 4 * history + taste + self._identity(user)
        whole = whole + self.mix(torch.cat([F.layer_norm(history, history.shape[-1:]), taste], 1))
        return torch.cat([whole, torch.ones_like(count)], 1)

    def _weights(self, seen: Seen) -> Tensor:
        known = seen.known
        if self.training:
            known = known & (torch.rand(known.shape, device=known.device) > self.recipe.history_dropout)
        level = ((seen.preference + 1) * 5).round().long().clamp(0, PREFERENCE_LEVELS - 1)
        place = (torch.log2(1 + seen.rank.float()) * RANK_SCALE).long().clamp(max=RANK_LEVELS - 1)
        # Counted from the user's newest event: somebody who was away for a year has not lost their tastes.
        days = seen.age.expm1()
        newest = days.masked_fill(~seen.known, torch.inf).amin(1, keepdim=True)
        since = (days - newest).clamp(min=0).nan_to_num(posinf=0.0).log1p()
        logit: Tensor = self.liking(level)[..., 0] + self.recency(place)[..., 0] + self.aging * since
        return logit.clamp(max=8).exp() * known

    def _identity(self, user: Tensor) -> Tensor:
        identity: Tensor = self.user_id(user).sum(1)
        return _drop_rows(identity, self.recipe.user_id_dropout) if self.training else identity

    def _profile(self, profile: Tensor) -> Tensor:
        shown = _drop_rows(profile, self.recipe.profile_dropout) if self.training else profile
        vector: Tensor = self.profile(shown)
        return vector


class TwoTower(nn.Module):
    """Both towers and their loss."""

    def __init__(self, inputs: ItemInputs, profile: int, recipe: TwoTowerRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.items = ItemTower(inputs, recipe)
        self.users = UserTower(inputs.categories.shape[1], profile, recipe)

    def forward(self, batch: Batch) -> Tensor:
        """Mean sampled-softmax loss over users. One call does it all, so that gradients are averaged over workers."""
        user = self.user_vectors(batch)
        logits = user @ self.items(batch.pool).T / self.recipe.temperature - batch.log_q  # (B, K)
        place = torch.full((len(self.items.hashes),), -1, dtype=torch.long, device=logits.device)
        place[batch.pool] = torch.arange(len(batch.pool), device=logits.device)
        target = place[batch.targets]  # (B, T)
        seen = torch.where(batch.history >= 0, place[batch.history], -1)
        # Neither the other targets nor the history compete with a target.
        banned = torch.zeros_like(logits, dtype=torch.bool)
        banned.scatter_(1, torch.where(seen >= 0, seen, target[:, :1]), True)
        banned.scatter_(1, target, True)
        others = torch.logsumexp(logits.masked_fill(banned, MASKED), 1, keepdim=True)
        positive = logits.gather(1, target)
        loss = torch.logaddexp(others, positive) - positive
        per_user: Tensor = (loss * batch.is_target).sum(1) / batch.is_target.sum(1)
        return per_user.mean()

    def user_vectors(self, batch: Batch) -> Tensor:
        """User vectors (B, D) of a batch."""
        codes, rows = torch.unique(batch.history.clamp(min=0), return_inverse=True)
        seen = Seen(rows, batch.preference, batch.age, batch.rank, batch.history >= 0)
        return self.users(seen, batch.user, batch.profile, self.history_items(codes))  # type: ignore[no-any-return]

    def history_items(self, codes: Tensor) -> HistoryItems:
        """What the user tower knows of the items `codes` (K,)."""
        identity, content = self.items.parts(codes)
        representation = self.users.own_id(self.items.hashes[codes, 0]) + identity + content
        categories, facts = self.items.categories[codes], self.items.metadata[codes][:, : UserTower.FACTS]
        return HistoryItems(torch.cat([representation, categories, facts], 1), categories)


class ServedUserTower(nn.Module):
    """The user tower as it is exported: the history table of the whole catalogue is computed once."""

    def __init__(self, model: TwoTower) -> None:
        super().__init__()
        with torch.no_grad():
            items = model.history_items(torch.arange(len(model.items.hashes)))
        self.tower = model.users
        self.table: Tensor
        self.categories: Tensor
        self.register_buffer("table", items.table)
        self.register_buffer("categories", items.categories)

    def forward(self, history: Tensor, preference: Tensor, age: Tensor, user: Tensor, profile: Tensor) -> Tensor:
        """User vectors (B, D); the arguments are those of the bundle's `user_tower`."""
        known = history >= 0
        rank = (known.flip(1).cumsum(1).flip(1) - 1).clamp(min=0)  # newest last
        seen = Seen(history.clamp(min=0), preference, age, rank, known)
        items = HistoryItems(self.table, self.categories)
        return self.tower(seen, user, profile, items)  # type: ignore[no-any-return]


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


def _weighted_sum(rows: Tensor, weights: Tensor, table: Tensor) -> Tensor:
    """Each user's weighted sum of the table's rows (B, W), of places (B, L) with weights (B, L)."""
    if torch.is_grad_enabled():
        # In training the table holds only the batch's items, and a matrix product's backward pass is four times
        # faster than that of gathered rows.
        return torch.zeros(len(rows), len(table), device=rows.device).scatter_add(1, rows, weights) @ table
    return torch.bmm(weights[:, None, :], F.embedding(rows, table)).squeeze(1)


def _embedding(rows: int, width: int, padding: int | None = None) -> nn.Embedding:
    table = nn.Embedding(rows, width, padding_idx=padding)
    nn.init.normal_(table.weight, std=0.05)
    if padding is not None:
        with torch.no_grad():
            table.weight[padding] = 0
    return table


def _drop_rows(rows: Tensor, share: float) -> Tensor:
    """Zero a random `share` of rows, without rescaling the others: the model must do without the whole signal."""
    return rows * (torch.rand(len(rows), 1, device=rows.device) > share)


def _shrink(layer: nn.Module) -> None:
    """Start a residual branch near zero."""
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.weight.mul_(0.1)
