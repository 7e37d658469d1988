"""Guards that the data make superfluous: the program without them, and what must be finite for that to be the same.

In: a Program in which masks of derived statements say that a cotangent is not zero. Out: the Programs that may run
instead, fastest first, and which of their tensors must be finite. The one rule: where a guard refuses a point its value
is 0 times a slope. So a result without guards that is finite is the result; every other one is found out.

What is not a number stays so in sums, products and quotients up to the tensors that are looked at; a program in which
it could get lost keeps its guards.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import reduce

from ...program.algebra import Product, left_over, product
from ...program.conditions import guard_of
from ...program.ir import (
    Access,
    Call,
    Const,
    Domain,
    Expr,
    Index,
    Program,
    Statement,
    Subscript,
    indices_of,
    parts_of,
    reads,
    statement,
    walk,
)
from ...program.names import Fresh
from ...ranges.inherit import inherit
from ...ranges.solve import solve
from ...ranges.statements import Bound
from ..plan import Trial


def ways(program: Program) -> Iterator[Trial]:
    """The programs to run until the results of one hold; the last one always does."""
    guarded = [k for k, s in enumerate(program.statements) if _guards(s)]
    finite = _reached(program, guarded)
    if guarded and finite is not None and all(_is_factor(program.statements[k]) for k in guarded):
        statements = tuple(_bare(s) if k in guarded else s for k, s in enumerate(program.statements))
        yield Trial(replace(program, statements=statements), finite)
        sifted = _sifted(program)
        if sifted is not None:
            yield sifted
    yield Trial(program)


def _guards(stmt: Statement) -> list[Expr]:
    return [guard for mask in stmt.domain.masks if (guard := guard_of(mask, stmt)) is not None]


def _is_factor(stmt: Statement) -> bool:
    """Whether what is not zero, by a guard, is a factor of the value."""
    return all(left_over(stmt.value, guard) is not None for guard in _guards(stmt))


def _bare(stmt: Statement) -> Statement:
    """The statement without guards; each of its indices is in its value, too."""
    domain = stmt.domain
    masks = tuple(m for m in domain.masks if guard_of(m, stmt) is None)
    return replace(stmt, domain=Domain(domain.indices, domain.ranges, masks))


# -- where what is no number goes ----------------------------------------------------------------------


def _reached(program: Program, guarded: Collection[int]) -> tuple[str, ...] | None:
    """The outputs that depend on guarded statements; None if something on the way could hide what is no number."""
    marked: set[str] = set()
    for k, stmt in enumerate(program.statements):
        touched = [p for p in parts_of(stmt) if isinstance(p, Access) and p.tensor in marked and p != stmt.target]
        if not touched and k not in guarded:
            if stmt.target.tensor in marked and stmt.op not in ("=", "+="):
                return None
            continue
        bounds = [b for r in stmt.domain.ranges for b in (r.lo, r.hi) if b is not None]
        masks = [m for m in stmt.domain.masks if guard_of(m, stmt) is None]
        asked = [*bounds, *masks, *stmt.target.subscripts]
        if stmt.op not in ("=", "+=") or any(_reads(part, marked) for part in asked):
            return None
        if not _passes(stmt.value, marked):
            return None
        marked.add(stmt.target.tensor)
    return tuple(t for t in program.outputs if t in marked)


def _reads(node: Subscript, marked: Collection[str]) -> bool:
    return any(isinstance(p, Access) and p.tensor in marked for p in walk(node))


def _passes(expr: Expr, marked: Collection[str]) -> bool:
    """Whether a value is no number wherever a marked tensor that it reads is none."""
    if not _reads(expr, marked):
        return True
    match expr:
        case Access(subscripts=subscripts):
            return not any(_reads(s, marked) for s in subscripts)
        case Call(fn="add" | "sub" | "mul" | "neg" | "float", args=args):
            return all(_passes(a, marked) for a in args)
        case Call(fn="div", args=(a, b)):
            return _passes(a, marked) and not _reads(b, marked)
        case Call(fn="where", args=(c, a, b)):
            return not _reads(c, marked) and _passes(a, marked) and _passes(b, marked)
        case _:
            return False


# -- contractions --------------------------------------------------------------------------------------


def _sifted(program: Program) -> Trial | None:
    """The program in which sums of products have 0 for factors that are no numbers, instead of a guard.

    That is right if no cotangent that is not zero meets one of them: a tensor is finite then.
    """
    chosen = {k: found for k, stmt in enumerate(program.statements) if (found := _contraction(stmt)) is not None}
    if not chosen:
        return None
    solution, names = solve(program), Fresh.of(program)
    refused = names.fresh("refused")
    statements: list[Statement] = []
    bounds: list[dict[str, Bound] | None] = []
    tested: set[object] = set()
    for k, stmt in enumerate(program.statements):
        if k in chosen:
            stmt, tests = _with_numbers(stmt, *chosen[k], names, refused, tested)
            statements += tests
            bounds += [{i: solution.bounds[k][i] for i in t.domain.indices} for t in tests]
        statements.append(stmt)
        bounds.append({i: solution.bounds[k][i] for i in stmt.domain.indices} if k in chosen else None)
    if not tested:  # nothing that is read could be no number
        return None
    outputs = (*program.outputs, refused)
    name = program.name or "sifted"
    sifted = replace(program, statements=tuple(statements), outputs=outputs, name=name)
    return Trial(inherit(sifted, bounds), (refused,))


def _contraction(stmt: Statement) -> tuple[Expr, Product] | None:
    """What guards say is not zero, and the rest of the product, of a sum over more points than any factor has."""
    guards = _guards(stmt)
    if not guards or len(guards) < len(stmt.domain.masks) or not stmt.reduced:
        return None
    guard = reduce(lambda a, b: Call("mul", (a, b)), guards)
    rest, whole = left_over(stmt.value, guard), set(stmt.domain.indices)
    if rest is None or any(set(indices_of(f)) == whole for f in (*rest.factors, *product(guard).factors)):
        return None
    return guard, rest


def _with_numbers(
    stmt: Statement, guard: Expr, rest: Product, names: Fresh, refused: str, tested: set[object]
) -> tuple[Statement, list[Statement]]:
    """The statement with numbers only beside its cotangent, and those that say whether it may stand in its place."""
    tests: list[Statement] = []
    bare = replace(product(stmt.value), factors=(), divisors=())
    value: Expr = Call("mul", (bare.expr(), guard))
    for factor in rest.factors:
        if not reads(factor):
            value = Call("mul", (value, factor))
            continue
        is_number = Call("eq", (Call("sub", (factor, factor)), Const(0)))
        value = Call("mul", (value, Call("where", (is_number, factor, Const(0)))))
        key = guard, factor, stmt.domain.ranges
        if key in tested:
            continue
        tested.add(key)
        shared = tuple(Index(i) for i in indices_of(guard) if i in indices_of(factor))
        counts, lacks = (Access(names.fresh(hint), shared) for hint in ("counts", "lacks"))
        meets = Call("gt", (Call("mul", (counts, lacks)), Const(0)))
        tests += [
            _over(stmt, counts, "max=", Call("where", (Call("ne", (guard, Const(0))), Const(1), Const(0)))),
            _over(stmt, lacks, "max=", Call("where", (is_number, Const(0), Const(1)))),
            _over(stmt, Access(refused), "+=", Call("where", (meets, Const(math.inf), Const(0.0)))),
        ]
    return statement(stmt.target, stmt.op, value, stmt.domain.ranges, (), stmt.span), tests


def _over(stmt: Statement, target: Access, op: str, value: Expr) -> Statement:
    """A statement over some of the indices of another one, as far as they run there."""
    used = {*indices_of(target), *indices_of(value)}
    return statement(target, op, value, tuple(r for r in stmt.domain.ranges if r.index in used), (), stmt.span)
