"""A second oracle: each statement over its whole domain at once, in double precision, without any plan.

In: a program and arrays. Out: its outputs. The one rule: a statement is its value at the grid of all points, read and
written through index arrays, one point after the other in row-major order; nothing is merged, blocked or left out.
It takes a million points where the plain loops take a thousand, so that it reaches the sizes at which kernels change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexlang.program.ir import (
    Access,
    Boundary,
    Call,
    Const,
    Dots,
    Expr,
    Index,
    Merged,
    Program,
    Reduce,
    Size,
    Statement,
)
from indexlang.sizes.ranks import expand
from indexlang.sizes.shapes import infer

Array = NDArray[Any]
Extents = Mapping[str, tuple[int, int]]

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "neg": np.negative,
    "pow": np.power,
    "floordiv": np.floor_divide,
    "mod": np.mod,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
    "where": np.where,
    "max": np.maximum,
    "min": np.minimum,
    "rsqrt": lambda a: 1 / np.sqrt(a),
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "relu": lambda a: np.where(a > 0, a, 0),
    "int": lambda a: np.trunc(a).astype(np.int64),
    "float": lambda a: np.asarray(a, np.float64),
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "atan2": np.arctan2,
}
_COMBINE: dict[str, np.ufunc] = {
    "=": np.add,
    "+=": np.add,
    "*=": np.multiply,
    "max=": np.maximum,
    "min=": np.minimum,
}
_UNIT = {"=": 0.0, "+=": 0.0, "*=": 1.0, "max=": -np.inf, "min=": np.inf}


def run(program: Program, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of a program, by name."""
    program = expand(program, {name: a.ndim for name, a in arrays.items()})
    known = infer(program, {name: a.shape for name, a in arrays.items()})
    tensors = {name: np.asarray(a, np.float64 if a.dtype.kind == "f" else None) for name, a in arrays.items()}
    with np.errstate(all="ignore"):
        for stmt, extents in zip(program.statements, known.extents, strict=True):
            name = stmt.target.tensor
            if name not in tensors:
                tensors[name] = np.full(known.tensors[name], _UNIT[stmt.op])
            tensors[name] = _written(stmt, tensors[name].copy(), tensors, extents)
    return {name: tensors[name] for name in program.outputs}


def _written(stmt: Statement, target: Array, tensors: Mapping[str, Array], extents: Extents) -> Array:
    """The target after a statement."""
    axes = stmt.domain.indices
    grid = _Grid(axes, tensors, extents)
    admitted = grid.admitted(stmt.domain.masks)
    value = np.broadcast_to(grid.value(stmt.value), grid.shape)[admitted]
    position, inside = grid.cells(stmt.target, target.shape)
    cells, kept = (np.broadcast_to(a, grid.shape)[admitted] for a in (position, inside))
    _COMBINE[stmt.op].at(target.reshape(-1), cells[kept], value[kept])
    return target


class _Grid:
    """All points of a domain, its indices as axes; an expression is an array that broadcasts over them."""

    def __init__(self, axes: Sequence[str], tensors: Mapping[str, Array], extents: Extents) -> None:
        self.axes, self.tensors, self.extents = tuple(axes), tensors, extents
        self.shape = tuple(max(0, extents[i][1] - extents[i][0]) for i in axes)

    def index(self, name: str) -> Array:
        place = self.axes.index(name)
        return np.arange(*self.extents[name]).reshape([-1 if k == place else 1 for k in range(len(self.axes))])

    def admitted(self, masks: Sequence[Expr]) -> Array:
        found = np.ones(self.shape, bool)
        for mask in masks:
            found = found & (self.value(mask) != 0)
        return found

    def value(self, expr: Expr) -> Array:
        match expr:
            case Const(value=number):
                return np.asarray(number)
            case Index(name=name):
                return self.index(name)
            case Size(tensor=tensor, axis=axis):
                return np.asarray(self.tensors[tensor].shape[axis])
            case Access(tensor=tensor):
                array = self.tensors[tensor]
                position, inside = self.cells(expr, array.shape)
                return np.where(inside, array.reshape(-1)[np.where(inside, position, 0)], self.fill(expr))
            case Call(fn=fn, args=args):
                found = [self.value(a) for a in args]
                if fn == "pow":
                    found[0] = np.asarray(found[0], np.float64)
                return np.asarray(_FUNCTIONS[fn](*found) if fn in _FUNCTIONS else getattr(np, fn)(*found))
            case Reduce():
                return self.reduced(expr)

    def fill(self, access: Access) -> Array:
        pads = [s for s in access.subscripts if isinstance(s, Boundary) and s.kind == "pad"]
        assert len({p.value for p in pads}) < 2, "one padding only"
        return self.value(pads[0].value) if pads else np.asarray(0)

    def cells(self, access: Access, shape: Sequence[int]) -> tuple[Array, Array]:
        """The row-major positions, and which of them are inside; a point that a mask refuses may be outside."""
        cell, inside = np.asarray(0), np.asarray(True)
        for sub, size in zip(access.subscripts, shape, strict=True):
            match sub:
                case Merged(indices=names):
                    at = np.asarray(0)
                    for i in names:
                        lo, hi = self.extents[i]
                        at = at * (hi - lo) + self.index(i) - lo
                case Boundary(kind="pad", expr=e, lo=lo):
                    at = self.value(e) - (0 if lo is None else self.value(lo))
                case Boundary(kind="clamp", expr=e):
                    at = np.clip(self.value(e), 0, size - 1)
                case Boundary(kind="wrap", expr=e):
                    at = self.value(e) % size
                case Boundary(kind="reflect", expr=e):
                    at = self.value(e) % max(1, 2 * (size - 1))
                    at = np.where(at < size, at, 2 * (size - 1) - at)
                case Dots():
                    raise AssertionError("ellipses are written out")
                case _:
                    at = self.value(sub)
            inside = inside & (at >= 0) & (at < size)
            cell = cell * size + at
        return np.asarray(cell), np.asarray(inside)

    def reduced(self, reduce: Reduce) -> Array:
        """An embedded reduction, over axes of its own behind all others."""
        own, op = reduce.domain.indices, reduce.op
        inner = _Grid((*self.axes, *own), self.tensors, self.extents)
        admitted = inner.admitted(reduce.domain.masks)
        value = np.broadcast_to(inner.value(reduce.body), inner.shape)
        last = tuple(range(len(self.axes), len(inner.axes)))
        match op:
            case "sum":
                return np.where(admitted, value, 0).sum(last)
            case "mean":
                return np.where(admitted, value, 0).sum(last) / admitted.sum(last)
            case "prod":
                return np.where(admitted, value, 1).prod(last)
            case "max":
                return np.where(admitted, value, -np.inf).max(last)
            case "min":
                return np.where(admitted, value, np.inf).min(last)
            case "logsumexp":
                return np.logaddexp.reduce(np.where(admitted, value, -np.inf).reshape(*self.shape, -1), -1)
            case "argmax":
                return np.where(admitted, value, -np.inf).reshape(*self.shape, -1).argmax(-1)
            case "argmin":
                return np.where(admitted, value, np.inf).reshape(*self.shape, -1).argmin(-1)
            case _:
                raise AssertionError(op)
