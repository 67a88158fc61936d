"""Some places of a slate are given to items that nobody knows enough of yet.

An explored item takes the relevance of the place that it is given. So re-ranking treats it as it treats the item that
stood there: rules, caps and diversity hold for both.

B users, C candidates, R ranked items, n places of the slate, E explored items.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tastemaker.candidates import EXPLORE, Candidates, Codes, Explored, Floats
from tastemaker.exploration import Exploring
from tastemaker_serving.stages.rank import Ranked


def reserve(
    ranked: Ranked, relevance: Floats, candidates: Candidates, exploring: Exploring
) -> tuple[Ranked, Floats, Candidates]:
    """The ranked list and its relevance (B, R), with explored items at places that chance gives them.

    The first place stays with the best item. An explored item that is among the best anyway keeps its own place. Those
    that are tried are the explore source's in the candidates that are returned, whoever else proposed them.
    """
    if candidates.explored is None:
        return ranked, relevance, candidates
    places, scores, relevance = ranked.places.copy(), ranked.scores.copy(), relevance.copy()
    source = candidates.source.copy()
    for row in np.flatnonzero(exploring.expected > 0).tolist():
        length = int(exploring.lengths[row])
        chance = np.random.default_rng(int(exploring.seeds[row]))
        drawn = _places(candidates.codes[row], candidates.explored.codes[row])
        drawn = drawn[: _slots(float(exploring.expected[row]), chance)]
        found = places[row, places[row] >= 0].tolist()
        room = chance.permutation(max(min(length, len(found)) - 1, 0))
        tried = [place for place in drawn if place not in found[:length]][: len(room)]
        at = 1 + np.sort(room[: len(tried)])
        source[row, tried] = EXPLORE
        others = np.flatnonzero(~np.isin(places[row], tried))
        lists = [array[row, others].tolist() for array in (places, scores, relevance)]
        for place, explorer in zip(at.tolist(), tried, strict=True):
            for values, value in zip(lists, (explorer, lists[1][place], lists[2][place]), strict=True):
                values.insert(place, value)
        width = places.shape[1]
        places[row], scores[row], relevance[row] = (values[:width] for values in lists)
    return Ranked(places, scores), relevance, replace(candidates, source=source)


def propensities(
    codes: Codes, source: npt.NDArray[np.uint8], explored: Explored | None, exploring: Exploring
) -> Floats:
    """How likely each item of the slates (B, n) was to be shown, estimated; 1 where chance had no part in it.

    An explored item was shown if it was drawn. Of the others those at the end of the slate gave way to it.
    """
    shown = np.ones(codes.shape, dtype=np.float32)
    if explored is None:
        return shown
    for row in np.flatnonzero((exploring.expected > 0) & (explored.codes >= 0).any(axis=1)).tolist():
        expected, length = float(exploring.expected[row]), int(exploring.lengths[row])
        whole, fraction = int(expected), expected - int(expected)
        tried = source[row] == EXPLORE
        if fraction:
            rank = np.cumsum(~tried) - 1
            shown[row, ~tried & (rank >= length - whole - 1)] = 1 - fraction
        if tried.any():
            hit = explored.codes[row][None, :] == codes[row][:, None]
            chance = np.where(hit, explored.chance[row][None, :], 0).sum(axis=1)
            shown[row, tried] = np.where(hit.any(axis=1), chance, 1)[tried]
    return shown


def _places(candidates: Codes, drawn: Codes) -> list[int]:
    """The places in a user's list of candidates (C,) of the items that were drawn (E,), highest first."""
    hit = (candidates == drawn[:, None]) & (drawn >= 0)[:, None]
    places: list[int] = hit.argmax(axis=1)[hit.any(axis=1)].tolist()
    return places


def _slots(expected: float, chance: np.random.Generator) -> int:
    """How many places are explored in this slate, where `expected` are on average."""
    return int(expected) + int(chance.random() < expected - int(expected))
