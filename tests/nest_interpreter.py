"""A Nest run statement by statement, for tests: what compiled code has to give.

Every register is an array of its lanes. Raises `WrongError` where a Nest breaks a rule of `nest`: an address outside of
its array, a register or an element of a workspace that holds nothing, a type that is not what it says, two items that
touch one element of which one writes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import product

import numpy as np

from indexlang.backends.native.nest import (
    Apply,
    Count,
    For,
    Literal,
    Nest,
    Operand,
    Read,
    Set,
    Stmt,
    Type,
    When,
    Write,
)


class WrongError(AssertionError):
    """A rule that a Nest breaks."""


def run(nest: Nest, arrays: Mapping[str, np.ndarray]) -> None:
    """Run all items, in order. `arrays` are flat, by name; workspaces are the interpreter's own unless given."""
    held = {}
    for array in nest.arrays:
        given = arrays.get(array.name)
        if given is None:
            if array.role != "workspace":
                raise WrongError(f"{array.name} is missing")
            given = np.zeros(array.size, array.dtype)
        if given.dtype != array.dtype or given.shape != (array.size,):
            raise WrongError(f"{array.name}: {given.dtype}{given.shape} is given for {array.dtype}[{array.size}]")
        held[array.name] = given
    touched = {a.name: _Touched(a.size) for a in nest.arrays}
    names = [var for var, _ in nest.items]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for number, values in enumerate(product(*(range(n) for _, n in nest.items))):
            _Item(nest, held, touched, number).body(nest.body, dict(zip(names, values, strict=True)), {})


class _Touched:
    """Which item wrote and which one read an element: -1 none, -2 several."""

    def __init__(self, size: int) -> None:
        self.wrote, self.read = np.full(size, -1), np.full(size, -1)


class _Item:
    def __init__(
        self, nest: Nest, arrays: Mapping[str, np.ndarray], touched: Mapping[str, _Touched], number: int
    ) -> None:
        self.nest, self.arrays, self.touched, self.number = nest, arrays, touched, number

    def body(self, body: tuple[Stmt, ...], at: dict[str, int], registers: dict[str, np.ndarray]) -> None:
        """`registers` is changed: what is first set in an inner body is not seen outside."""
        for stmt in body:
            match stmt:
                case Set(register, op):
                    value = self.value(op, at, registers)
                    if register in registers and _type(registers[register]) != _type(value):
                        raise WrongError(f"{register} is {_type(registers[register])} and {_type(value)}")
                    registers[register] = value
                case Write():
                    self.write(stmt, at, registers)
                case When(test, then, other):
                    self.inner(then if test.at(at) >= 0 else other, at, registers)
                case For(var, begin, end, inner, by):
                    if by <= 0 or not begin or not end:
                        raise WrongError(f"a loop of {var} by {by}")
                    for k in range(max(f.at(at) for f in begin), min(f.at(at) for f in end), by):
                        self.inner(inner, {**at, var: k}, registers)

    def inner(self, body: tuple[Stmt, ...], at: dict[str, int], registers: dict[str, np.ndarray]) -> None:
        own = dict(registers)
        self.body(body, at, own)
        registers.update({r: own[r] for r in registers})

    def value(self, op: Read | Apply | Count, at: Mapping[str, int], registers: Mapping[str, np.ndarray]) -> np.ndarray:
        match op:
            case Read():
                return self.read(op, at, registers)
            case Count(of, lanes, step):
                return of.at(at) + np.arange(lanes, dtype=np.int64) * step
            case Apply(fn, args, kind):
                values = [_operand(a, registers) for a in args]
                found = _apply(fn, values, kind)
                if _type(found) != kind:
                    raise WrongError(f"{fn} of {[str(_type(v)) for v in values]} is {_type(found)}, not {kind}")
                return found

    def positions(
        self, op: Read | Write, lanes: int, at: Mapping[str, int], registers: Mapping[str, np.ndarray]
    ) -> np.ndarray | slice:
        """Where the lanes that are live lie."""
        live = op.live or lanes
        if not 0 < live <= lanes:
            raise WrongError(f"{live} of {lanes} lanes are live")
        if op.array not in self.nest.arrays:
            raise WrongError(f"{op.array} is not of the nest")
        first = op.at.at(at)
        low, high = sorted((first, first + (live - 1) * op.step))
        if not op.moved and low >= 0 and high < op.array.size and op.step > 0:
            return slice(low, high + 1, op.step)
        found = first + np.arange(live) * op.step
        if op.moved:
            by = _operand(op.moved, registers)
            if by.dtype != np.int64 or len(by) not in (1, lanes):
                raise WrongError(f"moved by {_type(by)}")
            used = by[:live]
            if used.min() < op.reach[0] or used.max() >= op.reach[1]:
                raise WrongError(f"moved by {used}, out of {op.reach}")
            found = found + used
        if found.min() < 0 or found.max() >= op.array.size:
            raise WrongError(f"{op.array.name}[{op.array.size}] at {found}")
        return found

    def read(self, op: Read, at: Mapping[str, int], registers: Mapping[str, np.ndarray]) -> np.ndarray:
        """The elements, and zeros."""
        positions = self.positions(op, op.lanes, at, registers)
        touched = self.touched[op.array.name]
        wrote = touched.wrote[positions]
        if op.array.role == "workspace":
            if (wrote != self.number).any():
                raise WrongError(f"{op.array.name} holds nothing at {positions}")
        elif op.array.role == "output":
            if ((wrote != self.number) & (wrote != -1)).any():
                raise WrongError(f"{op.array.name} at {positions} is another item's")
            reader = touched.read[positions]
            touched.read[positions] = np.where((reader == -1) | (reader == self.number), self.number, -2)
        values = self.arrays[op.array.name][positions]
        if len(values) == op.lanes:
            return values.copy()
        return np.concatenate([values, np.zeros(op.lanes - len(values), op.array.dtype)])

    def write(self, op: Write, at: Mapping[str, int], registers: Mapping[str, np.ndarray]) -> None:
        """Elements change."""
        value = _operand(op.value, registers)
        positions = self.positions(op, len(value), at, registers)
        if value.dtype != op.array.dtype:
            raise WrongError(f"{_type(value)} is written to {op.array}")
        if op.array.role == "input":
            raise WrongError(f"{op.array.name} is an input")
        moved = len(registers[op.moved]) if op.moved else 1
        if len(value) > 1 and op.step == 0 and moved == 1:
            raise WrongError("lanes are written to one element")
        touched = self.touched[op.array.name]
        if op.array.role == "output":
            for of in (touched.wrote, touched.read):
                owner = of[positions]
                if ((owner != -1) & (owner != self.number)).any():
                    raise WrongError(f"{op.array.name} at {positions} is another item's, too")
        touched.wrote[positions] = self.number
        self.arrays[op.array.name][positions] = value[: op.live or len(value)]  # the last of equal positions stays


