"""Sums of products that masks of positions refuse as a whole, or let in: multiplied in tiles. Values by NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray

pytest.importorskip("llvmlite", reason="native code is made with llvmlite")

import indexlang as il

Array = NDArray[Any]
MASKS = {
    "j <= i": lambda i, j: j <= i,
    "j < i": lambda i, j: j < i,
    "j >= i, j < i + 4": lambda i, j: (j >= i) & (j < i + 4),
    "2*j + i < 30": lambda i, j: 2 * j + i < 30,
    "i + j == 20": lambda i, j: i + j == 20,
    "j <= i - 200": lambda i, j: j <= i - 200,
    "j <= i, i*0 + 5 > 9": lambda i, j: (j <= i) & (i < 0),
}


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("op", ["=", "+="])
@pytest.mark.parametrize("mask", MASKS)
def test_elements_refused_are_zero(mask: str, op: str, kind: str) -> None:
    rng = default_rng(1)
    for n, m, d in ((37, 41, 8), (130, 67, 33)):
        q, k = (rng.standard_normal(s).astype(kind) for s in ((n, d), (m, d)))
        i, j = np.indices((n, m))
        right = np.where(MASKS[mask](i, j), q.astype(np.float64) @ k.T, 0)
        f = il.compile(f"y[i,j] {op} q[i,d]*k[j,d] where {mask}, i < {n}, j < {m}", backend="native")
        np.testing.assert_allclose(f(q=q, k=k), right, atol=2e-5 if kind == "float32" else 1e-11)
        turned = il.compile(f"y[j,i] {op} q[i,d]*k[j,d]/2 where {mask}, i < {n}, j < {m}", backend="native")
        np.testing.assert_allclose(turned(q=q, k=k), right.T / 2, atol=2e-5 if kind == "float32" else 1e-11)


def test_what_is_refused_may_be_anything() -> None:
    rng = default_rng(2)
    q, k = rng.standard_normal((60, 16)), rng.standard_normal((60, 16))
    k[50:, 3], q[:10] = np.inf, np.nan
    y = il.compile("y[i,j] = q[i,d]*k[j,d] where j <= i, i >= 10, j < 50", backend="native")(q=q, k=k)
    right = np.zeros((60, 50))
    for i in range(10, 60):
        for j in range(min(i + 1, 50)):
            right[i, j] = q[i] @ k[j]
    np.testing.assert_allclose(y, right, atol=1e-11)


def test_it_adds_to_what_is_there() -> None:
    rng = default_rng(3)
    q, k, start = rng.standard_normal((50, 9)), rng.standard_normal((50, 9)), rng.standard_normal((50, 50))
    y = il.compile("y[i,j] += q[i,d]*k[j,d] where j <= i", backend="native")(q=q, k=k, y=start)
    np.testing.assert_allclose(y, start + np.tril(q @ k.T), atol=1e-11)


@pytest.mark.parametrize("mask", ["3*u + v < 5", "u <= v", "u == v", "u + v > 1, u < 2"])
def test_gradients_of_masked_taps(mask: str) -> None:
    rng = default_rng(4)
    w, x, dy = (rng.standard_normal(s) for s in ((3, 3, 5, 6), (2, 11, 12, 5), (2, 9, 10, 6)))
    f = il.compile(f"y[b,i,j,o] = W[u,v,c,o]*x[b,i+u,j+v,c] where {mask}, i < 9, j < 10", backend="native")
    y, pull = f.vjp(W=w, x=x)
    right, dw, dx = np.zeros_like(dy), np.zeros_like(w), np.zeros_like(x)
    for u in range(3):
        for v in range(3):
            if all(eval(part, {"u": u, "v": v}) for part in mask.split(", ")):
                part = x[:, u : u + 9, v : v + 10]
                right += part @ w[u, v]
                dw[u, v] = np.einsum("bijc,bijo->co", part, dy)
                dx[:, u : u + 9, v : v + 10] += dy @ w[u, v].T
    found = pull(dy)
    np.testing.assert_allclose(y, right, atol=1e-10)
    np.testing.assert_allclose(found["W"], dw, atol=1e-10)
    np.testing.assert_allclose(found["x"], dx, atol=1e-10)


def test_masked_scores_are_multiplied_in_tiles() -> None:
    f = il.compile("y[i,j] = q[i,d]*k[j,d] where j <= i", backend="native")
    (step,) = f.plan(q=(256, 32), k=(256, 32)).steps
    assert "% of peak" in step.kernel
