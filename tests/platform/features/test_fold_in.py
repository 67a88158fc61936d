from __future__ import annotations

import numpy as np

from tastemaker.features.fold_in import ItemFactors

RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.normal(size=(6, 3)).astype(np.float32)
GRAM = VECTORS.T @ VECTORS + np.eye(3, dtype=np.float32)
FACTORS = ItemFactors(VECTORS, GRAM, confidence=5.0, liked=0.6)


def test_folded_in_factors_solve_the_weighted_least_squares() -> None:
    history = np.array([[-1, 2, 4]])
    (found,) = FACTORS.fold_in(history, np.array([[0, 1, 0.6]], dtype=np.float32))
    wanted, weight = np.zeros(6), np.ones(6)
    wanted[[2, 4]], weight[[2, 4]] = 1, 5
    system = VECTORS.T @ (weight[:, None] * VECTORS) + np.eye(3)
    np.testing.assert_allclose(found, np.linalg.solve(system, VECTORS.T @ (weight * wanted)), rtol=1e-4)


def test_what_was_not_liked_and_padding_count_for_nothing() -> None:
    preference = np.array([[1, 0.2, -1], [0, 0, 0]], dtype=np.float32)
    found = FACTORS.fold_in(np.array([[0, 1, 2], [-1, -1, -1]]), preference)
    alone = FACTORS.fold_in(np.array([[0]]), np.ones((1, 1), dtype=np.float32))
    np.testing.assert_allclose(found[0], alone[0], rtol=1e-4)
    assert not found[1].any()
