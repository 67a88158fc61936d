"""One run as it was asked for."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tastemaker.config import Settings
from tastemaker_training.cluster import SPARED
from tastemaker_training.hardware import Hardware
from tastemaker_training.narrator import Narrator
from tastemaker_training.recipes import Recipe


@dataclass(frozen=True)
class Job:
    """What every step of a run needs to know."""

    settings: Settings
    recipe: Recipe
    hardware: Hardware
    narrator: Narrator
    challenge: bool = False
    """A champion that there is stays in place: a rollout decides."""

    @property
    def threads(self) -> int | None:
        """Of this machine for its workers, where a local Ray has them on it; None: they are elsewhere (cluster.Run)."""
        return None if self.settings.ray_address else max(1, torch.get_num_threads() - SPARED)
