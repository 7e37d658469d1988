"""Slopes of functions far out: what is squared on the way must not leave the range of its type."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import indexlang
from indexlang.oracle import loops

Array = NDArray[Any]


def signed(first: int, last: int) -> list[float]:
    """Powers of ten of both signs, and three times as much."""
    return [sign * digit * 10.0**k for k in range(first, last) for digit in (1, 3) for sign in (1, -1)]


def asinh(x: Decimal) -> Decimal:
    return 1 / (1 + x * x).sqrt()


def atan(x: Decimal) -> Decimal:
    return 1 / (1 + x * x)


def acosh(x: Decimal) -> Decimal:
    return 1 / (x * x - 1).sqrt()


def silu(x: Decimal) -> Decimal:
    s = 1 / (1 + (-x).exp())
    return s + x * s * (1 - s)


ONE: list[tuple[str, list[float], Callable[[Decimal], Decimal]]] = [
    ("asinh", signed(-35, 37), asinh),
    ("atan", signed(-35, 18), atan),
    ("acosh", [1.5, *(x for x in signed(1, 37) if x > 0)], acosh),
    ("rsqrt", [x for x in signed(-25, 25) if x > 0], lambda x: -1 / (2 * x * x.sqrt())),
    ("silu", [x for x in signed(-30, 37) if x > -20], silu),
]


@pytest.mark.parametrize("copies", [1, 400])
@pytest.mark.parametrize(("fn", "points", "slope"), ONE, ids=[fn for fn, _, _ in ONE])
def test_of_one_argument(fn: str, points: list[float], slope: Callable[[Decimal], Decimal], copies: int) -> None:
    x = np.array(points * copies, np.float32)
    with localcontext() as context:
        context.prec = 100
        want = np.array([float(slope(Decimal(float(v)))) for v in x[: len(points)]] * copies)
    y, pullback = indexlang.compile(f"y[i] = {fn}(x[i])").vjp(x=x)
    found = pullback(np.ones_like(y))["x"]
    assert found.dtype == np.float32
    assert np.allclose(found, want, rtol=2e-5, atol=1e-37)


def directions() -> tuple[Array, Array]:
    sizes = [10.0**k for k in range(-30, 31, 3)]
    pairs = [(s * a, t * b) for a in sizes for b in sizes for s, t in ((1, 1), (-1, 1), (1, -1))]
    pairs += [pair for a in sizes for pair in ((a, 0.0), (0.0, a), (-a, 0.0), (0.0, -a))]
    a, b = np.array(pairs, np.float32).T
    return a, b


def exact(number: Callable[[Decimal, Decimal], Decimal], a: Array, b: Array) -> Array:
    with localcontext() as context:
        context.prec = 100
        pairs = zip(a.tolist(), b.tolist(), strict=True)
        return np.array([float(number(Decimal(p), Decimal(q))) for p, q in pairs])


@pytest.mark.parametrize("copies", [1, 15])
@pytest.mark.parametrize("form", ["scatter", "gather"])
def test_of_an_angle(form: str, copies: int) -> None:
    a, b = directions()
    by_a, by_b = exact(lambda p, q: q / (p * p + q * q), a, b), exact(lambda p, q: -p / (p * p + q * q), a, b)
    f = indexlang.compile("y[i] = atan2(a[i], b[i])")
    a, b = np.tile(a, copies), np.tile(b, copies)
    found = f.grad(form=form)(a=a, b=b, **{"y.grad": np.ones_like(a)})
    with np.errstate(over="ignore"):
        for name, want in (("a", by_a), ("b", by_b)):
            assert np.allclose(found[f"{name}.grad"], np.tile(want, copies).astype(np.float32), rtol=1e-5, atol=1e-37)


def test_of_an_angle_in_double_precision_and_in_the_loops() -> None:
    a, b = np.array([3e-200, 1e200, 1.0, -1e-170, 4.0]), np.array([4e-200, 1e200, 1e-200, 0.0, 3.0])
    f = indexlang.compile("y[i] = atan2(a[i], b[i])").grad()
    given = {"a": a, "b": b, "y.grad": np.ones(5)}
    want = [4e-200 / 25e-200 / 1e-200, 0.5e-200, 1e-200, 0.0, 0.12], [-0.12e200, -0.5e-200, -1.0, 1e170, -0.16]
    for found in (f(**given), loops.run(f.program, given)):
        assert np.allclose(found["a.grad"], want[0], rtol=1e-12, atol=0)
        assert np.allclose(found["b.grad"], want[1], rtol=1e-12, atol=0)


def test_the_second_derivatives_of_an_angle() -> None:
    """-2ab/r^4 and (a^2-b^2)/r^4, where one is zero and where the fourth power would leave the range."""
    a, b = np.array([2.0, 0.0, 3.0, 3e12], np.float32), np.array([0.0, 2.0, 4.0, 4e12], np.float32)
    f = indexlang.compile("y[i] = atan2(a[i], b[i])").grad("a")
    r = np.hypot(a.astype(np.float64), b)
    _, pullback = f.vjp(a=a, b=b, **{"y.grad": np.ones(4, np.float32)})
    found = pullback({"a.grad": np.ones(4, np.float32)})
    assert np.allclose(found["a"], -2 * (a / r) * (b / r) / r**2, rtol=1e-5, atol=0)
    assert np.allclose(found["b"], ((a / r) ** 2 - (b / r) ** 2) / r**2, rtol=1e-5, atol=0)


def test_the_length_of_two_sides() -> None:
    a, b = directions()
    y, pullback = indexlang.compile("y[i] = hypot(a[i], b[i])").vjp(a=a, b=b)
    length = exact(lambda p, q: (p * p + q * q).sqrt(), a, b)
    assert np.allclose(y, length, rtol=1e-6, atol=0)
    found = pullback(np.ones_like(y))
    assert np.allclose(found["a"], a / length, rtol=1e-5, atol=1e-37)
    assert np.allclose(found["b"], b / length, rtol=1e-5, atol=1e-37)


def test_a_derived_angle_reads_well() -> None:
    assert str(indexlang.compile("y[i] = atan2(a[i], b[i])").grad("a")).splitlines() == [
        "hypot_a[i] = hypot(a[i], b[i])",
        "a.grad[i] += y.grad[i] * b[i] / hypot_a[i] / hypot_a[i] where y.grad[i] != 0",
    ]
