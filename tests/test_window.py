"""Windows gone through position by position: pooling, its winners and its gradients, against plain loops."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from planned import sized

from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import gradcheck, loops
from indexlang.program.ir import Program
from indexlang.syntax.parser import parse

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

Arrays = Mapping[str, NDArray[np.generic]]
RNG = np.random.default_rng(5)

WINDOWS = {
    "2x2 stride 2": ("x[b,2*i+di,2*j+dj,c]", "di < 2, dj < 2", (2, 8, 6, 2)),
    "3x3 stride 2": ("x[b,2*i+di,2*j+dj,c]", "di < 3, dj < 3", (2, 13, 11, 2)),
    "3x3 stride 2, a rest": ("x[b,2*i+di,2*j+dj,c]", "di < 3, dj < 3, i < 5, j < 4", (2, 13, 12, 2)),
    "3x3 stride 1": ("x[b,i+di,j+dj,c]", "di < 3, dj < 3", (2, 7, 6, 2)),
    "2x2 stride 3": ("x[b,3*i+di,3*j+dj,c]", "di < 2, dj < 2", (2, 11, 8, 2)),
    "a row of 1x4": ("x[b,i+di,j+dj,c]", "di < 1, dj < 4", (2, 4, 9, 2)),
    "a column of 5x1": ("x[b,i+di,j+dj,c]", "di < 5, dj < 1", (2, 12, 4, 2)),
    "dilated": ("x[b,i+2*di,j+2*dj,c]", "di < 3, dj < 2", (2, 9, 6, 2)),
    "padded": ("x[b,pad(2*i+di,1,1,-inf),pad(2*j+dj,1,1,-inf),c]", "di < 3, dj < 3", (2, 7, 7, 2)),
    "at the edge": ("x[b,clamp(i+di-1),clamp(j+dj-1),c]", "di < 3, dj < 3, i < 6, j < 5", (2, 6, 5, 2)),
}
BODIES = {
    "greatest": ("y[b,i,j,c] max= {x} where {w}", True),
    "least": ("y[b,i,j,c] min= {x} where {w}", True),
    "average": ("y[b,i,j,c] = {x} / 4 where {w}", False),
    "scaled": ("y[b,i,j,c] = 3 * {x} * s[c] where {w}", False),
    "difference": ("y[b,i,j,c] = s[c] * {x} - {x} where {w}", False),
    "product": ("y[b,i,j,c] *= {x} where {w}", False),
    "with a mask": ("y[b,i,j,c] max= {x} where {w}, di + dj != 1", True),
    "positions": ("y[b,i,j,c] = argmax[di,dj]({x}) where {w}", False),
    "logarithm": ("y[b,i,j,c] = logsumexp[di,dj]({x}) where {w}", False),
    "logarithm of some": ("y[b,i,j,c] = logsumexp[di,dj]({x}) where {w}, di + dj != 1, i + c != 1", False),
    "least and where": ("y[b,i,j,c] min= {x} where {w}\nz[b,i,j,c] = argmin[di,dj]({x}) where {w}", True),
}
PROGRAMS = [(f"{body}: {window}", template.format(x=x, w=w), shape, body)
            for body, (template, _) in BODIES.items() for window, (x, w, shape) in WINDOWS.items()]  # fmt: skip


def program(text: str) -> Program:
    return resolve(parse(Source(text)))


def arrays_of(text: str, shape: tuple[int, ...], dtype: str) -> dict[str, NDArray[np.generic]]:
    """Few different values, so that many are equal."""
    found: dict[str, NDArray[np.generic]] = {"x": RNG.integers(-3, 4, shape).astype(dtype)}
    if "s[c]" in text:
        found["s"] = RNG.integers(-3, 4, shape[-1:]).astype(dtype)
    return found


def run(p: Program, arrays: Arrays, **limits: int) -> dict[str, NDArray[np.generic]]:
    found = sized(Function(p), **limits)(**{n: arrays[n] for n in p.inputs})
    return found if isinstance(found, dict) else {p.outputs[0]: found}


def assert_loops(p: Program, arrays: Arrays, tolerance: float = 0.0, always: str = "") -> None:
    """Whether windows are gone through position by position or not; `always` names a kernel that then is taken."""
    expected = loops.run(p, {n: arrays[n] for n in p.inputs})  # type: ignore[misc]
    for long in (1, 10**9):
        if always:
            plan = str(sized(Function(p), long=long).plan(**{n: arrays[n] for n in p.inputs}).steps)
            assert (f"'{always}" in plan) == (long == 1)
        for name, found in run(p, arrays, long=long).items():
            np.testing.assert_allclose(found, expected[name], rtol=tolerance, atol=tolerance, err_msg=name)


def hostile(x: NDArray[np.generic]) -> NDArray[np.generic]:
    """The same with infinities, a nan alone, nans beside each other, and negative zeros."""
    flat = x.reshape(-1)
    flat[:: max(1, flat.size // 7)] = np.inf
    flat[1 :: max(1, flat.size // 5)] = -np.inf
    flat[2 :: max(1, flat.size // 4)] = np.nan
    flat[flat.size // 2 : flat.size // 2 + 4] = np.nan
    flat[3 :: max(1, flat.size // 9)] = -0.0
    return x


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8"])
@pytest.mark.parametrize(("name", "text", "shape", "body"), PROGRAMS, ids=[n for n, *_ in PROGRAMS])
def test_values(name: str, text: str, shape: tuple[int, ...], body: str, dtype: str) -> None:
    if dtype in ("int64", "uint8") and ("inf" in text or "s[c]" in text):
        return
    arrays = arrays_of(text, shape, dtype) if dtype != "uint8" else {"x": RNG.integers(0, 9, shape).astype(dtype)}
    always = "window" if body in ("greatest", "average", "product", "logarithm", "logarithm of some") else ""
    tolerance = 0 if body != "average" and "logarithm" not in body else 1e-6
    assert_loops(program(text), arrays, 1e-3 if tolerance and dtype == "float16" else tolerance, always)


@pytest.mark.parametrize(("name", "text", "shape", "body"), PROGRAMS, ids=[n for n, *_ in PROGRAMS])
def test_what_is_not_finite(name: str, text: str, shape: tuple[int, ...], body: str) -> None:
    arrays = {n: hostile(a) if n == "x" else a for n, a in arrays_of(text, shape, "float64").items()}
    with np.errstate(all="ignore"):
        assert_loops(program(text), arrays, 1e-6)


@pytest.mark.parametrize("dtype", ["float32"])
@pytest.mark.parametrize(("name", "text", "shape", "body"), [p for p in PROGRAMS if "positions" not in p[0]], ids=str)
def test_gradients_are_the_loops(name: str, text: str, shape: tuple[int, ...], body: str, dtype: str) -> None:
    """Equal values, infinities and nan: who wins gets all, exactly, whatever the gradient is."""
    forward = program(text)
    arrays = arrays_of(text, shape, dtype)
    if body in ("greatest", "least", "with a mask"):
        hostile(arrays["x"])
    with np.errstate(all="ignore"):
        values = run(forward, arrays)
        backward = grad.backward(forward, ("x",))
        dy = RNG.integers(-3, 4, values["y"].shape).astype(dtype)
        if body in ("greatest", "least", "with a mask"):
            hostile(dy)
        given = {**values, **arrays, grad.gradient_names(forward)["y"]: dy}
        taken = "selection" if body in ("greatest", "least") else ""
        assert_loops(backward, given, 1e-6, taken)


@pytest.mark.parametrize(("name", "text", "shape", "body"), [p for p in PROGRAMS if "positions" not in p[0]], ids=str)
def test_gradients_are_numerical_ones(name: str, text: str, shape: tuple[int, ...], body: str) -> None:
    if "padded" in name and body in ("scaled", "product", "difference"):  # inf - inf
        return
    arrays = {
        n: RNG.permutation(np.linspace(-2, 2, a.size)).reshape(a.shape) for n, a in arrays_of(text, shape, "f8").items()
    }
    for row in gradcheck.gradcheck(program(text), arrays, backward=partial(run, long=1), most=10):
        assert row.ok, row


@pytest.mark.parametrize("n", [2, 8, 9])
def test_logarithms_of_short_axes(n: int) -> None:
    x = RNG.normal(size=(300, n)) * 400  # powers alone would be infinite
    x[7], x[8, 0] = -np.inf, np.nan
    f = Function(program("y[i] = logsumexp[j](x[i,j])"), backend="numpy")
    assert ("search" in str(f.plan(x=x))) == (n > 8)
    np.testing.assert_allclose(f(x=x), np.logaddexp.reduce(x, axis=1))


def test_selection_beside_other_masks() -> None:
    k, v = RNG.integers(0, 3, (4, 5)), RNG.normal(size=(4, 5))
    v[1, 2] = np.inf
    for text in (
        "y[i,k,j] = v[i,j] where k == at[i,j], k < 3",
        "y[i,k,j] = v[i,j] where k == at[i,j], k < 3, i != 2, k != 1",
        "y[i,k+j] += v[i,j] where k <= at[i,j], k < 3",
        "y[i,j] = w[i,j]\ny[i,j] += v[i,j] * j where k == at[i,j], k < 3",
        "y[i,2-k] += v[i,j] where k == at[i,j], k < 3",
        "y[i,k,j] = 2.5 where k != at[i,j], k < 3",
        "y[i,k,j] = v[i,j] where k == at[i,j] or k == 2, k < 3",
    ):
        p = program(text)
        assert_loops(p, {"at": k, "v": v, "w": v[::-1]}, 1e-12)
        assert_loops(p, {"at": k.T.copy().T, "v": v[:, ::-1], "w": v.astype("f4")}, 1e-6)
        assert_loops(p, {"at": k.astype("u1"), "v": np.where(np.isinf(v), 3, v + 1j), "w": v}, 1e-6)
        assert_loops(p, {"at": k, "v": np.nan_to_num(v * 3, posinf=7).astype("i8"), "w": k}, 1e-6)
