"""What a subscript says, sizes known: an affine row, a boundary, or positions that are computed.

In: an access, its axis. Out: a `Subscribed`. The one rule: a subscript stays inside only where that was shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..program.affine import Affine
from ..program.ir import Access, Boundary, Dots, Expr, Index, Merged, reads
from ..sizes.in_bounds import interval, numeric
from .building import Building
from .views import Extents, Row, linear, plain


@dataclass(frozen=True)
class Subscribed:
    """One subscript in its axis's own positions: an affine row, or None where it is computed; `end` bounds its text."""

    sub: Expr | Boundary | Merged
    row: Row | None
    boundary: Boundary | None
    lo: int = 0  # the elements of padding in front
    end: int = 0  # below what the subscript itself must stay
    safe: bool = False  # no check is needed

    @property
    def is_padded(self) -> bool:
        return self.boundary is not None and self.boundary.kind == "pad"

    @property
    def expr(self) -> Expr:
        """What is written, without its boundary."""
        assert not isinstance(self.sub, Merged)
        return self.sub.expr if isinstance(self.sub, Boundary) else self.sub


def subscribed(b: Building, access: Access, axis: int) -> Subscribed:
    """What a subscript says, sizes known."""
    sub, size = access.subscripts[axis], b.shapes[access.tensor][axis]
    assert not isinstance(sub, Dots), "ellipses are written out before planning"
    if isinstance(sub, Index):
        return Subscribed(sub, plain(sub.name), None, 0, size, (access, axis) not in b.guarded)
    if isinstance(sub, Merged):
        return Subscribed(sub, merged(sub, b.extents), None, 0, size, True)
    boundary = sub if isinstance(sub, Boundary) else None
    expr = sub.expr if isinstance(sub, Boundary) else sub
    row, lo, end = linear(expr, b.shapes), 0, size
    is_affine = row is not None
    if boundary is not None and boundary.lo is not None and boundary.hi is not None:
        lo, hi = _number(b, boundary.lo), _number(b, boundary.hi)
        end = lo + size + hi
        row = None if row is None else row.shifted(-lo)
    free = boundary is not None and boundary.lo is None
    return Subscribed(sub, row, boundary, lo, end, free or _stays(b, access, axis, expr, end, is_affine))


def _number(b: Building, expr: Expr) -> int:
    row = linear(expr, b.shapes)
    assert row is not None and not row.coefs, "a number is made of numbers and sizes"
    return row.const


def _stays(b: Building, access: Access, axis: int, expr: Expr, end: int, is_affine: bool) -> bool:
    """Whether a subscript is known to stay inside: `shapes` has looked at those that read nothing."""
    if (access, axis) in b.guarded:
        return False
    if is_affine:
        return True
    reach = None if reads(expr) else interval(numeric(Affine.from_expr(expr), b.shapes), b.extents)
    return reach is not None and 0 <= reach[0] <= reach[1] < end


def merged(sub: Merged, extents: Extents) -> Row:
    """Row-major: each index's radix is its extent, its digit its place in its range."""
    const, coefs, step = 0, [], 1
    for index in reversed(sub.indices):
        lo, hi = extents[index]
        coefs.append((index, step))
        const -= step * lo
        step *= hi - lo
    return Row(const, tuple(reversed(coefs)))
