"""The scalar functions of the language in Python's own numbers, for the oracle.

In: bool, int, float or complex numbers. Out: the same. The one rule: what each function means is written here anew,
without a look at the table that the kernels and the derivation use; nan and inf come out as IEEE arithmetic has them,
never as an exception. In a complex step, functions with kinks and steps decide by the real part, and the functions
that Python has for real numbers only are continued to first order in the imaginary part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

Number = Any
Meaning = Callable[..., Number]


def is_nan(x: Number) -> bool:
    """nan, in either part."""
    return bool(x != x)  # nan is what differs from itself


def _smooth(name: str) -> Meaning:
    ufunc = getattr(np, name)

    def meaning(x: Number) -> Number:
        with np.errstate(all="ignore"):
            return ufunc(x if isinstance(x, complex) else float(x)).item()

    return meaning


exp, log, log1p, sqrt = (_smooth(name) for name in ("exp", "log", "log1p", "sqrt"))


def divide(a: Number, b: Number) -> Number:
    """`/`, with IEEE's answers for a zero denominator."""
    if b != 0:
        return a / b
    with np.errstate(all="ignore"):
        kind = np.complex128 if isinstance(a, complex) or isinstance(b, complex) else np.float64
        return np.divide(kind(a), kind(b)).item()


def multiply(a: Number, b: Number) -> Number:
    """`*`; a real factor scales both parts, so that inf times a complex number has no nan where it need not."""
    if isinstance(a, complex) and not isinstance(b, complex):
        return complex(a.real * b, a.imag * b if a.imag else 0.0)
    if isinstance(b, complex) and not isinstance(a, complex):
        return multiply(b, a)
    return a * b


def power(a: Number, n: Number) -> Number:
    """`**`: whole exponents by multiplication, others by the logarithm; anything to the 0 is 1."""
    if n == 0:
        return 1 if isinstance(a, int) and isinstance(n, int) else 1.0
    if isinstance(a, complex) or isinstance(n, complex):
        if not isinstance(n, complex) and float(n).is_integer() and abs(n) <= 64:
            whole: Number = 1.0
            for _ in range(abs(int(n))):
                whole = whole * a
            return whole if n > 0 else divide(1.0, whole)
        if a == 0:
            return 0.0 if n.real > 0 else 1.0 if n.real == 0 else math.inf
        return exp(multiply(n, log(complex(a))))
    with np.errstate(all="ignore"):
        if isinstance(a, int) and isinstance(n, int):
            return a**n if n >= 0 else np.power(float(a), n).item()
        return np.power(float(a), float(n)).item()


def floordiv(a: Number, b: Number) -> Number:
    if isinstance(a, int) and isinstance(b, int):
        return a // b if b else 0
    with np.errstate(all="ignore"):
        return np.floor_divide(a, b).item()


def mod(a: Number, b: Number) -> Number:
    return 0 if isinstance(b, int) and b == 0 and isinstance(a, int) else a - floordiv(a, b) * b


def sigmoid(x: Number) -> Number:
    if x.real >= 0:
        return 1 / (1 + exp(-x))
    return exp(x) / (1 + exp(x))


def softplus(x: Number) -> Number:
    return x + log1p(exp(-x)) if x.real > 0 else log1p(exp(x))


def erf(x: Number) -> Number:
    if isinstance(x, complex):  # to first order in the imaginary part
        return complex(math.erf(x.real), x.imag * 2 / math.sqrt(math.pi) * math.exp(-(x.real**2)))
    return math.erf(x)


def erfc(x: Number) -> Number:
    if isinstance(x, complex):
        return complex(math.erfc(x.real), -erf(x).imag)
    return math.erfc(x)


def atan2(a: Number, b: Number) -> Number:
    if isinstance(a, complex) or isinstance(b, complex):
        size = math.hypot(a.real, b.real)
        turn = divide(divide(a.imag * b.real - b.imag * a.real, size), size)
        return complex(math.atan2(a.real, b.real), turn)
    return math.atan2(a, b)


def hypot(a: Number, b: Number) -> Number:
    if isinstance(a, complex) or isinstance(b, complex):
        size = math.hypot(a.real, b.real)
        return complex(size, divide(a.real * a.imag + b.real * b.imag, size))
    return math.hypot(a, b)


def _each(whole: Callable[[float], float]) -> Meaning:
    """A step function: integers are kept, nan and inf too."""

    def meaning(x: Number) -> Number:
        x = x.real
        if isinstance(x, int) or not math.isfinite(x):
            return int(x) if isinstance(x, int) else x
        return float(whole(x))

    return meaning


def sign(x: Number) -> Number:
    x = x.real
    steps = (x > 0) - (x < 0)
    return x if is_nan(x) else steps if isinstance(x, int) else float(steps)


def absolute(x: Number) -> Number:
    return -x if x.real < 0 else x if x.real > 0 or is_nan(x) else x * 0


def relu(x: Number) -> Number:
    return x if x.real > 0 or is_nan(x) else 0 if isinstance(x, int) else 0.0


def to_int(x: Number) -> Number:
    x = x.real
    if isinstance(x, int):
        return x
    return 0 if math.isnan(x) else -(2**63) if x <= -(2.0**63) else 2**63 - 1 if x >= 2.0**63 else math.trunc(x)


_FUNCTIONS: Mapping[str, Meaning] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": multiply,
    "div": divide,
    "pow": power,
    "neg": lambda x: -x,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "and": lambda a, b: bool(a) and bool(b),
    "or": lambda a, b: bool(a) or bool(b),
    "not": lambda x: not x,
    "floordiv": floordiv,
    "mod": mod,
    "exp": exp,
    "log": log,
    "log1p": log1p,
    "expm1": _smooth("expm1"),
    "sqrt": sqrt,
    "rsqrt": lambda x: divide(1.0, sqrt(x)),
    "sin": _smooth("sin"),
    "cos": _smooth("cos"),
    "tan": _smooth("tan"),
    "asin": _smooth("arcsin"),
    "acos": _smooth("arccos"),
    "atan": _smooth("arctan"),
    "sinh": _smooth("sinh"),
    "cosh": _smooth("cosh"),
    "tanh": _smooth("tanh"),
    "asinh": _smooth("arcsinh"),
    "acosh": _smooth("arccosh"),
    "atanh": _smooth("arctanh"),
    "atan2": atan2,
    "hypot": hypot,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "silu": lambda x: multiply(x, sigmoid(x)),
    "erf": erf,
    "gelu": lambda x: 0.5 * x * erfc(-x / math.sqrt(2)),
    "abs": absolute,
    "relu": relu,
    "sign": sign,
    "floor": _each(math.floor),
    "ceil": _each(math.ceil),
    "round": _each(round),
    "int": to_int,
    "float": lambda x: x if isinstance(x, complex) else float(x),
}

_BY_REAL_PART = ("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not", "floordiv")


@cache
def functions(complex_step: bool) -> Mapping[str, Meaning]:
    """The meaning of each function by name; `max`, `min` and `where` are the oracle's own."""
    if not complex_step:
        return _FUNCTIONS

    def by_real_part(meaning: Meaning) -> Meaning:
        return lambda *args: meaning(*(a.real for a in args))

    stepped = {name: by_real_part(_FUNCTIONS[name]) for name in _BY_REAL_PART}
    floor = stepped["floordiv"]
    return {**_FUNCTIONS, **stepped, "mod": lambda a, b: a - floor(a, b) * b}
