"""Equalities of indices: the same values as by loops, from the points that are admitted and few others."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import indexlang
from indexlang.errors import IndexLangError, IndexLangWarning
from indexlang.oracle import loops
from indexlang.plan.rewrites.equalities import solve_equalities
from indexlang.program.ir import Program
from indexlang.program.verify import verify
from indexlang.sizes import shapes

Array = NDArray[Any]
Sizes = Mapping[str, tuple[int, ...]]


def points(program: Program, sizes: Sizes) -> int:
    """How many points all statements go through."""
    extents = shapes.infer(program, {n: sizes[n] for n in program.inputs}).extents
    return sum(prod(hi - lo for lo, hi in e.values()) for e in extents)


def checked(text: str, arrays: Mapping[str, Array]) -> tuple[int, int]:
    """The points gone through before and after, when kernels and loops have been found to agree."""
    f = indexlang.compile(text)
    sizes = {n: a.shape for n, a in arrays.items()}
    solved = solve_equalities(f.program, shapes.infer(f.program, sizes))
    verify(solved)
    expected = loops.run(f.program, arrays)
    found = f(**{n: arrays[n] for n in f.inputs})
    found = found if isinstance(found, dict) else {f.outputs[0]: found}
    after = loops.run(solved, arrays)
    for name, value in expected.items():
        assert after[name].shape == found[name].shape == value.shape
        np.testing.assert_allclose(after[name], value, rtol=1e-11, atol=1e-11, err_msg=name)
        np.testing.assert_allclose(found[name], value, rtol=1e-11, atol=1e-11, err_msg=name)
    return points(f.program, sizes), points(solved, sizes)


def made(sizes: Sizes) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    return {n: rng.standard_normal(shape) for n, shape in sizes.items()}


QKV = {"q": (12, 2), "k": (12, 2), "v": (12, 2)}
CASES: dict[str, tuple[str, dict[str, tuple[int, ...]], int]] = {  # and the points that are left
    "a diagonal": ("y[i,u] = d[i] where u < 6, u == i", {"d": (6,)}, 6),
    "a diagonal that ends earlier": ("y[i,u] = d[i] where u < 4, u == i", {"d": (6,)}, 4),
    "a diagonal beside the middle": ("y[i,u] = d[i] where u < 6, u == i + 2", {"d": (6,)}, 4),
    "against the diagonal": ("y[i,u] = d[i] where u < 6, u + i == 5", {"d": (6,)}, 6),
    "two strides": ("y[u,v] = x[u] * z[v] where 3*u == 2*v", {"x": (8,), "z": (12,)}, 4),
    "three strides": ("y[u] = x[u,v,w] where 6*u == 10*v + 15*w", {"x": (16, 10, 7)}, 16),
    "a sum that is one element": ("y[t] = x[u] * w[t] where u == t", {"x": (7,), "w": (7,)}, 7),
    "an element further": ("y[t] = x[u,k] * w[k,t] where u == t + 1", {"x": (8, 3), "w": (3, 7)}, 21),
    "a sum of two that is one": ("y[t] = x[u,v] * w[t] where u + v == t", {"x": (5, 6), "w": (9,)}, 30),
    "a number": ("y[t] = x[u,t] where u == 3", {"x": (7, 4)}, 4),
    "a number on the left": ("y[t,u] = x[t] where u < 5, 2 == u", {"x": (4,)}, 4),
    "every third": ("y[t] = x[t] * 2 where t % 3 == 1", {"x": (11,)}, 4),
    "a residue that there is not": ("y[t] = x[t] * 2 where t % 3 == 4", {"x": (11,)}, 11),
    "no number": ("y[t] = x[u,t] where 2*u == 3", {"x": (7, 4)}, 28),
    "outside": ("y[t] = x[u,t] where u == 9", {"x": (7, 4)}, 28),
    "a stride": ("y[u] = w[k] * x[pad((u-k)//2)] where u < 12, (u - k) % 2 == 0", {"w": (3,), "x": (6,)}, 21),
    "a checkerboard": ("y[i,j] = x[i,j] where (i+j) % 2 == 0", {"x": (6, 6)}, 36),
    "a fine lattice": (
        "y[u,v] = x[(u+v-5)//2,(u-v+5)//2] where u < 12, v < 12, (u-v+5) % 2 == 0, "
        "0 <= u+v-5, u+v-5 < 12, 0 <= u-v+5, u-v+5 < 12",
        {"x": (6, 6)},
        36,
    ),
    "a band": ("y[i,u] = x[i,u-i] * w[u-i] where u < 12, 0 <= u-i, u-i < 3", {"x": (9, 3), "w": (3,)}, 27),
    "two equations": ("y[t] = x[u,v] where t < 5, u == t, v == 2*t", {"x": (5, 9)}, 5),
    "an equation of equations": ("y[t] = x[u,v] where t < 5, u == v, v == 4 - t", {"x": (6, 6)}, 5),
    "in one condition": ("y[t] = x[u,v] where t < 5, u == t and v == t", {"x": (5, 9)}, 5),
    "either": ("y[t] = x[u] where t < 5, u == t or u == 0", {"x": (5,)}, 25),
    "beside data": ("y[t] = x[u] * w[t] where u == t, x[u] > 0", {"x": (7,), "w": (7,)}, 7),
    "of data": ("y[t] = x[u] * w[t] where x[u] == w[t]", {"x": (4,), "w": (4,)}, 16),
    "a maximum": ("y[t] max= x[u] * w[t] where u == t", {"x": (7,), "w": (9,)}, 7),
    "a product": ("y[t] *= x[u] * w[t] where u == t", {"x": (7,), "w": (9,)}, 7),
    "merged": ("y[(i,j)] = x[i] * w[j] where i == j", {"x": (4,), "w": (4,)}, 16),
    "merged beside": ("y[(i,j)] = x[i] * w[j] * v[k] where k == j + 1", {"x": (4,), "w": (3,), "v": (4,)}, 12),
    "merged on a checkerboard": ("y[(i,j)] = x[i] * w[j] where (i+j) % 2 == 0", {"x": (4,), "w": (6,)}, 24),
    "merged on a lattice": ("y[(i,j)] = x[i] * w[j] * v[k] where i + j == 2*k", {"x": (4,), "w": (4,), "v": (4,)}, 64),
    "residues": ("y[t,e] = q[t,d]*k[s,d]*v[s,e] where (t-s) % 3 == 0", QKV, 3 * 4 * 4 * 4),
    "residues up to a bound": ("y[t,e] = q[t,d]*k[s,d]*v[s,e] where s <= t, (t-s) % 3 == 0", QKV, 3 * 4 * 4 * 4),
    "equal residues": ("y[t,e] = q[t,d]*k[s,d]*v[s,e] where t % 3 == s % 3", QKV, 3 * 4 * 4 * 4),
    "few of each residue": ("y[t,e] = q[t,d]*k[s,d]*v[s,e] where (t-s) % 4 == 0", QKV, 5 * 12 * 4),
    "residues of what stands together": (
        "y[t] = k[s,d]*v[t+s,d] where (t-s) % 3 == 0, t < 12",
        {"k": (12, 2), "v": (23, 2)},
        7 * 12 * 2,
    ),
    "an index as a number": ("y[t] = x[u] * u where t < 5, u == 2*t", {"x": (9,)}, 5),
    "one element": ("y[t] = x[u] * w[t] where u == t", {"x": (1,), "w": (1,)}, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_each(name: str) -> None:
    text, sizes, expected = CASES[name]
    _, after = checked(text, made(sizes))
    assert after == expected


RESIDUES = [
    f"({form}) % {m} == {c}" for form in ("t-s", "s-t", "t+s", "t-s+1", "5-t-s") for m in (2, 3) for c in (0, m - 1)
]


@pytest.mark.parametrize("bad", [None, np.inf, np.nan])
@pytest.mark.parametrize("sizes", [(12, 12), (13, 17)])
@pytest.mark.parametrize("mask", RESIDUES)
def test_residues(mask: str, sizes: tuple[int, int], bad: float | None) -> None:
    """With every sign and rest, whether or not sizes are multiples; what is refused adds nothing."""
    n, m = sizes
    arrays = {k: abs(a) for k, a in made({"q": (n, 2), "k": (m, 2), "v": (m, 3)}).items()}  # inf * (a + b) is inf
    if bad is not None:
        arrays["v"][5, 1], arrays["k"][8, 0] = bad, bad
    before, after = checked(f"y[t,e] = q[t,d]*k[s,d]*v[s,e] where {mask}, s <= t + 2", arrays)
    assert 3 * after <= 2 * before * (1 if n % 2 == 0 else 2)
    f = indexlang.compile(f"y[t,e] = q[t,d]*k[s,d]*v[s,e] where {mask}")
    pulled, expected = ({**arrays, "y.grad": np.ones((n, 3))} for _ in range(2))
    g = f.grad()
    found, wanted = g(**pulled), loops.run(g.program, expected)
    for name in ("q.grad", "k.grad", "v.grad"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-11, atol=1e-11, err_msg=name)


def test_an_embedded_reduction() -> None:
    checked("y[t] = w[t] * sum[u](x[u] * z[t,u]) where u == 2*t", made({"x": (9,), "w": (5,), "z": (5, 9)}))
    checked("y[t] = argmax[u](x[u] * z[t,u]) where u % 3 == 1", made({"x": (9,), "z": (5, 9)}))


def test_a_program_without_equalities_is_the_same_object() -> None:
    f = indexlang.compile("y[i] = A[i,k] * x[k] where k <= i, x[k] > 0")
    assert solve_equalities(f.program, shapes.infer(f.program, {"A": (3, 3), "x": (3,)})) is f.program


# -- any equations ---------------------------------------------------------------------------------------

NAMES = "ijk"


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, Any]:
    """The text of a condition on i, j and k, and what it says."""
    coefs = draw(st.lists(st.integers(-3, 3), min_size=3, max_size=3))
    const, kind = draw(st.integers(-4, 6)), draw(st.sampled_from(("eq", "eq", "mod", "band", "ne")))
    form = "+".join(f"({c})*{i}" for c, i in zip(coefs, NAMES, strict=True) if c) or "0*i"
    value = lambda point: sum(c * p for c, p in zip(coefs, point, strict=True))  # noqa: E731
    match kind:
        case "eq":
            return f"{form} == {const}", lambda point: value(point) == const
        case "mod":
            by = draw(st.integers(2, 3))
            return f"({form}) % {by} == {const % by}", lambda point: value(point) % by == const % by
        case "band":
            width = draw(st.integers(0, 2))
            text = f"{const} <= {form}, {form} <= {const + width}"
            return text, lambda point: const <= value(point) <= const + width
        case _:
            return f"{form} != {const}", lambda point: value(point) != const


@settings(max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from((1, 2, 3, 5, 9)), min_size=3, max_size=3),
    st.lists(conditions(), min_size=1, max_size=3),
    st.permutations(NAMES),
    st.integers(0, 3),
    st.sampled_from(("=", "max=", "*=")),
)
def test_any_equations(extents: list[int], masks: list[tuple[str, Any]], order: list[str], free: int, op: str) -> None:
    """Against all points, one by one."""
    target = ",".join(order[:free])
    text = f"y[{target}] {op} a[i] * b[j] * c[k] * (1 + i) where {', '.join(m for m, _ in masks)}"
    arrays = {n: np.arange(1.0, m + 1) / 3 for n, m in zip("abc", extents, strict=True)}
    shape = tuple(extents[NAMES.index(i)] for i in order[:free])
    start = {"=": 0.0, "max=": -np.inf, "*=": 1.0}[op]
    expected = np.full(shape, start)
    for point in itertools.product(*map(range, extents)):
        if all(holds(point) for _, holds in masks):
            i, j, k = point
            value = arrays["a"][i] * arrays["b"][j] * arrays["c"][k] * (1 + i)
            place = tuple(point[NAMES.index(n)] for n in order[:free])
            old = expected[place]
            expected[place] = {"=": old + value, "max=": max(old, value), "*=": old * value}[op]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexLangWarning)
        try:
            found = indexlang.compile(text)(**arrays)
        except IndexLangError as error:
            assume("lacks" not in str(error) and "range" not in str(error))  # a condition on one index is a range
            raise
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "text", ["y = x[i] where i == 5//0", "y = x[i] where i == 5%0", "y *= x[i] where i == 0//0//0"]
)
def test_what_is_no_number_solves_nothing(text: str) -> None:
    f, x = indexlang.compile(text), np.array([2.0, 3.0, 5.0])
    assert f(x=x) == loops.run(f.program, {"x": x})["y"]
