"""Groups that data say: the first winner of each, points whose matrix is the padding, sums under lengths."""

from __future__ import annotations

from typing import Any

import dense
import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray
from planned import runs_of, sized

import indexlang as il
from indexlang.plan.kernels import Grouped, Search
from indexlang.plan.limits import NUMPY, TINY
from indexlang.plan.verify import verify

Array = NDArray[Any]

pytestmark = [
    pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

LIMITS = pytest.mark.parametrize("limits", [TINY, NUMPY], ids=["tiny", "numpy"])
KINDS = pytest.mark.parametrize("kind", ["float32", "float64"])


def same(text: str, given: dict[str, Array], limits: Any, **more: int) -> None:
    """Values and gradients are those of loops in float64; what is not finite is not finite there, too."""
    f = il.compile(text)
    planned = sized(f, limits, **more)
    verify(planned.plan(**given))
    wide = {k: a.astype(np.float64) if a.dtype.kind == "f" else a for k, a in given.items()}
    tolerance = 1e-3 if any(a.dtype == np.float32 for a in given.values()) else 1e-9
    right = dense.run(f.program, wide)
    found = planned(**given)
    found = found if isinstance(found, dict) else {f.outputs[0]: found}
    for name in f.outputs:
        compared(found[name], right[name], tolerance)
    back = f.grad()
    dy = {f"{n}.grad": default_rng(9).standard_normal(np.shape(right[n])) for n in f.outputs}
    exact = {n: {**wide, **right, **dy}[n] for n in back.inputs}
    # of float32 only what a forward run gives is kept: whether a value is the greatest is a matter of its bits
    mine = {n: {**given, **found, **dy}[n] for n in back.inputs}
    mine = {n: a.astype(found[f.outputs[0]].dtype) if n.endswith(".grad") else a for n, a in mine.items()}
    truth, derived = dense.run(back.program, exact), sized(back, limits, **more)
    verify(derived.plan(**mine))
    made = derived(**mine)
    for name, gradient in (made if isinstance(made, dict) else dict.fromkeys(back.outputs, made)).items():
        compared(gradient, truth[name], tolerance)
    _, pullback = planned.vjp(**given)
    for name, gradient in pullback({n.removesuffix(".grad"): mine.get(n, a) for n, a in dy.items()}).items():
        if f"{name}.grad" in truth:
            compared(gradient, truth[f"{name}.grad"], tolerance)


def compared(found: Array, right: Array, tolerance: float) -> None:
    found, right = np.asarray(found, np.float64), np.asarray(right, np.float64)
    assert found.shape == right.shape
    good = np.isfinite(right)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(right))
    np.testing.assert_array_equal(found[~good], right[~good])
    np.testing.assert_allclose(found[good], right[good], rtol=tolerance, atol=10 * tolerance)


# -- the greatest of each group ------------------------------------------------------------------------

WINNERS = {
    "the greatest": "m[k] max= x[t] where g[t] == k, k < 6",
    "the least": "m[k] min= x[t] where g[t] == k, k < 6",
    "from the second group on": "m[k] max= x[t] where g[t] == k, 1 <= k < 6",
    "shifted": "m[k] max= x[t] where g[t] + 1 == k, k < 6",
    "of a part": "m[k] max= x[t] where g[t] == k, k < 6, t < size(x,0)-1",
    "some groups": "m[k] max= x[t] where g[t] == k, k < 6, k % 2 == 0",
    "computed": "m[k] max= 2*x[t]*v[t] where g[t] == k, k < 6",
    "not exact": "m[k] max= exp(x[t]) where g[t] == k, k < 6",
    "positions": "p[k] = argmax[t](x[t]) where g[t] == k, k < 6\ny[k] = x[p[k]]",
    "of rows": "m[k,d] max= z[t,d] where g[t] == k, k < 6",
    "of whole rows": "m[k] max= z[t,d] where g[t] == k, k < 6",
    "beside each other": "m[k,b] max= z[t,b] where h[t,b] == k, k < 6",
    "by a product": "m[k] max= w[k]*x[t] where g[t] == k, k < 6",
}


