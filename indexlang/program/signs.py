"""Which values a function can take, by which its arguments can: negative, zero, positive, infinite, nan.

In: a function's name, the signs of its arguments. Out: the signs of its value. The one rule: no value is left out that
some arguments of these signs have; overflow and underflow alone do not count: exp of a number is a positive number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache

# A set of: "<" minus infinity, "-" a negative number, "0", "+" a positive number, ">" infinity, "?" nan.
Signs = frozenset[str]

NUMBERS: Signs = frozenset("-0+")
POSITIVE: Signs = frozenset("+")
COUNTS: Signs = frozenset("0+")
INFINITE: Signs = frozenset("<>")
NO_NUMBER: Signs = frozenset("<>?")
_ORDER = "<-0+>"


def sign_of(number: float) -> str:
    if number != number:
        return "?"
    if math.isinf(number):
        return ">" if number > 0 else "<"
    return "+" if number > 0 else "-" if number < 0 else "0"


# Of one argument: the signs of the value at < - 0 + >, in this order.
_ROWS = {
    "neg": "> + 0 - <",
    "not": "0 0 + 0 0",
    "exp": "0 + + + >",
    "log": "? ? < -0+ >",
    "log1p": "? ?<- 0 + >",
    "expm1": "- - 0 + >",
    "sqrt": "? ? 0 + >",
    "rsqrt": "? ? > + 0",
    "sin": "? -0+ 0 -0+ ?",
    "cos": "? -0+ + -0+ ?",
    "tan": "? -0+ 0 -0+ ?",
    "asin": "? -? 0 +? ?",
    "acos": "? +? + 0+? ?",
    "atan": "- - 0 + +",
    "sinh": "< - 0 + >",
    "cosh": "> + + + >",
    "tanh": "- - 0 + +",
    "asinh": "< - 0 + >",
    "acosh": "? ? ? 0+? >",
    "atanh": "? -<? 0 +>? ?",
    "sigmoid": "0 + + + +",
    "softplus": "0 + + + >",
    "silu": "0? - 0 + >",
    "gelu": "0? - 0 + >",
    "erf": "- - 0 + +",
    "abs": "> + 0 + >",
    "relu": "0 0 0 + >",
    "sign": "- - 0 + +",
    "floor": "< - 0 0+ >",
    "ceil": "< -0 0 + >",
    "round": "< -0 0 0+ >",
    "int": "- -0 0 0+ +",
    "float": "< - 0 + >",
}
_UNARY = {fn: dict(zip(_ORDER, map(frozenset, row.split()), strict=True)) for fn, row in _ROWS.items()}

# Numbers of each sign at which functions of two arguments are tried.
_SAMPLES: dict[str, tuple[float, ...]] = {
    "<": (-math.inf,),
    "-": (-3.0, -2.0, -1.0, -0.5),
    "0": (0.0, -0.0),
    "+": (0.5, 1.0, 2.0, 3.0),
    ">": (math.inf,),
    "?": (math.nan,),
}


def _divide(a: float, b: float) -> float:
    if b == 0:
        return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1, b)
    return a / b


def _floor(a: float, b: float) -> float:
    return a // b if b else _divide(a, b)


def _power(a: float, b: float) -> float:
    try:
        return math.pow(a, b)
    except OverflowError:
        return -math.inf if a < 0 and b % 2 == 1 else math.inf
    except ValueError:  # a negative number to a broken power, or zero to a negative one
        return math.nan if a else math.copysign(math.inf, a) if b % 2 == 1 else math.inf


_BINARY: dict[str, Callable[[float, float], float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _divide,
    "pow": _power,
    "floordiv": _floor,
    "mod": lambda a, b: a % b if b and math.isfinite(a) and math.isfinite(b) else math.nan,
    "max": max,
    "min": min,
    "atan2": math.atan2,
    "hypot": math.hypot,
}


@cache
def signs_of(fn: str, *args: Signs) -> Signs:
    """The signs of a function's value."""
    if fn in _UNARY:
        return frozenset(_nan(args[0])).union(*(_UNARY[fn][s] for s in args[0] if s != "?"))
    if fn in _BINARY:
        first, second = ([n for s in arg for n in _SAMPLES[s]] for arg in args)
        return _tried(_BINARY[fn], args, first, second)
    return COUNTS  # comparisons, `and`, `or`: 1 or 0


@cache
def power_of(base: Signs, exponent: float) -> Signs:
    """The signs of a power whose exponent is known."""
    return _tried(_power, (base,), [n for s in base for n in _SAMPLES[s]], [exponent])


def _tried(
    f: Callable[[float, float], float], args: Iterable[Signs], first: Iterable[float], second: Iterable[float]
) -> Signs:
    found = set(_nan(*args))
    for a in first:
        for b in second:
            found.add(sign_of(f(a, b)))
    return frozenset(found)


def _nan(*args: Signs) -> Iterator[str]:
    if any("?" in arg for arg in args):
        yield "?"


def many(signs: Signs, fn: str) -> Signs:
    """What one or more values of these signs combine to."""
    found = signs
    while (more := found | signs_of(fn, found, found)) != found:
        found = more
    return found
