"""Positions and conditions with the type of each part: what is printed and evaluated of them, wherever that is.

In: expressions of a Program, the types in which tensors are kept. Out: `Node`s. The one rule: a conversion that the
language implies is a part of its own, so that who prints or evaluates a part need not ask where its arguments are from.

    Node ::= Number | Step | Read | Do fn Node*

Integers are int64 whatever holds them, what is true is a bool, and numbers beside floats are of their type. `Do` has
all functions of the language, of arguments of one type, and "whole": a bool, or an integer of a tensor, as int64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..plan.values import element
from ..program.functions import FUNCTIONS
from ..program.ir import Access, Boundary, Call, Const, Expr, Index, Reduce, Size, Subscript, walk
from ..sizes import dtypes as kinds
from ..sizes.dtypes import BOOL, FLOAT, INT, Kind

Sizes = Mapping[str, tuple[int, ...]]
Stored = Callable[[str], str]  # the type in which a tensor is kept
COMPARED = frozenset(("lt", "le", "gt", "ge", "eq", "ne"))
COUNTED = frozenset(("add", "sub", "mul", "floordiv", "mod", "neg", "min", "max", "int", "and", "or", "not")) | COMPARED


@dataclass(frozen=True)
class Number:
    """A number of the source, or a size."""

    value: float | int | bool
    kind: Kind


@dataclass(frozen=True)
class Step:
    """The value of an index."""

    name: str
    kind: Kind = INT


@dataclass(frozen=True)
class Read:
    """An element as it is kept."""

    access: Access
    kind: Kind


@dataclass(frozen=True)
class Do:
    """A function of parts."""

    fn: str
    args: tuple[Node, ...]
    kind: Kind


Node = Number | Step | Read | Do


def is_counted(node: Subscript) -> bool:
    """Whether all of a position or a condition is what a step computes: no functions like `floor`, no reductions."""
    roots = (node.expr,) if isinstance(node, Boundary) else (node,)
    parts = [p for root in roots for p in walk(root)]
    return not any(isinstance(p, Reduce) or (isinstance(p, Call) and p.fn not in COUNTED) for p in parts)


def truth(expr: Expr, stored: Stored, sizes: Sizes) -> Node:
    """A condition."""
    return _true(typed(expr, stored, sizes))


def typed(expr: Expr, stored: Stored, sizes: Sizes) -> Node:
    """A position, or what is compared in a condition, by the types in which tensors are kept."""
    match expr:
        case Const(value=value):
            return Number(value, _kind_of(value))
        case Size(tensor=tensor, axis=axis):
            return Number(sizes[tensor][axis], INT)
        case Index(name=name):
            return Step(name)
        case Access(tensor=tensor):
            return _read(expr, stored(tensor))
        case Call(fn=fn, args=args):
            return _called(fn, [typed(a, stored, sizes) for a in args])
        case _:
            raise AssertionError(f"a position is made of numbers, indices, elements and functions of them: {expr}")


def fill(s: Boundary, dtype: str) -> Any:
    """What a pad puts around a tensor that is kept in a type, as a number of NumPy. Errors: `ShapeError`."""
    assert isinstance(s.value, Const), "the value of a pad is a number"
    return np.dtype(dtype).type(element(s.value.value, dtype, s.value.span))


def _kind_of(value: float | int | bool) -> Kind:
    return BOOL if isinstance(value, bool) else INT if isinstance(value, int) else FLOAT


def _read(access: Access, dtype: str) -> Node:
    """An element as it is computed with: half precision as single."""
    kind = kinds.kind_of(dtype)
    own = BOOL if kind == "bool" else Kind(dtype)
    if kind == "int":
        return Do("whole", (Read(access, own),), INT)
    return _as(Read(access, own), Kind(kinds.computing(dtype)) if kind == "float" else own)


def _called(fn: str, args: list[Node]) -> Node:
    if fn in ("and", "or", "not"):
        return Do(fn, tuple(map(_true, args)), BOOL)
    if fn == "where":
        both = kinds.promoted(args[1].kind, args[2].kind)
        return Do(fn, (_true(args[0]), _as(args[1], both), _as(args[2], both)), both)
    together = kinds.promoted(*(a.kind for a in args))
    if together.kind == "int":
        together = INT
    result = FUNCTIONS[fn].result
    if fn == "int":
        (a,) = args
        return _as(a, INT) if together.kind == "int" else Do(fn, (a,), INT)
    if fn == "pow" and not (isinstance(args[1], Number) and args[1].value >= 0):
        result = "float"
    if fn == "float" or result == "float":
        together = FLOAT if together.kind == "int" else together
    same = tuple(_as(a, together) for a in args)
    if fn == "float":
        return same[0]
    return Do(fn, same, BOOL if result == "bool" else together)


def _as(node: Node, kind: Kind) -> Node:
    """The part in a type that holds its values."""
    if node.kind.name == kind.name:
        return node
    if isinstance(node, Number):
        value = int(node.value) if kind.kind == "int" else float(node.value)
        return Number(value, kind)
    return Do("whole" if kind.kind == "int" else "float", (node,), kind)


def _true(node: Node) -> Node:
    if node.kind.kind == "bool":
        return node
    zero = Number(0 if node.kind.kind == "int" else 0.0, node.kind)
    return Do("ne", (node, zero), BOOL)
