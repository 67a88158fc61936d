"""The log of changes to the catalogue (`tm:catalogue:{items}:*`), which edges, replicas and the lake follow."""

from __future__ import annotations

from typing import Final, TypeAlias

from tastemaker.changes.log import Change, ChangeLog
from tastemaker.types import Item

ItemChange: TypeAlias = Change[Item]

items: Final = ChangeLog("tm:catalogue:{items}", "items", Item)
