"""The ranker on a public click-through set: categorical fields of an impression → AUC and log loss.

Its cross features are here the products of the fields' embeddings. With the ranker's linear skip that is a
field-weighted factorisation machine, and with its layers DeepFwFM (Pan et al. 2018; Deng et al. 2021).

B impressions, F fields, V rows of the embedding table, W width of an embedding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from tastemaker.errors import InvalidInput
from tastemaker_training.evaluation.intervals import by_standard_error
from tastemaker_training.quality import ctr_data
from tastemaker_training.quality.ctr_data import Impressions
from tastemaker_training.ranker.model import Ranker, Widths
from tastemaker_training.recipes import RankerRecipe

WIDTH = 16
RECIPE = RankerRecipe(hidden=256, dropout=0.1, epochs=20, batch=2_048, learning_rate=2e-3, weight_decay=1e-5)
DECAY = 0.1  # of the learning rate, each time that an epoch was no better
DECAYS = 2
FIRST_SPREAD = 0.1  # of fresh embeddings
STEPS = 200
"""Of an epoch, at least, where the table is small for the batch."""
AT_ONCE = 8_192

Doubles = npt.NDArray[np.float64]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Optimizers:
    """Of the table, of which a step touches few rows, and of the layers."""

    table: torch.optim.Optimizer
    layers: torch.optim.Optimizer

    def step(self, loss: Tensor) -> None:
        """Go down the gradient."""
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in (self.table, self.layers):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def slow_down(self) -> None:
        """Lower the learning rate."""
        for optimizer in (self.table, self.layers):
            for group in optimizer.param_groups:
                group["lr"] *= DECAY


class ClickModel(nn.Module):
    """The ranker behind an embedding of every value."""

    def __init__(self, rows: int, fields: int, rate: float) -> None:
        super().__init__()
        pairs = fields * (fields - 1) // 2
        self.table = nn.Embedding(rows, WIDTH + 1, sparse=True)  # the last place is the value's own weight
        nn.init.normal_(self.table.weight, std=FIRST_SPREAD)
        start = (1.0,) * (1 + pairs) + (0.0,) * (fields * WIDTH)  # a plain factorisation machine (Rendle 2010)
        self.ranker = Ranker(Widths(user=0, item=0, cross=len(start)), ("click",), start, RECIPE)
        self.bias = nn.Parameter(torch.tensor(np.log(rate / (1 - rate)), dtype=torch.float32))
        self.pairs: Tensor
        self.register_buffer("pairs", torch.triu_indices(fields, fields, 1))

    def forward(self, codes: Tensor) -> Tensor:
        """Logits (B,) of a click, of codes (B, F)."""
        found = self.table(codes)
        vectors, own = found[..., :-1], found[..., -1].sum(1, keepdim=True)
        products = torch.bmm(vectors, vectors.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]
        cross = torch.cat([own, products, vectors.flatten(1)], 1).unsqueeze(1)
        nothing = cross.new_empty(len(cross), 0)
        half = cross.new_zeros(len(cross), 1, RECIPE.hidden)
        return self.bias + self.ranker.score(nothing, nothing, half, cross)[:, 0, 0]


def run(path: Path, seed: int, tell: Tell) -> dict[str, Any]:
    """Fit to the table train of the folder `path`, stop by valid, and measure on test.

    Raises:
        NotFound, InvalidInput: the tables do not fit (`ctr_data.read`), or all labels of the test are the same.
    """
    tell("reading")
    tables = ctr_data.read(path)
    clicks = int(tables.test.labels.sum())
    if clicks in (0, len(tables.test)):
        raise InvalidInput(
            f"{path}: the test has {clicks} clicks in {len(tables.test)} impressions, so nothing tells them apart",
            "Cut a test that has clicks and others",
        )
    model = fit(tables.train, tables.valid, tables.rows, seed, tell)
    tell("measuring")
    probabilities, labels = predicted(model, tables.test), tables.test.labels > 0
    losses = log_losses(probabilities, labels)
    area, error = area_under_curve(probabilities, labels)
    return {
        "metrics": {"auc": area, "log_loss": float(losses.mean())},
        "intervals": {"auc": [area - 1.96 * error, area + 1.96 * error], "log_loss": by_standard_error(losses)},
        "details": {"impressions": len(tables.train), "fields": tables.train.codes.shape[1], "values": tables.rows},
    }


def fit(train: Impressions, valid: Impressions, rows: int, seed: int, tell: Tell) -> ClickModel:
    """The model as of its best epoch on `valid`; after a worse one it goes on from the best, more slowly."""
    torch.manual_seed(seed)
    model = ClickModel(rows, train.codes.shape[1], float(train.labels.mean().clip(1e-4, 1 - 1e-4)))
    layers = [value for name, value in model.named_parameters() if name != "table.weight"]
    optimizers = Optimizers(
        torch.optim.SparseAdam([model.table.weight], lr=RECIPE.learning_rate),
        torch.optim.AdamW(layers, lr=RECIPE.learning_rate, weight_decay=RECIPE.weight_decay),
    )
    best, kept, decays = np.inf, model.state_dict(), 0
    for epoch in range(RECIPE.epochs):
        model.train()
        for codes, labels in _batches(train, seed + epoch):
            optimizers.step(F.binary_cross_entropy_with_logits(model(codes), labels))
        loss = float(log_losses(predicted(model, valid), valid.labels > 0).mean())
        tell(f"epoch {epoch + 1}: log loss {loss:.4f} on valid")
        if loss < best:
            best, kept = loss, copy.deepcopy(model.state_dict())
            continue
        model.load_state_dict(kept)
        optimizers.slow_down()
        decays += 1
        if decays > DECAYS:
            break
    model.load_state_dict(kept)
    return model


def predicted(model: ClickModel, asked: Impressions) -> Doubles:
    """Probabilities of a click (B,)."""
    model.eval()
    with torch.inference_mode():
        parts = [
            torch.sigmoid(model(torch.from_numpy(asked.codes[start : start + AT_ONCE])).double())
            for start in range(0, len(asked), AT_ONCE)
        ]
    return torch.cat(parts).numpy()


def log_losses(probabilities: Doubles, labels: npt.NDArray[np.bool_]) -> Doubles:
    """Minus the log of the probability that was given to what happened (B,)."""
    given = np.where(labels, probabilities, 1 - probabilities)
    losses: Doubles = -np.log(np.maximum(given, 1e-15))
    return losses


def area_under_curve(scores: Doubles, labels: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """The chance that a click scores above another impression, and its standard error (DeLong et al. 1988)."""
    clicked, other = scores[labels], scores[~labels]
    ranks = stats.rankdata(np.concatenate([clicked, other]))
    above = (ranks[: len(clicked)] - stats.rankdata(clicked)) / len(other)  # the share of others below each click
    below = 1 - (ranks[len(clicked) :] - stats.rankdata(other)) / len(clicked)
    return float(above.mean()), float(np.sqrt(above.var() / len(clicked) + below.var() / len(other)))


def _batches(table: Impressions, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    order = np.random.default_rng(seed).permutation(len(table))
    size = min(RECIPE.batch, max(1, len(table) // STEPS))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        yield torch.from_numpy(table.codes[rows]), torch.from_numpy(table.labels[rows])
