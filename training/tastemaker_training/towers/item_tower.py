"""The item tower: what an item is, from its id and its content.

Ids and content are summed, so that an unknown item lives by its words, categories and facts.

Shapes: K items, N items of the catalogue, R rows of an id, G categories, M metadata, W words, D dim.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tastemaker_training.recipes import TwoTowerRecipe


@dataclass(frozen=True)
class ItemInputs:
    """What the item tower knows of the catalogue."""

    ids: Tensor  # (N, R) rows of the id table: an item's own, or two hashed ones; the table's last is of unknown items
    id_rows: int  # of the id table, without the last
    categories: Tensor  # (N, G) rows of unit length
    metadata: Tensor  # (N, M)
    words: Tensor  # (N, W) rows of the word table, its last row is padding
    start: tuple[Tensor, Tensor] | None = None
    """Where the graph puts the items, which their own rows correct: to be liked, and to tell of a taste, (N, D - 1)."""

    def __len__(self) -> int:
        return len(self.ids)


class ItemTower(nn.Module):
    """Item codes → (K, D); the last place is the item's bias, met by a 1 in the user vector."""

    def __init__(self, inputs: ItemInputs, recipe: TwoTowerRecipe) -> None:
        super().__init__()
        width = recipe.dim - 1
        self.ids: Tensor
        self.categories: Tensor
        self.metadata: Tensor
        self.words: Tensor
        self.id_dropout = recipe.item_id_dropout
        for name, value in _tensors(inputs).items():
            self.register_buffer(name, value.clone(), persistent=False)  # `see` writes into it
        metadata, categories = inputs.metadata.shape[1], inputs.categories.shape[1]
        self.id = id_table(inputs.id_rows, width)
        self.start = self.told = None
        if inputs.start is not None:
            self.start = id_table(inputs.id_rows, width).requires_grad_(False)
            self.told = copy.deepcopy(self.start)
            self.start.weight[:-1], self.told.weight[:-1] = inputs.start
            nn.init.zeros_(self.id.weight)
        self.word = nn.EmbeddingBag(recipe.token_buckets + 1, width, mode="sum", padding_idx=recipe.token_buckets)
        self.category = nn.Parameter(torch.randn(categories, width) * SPREAD)
        self.fact = nn.Linear(metadata, width)
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.bias = nn.Sequential(nn.Linear(metadata + width, 32), nn.GELU(), nn.Linear(32, 1))
        self.id_bias = nn.Embedding(inputs.id_rows + 1, 1, padding_idx=inputs.id_rows)
        nn.init.zeros_(self.id_bias.weight)
        spread(self.word)
        for branch in (self.fact, self.mix[2], self.bias[2]):
            shrink(branch, recipe.branch_start)

    def see(self, inputs: ItemInputs) -> None:
        """Take newer facts of the same catalogue."""
        for name, value in _tensors(inputs).items():
            getattr(self, name).copy_(value)

    def parts(self, codes: Tensor, told: bool = False) -> tuple[Tensor, Tensor]:
        """What the ids say and what the content says, each (K, D - 1).

        Args:
            told: of what the items tell of the taste of those who liked them.
        """
        identity: Tensor = self.id(self.ids[codes]).sum(1)
        start = self.told if told else self.start
        if start is not None:
            identity = identity + start(self.ids[codes]).sum(1)
        words = self.words[codes]
        known = (words < self.word.num_embeddings - 1).sum(1, keepdim=True).clamp(min=1).float().sqrt()
        content = self.word(words) / known + self.categories[codes] @ self.category
        return identity, content

    def forward(self, codes: Tensor) -> Tensor:
        """Item vectors (K, D) of codes (K,)."""
        identity, content = self.parts(codes)
        facts = self.metadata[codes]
        if self.training:
            identity = drop_rows(identity, self.id_dropout)
        whole = identity + content + self.fact(facts)
        whole = whole + self.mix(F.layer_norm(whole, whole.shape[-1:]))
        bias = self.bias(torch.cat([facts, content], 1)) + self.id_bias(self.ids[codes]).mean(1)
        return torch.cat([whole, bias], 1)


SPREAD = 0.05  # standard deviation that embeddings start with


def id_table(rows: int, width: int) -> nn.Embedding:
    """Embeddings of ids, which begin at random; the last row, of unknown ids, stays zero."""
    table = nn.Embedding(rows + 1, width, padding_idx=rows)
    spread(table)
    return table


def spread(table: nn.Embedding | nn.EmbeddingBag) -> None:
    """Start embeddings at random, padding at zero."""
    nn.init.normal_(table.weight, std=SPREAD)
    if table.padding_idx is not None:
        with torch.no_grad():
            table.weight[table.padding_idx] = 0


def drop_rows(rows: Tensor, share: float) -> Tensor:
    """Zero a random `share` of rows, without rescaling the others: the model must do without the whole signal."""
    return rows * (torch.rand(*rows.shape[:-1], 1, device=rows.device) > share)


def shrink(branch: nn.Module, share: float) -> None:
    """Start a branch near zero, so that where the graph puts the items is heard."""
    with torch.no_grad():
        for parameter in branch.parameters():
            parameter.mul_(share)


def _tensors(inputs: ItemInputs) -> dict[str, Tensor]:
    values = {field.name: getattr(inputs, field.name) for field in fields(inputs) if field.name != "start"}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}
