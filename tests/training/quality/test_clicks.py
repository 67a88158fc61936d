from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tastemaker.clickstream import replay
from tastemaker.clickstream.clicks import Clicks, Requests
from tastemaker.clickstream.decay import Ints
from tastemaker.clickstream.log import ClickLog, read
from tastemaker.clickstream.ranker import StreamRanker, StreamRecipe
from tastemaker.clickstream.replay import StreamModel
from tastemaker.clickstream.state import StreamState
from tastemaker.errors import InvalidInput, NotFound
from tastemaker_training.quality import clicks
from tastemaker_training.quality.clicks_models import MODELS

START = 1_506_826_800  # a full hour
HOUR, DAY = 3600, 86_400

Click = tuple[str, str, int, float]
"""User, session, article, and seconds since the start."""


def silent(message: str) -> None:
    pass


def write(folder: Path, rows: list[Click]) -> Path:
    users, sessions, articles, seconds = zip(*rows, strict=True)
    stamps = [int((START + each) * 1000) for each in seconds]
    folder.mkdir(exist_ok=True)
    table = {"user": users, "session_id": sessions, "click_article_id": articles, "click_timestamp": stamps}
    pq.write_table(pa.table({**table, "os": [each % 2 for each in articles]}), folder / "clicks.parquet")
    known = sorted(set(articles))
    born = [START * 1000 - 7 * HOUR * 1000] * len(known)
    described = {"article_id": known, "category_id": [each % 3 for each in known], "created_at_ts": born}
    pq.write_table(pa.table(described), folder / "articles.parquet")
    return folder


def stream(seed: int = 0, hours: float = 26.0) -> list[Click]:
    """Sessions of two to four clicks, in which an article is followed by the next one."""
    random = np.random.default_rng(seed)
    rows: list[Click] = []
    for number, start in enumerate(np.arange(0, hours * HOUR, 400.0)):
        first = int(random.integers(0, 40))
        rows += [
            (f"u{number}", f"s{number}", (first + step) % 40, float(start) + 40.0 * step)
            for step in range(int(random.integers(2, 5)))
        ]
    return sorted(rows, key=lambda row: row[3])


def made(name: str, log: ClickLog) -> StreamModel:
    """The model `name`; the hybrid with a short way to learn."""
    contexts = log.context.max(axis=1) + 1
    if name != "hybrid":
        return MODELS[name](log.articles, contexts, 0)
    recipe = replace(StreamRecipe(), hidden=8, share=1.0, places=20, examples=500, steps=6, batch=32)
    return StreamRanker(StreamState(log.articles, contexts), recipe, 0)


class Witness:
    """A model that only writes down what it was told when."""

    def __init__(self) -> None:
        self.known = 0.0
        self.absorbed = 0
        self.seen: list[tuple[Requests, float, int]] = []

    def absorb(self, clicks: Clicks) -> None:
        self.absorbed += len(clicks.times)
        self.known = float(clicks.times.max(initial=self.known))

    def rank(self, requests: Requests, places: int) -> Ints:
        self.seen.append((requests, self.known, self.absorbed))
        return np.full((len(requests.ids), places), -1)


def cut_in_seconds(time: float) -> float:
    return time - 60


