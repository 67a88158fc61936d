"""What is worked out of a catalogue is kept as long as the catalogue is, and goes with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

Catalogue = TypeVar("Catalogue")
Arguments = TypeVarTuple("Arguments")
Found = TypeVar("Found")


def remembered(work_out: Callable[[Catalogue, *Arguments], Found]) -> Callable[[Catalogue, *Arguments], Found]:
    """Work each thing out once for each catalogue, which is told by identity.

    What is found must not refer to the catalogue itself, or neither ever goes.
    """
    found: WeakKeyDictionary[Catalogue, dict[tuple[*Arguments], Found]] = WeakKeyDictionary()

    @wraps(work_out)
    def recall(catalogue: Catalogue, *arguments: *Arguments) -> Found:
        of_catalogue = found.setdefault(catalogue, {})
        if arguments not in of_catalogue:
            of_catalogue[arguments] = work_out(catalogue, *arguments)
        return of_catalogue[arguments]

    return recall
