"""The ranking model: a multilayer perceptron over user, item and cross features, beside a linear skip on the last.

The first layer is split. What it makes of an item is computed once per bundle, what it makes of a user once per
request; per candidate only the few cross features remain. (DLRM and Wide & Deep have the same idea: Cheng et al. 2016.)

B users, C candidates, N items, D vector width, P profile width, I item features, F cross features, H hidden width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tastemaker.features.cross import CROSS_FEATURES
from tastemaker_training.interactions import Floats
from tastemaker_training.recipes import RankerRecipe

MASKED = -1e9
STARTING_FEATURES = ("two_tower", "item_to_item")
"""The linear skip starts at 1 for these: the untrained ranker is the sum of both retrievals."""


@dataclass(frozen=True)
class Lists:
    """Q candidate lists with what the users went on to like."""

    user_vectors: Tensor  # (Q, D)
    profiles: Tensor  # (Q, P)
    codes: Tensor  # (Q, C) item codes, -1 is padding
    cross: Tensor  # (Q, C, F)
    liked: Tensor  # (Q, C) bool

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Tensor) -> Lists:
        """The lists `rows`."""
        return Lists(*(getattr(self, field.name)[rows] for field in fields(self)))

    def sample(self, negatives: int) -> Lists:
        """Lists of at most `negatives` places: all liked candidates that fit, and others at random."""
        order = torch.rand(self.codes.shape, device=self.codes.device) + 2 * self.liked - 2 * (self.codes < 0).float()
        places = order.topk(min(negatives, order.shape[1]), dim=1).indices
        wide = places.unsqueeze(-1).expand(-1, -1, self.cross.shape[2])
        return Lists(
            self.user_vectors,
            self.profiles,
            self.codes.gather(1, places),
            self.cross.gather(1, wide),
            self.liked.gather(1, places),
        )

    def widened(self, width: int) -> Lists:
        """The same lists padded to `width` places."""
        missing = width - self.codes.shape[1]
        return Lists(
            self.user_vectors,
            self.profiles,
            F.pad(self.codes, (0, missing), value=-1),
            F.pad(self.cross, (0, 0, 0, missing)),
            F.pad(self.liked, (0, missing)),
        )

    def to(self, device: torch.device) -> Lists:
        """The same lists on `device`."""
        return Lists(*(getattr(self, field.name).to(device) for field in fields(self)))


class Standardise(nn.Module):
    """Inputs with mean 0 and variance 1; `slack` keeps those that hardly vary from being blown up."""

    def __init__(self, width: int, slack: float) -> None:
        super().__init__()
        self.slack = slack
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def see(self, values: Tensor) -> None:
        """Take the statistics of `values` (n, width)."""
        self.mean.copy_(values.mean(0))
        self.deviation.copy_(values.std(0, correction=0) + self.slack)

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.deviation

    def folded(self, layer: nn.Linear) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one linear map that equals this one followed by `layer`."""
        weight = layer.weight / self.deviation
        shift = -weight @ self.mean
        return weight, shift if layer.bias is None else shift + layer.bias


