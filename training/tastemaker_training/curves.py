"""How a fit went: the loss of its steps and the scores of its validations, as metrics and as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

POINTS = 500  # of a loss curve at most; each is the mean of the steps since the point before


@dataclass(frozen=True)
class Curve:
    """One stage of a fit."""

    loss: Sequence[float]  # of every step
    score: Sequence[tuple[int, float]] = ()  # of every validation, by the steps done

    @property
    def losses(self) -> list[tuple[int, float]]:
        """(step, mean loss since the point before), thinned to POINTS."""
        windows = np.array_split(np.array(self.loss), min(POINTS, len(self.loss)))
        ends = np.cumsum([len(window) for window in windows])
        return [(int(end), float(window.mean())) for end, window in zip(ends, windows, strict=True)]


def metrics(curves: Mapping[str, Curve]) -> dict[str, list[tuple[int, float]]]:
    """Points by the metric's name, such as `fit_loss` and `fit_score`."""
    losses = {f"{name}_loss": curve.losses for name, curve in curves.items() if curve.loss}
    return losses | {f"{name}_score": list(curve.score) for name, curve in curves.items() if curve.score}


def picture(curves: Mapping[str, Curve]) -> bytes:
    """Loss and validation score over the steps, one panel per stage, as PNG."""
    from matplotlib.figure import Figure  # takes a second, which most commands need not wait

    drawn = {name: curve for name, curve in curves.items() if curve.loss}
    figure = Figure(figsize=(6 * len(drawn), 4), layout="constrained")
    for axes, (name, curve) in zip(np.ravel(figure.subplots(1, len(drawn))), drawn.items(), strict=True):
        axes.plot(*zip(*curve.losses, strict=True), color="tab:blue")
        axes.set(title=name, xlabel="step")
        axes.set_ylabel("training loss", color="tab:blue")
        if curve.score:
            beside = axes.twinx()
            beside.plot(*zip(*curve.score, strict=True), color="tab:orange", marker="o")
            step, best = max(curve.score, key=lambda point: point[1])
            beside.annotate(f"best {best:.3f}", (step, best), xytext=(0, -16), textcoords="offset points", ha="center")
            beside.set_ylabel("validation: recall@20 + NDCG@20", color="tab:orange")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    return image.getvalue()
