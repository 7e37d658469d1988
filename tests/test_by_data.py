"""Indices that equalities tie to data become subscripts: values by loops in float64, positions inside and outside."""

# ruff: noqa: N806

from __future__ import annotations

from typing import Any

import dense
import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray
from planned import sized

import indexlang as il
from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.plan.limits import NUMPY, TINY
from indexlang.plan.verify import verify

Array = NDArray[Any]

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

# A text, shapes, and what becomes of its last statement; integers are named t, u.
CASES = {
    "a choice": ("y[b,d] = where(t[b]==v,1,0)*E[v,d]", {"t": (9,), "E": (5, 3)},
                 "y[b,d] = E[t[b],d] where 0 <= t[b], t[b] < 5"),
    "the other way round": ("y[b,d] = E[v,d]*where(v!=t[b],0,2)", {"t": (9,), "E": (5, 3)},
                            "y[b,d] = E[t[b],d] * 2 where 0 <= t[b], t[b] < 5"),
    "a mask": ("y[b,d] = E[v,d] where t[b] == v", {"t": (9,), "E": (5, 3)},
               "y[b,d] = E[t[b],d] where 0 <= t[b], t[b] < 5"),
    "a range": ("y[b,d] = E[v,d] where t[b] == v, 1 <= v < 4", {"t": (9,), "E": (5, 3)},
                "y[b,d] = E[t[b],d] where 1 <= t[b], t[b] < 4"),
    "negated": ("y[b,d] = -(where(t[b]==v,E[v,d],0)*w[b])", {"t": (9,), "E": (5, 3), "w": (9,)},
                "y[b,d] = -(E[t[b],d] * w[b]) where 0 <= t[b], t[b] < 5"),
    "divided": ("y[b,d] = where(t[b]==v,E[v,d],0)/w[b]", {"t": (9,), "E": (5, 3), "w": (9,)},
                "y[b,d] = E[t[b],d] / w[b] where 0 <= t[b], t[b] < 5"),
    "a score": ("y[b] = where(t[b]==k,1,0)*s[b,k]", {"t": (9,), "s": (9, 5)},
                "y[b] = s[b,t[b]] where 0 <= t[b], t[b] < 5"),
    "nothing summed": ("y[b,k] = where(t[b]==k,1,0)*w[b] where k < 17", {"t": (9,), "w": (9,)},
                       "y[b,t[b]] = w[b] where 0 <= t[b], t[b] < 17"),
    "nothing summed, read at the index": ("y[b,k] = where(t[b]==k and p[b,k] > 0,1,0)*p[b,k]/w[b]",
                                          {"t": (9,), "w": (9,), "p": (9, 17)},
                                          "y[b,t[b]] = p[b,t[b]] / w[b] where 0 <= t[b], t[b] < 17, "
                                          "p[b,clamp(t[b])] > 0"),
    "counts": ("c[v] += where(t[b]==v,1,0) where v < 5", {"t": (9,)}, "c[t[b]] += 1 where 0 <= t[b], t[b] < 5"),
    "counts of a pair": ("c[v,b] += where(t[b,k]==v,1,0) where v < 5", {"t": (9, 4)},
                         "c[t[b,k],b] += 1 where 0 <= t[b,k], t[b,k] < 5"),
    "sums": ("y[v,d] = where(t[n]==v,1,0)*x[n,d] where v < 5", {"t": (9,), "x": (9, 3)},
             "y[t[n],d] = x[n,d] where 0 <= t[n], t[n] < 5"),
    "the greatest": ("y[v] max= x[n] where t[n] == v, v < 5", {"t": (9,), "x": (9,)},
                     "y[t[n]] max= x[n] where 0 <= t[n], t[n] < 5"),
    "both": ("y[u,v] = where(t[n]==u,1,0)*where(r[n]==v,1,0)*w[n] where u < 5, v < 4",
             {"t": (9,), "r": (9,), "w": (9,)},
             "y[t[n],r[n]] = w[n] where 0 <= r[n], r[n] < 4, 0 <= t[n], t[n] < 5"),
    "one inside": ("y[n] = where(t[n]==u, where(r[n]==v, A[u,v], 0), 0)*w[n]",
                   {"t": (9,), "r": (9,), "w": (9,), "A": (4, 5)},
                   "y[n] = A[t[n],r[n]] * w[n] where 0 <= r[n], r[n] < 5, 0 <= t[n], t[n] < 4"),
    "with another condition": ("y[b,d] = where(t[b]==v and E[v,d] > 0,E[v,d],0)*w[b]",
                               {"t": (9,), "E": (5, 3), "w": (9,)},
                               "y[b,d] = E[t[b],d] * w[b] where 0 <= t[b], t[b] < 5, E[clamp(t[b]),d] > 0"),
    "shifted": ("y[b,d] = E[v,d] where t[b] + 1 == v", {"t": (9,), "E": (5, 3)},
                "y[b,d] = E[1+t[b],d] where 0 <= 1 + t[b], 1 + t[b] < 5"),
    "mirrored": ("y[b,d] = E[v,d] where 3 - v == t[b]", {"t": (9,), "E": (5, 3)},
                 "y[b,d] = E[3-t[b],d] where 0 <= 3 - t[b], 3 - t[b] < 5"),
    "by an index": ("y[b,d] = E[v,d] where v == t[b] + b", {"t": (9,), "E": (5, 3)},
                    "y[b,d] = E[t[b]+b,d] where 0 <= t[b] + b, t[b] + b < 5"),
    "a quotient": ("y[b,d] = E[v,d] where v == t[b]//2", {"t": (9,), "E": (5, 3)},
                   "y[b,d] = E[t[b]//2,d] where 0 <= t[b] // 2, t[b] // 2 < 5"),
    "a window": ("y[b] = E[v+k]*w[k] where v == t[b]", {"t": (9,), "E": (7,), "w": (3,)},
                 "y[b] = E[v+k] * w[k] where v == t[b]"),
    "matrices": ("y[k,o] = where(t[k]==e,1,0)*W[e,i,o]*x[k,i]", {"t": (9,), "W": (40, 3, 4), "x": (9, 3)},
                 "y[k,o] = W[t[k],i,o] * x[k,i] where 0 <= t[k], t[k] < 40"),
    "digits": ("g[u,v] += w[n] where 3*u + v == t[n], u < 3, v < 3", {"t": (9,), "w": (9,)},
               "g[t[n]//3,t[n]%3] += w[n] where 0 <= t[n] // 3, t[n] // 3 < 3"),
    "digits, read": ("y[n] = E[v,u]*w[n] where t[n] - v == size(E,0)*u", {"t": (9,), "E": (3, 2), "w": (9,)},
                     "y[n] = E[t[n]%3,t[n]//3] * w[n] where 0 <= t[n] // 3, t[n] // 3 < 2"),
    "three digits": ("g[u,s,v] += where(4*u + 2*v + s == t[n],1,0)*w[n] where u < 3, v < 2, s < 2",
                     {"t": (9,), "w": (9,)},
                     "g[t[n]//4,t[n]%2,t[n]//2%2] += w[n] where 0 <= t[n] // 4, t[n] // 4 < 3"),
    "digits with a gap": ("g[u,v] += w[n] where 5*u + v == t[n], u < 2, v < 3", {"t": (9,), "w": (9,)},
                          "g[t[n]//5,t[n]%5] += w[n] where 0 <= t[n] // 5, t[n] // 5 < 2, 0 <= t[n] % 5, t[n] % 5 < 3"),
    "digits that overlap": ("g[u,v] += w[n] where 2*u + v == t[n], u < 2, v < 3", {"t": (9,), "w": (9,)},
                            "g[u,t[n]-2*u] += w[n] where u < 2, 0 <= t[n] - 2 * u, t[n] - 2 * u < 3"),
    "twice the same": ("y[b] = E[v]*F[v] where t[b] == v, r[b] == v", {"t": (9,), "r": (9,), "E": (5,), "F": (5,)},
                       "y[b] = E[t[b]] * F[t[b]] where 0 <= t[b], t[b] < 5, r[b] == t[b]"),
}  # fmt: skip
KEPT = {
    "the index is a number": ("y[b] = v*E[v] where t[b] == v", {"t": (9,), "E": (5,)}),
    "no data": ("y[b] = E[b,v] where b == v", {"E": (9, 5)}),
    "floats": ("y[b,d] = where(g[b]==v,1,0)*E[v,d]", {"g": (9,), "E": (5, 3)}),
    "itself": ("y[b] = E[v] where t[v] == b, b < 4", {"t": (9,), "E": (9,)}),
    "merged": ("y[b] = E[(v,d)] where t[b] == v, v < 5", {"t": (9,), "E": (15,)}),
    "nothing summed, few positions": ("y[b,k] = E[b,k] where t[b] == k", {"t": (9,), "E": (9, 16)}),
    "a choice of another number": ("y[b,d] = where(t[b]==v,1,2)*E[v,d]", {"t": (9,), "E": (5, 3)}),
    "doubled": ("y[b,d] = E[v,d] where 2*t[b] == v", {"t": (9,), "E": (5, 3)}),
}
INTEGERS = ("t", "r")


