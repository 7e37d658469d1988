"""Lost digits are found, whichever block of a difference they are lost in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray
from planned import sized

import indexlang as il
from indexlang.plan.limits import NUMPY, Limits
from indexlang.plan.verify import verify

Array = NDArray[Any]

WHOLE = replace(NUMPY, separate=8, few=16)  # no blocks
ROWS = replace(WHOLE, chunk=4 * 60 * 7)  # seven rows of the result at a time, or as many columns
ELEMENTS = replace(WHOLE, chunk=4 * 3)  # blocks of both indices
LIMITS = pytest.mark.parametrize("limits", [WHOLE, ROWS, ELEMENTS], ids=["whole", "rows", "elements"])
TEXTS = {
    "rows": "y[i,j] = g[i,d]*(x[i,d] - z[j,d])",
    "columns": "y[j,i] = g[i,d]*(x[i,d] - z[j,d])",
    "weights of pairs": "y[i,d] = w[i,j]*(x[i,d] - z[j,d])",
}


def given(kind: str = "float32", n: int = 60, m: int = 50, d: int = 40) -> dict[str, Array]:
    rng = default_rng(4)
    shapes = {"g": (n, d), "x": (n, d), "z": (m, d), "w": (n, m)}
    return {k: rng.standard_normal(s).astype(kind) for k, s in shapes.items()}


def right(text: str, a: dict[str, Array]) -> Array:
    g, x, z, w = (a[k].astype("complex128" if a[k].dtype.kind == "c" else "float64") for k in "gxzw")
    apart = x[:, None] - z
    if "w" in text:
        return (w[:, :, None] * apart).sum(1)
    y = (g[:, None] * apart).sum(2)
    return y if "y[i,j]" in text else y.T


def ours(text: str, a: dict[str, Array], limits: Limits) -> Array:
    f = sized(il.compile(text), limits)
    mine = {k: a[k] for k in f.inputs}
    plan = f.plan(**mine)
    verify(plan)
    assert "separated" in plan.steps[0].kernel
    return np.asarray(f(**mine))


@LIMITS
@pytest.mark.parametrize("kind", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("name", TEXTS)
def test_values(name: str, kind: str, limits: Limits) -> None:
    a = given(kind)
    expected = right(TEXTS[name], a)
    np.testing.assert_allclose(
        ours(TEXTS[name], a, limits), expected, rtol=1e-3 if kind == "float32" else 1e-9, atol=1e-4
    )


@LIMITS
@pytest.mark.parametrize("place", [0, 31, 49])
@pytest.mark.parametrize("name", ["rows", "columns"])
def test_digits_lost_at_one_value_of_an_index(name: str, place: int, limits: Limits) -> None:
    """What counts in x is near to one of z, which is far from all others: too few elements to be counted."""
    a = given()
    a["z"][place] += 3e4
    a["x"][:40] = (a["z"][place] + 1e2 * a["x"][:40]).astype("float32")
    a["x"][40:] -= 1e5  # the last blocks lose nothing
    a["g"][40:] *= 1e-8
    expected = right(TEXTS[name], a)
    y = ours(TEXTS[name], a, limits)
    at = (..., place) if name == "rows" else place
    scale = np.abs(a["g"]).sum(1)[..., None] * 1e2
    np.testing.assert_array_less(np.abs(y[at] - expected[at])[:40], 2e-6 * scale.ravel()[:40])


@LIMITS
@pytest.mark.parametrize("name", ["rows", "columns"])
def test_digits_lost_by_some_elements(name: str, limits: Limits) -> None:
    """More than by chance are no difference at all: one in every few blocks."""
    a = given()
    pairs = [(0, 49), (13, 20), (25, 7), (38, 0), (59, 33)]
    for i, j in pairs:
        a["z"][j] = a["x"][i]
    y = ours(TEXTS[name], a, limits)
    y = y if name == "rows" else y.T
    assert all(y[i, j] == 0 for i, j in pairs)


@LIMITS
@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("tensor", ["g", "x", "z", "w"])
def test_what_is_not_finite_is_as_it_is_written(name: str, tensor: str, bad: float, limits: Limits) -> None:
    a = given()
    a[tensor][-1, 3] = bad
    with np.errstate(all="ignore"):
        expected, y = right(TEXTS[name], a), ours(TEXTS[name], a, limits)
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)


@LIMITS
@pytest.mark.parametrize("bad", [0.0, np.inf, np.nan])
@pytest.mark.parametrize("columns", [60, 41])
@pytest.mark.parametrize("target", ["y[i,j]", "y[j,i]"])
def test_points_and_themselves(bad: float, columns: int, target: str, limits: Limits) -> None:
    """They are not counted as lost, and not chosen where they are not finite."""
    a = given()
    text = f"{target} = g[i,d]*(x[i,d] - x[j,d]) where j < {columns}"
    if bad != 0:
        a["x"][30, 2] = bad
    with np.errstate(all="ignore"):
        expected, y = right("y[i,j]", {**a, "z": a["x"][:columns]}), ours(text, a, limits)
    y = y if target == "y[i,j]" else y.T
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)
    assert not np.signbit(np.diag(y)[:30]).any() and (np.diag(y)[:30] == 0).all()


@pytest.mark.parametrize("limits", [WHOLE, ROWS], ids=["whole", "rows"])
def test_what_is_there_is_added_to(limits: Limits) -> None:
    a = given()
    text = "y[i,j] = x[i,j]\ny[i,j] += g[i,d]*(x[i,d] - z[j,d])"
    a = {**a, "x": a["x"][:, :40], "z": a["z"][:40]}
    f = sized(il.compile(text), limits)
    y = f(**{k: a[k] for k in f.inputs})
    np.testing.assert_allclose(y, a["x"] + right(TEXTS["rows"], a), rtol=1e-3, atol=1e-4)


def test_how_often_a_condition_holds_is_counted() -> None:
    x = default_rng(0).integers(-3, 4, (30, 20))
    f = il.compile("y = where(x[i,j] > 0, 1, 0)")
    assert f(x=x) == np.sum(x > 0)
    assert il.compile("y[i] = where(x[i,j] > 0, 1, 0)")(x=x).tolist() == np.sum(x > 0, axis=1).tolist()


@pytest.mark.parametrize("other", ["x", "y"])
@pytest.mark.parametrize("n", [5, 200, 600])
def test_one_pair_that_is_close_among_many(n: int, other: str) -> None:
    """It loses digits in all that it has: no chance does that."""
    rng = default_rng(n)
    x = rng.standard_normal((n, 16))
    x[1] = x[0] + 1e-5 * rng.standard_normal(16)
    x, m = x.astype(np.float32), rng.standard_normal((16, 8)).astype(np.float32)
    expected = (x.astype(np.float64)[:, None] - x[None]) @ m.astype(np.float64)
    f = il.compile(f"z[i,j,e] = m[d,e]*(x[i,d]-{other}[j,d])")
    found = f({"m": m, "x": x, "y": x} if other == "y" else {"m": m, "x": x})
    np.testing.assert_allclose(found[0, 1], expected[0, 1], atol=3e-6 * np.abs(expected[0, 1]).max())
