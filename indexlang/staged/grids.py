"""Positions and conditions at all points of a grid at once, as numbers.

In: subscripts and conditions, arrays of indices, and of the tensors that say positions. Out: arrays. The one rule: what
is asked for `is_known`: made of indices, sizes, and tensors that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from math import erf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..program.ir import Access, Boundary, Call, Const, Index, Size, Subscript

Sizes = Mapping[str, tuple[int, ...]]

_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "floordiv": np.floor_divide, "mod": np.mod,
    "neg": np.negative, "min": np.minimum, "max": np.maximum, "abs": np.abs,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
    "ne": np.not_equal, "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
    "int": lambda a: np.asarray(a, np.int64), "float": lambda a: np.asarray(a, float), "where": np.where,
    "div": np.true_divide, "pow": np.float_power, "sqrt": np.sqrt, "rsqrt": lambda a: 1 / np.sqrt(a),
    "floor": np.floor, "ceil": np.ceil, "round": np.round, "sign": np.sign, "exp": np.exp, "expm1": np.expm1,
    "log": np.log, "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan, "tanh": np.tanh,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "hypot": np.hypot,
    "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "sigmoid": lambda a: 0.5 + 0.5 * np.tanh(0.5 * a), "relu": lambda a: np.maximum(a, 0),
    "erf": np.vectorize(erf, otypes=[float]),
    "softplus": lambda a: np.logaddexp(0, a), "silu": lambda a: a * (0.5 + 0.5 * np.tanh(0.5 * a)),
}  # fmt: skip


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


def evaluate(node: Subscript, values: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], sizes: Sizes) -> Any:
    """A position or a condition over arrays of indices."""
    match node:
        case Const(value=value):
            return value
        case Index(name=name):
            return values[name]
        case Size(tensor=tensor, axis=axis):
            return sizes[tensor][axis]
        case Boundary(expr=e):
            return evaluate(e, values, tensors, sizes)
        case Access(tensor=tensor, subscripts=subscripts):
            at, fills = [], []
            for s, n in zip(subscripts, tensors[tensor].shape, strict=True):
                position = evaluate(s, values, tensors, sizes)
                if isinstance(s, Boundary):
                    position, inside = within(s, position, values, tensors, sizes, n)
                    fills.append((inside, evaluate(s.value, values, tensors, sizes)))
                at.append(np.clip(position, 0, max(n - 1, 0)))
            if 0 in tensors[tensor].shape:
                return 0
            found = tensors[tensor][tuple(np.broadcast_arrays(*at))] if at else tensors[tensor][()]
            for inside, fill in reversed(fills):  # the first axis that is out of range says
                found = np.where(inside, found, fill)
            return found
        case Call(fn=fn, args=args):
            return _FUNCTIONS[fn](*(evaluate(a, values, tensors, sizes) for a in args))
        case _:
            raise AssertionError(node)


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
            return fn in _FUNCTIONS and all(is_known(a, tensors) for a in args)
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
