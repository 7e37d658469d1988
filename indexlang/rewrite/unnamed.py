"""A gradient whose tensor nobody named is written where it is read, if it is one product.

In: a Program, and the gradients of tensors that only the derivation knows: the sum under a mean, the sum in an
expression. Out: an equal Program without those that only scale another tensor:

    sum_x.grad[n] += mu.grad[n] / D
    x.grad[n,d] += sum_x.grad[n]                      x.grad[n,d] += mu.grad[n] / D

The one rule: each element is computed from the same numbers. A gradient that is summed, masked or read under other
ranges stays; so does one that reads several tensors, unless one statement alone reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from ..program.algebra import product
from ..program.conditions import guard_of
from ..program.derivatives import is_constant
from ..program.ir import (
    Access,
    Call,
    Dots,
    Expr,
    Index,
    Program,
    Range,
    Reduce,
    Statement,
    Subscript,
    primal_of,
    reads_of,
    statement,
    walk,
)
from ..program.names import is_plain
from ..program.rebuild import transform_expr


def read_through(program: Program, unnamed: Collection[str]) -> Program:
    """The program without the gradients `unnamed` that only scale others."""
    count = Counter(s.target.tensor for s in program.statements)
    candidates = {n for n in unnamed if count[n] == 1 and n not in program.outputs}
    readers: dict[str, list[Statement]] = {n: [] for n in candidates}
    for stmt in program.statements:
        for name in candidates.intersection(reads_of(stmt)):
            readers[name].append(stmt)
    guarded = {s.target.tensor for s in program.statements if s.domain.masks}
    candidates = {n for n in candidates if all(_may_read(s, n, n in guarded) for s in readers[n])}
    made = set[str]()
    for stmt in program.statements:  # a line of a block may read what a later one makes, at an earlier step
        candidates.difference_update(n for n in candidates.intersection(reads_of(stmt)) if n not in made)
        made.add(stmt.target.tensor)
    gone: dict[str, Statement] = {}
    kept = []
    for old in program.statements:
        stmt = _read(old, gone)
        name = stmt.target.tensor
        if name in candidates and _is_scaled(stmt, len(readers[name])) and _fits(stmt, readers[name], name):
            gone[name] = stmt
        else:
            kept.append(stmt)
    if not gone:
        return program
    shapes = tuple(s for s in program.shapes if s.tensor not in gone)
    return replace(program, statements=tuple(kept), shapes=shapes)


def _may_read(stmt: Statement, name: str, guarded: bool) -> bool:
    """Whether a statement reads a gradient by plain indices only, and outside of conditions and reductions.

    One that is `guarded` must be a factor of a gradient, which is guarded then.
    """
    inside = [*stmt.domain.masks, *stmt.target.subscripts]
    if isinstance(stmt.value, Reduce) or any(_reads(m, name) for m in inside):
        return False
    found = [p for p in walk(stmt.value) if isinstance(p, Access) and p.tensor == name]
    factors = [f for f in product(stmt.value).factors if isinstance(f, Access) and f.tensor == name]
    if guarded and (primal_of(stmt.target.tensor) is None or len(factors) < len(found)):
        return False
    return all(isinstance(s, Index | Dots) for access in found for s in access.subscripts)


def _reads(node: Subscript, name: str) -> bool:
    return any(isinstance(p, Access) and p.tensor == name for p in walk(node))


def _is_scaled(stmt: Statement, readers: int) -> bool:
    """Whether a statement is one product of a tensor, numbers and sizes; of several tensors for a single reader."""
    masked = any(guard_of(m, stmt) is None for m in stmt.domain.masks)
    if stmt.op != "+=" or stmt.reduced or masked or not is_plain(stmt.target):
        return False
    parts = product(stmt.value)
    tensors = [f for f in (*parts.factors, *parts.divisors) if not is_constant(f)]
    return all(map(_is_light, tensors)) and (len(tensors) == 1 or readers == 1)


def _is_light(factor: Expr) -> bool:
    match factor:
        case Access(subscripts=subscripts):
            return all(isinstance(s, Index | Dots) for s in subscripts)
        case Call("pow", (Access() as base, exponent)):
            return is_constant(exponent) and _is_light(base)
        case _:
            return False


def _fits(stmt: Statement, readers: Sequence[Statement], name: str) -> bool:
    """Whether all that read a gradient run over just its ranges, where it has some."""
    if not stmt.domain.ranges:
        return True
    for reader in readers:
        for part in walk(reader.value):
            if isinstance(part, Access) and part.tensor == name:
                names = dict(zip(stmt.target.subscripts, part.subscripts, strict=True))
                if any(_there(r, names) not in reader.domain.ranges for r in stmt.domain.ranges):
                    return False
    return True


def _there(r: Range, names: dict[Subscript, Subscript]) -> Range | None:
    index = names[Index(r.index)]
    return Range(index.name, r.lo, r.hi) if isinstance(index, Index) else None


def _read(stmt: Statement, gone: dict[str, Statement]) -> Statement:
    """The statement with products in place of the gradients that are gone, and their guards."""
    masks = list(stmt.domain.masks)

    def rule(part: Subscript) -> Subscript | None:
        if not isinstance(part, Access) or part.tensor not in gone:
            return None
        source = gone[part.tensor]
        names = dict(zip(source.target.subscripts, part.subscripts, strict=True))

        def renamed(expr: Expr) -> Expr:
            return transform_expr(expr, lambda p: names.get(p) if isinstance(p, Index | Dots) else None)

        masks.extend(map(renamed, source.domain.masks))
        return renamed(source.value)

    if gone.keys().isdisjoint(reads_of(stmt)):
        return stmt
    value = transform_expr(stmt.value, rule)
    return statement(
        stmt.target, stmt.op, value, stmt.domain.ranges, tuple(dict.fromkeys(masks)), stmt.span, stmt.block
    )
