"""Longer copies for reads beyond an axis: paddings and edges, alone and together, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from planned import sized

from indexlang.calls.function import Function
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import loops
from indexlang.syntax.parser import parse

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

SUBSCRIPTS = (
    "{0}+k-2",
    "pad({0}+k,2,1)",
    "pad({0}+k,1,3,0.5)",
    "pad({0}-k)",
    "clamp({0}+k-2)",
    "wrap({0}+2*k-3)",
    "reflect({0}+k-2)",
    "reflect(4*{0}-k-6)",
    "wrap(9-{0})",
    "clamp({0}+30)",
    "pad(2*{0}+k,1,1,-inf)",
    "{0}",
)
RNG = np.random.default_rng(11)


def assert_loops(text: str, arrays: dict[str, NDArray[np.generic]]) -> None:
    program = resolve(parse(Source(text)))
    expected = loops.run(program, arrays)["y"]  # type: ignore[arg-type]
    for rim in (1, 1 << 30):
        found = sized(Function(program), rim=rim)(**arrays)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("first", SUBSCRIPTS)
@pytest.mark.parametrize("second", SUBSCRIPTS)
def test_two_axes(first: str, second: str) -> None:
    """The first axis that is out of range says the value."""
    x = RNG.integers(-9, 10, (5, 4)).astype("f4")
    masks = [m for s, m in ((first, "i+k >= 2, i+k < 7"), (second, "j+k >= 2, j+k < 6")) if s == SUBSCRIPTS[0]]
    where = ", ".join(["i < 4", "j < 4", "k < 3", *masks])
    if "pad(2*" in first:
        where = where.replace("i < 4", "i < 3")
    if "pad(2*" in second:
        where = where.replace("j < 4", "j < 2")
    assert_loops(f"y[i,j,k] = x[{first.format('i')},{second.format('j')}] where {where}", {"x": x})


@pytest.mark.parametrize("dtype", ["float16", "int64", "uint8", "bool", "complex64"])
@pytest.mark.parametrize("outer", ["pad(i+k-1)", "clamp(i+k-1)", "reflect(i+k-1)", "wrap(i+k-1)"])
def test_three_axes(outer: str, dtype: str) -> None:
    x = RNG.integers(0, 2, (3, 2, 4)).astype(dtype)
    for view in (x, x[::-1, :, ::2]):
        text = f"y[i,c,j,k] = x[{outer},c,pad(j+k-1,0,0)] where i < 3, k < 3, j < {view.shape[2]}"
        assert_loops(text.replace("pad(j+k-1,0,0)", "wrap(j+k-1)"), {"x": view})
        assert_loops(text.replace("pad(j+k-1,0,0)", "pad(j+k-1)"), {"x": view})


@pytest.mark.parametrize("rule", ["clamp", "wrap", "reflect"])
def test_edges_of_short_axes(rule: str) -> None:
    for n in (1, 2, 3):
        x = RNG.integers(-9, 10, (n, n)).astype("f8")
        assert_loops(f"y[i,j] = x[{rule}(i-4),{rule}(j-3)] where i < 9, j < 8", {"x": x})
        assert_loops(f"y[i,j] = x[{rule}(4-i),pad(j-3,0,9)] where i < 9, j < 4, j >= 3", {"x": x})


def test_a_padding_around_nothing() -> None:
    for rim in (1, 1 << 30):
        f = sized(Function(resolve(parse(Source("y[i,j] = x[pad(i,2,1,7),j]")))), rim=rim)
        np.testing.assert_array_equal(f(x=np.zeros((0, 2))), np.full((3, 2), 7.0))
        assert f(x=np.zeros((2, 0))).shape == (5, 0)
