"""A batch that mixes scenes: each request has the bans, the model and the re-ranking of its own.

B users, C candidates, R ranked items, N items, n places of the longest slate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from tastemaker.attributes import Attributes
from tastemaker.candidates import Candidates, Codes, Mask
from tastemaker.decisions.drops import RULES, Drop
from tastemaker.scenes import Scene, Scenes
from tastemaker_serving.stages import rules
from tastemaker_serving.stages.left_out import left_out as of_scene
from tastemaker_serving.stages.rules import Effects
from tastemaker_serving.stages.slate import Arranged, Listed, arrange


@dataclass(frozen=True)
class Group:
    """The requests of a batch for one scene."""

    scene: Scene
    effects: Effects
    rows: npt.NDArray[np.intp]


def groups(names: Sequence[str], scenes: Scenes, attributes: Attributes, now: float) -> list[Group]:
    """The B requests by the names of their scenes, with the rules that are in force at `now`."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    wanted = {name: scenes.or_home(name) for name in rows}
    return [
        Group(scene, rules.effects(scene.in_force(now), attributes), np.array(rows[name], dtype=np.intp))
        for name, scene in wanted.items()
    ]


def permitted(candidates: Candidates, groups: Sequence[Group], *, traced: bool) -> Candidates:
    """Without what the scenes ban; where it is `traced`, each rule is named with what it took away."""
    codes = candidates.codes
    banned = np.zeros(codes.shape, dtype=bool)
    dropped: list[Drop] = []
    for group in groups:
        for name, mask in group.effects.bans:
            hit = np.zeros_like(banned)
            hit[group.rows] = mask[codes[group.rows]] & (codes[group.rows] >= 0)
            banned |= hit
            if traced:
                dropped.append(Drop(RULES, np.where(hit, codes, np.int32(-1)), why=name))
    left = rules.without(candidates, banned)
    return replace(left, dropped=(*left.dropped, *dropped)) if dropped else left


def by_ranker(groups: Sequence[Group]) -> Mask:
    """Whose candidates the ranker orders (B,)."""
    ordered = np.zeros(sum(len(group.rows) for group in groups), dtype=bool)
    for group in groups:
        ordered[group.rows] = group.scene.model == "ranker"
    return ordered


def arranged(
    listed: Listed,
    groups: Sequence[Group],
    attributes: Attributes,
    unit_vectors: torch.Tensor,
    lengths: Sequence[int],
    now: float,
) -> Arranged:
    """The slates of all B users, see `slate.arrange`."""
    if len(groups) == 1:
        return arrange(groups[0].scene, groups[0].effects, attributes, unit_vectors, listed, lengths, now)
    nothing = np.full((len(listed.codes), max(lengths, default=0)), -1, dtype=np.int32)
    whole = Arranged(nothing, nothing.copy(), np.zeros(nothing.shape, dtype=bool))
    for group in groups:
        of_group = [lengths[row] for row in group.rows]
        part = arrange(group.scene, group.effects, attributes, unit_vectors, listed.rows(group.rows), of_group, now)
        there = slice(max(of_group))
        whole.codes[group.rows, there] = part.codes
        whole.places[group.rows, there] = part.places
        whole.pinned[group.rows, there] = part.pinned
    return whole


def left_out(listed: Listed, groups: Sequence[Group], attributes: Attributes, slates: Codes, now: float) -> list[Drop]:
    """What re-ranking left out of all B slates (B, n), see `left_out.left_out`; asked where they are traced."""
    drops = []
    for group in groups:
        rows = group.rows
        for part in of_scene(group.scene, group.effects, attributes, listed.rows(rows), slates[rows], now):
            codes, values = np.full(listed.codes.shape, -1, dtype=np.int32), None
            codes[rows] = part.codes
            if part.values is not None:
                values = np.zeros(listed.codes.shape, dtype=np.float32)
                values[rows] = part.values
            drops.append(replace(part, codes=codes, values=values))
    return drops
