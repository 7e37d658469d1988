"""Sums of squares of differences: by squares and products where that keeps the digits, else as written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray
from planned import sized

import indexlang as il
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.plan.verify import verify

Array = NDArray[Any]

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

CASES = {
    "distances": ("y[i,j] = (x[i,d]-z[j,d])**2", "i,j"),
    "of itself": ("y[i,j] = (x[i,d]-x[j,d])**2", "i,j"),
    "transposed": ("y[j,i] = (x[i,d]-z[j,d])**2", "j,i"),
    "weighed": ("y[i,j] = w[d]*(x[i,d]-z[j,d])**2", "i,j"),
    "weighed, of itself": ("y[i,j] = -(w[d]*(x[i,d]-x[j,d])**2)/3", "i,j"),
    "masked outside": ("y[i,j] = (x[i,d]-z[j,d])**2*2 where i != j", "i,j"),
    "weighed by what is not negative": ("y[i,j] = a[d]*(x[i,d]-z[j,d])**2", "i,j"),
    "by component": ("y[d] = (x[i,d]-z[j,d])**2", "d"),
    "by component, weighed": ("y[d] = r[i,j]*(x[i,d]-z[j,d])**2", "d"),
    "of pairs": ("y[i,j] = r[i,j]*(x[i,d]-z[j,d])**2", "i,j"),
    "all of them": ("y[i] = r[i,j]*(x[i,d]-z[j,d])**2", "i"),
    "one number": ("y = (x[i,d]-z[j,d])**2", ""),
    "of columns": ("y[i,j] = (u[d,i]-v[d,j])**2", "i,j"),
    "a kernel": ("y[i,j] = exp(-sum[d]((x[i,d]-z[j,d])**2)/8)", "i,j"),
}


def inputs(rng: np.random.Generator, n: int, m: int, d: int, kind: str, case: str = "spread") -> dict[str, Array]:
    x, z = rng.standard_normal((n, d)), rng.standard_normal((m, d))
    if case == "near":
        z[: min(n, m)] = x[: min(n, m)] + 1e-4 * rng.standard_normal((min(n, m), d))
    if case == "far":
        x, z = x + 1e4, z + 1e4
    if case == "clusters":
        x[::2] += 300
        z[::2] += 300
    found = {
        "x": x,
        "z": z,
        "w": rng.standard_normal(d),
        "a": rng.random(d),
        "r": rng.standard_normal((n, m)),
        "u": x.T,
        "v": z.T,
    }
    return {k: np.ascontiguousarray(a.astype(kind)) for k, a in found.items()}


def expected(text: str, given: dict[str, Array]) -> Array:
    """Over the whole domain in float64, by NumPy."""
    x, z, w, r, a = (given[k].astype(np.float64) for k in "xzwra")
    whole = (x[:, None] - (x if "-x" in text else z)) ** 2
    if "w[d]" in text:
        whole = whole * w
    if "r[i,j]" in text:
        whole = whole * r[:, :, None]
    if "a[d]" in text:
        whole = whole * a
    if "y[d]" in text:
        return whole.sum((0, 1))
    y = whole.sum(2)
    if "exp" in text:
        return np.exp(-y / 8)
    if "/3" in text:
        return -y / 3
    if "i != j" in text:
        return np.where(np.arange(len(x))[:, None] != np.arange(y.shape[1]), 2 * y, 0)
    if text.startswith("y[j,i]"):
        return y.T
    return y if "y[i,j]" in text else y.sum(1) if "y[i]" in text else y.sum()


def scale(text: str, given: dict[str, Array]) -> Array:
    """What the errors of a result are measured by: the sum of its values' sizes."""
    return np.abs(expected(text, {k: np.abs(a) if k in "wr" else a for k, a in given.items()}))


@pytest.mark.parametrize("limits", [TINY, NUMPY], ids=["tiny", "numpy"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("case", ["spread", "near", "far", "clusters"])
@pytest.mark.parametrize("name", CASES)
def test_sums_of_squares(name: str, case: str, kind: str, limits: Any) -> None:
    text, _ = CASES[name]
    rng = default_rng(5)
    for n, m, d in ((40, 50, 9), (3, 4, 4), (1, 5, 8), (150, 90, 12)):
        given = inputs(rng, n, n if "-x" in text else m, d, kind, case)
        f = sized(il.compile(text), limits)
        given = {k: a for k, a in given.items()}
        mine = {k: given[k] for k in f.inputs}
        verify(f.plan(**mine))
        y = f(**mine)
        if case == "far":  # nothing else is wrong than by the rounding of what is passed
            given = {k: a.astype(kind).astype(np.float64) for k, a in given.items()}
        bound = (2e-5 if kind == "float32" else 1e-13) * scale(text, given)
        if name == "a kernel":
            bound = bound + 1e-5 * (1 if kind == "float32" else 1e-8)
        error = np.abs(y - expected(text, given))
        assert np.all(error <= bound), (n, m, d, float(np.max(error - bound)))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, 1e20, 3e19])
