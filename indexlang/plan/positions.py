"""Between which ends computed positions lie, step by step.

In: the steps of a Plan in their order. Out: an interval for a value of integers. The one rule: what only data say is
unbounded until a Check has passed; clamped, wrapped and searched positions bound themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import prod
from typing import Any

import numpy as np

from .kernels import Label, Map, Order, Ranged, Rank, Running, Search, Take
from .places import Buffer, Part, Place
from .plan import Run
from .quantities import Apply, Count, Load, Number, Position, Reach, Reduced, Value
from .views import Extents

Interval = tuple[int, int]

_ENDS = (-(2**63), 2**63 - 1)


class Positions:
    """The ends of what integer buffers hold now, and of values that were checked."""

    def __init__(self) -> None:
        self.held: dict[Buffer, Interval | None] = {}
        self.checked: dict[Value, Interval] = {}

    def copy(self) -> Positions:
        found = Positions()
        found.held, found.checked = dict(self.held), dict(self.checked)
        return found

    def either(self, other: Positions) -> None:
        """What holds whichever of two ways was gone."""
        both = self.held.keys() | other.held.keys()
        self.held = {b: _together(*(h[b] for h in (self.held, other.held) if b in h)) for b in both}
        self.checked = {v: ends for v, ends in self.checked.items() if other.checked.get(v) == ends}

    def run(self, run: Run, extents: Extents) -> None:
        """What a place holds from here on."""
        buffer = run.place.buffer
        if not buffer.dtype.startswith(("int", "uint")):
            return
        self.checked = {v: ends for v, ends in self.checked.items() if not _reads(v, buffer)}
        found = None
        match run.kernel:
            case Map(value=value):
                found = self.interval(value, extents)
            case Take(source=source):
                found = self.held.get(source.buffer)
            case Running(op="argmax" | "argmin", along=along) | Ranged(op="argmax" | "argmin", along=along):
                found = (0, max(0, _size(along, extents) - 1))
            case Order(rank=rank):
                found = (0, max(0, _size(rank, extents) - 1))
            case Rank(source=source):
                found = (0, prod(_size(i, extents) for i in source.mentioned))
            case Search(over=over) | Label(over=over):
                found = (0, max(0, prod(_size(i, extents) for i in over) - 1))
            case _:
                pass
        if run.op != "=":
            found = None
        elif not _covers(run.place, extents) and buffer in self.held:
            found = _together(found, self.held[buffer])
        self.held[buffer] = found

    def check(self, position: Value, end: int) -> None:
        """A value is inside of 0..end-1 wherever it is read again."""
        self.checked[position] = (0, end - 1)
        match position:
            case Apply(fn="add", args=(Load() as inner, Number(value=int(shift)))):
                self.checked[inner] = (-shift, end - 1 - shift)
            case _:
                pass

    def interval(self, value: Value, extents: Extents) -> Interval | None:
        """The least and the greatest that a value can be; None for what is no integer."""
        found = _at_each_point(value, extents) or self._interval(value, extents)
        if not value.dtype.startswith(("int", "uint", "bool")):
            return None
        if found is None or found[0] < _ENDS[0] or found[1] > _ENDS[1]:  # what wraps can be anything
            found = (0, 2**64 - 1) if value.dtype == "uint64" else _ENDS
        lo, hi = self.checked.get(value, found)
        return max(found[0], lo), min(found[1], hi)

    def _interval(self, value: Value, extents: Extents) -> Interval | None:
        match value:
            case Number(value=number):
                return (int(number), int(number)) if isinstance(number, int) else None
            case Reach(row=row):
                return row.interval(extents)
            case Position(index=index):
                lo, hi = extents[index]
                return lo, hi - 1
            case Count(over=over):
                count = prod(_size(i, extents) for i in over)
                return 0, count
            case Load(place=place):
                return (0, 1) if place.buffer.dtype == "bool" else self.held.get(place.buffer)
            case Reduced(op=op, value=inner):
                return self.interval(inner, extents) if op in ("greatest", "least") else None
            case Apply(fn=fn, args=args, dtype=dtype):
                return (0, 1) if dtype == "bool" else _applied(fn, [self.interval(a, extents) for a in args])


MOST_POINTS = 1 << 12  # that are looked at one by one

_EACH = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "neg": np.negative,
    "floordiv": np.floor_divide,
    "mod": np.mod,
    "max": np.maximum,
    "min": np.minimum,
    "abs": np.abs,
}


def _at_each_point(value: Value, extents: Extents) -> Interval | None:
    """The least and the greatest of what indices alone say, exactly, where there are not too many points."""
    if not isinstance(value, Apply) or prod(_size(i, extents) for i in value.indices) not in range(1, MOST_POINTS):
        return None
    order = sorted(value.indices)
    grid = dict(zip(order, np.meshgrid(*(np.arange(*extents[i]) for i in order), indexing="ij"), strict=True))

    def at(part: Value) -> Any:
        match part:
            case Number(value=int(number)) if abs(number) < 1 << 31:
                return number
            case Position(index=index):
                return grid[index]
            case Apply(fn="mod" | "floordiv", args=(_, divisor)) if (
                not isinstance(divisor, Number) or divisor.value <= 0
            ):
                return None
            case Apply(fn=fn, args=args) if fn in _EACH:
                parts = [at(a) for a in args]
                return None if any(p is None for p in parts) else _EACH[fn](*parts)
            case _:
                return None

    found = at(value)
    return None if found is None else (int(np.min(found)), int(np.max(found)))


def _applied(fn: str, args: list[Interval | None]) -> Interval | None:
    """What a function makes of intervals."""
    match fn, args:
        case "where" | "select", [_, a, b]:
            return _together(a, b)
        case "max", [a, b]:
            return _most(a, b) if a and b else None
        case "min", [a, b]:
            return _least(a, b) if a and b else None
        case "mod", [whole, (n, m)] if n == m > 0:
            one_turn = whole is not None and whole[0] // n == whole[1] // n
            return (whole[0] % n, whole[1] % n) if whole is not None and one_turn else (0, n - 1)
        case "keep", [_, (lo, hi)]:
            return min(lo, 0), max(hi, 0)
        case "cast" | "int", [a]:
            return a
        case "neg", [(lo, hi)]:
            return -hi, -lo
        case "abs", [(lo, hi)]:
            return 0 if lo <= 0 <= hi else min(abs(lo), abs(hi)), max(abs(lo), abs(hi))
        case "add", [(a, b), (c, d)]:
            return a + c, b + d
        case "sub", [(a, b), (c, d)]:
            return a - d, b - c
        case "mul", [(a, b), (c, d)]:
            ends = [x * y for x, y in product((a, b), (c, d))]
            return min(ends), max(ends)
        case "floordiv", [(a, b), (c, d)] if c == d > 0:
            return a // c, b // c
        case _:
            return None


def _most(a: Interval, b: Interval) -> Interval:
    return max(a[0], b[0]), max(a[1], b[1])


def _least(a: Interval, b: Interval) -> Interval:
    return min(a[0], b[0]), min(a[1], b[1])


def _together(*ends: Interval | None) -> Interval | None:
    """An interval that holds others."""
    known = [e for e in ends if e is not None]
    return (min(lo for lo, _ in known), max(hi for _, hi in known)) if len(known) == len(ends) else None


def _covers(place: Place, extents: Extents) -> bool:
    """Whether all that a place's buffer holds is written."""
    if isinstance(place, Part):
        return not place.moved
    rows = zip(place.rows, place.buffer.shape, strict=True)
    return all(len(r.coefs) == 1 and r.interval(extents) == (0, n - 1) and abs(r.coefs[0][1]) == 1 for r, n in rows)


def _size(index: str, extents: Mapping[str, tuple[int, int]]) -> int:
    lo, hi = extents[index]
    return max(0, hi - lo)


def _reads(value: Value, buffer: Buffer) -> bool:
    match value:
        case Load(place=place):
            return place.buffer == buffer
        case Apply(args=args):
            return any(_reads(a, buffer) for a in args)
        case Reduced(value=inner):
            return _reads(inner, buffer)
        case _:
            return False
