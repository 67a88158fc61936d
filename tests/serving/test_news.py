"""What the news benchmark asks for, and how it counts; the replay itself is run by `tastemaker bench news`."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tastemaker import columns
from tastemaker.clickstream.log import ClickLog, read
from tastemaker.clickstream.replay import PLACES, predictions
from tastemaker_serving import news

START, DAY = 1_506_826_800, 86_400


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> ClickLog:
    """Two days of sessions of four clicks, one begun every minute, their clicks twenty seconds apart."""
    rows = [
        (session, (session * 7 + step) % 50, START + 60 * session + 20 * step)
        for session in range(2 * DAY // 60)
        for step in range(4)
    ]
    sessions, articles, times = zip(*rows, strict=True)
    folder = tmp_path_factory.mktemp("log")
    clicks = {"user": sessions, "session": sessions, "article": articles, "timestamp": times}
    pq.write_table(pa.table(clicks | {"device": [each % 2 for each in sessions]}), folder / "clicks.parquet")
    described = {"article_id": list(range(50)), "category_id": [1] * 50, "created_at": [START] * 50}
    pq.write_table(pa.table(described), folder / "articles.parquet")
    return read(folder)


def test_whole_minutes_are_drawn_until_there_are_enough(log: ClickLog) -> None:
    asked = news.sampled(log, 200, seed=0)
    assert len(asked) == 200
    assert np.isin(asked, predictions(log)).all()
    assert (np.diff(asked) > 0).all()
    minutes = np.floor((log.times[asked] - log.times[0]) / 60)
    assert len(np.unique(minutes)) == pytest.approx(200 / 3, abs=2)
    assert news.sampled(log, 200, seed=1).tolist() != asked.tolist()


def test_all_predictions_can_be_asked_for(log: ClickLog) -> None:
    assert news.sampled(log, 10**9, seed=0).tolist() == predictions(log).tolist()


def test_a_round_holds_one_prediction_of_each_session_in_one_minute(log: ClickLog) -> None:
    asked = predictions(log)
    rounds = list(news._rounds(log, asked))
    assert sorted(np.concatenate([one.clicks for one in rounds]).tolist()) == asked.tolist()
    for one in rounds:
        sessions = log.by_session[log.place[one.clicks] - log.position[one.clicks]]
        assert len(set(sessions.tolist())) == len(sessions)
        assert (log.times[one.clicks] >= one.begins).all()
        assert (log.times[one.clicks] < one.begins + 60).all()


def test_articles_are_items_with_their_time_of_publication(log: ClickLog) -> None:
    items = news.catalogue(log)
    assert items[columns.ITEM_ID].to_pylist()[:2] == ["article-0", "article-1"]
    assert items[columns.PUBLISHED_AT][0].as_py().timestamp() == START
    assert items[columns.CATEGORIES][0].as_py() == ["category-1"]


def test_both_are_measured_on_the_same_predictions(log: ClickLog) -> None:
    everything = predictions(log)
    alone = np.full((len(everything), PLACES), -1)
    alone[:, 0] = log.items[everything]
    asked = everything[100:200]
    served = np.full((len(asked), PLACES), -1)
    served[::2, 1] = log.items[asked][::2]
    found = news.compared(log, (everything, alone), asked, served, Counter(candidates=len(asked)), 0)
    assert found.offline == found.offline_sample == {"hr@10": 1.0, "mrr@10": 1.0}
    assert found.served == {"hr@10": 0.5, "mrr@10": 0.25}
    assert found.difference == -0.5
