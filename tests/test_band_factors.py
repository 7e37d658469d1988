"""Sums and logsumexps over a band of a sequence: what lies outside adds nothing, and is not gone through."""

from __future__ import annotations

from typing import Any

import dense
import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray
from planned import sized

import indexlang as il
from indexlang.plan.limits import NUMPY, TINY
from indexlang.plan.planning import every
from indexlang.plan.verify import verify

Array = NDArray[Any]

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

BAND = "where s <= t, s > t - 5, t < size(x,1)"

TEXTS = {
    "logsumexp": f"y[b,t] = logsumexp[s](x[b,s]) {BAND}",
    "logsumexp, weighed": f"y[b,t] = logsumexp[s](x[b,s] + v[s]) {BAND}",
    "logsumexp, around": "y[b,t] = logsumexp[s](x[b,s]) where abs(s - t) < 3, t < size(x,1)",
    "logsumexp, ahead": "y[b,t] = logsumexp[s](x[b,s]) where s > t, s < t + 4, t < size(x,1)",
    "logsumexp, behind alone": "y[b,t] = logsumexp[s](x[b,s]) where s <= t - 2, s > t - 7, t < size(x,1)",
    "logsumexp, in steps": "y[b,t] = logsumexp[s](x[b,s]) where s >= 2*t, s < 2*t + 5, t < size(x,1)",
    "logsumexp, two masks more": f"y[b,t] = logsumexp[s](x[b,s]) {BAND}, v[s] > 0, s != 3",
    "logsumexp, two reduced": f"y[t] = logsumexp[b,s](x[b,s]) {BAND}",
    "powers of differences": f"y[b,t] = exp(x[b,s] - z[b,t]) {BAND}",
    "powers, weighed": f"y[b,t] = v[s]*exp(x[b,s] - z[b,t])/(1 + v[t]**2) {BAND}",
    "powers, two terms": f"y[b,t] = exp(x[b,s] - z[b,t]) - tanh(x[b,s]*z[b,t]) {BAND}",
    "a factor of one index": f"y[b,t] = x[b,s]*v[s] {BAND}",
    "a factor of both axes": f"y[b,t] = x[b,s]*z[b,s] {BAND}",
    "a factor outside": f"y[b,t] = z[b,t]*x[b,s]*v[s] {BAND}",
    "a sum over the others": f"y[t] = z[b,t]*x[b,s] {BAND}",
    "a sum, one mask outside": f"y[t] = z[b,t]*x[b,s] {BAND}, v[t] > 0",
    "a function": f"y[b,t] = exp(x[b,s]) {BAND}",
    "taps": "y[b,t] = x[b,t-k]*v[t-k] where k <= t, k < 5, t < size(x,1)",
    "an index in no factor": f"y[b,t] = exp(x[b,s] - z[b,t]) {BAND}, c < 3",
}


def inputs(b: int, n: int, kind: str, seed: int = 0) -> dict[str, Array]:
    rng = default_rng(seed)
    return {k: rng.standard_normal(s).astype(kind) for k, s in {"x": (b, n), "z": (b, n), "v": (n,)}.items()}


def same(text: str, given: dict[str, Array], limits: Any) -> None:
    f = il.compile(text)
    mine = {k: given[k] for k in f.inputs}
    planned = sized(f, limits)
    for plan in every(planned.plan(**mine)):
        verify(plan)
    wide = {k: a.astype(np.float64) for k, a in mine.items()}
    tolerance = 1e-3 if given["x"].dtype == np.float32 else 1e-9
    with np.errstate(all="ignore"):
        y, right = planned(**mine), dense.run(f.program, wide)["y"]
        compared(y, right, tolerance)
        dy = default_rng(9).standard_normal(np.shape(right)).astype(given["x"].dtype)
        back = f.grad()
        passed = {n: {**mine, "y": y, "y.grad": dy}[n] for n in back.inputs}
        derived = sized(back, limits)
        for plan in every(derived.plan(**passed)):
            verify(plan)
        found = derived(**passed)
        truth = dense.run(back.program, {n: np.asarray(a, "float64") for n, a in passed.items()})
    for name, gradient in (found if isinstance(found, dict) else {name: found for name in truth}).items():
        compared(gradient, truth[name], tolerance)


def compared(found: Array, right: Array, tolerance: float) -> None:
    found, good = np.asarray(found), np.isfinite(right)
    np.testing.assert_array_equal(np.isfinite(found), good)  # a sum of infinities may be taken out of a product
    np.testing.assert_allclose(found[good], right[good], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("limits", [TINY, NUMPY], ids=["tiny", "numpy"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", TEXTS)
def test_values_and_gradients(name: str, kind: str, limits: Any) -> None:
    for b, n in ((2, 40), (3, 1), (1, 4), (1, 11), (2, 5)):
        same(TEXTS[name], inputs(b, n, kind), limits)


@pytest.mark.parametrize("name", TEXTS)
def test_at_sizes_at_which_the_machine_turns(name: str) -> None:
    same(TEXTS[name], inputs(8, 400, "float32"), NUMPY)


def test_a_tensor_of_a_band() -> None:
    """So large that the band is kept in blocks."""
    for name in ("a factor of one index", "a sum over the others", "a sum, one mask outside"):
        same(TEXTS[name], inputs(3, 800, "float64"), NUMPY)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", TEXTS)
def test_what_is_not_finite_stays_in_its_band(name: str, bad: float) -> None:
    for tensor, place in (("x", 0), ("x", 17), ("x", 39), ("z", 5), ("v", 3)):
        if f"{tensor}[" in TEXTS[name]:
            given = inputs(1, 40, "float64")
            given[tensor].reshape(-1)[place] = bad
            same(TEXTS[name], given, TINY)


def test_bands_of_minus_infinity() -> None:
    given = inputs(2, 40, "float64")
    given["x"][0, 10:20] = -np.inf
    given["x"][1] = -np.inf
    same(TEXTS["logsumexp"], given, TINY)
    same(TEXTS["logsumexp, ahead"], given, TINY)


def test_empty_axes() -> None:
    for b, n in ((0, 4), (2, 0)):
        given = inputs(b, n, "float64")
        for name in ("logsumexp", "powers of differences", "a sum over the others"):
            same(TEXTS[name], given, TINY)


def test_no_step_goes_through_all_pairs() -> None:
    band = BAND.replace("5", "50")
    for text, shapes in (
        (f"y[b,t] = logsumexp[s](x[b,s]) {band}", {"x": (16, 2000)}),
        (f"y[b,t] = exp(x[b,s] - z[b,t]) {band}", {"x": (16, 2000), "z": (16, 2000)}),
        (f"y[b,t] = x[b,s]*v[s] {band}", {"x": (64, 2000), "v": (2000,)}),
        (f"y[b,t,c] = x[b,s,c]*g[b,s] {band}", {"x": (8, 1000, 32), "g": (8, 1000)}),
    ):
        for plan in il.compile(text).plans(**shapes):
            for step in plan.steps:
                assert not step.kernel.startswith(("whole domain", "search")), (text, step.kernel)
