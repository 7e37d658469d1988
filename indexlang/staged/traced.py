"""Programs as one function of jax arrays, those with blocks too: their steps as loops of XLA.

In: a Program, sizes and dtypes. Out: `Lowered`. The one rule: what steps make is carried from one to the next; nothing
is written in place but what XLA writes so itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.jax.lines import Lines, number
from ..backends.jax.program import RESERVED, Lowered, lowered, row
from ..program.blocks import has_blocks
from ..program.ir import Access, Boundary, Const, Expr, Program
from .cutting import staged
from .driver import access_of
from .once import look_once
from .order import Pair, look
from .pieces import forms, positions, read_in, shape_of
from .stages import At, Axis, Call, Now, One, Repeat, Slice, Span, Stage, Staged, calls
from .told import text, told
from .typed import Do, Node, Number, Read, Step, fill, truth, typed

_INFIX = {"add": "+", "sub": "-", "mul": "*", "floordiv": "//", "mod": "%"}
_INFIX |= {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_FUNCTIONS = {"and": "logical_and", "or": "logical_or", "not": "logical_not", "min": "minimum", "max": "maximum"}
_SHORTENED = {"add", "sub", "mul", "neg", "floordiv", "min", "max"}  # what positions that were brought near go through


def lowering(
    program: Program,
    sizes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    exact: Collection[str] = (),
    half: str = "float16",
) -> Lowered:
    """The function of a program. Errors: `ShapeError`."""
    if not has_blocks(program):
        return lowered(program, sizes, dtypes, exact=exact, half=half)
    found, warnings = staged(program, sizes, dtypes)
    pieces = [
        lowered(call.program, *forms(call, found), name=f"piece_{k}", exact=call.program.outputs, half=half)
        for k, call in enumerate(calls(found.stages))
    ]
    outputs = tuple((t, None, found.stored(t) if t in exact else d) for t, d in found.outputs)
    work = _Loops(found, pieces)
    decided = tuple(dict.fromkeys(tensor for check in found.checks for tensor in check.tensors))
    source = work.text(outputs, half, decided)
    made = Lowered(
        "\n\n".join([*(p.text for p in pieces), source]),
        tuple(dict.fromkeys([*(name for p in pieces for name in p.support), *work.w.support])),
        tuple((t, found.dtypes[t]) for t in found.inputs),
        outputs,
        tuple(work.places),
        tuple(r for one in told(found, pieces) for r in one.records),
        found.shapes,
        {**found.dtypes, **{t: found.stored(t) for t in exact}},
        warnings,
    )
    orders = partial(_orders, found, decided) if found.checks else None
    return replace(made, decided=decided, orders=orders, shown=text(found, pieces, made.workspace))


def _orders(found: Staged, decided: Sequence[str], *arrays: NDArray[Any]) -> None:
    """Look at what data said of the order of steps. Errors: `ShapeError`."""
    there = dict(zip(decided, arrays, strict=True))
    for check in found.checks:
        given = [there[tensor] for tensor in check.tensors]
        if isinstance(check, Pair):
            look(check, found.shapes, *given)
        else:
            look_once(check, found.shapes, *given)


@dataclass
class _Loops:
    """The lines that go through the stages. `places` are the accesses that checks of positions refer to."""

    found: Staged
    pieces: Sequence[Lowered]
    w: Lines = field(default_factory=Lines)
    arrays: dict[str, str] = field(default_factory=dict)
    steps: dict[str, str] = field(default_factory=dict)
    open: dict[str, tuple[int, int]] = field(default_factory=dict)
    places: list[tuple[Access, int]] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)  # the name of what each place has found
    number: int = 0
    masks: tuple[Expr, ...] = ()  # under which the position at hand counts

    def text(self, outputs: Sequence[tuple[str, None, str]], half: str, decided: Sequence[str]) -> str:
        """The source of the function."""
        w, found = self.w, self.found
        w.taken |= {*RESERVED, "compute", *(f"piece_{k}" for k in range(len(self.pieces)))}
        w.depth = 1
        for tensor in found.inputs:
            self.arrays[tensor] = w.fresh(tensor)
        names = [self.arrays[t] for t in found.inputs]
        self.run(found.stages)
        results = []
        for tensor, _, dtype in outputs:
            kind = f"jnp.{half}" if dtype == "float16" else w.kind(dtype)
            results.append(f"{self.array(tensor)}.astype({kind})")
        results += map(self.array, decided)
        w.line(f"return {row(results)}, {row(self.checks)}")
        lines = [f"def compute({', '.join(names)}):"]
        lines += [f"    {dtype} = jax.dtypes.canonicalize_dtype({dtype!r})" for dtype in w.wide]
        return "\n".join([*lines, *w.lines]) + "\n"

    def array(self, tensor: str) -> str:
        """The name of a tensor; of one that nothing was written to, after a line that makes it."""
        if tensor not in self.arrays:
            b = next(b for b in self.found.buffers if b.tensor == tensor)
            start = f"jnp.iinfo({self.w.kind(b.dtype)}).{'min' if b.start < 0 else 'max'}"
            start = start if b.dtype == "int64" and abs(b.start) > 1 << 32 else number(b.start)
            code = f"jnp.full({b.kept}, {start}, {self.w.kind(b.dtype)})"
            self.arrays[tensor] = self.bind(tensor, code)
        return self.arrays[tensor]

    def bind(self, wish: str, code: str) -> str:
        """A new name for what code gives, whatever else has the same code."""
        name = self.w.fresh(wish)
        self.w.line(f"{name} = {code}")
        return name

    # -- stages --------------------------------------------------------------------------------

    def run(self, stages: Sequence[Stage]) -> None:
        for stage in stages:
            if isinstance(stage, Call):
                self.call(stage)
            else:
                self.repeat(stage)

    def repeat(self, stage: Repeat) -> None:
        """A block as a loop that carries what its steps write, and what they found wrong."""
        w = self.w
        written = dict.fromkeys(part.tensor for call in calls(stage.stages) for _, part in call.gives)
        for tensor in dict.fromkeys([*written, *_used(stage)]):
            self.array(tensor)
        outside = dict(self.arrays)
        count = len(self.checks)
        with w.function("step", "number, carried") as step:
            own = {t: w.fresh(t) for t in written}
            slot, here = len(w.lines), w.depth
            self.arrays = {**outside, **own}
            checks, self.checks = self.checks, []
            self.enter(stage)
            if stage.block.masks:
                self.guarded(stage, written)
            else:
                self.run(stage.stages)
            inner, made = self.checks, [self.arrays[t] for t in written]
            held = [w.fresh("found") for _ in inner]
            w.lines.insert(slot, "    " * here + f"{row([*own.values(), *held])} = carried")
            both = [f"{w.use('earlier')}({old}, {new})" for old, new in zip(held, inner, strict=True)]
            w.line(f"return {row([*made, *both])}")
        for index, _ in stage.extents:
            del self.open[index], self.steps[index]
        self.checks, self.arrays = checks, outside
        nothing = [f"(jnp.asarray(False), jnp.asarray(0, {w.kind('int64')}))" for _ in inner]
        steps = prod(hi - lo for _, (lo, hi) in stage.extents)
        carried = row([*(self.arrays[t] for t in written), *nothing])
        result = self.bind("carried", f"lax.fori_loop(0, {steps}, {step}, {carried})")
        for k, tensor in enumerate(written):
            self.arrays[tensor] = self.bind(tensor, f"{result}[{k}]")
        self.checks += [self.bind("found", f"{result}[{len(written) + k}]") for k in range(len(inner))]
        assert len(self.checks) == count + len(inner)

    def enter(self, stage: Repeat) -> None:
        """The numbers of the indices at a step, the last one fastest."""
        w, steps = self.w, prod(hi - lo for _, (lo, hi) in stage.extents)
        left = f"{steps - 1} - number" if stage.block.reverse else "number"
        left = self.bind("number_of", f"jnp.asarray({left}, {w.kind('int64')})")
        inner = steps
        for index, (lo, hi) in stage.extents:
            inner //= max(hi - lo, 1)
            code = left if inner == 1 else f"{left} // {inner}"
            code = code if inner * (hi - lo) == steps else f"({code}) % {hi - lo}"
            self.steps[index] = self.bind(index, f"{code} + {lo}" if lo else code)
            self.open[index] = (lo, hi)

    def guarded(self, stage: Repeat, written: Mapping[str, object]) -> None:
        """The stages where the block's masks hold; else all stays as it is."""
        w = self.w
        condition = " & ".join(self.held(stage.block.masks))
        before = dict(self.arrays)
        with w.function("inside") as inside:
            self.run(stage.stages)
            made, found = [self.arrays[t] for t in written], self.checks
            w.line(f"return {row([*made, *found])}")
        nothing = [f"(jnp.asarray(False), jnp.asarray(0, {w.kind('int64')}))" for _ in found]
        with w.function("outside") as outside:
            w.line(f"return {row([*(before[t] for t in written), *nothing])}")
        result = self.bind("carried", f"lax.cond({condition}, {inside}, {outside})")
        self.arrays = {**before, **{t: f"{result}[{k}]" for k, t in enumerate(written)}}
        self.checks = [f"{result}[{len(written) + k}]" for k in range(len(found))]

    def call(self, stage: Call) -> None:
        """A piece: its slices taken, what it gives put away."""
        w, piece, k = self.w, self.pieces[self.number], self.number
        self.number += 1
        given = ", ".join(self.taken(part) for _, part in stage.takes)
        names, found = [w.fresh(n) for n, _ in stage.gives], [w.fresh("found") for _ in piece.places]
        w.line(f"{row(names)}, {row(found)} = piece_{k}({given})")
        self.places += piece.places
        self.checks += found
        for name, (_, part) in zip(names, stage.gives, strict=True):
            buffer = next(b for b in self.found.buffers if b.tensor == part.tensor)
            value = f"{name}.astype({w.kind(buffer.dtype)})"
            if part.whole and buffer.window is None:
                self.arrays[part.tensor] = self.bind(part.tensor, value)
                continue
            self.arrays[part.tensor] = self.bind(part.tensor, self.put(part, value))

    # -- slices --------------------------------------------------------------------------------

    def taken(self, part: Slice | Now | One) -> str:
        """Code of what a piece takes."""
        if isinstance(part, One):
            return f"jnp.ones((), {self.w.kind(part.dtype)})"
        if isinstance(part, Now):
            return self.steps[part.index]
        if part.whole and self.found.kept(part.tensor) == self.found.shapes[part.tensor]:
            return self.array(part.tensor)
        starts, inside = self.starts(part)
        code = self.cut(part, starts)
        for (test, around), _ in sorted(inside, key=lambda one: -one[1]):  # the first that is out of range says
            code = f"jnp.where({test}, {code}, {around})"
        return code

    def cut(self, part: Slice, starts: Sequence[str]) -> str:
        name, lengths = self.array(part.tensor), self.lengths(part)
        shape = shape_of(part, self.found.shapes)
        return f"lax.dynamic_slice({name}, {row(starts)}, {lengths}).reshape({shape})"

    def put(self, part: Slice, value: str) -> str:
        """Code of a tensor with a value in a slice; what falls into a padding, or is refused, stays as it was."""
        starts, inside = self.starts(part, writes=True)
        name, lengths = self.array(part.tensor), self.lengths(part)
        tests = [test for (test, _), _ in inside]
        value = f"{value}.reshape({lengths})"
        if tests:
            old = f"lax.dynamic_slice({name}, {row(starts)}, {lengths})"
            value = f"jnp.where({' & '.join(tests)}, {value}, {old})"
        return f"lax.dynamic_update_slice({name}, {value}, {row(starts)})"

    def lengths(self, part: Slice) -> tuple[int, ...]:
        shape = self.found.kept(part.tensor)
        sized = zip(part.axes, shape, strict=True)
        return tuple(1 if isinstance(a, At) else a.length if isinstance(a, Span) else n for a, n in sized)

    def starts(self, part: Slice, writes: bool = False) -> tuple[list[str], list[tuple[tuple[str, str], int]]]:
        """Code of where a slice begins, inside of its axes; and for axes that it may lie outside of, code of whether
        it lies inside and of what is read where it does not.
        """
        shape, starts, inside = self.found.shapes[part.tensor], list[str](), list[tuple[tuple[str, str], int]]()
        for k, (axis, size) in enumerate(zip(part.axes, shape, strict=True)):
            code, test = self.begin(part, k, axis, size, writes)
            if test is not None:
                inside.append((test, k))
            length = self.found.modulo(part.tensor, k)
            if length is not None:
                code = f"({code}) % {length}"
            starts.append(f"jnp.asarray({code}, {self.w.kind('int64')})")
        return starts, inside

    def begin(self, part: Slice, k: int, axis: Axis, size: int, writes: bool) -> tuple[str, tuple[str, str] | None]:
        top = max(size - 1, 0)
        match axis:
            case None:
                return "0", None
            case Span(start=start):
                return self.expr(start), None
            case At(position=Boundary(kind="pad") as s):
                low = "" if s.lo is None or s.lo == Const(0) else f" - {self.expr(s.lo)}"
                code = self.w.let("at", f"jnp.asarray({self.said(axis, size)}{low}, {self.w.kind('int64')})")
                value = self.filled(fill(s, self.found.stored(part.tensor)))
                return f"jnp.clip({code}, 0, {top})", (f"({code} >= 0) & ({code} < {size})", value)
            case At(position=Boundary(kind=kind)):
                turn = {"wrap": size, "reflect": 2 * top}.get(kind, 0)
                code = self.said(axis, size, max(turn, 1) if kind != "clamp" else 0)
                if kind == "clamp":
                    return f"jnp.clip({code}, 0, {top})", None
                if kind == "wrap" or size == 1:
                    return f"{code} % {size}", None
                return f"{top} - abs({top} - {code} % {2 * top})", None
            case At(position=e, masks=masks):
                assert not isinstance(e, Boundary)
                code, reach = self.said(axis, size), positions(axis, self.open)
                if reach is not None and reach[0] >= 0 and reach[1] < size:
                    return code, None
                code = self.w.let("at", f"jnp.asarray({code}, {self.w.kind('int64')})")
                test = f"({code} >= 0) & ({code} < {size})"
                if reach is None:
                    self.check(part, k, e, code, test, masks or self.masks)
                    return f"jnp.clip({code}, 0, {top})", (test, _nothing(self.found.stored(part.tensor)))
                return f"jnp.clip({code}, 0, {top})", (test, "0") if writes else None  # where a mask refuses it

    def check(self, part: Slice, k: int, e: Expr, code: str, test: str, masks: Sequence[Expr]) -> None:
        """Tell of a position of data that lies outside, where masks do not refuse it."""
        bad = " & ".join([f"~({test})", *self.held(masks)])
        self.checks.append(self.bind("found", f"(jnp.asarray({bad}), {code})"))
        self.places.append((access_of(part, k, e), k))

    def held(self, masks: Sequence[Expr]) -> list[str]:
        """Code of whether conditions hold, each asked where those before it do."""
        found, before = [], self.masks
        for k, mask in enumerate(masks):
            self.masks = tuple(masks[:k])
            found.append(self.code(truth(mask, self.found.stored, self.found.shapes), True))
        self.masks = before
        return found

    def filled(self, value: Any) -> str:
        """Code of a number of NumPy as one of jax, which may have no more than 32 bits."""
        dtype = value.dtype.name
        if dtype in ("int64", "uint64") and int(value) in (np.iinfo(dtype).min, np.iinfo(dtype).max) and value != 0:
            return f"jnp.asarray(jnp.iinfo({self.w.kind(dtype)}).{'min' if value < 0 else 'max'}, {self.w.kind(dtype)})"
        item = value.real.item() if value.dtype.kind == "c" else value.item()
        return f"jnp.asarray({number(item)}, {self.w.kind(dtype)})"

    # -- positions -----------------------------------------------------------------------------

    def said(self, axis: At, size: int, turn: int = 0) -> str:
        """Code of a position: arithmetic on what data say does not wrap; of its remainder by `turn` if that is all."""
        before, self.masks = self.masks, axis.masks or self.masks
        e = axis.position.expr if isinstance(axis.position, Boundary) else axis.position
        node = typed(e, self.found.stored, self.found.shapes)
        code = self.remainder(node, turn) if turn else self.near(node, size)
        self.masks = before
        return code

    def near(self, node: Node, size: int) -> str:
        """Code of a position, what data say no further away than that its arithmetic holds."""
        match node:
            case Do(fn="whole" | "int", args=(a,)) if a.kind.kind != "bool":
                unsigned = a.kind.name in ("uint32", "uint64")  # of which the greatest are no int64, or no int32
                inner = f"jnp.asarray({self.code(a)}, {self.w.kind('uint64')})" if unsigned else self.code(node)
                return f"{self.w.use('near')}({inner}, {size})"
            case Do(fn=fn, args=args) if fn in _SHORTENED:
                return self.applied(node, [self.near(a, size) for a in args], True)
            case _:
                return self.code(node, True)

    def remainder(self, node: Node, turn: int) -> str:
        """Code of a number that has the same remainder by `turn` as a position."""
        match node:
            case Do(fn="add" | "sub" | "mul" | "neg", args=args):
                return f"({self.applied(node, [self.remainder(a, turn) for a in args], True)} % {turn})"
            case Do(fn="whole", args=(a,)) if a.kind.name in ("uint32", "uint64"):
                return f"jnp.asarray({self.code(a)} % {turn}, {self.w.kind('int64')})"
            case _:
                return f"({self.code(node, True)} % {turn})"

    def expr(self, expr: Expr) -> str:
        """Code of what steps say."""
        return self.code(typed(expr, self.found.stored, self.found.shapes), True)

    def code(self, node: Node, tight: bool = False) -> str:
        """Code of a number, of no axes."""
        match node:
            case Number(value=value):
                return number(value)
            case Step(name=name):
                return self.steps[name]
            case Read(access=Access(tensor=tensor, subscripts=subscripts)):
                return self.taken(Slice(tensor, tuple(At(s) for s in subscripts if isinstance(s, Expr | Boundary))))
            case Do(fn=fn, args=args):
                return self.applied(node, [self.code(a, fn in _INFIX or fn == "neg") for a in args], tight)

    def applied(self, node: Do, args: Sequence[str], tight: bool) -> str:
        """Code of a function of arguments."""
        fn, kind, w = node.fn, node.kind, self.w
        match fn:
            case "neg":
                return f"(-{args[0]})"
            case "whole" if node.args[0].kind.name == "uint64":
                return f"jnp.minimum({args[0]}, jnp.iinfo({w.kind('int64')}).max).astype({w.kind('int64')})"
            case "whole" | "float":
                return f"jnp.asarray({args[0]}, {w.kind(kind.name)})"
            case "int":
                return f"{w.use('whole')}({args[0]}, {w.kind('int64')})"
            case "floordiv" | "mod" if kind.kind == "int":
                divisor = node.args[1]
                if not (isinstance(divisor, Number) and divisor.value != 0):
                    return f"{w.use('quotient' if fn == 'floordiv' else 'remainder')}({', '.join(args)})"
            case _:
                pass
        if fn in _FUNCTIONS:
            return f"jnp.{_FUNCTIONS[fn]}({', '.join(args)})"
        assert fn in _INFIX, f"a step computes nothing but what is counted: {node}"
        code = f"{args[0]} {_INFIX[fn]} {args[1]}"
        return f"({code})" if tight else code


def _used(stage: Repeat) -> Iterator[str]:
    """The tensors that the stages of a block take slices of, or ask for positions."""
    for call in calls(stage.stages):
        for _, part in (*call.takes, *call.gives):
            if isinstance(part, Slice):
                yield part.tensor
                yield from (t for axis in part.axes for t in read_in(axis))


def _nothing(dtype: str) -> str:
    return "jnp.nan" if dtype.startswith(("float", "complex")) else "0"
