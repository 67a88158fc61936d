from __future__ import annotations

from typing import Any

import pytest

from tastemaker_training.cluster import Died, Log, Started

PROGRESS = {"stage": "fit", "step": 57, "steps": 100, "loss": 1.0}


@pytest.mark.parametrize(
    ("messages", "story"),
    [
        ([Started("fit", 0, 1), PROGRESS], []),
        ([Started("fit", 40, 1)], ["an interrupted run is going on from step 40 of fit with 1 worker"]),
        (
            [Started("fit", 0, 2), PROGRESS, Died(1, "gone"), Started("fit", 40, 2)],
            ["worker 1 died at step 57 of fit (gone); going on from step 40 of fit with 2 workers"],
        ),
        (
            [Died(0, "no memory"), Started("fit", 0, 1)],
            ["worker 0 died at its start (no memory); going on from step 0 of fit with 1 worker"],
        ),
        (
            [Started("fit", 0, 1), PROGRESS, Started("fit", 50, 3)],
            ["from 1 to 3 workers; going on from step 50 of fit with 3 workers"],
        ),
    ],
)
def test_what_happened_is_told(messages: list[Any], story: list[str]) -> None:
    said: list[str] = []
    heard: list[dict[str, Any]] = []
    log = Log(heard.append, said.append)
    for message in messages:
        log.take(message)
    assert said == story
    assert heard == [message for message in messages if message is PROGRESS]
