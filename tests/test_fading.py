"""Sums up to a bound whose terms fade with the distance: a state that fades, as loops have it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dense
import numpy as np
import pytest

import indexlang as il
from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.plan.limits import NUMPY

SMALL = replace(NUMPY, call=1, calls=1, tile=2)
CASES = {
    "prefix": "y[t,c] = {b}**(t-s)*x[s,c] where s <= t, t < size(x,0)",
    "before": "y[t,c] = {b}**(t-s-1)*x[s,c] where s < t, t < size(x,0)",
    "two steps": "y[t,c] = x[s,c]*{b}**(2*t-2*s+1) where s <= t, t < size(x,0)",
    "from the end": "y[t,c] = {b}**(s-t)*x[s,c] where s >= t, t < size(x,0)",
    "attention": "y[t,e] = q[t,d]*k[s,d]*v[s,e]*{b}**(t-s) where s <= t",
    "an index that only counts": "y[t,e] = q[t,d]*k[s,d]*v[s,e]*{b}**(t-s) where s <= t, u < 3",
    "without fading": "y[t,e] = q[t,d]*k[s,d]*v[s,e] where s <= t, u < 3",
    "by head": "y[h,t,e] = r[h,t,d]*l[h,s,d]*u[h,s,e]*g[h]**(t-s) where s <= t",
    "by channel": "y[t,c] = a[c]**(t-s)*x[s,c]*w[c] where s <= t, t < size(x,0)",
    "state space": "y[t,c] = f[n]**(t-s)*B[s,n]*C[t,n]*x[s,c] where s <= t",
}


def inputs_of(f: Function, n: int, most: float) -> dict[str, Any]:
    rng = np.random.default_rng(n)
    shapes = {"x": (n, 3), "q": (n, 4), "k": (n, 4), "v": (n, 3), "a": (3,), "w": (3,), "f": (5,), "B": (n, 5)}
    shapes |= {"C": (n, 5), "g": (2,), "r": (2, n, 4), "l": (2, n, 4), "u": (2, n, 3)}
    return {
        name: rng.uniform(-most, most, shapes[name]) if name in "afg" else rng.standard_normal(shapes[name])
        for name in f.inputs
    }


def assert_as_loops(f: Function, inputs: dict[str, Any]) -> None:
    with np.errstate(all="ignore"):
        right = dense.run(f.program, inputs)["y"]
        y, pull = f.vjp(**inputs)
        dy = np.random.default_rng(1).standard_normal(y.shape)
        found = {"y": y, **{f"{n}.grad": g for n, g in pull(dy).items()}}
        wanted = {"y": right, **dense.run(grad.backward(f.program, None), {**inputs, "y.grad": dy})}
    for name, value in found.items():
        finite = np.isfinite(wanted[name])
        np.testing.assert_array_equal(np.isfinite(value), finite, err_msg=name)
        np.testing.assert_allclose(value[finite], wanted[name][finite], rtol=1e-8, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("n", [1, 7, 33])
@pytest.mark.parametrize("base", ["0.9", "-0.7", "1.0", "0"])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_loops(case: str, base: str, n: int) -> None:
    if "{b}" in CASES[case] or base == "0.9":
        f = Function(il.compile(CASES[case].replace("{b}", base)).program, limits=SMALL)
        assert_as_loops(f, inputs_of(f, n, 1.0))


@pytest.mark.parametrize("case", ["by head", "by channel", "state space"])
def test_what_grows_is_computed_as_it_stands(case: str) -> None:
    f = Function(il.compile(CASES[case]).program, limits=SMALL)
    assert_as_loops(f, inputs_of(f, 33, 1.6))


@pytest.mark.parametrize("at", [0, 20, 32])
@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("case", CASES)
def test_what_is_not_finite_stays_where_loops_have_it(case: str, bad: float, at: int) -> None:
    f = Function(il.compile(CASES[case].replace("{b}", "0.9")).program, limits=SMALL)
    inputs = inputs_of(f, 33, 1.0)
    name = next(n for n in ("x", "v", "u") if n in inputs)
    inputs[name][..., at, 1] = bad
    assert_as_loops(f, inputs)


@pytest.mark.parametrize("case", CASES)
def test_the_state_fades(case: str) -> None:
    f = il.compile(CASES[case].replace("{b}", "0.9"))
    inputs = inputs_of(f, 4096, 1.0)
    first, _ = f.plans(**{n: a.shape for n, a in inputs.items()})
    assert "running products" in first.steps[-1].kernel