def cut_at_the_hour(time: float) -> float:
    return float(np.nextafter(time // HOUR * HOUR, 0))


@pytest.mark.parametrize(("delay", "cut"), [(60.0, cut_in_seconds), ("hour", cut_at_the_hour)])
def test_models_know_all_clicks_up_to_the_delay_and_none_after(
    tmp_path: Path, delay: replay.Delay, cut: Callable[[float], float]
) -> None:
    log, witness = read(write(tmp_path, stream(hours=8))), Witness()
    replay.replay(log, witness, delay, silent)
    for requests, known, absorbed in witness.seen:
        times = log.times[requests.ids]
        assert known <= cut(times.min())
        assert absorbed >= (log.times <= cut(times.max() - replay.TICK)).sum()


def test_a_request_carries_its_session_however_new(tmp_path: Path) -> None:
    log = read(write(tmp_path, [("u", "s", 1, 0), ("u", "s", 2, 5), ("v", "t", 9, 6), ("u", "s", 3, 30)]))
    witness = Witness()
    replay.replay(log, witness, 60.0, silent)
    earlier = [log.earlier(click).tolist() for requests, *_ in witness.seen for click in requests.ids.tolist()]
    codes = {article: code for code, article in enumerate([1, 2, 9, 3])}
    assert earlier == [[codes[1]], [codes[1], codes[2]]]


def test_only_new_articles_from_the_second_day_on_are_predicted(tmp_path: Path) -> None:
    day_one = [("u", "a", 1, 0.0), ("u", "a", 2, 10.0)]
    day_two = [("u", "b", article, DAY + 10.0 * step) for step, article in enumerate([1, 2, 1, 3])]
    found = clicks.run(write(tmp_path, [*day_one, *day_two]), "popularity", 0, 60.0, silent)
    ages = {"predictions_under_1h": 1, "predictions_under_24h": 0, "predictions_older": 1}
    assert found["details"] == {"predictions": 2, **ages}


def test_hits_are_ranked_and_told_apart_by_age(tmp_path: Path) -> None:
    before = [("w", f"w{number}", article, 10.0 * number) for number, article in enumerate([1, 1, 1, 2, 2, 3])]
    rows = [*before, ("u", "s", 1, DAY + 100.0), ("u", "s", 3, DAY + 110.0), ("u", "s", 4, DAY + 120.0)]
    metrics = clicks.run(write(tmp_path, rows), "popularity", 0, 60.0, silent)["metrics"]
    assert metrics["hr@10"] == 0.5
    assert metrics["mrr@10"] == 0.25  # 3 comes second, after 2: the session has had 1
    assert (metrics["hr@10_under_1h"], metrics["hr@10_older"]) == (0.0, 1.0)


def test_days_on_which_nothing_was_chosen_count_by_themselves_too(tmp_path: Path) -> None:
    before = [("w", "w", 1, 0.0), ("w", "w", 2, 10.0)]
    sessions = [("u", f"s{day}", article, day * DAY + 50.0 * article) for day in (1, 4) for article in (1, 2 + day)]
    metrics = clicks.run(write(tmp_path, [*before, *sessions]), "popularity", 0, 10.0, silent)["metrics"]
    assert metrics["hr@10"] == 0.0  # neither article had been clicked before
    late = [("u", "s5", 1, 4 * DAY + 900.0), ("u", "s5", 2, 4 * DAY + 910.0)]
    metrics = clicks.run(write(tmp_path, [*before, *sessions, *late]), "popularity", 0, 10.0, silent)["metrics"]
    assert metrics["hr@10"] == pytest.approx(1 / 3)
    assert metrics["hr@10_from_day_4"] == 0.5


@pytest.mark.parametrize("name", MODELS)
def test_the_future_changes_no_prediction(tmp_path: Path, name: str) -> None:
    rows, turn = stream(), 25.5 * HOUR
    others = [row if row[3] < turn else (row[0], row[1], 39 - row[2], row[3]) for row in rows]
    slates = []
    for folder, each in (("a", rows), ("b", others)):
        log = read(write(tmp_path / folder, each))
        # Article codes go by first mention, which is long before the turn.
        asked, found = replay.replay(log, made(name, log), 60.0, silent)
        slates.append(found[log.times[asked] < START + turn])
    assert len(slates[0])
    np.testing.assert_array_equal(slates[0], slates[1])


@pytest.mark.parametrize("delay", [60.0, "hour"])
def test_the_hybrid_learns_what_follows_what(tmp_path: Path, delay: replay.Delay) -> None:
    log = read(write(tmp_path, stream()))
    gain = {}
    for name in ("popularity", "hybrid"):
        asked, slates = replay.replay(log, made(name, log), delay, silent)
        gain[name] = (slates[:, 0] == log.items[asked]).mean()
    assert gain["hybrid"] > 0.5 > gain["popularity"]


@pytest.mark.parametrize("name", MODELS)
def test_no_slate_has_what_the_session_had(tmp_path: Path, name: str) -> None:
    log = read(write(tmp_path, stream(hours=25)))
    asked, slates = replay.replay(log, made(name, log), 60.0, silent)
    for click, slate in zip(asked.tolist(), slates.tolist(), strict=True):
        assert not set(slate) & set(log.earlier(click).tolist())


def test_wrong_input_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, stream(hours=2))
    with pytest.raises(InvalidInput, match=r"als.*popularity, transition"):
        clicks.run(path, "als", 0, 60.0, silent)
    with pytest.raises(InvalidInput, match="shorter than a day"):
        clicks.run(path, "popularity", 0, 60.0, silent)
    ones: list[Click] = [(f"u{number}", f"s{number}", number, number * HOUR) for number in range(30)]
    with pytest.raises(InvalidInput, match="nothing to predict"):
        clicks.run(write(tmp_path / "ones", ones), "popularity", 0, 60.0, silent)
    with pytest.raises(NotFound, match=r"clicks\.parquet"):
        clicks.run(tmp_path / "nowhere", "popularity", 0, 60.0, silent)
    pq.write_table(pa.table({"user": [1], "article": [2], "timestamp": [3]}), tmp_path / "bare.parquet")
    with pytest.raises(InvalidInput, match="no column for the session"):
        read(tmp_path / "bare.parquet")


def test_a_log_without_a_second_click_of_a_session_is_refused(tmp_path: Path) -> None:
    alone = [(f"u{number}", f"s{number}", number % 7, 1_000.0 * number) for number in range(100)]
    with pytest.raises(InvalidInput, match="no session has a second article"):
        clicks.run(write(tmp_path / "alone", alone), "popularity", 0, 60.0, silent)
