"""Whether recommendations tell anything new: novelty and serendipity.

N items, V users of the test, n places.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tastemaker_training.evaluation.metrics import Judgements, hits
from tastemaker_training.evaluation.slates import Slates
from tastemaker_training.interactions import Interactions

Numbers = npt.NDArray[np.float64]


def self_information(past: Interactions) -> Numbers:
    """Bits (N,) in hearing that somebody chose an item: -log2 of its share of users (Zhou et al. 2010).

    An item counts one user more than it had, so that one nobody chose yet has a number, too.
    """
    size = len(past.item_ids)
    pairs = np.unique(past.users * size + past.items)
    users = np.bincount(pairs % size, minlength=size)
    return -np.log2((users + 1) / (len(past.user_ids) + 1))


def novelty_per_user(slates: Slates, information: Numbers) -> Numbers:
    """Mean self-information of each slate's items, in bits, shape (V,); 0 for an empty slate (Zhou et al. 2010)."""
    there = slates >= 0
    bits = np.where(there, information[slates], 0.0).sum(axis=1)
    return bits / np.maximum(there.sum(axis=1), 1)  # type: ignore[no-any-return]


def serendipity_per_user(slates: Slates, truth: Judgements, popular: Slates) -> Numbers:
    """Share of each slate's n places with a relevant item that popularity would not have shown, shape (V,).

    Unexpected is what a primitive model does not recommend, serendipitous what is useful, too (Ge, Delgado-Battenfeld
    & Jannach 2010; Kaminskas & Bridge 2016).

    Args:
        popular: what popularity shows to the same users (V, n).
    """
    return (hits(slates, truth.relevant) & ~hits(slates, list(popular))).mean(axis=1)  # type: ignore[no-any-return]
