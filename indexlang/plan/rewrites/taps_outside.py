"""The axes of a window's taps in front: tensors on the way lie so that each tap of a window is a whole array.

In: a Program without ellipses, its shapes, `Limits`. Out: an equal one, the same object where nothing is moved:

    e[i,c,u] = exp(x[i+u,c] - x[i,c])      e[u,i,c] = exp(x[i+u,c] - x[i,c])
    y[i,c] = e[i,c,u] * x[i+u,c]           y[i,c] = e[u,i,c] * x[i+u,c]

The one rule: a tensor that nobody outside sees may have its axes in any order. Those of taps, few and shorter than the
positions that they stand beside, go in front of all others where they lie innermost: what is read at one tap after the
other then lies together. A tensor stays as it is where another index of it is summed, as a product of matrices may want
its rows and columns in one piece; a gradient has the axes of its tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

from ...program.ir import (
    Access,
    Index,
    Merged,
    Program,
    Shape,
    Size,
    Statement,
    Subscript,
    accesses_of,
    indices_of,
    primal_of,
    reductions_of,
    sizes_of,
    walk,
)
from ...program.rebuild import transform_statement
from ...sizes.shapes import Shapes
from ..limits import Limits
from ..views import Extents

Use = tuple[tuple[str, ...], Statement, Extents]  # the indices of an access, where it stands, how far they run


def may_move_taps(program: Program) -> bool:
    """Whether a tensor on the way has innermost an index that stands beside another one in a subscript."""
    seen = {*program.inputs, *program.outputs}
    last = {s.target.tensor: s.target.subscripts[-1] for s in program.statements if s.target.subscripts}
    among = {i for s in program.statements for i in _moving(s)}
    return any(tensor not in seen and isinstance(s, Index) and s.name in among for tensor, s in last.items())


def taps_outside(program: Program, known: Shapes, limits: Limits) -> Program:
    """The program with such tensors' axes in another order, the shapes that it declares with them."""
    if not may_move_taps(program):
        return program
    orders: dict[str, tuple[int, ...]] = {}
    for stem, uses in _on_the_way(program, known).items():
        members = [t for t in known.tensors if _stem(t) == stem]
        shape = known.tensors[members[0]]
        taps = _taps(uses, shape, limits) if all(known.tensors[t] == shape for t in members) else ()
        if taps:
            orders.update(dict.fromkeys(members, (*taps, *(k for k in range(len(shape)) if k not in taps))))
    if not orders:
        return program

    def rule(part: Subscript) -> Subscript | None:
        if isinstance(part, Access) and part.tensor in orders:
            return replace(part, subscripts=tuple(part.subscripts[k] for k in orders[part.tensor]))
        return None

    shapes = [s if s.tensor not in orders else _in_order(s, orders[s.tensor]) for s in program.shapes]
    statements = [transform_statement(s, rule) for s in program.statements]
    return replace(program, statements=tuple(statements), shapes=tuple(shapes))


def _in_order(shape: Shape, order: tuple[int, ...]) -> Shape:
    return replace(shape, dims=tuple(shape.dims[k] for k in order))


def _stem(tensor: str) -> str:
    primal = primal_of(tensor)
    return tensor if primal is None else _stem(primal)


def _moving(stmt: Statement) -> Iterator[str]:
    """The indices that stand beside another one in a subscript: those of windows, and the positions they move over."""
    for access in accesses_of(stmt):
        for subscript in access.subscripts:
            if not isinstance(subscript, Index | Merged):
                found = dict.fromkeys(indices_of(subscript))
                yield from found if len(found) > 1 else ()


def _windows_taps(stmt: Statement, extents: Extents) -> frozenset[str]:
    """The indices that stand beside longer ones: those of taps. The longer ones are positions, which lie as they do."""
    sizes = {i: hi - lo for i, (lo, hi) in extents.items()}
    found = set[str]()
    for access in accesses_of(stmt):
        for subscript in access.subscripts:
            beside = () if isinstance(subscript, Index | Merged) else indices_of(subscript)
            found.update(i for i in beside if sizes.get(i, 0) < max(sizes.get(k, 0) for k in beside))
    return frozenset(found)


def _on_the_way(program: Program, known: Shapes) -> dict[str, list[Use]]:
    """The accesses of each tensor on the way and its gradients, all of them by plain indices, none twice."""
    seen = {_stem(t) for t in (*program.inputs, *program.outputs)}
    dims = (p for s in program.shapes for d in s.dims for p in walk(d))
    asked = (*(p for s in program.statements for p in sizes_of(s)), *(p for p in dims if isinstance(p, Size)))
    seen |= {_stem(p.tensor) for p in asked}
    uses: dict[str, list[Use]] = {}
    for stmt, extents in zip(program.statements, known.extents, strict=True):
        for access in accesses_of(stmt):
            names = tuple(s.name for s in access.subscripts if isinstance(s, Index))
            if len(set(names)) < len(access.subscripts):
                seen.add(_stem(access.tensor))
            uses.setdefault(_stem(access.tensor), []).append((names, stmt, extents))
    return {stem: found for stem, found in uses.items() if stem not in seen}


def _taps(uses: Sequence[Use], shape: tuple[int, ...], limits: Limits) -> tuple[int, ...]:
    """The innermost axes that move windows, as long as they are few positions beside the others; none where an index
    of another axis is summed.
    """
    moving = [_windows_taps(stmt, extents) for _, stmt, extents in uses]
    taps: list[int] = []
    left = [k for k, n in enumerate(shape) if n > 1]
    while left and any(names[left[-1]] in found for (names, *_), found in zip(uses, moving, strict=True)):
        if prod(shape[k] for k in (*taps, left[-1])) > limits.window:
            break
        taps.append(left.pop())
    for names, stmt, _ in uses:
        summed = {*stmt.reduced, *(i for r in reductions_of(stmt) for i in r.domain.indices)}
        if any(names[k] in summed for k in left):
            return ()
    return tuple(sorted(taps)) if prod(shape[k] for k in left) >= limits.long else ()