def given(shapes: dict[str, tuple[int, ...]], seed: int = 0, kind: str = "int64") -> dict[str, Array]:
    """Inputs: integers from -3 (or 0) to 8, some outside of every axis."""
    rng = default_rng(seed)
    low = 0 if kind.startswith("u") else -3
    return {
        n: rng.integers(low, 9, s).astype(kind) if n in INTEGERS else rng.standard_normal(s) for n, s in shapes.items()
    }


def same(f: Function, inputs: dict[str, Array], limits: Any, **more: int) -> None:
    planned = sized(f, limits, **more)
    verify(planned.plan(**inputs))
    found, right = planned(**inputs), dense.run(f.program, inputs)
    for name, value in right.items():
        x = found[name] if isinstance(found, dict) else found
        np.testing.assert_allclose(x, value, rtol=1e-10, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("limits", [TINY, NUMPY], ids=["tiny", "numpy"])
@pytest.mark.parametrize("kind", ["int64", "int8", "uint8", "int32", "uint64"])
@pytest.mark.parametrize("name", [*CASES, *KEPT])
def test_values_and_gradients(name: str, kind: str, limits: Any) -> None:
    text, shapes = (CASES[name][:2] if name in CASES else KEPT[name])[:2]
    inputs = given(shapes, 3, kind)
    f = il.compile(text)
    if kind == "uint64" and name in ("shifted", "mirrored", "by an index"):
        return  # such sums may be floats
    same(f, inputs, limits, separate=0)
    same(f, inputs, limits)
    wrt = tuple(n for n in grad.differentiable(f.program) if n in inputs and n not in INTEGERS)
    if not wrt or name in ("counts", "counts of a pair"):
        return
    derived = grad.backward(f.program, wrt)
    names, values = grad.gradient_names(f.program), dense.run(f.program, inputs)
    more = inputs | {names[n]: default_rng(1).standard_normal(np.shape(values[n])) for n in f.program.outputs}
    more |= {n: v for n, v in values.items() if n in derived.inputs}
    back = Function(derived, f.options, always_dict=True)
    same(back, {n: more[n] for n in derived.inputs}, limits, separate=0)


@pytest.mark.parametrize("name", CASES)
def test_what_runs(name: str) -> None:
    text, shapes, statement = CASES[name]
    steps = sized(il.compile(text), separate=0).plan(**given(shapes)).steps
    assert [s.statement for s in steps] == [statement]


@pytest.mark.parametrize("name", KEPT)
def test_what_stays(name: str) -> None:
    text, shapes = KEPT[name]
    (step,) = sized(il.compile(text), separate=0).plan(**given(shapes)).steps
    assert "E[t[" not in step.statement.replace("(", "").replace("E[2*t", "E[t")


def test_small_ones_are_compared_not_taken() -> None:
    """By masks, as large ones are taken: what is not chosen adds nothing at any size."""
    text, shapes, _ = CASES["a choice"]
    (step,) = il.compile(text).plan(**given(shapes)).steps
    assert step.statement == "y[b,d] = E[v,d] where t[b] == v"


@pytest.mark.parametrize("n", [3, 3000])
def test_what_is_not_chosen_adds_nothing_at_any_size(n: int) -> None:
    """Nor in gradients: no price decides whether 0 is multiplied."""
    rng = default_rng(n)
    t, E = rng.integers(0, 2, n), rng.standard_normal((4, 5))
    E[3] = np.nan
    f = il.compile("y[b,d] = where(t[b]==v,1,0)*E[v,d]*g[b]")
    y, pullback = f.vjp(t=t, E=E, g=np.ones(n))
    np.testing.assert_array_equal(y, E[t])
    np.testing.assert_allclose(pullback(np.ones((n, 5)))["g"], E[t].sum(1))


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "int64", "int32", "int8"])
def test_types_stay(kind: str) -> None:
    rng = default_rng(1)
    t = rng.integers(-2, 9, 50)
    E = rng.integers(-9, 9, (6, 5)).astype(kind)
    for text in ("y[b,d] = where(t[b]==v,1,0)*E[v,d]", "y[b,d] = E[v,d] where t[b] == v"):
        f = il.compile(text)
        y = sized(f, separate=0)(t=t, E=E)
        expected = np.zeros((50, 5))
        inside = (t >= 0) & (t < 6)
        expected[inside] = E[t[inside]]
        np.testing.assert_array_equal(y, expected)
        assert y.dtype == sized(f, separate=1 << 40)(t=t, E=E).dtype


