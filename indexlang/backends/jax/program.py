"""A Program without blocks as the source of one function of jax arrays.

In: a Program, sizes and dtypes. Out: `Lowered`. The one rule: what is printed is what runs; it needs nothing but jax.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from ...errors import NAMED, Problem, ShapeError, within_depth
from ...plan.blocks import itemsize
from ...plan.building import Building
from ...plan.evaluation import Evaluation
from ...plan.limits import XLA, Limits
from ...plan.planning import countable, record
from ...plan.record import Record, told
from ...plan.rewrites.cancel import cancel
from ...plan.rewrites.choices import running
from ...plan.rewrites.guards import ways
from ...plan.sized import Sized
from ...program.ir import Access, Program
from ...program.text import dim_names, statement_text
from ...rewrite.hoist import hoist
from ...rewrite.scoped import as_written
from ...sizes import dtypes as kinds
from ...sizes import ranks, shapes
from .functions import SUPPORT
from .lines import INDENT, Arr, Lines
from .reading import read
from .scope import Around
from .statements import statement

_CALLS = {name: [other for other in SUPPORT if other != name and f"{other}(" in text] for name, text in SUPPORT.items()}
RESERVED = frozenset(("jax", "jnp", "lax", "np", "PRECISION", "WIDE", "run", "checked", *SUPPORT))
RESERVED |= {"int64", "uint64", "float64", "complex128", "functools", "abs", "min", "max", "range", "int", "float"}


@dataclass(frozen=True, repr=False)
class Lowered:
    """What runs of a program: a function as text, that gives its outputs and, for each of `places`, whether a position
    there left its axis and which one it was. `support` are the small functions that it calls.
    """

    text: str
    support: tuple[str, ...]
    inputs: tuple[tuple[str, str], ...]  # with their dtypes
    outputs: tuple[tuple[str, None, str], ...]  # with the dtypes in which they are delivered, as those of a Plan
    places: tuple[tuple[Access, int], ...]
    steps: tuple[Record, ...]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    warnings: tuple[Problem, ...] = ()
    limits: Limits = XLA
    decided: tuple[str, ...] = ()  # tensors that are given behind the outputs, for `orders` to look at
    orders: Callable[..., None] | None = None  # refuses steps that read too early, where only data tell
    shown: str = ""  # what is told of it, where that is not statement by statement

    @property
    def workspace(self) -> int:
        """Bytes of all tensors: how many of them are there at once XLA decides."""
        return sum(prod(shape) * itemsize(self.dtypes[t]) for t, shape in self.shapes.items())

    def __repr__(self) -> str:
        made = ", ".join(f"{name}{list(self.shapes.get(name, ()))}" for name, _, _ in self.outputs)
        return f"<Plan of {made} for jax; print() shows it>"

    def __str__(self) -> str:
        return self.shown or told(self.steps, self.shapes, self.dtypes, self.workspace)


@within_depth(ShapeError, NAMED)
def lowered(
    program: Program,
    sizes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    name: str = "compute",
    exact: Collection[str] = (),
    half: str = "float16",
) -> Lowered:
    """The function of a program at these sizes and dtypes. Errors: `ShapeError`, the same as on every backend.

    `exact` are outputs that are not rounded to the type they would be delivered in; `half` is what has 16 bits.
    """
    expanded = ranks.expand(program, {n: len(shape) for n, shape in sizes.items()})
    countable(expanded, XLA)
    written = shapes.infer(expanded, sizes)
    flat = running(hoist(expanded))
    known = written if flat is expanded else shapes.infer(flat, sizes, rewritten=True)
    typed = kinds.infer(flat, dtypes)
    way = next(iter(ways(flat)))
    if not way.finite:
        return _Lowering(*cancel(flat, known), typed, name, half).lowered(program.outputs, exact, written.warnings)
    guarded = _Lowering(*cancel(flat, known), typed, f"{name}_guarded", half).lowered(program.outputs, exact, ())
    known, typed = shapes.infer(way.program, sizes, rewritten=True), kinds.infer(way.program, dtypes)
    bare = _Lowering(*cancel(way.program, known), typed, f"{name}_bare", half)
    wanted = tuple(dict.fromkeys((*program.outputs, *way.finite)))
    return _either(name, program.outputs, way.finite, bare.lowered(wanted, exact, written.warnings), guarded)


def _either(name: str, outputs: Sequence[str], finite: Collection[str], bare: Lowered, guarded: Lowered) -> Lowered:
    """What runs without guards of poles, and where its results are not finite once more, with them."""
    there = [tensor for tensor, _, _ in bare.outputs]
    tests = " & ".join(f"jnp.all(jnp.isfinite(found[{there.index(t)}]))" for t in finite)
    lines = (
        f"def {name}(*inputs):",
        f"    found, checks = {name}_bare(*inputs)",
        f"    results = {row([f'found[{there.index(t)}]' for t in outputs])}",
        f"    return lax.cond({tests}, lambda: results, lambda: {name}_guarded(*inputs)[0]), checks",
    )
    text = "\n\n".join((guarded.text, bare.text, "\n".join(lines) + "\n"))
    support = tuple(dict.fromkeys((*bare.support, *guarded.support)))
    return replace(bare, text=text, support=support, outputs=bare.outputs[: len(outputs)])


class _Lowering:
    """The statements, one after the other."""

    def __init__(self, program: Program, known: shapes.Shapes, typed: kinds.Types, name: str, half: str) -> None:
        self.program, self.known, self.typed, self.half, self.name = program, known, typed, half, name
        self.w = Lines(taken={*RESERVED, name}, depth=1)
        storage = {t: kinds.computing(d) for t, d in typed.tensors.items()}
        self.b = Building(dict(known.tensors), storage, XLA, typed.weak)
        self.arrays = {t: self.w.fresh(t) for t in program.inputs}
        self.names = tuple(self.arrays.values())
        self.stored = {t: typed.tensors[t] for t in program.inputs if typed.tensors[t] != "float16"}
        self.checks: list[tuple[str, str, Access, int]] = []
        self.records: list[Record] = []

    def lowered(self, outputs: Sequence[str], exact: Collection[str], warnings: tuple[Problem, ...]) -> Lowered:
        w = self.w
        for tensor in self.program.inputs:
            if self.typed.tensors[tensor] == "float16":
                self.arrays[tensor] = w.let(tensor, f"{self.arrays[tensor]}.astype(jnp.float32)")
        dims = dim_names(self.program)
        parts = zip(self.program.statements, self.known.extents, self.typed.compute, self.known.guarded, strict=True)
        for stmt, extents, compute, guarded in parts:
            sized = Sized(stmt, extents, self.typed.tensors[stmt.target.tensor], compute, guarded)
            way = self.statement(sized)
            self.records.append(record(stmt, statement_text(as_written(stmt), dims), way, sized, self.b, 0))
        results, types = [], []
        for tensor in outputs:
            dtype = self.b.dtypes[tensor] if tensor in exact else self.typed.tensors[tensor]
            results.append(self.delivered(tensor, dtype))
            types.append((tensor, None, dtype))
        checks = [code for code, *_ in self.checks]
        w.line(f"return {row(results)}, {row(checks)}")
        return Lowered(
            self.text(),
            tuple(w.support),
            tuple((t, self.typed.tensors[t]) for t in self.program.inputs),
            tuple(types),
            tuple((access, axis) for *_, access, axis in self.checks),
            tuple(self.records),
            {t: s for t, s in self.known.tensors.items()},
            dict(self.typed.tensors),
            warnings,
        )

    def statement(self, sized: Sized) -> str:
        """A statement; its kernel in words."""
        w, stmt, b = self.w, sized.stmt, self.b
        tensor = stmt.target.tensor
        ev = Evaluation(b, sized)
        inside = () if ev.root is None else ev.root.domain.indices
        order = tuple(dict.fromkeys((*stmt.domain.indices, *inside)))
        a = Around(w, b, self.arrays, order, sized.extents, b.masks, {}, self.checks, read=read, exact=self.stored)
        code, way = statement(a, ev, self.arrays.get(tensor))
        self.arrays[tensor] = w.let(tensor, code)
        return way

    def delivered(self, tensor: str, dtype: str) -> str:
        """Code of an output in its dtype."""
        found = Arr(self.arrays[tensor], (), self.stored.get(tensor, self.b.dtypes[tensor]))
        if dtype == "float16":
            return f"{found.code}.astype(jnp.{self.half})"
        return self.w.cast(found, dtype).code

    def text(self) -> str:
        """The source of the function."""
        lines = [f"def {self.name}({', '.join(self.names)}):"]
        lines += [f"{INDENT}{dtype} = jax.dtypes.canonicalize_dtype({dtype!r})" for dtype in self.w.wide]
        return "\n".join([*lines, *self.w.lines]) + "\n"


def row(names: Sequence[str]) -> str:
    """A tuple of expressions."""
    return f"({', '.join(names)}{',' * (len(names) == 1)})"


def module(functions: Sequence[str], support: Collection[str], precision: str = "highest") -> str:
    """The source of functions, and of all that they call."""
    needed = set(support)
    while more := {other for name in needed for other in _CALLS[name]} - needed:
        needed |= more
    parts = ["import jax\nimport jax.numpy as jnp\nfrom jax import lax\n", f"PRECISION = {precision!r}\n"]
    parts += [text for name, text in SUPPORT.items() if name in needed]
    return "\n\n".join([*parts, *functions])
