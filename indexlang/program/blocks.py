"""The blocks of a program: their numbers, and the statements that they hold.

In: statements in order. Out: the same with blocks numbered anew; runs of statements of one block. The one rule: what
stands in a row with one Block is one `for`, and a number tells two in a row apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from .ir import Block, Program, Range, Statement, blocks_of


def numbered(statements: Iterable[Statement], first: int = 0) -> tuple[Statement, ...]:
    """The statements with their blocks numbered from `first` on, as they come."""
    made: dict[Block, Block] = {}

    def new(block: Block) -> Block:
        if block not in made:
            outer = None if block.outer is None else new(block.outer)
            made[block] = replace(block, number=first + len(made), outer=outer)
        return made[block]

    return tuple(s if s.block is None else replace(s, block=new(s.block)) for s in statements)


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

    changed = (s if s.block is None else replace(s, block=new(s.block)) for s in statements[first:])
    return (*statements[:first], *changed)


def has_blocks(program: Program) -> bool:
    """Whether the order of steps matters anywhere in a program."""
    return any([s.block is not None for s in program.statements])


Steps = tuple[tuple[str, tuple[int, int]], ...]  # the indices of blocks that are open, with how far they run
