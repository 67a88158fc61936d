from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import OneHotEncoder

from tastemaker.errors import InvalidInput, NotFound
from tastemaker_training.quality import ctr, ctr_data

SIZES = {"train": 12_000, "valid": 3_000, "test": 6_000}


def impressions(rows: int, seed: int) -> tuple[pa.Table, np.ndarray]:
    """Users of six tastes and items of six kinds: who meets their kind clicks; an hour that says little, noise."""
    random = np.random.default_rng(seed)
    user, item, hour = (random.integers(0, size, rows) for size in (30, 30, 24))
    logit = np.where(user % 6 == item % 6, 1.5, -2.0) + 0.5 * np.sin(hour)
    table = pa.table(
        {
            "click": (random.random(rows) < special.expit(logit)).astype(np.int64),
            "user": [f"u{code}" for code in user],
            "item": item,
            "hour": hour,
            "noise": random.normal(size=rows),
        }
    )
    return table, special.expit(logit)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ctr")
    for seed, (name, rows) in enumerate(SIZES.items()):
        table, _ = impressions(rows, seed)
        if name == "valid":
            pq.write_table(table, path / "valid.parquet")
        else:
            with pa.CompressedOutputStream(str(path / f"{name}.csv.gz"), "gzip") as stream:
                pacsv.write_csv(table, stream)
    return path


def test_the_ranker_comes_near_what_can_be_known_and_beats_a_logistic_regression(folder: Path) -> None:
    found = ctr.run(folder, seed=0, tell=lambda _: None)

    test, chance = impressions(SIZES["test"], 2)
    train, _ = impressions(SIZES["train"], 0)
    labels = test["click"].to_numpy()
    names = ["user", "item", "hour"]
    encoder = OneHotEncoder().fit(train.select(names).to_pandas())
    linear = LogisticRegression().fit(encoder.transform(train.select(names).to_pandas()), train["click"].to_numpy())
    guessed = linear.predict_proba(encoder.transform(test.select(names).to_pandas()))[:, 1]
    assert found["metrics"]["auc"] > roc_auc_score(labels, chance) - 0.03
    assert found["metrics"]["auc"] > roc_auc_score(labels, guessed) + 0.1
    assert found["metrics"]["log_loss"] < log_loss(labels, chance) + 0.03
    for name, (low, high) in found["intervals"].items():
        assert low < found["metrics"][name] < high


def test_the_area_is_that_of_scikit_learn_and_its_error_that_of_repeated_draws() -> None:
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(100):
        labels = random.random(500) < 0.2
        scores = np.round(random.normal(size=500) + labels, 1)
        area, error = ctr.area_under_curve(scores, labels)
        assert area == pytest.approx(roc_auc_score(labels, scores))
        drawn.append(area)
    assert error == pytest.approx(np.std(drawn), rel=0.25)


def test_rare_and_unknown_values_share_a_row_of_their_field(tmp_path: Path) -> None:
    ordinary = ["a"] * 10
    for name, last in (("train", "rare"), ("valid", "unknown"), ("test", "")):
        table = pa.table({"shown": ["x"] * 11, "field": [*ordinary, last], "Label": [0, 1] * 5 + [1]})
        pacsv.write_csv(table, tmp_path / f"{name}.csv")

    tables = ctr_data.read(tmp_path)

    assert tables.rows == 4  # the rare of two fields, and two values
    for part in (tables.train, tables.valid, tables.test):
        assert part.labels.tolist() == [0, 1] * 5 + [1]
        assert part.codes[-1, 1] == 1
        assert len(np.unique(part.codes[:-1])) == 2


def test_a_missing_table_and_labels_of_another_kind_are_refused(tmp_path: Path) -> None:
    for name in ("train", "valid"):
        pacsv.write_csv(pa.table({"rating": [3, 1], "user": ["a", "b"]}), tmp_path / f"{name}.csv")
    with pytest.raises(NotFound, match="has no table 'test'"):
        ctr_data.read(tmp_path)
    (tmp_path / "test.csv").write_text("rating,user\n1,a\n")
    with pytest.raises(InvalidInput, match=r"column 'rating', taken for the label, holds 3\.0"):
        ctr_data.read(tmp_path)


def test_what_a_column_holds_is_decided_by_the_training_table(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("label,price\n" + "0,3.0\n1,50.0\n" * 5)
    (tmp_path / "valid.csv").write_text("label,price\n0,3\n1,50\n")
    pq.write_table(pa.table({"price": [50, 3], "label": [1, 0]}), tmp_path / "test.parquet")

    tables = ctr_data.read(tmp_path)

    cheap, dear = tables.train.codes[:2, 0].tolist()
    assert cheap != dear
    assert tables.valid.codes[:, 0].tolist() == [cheap, dear]
    assert tables.test.codes[:, 0].tolist() == [dear, cheap]
    (tmp_path / "valid.csv").write_text("label,price\n0,dear\n")
    with pytest.raises(InvalidInput, match=r"valid\.csv.*'dear'"):
        ctr_data.read(tmp_path)


def test_a_test_in_which_nothing_was_clicked_is_refused(tmp_path: Path) -> None:
    for name, second in (("train", 1), ("valid", 1), ("test", 0)):
        (tmp_path / f"{name}.csv").write_text(f"label,user\n0,a\n{second},b\n")
    with pytest.raises(InvalidInput, match="the test has 0 clicks in 2 impressions"):
        ctr.run(tmp_path, seed=0, tell=lambda _: None)