@pytest.mark.parametrize("n", [0, 1, 7, 3000])
@pytest.mark.parametrize("far", [False, True])
def test_what_is_refused_adds_nothing(n: int, far: bool) -> None:
    """Whatever stands in rows that nobody asks for, and beside positions that lie outside."""
    rng = default_rng(n)
    t = rng.integers(0, 40, n)
    E, w, dy = rng.standard_normal((40, 8)), rng.standard_normal(n), rng.standard_normal((n, 8))
    E[::2] = np.nan
    t |= 1
    if far:
        t[::3] = rng.choice((-1, -(2**63), 40, 2**63 - 1), len(t[::3]))
        w[::3] = np.inf
        dy[::3] = np.nan
    inside = (t >= 0) & (t < 40)
    y, g, c = np.zeros((n, 8)), np.zeros((40, 8)), np.zeros(40)
    y[inside] = E[t[inside]] * w[inside, None]
    np.add.at(g, t[inside], dy[inside] * w[inside, None])
    np.add.at(c, t[inside], 1)
    for separate in (0, 8):
        limits = {"separate": separate}
        f = sized(il.compile("y[b,d] = where(t[b]==v,1,0)*E[v,d]*w[b]"), **limits)
        np.testing.assert_array_equal(f(t=t, E=E, w=w), y)
        f = sized(il.compile("g[v,d] = dy[b,d]*where(t[b]==v,1,0)*w[b] where v < 40"), **limits)
        np.testing.assert_allclose(f(dy=dy, t=t, w=w), g, atol=1e-12)
        f = sized(il.compile("s[b,v] += w[b]*where(t[b]==v,1,0) where v < 40"), pointing=1, **limits)
        s = np.zeros((n, 40))
        s[inside, t[inside]] = w[inside]
        np.testing.assert_array_equal(f(t=t, w=w), s)
        f = sized(il.compile("c[v] += where(t[b]==v,1,0) where v < 40"), **limits)
        np.testing.assert_array_equal(f(t=t), c)
        f = sized(il.compile("c[v] += where(t[b]==v,1,0)*u where v < 40"), **limits)
        np.testing.assert_array_equal(f(t=t, u=np.float32(2)), 2 * c)


