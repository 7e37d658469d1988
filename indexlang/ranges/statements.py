"""How far the indices of one statement run.

In: a statement, what is known of sizes before it, how far its steps run. Out: its bounds, what it takes to
be equal, the shape of what it defines. The one rule, from the most to the least certain: a written range; the axes of
plain uses; then each subscript with exactly one open index bounds it, for all values of the others. Where a subscript
may still leave its axis, its one index that the target has is shortened.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import Problem
from ..program.affine import Affine, floordiv, least, not_negative, total
from ..program.ir import (
    DOTS,
    Access,
    Boundary,
    Call,
    Const,
    Dots,
    Expr,
    Index,
    Merged,
    Range,
    Statement,
    indices_of,
    primal_of,
    reads,
    reductions_of,
    steps_of,
    walk,
)
from .admitted import end, ended_by_line, extreme, line_conditions, margins_of
from .forms import Box, Sizes
from .uses import Use, other_uses, uses

Axis = tuple[str, int]  # a tensor and the number of an axis; negative, from the end, behind a leading `...`
ZERO = Affine(0)
Made = Mapping[str, frozenset[str]]  # by step, what its block sets


@dataclass(frozen=True)
class Bound:
    """low <= index < high. `sources` are the axes that it subscripts plainly; all of them have size `high`.

    An index whose end is written has none: under a mask it may end behind an axis. One that only conditions end,
    `masked`, may run over nothing for some values of the others, hence for all.
    """

    low: Affine
    high: Affine
    sources: frozenset[Axis] = frozenset()
    masked: bool = field(default=False, compare=False)

    @property
    def lo(self) -> Expr:
        return self.low.to_expr()

    @property
    def hi(self) -> Expr:
        return self.high.to_expr()


@dataclass(frozen=True)
class Cut:
    """A plain index that was shortened, so that a subscript stays in its axis."""

    index: str
    use: Use
    sources: tuple[Axis, ...]


@dataclass(frozen=True)
class Claim:
    """Two sizes that are taken to be equal from here on, because an index subscripts both axes plainly."""

    index: str
    first: Use
    size: Affine
    second: Use
    other: Affine


@dataclass(frozen=True)
class Step:
    """How far the index of a block runs, if its line says no range; by which plain use, if by one. Where a condition of
    its line ends it, `beside` is the size of what the block subscripts plainly with it.
    """

    low: Affine
    high: Affine
    use: Use | None = None
    beside: Affine | None = None


class OneStatement:
    """One statement being solved. What the block of a step has `made` does not bound it."""

    def __init__(self, stmt: Statement, sizes: Sizes, is_judged: bool, made: Made, steps: Mapping[str, Step]) -> None:
        self.stmt, self.sizes, self.is_judged = stmt, sizes, is_judged
        self.made, self.steps = made, {i: steps[i] for i in steps_of(stmt) if i in steps}
        self.box = Box()
        self.problems: list[Problem] = []
        self.cuts: list[Cut] = []
        self.claims: list[Claim] = []
        self.withheld = False
        self.sources: dict[str, tuple[Axis, ...]] = {}  # the axes that an index subscripts plainly
        self.sizes_of: dict[str, frozenset[Affine]] = {}
        self.fixed: set[str] = set()  # indices whose end was written
        self.uses = uses(stmt)
        self.free = frozenset(indices_of(stmt.target))
        reduces = reductions_of(stmt)
        domains = [stmt.domain, *(r.domain for r in reduces)]
        self.indices = [i for d in domains for i in d.indices if i != DOTS]
        self.ranges: dict[str, Range] = {r.index: r for d in domains for r in d.ranges}
        self.masks = {i: (*stmt.domain.masks, *d.masks) for d in domains for i in d.indices}
        self.masked_ends = {*ended_by_line(stmt)} - {i for i, r in self.ranges.items() if r.hi is not None}
        self.by_mask: set[str] = set()  # indices that only conditions end

    # -- bounds --------------------------------------------------------------------------------

    def solve(self) -> None:
        self.written()
        self.plain()
        pending = [u for u in other_uses(self.stmt) if self.limit(u) is not None]
        merged = [u for u in other_uses(self.stmt) if isinstance(u.subscript, Merged)]
        while pending or merged:
            settled = [u for u in pending if not self.open(u)]
            pending = [u for u in pending if self.open(u)]
            for use in settled:
                self.shorten(use)
            bounding = [u for u in pending if len(self.open(u)) == 1]
            told = [u for u in bounding if not self.is_kept_inside(u)]
            kept_inside = {self.open(u)[0] for u in bounding} - {self.open(u)[0] for u in told}
            ended = self.by_masks(kept_inside)  # first, as others may end where these do
            if not (ended or self.by_subscripts(told) or self.by_merged(merged) or self.by_masks(self.indices)):
                break
            pending = [u for u in pending if u not in bounding or self.open(u)]
        self.by_masks(self.indices)
        for i in self.indices:
            if i not in self.box.high:
                if not (self.problems and i in self.masked_ends):  # it ends where others say that are blamed
                    self.problems.append(self.unbounded(i))
                self.box.high[i] = Affine(0, ((Index(i), 1),))

    def written(self) -> None:
        for i in self.indices:
            r = self.ranges.get(i)
            self.box.low[i] = ZERO if r is None or r.lo is None else self.canonical(r.lo)
            if r is not None and r.hi is not None:
                self.box.high[i] = self.canonical(r.hi)
                self.fixed.add(i)
                self.steps.pop(i, None)
            elif i in self.steps:
                self.box.high[i] = self.canonical(self.steps[i].high.to_expr())
                self.by_mask.update({i} & self.masked_ends)

    def plain(self) -> None:
        found: dict[str, list[tuple[Use, Affine]]] = {}
        for use in self.uses:
            if not isinstance(use.subscript, Index) or (whole := self.size(use)) is None:
                continue
            if use.tensor not in self.made.get(use.subscript.name, ()):
                found.setdefault(use.subscript.name, []).append((use, whole))
        for i, sizes in found.items():
            self.sources[i] = tuple([(use.tensor, use.axis) for use, _ in sizes])
            if i in self.fixed or i in self.masked_ends:
                continue
            if i in self.steps:
                first_use = self.steps[i].use
                if first_use is None:
                    continue
                sizes = [(first_use, self.box.high[i]), *sizes]
            if self.claims:  # what was found equal has one form from then on
                sizes = [(use, s) for use, _ in sizes if (s := self.size(use)) is not None]
            self.sizes_of[i] = frozenset([s for _, s in sizes])
            (first, one), *others = sizes
            for use, other in others:
                if other == one:
                    continue
                if self.is_judged:
                    self.withheld = True
                else:
                    self.claims.append(Claim(i, first, one, use, other))
                    self.sizes.equate(one, other)
            self.box.high[i] = self.sizes.canonical(one)
        self.fixed.update(self.steps)

    def by_subscripts(self, pending: Sequence[Use]) -> dict[str, Affine]:
        """Open indices, each bounded by all subscripts in which nothing else is open."""
        found: dict[str, list[Affine]] = {}
        for use in pending:
            name = self.open(use)[0]
            if use.tensor in self.made.get(name, ()) or name in self.masked_ends:
                continue
            if (bound := self.bound(use, name)) is not None:
                found.setdefault(name, []).append(bound)
        result = {i: least(*bounds) for i, bounds in found.items()}
        self.box.high.update(result)
        return result

    def by_masks(self, names: Collection[str]) -> dict[str, Affine]:
        """Those of some indices that are open and in no target, each bounded by conditions alone."""
        found = {}
        for i in self.indices:
            if i in names and i not in self.box.high and (i in self.masked_ends or self.is_inner(i)):
                bound = end(self.conditions(i), i, self.box, self.sizes)
                if bound is not None:
                    found[i] = bound
        self.box.high.update(found)
        self.by_mask.update(found)
        return found

    def is_kept_inside(self, use: Use) -> bool:
        """Whether a subscript leaves its axis nowhere by its one open index, since conditions end this, or others."""
        name = self.open(use)[0]
        limit = self.limit(use)
        ended = end(self.masks[name], name, self.box, self.sizes) if self.is_inner(name) else None
        if limit is None or (ended is None and self.by_mask.isdisjoint(indices_of(use.subscript))):
            return False
        times = limit[0].coefficient(name)
        if not times.is_constant:
            return False
        if ended is not None:  # beyond, conditions refuse all
            self.box.high[name] = ended
        inside = self.masked(use, *limit, 1 if times.const > 0 else -1)
        self.box.high.pop(name, None)
        return inside

    def is_inner(self, index: str) -> bool:
        """Whether an index is reduced by its statement, or by a reduction in it."""
        return index not in self.free and index not in steps_of(self.stmt) and index in self.masks

    def conditions(self, index: str) -> tuple[Expr, ...]:
        """What may say where an index ends: of a step the line of its block alone."""
        return ended_by_line(self.stmt).get(index) or self.masks[index]

    def by_merged(self, merged: Sequence[Use]) -> dict[str, Affine]:
        """The one open index of a merged axis: what the others leave of it."""
        for use in merged:
            assert isinstance(use.subscript, Merged)
            names, whole = self.open(use), self.size(use)
            if len(names) == 1 and whole is not None:
                others = total(self.box.high[i] for i in use.subscript.indices if i != names[0])
                self.box.high[names[0]] = floordiv(whole, others)
                return {names[0]: self.box.high[names[0]]}
        return {}

    def shorten(self, use: Use) -> None:
        """Where a subscript may leave its axis, its one index that the target has ends earlier."""
        if primal_of(self.stmt.target.tensor) is not None:
            return  # a derived statement inherits its ranges
        limit = self.limit(use)
        assert limit is not None
        form, end = limit
        for sign in (1, -1):
            extreme = self.box.extreme(form, sign)
            if extreme is None:
                return
            margin = end - 1 - extreme if sign > 0 else extreme
            if not_negative(margin) or self.masked(use, form, end, sign):
                continue
            free = [i for i in form.indices if i in self.free]
            if len(free) != 1 or free[0] in self.fixed:
                continue
            coefficient = form.coefficient(free[0])
            if not coefficient.is_constant or coefficient.const * sign <= 0:
                continue
            bound = self.bound(use, free[0])
            if bound is not None:
                self.box.high[free[0]] = least(self.box.high[free[0]], bound)
                self.cuts.append(Cut(free[0], use, self.sources.get(free[0], ())))

    def masked(self, use: Use, form: Affine, end: Affine, sign: int) -> bool:
        """Whether a mask admits only points at which a subscript stays in its axis."""
        inside, given = end - 1 - form if sign > 0 else form, margins_of(use.masks, self.sizes)
        gaps = (*(self.box.extreme(inside - m, -1) for m in given), extreme(self.box, inside, -1, given))
        return any(gap is not None and not_negative(gap) for gap in gaps)

    def bound(self, use: Use, index: str) -> Affine | None:
        """Below what an index must stay, so that a subscript stays in its axis for all values of the others."""
        limit = self.limit(use)
        if limit is None:
            return None
        form, end = limit
        given = margins_of(use.masks, self.sizes)
        coefficient = form.coefficient(index)
        rest = form - coefficient * Affine(0, ((Index(index), 1),))
        if index in rest.indices or coefficient == ZERO:
            return None
        if coefficient.is_constant and coefficient.const < 0:
            low = extreme(self.box, rest, -1, given)
            return None if low is None else floordiv(low, Affine(-coefficient.const)) + 1
        high = extreme(self.box, rest, 1, given)
        return None if high is None else floordiv(end - 1 - high, coefficient) + 1

    # -- parts ---------------------------------------------------------------------------------

    def canonical(self, expr: Expr) -> Affine:
        return self.sizes.canonical(Affine.from_expr(expr))

    def size(self, use: Use) -> Affine | None:
        return self.sizes.axis(use.tensor, use.axis)

    def open(self, use: Use) -> list[str]:
        return [i for i in indices_of(use.subscript) if i != DOTS and i not in self.box.high]

    def limit(self, use: Use) -> tuple[Affine, Affine] | None:
        """A form and the end that it must stay below; None for plain subscripts and those without an end."""
        if isinstance(use.subscript, Index | Merged | Dots) or (whole := self.size(use)) is None:
            return None
        match use.subscript:
            case Boundary(kind="pad", expr=e, lo=lo, hi=hi) if lo is not None and hi is not None:
                form, whole = self.canonical(e), whole + self.canonical(lo) + self.canonical(hi)
            case Boundary():
                return None
            case expr:
                form = self.canonical(expr)
        if reads(form.to_expr()):
            return None
        match form.terms:
            case ((Call(fn="floordiv", args=(a, Const(value=m))), 1),) if type(m) is int and m > 0:
                return Affine.from_expr(a), (whole - form.const) * m
        return form, whole

    def unbounded(self, index: str) -> Problem:
        use = next((u for u in self.uses if index in indices_of(u.subscript)), None)
        span = self.stmt.span if use is None else use.span
        rule = f"nothing says how far the index '{index}' runs"
        if index in steps_of(self.stmt):
            way = f"read what is there before the block along {index}, or say it in its line: for {index} < N:"
        elif use is not None and use.is_target and self.size(use) is None:
            way = f"declare the shape of {use.tensor}, or say where {index} < ..."
        else:
            way = f"use {index} as a plain subscript, or say where {index} < ..."
        return Problem("unbounded-index", rule, span, (), way)

    # -- what comes out ------------------------------------------------------------------------

    def bounds(self) -> dict[str, Bound]:
        low, high, canonical = self.box.low, self.box.high, self.sizes.canonical
        sources = {i: frozenset(() if i in self.fixed else axes) for i, axes in self.sources.items()}
        return {
            i: Bound(canonical(low[i]), canonical(high[i]), sources.get(i, frozenset()), i in self.by_mask)
            for i in self.indices
        }

    def define(self) -> None:
        """The shape of the target, if this statement is the first to define it."""
        target = self.stmt.target
        if target.tensor in self.sizes.defined or target.tensor not in self.sizes.targets:
            return
        if target.tensor in self.sizes.primals:
            primal = self.sizes.primals[target.tensor]
            self.sizes.define(target.tensor, {})
            self.sizes.aliases[target.tensor] = primal
            return
        axes: dict[int, Affine] = {}
        for use in self.uses:
            if use.access is target and use.is_target:
                reached = self.sizes.axis(target.tensor, use.axis) or self.beside(use) or self.reached(use)
                if reached is not None and not reached.indices:  # an unbounded index stands for itself
                    axes[self.sizes.number(target.tensor, use.axis)] = reached
        circular = self.sizes.circular(target.tensor, axes)
        self.sizes.define(target.tensor, {k: form for k, form in axes.items() if k not in circular})
        if Dots() in target.subscripts:
            self.sizes.dotted.add(target.tensor)
            others = (p for p in walk(self.stmt.value) if isinstance(p, Access) and p.subscripts == (Dots(),))
            if target.subscripts == (Dots(),) and (other := next(others, None)) is not None:
                circular += self.sizes.alias(target.tensor, other.tensor)
        for axis in circular:
            rule = f"the length of axis {axis} of {target.tensor} is said by itself"
            way = f"declare it by other sizes: shape {target.tensor}[...]"
            self.problems.append(Problem("undeclared-shape", rule, target.span, (), way))

    def most(self, position: Expr) -> Affine | None:
        """The greatest position at the steps that there are: no other condition changes a shape."""
        given = () if isinstance(position, Index) else margins_of(line_conditions(self.stmt), self.sizes)
        return extreme(self.box, self.canonical(position), 1, given)

    def beside(self, use: Use) -> Affine | None:
        """The size of the axes that a step subscripts plainly, too, where its line ends it by a condition."""
        match use.subscript:
            case Index(name=i) if i in self.steps:
                return self.steps[i].beside
            case _:
                return None

    def reached(self, use: Use) -> Affine | None:
        """One more than the greatest position that a subscript of the target reaches."""
        match use.subscript:
            case Merged(indices=names):
                return total(self.box.high[i] for i in names)
            case Boundary(kind="pad", expr=e, lo=lo, hi=hi) if lo is not None and hi is not None:
                greatest_position = self.most(e)
                around = self.canonical(lo) + self.canonical(hi)
                found = None if greatest_position is None else greatest_position + 1 - around
            case Boundary() | Dots():
                found = None
            case expr:
                greatest_position = self.most(expr)
                found = None if greatest_position is None else greatest_position + 1
        if found is None:
            rule = f"nothing says how long axis {use.axis} of {use.tensor} is"
            way = f"declare it: shape {use.tensor}[...]"
            self.problems.append(Problem("undeclared-shape", rule, use.span, (), way))
        return found
