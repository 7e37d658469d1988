"""Quotients that several statements have in common, made once.

In: a Program with its shapes and types. Out: the same with `shared = a / b` before statements that multiply by a and
divide by b. The one rule: b has no index that a lacks, so the quotient is no larger than a.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from ...program.algebra import product_of
from ...program.ir import Access, Call, Expr, Index, Program, Statement, indices_of
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..limits import Limits
from .share import factored, inserted

Quotient = tuple[Access, Access]


def share_quotients(program: Program, shapes: Shapes, types: Types, limits: Limits) -> tuple[Program, Shapes, Types]:
    """The program with common quotients made once."""
    while (found := _best(program, shapes, types, limits)) is not None:
        (a, b), users = found
        target = Access("", tuple(map(Index, indices_of(a))))
        value = Call("div", (a, b))
        program, shapes, types, made = inserted(program, shapes, types, users[0], "shared", target, value)
        statements = list(program.statements)
        for k in (k + 1 for k in users):
            statements[k] = _with(statements[k], a, b, made)
        program = replace(program, statements=tuple(statements))
    return program, shapes, types


def _best(program: Program, shapes: Shapes, types: Types, limits: Limits) -> tuple[Quotient, list[int]] | None:
    """The quotient that most statements use, with these."""
    users: dict[Quotient, list[int]] = {}
    written: dict[str, int] = {}
    for k, stmt in enumerate(program.statements):
        written[stmt.target.tensor] = k
        if stmt.op in ("=", "+=") and not stmt.domain.masks and not shapes.guarded[k]:
            for a, b in dict.fromkeys(_quotients(stmt)):
                extents, kind = shapes.extents[k], types.compute[k]
                typed = kind.startswith("float") and all(types.tensors[x.tensor] == kind for x in (a, b))
                whole = all(extents[i][0] == 0 for i in indices_of(a))
                if typed and whole and prod(extents[i][1] for i in indices_of(a)) >= limits.scaled:
                    users.setdefault((a, b), []).append(k)
    best: tuple[Quotient, list[int]] | None = None
    for pair, numbers in users.items():
        alike = {(types.compute[k], *(shapes.extents[k][i] for i in indices_of(pair[0]))) for k in numbers}
        ready = all(written.get(x.tensor, -1) < numbers[0] for x in pair)
        if len(alike) == 1 and ready and len(numbers) > (1 if best is None else len(best[1])):
            best = pair, numbers
    return best


def _quotients(stmt: Statement) -> Iterator[Quotient]:
    """A factor and a divisor of a statement's product, plain reads both."""
    found = factored(stmt.value, divide=True)
    if found is None or len(found[0]) < 2:  # what is left must be a product: else nothing is saved
        return
    reads, _, divisors = found
    for a in reads:
        for b in divisors:
            plain = isinstance(b, Access) and all(isinstance(s, Index) for x in (a, b) for s in x.subscripts)
            if isinstance(b, Access) and plain and len(b.subscripts) > 1 and set(indices_of(b)) <= set(indices_of(a)):
                yield a, b


def _with(stmt: Statement, a: Access, b: Access, made: Access) -> Statement:
    """The statement with the quotient in place of a factor and a divisor."""
    found = factored(stmt.value, divide=True)
    assert found is not None
    reads, factors, divisors = (list(part) for part in found)
    reads.remove(a)
    divisors.remove(b)
    value: Expr = product_of([made, *reads])
    for factor in factors:
        value = Call("mul", (factor, value))
    return replace(stmt, value=product_of([value], divisors))
