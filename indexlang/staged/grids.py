"""Positions and conditions at all points of a grid at once, as numbers.

In: subscripts and conditions, arrays of indices, and of the tensors that say positions. Out: arrays. The one rule: what
is asked for `is_known`: made of indices, sizes, and tensors that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from math import erf
from operator import add, mul, neg, sub
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..program.ir import Access, Boundary, Call, Const, Expr, Index, Size, Subscript
from .typed import Do, Node, Number, Read, Step, fill, truth, typed

Sizes = Mapping[str, tuple[int, ...]]

_BEYOND = 2.0**63


def _truncated(number: Any) -> Any:
    """Toward zero as int64: what lies beyond its range as the nearest there is, nan as 0."""
    inside = np.where(np.abs(number) < _BEYOND, number, 0).astype(np.int64)
    return np.where(number >= _BEYOND, 2**63 - 1, np.where(number <= -_BEYOND, -(2**63), inside))


def _whole(number: Any) -> Any:
    """Bools and integers of any size as int64."""
    number = np.asarray(number)
    return np.minimum(number, 2**63 - 1).astype(np.int64) if number.dtype == np.uint64 else number.astype(np.int64)


def _saturated(function: Callable[..., Any]) -> Callable[..., Any]:
    """A sum or a product of integers that ends where int64 does, in place of beginning anew."""

    def found(*args: Any) -> Any:
        most = [max(abs(int(np.min(a))), abs(int(np.max(a)))) if np.size(a) else 0 for a in args]
        if function(*most) < 1 << 63 and sum(most) < 1 << 63:
            return function(*args)
        exact = function(*(np.asarray(a).astype(object) for a in args))
        return np.clip(exact, -(2**63), 2**63 - 1).astype(np.int64)

    return found


_INTEGERS: Mapping[str, Callable[..., Any]] = {
    "add": _saturated(add), "sub": _saturated(sub), "mul": _saturated(mul), "neg": _saturated(neg), "pow": np.power,
}  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "floordiv": np.floor_divide, "mod": np.mod,
    "neg": np.negative, "min": np.minimum, "max": np.maximum, "abs": np.abs,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
    "ne": np.not_equal, "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
    "int": _truncated, "whole": _whole, "where": np.where,
    "div": np.true_divide, "pow": np.power, "sqrt": np.sqrt, "rsqrt": lambda a: 1 / np.sqrt(a),
    "floor": np.floor, "ceil": np.ceil, "round": np.round, "sign": np.sign, "exp": np.exp, "expm1": np.expm1,
    "log": np.log, "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan, "tanh": np.tanh,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "hypot": np.hypot,
    "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "sigmoid": lambda a: 0.5 + 0.5 * np.tanh(0.5 * a), "relu": lambda a: np.maximum(a, 0),
    "erf": np.vectorize(erf, otypes=[float]),
    "softplus": lambda a: np.logaddexp(0, a), "silu": lambda a: a * (0.5 + 0.5 * np.tanh(0.5 * a)),
}  # fmt: skip
_KNOWN = {*_FUNCTIONS, "float"} - {"whole"}


def within(
    s: Boundary, position: Any, values: Mapping[str, Any], tensors: Mapping[str, Any], sizes: Sizes, size: int
) -> tuple[Any, Any]:
    """The position that a boundary reads, and whether it is one of the axis."""
    match s.kind:
        case "pad":
            position = position - (0 if s.lo is None else evaluate(s.lo, values, tensors, sizes))
            return position, np.logical_and(position >= 0, position < size)
        case "clamp":
            return np.clip(position, 0, size - 1), True
        case "wrap":
            return np.mod(position, max(size, 1)), True
        case _:
            folded = np.mod(position, max(2 * (size - 1), 1))
            return np.where(folded < size, folded, 2 * (size - 1) - folded), True


@np.errstate(all="ignore")
def evaluate(node: Subscript, values: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], sizes: Sizes) -> Any:
    """A position over arrays of indices."""
    assert isinstance(node, Expr | Boundary), "merged axes and ellipses are written out"
    inside = node.expr if isinstance(node, Boundary) else node
    return _Grid(values, tensors, sizes).value(typed(inside, lambda t: tensors[t].dtype.name, sizes))


@np.errstate(all="ignore")
def holds(mask: Expr, values: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], sizes: Sizes) -> Any:
    """Whether a condition holds, over arrays of indices."""
    return _Grid(values, tensors, sizes).value(truth(mask, lambda t: tensors[t].dtype.name, sizes))


@dataclass(frozen=True)
class _Grid:
    """Arrays of indices, and what is read at them."""

    values: Mapping[str, Any]
    tensors: Mapping[str, NDArray[Any]]
    sizes: Sizes

    def value(self, node: Node) -> Any:
        match node:
            case Number(value=value, kind=kind):
                return np.dtype(kind.name).type(value) if kind.kind != "int" else value
            case Step(name=name):
                return self.values[name]
            case Read(access=access):
                return self.read(access)
            case Do(fn="float", args=(a,), kind=kind):
                return np.asarray(self.value(a), kind.name)
            case Do(fn=fn, args=args, kind=kind):
                of = _INTEGERS if kind.kind == "int" and fn in _INTEGERS else _FUNCTIONS
                return of[fn](*map(self.value, args))

    def read(self, access: Access) -> Any:
        """Elements, those of positions outside at the nearest inside."""
        array = self.tensors[access.tensor]
        at, fills = [], []
        for s, n in zip(access.subscripts, array.shape, strict=True):
            position = evaluate(s, self.values, self.tensors, self.sizes)
            if isinstance(s, Boundary):
                position, inside = within(s, position, self.values, self.tensors, self.sizes, n)
                fills.append((inside, fill(s, array.dtype.name)))
            at.append(np.clip(position, 0, max(n - 1, 0)))
        if 0 in array.shape:
            return array.dtype.type(0)
        found = array[tuple(np.broadcast_arrays(*at))] if at else array[()]
        for inside, value in reversed(fills):  # the first axis that is out of range says
            found = np.where(inside, found, value)
        return found


def is_known(node: Subscript, tensors: Collection[str]) -> bool:
    """Whether a position or a condition is made of no more than indices, sizes and these tensors."""
    match node:
        case Const() | Index() | Size():
            return True
        case Boundary(expr=e):
            return is_known(e, tensors)
        case Access(tensor=tensor, subscripts=subscripts):
            return tensor in tensors and all(is_known(s, tensors) for s in subscripts)
        case Call(fn=fn, args=args):
            return fn in _KNOWN and all(is_known(a, tensors) for a in args)
        case _:
            return False


def tensors_in(node: Subscript) -> Iterator[Access]:
    """The accesses that say a position or a condition."""
    match node:
        case Access(subscripts=subscripts):
            yield node
            for s in subscripts:
                yield from tensors_in(s)
        case Call(args=args):
            for a in args:
                yield from tensors_in(a)
        case Boundary(expr=e):
            yield from tensors_in(e)
        case _:
            pass
