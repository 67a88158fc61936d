"""Finding the items of one catalogue in another: by id, by title and year, by what they are about.

N items of ours, M of theirs.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp
from sklearn.preprocessing import normalize

from tastemaker import columns
from tastemaker.features.content import word_counts
from tastemaker_training.interactions import Ints

WAYS: Final = ("id", "title", "content")
"""How an item may be found; `Match.way` holds positions."""
ID, TITLE, CONTENT = range(len(WAYS))
BUCKETS: Final = 2**20
"""Buckets of hashed words: so many that two words hardly ever share one."""
LONGEST_POSTING: Final = 200
"""Words of more items tell none of them; only the others make two items candidates for being the same."""
SAME: Final = 0.6
"""Cosine from which two items are the same, when each is the other's nearest."""
EQUAL: Final = 1e-6
"""Cosines no further apart say the same."""
WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True)
class Match:
    """Which of their items each of ours is."""

    theirs: Ints  # (N,) -1 where it is none of them
    way: npt.NDArray[np.int8]  # (N,) position in WAYS, -1

    def counts(self) -> dict[str, int]:
        """Items found, by way, and those that were not."""
        found = {name: int((self.way == place).sum()) for place, name in enumerate(WAYS)}
        return found | {"unmatched": int((self.way < 0).sum())}


def match(ours: pa.Table, theirs: pa.Table, *, same_ids: bool) -> Match:
    """Match two catalogues (lake.ITEM_SCHEMA), the surest way first; nobody's item is matched twice.

    Args:
        same_ids: equal ids mean equal items. Between two installations they mean nothing.
    """
    found = Match(np.full(ours.num_rows, -1, np.int64), np.full(ours.num_rows, -1, np.int8))
    if same_ids:
        _pair(found, ours[columns.ITEM_ID].to_pylist(), theirs[columns.ITEM_ID].to_pylist(), ID)
    years = [table[columns.RELEASE_YEAR].to_pylist() for table in (ours, theirs)]
    titles = [list(map(title_key, table[columns.TITLE].to_pylist())) for table in (ours, theirs)]
    dated = [list(zip(names, of, strict=True)) for names, of in zip(titles, years, strict=True)]
    _pair(found, dated[0], dated[1], TITLE)
    # A title without a year, on one side or on both, is enough where nothing else has it.
    bare = [[name if year is None else (name,) for name, year in pairs] for pairs in dated]
    _pair(found, [name if isinstance(name, str) else None for name in bare[0]], titles[1], TITLE)
    _pair(found, titles[0], [name if isinstance(name, str) else None for name in bare[1]], TITLE)
    _pair_by_content(found, ours, theirs)
    return found


def title_key(title: str | None) -> str | None:
    """A title without what is written differently from one catalogue to the next; None where nothing is left.

    Case, accents, punctuation, a year in brackets at the end, the order of words: "Étoile, L' (1977)" is "L'étoile".
    """
    plain = unicodedata.normalize("NFKD", re.sub(r"\s*\(\d{4}\)\s*$", "", title or "").casefold())
    words = WORD.findall("".join(letter for letter in plain if not unicodedata.combining(letter)))
    return " ".join(sorted(words)) or None


def _pair(found: Match, ours: Sequence[Hashable], theirs: Sequence[Hashable], way: int) -> None:
    """Match equal keys that name one item on either side, among those not matched yet; None is no key."""
    free_ours = np.flatnonzero(found.theirs < 0).tolist()
    taken = set(found.theirs.tolist())
    free_theirs = [code for code in range(len(theirs)) if code not in taken]
    many_ours = Counter(ours[code] for code in free_ours)
    many_theirs = Counter(theirs[code] for code in free_theirs)
    code_of = {theirs[code]: code for code in free_theirs}
    for code in free_ours:
        key = ours[code]
        if not _is_nothing(key) and many_ours[key] == 1 == many_theirs[key]:
            found.theirs[code], found.way[code] = code_of[key], way


def _is_nothing(key: Hashable) -> bool:
    return key is None or (isinstance(key, tuple) and key[0] is None)


def _pair_by_content(found: Match, ours: pa.Table, theirs: pa.Table) -> None:
    """Match those that are one another's only nearest, by the cosine of their words weighted by rarity."""
    free_ours = np.flatnonzero(found.theirs < 0)
    free_theirs = np.setdiff1d(np.arange(theirs.num_rows), found.theirs)
    if not len(free_ours) or not len(free_theirs):
        return
    ours, theirs = ours.take(free_ours), theirs.take(free_theirs)
    similar = _without_other_years(_common_words(ours, theirs), ours, theirs)
    best, back = _row_best(similar), _row_best(similar.T.tocsr())
    for row, (column, cosine) in enumerate(zip(*best, strict=True)):
        if cosine >= SAME and back[0][column] == row:
            found.theirs[free_ours[row]], found.way[free_ours[row]] = free_theirs[column], CONTENT


def _common_words(ours: pa.Table, theirs: pa.Table) -> sp.csr_array:
    """Cosines (N, M) of two catalogues' tf-idf vectors, as far as words of few items make them."""
    names = (columns.TITLE, columns.TEXT, columns.CATEGORIES)
    counts = word_counts(pa.concat_tables([table.select(names) for table in (ours, theirs)]), BUCKETS)
    frequency = np.bincount(counts.indices, minlength=BUCKETS)
    idf = np.log(1 + counts.shape[0] / np.maximum(frequency, 1)).astype(np.float32)
    weighted = normalize(counts.multiply(idf).tocsr())[
        :, np.flatnonzero((frequency > 1) & (frequency <= LONGEST_POSTING))
    ]
    return sp.csr_array(weighted[: ours.num_rows] @ weighted[ours.num_rows :].T)


def _without_other_years(similar: sp.csr_array, ours: pa.Table, theirs: pa.Table) -> sp.csr_array:
    """`similar` (N, M) without pairs whose years are more than one apart; catalogues differ by one at a premiere."""
    pairs = similar.tocoo()
    year, other = (
        table[columns.RELEASE_YEAR].cast(pa.float64()).to_numpy()[place]
        for table, place in ((ours, pairs.row), (theirs, pairs.col))
    )
    kept = ~(np.abs(year - other) > 1)  # a year that is not known is NaN, and stands in nobody's way
    return sp.csr_array((pairs.data[kept], (pairs.row[kept], pairs.col[kept])), shape=similar.shape)


def _row_best(matrix: sp.csr_array) -> tuple[Ints, npt.NDArray[np.float32]]:
    """The column of each row's largest entry, and the entry; 0 and 0 for a row that has none, or several."""
    column, value = np.zeros(matrix.shape[0], np.int64), np.zeros(matrix.shape[0], np.float32)
    for row in np.flatnonzero(np.diff(matrix.indptr)):
        entries = matrix.data[matrix.indptr[row] : matrix.indptr[row + 1]]
        places = np.flatnonzero(entries >= entries.max() - EQUAL)
        if len(places) == 1:
            column[row] = matrix.indices[matrix.indptr[row] + places[0]]
            value[row] = entries[places[0]]
    return column, value
