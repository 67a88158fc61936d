"""The slate of a scene: what re-ranking makes of the ranked lists of users who ask for the same one.

B users, R ranked items, S items shown lately, n places of the longest slate. A code or place of -1 is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tastemaker.attributes import Attributes
from tastemaker.candidates import Codes, Floats, Mask, pick
from tastemaker.scenes import Diversity, Scene
from tastemaker.space import rows_of
from tastemaker_serving.stages.diversity import Determinantal, Marginal, Novelty
from tastemaker_serving.stages.relevance import freshness, repetition, scaled
from tastemaker_serving.stages.rerank import Quota, choose
from tastemaker_serving.stages.rules import Effects, pinned


@dataclass(frozen=True)
class Listed:
    """What may be shown, without anything that a ban, the caller or the past forbids."""

    codes: Codes  # (B, R)
    relevance: Floats  # (B, R) on any scale, -inf is padding
    refused: Codes  # (B, X) items that the callers exclude: not even pins bring them
    shown: Codes  # (B, S)
    slate: Codes  # (S,) which of the recent slates an item of `shown` is of, 0 for the last

    @classmethod
    def of(cls, codes: Codes, relevance: Floats, refused: Codes, slates: Codes | None) -> Listed:
        """With the recent `slates` (B, K, W) of the users, newest first; None: nobody has any."""
        shown = np.empty((len(codes), 0, 0), dtype=np.int32) if slates is None else slates
        slate = np.repeat(np.arange(shown.shape[1], dtype=np.int32), shown.shape[2])
        return cls(codes, relevance, refused, shown.reshape(len(codes), slate.size), slate)

    def rows(self, rows: npt.NDArray[np.intp]) -> Listed:
        """Those of some users."""
        return Listed(self.codes[rows], self.relevance[rows], self.refused[rows], self.shown[rows], self.slate)


@dataclass(frozen=True)
class Arranged:
    """The slates, best first."""

    codes: Codes  # (B, n)
    places: Codes  # (B, n) in the ranked list, -1 also for items that a pin brought
    pinned: Mask  # (B, n)


def arrange(
    scene: Scene,
    effects: Effects,
    attributes: Attributes,
    unit_vectors: torch.Tensor,
    listed: Listed,
    lengths: Sequence[int],
    now: float,
) -> Arranged:
    """Choose the slates of B users, each as if it had been asked for alone.

    Args:
        effects: of the rules of `scene` that are in force.
        unit_vectors: item vectors of length 1, (N, D).
        lengths: of the slates (B,); n is the longest.
        now: seconds since 1970.
    """
    wanted = pinned(effects.pins, listed.refused, lengths)
    n = wanted.shape[1]
    codes = _with_pins(listed.codes, wanted)
    relevance = np.full(codes.shape, -np.inf, dtype=np.float32)
    relevance[:, : listed.codes.shape[1]] = adjusted(scene, effects, attributes, listed, now)
    places = choose(
        relevance,
        _novelty(scene.diversity, unit_vectors, codes, n),
        scene.diversity.weight,
        _quotas(scene, attributes, codes),
        _places_of(wanted, codes),
    )
    places[np.arange(n) >= np.reshape(lengths, (-1, 1))] = -1
    chosen = pick(codes, places, -1)
    is_pinned = (chosen[:, :, None] == wanted[:, None, :]).any(axis=2) & (chosen >= 0)
    return Arranged(chosen, np.where(places < listed.codes.shape[1], places, np.int32(-1)), is_pinned)


def adjusted(scene: Scene, effects: Effects, attributes: Attributes, listed: Listed, now: float) -> Floats:
    """The relevance (B, R) with all that rules, freshness and repetition add to it."""
    relevance = scaled(listed.relevance)
    if effects.lift is not None:
        relevance += effects.lift[listed.codes]
    if scene.freshness.boost:
        relevance += freshness(attributes.published[listed.codes], now, scene.freshness)
    if scene.repetition.discount and listed.shown.shape[1]:
        relevance += repetition(listed.codes, listed.shown, listed.slate, scene.repetition)
    return relevance


def _novelty(diversity: Diversity, unit_vectors: torch.Tensor, codes: Codes, n: int) -> Novelty | None:
    if not diversity.weight:
        return None
    vectors = rows_of(unit_vectors, codes)
    likeness = torch.bmm(vectors, vectors.transpose(1, 2)).numpy()
    return Marginal(likeness) if diversity.method == "mmr" else Determinantal(likeness, n)


def _quotas(scene: Scene, attributes: Attributes, codes: Codes) -> list[Quota]:
    groups = (
        (attributes.categories, scene.caps.category),
        (attributes.author[:, None], scene.caps.author),
    )
    return [Quota(np.where(codes[:, :, None] >= 0, of[codes], -1), most) for of, most in groups if most is not None]


def _with_pins(codes: Codes, wanted: Codes) -> Codes:
    """The list and, after it, the pinned items (B, n) that are not in it."""
    if not (wanted >= 0).any():
        return codes
    is_listed = (wanted[:, :, None] == codes[:, None, :]).any(axis=2)
    return np.concatenate([codes, np.where(is_listed, np.int32(-1), wanted)], axis=1)


def _places_of(wanted: Codes, codes: Codes) -> Codes:
    """Where in the list each pinned item (B, n) is."""
    if codes.shape[1] == 0:
        return np.full_like(wanted, -1)
    return np.where(wanted >= 0, (wanted[:, :, None] == codes[:, None, :]).argmax(axis=2), -1).astype(np.int32)
