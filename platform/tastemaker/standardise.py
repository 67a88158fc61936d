"""Inputs of a network on one scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
        self.deviation.copy_((values - self.mean).square().mean(0).sqrt() + self.slack)

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.deviation

    def folded(self, layer: nn.Linear) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one linear map that equals this one followed by `layer`."""
        weight = layer.weight / self.deviation
        shift = -weight @ self.mean
        return weight, shift if layer.bias is None else shift + layer.bias
