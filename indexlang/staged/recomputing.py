"""A derived program whose backward part makes the states of a block again, chunk by chunk, from some that are kept.

    kept[t//16,0,k] = h[t,k] where t % 16 == 0          beside the steps of the forward part

    for chunk < n reversed:
        again[chunk,0,k] = kept[chunk,0,k]
        for inside < 16:                                the steps of the forward part
            again[chunk,inside+1,k] = ...
        for inside < 16 reversed:                       those of the backward part, with what is summed over them
            ...

In: both parts at their sizes, how many steps make a chunk. Out: both parts in this form. The one rule: the statements
are those that were there, with steps and positions counted by chunk; the last chunk, which may be shorter, is in front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..program.blocks import again, numbered
from ..program.ir import (
    Const,
    Program,
    Size,
    Subscript,
    blocks_of,
    primal_of,
)
from ..program.rebuild import transform_block, transform_statement
from ..rewrite.phases import split
from ..sizes import ranks, shapes
from .checkpoints import Part, chosen
from .chunked import Writing

Sizes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Parts:
    """The two parts of a derived program."""

    first: Program
    second: Program

    @property
    def kept(self) -> tuple[str, ...]:
        """What the second needs of the first."""
        made = {s.target.tensor for s in self.first.statements}
        return tuple(n for n in self.second.inputs if n in made)


def joined(program: Program, every: Mapping[str, int], sizes: Sizes) -> Program:
    """A program with its gradients in which, of blocks over the indices `every`, one state in so many is kept."""
    named = dict.fromkeys((*program.inputs, *(s.target.tensor for s in program.statements)))
    late = [n for n in named if primal_of(n) is not None]
    if not late:
        return program
    first, second, _ = split(program, late)
    parts = checkpointed(Parts(first, second), every, sizes, program.outputs)
    if parts.second is second:
        return program
    shapes_ = {s.tensor: s for s in (*parts.second.shapes, *parts.first.shapes)}
    behind = (s if s.block is None else replace(s, block=again(s.block)) for s in parts.second.statements)
    stmts = numbered((*parts.first.statements, *behind))
    return replace(program, statements=stmts, shapes=tuple(shapes_.values()), dims=())


def checkpointed(
    parts: Parts,
    every: Mapping[str, int],
    sizes: Sizes,
    delivered: Sequence[str],
    cotangents: Mapping[str, str] | None = None,
) -> Parts:
    """The parts in which, of blocks over the indices `every`, one state in so many is kept.

    `sizes` are the shapes of all inputs; those of `cotangents`, by the outputs that they belong to, may be left out.
    `delivered` are the outputs of the whole program. Where nothing is gained the parts stay as they are.
    """
    done: set[str] = set()
    while True:
        first = _part(parts.first, sizes)
        like = {n: first.known.tensors[o] for n, o in (cotangents or {}).items()}
        second = _part(parts.second, {**like, **first.known.tensors, **sizes})
        found = None
        for block in dict.fromkeys(b for s in first.program.statements for b in blocks_of(s)[:1]):
            made = {s.target.tensor for s in first.program.statements if blocks_of(s)[:1] == (block,)}
            if len(block.indices) > 1 or block.indices[0] not in every or done & made:
                continue
            done |= made
            found = chosen(first, second, block, every[block.indices[0]], delivered)
            if found is not None:
                parts = Parts(*Writing(found, first, second).parts(delivered))
                break
        if found is None:
            return parts


def _part(program: Program, sizes: Sizes) -> Part:
    """A program with its sizes as numbers."""
    expanded = ranks.expand(program, {name: len(sizes[name]) for name in program.inputs})
    known = shapes.infer(expanded, {n: sizes[n] for n in program.inputs})

    def rule(part: Subscript) -> Subscript | None:
        return Const(known.tensors[part.tensor][part.axis]) if isinstance(part, Size) else None

    stmts = []
    for stmt in expanded.statements:
        stmts.append(replace(transform_statement(stmt, rule), block=transform_block(stmt.block, rule)))
    return Part(replace(expanded, statements=tuple(stmts), dims=()), known)
