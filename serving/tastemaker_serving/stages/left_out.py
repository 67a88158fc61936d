"""What re-ranking left out of the slates of one scene, and by what: asked only where requests are traced.

B users, R ranked items, K categories of an item, n places of the slate. A code of -1 is padding.
"""

from __future__ import annotations

import numpy as np

from tastemaker.attributes import Attributes
from tastemaker.candidates import Codes, Mask, among
from tastemaker.decisions.drops import CAPS, RERANKING, Drop
from tastemaker.scenes import Scene
from tastemaker_serving.stages.rules import Effects
from tastemaker_serving.stages.slate import Listed, adjusted


def left_out(
    scene: Scene, effects: Effects, attributes: Attributes, listed: Listed, slates: Codes, now: float
) -> list[Drop]:
    """The items of the lists (B, R) that are not in the slates (B, n).

    Those of a group that has as many places as it may are dropped by the cap. The others lost to better or more varied
    ones: `values` is the place in the list, from 1, that they had with all that rules, freshness and repetition add.
    """
    codes = listed.codes
    waiting = (codes >= 0) & ~among(codes, slates)
    drops = []
    for name, groups, most in (
        ("category", attributes.categories, scene.caps.category),
        ("author", attributes.author[:, None], scene.caps.author),
    ):
        if most is None:
            continue
        capped = waiting & _full(groups, codes, slates, most)
        waiting &= ~capped
        drops.append(Drop(CAPS, np.where(capped, codes, np.int32(-1)), why=f"at most {most} of one {name}"))
    order = np.argsort(-adjusted(scene, effects, attributes, listed, now), axis=1, kind="stable")
    places = np.empty(codes.shape, dtype=np.float32)
    np.put_along_axis(places, order, np.arange(1, codes.shape[1] + 1, dtype=np.float32)[None, :], axis=1)
    drops.append(Drop(RERANKING, np.where(waiting, codes, np.int32(-1)), places))
    return drops


def _full(groups: Codes, codes: Codes, slates: Codes, most: int) -> Mask:
    """Which of the `codes` (B, R) are of a group (N, K) that has `most` items in the slate."""
    taken = np.zeros((len(slates), int(groups.max(initial=-1)) + 2), dtype=np.int32)
    every = np.arange(len(slates))[:, None, None]
    of_slate = np.where(slates[:, :, None] >= 0, groups[slates], np.int32(-1))
    np.add.at(taken, (every, of_slate), 1)
    taken[:, -1] = 0  # the spare column took what is of no group
    full: Mask = np.any(taken[every, groups[codes]] >= most, axis=2)
    return full
