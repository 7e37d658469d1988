"""Where the greatest of each group is, where data say the group of a point: two passes, not one for each group.

In: a Program with its shapes and types, a position searched under an equality with data. Out: an equal Program:

    p[k] = argmax[t](x[t]) where g[t] == k              best[g[t]] max= x[t] where 0 <= g[t], g[t] < 100
                                                        first[g[t]] min= t where x[t] == best[g[t]], ...
                                                        p[k] = where(first[k] < 5000, first[k], 0)

The one rule: the winner is the same: the first of the greatest, the first nan before all, 0 where nothing is searched.
"""

from __future__ import annotations

from dataclasses import replace

from ...program.affine import Affine
from ...program.functions import is_exact
from ...program.interface import with_header
from ...program.ir import (
    Access,
    Call,
    Const,
    Expr,
    Index,
    Program,
    Range,
    Reduce,
    Shape,
    Statement,
    reads,
    statement,
    walk,
)
from ...program.names import Fresh, is_plain
from ...sizes.dtypes import Known, Types, kind, kind_of
from ...sizes.shapes import Shapes
from ..limits import Limits
from ..views import Extents
from .by_data import indexed

_OPERATORS = {"argmax": "max=", "argmin": "min="}


def by_group(program: Program, shapes: Shapes, types: Types, limits: Limits) -> Program:
    """The program with such searches as statements that go through all points, each once."""
    statements, declared = list[Statement](), dict[str, Shape]()
    known = Known(types.tensors, types.weak)
    names: Fresh | None = None
    for stmt, extents, guarded in zip(program.statements, shapes.extents, shapes.guarded, strict=True):
        search = None if guarded else _search(stmt, extents)
        dtype = "" if search is None else kind(search.body, known).name
        if search is None or not _comes_again(search.body, dtype):
            statements.append(stmt)
            continue
        names = names or Fresh.of(program)
        best, first = names.fresh("best"), names.fresh("first")
        shape = shapes.tensors[stmt.target.tensor]
        more = Known({**types.tensors, best: dtype, first: "int64"}, types.weak)
        sized = replace(shapes, tensors={**shapes.tensors, best: shape, first: shape})
        *passes, last = _apart(stmt, search, extents, best, first, kind_of(dtype) == "float")
        written = [indexed(s, extents, sized, more, limits) for s in passes]
        if any(new is old for new, old in zip(written, passes, strict=True)):
            statements.append(stmt)
            continue
        statements += [*written, last]
        declared |= {t: Shape(t, tuple(map(Const, shape))) for t in (best, first, stmt.target.tensor)}
    if not declared:
        return program
    said = {s.tensor for s in program.shapes}
    new = [shape for tensor, shape in declared.items() if tensor not in said]
    return with_header(replace(program, statements=tuple(statements), shapes=(*program.shapes, *new)))


def _search(stmt: Statement, extents: Extents) -> Reduce | None:
    """A position that is searched under an equality with data, for each element of the target."""
    search = stmt.value
    if not isinstance(search, Reduce) or search.op not in _OPERATORS or stmt.op != "=" or stmt.reduced:
        return None
    parts = [p for mask in search.domain.masks for p in walk(mask)]
    tied = any(isinstance(p, Call) and p.fn == "eq" and reads(p) for p in parts)
    whole = all(hi > lo for lo, hi in extents.values())
    return search if tied and whole and is_plain(stmt.target) else None


def _comes_again(body: Expr, dtype: str) -> bool:
    """Whether a value, computed again, is the one that was kept."""
    if any(isinstance(p, Reduce) for p in walk(body)):
        return False
    return isinstance(body, Access) if dtype == "float16" else kind_of(dtype) in ("int", "float") and is_exact(body)


def _apart(
    stmt: Statement, search: Reduce, extents: Extents, best: str, first: str, may_be_nan: bool
) -> tuple[Statement, Statement, Statement]:
    """The greatest of each group, the first point that has it, and the position where there is one."""
    body, target = search.body, stmt.target
    greatest, there = replace(target, tensor=best), replace(target, tensor=first)
    number, points = Affine(0), 1
    for i in search.domain.indices:
        lo, hi = extents[i]
        number, points = number * (hi - lo) + Affine(-lo, ((Index(i), 1),)), points * (hi - lo)
    ranges = tuple(Range(i, Const(lo) if lo else None, Const(hi)) for i, (lo, hi) in extents.items())
    masks = (*stmt.domain.masks, *search.domain.masks)
    wins: Expr = Call("eq", (body, greatest))
    if may_be_nan:
        wins = Call("or", (wins, Call("ne", (body, body))))
    found = Call("where", (Call("lt", (there, Const(points))), there, Const(0)))
    own = tuple(r for r in ranges if r.index in stmt.domain.indices)
    return (
        statement(greatest, _OPERATORS[search.op], body, ranges, masks, stmt.span),
        statement(there, "min=", number.to_expr(), ranges, (*masks, wins), stmt.span),
        statement(target, "=", found, own, stmt.domain.masks, stmt.span),
    )
