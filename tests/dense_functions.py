"""The scalar functions on whole arrays, for the second oracle.

In: arrays of bool, int64, float64 or complex128. Out: the same. The one rule: as in the loops, each function is
written here anew; complex numbers are real ones on which a complex step is taken, kinks and steps decide by the real
part, and functions that NumPy has for real numbers only are continued to first order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def number(x: Array) -> Array:
    """Truth values count as 1 and 0 in arithmetic."""
    return x.astype(np.int64) if x.dtype.kind == "b" else x


def floating(x: Array) -> Array:
    return x if x.dtype.kind in "fc" else x.astype(np.float64)


def multiply(a: Array, b: Array) -> Array:
    """To first order in the imaginary parts, whose product would move what is exactly zero and decides a tie."""
    a, b = number(a), number(b)
    if a.dtype.kind != "c" and b.dtype.kind != "c":
        return np.multiply(a, b)
    return joined(a.real * b.real, _times(a.real, b.imag) + _times(b.real, a.imag))


def _times(real: Array, imaginary: Array) -> Array:
    """No step times inf is no step."""
    return np.where(imaginary == 0, 0.0, real * imaginary)


def joined(real: Array, imaginary: Array) -> Array:
    found = np.empty(np.broadcast_shapes(np.shape(real), np.shape(imaginary)), np.complex128)
    found.real, found.imag = real, imaginary
    return found


def divide(a: Array, b: Array) -> Array:
    a, b = floating(number(a)), floating(number(b))
    if a.dtype.kind != "c" and b.dtype.kind != "c":
        return np.divide(a, b)
    found = a.real / b.real
    return joined(found, (a.imag - _times(found, b.imag)) / b.real)


def power(a: Array, n: Array) -> Array:
    """Whole exponents by multiplication, others by the logarithm; anything to the 0 is 1."""
    a, n = number(a), number(n)
    if a.dtype.kind == "i" and n.dtype.kind == "i":
        if np.min(n, initial=0) >= 0:
            return np.power(a, n)
        a = a.astype(np.float64)
    if a.dtype.kind != "c" and n.dtype.kind != "c":
        return np.power(floating(a), floating(n))
    if n.dtype.kind != "c" and n.size and np.all(n == n.flat[0]) and float(n.flat[0]).is_integer():
        whole = int(n.flat[0])
        found = np.ones(np.broadcast_shapes(a.shape, n.shape), np.complex128)
        for _ in range(abs(whole)):
            found = multiply(found, a)
        return found if whole >= 0 else divide(np.ones(()), found)
    general = np.exp(multiply(n, np.log(a.astype(np.complex128))))
    general = _as_real(general, np.power(floating(a.real), floating(n.real)))
    at_zero = np.where(n.real > 0, 0.0, np.where(n.real == 0, 1.0, np.inf))
    return np.where(n == 0, 1.0, np.where(a == 0, at_zero, general))


def floordiv(a: Array, b: Array) -> Array:
    a, b = number(a), number(b)
    if a.dtype.kind == "i" and b.dtype.kind == "i":
        return np.where(b == 0, 0, np.floor_divide(a, np.where(b == 0, 1, b)))
    return np.floor_divide(a, b)


def sigmoid(x: Array) -> Array:
    x = floating(number(x))
    small = np.exp(np.where(x.real > 0, -x, x))  # nothing overflows
    return np.where(x.real > 0, divide(np.ones(()), 1 + small), divide(small, 1 + small))


def softplus(x: Array) -> Array:
    x = floating(number(x))
    value = np.maximum(x.real, 0) + np.log1p(np.exp(-np.abs(x.real)))
    return value if x.dtype.kind != "c" else joined(value, x.imag * sigmoid(x.real))


def _error_function(f: Callable[[float], float], sign: int) -> Callable[[Array], Array]:
    each = np.frompyfunc(f, 1, 1)

    def function(x: Array) -> Array:
        x = floating(number(x))
        value = np.asarray(each(x.real), np.float64)
        if x.dtype.kind != "c":
            return value
        return joined(value, sign * x.imag * 2 / math.sqrt(math.pi) * np.exp(-(x.real**2)))

    return function


erf, erfc = _error_function(math.erf, 1), _error_function(math.erfc, -1)


def atan2(a: Array, b: Array) -> Array:
    a, b = floating(number(a)), floating(number(b))
    value = np.arctan2(a.real, b.real)
    if a.dtype.kind != "c" and b.dtype.kind != "c":
        return value
    size = np.hypot(a.real, b.real)
    return joined(value, (a.imag * b.real - b.imag * a.real) / size / size)


def hypot(a: Array, b: Array) -> Array:
    a, b = floating(number(a)), floating(number(b))
    value = np.hypot(a.real, b.real)
    if a.dtype.kind != "c" and b.dtype.kind != "c":
        return value
    return joined(value, (a.real * a.imag + b.real * b.imag) / value)


def to_int(x: Array) -> Array:
    x = number(x.real)
    if x.dtype.kind == "i":
        return x
    with np.errstate(all="ignore"):
        whole = np.trunc(np.where(np.isnan(x), 0, x))
        inside = np.clip(whole, -(2.0**63), 2.0**62).astype(np.int64)
    return np.where(whole >= 2.0**63, 2**63 - 1, np.where(whole > 2.0**62, whole, inside).astype(np.int64))


def absolute(x: Array) -> Array:
    x = number(x)
    return np.where(x.real < 0, -x, np.where((x.real > 0) | np.isnan(x.real), x, x * 0))


def relu(x: Array) -> Array:
    x = number(x)
    return np.where((x.real > 0) | np.isnan(x.real), x, np.zeros_like(x))


def remainder(a: Array, b: Array) -> Array:
    return number(a) - multiply(floordiv(a.real, b.real), b)


def _smooth(name: str) -> Callable[[Array], Array]:
    ufunc = getattr(np, name)
    return lambda x: _as_real(ufunc(floating(number(x))), ufunc(floating(number(x.real))))


def _as_real(found: Array, real: Array) -> Array:
    """A complex step has the real function's value, where it has one: NumPy's complex one loses digits."""
    return np.where(np.isnan(real), np.nan, joined(real, found.imag)) if found.dtype.kind == "c" else found


def _step(whole: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda x: number(x.real) if number(x.real).dtype.kind == "i" else whole(x.real)


FUNCTIONS: Mapping[str, Callable[..., Array]] = {
    "add": lambda a, b: np.add(number(a), number(b)),
    "sub": lambda a, b: np.subtract(number(a), number(b)),
    "mul": multiply,
    "div": divide,
    "pow": power,
    "neg": lambda x: -number(x),
    "lt": lambda a, b: a.real < b.real,
    "le": lambda a, b: a.real <= b.real,
    "gt": lambda a, b: a.real > b.real,
    "ge": lambda a, b: a.real >= b.real,
    "eq": lambda a, b: a.real == b.real,
    "ne": lambda a, b: a.real != b.real,
    "and": lambda a, b: (a.real != 0) & (b.real != 0),
    "or": lambda a, b: (a.real != 0) | (b.real != 0),
    "not": lambda x: x.real == 0,
    "floordiv": lambda a, b: floordiv(a.real, b.real),
    "mod": remainder,
    **{name: _smooth(name) for name in ("exp", "log", "log1p", "expm1", "sqrt", "sin", "cos", "tan")},
    **{name: _smooth(name) for name in ("sinh", "cosh", "tanh")},
    **{name: _smooth("arc" + name[1:]) for name in ("asin", "acos", "atan", "asinh", "acosh", "atanh")},
    "rsqrt": lambda x: divide(np.ones(()), FUNCTIONS["sqrt"](x)),
    "atan2": atan2,
    "hypot": hypot,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "silu": lambda x: multiply(x, sigmoid(x)),
    "erf": erf,
    "gelu": lambda x: multiply(0.5 * number(x), erfc(-number(x) / math.sqrt(2))),
    "abs": absolute,
    "relu": relu,
    "sign": lambda x: np.sign(number(x.real)),
    "floor": _step(np.floor),
    "ceil": _step(np.ceil),
    "round": _step(np.round),
    "int": to_int,
    "float": lambda x: floating(number(x)),
}


# -- combining ----------------------------------------------------------------------------------------


def greater(a: Array, b: Array, sign: int) -> Array:
    """The greater of two, the first at a tie; nan wins."""
    a, b = number(a), number(b)
    second = (sign * b.real > sign * a.real) | (np.isnan(b.real) & ~np.isnan(a.real))
    return np.where(second, b, a)


def product(values: Array) -> Array:
    """Along the last axis."""
    if values.dtype.kind != "c":
        return np.asarray(values.prod(-1))
    found = np.ones(values.shape[:-1], values.dtype)
    for k in range(values.shape[-1]):
        found = multiply(found, values[..., k])
    return found


def multiply_at(flat: Array, cells: Array, value: Array) -> None:
    """Cell by cell, the first factor of each, then the second of each."""
    order = np.argsort(cells, kind="stable")
    cells, value = cells[order], value[order]
    turn = np.arange(len(cells)) - np.searchsorted(cells, cells)
    for k in range(turn.max(initial=-1) + 1):
        at = cells[turn == k]
        flat[at] = multiply(flat[at], value[turn == k])


def sums(cells: Array, value: Array, size: int) -> Array:
    """The sums of the values by cell."""
    value = np.ascontiguousarray(value)
    if value.dtype.kind == "c":
        found = np.empty(size, np.complex128)
        found.real = np.bincount(cells, value.real, size)
        found.imag = np.bincount(cells, value.imag, size)
        return found
    return np.bincount(cells, value.astype(np.float64), size)
