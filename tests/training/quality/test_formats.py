from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from tastemaker import columns
from tastemaker.errors import InvalidInput, NotFound
from tastemaker_training.quality.formats import leave_last_out, leave_share_out, lightgcn, pairs, sequences


def lines(file: Path, *rows: str) -> Path:
    file.write_text("".join(f"{row}\n" for row in rows))
    return file


def test_lightgcn_has_sets_whose_test_users_are_those_with_test_items(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "train.txt.gz", "wt") as stream:
        stream.write("0 10 11\n1 11 12\n2 10\n")
    lines(tmp_path / "test.txt", "0 12", "1", "2 11 13")
    problem = lightgcn(tmp_path)
    assert not problem.train.ordered
    assert problem.train.item_ids == ["10", "11", "12", "13"]
    assert problem.truth.users.tolist() == [0, 2]
    assert [found.tolist() for found in problem.truth.relevant] == [[2], [1, 3]]
    assert problem.known is problem.train


def test_lightgcn_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no train\.txt"):
        lightgcn(tmp_path)
    lines(tmp_path / "train.txt", "0 1")
    lines(tmp_path / "test.txt", "7 1")
    with pytest.raises(InvalidInput, match="user '7'"):
        lightgcn(tmp_path)
    with pytest.raises(InvalidInput, match="no validation items"):
        lightgcn(tmp_path, train_on_validation=True)
    lines(tmp_path / "test.txt", "0", "7")
    with pytest.raises(InvalidInput, match=r"no user of test\.txt has an item"):
        lightgcn(tmp_path)


def test_sequences_test_the_last_item_and_know_the_one_before(tmp_path: Path) -> None:
    file = lines(tmp_path / "some.txt", "u a b c d", "v b c a")
    (tmp_path / "some_item2attributes.json").write_text(json.dumps({"a": [1, 2]}))
    problem = sequences(file)
    assert problem.train.ordered
    assert problem.train.items.tolist() == [0, 1, 1]  # a b, b
    assert problem.known.items.tolist() == [0, 1, 2, 1, 2]
    assert [found.tolist() for found in problem.truth.relevant] == [[3], [0]]
    assert problem.items[columns.TEXT].to_pylist() == ["a1 a2", None, None, None]
    assert sequences(tmp_path, train_on_validation=True).train.items.tolist() == [0, 1, 2, 1, 2]


def test_sequences_refuse_a_user_with_nothing_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="user 'v' has fewer than three"):
        sequences(lines(tmp_path / "some.txt", "u a b c", "v b c"))


def test_pairs_are_sequences_line_by_line(tmp_path: Path) -> None:
    file = lines(tmp_path / "some.txt", "u a", "v b", "u b", "v c", "u c", "v a")
    problem = pairs(file)
    assert problem.known.user_ids == ["u", "v"]
    assert problem.known.items.tolist() == [0, 1, 1, 2]
    assert [found.tolist() for found in problem.truth.relevant] == [[2], [0]]
    with pytest.raises(InvalidInput, match=r"some\.txt:2"):
        pairs(lines(tmp_path / "some.txt", "u a", "v"))


def test_validation_is_cut_as_the_test_was(tmp_path: Path) -> None:
    known = sequences(lines(tmp_path / "some.txt", "u a b c d e", "v b c a")).known
    last = leave_last_out(known, seed=0)
    assert last.future.items.tolist() == [3, 2]
    assert last.past.items.tolist() == [0, 1, 2, 1]
    share = leave_share_out(known, seed=0)
    assert np.diff(share.future.offsets).tolist() == [1, 1]
    both = np.concatenate([share.past.items, share.future.items])
    assert sorted(both.tolist()) == sorted(known.items.tolist())
    again = leave_share_out(known, seed=0)
    assert again.future.items.tolist() == share.future.items.tolist()
