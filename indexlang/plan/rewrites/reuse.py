"""Products that a tensor already holds, read from it.

In: a Program with its shapes and types. Out: the same, the same object where nothing is held:

    a.grad[t,s] += y.grad[t,e] * v[s,e]          a.grad[t,s] += y.grad[t,e] * v[s,e]
    r.grad[s-t+c] += y.grad[t,e] * v[s,e]        r.grad[s-t+c] += a.grad[t,s]

The one rule: what is read is the whole value of one statement, which says each element of its tensor, for the same
values of the same indices; so nothing is made for it, however large it is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ...program.ir import Access, Index, Program, Statement, reads_of
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..limits import Limits
from ..views import Extents
from .share import Pair, factored, pairs_of, rebuilt


def reuse(program: Program, shapes: Shapes, types: Types, limits: Limits) -> tuple[Program, Shapes, Types]:
    """The program with such products read."""
    count = Counter(s.target.tensor for s in program.statements)
    held: dict[Pair, tuple[Access, str]] = {}
    statements, extents = list(program.statements), list(shapes.extents)
    for k, stmt in enumerate(program.statements):
        box = extents[k]
        if stmt.op not in ("=", "+=") or shapes.guarded[k] or not _alike(stmt, types, k):
            continue
        found = next((p for p in pairs_of(stmt, box, limits) if p in held and p.work >= limits.worth), None)
        if found is not None and held[found][1] == types.compute[k]:
            summed = {i for i, _ in found.extents} - found.kept
            value = rebuilt(stmt.value, found, held[found][0])
            statements[k] = replace(stmt, value=value, domain=stmt.domain.without(summed))
            extents[k] = {i: box[i] for i in statements[k].domain.indices}
        elif count[stmt.target.tensor] == 1 and (made := _made(stmt, box, shapes.tensors[stmt.target.tensor])):
            held.setdefault(made, (stmt.target, types.compute[k]))
    if extents == list(shapes.extents):
        return program, shapes, types
    return replace(program, statements=tuple(statements)), replace(shapes, extents=tuple(extents)), types


def _alike(stmt: Statement, types: Types, number: int) -> bool:
    """Whether all that is read and made has the type in which it is computed."""
    kind = types.compute[number]
    tensors = (*reads_of(stmt), stmt.target.tensor)
    return kind != "bool" and all(types.tensors[t] == kind and t not in types.weak for t in tensors)


def _made(stmt: Statement, box: Extents, shape: tuple[int, ...]) -> Pair | None:
    """The product that is all of a statement's value, if each element of its tensor holds it."""
    split = factored(stmt.value)
    axes = stmt.target.subscripts
    names = [s.name for s in axes if isinstance(s, Index)]
    if split is None or split[1] or split[2] or len(split[0]) != 2 or stmt.domain.masks or len(names) < len(axes):
        return None
    if len(set(names)) < len(names) or any(box[i] != (0, n) for i, n in zip(names, shape, strict=True)):
        return None
    if split[0][0] == split[0][1]:
        return None
    return Pair(frozenset(split[0]), frozenset(names), tuple(sorted(box.items())))