def points(n: int, kind: str, seed: int = 0) -> dict[str, Array]:
    """Values of which many are equal; groups from -1 to 6, of which some have no points."""
    rng = default_rng(seed)
    found: dict[str, Array] = {"x": rng.integers(-3, 4, n).astype(kind), "v": rng.integers(1, 3, n).astype(kind)}
    found |= {"z": rng.integers(-3, 4, (n, 3)).astype(kind), "w": rng.integers(-1, 3, 6).astype(kind)}
    return found | {"g": rng.choice([-1, 0, 1, 2, 4, 6], n), "h": rng.integers(-1, 7, (n, 3))}


@LIMITS
@KINDS
@pytest.mark.parametrize("n", [1, 90])
@pytest.mark.parametrize("name", WINNERS)
def test_the_winner_of_a_group_is_the_first(name: str, n: int, kind: str, limits: Any) -> None:
    if n == 1 and "size(x,0)-1" in WINNERS[name]:
        pytest.skip("nothing is left")
    given = points(n, kind)
    same(WINNERS[name], {k: given[k] for k in il.compile(WINNERS[name]).inputs}, limits, separate=0)


@LIMITS
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["the greatest", "the least", "positions", "of rows", "some groups"])
def test_the_first_that_is_no_number_wins(name: str, bad: float, limits: Any) -> None:
    f = il.compile(WINNERS[name])
    given = {k: points(300, "float64", 3)[k] for k in f.inputs}
    for k in given.keys() & {"x", "z"}:
        given[k][[5, 40, 41, 120]] = bad
        given[k][given["g"] == 1] = bad  # the whole group
    same(WINNERS[name], given, limits, separate=0)


@pytest.mark.parametrize("kind", ["int8", "int64", "float16", "uint8"])
def test_positions_in_groups_of_other_types(kind: str) -> None:
    f = il.compile("p[k] = argmax[t](x[t]) where g[t] == k, k < 6\nq[k] = argmin[t](x[t]) where g[t] == k, k < 6")
    rng = default_rng(2)
    given = {"x": rng.integers(0, 9, 500).astype(kind), "g": rng.integers(-1, 5, 500)}
    planned = sized(f, NUMPY, separate=0)
    verify(planned.plan(**given))
    right = dense.run(f.program, given)
    for name, value in planned(**given).items():
        np.testing.assert_array_equal(value, right[name])


def test_no_group_is_searched_by_itself() -> None:
    f = il.compile("m[k] max= x[t] where g[t] == k, k < 100")
    given = {"x": (20_000,), "g": np.zeros(20_000, np.int64)}
    derived = f.grad().plan(**given, **{"m.grad": (100,)})
    assert not any(isinstance(run.kernel, Search) for run in runs_of(derived))
    few = f.grad().plan(x=(8,), g=np.zeros(8, np.int64), **{"m.grad": (100,)})
    assert any(isinstance(run.kernel, Search) for run in runs_of(few))


# -- matrices of which one is the padding --------------------------------------------------------------

EXPERTS = {
    "read": "y[t,o] = W[pad(a[t]),d,o]*x[t,d]",
    "shifted": "y[t,o] = W[pad(a[t]-1),d,o]*x[t,d]",
    "a value": "y[t,o] = W[pad(a[t]+3,3,3,0.5),d,o]*x[t,d]",
    "weighed": "y[t,o] = -v[t]*W[pad(a[t]),d,o]*x[t,d]/u[t]",
    "two of them": "y[t,o] = W[pad(c[t,r]),d,o]*x[t,d]",
    "under a mask": "y[t,o] = W[pad(a[t]),d,o]*x[t,d] where v[t] > 0",
    "summed under a mask": "y[o] = W[pad(c[t,r]),d,o]*x[t,d] where v[t] > 0",
    "the last axis": "y[o,t] = W[d,o,pad(a[t])]*x[t,d]",
    "written": "G[pad(a[t]),d,o] += x[t,d]*z[t,o] where shape(G) == (4,3,2)",
}


def experts(name: str, n: int, kind: str, count: int = 4, seed: int = 0) -> dict[str, Array]:
    rng = default_rng(seed)
    shapes = {"x": (n, 3), "z": (n, 2), "v": (n,), "u": (n,), "W": (3, 2, count) if "last" in name else (count, 3, 2)}
    found = {k: (rng.standard_normal(s) + 3.0 * (k == "u")).astype(kind) for k, s in shapes.items()}
    found |= {"a": rng.integers(-3, count + 3, n), "c": rng.integers(-3, count + 3, (n, 2))}
    text = text_of(name)
    return {k: found[k] for k in il.compile(text).inputs}


