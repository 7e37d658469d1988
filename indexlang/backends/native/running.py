"""Running reductions as nests: along one axis from element to element, over the others side by side.

In: a Running of a Plan, its Work's place and operator. Out: a Nest. The one rule: what has come before is in registers,
in the order of the axis, so that each element is read once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...plan.kernels import Running
from ...plan.operators import REDUCTIONS
from .axes import chosen, itemized
from .folds import COMBINE
from .looping import Loops, items_of, written
from .meaning import Meaning, Typed, UnsupportedError, unit
from .nest import Array, Form, Literal, Nest, Operand, Type
from .nodes import Element, Nodes, Scan, Store, every
from .partial import domain
from .target import Target
from .values import Pieces, Point, Span

ROWS = 8  # sums that are made side by side, where each goes along its row
BESIDE = 4  # vectors of a row that are read before they are written
FEWEST = 4  # lanes of vectors along a row that are faster


def scan_of(meaning: Meaning, kernel: Running, store: Store, op: str) -> Scan:
    """A running reduction; the store's own value is not used."""
    source = meaning.node_of_place(kernel.source)
    searched = kernel.op.startswith("arg")
    if kernel.op not in REDUCTIONS and not searched:
        raise UnsupportedError(f"running {kernel.op}")
    fold = kernel.op if searched else REDUCTIONS[kernel.op]
    if source.dtype == "bool":
        if searched or fold == "sum" or fold == "product":
            raise UnsupportedError("running sums of conditions")
        fold = {"greatest": "any", "least": "all"}[fold]
    kind = "int64" if searched else source.dtype
    access = replace(store.access, array=Array("carried", kind, store.access.array.size))
    carried = meaning.nodes.element(access)
    value = meaning.put(store.access, op, Typed(carried), ())
    return Scan(replace(store, value=value), source, carried, fold, kernel.along, kernel.backwards)


def nest_of_scan(nodes: Nodes, scan: Scan, sizes: Mapping[str, int], target: Target, name: str) -> tuple[Nest, str]:
    """The nest of a running reduction, and words of it."""
    apart = replace(scan.store, value=nodes.call("add", (scan.store.value, scan.source), scan.source.dtype))
    along = (scan.along,) if scan.along in scan.store.free else ()
    axes = chosen([apart], sizes, target, along)
    axes = replace(axes, unroll=min(axes.unroll, 4), order=tuple(i for i in axes.order if i not in along))
    rows = bool(along) and (not axes.vector or _in_rows(scan, axes.vector))
    wide = _lanes(scan, sizes, target) if rows else 1
    if wide > 1:
        axes = replace(axes, lanes=1, vector="", unroll=1)
    elif rows and axes.vector:
        beside = min(ROWS, 1 << (sizes[axes.vector].bit_length() - 1))
        axes = replace(axes, lanes=1, unroll=beside, order=(*(i for i in axes.order if i != axes.vector), axes.vector))
    axes = itemized(axes, sizes, domain([apart], sizes))
    loops = Scanning(nodes, dict(sizes), axes.lanes)
    vars_, at, spans = items_of(loops, axes.items, sizes)
    loops.scan, loops.wide = scan, wide
    loops.group([scan.store], axes, spans, Point(at))
    words = f"a running {scan.op} along {scan.along}{f' in {wide} lanes' if wide > 1 else ''}"
    together = f"{axes.unroll} values of" if axes.lanes == 1 else f"{axes.lanes} lanes along"
    return written(name, loops, vars_), f"{words}, {together} {axes.vector}" if axes.vector else words


def _in_rows(scan: Scan, vector: str) -> bool:
    """Whether elements lie side by side along the axis, and apart from lane to lane: single ones are faster then."""
    accesses = [n.access for n in every([scan.source]) if isinstance(n, Element)] + [scan.store.access]
    return all(a.step(scan.along) in (0, 1, -1) and a.step(vector) not in (1, -1) for a in accesses)


def _lanes(scan: Scan, sizes: Mapping[str, int], target: Target) -> int:
    """Of vectors along the axis of a running sum; 1 where its elements do not lie side by side, or single ones are
    faster.
    """
    source, access = scan.source, scan.store.access
    beside = isinstance(source, Element) and source.access.step(scan.along) == access.step(scan.along) == 1
    if scan.op != "sum" or not beside:
        return 1
    kinds = {source.dtype, access.array.dtype, *(n.dtype for n in every([scan.store.value]))}
    lanes = target.lanes(max(np.dtype(kind).itemsize for kind in kinds))
    return lanes if lanes >= FEWEST and sizes[scan.along] >= 2 * lanes else 1


