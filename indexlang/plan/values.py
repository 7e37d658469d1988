"""Values that need no access: numbers, positions, edges, identities; a value at fixed indices, or along others.

In: numbers, rows, values. Out: values. The one rule: nothing here reads a buffer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ..errors import Problem, ShapeError, Span
from ..program.ir import Call, Const, Expr, Size
from .building import Building
from .operators import identity
from .places import Part, View
from .quantities import Apply, Load, Number, Position, Reduced, Value
from .views import Row


def number_of(b: Building, expr: Expr) -> Value:
    """An expression of numbers and sizes alone."""
    match expr:
        case Const(value=value):
            return Number(value, b.kind(expr))
        case Size(tensor=tensor, axis=axis):
            return Number(b.shapes[tensor][axis], "int64", (tensor, axis))
        case Call(fn=fn, args=args):
            return Apply(fn, tuple(number_of(b, a) for a in args), b.kind(expr))
        case _:
            raise AssertionError("a number is made of numbers and sizes")


def padding(b: Building, expr: Expr, dtype: str) -> Value:
    """What a pad puts around a tensor: infinities are the ends of a type without them. Errors: `ShapeError`."""
    value = number_of(b, expr)
    number = _folded(value)
    if number is None or dtype.startswith("complex"):
        return value
    found = element(number, dtype, expr.span)
    return value if dtype.startswith("float") else Number(found, dtype)


def element(number: float | int | bool, dtype: str, span: Span | None = None) -> int | float | bool:
    """A number as what tensors of a type hold: infinities are the ends of a type without them. Errors: `ShapeError`."""
    if dtype.startswith("complex"):
        return number
    if dtype.startswith("float"):
        fits = not math.isfinite(number) or abs(number) <= float(np.finfo(dtype).max)
        found: int | float | bool = number
    else:
        low, high = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        nearest = min(max(number, low), high)
        fits = math.isinf(number) or (nearest == number and number == int(number))
        found = int(nearest) if fits else 0
    if not fits:
        rule = f"the value of a pad must be one of the tensor's: {number} is no {dtype}"
        way = "choose another value, or float(...) around the tensor in a statement of its own"
        raise ShapeError(Problem("pad-value", rule, span, (), way))
    return bool(found) if dtype == "bool" else found


def _folded(value: Value) -> float | None:
    match value:
        case Number(value=number):
            return number
        case Apply(fn="neg", args=(Number(value=number),)):
            return -number
        case _:
            return None


FARTHEST = 1 << 40  # beyond every axis, and far from where 64 bits end


def saturated(value: Value, turn: int = 0) -> Value:
    """A computed position whose arithmetic does not wrap: what data say is first brought near enough.

    Where only the remainder by `turn` counts, that is exact.
    """
    if turn:
        return _remainder(value, turn)
    if not isinstance(value, Apply) or value.fn == "int":
        return near(value) if value.dtype == "uint64" else value
    return _limited(value)


def _limited(value: Value) -> Value:
    match value:
        case Apply(fn="add" | "sub" | "mul" | "neg" | "floordiv" | "max" | "min" as fn, args=args, dtype=dtype):
            return Apply(fn, tuple(_limited(a) for a in args), dtype)
        case Apply(fn="mod", args=(a, Number(value=int(turn)))) if turn > 0:
            return _remainder(a, turn)
        case Load() | Apply(fn="int"):
            return near(value)
        case Number(value=int(number)):
            return Number(min(max(number, -FARTHEST), FARTHEST), value.dtype)
        case _:
            return value


def _remainder(value: Value, turn: int) -> Value:
    """The remainder of a sum of products, of their remainders."""
    match value:
        case Apply(fn="add" | "sub" | "mul" | "neg" as fn, args=args):
            made: Value = Apply(fn, tuple(_remainder(a, turn) for a in args), "int64")
        case Number(value=int(number)):
            return Number(number % turn, "int64")
        case Load(place=place, at=at) if place.buffer.dtype == "uint64":
            short = Apply("mod", (Load(place, "uint64", at), Number(turn, "uint64")), "uint64")
            return Apply("cast", (short,), "int64")
        case _:
            made = value if _cannot_wrap(value) else _limited(value)
    return Apply("mod", (made, Number(turn, "int64")), "int64")


def _cannot_wrap(value: Value) -> bool:
    match value:
        case Load(place=place):
            return place.buffer.dtype != "uint64"
        case Apply(fn="floordiv" | "max" | "min", args=args):
            return all(map(_cannot_wrap, args))
        case _:
            return isinstance(value, Number) or (isinstance(value, Apply) and value.fn == "int")


def near(value: Value) -> Value:
    """What data say, no further away than `FARTHEST`, so that 64 bits hold what is made of it."""
    top = Apply("min", (value, Number(FARTHEST, value.dtype)), value.dtype)
    return top if value.dtype == "uint64" else Apply("max", (top, Number(-FARTHEST, value.dtype)), value.dtype)


def cast(value: Value, dtype: str) -> Value:
    """The value in a type: a number too becomes an array's element."""
    return value if value.dtype == dtype and not isinstance(value, Number) else Apply("cast", (value,), dtype)


