"""The tensors of the KServe models: their names, types and shapes, and what is refused.

B users, C candidates, R = min(C, funnel.ranked), L history, D vector width, P profile width, N items, U user buckets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tastemaker.errors import InvalidInput
from tastemaker.features.cross import SIGNAL_MEANINGS

Array = npt.NDArray[Any]

RANKER: Final = "ranker"
USER_TOWER: Final = "user-tower"
"""Names of the models."""

MODEL_VERSION: Final = "model_version"
"""Parameter of every answer."""

UNRANKED: Final = np.finfo(np.float32).min
"""The score of padding: JSON knows no infinity."""


@dataclass(frozen=True)
class Tensor:
    """One input or output. `below` is the letter of the size that its integers stay below, and `least` their least."""

    name: str
    datatype: str  # as the Open Inference Protocol spells it
    shape: tuple[str | int, ...]
    about: str
    below: str | None = None
    least: int = 0

    def wanted(self) -> str:
        """What to send, in words."""
        return f"{self.datatype} of shape ({', '.join(map(str, self.shape))}): {self.about}"


RANKER_INPUTS: Final = (
    Tensor("user_vectors", "FP32", ("B", "D"), "what the user tower answers"),
    Tensor("profiles", "FP32", ("B", "P"), "user features as features.profile.profile_matrix lays them out"),
    Tensor("codes", "INT32", ("B", "C"), "candidates' item codes, -1 is padding", below="N", least=-1),
    *(Tensor(name, "FP32", ("B", "C"), meaning) for name, meaning in SIGNAL_MEANINGS.items()),
)
RANKER_OUTPUTS: Final = (
    Tensor("places", "INT32", ("B", "R"), "best first: where in the candidate list, -1 is padding", "C", -1),
    Tensor("codes", "INT32", ("B", "R"), "the same places' item codes, -1 is padding"),
    Tensor("scores", "FP32", ("B", "R"), "their scores; padding has float32's lowest number"),
)
TOWER_INPUTS: Final = (
    Tensor("history", "INT64", ("B", "L"), "item codes, newest last, -1 before the oldest", below="N", least=-1),
    Tensor("preference", "FP32", ("B", "L"), "preference in [-1, 1] that each event expresses"),
    Tensor("age", "FP32", ("B", "L"), "log1p of the days since each event"),
    Tensor("user", "INT64", ("B", 2), "hashed buckets of the user id", below="U"),
    Tensor("profile", "FP32", ("B", "P"), "user features as features.profile.profile_matrix lays them out"),
)
TOWER_OUTPUTS: Final = (Tensor("user_vectors", "FP32", ("B", "D"), "what the ranker takes"),)


def described(tensors: Sequence[Tensor], sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    """The tensors as the protocol's metadata has them: a size that varies is -1."""
    return [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": [size if isinstance(size, int) else sizes.get(size, -1) for size in tensor.shape],
        }
        for tensor in tensors
    ]


def check(tensors: Sequence[Tensor], arrays: Mapping[str, Array], sizes: Mapping[str, int]) -> None:
    """Check shapes and values of arrays of the right types.

    Args:
        sizes: what is known of the letters; the others have the size that the first tensor with them shows.

    Raises:
        InvalidInput: the message names the tensor, what it holds and what it should.
    """
    known = dict(sizes)
    for tensor in tensors:
        array = arrays[tensor.name]
        _check_shape(tensor, array.shape, known)
        if array.dtype.kind == "f":
            _check_finite(tensor, array)
        elif tensor.below is not None:
            _check_range(tensor, array, known[tensor.below])


def _check_shape(tensor: Tensor, shape: tuple[int, ...], known: dict[str, int]) -> None:
    if len(shape) == len(tensor.shape):
        for letter, size in zip(tensor.shape, shape, strict=True):
            if isinstance(letter, str):
                known.setdefault(letter, size)
    expected = tuple(known.get(size, -1) if isinstance(size, str) else size for size in tensor.shape)
    if shape != expected:
        raise InvalidInput(f"tensor {tensor.name!r} has shape {shape}, expected {expected}", f"Send {tensor.wanted()}")
    if shape[0] == 0:
        raise InvalidInput(f"tensor {tensor.name!r} has shape {shape}: no users", "Send at least one")


def _check_finite(tensor: Tensor, array: Array) -> None:
    if not np.isfinite(array).all():
        place = np.argwhere(~np.isfinite(array))[0].tolist()
        raise InvalidInput(
            f"tensor {tensor.name!r} holds {array[tuple(place)]} at {place}",
            "Send finite numbers, 0 for what is not known",
        )


def _check_range(tensor: Tensor, array: Array, end: int) -> None:
    outside = (array < tensor.least) | (array >= end)
    if outside.any():
        place = np.argwhere(outside)[0].tolist()
        raise InvalidInput(
            f"tensor {tensor.name!r} holds {array[tuple(place)]} at {place}, expected {tensor.least} to {end - 1}",
            "Send codes of the same model version, which its answers name",
        )