def test_the_largest_of_64_bits() -> None:
    t = np.array([0, 3, 2**64 - 1, 2**63, 2**63 + 1], np.uint64)
    E = np.arange(1.0, 5.0)
    f = sized(il.compile("y[b] = where(t[b]==v,1,0)*E[v]"), separate=0)
    np.testing.assert_array_equal(f(t=t, E=E), [1, 4, 0, 0, 0])


def test_an_accumulation_starts_from_what_is_passed() -> None:
    t, x = np.array([0, 2, 2, 7]), np.array([1.0, 2.0, 3.0, 4.0])
    f = sized(il.compile("c[v] += where(t[b]==v,1,0)*x[b] where v < 3"), separate=0)
    np.testing.assert_array_equal(f(t=t, x=x, c=np.array([10.0, 20.0, 30.0])), [11, 20, 35])


def test_rows_are_filled_not_chosen() -> None:
    """A condition of whole rows is no choice at each element."""
    f = il.compile("y[b,d] = x[b,d]*g[d] where n[b] > 0")
    rng = default_rng(0)
    x, g, n = rng.standard_normal((40, 16)), rng.standard_normal(16), rng.integers(-1, 2, 40)
    x[n <= 0] = np.inf
    assert "np.where" not in f.emit(x=x, g=g, n=n)
    expected = np.zeros((40, 16))
    expected[n > 0] = x[n > 0] * g
    np.testing.assert_array_equal(f(x=x, g=g, n=n), expected)


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("n", [1, 200])
def test_matrices_that_data_choose_in_groups(n: int, far: bool) -> None:
    rng = default_rng(n)
    a = rng.integers(0, 5, n)
    a[a == 2] = 3
    W, x, dy = rng.standard_normal((5, 16, 24)), rng.standard_normal((n, 16)), rng.standard_normal((n, 24))
    W[2] = np.nan
    if far:
        a[::3] = rng.choice((-1, 5, -(2**63), 2**63 - 1), len(a[::3]))
        x[::3], dy[::3] = np.inf, np.nan
    inside = (a >= 0) & (a < 5)
    y, g, v = np.zeros((n, 24)), np.zeros((5, 16, 24)), np.zeros((n, 16))
    y[inside] = np.einsum("kio,ki->ko", W[a[inside]], x[inside])
    v[inside] = np.einsum("kio,ko->ki", W[a[inside]], dy[inside])
    np.add.at(g, a[inside], x[inside][:, :, None] * dy[inside][:, None])
    for limits in (NUMPY, TINY):
        f = sized(il.compile("y[k,o] = where(a[k]==e,1,0)*W[e,i,o]*x[k,i]"), limits, separate=0)
        assert n == 1 or any("grouped" in s.kernel for s in f.plan(a=a, W=W, x=x).steps)
        np.testing.assert_allclose(f(a=a, W=W, x=x), y, atol=1e-10)
        f = sized(il.compile("v[k,i] = where(a[k]==e,1,0)*W[e,i,o]*dy[k,o]"), limits, separate=0)
        np.testing.assert_allclose(f(a=a, W=W, dy=dy), v, atol=1e-10)
        f = sized(il.compile("g[e,i,o] = where(a[k]==e,1,0)*x[k,i]*dy[k,o] where e < 5"), limits, separate=0)
        verify(f.plan(a=a, x=x, dy=dy))
        np.testing.assert_allclose(f(a=a, x=x, dy=dy), g, atol=1e-10)


