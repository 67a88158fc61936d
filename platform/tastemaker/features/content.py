"""What an item is about, as a vector made of its words alone: an item has one the moment it is in a catalogue.

Words are hashed, so the same projection serves items that nobody had seen when it was fitted.

N items, W word buckets, D width.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp

from tastemaker import columns
from tastemaker.ids import key_of

Floats = npt.NDArray[np.float32]
WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True)
class ContentProjection:
    """From hashed words to vectors."""

    idf: Floats  # (W,) inverse document frequency; 0 for words that no item had
    directions: Floats  # (W, D)

    def vectors(self, items: pa.Table) -> Floats:
        """Vectors of length 1 of `items` (N, D); an item without a known word has the zero vector."""
        projected = word_counts(items, len(self.idf)).multiply(self.idf).tocsr() @ self.directions
        return unit(np.asarray(projected, dtype=np.float32))


def word_counts(items: pa.Table, buckets: int) -> sp.csr_array:
    """How often each item has each word of its title, its text and its categories: (N, W), 1 + log of the count."""
    bucket: dict[str, int] = {}
    places, values, offsets = [], [], [0]
    for title, text, categories in zip(
        *(items[name].to_pylist() for name in (columns.TITLE, columns.TEXT, columns.CATEGORIES)), strict=True
    ):
        words = WORD.findall(f"{title or ''} {text or ''}".lower())
        for word, count in Counter([*words, *(f"category:{name}" for name in categories or ())]).items():
            if word not in bucket:
                bucket[word] = key_of(word) % buckets
            places.append(bucket[word])
            values.append(1.0 + np.log(count))
        offsets.append(len(places))
    shape = (items.num_rows, buckets)
    return sp.csr_array((np.array(values, dtype=np.float32), np.array(places, dtype=np.int32), offsets), shape=shape)


def unit(vectors: Floats) -> Floats:
    """Rows of length 1; a zero row stays."""
    normed: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-9))
    return normed