class Scanning(Loops):
    """Loops around a running reduction at each point of the other indices; `wide`: the lanes of vectors along it."""

    scan: Scan
    wide: int

    def stored(self, stores: Sequence[Store], tile: Sequence[Point]) -> None:
        """All that stands along the axis, for a tile of points."""
        if self.wide > 1:
            self._summed(tile[0])
            return
        scan = self.scan
        kinds = [p.lanes if p.vector in scan.source.indices else 1 for p in tile]
        searched = scan.op.startswith("arg")
        first = unit("greatest" if scan.op == "argmax" else "least" if searched else scan.op, scan.source.dtype)
        own = [self._begun(first, Type(scan.source.dtype, lanes)) for lanes in kinds]
        n = self.sizes.get(scan.along, 1)
        begin = n - 1 if scan.backwards else 0
        at = [self._begun(begin, Type("int64", lanes)) for lanes in kinds] if searched else []

        def here(place: Form) -> None:
            to = Form(n - 1) - place if scan.backwards else place
            for k, point in enumerate(tile):
                there = point.moved(scan.along, to)
                x = self.spread(self.value(scan.source, there), kinds[k])
                if searched:
                    self._leads(x, own[k], at[k], to)
                else:
                    self.w.apply(COMBINE[scan.op], own[k], x, kind=self.w.type_of(x), register=own[k])
                self.remember(self.key(scan.carried, there), at[k] if searched else own[k])
                self.store(scan.store, there)

        self.sweep(scan.along, 1, 1, Span(n), lambda pieces: here(pieces[0][0]))

    def _summed(self, point: Point) -> None:
        """A running sum in vectors: lanes get what is before them in their vector, then what is before the vector."""
        scan, lanes, n = self.scan, self.wide, self.sizes[self.scan.along]
        kind, back = Type(scan.source.dtype, lanes), scan.backwards
        own = self._begun(unit("sum", kind.dtype), kind)

        def picked(x: Operand, of: Sequence[int], register: str = "") -> str:
            numbers = [Literal(k if 0 <= k < lanes else lanes, Type("int64")) for k in of]
            return self.w.apply("shuffle", x, *numbers, kind=kind, register=register)

        def here(pieces: Pieces) -> None:
            places = [
                (place if not back else Form() if live else Form(n - lanes) - place, live) for place, live in pieces
            ]
            points = [point.along(scan.along, to, lanes, live) for to, live in places]
            held = [self.value(scan.source, there) for there in points]  # no read has to wait for a write nearby
            for power in range(lanes.bit_length() - 1):
                order = [k + (1 << power if back else -(1 << power)) for k in range(lanes)]
                held = [self.w.apply("add", x, picked(x, order), kind=kind) for x in held]
            for there, x in zip(points, held, strict=True):
                total = self.w.apply("add", own, x, kind=kind)
                picked(total, [0 if back else lanes - 1] * lanes, own)
                self.remember(self.key(scan.carried, there), total)
                self.store(scan.store, there)

        self.sweep(scan.along, lanes, BESIDE, Span(n), here)

    def _begun(self, value: int | float | bool, kind: Type) -> str:
        return self.w.apply("same", Literal(value, kind), kind=kind, hint="run")

    def _leads(self, x: Operand, best: str, at: str, to: Form) -> None:
        """The best so far, and where it stands first along the whole axis."""
        scan, kind = self.scan, self.w.type_of(x)
        flags = Type("bool", kind.lanes)
        above = ("ge" if scan.backwards else "gt") if scan.op == "argmax" else ("le" if scan.backwards else "lt")
        wins: Operand = self.w.apply(above, x, best)
        if kind.dtype.startswith("float"):
            none: Operand = self.w.apply("not", self.w.apply("ordered", x, kind=flags), kind=flags)
            if not scan.backwards:
                none = self.w.apply("and", none, self.w.apply("ordered", best, kind=flags), kind=flags)
            wins = self.w.apply("or", wins, none, kind=flags)
        self.w.apply("select", wins, x, best, kind=kind, register=best)
        number = self.spread(self.w.count(to), kind.lanes)
        self.w.apply("select", wins, number, at, kind=Type("int64", kind.lanes), register=at)
