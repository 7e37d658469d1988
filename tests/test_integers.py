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


FAR = [2**40 + 1, 2**40, 2**62, 2**63 - 2, -(2**63) + 1, -(2**41), 5, -7, 0]
POSITIONS = {
    "ix[n]": lambda v: v,
    "ix[n]+1": lambda v: v + 1,
    "4*ix[n]": lambda v: 4 * v,
    "-ix[n]": lambda v: -v,
    "3*ix[n]-2*ix[n]": lambda v: v,
    "ix[n]+9223372036854775807": lambda v: v + 2**63 - 1,
}


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("kind", ["wrap", "reflect", "%"])
def test_what_turns_is_exact_however_far(dtype: str, position: str, kind: str) -> None:
    """By Python's integers, which have no end."""
    n = 5
    ix = np.array([v for v in FAR if v >= 0] + [2**63, 2**64 - 1] if dtype == "uint64" else FAR, dtype)
    at = [POSITIONS[position](int(v)) for v in ix]
    expected = [v % n for v in at]
    if kind == "reflect":
        expected = [min(v % (2 * n - 2), -v % (2 * n - 2)) for v in at]
    text = f"y[n] = x[({position}) % {n}]" if kind == "%" else f"y[n] = x[{kind}({position})]"
    found = il.compile(text)(x=np.arange(5.0), ix=ix)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("value", "array", "held"),
    [
        ("-inf", np.array([True]), False),
        ("inf", np.array([True]), True),
        ("1", np.array([False]), True),
        ("-inf", np.array([1.0], np.float16), -np.inf),
        ("1e30", np.array([1.0], np.float32), np.float32(1e30)),
        *((v, np.array([True]), None) for v in ("2", "2.5", "-1", "nan")),
        ("nan", np.array([1]), None),
        ("70000", np.array([1.0], np.float16), None),
        ("1e39", np.array([1.0], np.float32), None),
    ],
)
def test_what_a_pad_puts_around_is_of_the_type(value: str, array: np.ndarray, held: float | None) -> None:
    f = il.compile(f"y[i] = x[pad(i,1,1,{value})]")
    if held is None:
        with pytest.raises(ShapeError, match="pad-value"):
            f(x=array)
    else:
        np.testing.assert_array_equal(f(x=array), [held, array[0], held])