def text_of(name: str) -> str:
    text = EXPERTS[name]
    if name != "written":
        return text
    return "shape G[4,3,2]\n" + text.partition(" where")[0]


@LIMITS
@KINDS
@pytest.mark.parametrize("n", [0, 1, 60])
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("name", EXPERTS)
def test_a_point_outside_meets_the_padding(name: str, count: int, n: int, kind: str, limits: Any) -> None:
    if name == "written" and count != 4:
        pytest.skip("it says its shape")
    same(text_of(name), experts(name, n, kind, count), limits)
    if n:
        given = experts(name, n, kind, count)
        kernels = [run.kernel for run in runs_of(sized(il.compile(text_of(name)), TINY).plan(**given))]
        assert any(isinstance(kernel, Grouped) for kernel in kernels) or n < 60


@LIMITS
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", [name for name in EXPERTS if name != "two of them"])  # brought together before
def test_what_is_not_finite_beside_the_padding(name: str, bad: float, limits: Any) -> None:
    given = experts(name, 60, "float64")
    at = next(iter(k for k in ("a", "c") if k in given))
    outside = np.flatnonzero((np.reshape(given[at], (60, -1)) < 0).any(1))
    for k in given.keys() & {"x", "z"}:
        given[k][outside[0], 0] = bad
        given[k][outside[1:3]] = bad
    same(text_of(name), given, limits)


@LIMITS
def test_no_matrix_but_the_padding(limits: Any) -> None:
    for n in (0, 3):
        given = {"W": np.zeros((0, 3, 2)), "x": np.ones((n, 3)), "a": np.arange(n)}
        y, pullback = sized(il.compile(EXPERTS["read"]), limits).vjp(**given)
        np.testing.assert_array_equal(y, np.zeros((n, 2)))
        np.testing.assert_array_equal(pullback(np.ones((n, 2)))["x"], np.zeros((n, 3)))


# -- sums under lengths --------------------------------------------------------------------------------

LENGTHS = {
    "pooling": "a[b,t] = exp(sum[d](x[b,t,d]*w[d])) where t < n[b], t < size(x,1)\n"
    "y[b,d] = a[b,t]*x[b,t,d]/sum[u](a[b,u])",
    "a sum of rows": "y[b,t] = x[b,t,d]*w[d] where t < n[b]\nz[b,t] = exp(y[b,t])",
    "with a factor before": "y[b,t] = 2*v[b]*x[b,t,d]*w[d] where t < n[b]\nz[b,t] = exp(y[b,t])*x[b,t,0]",
    "half of a mask": "y[b,t] = x[b,t,d]*w[d] where t < n[b], w[d] > 0\nz[b,t] = tanh(y[b,t])",
    "the greatest": "y[b,t] max= x[b,t,d] where t < n[b]\nz[b] = y[b,t] where t < n[b]",
    "all of it": "y[d] = x[b,t,d]*u[b,t] where t < n[b]\nz[b,t,d] = x[b,t,d]*y[d]",
}


@LIMITS
@KINDS
@pytest.mark.parametrize("bad", [0.0, np.inf, np.nan])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 2), (12, 9, 16)])
@pytest.mark.parametrize("name", LENGTHS)
def test_what_is_beyond_its_length_adds_nothing(
    name: str, shape: tuple[int, int, int], bad: float, kind: str, limits: Any
) -> None:
    rng, (b, t, d) = default_rng(4), shape
    given: dict[str, Array] = {"n": rng.integers(1, t + 1, b)}
    shapes = {"x": shape, "w": (d,), "v": (b,), "u": (b, t)}
    given |= {k: (rng.standard_normal(s) / 2).astype(kind) for k, s in shapes.items()}
    if bad:
        beyond = np.arange(t) >= given["n"][:, None]
        given["x"][beyond], given["u"][beyond] = bad, bad
    f = il.compile(LENGTHS[name])
    same(LENGTHS[name], {k: given[k] for k in f.inputs}, limits)


def test_a_buffer_without_elements_is_one() -> None:
    f = il.compile("y[b,t,e] = 2*x[b,t,e]")
    for shape in [(2, 0, 3), (0, 0, 0), (0, 4, 1)]:
        out = np.empty(shape)
        assert f(x=np.ones(shape), out=out) is out
