"""A cotangent that is a number of the text: `f.grad(seed=1)`.

In: the derived statements, the name of a scalar cotangent, a number. Out: the statements without that input. The one
rule: a guard keeps its cotangent. `where loss.grad * m[i] != 0` says that a zero counts as nothing, not that the point
is refused, and is derived so; there `loss.grad` stays, as a tensor that the text sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import DerivationError, Problem
from ..program.conditions import guard_of
from ..program.ir import Access, Const, Dots, Expr, Program, Statement, Subscript, accesses_of, statement, walk
from ..program.rebuild import transform_statement
from ..rewrite.simplify import simplify_statement


def scalar(program: Program, moving: Sequence[str]) -> str:
    """The one output, which must be a scalar. Errors: `DerivationError`."""
    if len(moving) == 1:
        subscripts = next(s.target.subscripts for s in program.statements if s.target.tensor == moving[0])
        if not subscripts:
            return moving[0]
        axes = "axes" if len(subscripts) > 1 or Dots() in subscripts else "an axis"
        rule = f"a seed is the cotangent of a scalar output, and '{moving[0]}' has {axes}"
    else:
        rule = f"a seed is the cotangent of one scalar output, here: {', '.join(moving)}"
    way = "sum what is to be differentiated into a scalar, or pass cotangents instead of a seed"
    raise DerivationError(Problem("not-scalar", rule, way_out=way))


def seeded(statements: Sequence[Statement], seed: str, number: float) -> list[Statement]:
    """The statements with a number in place of the cotangent `seed`; it is set in front where one has to read it."""
    found = [_put(stmt, seed, number) for stmt in statements]
    if any(a.tensor == seed for stmt in found for a in accesses_of(stmt)):
        return [statement(Access(seed), "=", Const(number)), *found]
    return found


def _put(stmt: Statement, seed: str, number: float) -> Statement:
    here = Access(seed)
    if all(a != here for a in accesses_of(stmt)):
        return stmt
    masks: list[Expr] = []
    for mask in stmt.domain.masks:
        guard = guard_of(mask, stmt)
        if guard == here and number:
            continue
        if guard is not None and here in walk(guard):
            return stmt
        masks.append(mask)

    def rule(part: Subscript) -> Subscript | None:
        return Const(number) if part == here else None

    domain = replace(stmt.domain, masks=tuple(masks))
    return simplify_statement(transform_statement(replace(stmt, domain=domain), rule))
