"""A public log of clicks as arrays, read from Parquet.

`PATH` is a folder with clicks.parquet and perhaps articles.parquet, or the file of clicks alone. Columns go by the
names of `NAMES` and `CONTEXT`, with or without a leading `click_`; times are Parquet timestamps, or integers in seconds
or milliseconds.

E clicks, N articles, K columns of context.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tastemaker.clickstream.clicks import Articles
from tastemaker.clickstream.decay import Doubles, Ints
from tastemaker.errors import InvalidInput, NotFound

NAMES: dict[str, tuple[str, ...]] = {
    "user": ("user", "user_id"),
    "session": ("session", "session_id"),
    "article": ("article", "article_id", "item", "item_id"),
    "timestamp": ("timestamp", "time", "ts"),
    "category": ("category", "category_id"),
    "created": ("created", "created_at", "created_at_ts", "published_at"),
}
CONTEXT = ("environment", "device", "deviceGroup", "os", "country", "region", "referrer_type", "referrer")
"""Columns of clicks that say where the reader is, taken where they are found."""


@dataclass(frozen=True)
class ClickLog:
    """E clicks in time order, of N articles."""

    times: Doubles  # (E,) seconds since 1970
    users: Ints  # (E,) codes
    items: Ints  # (E,) article codes
    context: Ints  # (K, E) codes from 0
    context_names: list[str]  # of the K columns
    position: Ints  # (E,) clicks that the session had before this one
    place: Ints  # (E,) where the click lies in `by_session`
    by_session: Ints  # (E,) the clicks session by session, oldest first
    session_items: Ints  # (E,) the article of each click of `by_session`
    again: npt.NDArray[np.bool_]  # (E,) the session has had the article before
    first: Doubles  # (N,) time of the first click on an article; infinite without one
    articles: Articles

    def earlier(self, click: int) -> Ints:
        """The articles of the same session before `click`, oldest first."""
        place = self.place[click]
        return self.session_items[place - self.position[click] : place]


def read(path: Path) -> ClickLog:
    """The log at `path`.

    Raises:
        NotFound: there is no file of clicks. InvalidInput: a column is missing or has no values.
    """
    file = path / "clicks.parquet" if path.is_dir() else path
    if not file.is_file():
        raise NotFound(f"{file} is not there", "Name a folder with clicks.parquet, or the file of clicks")
    clicks = pq.read_table(file)
    described = file.parent / "articles.parquet"
    articles = pq.read_table(described) if described.is_file() else None
    times = _seconds(_column(clicks, "timestamp", file))
    order = np.argsort(times, kind="stable")
    ids = _column(clicks, "article", file)
    known = (
        ids.unique() if articles is None else pa.concat_arrays([ids.unique(), _column(articles, "article", described)])
    )
    known = known.unique()
    sessions = _codes(_column(clicks, "session", file))[order]
    by_session = np.lexsort((np.arange(len(order)), sessions))
    place = np.empty_like(by_session)
    place[by_session] = np.arange(len(order))
    items = pc.index_in(ids, value_set=known).to_numpy().astype(np.int64)[order]
    _, first_of_pair = np.unique(sessions * len(known) + items, return_index=True)
    again = np.ones(len(order), dtype=bool)
    again[first_of_pair] = False
    first = np.full(len(known), np.inf)
    np.minimum.at(first, items, times[order])
    starts = np.concatenate([[0], np.cumsum(np.bincount(sessions))])
    return ClickLog(
        times=times[order],
        users=_codes(_column(clicks, "user", file))[order],
        items=items,
        context=_context(clicks)[:, order],
        context_names=_context_names(clicks),
        position=place - starts[sessions],
        place=place,
        by_session=by_session,
        session_items=items[by_session],
        again=again,
        first=first,
        articles=Articles(_described(articles, "category", known), _created(articles, known)),
    )


def _find(table: pa.Table, noun: str) -> pa.Array | None:
    for name in NAMES[noun]:
        for spelling in (name, f"click_{name}"):
            if spelling in table.column_names:
                return table[spelling].combine_chunks()
    return None


def _column(table: pa.Table, noun: str, file: Path) -> pa.Array:
    found = _find(table, noun)
    if found is None:
        raise InvalidInput(f"{file} has no column for the {noun}", f"Name it {' or '.join(NAMES[noun])}")
    if len(found) == 0 or found.null_count:
        raise InvalidInput(f"{file}: the column of the {noun} has no values, or not in every row", "Correct the file")
    return found


def _codes(values: pa.Array) -> Ints:
    return np.asarray(pc.dictionary_encode(values).indices.to_numpy(), dtype=np.int64)


def _context(clicks: pa.Table) -> Ints:
    found = [clicks[name].combine_chunks() for name in _context_names(clicks)]
    columns = [_codes(pc.fill_null(pc.cast(values, pa.string()), "")) for values in found]
    return np.stack(columns) if columns else np.zeros((0, clicks.num_rows), dtype=np.int64)


def _context_names(clicks: pa.Table) -> list[str]:
    return [name for each in CONTEXT for name in (each, f"click_{each}") if name in clicks.column_names]


def _seconds(values: pa.Array) -> Doubles:
    """Seconds since 1970; integers beyond the year 5000 in seconds are milliseconds."""
    if pa.types.is_timestamp(values.type):
        return np.asarray(pc.cast(pc.cast(values, pa.timestamp("ms")), pa.int64()).to_numpy() / 1e3, dtype=np.float64)
    numbers: Doubles = values.to_numpy(zero_copy_only=False).astype(np.float64)
    return numbers / 1e3 if np.nanmax(numbers) > 1e11 else numbers


def _rows(articles: pa.Table, known: pa.Array) -> tuple[pa.Array, Ints]:
    """Which row of `articles` describes each article, and which articles have one."""
    rows = pc.index_in(known, value_set=_find(articles, "article"))
    return rows.drop_null(), np.flatnonzero(rows.is_valid().to_numpy(zero_copy_only=False))


def _described(articles: pa.Table | None, noun: str, known: pa.Array) -> Ints:
    codes = np.zeros(len(known), dtype=np.int64)
    if articles is not None and (values := _find(articles, noun)) is not None:
        rows, described = _rows(articles, known)
        codes[described] = _codes(values)[rows.to_numpy()] + 1
    return codes


def _created(articles: pa.Table | None, known: pa.Array) -> Doubles:
    created = np.full(len(known), np.nan)
    if articles is not None and (values := _find(articles, "created")) is not None:
        rows, described = _rows(articles, known)
        created[described] = _seconds(values)[rows.to_numpy()]
    return created