def _type(value: np.ndarray) -> Type:
    return Type(value.dtype.name, len(value))


def _operand(of: Operand, registers: Mapping[str, np.ndarray]) -> np.ndarray:
    if isinstance(of, Literal):
        with np.errstate(all="ignore"):
            return np.full(of.type.lanes, of.value, of.type.dtype)
    if of not in registers:
        raise WrongError(f"{of} is not set")
    return registers[of]


_TWO = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "copysign": np.copysign,
    "least": np.minimum, "greatest": np.maximum, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip
_ONE = {
    "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc,
    "nearest": np.rint, "not": np.invert, "same": np.copy,
}  # fmt: skip


def _apply(fn: str, args: list[np.ndarray], kind: Type) -> np.ndarray:
    first = args[0]
    unsigned = first.view(f"u{first.itemsize}") if first.dtype.kind == "i" else first
    if fn in _TWO:
        a, b = args
        _same(a, b)
        return _TWO[fn](a, b)
    if fn in _ONE:
        (a,) = args
        return _ONE[fn](a)
    if fn in ("shl", "shr"):
        _same(*args)
        if first.dtype.kind not in "iu" or (args[1] < 0).any() or (args[1] >= 8 * first.itemsize).any():
            raise WrongError(f"{fn} of {first.dtype} by {args[1]}")
        by = args[1].astype(unsigned.dtype)
        return (unsigned << by if fn == "shl" else unsigned >> by).view(first.dtype)
    if fn in ("quotient", "remainder"):
        return _divided(fn, *args)
    if fn == "fma":
        _same(*args)
        return _fma(*args)
    if fn == "ordered":
        return ~np.isnan(first)
    if fn == "bits":
        return first.view(kind.dtype)
    if fn == "select":
        _same(args[1], args[2])
        if first.dtype != bool or len(first) not in (1, len(args[1])):
            raise WrongError(f"select by {_type(first)}")
        return np.where(first, args[1], args[2])
    if fn == "cast":
        return first.astype(kind.dtype)
    if fn == "spread":
        if len(first) != 1:
            raise WrongError("a vector is spread")
        return np.repeat(first, kind.lanes)
    if fn in ("total", "most", "fewest"):
        return _across(fn, first)
    if fn in ("lane", "shuffle"):
        return np.append(first, np.zeros(1, first.dtype))[[int(k[0]) for k in args[1:]]]
    raise WrongError(f"there is no {fn}")


def _same(*args: np.ndarray) -> None:
    if len({_type(a) for a in args}) != 1:
        raise WrongError(f"types {[str(_type(a)) for a in args]} together")


def _divided(fn: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Towards 0, in Python's integers."""
    _same(a, b)
    if a.dtype.kind not in "iu":
        raise WrongError(f"{fn} of {a.dtype}")
    found = []
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        if y == 0:
            found.append(0)  # a lane that is not live
            continue
        quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
        found.append(quotient if fn == "quotient" else x - quotient * y)
    width = 8 * a.itemsize
    return np.array([x & ((1 << width) - 1) for x in found], f"u{a.itemsize}").view(a.dtype)


def _fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    if a.dtype.kind != "f":
        raise WrongError(f"fma of {a.dtype}")
    wide = np.float64 if a.dtype.itemsize < 8 else np.longdouble
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(a.dtype)


def _across(fn: str, value: np.ndarray) -> np.ndarray:
    if len(value) & (len(value) - 1):
        raise WrongError(f"{fn} of {len(value)} lanes")
    of = {"total": np.add, "most": np.maximum, "fewest": np.minimum}[fn]
    while len(value) > 1:
        half = len(value) // 2
        value = of(value[:half], value[half:])
    return value
