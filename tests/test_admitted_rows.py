"""Sums of rows of which only some are admitted: products with factors of 0 and 1, whatever the others hold."""

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
    "bags of lengths": "y[b,d] = E[t[b,l],d] where l < n[b]",
    "bags of lengths, scaled": "y[b,d] = -g[b]*E[t[b,l],d]/3 where l < n[b]",
    "bags with edges": "y[b,d] = E[clamp(t[b,l]-9),d] where l < n[b]",
    "bags with padding": "y[b,d] = E[pad(t[b,l]-3),d] where l < n[b], n[b] != 2",
    "rows": "y[b,d] = x[b,l,d] where l < n[b]",
    "rows by what is summed": "y[b,d] = x[b,l,d] where m[l] > 0",
    "rows, another mask of all": "y[b,d] = x[b,l,d] where l < n[b], x[b,l,d] > -2",
    "two summed": "y[d] = x[b,l,d] where l < n[b]",
    "added": "y[b,d] = g[b] where d < 20\ny[b,d] += x[b,l,d] where l < n[b], m[l] > 0",
    "the greatest": "y[b,d] max= E[t[b,l],d] where l < n[b]",
}
SHAPES = {"E": ("v", "d"), "t": ("b", "l"), "n": ("b",), "x": ("b", "l", "d"), "m": ("l",), "g": ("b",)}


def inputs(sizes: dict[str, int], kind: str) -> dict[str, Array]:
    rng = default_rng(4)
    found: dict[str, Array] = {}
    for name, axes in SHAPES.items():
        shape = tuple(sizes[i] for i in axes)
        found[name] = rng.standard_normal(shape).astype(kind)
        if name in "tn":
            found[name] = rng.integers(0, sizes["v" if name == "t" else "l"] + (name == "n"), shape)
    return found


def same(text: str, given: dict[str, Array], limits: Any) -> None:
    f = il.compile(text)
    mine = {k: given[k] for k in f.inputs}
    planned = sized(f, limits)
    verify(planned.plan(**mine))
    wide = {k: a.astype(np.float64) if a.dtype.kind == "f" else a for k, a in mine.items()}
    with np.errstate(all="ignore"):
        y, right = planned(**mine), dense.run(f.program, wide)["y"]
    good = np.isfinite(right)
    np.testing.assert_array_equal(np.isfinite(y), good)
    tolerance = 1e-4 if given["x"].dtype == np.float32 else 1e-11
    np.testing.assert_allclose(np.asarray(y)[good], right[good], rtol=tolerance, atol=tolerance)
    if not np.isfinite(right).all() or "max=" in text:
        return
    back = f.grad()
    dy = default_rng(9).standard_normal(np.shape(right)).astype(given["x"].dtype)
    found = sized(back, limits)(**{n: {**mine, "y.grad": dy}[n] for n in back.inputs})
    truth = dense.run(back.program, {n: {**wide, "y.grad": dy}[n] for n in back.inputs})
    for name, gradient in truth.items():
        one = found[name] if isinstance(found, dict) else found
        np.testing.assert_allclose(one, gradient, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("limits", [TINY, NUMPY], ids=["tiny", "numpy"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", TEXTS)
def test_values_and_gradients(name: str, kind: str, limits: Any) -> None:
    for b, rows, d in ((9, 5, 20), (1, 1, 20), (40, 30, 20)):
        same(TEXTS[name], inputs({"b": b, "l": rows, "d": d, "v": 7}, kind), limits)


@pytest.mark.parametrize("limits", [TINY, NUMPY], ids=["tiny", "numpy"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", TEXTS)
def test_what_is_refused_adds_nothing(name: str, bad: float, limits: Any) -> None:
    for used in (False, True):
        given = inputs({"b": 40, "l": 30, "d": 20, "v": 9}, "float32")
        given["n"][:5] = 3
        if not used:
            given["t"][:, :9] %= 8
            given["t"][np.arange(30) >= given["n"][:, None]] = 8  # a row that only refused points ask for
        given["E"][8, 4] = bad
        given["x"][2, 3 - used, 1] = given["x"][3, 29, 2] = bad
        same(TEXTS[name], given, limits)


@pytest.mark.parametrize("limits", [TINY, NUMPY], ids=["tiny", "numpy"])
def test_refused_positions_may_lie_anywhere(limits: Any) -> None:
    given = inputs({"b": 40, "l": 30, "d": 20, "v": 9}, "float64")
    refused = np.arange(30) >= given["n"][:, None]
    near = {**given, "t": np.where(refused, 0, given["t"])}
    far = {**given, "t": np.where(refused, 99, given["t"])}
    f = sized(il.compile(TEXTS["bags of lengths"]), limits)
    one, other = (f(E=v["E"], t=v["t"], n=v["n"]) for v in (near, far))
    np.testing.assert_array_equal(one, other)
    far["t"][np.argmax(given["n"]), 0] = 99
    with pytest.raises(il.IndexLangError, match="out-of-range"):
        f(E=far["E"], t=far["t"], n=far["n"])


def test_empty_axes() -> None:
    f = il.compile(TEXTS["bags of lengths"])
    for b, rows, d in ((0, 3, 4), (3, 0, 4), (3, 4, 0)):
        given = inputs({"b": b, "l": rows, "d": d, "v": 5}, "float64")
        y = f(E=given["E"], t=given["t"], n=given["n"])
        assert y.shape == (b, d) and not y.any()


def test_what_is_planned() -> None:
    given = inputs({"b": 200, "l": 16, "d": 64, "v": 50}, "float32")
    f = il.compile(TEXTS["bags of lengths"], backend="numpy")
    (step,) = f.plan(E=given["E"], t=given["t"], n=given["n"]).steps
    assert step.kernel.startswith("masked contraction")
    code = f.emit(E=given["E"], t=given["t"], n=given["n"])
    assert "np.isfinite(E)" in code  # 64 times as much is taken
    small = inputs({"b": 20, "l": 16, "d": 3, "v": 50}, "float32")
    (step,) = f.plan(E=small["E"], t=small["t"], n=small["n"]).steps
    assert step.kernel.startswith("whole domain")
