"""The loops around the tiles of a contraction.

In: a `Plan`. Out: a Nest. The one rule: every element of the target is in one tile; a rest of an axis has a static
tile of its own size.
"""

from __future__ import annotations

from collections.abc import Sequence

from .blocks import Outer
from .contraction_body import Body
from .contraction_tiling import Plan, Shape
from .inner_packs import Packing
from .nest import Form, Nest, form
from .normal_form import TARGET
from .packs import Spot
from .units import Cut, cuts, evenly, vectors
from .varying import varies
from .writing import Writing

MOST = 2  # whole units of an axis that bounds cut, each with a tile of its own

Range = tuple[Form, list[Form], bool]  # units of an axis: from, to (the least of), whether that is a single one


class _Loops:
    """The loops being written."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.w = plan, Writing()
        self.units = dict(plan.order.units)
        self.values: dict[str, Form] = {}
        self.panel = Form(0)
        self.ranges: dict[str, Range] = {}
        self.ends: dict[str, Form] = {}  # the number of the last round of an axis that goes in chunks: >= 0 in it
        self.numbers: dict[str, Form] = {}
        self.origins: dict[str, Form] = {}
        self.chunks: dict[str, tuple[Form, int]] = {}
        self.free = frozenset[str]()  # axes that stand where no bound cuts the tile
        self.items: list[tuple[str, int]] = []

    def outer(self, loops: Sequence[Outer]) -> None:
        if not loops:
            self.serial(self.plan.order.serial)
            return
        loop = loops[0]
        var = self.w.fresh(f"{loop.axis}_block")
        if loop.group:
            self.items.append((var, -(-loop.rounds // loop.group)))
        if loop.group == 1 and not varies(loop.group):
            self.round(loop, form(var), loops[1:])
            return
        begin, end = Form(0), [Form(loop.rounds)]
        if loop.group:
            begin = form(var, loop.group)
            end.append(begin + loop.group)
            var = self.w.fresh(f"{loop.axis}_round")
        with self.w.loop(var, begin, end) as at:
            self.round(loop, at, loops[1:])

    def round(self, loop: Outer, at: Form, rest: Sequence[Outer]) -> None:
        count = self.count(loop.axis)
        begin = at * loop.chunk
        self.ranges[loop.axis] = (begin, [Form(count), begin + loop.chunk], loop.chunk == 1 and not varies(loop.chunk))
        self.origins[loop.axis] = begin
        self.ends[loop.axis] = at - (loop.rounds - 1)
        self.outer(rest)

    def count(self, axis: str) -> int:
        return -(-self.plan.normal.axis(axis).n // self.units[axis])

    def serial(self, axes: Sequence[str]) -> None:
        if not axes:
            self.split(self.plan.order.split)
            return
        with self.w.loop(self.w.fresh(axes[0]), 0, self.plan.normal.axis(axes[0]).n) as at:
            self.values[axes[0]] = at
            self.serial(axes[1:])

    def split(self, chunks: Sequence[tuple[str, int]]) -> None:
        if not chunks:
            for p, how in self.plan.tile.packs:
                if how == "block":
                    self.packing(p).block()
            self.inner(self.plan.order.inner, {})
            return
        (axis, chunk), n = chunks[0], self.plan.normal.axis(chunks[0][0]).n
        with self.w.loop(self.w.fresh(f"{axis}_chunk"), 0, -(-n // chunk)) as at:
            self.chunks[axis] = (at, chunk)
            self.origins[axis] = at * chunk
            self.split(chunks[1:])

    def inner(self, axes: Sequence[str], sizes: dict[str, int]) -> None:
        if not axes:
            self.body(sizes)
            return
        axis, n = axes[0], self.plan.normal.axis(axes[0]).n
        unit, count = self.units[axis], self.count(axis)
        found = cuts(n, unit, axis == self.plan.tile.vector)
        begin, ends, single = self.ranges.get(axis, (Form(0), [Form(count)], count == 1 and not varies(count)))
        if single:
            self.either(axes, sizes, begin, found)
        elif evenly(n, unit, axis == self.plan.tile.vector):
            for k, cut in enumerate(found):
                limits = ([begin], [*ends, Form(cut.past)]) if k == 0 else ([begin, Form(cut.first)], ends)
                with self.w.loop(self.w.fresh(axis), *limits) as at:
                    self.one(axes, sizes, at, cut)
        else:
            self.several(axes, sizes, found, begin, ends)

    def several(
        self, axes: Sequence[str], sizes: dict[str, int], found: Sequence[Cut], begin: Form, ends: list[Form]
    ) -> None:
        """All whole units, and the rest."""
        axis, unit = axes[0], self.units[axes[0]]
        for cut in found:
            if cut.size == unit and not varies(cut.size):
                if cut.past == 1 and not varies(cut.past) and axis not in self.ranges:
                    self.whole(axes, sizes, Form(0), cut)
                    continue
                limits = [Form(cut.past) if e == Form(self.count(axis)) else e for e in ends]
                with self.w.loop(self.w.fresh(axis), begin, limits) as at:
                    self.whole(axes, sizes, at, cut)
            elif axis in self.ends:
                with self.w.when(self.ends[axis]):
                    self.one(axes, sizes, Form(cut.first), cut)
            else:
                self.one(axes, sizes, Form(cut.first), cut)

    def either(self, axes: Sequence[str], sizes: dict[str, int], at: Form, found: Sequence[Cut]) -> None:
        """One unit, of one size or the other."""
        if len(found) == 1:
            self.whole(axes, sizes, at, found[0])
            return
        first, second = found
        with self.w.apart() as whole:
            self.whole(axes, sizes, at, first)
        with self.w.apart() as ending:
            self.one(
                axes, sizes, at if second.size == first.size - 1 and varies(first.past) else Form(second.first), second
            )
        self.w.otherwise(at * -1 + (first.past - 1), whole, ending)

    def whole(self, axes: Sequence[str], sizes: dict[str, int], at: Form, cut: Cut) -> None:
        """A whole unit: those that bounds cut have static tiles of their own, in the others no bound need be asked.

        Units of an axis that varies ask at each place; so does a rest.
        """
        axis, full = axes[0], cut.past
        bounds = [b for b in self.plan.normal.bounds if axis in dict(b.terms) and b not in self.plan.normal.masks]
        fixed = cut.size == self.units[axis] and not varies(self.plan.normal.axis(axis).n)
        if not bounds or not fixed or axis not in dict(self.plan.tile.sizes):
            self.one(axes, sizes, at, cut)
            return
        first, last = self.inside(axis, bounds, cut.size, full)
        if not at.terms or first + full - last > MOST:
            self.one(axes, sizes, at, cut, not at.terms and first <= at.const < last)
            return
        numbers = [*reversed(range(first)), *range(last, full)]
        with self.w.apart() as found:
            inside = first < last
            self.one(axes, sizes, at if inside else Form(numbers.pop(0)), cut, inside)
        for number in numbers:  # the outermost is told apart last, and asked for first
            with self.w.apart() as border:
                self.one(axes, sizes, Form(number), cut)
            with self.w.apart() as chosen:
                self.w.otherwise(at - number if number >= last else at * -1 + number, border, found)
            found = chosen
        for statement in found:
            self.w.put(statement)

    def inside(self, axis: str, bounds: Sequence[Form], unit: int, full: int) -> tuple[int, int]:
        """From which whole unit of an axis to below which one no bound cuts any, wherever other axes stand."""
        first, last = 0, full
        ends = {a.name: (0, int(a.n) - 1) for a in self.plan.normal.axes}
        for bound in bounds:
            coef = dict(bound.terms)[axis]
            least, _ = Form(bound.const, tuple(t for t in bound.terms if t[0] != axis)).interval(ends)
            if coef > 0:
                first = max(first, -(-max(-(least // coef), 0) // unit))
            else:
                last = min(last, max(least // -coef + 1, 0) // unit)
        return (first, last) if first < last else (0, 0)

    def one(self, axes: Sequence[str], sizes: dict[str, int], at: Form, cut: Cut, inside: bool = False) -> None:
        size = cut.size
        if axes[0] == self.plan.tile.vector:
            self.panel = at
        self.free = self.free | {axes[0]} if inside else self.free - {axes[0]}
        self.values[axes[0]] = cut.begin(at)
        self.numbers[axes[0]] = at
        if axes[0] == self.plan.tile.vector:
            for p, how in self.plan.tile.packs:
                if how == "panel":
                    self.packing(p).panel(size)
        self.inner(axes[1:], {**sizes, axes[0]: size})

    def packing(self, p: int) -> Packing:
        """A copy in the nest, of what is read from here on."""
        ranges = {}
        for axis in self.plan.order.inner:
            count = self.count(axis)
            begin, ends, _ = self.ranges.get(axis, (Form(0), [Form(count)], False))
            ranges[axis] = (begin, ends, self.ends.get(axis))
        spot = Spot(self.values, self.numbers, self.panel, self.origins)
        return Packing(
            self.plan.normal, self.plan.tile, self.w, p, self.plan.accesses[p], spot, self.chunks, ranges, self.units
        )

    def body(self, sizes: dict[str, int]) -> None:
        tile = self.plan.tile
        width, live = tile.width, 0
        if tile.vector in sizes:
            width, live = vectors(sizes[tile.vector], tile.lanes)
        shape = Shape(tuple((a, sizes[a]) for a, _ in tile.sizes), width, live)
        Body(
            self.plan, self.w, shape, dict(self.values), self.numbers, self.panel, self.origins, self.chunks, self.free
        ).write()


def nest(plan: Plan, name: str) -> Nest:
    """The nest of a contraction."""
    loops = _Loops(plan)
    loops.outer(plan.order.outer)
    copied = [plan.normal.views[p].array for p, how in plan.tile.packs if how != "whole"]
    own = [a.array for p, a in enumerate(plan.accesses) if p != TARGET or plan.touches_target]
    arrays = {a.name: a for a in (*own, *copied) if a.name}
    return Nest(name, tuple(arrays.values()), tuple(loops.items), tuple(loops.w.lists[0]))