@pytest.mark.parametrize("shift", [0, 1])
def test_positions_that_sizes_keep_inside_are_not_clamped(shift: int) -> None:
    f = il.compile(f"y[b] = s[b+{shift},t[b]] where 0 <= t[b], t[b] < 5, b < 9")
    rng = default_rng(2)
    s, t = rng.standard_normal((9 + shift, 5)), rng.integers(-3, 9, 9)
    assert f.emit(s=s, t=t).count("np.minimum") == 1
    inside = (t >= 0) & (t < 5)
    expected = np.where(inside, s[np.arange(9) + shift, np.clip(t, 0, 4)], 0)
    np.testing.assert_array_equal(f(s=s, t=t), expected)


def test_a_choice_keeps_its_type_without_its_zero() -> None:
    """0.0 makes floating-point numbers of small integers, and 0 integers of truths."""
    k = np.array([3, 4], np.int8)
    y = il.compile("y[b] = where(t[b]==v,k[v],0.0)\nq[b] = y[b]*4611686018427387904")(t=[0, 1], k=k)
    np.testing.assert_array_equal(y, [3 * 2.0**62, 4 * 2.0**62])
    assert il.compile("y[b,v] = where(t[b]==v,m[v],0)")(t=[0, 1], m=np.array([True, False])).dtype == np.int64