@pytest.mark.parametrize("name", ["distances", "of itself", "weighed", "one number", "by component, weighed"])
def test_what_is_not_finite_is_as_it_is_written(name: str, bad: float) -> None:
    text, _ = CASES[name]
    given = inputs(default_rng(1), 40, 40, 9, "float32")
    for k in "xzwr":
        for place in (0, 5):
            spoilt = {n: a.copy() for n, a in given.items()}
            spoilt[k].reshape(-1)[place] = bad
            with np.errstate(all="ignore"):
                f = sized(il.compile(text), TINY)
                x, z, w, r = (spoilt[n] for n in "xzwr")
                whole = (x[:, None] - (x if "-x" in text else z)) ** 2
                whole = whole * w if "w[d]" in text else whole
                whole = (whole * r[:, :, None]).sum((0, 1)) if "r[i,j]" in text else whole.sum(2)
                right = whole.sum() if text.startswith("y =") else whole
                y = f(**{n: spoilt[n] for n in f.inputs})
            np.testing.assert_array_equal(np.isfinite(y), np.isfinite(right))
            good = np.isfinite(right)
            np.testing.assert_allclose(y[good], right[good], rtol=1e-4, atol=1e-4)


def test_points_at_themselves_have_no_distance() -> None:
    x = default_rng(0).standard_normal((300, 32)).astype(np.float32)
    f = il.compile("y[i,j] = (x[i,d]-x[j,d])**2", backend="numpy")
    (step,) = f.plan(x=x).steps
    assert "squares" in step.kernel
    assert np.all(np.diag(f(x=x)) == 0)


def test_what_squares_do_not_serve_stays() -> None:
    for text, shapes in (
        ("y[i] = (x[i,d]-m[d])**2", {"x": (300, 32), "m": (32,)}),
        ("y[i,j] = (x[i,d]-z[j,d])**3", {"x": (300, 32), "z": (300, 32)}),
        ("y[i,j] = (x[i,d]-z[j,d])**2", {"x": (300, 2), "z": (300, 2)}),
        ("y[i,j] = (x[i,d]-z[j,d])**2 where x[i,d] > z[j,d]", {"x": (300, 32), "z": (300, 32)}),
    ):
        f = il.compile(text)
        found = f.plan(**{k: np.ones(s, np.float32) for k, s in shapes.items()}).steps
        assert all("squares" not in step.kernel for step in found)


def test_the_differences_of_points_and_themselves_are_no_lost_digits() -> None:
    rng = default_rng(3)
    f = il.compile("y[i,j] += w[i,o]*(x[j,o]-x[i,o])")
    for kind in ("float32", "float64"):
        x, w = rng.standard_normal((80, 9)).astype(kind), rng.standard_normal((80, 9)).astype(kind)
        right = np.einsum("io,ijo->ij", w.astype(np.float64), x.astype(np.float64)[None] - x[:, None])
        for limits in (TINY, NUMPY):
            y = sized(f, limits)(w=w, x=x)
            assert np.all(np.diag(y) == 0)
            np.testing.assert_allclose(y, right, rtol=1e-3 if kind == "float32" else 1e-9, atol=1e-5)
            for bad in (np.inf, np.nan):
                v = w.copy()
                v[4, 2] = bad
                with np.errstate(all="ignore"):
                    expected = np.einsum("io,ijo->ij", v, x[None] - x[:, None])
                    y = sized(f, limits)(w=v, x=x)
                np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))


@pytest.mark.parametrize("power", ["**2", ""])
@pytest.mark.parametrize("limits", [replace(NUMPY, separate=8, few=16), TINY, NUMPY], ids=["small", "tiny", "numpy"])
@pytest.mark.parametrize("second", ["j", "jk", "ij", "k"])
@pytest.mark.parametrize("first", ["", "i", "ij", "j"])
@pytest.mark.parametrize("weights", ["j", "ij", "k", "jk", "ik", "j k"])
def test_what_is_squared_may_have_no_reduced_index(
    weights: str, first: str, second: str, limits: Limits, power: str
) -> None:
    """`w[j]*(x[i] - z[j])**2`: far from 0, so that a square of what is not moved is another one."""
    names = {f"w{n}": own for n, own in enumerate(weights.split())} | {"x": first, "z": second}
    used = "".join(names.values())
    sizes = {"i": 41, "j": 30, "k": 22} if limits is not TINY else {"i": 4, "j": 3, "k": 2}
    if limits is NUMPY:
        sizes = {"i": 260, "j": 150, "k": 40} if "k" in used else {"i": 300, "j": 300}
    read = {n: f"{n}[{','.join(own) or 0}]" for n, own in names.items()}
    product = "*".join([*(read[n] for n in names if n[0] == "w"), f"({read['x']} - {read['z']}){power}"])
    target = "y[i]" if "i" in used else "y"
    f = sized(il.compile(f"{target} = {product}"), limits)
    rng = default_rng(len(product))
    given = {n: 5 + rng.standard_normal([sizes[i] for i in own] or 1) for n, own in names.items()}
    given |= {n: a - 5 for n, a in given.items() if n[0] == "w"}
    whole = [i for i in "ijk" if i in used]

    def over(n: str) -> NDArray[Any]:
        own = sorted(names[n])
        array = given[n] if own else given[n][0]
        axes = [names[n].index(i) for i in own]
        return np.transpose(array, axes).reshape([sizes[i] if i in own else 1 for i in whole])

    value = (over("x") - over("z")) ** (2 if power else 1)
    for n in names:
        value = value * over(n) if n[0] == "w" else value
    value = np.broadcast_to(value, [sizes[i] for i in whole])
    right = value.sum(tuple(k for k, i in enumerate(whole) if i != "i"))
    np.testing.assert_allclose(f(**given), right, rtol=1e-9, atol=1e-9 * np.abs(value).sum())
