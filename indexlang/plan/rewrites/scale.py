"""Numbers and divisors brought to where they have the fewest elements to scale.

In: a Program with its shapes and types. Out: the same with statements before others that scale one factor of a
product. The one rule: a product is scaled where it is smallest: at a factor, if that is much smaller than the result,
or than all that taps add up; else at its result, which is what the kernels do by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from ...program.ir import (
    Access,
    Boundary,
    Call,
    Const,
    Expr,
    Index,
    Program,
    Statement,
    Subscript,
    indices_of,
)
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..limits import Limits
from .share import factored, inserted


@dataclass(frozen=True)
class Scaled:
    """The factor that takes what a product is multiplied with and divided by, and what stays behind."""

    factor: Access
    factors: tuple[Expr, ...]
    divisors: tuple[Expr, ...]


def scale(program: Program, shapes: Shapes, types: Types, limits: Limits) -> tuple[Program, Shapes, Types]:
    """The program with products scaled at their smallest factors."""
    known: dict[object, Access] = {}  # what has been scaled for an earlier statement
    k = 0
    while k < len(program.statements):
        found = scaled(program.statements[k], shapes, types, k, limits)
        if found is not None:
            key = found, tuple(sorted((i, shapes.extents[k][i]) for i in indices_of(found.factor)))
            if key not in known:
                program, shapes, types, known[key] = _made(program, shapes, types, k, found)
                k += 1
            program = _with(program, k, found, known[key])
        k += 1
    return program, shapes, types


def scaled(stmt: Statement, shapes: Shapes, types: Types, number: int, limits: Limits) -> Scaled | None:
    """What is to be scaled before the statement."""
    if stmt.op not in ("=", "+=") or stmt.domain.masks or shapes.guarded[number]:
        return None
    kind, extents = types.compute[number], shapes.extents[number]
    parts = factored(stmt.value, divide=True)
    if parts is None or not kind.startswith(("float", "complex")):
        return None
    reads, factors, divisors = parts
    if len(reads) < 2 or any(types.tensors[a.tensor] != kind or a.tensor in types.weak for a in reads):
        return None
    sizes = {i: hi - lo for i, (lo, hi) in extents.items()}

    def points(indices: tuple[str, ...]) -> int:
        return prod(sizes[i] for i in set(indices))

    smallest = min(reads, key=lambda a: points(indices_of(a)))
    own = set(indices_of(smallest))
    taken = tuple(d for d in divisors if set(indices_of(d)) <= own)
    tapped = any(_is_tapped(s) for s in stmt.target.subscripts)
    whole = points(stmt.domain.indices if tapped else indices_of(stmt.target))
    if whole < limits.scaled or whole < limits.smaller * points(indices_of(smallest)):
        return None
    more_than_sign = taken or any(not (isinstance(f, Const) and f.value == -1) for f in factors)
    return Scaled(smallest, tuple(factors), taken) if more_than_sign or (tapped and factors) else None


def _is_tapped(sub: Subscript) -> bool:
    """Whether a position of the target belongs to several points."""
    return not isinstance(sub, Index) and isinstance(sub, Boundary | Call) and len(set(indices_of(sub))) > 1


def _made(
    program: Program, shapes: Shapes, types: Types, number: int, found: Scaled
) -> tuple[Program, Shapes, Types, Access]:
    """The program with the scaled factor made before a statement."""
    value: Expr = found.factor
    for factor in found.factors:
        value = Call("mul", (factor, value))
    for divisor in found.divisors:
        value = Call("div", (value, divisor))
    target = Access("", tuple(Index(i) for i in dict.fromkeys(indices_of(found.factor))))
    return inserted(program, shapes, types, number, "scaled", target, value)


def _with(program: Program, number: int, found: Scaled, made: Access) -> Program:
    """The program with a statement that reads the scaled factor."""
    stmt = program.statements[number]
    parts = factored(stmt.value, divide=True)
    assert parts is not None
    reads, _, divisors = parts
    rest = list(reads)
    rest[rest.index(found.factor)] = made
    product: Expr = rest[0]
    for factor in rest[1:]:
        product = Call("mul", (product, factor))
    for divisor in divisors:
        if divisor not in found.divisors:
            product = Call("div", (product, divisor))
    statements = list(program.statements)
    statements[number] = replace(stmt, value=product)
    return replace(program, statements=tuple(statements))
