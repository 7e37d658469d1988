"""Masks of a running product's own elements, after it: what is refused is summed with the others, and left out.

In: a Program with its shapes and types. Out: the same with statements before others:

    k.grad[s,d] += dy[t,e] * q[t,d] * v[s,e] where s <= t, k[s,d] > 0

    sums[s,d] = dy[t,e] * q[t,d] * v[s,e] where s <= t
    k.grad[s,d] += sums[s,d] where k[s,d] > 0

The one rule: such a mask knows elements of the result alone, so it refuses a whole sum or nothing of it.
"""

from __future__ import annotations

from dataclasses import replace

from ...program.affine import Affine
from ...program.algebra import factors_of, terms_of
from ...program.conditions import conjuncts, margins
from ...program.ir import Access, Domain, Expr, Index, Program, Reduce, Statement, indices_of, parts_of, reads
from ...sizes.dtypes import Types
from ...sizes.in_bounds import numeric
from ...sizes.shapes import Shapes
from ..limits import Limits
from ..operators import SUMS
from ..prices import price
from .share import inserted


def mask_late(program: Program, shapes: Shapes, types: Types, limits: Limits) -> tuple[Program, Shapes, Types]:
    """The program with such masks after the sums."""
    k = 0
    while k < len(program.statements):
        stmt = program.statements[k]
        order = _order(stmt, shapes, types, k, limits)
        if order is not None:
            late = tuple(c for mask in stmt.domain.masks for c in conjuncts(mask) if c != order)
            target = Access("", stmt.target.subscripts)
            program, shapes, types, sums = inserted(program, shapes, types, k, "sums", target, stmt.value, (order,))
            k += 1
            kept = {i: e for i, e in shapes.extents[k].items() if i in indices_of(stmt.target)}
            ranges = tuple(r for r in stmt.domain.ranges if r.index in kept)
            after = replace(stmt, value=sums, domain=Domain(tuple(kept), ranges, late))
            program = replace(program, statements=(*program.statements[:k], after, *program.statements[k + 1 :]))
            shapes = replace(shapes, extents=(*shapes.extents[:k], kept, *shapes.extents[k + 1 :]))
        k += 1
    return program, shapes, types


def _order(stmt: Statement, shapes: Shapes, types: Types, number: int, limits: Limits) -> Expr | None:
    """What orders the two indices of a running product, if all other masks are of the result's elements."""
    free, extents = set(indices_of(stmt.target)), shapes.extents[number]
    masks = [c for mask in stmt.domain.masks for c in conjuncts(mask)]
    inner = [m for m in masks if not set(indices_of(m)) <= free]
    if stmt.op not in SUMS or len(inner) != 1 or len(masks) < 2 or shapes.guarded[number]:
        return None
    if not types.compute[number].startswith("float") or len(terms_of(stmt.value)) != 1:
        return None
    if types.tensors[stmt.target.tensor] != types.compute[number] or any(lo for lo, _ in extents.values()):
        return None
    parts = list(parts_of(stmt))
    subscripts = [s for p in parts if isinstance(p, Access) for s in p.subscripts]
    if any(isinstance(p, Reduce) for p in parts) or not all(isinstance(s, Index) for s in subscripts):
        return None
    forms = [] if reads(inner[0]) else [numeric(m, shapes.tensors) for m in margins(inner[0])]
    if (
        len(set(stmt.target.subscripts)) < len(stmt.target.subscripts)
        or len(forms) != 1
        or not _is_order(forms[0], free)
    ):
        return None
    if not {*stmt.domain.indices} <= {*free, *indices_of(stmt.value)}:  # what nothing depends on is counted
        return None
    summed = set(stmt.reduced)
    several = sum(bool(summed & set(indices_of(f))) for f, _ in factors_of(stmt.value)) > 1
    dear = price(stmt, extents, limits, shapes.tensors) >= limits.separate * limits.element
    return inner[0] if several and dear else None


def _is_order(form: Affine, free: set[str]) -> bool:
    """Whether a form is the distance of a summed index from a free one, or the other way round."""
    match form.terms:
        case ((Index(name=a), 1), (Index(name=b), -1)) | ((Index(name=b), -1), (Index(name=a), 1)):
            return (a in free) != (b in free)
        case _:
            return False
