"""Gradients of running products: what runs as the pullback against every product by hand, with zeros."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

import indexlang
from indexlang.calls.function import Function
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import gradcheck
from indexlang.oracle import loops as reference
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.rewrite.others import Others, others_of
from indexlang.syntax.parser import parse

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning", "ignore::RuntimeWarning")

RNG = np.random.default_rng(11)
Array = NDArray[np.generic]
Shapes = dict[str, tuple[int, ...]]

WITHIN: dict[str, Callable[[int, int], bool]] = {
    "s <= t": lambda s, t: s <= t,
    "s < t": lambda s, t: s < t,
    "s >= t": lambda s, t: s >= t,
    "t < s": lambda s, t: s > t,
}


def data(shape: tuple[int, ...], dtype: str, zeros: float = 0.2) -> Array:
    found = RNG.normal(size=shape) + (1j * RNG.normal(size=shape) if dtype.startswith("complex") else 0)
    return np.where(RNG.random(size=shape) < zeros, 0, found).astype(dtype)


def by_hand(x: Array, dy: Array, within: Callable[[int, int], bool]) -> Array:
    """All products of all others, in float64, for rows of x."""
    n = x.shape[1]
    found = np.zeros(x.shape, np.result_type(x, np.float64))
    for t in range(n):
        inside = [s for s in range(n) if within(s, t)]
        for s in inside:
            found[:, s] += dy[:, t] * np.prod(x[:, [u for u in inside if u != s]].astype(found.dtype), axis=1)
    return found


@pytest.mark.parametrize("limits", [NUMPY, TINY], ids=["numpy", "tiny"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("within", WITHIN)
@pytest.mark.parametrize(("rows", "n"), [(1, 1), (1, 2), (3, 7), (15, 30), (16, 30), (40, 12)])
@pytest.mark.parametrize("order", ["b{}", "{}b"])
def test_by_hand(order: str, rows: int, n: int, within: str, dtype: str, limits: Limits) -> None:
    at, of = order.format("t"), order.format("s")
    text = f"y[{','.join(at)}] *= x[{','.join(of)}] where {within}, t < {n}"
    x, dy = data((rows, n), dtype), data((rows, n), dtype, 0)
    turned = (lambda a: a) if order == "b{}" else (lambda a: np.ascontiguousarray(a.T))
    f = Function(resolve(parse(Source(text))), limits=limits)
    found = f.vjp(x=turned(x))[1](turned(dy))["x"]
    assert found.dtype == dtype
    tolerance = 2e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(turned(found), by_hand(x, dy, WITHIN[within]), rtol=tolerance, atol=tolerance)
    plans = f.plans(x=turned(x))
    assert "y_others" not in [r.statement.split("[")[0] for p in plans for s in p.sections for r in s.records]
    assert "recurrence" in str(plans[1])


CASES: list[tuple[str, Shapes]] = [
    ("y[t] *= x[s] where s <= t, t < 6", {"x": (6,)}),
    ("y[b,t] *= x[s] where s <= t, t < 6, b < 3\nz[b,t] = y[b,t]*w[b,t]", {"x": (6,), "w": (3, 6)}),
    ("y[b,t] *= x[b,s]*w[s] where s <= t, t < 6", {"x": (3, 6), "w": (6,)}),
    ("y[b,t] *= x[b,s] + w[s] where s > t, t < 6", {"x": (3, 6), "w": (6,)}),
    ("y[b,t] *= sin(x[b,s])/w[s] where s >= t, t < 6", {"x": (3, 6), "w": (6,)}),
    ("y[b,t] *= x[b,s] where s < t, t < 6, s != 2", {"x": (3, 6)}),
    ("y[b,t] *= x[b,s] where s <= t, t < 6, t != 2, b != 1", {"x": (3, 6)}),
    ("y[b,t] *= x[b,s] where s <= t, t < 6, m[t] > 0, m[s] < 3", {"x": (3, 6), "m": (6,)}),
    ("y[b,t] *= x[b,s] where s <= t, t < 6, m[b] > 0", {"x": (3, 6), "m": (3,)}),
    ("y[b,c,t] *= x[c,s,b] where s <= t, t < 6", {"x": (2, 6, 3)}),
    ("z[t] = prod[s](x[b,s])*w[b,t] where s <= t, t < 6", {"x": (3, 6), "w": (3, 6)}),
    ("z[t] = -prod[s](x[b,s])*w[b,t]/v[t] where s <= t, t < 6", {"x": (3, 6), "w": (3, 6), "v": (6,)}),
    ("y = x[i] - prod[j](w[j]) where j <= i", {"x": (6,), "w": (6,)}),
    ("y[c] = u[c]*prod[s](x[s]) where s < t, t < 6", {"x": (6,), "u": (3,)}),
    ("p[t] *= 1 - a[s] where s < t, t < 6\ny[c] = p[t]*a[t]*k[t,c]", {"a": (6,), "k": (6, 2)}),  # alpha blending
    # as it is written: other bounds, positions, products over more
    ("y[t] *= x[s] where s <= t, t < 4", {"x": (6,)}),
    ("y[t] *= x[s] where s <= t + 1, t < 6", {"x": (6,)}),
    ("y[t] *= x[s] where s <= 2*t, t < 6", {"x": (6,)}),
    ("y[t] *= x[s+1] where s <= t, t < 6", {"x": (7,)}),
    ("y[t] *= x[b,s] where s <= t, t < 4", {"x": (3, 4)}),
    ("y[t] *= x[s] where s <= t, t < s + 3, t < 6", {"x": (6,)}),
    ("y[t] *= x[s]*w[t] where s <= t, t < 6", {"x": (6,), "w": (6,)}),
    ("y[i,j] *= x[u,v] where u <= i, v <= j, i < 3, j < 4", {"x": (3, 4)}),
    ("y[t] = w[t]\ny[t] *= x[s] where s <= t, t < 6", {"x": (6,), "w": (6,)}),
    ("y[t] *= x[s] where s <= t, t < 6\ny[t] *= w[s] where s >= t, t < 6", {"x": (6,), "w": (6,)}),
]


@pytest.mark.parametrize("limits", [NUMPY, TINY], ids=["numpy", "tiny"])
@pytest.mark.parametrize(("text", "shapes"), CASES, ids=[t for t, _ in CASES])
def test_against_loops(text: str, shapes: Shapes, limits: Limits) -> None:
    """The derived program in one piece and in two, as loops say it."""
    f = Function(resolve(parse(Source(text))), limits=limits, always_dict=True)
    arrays = {n: data(s, "float64", 0.1) + (n in "vw") * 3 for n, s in shapes.items()}
    dy = {n: data(a.shape, "float64", 0) for n, a in f(**arrays).items()}
    g = f.grad()
    given = {**arrays, **{f"{n}.grad": a for n, a in dy.items()}}
    given = {n: given[n] for n in g.inputs}
    expected = reference.run(g.program, dict(given))
    whole, parts = Function(g.program, limits=limits, always_dict=True)(**given), f.vjp(**arrays)[1](dy)
    for name in parts:
        np.testing.assert_allclose(whole[f"{name}.grad"], expected[f"{name}.grad"], rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(parts[name], expected[f"{name}.grad"], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("text", "shapes"), CASES[:15], ids=[t for t, _ in CASES[:15]])
def test_gradcheck(text: str, shapes: Shapes) -> None:
    arrays = {n: data(s, "float64", 0) + (n in "vw") * 3 for n, s in shapes.items()}
    program = resolve(parse(Source(text)))
    for found in gradcheck.gradcheck(program, arrays, backward=lambda p, a: Function(p, always_dict=True)(**a)):
        assert found.ok, found


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_stays_where_it_is(bad: float) -> None:
    x, dy = np.array([1.5, 0, 2, bad, 3, 0]), np.array([1.0, 2, 3, 4, 5, 6])
    f = indexlang.compile("y[t] *= x[s] where s <= t, t < 6")
    for cotangent in (dy, np.where(np.arange(6) < 3, dy, 0)):  # 0 * inf is nan behind the bound, too
        found, expected = f.vjp(x=x)[1](cotangent)["x"], by_hand(x[None], cotangent[None], WITHIN["s <= t"])[0]
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.isfinite(found), finite)
        np.testing.assert_allclose(found[finite], expected[finite])


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize(
    "text",
    [
        "y[b,t] *= x[b,s]*w[s] where s < t, t < 6",
        "y[b,t] *= x[b,s]*w[s] where s > t, t < 6",
        "y[b,t] *= x[b,s]*w[s] where s <= t, m[t] > 0, t < 6",
        "y[b,t] *= x[b,s]*w[s] where s >= t, b != 1, t != 2, t < 6",
    ],
)
def test_what_nothing_is_added_to_stays_zero(text: str, bad: float) -> None:
    """Behind the last bound that counts, factors are never read."""
    f = indexlang.compile(text)
    for at in range(6):
        arrays: dict[str, Array] = {"x": data((2, 6), "float64"), "w": data((6,), "float64", 0)}
        arrays["x"][0, at] = arrays["x"][1, 3] = bad
        arrays |= {"m": np.array([1.0, -1, 1, 1, -1, -1])} if "m" in f.inputs else {}
        dy = data((2, 6), "float64", 0)
        g = f.grad().program
        given = {**arrays, "y.grad": dy}
        expected = reference.run(g, {n: given[n] for n in f.grad().inputs})
        for name, found in f.vjp(**arrays)[1](dy).items():
            finite = np.isfinite(expected[f"{name}.grad"])
            np.testing.assert_allclose(found[finite], expected[f"{name}.grad"][finite], rtol=1e-10, atol=1e-12)


def test_it_is_linear() -> None:
    f = indexlang.compile("y[b,t] *= x[b,s] where s <= t, t < size(x,1)")
    x = 1 + RNG.normal(size=(2, 20000)) / 200
    y, pullback = f.vjp(x=x)
    found = pullback(np.ones_like(y))["x"]
    np.testing.assert_allclose(found, np.cumsum(y[:, ::-1], 1)[:, ::-1] / x, rtol=1e-9)


FOUND = [
    ("where s <= t, u <= t, s != u", Others("t", "s", "u", True, False, (), ())),
    ("where u < t, u != s", Others("t", "s", "u", True, True, (), ())),
    ("where t <= u, u != s", Others("t", "s", "u", False, False, (), ())),
    ("where u <= t", None),
    ("where u <= t + 1, u != s", None),
    ("where 2*u <= t, u != s", None),
    ("where u <= s, u != s", None),
    ("where u <= t, u != s, u + t != 3", None),
    ("where u <= t, u >= t, u != s", None),
]


@pytest.mark.parametrize(("masks", "expected"), FOUND, ids=[m for m, _ in FOUND])
def test_what_is_a_product_of_others(masks: str, expected: Others | None) -> None:
    program = resolve(parse(Source(f"y[t,s] *= x[u] {masks}, t < 5, s < 5")))
    found = others_of(program.statements[0])
    assert (found and (found.outer, found.own, found.other, found.upper, found.strict)) == (
        expected and (expected.outer, expected.own, expected.other, expected.upper, expected.strict)
    )
