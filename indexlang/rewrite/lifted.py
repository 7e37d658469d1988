"""Blocks without what needs no order: only statements that wait for their own results stay in a `for`.

In: statements in order. Out: the same statements in an order in which each still finds what it reads, those that take
no part in a recurrence outside of blocks, where each is one statement over all steps. The one rule: a statement stays
if what it makes is, by way of others of its block, read by itself; ties keep their winners.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..program.blocks import runs
from ..program.conditions import as_mask
from ..program.ir import Block, Program, Statement, blocks_of, indices_of, reads_of, statement, steps_of

Numbered = tuple[int, Statement]


def lifted(program: Program) -> Program:
    """The program with its blocks as short as they can be."""
    if all(s.block is None for s in program.statements):
        return program
    return replace(program, statements=tuple(s for _, s in arranged(program.statements)))


def arranged(statements: Sequence[Statement]) -> list[Numbered]:
    """The statements as they run, each with its number before."""
    return _arranged(list(enumerate(statements)), 0)


def gathered(statements: Sequence[Statement]) -> list[Numbered]:
    """The statements with those of each block side by side again: what came to stand between them, in front of them."""
    return _gathered(list(enumerate(statements)), 0)


def _gathered(numbered: Sequence[Numbered], level: int) -> list[Numbered]:
    """The same inside of blocks up to a level, which all of the statements share."""
    last = {b: k for k, (_, s) in enumerate(numbered) for b in blocks_of(s)[level : level + 1]}
    found: list[Numbered] = []
    waiting: list[Numbered] = []
    inside: Block | None = None
    for k, (number, stmt) in enumerate(numbered):
        block = (*blocks_of(stmt)[level:], None)[0]
        inside = inside or block
        (waiting if inside is not None and block == inside else found).append((number, stmt))
        if inside is not None and k == last[inside]:
            found += _gathered(waiting, level + 1)
            waiting, inside = [], None
    return found


def _arranged(statements: Sequence[Numbered], level: int) -> list[Numbered]:
    """Statements of which those of one block at a level stand side by side."""
    found: list[Numbered] = []
    at = 0
    for block, several in runs([s for _, s in statements], level):
        some = statements[at : at + len(several)]
        at += len(several)
        if block is None:
            found += some
        else:
            found += _arranged(some, level + 1) if block.closed else _lifted(some, level)
    return found


def _lifted(statements: Sequence[Numbered], level: int) -> list[Numbered]:
    """The statements of one block, those without a part in a recurrence before or behind it."""
    groups = _recurrent([s for _, s in statements])
    found: list[Numbered] = []
    for group in groups:
        some = [statements[k] for k in group]
        if len(group) == 1 and not _waits(some[0][1]):
            number, stmt = some[0]
            found.append((number, _outside(stmt, level)))
        else:
            found += _arranged(some, level + 1)
    # what was in one deeper block may be outside of this one, and stand in a block that others are in, too
    return found


def _waits(stmt: Statement) -> bool:
    """Whether a statement alone stays in its block: it reads its own target, or the order of steps decides its ties."""
    if stmt.target.tensor in reads_of(stmt):
        return True
    chosen = stmt.op in ("max=", "min=") and bool({*stmt.reduced} & {*steps_of(stmt)})
    outside = replace(stmt, block=None)
    again = statement(stmt.target, stmt.op, stmt.value, stmt.domain.ranges, stmt.domain.masks).domain.indices
    return chosen and (any(b.reverse for b in blocks_of(stmt)) or again != outside.domain.indices)


def _outside(stmt: Statement, level: int) -> Statement:
    """The statement outside of the blocks from a level on."""
    path = blocks_of(stmt)[:level]
    block = path[-1] if path else None
    gone = {i for b in blocks_of(stmt)[level:] for i in b.indices}
    masks = tuple(m if gone.isdisjoint(indices_of(m)) else as_mask(m) for m in stmt.domain.masks)  # guards stay such
    return statement(stmt.target, stmt.op, stmt.value, stmt.domain.ranges, masks, stmt.span, block)


def _recurrent(statements: Sequence[Statement]) -> list[list[int]]:
    """Numbers of statements that read what each other make, in groups; each group after those that it reads."""
    count = len(statements)
    makers: dict[str, list[int]] = {}
    for k, stmt in enumerate(statements):
        makers.setdefault(stmt.target.tensor, []).append(k)
    needs: list[list[int]] = []
    for k, stmt in enumerate(statements):
        before = [j for j in makers[stmt.target.tensor] if j < k]
        needs.append(sorted({*before, *(j for t in reads_of(stmt) for j in makers.get(t, ()))} - {k}))
    reached = [_reached(k, needs) for k in range(count)]
    left, groups = list(range(count)), list[list[int]]()
    while left:
        ready = next(k for k in left if all(j not in left or k in reached[j] for j in reached[k]))
        group = sorted({ready, *(j for j in reached[ready] if ready in reached[j] and j in left)})
        groups.append(group)
        left = [k for k in left if k not in group]
    return groups


def _reached(first: int, needs: Sequence[Sequence[int]]) -> set[int]:
    found: set[int] = set()
    left = list(needs[first])
    while left:
        k = left.pop()
        if k not in found:
            found.add(k)
            left += needs[k]
    return found
