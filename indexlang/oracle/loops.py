"""The oracle: a program's meaning as plain loops over every point of every domain, one point at a time.

In: a Program and arrays. Out: its outputs as arrays. The one rule: obviously right comes before fast, and no code
is shared with the derivation or the kernels. How far the indices run comes from `shapes`, whose answers have tests
of their own; everything else that language.md says is spelled out here once more, in Python's own numbers.

With `complex_step` the numbers may carry a tiny imaginary part (numerical differentiation): then comparisons, kinks
and steps decide by the real part.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..program.ir import (
    Access,
    Boundary,
    Call,
    Const,
    Domain,
    Dots,
    Expr,
    Index,
    Merged,
    Program,
    Reduce,
    Size,
    Statement,
    Subscript,
    blocks_of,
    children,
    parts_of,
    primal_of,
    walk,
)
from ..sizes import dtypes as types
from ..sizes import shapes
from ..sizes.ranks import expand
from .functions import functions, is_nan

Number = Any  # bool, int, float, complex
Point = dict[str, int]
Evaluate = Callable[[Point], Number]
Position = Callable[[Point], "int | Fill"]
Array = NDArray[Any]


class Sizes(Protocol):
    """What `shapes.infer` says: the shape of each tensor, (lo, hi) of each index of each statement."""

    @property
    def tensors(self) -> Mapping[str, Sequence[int]]: ...

    @property
    def extents(self) -> Sequence[Mapping[str, tuple[int, int]]]: ...


class EarlyReadError(ValueError):
    """An element is made after a step has read it."""


def run(
    program: Program,
    inputs: Mapping[str, Array],
    *,
    complex_step: bool = False,
    sizes: Sizes | None = None,
    dtypes: Mapping[str, str] | None = None,
    all_tensors: bool = False,
) -> dict[str, Array]:
    """The outputs (or all tensors) of a program, by name.

    `inputs` may hold tensors that the program accumulates into: their values are where it starts. `dtypes` are the
    types to deliver and by default those of the types module where it accepts the inputs; numbers are Python's.
    A subscript outside its axis raises IndexError, wherever it is really read or written.
    """
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    program = expanded(program, {name: a.ndim for name, a in arrays.items()})
    if sizes is None:
        sizes = shapes.infer(program, {name: a.shape for name, a in arrays.items()})
    if dtypes is None:
        dtypes = _dtypes(program, arrays) if not complex_step else {}
    tensors = {name: Tensor(a.shape, a.reshape(-1).tolist()) for name, a in arrays.items()}
    operators = {s.target.tensor: s.op for s in reversed(program.statements)}
    operators |= {s.target.tensor: s.op for s in program.statements if s.op != "="}
    stepwise = {s.target.tensor for s in program.statements if s.block is not None}
    loops: list[_Loops] = []
    for number, stmt in enumerate(program.statements):
        name, op = stmt.target.tensor, operators[stmt.target.tensor]
        if name not in tensors:
            shape = tuple(sizes.tensors[name])
            tensors[name] = Tensor(shape, [None if name in stepwise else _START[stmt.op]] * math.prod(shape))
            if op in ("max=", "min=") and (name in stepwise or stmt.op == op):
                tensors[name].unreached = _extreme(op == "min=", dtypes.get(name))
            elif name in stepwise:
                tensors[name].unreached = _START[op]
        if name in stepwise and tensors[name].read is None:
            tensors[name].read = set()
        loops.append(_Loops(stmt, tensors, dict(sizes.extents[number]), complex_step))
        following = program.statements[number + 1 : number + 2]
        if stmt.block is not None and following and blocks_of(following[0])[:1] == blocks_of(stmt)[:1]:
            continue
        _in_steps(loops, 0)
        for done in {one.stmt.target.tensor for one in loops}:
            if (primal_of(done) or "") in dtypes and np.dtype(dtypes[done]).kind == "f":  # a real tensor's gradient
                tensors[done].cells = [c if c is None else c.real for c in tensors[done].cells]
        loops = []
    wanted = tensors if all_tensors else program.outputs
    return {name: _array(tensors[name], dtypes.get(name)) for name in wanted}


class Tensor:
    """A shape and its cells in row-major order. None is a cell that nothing has reached: of a max= or min=, and of what
    steps make.
    """

    def __init__(self, shape: Sequence[int], cells: list[Number]) -> None:
        self.shape, self.cells = tuple(shape), cells
        self.unreached: Number = 0.0  # what None stands for
        self.read: set[int] | None = None  # the cells that were read so far, of what steps make


class Fill:
    """The value of the padding that a position fell into."""

    def __init__(self, value: Number) -> None:
        self.value = value


_START: dict[str, Number] = {"=": 0, "+=": 0, "*=": 1, "max=": None, "min=": None}


def _in_steps(loops: Sequence[_Loops], level: int) -> None:
    """Statements of a row, those of one block for one of its steps after the other; `level` blocks are open."""
    at = 0
    while at < len(loops):
        path = blocks_of(loops[at].stmt)
        if len(path) == level:
            loops[at].prepare()
            loops[at].run()
            at += 1
            continue
        block, first = path[level], at
        while at < len(loops) and blocks_of(loops[at].stmt)[level : level + 1] == (block,):
            at += 1
        inside = loops[first:at]
        whole = {i: inside[0].extents[i] for i in block.indices}
        steps = list(itertools.product(*(range(*whole[i]) for i in block.indices)))
        for one in inside:
            one.prepare()
        for step in reversed(steps) if block.reverse else steps:
            for one in inside:
                one.extents.update({i: (n, n + 1) for i, n in zip(block.indices, step, strict=True)})
            _in_steps(inside, level + 1)
        for one in inside:
            one.extents.update(whole)


class _Loops:
    """One statement, its expressions turned into Python closures from a point to a number."""

    def __init__(
        self, stmt: Statement, tensors: dict[str, Tensor], extents: dict[str, tuple[int, int]], complex_step: bool
    ) -> None:
        self.stmt, self.tensors, self.extents, self.complex_step = stmt, tensors, extents, complex_step
        self.functions = functions(complex_step)
        self.made: tuple[Evaluate, Position] | None = None

    def prepare(self) -> None:
        """Make the closures, while all indices have their whole extents."""
        if self.made is None:
            self.made = self.value(self.stmt.value), self.cell(self.stmt.target)

    def run(self) -> None:
        """Combine the value into the target at every point that the masks admit."""
        stmt, target = self.stmt, self.tensors[self.stmt.target.tensor]
        assert self.made is not None
        value, position = self.made
        combine = self.combine(stmt.op.removesuffix("="))
        for point in self.points(stmt.domain, {}):
            where = position(point)
            if not isinstance(where, Fill):  # a write into the padding is dropped
                found = value(point)
                if target.read is not None and where in target.read:
                    raise EarlyReadError(f"{stmt.target.tensor} is made at {point} after it was read")
                old = target.cells[where]
                target.cells[where] = found if old is None else combine(old, found)

    def points(self, domain: Domain, outer: Point) -> Iterator[Point]:
        """The points of the box, row-major, that all masks admit. Masks on data come last: they may read; and last of
        all those that read where data say.
        """
        masks = sorted(domain.masks, key=_reaching)
        admits = [self.value(m) for m in masks]
        boxes = [range(*self.extents[i]) for i in domain.indices]
        for values in itertools.product(*boxes):
            point = {**outer, **dict(zip(domain.indices, values, strict=True))}
            if all(self.real(admit(point)) for admit in admits):
                yield point

    def real(self, number: Number) -> Number:
        return number.real if self.complex_step else number

    def combine(self, op: str) -> Callable[[Number, Number], Number]:
        """Two numbers to one; max and min keep the first winner, and nan."""
        match op:
            case "" | "+" | "sum":
                return lambda old, new: old + new
            case "*" | "prod":
                return lambda old, new: old * new
            case "max":
                return lambda old, new: new if old is None or self.beats(new, old) else old
            case "min":
                return lambda old, new: new if old is None or self.beats(-new, -old) else old
            case _:
                raise AssertionError(op)

    def beats(self, new: Number, old: Number) -> bool:
        a, b = self.real(new), self.real(old)
        return bool(a > b) or (is_nan(a) and not is_nan(b))

    def value(self, expr: Expr) -> Evaluate:
        """An expression as a function of the point."""
        match expr:
            case Const(value=number):
                return lambda point: number
            case Index(name=name):
                return lambda point: point[name]
            case Size(tensor=tensor, axis=axis):
                size = self.tensors[tensor].shape[axis]
                return lambda point: size
            case Access(tensor=tensor):
                return self.read(self.tensors[tensor], self.cell(expr))
            case Call(fn="where", args=(c, a, b)):  # the branch not taken is not computed
                condition, then, other = self.value(c), self.value(a), self.value(b)
                return lambda point: then(point) if self.real(condition(point)) else other(point)
            case Call(fn="max" | "min" as fn, args=(a, b)):
                if _is_constant(b) and not _is_constant(a):  # at a tie the constant wins
                    a, b = b, a
                first, second, combine = self.value(a), self.value(b), self.combine(fn)
                return lambda point: combine(first(point), second(point))
            case Call(fn=fn, args=args):
                function, values = self.functions[fn], [self.value(a) for a in args]
                return lambda point: function(*[v(point) for v in values])
            case Reduce():
                return self.reduce(expr)

    def read(self, tensor: Tensor, cell: Position) -> Evaluate:
        def at(point: Point) -> Number:
            where = cell(point)
            if isinstance(where, Fill):
                return where.value
            number = tensor.cells[where]
            if tensor.read is not None:
                tensor.read.add(where)
            return tensor.unreached if number is None else number

        return at

    def cell(self, access: Access) -> Position:
        """Where an access is in its tensor's cells, as a function of the point."""
        shape = self.tensors[access.tensor].shape
        if len(shape) != len(access.subscripts):
            raise IndexError(f"{access.tensor} has {len(shape)} axes and {len(access.subscripts)} subscripts")
        axes = [self.position(s, n) for s, n in zip(access.subscripts, shape, strict=True)]

        def at(point: Point) -> int | Fill:
            where, fill = 0, None
            for axis, (position, size) in enumerate(zip(axes, shape, strict=True)):
                p = position(point)
                if isinstance(p, Fill):
                    fill = fill or p  # the first axis that is out of range says
                elif not 0 <= p < size:
                    raise IndexError(f"{access.tensor}: position {p} in axis {axis} of size {size} at {point}")
                else:
                    where = where * size + p
            return where if fill is None else fill

        return at

    def position(self, subscript: Subscript, size: int) -> Position:
        """A subscript as a function of the point: the position in an axis of `size` elements."""
        match subscript:
            case Dots():
                raise AssertionError("'...' was not expanded")
            case Merged(indices=names):
                radix = [self.extents[n][1] for n in names]
                return lambda point: _row_major([point[n] for n in names], radix)
            case Boundary(kind="pad", expr=e, lo=None, value=v):
                inner, value = self.value(e), self.value(v)

                def unbounded(point: Point) -> int | Fill:
                    p = self.integer(inner(point))
                    return p if 0 <= p < size else Fill(value(point))

                return unbounded
            case Boundary(kind="pad", expr=e, lo=left, hi=right, value=v):
                assert left is not None and right is not None
                inner, value, lo, hi = self.value(e), self.value(v), self.value(left), self.value(right)

                def bounded(point: Point) -> int | Fill:
                    p, before, after = self.integer(inner(point)), lo(point), hi(point)
                    if not 0 <= p < before + size + after:
                        raise IndexError(f"position {p} in an axis of {before}+{size}+{after} elements at {point}")
                    return p - before if before <= p < before + size else Fill(value(point))

                return bounded
            case Boundary(kind=kind, expr=e):
                inner, inside = self.value(e), _INSIDE[kind]
                return lambda point: inside(self.integer(inner(point)), size)
            case _:
                inner = self.value(subscript)
                return lambda point: self.integer(inner(point))

    def integer(self, number: Number) -> int:
        if isinstance(number, int):
            return int(number)
        raise IndexError(f"{number} is no position")

    def reduce(self, reduce: Reduce) -> Evaluate:
        """An embedded reduction, over all points of its own domain inside the point outside."""
        body, op, domain = self.value(reduce.body), reduce.op, reduce.domain

        def values(point: Point) -> list[Number]:
            return [body(inner) for inner in self.points(domain, point)]

        match op:
            case "sum" | "prod" | "max" | "min":
                combine = self.combine(op)
                start = {"sum": 0, "prod": 1, "max": None, "min": None}[op]
                empty = math.inf if op == "min" else -math.inf

                def fold(point: Point) -> Number:
                    result: Number = start
                    for number in values(point):
                        result = combine(result, number)
                    return empty if result is None else result

                return fold
            case "mean":
                divide = self.functions["div"]
                return lambda point: divide(sum(found := values(point)), len(found))
            case "logsumexp":
                return lambda point: self.logsumexp(values(point))
            case "argmax" | "argmin":
                combine = self.combine(op.removeprefix("arg"))
                radix = [hi - lo for lo, hi in (self.extents[i] for i in domain.indices)]
                first = [self.extents[i][0] for i in domain.indices]

                def winner(point: Point) -> int:
                    best, place = None, 0
                    for inner in self.points(domain, point):
                        number = body(inner)
                        if best is None or combine(best, number) is not best:
                            digits = [inner[i] - lo for i, lo in zip(domain.indices, first, strict=True)]
                            best, place = number, _row_major(digits, radix)
                    return place

                return winner
            case _:
                raise AssertionError(op)

    def logsumexp(self, values: Sequence[Number]) -> Number:
        """log(sum(exp(v))) around the greatest value, so that no exp overflows."""
        if not values:
            return -math.inf
        exp, log = self.functions["exp"], self.functions["log"]
        greatest = max(v.real for v in values)
        if any(is_nan(v) for v in values):
            return math.nan
        if math.isinf(greatest):
            return greatest
        return greatest + log(sum(exp(v - greatest) for v in values))


