from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tastemaker.candidates import Codes, Proposals
from tastemaker_serving.stages import filters

USERS, ITEMS = 3, 12
lists = st.lists(
    st.permutations(range(ITEMS)).flatmap(lambda items: st.integers(0, ITEMS).map(lambda n: items[:n])),
    min_size=USERS,
    max_size=USERS,
)


def padded(rows: list[list[int]]) -> Codes:
    table = np.full((len(rows), max(map(len, rows))), -1, dtype=np.int32)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return table


@given(lists, arrays(np.int32, (USERS, 5), elements=st.integers(-1, ITEMS + 3)))
def test_every_proposal_is_kept_or_removed_in_its_former_order(proposed: list[list[int]], unwanted: Codes) -> None:
    codes = padded(proposed)
    source = (codes % 3).astype(np.uint8)

    split = filters.drop(Proposals(codes, source), unwanted)

    for row, items in enumerate(proposed):
        barred = set(unwanted[row].tolist())
        kept = [code for code in split.kept.codes[row].tolist() if code >= 0]
        removed = [code for code in split.removed.codes[row].tolist() if code >= 0]
        assert kept == [item for item in items if item not in barred]
        assert removed == [item for item in items if item in barred]
        assert split.kept.source[row, : len(kept)].tolist() == [item % 3 for item in kept]


def test_nothing_unwanted_keeps_all() -> None:
    proposals = Proposals(padded([[3, 1], [2]]), np.zeros((2, 2), dtype=np.uint8))

    split = filters.drop(proposals, np.empty((2, 0), dtype=np.int32))

    assert split.kept is proposals
    assert split.removed.codes.shape == (2, 0)


@given(lists, arrays(np.int32, 5, elements=st.integers(0, ITEMS + 3)))
def test_what_is_gone_is_taken_from_everybody(proposed: list[list[int]], gone: Codes) -> None:
    codes = padded(proposed)

    split = filters.drop_gone(Proposals(codes, codes.astype(np.uint8)), gone)

    for row, items in enumerate(proposed):
        assert [code for code in split.kept.codes[row].tolist() if code >= 0] == [i for i in items if i not in gone]
        assert [code for code in split.removed.codes[row].tolist() if code >= 0] == [i for i in items if i in gone]
