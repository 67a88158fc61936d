"""A ranker that learns while it serves: from each answered request, once it is known what was clicked.

Prequential learning (Gama et al. 2013): a request is answered first; its answer becomes an example when the click has
come in, and every hour of the stream some steps are taken on the newest examples. B requests, A candidates, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tastemaker.candidates import Floats
from tastemaker.clickstream.candidates import Candidates
from tastemaker.clickstream.clicks import Clicks, Requests
from tastemaker.clickstream.decay import Doubles, Ints
from tastemaker.clickstream.features import NEXT_SHARE, Block, block_of, width
from tastemaker.clickstream.state import HOUR, StreamState
from tastemaker.standardise import Standardise

MASKED = -1e9


@dataclass(frozen=True)
class StreamRecipe:
    """The ranker that learns from a stream while it serves."""

    hidden: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    average: float = 0.996  # of the weights that rank, from step to step
    share: float = 0.25  # of the requests that become examples
    places: int = 96  # candidates kept of an example
    examples: int = 24_000  # newest that are kept
    steps: int = 50  # every hour
    batch: int = 128
    fresh: float = 3600.0  # seconds since the first click in which an article is fresh
    fresh_weight: float = 7.0  # of an example whose click was on a fresh article: how much it explores


class Network(nn.Module):
    """Scores of candidates: a multilayer perceptron beside a linear skip that starts as the next click's log share."""

    def __init__(self, features: int, recipe: StreamRecipe) -> None:
        super().__init__()
        self.scale = Standardise(features, 0.01)
        self.layers = nn.Sequential(
            nn.Linear(features, recipe.hidden),
            nn.SiLU(),
            nn.Linear(recipe.hidden, recipe.hidden // 2),
            nn.SiLU(),
        )
        self.output = nn.Linear(recipe.hidden // 2, 1)
        self.skip = nn.Linear(features, 1, bias=False)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.skip.weight)
        with torch.no_grad():
            self.skip.weight[0, NEXT_SHARE] = 1.0

    def forward(self, values: Tensor) -> Tensor:
        """Scores of `values` (..., F), shape (...)."""
        scaled = self.scale(values).clamp(-5.0, 5.0)
        scores: Tensor = self.output(self.layers(scaled)) + self.skip(scaled)
        return scores.squeeze(-1)


@dataclass(frozen=True)
class Answer:
    """A request that waits for its click."""

    items: Ints  # (A,) candidates that were allowed, best first
    values: Floats  # (A, F), half precision


class Examples:
    """The newest examples, in a ring."""

    def __init__(self, features: int, recipe: StreamRecipe) -> None:
        self.values = torch.zeros(recipe.examples, recipe.places, features, dtype=torch.float16)
        self.sizes = torch.zeros(recipe.examples, dtype=torch.int64)
        self.targets = torch.zeros(recipe.examples, dtype=torch.int64)
        self.weights = torch.zeros(recipe.examples)
        self.added = 0

    def __len__(self) -> int:
        return min(self.added, len(self.sizes))

    def add(self, answer: Answer, target: int, weight: float) -> None:
        """Keep the best candidates of `answer` and its `target`, of which the last place is kept free."""
        row, most = self.added % len(self.sizes), self.values.shape[1]
        kept = np.arange(min(len(answer.items), most))
        if target >= len(kept):
            kept[-1], target = target, len(kept) - 1
        self.values[row, : len(kept)] = torch.from_numpy(answer.values[kept])
        self.sizes[row], self.targets[row], self.weights[row] = len(kept), target, weight
        self.added += 1


class StreamRanker:
    """State, candidates and network of one stream."""

    def __init__(self, state: StreamState, recipe: StreamRecipe, seed: int) -> None:
        self.state, self.recipe = state, recipe
        self.candidates = Candidates(state)
        self.random = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.network = Network(width(state), recipe)
        moving = get_ema_multi_avg_fn(recipe.average)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.network, multi_avg_fn=moving, use_buffers=True)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.examples = Examples(width(state), recipe)
        self.waiting: dict[int, Answer] = {}
        self.learnt_until = -np.inf
        self.fitted = False

    def absorb(self, clicks: Clicks) -> None:
        """Take in `clicks`, make examples of the answers that they are the outcome of, and learn once an hour."""
        self.take_in(clicks)
        self.learn()

    def take_in(self, clicks: Clicks) -> None:
        """Take in `clicks`, and make examples of the answers that they are the outcome of."""
        self.state.absorb(clicks)
        for click, item, time in zip(clicks.ids.tolist(), clicks.items.tolist(), clicks.times.tolist(), strict=True):
            answer = self.waiting.pop(click, None)
            if answer and item in answer.items:
                fresh = time - self.state.first[item] < self.recipe.fresh
                target = int(np.argmax(answer.items == item))
                self.examples.add(answer, target, self.recipe.fresh_weight if fresh else 1.0)

    def learn(self) -> None:
        """Learn from the newest examples, if that was not done for an hour of the stream."""
        if self.state.now - self.learnt_until >= HOUR and len(self.examples) >= self.recipe.batch:
            self.learnt_until = self.state.now
            self._learn()

    def rank(self, requests: Requests, places: int) -> Ints:
        """The best articles for each request that its reader has not read, shape (B, places); -1 is none.

        Some of the requests become examples.
        """
        block = block_of(self.candidates, requests)
        scores = self._scores(block)
        self._keep(requests, block, scores, self.random.random(len(requests.ids)) < self.recipe.share)
        return _best(block, scores, places)

    def answer(self, requests: Requests, places: int) -> Ints:
        """What `rank` says, and nothing is kept."""
        block = block_of(self.candidates, requests)
        return _best(block, self._scores(block), places)

    def practise(self, requests: Requests) -> None:
        """Make examples of `requests`, each once its click has come in."""
        block = block_of(self.candidates, requests)
        self._keep(requests, block, self._scores(block), np.ones(len(requests.ids), dtype=bool))

    def _keep(self, requests: Requests, block: Block, scores: Doubles, chosen: npt.NDArray[np.bool_]) -> None:
        for row in np.flatnonzero(chosen).tolist():
            order = np.argsort(-scores[row])[: int(block.allowed[row].sum())]
            self.waiting[int(requests.ids[row])] = Answer(
                block.items[order], block.values[row, order].astype(np.float16)
            )

    def _scores(self, block: Block) -> Doubles:
        with torch.no_grad():
            scores = self.average(torch.from_numpy(block.values)).numpy().astype(np.float64)
        return np.where(block.allowed, scores, MASKED)

    def _learn(self) -> None:
        """Some steps of listwise softmax (Cao et al. 2007, top one) on the newest examples."""
        recipe, examples = self.recipe, self.examples
        if not self.fitted:
            rows = torch.arange(len(examples))
            there = torch.arange(recipe.places) < examples.sizes[rows, None]
            self.network.scale.see(examples.values[rows][there].float())
            self.fitted = True
        places = torch.arange(recipe.places)
        for _ in range(recipe.steps):
            rows = torch.from_numpy(self.random.integers(0, len(examples), recipe.batch))
            scores = self.network(examples.values[rows].float())
            scores = scores.masked_fill(places >= examples.sizes[rows, None], MASKED)
            losses = F.cross_entropy(scores, examples.targets[rows], reduction="none")
            weights = examples.weights[rows]
            self.optimizer.zero_grad()
            loss = (losses * weights).sum() / weights.sum()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.average.update_parameters(self.network)


def _best(block: Block, scores: Doubles, places: int) -> Ints:
    """The allowed items with the highest `scores` (B, A), best first, shape (B, places); -1 is none."""
    n = min(places, scores.shape[1])
    best = np.argsort(-scores, axis=1, kind="stable")[:, : max(n, 1)]
    slates = np.full((len(scores), places), -1, dtype=np.int64)
    slates[:, :n] = np.where(np.take_along_axis(block.allowed, best, 1), block.items[best], -1)[:, :n]
    return slates
