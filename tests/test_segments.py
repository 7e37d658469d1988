"""Reductions of what has the same data: values and gradients against loops of their own, and where they begin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from planned import runs_of, sized

import indexlang
from indexlang.calls.function import Function
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import gradcheck
from indexlang.oracle import loops as reference
from indexlang.plan import statement
from indexlang.plan.kernels import Label
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.plan.planning import every
from indexlang.plan.verify import verify
from indexlang.program.ir import Program
from indexlang.syntax.parser import parse

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

Array = NDArray[Any]
EAGER = replace(NUMPY, call=1, element=1000)  # few points are worth numbers
KEYS = ("int64", "int32", "int8", "uint8", "uint64", "float64", "float32", "bool")


def is_by_segments(f: Function, arrays: dict[str, Any]) -> bool:
    return any(isinstance(run.kernel, Label) for run in runs_of(f.plan(**arrays)))


def planned(text: str, limits: Limits = EAGER) -> Function:
    return sized(indexlang.compile(text), limits)


def keys_of(n: int | tuple[int, ...], how: str, kind: str, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    if kind == "bool":
        return rng.integers(0, 2, n).astype(bool)
    unsigned = kind.startswith("u")
    lo, hi = {"few": (0, 4), "one": (7, 8), "all": (0, 1), "wide": (0, 120)}[how]
    found = rng.integers(lo, hi, n)
    if how == "all":  # groups of one
        found = rng.permutation(int(np.prod(n))).reshape(n) % 128
    if how == "wide":
        found = found * ((2**57 + 3) if kind in ("int64", "uint64") else 1)
    found = found if unsigned else found - found.max() // 2
    return found.astype(kind)


def grouped(x: Array, g: Array, h: Array, op: Callable[[list[Any]], Any]) -> Array:
    """For each of h what an operation makes of the rows of x whose g is equal."""
    return np.array([op([row for row, key in zip(x, g, strict=True) if bool(key == bound)]) for bound in h])


def sum_of(rows: list[Any], width: tuple[int, ...] = ()) -> Any:
    return np.sum(np.asarray(rows, "float64"), 0) if rows else np.zeros(width)


def close(found: Any, right: Array, kind: str) -> None:
    tolerance = 2e-5 if kind == "float32" else 1e-12
    np.testing.assert_allclose(np.asarray(found, "float64"), right, rtol=tolerance, atol=tolerance * 10)


# -- values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float64", "float32"])
@pytest.mark.parametrize("how", ["few", "one", "all", "wide"])
@pytest.mark.parametrize("keys", KEYS)
def test_rows_and_their_gradient(keys: str, how: str, kind: str) -> None:
    n, text = 40, "y[t,d] = x[s,d] where g[s] == g[t]"
    rng, g = np.random.default_rng(1), keys_of(40, how, keys)
    x, dy = rng.normal(size=(n, 3)).astype(kind), rng.normal(size=(n, 3)).astype(kind)
    f = planned(text)
    assert is_by_segments(f, {"x": x, "g": g})
    close(f(x=x, g=g), grouped(x, g, g, sum_of), kind)
    y, pull = f.vjp(x=x, g=g)
    close(y, grouped(x, g, g, sum_of), kind)
    close(pull(dy)["x"], grouped(dy, g, g, sum_of), kind)


@pytest.mark.parametrize("kind", ["float64", "float32"])
@pytest.mark.parametrize("keys", ["int64", "float32"])
def test_products_and_their_gradients(keys: str, kind: str) -> None:
    rng, g = np.random.default_rng(2), keys_of(50, "few", keys)
    x, w, dy = (rng.normal(size=50).astype(kind) for _ in range(3))
    f = planned("y[t] = x[s]*w[s] where g[s] == g[t]")
    y, pull = f.vjp(x=x, w=w, g=g)
    close(y, grouped(x * w, g, g, sum_of), kind)
    found, back = pull(dy), grouped(dy, g, g, sum_of)
    close(found["x"], back * w, kind)
    close(found["w"], back * x, kind)


@pytest.mark.parametrize(
    "text",
    [
        "y[t,d] = mean[s](x[s,d]) where g[s] == g[t]",
        "c[t] = 1 where g[s] == g[t]\nm[t,d] = x[s,d] where g[s] == g[t]\ny[t,d] = m[t,d] / c[t]\n-> y",
    ],
)
def test_means(text: str) -> None:
    rng, g = np.random.default_rng(3), keys_of(60, "few", "int32")
    x, dy = rng.normal(size=(60, 2)), rng.normal(size=(60, 2))
    f = planned(text.removesuffix("\n-> y"))
    assert is_by_segments(f, {"x": x, "g": g})
    count = grouped(np.ones(60), g, g, sum_of)[:, None]
    found = f(x=x, g=g)
    close(found["y"] if isinstance(found, dict) else found, grouped(x, g, g, sum_of) / count, "float64")
    if not isinstance(found, dict):
        close(f.vjp(x=x, g=g)[1](dy)["x"], grouped(dy, g, g, sum_of) / count, "float64")


@pytest.mark.parametrize("order", ["b,{}", "{},b"])
@pytest.mark.parametrize("how", ["few", "wide"])
def test_batches(order: str, how: str) -> None:
    s, t = order.format("s"), order.format("t")
    text = f"y[b,t,d] = x[b,s,d] where g[{s}] == g[{t}]"
    g = keys_of((3, 20), how, "int64")
    g = g if order.startswith("b") else np.ascontiguousarray(g.T)
    x = np.random.default_rng(4).normal(size=(3, 20, 2))
    f = planned(text)
    assert is_by_segments(f, {"x": x, "g": g})
    rows = g if order.startswith("b") else g.T
    right = np.array([grouped(x[b], rows[b], rows[b], sum_of) for b in range(3)])
    close(f(x=x, g=g), right, "float64")
    close(f.vjp(x=x, g=g)[1](x)["x"], right, "float64")


@pytest.mark.parametrize("keys", ["int64", "uint8", "float64"])
def test_other_data_than_their_own(keys: str) -> None:
    g, h = keys_of(30, "few", keys), keys_of((5, 4), "wide" if keys == "float64" else "few", keys, 8)
    h[0, 0] = 77  # of nothing
    x = np.random.default_rng(5).normal(size=(30, 2))
    f = planned("y[i,j,d] = x[s,d] where g[s] == h[i,j]")
    right = grouped(x, g, h.reshape(-1), lambda rows: sum_of(rows, (2,))).reshape(5, 4, 2)
    assert is_by_segments(f, {"x": x, "g": g, "h": h})
    y, pull = f.vjp(x=x, g=g, h=h)
    close(y, right, "float64")
    back = grouped(right.reshape(20, 2), h.reshape(-1), g, lambda rows: sum_of(rows, (2,)))
    close(pull(right)["x"], back, "float64")


def test_batches_of_other_data() -> None:
    x, g, h = (
        np.random.default_rng(6).normal(size=(2, 30)),
        keys_of(30, "few", "int64"),
        keys_of((2, 70), "few", "int64"),
    )
    f = planned("y[b,t] = x[b,s] where g[s] == h[b,t]")
    assert is_by_segments(f, {"x": x, "g": g, "h": h})
    close(f(x=x, g=g, h=h), np.array([grouped(x[b], g, h[b], sum_of) for b in range(2)]), "float64")


def test_labels_of_pictures() -> None:
    x, g = np.random.default_rng(6).normal(size=(6, 7, 2)), keys_of((6, 7), "few", "int64")
    f = planned("y[p,q,c] = x[i,j,c] where g[i,j] == g[p,q]")
    assert is_by_segments(f, {"x": x, "g": g})
    right = grouped(x.reshape(42, 2), g.reshape(-1), g.reshape(-1), sum_of).reshape(6, 7, 2)
    close(f(x=x, g=g), right, "float64")


def test_two_equalities() -> None:
    x, g, h = np.random.default_rng(7).normal(size=60), keys_of(60, "few", "int64"), keys_of(60, "few", "float32", 9)
    h[::7] = np.nan
    f = planned("y[t] = x[s] where g[s] == g[t], h[t] == h[s]")
    assert is_by_segments(f, {"x": x, "g": g, "h": h})
    right = np.array([sum(x[s] for s in range(60) if g[s] == g[t] and h[s] == h[t]) for t in range(60)])
    close(f(x=x, g=g, h=h), right, "float64")


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("text", ["y[t] = x[s] where g[s] == g[t]", "y[t] max= x[s] where g[s] == g[t]"])
def test_few_and_no_points(text: str, n: int) -> None:
    for limits in (NUMPY, EAGER, TINY):
        f, g = planned(text, limits), np.arange(n) // 2
        x = np.arange(1.0, n + 1)
        op = sum_of if " = x" in text else max
        close(f(x=x, g=g), grouped(x, g, g, op), "float64")
        assert f(x=x[:0], g=g[:0]).shape == (0,)


@pytest.mark.parametrize("op", ["max", "min"])
@pytest.mark.parametrize("keys", ["int64", "float64"])
def test_extrema_and_their_gradients(op: str, keys: str) -> None:
    rng, g = np.random.default_rng(8), keys_of(40, "few", keys)
    for shape, rest in (((40,), ""), ((40, 3), ",d")):
        x, dy = np.round(rng.normal(size=shape) * 2), rng.normal(size=shape)  # some are equal
        f = planned(f"y[t{rest}] {op}= x[s{rest}] where g[s] == g[t]")
        assert all(any(isinstance(r.kernel, Label) for r in runs_of(p)) for p in f.plans(x=x, g=g)[:1])
        y, pull = f.vjp(x=x, g=g)
        close(y, grouped(x, g, g, lambda rows: getattr(np, op)(rows, 0)), "float64")
        right = np.zeros(shape)
        for at in np.ndindex(shape):
            same = [s for s in range(40) if g[s] == g[at[0]]]
            column = [x[(s, *at[1:])] for s in same]
            right[(same[int(getattr(np, f"arg{op}")(column))], *at[1:])] += dy[at]
        close(pull(dy)["x"], right, "float64")


@pytest.mark.parametrize("op", ["argmax", "argmin"])
def test_winners(op: str) -> None:
    rng, g, h = np.random.default_rng(8), keys_of(40, "few", "int64"), keys_of(90, "few", "int64", 3)
    h[3] = 99
    for kind in ("float64", "int64"):
        x = np.round(rng.normal(size=40) * 2).astype(kind)
        if kind == "float64":
            x[[4, 9]] = np.nan
        f = planned(f"y[t] = {op}[s](x[s]) where g[s] == h[t], w[s] > 0")
        w = rng.normal(size=40)
        assert is_by_segments(f, {"x": x, "g": g, "h": h, "w": w})
        for t, found in enumerate(f(x=x, g=g, h=h, w=w)):
            same = [s for s in range(40) if g[s] == h[t] and w[s] > 0]
            assert found == (same[int(getattr(np, op)(x[same]))] if same else 0)


@pytest.mark.parametrize("op", ["*=", "+=", "="])
@pytest.mark.parametrize("kind", ["int64", "float64", "complex128"])
def test_other_operators(op: str, kind: str) -> None:
    x, g = np.round(np.random.default_rng(9).normal(size=30) * 2 + 3).astype(kind), keys_of(30, "few", "int32")
    f = planned(f"y[t] = 2*x[t]\ny[t] {op} x[s] where g[s] == g[t]" if op != "=" else "y[t] = x[s] where g[s] == g[t]")
    right = np.array([(np.prod if op == "*=" else np.sum)(x[g == k]) for k in g])
    right = {"*=": 2 * x * right, "+=": 2 * x + right, "=": right}[op]
    assert is_by_segments(f, {"x": x, "g": g})
    np.testing.assert_allclose(f(x=x, g=g), right, rtol=1e-12)


# -- exactness ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("limits", [NUMPY, EAGER, TINY], ids=["usual", "eager", "tiny"])
def test_other_groups_stay_as_they_are(bad: float, limits: Limits) -> None:
    n = 300
    g, rng = keys_of(n, "few", "int64"), np.random.default_rng(10)
    x, dy = rng.normal(size=(n, 2)), rng.normal(size=(n, 2))
    x[5, 0], dy[9, 1] = bad, bad
    f = planned("y[t,d] = x[s,d] where g[s] == g[t]", limits)
    y, pull = f.vjp(x=x, g=g)
    close(y, grouped(x, g, g, sum_of), "float64")
    close(pull(dy)["x"], grouped(dy, g, g, sum_of), "float64")


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("kind", ["float64", "float32"])
def test_nan_is_equal_to_nothing(kind: str, same: bool) -> None:
    g, x = keys_of(40, "few", kind), np.random.default_rng(11).normal(size=40)
    g[[3, 4, 20]], g[[5, 6]], g[7], g[8] = np.nan, np.inf, -0.0, 0.0
    h = g if same else keys_of(12, "few", kind, 3)
    h[1] = np.nan
    for op, of in (("=", sum_of), ("max=", lambda rows: max(rows, default=-np.inf))):
        text = f"y[t] {op} x[s] where g[s] == {'g' if same else 'h'}[t]"
        f, given = planned(text), {"x": x, "g": g} | ({} if same else {"h": h})
        assert is_by_segments(f, given)
        close(f(**given), grouped(x, g, h, of), "float64")


def test_masks_of_each_side() -> None:
    rng, g = np.random.default_rng(12), keys_of(50, "few", "int64")
    x, v = rng.normal(size=50), rng.normal(size=50)
    x[v <= 0] = np.nan  # refused
    f = planned("y[t] = x[s] where g[s] == g[t], v[s] > 0, s > 2, t < 40, v[t] < 1")
    assert is_by_segments(f, {"x": x, "g": g, "v": v})
    right = np.zeros(f(x=x, g=g, v=v).shape)
    for t in range(min(40, len(right))):
        right[t] = sum(x[s] for s in range(3, 50) if g[s] == g[t] and v[s] > 0) if v[t] < 1 else 0
    close(f(x=x, g=g, v=v), right, "float64")


@pytest.mark.parametrize("text", ["y[t] = x[s] where g[s] == g[t], s <= t", "y[t] = x[s]*z[s+t] where g[s] == g[t]"])
def test_what_knows_both_goes_another_way(text: str) -> None:
    arrays: dict[str, Any] = {"x": np.arange(20.0), "g": keys_of(20, "few", "int64"), "z": np.ones(39)}
    arrays = {k: a for k, a in arrays.items() if f"{k}[" in text}
    f = planned(text)
    assert not is_by_segments(f, arrays)
    close(f(**arrays), np.asarray(reference.run(resolve(parse(Source(text))), arrays)["y"]), "float64")


# -- products with them ------------------------------------------------------------------------------

PRODUCTS = [
    "y[t,e] = W[d,e]*x[s,d] where g[s] == g[t]",
    "y[t,e] = 2*W[d,e]*x[s,d]*v[t] where g[s] == h[t]",
    "y[t,e] = -W[d,e]*x[s,d] where g[s] == h[t], v[s] > 0, t > 2, v[t] > -1",
    "y = v[s]*w[t] where g[s] == g[t]",
    "y = x[s,d]*x[t,d]/(1 + w[t]**2) where g[s] == h[t], v[t] > 0",
    "y[d] = x[s,d]*v[t]*w[s] where g[s] == g[t], w[s] > 0",
    "y[] = v[s]*w[t] where f[s] == f[t], s != 4",
    "y[d] = x[s,d]*v[t] where g[s] == h[t], f[t] == f[s]",
]


def pairs_of(text: str, n: int, kind: str = "float64") -> dict[str, Any]:
    rng = np.random.default_rng(20)
    given: dict[str, Any] = {k: rng.normal(size=n).astype(kind) for k in "vw"}
    given |= {"x": rng.normal(size=(n, 3)).astype(kind), "W": rng.normal(size=(3, 4)).astype(kind)}
    given |= {"g": keys_of(n, "few", "int64"), "h": keys_of(n, "wide", "int8", 3), "f": keys_of(n, "few", "float32", 5)}
    given["f"][::9] = np.nan
    return {k: given[k] for k in indexlang.compile(text).inputs}


@pytest.mark.parametrize("bad", [0, np.inf, np.nan])
@pytest.mark.parametrize("limits", [NUMPY, EAGER, TINY], ids=["usual", "eager", "tiny"])
@pytest.mark.parametrize("text", PRODUCTS)
def test_products_with_sums(text: str, limits: Limits, bad: float) -> None:
    given, f = pairs_of(text, 60), planned(text, limits)
    if bad:
        for name, at in (("v", 7), ("w", 11)):
            if name in given:
                given[name][at] = bad
    right = np.asarray(reference.run(resolve(parse(Source(text))), given)["y"])
    for plan in every(f.plan(**given)):
        verify(plan)
    with np.errstate(all="ignore"):
        found = np.asarray(f(**given))
    finite = np.isfinite(right)
    np.testing.assert_array_equal(np.isfinite(found), finite)
    np.testing.assert_allclose(found[finite], right[finite], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("text", PRODUCTS)
def test_gradients_of_products(text: str) -> None:
    def backward(program: Program, arrays: dict[str, Any]) -> dict[str, Any]:
        return Function(program, always_dict=True, limits=EAGER)(**arrays)  # type: ignore[no-any-return]

    given = pairs_of(text, 12)
    for found in gradcheck.gradcheck(resolve(parse(Source(text))), given, backward=backward):
        assert found.ok, found


def test_they_are_taken_apart() -> None:
    f = indexlang.compile(PRODUCTS[0])
    given = {"W": np.ones((8, 8), "float32"), "x": np.ones((900, 8), "float32"), "g": np.arange(900) // 7}
    assert all(any(isinstance(r.kernel, Label) for r in runs_of(p)) for p in f.plans(**given))
    close(f(**given), 8.0 * np.bincount(given["g"])[given["g"]][:, None] * np.ones(8), "float32")
    assert not is_by_segments(f, {"W": given["W"], "x": given["x"][:9], "g": given["g"][:9]})


def test_what_nothing_equals_is_not_multiplied() -> None:
    for text in ("y[t] = x[s]*w[t] where g[s] == h[t]", "y = x[s]*w[t] where g[s] == h[t]"):
        f, x, w = planned(text), np.ones(40), np.ones(30)
        g, h = np.arange(40) % 3, np.arange(30) % 5
        w[h > 2] = np.inf
        right = np.where(h > 2, 0, np.bincount(g)[np.minimum(h, 2)]).astype(float)
        assert is_by_segments(f, {"x": x, "w": w, "g": g, "h": h})
        close(f(x=x, w=w, g=g, h=h), right if "[t] = " in text else right.sum(), "float64")


# -- positions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", "uint64", "float64"])
@pytest.mark.parametrize("fn", ["<", "<=", ">", ">="])
def test_bounds_of_positions(kind: str, fn: str) -> None:
    rng = np.random.default_rng(21)
    for text in (
        f"y[b] = w[s] where s {fn} n[b]",
        f"y[b] = w[s] where n[b] {fn} s, 3 <= s, s < 37",
        f"y[b] = 1 where s < size(w,0), s {fn} n[b]",
        f"y[b] max= w[s] where s {fn} n[b]",
    ):
        n, w = rng.integers(0 if kind.startswith("u") else -5, 60, 300).astype(kind), rng.normal(size=40)
        w[3] = np.nan
        if kind == "int64":
            n[:2] = 2**63 - 1, -(2**63)
        f = planned(text)
        given = {k: {"n": n, "w": w}[k] for k in f.inputs}
        right = np.asarray(reference.run(resolve(parse(Source(text))), given)["y"], "float64")
        close(f(**given), right, "float64")


# -- lengths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["nowhere", "refused", "admitted", "weights", "cotangents"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("limits", [NUMPY, TINY], ids=["usual", "tiny"])
def test_weighed_under_lengths(limits: Limits, bad: float, where: str) -> None:
    b, s, d = (16, 64, 64) if limits is NUMPY else (3, 6, 4)
    rng = np.random.default_rng(30)
    x, p, dy = rng.normal(size=(b, s, d)), rng.normal(size=(b, s)), rng.normal(size=(b, d))
    n = rng.integers(1, s, b)
    place = {
        "refused": (x, (1, n[1], 2)),
        "admitted": (x, (1, 0, 2)),
        "weights": (p, (2, 0)),
        "cotangents": (dy, (0, 1)),
    }
    if where in place:
        array, at = place[where]
        array[at] = bad
    f = planned("y[b,d] = p[b,s]*x[b,s,d] where s < n[b]", limits)
    y, pull = f.vjp(p=p, x=x, n=n)
    with np.errstate(all="ignore"):
        right = np.array([(p[k, : n[k], None] * x[k, : n[k]]).sum(0) for k in range(b)])
        there = np.arange(s) < n[:, None]
        dx = np.where(there[..., None], dy[:, None] * p[..., None], 0)
        dp = np.where(there, (dy[:, None] * x).sum(-1), 0)
    close(y, right, "float64")
    found = pull(dy)
    close(found["x"], dx, "float64")
    close(found["p"], dp, "float64")


@pytest.mark.parametrize("where", ["nowhere", "refused", "admitted"])
@pytest.mark.parametrize(
    ("text", "more"),
    [("y[b,d] = x[b,s,d]/(n[b]+1) where s <= n[b]", 1), ("y[b,d] = mean[s](x[b,s,d]) where s < n[b]", 0)],
)
def test_means_over_lengths(text: str, more: int, where: str) -> None:
    rng = np.random.default_rng(31)
    x, n = rng.normal(size=(16, 128, 64)), rng.integers(1, 120, 16)
    if where != "nowhere":
        x[3, 125 if where == "refused" else 0, 5] = np.inf
    y, pull = indexlang.compile(text).vjp(x=x, n=n)
    with np.errstate(all="ignore"):
        close(y, np.array([x[k, : n[k] + more].mean(0) for k in range(16)]), "float64")
    dy = rng.normal(size=(16, 64))
    there = np.arange(128) < n[:, None] + more
    close(pull(dy)["x"], there[..., None] * (dy / (n[:, None] + more))[:, None], "float64")


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_softmax_weighed_under_lengths(kind: str) -> None:
    text = "e[b,s] = exp(p[b,s])\nz[b] = e[b,s] where s < n[b]\ny[b,d] = e[b,s]/z[b]*x[b,s,d] where s < n[b]\n"
    rng = np.random.default_rng(32)
    x, p, n = rng.normal(size=(8, 64, 64)).astype(kind), rng.normal(size=(8, 64)).astype(kind), rng.integers(1, 64, 8)
    f = indexlang.compile(text, outputs=["y"])
    dy = rng.normal(size=(8, 64)).astype(kind)
    x[2, n[2] :] = np.nan  # refused
    y, pull = f.vjp(p=p, x=x, n=n)
    found, wide = pull(dy), 1e-4 if kind == "float32" else 1e-9
    for k in range(8):
        q, rows = np.exp(p[k, : n[k]].astype("float64")), x[k, : n[k]].astype("float64")
        q /= q.sum()
        np.testing.assert_allclose(y[k], q @ rows, rtol=wide, atol=wide)
        slope = rows @ dy[k]
        np.testing.assert_allclose(found["p"][k, : n[k]], q * (slope - q @ slope), rtol=wide, atol=wide)
        np.testing.assert_allclose(found["x"][k, : n[k]], q[:, None] * dy[k], rtol=wide, atol=wide)
        assert not found["p"][k, n[k] :].any() and not found["x"][k, n[k] :].any()


# -- plans -------------------------------------------------------------------------------------------


def test_only_where_it_pays() -> None:
    f = indexlang.compile("y[t] = x[s] where g[s] == g[t]")
    for n, pays in ((20, False), (2000, True)):
        arrays = {"x": np.ones(n, "float32"), "g": np.arange(n) // 3}
        assert is_by_segments(f, arrays) == pays
        close(f(**arrays), np.bincount(arrays["g"])[arrays["g"]].astype(float), "float32")


def test_numbers_are_made_once() -> None:
    f = planned("c[t] = 1 where g[s] == g[t]\nm[t] = x[s] where g[s] == g[t]\ny[t] = m[t]/c[t]")
    plan = f.plan(x=np.ones(90), g=np.arange(90) // 4)
    assert sum(isinstance(run.kernel, Label) for run in runs_of(plan)) == 1


@pytest.mark.parametrize("limits", [NUMPY, EAGER, TINY], ids=["usual", "eager", "tiny"])
def test_plans_can_be_run(limits: Limits) -> None:
    for text in (
        "y[b,t,d] = x[b,s,d]*w[d] where g[b,s] == g[b,t], s > 3",
        "y[b,t,d] = argmax[s](x[b,s,d]) where g[b,s] == g[b,t]",
        "y[b,t] = x[b,s,d] where g[b,s] == h[t]",
    ):
        f = planned(text, limits)
        x, g = np.random.default_rng(0).normal(size=(3, 30, 2)), keys_of((3, 30), "few", "int64")
        given = {k: {"x": x, "g": g, "w": x[0, 0], "h": g[0, :8]}[k] for k in f.inputs}
        for plan in every(f.plan(**given)):
            verify(plan)
        right = np.asarray(reference.run(resolve(parse(Source(text))), given)["y"])
        close(f(**given), right, "float64")


def test_as_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    x, g = np.random.default_rng(0).normal(size=(500, 2)), keys_of(500, "wide", "int64")
    text = "y[t,d] = x[s,d] where g[s] == g[t]"
    found = indexlang.compile(text)(x=x, g=g)
    monkeypatch.setattr(statement, "segments_of", lambda _: None)
    other = indexlang.compile(text)
    other.release()
    close(found, planned(text, replace(NUMPY, table=1))(x=x, g=g), "float64")
