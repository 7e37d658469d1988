"""What a statement costs, before it is planned: by the products it may become, or over its whole domain.

In: a statement, how far its indices run. Out: multiply-adds. The one rule: it asks for indices and sizes, never how
something is spelt; an operation on an element costs `Limits.element`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from ..program.algebra import factors_of, terms_of
from ..program.conditions import conjuncts
from ..program.ir import Access, Call, Expr, Index, Statement, Subscript, children, indices_of, walk
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
    asked = sum((1 + operations(c)) * points(indices_of(c), sizes) for c in masks)
    outer = limits.element * (asked + (1 + (len(inner) < len(masks))) * _written(stmt.target, sizes, limits, shapes))
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
    written = _written(stmt.target, sizes, limits, shapes)
    cost += sum(_chosen(f, core, inner, written, sizes, limits, shapes) for f in core if is_computed(f))
    left = [g for g in groups if g]
    products = best_order(left, inner, free, sizes, limits).cost
    tile = tile_of(conditions, free, stmt.reduced, extents, shapes, products, limits) if conditions else None
    cost += products if tile is None else tile.price
    if len(left) == 1:
        cost += limits.element * points(left[0], sizes)
    each = limits.element if written == points(free, sizes) else 1  # in groups they are products
    return cost + limits.element * written + each * (len(parts) - len(core)) * points(free, sizes)


def _chosen(
    factor: Expr,
    core: Sequence[Expr],
    conditions: Iterable[Iterable[str]],
    written: int,
    sizes: Mapping[str, int],
    limits: Limits,
    shapes: Shapes,
) -> int:
    """What it costs to have a factor at positions that data say: copies, or products in groups (`grouping`)."""
    copies = 4 * limits.element * points(indices_of(factor), sizes)
    found = _groups(factor, sizes, limits, shapes) if isinstance(factor, Access) and len(core) > 1 else None
    if found is None or any(not found.said.issuperset(c) for c in conditions):
        return copies
    rows = written + sum(points(indices_of(f), sizes) for f in core if not is_computed(f))
    return min(copies, limits.call * found.count + limits.element * rows)


def _written(target: Access, sizes: Mapping[str, int], limits: Limits, shapes: Shapes) -> int:
    """How many elements are written: one for each point, or those of matrices that products in groups are added to."""
    found = _groups(target, sizes, limits, shapes)
    return points(indices_of(target), sizes) if found is None else found.count * found.elements


@dataclass(frozen=True)
class _Groups:
    """The indices that say which matrix, how many matrices there are, the elements of each."""

    said: frozenset[str]
    count: int
    elements: int


def _groups(access: Access, sizes: Mapping[str, int], limits: Limits, shapes: Shapes) -> _Groups | None:
    """The matrices that data choose by one position, where products in groups are worth their calls."""
    computed = [k for k, s in enumerate(access.subscripts) if not isinstance(s, Index)]
    if len(computed) != 1 or not is_computed(access):
        return None
    said = indices_of(access.subscripts[computed[0]])
    count = min(points(said, sizes), shapes[access.tensor][computed[0]])
    elements = points((i for i in indices_of(access) if i not in said), sizes)
    here = points(said, sizes) * elements
    return _Groups(frozenset(said), count, elements) if here >= limits.grouped * count else None


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
