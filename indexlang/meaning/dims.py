"""Dims: what a name in a header stands for.

In: declared shapes, their dims' names as placeholders (`Index`). Out: each name's size, and the shapes without names.
The one rule: a name stands for the first axis that is declared by the bare name, those of inputs first; what is left is
solved for where it stands in an input as a multiple plus a rest (`2*M+1`). A name that no input determines is the size
of its own axis, left open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import Span
from ..program.affine import Affine, floordiv, size
from ..program.ir import Call, Expr, Index, Program, Shape, Size, Subscript, walk
from ..program.rebuild import transform_expr, transform_statement


@dataclass(frozen=True)
class Declared:
    """A tensor's shape as declared, names of dims as `Index`."""

    tensor: str
    dims: tuple[Expr, ...]
    is_input: bool


def solve(declared: Sequence[Declared]) -> tuple[dict[str, Expr], list[tuple[str, Span | None]]]:
    """The sizes of the names, in order of appearance, and the names that nothing determines.

    Inputs come first in `declared`, then computed tensors in the order in which they are defined.
    """
    found: dict[str, Expr] = {}
    _bare([d for d in declared if d.is_input], found)
    while any(_solved(d, found) for d in declared if d.is_input):
        pass
    _bare([d for d in declared if not d.is_input], found)
    order: dict[str, Span | None] = {}
    for d in declared:
        for name, span in _names(d):
            order.setdefault(name, span)
    return {n: found[n] for n in order if n in found}, [(n, span) for n, span in order.items() if n not in found]


def without_names(dim: Expr, names: Mapping[str, Expr]) -> Expr:
    """A dim with the sizes in place of the names."""

    def rule(part: Subscript) -> Subscript | None:
        return replace(names[part.name], span=part.span) if isinstance(part, Index) and part.name in names else None

    return transform_expr(dim, rule)


def _bare(declared: Sequence[Declared], found: dict[str, Expr]) -> None:
    for d in declared:
        for axis, dim in enumerate(d.dims):
            if isinstance(dim, Index) and dim.name not in found:
                found[dim.name] = Size(d.tensor, axis)


def _solved(d: Declared, found: dict[str, Expr]) -> bool:
    """Whether an axis of an input gave one more name."""
    for axis, dim in enumerate(d.dims):
        form = Affine.from_expr(dim)
        open_names = [n for n in form.indices if n not in found]
        if len(open_names) == 1:
            name = open_names[0]
            solution = _solution(form, name, size(d.tensor, axis), found)
            if solution is not None:
                found[name] = solution
                return True
    return False


def _solution(form: Affine, name: str, whole: Affine, found: Mapping[str, Expr]) -> Expr | None:
    """From coefficient * name + rest = whole."""
    known: dict[Expr, Affine] = {Index(n): Affine.from_expr(e) for n, e in found.items()}
    coefficient = form.coefficient(name)
    rest = form - coefficient * Affine(0, ((Index(name), 1),))
    if name in rest.indices or name in coefficient.indices:
        return None
    rest, coefficient = rest.substitute(known), coefficient.substitute(known)
    above = whole - rest
    if coefficient.is_constant:
        if not coefficient.const:
            return None
        if coefficient.const < 0:
            above, coefficient = -above, -coefficient
        if coefficient.const == 1:
            return above.to_expr()
        return Call("floordiv", (above.to_expr(), coefficient.to_expr()))
    return floordiv(above, coefficient).to_expr()


def _names(d: Declared) -> Iterator[tuple[str, Span | None]]:
    for dim in d.dims:
        for part in walk(dim):
            if isinstance(part, Index):
                yield part.name, part.span


# -- names for what inlined layers declare -----------------------------------------------------------


def named(program: Program, wishes: Mapping[Expr, str]) -> Program:
    """The program with those names of dims that its text can introduce, and its sizes put in terms of them.

    A size that several shapes declare is called by the first axis that the text shows, because there the text, read
    again, will find the name.
    """
    order = declaration_order(program)
    moved = _moved(order, set(program.inputs))
    if moved:
        program = _at_roots(program, moved)
        wishes = {moved.get(e, e): n for e, n in wishes.items()}
        order = declaration_order(program)
    names = dict(wishes)
    while True:
        inputs = set(program.inputs)
        declared = [Declared(s.tensor, tuple(_with_names(d, names) for d in s.dims), s.tensor in inputs) for s in order]
        found, _ = solve(declared)
        wrong = [e for e, n in names.items() if n in found and found[n] != e]
        if not wrong:
            return replace(program, dims=tuple(found.items()))
        for e in wrong:
            del names[e]


def declaration_order(program: Program) -> list[Shape]:
    """The declared shapes in the order in which names are looked for: inputs, then tensors as they are defined."""
    inputs = dict.fromkeys(program.inputs if program.name is not None else (s.tensor for s in program.shapes))
    return in_order(
        program.shapes, [t for t in inputs if t in program.inputs], [s.target.tensor for s in program.statements]
    )


def in_order(shapes: Sequence[Shape], inputs: Sequence[str], targets: Sequence[str]) -> list[Shape]:
    """Shapes of inputs in the order of the inputs, then the others in the order of their first statements."""
    place: dict[str, int] = {}
    for tensor in (*inputs, *targets):
        place.setdefault(tensor, len(place))
    return sorted(shapes, key=lambda s: place.get(s.tensor, len(place)))


def _moved(order: Sequence[Shape], inputs: set[str]) -> dict[Expr, Expr]:
    """The sizes of inputs that the shape of an earlier input declares already, and what they are there."""
    roots: dict[Expr, Expr] = {}
    moved: dict[Expr, Expr] = {}
    for shape in order:
        for axis, dim in enumerate(shape.dims):
            own = Size(shape.tensor, axis)
            if shape.tensor in inputs and roots.setdefault(dim, own) != own and dim == own:
                moved[own] = roots[dim]
    return moved


def _at_roots(program: Program, moved: Mapping[Expr, Expr]) -> Program:
    def rule(part: Subscript) -> Subscript | None:
        return moved.get(part) if isinstance(part, Size) else None

    shapes = tuple(replace(s, dims=tuple(transform_expr(d, rule) for d in s.dims)) for s in program.shapes)
    statements = tuple(transform_statement(s, rule) for s in program.statements)
    return replace(program, shapes=shapes, statements=statements)


def _with_names(dim: Expr, names: Mapping[Expr, str]) -> Expr:
    if dim in names:
        return Index(names[dim])
    if isinstance(dim, Call):
        return replace(dim, args=tuple(_with_names(a, names) for a in dim.args))
    return dim
