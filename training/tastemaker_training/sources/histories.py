"""How histories vote: each event speaks for its item by how much it was liked and how long ago it was.

B users, N items, A ages.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from tastemaker.features.cross import liking
from tastemaker_training.interactions import Interactions, Ints


def votes(known: Interactions, users: Ints, weights: npt.NDArray[Any]) -> sp.csr_array:
    """Likings of the events of `users` (B,) times the weight of their age, summed by item: (B, N), float32.

    Args:
        weights: of the ages 0 (a user's newest event), 1, 2, … (A,); older events do not speak.
    """
    sizes = np.minimum(np.diff(known.offsets)[users], len(weights))
    rows = np.repeat(np.arange(len(users)), sizes)
    age = np.repeat(np.cumsum(sizes), sizes) - 1 - np.arange(len(rows))
    events = np.repeat(known.offsets[users + 1], sizes) - 1 - age
    strength = (liking(known.preferences[events]) * weights[age]).astype(np.float32)
    return sp.csr_array((strength, (rows, known.items[events])), shape=(len(users), len(known.item_ids)))
