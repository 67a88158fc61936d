from __future__ import annotations

import numpy as np

from tastemaker.candidates import CONTENT, POPULAR, STREAM, TRENDING, Codes, no_codes
from tastemaker.decisions.drops import OUTLIVED
from tastemaker.retrieval import Heard, Wanted
from tastemaker.scenes import Scene, Scenes
from tastemaker_serving.stages.lives import HOUR_S, Lives, everything

NOW = 1_000_000.0
PUBLISHED = NOW - HOUR_S * np.array([1.0, 25.0, 23.0, np.nan, 100.0])
LIVES = Lives.declared(
    Scenes({"home": Scene(sources={"popular": 1}), "news": Scene(sources={"popular": 1}, item_life_h=24)})
)


def wanted(*scenes: str, traced: bool = False) -> Wanted:
    names, rows, nothing = list(dict.fromkeys(scenes)), len(scenes), np.empty((len(scenes), 0), dtype=np.int32)
    return Wanted(
        nothing.astype(np.float32),
        nothing,
        nothing.astype(np.float32),
        np.zeros(rows, dtype=np.int32),
        nothing,
        nothing,
        np.zeros(rows, dtype=np.int32),
        np.array([names.index(scene) for scene in scenes], dtype=np.int32),
        scenes=names,
        traced=traced,
    )


def codes(*rows: list[int]) -> Codes:
    return np.array(rows, dtype=np.int32)


def test_only_sources_that_know_what_is_read_propose_what_came_out_long_ago() -> None:
    heard = {POPULAR: Heard(codes([4, 0, 1, 2])), STREAM: Heard(codes([1])), TRENDING: Heard(codes([3]))}
    young, dropped = LIVES.young(heard, wanted("news"), PUBLISHED, NOW)
    assert {source: said.proposed.tolist() for source, said in young.items()} == {
        POPULAR: [[0, 2, -1, -1]],
        STREAM: [[1]],
        TRENDING: [[3]],
    }
    assert dropped == ()


def test_each_scene_has_a_limit_of_its_own() -> None:
    heard = {POPULAR: Heard(codes([1, 0], [1, 0], [-1, 2]))}
    young, _ = LIVES.young(heard, wanted("home", "news", "news"), PUBLISHED, NOW)
    assert young[POPULAR].proposed.tolist() == [[1, 0], [0, -1], [2, -1]]
    assert heard[POPULAR].proposed.tolist() == [[1, 0], [1, 0], [-1, 2]]
    assert everything(heard, wanted("news"))[0] is heard


def test_a_trace_names_what_nobody_proposes_any_more() -> None:
    heard = {POPULAR: Heard(codes([1, 4])), CONTENT: Heard(codes([0, 3])), STREAM: Heard(codes([1]))}
    _, (drop,) = LIVES.young(heard, wanted("news", traced=True), PUBLISHED, NOW)
    assert (drop.stage, drop.why) == (OUTLIVED, "24")
    assert sorted(drop.codes[drop.codes >= 0].tolist()) == [3, 4]


def test_sources_that_say_nothing_are_heard_as_they_are() -> None:
    nothing = no_codes().reshape(1, 0)
    young, dropped = LIVES.young({POPULAR: Heard(nothing)}, wanted("news", traced=True), PUBLISHED, NOW)
    assert young[POPULAR].proposed.shape == (1, 0)
    assert all(drop.codes.size == 0 for drop in dropped)
