"""What a run may use."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tastemaker.errors import InvalidInput


@dataclass(frozen=True)
class Hardware:
    """Ray Train workers, as many as there is room for between two bounds, each with a GPU or without."""

    fewest: int = 1
    most: int = 1
    gpu: bool = False

    @property
    def resource(self) -> str:
        """What Ray gives each worker one of."""
        return "GPU" if self.gpu else "CPU"

    @property
    def workers(self) -> int | tuple[int, int]:
        """As Ray's ScalingConfig takes it: a pair makes the run elastic."""
        return self.most if self.fewest == self.most else (self.fewest, self.most)


def hardware(workers: str, *, gpu: bool = False) -> Hardware:
    """`2` is two workers, `1-4` as many from one to four as there is room for, growing and shrinking with the cluster.

    Raises:
        InvalidInput: `workers` is neither.
    """
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", workers)
    fewest, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= fewest <= most:
        raise InvalidInput(f"--workers {workers!r} is no number of workers", "Give a number such as 2, or 1-4")
    return Hardware(fewest, most, gpu)
