"""Tensors that statements make part by part: no zeros first where boxes prove it, the same values everywhere."""

from __future__ import annotations

import numpy as np
import pytest

import indexlang
from indexlang.calls.function import Function
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.plan.printing import steps_text
from indexlang.plan.verify import verify

CONCAT = """
layer joined(a[N,A], b[N,B], c[N,C]) -> y[N,A+B+C]:
    y[n,k]     = a[n,k] where k < A
    y[n,A+k]   += b[n,k] * 2
    y[n,A+B+k] += c[n,k]
"""
GATES = """
layer gates(W[I,K], x[B,I], h[B,K]) -> y[B,3,K]:
    y[b,0,k]  = W[i,k] * x[b,i]
    y[b,1,k] += tanh(h[b,k])
    y[b,2,k] += h[b,k] where k != 1
"""


def compiled(text: str, limits: Limits = NUMPY) -> Function:
    return Function(indexlang.compile(text).program, limits=limits)


def steps(text: str, **shapes: tuple[int, ...]) -> str:
    plan = indexlang.compile(text).plan(**shapes)
    verify(plan)
    return "\n".join(line for line in steps_text(plan).splitlines() if not line.startswith("#"))


def test_parts_that_cover_a_tensor_are_set() -> None:
    found = steps(CONCAT, a=(5, 2), b=(5, 3), c=(5, 1))
    assert " = 0" not in found and "+=" not in found
    found = steps(GATES, W=(4, 6), x=(5, 4), h=(5, 6))
    assert " = 0" not in found and "+=" not in found


@pytest.mark.parametrize(
    "text",
    [
        "y[i] = a[i] where i < 3\ny[i+2] += b[i]\nshape y[8]",  # meets
        "y[i] = a[i] where i < 3\ny[i+4] += b[i]\nshape y[8]",  # leaves an element out
        "y[2*i] = a[i] where i < 4\ny[2*i+1] += b[i] where i < 4\nshape y[8]",  # no boxes
    ],
)
def test_what_is_not_proven_begins_with_zeros(text: str) -> None:
    lines, _, shape = text.rpartition("\n")
    text = f"layer f(a[A], b[B]) -> {shape[6:]}:\n" + "\n".join("    " + line for line in lines.splitlines())
    assert "y[?1] = 0" in steps(text, a=(4,), b=(4,))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("limits", [NUMPY, TINY])
@pytest.mark.parametrize("widths", [(2, 3, 1), (1, 1, 1), (0, 3, 2), (4, 0, 0), (40, 30, 20)])
def test_concatenation(widths: tuple[int, ...], limits: Limits, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    rng = np.random.default_rng(0)
    a, b, c = (np.asarray(rng.integers(0, 2 if dtype == "bool" else 9, (6, n))).astype(dtype) for n in widths)
    if dtype.startswith("float"):
        b[:1, :1], c[1:2, :1] = np.nan, np.inf
    found = compiled(CONCAT, limits)(a=a, b=b, c=c)
    np.testing.assert_array_equal(found, np.concatenate([a.astype(found.dtype), b * 2, c], 1))


@pytest.mark.parametrize("limits", [NUMPY, TINY])
def test_gradients_of_a_concatenation(limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    rng = np.random.default_rng(1)
    a, b, c, g = (rng.random((6, n)) for n in (2, 3, 1, 6))
    _, pullback = compiled(CONCAT, limits).vjp(a=a, b=b, c=c)
    found = pullback(g)
    np.testing.assert_array_equal(found["a"], g[:, :2])
    np.testing.assert_array_equal(found["b"], g[:, 2:5] * 2)
    np.testing.assert_array_equal(found["c"], g[:, 5:])


@pytest.mark.parametrize("limits", [NUMPY, TINY])
@pytest.mark.parametrize("inner", [1, 5, 40])
def test_gates(inner: int, limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    rng = np.random.default_rng(2)
    W, x, h = rng.random((inner, 7)), rng.random((9, inner)), rng.random((9, 7))  # noqa: N806
    y = np.stack([x @ W, np.tanh(h), np.where(np.arange(7) != 1, h, 0)], 1)
    f = compiled(GATES, limits)
    np.testing.assert_allclose(f(W=W, x=x, h=h), y)
    g = rng.random(y.shape)
    _, pullback = f.vjp(W=W, x=x, h=h)
    found = pullback(g)
    np.testing.assert_allclose(found["W"], x.T @ g[:, 0])
    np.testing.assert_allclose(found["x"], g[:, 0] @ W.T)
    keeps = np.where(np.arange(7) != 1, g[:, 2], 0)
    np.testing.assert_allclose(found["h"], g[:, 1] * (1 - np.tanh(h) ** 2) + keeps)


@pytest.mark.parametrize("limits", [NUMPY, TINY])
def test_gradients_that_are_made_part_by_part(limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    rng = np.random.default_rng(3)
    text = """
layer halves(x[N,6]) -> y[N,3]:
    y[n,k] = tanh(x[n,k]) * sigmoid(x[n,3+k]) where k < 3
"""
    x, g = rng.random((4, 6)), rng.random((4, 3))
    t, s = np.tanh(x[:, :3]), 1 / (1 + np.exp(-x[:, 3:]))
    _, pullback = compiled(text, limits).vjp(x=x)
    np.testing.assert_allclose(pullback(g)["x"], np.concatenate([g * s * (1 - t**2), g * t * s * (1 - s)], 1))
