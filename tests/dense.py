"""The second oracle: a program's meaning by whole arrays over the box of each domain, block by block.

In: a Program and arrays. Out: its outputs, in float64 (or complex128 in a complex step, int64, bool). The one rule:
each point of each domain is computed as the text has it: positions are arrays of integers, reads are taken by them,
writes are sums by position. No product is taken apart, no index is moved, nothing is multiplied as matrices.

`noise` multiplies what each operation gives by 1 +- noise, but for whole numbers: how far a result then moves is how
much of it rounding may take.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from dense_functions import FUNCTIONS, divide, floating, greater, multiply_at, number, product, sums
from numpy.typing import NDArray

from indexlang.oracle.loops import expanded
from indexlang.program.ir import (
    Access,
    Boundary,
    Call,
    Const,
    Domain,
    Expr,
    Index,
    Merged,
    Program,
    Reduce,
    Size,
    Statement,
    Subscript,
    walk,
)
from indexlang.sizes import dtypes as types
from indexlang.sizes import shapes

Array = NDArray[Any]
Arrays = Mapping[str, Array]

BLOCK = 1 << 19  # points at a time
SATURATING = ("tanh", "sigmoid", "erf", "exp", "cos")  # a 1 of these is rounded, unless of 0


def magnitudes(program: Program, inputs: Arrays) -> tuple[float, float]:
    """The least and the greatest magnitude but zero that any operation of a program gives, in float64."""
    met = Met()
    run(program, inputs, met=met)
    return met.least, met.greatest


def run(
    program: Program, inputs: Arrays, *, noise: float = 0.0, seed: int = 0, met: Met | None = None
) -> dict[str, Array]:
    """The outputs of a program by name. Errors: `IndexError` for a subscript outside its axis.

    With a seed below 0 every operation is rounded to float32, instead of being moved by noise: ties are as there.
    """
    given = {name: np.asarray(a) for name, a in inputs.items()}
    program = expanded(program, {name: a.ndim for name, a in given.items()})
    sizes = shapes.infer(program, {name: a.shape for name, a in given.items()})
    stepped = any(a.dtype.kind == "c" for a in given.values())
    dtypes = types.infer(program, {n: a.dtype.name if a.dtype.kind != "c" else "float64" for n, a in given.items()})
    tensors = {name: Tensor(_wide(a)) for name, a in given.items()}
    rng = np.random.default_rng(seed) if noise and seed >= 0 else None
    with np.errstate(all="ignore"):
        for stmt, extents in zip(program.statements, sizes.extents, strict=True):
            name = stmt.target.tensor
            if name not in tensors:
                shape, kind = tuple(sizes.tensors[name]), np.dtype(dtypes.tensors[name])
                tensors[name] = Tensor.fresh(shape, kind, stmt.op, stepped)
            _Whole(stmt, tensors, extents, _Noise(noise, rng, met, bool(noise) and seed < 0)).run()
    return {name: tensors[name].cells for name in program.outputs}


def _wide(a: Array) -> Array:
    kinds = {"f": np.float64, "c": np.complex128, "i": np.int64, "u": np.int64, "b": np.bool_}
    return np.array(a, kinds[a.dtype.kind], order="C")


@dataclass
class Tensor:
    """Cells, and for max= and min= which of them something has reached."""

    cells: Array
    reached: Array | None = None

    @staticmethod
    def fresh(shape: tuple[int, ...], kind: np.dtype[Any], op: str, stepped: bool) -> Tensor:
        wide = np.complex128 if stepped and kind.kind == "f" else _wide(np.zeros((), kind)).dtype
        if op not in ("max=", "min="):
            return Tensor(np.full(shape, 1 if op == "*=" else 0, wide if kind.kind != "b" else np.int64))
        if kind.kind in "iu":
            end: float = int(np.iinfo(kind).min if op == "max=" else np.iinfo(kind).max)
        else:
            end = op == "min=" if kind.kind == "b" else -math.inf if op == "max=" else math.inf
        return Tensor(np.full(shape, end, wide), np.zeros(shape, np.bool_))


@dataclass
class Met:
    """What numbers were met on the way."""

    least: float = math.inf
    greatest: float = 0.0

    def see(self, x: Array) -> None:
        size = np.abs(x[x != 0])
        self.least = min(self.least, float(np.min(size, initial=math.inf)))
        self.greatest = max(self.greatest, float(np.max(size, initial=0.0)))

    def see_vanish(self, product: Array, factors: Sequence[Array]) -> None:
        """A product that is 0 though no factor is has gone below the least number: in another order it may not."""
        vanished: Array = np.asarray(product == 0)
        for factor in factors:
            vanished = vanished & (factor != 0) & np.isfinite(factor)
        if product.dtype.kind == "f" and vanished.any():
            self.least = 0.0


def _rounded(found: Array, values: Sequence[Array]) -> Array:
    """Where what a function gives, of no whole number, is rounded if it is a whole one."""
    return np.asarray(np.broadcast_to(values[0] != np.round(values[0]), found.shape))


@dataclass(frozen=True)
class _Noise:
    size: float
    rng: np.random.Generator | None
    met: Met | None = None
    rounds: bool = False  # to float32, instead of moving

    def __call__(self, x: Array, rounded: Array | None = None) -> Array:
        """Whole numbers stay, but for those that something has been `rounded` to."""
        if self.met is not None and x.dtype.kind == "f":
            self.met.see(np.atleast_1d(x))
        if self.rounds and x.dtype.kind == "f":
            return x.astype(np.float32).astype(x.dtype)
        if self.rng is None or x.dtype.kind != "f":
            return x
        moved = x * (1 + self.size * self.signs(x.shape))
        whole = (x == np.round(x)) & (np.abs(x) < 2**20)
        return np.where(whole if rounded is None else whole & ~rounded, x, moved)

    def constant(self, x: Array) -> Array:
        """A number of the source: float32 rounds it, too, unless it has few digits."""
        return x if x.dtype.kind != "f" or self.rng is None or np.float32(x) == x else self(x)

    def signs(self, shape: tuple[int, ...]) -> Array:
        assert self.rng is not None
        return self.rng.choice((-1.0, -0.7, 0.7, 1.0), shape)

    def sum(self, total: Array, size: Array, count: float) -> Array:
        """A sum of `count` numbers whose absolute values add up to `size`."""
        if self.met is not None and total.dtype.kind == "f":
            self.met.see(np.atleast_1d(total))
        if self.rounds and total.dtype.kind == "f":
            return total.astype(np.float32).astype(total.dtype)
        if self.rng is None or total.dtype.kind != "f":
            return total
        moved = total + self.size * math.sqrt(count) * size * self.signs(total.shape)
        return np.where((size == np.round(size)) & (size < 2**20), total, moved)


@dataclass(frozen=True)
class _Point:
    """Where we are: the values of the indices as arrays of one rank, and which points the masks admit."""

    indices: Mapping[str, Array]
    rank: int
    admit: Array  # of that rank

    def inner(self, domain: Domain, extents: Mapping[str, tuple[int, int]]) -> _Point:
        """With the indices of an embedded reduction as further axes behind."""
        more = len(domain.indices)
        indices = {i: a.reshape(*a.shape, *[1] * more) for i, a in self.indices.items()}
        for axis, i in enumerate(domain.indices):
            shape = [1] * (self.rank + more)
            shape[self.rank + axis] = -1
            indices[i] = np.arange(*extents[i]).reshape(shape)
        return _Point(indices, self.rank + more, self.admit.reshape(*self.admit.shape, *[1] * more))


class _Whole:
    """One statement."""

    def __init__(
        self, stmt: Statement, tensors: dict[str, Tensor], extents: Mapping[str, tuple[int, int]], noise: _Noise
    ) -> None:
        self.stmt, self.tensors, self.extents, self.noise = stmt, tensors, extents, noise

    def run(self) -> None:
        target = self.tensors[self.stmt.target.tensor]
        for point in self.blocks():
            point = self.admitted(self.stmt.domain, point)
            shape = np.broadcast_shapes(*(a.shape for a in point.indices.values()))
            admit = np.broadcast_to(point.admit, shape).reshape(-1)
            if not admit.any():
                continue
            cell, inside = self.cell(self.stmt.target, point)
            value = self.value(self.stmt.value, replace(point, admit=point.admit & inside))
            write = admit & np.broadcast_to(inside, shape).reshape(-1)  # a write into the padding is dropped
            cells = np.broadcast_to(cell, shape).reshape(-1)[write]
            self.combine(target, cells, np.broadcast_to(value, shape).reshape(-1)[write])

    def blocks(self) -> Iterator[_Point]:
        """The box in row-major order, at most BLOCK points at a time if one index can be cut so."""
        names = self.stmt.domain.indices
        inside = max([1, *(self._points(p.domain) for p in walk(self.stmt.value) if isinstance(p, Reduce))])
        yield from self._blocks(names, {}, max(1, BLOCK // inside))

    def _points(self, domain: Domain) -> int:
        return math.prod(hi - lo for lo, hi in (self.extents[i] for i in domain.indices))

    def _blocks(self, names: tuple[str, ...], outer: dict[str, tuple[int, int]], most: int) -> Iterator[_Point]:
        at = len(outer)
        sizes = [self.extents[i][1] - self.extents[i][0] for i in names[at:]]
        rest = math.prod(sizes[1:])
        if not sizes or math.prod(sizes) <= most:
            yield self._point({**outer, **{i: self.extents[i] for i in names[at:]}}, names)
            return
        lo, hi = self.extents[names[at]]
        by = max(1, most // rest) if rest else hi - lo
        for start in range(lo, hi, max(by, 1)):
            part = {**outer, names[at]: (start, min(start + by, hi))}
            if rest > most:
                yield from self._blocks(names, part, most)
            else:
                yield self._point({**part, **{i: self.extents[i] for i in names[at + 1 :]}}, names)

    def _point(self, ranges: Mapping[str, tuple[int, int]], names: tuple[str, ...]) -> _Point:
        indices = {}
        for axis, i in enumerate(names):
            shape = [1] * len(names)
            shape[axis] = -1
            indices[i] = np.arange(*ranges[i]).reshape(shape)
        return _Point(indices, len(names), np.ones([1] * len(names), np.bool_))

    def admitted(self, domain: Domain, point: _Point) -> _Point:
        """The point under the masks, those on data last: they read only where the others admit."""
        for mask in sorted(domain.masks, key=lambda m: any(isinstance(p, Access) for p in walk(m))):
            point = replace(point, admit=point.admit & self.holds(mask, point))
        return point

    def holds(self, mask: Expr, point: _Point) -> Array:
        """Where a mask admits. A guard, `x.grad[i] != 0`, is no kink: a complex step moves away from its zero."""
        match mask:
            case Call(fn="ne", args=(guarded, Const(value=0))) if any(
                isinstance(p, Access) and ".grad" in p.tensor for p in walk(guarded)
            ):
                return self.value(guarded, point) != 0
            case _:
                return self.value(mask, point).real != 0

    # -- writing -------------------------------------------------------------------------------

    def combine(self, target: Tensor, cells: Array, value: Array) -> None:
        flat = target.cells.reshape(-1)
        value = number(value)
        match self.stmt.op:
            case "=" | "+=":
                if value.dtype.kind == "i" and flat.dtype.kind == "i":
                    np.add.at(flat, cells, value)
                    return
                added = sums(cells, value, flat.size)
                size, count = np.zeros(0), 1.0
                if self.noise.rng is not None:
                    size = sums(cells, np.abs(value), flat.size)
                    count = max(1.0, len(cells) / max(1, np.count_nonzero(np.bincount(cells, minlength=flat.size))))
                flat += self.noise.sum(added, size, count)
            case "*=":
                if self.noise.met is not None:  # a zero hides what the other factors make on the way
                    partial = np.ones(flat.size)
                    np.multiply.at(partial, cells, np.where(value == 0, 1, np.abs(value)).astype(np.float64))
                    self.noise.met.see(partial)
                if value.dtype.kind != "c":
                    np.multiply.at(flat, cells, value)
                else:
                    multiply_at(flat, cells, value)
                flat[:] = self.noise(flat)
            case op:
                if target.reached is None:  # it was set before
                    target.reached = np.ones(target.cells.shape, np.bool_)
                self.extreme(flat, target.reached.reshape(-1), cells, value, 1 if op == "max=" else -1)

    def extreme(self, flat: Array, reached: Array, cells: Array, value: Array, sign: int) -> None:
        """The first greatest in each cell; nan beats all."""
        key = sign * value.real.astype(np.float64)
        key = np.where(np.isnan(key), np.inf, key)
        order = np.lexsort((np.arange(len(cells)), -key, ~np.isnan(value.real), cells))
        first = order[np.concatenate(([True], np.diff(cells[order]) != 0))] if len(order) else order
        at, best = cells[first], value[first]
        old = flat[at]
        wins = ~reached[at] | (sign * best.real > sign * old.real) | (np.isnan(best.real) & ~np.isnan(old.real))
        flat[at[wins]] = best[wins]
        reached[at] = True

    # -- reading -------------------------------------------------------------------------------

    def value(self, expr: Expr, point: _Point) -> Array:
        match expr:
            case Const(value=constant):
                return self.noise.constant(np.asarray(constant))
            case Index(name=name):
                return point.indices[name]
            case Size(tensor=tensor, axis=axis):
                return np.asarray(self.tensors[tensor].cells.shape[axis])
            case Access():
                return self.read(expr, point)
            case Call(fn="where", args=(c, a, b)):  # the branch not taken is not computed
                condition = np.asarray(self.value(c, point).real != 0)
                admit = point.admit & condition
                then = self.value(a, replace(point, admit=admit)) if admit.any() else np.zeros(())
                admit = point.admit & ~condition
                other = self.value(b, replace(point, admit=admit)) if admit.any() else np.zeros((), then.dtype)
                return np.where(condition, number(then), number(other))
            case Call(fn="max" | "min" as fn, args=(a, b)):
                if _is_constant(b) and not _is_constant(a):  # at a tie the constant wins
                    a, b = b, a
                return greater(self.value(a, point), self.value(b, point), 1 if fn == "max" else -1)
            case Call(fn=fn, args=args):
                values = [self.value(a, point) for a in args]
                found = FUNCTIONS[fn](*values)
                if self.noise.met is not None and fn in ("mul", "div", "pow"):
                    self.noise.met.see_vanish(found, values)
                return self.noise(found, _rounded(found, values) if fn in SATURATING else None)
            case Reduce():
                return self.reduce(expr, point)

    def read(self, access: Access, point: _Point) -> Array:
        tensor = self.tensors[access.tensor]
        cell, inside = self.cell(access, point)
        flat = tensor.cells.reshape(-1)
        found = flat[cell] if flat.size else np.zeros(np.shape(cell), flat.dtype)
        if inside.all():
            return found
        fill, padded = np.zeros((), np.int64), np.zeros((), np.bool_)
        for s, size in zip(access.subscripts, tensor.cells.shape, strict=True):  # the first axis out of range says
            if isinstance(s, Boundary) and s.kind == "pad":
                out = ~self.position(s, size, point)[1]
                fill = np.where(out & ~padded, self.value(s.value, point), fill)
                padded = padded | out
        return np.where(inside, found, fill.astype(np.result_type(fill, found)))

    def cell(self, access: Access, point: _Point) -> tuple[Array, Array]:
        """The flat positions of an access, and which of them are no padding."""
        shape = self.tensors[access.tensor].cells.shape
        if len(shape) != len(access.subscripts):
            raise IndexError(f"{access.tensor} has {len(shape)} axes and {len(access.subscripts)} subscripts")
        where, inside = np.zeros((), np.int64), np.ones((), np.bool_)
        for axis, (s, size) in enumerate(zip(access.subscripts, shape, strict=True)):
            position, fits = self.position(s, size, point)
            wrong = point.admit & fits & ((position < 0) | (position >= size))
            if wrong.any():
                raise IndexError(f"{access.tensor}: a position in axis {axis} of size {size} is outside")
            where = where * size + np.clip(position, 0, max(size - 1, 0))
            inside = inside & fits
        return where, inside

    def position(self, subscript: Subscript, size: int, point: _Point) -> tuple[Array, Array]:
        """Positions in an axis, and whether they are no padding."""
        inside = np.ones((), np.bool_)
        match subscript:
            case Merged(indices=names):
                found = np.zeros((), np.int64)
                for name in names:
                    found = found * self.extents[name][1] + point.indices[name]
                return found, inside
            case Boundary(kind="pad", expr=e, lo=None):
                p = self.integer(e, point)
                return p, (p >= 0) & (p < size)
            case Boundary(kind="pad", expr=e, lo=left, hi=right):
                assert left is not None and right is not None
                p, lo, hi = (self.integer(part, point) for part in (e, left, right))
                if (point.admit & ((p < 0) | (p >= lo + size + hi))).any():
                    raise IndexError("a position is outside of its padding")
                return p - lo, (p >= lo) & (p < lo + size)
            case Boundary(kind="clamp", expr=e):
                return np.clip(self.integer(e, point), 0, size - 1), inside
            case Boundary(kind="wrap", expr=e):
                return self.integer(e, point) % size, inside
            case Boundary(kind="reflect", expr=e):
                if size == 1:
                    return np.zeros((), np.int64), inside
                p = self.integer(e, point) % (2 * (size - 1))
                return np.where(p < size, p, 2 * (size - 1) - p), inside
            case Const() | Index() | Size() | Access() | Call() | Reduce():
                return self.integer(subscript, point), inside
            case _:
                raise AssertionError(subscript)

    def integer(self, expr: Expr, point: _Point) -> Array:
        found = number(self.value(expr, point))
        if found.dtype.kind != "i":
            raise IndexError(f"{found.dtype} is no position")
        return found

    # -- embedded reductions -------------------------------------------------------------------

    def reduce(self, reduce: Reduce, outside: _Point) -> Array:
        point = self.admitted(reduce.domain, outside.inner(reduce.domain, self.extents))
        body = number(self.value(reduce.body, point))
        inner = [np.shape(a) for i, a in point.indices.items() if i in reduce.domain.indices]
        rank = outside.rank
        outer = np.broadcast_shapes(point.admit.shape, body.shape, [1] * point.rank)[:rank]
        box = tuple(max(s[rank + axis] for s in inner) for axis in range(len(inner)))
        count = math.prod(box)
        values = np.broadcast_to(body, (*outer, *box)).reshape(*outer, count)
        admit = np.broadcast_to(point.admit, (*outer, *box)).reshape(*outer, count)
        match reduce.op:
            case "sum":
                return self.sum(values, admit)
            case "prod":
                return self.noise(product(np.where(admit, values, 1)))
            case "mean":
                return divide(self.sum(values, admit), admit.sum(-1))
            case "max" | "min" as op:
                sign = 1 if op == "max" else -1
                best = self.winner(values, admit, sign)
                found = np.take_along_axis(values, best[..., None], -1)[..., 0] if count else np.zeros(outer)
                return np.where(admit.any(-1), found, -sign * math.inf) if not admit.any(-1).all() else found
            case "argmax" | "argmin" as op:
                return self.winner(values, admit, 1 if op == "argmax" else -1)
            case "logsumexp":
                return self.logsumexp(floating(values), admit)
            case op:
                raise AssertionError(op)

    def sum(self, values: Array, admit: Array) -> Array:
        values = np.where(admit, values, 0)
        return self.noise.sum(values.sum(-1), np.abs(values).sum(-1), values.shape[-1])

    def winner(self, values: Array, admit: Array, sign: int) -> Array:
        """The first greatest of what is admitted; nan beats all. 0 where nothing is."""
        if not values.shape[-1]:
            return np.zeros(values.shape[:-1], np.int64)
        real = sign * values.real.astype(np.float64)
        nan = np.isnan(real) & admit
        real = np.where(admit, real, -np.inf)
        best = real.max(-1, keepdims=True, initial=-np.inf, where=~np.isnan(real))
        wins = np.where(nan.any(-1, keepdims=True), nan, admit & (real == best))
        return np.where(admit.any(-1), wins.argmax(-1), 0)

    def logsumexp(self, values: Array, admit: Array) -> Array:
        """Around the greatest value, so that no exp overflows."""
        real = np.where(admit, values.real, -np.inf)
        if not real.shape[-1]:
            return np.full(real.shape[:-1], -np.inf)
        greatest = real.max(-1)
        finite = np.where(np.isfinite(greatest), greatest, 0.0)
        terms = np.where(admit, np.exp(values - finite[..., None]), 0)
        found = self.noise(finite + np.log(self.sum(self.noise(terms), admit)))
        return np.where(np.isfinite(greatest), found, greatest)


def _is_constant(expr: Expr) -> bool:
    return not any(isinstance(part, Access) for part in walk(expr))
