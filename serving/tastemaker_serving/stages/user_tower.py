"""The user tower: from what is known of users to their vectors.

B users, D vector width, P profile width.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from tastemaker.candidates import Floats
from tastemaker.features.tower_inputs import TowerInputs
from tastemaker_serving.models import Personal, Program


def user_vectors(model: Personal, inputs: TowerInputs, profiles: Floats) -> Floats:
    """The user vectors (B, D); an item that is newer than the tower counts as the one that stands in for it.

    Args:
        profiles: (B, P).
    """
    return embed(model.tower, _as_known(model, inputs), profiles)


def embed(tower: Program, inputs: TowerInputs, profiles: Floats) -> Floats:
    """The user vectors (B, D) of users with `profiles` (B, P)."""
    arrays = (inputs.history, inputs.preference, inputs.age, inputs.user, profiles)
    with torch.inference_mode():
        return tower(*map(torch.from_numpy, arrays)).numpy()


def _as_known(model: Personal, inputs: TowerInputs) -> TowerInputs:
    """The inputs with what the tower can take new items for."""
    if not len(model.stand_ins):
        return inputs
    first = len(model.item_ids) - len(model.stand_ins)
    stand_ins = model.stand_ins[np.maximum(inputs.history - first, 0)]
    return replace(inputs, history=np.where(inputs.history < first, inputs.history, stand_ins))
