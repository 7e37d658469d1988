"""Products that go only as far as data say: sequences that are shorter than the axis in which they lie.

In: a sum of products under `s < len[b]`, summed or kept along s. Out: one value of b at a time, s only up to what is
read there. The one rule: where a sequence ends is asked of the data before its product; nobody knows it beforehand, so
half of the work is counted on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from ..program.conditions import comparisons, conjuncts
from ..program.ir import Expr, Index, indices_of, reads
from ..sizes.dtypes import kind_of
from .evaluation import Evaluation
from .quantities import Apply, Number, Reduced, Value
from .reads import value_of
from .tiles import Tile, tile_of
from .values import cast, near
from .views import Extents, Scope
from .writes import Target


@dataclass(frozen=True)
class Length:
    """For one value of `outer` at a time, `inner` runs to before (`upper`), or from, `bound + more`."""

    outer: str
    inner: str
    condition: Expr
    bound: Expr
    more: int
    upper: bool
    by: int = 1
    place: Value | None = None  # the bound, once it is read

    def measured(self, stmt: Evaluation, scope: Scope) -> Length:
        """The same with the bound as a single value."""
        found = value_of(stmt.b, self.bound, scope)
        found = cast(near(found) if found.dtype == "uint64" else found, "int64")
        found = Reduced("greatest", found, (self.outer,)) if self.outer in found.indices else found
        return replace(self, place=Apply("add", (found, Number(self.more, "int64")), "int64") if self.more else found)

    def ends(self, extents: Extents) -> tuple[Value, Value]:
        """Where the inner index begins and ends."""
        assert self.place is not None
        lo, hi = (Number(end, "int64") for end in extents[self.inner])
        return (lo, self.place) if self.upper else (self.place, hi)

    def rims(self, condition: Expr, extents: Extents) -> list[tuple[Value, Value]]:
        """Where something may be refused: the one value that is gone through where nothing is admitted."""
        assert self.place is not None
        lo, hi = (Number(end, "int64") for end in extents[self.inner])
        return [(self.place, hi) if self.upper else (lo, self.place)]

    def bounded(self, condition: Expr) -> bool:
        """Whether a condition says no more than the bound."""
        return condition == self.condition


def part_of(stmt: Evaluation, target: Target) -> Tile | Length | None:
    """The parts of a sum of products that follow a mask, where that pays."""
    conditions = stmt.conditions()
    if target.taps:
        return None
    b, cost = stmt.b, sum(stmt.order(term).cost for _, term in stmt.terms())
    if conditions:
        tile = tile_of(conditions, stmt.free, stmt.summed, b.extents, b.shapes, cost, b.limits)
        if tile is not None:
            return tile
    kept = [c for mask in stmt.outer for c in conjuncts(mask)] if target.coverable else []
    for length in _lengths(stmt, [*conditions, *kept]):
        rounds = stmt.sizes[length.outer]
        price = rounds * b.limits.calls * b.limits.call + cost // 2
        if 1 < rounds <= b.limits.tiles and price < 4 * cost // 5:
            return length
    return None


def _lengths(stmt: Evaluation, conditions: Sequence[Expr]) -> Iterator[Length]:
    """What comparisons with data say of an index, for one other index of the result."""
    for condition in conditions:
        found = list(comparisons(condition))
        for fn, a, b in found if len(found) == 1 else ():
            if isinstance(b, Index):
                fn, a, b = _TURNED[fn], b, a
            others = set(indices_of(b))
            if not isinstance(a, Index) or fn == "eq" or not reads(b) or len(others) != 1 or a.name in others:
                continue
            (outer,) = others
            whole = {outer, a.name} <= stmt.sizes.keys() and outer in stmt.free
            if whole and kind_of(stmt.b.kind(b)) == "int" and prod(stmt.sizes[i] for i in (outer, a.name)) > 0:
                yield Length(outer, a.name, condition, b, _MORE[fn], fn in ("lt", "le"))


_TURNED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq"}
_MORE = {"lt": 0, "le": 1, "gt": 1, "ge": 0}
