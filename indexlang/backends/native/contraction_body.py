"""One tile of a contraction: sums in registers, and what is written of them.

In: a `Plan`, the shape of the tile, where it lies. Out: statements. The one rule: a point that a bound refuses is not
read and not added, so that no inf or nan comes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from itertools import groupby
from math import prod

from .contraction_results import Results
from .contraction_tiling import Position, Tiling, located, zero
from .nest import Form, Stmt, Type
from .normal_form import LEFT, RIGHT, Axis
from .packs import Access
from .tile_costs import COSTS, sharing
from .varying import varies

STEPS = 8  # values of an axis that bounds limit, each in a straight line
STAIRS = 6  # bodies for the positions at a border

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
        Results(self, self.sums).write()

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
        elif bounds and (steps := self._steps(axis, live, bounds)):
            for first, last, there in steps:
                self._known(axis, rest, there, first, last)
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
        return sharing(plan.normal, plan.tile) or len(self.positions) * self.wide * taps <= COSTS.straight

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
            if any(v == axis.name for v, _ in b.terms) and not any(v in later or v in self.free for v, _ in b.terms)
        ]

    def _steps(self, axis: Axis, live: list[Position], bounds: list[Form]) -> list[tuple[int, int, list[Position]]]:
        """Runs of values of an axis with the positions that they have, where all of this is known, and short."""
        vector = "" if self.plan.tile.dot else self.plan.tile.vector
        known = [self.form(Form(b.const, tuple(t for t in b.terms if t[0] != axis.name))) for b in bounds]
        if (
            varies(axis.n)
            or axis.n > STEPS
            or any(f.terms for f in known)
            or any(v == vector for b in bounds for v, _ in b.terms)
        ):
            return []
        found = [
            (
                k,
                [
                    p
                    for p in live
                    if all(
                        f.const + self._moved(b, p) + dict(b.terms)[axis.name] * k >= 0
                        for b, f in zip(bounds, known, strict=True)
                    )
                ],
            )
            for k in range(axis.n)
        ]
        runs = [(there, [k for k, _ in run]) for there, run in groupby(found, key=lambda f: f[1])]
        return [(ks[0], ks[-1] + 1, there) for there, ks in runs]

    def _known(self, axis: Axis, rest: Sequence[Axis], live: list[Position], first: int, last: int) -> None:
        """Values of an axis that the same positions have."""
        if not live:
            return
        if last == first + 1:
            self.values[axis.name] = Form(first)
            self._sum(rest, live, {})
            return
        with self.w.loop(self.w.fresh(axis.name), first, last) as at:
            self.values[axis.name] = at
            self._sum(rest, live, {})

    def _limited(self, axis: Axis, rest: Sequence[Axis], live: list[Position], bounds: list[Form]) -> None:
        """A loop over the values that all positions have, and before and after it over those that some have."""
        begins, ends = [Form(0)], [Form(axis.n)]  # of any position
        late: list[Form] = []  # begins of the last position
        early: list[Form] = []
        tested = []

        def first(bound: Form) -> int:
            return dict(bound.terms)[axis.name]

        for bound in bounds:
            coef = first(bound)
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
        if any(abs(first(b)) != 1 for b in bounds):
            self._part(axis, rest, live, begins, ends, tested)
            return
        for k, end in enumerate(late):
            self._part(
                axis, rest, live, [*begins, *late[:k]], [*ends, end], tested, [b for b in tested if first(b) == 1]
            )
        self._part(axis, rest, live, [*begins, *late], [*ends, *early], [])
        for k, begin in enumerate(early):
            self._part(
                axis,
                rest,
                live,
                [*begins, *late, begin],
                [*ends, *early[:k]],
                tested,
                [b for b in tested if first(b) == -1],
            )

    def _part(
        self,
        axis: Axis,
        rest: Sequence[Axis],
        live: list[Position],
        begins: list[Form],
        ends: list[Form],
        tested: list[Form],
        missed: Sequence[Form] = (),
    ) -> None:
        """A loop in which bounds are tested. Where one bound alone is `missed`, some position misses it all along."""
        with self.w.loop(self.w.fresh(axis.name), begins, ends) as at:
            self.values[axis.name] = at
            vector = self.plan.tile.vector
            masks = [b for b in tested if vector in dict(b.terms)]
            plain = [b for b in tested if b not in masks]
            before, self.refusing = self.refusing, [*self.refusing, *masks]
            if len(missed) == 1 and not masks:
                self._missed(missed[0], plain, rest, live)
            elif missed:
                self._each(plain, rest, live)
            else:
                plain.sort(key=lambda b: len({self._moved(b, p) for p in live}))  # those of all positions first
                self._mixed(plain, rest, live)
            self.refusing = before

    def _mixed(self, tests: Sequence[Form], rest: Sequence[Axis], live: list[Position]) -> None:
        """All positions together where all of them meet the tests, else those that do."""
        if not tests:
            self._sum(rest, live, {})
            return
        test, moves = tests[0], [self._moved(tests[0], p) for p in live]
        at = self.form(test) + min(moves)
        if len(set(moves)) == 1:
            with self.w.when(at):
                self._mixed(tests[1:], rest, live)
            return
        with self._aside() as together:
            self._mixed(tests[1:], rest, live)
        with self._aside() as others, self.w.when(self.form(test) + max(moves)):
            self._missed(test, tests, rest, live)
        self.w.otherwise(at, together, others)

    def _missed(self, test: Form, tests: Sequence[Form], rest: Sequence[Axis], live: list[Position]) -> None:
        """The positions that meet the tests, where some misses this one and some does not: from which one on tells them
        all, if where one bound is missed the others are met.
        """
        others = [t for t in tests if t is not test]
        moves = sorted({self._moved(test, p) for p in live})
        low, _ = test.interval({a.name: (0, a.n - 1) for a in self.plan.normal.axes})
        steps = [m for m in moves[1:] if m < moves[0] - low]
        if len(steps) > STAIRS or not all(self._met(t, test, live) for t in others):
            self._each(tests, rest, live)
        else:
            self._stairs(test, [*steps, *(m for m in moves[1:] if m >= moves[0] - low)][: len(steps) + 1], rest, live)

    def _met(self, test: Form, missed: Form, live: list[Position]) -> bool:
        """Whether all positions of a tile meet a bound where one of them misses the other: their sum is a number."""
        both = test + missed
        moves = [self._moved(test, p) for p in live]
        return not both.terms and both.const + 1 >= max(moves) - min(moves)

    def _stairs(self, test: Form, steps: Sequence[int], rest: Sequence[Axis], live: list[Position]) -> None:
        """The positions from the first step on that meets a bound, of which the last one surely does."""
        if not steps:
            return
        there = [p for p in live if self._moved(test, p) >= steps[0]]
        if len(steps) == 1:
            self._sum(rest, there, {})
            return
        with self._aside() as here:
            self._sum(rest, there, {})
        with self._aside() as later:
            self._stairs(test, steps[1:], rest, live)
        self.w.otherwise(self.form(test) + steps[0], here, later)

    @contextmanager
    def _aside(self) -> Iterator[list[Stmt]]:
        """Statements of one way of several: what it sets is not known to the others."""
        before = dict(self.values)
        with self.w.apart() as own:
            yield own
        self.values = before

    def _each(self, tests: Sequence[Form], rest: Sequence[Axis], live: list[Position]) -> None:
        """Each position that meets the tests."""
        for p in live:
            self._guarded([located(b, self.at(p)) for b in tests], rest, p)

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
