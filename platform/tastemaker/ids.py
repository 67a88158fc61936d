"""Stable 64-bit keys of string ids, the same in every process and version."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import xxhash

Keys = npt.NDArray[np.uint64]


def key_of(text: str) -> int:
    """The 64-bit XXH3 hash of `text` (https://xxhash.com)."""
    return xxhash.xxh3_64_intdigest(text.encode())


def keys_of(texts: Iterable[str]) -> Keys:
    """Hashes of many ids, shape (n,)."""
    digest = xxhash.xxh3_64_intdigest
    return np.fromiter((digest(text.encode()) for text in texts), dtype=np.uint64)
