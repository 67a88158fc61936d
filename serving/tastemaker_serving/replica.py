"""What a replica has running in the background, and how that ends."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import ExitStack


class Replica:
    """Ends what runs in the background when it ends itself, or the process does.

    Ray Serve calls `__del__` of a replica that has answered its last request; whoever holds one without Ray Serve calls
    `close`.
    """

    def __init__(self) -> None:
        self._ends = ExitStack()
        # Not left to `__del__`: when an interpreter that ends comes to it, its threads do not run any more.
        self._end = weakref.finalize(self, self._ends.close)

    def close(self) -> None:
        """End what runs in the background. Repeating it is safe."""
        self._end()

    def __del__(self) -> None:
        self.close()

    def ends(self, *ways: Callable[[], None]) -> None:
        """Call these at the end, the last first."""
        for end in ways:
            self._ends.callback(end)
