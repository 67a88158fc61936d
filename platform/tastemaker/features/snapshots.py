"""Reading the snapshots that feature builds left: users' of the last full build and over them the fresh ones, items'.

An hourly build writes only the users whom new events touched, all rows of each, into a file of their own; a full one
writes everybody into the whole file, and empties the fresh one.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from tastemaker import columns
from tastemaker.features.files import FRESH_USER_FILE, ITEM_FILE, USER_FILE
from tastemaker.lake import Lake

REMEDY: Final = "Build them with `tastemaker features build`"


def users(lake: Lake) -> pa.Table:
    """Every user's snapshots, in no order.

    Raises:
        NotFound: no features have been built.
    """
    whole = lake.read(USER_FILE, REMEDY)
    if not lake.rows(FRESH_USER_FILE):
        return whole
    fresh = lake.read(FRESH_USER_FILE)
    is_replaced = pc.is_in(whole[columns.USER_ID], value_set=pc.unique(fresh[columns.USER_ID]))
    return pa.concat_tables([whole.filter(pc.invert(is_replaced)), fresh])


def items(lake: Lake) -> pa.Table:
    """Every item's snapshots. Raises NotFound where no features have been built."""
    return lake.read(ITEM_FILE, REMEDY)
