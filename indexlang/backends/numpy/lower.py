"""A Program with its sizes and dtypes, statement by statement, as the source of one Python function.

Each statement takes the first way that fits: a root reduction (argmax, logsumexp), sums of products as
contractions, or the total one: its value over the whole domain, reduced and combined into the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from ... import kernels
from ...function_support import SUPPORT
from ...ir import Access, Call, Const, Expr, Program, Reduce, Statement, Subscript, children, indices_of, walk
from ...plan import Step
from ...shapes import Shapes
from ...text import statement_text
from ...types import Types
from .contract import contract
from .source import ARRAYS, Array, Axis, Operand, Writer, aligned, view, whole
from .store import SUMS, REDUCE, Target, combine, identity, make_target, scatter, unit
from .value import Lowering, Value, emit, mask_over, prepare, truth

WINDOW = 64  # at most so many values of the reduced indices make a loop of whole-array operations


@dataclass(frozen=True)
class Code:
    """The source, the accesses that its checks refer to by number, and what each statement became."""

    source: str
    places: tuple[tuple[Access, int], ...]
    steps: tuple[Step, ...]


def lower(program: Program, shapes: Shapes, types: Types, complex_step: bool = False) -> Code:
    """The stand-alone source of `run(*inputs)`, which gives a tuple of the outputs."""
    writer = Writer()
    computing = {t: "float32" if d == "float16" else d for t, d in types.tensors.items()}
    low = Lowering(writer, shapes.tensors, computing, complex_step)
    names = {}
    for tensor in program.inputs:
        names[tensor] = writer.fresh(tensor)
        low.arrays[tensor] = Array(names[tensor], shapes.tensors[tensor], types.tensors[tensor], owned=False)
    steps = []
    for k, stmt in enumerate(program.statements):
        text = statement_text(stmt, dims=program.dims)
        writer.line(f"# {ascii(text)[1:-1]}")
        before = len(writer.lines)
        how = _Statement(low, stmt, shapes.extents[k], types.tensors[stmt.target.tensor], types.compute[k]).lower()
        if len(writer.lines) == before:
            writer.line("pass")
        steps.append(_step(stmt, text, how, shapes.extents[k], low))
    results = []
    for tensor in program.outputs:
        array = low.arrays[tensor]
        results.append(f"{array.name}.copy()" if tensor in program.inputs else array.name)
    writer.line(f"return ({', '.join(results)},)")
    body = [*writer.entry, *writer.lines]
    head = f"def run({', '.join(names[t] for t in program.inputs)}):"
    parts = ["import numpy as np\n"]
    parts += [source for name, source in {**ARRAYS, **SUPPORT}.items() if name in _closed(writer.support)]
    if writer.constants:
        parts.append("\n".join(f"{name} = {code}" for code, name in writer.constants.items()) + "\n")
    quiet = '@np.errstate(all="ignore")\n' if _noisy(body) else ""
    parts.append(quiet + "\n".join([head, *body]) + "\n")
    return Code("\n\n".join(parts), tuple(low.places), tuple(steps))


def _closed(names: set[str]) -> set[str]:
    """The support functions with those that they call."""
    table, found = {**ARRAYS, **SUPPORT}, set(names)
    while more := {other for name in found for other in table if f"{other}(" in table[name]} - found:
        found |= more
    return found


def _noisy(lines: Sequence[str]) -> bool:
    """Whether anything may warn of nan, inf or overflow: everything but copies, adds and matrix products."""
    return any(" / " in line or "**" in line or "np.log" in line or "np.exp" in line or "(" in line for line in lines)


def _step(stmt: Statement, text: str, how: str, extents: Mapping[str, tuple[int, int]], low: Lowering) -> Step:
    points = prod(max(0, hi - lo) for i, (lo, hi) in extents.items())
    operations = sum(isinstance(p, Call) for p in walk(stmt.value)) + (1 if stmt.op != "=" or stmt.reduced else 0)
    touched = {p.tensor for p in walk(stmt.value) if isinstance(p, Access)} | {stmt.target.tensor}
    moved = sum(prod(low.shapes[t]) * kernels.itemsize(low.dtypes[t]) for t in touched)
    return Step(text, how, dict(extents), points * operations, moved)


class _Statement:
    """One statement being lowered."""

    def __init__(
        self, low: Lowering, stmt: Statement, extents: Mapping[str, tuple[int, int]], dtype: str, compute: str
    ) -> None:
        self.low, self.stmt, self.extents = low, stmt, extents
        self.writer = low.writer
        self.tensor, self.op = stmt.target.tensor, stmt.op
        self.dtype, self.compute = dtype, compute
        self.value = stmt.value
        self.root = stmt.value if isinstance(stmt.value, Reduce) else None
        low.extents, low.masks = extents, stmt.domain.masks
        if self.root is not None:
            low.masks = (*low.masks, *self.root.domain.masks)
            self.value = self.root.body
        self.free = tuple(i for i in stmt.domain.indices if i in indices_of(stmt.target))
        self.summed = stmt.reduced if self.root is None else self.root.domain.indices
        free = set(self.free)
        self.outer = tuple(m for m in low.masks if set(indices_of(m)) <= free)
        self.inner = tuple(m for m in low.masks if not set(indices_of(m)) <= free)

    def lower(self) -> str:
        """Write the code; the name of the kernel."""
        low, writer = self.low, self.writer
        shape = low.shapes[self.tensor]
        new = self.tensor not in low.arrays
        if new:
            low.arrays[self.tensor] = Array(writer.fresh(self.tensor), shape, self.dtype)
        array = low.arrays[self.tensor]
        if any(self.extents[i][1] <= self.extents[i][0] for i in self.free) or (
            self.root is None and any(hi <= lo for lo, hi in self.extents.values())
        ):
            if new:
                writer.line(f"{array.name} = {identity(self.op, shape, self.dtype)}")
            return "nothing: the domain is empty"
        for part in (self.value, *low.masks):
            self._prepare(part)
        target = make_target(low, self.stmt.target, array, self.op, new)
        how = self._into(target)
        target.finish()
        return how

    def _prepare(self, node: Subscript) -> None:
        """Bring what every access needs into place before any loop."""
        if isinstance(node, Access):
            prepare(self.low, node)
        else:
            for child in children(node):
                self._prepare(child)

    # -- ways ----------------------------------------------------------------------------------

    def _into(self, target: Target) -> str:
        scope = whole(self.extents)
        if target.dynamic:
            return self._dynamic(target)
        loops: list[tuple[str, int]] = []
        for index in target.taps:
            var = self.writer.fresh(index)
            loops.append((var, scope[index].n))
            scope[index] = Axis(scope[index].lo, scope[index].n, var, None)
        if self.root is None and self.op in SUMS and self.summed and not self.inner and self._contractible():
            target.start(covered=not loops and len(self._terms()) == 1)
            with self.writer.loops(loops):
                for sign, term in self._terms():
                    self._contraction(target, scope, sign, term)
            kind = "contraction"
        elif self.root is None and self.summed and not self.outer and not self.inner and self._windowed(scope):
            for index in self.summed:
                var = self.writer.fresh(index)
                loops.append((var, scope[index].n))
                scope[index] = Axis(scope[index].lo, scope[index].n, var, None)
            target.start(covered=False)
            with self.writer.loops(loops):
                place = target.view(scope)
                value = emit(self.low, self.value, place.indices, scope)
                combine(self.writer, self.op, place, value.code)
            return f"{len(loops)} loops over a window, whole arrays inside"
        else:
            target.start(covered=not loops)
            with self.writer.loops(loops):
                place = target.view(scope)
                value = self._evaluate(list(place.indices), scope)
                target.put(place, value)
            kind = "whole domain" if self.summed else "elementwise"
        return f"{kind}, {len(loops)} taps" if loops else kind

    def _dynamic(self, target: Target) -> str:
        """A write through index arrays: the value over all free indices, sorted by its cell."""
        scope = whole(self.extents)
        target.start(covered=False)
        axes = list(target.order)
        sums = self.root is None and self.op in SUMS and self.summed and not self.inner and self._contractible()
        if sums and len(self._terms()) == 1:
            value = self._contracted(axes, scope, *self._terms()[0])
        else:
            value = self._evaluate(axes, scope)
        code = value.code
        full = tuple(scope[i].n for i in axes)
        if set(value.indices) != set(axes) or value.python:
            code = f"np.broadcast_to({code}, {full})"
        scatter(self.low, target, code, self.op, scope)
        return "scatter through sorted positions"

    # -- values --------------------------------------------------------------------------------

    def _evaluate(self, free: list[str], scope: Mapping[str, Axis]) -> Value:
        """The value over `free`, masked and reduced over the summed indices."""
        low, writer = self.low, self.writer
        summed = list(self.summed)
        axes = [*free, *summed]
        value = emit(low, self.value, axes, scope)
        if self.root is not None:
            return self._root(value, free, summed, scope)
        code, indices = value.code, value.indices
        kind = self.compute
        if value.python:
            code = f"np.asarray({code}, np.{kind})"
        elif value.dtype != kind:
            code = f"({code}).astype(np.{kind})"
        fresh = not value.bare
        masks = self.inner if summed else low.masks
        if masks:
            condition = " & ".join(truth(low, m, axes, scope) for m in masks)
            code = f"np.where({condition}, {code}, {unit(self.op, kind)})"
            mentioned = {i for m in masks for i in indices_of(m)}
            indices = tuple(i for i in axes if i in indices or i in mentioned)
            fresh = True
        if summed:
            gone = [i for i in summed if i in indices]
            missing = prod(scope[i].n for i in summed if i not in indices)
            if gone:
                name = writer.fresh("all")
                left = [i for i in axes if i in indices]
                shown = _leading(axes, indices)
                writer.line(f"{name} = {code}")
                places = tuple(k - len(shown) for k, i in enumerate(shown) if i in summed)
                code = f"{REDUCE[self.op]}.reduce({name}, {places})"
                indices = tuple(i for i in left if i not in gone)
                fresh = True
            if missing > 1 and self.op in SUMS:
                code, fresh = f"({code} * {missing})", True
            elif missing > 1 and self.op == "*=":
                code, fresh = f"({code} ** {missing})", True
            if not gone:
                code = _dropped(code, axes, indices, summed)
            if self.outer:
                condition = " & ".join(truth(low, m, free, scope) for m in self.outer)
                code = f"np.where({condition}, {code}, {unit(self.op, kind)})"
                mentioned = {i for m in self.outer for i in indices_of(m)}
                indices = tuple(i for i in free if i in indices or i in mentioned)
                fresh = True
        return Value(code, kind, indices, bare=not fresh)

    def _root(self, value: Value, free: list[str], summed: list[str], scope: Mapping[str, Axis]) -> Value:
        """argmax, argmin and logsumexp over the last axes, first winner in row-major order."""
        assert self.root is not None
        low, writer, op = self.low, self.writer, self.root.op
        axes = [*free, *summed]
        shape = tuple(scope[i].n for i in axes)
        free_shape = tuple(scope[i].n for i in free)
        count = prod(scope[i].n for i in summed)
        name = writer.fresh("all")
        code = f"np.asarray({value.code}, np.{value.dtype})" if value.python else value.code
        if op == "logsumexp" and value.dtype != self.compute:
            code = f"({code}).astype(np.{self.compute})"
        writer.line(f"{name} = np.broadcast_to({code}, {shape}).reshape({(*free_shape, count)})")
        admitted = None
        if low.masks:
            admitted = writer.fresh("admitted")
            condition = " & ".join(truth(low, m, axes, scope) for m in low.masks)
            writer.line(f"{admitted} = np.broadcast_to({condition}, {shape}).reshape({(*free_shape, count)})")
        if op == "logsumexp":
            if admitted:
                writer.line(f"{name} = np.where({admitted}, {name}, -np.inf)")
            if count == 0:
                return Value(f"np.full({free_shape}, -np.inf, np.{self.compute})", self.compute, tuple(free))
            most = writer.fresh("most")
            writer.line(f"{most} = np.max({name}.real, axis=-1)")
            writer.line(f"{most} = np.where(np.isfinite({most}), {most}, 0)")
            code = f"np.log(np.add.reduce(np.exp({name} - {most}[..., None]), -1)) + {most}"
            return Value(f"({code})", self.compute, tuple(free))
        real = f"{name}.real" if low.complex_step else name
        if admitted:
            least = unit("max=" if op == "argmax" else "min=", value.dtype)
            best = writer.fresh("best")
            writer.line(f"{best} = np.{op}(np.where({admitted}, {real}, {least}), axis=-1)")
            # A refused point may hide the first winner only where all admitted ones are extreme themselves.
            hit = f"np.take_along_axis({admitted}, {best}[..., None], -1)[..., 0]"
            writer.line(f"{best} = np.where({hit}, {best}, np.argmax({admitted}, axis=-1))")
            return Value(best, "int64", tuple(free))
        return Value(f"np.asarray(np.{op}({real}, axis=-1))", "int64", tuple(free))

    # -- contractions --------------------------------------------------------------------------

    def _terms(self) -> list[tuple[int, Expr]]:
        """The value as a sum of signed terms."""
        found: list[tuple[int, Expr]] = []
        stack: list[tuple[int, Expr]] = [(1, self.value)]
        while stack:
            sign, expr = stack.pop()
            match expr:
                case Call(fn="add", args=(a, b)):
                    stack += [(sign, b), (sign, a)]
                case Call(fn="sub", args=(a, b)):
                    stack += [(-sign, b), (sign, a)]
                case Call(fn="neg", args=(a,)):
                    stack.append((-sign, a))
                case _:
                    found.append((sign, expr))
        return found

    def _contractible(self) -> bool:
        """Whether every term is a product, or a plain read, over the summed indices."""
        if self.compute == "bool":
            return False
        for _, term in self._terms():
            core, _, _ = self._split(term)
            if not core or (len(core) == 1 and not isinstance(core[0], Access)):
                return False
            if len(core) == 1 and self._windowed(whole(self.extents)):
                return False
            domain = prod(hi - lo for lo, hi in self.extents.values())
            for factor in core:  # a factor as large as the domain is no contraction
                if not isinstance(factor, Access) and len(core) > 1:
                    size = prod(self.extents[i][1] - self.extents[i][0] for i in indices_of(factor))
                    if size == domain and domain > 1 << 24:
                        return False
        return True

    def _split(self, term: Expr) -> tuple[list[Expr], list[Expr], list[Expr]]:
        """A product as the factors with summed indices, those without, and divisors without."""
        summed = set(self.summed)
        core: list[Expr] = []
        outside: list[Expr] = []
        divisors: list[Expr] = []
        stack = [term]
        while stack:
            expr = stack.pop()
            match expr:
                case Call(fn="mul", args=(a, b)):
                    stack += [b, a]
                case Call(fn="div", args=(a, b)) if not summed & set(indices_of(b)) and self.low.kind(a) == self.compute:
                    divisors.append(b)
                    stack.append(a)
                case Call(fn="neg", args=(a,)):
                    outside.append(Const(-1))
                    stack.append(a)
                case _:
                    (core if summed & set(indices_of(expr)) else outside).append(expr)
        return core, outside, divisors

    def _factor(self, expr: Expr, scope: Mapping[str, Axis]) -> Operand:
        """A factor as an array over its own indices, in the type of the computation."""
        low, writer = self.low, self.writer
        own = [i for i in self.stmt.domain.indices if i in indices_of(expr) and scope[i].width is not None]
        if isinstance(expr, Access):
            read = view(writer, *prepare(low, expr), scope)
            if read.dtype == self.compute:
                return read
            return Operand(f"{read.code}.astype(np.{self.compute})", read.indices, self.compute, read.strides)
        value = emit(low, expr, own, scope)
        name = writer.fresh("factor")
        code = f"np.asarray({value.code})" if value.python or not own else value.code
        code = code if value.dtype == self.compute and not value.python else f"({code}).astype(np.{self.compute})"
        writer.line(f"{name} = {code}")
        return Operand(name, tuple(own), self.compute, kernels.row_strides([scope[i].n for i in own]))

    def _contracted(
        self, free: Sequence[str], scope: Mapping[str, Axis], sign: int, term: Expr, into: Operand | None = None
    ) -> Value:
        """A term summed, over `free`; code is empty if it stands in `into` already."""
        core, outside, divisors = self._split(term)
        factors = [self._factor(f, scope) for f in core]
        present = {i for f in factors for i in f.indices}
        out = [i for i in free if i in present]
        missing = prod(scope[i].n for i in self.summed if i not in present)
        extra = bool(outside or divisors or sign < 0 or missing > 1 or self.outer)
        result, stored = contract(self.writer, factors, out, scope, None if extra else into)
        if stored:
            return Value("", self.compute, tuple(free))
        indices: tuple[str, ...] = tuple(out)
        code = aligned(result, free)
        for expr in outside:
            value = emit(self.low, expr, list(free), scope)
            text = value.code if value.python or value.dtype == self.compute else f"({value.code}).astype(np.{self.compute})"
            code = f"({code} * {text})"
            indices = tuple(i for i in free if i in indices or i in value.indices)
        for expr in divisors:
            value = emit(self.low, expr, list(free), scope)
            text = value.code if value.python or value.dtype == self.compute else f"({value.code}).astype(np.{self.compute})"
            code = f"({code} / {text})"
            indices = tuple(i for i in free if i in indices or i in value.indices)
        if missing > 1:
            code = f"({code} * {missing})"
        if sign < 0:
            code = f"(-{code})"
        if self.outer:
            condition = " & ".join(truth(self.low, m, list(free), scope) for m in self.outer)
            code = f"np.where({condition}, {code}, 0)"
            mentioned = {i for m in self.outer for i in indices_of(m)}
            indices = tuple(i for i in free if i in indices or i in mentioned)
        return Value(code, self.compute, indices, bare=not extra and len(core) == 1 and not set(self.summed) & present)

    def _contraction(self, target: Target, scope: Mapping[str, Axis], sign: int, term: Expr) -> None:
        place = target.view(scope)
        into = target.destination(place) if target.array.dtype == self.compute else None
        value = self._contracted(place.indices, scope, sign, term, into)
        if value.code:
            target.put(place, value)

    def _windowed(self, scope: Mapping[str, Axis]) -> bool:
        """Whether few reduced values and many free ones make a loop over the reduced ones the better order."""
        count = prod(scope[i].n for i in self.summed)
        rest = prod(scope[i].n for i in self.free if scope[i].width is not None)
        accesses = [p for p in walk(self.value) if isinstance(p, Access)]
        overlapping = any(
            len([i for i in indices_of(s)]) > 1 for a in accesses for s in a.subscripts if not isinstance(s, Access)
        )
        return 1 < count <= WINDOW and rest >= 256 and overlapping


def _leading(axes: Sequence[str], indices: Sequence[str]) -> list[str]:
    """The axes that code over `axes` really has: from the first present index on."""
    present = set(indices)
    for k, i in enumerate(axes):
        if i in present:
            return list(axes[k:])
    return []


def _dropped(code: str, axes: Sequence[str], indices: Sequence[str], summed: Sequence[str]) -> str:
    """Code without the axes of length 1 that the summed indices left behind."""
    shown = _leading(axes, indices)
    places = [k for k, i in enumerate(shown) if i in summed]
    return f"{code}[{', '.join('0' if k in places else ':' for k in range(len(shown)))}]" if places else code
