"""One tile of a contraction: sums in registers, and what is written of them.

In: a `Plan`, the shape of the tile, where it lies. Out: statements. The one rule: a point that a bound refuses is not
read and not added, so that no inf or nan comes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import prod

from .contraction_results import Results
from .contraction_tiling import Position, Tiling, located, zero
from .nest import Form, Type
from .normal_form import LEFT, RIGHT, Axis
from .packs import Access
from .tile_costs import COSTS, sharing
from .varying import varies

Registers = dict[tuple[int, Form, int], str]


@dataclass
class Body(Tiling):
    """A tile with its sums."""

    sums: dict[tuple[Position, int], str] = field(default_factory=dict)
    refusing: list[Form] = field(default_factory=list)  # bounds that are tested lane by lane here

    def write(self) -> None:
        """Sums of nothing, all products, the results."""
        tile, w, dtype = self.plan.tile, self.w, self.plan.contraction.dtype
        kind = Type(dtype, tile.lanes)
        for p in self.positions:
            for u in range(self.wide):
                none = w.number(zero(dtype), dtype, tile.lanes)
                self.sums[p, u] = w.apply("same", none, kind=kind, hint="sum")
        if not self.plan.normal.never:
            normal = self.plan.normal
            self._tested([self.form(b) for b in normal.tests] + [self._best(b) for b in normal.masks])
        for p in self.positions:
            Results(self, self.sums).write(p)

    # -- the sum ---------------------------------------------------------------------------------------

    def _tested(self, tests: Sequence[Form]) -> None:
        if tests:
            with self.w.when(tests[0]):
                self._tested(tests[1:])
        else:
            self._sum([self.plan.normal.axis(a) for a in self.plan.order.sums], self.positions, {})

    def _sum(self, axes: Sequence[Axis], live: list[Position], known: Registers) -> None:
        """All points of these axes, for some positions. `known`: what this straight line has read."""
        if not axes:
            self._products(live, known)
            return
        axis, rest = axes[0], axes[1:]
        bounds = self._closing(axis, rest)
        if axis.name in self.chunks:
            self._chunk(axis, rest, live)
        elif bounds:
            self._limited(axis, rest, live, bounds)
        elif self._straight(axes):
            for k in range(axis.n):
                self.values[axis.name] = Form(k)
                self._sum(rest, live, known)
        else:
            self._loop(axis, rest, live)

    def _straight(self, axes: Sequence[Axis]) -> bool:
        """Whether all points of axes stand in one straight line."""
        plan, taps = self.plan, prod(a.n for a in axes)
        if any(a.name in self.plan.normal.limited or a.name in self.chunks for a in axes) or plan.tile.dot:
            return False
        if any(varies(a.n) for a in axes):
            return False
        return sharing(plan.normal, plan.tile) or len(self.positions) * self.wide * taps <= COSTS.line

    def _loop(self, axis: Axis, rest: Sequence[Axis], live: list[Position]) -> None:
        w, n = self.w, axis.n
        points = len(live) * self.wide
        by = max(min(48 // points, 8 if varies(n) else n, 8), 1) if not rest and not self.plan.tile.dot else 1
        by = min(by, 2) if len(live) < len(self.positions) else by
        var = w.fresh(axis.name)
        with w.loop(var, 0, n - n % by, by) as at:
            known: Registers = {}
            for k in range(by):
                self.values[axis.name] = at + k
                self._sum(rest, live, known)
        self._left(axis, rest, live, by)

    def _left(self, axis: Axis, rest: Sequence[Axis], live: list[Position], by: int) -> None:
        """The values at the end of an axis that are too few to be taken together."""
        begin = axis.n - axis.n % by
        if varies(axis.n) and by > 1:
            with self.w.loop(self.w.fresh(axis.name), Form(begin), Form(axis.n)) as at:
                self.values[axis.name] = at
                self._sum(rest, live, {})
            return
        known: Registers = {}
        for k in range(begin, axis.n):
            self.values[axis.name] = Form(k)
            self._sum(rest, live, known)

    def _chunk(self, axis: Axis, rest: Sequence[Axis], live: list[Position]) -> None:
        """The values of an axis in one chunk."""
        at, size = self.chunks[axis.name]
        if size == 1 and not varies(size):
            self.values[axis.name] = at
            self._sum(rest, live, {})
            return
        by = next((k for k in (4, 2) if not rest and size % k == 0 and not self.plan.tile.dot), 1)
        begin, last = at * (size // by), at - (-(-axis.n // size) - 1)
        with self.w.loop(self.w.fresh(axis.name), begin, [Form(axis.n // by), begin + size // by]) as inside:
            known: Registers = {}
            for k in range(by):
                self.values[axis.name] = inside * by + k
                self._sum(rest, live, known)
        if axis.n % by or (varies(axis.n) and by > 1):
            with self.w.when(last):
                self._left(axis, rest, live, by)

    def _products(self, live: list[Position], known: Registers) -> None:
        plan = self.plan
        if not plan.tile.dot:
            self._fma(live, self.panel, self.wide, self.shape.live, known)
            return
        n, panel = plan.normal.axis(plan.tile.vector).n, plan.tile.panel
        if n >= panel:
            with self.w.loop(self.w.fresh(plan.tile.vector), 0, n // panel) as at:
                self._fma(live, at, self.wide, 0, {})
        if n % panel:
            self._fma(live, Form(n // panel), -(-(n % panel) // plan.tile.lanes), n % plan.tile.lanes, {})

    def _fma(self, live: list[Position], panel: Form, width: int, last: int, known: Registers) -> None:
        """One product more in each sum."""
        w, dtype = self.w, self.plan.contraction.dtype
        for p in live:
            for u in range(width):
                lanes = last if u == width - 1 else 0
                a = self._operand(LEFT, p, panel, u, lanes, known)
                old = self.sums[p, u]
                into = "" if self.refusing else old
                if self.plan.normal.single:
                    new = w.apply("add", old, a, register=into)
                elif dtype.startswith("float"):
                    b = self._operand(RIGHT, p, panel, u, lanes, known)
                    new = w.apply("fma", a, b, old, register=into)
                else:
                    b = self._operand(RIGHT, p, panel, u, lanes, known)
                    new = w.apply("add", old, w.apply("mul", a, b), register=into)
                if self.refusing:
                    there = [self.there(bound, p, u) for bound in self.refusing]
                    w.apply("select", reduce(lambda x, y: w.apply("and", x, y), there), new, old, register=old)

    def _operand(self, which: int, p: Position, panel: Form, u: int, live: int, known: Registers) -> str:
        access, tile = self.plan.accesses[which], self.plan.tile
        if access.lane == 0:
            u = 0
        at = self.place(access, p, u * tile.lanes, panel)
        if access.whole or (access.lane == 0 and not tile.dot):
            live = 0
        if (which, at, live) not in known:
            known[which, at, live] = self._read(access, at, live)
        return known[which, at, live]

    def _read(self, access: Access, at: Form, live: int) -> str:
        lanes, dtype = self.plan.tile.lanes, self.plan.contraction.dtype
        if access.lane == 0 and not live and lanes > 1:
            return self.w.apply("spread", self.cast(self.w.read(access.array, at)), kind=Type(dtype, lanes), hint="x")
        return self.cast(self.w.read(access.array, at, lanes, access.lane, live))

    # -- bounds ----------------------------------------------------------------------------------------

    def _best(self, bound: Form) -> Form:
        """The greatest value of a bound in the tile."""
        coefs, tile = dict(bound.terms), self.plan.tile
        sizes = dict(self.shape.sizes)
        if not tile.dot and tile.vector:
            sizes[tile.vector] = self.wide * tile.lanes - (tile.lanes - self.shape.live if self.shape.live else 0)
        return self.form(bound) + sum(max(coefs.get(a, 0), 0) * (m - 1) for a, m in sizes.items())

    def _closing(self, axis: Axis, rest: Sequence[Axis]) -> list[Form]:
        """The bounds in which this summed axis is the last one."""
        later = {a.name for a in rest}
        return [
            b
            for b in self.plan.normal.bounds
            if any(v == axis.name for v, _ in b.terms) and not any(v in later for v, _ in b.terms)
        ]

    def _limited(self, axis: Axis, rest: Sequence[Axis], live: list[Position], bounds: list[Form]) -> None:
        """A loop over the values that all positions have, and before and after it over those that some have."""
        begins, ends = [Form(0)], [Form(axis.n)]  # of any position
        late: list[Form] = []  # begins of the last position
        early: list[Form] = []
        tested = []
        for bound in bounds:
            coef = dict(bound.terms)[axis.name]
            others = self.form(Form(bound.const, tuple(t for t in bound.terms if t[0] != axis.name)))
            moves = [self._moved(bound, p) + k for p in live for k in self._lanes(bound)]
            least, most = min(moves), max(moves)
            if abs(coef) != 1 or least != most:
                tested.append(bound)
            if coef == 1:
                begins.append(others * -1 + -most)
                late += [others * -1 + -least] if least != most else []
            elif coef == -1:
                ends.append(others + (most + 1))
                early += [others + (least + 1)] if least != most else []
        if any(abs(dict(b.terms)[axis.name]) != 1 for b in bounds):
            self._part(axis, rest, live, begins, ends, tested)
            return
        for k, end in enumerate(late):
            self._part(axis, rest, live, [*begins, *late[:k]], [*ends, end], tested)
        self._part(axis, rest, live, [*begins, *late], [*ends, *early], [])
        for k, begin in enumerate(early):
            self._part(axis, rest, live, [*begins, *late, begin], [*ends, *early[:k]], tested)

    def _part(
        self,
        axis: Axis,
        rest: Sequence[Axis],
        live: list[Position],
        begins: list[Form],
        ends: list[Form],
        tested: list[Form],
    ) -> None:
        with self.w.loop(self.w.fresh(axis.name), begins, ends) as at:
            self.values[axis.name] = at
            if not tested:
                self._sum(rest, live, {})
                return
            vector = self.plan.tile.vector
            masks = [b for b in tested if vector in dict(b.terms)]
            plain = [b for b in tested if b not in masks]
            before, self.refusing = self.refusing, [*self.refusing, *masks]
            if plain:
                for p in live:
                    self._guarded([located(b, self.at(p)) for b in plain], rest, p)
            else:
                self._sum(rest, live, {})
            self.refusing = before

    def _guarded(self, tests: Sequence[Form], rest: Sequence[Axis], p: Position) -> None:
        if not tests:
            self._sum(rest, [p], {})
            return
        with self.w.when(tests[0]):
            self._guarded(tests[1:], rest, p)

    def _lanes(self, bound: Form) -> tuple[int, int]:
        """How far the first and the last lane of the tile move a bound."""
        tile = self.plan.tile
        coef = 0 if tile.dot else dict(bound.terms).get(tile.vector, 0)
        return 0, coef * (self.wide * tile.lanes - 1)

    def _moved(self, bound: Form, p: Position) -> int:
        coefs = dict(bound.terms)
        return sum(coefs.get(a, 0) * k for (a, _), k in zip(self.shape.sizes, p, strict=True))
