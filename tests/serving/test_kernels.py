from __future__ import annotations

import pytest

from tastemaker.bundle import Bundle
from tastemaker.config import Funnel
from tastemaker_serving import kernels


@pytest.mark.parametrize("batch", [1, 6])
def test_every_kernel_is_timed(model_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(kernels, "SECONDS", 0.01)

    timed = kernels.time_kernels(model_bundle, Funnel(), batch)

    assert set(timed) == {"user_tower", "search", "item_to_item", "gather", "cross", "ranker", "rerank"}
    assert all(milliseconds > 0 for milliseconds in timed.values())


def test_the_process_of_its_own_prints_them(model_bundle: Bundle) -> None:
    assert sum(kernels.measure(model_bundle.path, batch=4).values()) > 0
