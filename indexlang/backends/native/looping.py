"""The loops of a segment, written as a Nest.

In: a segment, extents, a Target. Out: a Nest, and words of it. The one rule: items are pieces of the outermost loops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .axes import Axes, chosen, itemized
from .folds import Folding
from .fusing import Segment
from .nest import Array, For, Form, Nest, Read, Set, Stmt, When, Write, form
from .nodes import Fold, Nodes, Store, every
from .partial import domain
from .target import Target
from .values import Point, Span
from .varying import varies
from .writing import Writing


def nest_of(nodes: Nodes, segment: Segment, sizes: Mapping[str, int], target: Target, name: str) -> tuple[Nest, str]:
    """The nest of a segment, and words of it."""
    stores = [s for group in segment.groups for s in group]
    first = chosen(segment.groups[0], sizes, target, segment.outer)
    allowed = segment.outer if len(segment.groups) > 1 else tuple(i for i in first.order if i not in stores[0].met)
    items = itemized(first, sizes, domain(stores, sizes), allowed).items
    loops = Loops(nodes, dict(sizes), first.lanes)
    vars_, at, spans = items_of(loops, items, sizes)
    if len(segment.groups) == 1:
        loops.group(stores, first, spans, Point(at))
    else:
        loops.rounds(segment, spans, Point(at), target)
    return written(name, loops, vars_), _told(segment, first, items)


def items_of(
    loops: Loops, items: Sequence[tuple[str, int]], sizes: Mapping[str, int]
) -> tuple[list[tuple[str, int]], dict[str, Form], dict[str, Span]]:
    """The vars of items, where they put indices of which each has one value, the values of those it has more of."""
    vars_: list[tuple[str, int]] = []
    at: dict[str, Form] = {}
    spans: dict[str, Span] = {}
    for index, piece in items:
        var, count = loops.item(index), -(-sizes[index] // piece)
        vars_.append((var, count))
        if piece == 1 and not varies(piece):
            at[index] = form(var)
        else:
            begin = form(var) * piece
            spans[index] = Span(sizes[index], begin, begin + piece, form(var) - (count - 1))
    return vars_, at, spans


def written(name: str, loops: Loops, items: Sequence[tuple[str, int]]) -> Nest:
    """The nest of what has been written."""
    body = tuple(loops.w.lists[0])
    return Nest(name, _arrays(body), tuple(items), body)


class Loops(Folding):
    """Loops being written around stores."""

    def __init__(self, nodes: Nodes, sizes: dict[str, int], lanes: int) -> None:
        super().__init__(Writing(), sizes, lanes)
        self.nodes = nodes

    def item(self, index: str) -> str:
        """A var of items."""
        var = self.w.fresh("item")
        self.depth[var] = 0
        return var

    def rounds(self, segment: Segment, spans: Mapping[str, Span], point: Point, target: Target) -> None:
        """The outer loops of several groups."""

        def within(left: Sequence[str], here: Point) -> None:
            if not left:
                for group in segment.groups:
                    axes = chosen(group, self.sizes, target, segment.outer)
                    self.own = axes.lanes
                    self.group(group, axes, {}, here)
            elif left[0] in here.at:
                within(left[1:], here)
            else:
                span = spans.get(left[0], Span(self.sizes[left[0]]))
                self.sweep(left[0], 1, 1, span, lambda at: within(left[1:], here.moved(left[0], at[0][0])))

        within(segment.outer, point)

    def group(self, stores: Sequence[Store], axes: Axes, spans: Mapping[str, Span], point: Point) -> None:
        """The loops of stores over the same indices."""

        def within(left: Sequence[str], tile: list[Point]) -> None:
            if not left:
                self.stored(stores, tile)
                return
            index = left[0]
            span = spans.get(index, Span(self.sizes[index]))
            if index in point.at:
                within(left[1:], tile)
            elif index == axes.vector:
                lanes = axes.lanes
                self.sweep(
                    index, lanes, axes.unroll, span,
                    lambda at: within(left[1:], [p.along(index, to, lanes, live) for p in tile for to, live in at]),
                )  # fmt: skip
            else:
                self.sweep(index, 1, 1, span, lambda at: within(left[1:], [p.moved(index, at[0][0]) for p in tile]))

        within(axes.order, [point])

    def stored(self, stores: Sequence[Store], tile: Sequence[Point]) -> None:
        """Stores at a tile of points: folds of those that read nothing that is written here come first, together."""
        for store in stores:
            if store.met:  # what is there is read again for each point
                self.written[store.access.array.name] = len(self.w.lists) - 1
        ahead: list[Store] = []
        written: set[str] = set()
        for store in stores:
            if store.value.arrays & written:
                break
            ahead.append(store)
            written.add(store.access.array.name)
        self.prepare([s.value for s in ahead], tile)
        for store in stores:
            self.prepare([store.value], tile)
            held = [self.store(store, p) for p in tile]
            self.forget(store.access.array.name)
            for point, x in zip(tile, held, strict=True):
                self.remember(self.key(self.nodes.element(store.access, store.moved, store.reach), point), x)


def _arrays(body: Sequence[Stmt]) -> tuple[Array, ...]:
    """The arrays of statements, as they occur first."""
    found: dict[str, Array] = {}
    stack = list(reversed(body))
    while stack:
        match stack.pop():
            case For(body=inner):
                stack += reversed(inner)
            case When(then=then, other=other):
                stack += reversed((*then, *other))
            case Set(op=Read(array=array)) | Write(array=array):
                found.setdefault(array.name, array)
            case Set():
                pass
    return tuple(found.values())


def _told(segment: Segment, axes: Axes, items: Sequence[tuple[str, int]]) -> str:
    """What is told of a nest."""
    along = f"{axes.lanes} lanes along {axes.vector}" if axes.vector else f"{axes.lanes} lanes along what is reduced"
    folds = any(isinstance(n, Fold) for g in segment.groups for n in every(s.value for s in g))
    along = along if axes.vector or folds else "single elements"
    stores = sum(map(len, segment.groups))
    fused = f", {stores} statements together" if stores > 1 else ""
    pieces = ", ".join(f"{index} by {piece}" for index, piece in items)
    return f"{along}{fused}{f', items of {pieces}' if items else ''}"
