"""Powers of a difference up to a bound: running logsumexps and softmax over prefixes, as loops have them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import indexlang
from indexlang.calls.function import Function
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import loops as reference
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.syntax.parser import parse

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning", "ignore::RuntimeWarning")

SMALL = replace(NUMPY, tile=2)
BOUNDS = ["s <= t", "s < t", "s >= t", "t < s"]
CASES = {
    "logsumexp": "y[b,t] = logsumexp[s](x[b,s]) where {}, t < size(x,1)",
    "of a sum": "y[t,b] = logsumexp[s](2*x[b,s] - w[s]) where {}, t < size(x,1)",
    "softmax": "z[b,t] = logsumexp[s](x[b,s]) where {0}, t < size(x,1)\ny[b,t,e] = exp(x[b,s]-z[b,t])*v[s,e] where {0}",
    "by hand": "y[e,t,b] = v[s,e]*exp(x[b,s] - l[b,t]) where {}, t < size(x,1)",
    "weighed": "y[t] = -w[s]*r[b,s]*r[b,t]*exp(x[b,s] - l[b,t])/p[b] where {}, t < size(x,1)",
    "a level for all": "y[b,t] = exp(w[s] - g[t])*v[s,e]*p[e] where {}, t < size(g,0), b < 3",
    "a level with more": "y[b,t] = exp(x[b,s] - g[t] + p[b] - 1) where {}, t < size(g,0), c < 3",
    "masks": "y[b,t] = exp(x[b,s] - l[b,t])*r[b,s] where {}, t < size(x,1), m[t] > 0, t != 2, b != 1",
}


def arrays_of(f: Function, n: int, bound: str, dtype: str, scale: float) -> dict[str, NDArray[np.generic]]:
    rng = np.random.default_rng(n)
    level = rng.normal(size=(3, n)) * scale
    turn = 1 if "s <" in bound else -1
    level = np.maximum.accumulate(level[:, ::turn], 1)[:, ::turn]
    made = {"x": np.minimum(rng.normal(size=(3, n)) * scale, level), "l": level, "g": level[0]}
    made |= {"w": np.minimum(rng.normal(size=n), level[0]), "v": rng.normal(size=(n, 3)), "p": rng.normal(size=3) + 4}
    made |= {"r": rng.normal(size=(3, n)), "m": rng.normal(size=n)}
    return {k: a.astype(dtype) for k, a in made.items() if k in f.inputs}


def assert_as_loops(f: Function, arrays: dict[str, NDArray[np.generic]], tolerance: float) -> None:
    program = f.grad().program
    y, pullback = f.vjp(**arrays)
    rng = np.random.default_rng(1)
    y = y if isinstance(y, dict) else {f.outputs[0]: y}
    dy = {k: rng.normal(size=a.shape).astype(a.dtype) for k, a in y.items()}
    given = {**arrays, **{f"{k}.grad": a for k, a in dy.items()}}
    wanted = {**reference.run(f.program, dict(arrays))}
    wanted |= reference.run(program, {n: given[n] for n in f.grad().inputs})
    for name, found in {**y, **{f"{k}.grad": a for k, a in pullback(dy).items()}}.items():
        finite = np.isfinite(wanted[name])
        np.testing.assert_array_equal(np.isfinite(found), finite, err_msg=name)
        scale = max(1.0, np.abs(wanted[name][finite]).max(initial=0))
        np.testing.assert_allclose(found[finite], wanted[name][finite], tolerance, tolerance * scale, err_msg=name)


def planned(case: str, bound: str, limits: Limits) -> Function:
    return Function(resolve(parse(Source(CASES[case].format(bound)))), limits=limits)


@pytest.mark.parametrize("limits", [SMALL, TINY], ids=["small", "tiny"])
@pytest.mark.parametrize(("n", "dtype", "scale"), [(2, "float64", 1), (7, "float32", 1), (18, "float64", 300)])
@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case: str, bound: str, n: int, dtype: str, scale: float, limits: Limits) -> None:
    f = planned(case, bound, limits)
    arrays = arrays_of(f, n, bound, dtype, scale)
    assert "kernel   levels" in "".join(map(str, f.plans(**arrays)))
    assert_as_loops(f, arrays, 1e-9 if dtype == "float64" else 3e-4)


@pytest.mark.parametrize("n", [15, 16, 17])
def test_few_are_gone_through(n: int) -> None:
    f = planned("logsumexp", "s <= t", NUMPY)
    arrays = arrays_of(f, n, "s <= t", "float64", 1)
    assert ("kernel   levels" in str(f.plans(**arrays)[1])) == (n >= NUMPY.tile)
    assert_as_loops(f, arrays, 1e-10)


@pytest.mark.parametrize("case", CASES)
def test_levels_that_fall(case: str) -> None:
    """As it is written; so are points far above their level."""
    f = planned(case, "s <= t", SMALL)
    arrays = arrays_of(f, 9, "s <= t", "float64", 1)
    for name in arrays.keys() & {"l", "g"}:
        arrays[name][..., 5] -= 30
    assert_as_loops(f, arrays, 1e-10)
    arrays = arrays_of(f, 9, "s <= t", "float64", 1)
    arrays["w" if case == "a level for all" else "x"][..., 2] += 400
    assert_as_loops(f, arrays, 1e-10)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", ["x", "v", "l", "r"])
@pytest.mark.parametrize("case", ["logsumexp", "softmax", "by hand", "weighed", "masks"])
def test_what_is_not_finite_stays_where_loops_have_it(case: str, name: str, bad: float) -> None:
    for bound in BOUNDS:
        f = planned(case, bound, SMALL)
        for at in (0, 4, 8):
            arrays = arrays_of(f, 9, bound, "float64", 1)
            if name in arrays:
                arrays[name][(1, at) if name != "v" else (at, 1)] = bad
                assert_as_loops(f, arrays, 1e-9)


@pytest.mark.parametrize("scale", [1, 1000])
def test_it_is_linear(scale: float) -> None:
    """Forty thousand elements, against a recurrence in float64."""
    n = 40000
    f = indexlang.compile("y[t] = logsumexp[s](x[s]) where s <= t, t < size(x,0)")
    rng = np.random.default_rng(5)
    x, dy = (rng.normal(size=n) * scale).astype("float32"), rng.normal(size=n).astype("float32")
    y = np.logaddexp.accumulate(x.astype("float64"))
    expected, behind = np.empty(n), 0.0
    for s in reversed(range(n)):
        behind = dy[s] + (np.exp(y[s] - y[s + 1]) * behind if s + 1 < n else 0)
        expected[s] = np.exp(x[s] - y[s]) * behind
    found, pullback = f.vjp(x=x)
    np.testing.assert_allclose(found, y, rtol=1e-6)
    np.testing.assert_allclose(pullback(dy)["x"], expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())
