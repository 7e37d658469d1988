"""A program cut in two at what the caller gives last: the forward part, and the part that waits for cotangents.

In: a program with inputs and outputs of both kinds. Out: two programs; the tensors that the second needs
of the first are outputs of the first and inputs of the second.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from .ir import Access, Program, Size, Statement, parts_of, primal_of, walk


def mentioned(statements: Iterable[Statement], declared: Collection[str]) -> dict[str, None]:
    """The tensors whose values or shapes the statements need, `x` for a gradient `x.grad` of no declared shape too."""
    found: dict[str, None] = {}
    for stmt in statements:
        for part in parts_of(stmt):
            match part:
                case Access(tensor=tensor) | Size(tensor=tensor):
                    found[tensor] = None
                case _:
                    pass
        primal = primal_of(stmt.target.tensor)
        if primal is not None and stmt.target.tensor not in declared:
            found[primal] = None
    return found


def split(program: Program, late: Sequence[str]) -> tuple[Program, Program, tuple[str, ...]]:
    """The part that needs none of the inputs `late`, the rest, and the names of what the rest needs of the first.

    The outputs of the program are outputs of the part that defines them.
    """
    waiting = set(late)
    for stmt in program.statements:  # a tensor waits if any of its statements does
        if waiting & set(_read(stmt)):
            waiting.add(stmt.target.tensor)
    first = tuple(s for s in program.statements if s.target.tensor not in waiting)
    second = tuple(s for s in program.statements if s.target.tensor in waiting)
    made = {s.target.tensor for s in first}
    needed = mentioned(second, {s.tensor for s in program.shapes})
    for shape in program.shapes:
        if shape.tensor in waiting:
            needed.update((p.tensor, None) for d in shape.dims for p in walk(d) if isinstance(p, Size))
    kept = tuple(n for n in needed if n in made)
    outputs = tuple(o for o in program.outputs if o in made)
    forward = _part(program, first, (*outputs, *(k for k in kept if k not in outputs)), "forward")
    backward = _part(program, second, tuple(o for o in program.outputs if o in waiting), "backward")
    return forward, backward, kept


def _read(stmt: Statement) -> list[str]:
    return [p.tensor for p in parts_of(stmt) if isinstance(p, Access) and p is not stmt.target]


def _part(program: Program, statements: tuple[Statement, ...], outputs: tuple[str, ...], name: str) -> Program:
    defined = {s.target.tensor for s in statements}
    shapes = tuple(
        s for s in program.shapes if s.tensor in defined or (name == "forward" and s.tensor in program.inputs)
    )
    needed = mentioned(statements, {s.tensor for s in program.shapes})
    for shape in shapes:
        needed[shape.tensor] = None
        needed.update((p.tensor, None) for d in shape.dims for p in walk(d) if isinstance(p, Size))
    order = dict.fromkeys((*program.inputs, *needed))
    inputs = tuple(n for n in order if n in needed and n not in defined)
    return Program(inputs, outputs, statements, shapes, program.dims, name)