def _reaching(node: Subscript) -> int:
    """How often a position is read from another tensor: 1 for `w[i]`, 2 for `b[w[i]]`."""
    return max((_reaching(part) for part in children(node)), default=0) + isinstance(node, Access)


def _is_constant(expr: Expr) -> bool:
    return not any(isinstance(part, Access) for part in walk(expr))


def _row_major(digits: Iterable[int], radix: Iterable[int]) -> int:
    position = 0
    for digit, base in zip(digits, radix, strict=True):
        position = position * base + digit
    return position


def _reflect(position: int, size: int) -> int:
    """Mirrored at the edges without repeating them: 0 1 2 3 2 1 0 1 ..."""
    if size == 1:
        return 0
    position %= 2 * (size - 1)
    return position if position < size else 2 * (size - 1) - position


_INSIDE: dict[str, Callable[[int, int], int]] = {
    "clamp": lambda position, size: min(max(position, 0), size - 1),
    "wrap": lambda position, size: position % size,
    "reflect": _reflect,
}


def expanded(program: Program, ranks: Mapping[str, int]) -> Program:
    """The program with its ellipses written out, if it has any."""
    if any(isinstance(part, Dots) for stmt in program.statements for part in parts_of(stmt)):
        return expand(program, ranks)
    return program


def _dtypes(program: Program, arrays: Mapping[str, Array]) -> Mapping[str, str]:
    return types.infer(program, {name: a.dtype.name for name, a in arrays.items()}).tensors


def _extreme(greatest: bool, dtype: str | None) -> Number:
    """What a max= or min= starts from: the least or the greatest value of its type."""
    kind = np.dtype(dtype or "float64")
    if kind.kind in "iu":
        return int(np.iinfo(kind).max if greatest else np.iinfo(kind).min)
    if kind.kind == "b":
        return greatest
    return math.inf if greatest else -math.inf


def _array(tensor: Tensor, dtype: str | None) -> Array:
    """The cells as an array, those that a max= or min= never reached at what it starts from."""
    reached = [c for c in tensor.cells if c is not None]
    kind = np.dtype(dtype) if dtype is not None else np.asarray(reached or [0.0]).dtype
    cells = np.asarray([tensor.unreached if c is None else c for c in tensor.cells], None if reached else kind)
    with np.errstate(all="ignore"):
        return cells.reshape(tensor.shape).astype(kind)
