"""Functions without rounding errors of their own: signs, steps, comparisons, whole divisions, conversions.

In: terms. Out: a term. The one rule: bits are those of NumPy's function, infinities, nan and wrapped integers included.
"""

from __future__ import annotations

import math

import numpy as np

from .nest import Literal, Type
from .terms import Term, number

STEP, STEPS = 28, 10  # bits of a quotient that each step takes; float32 has 277
SWAPPED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}


def is_float(kind: Type) -> bool:
    return kind.dtype.startswith("float")


def is_signed(kind: Type) -> bool:
    return kind.dtype.startswith("int")


def relu(x: Term) -> Term:
    return x.at_least(0.0) if is_float(x.kind) else x.apply("greatest", 0)


def sign(x: Term) -> Term:
    """1, 0 or -1; nan stays."""
    one, zero = x.number(1), x.number(0)
    if not is_float(x.kind):
        below = x.number(-1).where(x < 0, zero) if is_signed(x.kind) else zero
        return one.where(x > 0, below)
    return one.where(x > 0.0, x.number(-1.0).where(x < 0.0, zero.where(x.equals(0.0), x)))


def isfinite(x: Term) -> Term:
    if not is_float(x.kind):
        return number(x.w, True, Type("bool", x.kind.lanes))
    return abs(x) < math.inf


def truth(x: Term) -> Term:
    """A value as a condition: nan is true."""
    if x.kind.dtype == "bool":
        return x
    if isinstance(x.at, Literal):
        return number(x.w, bool(x.at.value), Type("bool", x.kind.lanes))
    return x.differs(0)


def converted(x: Term, dtype: str) -> Term:
    """As NumPy's astype."""
    return truth(x) if dtype == "bool" else x.cast(dtype)


def to_int(x: Term) -> Term:
    """Toward zero as int64: what lies beyond its range as the nearest there is, nan as 0."""
    if not is_float(x.kind):
        return converted(x, "int64")
    if isinstance(x.at, Literal):
        value = float(x.at.value)
        ends = (-(1 << 63), (1 << 63) - 1)
        whole = 0 if math.isnan(value) else ends[value > 0] if abs(value) >= 2.0**63 else int(value)
        return number(x.w, whole, Type("int64", x.kind.lanes))
    x = x.cast("float32") if x.kind.dtype == "float16" else x
    inside = x.where(abs(x) < 2.0**63, 0.0).cast("int64")
    least = number(x.w, -(1 << 63), inside.kind)
    above = number(x.w, (1 << 63) - 1, inside.kind)
    return above.where(x >= 2.0**63, least.where(x <= -(2.0**63), inside))


# -- comparisons ---------------------------------------------------------------------------------------


def compared(fn: str, a: Term, b: Term) -> Term:
    """A comparison of two numbers, exact for integers of all types; a literal takes the type of what it meets."""
    if isinstance(a.at, Literal) and not isinstance(b.at, Literal):
        return compared(SWAPPED[fn], b, a)
    if isinstance(b.at, Literal):
        value, dtype = b.at.value, a.kind.dtype
        if not is_float(a.kind) and not isinstance(value, float):
            low, high = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            if not low <= value <= high:  # then it is on one side of all
                holds = fn in (("lt", "le", "ne") if value > high else ("gt", "ge", "ne"))
                return number(a.w, holds, Type("bool", a.kind.lanes))
        if is_float(a.kind) or not isinstance(value, float):
            return a.compared(fn, value)
    kinds = {a.kind.dtype, b.kind.dtype}
    if "uint64" in kinds and any(k.startswith("int") for k in kinds):
        return _of_mixed_signs(fn, a, b) if is_signed(a.kind) else _of_mixed_signs(SWAPPED[fn], b, a)
    common = np.promote_types(a.kind.dtype, b.kind.dtype).name
    return converted(a, common).compared(fn, converted(b, common))


def _of_mixed_signs(fn: str, a: Term, b: Term) -> Term:
    """An integer with a sign and one of 64 bits without."""
    negative = a < 0
    found = a.cast("uint64").compared(fn, b)
    return negative | found if fn in ("lt", "le", "ne") else ~negative & found


# -- whole divisions -----------------------------------------------------------------------------------


def floordiv(a: Term, b: Term) -> Term:
    return _divided_floats(a, b)[0] if is_float(a.kind) else _divided_integers(a, b)[0]


def mod(a: Term, b: Term) -> Term:
    return _divided_floats(a, b)[1] if is_float(a.kind) else _divided_integers(a, b)[1]


def _divided_integers(a: Term, b: Term) -> tuple[Term, Term]:
    """Quotient and remainder, rounded down; both are 0 where the divisor is."""
    known = isinstance(b.at, Literal) and b.at.value != 0
    none = None if known else b.equals(0)
    divisor = b if none is None else b.number(1).where(none, b)
    quotient = a.apply("quotient", divisor)
    rest = a - quotient * divisor
    if is_signed(a.kind):
        if isinstance(b.at, Literal):
            wrong = rest < 0 if b.at.value > 0 else rest > 0
        else:
            wrong = rest.differs(0) & ((rest ^ divisor) < 0)
        quotient = (quotient - 1).where(wrong, quotient)
        rest = (rest + divisor).where(wrong, rest)
    if none is None:
        return quotient, rest
    zero = a.number(0)
    return zero.where(none, quotient), zero.where(none, rest)


def _divided_floats(a: Term, b: Term) -> tuple[Term, Term]:
    """Quotient and remainder of float32 as NumPy has them: by C's fmod, then turned to the divisor's sign."""
    rest = _fmod(a, b)
    quotient = (a - rest) / b
    some = rest.differs(0.0)
    turned = some & ((b < 0.0).apply("xor", rest < 0.0))
    quotient = (quotient - 1.0).where(turned, quotient)
    rest = (rest + b).where(turned, rest)
    rest = rest.where(some, a.number(0.0).signed_as(b))
    floor = quotient.apply("floor")
    floor = (floor + 1.0).where((quotient - floor) > 0.5, floor)
    ratio = a / b
    floor = floor.where(quotient.differs(0.0), a.number(0.0).signed_as(ratio))
    none = b.equals(0.0)
    return ratio.where(none, floor), a.number(math.nan).where(none, rest)


def _fmod(a: Term, b: Term) -> Term:
    """The exact remainder of a float32, with the sign of a: every product of a step fits a float64."""
    rest, divisor = abs(a).cast("float64"), abs(b).cast("float64")
    for step in reversed(range(STEPS)):
        scaled = divisor * 2.0 ** (STEP * step)
        rest = rest - (rest / scaled).apply("trunc") * scaled
    rest = (rest + divisor).where(rest < 0.0, rest)  # a quotient was rounded up
    rest = abs(a).cast("float64").where(divisor.equals(math.inf) & (abs(a) < math.inf), rest)
    return rest.cast("float32").signed_as(a)
