"""What is told of a program with blocks as it runs: of each statement of a piece which steps it runs in, over what.

In: stages, the plan of each piece. Out: records. The one rule: work is counted for all steps, kernels are those of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

from ..plan.plan import Plan
from ..plan.record import Record
from ..program.blocks import Steps
from ..program.text import expr_text
from .stages import At, Axis, Call, Now, One, Repeat, Slice, Span, Stage


def records(stages: Sequence[Stage], plans: Sequence[Plan]) -> tuple[Record, ...]:
    """The records of all pieces, in their order, numbered through."""
    found: list[Record] = []
    for (call, around), plan in zip(_calls(stages, ()), plans, strict=True):
        before = len(found)
        for record in plan.steps:
            kernel = re.sub(r"(?<=together with )\d+", lambda m, n=before: str(int(m[0]) + n), record.kernel)  # type: ignore[misc]
            found.append(replace(_in_steps(record, call, around), kernel=kernel))
    return tuple(found)


def _calls(stages: Sequence[Stage], around: tuple[Repeat, ...]) -> Iterator[tuple[Call, tuple[Repeat, ...]]]:
    for stage in stages:
        if isinstance(stage, Call):
            yield stage, around
        else:
            yield from _calls(stage.stages, (*around, stage))


def _in_steps(record: Record, call: Call, around: Sequence[Repeat]) -> Record:
    """A record of one step as that of all: how often, and what its slices are."""
    steps: Steps = tuple(extent for stage in around for extent in stage.extents)
    times = prod(hi - lo for _, (lo, hi) in steps)
    heads = [f"for {_line(stage)}: " for stage in around]
    names = {name: _part(part) for name, part in (*call.takes, *call.gives)}
    there = [name for name in re.findall(r"[\w.]+", record.statement) if names.get(name, name) != name]
    what = ", ".join(f"{name} is {names[name]}" for name in dict.fromkeys(there))
    text = "".join(heads) + record.statement + (f"; {what}" if what else "")
    work = {"flops": times * record.flops, "moved": times * record.moved, "planned": times * record.planned}
    return replace(record, statement=text, extents=(*steps, *record.extents), **work)  # type: ignore[arg-type]


def _line(stage: Repeat) -> str:
    runs = [f"{lo} <= {i} < {hi}" if lo else f"{i} < {hi}" for i, (lo, hi) in stage.extents]
    return ", ".join(runs) + (" reversed" if stage.block.reverse else "")


def _part(part: Slice | Now | One) -> str:
    """A slice as text: one position, some from a first one on, or all."""
    match part:
        case Now(index=index):
            return index
        case One():
            return "1"
        case Slice(tensor=tensor, axes=axes):
            return tensor if part.whole else f"{tensor}[{','.join(map(_axis, axes))}]"


def _axis(axis: Axis) -> str:
    match axis:
        case None:
            return ":"
        case At(position=position):
            return expr_text(position).replace(" ", "")
        case Span(start=start, length=length):
            return f"{expr_text(start)}:{expr_text(start)}+{length}"
