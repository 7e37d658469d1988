"""Masks that leave an index one value: the derived statements have that number, and the gradients stay right."""

from __future__ import annotations

import numpy as np
import pytest
from random_programs.one import assert_right

import indexlang
from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import gradcheck, loops
from indexlang.program.ir import Program
from indexlang.program.text import statement_text, to_text
from indexlang.program.verify import verify
from indexlang.syntax.parser import parse


def program(text: str) -> Program:
    return resolve(parse(Source(text + "\n")))


def kernels(derived: Program, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return Function(derived, always_dict=True)(**arrays)


# The derived statements of the tensor f.
WRITTEN = {
    "y[b,i] = x[b,i+d] * where(d == 1, f[b], 1-f[b]) where d < 2": [
        "f.grad[b] += y.grad[b,i] * x[b,i+1]",
        "f.grad[b] += -y.grad[b,i] * x[b,i] where i < size(x,1) - 1",
    ],
    "y[b,i] = x[b,i+2*d] * where(d < 1, f[b], 2) where d < 2": [
        "f.grad[b] += y.grad[b,i] * x[b,i] where i < size(x,1) - 2"
    ],
    "y[b,i] = x[b,i+d] * where(2*d == 4 or d > 7, f[b], 2) where 1 <= d < 4": ["f.grad[b] += y.grad[b,i] * x[b,i+2]"],
    "y[b,i] = x[b,i+d] * where(d != 0, f[b], 2) where d < 3": ["f.grad[b] += y.grad[b,i] * x[b,i+d] where 1 <= d < 3"],
    "y[b,i] = x[b,i+d] * where(d != 1, f[b], 2) where d < 3": [  # two values, not beside each other
        "f.grad[b] += y.grad[b,i] * x[b,i+d] where d < 3, d != 1"
    ],
    "y[b,i] = x[b,i+d] * where(d == 5, f[b], 2) where d < 3": [  # none
        "f.grad[b] += y.grad[b,i] * x[b,i+d] where d < 3, d == 5"
    ],
    "y[b,d] = x[b,d] * where(d == 1 and d < b, f[b], 2) where d < 3": [
        "f.grad[b] += y.grad[b,1] * x[b,1] where not 1 >= b"
    ],
    "y[b] = where(d == 1, f[b,d], 2) where d < 3": ["f.grad[b,1] += y.grad[b]"],
    "y[b] = x[b,d] * where(d == 1, f[b], 2)": ["f.grad[b] += y.grad[b] * x[b,1] where size(x,1) > 1"],
    "y[b] = x[b,d] * where(d - 1 == 0, f[b], 2) where d < 3": ["f.grad[b] += y.grad[b] * x[b,1]"],
    "y[b] = x[b,(d,k)] * where(d == 1, f[b], 2) where d < 3": [
        "f.grad[b] += y.grad[b] * x[b,(d,k)] where d < 3, d == 1"
    ],
    "y[b] = d * x[b] * where(d == 3, f[b], 2) where d < 5": ["f.grad[b] += 3 * y.grad[b] * x[b]"],
}
SHAPES = {
    "y[b] = where(d == 1, f[b,d], 2) where d < 3": {"f": (3, 3)},
    "y[b] = x[b,(d,k)] * where(d == 1, f[b], 2) where d < 3": {"x": (3, 6), "f": (3,)},
    "y[b] = d * x[b] * where(d == 3, f[b], 2) where d < 5": {"x": (3,), "f": (3,)},
}


@pytest.mark.parametrize("text", WRITTEN)
def test_written_and_right(text: str) -> None:
    given = program(text)
    derived = grad.backward(given)
    verify(derived)
    found = [statement_text(s) for s in derived.statements if s.target.tensor == "f.grad"]
    assert found == WRITTEN[text]
    assert program(to_text(derived)) == derived
    rng = np.random.default_rng(0)
    for size in (3, 4, 7):
        shapes = SHAPES.get(text, {"x": (3, max(size, 4) if "i+" in text else size), "f": (3,)})
        inputs = {n: rng.standard_normal(shapes[n]) for n in given.inputs}
        assert all(row.ok for row in gradcheck.gradcheck(given, inputs)), text
        assert all(row.ok for row in gradcheck.gradcheck(given, inputs, backward=kernels)), text


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_an_axis_may_be_too_short_for_the_number(size: int) -> None:
    derived = grad.backward(program("y[b] = x[b,d] * where(d == 1, f[b], 2)"))
    x, g = np.arange(2.0 * size).reshape(2, size) + 1, np.array([1.0, 10.0])
    given = {"x": x, "f": np.ones(2), "y.grad": g}
    for run in (loops.run, kernels):
        found = run(derived, {n: given[n] for n in derived.inputs})["f.grad"]
        assert np.array_equal(found, g * x[:, 1] if size > 1 else np.zeros(2))


def test_bilinear_interpolation() -> None:
    text = "y[b,i,j] = x[b,i+p,j+q] * where(p == 1, f[b], 1-f[b]) * where(q == 1, g[b], 1-g[b]) where p < 2, q < 2"
    rng = np.random.default_rng(1)
    x, f, g, dy = rng.standard_normal((2, 4, 5)), rng.random(2), rng.random(2), rng.standard_normal((2, 3, 4))
    _, pullback = indexlang.compile(text).vjp(x=x, f=f, g=g)
    found = pullback(dy)
    a, b, c, d = x[:, :-1, :-1], x[:, :-1, 1:], x[:, 1:, :-1], x[:, 1:, 1:]
    f, g = f[:, None, None], g[:, None, None]
    assert np.allclose(found["f"], (dy * ((c - a) * (1 - g) + (d - b) * g)).sum((1, 2)))
    assert np.allclose(found["g"], (dy * ((b - a) * (1 - f) + (d - c) * f)).sum((1, 2)))


def test_small_differences_keep_their_digits() -> None:
    """Of few elements none may lose digits by chance."""
    text = "y[i] = (x[i] - w)**2\nz[j,j] = y[j] / (a[0,0] * b)\nA[k,l,m] = z[m,n] * (a[k,l] - c[n,m])"
    shapes = {"x": (9,), "w": (), "a": (2, 2), "b": (), "c": (9, 9)}
    seeds = range(364615, 364620)
    inputs = {n: np.random.default_rng(k).standard_normal(s) for (n, s), k in zip(shapes.items(), seeds, strict=True)}
    assert_right(text, inputs, "value float32", limits="tiny")


def test_values_that_tie_in_float32_are_won_by_the_first() -> None:
    x = 30000 + np.random.default_rng(50241).standard_normal((3, 4))
    assert_right("y min= 1 - 1 / x[i,j]**2", {"x": x}, "vjp float32")


def test_a_guard_beside_numbers_alone() -> None:
    assert_right("y[] = rsqrt(sin(2)) * x where i < 1", {"x": np.array(0.7)}, "vjp float64")