class Ranker(nn.Module):
    """Scores of candidates, and the loss of lists."""

    def __init__(self, vector: int, profile: int, item: int, recipe: RankerRecipe) -> None:
        super().__init__()
        hidden, crosses = recipe.hidden, len(CROSS_FEATURES)
        self.user_scale, self.item_scale = Standardise(vector + profile, 0.1), Standardise(item, 0.05)
        self.cross_scale = Standardise(crosses, 0.05)
        self.user = nn.Linear(vector + profile, hidden)
        self.item = nn.Linear(item, hidden, bias=False)
        self.cross = nn.Linear(crosses, hidden, bias=False)
        self.hidden = nn.Linear(hidden, hidden // 2)
        self.output = nn.Linear(hidden // 2, 1, bias=False)
        self.skip = nn.Linear(crosses, 1, bias=False)
        self.dropout = nn.Dropout(recipe.dropout)
        with torch.no_grad():
            self.user.weight.mul_(0.3)
            self.item.weight.mul_(0.3)
            self.output.weight.zero_()
            self.skip.weight.zero_()
            self.skip.weight[0, [CROSS_FEATURES.index(name) for name in STARTING_FEATURES]] = 1.0

    def see(self, lists: Lists, items: Tensor) -> None:
        """Take the scale of the inputs from training lists and the items (N, I)."""
        self.user_scale.see(torch.cat([lists.user_vectors, lists.profiles], 1))
        self.item_scale.see(items)
        self.cross_scale.see(lists.cross[lists.codes >= 0])

    def item_half(self, items: Tensor) -> Tensor:
        """The first layer's part of items (..., I), shape (..., H)."""
        return self.item(self.item_scale(items))  # type: ignore[no-any-return]

    def score(self, user_vector: Tensor, profile: Tensor, item_half: Tensor, cross: Tensor) -> Tensor:
        """Logits (B, C) of user vectors (B, D), profiles (B, P), item halves (B, C, H) and cross features (B, C, F)."""
        user = self.user(self.user_scale(torch.cat([user_vector, profile], 1)))
        scaled = self.cross_scale(cross)
        first = F.relu(item_half + self.cross(scaled) + user.unsqueeze(1))
        second = F.relu(self.hidden(self.dropout(first)))
        return (self.output(self.dropout(second)) + self.skip(scaled)).squeeze(-1)  # type: ignore[no-any-return]

    def forward(self, lists: Lists, items: Tensor) -> Tensor:
        """Mean listwise softmax loss: each liked candidate against all that are not liked.

        A list counts by the root of its number of likes. One call does it all, so that gradients are averaged over
        workers.
        """
        half = self.item_half(items[lists.codes.clamp(min=0)])
        logits = self.score(lists.user_vectors, lists.profiles, half, lists.cross)
        others = logits.masked_fill(lists.liked | (lists.codes < 0), MASKED).logsumexp(1, keepdim=True)
        loss = (torch.logaddexp(logits, others) - logits) * lists.liked
        return (loss.sum(1) / lists.liked.sum(1).sqrt()).mean()


class ServedRanker(nn.Module):
    """The ranker as it is exported: scaling folded into the layers, item halves ready-made, first layer in place."""

    def __init__(self, ranker: Ranker) -> None:
        super().__init__()
        self.hidden, self.output = ranker.hidden, ranker.output
        with torch.no_grad():
            cross, shift = ranker.cross_scale.folded(ranker.cross)
            user, bias = ranker.user_scale.folded(ranker.user)
            skip, constant = ranker.cross_scale.folded(ranker.skip)
        self.user = _linear(user, bias + shift)
        self.skip = _linear(skip, constant)
        self.cross: Tensor
        self.register_buffer("cross", cross.T.contiguous())

    def forward(self, user_vector: Tensor, profile: Tensor, item_half: Tensor, cross: Tensor) -> Tensor:
        """Logits (B, C); the arguments are those of the bundle's `ranker`, item halves in float16."""
        user = self.user(torch.cat([user_vector, profile], 1)).unsqueeze(1)
        # One product adds the item's half on the way, and the rest happens in place: the layer is bound by memory.
        first = torch.baddbmm(item_half.float(), cross, self.cross.expand(cross.shape[0], -1, -1)).add_(user).relu_()
        second = self.hidden(first).relu_()
        return (self.output(second) + self.skip(cross)).squeeze(-1)  # type: ignore[no-any-return]


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
        torch.zeros(3, 5, len(CROSS_FEATURES)),
    )
    pairs = {0: users, 1: candidates}
    shapes = ({0: users}, {0: users}, pairs, pairs)
    return torch.export.export(ServedRanker(ranker).eval(), example, dynamic_shapes=shapes)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer
