from __future__ import annotations

import pytest

from tastemaker_training.curves import POINTS, Curve, metrics, picture

FIT = Curve(loss=[float(step) for step in range(2_000)], score=[(1_000, 0.3), (2_000, 0.25)])
REFRESH = Curve(loss=[3.0, 2.0])


def test_a_long_curve_is_thinned_to_means() -> None:
    points = FIT.losses
    assert len(points) == POINTS
    assert points[0] == (4, 1.5)
    assert points[-1] == (2_000, 1_997.5)


def test_a_short_curve_has_every_step() -> None:
    assert REFRESH.losses == [(1, 3.0), (2, 2.0)]


def test_metrics_have_the_names_of_stages() -> None:
    named = metrics({"fit": FIT, "refresh": REFRESH})
    assert set(named) == {"fit_loss", "refresh_loss", "fit_score"}
    assert named["fit_score"] == [(1_000, 0.3), (2_000, 0.25)]


@pytest.mark.parametrize("curves", [{"fit": FIT, "refresh": REFRESH}, {"fit": FIT}, {"fit": FIT, "refresh": Curve([])}])
def test_the_picture_is_a_png(curves: dict[str, Curve]) -> None:
    assert picture(curves).startswith(b"\x89PNG")
