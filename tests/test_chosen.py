"""Products around matrices that data choose are taken apart: the values and gradients of loops, in cheap products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from planned import runs_of, sized

import indexlang
from indexlang.oracle import loops
from indexlang.plan.kernels import Grouped
from indexlang.plan.limits import NUMPY, TINY

Array = NDArray[Any]
Shapes = dict[str, tuple[int, ...]]
pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

LORA: Shapes = {
    "A": (5, 6, 2), "B": (5, 2, 4), "V": (6, 6), "x": (9, 6), "g": (9,), "t": (9,), "u": (9,), "h": (9, 4), "M": (9, 4)
}  # fmt: skip
CASES: list[tuple[str, Shapes, bool]] = [  # and whether something is made on the way
    ("y[b,o] = A[t[b],i,r]*B[t[b],r,o]*x[b,i]", {}, True),
    ("y[b,o] = A[t[b],i,r]*B[u[b],r,o]*x[b,i]", {}, True),
    ("y[b,o] = A[t[b],i,r]*B[clamp(t[b]+1),r,o]*tanh(x[b,i])", {}, True),
    ("y[b,o] = -A[t[b],i,r]*h[b,o]*B[t[b],r,o]*x[b,i]/g[b]", {}, True),
    ("y[b,o] = A[t[b],i,r]*B[t[b],r,o]*V[i,j]*x[b,j]", {}, True),
    ("y[b,o] = g[b] where o < 4\ny[b,o] += -A[t[b],i,r]*B[t[b],r,o]*x[b,i]", {}, True),
    ("y[b,o] = A[t[b],i,r]*B[t[b],r,o]*x[b,i] where u[b] > 1", {}, True),
    ("y[b,o] = A[t[b],i,r]*B[t[b],r,o]*x[b,i] where M[b,o] > 0", {}, False),
    ("y[b,o] = A[t[b],i,r]*B[t[b],r,o]*x[b,i] where V[i,i] > 0", {}, False),
    ("y[b,o] = A[t[b],i,r]*B[0,r,o]*x[b,i]", {}, True),
    ("y[b,o] = A[t[b],i,r]*B[t[b],r,o]*x[b,i]", {"A": (5, 6, 1), "B": (5, 1, 4)}, True),
    ("y[b,o] = A[t[b],i,r]*B[t[b],r,o]*x[b,i]", {"A": (1, 6, 2), "B": (1, 2, 4)}, True),
    ("y[b,o] = A[t[b],i,r]*B[t[b],r,o]*x[b,i]", {"A": (5, 6, 0), "B": (5, 0, 4)}, False),
    ("y[b,o] = A[t[b],i,r]*B[t[b],r,o]*x[b,i]", {"x": (0, 6), "t": (0,)}, False),
    ("y[b,o] = A[t[b],i,r]*B[t[b],r,o]*x[b,i]", {"x": (1, 6), "t": (1,)}, True),
    ("y[b,o] = where(t[b]==e,1,0)*A[e,i,r]*B[t[b],r,o]*x[b,i]", {}, True),
    ("shape y[5,6,2]\ny[t[b],i,r] += h[b,o]*B[t[b],r,o]*x[b,i]", {}, True),
    ("shape y[5,6,2]\ny[t[b],i,r] += h[b,o]*B[t[b],r,o]*x[b,i] where u[b] > 1", {}, True),
    ("shape y[5,6,4]\ny[t[b],i,o] += h[b,o]*V[i,j]*x[b,j]", {}, True),
    ("shape y[5,6,4]\ny[t[b],i,o] += h[b,o]*g[b]*x[b,i]", {}, False),
    ("y[b,c] = G[b,r,c]*A[t[b],i,r]*x[b,i]", {"G": (9, 2, 3)}, True),
    ("y[k,o] = g[k]*G[k,r]*W[a[k,r],i,o]*x[k,i]", {"G": (9, 2), "W": (5, 6, 4), "a": (9, 2)}, False),
    ("y[k,c,o] = G[k,r,c]*W[a[k,r],i,o]*x[k,i]", {"G": (9, 2, 3), "W": (5, 6, 4), "a": (9, 2)}, True),
]  # fmt: skip


def made(shapes: Shapes, names: tuple[str, ...], dtype: str) -> dict[str, Array]:
    rng = np.random.default_rng(7)
    found: dict[str, Array] = {}
    for n in names:
        values = rng.standard_normal(shapes[n])
        if dtype.startswith("complex"):
            values = values + 1j * rng.standard_normal(shapes[n])
        found[n] = values.astype(dtype)
        if n in "tuaM":
            found[n] = rng.integers(0, min(shapes.get("A", (5,))[0], 5), shapes[n])
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize(("text", "shapes", "apart"), CASES, ids=[f"{t} {s}" for t, s, _ in CASES])
def test_values_and_gradients(text: str, shapes: Shapes, apart: bool, dtype: str) -> None:
    if dtype.startswith("complex") and "> 0" in text:
        pytest.skip("no order of complex numbers")
    f = indexlang.compile(text)
    arrays = made({**LORA, **shapes}, f.inputs, dtype)
    expected = loops.run(f.program, arrays)["y"]
    tolerance = {"float32": 2e-5}.get(dtype, 1e-11)
    assert ("made[" in str(sized(f, TINY).plan(**arrays))) == apart
    rng = np.random.default_rng(1)
    dy = rng.standard_normal(expected.shape).astype(expected.dtype)
    truth = loops.run(f.grad().program, {**arrays, "y.grad": dy})
    for limits in (NUMPY, TINY):
        h = sized(f, limits)
        y, pullback = h.vjp(**arrays)
        np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
        if not dtype.startswith("complex"):  # loops say nothing of the types that gradients have
            for n, gradient in pullback(dy).items():
                np.testing.assert_allclose(gradient, truth[f"{n}.grad"], rtol=tolerance, atol=10 * tolerance)


def test_every_product_is_in_groups() -> None:
    f = sized(indexlang.compile("y[b,o] = A[t[b],i,r]*B[t[b],r,o]*x[b,i]"), TINY)
    arrays = made(LORA, f.inputs, "float64")
    runs = runs_of(f.grad().plan(**arrays, **{"y.grad": np.ones((9, 4))}))
    kernels = [run.kernel for run in runs if isinstance(run.kernel, Grouped)]
    assert len(kernels) == 5  # one is shared


@pytest.mark.parametrize(("rank", "apart"), [(1, False), (2, True)])
def test_few_copies_are_taken(rank: int, apart: bool) -> None:
    f = indexlang.compile("y[b,o] = A[t[b],i,r]*B[t[b],r,o]*x[b,i]")
    shapes = {"A": (3, 128, rank), "B": (3, rank, 128), "x": (96, 128), "t": (96,)}  # 8192 elements a group: rank 2
    arrays = made(shapes, f.inputs, "float64")
    assert ("made" in str(f.plan(**arrays))) == apart
    low = np.einsum("bi,bir->br", arrays["x"], arrays["A"][arrays["t"]])
    np.testing.assert_allclose(f(**arrays), np.einsum("br,bro->bo", low, arrays["B"][arrays["t"]]), rtol=1e-9)


def test_refused_points_count_for_nothing() -> None:
    f = sized(indexlang.compile("y[b,o] = A[t[b],i,r]*B[t[b],r,o]*x[b,i] where u[b] > 1"), TINY)
    arrays = made(LORA, f.inputs, "float64")
    arrays["u"] = np.array([2, 0, 3, 1, 4, 2, 0, 2, 2])
    refused = arrays["u"] <= 1
    plain = {n: a.copy() for n, a in arrays.items()}
    arrays["x"][refused], arrays["t"][refused] = np.nan, 77  # nothing is read there
    arrays["A"][4] = plain["A"][4] = np.inf
    plain["t"][refused], plain["x"][refused] = 0, 0
    arrays["t"][~refused] = plain["t"][~refused] = [0, 1, 2, 1, 0, 3]
    dy = np.where(refused[:, None], np.inf, np.random.default_rng(3).standard_normal((9, 4)))
    y, pullback = f.vjp(**arrays)
    expected, other = f.vjp(**plain)
    assert np.isfinite(y).all() and not y[refused].any()
    np.testing.assert_array_equal(y, expected)
    found = pullback(dy)
    for n, gradient in other(np.where(refused[:, None], 0, dy)).items():
        assert np.isfinite(found[n]).all(), n
        np.testing.assert_array_equal(found[n], gradient)


def test_positions_are_checked() -> None:
    f = sized(indexlang.compile("y[b,o] = A[t[b],i,r]*B[t[b],r,o]*x[b,i]"), TINY)
    arrays = made(LORA, f.inputs, "float64")
    arrays["t"][4] = 5
    with pytest.raises(indexlang.IndexLangError, match="out-of-range"):
        f(**arrays)


def test_infinite_products_stay_infinite() -> None:
    f = sized(indexlang.compile("y[b,o] = A[t[b],i,r]*B[t[b],r,o]*x[b,i]"), TINY)
    arrays = made(LORA, f.inputs, "float64")
    arrays["x"][2, 1] = np.inf
    y = f(**arrays)
    assert not np.isfinite(y[2]).any()
    assert np.isfinite(np.delete(y, 2, axis=0)).all()
