"""Reductions as loops: accumulators in registers, in an order that depends on nothing but extents.

In: folds, the points at which they are wanted. Out: registers. The one rule: folds over the same indices run in the
same loops, each with accumulators of its own; whatever is left over is combined in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from .axes import HEAVY, WINDOW, along, effort, points
from .meaning import unit
from .nest import Form, Literal, Operand, Type
from .nodes import Call, Element, Fold, Node, every
from .values import Pieces, Point, Span, Values
from .varying import varies
from .winners import winners
from .writing import Writing

Wanted = tuple[Fold, Point]

COMBINE = {
    "sum": "add", "product": "mul", "greatest": "greatest", "least": "least", "any": "or", "all": "and",
}  # fmt: skip
LANES = {"sum": "total", "greatest": "most", "least": "fewest"}


class Folding(Values):
    """Values with folds; `lanes` are those of the nest."""

    def __init__(self, w: Writing, sizes: dict[str, int], lanes: int) -> None:
        super().__init__(w, sizes)
        self.own = lanes

    def prepare(self, nodes: Sequence[Node], points: Sequence[Point]) -> None:
        """The folds in nodes for all points at once, those over the same indices in the same loops."""
        found: dict[tuple[object, ...], list[Wanted]] = {}
        for fold in outermost(nodes):
            for point in points:
                if self.known(self.key(fold, point)) is None:
                    inherited = point.vector if point.vector in fold.indices else ""
                    searched = fold.op if fold.op.startswith("arg") else ""
                    over = (frozenset(fold.over), fold.part, fold.limits)
                    where = (self.depth_of(fold, point), *over, inherited, searched)
                    found.setdefault(where, []).append((fold, point))
        for (depth, *_), wanted in found.items():
            assert isinstance(depth, int)
            once = list({self.key(f, p): (f, p) for f, p in wanted}.items())
            with self.outside(depth):
                held = self._folded([w for _, w in once])
                for (key, _), register in zip(once, held, strict=True):
                    self.remember(key, register)

    def _folded(self, wanted: Sequence[Wanted]) -> list[Operand]:
        """Folds over the same indices, wanted in the same loops."""
        fold, point = wanted[0]
        inherited = point.vector in fold.indices
        axis = "" if inherited else along(fold, self.sizes, self.own)
        if fold.op.startswith("arg"):
            return winners(self, wanted, axis, self.own, self._written(wanted, inherited))
        over = self._in_order(wanted, axis)
        few = points(over, self.sizes)
        whole = not fold.part and not fold.limits and not axis and not varies(few)
        if whole and few <= self._written(wanted, inherited):
            return self._one_by_one(wanted, over)
        return self._looped(wanted, over, axis)

    def _written(self, wanted: Sequence[Wanted], inherited: bool) -> int:
        """So many positions are written one by one."""
        heavy = effort(every(f.value for f in {f: None for f, _ in wanted})) > HEAVY
        return 4 if heavy else WINDOW if inherited and len(wanted) <= 2 else 9

    def _in_order(self, wanted: Sequence[Wanted], axis: str) -> list[str]:
        """The reduced indices, outermost first, as memory lies; a part of one is outermost, and what has limits."""
        fold = wanted[0][0]
        accesses = [n.access for n in every(f.value for f, _ in wanted) if isinstance(n, Element)]
        main = max(accesses, key=lambda a: points(a.indices, self.sizes), default=None)
        own = sorted(fold.over, key=lambda i: -abs(main.step(i)) if main else 0)
        if fold.part:
            own.sort(key=lambda i: i != fold.over[0])
        limited = {limit.index for limit in fold.limits}
        return sorted(own, key=lambda i: (i == axis, i not in limited))

    def _one_by_one(self, wanted: Sequence[Wanted], over: Sequence[str]) -> list[Operand]:
        """Every position written out; neighbours share what they read."""
        found: list[Operand] = []
        taps = list(product(*(range(self.sizes[i]) for i in over)))
        for fold, point in wanted:
            total: Operand | None = None
            for tap in taps:
                here = point
                for index, k in zip(over, tap, strict=True):
                    here = here.moved(index, Form(k))
                x = self.value(fold.value, here)
                total = x if total is None else self._combined(fold, total, x)
            assert total is not None
            found.append(self.w.apply("same", total) if isinstance(total, Literal) else total)
        return found

    def _looped(self, wanted: Sequence[Wanted], over: Sequence[str], axis: str) -> list[Operand]:
        """Loops around accumulators."""
        lanes, inner = self.own if axis else 1, over[-1]
        limited, n = any(limit.index == inner for limit in wanted[0][0].limits), self.sizes[inner]
        side = 1 if limited else self._side(wanted, 4 if varies(n) else n // lanes)
        kinds = [Type(f.dtype, lanes if axis else p.lanes if p.vector in f.indices else 1) for f, p in wanted]
        sums = [
            [self.w.apply("same", Literal(unit(f.op, f.dtype), kind), kind=kind, hint="sum") for _ in range(side)]
            for (f, _), kind in zip(wanted, kinds, strict=True)
        ]

        def within(left: Sequence[str], around: Sequence[Point]) -> None:
            index, span = left[0], self._span(wanted[0][0], left[0], around[0])
            if len(left) > 1:
                self.sweep(index, 1, 1, span, lambda at: within(left[1:], [p.moved(index, at[0][0]) for p in around]))
            else:
                self.sweep(index, lanes, side, span, lambda at: self._added(wanted, around, index, axis, at, sums))

        within(over, [p for _, p in wanted])
        found: list[Operand] = []
        for (fold, _), parts in zip(wanted, sums, strict=True):
            total = self._joined(fold.op, parts)
            found.append(self.across(fold.op, total) if axis else total)
        return found

    def _side(self, wanted: Sequence[Wanted], pieces: int) -> int:
        """Accumulators side by side, so that additions need not wait for each other."""
        heavy = effort(every(f.value for f, _ in wanted)) > HEAVY
        most = 2 if heavy else 4
        count = 1
        while count * 2 * len(wanted) <= most and count * 2 <= pieces:
            count *= 2
        return count

    def _span(self, fold: Fold, index: str, point: Point) -> Span:
        """The values of a reduced index."""
        n = self.sizes[index]
        for limit in fold.limits:
            if limit.index == index:
                at = point.at[limit.by]
                return Span(n, (Form(), at + limit.first), at + limit.last)
        if not fold.part or index != fold.over[0]:
            return Span(n)
        part, piece = fold.part
        begin = point.at[part] * piece
        return Span(n, begin, begin + piece, point.at[part] - (-(-n // piece) - 1))

    def _added(
        self,
        wanted: Sequence[Wanted],
        around: Sequence[Point],
        index: str,
        axis: str,
        at: Pieces,
        sums: Sequence[Sequence[str]],
    ) -> None:
        """What stands at a tile of positions, brought to the accumulators."""
        places = [
            [p.along(index, to, self.own, live) if axis else p.moved(index, to) for to, live in at] for p in around
        ]
        for number, (fold, _) in enumerate(wanted):
            self.prepare([fold.value], places[number])
        for k in range(len(at)):
            for (fold, _), here, own in zip(wanted, places, sums, strict=True):
                self._accumulate(fold, here[k], own[k])

    def _accumulate(self, fold: Fold, point: Point, total: str) -> None:
        """An accumulator with one more position."""
        lanes = self.lanes(total)
        value = fold.value
        exact = point.live and point.lanes > 1 and point.vector in fold.over
        if fold.op == "sum" and not exact and isinstance(value, Call) and value.fn == "mul" and _is_float(value):
            known = self.known(self.key(value, point))
            if known is None:
                a, b = (self.spread(self.value(x, point), lanes) for x in value.args)
                self.w.apply("fma", a, b, total, register=total)
                return
        x = self.spread(self.value(value, point), lanes)
        if exact:
            there = self.there(point.lanes, point.live)
            x = self.w.apply("select", there, x, Literal(unit(fold.op, fold.dtype), Type(fold.dtype, lanes)))
        self._combined(fold, total, x, total)

    def _combined(self, fold: Fold, a: Operand, b: Operand, register: str = "") -> str:
        lanes = max(self.lanes(a), self.lanes(b))
        a, b = self.spread(a, lanes), self.spread(b, lanes)
        return self.w.apply(COMBINE[fold.op], a, b, kind=Type(fold.dtype, lanes), register=register)

    def _joined(self, op: str, parts: Sequence[str]) -> str:
        """Accumulators as one, in halves."""
        own = list(parts)
        while len(own) > 1:
            own = [self.w.apply(COMBINE[op], a, b) for a, b in zip(own[::2], own[1::2], strict=True)]
        return own[0]

    def across(self, op: str, x: str) -> str:
        """The lanes of a vector as one element."""
        kind = self.w.type_of(x)
        if op in LANES:
            return self.w.apply(LANES[op], x, kind=Type(kind.dtype))
        lanes = kind.lanes
        while lanes > 1:
            lanes //= 2
            halves = [self._half(x, first, lanes) for first in (0, lanes)]
            x = self.w.apply(COMBINE[op], *halves)
        return x

    def _half(self, x: str, first: int, lanes: int) -> str:
        """Some lanes of a vector."""
        kind = Type(self.w.type_of(x).dtype, lanes)
        chosen = [Literal(first + k, Type("int64")) for k in range(lanes)]
        return self.w.apply("shuffle" if lanes > 1 else "lane", x, *chosen, kind=kind)


def _is_float(node: Node) -> bool:
    return node.dtype.startswith("float")


def outermost(nodes: Sequence[Node]) -> list[Fold]:
    """The folds in nodes that stand in no other one."""
    found: dict[Fold, None] = {}
    stack, seen = list(nodes), set[Node]()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        match node:
            case Fold():
                found[node] = None
            case Call(args=args):
                stack += args
            case Element(moved=moved):
                stack += [n for n, _ in moved]
            case _:
                pass
    return list(found)
