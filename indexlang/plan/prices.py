"""What a statement costs, before it is planned: by the products it may become, or over its whole domain.

In: a statement, how far its indices run. Out: multiply-adds. The one rule: it asks for indices and sizes, never how
something is spelt; an operation on an element costs `Limits.element`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod

from ..program.algebra import factors_of, terms_of
from ..program.conditions import conjuncts
from ..program.ir import Access, Call, Expr, Statement, Subscript, children, indices_of, walk
from .limits import Limits
from .order import best_order
from .tiles import tile_of
from .views import Extents

Shapes = Mapping[str, Sequence[int]]


def price(stmt: Statement, extents: Extents, limits: Limits, shapes: Shapes) -> int:
    """The cost of a statement that sums."""
    sizes = {i: hi - lo for i, (lo, hi) in extents.items()}
    summed = set(stmt.reduced)
    masks = [c for mask in stmt.domain.masks for c in conjuncts(mask)]
    inner = [c for c in masks if summed & set(indices_of(c))]
    done = 1 + sum(map(operations, masks)) + len(masks)
    whole = limits.element * (operations(stmt.value) + done) * points(stmt.domain.indices, sizes)
    if not summed:
        return whole
    whole += sum(4 * limits.element * points(indices_of(a), sizes) for a in set(taken(stmt.value)))
    terms = [term_price(term, stmt, inner, extents, limits, shapes) for _, term in terms_of(stmt.value)]
    outer = limits.element * (done - len(inner)) * points(indices_of(stmt.target), sizes)
    found = sum(t for t in terms if t is not None) + outer
    return whole if None in terms else min(whole, found)


def term_price(
    term: Expr, stmt: Statement, conditions: Sequence[Expr], extents: Extents, limits: Limits, shapes: Shapes
) -> int | None:
    """A term as products of its factors; None if it is none that has all indices of the masks."""
    sizes = {i: hi - lo for i, (lo, hi) in extents.items()}
    summed, free, inner = set(stmt.reduced), indices_of(stmt.target), [indices_of(c) for c in conditions]
    parts = factors_of(term)
    core = [part for part, _ in parts if summed & set(indices_of(part))]
    groups = [indices_of(f) for f in core]
    if not core or not {i for group in inner for i in group} <= {i for group in groups for i in group}:
        return None
    cost = sum(limits.element * operations(part) * points(indices_of(part), sizes) for part, _ in parts)
    cost += sum(4 * limits.element * points(indices_of(f), sizes) for f in core if is_computed(f))
    left = [g for g in groups if g]
    products = best_order(left, inner, free, sizes, limits).cost
    tile = tile_of(conditions, free, stmt.reduced, extents, shapes, products, limits) if conditions else None
    cost += products if tile is None else tile.price
    if len(left) == 1:
        cost += limits.element * points(left[0], sizes)
    return cost + limits.element * (len(parts) - len(core) + 1) * points(free, sizes)


def points(indices: Iterable[str], sizes: Mapping[str, int]) -> int:
    """How many points there are over indices."""
    return prod(sizes[i] for i in set(indices))


def is_computed(factor: Expr) -> bool:
    """Whether a factor is read at positions that data say: elements are taken one by one."""
    return isinstance(factor, Access) and any(isinstance(p, Access) for s in factor.subscripts for p in walk(s))


def taken(expr: Subscript) -> Iterator[Access]:
    """The reads in an expression whose elements are taken one by one."""
    if isinstance(expr, Access):
        yield from [expr] if is_computed(expr) else []
    else:
        for part in children(expr):
            yield from taken(part)


def operations(expr: Subscript) -> int:
    """How many functions of values an expression applies; positions are found before anything runs."""
    if isinstance(expr, Access):
        return 0
    return isinstance(expr, Call) + sum(operations(part) for part in children(expr))
