"""Sums of differences that lose their digits, or are not finite, where an element meets itself."""

from __future__ import annotations

from typing import Any

import dense
import numpy as np
import pytest
from numpy.random import default_rng
from planned import sized, steps_of

import indexlang as il
from indexlang.plan.limits import NUMPY, TINY
from indexlang.plan.plan import Leave
from indexlang.plan.verify import verify

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

DISTANCES = {
    "a little is added": "D[i,j] = sqrt(sum[d]((x[i,d] - x[j,d])**2) + 1e-6)\nL = D[i,j]*w[i,j]",
    "not to itself": "D[i,j] = sqrt(sum[d]((x[i,d] - x[j,d])**2))\nL = D[i,j]*w[i,j] where i != j",
    "from the next on": "D[a,b] = sqrt(sum[c]((x[a,c] - x[b,c])**2))\nL = D[i,j]*w[i,j] where i < j",
    "to itself, too": "D[i,j] = sqrt(sum[d]((x[i,d] - x[j,d])**2))\nL = D[i,j]*w[i,j]",
    "a weight that is large": "y[i,d] = v[i,j]*(x[i,d] - x[j,d])",
    "the other way round": "y[j,d] = v[i,j]*(x[i,d] - x[j,d])",
    "under a mask": "y[i,d] = v[i,j]*(x[i,d] - x[j,d]) where j != 1",
}


@pytest.mark.parametrize("limits", [NUMPY, TINY], ids=["numpy", "tiny"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize(("n", "d"), [(3, 2), (40, 16), (130, 5)])
@pytest.mark.parametrize("name", DISTANCES)
def test_what_meets_itself_costs_no_digits(name: str, n: int, d: int, kind: str, limits: Any) -> None:
    rng = default_rng()
    f = il.compile(DISTANCES[name])
    large = rng.standard_normal((n, n)) + np.diag(np.full(n, 1e6))
    given = {"x": rng.standard_normal((n, d)), "w": rng.standard_normal((n, n)), "v": large}
    mine = {k: given[k].astype(kind) for k in f.inputs}
    compare(f, mine, limits, 2e-3 if kind == "float32" else 1e-9)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_no_number_times_nothing_is_no_number(bad: float) -> None:
    f = il.compile("y[i,d] = v[i,j]*(x[i,d] - x[j,d])")
    x, v = default_rng(1).standard_normal((50, 4)), default_rng(2).standard_normal((50, 50))
    v[3, 3], v[5, 5] = bad, 1e9
    found = f(x=x, v=v)
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [3]
    v[3, 3] = 0.0
    keep = np.arange(50) != 3
    np.testing.assert_allclose(found[keep], f(x=x, v=v)[keep], rtol=1e-12)


def compare(f: il.Function, mine: dict[str, Any], limits: Any, tolerance: float) -> None:
    planned, (output,) = sized(f, limits), f.outputs
    verify(planned.plan(**mine))
    wide = {k: a.astype(np.float64) for k, a in mine.items()}
    with np.errstate(all="ignore"):
        y, pull = planned.vjp(mine)
        right = dense.run(f.program, wide)
        np.testing.assert_allclose(y, right[output], rtol=tolerance, atol=tolerance * np.abs(right[output]).max())
        dy = default_rng(9).standard_normal(np.shape(y)).astype(np.asarray(y).dtype)
        back = f.grad()
        everything = {**wide, **right, f"{output}.grad": dy.astype(np.float64)}
        truth = dense.run(back.program, {n: everything[n] for n in back.inputs})
        for name, gradient in pull(dy).items():
            if name == "x" and "v" in mine and y.dtype == np.float32:
                continue  # as it is written, large weights times cotangents cancel in two statements
            there = truth[f"{name}.grad"]
            assert np.array_equal(np.isnan(gradient), np.isnan(there)), name
            largest = np.abs(there[np.isfinite(there)]).max(initial=1)
            np.testing.assert_allclose(gradient, there, rtol=tolerance, atol=tolerance * largest, err_msg=name)


def test_a_plan_is_left_where_its_results_would_not_hold() -> None:
    back = il.compile(DISTANCES["not to itself"], backend="numpy").grad()
    shapes = {"x": (500, 16), "w": (500, 500), "L.grad": ()}
    plan = back.plan(shapes)
    assert plan.instead is not None
    assert sum(isinstance(step, Leave) for step in steps_of(plan)) == 2
    assert back.emit("numpy", shapes).count("return run_instead(") == 3
    whole = il.compile(DISTANCES["a weight that is large"])
    assert "run_instead" not in whole.emit("numpy", {"v": (500, 500), "x": (500, 16)})
