"""Two programs as one: `indexlang.join(f, g)`.

In: two Programs, names of outputs of the first that stay outputs. Out: the Program that runs the second on the first's
outputs, where names meet. The one rule: what is neither an input nor an output is private, and gives way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ..errors import NAMED, MeaningError, Problem, within_depth
from ..meaning.report import nearest
from ..program.blocks import numbered
from ..program.interface import ANONYMOUS, as_written, default_interface
from ..program.ir import Expr, Program, Shape, Size, Subscript, blocks_of, walk
from ..program.names import counted, free, indices_in, out_of_the_way, renamed, tensors_of
from ..program.rebuild import transform_expr

Dims = tuple[tuple[str, Expr], ...]


@within_depth(MeaningError, NAMED)
def joined(first: Program, second: Program, keep: Sequence[str] = ()) -> Program:
    """Both. Errors: `MeaningError` where no name meets, or two tensors would have one."""
    meeting = tuple(t for t in first.outputs if t in second.inputs)
    _check(first, second, keep, meeting)
    first = _private(first, second)
    second = _private(second, first)
    inputs = (*first.inputs, *(t for t in second.inputs if t not in (*first.inputs, *meeting)))
    outputs = (*(t for t in first.outputs if t not in meeting or t in keep), *second.outputs)
    dims, shapes = _declared(first, second, meeting)
    names = [p.name for p in (first, second) if p.name not in (None, ANONYMOUS)]
    name = "_".join(n for n in names if n) or ANONYMOUS
    ours = numbered(first.statements)
    statements = (*ours, *numbered(second.statements, len({b for s in ours for b in blocks_of(s)})))
    found = Program(inputs, outputs, statements, shapes, dims, name)
    told = default_interface(found.statements, found.shapes)
    if first.name is None and second.name is None and {*told[0]} == {*inputs} and {*told[1]} == {*outputs}:
        return replace(found, inputs=told[0], outputs=told[1], name=None)
    return as_written(found)


def _check(first: Program, second: Program, keep: Sequence[str], meeting: tuple[str, ...]) -> None:
    problems = []
    known = (f"outputs of the first: {', '.join(first.outputs)}", f"inputs of the second: {', '.join(second.inputs)}")
    if not meeting:
        rule, way = "no output of the first program is an input of the second", "rename one: f.renamed({'y': 'x'})"
        problems.append(Problem("join", rule, None, known, way))
    for name in second.outputs:
        if name in first.inputs or name in first.outputs:
            what = "an input" if name in first.inputs else "an output"
            rule = f"'{name}' is made by the second program, and {what} of the first"
            way = f"give one of them another name: g.renamed({{'{name}': ...}})"
            problems.append(Problem("join", rule, None, known, way))
    for name in first.outputs:
        if name in second.inputs and name in first.inputs:
            rule = f"'{name}' is both an input and an output of the first program"
            problems.append(Problem("join", rule, None, known, "give one of them another name"))
    for name in keep:
        if name not in first.outputs:
            way = nearest(name, first.outputs) or "name outputs of the first program"
            problems.append(Problem("join", f"keep names '{name}', no output of the first", None, known, way))
    if problems:
        raise MeaningError(*problems)


def _private(program: Program, other: Program) -> Program:
    """The program whose inner tensors, and indices, have no names that the other one has for something else."""
    tensors, dims = tensors_of(other), {name for name, _ in other.dims}
    new = out_of_the_way(program, {*tensors, *dims, *indices_in(other)}, {*program.inputs, *program.outputs})
    return renamed(program, new, {}, {*tensors, *dims})


def _declared(first: Program, second: Program, meeting: Collection[str]) -> tuple[Dims, tuple[Shape, ...]]:
    """The dims and the shapes of both; what the first makes has the dims that it has there."""
    shapes = {s.tensor: s for s in first.shapes}

    def rule(part: Subscript) -> Subscript | None:
        if isinstance(part, Size) and part.tensor in meeting and part.tensor in shapes and part.axis >= 0:
            return shapes[part.tensor].dims[part.axis]
        return None

    for shape in second.shapes:
        if shape.tensor not in meeting:
            shapes.setdefault(shape.tensor, replace(shape, dims=tuple(transform_expr(d, rule) for d in shape.dims)))
    dims = list(first.dims)
    for name, old in second.dims:
        expr = transform_expr(old, rule)
        inner = any(isinstance(p, Size) and p.tensor in meeting for p in walk(expr))
        if not inner and all(expr != e for _, e in dims):
            dims.append((free(counted(name), {n for n, _ in dims}), expr))
    return tuple(dims), tuple(shapes.values())
