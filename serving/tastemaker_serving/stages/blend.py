"""Blending: what the ranker says of candidates that came with scores of their own, and those scores."""

from __future__ import annotations

import numpy as np

from tastemaker.candidates import Codes, Floats, Mask, Named
from tastemaker_serving.stages.rank import Ranked


def blend(ranked: Ranked, codes: Codes, relevance: Floats, named: Named) -> tuple[Ranked, Floats]:
    """Reorder the rows of requests that name their candidates; the others stay as they are.

    Such a row's relevance becomes personal · z(relevance) + (1 - personal) · z(score), where z standardises over the
    row's candidates: a text match and log odds have no scale in common.

    Args:
        codes: of the ranked candidates (B, R). relevance: theirs (B, R), -inf for padding.

    Returns:
        The candidates in their new order, and their relevance (B, R).
    """
    rows = np.flatnonzero(named.asked)
    real = ranked.places[rows] >= 0
    # By item: rules may have taken some of those named out of the list.
    match = codes[rows, :, None] == named.codes[rows, None, :]
    said = np.take_along_axis(named.scores[rows], match.argmax(axis=2), axis=1)
    personal = named.personal[rows, None]
    mixed = personal * _standardised(relevance[rows], real) + (1 - personal) * _standardised(said, real)
    relevance = relevance.copy()
    relevance[rows] = np.where(real, mixed, -np.inf)
    order = np.argsort(-relevance, axis=1, kind="stable")
    places, scores = (
        np.take_along_axis(ranked.places, order, axis=1),
        np.take_along_axis(ranked.scores, order, axis=1),
    )
    return Ranked(places, scores), np.take_along_axis(relevance, order, axis=1)


def _standardised(values: Floats, real: Mask) -> Floats:
    """The real values of each row with mean 0 and deviation 1; zeros for the others, and where all are alike."""
    count = np.maximum(real.sum(axis=1, keepdims=True), 1)
    centred = np.where(real, values, 0.0)
    centred = np.where(real, centred - centred.sum(axis=1, keepdims=True) / count, 0.0)
    deviation = np.sqrt(np.square(centred).sum(axis=1, keepdims=True) / count)
    scaled: Floats = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)
    return scaled
