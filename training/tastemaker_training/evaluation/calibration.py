"""Whether a probability means what it says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BINS = 15


def expected_calibration_error(probabilities: npt.ArrayLike, labels: npt.ArrayLike, bins: int = BINS) -> float:
    """Mean distance in [0, 1] between what was predicted and what came true (Naeini, Cooper & Hauskrecht 2015).

    The n predictions fall into `bins` of about as many each, equal ones into the same; each bin's distance between its
    mean probability and its share of true labels weighs as many as are in it. Bins of equal width would be blind here:
    of what retrieval proposes so little is clicked that all predictions lay in the first (Nixon et al. 2019).

    Args:
        probabilities: (n,) in [0, 1]. labels: (n,) true or false.

    Raises:
        ValueError: there are none, they differ in number, or a probability is none.
    """
    predicted, true = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if predicted.shape != true.shape or predicted.ndim != 1 or len(predicted) == 0:
        raise ValueError(f"probabilities {predicted.shape} and labels {true.shape} must be of one length above 0")
    if not ((predicted >= 0) & (predicted <= 1)).all():
        raise ValueError(f"probabilities reach from {predicted.min()} to {predicted.max()}, must be in [0, 1]")
    edges = np.quantile(predicted, np.arange(1, bins) / bins)
    place = np.searchsorted(edges, predicted, side="right")
    return float(np.abs(np.bincount(place, weights=predicted - true, minlength=bins)).sum() / len(predicted))
