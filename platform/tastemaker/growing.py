"""Tables that grow while others read them."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T", bound=np.generic)
ROOM = 0.125
"""How much a table that is full grows by, at least; so rows are copied a few times only, however many come."""
LEAST = 256


class Growing(Generic[T]):
    """A table (N, …) to which rows are added behind, without moving those before while there is room.

    A view that was handed out stays as long as it is; whoever writes over a row of it changes what its readers see.
    """

    def __init__(self, rows: npt.NDArray[T]) -> None:
        self._table: npt.NDArray[Any] = rows
        self._size = len(rows)

    @property
    def rows(self) -> npt.NDArray[T]:
        """All rows so far."""
        return self._table[: self._size]

    def put(self, places: npt.NDArray[np.integer], rows: npt.NDArray[T]) -> None:
        """Write `rows` (M, …) at `places` (M,): over rows that are there, or right behind the last."""
        size = max(self._size, int(places.max(initial=-1)) + 1)
        if size > len(self._table):
            self._reserve(size)
        self._table[places] = rows
        self._size = size

    def _reserve(self, size: int) -> None:
        table = np.empty((max(size, int(self._size * (1 + ROOM)) + LEAST), *self._table.shape[1:]), self._table.dtype)
        table[: self._size] = self.rows
        self._table = table
