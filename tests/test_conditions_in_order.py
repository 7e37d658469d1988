"""Conditions that read where data say: those on positions of their own are asked first, and guard them.

Values: plain loops of Python, their derivatives by a complex step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

import indexlang
from indexlang.oracle.loops import run as loops

Array = np.ndarray[Any, Any]
Backend = Literal["numpy", "native"]

W = np.array([0, 9, -3, 1])
C = np.array([2, 7, 0, -5])


def chosen(x: Array, b: Array) -> Array:
    y = np.zeros(4, complex)
    for i in range(4):
        if 0 <= W[i] < 4 and b[W[i]].real > 0.5:
            y[i] = x[i] ** 2 * b[W[i]]
    return y


def greatest(x: Array, b: Array) -> Array:
    y = np.full(3, -np.inf, complex)
    for c in range(3):
        for i in range(4):
            if 0 <= c + W[i] < 4 and not b[c + W[i]].real > 0.9:
                found = x[i] * b[c + W[i]]
                y[c] = found if found.real > y[c].real else y[c]
    return y


def nested(x: Array, b: Array) -> Array:
    y = np.zeros(4, complex)
    for i in range(4):
        if 0 <= W[i] < 4 and 0 <= C[W[i]] < 4 and b[C[W[i]]].real > 0.1:
            y[i] = x[i] * b[C[W[i]]]
    return y


def stepped(x: Array, b: Array) -> Array:
    h = np.ones(5, complex)
    for t in range(4):
        h[t + 1] = h[t] * x[t] * b[W[t]] if 0 <= W[t] < 4 and C[W[t]] > 1 and b[W[t]].real > 0.1 else 0
    return h


CASES: dict[str, tuple[str, Callable[[Array, Array], Array]]] = {
    "guarded before": ("y[i] = x[i]**2 * b[w[i]] where 0 <= w[i], w[i] < 4, b[w[i]] > 0.5", chosen),
    "guarded behind": ("y[i] = x[i]**2 * b[w[i]] where b[w[i]] > 0.5, 0 <= w[i], w[i] < 4", chosen),
    "a choice": ("shape y[3]\ny[c] max= x[i]*b[c+w[i]] where not 0.9 < b[c+w[i]], 0 <= c+w[i], c+w[i] < 4", greatest),
    "positions of positions": (
        "y[i] = x[i]*b[c[w[i]]] where b[c[w[i]]] > 0.1, 0 <= c[w[i]], c[w[i]] < 4, 0 <= w[i], w[i] < 4",
        nested,
    ),
    "in steps": (
        "layer f(x[T], b[B], w[T], c[C]) -> h[T+1]:\n    h[0] = 1\n    for t:\n"
        "        h[t+1] = h[t]*x[t]*b[w[t]] where c[w[t]] > 1, b[w[t]] > 0.1, w[t] < 4, 0 <= w[t]",
        stepped,
    ),
}


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("case", CASES)
def test_a_condition_reads_where_those_before_it_hold(case: str, backend: Backend) -> None:
    text, plain = CASES[case]
    floats = {"x": np.array([0.7, 0.4, 1.1, 0.6]), "b": np.array([0.8, 0.95, 0.3, 0.6])}
    f = indexlang.compile(text, backend=backend)
    given = {n: v for n, v in {**floats, "w": W, "c": C}.items() if n in f.inputs}
    value, pullback = f.vjp(given)
    assert isinstance(value, np.ndarray)
    np.testing.assert_allclose(value, plain(*floats.values()).real)
    np.testing.assert_allclose(loops(f.program, given)[f.outputs[0]], value)
    cotangent = np.linspace(1, 2, value.size)
    found = pullback(cotangent)
    for name, x in floats.items():
        wanted = np.zeros_like(x)
        for at in range(len(x)):
            step = {n: v.astype(complex) for n, v in floats.items()}
            step[name][at] += 1e-30j
            wanted[at] = (plain(*step.values()).imag * cotangent).sum() / 1e-30
        np.testing.assert_allclose(found[name], wanted)


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_what_no_condition_guards_is_looked_at(backend: Backend) -> None:
    f = indexlang.compile("y[i] = x[i] where w[i] < 4, b[w[i]] > 0.5", backend=backend)
    with pytest.raises(indexlang.ShapeError, match="out of range"):
        f(x=np.ones(4), w=W, b=np.ones(4))
