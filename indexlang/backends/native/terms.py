"""Registers that are added and multiplied as numbers are, for those who write formulas.

In: operations on terms. Out: statements in a `Writing`. The one rule: one operator is one row of the table of
operations, in the order in which it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .nest import Literal, Operand, Type
from .writing import Writing

WHOLE = {"float32": "int32", "float64": "int64"}  # of equal width
FLOAT = {whole: name for name, whole in WHOLE.items()}
FRACTION = {"float32": 23, "float64": 52}  # bits behind the point
BIAS = {"float32": 127, "float64": 1023}
# Added to a number below its last bit's range, it rounds to the nearest integer, which then stands in the lowest bits.
MAGIC = {"float32": 1.5 * 2.0**23, "float64": 1.5 * 2.0**52}


@dataclass(frozen=True, eq=False)
class Term:
    """An operand and where its uses are written."""

    w: Writing
    at: Operand
    kind: Type

    # -- making ----------------------------------------------------------------------------------

    def number(self, value: int | float | bool) -> Term:
        """A number of the same type."""
        return number(self.w, value, self.kind)

    def apply(self, fn: str, *others: Term | float, kind: Type | None = None) -> Term:
        """A row of the table of operations with this as its first argument."""
        args = [self.at, *[o.at if isinstance(o, Term) else self.number(o).at for o in others]]
        kind = kind or self.kind
        return Term(self.w, self.w.apply(fn, *args, kind=kind), kind)

    # -- arithmetic ------------------------------------------------------------------------------

    def __add__(self, other: Term | float) -> Term:
        return self.apply("add", other)

    def __sub__(self, other: Term | float) -> Term:
        return self.apply("sub", other)

    def __mul__(self, other: Term | float) -> Term:
        return self.apply("mul", other)

    def __truediv__(self, other: Term | float) -> Term:
        return self.apply("div", other)

    def __radd__(self, other: float) -> Term:
        return self.number(other) + self

    def __rsub__(self, other: float) -> Term:
        return self.number(other) - self

    def __rmul__(self, other: float) -> Term:
        return self.number(other) * self

    def __rtruediv__(self, other: float) -> Term:
        return self.number(other) / self

    def __neg__(self) -> Term:
        return self.apply("neg")

    def __abs__(self) -> Term:
        return self.apply("abs")

    def times_plus(self, factor: Term | float, summand: Term | float) -> Term:
        """self * factor + summand, rounded once or twice."""
        return self.apply("fma", factor, summand)

    def sqrt(self) -> Term:
        return self.apply("sqrt")

    def signed_as(self, other: Term) -> Term:
        """With another one's sign."""
        return self.apply("copysign", other)

    # -- bits ------------------------------------------------------------------------------------

    def __and__(self, other: Term | int) -> Term:
        return self.apply("and", other)

    def __or__(self, other: Term | int) -> Term:
        return self.apply("or", other)

    def __xor__(self, other: Term | int) -> Term:
        return self.apply("xor", other)

    def __invert__(self) -> Term:
        return self.apply("not")

    def __lshift__(self, by: Term | int) -> Term:
        return self.apply("shl", by)

    def __rshift__(self, by: Term | int) -> Term:
        return self.apply("shr", by)

    def bits(self) -> Term:
        """A float's bits as an integer, or an integer's as a float."""
        return self.apply("bits", kind=Type({**WHOLE, **FLOAT}[self.kind.dtype], self.kind.lanes))

    def cast(self, dtype: str) -> Term:
        if dtype == self.kind.dtype:
            return self
        if isinstance(self.at, Literal):
            return number(self.w, self.at.value, Type(dtype, self.kind.lanes))
        return self.apply("cast", kind=Type(dtype, self.kind.lanes))

    # -- choosing --------------------------------------------------------------------------------

    def compared(self, fn: str, other: Term | float) -> Term:
        return self.apply(fn, other, kind=Type("bool", self.kind.lanes))

    def __lt__(self, other: Term | float) -> Term:
        return self.compared("lt", other)

    def __le__(self, other: Term | float) -> Term:
        return self.compared("le", other)

    def __gt__(self, other: Term | float) -> Term:
        return self.compared("gt", other)

    def __ge__(self, other: Term | float) -> Term:
        return self.compared("ge", other)

    def equals(self, other: Term | float) -> Term:
        return self.compared("eq", other)

    def differs(self, other: Term | float) -> Term:
        return self.compared("ne", other)

    def where(self, condition: Term, other: Term | float) -> Term:
        """This where a condition holds, else the other."""
        otherwise = other if isinstance(other, Term) else self.number(other)
        made = self.w.apply("select", condition.at, self.at, otherwise.at, kind=self.kind)
        return Term(self.w, made, self.kind)

    def at_most(self, bound: float) -> Term:
        """Not above a bound; nan stays."""
        return self.number(bound).where(self.number(bound) < self, self)

    def at_least(self, bound: float) -> Term:
        """Not below a bound; nan stays."""
        return self.number(bound).where(self.number(bound) > self, self)


def number(w: Writing, value: int | float | bool, kind: Type) -> Term:
    """A literal of a type: as exact as the type is, integers wrapped."""
    if kind.dtype == "bool":
        value = bool(value)
    elif kind.dtype.startswith("float"):
        with np.errstate(over="ignore"):
            value = float(np.dtype(kind.dtype).type(value))
    else:
        info = np.iinfo(kind.dtype)
        value = (int(value) - info.min) % (1 << info.bits) + info.min
    return Term(w, Literal(value, kind), kind)


def polynomial(x: Term, coefficients: Sequence[float]) -> Term:
    """By Horner's rule, the highest power first."""
    total: Term = x.number(coefficients[0])
    for c in coefficients[1:]:
        total = total.times_plus(x, c)
    return total
