"""The blocks of a program: their numbers, and the statements that they hold.

In: statements in order. Out: the same with blocks numbered anew; runs of statements of one block. The one rule: what
stands in a row with one Block is one `for`, and a number tells two in a row apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TypeVar

from .ir import Block, Program, Range, Statement, blocks_of, steps_of

Bound = TypeVar("Bound")


def numbered(statements: Iterable[Statement], first: int = 0) -> tuple[Statement, ...]:
    """The statements with their blocks numbered from `first` on, as they come.

    A block that others have come to stand inside of is two: those before these, and those behind them.
    """
    found: list[Statement] = []
    open_: list[tuple[Block, Block]] = []  # as they were, and with their numbers
    number = first
    for stmt in statements:
        path = blocks_of(stmt)
        same = next((k for k, (a, (b, _)) in enumerate(zip(path, open_, strict=False)) if a != b), len(path))
        open_ = open_[:same]
        for block in path[len(open_) :]:
            outer = open_[-1][1] if open_ else None
            open_.append((block, replace(block, number=number, outer=outer)))
            number += 1
        found.append(replace(stmt, block=open_[-1][1]) if open_ else stmt)
    return tuple(found)


def runs(statements: Sequence[Statement], level: int = 0) -> Iterator[tuple[Block | None, tuple[Statement, ...]]]:
    """The statements that follow each other in one block of a level, from 0 on; None for those in no block of it."""

    def here(stmt: Statement) -> Block | None:
        path = blocks_of(stmt)
        return path[level] if len(path) > level else None

    for block, found in groupby(statements, here):
        yield block, tuple(found)


def turned(block: Block) -> Block:
    """The block in the other order, as another one: derived from it."""
    outer = None if block.outer is None else turned(block.outer)
    return replace(block, reverse=not block.reverse, number=-1 - block.number, outer=outer)


def again(block: Block) -> Block:
    """Another block that goes through the same steps."""
    outer = None if block.outer is None else again(block.outer)
    return replace(block, number=-1 - block.number, outer=outer)


def with_ranges(statements: Sequence[Statement], first: int = 0) -> tuple[Statement, ...]:
    """The statements from a number on whose blocks say how far they run, as all of their statements say it."""
    found: dict[Block, dict[str, Range]] = {}
    for stmt in statements[first:]:
        for block in blocks_of(stmt):
            ranges = found.setdefault(block, {})
            for i in block.indices:
                if (r := stmt.domain.range(i)) != Range(i):
                    ranges.setdefault(i, r)

    def new(block: Block) -> Block:
        ranges = tuple(found[block][i] for i in block.indices if i in found[block])
        return replace(block, ranges=ranges, outer=None if block.outer is None else new(block.outer))

    changed = (s if s.block is None else as_said(replace(s, block=new(s.block))) for s in statements[first:])
    return (*statements[:first], *changed)


def as_said(stmt: Statement) -> Statement:
    """The statement with the ranges that the lines of its blocks say for their indices, and their conditions first."""
    said = {i: Range(i) for i in steps_of(stmt)} | {r.index: r for b in blocks_of(stmt) for r in b.ranges}
    found = (said.get(i, stmt.domain.range(i)) for i in stmt.domain.indices)
    told = {m for b in blocks_of(stmt) for m in b.masks}
    masks = (*(m for m in stmt.domain.masks if m in told), *(m for m in stmt.domain.masks if m not in told))
    ranges = tuple(r for r in found if r != Range(r.index))
    return replace(stmt, domain=replace(stmt.domain, ranges=ranges, masks=masks))


def but_steps(stmt: Statement, bounds: Mapping[str, Bound] | None) -> dict[str, Bound] | None:
    """Bounds of a statement's indices without those of its steps, of which its block tells."""
    return None if bounds is None else {i: b for i, b in bounds.items() if i not in steps_of(stmt)}


def has_blocks(program: Program) -> bool:
    """Whether the order of steps matters anywhere in a program."""
    return any([s.block is not None for s in program.statements])


Steps = tuple[tuple[str, tuple[int, int]], ...]  # the indices of blocks that are open, with how far they run
