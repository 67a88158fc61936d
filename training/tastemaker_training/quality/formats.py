"""Readers of public data sets: text files whose conventions their published tables share.

lightgcn    a folder with train.txt and test.txt: a user and then the user's items per line, in no order
sequences   one user per line, then the items in time order; beside it perhaps *_item2attributes.json
pairs       a user and an item per line, in time order

All may be compressed (.gz). Ids may be any words.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from tastemaker.errors import InvalidInput, NotFound
from tastemaker_training.evaluation.metrics import Judgements
from tastemaker_training.interactions import Interactions, Ints, Split
from tastemaker_training.quality.problem import Problem, bare_catalogue

Lines = list[tuple[str, list[str]]]
"""Users and their items."""

VALIDATION_SHARE = 0.1
"""Share of each user's items that are left out at random to validate on where the data have no order."""


def lightgcn(path: Path, train_on_validation: bool = False) -> Problem:
    """LightGCN's splits (He et al. 2020): Recall@20 and NDCG@20, mean over users.

    Raises:
        NotFound: train.txt or test.txt is missing.
        InvalidInput: the test has a user that train has not, or none with an item.
    """
    if train_on_validation:
        raise InvalidInput("a lightgcn split has no validation items", "Leave --train-on-validation out")
    train, test = dict(_users(_one_of(path, "train.txt"))), _users(_one_of(path, "test.txt"))
    names = {user: code for code, user in enumerate(train)}
    unknown = [user for user, items in test if items and user not in names]
    if unknown:
        raise InvalidInput(f"{path}: test.txt has user {unknown[0]!r}, who is not in train.txt", "Correct the split")
    codes = _codes([*train.values(), *(items for _, items in test)])
    known = _interactions(list(train.items()), codes, ordered=False)
    if not any(items for _, items in test):
        raise InvalidInput(f"{path}: no user of test.txt has an item to be found", "Correct the split")
    relevant = {names[user]: np.unique([codes[item] for item in items]) for user, items in test if items}
    truth = Judgements(np.array(list(relevant), dtype=np.int64), list(relevant.values()))
    return Problem(known, known, bare_catalogue(list(codes)), truth, 20, "recall", leave_share_out)


def sequences(path: Path, train_on_validation: bool = False) -> Problem:
    """Leave-one-out (Kang & McAuley 2018): the last item of each user is the test, the one before it validation.

    The validation item is in the user's history at test time; models may learn from it with `train_on_validation`.
    HR@10 and NDCG@10 over all items.
    """
    file = _one_of(path, "*.txt") if path.is_dir() else path
    attributes = [found for found in file.parent.glob("*item2attributes.json*") if found.is_file()]
    return _leave_one_out(file, _users(file), _attributes(attributes[0]) if attributes else {}, train_on_validation)


def pairs(path: Path, train_on_validation: bool = False) -> Problem:
    """Leave-one-out, as `sequences`, of a file with one event a line."""
    file = _one_of(path, "*.txt") if path.is_dir() else path
    histories: dict[str, list[str]] = {}
    with _open(file) as stream:
        for number, line in enumerate(stream, 1):
            words = line.split()
            if len(words) < 2:
                raise InvalidInput(f"{file}:{number}: {line.strip()!r} is not a user and an item", "Correct the line")
            histories.setdefault(words[0], []).append(words[1])
    return _leave_one_out(file, list(histories.items()), {}, train_on_validation)


FORMATS: dict[str, Callable[[Path, bool], Problem]] = {"lightgcn": lightgcn, "sequences": sequences, "pairs": pairs}


def leave_last_out(interactions: Interactions, seed: int) -> Split:
    """The newest event of each user with more than one is held out."""
    last = np.zeros(len(interactions.items), dtype=bool)
    longer = np.diff(interactions.offsets) > 1
    last[interactions.offsets[1:][longer] - 1] = True
    return Split(interactions.where(~last), interactions.where(last), ~last)


def leave_share_out(interactions: Interactions, seed: int) -> Split:
    """A random `VALIDATION_SHARE` of each user's events is held out; one event at least of users with more than one."""
    counts = np.diff(interactions.offsets)
    lot = np.random.default_rng(seed).random(len(interactions.items))
    order = np.lexsort((lot, interactions.users))
    place = np.arange(len(order)) - np.repeat(interactions.offsets[:-1], counts)
    held = np.where(counts > 1, np.ceil(counts * VALIDATION_SHARE), 0).astype(np.int64)
    is_past = np.empty(len(order), dtype=bool)
    is_past[order] = place >= np.repeat(held, counts)
    return Split(interactions.where(is_past), interactions.where(~is_past), is_past)


def _leave_one_out(file: Path, users: Lines, words: dict[str, str], train_on_validation: bool) -> Problem:
    short = [user for user, items in users if len(items) < 3]
    if short:
        raise InvalidInput(
            f"{file}: user {short[0]!r} has fewer than three items, so nothing is left to learn from",
            "Leave such users out",
        )
    codes = _codes(items for _, items in users)
    whole = _interactions(users, codes, ordered=True)
    known = leave_last_out(whole, 0).past
    train = known if train_on_validation else leave_last_out(known, 0).past
    tested = np.arange(len(users))
    truth = Judgements(tested, [whole.items[end - 1 : end] for end in whole.offsets[1:]])
    return Problem(train, known, bare_catalogue(list(codes), words), truth, 10, "hr", leave_last_out)


def _interactions(users: Lines, codes: dict[str, int], ordered: bool) -> Interactions:
    """Likes of `users`; where the lines are in time order an event follows the other by a second, else all are at 0."""
    counts = np.array([len(items) for _, items in users], dtype=np.int64)
    items: Ints = np.fromiter((codes[item] for _, line in users for item in line), dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    place = np.arange(len(items)) - np.repeat(offsets[:-1], counts)
    return Interactions(
        user_ids=[user for user, _ in users],
        item_ids=list(codes),
        offsets=offsets,
        items=items,
        preferences=np.ones(len(items), dtype=np.float32),
        timestamps=place if ordered else np.zeros_like(place),
    )


def _users(file: Path) -> Lines:
    with _open(file) as stream:
        return [(words[0], words[1:]) for words in map(str.split, stream) if words]


def _codes(lines: Iterable[list[str]]) -> dict[str, int]:
    """Item codes in the order of first mention."""
    return {item: code for code, item in enumerate(dict.fromkeys(_flat(lines)))}


def _flat(lines: Iterable[list[str]]) -> Iterator[str]:
    for line in lines:
        yield from line


def _attributes(file: Path) -> dict[str, str]:
    """Item → its attributes as words."""
    with _open(file) as stream:
        return {item: " ".join(f"a{each}" for each in numbers) for item, numbers in json.load(stream).items()}


def _one_of(folder: Path, pattern: str) -> Path:
    found = sorted([*folder.glob(pattern), *folder.glob(f"{pattern}.gz")])
    if not found:
        raise NotFound(f"{folder} has no {pattern} or {pattern}.gz", "Name the folder of the data set")
    return found[0]


def _open(file: Path) -> TextIO:
    return gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8")
