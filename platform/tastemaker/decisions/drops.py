"""What a stage takes away from a request that is traced. Stages fill this only when asked (`traced`).

B users, X items taken away. A code of -1 is padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

SEEN: Final = "seen"
OUTLIVED: Final = "outlived"
EXCLUDED: Final = "excluded"
UNAVAILABLE: Final = "unavailable"
RETRIEVAL: Final = "retrieval"
RULES: Final = "rules"
RANKING: Final = "ranking"
CAPS: Final = "caps"
RERANKING: Final = "re-ranking"


@dataclass(frozen=True)
class Drop:
    """What one stage took away, for one reason.

    `values` is what each item was judged by, such as its place in a list; `why` names the cause where the stage has
    several, such as the business rule.
    """

    stage: str
    codes: npt.NDArray[np.int32]  # (B, X)
    values: npt.NDArray[np.float32] | None = None  # (B, X)
    why: str = ""
