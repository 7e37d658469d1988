"""The normal form of a contraction: few axes, each with its strides in every operand.

In: a `Contraction`. Out: a `Normal`. The one rule: two indices that move all operands as one index would are one axis,
and an index of one value is none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd, prod

from ...properties import cached_property
from .contraction_form import Contraction, Operand
from .nest import Form
from .varying import renewed, varies

LEFT, RIGHT, TARGET = 0, 1, 2
SMALL = 16


@dataclass(frozen=True)
class Axis:
    """`steps`: its strides in left, right, target and what the epilogue reads and writes."""

    name: str
    n: int
    steps: tuple[int, ...]
    bounded: bool = False  # some bound has it: it is not merged
    serial: bool = False  # its points share elements of the target with points of other axes

    @property
    def reduced(self) -> bool:
        return self.steps[TARGET] == 0


@dataclass(frozen=True)
class Normal:
    """A contraction of axes. `never` where no point is there at all; `origin`: what it has other extents than."""

    axes: tuple[Axis, ...]
    views: tuple[Operand, ...]
    bounds: tuple[Form, ...]
    never: bool = False
    origin: Normal | None = None

    @cached_property
    def rounded(self) -> Normal:
        """With numbers that vary rounded up to powers of two, as which they are judged: those near to each other alike.
        Those that are small are judged as they are.
        """
        if not any(varies(a.n) and a.n > SMALL for a in self.axes):
            return self
        large = (a.n > SMALL and varies(a.n) for a in self.axes)
        axes = (
            replace(a, n=renewed(1 << (int(a.n) - 1).bit_length())) if rounds else a
            for a, rounds in zip(self.axes, large, strict=True)
        )
        return replace(self, axes=tuple(axes), origin=self)

    @cached_property
    def _axes(self) -> dict[str, Axis]:
        return {a.name: a for a in self.axes}

    def axis(self, name: str) -> Axis:
        return self._axes[name]

    @cached_property
    def outputs(self) -> tuple[Axis, ...]:
        return tuple(a for a in self.axes if not a.reduced)

    @cached_property
    def sums(self) -> tuple[Axis, ...]:
        return tuple(a for a in self.axes if a.reduced)

    @cached_property
    def masks(self) -> tuple[Form, ...]:
        """Bounds of results whose sums may be made and then not taken: all their elements are there."""
        if not (self.inside(LEFT) and self.inside(RIGHT)):
            return ()
        return tuple(b for b in self.bounds if not any(self.axis(v).reduced for v, _ in b.terms))

    @cached_property
    def tests(self) -> tuple[Form, ...]:
        """Bounds of results whose sums may not be made."""
        return tuple(
            b for b in self.bounds if b not in self.masks and not any(self.axis(v).reduced for v, _ in b.terms)
        )

    @cached_property
    def limited(self) -> frozenset[str]:
        """The axes of which a bound says which points are read."""
        return frozenset(v for b in self.bounds if b not in self.masks for v, _ in b.terms)

    @cached_property
    def taps(self) -> int:
        """How many points a straight line of all sums has; 0 where there is none: bounds or other calls have others."""
        if any(a.name in self.limited or varies(a.n) for a in self.sums):
            return 0
        return prod(a.n for a in self.sums)

    @property
    def single(self) -> bool:
        """Whether the right operand is 1."""
        return not self.views[RIGHT].array.name

    def inside(self, p: int) -> bool:
        """Whether an operand has an element for every point, those that bounds refuse, too."""
        if self.origin is not None:
            return self.origin.inside(p)
        view = self.views[p]
        ends = {a.name: (0, a.n - 1) for a in self.axes}
        low, high = Form(view.offset, tuple((a.name, a.steps[p]) for a in self.axes if a.steps[p])).interval(ends)
        return low >= 0 and high < view.array.size

    def nearest(self, p: int) -> int:
        """The least step of the sums through an operand, 0 where there is none."""
        return self._nearest[p]

    @cached_property
    def _nearest(self) -> tuple[int, int]:
        left, right = ([abs(a.steps[p]) for a in self.sums if a.steps[p]] for p in (LEFT, RIGHT))
        return min(left, default=0), min(right, default=0)

    def copies(self, p: int) -> float:
        """How many points of its indices an element of an operand has, about."""
        if self.origin is not None:
            return self.origin.copies(p)
        return prod(a.n for a in self.axes if a.steps[p]) / max(self.views[p].array.size, 1)

    def once(self, p: int) -> bool:
        """Whether no element of an operand belongs to several values of its indices."""
        return all(len(c) == 1 for c in clusters([(a.name, a.steps[p], a.n) for a in self.axes if a.steps[p]]))

    @property
    def points(self) -> int:
        return prod(a.n for a in self.axes)


def views(c: Contraction) -> tuple[Operand, ...]:
    """Left, right, target, and each operand of the epilogue and of its results once."""
    found = [c.left, c.right, c.target]
    for step in c.epilogue:
        found += [arg for arg in step.args if isinstance(arg, Operand) and arg not in found[3:]]
    found += [o for _, o in c.results if o not in found[3:]]
    return tuple(found)


def normal_form(c: Contraction) -> Normal | None:
    """Its axes; None where the target has no element."""
    operands = views(c)
    strides = [dict(v.strides) for v in operands]
    axes = [Axis(i, n, tuple(s.get(i, 0) for s in strides)) for i, n in c.extents]
    if any(a.n == 0 and not a.reduced for a in axes):
        return None
    never = any(a.n == 0 for a in axes)
    axes = [a for a in axes if a.n > 1]
    bounds, impossible = _bounds(c.bounds, axes)
    if never or impossible:
        return Normal(tuple(_merged([a for a in axes if not a.reduced])), operands, (), True)
    in_bounds = {var for bound in bounds for var, _ in bound.terms}
    axes = _merged([replace(a, bounded=a.name in in_bounds) for a in axes])
    shared = serial([(a.name, a.steps[TARGET], a.n) for a in axes if not a.reduced])
    return Normal(tuple(replace(a, serial=a.name in shared) for a in axes), operands, bounds)


def _bounds(bounds: tuple[Form, ...], axes: list[Axis]) -> tuple[tuple[Form, ...], bool]:
    """The bounds that some points meet and some do not; and whether one is met by none."""
    ends = {a.name: (0, a.n - 1) for a in axes}
    found: list[Form] = []
    for bound in bounds:
        own = Form(bound.const, tuple((v, k) for v, k in bound.terms if v in ends))
        low, high = own.interval(ends)
        if high < 0:
            return (), True
        if low < 0 and own not in found:
            found.append(own)
    return tuple(found), False


def _merged(axes: list[Axis]) -> list[Axis]:
    """Axes as few as strides allow."""
    for outer in axes:
        for inner in axes:
            if outer is inner or outer.bounded or inner.bounded:
                continue
            if all(o == i * inner.n for o, i in zip(outer.steps, inner.steps, strict=True)) and any(inner.steps):
                one = replace(inner, n=outer.n * inner.n)
                return _merged([one if a is inner else a for a in axes if a is not outer])
    return axes


# -- elements of the target that several points share ------------------------------------------------------


def clusters(steps: list[tuple[str, int, int]]) -> list[list[tuple[str, int, int]]]:
    """(name, stride, extent) in groups, so that an element's position tells the position in each group."""
    found: list[tuple[int, int, list[tuple[str, int, int]]]] = []  # common stride, reach, members
    for member in sorted(((a, abs(s), n) for a, s, n in steps), key=lambda m: (m[1], m[2])):
        step, reach, members = member[1], member[1] * (member[2] - 1), [member]
        while found and step <= sum(r for _, r, _ in found):
            below, its_reach, others = found.pop()
            step, reach, members = gcd(step, below), reach + its_reach, others + members
        found.append((step, reach, members))
    return [members for _, _, members in found]


def serial(steps: list[tuple[str, int, int]]) -> set[str]:
    """The axes to take one value after the other, so that the rest meets no element twice."""
    found: set[str] = set()
    for members in clusters(steps):
        kept: list[tuple[str, int, int]] = []
        for member in sorted(members, key=lambda m: -m[2]):
            if all(len(group) == 1 for group in clusters([*kept, member])):
                kept.append(member)
            else:
                found.add(member[0])
    return found


def apart(normal: Normal) -> set[str]:
    """The axes whose values write to different elements, whatever the others are: they may be items."""
    steps = [(a.name, a.steps[TARGET], a.n) for a in normal.outputs]
    return {group[0][0] for group in clusters(steps) if len(group) == 1}
