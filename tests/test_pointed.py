"""Elements that data point at: the same values as by loops, one point for each position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from planned import sized

import indexlang
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import loops
from indexlang.plan.limits import NUMPY, TINY
from indexlang.plan.rewrites.pointed import point
from indexlang.program.text import to_text
from indexlang.program.verify import verify
from indexlang.sizes import dtypes, shapes
from indexlang.syntax.parser import parse

Array = NDArray[Any]
RNG = np.random.default_rng(5)
pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

CASES: dict[str, tuple[str, str | None]] = {  # and where it is written then
    "a row": ("y[j] += v[i] where j < 9, j == t[i]", "y[clamp(t[i])]"),
    "a row further on": ("y[j] += v[i] where 2 <= j, j < 9, j + 1 == t[i]", "y[clamp(t[i]-1)]"),
    "the other sign": ("y[j] += v[i] where j < 9, t[i] - j == i - 3", "y[clamp(3+t[i]-i)]"),
    "a mask on it": ("y[j] += v[i] where j < 9, j == t[i], j <= i", "y[clamp(t[i])]"),
    "a mask on others": ("y[j] += v[i] where j < 9, j == t[i], v[i] > 0", "y[clamp(t[i])]"),
    "a window": ("y[i+d] += v[i] where d < 6, d == t[i]", "y[clamp(t[i]+i)]"),
    "a window of two": ("y[i+d,e] += v[i] where d < 3, e < 4, 4*d+e == t[i]", "y[clamp(t[i]//4+i),clamp(t[i]%4)]"),
    "digits from elsewhere": (
        "y[i+d,e] += v[i] where 1 <= d, d < 4, e < 4, 4*d+e == t[i]",
        "y[clamp(t[i]//4+i),clamp(t[i]%4)] += v[i] where i < 12, 0 <= t[i]-4, t[i]-4 < 12".replace(" ", ""),
    ),
    "padding": ("y[pad(i+d-2)] += v[i] where d < 6, d == t[i], i < 8\nshape y[9]", "y[pad(t[i]+i-2)]"),
    "two of one": ("y[j,k] += v[i] where j < 9, k < 9, j == t[i], k == t[i]", "y[clamp(t[i]),k]"),
    "greatest": ("y[j] max= v[i] where j < 9, j == t[i]", "y[clamp(t[i])]"),
    "another axis stays": ("y[j,c] += w[i,c] where j < 9, j == t[i]", "y[clamp(t[i]),c]"),
    "a sum beside it": ("y[j] += w[i,c] where j < 9, j == t[i]", "y[clamp(t[i])]"),
    "a value that reads it": ("y[j] += v[i]*v[j] where j < 9, j == t[i]", None),
    "a position that reads it": ("y[j] += v[i] where j < 9, j == t[i] + t[j]", None),
    "no digits": ("y[i+d,e] += v[i] where d < 3, e < 6, 7*d+e == t[i]", "y[i+d,clamp(t[i]-7*d)]"),
    "floats": ("y[j] += v[i] where j < 9, j == v[i]", None),
    "not summed over": ("y[i] += v[j] where j == t[i]", None),
    "few": ("y[i,j] += v[i] where j < 2, j == t[i]", None),
    "either": ("y[j] += v[i] where j < 9, j == t[i] or j == 3", None),
}


def made(text: str, positions: Array, dtype: str = "float64") -> dict[str, Array]:
    n = positions.size
    given = {"t": positions, "v": RNG.standard_normal(n).astype(dtype), "w": RNG.standard_normal((n, 3)).astype(dtype)}
    program = resolve(parse(Source(text)))
    return {name: given[name] for name in program.inputs}


def assert_same(text: str, arrays: Mapping[str, Array]) -> None:
    f = indexlang.compile(text)
    expected = loops.run(f.program, dict(arrays))["y"]
    for found in (f(**arrays), sized(f, TINY)(**arrays), sized(f, NUMPY, pointed=1, pointing=1)(**arrays)):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-5 if found.dtype == "float32" else 1e-12, atol=1e-12)


@pytest.mark.parametrize(("text", "place"), CASES.values(), ids=CASES)
def test_what_is_written(text: str, place: str | None) -> None:
    arrays = made(text, np.arange(12) % 7)
    program = resolve(parse(Source(text)))
    known = shapes.infer(program, {n: a.shape for n, a in arrays.items()})
    types = dtypes.infer(program, {n: str(a.dtype) for n, a in arrays.items()})
    found = point(program, known, types, TINY)
    assert (found is program) == (place is None)
    if place is not None:
        verify(found)
        said = to_text(found).replace(" ", "")
        assert place in said, said


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
@pytest.mark.parametrize("text", [t for t, _ in CASES.values()], ids=CASES)
def test_values(text: str, dtype: str) -> None:
    for positions in (np.arange(12) % 7, np.full(12, 4), np.array([3]), np.arange(0)):
        arrays = made(text, positions, dtype) if dtype != "int64" else made(text, positions)
        if dtype == "int64":
            arrays = {n: np.round(9 * a).astype("int64") if n != "t" else a for n, a in arrays.items()}
        if positions.size == 12 or not ("[j]" in text or "i < 8" in text):
            assert_same(text, arrays)


@pytest.mark.parametrize("kind", ["int64", "int8", "uint8", "uint64", "int32"])
@pytest.mark.parametrize("text", [t for t, place in CASES.values() if place is not None])
def test_positions_outside_are_refused(text: str, kind: str) -> None:
    positions = np.array([0, 3, 200, 8, 9, 2, 255, 3, 100, 7, 5, 1]).astype(kind)
    if kind == "int64":
        positions[[1, 4, 6]] = [-1, 2**63 - 1, -(2**63)]
    arrays = made(text, positions)
    for name in set(arrays) - {"t"}:
        arrays[name].reshape(arrays[name].shape[0], -1)[[2, 6]] = [[np.nan], [np.inf]]
    assert_same(text, arrays)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape", [(3, 5, 4, 63), (3, 5, 4, 64), (3, 1, 1, 64), (3, 5, 60, 70), (1, 5, 4, 1), (2, 3, 1, 4)]
)
@pytest.mark.parametrize("access", ["x[b,i,j,c]", "x[b,c,i,j]", "x[i,j,b,c]", "exp(x[b,i,j,c])", "x[i,b,j,c]"])
def test_pools_over_whole_axes(access: str, shape: tuple[int, ...], dtype: str) -> None:
    text = f"y[b,c] max= {access}\np[b,c] = argmax[i,j]({access})"
    f = indexlang.compile(text)
    order = ["bijc".index(i) for i in access.rpartition("[")[2].rstrip("])").split(",")]
    values = np.round(RNG.standard_normal(shape)).astype(dtype)
    values[0, 0, 0, 0] = values[-1, 1 % shape[1], :, -1] = np.nan
    x = np.ascontiguousarray(values.transpose(order))
    flat = values.transpose(0, 3, 1, 2).reshape(shape[0], shape[3], -1)
    winners = flat.argmax(-1)
    for limits in (NUMPY, TINY):
        found, pullback = sized(f, limits).vjp(x=x)
        np.testing.assert_array_equal(found["p"], winners)
        dy = RNG.standard_normal(winners.shape).astype(dtype)
        gradient = pullback({"y": dy})["x"].transpose(np.argsort(order)).transpose(0, 3, 1, 2).reshape(flat.shape)
        if "exp" not in access:
            expected = np.zeros_like(flat)
            np.put_along_axis(expected, winners[..., None], dy[..., None], -1)
            np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize("op", ["max=", "min="])
@pytest.mark.parametrize(
    ("value", "window"),
    [
        ("x[b,2*i+d,c]", "d < 5"),
        ("x[b,i+d,c+e]", "d < 3, e < 4"),
        ("x[b,2*i+d,c+e]", "1 <= d, d < 4, 1 <= e, e < 3"),
        ("x[b,pad(i+d,2,2,-inf),c]", "d < 5"),
        ("x[b,d,c]", "d < 9, i < 2"),
        ("x[b,d,c]", "d <= i, i < 9"),
        ("x[b,d,c]", "d >= i + 3, i < 9"),
        ("x[b,c,d]", "d <= 2*i - 5, i < 9"),
    ],
)
def test_gradients_of_extrema(op: str, value: str, window: str) -> None:
    text = f"y[b,i,c] {op} {value} where {window}"
    f = indexlang.compile(text)
    x = RNG.integers(-2, 3, (2, 9, 9)).astype("float64")  # with ties
    x[0, 4, 3] = np.nan
    x[1, :5, 2] = np.inf if op == "max=" else -np.inf
    x[1, 5:, 2] = -x[1, 0, 2]
    y = loops.run(f.program, {"x": x})["y"]
    dy = RNG.standard_normal(y.shape)
    dy[0, 0, 1], dy[-1, -1, -1] = np.inf, np.nan
    g = f.grad()
    expected = loops.run(g.program, {"x": x, "y.grad": dy})["x.grad"]
    for limits in (NUMPY, TINY):
        made = sized(f, limits)
        found, pullback = made.vjp(x=x)
        np.testing.assert_array_equal(found, y)
        np.testing.assert_allclose(pullback(dy)["x"], expected, rtol=1e-12, atol=1e-12)
        alone = sized(g, limits)(**{"x": x, "y.grad": dy})
        alone = alone["x.grad"] if isinstance(alone, dict) else alone
        np.testing.assert_allclose(alone, expected, rtol=1e-12, atol=1e-12)
