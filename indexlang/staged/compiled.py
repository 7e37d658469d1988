"""Programs with blocks compiled: their pieces by a backend, and a driver that goes through the steps.

In: a Program, sizes and dtypes, a backend's way to compile. Out: `Compiled`. The one rule: what runs them looks like
what runs any other program.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.native.making import Made
from ..backends.numpy.code import Name
from ..backends.numpy.load import Compiled, Guarded, Run, afford
from ..backends.numpy.load import checking as looked_through
from ..backends.numpy.names import Writer
from ..plan.limits import NUMPY, Limits
from ..plan.plan import Plan
from ..plan.record import Record
from ..program.ir import Access, Index, Program, Subscript
from ..program.rebuild import transform
from ..program.verify import verify
from .cutting import staged
from .driver import Source, checking, piece, repeating
from .emitting import printed
from .once import Both, look_once
from .order import Pair, look
from .pieces import forms
from .repeated import PieceRefusedError, Steps, orders_of, repeated
from .stages import At, Call, Now, One, Repeat, Slice, Staged, calls
from .told import text, told


@dataclass(frozen=True, repr=False)
class StagedPlan:
    """What runs of a program with blocks: its stages, and the plan of each piece in its order."""

    staged: Staged
    plans: tuple[Plan, ...]

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of all tensors."""
        return self.staged.shapes

    @property
    def dtypes(self) -> Mapping[str, str]:
        """In which they are delivered."""
        return self.staged.dtypes

    @property
    def outputs(self) -> tuple[tuple[str, None, str], ...]:
        """The results, and the types in which they are delivered."""
        return tuple((tensor, None, dtype) for tensor, dtype in self.staged.outputs)

    @property
    def steps(self) -> tuple[Record, ...]:
        """What is told of the statements of all pieces, their work for all steps together."""
        return tuple(record for one in told(self.staged, self.plans) for record in one.records)

    @property
    def workspace(self) -> int:
        """Bytes of tensors and of the most that a piece needs."""
        shared = sum(int(np.prod(b.kept)) * np.dtype(b.dtype).itemsize for b in self.staged.buffers)
        return shared + max((p.workspace for p in self.plans), default=0)

    @property
    def limits(self) -> Limits:
        """Those that its pieces were made for."""
        return next((plan.limits for plan in self.plans), NUMPY)

    def printed(self, w: Writer, name: Name, looks: bool) -> list[str]:
        """Functions that do the same, for a module that stands alone. Errors: `MeaningError`."""
        return printed(w, name, self.staged, self.plans, looks)

    def __repr__(self) -> str:
        made = ", ".join(f"{name}{list(self.shapes.get(name, ()))}" for name, _, _ in self.outputs)
        return f"<StagedPlan of {made} in {len(self.plans)} pieces; print() shows them>"

    def __str__(self) -> str:
        return text(self.staged, self.plans, self.workspace)


def compiled(
    compiles: Callable[..., Compiled],
    program: Program,
    sizes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    exact: Collection[str],
    limits: Limits,
) -> Compiled:
    """A program with blocks, its pieces compiled by a backend, which INDEXLANG_VERIFY=1 has looked through. Errors:
    `ShapeError`.
    """
    found, warnings = staged(program, sizes, dtypes)
    if looked_through():
        for call in calls(found.stages):
            verify(call.program)
    made = [compiles(c.program, *forms(c, found), exact=c.program.outputs, limits=limits) for c in calls(found.stages)]
    if exact:
        outputs = tuple((t, found.stored(t) if t in exact else d) for t, d in found.outputs)
        found = replace(found, outputs=outputs, dtypes={**found.dtypes, **{t: found.stored(t) for t in exact}})
    shown = StagedPlan(found, tuple(m.plan for m in made))
    afford(shown.workspace)
    steps = _in_one_call(found, made)
    run = _loaded(found, made, steps)
    if steps:
        run = _telling(run, lambda: _loaded(found, made, {}))
    return Compiled(run, shown, warnings)  # type: ignore[arg-type]


def _loaded(found: Staged, made: Sequence[Compiled], steps: Mapping[int, Steps]) -> Run:
    """What runs the stages: `steps` are blocks that are one call, the others go piece by piece."""
    source = Source(found, orders=orders_of(found) if steps else {}, steps={k: s.tensors for k, s in steps.items()})
    namespace: dict[str, Any] = {"__name__": "indexlang.generated"}
    namespace |= {repeating(k): one for k, one in steps.items()}
    code = source.text()
    pieces = zip(calls(found.stages), made, strict=True)
    namespace |= {piece(k): _by_name(one.run, call, found) for k, (call, one) in enumerate(pieces)}
    namespace |= {checking(k): _looking(check, found) for k, check in enumerate(found.checks)}
    exec(compile(code, "<generated by indexlang>", "exec"), namespace)  # made of numbers and names of our own
    return Guarded(namespace["run"], tuple(source.places), found.shapes)


def _by_name(run: Run, call: Call, found: Staged) -> Run:
    """What runs a piece, its errors about tensors of the program."""
    if not isinstance(run, Guarded):
        return run
    places = tuple(_whole(access, axis, dict((*call.takes, *call.parts))) for access, axis in run.places)
    return replace(run, places=places, known={**run.known, **found.shapes})


def _whole(access: Access, number: int, parts: Mapping[str, Slice | Now | One]) -> tuple[Access, int]:
    """An access of a piece as one of the program, and an axis of the one as that of the other."""

    def named(node: Subscript) -> Subscript | None:
        match node:
            case Access(tensor=tensor, subscripts=subscripts, span=span) if tensor in parts:
                part = parts[tensor]
                if isinstance(part, Now):
                    return Index(part.index)
                if isinstance(part, One):
                    return None
                inside = iter([transform(s, named) for s in subscripts])
                axes = tuple(a.position if isinstance(a, At) else next(inside) for a in part.axes)
                return Access(part.tensor, axes, span)
            case _:
                return None

    found, part = named(access), parts.get(access.tensor)
    if not isinstance(found, Access) or not isinstance(part, Slice):
        return access, number
    return found, [k for k, axis in enumerate(part.axes) if not isinstance(axis, At)][number]


def _telling(run: Run, piecewise: Callable[[], Run]) -> Run:
    """What runs; where a piece refuses to go on in the middle of a call, it says why when it is called by itself."""

    def told(*arrays: NDArray[Any]) -> Any:
        try:
            return run(*arrays)
        except PieceRefusedError:
            piecewise()(*arrays)
            raise

    return told


def _looking(check: Pair | Both, found: Staged) -> Callable[..., None]:
    """The function of a check, of the tensors that decide."""
    if isinstance(check, Pair):
        return partial(look, check, found.shapes)
    return partial(look_once, check, found.shapes)


def _in_one_call(found: Staged, made: Sequence[Compiled]) -> dict[int, Steps]:
    """The blocks that native code goes through by itself, by the numbers of their stages."""
    wholes = dict(zip(map(id, calls(found.stages)), made, strict=True))
    if not any(isinstance(m.whole, Made) for m in made):
        return {}
    steps: dict[int, Steps] = {}
    for number, stage in enumerate(found.stages):
        if isinstance(stage, Repeat):
            own = {id(c): w if isinstance(w := wholes[id(c)].whole, Made) else None for c in calls(stage.stages)}
            one = repeated(stage, found, own, orders_of(found))
            if one is not None:
                steps[number] = one
    return steps
