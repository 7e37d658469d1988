"""Short innermost axes: sums go along the others first, small operands are repeated, and values stay."""

from __future__ import annotations

import numpy as np
import pytest

import indexlang
from indexlang.calls.function import Function
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.plan.narrow import sums
from indexlang.plan.printing import steps_text

pytestmark = pytest.mark.usefixtures("on_numpy")  # what is narrow there is no matter to nests

SQUARES = "y[b,g] = (x[b,i,(g,c)] - m[b,g])**2 where c != i"  # without the mask the merged axis is one index
NORM = """
layer norm(x[B,I,C], gamma[C]; groups=3) -> y[B,I,C]:
    mu[b,g]  = mean[i,c](x[b,i,(g,c)]) where g < groups
    var[b,g] = mean[i,c]((x[b,i,(g,c)] - mu[b,g])**2) where g < groups
    y[b,i,(g,c)] = gamma[(g,c)] * (x[b,i,(g,c)] - mu[b,g]) * rsqrt(var[b,g] + 0.001) where g < groups
"""


def compiled(text: str, limits: Limits) -> Function:
    return Function(indexlang.compile(text).program, limits=limits)


@pytest.mark.parametrize(("rows", "inner", "divided"), [
    (256, 4, True), (255, 4, True), (2, 4, False), (256, 63, True), (256, 64, False), (256, 1, False),
])  # fmt: skip
def test_sums_over_a_short_innermost_axis_are_divided(rows: int, inner: int, divided: bool) -> None:
    plan = indexlang.compile(SQUARES).plan(x=(8, rows, 8 * inner), m=(8, 8))
    assert ("sum[c](sum[i](" in steps_text(plan)) == divided


def test_the_order_of_sums() -> None:
    sizes = {"b": 8, "i": 300, "g": 8, "c": 4, "one": 1}
    assert sums("bigc", "ic", sizes, NUMPY) == (("i",), ("c",))
    assert sums(["b", "i", "g", "one", "c"], ["i", "c"], sizes, NUMPY) == (("i",), ("c",))
    assert sums("bgic", "ic", sizes, NUMPY) == (("i", "c"),)  # one axis after the other lies there
    assert sums("bigc", "i", sizes, NUMPY) == (("i",),)
    assert sums("bigc", "c", sizes, NUMPY) == (("c",),)
    assert sums("ic", "ic", sizes, NUMPY) == (("i", "c"),)


def test_what_is_repeated_is_small_and_lacks_the_innermost_index() -> None:
    def wide(text: str, **shapes: tuple[int, ...]) -> bool:
        return "wide<" in steps_text(indexlang.compile(text).plan(**shapes))

    assert wide(SQUARES, x=(8, 300, 32), m=(8, 8))
    assert not wide(SQUARES, x=(8, 300, 8 * 64), m=(8, 8))
    assert not wide("y[b,g] = (x[b,i,(g,c)] - m[b])**2 where g < 8, c != i", x=(8, 300, 32), m=(8,))
    assert not wide("y[b,g] = (x[b,i,(g,c)] - m[b,i,g])**2 where c != i", x=(8, 300, 32), m=(8, 300, 8))
    assert not wide(SQUARES, x=(2, 3, 32), m=(2, 8))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("limits", [NUMPY, TINY])
@pytest.mark.parametrize(
    "shape", [(2, 300, 5, 4), (3, 7, 2, 3), (1, 1, 1, 1), (2, 0, 3, 4), (5, 9, 1, 4), (1, 700, 30, 1)]
)
def test_values(shape: tuple[int, ...], limits: Limits, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    rng = np.random.default_rng(5)
    b, i, g, c = shape
    x, m = rng.integers(-9, 9, (b, i, g, c)).astype(dtype), rng.integers(-9, 9, (b, g)).astype(dtype)
    if dtype.startswith("float") and x.size:
        x[0, 0, 0, 0], m[-1, -1] = np.nan, np.inf
    text = "layer f(x[B,I,C], m[B,G]) -> y[B,G]:\n    y[b,g] = (x[b,i,(g,c)] - m[b,g])**2"
    found = compiled(text, limits)(x=x.reshape(b, i, g * c), m=m)
    np.testing.assert_allclose(found, ((x - m[:, None, :, None]) ** 2).sum((1, 3)), rtol=1e-6)


@pytest.mark.parametrize("limits", [NUMPY, TINY])
@pytest.mark.parametrize("shape", [(2, 500, 12), (2, 5, 6), (3, 40, 90)])
def test_a_norm_of_groups_and_its_gradients(
    shape: tuple[int, int, int], limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    rng = np.random.default_rng(6)
    x, gamma, g = rng.random(shape), rng.random(shape[2]), rng.random(shape)
    parts = x.reshape(*shape[:2], 3, -1)
    mu = parts.mean((1, 3), keepdims=True)
    scale = 1 / np.sqrt(((parts - mu) ** 2).mean((1, 3), keepdims=True) + 0.001)
    normal = (parts - mu) * scale
    value, pullback = compiled(NORM, limits).vjp(x=x, gamma=gamma)
    np.testing.assert_allclose(value, normal.reshape(shape) * gamma)
    found = pullback(g)
    np.testing.assert_allclose(found["gamma"], (g * normal.reshape(shape)).sum((0, 1)))
    h = (g * gamma).reshape(parts.shape)
    dx = scale * (h - h.mean((1, 3), keepdims=True) - normal * (h * normal).mean((1, 3), keepdims=True))
    np.testing.assert_allclose(found["x"], dx.reshape(shape), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("slope", "greater"), [(0.01, True), (0.999, True), (0.0, False), (1.5, False), (-0.5, False)])
def test_a_slope_by_the_sign_is_the_greater_of_two(slope: float, greater: bool, dtype: str) -> None:
    f = indexlang.compile(f"y[i] = where(x[i] > 0, x[i], {slope} * x[i])")
    n = NUMPY.least
    assert (" = max(" in steps_text(f.plan(x=((n,), dtype)))) == greater
    x = np.random.default_rng(7).standard_normal(n).astype(dtype)
    x[:8] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-44, -1e-44, 1e30]
    with np.errstate(all="ignore"):
        wanted = np.where(x > 0, x, x.dtype.type(slope) * x)
    found = f(x=x)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.signbit(found[3:]), np.signbit(wanted[3:]))
