"""The ranking model: a multilayer perceptron over user, item and cross features, beside a linear skip on the last.

The first layer is split. What it makes of an item is computed once per bundle, what it makes of a user once per
request; per candidate only the few cross features remain. (DLRM and Wide & Deep have the same idea: Cheng et al. 2016.)

B users, C candidates, N items, D vector width, P profile width, I item features, F cross features, H hidden width,
T heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tastemaker.features.cross import CROSS_FEATURES
from tastemaker.standardise import Standardise
from tastemaker_training.interactions import Floats
from tastemaker_training.ranker.lists import Lists
from tastemaker_training.recipes import RankerRecipe

MASKED = -1e9
STARTING_FEATURES = ("two_tower", "item_to_item")
"""The linear skip starts at 1 for these: the untrained ranker is the sum of both retrievals."""
AT_ONCE = 64  # lists


@dataclass(frozen=True)
class Widths:
    """How many numbers describe a user (D + P), an item (I), and a user with an item (F)."""

    user: int
    item: int
    cross: int


def starting_weights() -> tuple[float, ...]:
    """The linear skip's first weights (F,) over `CROSS_FEATURES`."""
    return tuple(float(name in STARTING_FEATURES) for name in CROSS_FEATURES)


class Ranker(nn.Module):
    """Logits of candidates by head, and the loss of lists.

    The heads share all layers but the last (Caruana 1997, multitask learning).
    """

    def __init__(self, widths: Widths, heads: Sequence[str], start: Sequence[float], recipe: RankerRecipe) -> None:
        super().__init__()
        hidden, self.heads, self.dislike = recipe.hidden, tuple(heads), recipe.dislike
        self.user_scale, self.item_scale = Standardise(widths.user, 0.1), Standardise(widths.item, 0.05)
        self.cross_scale = Standardise(widths.cross, 0.05)
        self.user = _layer(widths.user, hidden)
        self.item = _layer(widths.item, hidden, bias=False)
        self.cross = nn.Linear(widths.cross, hidden, bias=False)
        self.hidden = nn.Linear(hidden, hidden // 2)
        self.output = nn.Linear(hidden // 2, len(heads), bias=False)
        self.skip = nn.Linear(widths.cross, len(heads), bias=False)
        self.dropout = nn.Dropout(recipe.dropout)
        self.slope: Tensor
        self.shift: Tensor
        self.register_buffer("slope", torch.ones(len(heads)))
        self.register_buffer("shift", torch.zeros(len(heads)))
        with torch.no_grad():
            self.user.weight.mul_(0.3)
            self.item.weight.mul_(0.3)
            self.output.weight.zero_()
            self.skip.weight.copy_(torch.tensor(start))

    def see(self, lists: Lists, items: Tensor) -> None:
        """Take the scale of the inputs from training lists and the items (N, I)."""
        self.user_scale.see(torch.cat([lists.user_vectors, lists.profiles], 1))
        self.item_scale.see(items)
        self.cross_scale.see(lists.cross[lists.codes >= 0])

    def item_half(self, items: Tensor) -> Tensor:
        """The first layer's part of items (..., I), shape (..., H)."""
        return self.item(self.item_scale(items))  # type: ignore[no-any-return]

    def score(self, user_vector: Tensor, profile: Tensor, item_half: Tensor, cross: Tensor) -> Tensor:
        """Logits (B, C, T) of user vectors (B, D), profiles (B, P), item halves (B, C, H), cross features (B, C, F)."""
        user = self.user(self.user_scale(torch.cat([user_vector, profile], 1)))
        scaled = self.cross_scale(cross)
        first = F.relu(item_half + self.cross(scaled) + user.unsqueeze(1))
        second = F.relu(self.hidden(self.dropout(first)))
        return self.output(self.dropout(second)) + self.skip(scaled)  # type: ignore[no-any-return]

    def forward(self, lists: Lists, items: Tensor) -> Tensor:
        """Mean listwise softmax loss, summed over heads: each candidate of a head against all that are not.

        A list counts by the root of its number of such candidates; one that was disliked counts `recipe.dislike`
        times among the others. One call does it all, so that gradients are averaged over workers.
        """
        half = self.item_half(items[lists.codes.clamp(min=0)])
        logits = self.score(lists.user_vectors, lists.profiles, half, lists.cross)
        weight = lists.weight * torch.where(lists.disliked, self.dislike, 1.0)
        real = (lists.codes >= 0).unsqueeze(-1)
        others = (logits + weight.log().unsqueeze(-1)).masked_fill(lists.labels | ~real, MASKED)
        loss = (torch.logaddexp(logits, others.logsumexp(1, keepdim=True)) - logits) * lists.labels
        return (loss.sum(1) / lists.labels.sum(1).clamp(min=1).sqrt()).sum(1).mean()

    def take(self, slopes: Sequence[float], shifts: Sequence[float]) -> None:
        """Take the curves that make probabilities of each head's logits (see `calibration`)."""
        self.slope.copy_(torch.tensor(slopes))
        self.shift.copy_(torch.tensor(shifts))


def logits(ranker: Ranker, lists: Lists, items: Tensor) -> Tensor:
    """Logits (Q, C, T) of all candidates, padding too, some lists at a time."""
    found = []
    with torch.no_grad():
        half = ranker.item_half(items)
        for start in range(0, len(lists), AT_ONCE):
            part = lists.take(torch.arange(start, min(start + AT_ONCE, len(lists))))
            found.append(ranker.score(part.user_vectors, part.profiles, half[part.codes.clamp(min=0)], part.cross))
    return torch.cat(found)


def probabilities(ranker: Ranker, lists: Lists, items: Tensor) -> Tensor:
    """Calibrated probabilities (Q, C, T) that the user will do what each head stands for."""
    return torch.sigmoid(logits(ranker, lists, items) * ranker.slope + ranker.shift)


class ServedRanker(nn.Module):
    """The ranker as it is exported: scaling and curves folded into the layers, item halves ready-made, all in place."""

    def __init__(self, ranker: Ranker) -> None:
        super().__init__()
        self.hidden = ranker.hidden
        with torch.no_grad():
            cross, shift = ranker.cross_scale.folded(ranker.cross)
            user, bias = ranker.user_scale.folded(ranker.user)
            skip, constant = ranker.cross_scale.folded(ranker.skip)
            slope = ranker.slope[:, None]
            self.output = _linear(slope * ranker.output.weight, ranker.slope * constant + ranker.shift)
            self.skip = _linear(slope * skip, None)
        self.user = _linear(user, bias + shift)
        self.cross: Tensor
        self.register_buffer("cross", cross.T.contiguous())

    def forward(self, user_vector: Tensor, profile: Tensor, item_half: Tensor, cross: Tensor) -> Tensor:
        """Probabilities (B, C, T); the arguments are those of the bundle's `ranker`, item halves in float16."""
        user = self.user(torch.cat([user_vector, profile], 1)).unsqueeze(1)
        # One product adds the item's half on the way, and the rest happens in place: the layer is bound by memory.
        first = torch.baddbmm(item_half.float(), cross, self.cross.expand(cross.shape[0], -1, -1)).add_(user).relu_()
        second = self.hidden(first).relu_()
        return self.output(second).add_(self.skip(cross)).sigmoid_()  # type: ignore[no-any-return]


def item_features(vectors: Floats, metadata: Tensor, categories: Tensor) -> Tensor:
    """What the ranker knows of items, (N, I): the item tower's vectors (N, D), metadata (N, M), categories (N, G).

    The vectors must be of one space with the user vectors in training and serving: both centred, or both not.
    """
    return torch.cat([torch.from_numpy(vectors), metadata, categories], 1)


def item_halves(ranker: Ranker, items: Tensor) -> npt.NDArray[np.float16]:
    """The bundle's `ranker_items` (N, H) for the items (N, I) as they are now."""
    with torch.no_grad():
        return ranker.item_half(items).half().numpy()


def export_ranker(ranker: Ranker, vector: int, profile: int) -> torch.export.ExportedProgram:
    """The ranker as a program that runs without this package; users and candidates stay free.

    Args:
        vector: D. profile: P.
    """
    users, candidates = torch.export.Dim("users", min=1, max=4096), torch.export.Dim("candidates", min=1, max=65_536)
    example = (
        torch.zeros(3, vector),
        torch.zeros(3, profile),
        torch.zeros(3, 5, ranker.item.out_features, dtype=torch.float16),
        torch.zeros(3, 5, ranker.cross.in_features),
    )
    pairs = {0: users, 1: candidates}
    shapes = ({0: users}, {0: users}, pairs, pairs)
    return torch.export.export(ServedRanker(ranker).eval(), example, dynamic_shapes=shapes)


def _layer(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A linear layer; one of nothing is made of one of something, since torch warns of its initialisation."""
    layer = nn.Linear(max(inputs, 1), outputs, bias)
    return layer if inputs else _linear(layer.weight[:, :0].detach(), layer.bias)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(1, 1, bias is not None)
    layer.out_features, layer.in_features = weight.shape
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach())
    return layer
