"""Integers: what arithmetic gives, what a pad puts around them, and positions that would leave 64 bits."""

from __future__ import annotations

import numpy as np
import pytest

import indexlang as il
from indexlang.errors import ShapeError
from indexlang.oracle import loops

RNG = np.random.default_rng(3)
SMALL = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32]
SIZES = [1, 3, 200_000]  # on both sides of chains and blocks


@pytest.mark.parametrize("dtype", SMALL)
@pytest.mark.parametrize("n", SIZES)
def test_arithmetic_never_wraps(dtype: type, n: int) -> None:
    ends = np.iinfo(dtype)
    x, z = RNG.integers(ends.min, ends.max, (2, n), dtype, endpoint=True)
    x[0], z[0] = ends.min, ends.max
    wide, other = x.astype(np.int64), z.astype(np.int64)
    expected = {
        "x[i]*2": wide * 2,
        "x[i] - z[i]": wide - other,
        "-x[i]": -wide,
        "abs(x[i])": np.abs(wide),
        "x[i]//3 + z[i]%5": wide // 3 + other % 5,
    }
    for text, right in expected.items():
        found = il.compile(f"y[i] = {text}{' + 0*z[i]' if 'z' not in text else ''}")(x=x, z=z)
        assert found.dtype == np.int64, text
        np.testing.assert_array_equal(found, right, text)


@pytest.mark.parametrize("dtype", SMALL)
def test_what_is_chosen_keeps_its_type(dtype: type) -> None:
    x, z = RNG.integers(0, 100, (2, 7), dtype)
    for text in ("x[i]", "max(x[i], z[i])", "min(x[i], z[i])", "where(x[i] > z[i], x[i], z[i])"):
        assert il.compile(f"y[i] = {text}{' where i < size(z,0)' if 'z' not in text else ''}")(x=x, z=z).dtype == dtype


@pytest.mark.parametrize("dtype", [*SMALL, np.int64, np.uint64])
@pytest.mark.parametrize("n", [2, 5, 40_000])
def test_infinities_around_integers_are_the_ends_of_their_type(dtype: type, n: int) -> None:
    ends = np.iinfo(dtype)
    x = RNG.integers(ends.min, ends.max, n, dtype, endpoint=True)
    for op, value, combine, end in (("max", "-inf", np.maximum, ends.min), ("min", "inf", np.minimum, ends.max)):
        f = il.compile(f"y[i] {op}= x[pad(i+k, 1, value={value})] where k < 2")
        rim = np.array([end], dtype)
        longer = np.concatenate((rim, x, rim))
        found = f(x=x)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, combine(longer[:-1], longer[1:]))
        if n < 10 and dtype is not np.uint64:  # the loops take the ends of a pad for floating-point numbers
            np.testing.assert_array_equal(found, loops.run(f.program, {"x": x})["y"])


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, "-1"), (np.int8, "200"), (np.int32, "0.5")])
def test_a_value_that_the_type_cannot_hold_is_an_error(dtype: type, value: str) -> None:
    with pytest.raises(ShapeError, match="pad-value"):
        il.compile(f"y[i] max= x[pad(i+k, 1, value={value})] where k < 2")(x=np.ones(4, dtype))


def test_positions_never_wrap() -> None:
    x = np.arange(5.0)
    for text, far in (
        ("x[4*ix[n]]", 2**62),
        ("x[ix[n]+1]", 2**63 - 1),
        ("x[ix[n] - 3]", -(2**63)),
        ("x[-ix[n]]", -(2**63)),
    ):
        with pytest.raises(ShapeError, match="out of range"):
            il.compile(f"y[n] = {text}")(x=x, ix=np.array([far]))
    with pytest.raises(ShapeError, match="out of range"):
        il.compile("y[n] = x[ix[n]]")(x=x, ix=np.array([2**63 + 1], np.uint64))
    f = il.compile("y[n] = x[clamp(int(z[n])+1)]")
    np.testing.assert_array_equal(f(x=x, z=np.array([1e30, -1e30, 1.5])), [4, 0, 2])
