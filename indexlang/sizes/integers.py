"""Integers that are made of indices and sizes alone, and leave 64 bits: found before anything is computed with them.

In: a statement, how far its indices run, shapes. Out: problems. The one rule: what is refused would wrap at a point
that is used. Where conditions may keep such points away, those near the ends of indices are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product

from ..errors import Problem
from ..program.conditions import conjuncts, value_at
from ..program.ir import Call, Const, Expr, Index, Size, Statement, Subscript, children, indices_of, walk
from ..program.text import expr_text

Box = Mapping[str, tuple[int, int]]  # lo <= index < hi
Shapes = Mapping[str, Sequence[int]]
Reach = tuple[int, int]  # the least and the greatest value
_POINTS = 1 << 8  # that are looked at one by one
_LONG = 64  # bits


def wrapping(stmt: Statement, box: Box, shapes: Shapes) -> Iterator[Problem]:
    """The first integer of a statement that does not fit, if there is one."""
    if any(hi <= lo for lo, hi in box.values()):
        return
    conditions = [c for mask in stmt.domain.masks for c in conjuncts(mask)]
    for part in (stmt.value, *stmt.target.subscripts, *conditions):
        found = _Integers(box, shapes)
        found.reach(part)
        if found.long is None:
            continue
        expr, value = found.long
        asked = [c for c in conditions if c is not part and not set(indices_of(c)).isdisjoint(indices_of(expr))]
        if not asked or _is_reached(expr, asked, box, shapes):
            rule, text = "integers have 64 bits, and this one does not fit", expr_text(expr)
            far = f"{text} would reach {'-' * (value < 0)}2**{abs(value).bit_length() - 1} and more"
            one = next((f"1.0*{i} for {i}" for i in indices_of(expr)), "2.0 for 2")
            way = f"make sizes smaller, or one of its numbers no integer: {one}"
            yield Problem("overflow", rule, expr.span or stmt.span, (far,), way)
            return


def _is_reached(expr: Expr, conditions: Sequence[Expr], box: Box, shapes: Shapes) -> bool:
    """Whether an integer does not fit at a point, among those near the ends of indices, that conditions admit."""
    names = tuple(dict.fromkeys(i for e in (expr, *conditions) for i in indices_of(e) if i in box))
    near = max(1, round(_POINTS ** (1 / len(names))) // 2)
    runs = (range(*box[i]) for i in names)
    for values in islice(product(*(sorted({*run[:near], *run[-near:]}) for run in runs)), _POINTS):
        point = dict(zip(names, values, strict=True))
        there = _Integers({i: (v, v + 1) for i, v in point.items()}, shapes)
        there.reach(expr)
        if there.long is not None and all(value_at(c, point, shapes) for c in conditions):
            return True
    return False


@dataclass
class _Integers:
    """How far integers reach; `long` is the first that does not fit, with its end."""

    box: Box
    shapes: Shapes
    long: tuple[Call, int] | None = None

    def reach(self, node: Subscript) -> Reach | None:
        """Bounds of an integer; None for anything else, and for what data decide."""
        match node:
            case Const(value=value):
                return (value, value) if type(value) is int else None
            case Index(name=name):
                lo, hi = self.box.get(name, (0, 1))
                return lo, hi - 1
            case Size(tensor=tensor, axis=axis) if tensor in self.shapes:
                return self.shapes[tensor][axis], self.shapes[tensor][axis]
            case Call(fn="where", args=(condition, *_)):
                self.reach(condition)  # which may keep what does not fit away from where it is computed
                return None
            case Call(fn=fn, args=args):
                parts = [self.reach(a) for a in args]
                known = [p for p in parts if p is not None]
                found = _combined(fn, known) if len(known) == len(parts) else None
                if found is not None and not _fits(found) and self.long is None and _moves(node):
                    self.long = node, found[1] if found[1] >> (_LONG - 1) > 0 else found[0]
                return found
            case _:
                for part in children(node):
                    self.reach(part)
                return None


def _fits(found: Reach) -> bool:
    return found[0] >= -(1 << (_LONG - 1)) and found[1] < 1 << (_LONG - 1)


def _power(base: int, exponent: int) -> int:
    """The power, or one that does not fit either."""
    return base**exponent if abs(base) < 2 or exponent <= _LONG else (-1 if base < 0 and exponent % 2 else 1) << _LONG


def _moves(expr: Expr) -> bool:
    """Whether sizes decide; numbers alone are looked at with the text (`dtypes`)."""
    return any(isinstance(p, Index | Size) for p in walk(expr))


def _combined(fn: str, parts: Sequence[Reach]) -> Reach | None:
    """Bounds of a function of integers."""
    match fn, parts:
        case "neg", [(low, high)]:
            return -high, -low
        case "add", [(a, b), (c, d)]:
            return a + c, b + d
        case "sub", [(a, b), (c, d)]:
            return a - d, b - c
        case "mul", [(a, b), (c, d)]:
            ends = (a * c, a * d, b * c, b * d)
            return min(ends), max(ends)
        case "pow", [(a, b), (c, d)] if c >= 0:
            powers = [
                _power(base, n) for base in (a, b, *range(max(a, -1), min(b, 1) + 1)) for n in {c, d, max(c, d - 1)}
            ]
            return min(powers), max(powers)
        case "min", [(a, b), (c, d)]:
            return min(a, c), min(b, d)
        case "max", [(a, b), (c, d)]:
            return max(a, c), max(b, d)
        case "floordiv", [(a, b), (c, d)] if c == d > 0:
            return a // c, b // c
        case "mod", [(a, b), (c, d)] if c == d > 0:
            return (a, b) if a >= 0 and b < c else (0, c - 1)
        case _:
            return None
