"""The results of a tile of a contraction: what becomes of the sums in registers.

In: a `Tiling`, its sums. Out: statements. The one rule: steps of the epilogue see a sum that is whole, and only where
it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from . import functions
from .contraction_form import Operand
from .contraction_tiling import Plan, Position, Tiling, zero
from .nest import Form, Literal, Type
from .normal_form import TARGET
from .operations import OPERATIONS
from .packs import Access

Held = str | Literal
Argument = str | Operand | Literal | float


@dataclass(frozen=True)
class Result:
    """A register with results of a position: which vector of it, how many lanes, of which so many are live (0 all)."""

    position: Position
    vector: int
    value: str
    lanes: int
    live: int


@dataclass(frozen=True)
class Results:
    """Results being written."""

    tiling: Tiling
    sums: Mapping[tuple[Position, int], str]

    def write(self) -> None:
        """The results of all positions, with one branch for all of them where it depends on the chunk what they are."""
        plan, w = self.tiling.plan, self.tiling.w
        results = [r for p in self.tiling.positions for r in self._of(p)]
        if plan.contraction.op != "=":
            fn = "sub" if plan.contraction.op == "-=" else "add"
            results = [replace(r, value=w.apply(fn, self._old(r), r.value)) for r in results]
        elif self.tiling.chunks:  # nothing is there before the first one
            with w.when(sum((chunk for chunk, _ in self.tiling.chunks.values()), Form(-1))):
                for r in results:
                    w.apply("add", self._old(r), r.value, register=r.value)
        if not self.tiling.chunks or not (plan.contraction.epilogue or plan.contraction.results):
            for r in results:
                self._finish(r.position, r.vector, r.value, r.lanes, r.live)
            return
        with w.apart() as whole:
            for r in results:
                self._finish(r.position, r.vector, r.value, r.lanes, r.live)
        with w.apart() as part:
            for r in results:
                self._put(plan.accesses[TARGET], r.value, self._home(r), r.lanes, r.live)
        w.otherwise(_last(plan, self.tiling.chunks), whole, part)

    def _of(self, p: Position) -> Iterator[Result]:
        """The results of a position as they stand in registers."""
        tile, w = self.tiling.plan.tile, self.tiling.w
        if tile.dot:
            whole = self.sums[p, 0]
            for u in range(1, self.tiling.wide):
                whole = w.apply("add", whole, self.sums[p, u])
            one = w.apply("total", whole, kind=Type(self.tiling.plan.contraction.dtype)) if tile.lanes > 1 else whole
            yield Result(p, 0, self._masked(p, 0, one, 1), 1, 0)
            return
        for u in range(self.tiling.wide):
            live = self.tiling.shape.live if u == self.tiling.wide - 1 else 0
            yield Result(p, u, self._masked(p, u, self.sums[p, u], tile.lanes), tile.lanes, live)

    def _home(self, r: Result) -> Form:
        return self.tiling.place(self.tiling.plan.accesses[TARGET], r.position, r.vector * r.lanes)

    def _old(self, r: Result) -> str:
        """What the target has before."""
        access = self.tiling.plan.accesses[TARGET]
        step = access.lane if r.lanes > 1 else 1
        return self.tiling.cast(self.tiling.w.read(access.array, self._home(r), r.lanes, step, r.live))

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
