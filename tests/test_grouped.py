"""Products with matrices that data choose: the values and gradients of loops, whatever positions occur."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from planned import runs_of, sized
from plans import Case, buf, data, load, view

import indexlang
from indexlang.oracle import loops
from indexlang.plan.kernels import Grouped, Map, Roles
from indexlang.plan.limits import NUMPY, TINY
from indexlang.plan.plan import Run
from indexlang.plan.verify import verify
from indexlang.plan.written import PlanError

Array = NDArray[Any]
pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

Shapes = dict[str, tuple[int, ...]]
MOST: Shapes = {"W": (5, 3, 4), "x": (7, 4), "a": (7,), "g": (7,)}
CASES: list[tuple[str, Shapes, bool]] = [  # and whether it is a product in groups
    ("y[b,o] = W[a[b],o,i]*x[b,i]", MOST, True),
    ("y[i,k] = W[a[k],i,j]*x[j,k]", {**MOST, "x": (4, 7)}, True),
    ("y[i,k] = W[i,j,a[k]]*x[j,k]", {**MOST, "W": (3, 4, 5), "x": (4, 7)}, True),
    ("y[b,t,o] = W[a[b,t],o,i]*x[b,t,i]", {**MOST, "x": (3, 2, 4), "a": (3, 2)}, True),
    ("y[b,t,o] = W[a[b],o,i]*x[b,t,i]", {**MOST, "x": (7, 2, 4)}, True),
    ("y[t,o,b] = W[a[b],o,i]*x[b,t,i]", {**MOST, "x": (7, 2, 4)}, True),
    ("y[o,b,p] = W[o,a[b],i,p]*x[b,i]*g[b]", {**MOST, "W": (3, 5, 4, 2)}, True),
    ("y[b,o] = W[a[b],o,i,j]*x[b,j,i]", {**MOST, "W": (5, 3, 4, 2), "x": (7, 2, 4)}, True),
    ("y[b,o] = g[b]*W[a[b],o,i]*x[b,i]", MOST, True),
    ("y[b,o] = -W[clamp(a[b]+1),o,i]*tanh(x[b,i])/g[b]", MOST, True),
    ("y[b,o] = g[b] where o < 3\ny[b,o] += W[wrap(2*a[b]-1),o,i]*x[b,i]", MOST, True),
    ("y[b,2*o+1] = W[a[b],o,i]*x[b,i]", MOST, True),
    ("y[b,o] = W[a[b],o,i]*x[b,i]", {**MOST, "W": (5, 1, 4)}, True),
    ("y[b,o] = W[a[b],o,i]*x[b,i]", {**MOST, "W": (5, 6, 1), "x": (7, 1)}, True),
    ("y[b,o] = W[a[b],o,i]*x[b,i]", {**MOST, "x": (1, 4), "a": (1,)}, True),
    ("y[b,o] = W[a[b],o,i]*x[b,i]", {**MOST, "x": (0, 4), "a": (0,)}, False),
    ("y[b,o] = W[a[b],o,i]*x[b,i]", {**MOST, "W": (5, 3, 0), "x": (7, 0)}, False),
    ("y[b,o] = W[a[b]//2+1,o,i]*x[b,i]", MOST, True),
    ("y[b,o] = W[pad(a[b]-1),o,i]*x[b,i]", MOST, True),
    ("y[b,o] = W[a[b],o,o+i]*x[b,i]", {**MOST, "W": (5, 3, 6)}, False),
    ("y[b,o] = W[a[b],o,i]*x[b,i] where i <= a[b]", MOST, False),
    ("y[b,o] = W[a[b],o,i]*x[b,i] where i < 4, 1 <= i", MOST, False),
    ("y[b,o] = W[a[b],b,o,i]*x[b,i]", {**MOST, "W": (5, 7, 3, 4)}, False),
    ("y[o] = W[a[b],o,i]*x[b,i]", MOST, True),
    ("y[k,o] = g[k,r]*W[a[k,r],o,i]*x[k,i]", {**MOST, "a": (7, 2), "g": (7, 2)}, True),
    ("y[k,o] = W[a[k,r],o,i]*x[k,i]/g[k] where a[k,r] > 1, a[k,0] > 0", {**MOST, "a": (7, 2)}, True),
    ("y[k,o] = W[a[k,r],o,i]*x[r,i] where k + r > 0", {**MOST, "a": (9, 7)}, True),
    ("y[o] = -W[a[k,r],o,i]*x[k,i] where a[k,r] != 2", {**MOST, "a": (7, 2)}, True),
    ("y[k,o] = W[a[k],o,i]*x[i,0]", {**MOST, "x": (4, 1)}, False),
    ("y[b,o] max= W[a[b],o,i]*x[b,i]", MOST, False),
]


def made(shapes: Shapes, names: tuple[str, ...], dtype: str, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for n in names:
        values = rng.standard_normal(shapes[n]) * 3
        if dtype.startswith("complex"):
            values = values + 1j * rng.standard_normal(shapes[n])
        found[n] = rng.integers(0, 5, shapes[n]) if n == "a" else values.astype(dtype)
        found[n][found[n] == 0] = n != "a"
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "complex128", "int64"])
@pytest.mark.parametrize(("text", "shapes", "grouped"), CASES, ids=[f"{t} {s['W']}" for t, s, _ in CASES])
def test_values_and_gradients(text: str, shapes: Shapes, grouped: bool, dtype: str) -> None:
    f = indexlang.compile(text)
    if dtype == "complex128" and "max=" in text:
        pytest.skip("no order of complex numbers")
    arrays = made(shapes, f.inputs, dtype, 3)
    expected = loops.run(f.program, arrays)["y"]
    tolerance = {"float16": 3e-2, "float32": 2e-5}.get(dtype, 1e-11)
    kernels = [run.kernel for run in runs_of(sized(f, TINY).plan(**arrays))]
    assert any(isinstance(k, Grouped) for k in kernels) == (grouped and dtype != "float16") or "/" in text
    for limits in (NUMPY, TINY):
        h = sized(f, limits)
        np.testing.assert_allclose(h(**arrays), expected, rtol=tolerance, atol=tolerance)
        if dtype == "int64":
            continue
        y, pullback = h.vjp(**arrays)
        np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
        dy = made({"y": expected.shape}, ("y",), dtype, 4)["y"]
        found = pullback(dy)
        if dtype in ("float16", "complex128") and expected.size:  # loops say nothing of the types that gradients have
            continue
        truth = loops.run(f.grad().program, {**arrays, "y.grad": dy})
        for n, gradient in found.items():
            np.testing.assert_allclose(gradient, truth[f"{n}.grad"], rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize(
    ("points", "rows", "grouped"), [(256, 64, True), (64, 127, False), (64, 129, True), (3, 64, False)]
)
def test_copies_of_few_matrices_are_cheaper(points: int, rows: int, grouped: bool) -> None:
    f = indexlang.compile("y[b,o] = W[a[b],o,i]*x[b,i]")
    arrays = made({"W": (64, rows, 64), "x": (points, 64), "a": (points,)}, f.inputs, "float64", 1)
    assert any(isinstance(run.kernel, Grouped) for run in runs_of(f.plan(**arrays))) == grouped
    y, pullback = f.vjp(**arrays)
    taken, dy = arrays["W"][arrays["a"]], np.ones((points, rows))
    np.testing.assert_allclose(y, np.einsum("boi,bi->bo", taken, arrays["x"]), rtol=1e-9, atol=1e-9)
    gradient = np.zeros_like(arrays["W"])
    np.add.at(gradient, arrays["a"], np.einsum("bo,bi->boi", dy, arrays["x"]))
    found = pullback(dy)
    np.testing.assert_allclose(found["W"], gradient, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found["x"], np.einsum("boi,bo->bi", taken, dy), rtol=1e-9, atol=1e-9)


def test_what_no_point_chooses_is_not_read() -> None:
    f = sized(indexlang.compile("y[b,o] = W[a[b],o,i]*x[b,i]"), TINY)
    arrays = made(MOST, f.inputs, "float64", 5)
    arrays["a"] = np.array([1, 3, 3, 1, 0, 3, 0])
    arrays["W"][[2, 4]] = np.nan
    arrays["x"][4] = np.inf
    y, pullback = f.vjp(**arrays)
    assert np.isfinite(y[[0, 1, 2, 3, 5, 6]]).all()
    found = pullback(np.ones((7, 3)))
    assert not found["W"][[2, 4]].any() and np.isfinite(found["W"][[1, 3]]).all()


@pytest.mark.parametrize("position", [-1, 5])
def test_positions_are_checked(position: int) -> None:
    f = sized(indexlang.compile("y[b,o] = W[a[b],o,i]*x[b,i]"), TINY)
    arrays = made(MOST, f.inputs, "float64", 5)
    arrays["a"][2] = position
    with pytest.raises(indexlang.IndexLangError, match="out-of-range"):
        f(**arrays)


# -- Plans by hand -------------------------------------------------------------------------------------


def by_hand(op: str = "=", roles: Roles | None = None, points: tuple[str, ...] = ("b",)) -> tuple[Case, Any, Run]:
    case = Case(e=5, b=(0, 7), t=2, o=3, i=4)
    matrices, x, a = case.input("W", data(3, 5, 4)), case.input("x", data(4, 7, 2)), case.input("a", np.arange(7) % 4)
    y = view(buf("y", (7, 3, 2)), "b", "o", "t")
    roles = roles or Roles((), ("o",), ("b", "t"), ("i",))
    kernel = Grouped(view(matrices, "o", "e", "i"), view(x, "i", "b", "t"), roles, "e", load(view(a, "b")), points)
    return case, y, Run(y, op, kernel)


def test_a_product_in_groups() -> None:
    case, y, step = by_hand()
    matrices, x, a = case.arrays
    np.testing.assert_allclose(case.run([y], step), np.einsum("obi,ibt->bot", matrices[:, a], x), rtol=1e-12)


def test_matrices_added_to_in_groups() -> None:
    case = Case(e=5, b=7, t=2, o=3, i=4)
    dy, x, a = case.input("dy", data(7, 3, 2)), case.input("x", data(4, 7, 2)), case.input("a", np.arange(7) % 4)
    y = case.input("before", data(3, 5, 4))
    made = view(buf("y", (3, 5, 4)), "o", "e", "i")
    copied = Run(made, "=", Map(load(view(y, "o", "e", "i"))))
    roles = Roles((), ("o",), ("i",), ("b", "t"))
    kernel = Grouped(view(dy, "b", "o", "t"), view(x, "i", "b", "t"), roles, "e", load(view(a, "b")), ("b",))
    found = case.run([made], copied, Run(made, "+=", kernel))
    expected = case.arrays[3].copy()
    for b in range(7):
        expected[:, case.arrays[2][b]] += case.arrays[0][b] @ case.arrays[1][:, b].T
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"points": ("t",)}, "positions of other points"),
        ({"points": ()}, "no product in groups"),
        ({"points": ("o",)}, "no product in groups"),
        ({"roles": Roles((), ("o",), ("b",), ("i",))}, "have no role"),
        ({"roles": Roles((), ("o",), ("b", "t"), ())}, "have no role"),
        ({"op": "+="}, "before it is written"),
    ],
)
def test_refused(step: dict[str, Any], message: str) -> None:
    case, y, run = by_hand(**step)
    with pytest.raises(PlanError, match=message):
        verify(case.plan([y], run))


def test_unchecked_positions_are_refused() -> None:
    case, y, run = by_hand()
    with pytest.raises(PlanError, match="positions in W"):
        verify(case.plan([y], run))


def test_positions_are_sorted_once() -> None:
    text = "h[b,o] = W[a[b],o,i]*x[b,i]\ny[b,p] = V[a[b],p,o]*h[b,o]\nz[b,p] = V[c[b],p,o]*h[b,o]"
    f = sized(indexlang.compile(text, outputs=["y", "z"]), TINY)
    rng = np.random.default_rng(2)
    w, v, x = (rng.standard_normal(s) for s in ((5, 3, 4), (5, 6, 3), (9, 4)))
    a, c = rng.integers(0, 5, (2, 9))
    given = {"W": w, "V": v, "x": x, "a": a, "c": c}
    assert f.emit(**given).count(" = group(") == 2
    h = np.einsum("boi,bi->bo", w[a], x)
    found = f(**given)
    np.testing.assert_allclose(found["y"], np.einsum("bpo,bo->bp", v[a], h), rtol=1e-12)
    np.testing.assert_allclose(found["z"], np.einsum("bpo,bo->bp", v[c], h), rtol=1e-12)


def test_points_in_another_order_are_sorted_anew() -> None:
    text = "y[b,t,o] = W[a[b,t],o,i]*x[b,t,i]\nz[t,b,o] = W[a[b,t],o,i]*x[b,t,i]*2"
    f = sized(indexlang.compile(text, outputs=["y", "z"]), TINY)
    rng = np.random.default_rng(2)
    w, x, a = rng.standard_normal((5, 3, 4)), rng.standard_normal((6, 2, 4)), rng.integers(0, 5, (6, 2))
    found = f(W=w, x=x, a=a)
    expected = np.einsum("btoi,bti->bto", w[a], x)
    np.testing.assert_allclose(found["y"], expected, rtol=1e-12)
    np.testing.assert_allclose(found["z"], 2 * expected.transpose(1, 0, 2), rtol=1e-12)
