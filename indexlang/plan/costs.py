"""What a Plan costs: multiply-adds of products, operations on elements outside of them, calls.

In: a Plan. Out: `Cost`. The one rule: it is read off the steps, with what each index runs through there; a branch costs
what usually runs, and what data say counts in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from .kernels import (
    Einsum,
    Fading,
    Grouped,
    Kernel,
    Label,
    Map,
    Order,
    Product,
    Ranged,
    Rank,
    Running,
    Scatter,
    Search,
    Select,
    Take,
)
from .limits import Limits
from .places import Part, Place
from .plan import Check, Either, Leave, Loop, Make, Plan, Run, Section, Step, Within
from .quantities import Apply, Load, Number, Reach, Reduced, Value, parts_of

SORTING = 20  # operations on an element that sorting takes for each, or finding a place in what is sorted
MOST = 1 << 12  # rounds of a loop that are looked at one by one

Ranges = Mapping[str, tuple[int, int]]  # of the values of each index at a step


@dataclass(frozen=True)
class Cost:
    """Multiply-adds in products, operations on elements, calls of kernels."""

    products: int = 0
    elements: int = 0
    calls: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.products + other.products, self.elements + other.elements, self.calls + other.calls)

    def __mul__(self, times: int) -> Cost:
        return Cost(self.products * times, self.elements * times, self.calls * times)

    @property
    def flops(self) -> int:
        """Operations: a multiply-add is two."""
        return 2 * self.products + self.elements

    def total(self, limits: Limits) -> int:
        """All of it in multiply-adds."""
        return self.products + limits.element * self.elements + limits.call * self.calls


def cost(plan: Plan) -> Cost:
    """What a call costs, unless what it meets is not finite."""
    return total(section_cost(s) for s in plan.sections)


def section_cost(section: Section) -> Cost:
    """What the steps of a section cost."""
    return _steps(section.steps, dict(section.extents))


def total(several: Iterable[Cost]) -> Cost:
    """Costs together."""
    found = Cost()
    for one in several:
        found += one
    return found


def _steps(steps: Iterable[Step], ranges: Ranges) -> Cost:
    return total(_step(step, ranges) for step in steps)


def _step(step: Step, ranges: Ranges) -> Cost:
    match step:
        case Loop():
            return _loop(step, ranges)
        case Within(index=index, begin=begin, end=end, steps=inner):
            lo, hi = ranges[index]
            first, last = _number(begin, ranges), _number(end, ranges)
            first = lo if first is None else max(lo, min(hi - 1, first))
            last = hi if last is None else max(first + 1, min(hi, last))
            return _steps(inner, {**ranges, index: (first, last)})
        case Run(place=place, kernel=kernel):
            return _kernel(kernel, place, ranges)
        case Either(condition=condition, first=first_steps, second=second):
            usual = second if isinstance(condition, Apply) and condition.fn == "not" else first_steps
            return _steps(usual, ranges) + Cost(0, _elements(condition, ranges), 1)
        case Check(position=position):
            return Cost(0, _elements(position, ranges) + _points(position.indices, ranges), 1)
        case Leave(condition=condition):
            return Cost(0, _elements(condition, ranges), 1)
        case Make():
            return Cost()


def _loop(loop: Loop, ranges: Ranges) -> Cost:
    """All rounds of a loop; alike unless something in it depends on where it is."""
    lo, hi = ranges[loop.index]
    end = hi if loop.end is None else min(hi, lo + loop.end)
    begins = range(lo + loop.begin, end, max(1, loop.by))
    if not len(begins):
        return Cost()

    def round_at(begin: int) -> Cost:
        return _steps(loop.steps, {**ranges, loop.index: (begin, min(end, begin + max(1, loop.by)))})

    if len(begins) <= MOST and any(isinstance(s, Within) for s in _inside(loop.steps)):
        return total(map(round_at, begins))
    found = round_at(begins[0])
    return found if len(begins) == 1 else found * (len(begins) - 1) + round_at(begins[-1])


def _inside(steps: Iterable[Step]) -> Iterable[Step]:
    for step in steps:
        yield step
        match step:
            case Loop(steps=inner) | Within(steps=inner):
                yield from _inside(inner)
            case Either(first=first, second=second):
                yield from _inside((*first, *second))
            case _:
                pass


def _kernel(kernel: Kernel, place: Place, ranges: Ranges) -> Cost:
    own = _points(_indices(place), ranges)
    match kernel:
        case Product(roles=r, by=by):
            work = _points((*r.batch, *r.rows, *r.columns, *r.summed), ranges)
            return Cost(work, 0, 1) if by in ("matmul", "nest") else Cost(0, work, 1)
        case Grouped():
            return Cost(own * max(1, _points(_indices(kernel.right), ranges)), 0, 1)
        case Map(value=value):
            return Cost(0, max(own, _elements(value, ranges)), 1)
        case Einsum(factors=factors):
            indices = {i for f in factors for i in f.indices}
            return Cost(0, _points(indices, ranges) + sum(_elements(f, ranges) for f in factors), 1)
        case Take() | Running():
            return Cost(0, 2 * own, 1)
        case Ranged(source=source, along=along):
            levels = _points([along], ranges).bit_length()
            return Cost(0, 6 * levels * _points(_indices(source), ranges) + 6 * own, 1)
        case Fading():
            return Cost(0, 4 * own, 1)
        case Order(source=source):
            return Cost(0, SORTING * _points(_indices(source), ranges), 1)
        case Rank(source=source, value=value):
            return Cost(0, SORTING * own + _elements(value, ranges), 1)
        case Label():
            return Cost(0, SORTING * own, 1)
        case Search(value=value, over=over):
            return Cost(0, own * _points(over, ranges) + _elements(value, ranges), 1)
        case Select(value=value, condition=condition):
            return Cost(0, own + _elements(value, ranges) + _elements(condition, ranges), 1)
        case Scatter(value=scattered, points=points):
            return Cost(0, 4 * _points(points, ranges) + (_elements(scattered, ranges) if scattered else 0), 1)


def _indices(place: Place) -> Iterable[str]:
    return place.indices if isinstance(place, Part) else place.mentioned


def _points(indices: Iterable[str], ranges: Ranges) -> int:
    return prod(ranges[i][1] - ranges[i][0] for i in set(indices))


def _elements(value: Value, ranges: Ranges) -> int:
    """The operations on elements that a value takes: a reduction goes over all that it reduces."""
    found = 0
    for part in parts_of(value):
        match part:
            case Apply(fn=fn) if fn != "cast" or not isinstance(part.args[0], Number | Load):
                found += _points(part.indices, ranges)
            case Reduced(value=inner):
                found += _points(inner.indices, ranges)
            case _:
                pass
    return found


def _number(value: Value, ranges: Ranges) -> int | None:
    """A single integer, where positions say it."""
    match value:
        case Number(value=int(number)):
            return number
        case Reach(row=row, most=most):
            return row.interval(ranges)[most]
        case Apply(fn="neg", args=(a,)):
            found = _number(a, ranges)
            return None if found is None else -found
        case Apply(fn="add" | "mul" | "floordiv" | "min" | "max" as fn, args=(a, b)):
            x, y = _number(a, ranges), _number(b, ranges)
            if x is None or y is None:
                return None
            return {"add": x + y, "mul": x * y, "min": min(x, y), "max": max(x, y)}.get(fn, x // y if y else 0)
        case _:
            return None
