"""Ranges inherited: a derived statement runs where its forward statement ran.

In: a Program whose statements leave ranges out, and the bounds that they must have. Out: the same Program with a range
written wherever the accesses alone would give another one. The one rule: what the text says is enough; nothing that a
statement inherits is kept beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ..program.affine import Affine, greatest
from ..program.ir import (
    DOTS,
    Const,
    Domain,
    Expr,
    Program,
    Range,
    Reduce,
    Size,
    Statement,
    Subscript,
    indices_of,
    reductions_of,
    statement,
    steps_of,
    tensors_in,
)
from ..program.rebuild import transform_statement
from .admitted import ended_by_line
from .solve import Solution, attempt
from .statements import Bound
from .steps import made_in_blocks
from .uses import plain_uses, uses

Wanted = Bound | tuple[Expr, Expr]
PASSES = 4  # a written range may change what the accesses of the other indices give


def inherit(
    program: Program,
    wanted: Sequence[Mapping[str, Wanted] | None],
    known: Mapping[Size, Affine] | None = None,
    steps: bool = False,
) -> Program:
    """The program whose statement k runs over `wanted[k]`: index to bounds; None leaves a statement as it is.

    With `steps` the ranges of blocks are written in any case, but where their lines end them: what said them may have
    left the block.
    An index that is wanted and does not occur any more still counts: its range is written, too. So is that of one that
    conditions end: how far they keep it inside may follow from sizes that another statement, or a header, says are
    equal, and which is elsewhere, or nowhere, when the text is read again.
    """
    bounds = [None if w is None else {i: _bound(b) for i, b in w.items() if i != DOTS} for w in wanted]
    written: list[set[str]] = [set() for _ in program.statements]
    for k, stmt in enumerate(program.statements):
        present = set(_indices(stmt))
        own, moved = {*steps_of(stmt)}, {i for i in steps_of(stmt) if i not in ended_by_line(stmt)} if steps else ()
        for i, bound in (bounds[k] or {}).items():
            if i not in present or i in moved or (bound.masked and i not in own):
                written[k].add(i)

    def whole() -> Program:
        return _with(program, bounds, [set(b or ()) for b in bounds])

    made = made_in_blocks(program)
    judged = frozenset(k for k, b in enumerate(bounds) if b is not None)
    for _ in range(PASSES):
        trial = _with(program, bounds, written)
        solution = attempt(trial, known, judged)
        done = True
        for k, stmt in enumerate(trial.statements):
            for i, bound in (bounds[k] or {}).items():
                if i not in written[k] and not _agrees(solution, k, stmt, i, bound, made[k].get(i, ())):
                    written[k].add(i)
                    done = False
        if done:
            asked = solution.claims and _reads_judged(program, judged)
            if asked and not _claimed(solution, attempt(whole(), known, judged)):
                break
            return trial
    return whole()


def _reads_judged(program: Program, judged: Collection[int]) -> bool:
    """Whether a statement that may claim something names a tensor that a judged one makes; else its claims are its own.

    The forward statements of a derived program name no gradients.
    """
    made = {stmt.target.tensor for k, stmt in enumerate(program.statements) if k in judged}
    return any(not made.isdisjoint(tensors_in(s)) for k, s in enumerate(program.statements) if k not in judged)


def _claimed(solution: Solution, whole: Solution) -> bool:
    """Whether sizes are taken to be equal only where that is so with all ranges written, too."""
    same, known = whole.sizes.canonical, {(claim.size, claim.other) for claim in whole.claims}
    return all((c.size, c.other) in known or same(c.size) == same(c.other) for c in solution.claims)


def _bound(wanted: Wanted) -> Bound:
    return wanted if isinstance(wanted, Bound) else Bound(Affine.from_expr(wanted[0]), Affine.from_expr(wanted[1]))


def _indices(stmt: Statement) -> list[str]:
    inner = [i for p in reductions_of(stmt) for i in p.domain.indices]
    return [*stmt.domain.indices, *inner]


def _agrees(solution: Solution, k: int, stmt: Statement, index: str, wanted: Bound, made: Collection[str]) -> bool:
    """Whether the accesses give the wanted bounds, with no plain use that would refuse them."""
    found, canonical = solution.bounds[k][index], solution.sizes.canonical
    high, trusted = canonical(wanted.high), {wanted.high}
    sizes = {axis: solution.sizes.axis(*axis) for axis in wanted.sources}
    if high in sizes.values():  # not shortened: each run checks that these axes have one size
        trusted.update(s for s in sizes.values() if s is not None)
    if canonical(found.low) != canonical(wanted.low) or canonical(found.high) not in {high, *trusted}:
        return False
    if any(r.index == index and r.hi is not None for r in _ranges(stmt)):
        return True
    if found.masked:  # what stands in conditions alone would be read as a tensor
        return any(index in indices_of(use.subscript) for use in uses(stmt))
    plain = {canonical(s) for s in (*solution.plain[k].get(index, ()), *_later(solution, stmt, index, made))}
    return plain <= {high, *trusted}


def _later(solution: Solution, stmt: Statement, index: str, made: Collection[str]) -> list[Affine]:
    """The sizes that an index subscripts plainly of what a block makes later: they bound nothing, and must fit."""
    axes = [(u.tensor, u.axis) for u in plain_uses(stmt).get(index, ()) if not u.is_target and u.tensor not in made]
    return [size for axis in axes if (size := solution.sizes.axis(*axis)) is not None]


def _ranges(stmt: Statement) -> list[Range]:
    inner = [r for p in reductions_of(stmt) for r in p.domain.ranges]
    return [*stmt.domain.ranges, *inner]


def _with(
    program: Program, bounds: Sequence[Mapping[str, Bound] | None], written: Sequence[Collection[str]]
) -> Program:
    statements = []
    for stmt, wanted, names in zip(program.statements, bounds, written, strict=True):
        statements.append(write(stmt, {i: b for i, b in wanted.items() if i in names}) if wanted and names else stmt)
    return replace(program, statements=tuple(statements))


def write(stmt: Statement, bounds: Mapping[str, Bound]) -> Statement:
    """The statement with ranges written for some of its indices, those of its embedded reductions included."""

    def rule(part: Subscript) -> Subscript | None:
        if isinstance(part, Reduce) and set(part.domain.indices) & set(bounds):
            domain = part.domain
            ranges = tuple(r for i in domain.indices if (r := _range(domain, i, bounds)) != Range(i))
            return replace(part, domain=replace(domain, ranges=ranges))
        return None

    inner = {i for p in reductions_of(stmt) for i in p.domain.indices}
    if inner & set(bounds):
        stmt = transform_statement(stmt, rule)
    names = dict.fromkeys((*stmt.domain.indices, *(i for i in bounds if i not in inner)))
    ranges = tuple(r for i in names if (r := _range(stmt.domain, i, bounds)) != Range(i))
    return statement(stmt.target, stmt.op, stmt.value, ranges, stmt.domain.masks, stmt.span, stmt.block)


def _range(domain: Domain, index: str, bounds: Mapping[str, Bound]) -> Range:
    bound = bounds.get(index)
    if bound is None:
        return domain.range(index)
    high = greatest(bound.low, bound.high) if bound.masked else bound.high  # as it may run over nothing
    return Range(index, None if bound.lo == Const(0) else bound.lo, high.to_expr())
