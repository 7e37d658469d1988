"""The results of a tile of a contraction: what becomes of the sums in registers.

In: a `Tiling`, its sums. Out: statements. The one rule: steps of the epilogue see a sum that is whole, and only where
it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import functions
from .contraction_form import Operand
from .contraction_tiling import Plan, Position, Tiling, zero
from .nest import Form, Literal, Read, Type
from .normal_form import TARGET
from .operations import OPERATIONS
from .packs import Access

Held = str | Literal
Argument = str | Operand | Literal | float


@dataclass(frozen=True)
class Results:
    """Results being written."""

    tiling: Tiling
    sums: Mapping[tuple[Position, int], str]

    def write(self, p: Position) -> None:
        """The results of a position."""
        tile, w = self.tiling.plan.tile, self.tiling.w
        if tile.dot:
            whole = self.sums[p, 0]
            for u in range(1, self.tiling.wide):
                whole = w.apply("add", whole, self.sums[p, u])
            one = w.apply("total", whole, kind=Type(self.tiling.plan.contraction.dtype)) if tile.lanes > 1 else whole
            self._store(p, 0, one, 1, 0)
            return
        for u in range(self.tiling.wide):
            live = self.tiling.shape.live if u == self.tiling.wide - 1 else 0
            self._store(p, u, self.sums[p, u], tile.lanes, live)

    def _store(self, p: Position, u: int, value: str, lanes: int, live: int) -> None:
        plan, w = self.tiling.plan, self.tiling.w
        access = plan.accesses[TARGET]
        at = self.tiling.place(access, p, u * lanes)
        value = self._masked(p, u, value, lanes)
        last = _last(plan, self.tiling.chunks)
        if plan.contraction.op != "=" or self.tiling.chunks:
            old = self._old(at, lanes, live)
            value = w.apply("sub" if plan.contraction.op == "-=" else "add", old, value)
        c = plan.contraction
        if not self.tiling.chunks or not (c.epilogue or c.results):
            self._finish(p, u, value, lanes, live)
            return
        with w.apart() as whole:
            self._finish(p, u, value, lanes, live)
        with w.apart() as part:
            self._put(access, value, at, lanes, live)
        w.otherwise(last, whole, part)

    def _old(self, at: Form, lanes: int, live: int) -> str:
        """What the target has before; nothing in the first chunk of `=`."""
        plan, w = self.tiling.plan, self.tiling.w
        access = plan.accesses[TARGET]
        step = access.lane if lanes > 1 else 1
        if plan.contraction.op != "=":
            return self.tiling.cast(w.read(access.array, at, lanes, step, live))
        kind = Type(access.array.dtype, lanes)
        old = w.apply("same", w.number(zero(kind.dtype), kind.dtype, lanes), kind=kind, hint="old")
        later = Form(-1)
        for chunk, _ in self.tiling.chunks.values():
            later = later + chunk
        with w.when(later):
            w.set(Read(access.array, at, lanes, step, live), register=old)
        return self.tiling.cast(old)

    def _finish(self, p: Position, u: int, value: Held, lanes: int, live: int) -> None:
        """A sum through the steps of the epilogue, and written."""
        plan, known = self.tiling.plan, dict[Argument, Held]({"sum": value})
        for step in plan.contraction.epilogue:
            args = [self._argument(arg, known, p, u, lanes, live) for arg in step.args]
            kind = Type(step.dtype, lanes) if step.dtype else None
            if step.fn in OPERATIONS:
                value = self.tiling.w.apply(step.fn, *args, kind=kind)
            else:
                value = functions.call(self.tiling.w, step.fn, args, kind or self.tiling.w.type_of(args[0]))
            known[step.name] = value
        if not plan.contraction.results:
            access = plan.accesses[TARGET]
            self._put(access, value, self.tiling.place(access, p, u * lanes), lanes, live)
        for name, operand in plan.contraction.results:
            access = self._access(operand)
            self._put(access, known[name], self.tiling.place(access, p, u * lanes), lanes, live)

    def _access(self, operand: Operand) -> Access:
        plan = self.tiling.plan
        return plan.accesses[plan.normal.views.index(operand, 3)]

    def _put(self, access: Access, value: Held, at: Form, lanes: int, live: int) -> None:
        dtype = access.array.dtype
        held = value if isinstance(value, Literal) else self.tiling.cast(value, dtype)
        self.tiling.w.write(access.array, at, held, access.lane if lanes > 1 else 1, live)

    def _argument(self, arg: Argument, known: dict[Argument, Held], p: Position, u: int, lanes: int, live: int) -> Held:
        """What a step of the epilogue takes: each element is read once."""
        if isinstance(arg, int | float):
            return self.tiling.w.number(arg, self.tiling.plan.contraction.dtype, lanes)
        if isinstance(arg, Literal):
            return Literal(arg.value, Type(arg.type.dtype, lanes))
        if isinstance(arg, Operand) and arg not in known:
            known[arg] = self._read(self._access(arg), p, u, lanes, live)
        return known[arg]

    def _read(self, access: Access, p: Position, u: int, lanes: int, live: int) -> str:
        w, at = self.tiling.w, self.tiling.place(access, p, u * lanes if access.lane else 0)
        if lanes > 1 and access.lane:
            return w.read(access.array, at, lanes, access.lane, live)
        one = w.read(access.array, at)
        return one if lanes == 1 else w.apply("spread", one, kind=Type(access.array.dtype, lanes))

    def _masked(self, p: Position, u: int, value: str, lanes: int) -> str:
        """A sum, or 0 where a bound refuses its result."""
        w, dtype = self.tiling.w, self.tiling.plan.contraction.dtype
        for bound in self.tiling.plan.normal.masks:
            there = self.tiling.there(bound, p, u, lanes)
            value = w.apply("select", there, value, w.number(zero(dtype), dtype, lanes))
        return value


def _last(plan: Plan, chunks: Mapping[str, tuple[Form, int]]) -> Form:
    """Not negative in the last chunk of all."""
    found = Form(0)
    for axis, (at, size) in chunks.items():
        found = found + at - (-(-plan.normal.axis(axis).n // size) - 1)
    return found
