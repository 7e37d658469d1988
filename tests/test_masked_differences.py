"""Sums of differences and of their squares under masks: what is refused adds nothing, digits stay."""

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
from indexlang.plan.verify import verify

Array = NDArray[Any]

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

TEXTS = {
    "squares in groups": "y[i] = (x[i,d] - x[j,d])**2 where g[i] == g[j]",
    "squares, one mask outside": "y[i] = r[i,j]*(x[i,d] - x[j,d])**2 where g[i] == g[j], g[i] > 0",
    "squares, weighed": "y[i] = w[d]*(x[i,d] - x[j,d])**2/v[i] where g[i] == g[j], i != j",
    "squares, masks of one index": "y[i] = (x[i,d] - x[j,d])**2 where v[j] > 0, g[i] == g[j]",
    "squares, masked in what is squared": "y[i] = (x[i,d] - x[j,d])**2 where w[d] > 0, g[i] == g[j]",
    "squares, masked everywhere": "y[i] = (x[i,d] - x[j,d])**2 where x[i,d] > x[j,d]",
    "squares, a triangle of what is summed": "y[i,j] = (x[i,d] - x[j,d])**2 where d <= i",
    "one number": "y = -(x[i,d] - x[j,d])**2 where g[i] != g[j]",
    "differences in groups": "y[i,d] = v[j]*(x[i,d] - x[j,d]) where g[i] == g[j]",
    "differences, weighed": "y[j,d] = -2*v[i]*(x[i,d] - x[j,d]) where g[i] == g[j]",
    "sums before": "y[i,d] = r[i,j]*(x[i,d] + x[j,d]) where j < i, v[j] > 0",
    "differences by a bound": "y[i,d] = v[i]*(x[i,d] - x[j,d]) where j <= i",
}


def inputs(n: int, d: int, kind: str, groups: int = 3, seed: int = 0) -> dict[str, Array]:
    rng = default_rng(seed)
    found = {"x": (n, d), "w": (d,), "v": (n,), "r": (n, n)}
    given = {k: (rng.standard_normal(s) + 1.0 * (k == "x")).astype(kind) for k, s in found.items()}
    return given | {"g": rng.integers(0, groups, n)}


def same(text: str, given: dict[str, Array], limits: Any) -> None:
    f = il.compile(text)
    mine = {k: given[k] for k in f.inputs}
    planned = sized(f, limits)
    verify(planned.plan(**mine))
    wide = {k: a.astype(np.float64) if a.dtype.kind == "f" else a for k, a in mine.items()}
    tolerance = 1e-3 if given["x"].dtype == np.float32 else 1e-10
    with np.errstate(all="ignore"):
        y, right = planned(**mine), dense.run(f.program, wide)["y"]
        compared(y, right, tolerance)
        dy = default_rng(9).standard_normal(np.shape(right)).astype(given["x"].dtype)
        back = f.grad()
        found = sized(back, limits)(**{n: {**mine, "y": y, "y.grad": dy}[n] for n in back.inputs})
        truth = dense.run(back.program, {n: {**wide, "y": right, "y.grad": dy}[n] for n in back.inputs})
    for name, gradient in (found if isinstance(found, dict) else {f"{name}": found for name in truth}).items():
        compared(gradient, truth[name], tolerance)


def compared(found: Array, right: Array, tolerance: float) -> None:
    good = np.isfinite(right)
    np.testing.assert_array_equal(np.isfinite(found), good)
    np.testing.assert_allclose(np.asarray(found)[good], right[good], rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("limits", [TINY, NUMPY], ids=["tiny", "numpy"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", TEXTS)
def test_values_and_gradients(name: str, kind: str, limits: Any) -> None:
    for n, d, groups in ((40, 12, 3), (1, 9, 1), (7, 1, 2), (9, 8, 40)):
        same(TEXTS[name], inputs(n, d, kind, groups), limits)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", TEXTS)
def test_what_is_not_finite_stays_in_its_group(name: str, bad: float) -> None:
    for tensor, place in (("x", 5), ("v", 3), ("r", 7), ("w", 2)):
        if f"{tensor}[" in TEXTS[name]:
            given = inputs(20, 9, "float32")
            given[tensor].reshape(-1)[place] = bad
            same(TEXTS[name], given, TINY)


def test_near_points_keep_their_digits() -> None:
    given = inputs(60, 12, "float32")
    centre = default_rng(3).standard_normal((3, 12)) * 100
    near = centre[given["g"]] + 1e-2 * default_rng(4).standard_normal((60, 12))
    given["x"] = near.astype(np.float32)
    x, g = given["x"].astype(np.float64), given["g"]
    right = np.where((g[:, None] == g)[..., None], (x[:, None] - x) ** 2, 0).sum((1, 2))
    y = sized(il.compile(TEXTS["squares in groups"]), TINY)(x=given["x"], g=g)
    np.testing.assert_allclose(y, right, rtol=1e-4)


def test_empty_axes() -> None:
    for n, d in ((0, 4), (4, 0)):
        given = inputs(n, d, "float64")
        y = il.compile(TEXTS["squares in groups"])(x=given["x"], g=given["g"])
        assert y.shape == (n,) and not y.any()


def test_what_is_planned() -> None:
    given = inputs(256, 32, "float32")
    for name, way in (
        ("squares in groups", "squares of differences"),
        ("squares, masked everywhere", "whole domain"),
        ("differences in groups", "separated contraction"),
        ("differences, weighed", "separated contraction"),
        ("differences by a bound", "separated contraction"),
    ):
        f = il.compile(TEXTS[name], backend="numpy")
        (step,) = f.plan(**{k: given[k] for k in f.inputs}).steps
        assert step.kernel.startswith(way), (name, step.kernel)
    small = inputs(8, 8, "float32")
    (step,) = il.compile(TEXTS["squares in groups"], backend="numpy").plan(x=small["x"], g=small["g"]).steps
    assert "squares" not in step.kernel