def position_of(row: Row) -> Value:
    """An affine position as a value."""
    parts: list[Value] = []
    for index, coef in row.coefs:
        at: Value = Position(index)
        parts.append(at if coef == 1 else Apply("mul", (Number(coef, "int64"), at), "int64"))
    if row.const or not parts:
        parts.append(Number(row.const, "int64"))
    result = parts[0]
    for part in parts[1:]:
        result = Apply("add", (result, part), "int64")
    return result


def edge(kind: str, position: Value, size: int) -> Value:
    """Positions brought into 0..size-1 by the rule of an edge."""
    match kind:
        case "wrap":
            return _integer("mod", position, Number(max(size, 1), "int64"))
        case "reflect" if size > 1:
            last = Number(size - 1, "int64")
            turned = _integer("sub", last, _integer("mod", position, Number(2 * (size - 1), "int64")))
            return _integer("sub", last, Apply("abs", (turned,), "int64"))
        case _:  # clamp; and the inside of a padding, whose outside is replaced afterwards
            low = _integer("max", position, Number(0, "int64"))
            return _integer("min", low, Number(max(size - 1, 0), "int64"))


def _integer(fn: str, *args: Value) -> Value:
    return Apply(fn, args, "int64")


def unit(op: str, dtype: str) -> Number:
    """The operator's identity as a number."""
    return Number(identity(op, dtype), dtype)


def fixed(value: Value, at: Mapping[str, int], extents: Mapping[str, tuple[int, int]] | None = None) -> Value:
    """The value where indices have one value each, numbered from 0 in their extents."""
    match value:
        case Load(place=place, dtype=dtype, at=known):
            more = tuple((i, n) for i, n in at.items() if i in value.indices)
            return Load(place, dtype, (*known, *more)) if more else value
        case Position(index=index) if index in at:
            assert extents is not None
            return Number(extents[index][0] + at[index], "int64")
        case Apply(fn=fn, args=args, dtype=dtype):
            return Apply(fn, tuple(fixed(a, at, extents) for a in args), dtype)
        case Reduced(op=op, value=inner, over=over):
            return Reduced(op, fixed(inner, at, extents), over)
        case _:
            return value


def shifted(value: Value, runs: Mapping[str, tuple[str, int]], extents: Mapping[str, tuple[int, int]]) -> Value:
    """The value along other indices: of each its values from number `first` on."""
    match value:
        case Load(place=View(buffer=buffer, rows=rows), dtype=dtype, at=at):
            found = []
            for row in rows:
                const, coefs = row.const, []
                for index, coef in row.coefs:
                    run, first = runs.get(index, (index, None))
                    const += 0 if first is None else coef * (extents[index][0] + first)
                    coefs.append((run, coef))
                found.append(Row(const, tuple(coefs)))
            return Load(View(buffer, tuple(found)), dtype, at)
        case Load(place=Part(buffer=buffer, indices=indices), dtype=dtype, at=at):
            moved = tuple((i, *runs[i], 1) for i in indices if i in runs)
            return Load(Part(buffer, indices, moved), dtype, at)
        case Apply(fn=fn, args=args, dtype=dtype):
            return Apply(fn, tuple(shifted(a, runs, extents) for a in args), dtype)
        case _:
            return value
