"""What derived programs take and give: their inputs, their declared shapes, their name.

In: a program that is derived, its forward program, the tensors that may be inputs. Out: the program with the inputs
that it needs, bare where its statements say inputs and outputs themselves, else as a layer. The one rule: what is
printed parses back to the same program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import DerivationError, Problem
from ..program.interface import ANONYMOUS, as_written, default_interface
from ..program.ir import GRAD, Program, Size, tensors_in, walk


def named_tensors(program: Program) -> dict[str, None]:
    """The tensors of a program's interface and statements."""
    found = dict.fromkeys((*program.inputs, *program.outputs))
    for stmt in program.statements:
        found.update(dict.fromkeys(tensors_in(stmt)))
    return found


def interfaced(forward: Program, program: Program, possible: Sequence[str], kind: str = GRAD) -> Program:
    """The program with the inputs that it needs; a layer that has to have a name is called after its forward one."""
    defined = {s.target.tensor for s in program.statements}
    inputs, outputs = default_interface(program.statements, program.shapes)
    shapes = {s.tensor: s for s in program.shapes}
    needed = dict.fromkeys((*inputs, *(t for t in defined if t in shapes)))
    left = list(needed)
    while left:  # what the declared shapes of these mention
        shape = shapes.get(left.pop())
        for dim in shape.dims if shape else ():
            more = [p.tensor for p in walk(dim) if isinstance(p, Size) and p.tensor not in needed]
            needed.update(dict.fromkeys(more))
            left += more
    there = defined | set(possible)
    kept = tuple(s for s in program.shapes if s.tensor in needed)
    for by in kept:
        for missing in (p.tensor for d in by.dims for p in walk(d) if isinstance(p, Size) and p.tensor not in there):
            rule = f"the derivative does not make {missing}, whose size is in the declared shape of {by.tensor}"
            way = f"declare the shape of {by.tensor} by sizes of inputs and numbers"
            raise DerivationError(Problem("undeclared-shape", rule, by.span, way_out=way))
    shown = {p for s in kept for d in s.dims for p in walk(d)}
    program = replace(program, shapes=kept, dims=tuple((n, e) for n, e in program.dims if e in shown))
    closed = set(needed) - defined <= set(inputs)
    if forward.name is None and closed and set(outputs) == set(program.outputs):
        return replace(program, inputs=inputs, outputs=outputs, name=None)
    order = tuple(n for n in possible if n in needed and n not in defined)
    name = forward.name if forward.name and forward.name.endswith(f"_{kind}") else f"{forward.name or ANONYMOUS}_{kind}"
    return as_written(replace(program, inputs=order, name=name))
