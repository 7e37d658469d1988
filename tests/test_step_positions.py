"""Positions, conditions and paddings that a step itself evaluates: what the same subscripts mean outside of blocks.

Values: the plain loops of the oracle.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

import indexlang
from indexlang.oracle.loops import run as loops

Array = np.ndarray[Any, Any]
BACKENDS: tuple[Literal["numpy", "native"], ...] = ("numpy", "native")
TENS = np.arange(10) * 10.0
BIG = 9007199254740993  # which no float64 is


def _case(value: str, where: str = "", steps: str = "t", **given: Any) -> tuple[str, dict[str, Array]]:
    text = f"for {steps}:\n    s[t] = {value}{where}\n"
    return text, {"x": TENS, **{name: np.asarray(a) for name, a in given.items()}}


def _half(position: str, where: str = "", steps: str = "t", **given: Any) -> tuple[str, dict[str, Array]]:
    return _case(f"x[{position}] + 0.5*s[pad(t-1)]", where, steps, **given)


QUARTERS = [0.25, 0.5, 0.75, 1.75]
CASES = {
    "a product of floats": _half("int(f[t]*4.0)", f=QUARTERS),
    "a product in half precision": _half("int(f[t]*10)", f=np.asarray([0.1, 0.3, 0.7, 0.9], "float16")),
    "a comparison": _half("int(f[t] > 0.5)", f=QUARTERS),
    "a sum of comparisons": _half("int(f[t] > 0.5) + int((f[t] > 0.3) + (f[t] > 1))", f=QUARTERS),
    "a greatest float": _half("int(max(f[t]*3.0, 1.0) + 0.5)", f=QUARTERS),
    "a greatest one with nan": _half("pad(int(max(f[t], 1.0)))", f=[0.5, np.nan, 3.5]),
    "a float and an integer": _half("int(f[t]*k[t])", f=np.array([1.5, 2.5, 0.1], "float32"), k=[2, 3, 30]),
    "a remainder of floats": _half("int(f[t] % 1.5 * 2) + int(f[t] // 1.5)", f=[-1.0, 2.0, 4.5]),
    "a truncated float": _half("int(f[t])*2", f=[0.25, 0.75, 1.75, 2.5]),
    "a negative one": _half("int(f[t])", f=[-0.9, 0.9, 1.9]),
    "no number": _half("pad(int(f[t]))", f=[np.nan, 1.0, 2.0]),
    "no number inside": _half("int(f[t])", f=[np.nan, 1.0, 2.0]),
    "infinity": _half("clamp(int(f[t]))", f=[np.inf, -np.inf, 1e300, 2.0]),
    "a read of 8 bits": _case("x[w[t]+150] + 0.5*s[pad(t-1)]", x=np.arange(400.0), w=np.array([10, 200, 120], "uint8")),
    "a product of 8 bits": _half("pad(w[t]*100 - 9990)", w=np.array([100, 99, -100], "int8")),
    "a read of 64 bits without sign": _half("clamp(w[t] + 1)", w=np.array([0, 2**64 - 1, 5], "uint64")),
    "a remainder of 64 bits without sign": _half("wrap(w[t] + 1)", w=np.array([0, 2**64 - 1, 5], "uint64")),
    "a truth": _half("int(a[t] and b[t])", a=[2, 0, 1], b=[3, 1, 2]),
    "a truth of either": _half("int(f[t] or b[t]) + int(not f[t])", f=[0.5, 0, 0], b=[3, 2, 0]),
    "bools": _half("int(a[t]) + int(a[t] + b[t])", a=[True, False, True], b=[True, True, False]),
    "a remainder by 0": _case("x[t] + s[pad(t-1)]", " where 7 % k[t] == 1, 7 // k[t] < 7", k=[0, 3, 2], x=TENS[:3]),
    "an element in a padding": _half("w[pad(q[t])]", w=[3, 2, 1], q=[-1, 3, 1]),
    "the greatest integer around": _case("min(x[t], s[pad(t,1,0,inf)])", x=[5, 4, 7]),
    "the least integer around": _case("max(x[t], s[pad(t,1,0,-inf)])", x=[-5, -7, 2]),
    "a large integer around": _case(f"min(x[t], s[pad(t,1,0,{BIG})])", x=[2**60, 2**61, 7]),
    "no number around": _case("where(t > 1, x[t], s[pad(t,1,0,nan)])", x=TENS[:3]),
    "zeros of both signs around": (
        "for t:\n    s[t] = s[pad(t-1)] + 1/x[pad(w[t],0,1,0.0)]\n    q[t] = q[pad(t-1)] + 1/x[pad(w[t],0,1,-0.0)]\n",
        {"x": TENS[1:3], "w": np.array([0, 2, 1])},
    ),
    "refused by a float": _half("w[t]", " where f[t] > 0.5", w=[1, 77, 2], f=[1, 0, 0.6]),
    "refused by one of two": _half("w[t]", " where f[t] > 0.5 and t > 0", w=[77, 1, 2], f=[1, 1, 1]),
    "refused by one thing of two": _half("w[t]", " where not (f[t] <= 0.5 or t == 0)", w=[77, 1, 2], f=[1, 1, 1]),
    "refused by one and a function": _half("w[t]", " where (exp(f[t]) > 1 and t > 0)", w=[77, 1, 2], f=[1, 1, 1]),
    "refused by a function": _half("w[t]", " where exp(f[t]) > 1", w=[1, 77, 2], f=[1, 0, 0.6]),
    "a position of steps that is refused": _half("t % 4 * 76", " where f[t] > 0.5", f=[1, 0, 0, 0, 1]),
    "refused where it is in a padding": _half("pad(w[v[t]])", " where v[t] >= 0", "t < 3", w=[3, 2], v=[-7, 1, 0]),
    "refused where another one is": _half("w[v[t]]", " where v[t] >= 0", "t < 3", w=[3, 2], v=[-7, 1, 0]),
    "made in the step before": (
        "for t:\n    q[t] = x[t] + q[pad(t-1)]\n    s[t] = y[int(q[t]*0.5)] + s[pad(t-1)] where q[t] < 10\n",
        {"x": np.array([1.5, 0.6, 2.2, 7.0]), "y": TENS},
    ),
    "a position that is written": (
        "shape h[4]\nfor t:\n    h[int(f[t]*4.0)] += x[t] + 0.5*h[int(f[t])]\n",
        {"f": np.array([0.25, 0.5, 0.25]), "x": TENS[1:4]},
    ),
    "steps that floats do not refuse": _half("int(f[t])", " where t % 2 == 0", "t < 4", f=[1.5, 77, 2.5, 77]),
    "read in order where data say": _case("x[t] + s[pad(w[t]+150)]", x=np.arange(200.0), w=np.full(200, 250, "uint8")),
}


def expected(name: str) -> dict[str, Array]:
    text, given = CASES[name]
    with np.errstate(all="ignore"):
        return dict(loops(indexlang.compile(text).program, given))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_loops(name: str, backend: Literal["numpy", "native"]) -> None:
    text, given = CASES[name]
    f = indexlang.compile(text, backend=backend)
    found = f(given)
    for output, right in expected(name).items():
        np.testing.assert_array_equal(found[output] if isinstance(found, dict) else found, right)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("position", "where"),
    [("int(f[t]*10)", ""), ("int(f[t]*k[t])", ""), ("int(f[t] + f[t])", ""), ("w[t]", " where f[t] > 0.1")],
)
def test_single_precision_is_that_outside_of_blocks(
    position: str, where: str, backend: Literal["numpy", "native"]
) -> None:
    """The loops of the oracle have numbers of Python, for which 0.1 in single precision is more than 0.1."""
    given = {
        "f": np.array([0.1, 0.3, 0.7, 0.9], "float32"),
        "w": np.array([77, 1, 2, 3]),
        "k": np.full(4, 10),
        "x": TENS,
    }
    inside = indexlang.compile(f"for t:\n    s[t] = x[{position}] + 0.5*s[pad(t-1)]{where}\n", backend=backend)
    outside = indexlang.compile(f"s[t] = x[{position}]{where}\n", backend="numpy")
    right, before = outside({name: given[name] for name in outside.inputs}), 0.0
    for at, found in enumerate(inside({name: given[name] for name in inside.inputs})):
        assert found == (0.0 if where and at == 0 else right[at] + 0.5 * before)
        before = found


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_greatest_of_8_bits_is_around(backend: Literal["numpy", "native"]) -> None:
    f = indexlang.compile("for t:\n    s[t] = s[pad(t-1)] + x[pad(w[t],1,0,inf)]\n", backend=backend)
    np.testing.assert_array_equal(f(x=np.array([5, 4], "uint8"), w=np.array([1, 0, 2])), [5, 260, 264])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_padding_of_no_number_of_the_type_is_an_error(backend: Literal["numpy", "native"]) -> None:
    f = indexlang.compile("for t:\n    s[t] = s[pad(t-1)] + x[pad(w[t],1,0,0.5)]\n", backend=backend)
    with pytest.raises(indexlang.ShapeError, match=r"0\.5 is no uint8"):
        f(x=np.array([5, 4], "uint8"), w=np.array([1, 0, 2]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64", "int64"])
def test_the_order_is_that_of_numbers_of_any_size(dtype: str, backend: Literal["numpy", "native"]) -> None:
    w = np.zeros(100, dtype)
    w[10] = 100
    f = indexlang.compile("for t:\n    s[t] = x[t] + s[pad(w[t]*2//3)] where t > 0\n", backend=backend)
    with pytest.raises(indexlang.ShapeError, match="before it is made: at the step t = 10"):
        f(x=np.ones(100), w=w)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_position_that_no_float_refuses_is_looked_at(backend: Literal["numpy", "native"]) -> None:
    f = indexlang.compile("for t:\n    s[t] = x[w[t]] + 0.5*s[pad(t-1)] where f[t] > 0.5, t > 0\n", backend=backend)
    with pytest.raises(indexlang.ShapeError, match=r"w\[t\] = 77"):
        f(x=TENS, w=np.array([77, 1, 77]), f=np.array([1, 0, 0.75]))


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("a position that is written",)])
def test_a_module_that_stands_alone_has_the_same_values(name: str) -> None:
    text, given = CASES[name]
    f = indexlang.compile(text, backend="numpy")
    try:
        source = f.emit("numpy", given)
    except indexlang.errors.MeaningError:
        pytest.skip("data decide about the order")
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    found = namespace["run"](*(given[n] for n in f.inputs))
    for output, value in zip(f.outputs, found, strict=True):
        np.testing.assert_array_equal(value, expected(name)[output])
