"""The inputs and outputs that bare statements have.

In: statements, declared shapes. Out: the names of their inputs and outputs, in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from .ir import Program, Shape, Statement, blocks_of, is_tangent, primal_of, reads_of, tensors_in, walk

ANONYMOUS = "program"  # the layer's name under which bare statements are printed that need a header


def default_interface(
    statements: tuple[Statement, ...], shapes: Iterable[Shape] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The inputs and outputs of bare statements.

    Inputs are the tensors read, or asked for their size, and never defined, in order of first appearance; a gradient
    that is defined brings in its primal, unless its shape is declared (a tangent has the shape of its own definition
    where its primal is not there). Outputs are the tensors that are defined and
    that nothing reads but earlier lines of a block for its next steps.
    """
    declared = {s.tensor for s in shapes}
    defined = dict.fromkeys(s.target.tensor for s in statements)
    seen: dict[str, None] = {}
    read: set[str] = set()
    for number, stmt in enumerate(statements):
        read.update(t for t in reads_of(stmt) if stmt.block is None or not _made_later(statements, number, t))
        target = stmt.target.tensor
        primal = None if target in declared or is_tangent(target) else primal_of(target)
        if primal is not None:
            seen[primal] = None
        seen.update(dict.fromkeys(tensors_in(stmt)))
    return tuple(t for t in seen if t not in defined), tuple(t for t in defined if t not in read)


def _made_later(statements: Sequence[Statement], number: int, tensor: str) -> bool:
    """Whether a block makes for its next steps what one of its statements reads."""
    outermost = blocks_of(statements[number])[0]
    for stmt in statements[number:]:
        if blocks_of(stmt)[:1] != (outermost,):
            return False
        if stmt.target.tensor == tensor:
            return True
    return False


def is_told(program: Program) -> bool:
    """Whether a program's statements tell its inputs and outputs by themselves."""
    return default_interface(program.statements, program.shapes) == (program.inputs, program.outputs)


def with_header(program: Program) -> Program:
    """The program, with a layer's name if it has none and needs one: its statements do not tell inputs and outputs."""
    return program if program.name is not None or is_told(program) else replace(program, name=ANONYMOUS)


def as_written(program: Program) -> Program:
    """The program with its shapes and dims in the order in which its text has them."""
    shapes = program.shapes
    if program.name is not None:
        place = {t: k for k, t in enumerate(dict.fromkeys((*program.inputs, *program.outputs)))}
        shapes = tuple(sorted(shapes, key=lambda s: place.get(s.tensor, len(place))))
    parts = dict.fromkeys(p for s in shapes for d in s.dims for p in walk(d))
    first = {p: k for k, p in enumerate(parts)}
    return replace(program, shapes=shapes, dims=tuple(sorted(program.dims, key=lambda d: first.get(d[1], len(first)))))
