"""What is told of stages: each statement as it runs, how often, and what all of it adds up to.

In: `Staged`, the plan of each piece in its order. Out: text, records. The one rule: a step is counted as often as its
block goes through it, conditions of inner blocks aside: so often at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Protocol

from ..plan.plan import Plan
from ..plan.record import Record, amount
from ..program.ir import Block
from ..program.text import expr_text
from .stages import At, Axis, Call, Slice, Span, Staged, placed

INDENT = "   "
_OTHER = re.compile(r"(together with )(\d+)\.")  # the number of another statement of the piece


class Planned(Protocol):
    """What is told of a piece."""

    @property
    def steps(self) -> tuple[Record, ...]: ...


@dataclass(frozen=True)
class Told:
    """A piece, its plan, and the blocks around it with how far they run."""

    call: Call
    plan: Planned
    around: tuple[tuple[Block, tuple[tuple[str, tuple[int, int]], ...]], ...]

    @property
    def times(self) -> int:
        """How often it runs at most."""
        return prod(max(hi - lo, 0) for _, extents in self.around for _, (lo, hi) in extents)

    @property
    def records(self) -> tuple[Record, ...]:
        """What is told of its statements, of all times together."""
        n = self.times
        return tuple(replace(r, flops=r.flops * n, moved=r.moved * n, planned=r.planned * n) for r in self.plan.steps)


def told(staged: Staged, plans: Sequence[Planned]) -> tuple[Told, ...]:
    """The pieces in the order in which they first run."""
    left = iter(plans)
    found = placed(staged.stages)
    return tuple(Told(call, next(left), tuple((r.block, r.extents) for r in path)) for call, path in found)


def text(staged: Staged, plans: Sequence[Planned], workspace: int) -> str:
    """The statements one by one under the lines of their blocks, the tensors, and the totals."""
    lines, flops, number = list[str](), 0, 0
    open_: tuple[Block, ...] = ()
    for one in told(staged, plans):
        path = tuple(block for block, _ in one.around)
        for level, heading in enumerate(headings(one)):
            if path[: level + 1] != open_[: level + 1]:
                lines.append(INDENT * level + heading)
        open_, indent = path, INDENT * len(path)
        first = number
        for each, record in zip(one.plan.steps, one.records, strict=True):
            number += 1
            each = replace(each, kernel=_OTHER.sub(lambda m: f"{m[1]}{int(m[2]) + first}.", each.kernel))  # noqa: B023
            lines += [indent + line for line in _statement(number, each, record, one.times if path else 0)]
            flops += record.flops
        if path and (slices := ", ".join(_slices(one.call))):
            lines.append(f"{indent}   slices   {slices}")
    lines.append(f"tensors   {', '.join(f'{t}{list(s)} {staged.dtypes[t]}' for t, s in staged.shapes.items())}")
    lines.append(f"total     {amount(flops, 'flop')}, {amount(workspace, 'B')} of tensors and workspace at most")
    return "\n".join(lines)


def headings(one: Told) -> list[str]:
    """The lines of the blocks around a piece: their indices, and how many steps they have."""
    found = []
    for block, extents in one.around:
        shown = ", ".join(f"{i}={lo}..{hi - 1}" for i, (lo, hi) in extents)
        conditions = "".join(f", {expr_text(mask)}" for mask in block.masks)
        count = prod(hi - lo for _, (lo, hi) in extents)
        most = " at most" if block.masks else ""
        steps = f"{count} step{'s' if count != 1 else ''}{most}"
        found.append(f"for {shown}{conditions}{' reversed' if block.reverse else ''}: {steps}")
    return found


def pieces(plan: object) -> Iterator[tuple[str, Plan]]:
    """The Plans that a plan is made of, each with the blocks that it stands in and what it is about; one of its own."""
    if isinstance(plan, Plan):
        yield "", plan
        return
    for number, one in enumerate(told(plan.staged, plan.plans), 1):  # type: ignore[attr-defined]
        around = "".join(f", {heading}" for heading in headings(one))
        assert isinstance(one.plan, Plan)
        yield f"piece {number}{around}", one.plan


def _statement(number: int, record: Record, whole: Record, times: int) -> Iterator[str]:
    domain = " ".join(f"{i}={lo}..{hi - 1}" if lo else f"{i}<{hi}" for i, (lo, hi) in record.extents)
    yield f"{number}. {record.statement}"
    yield f"   kernel   {record.kernel}"
    yield f"   domain   {domain or 'one point'}"
    work = f"{amount(record.flops, 'flop')}, {amount(record.moved, 'B')}"
    yield f"   work     {work}" + (f"; {times} times: {amount(whole.flops, 'flop')}" if times else "")
    if 0 < 2 * record.planned < record.flops:
        fewer = amount(record.flops / record.planned, "").strip()
        yield f"   planned  {amount(record.planned, 'flop')}, {fewer} times fewer"


def _slices(call: Call) -> Iterator[str]:
    """The parts of tensors that a piece takes and gives, by the names that they have in it."""
    seen = set()
    for name, part in (*call.takes, *call.gives):
        if isinstance(part, Slice) and not part.whole and name not in seen:
            seen.add(name)
            yield f"{name} = {part.tensor}[{','.join(map(_axis, part.axes))}]"


def _axis(axis: Axis) -> str:
    match axis:
        case At(position=position):
            return expr_text(position).replace(" ", "")
        case Span(start=start, length=length):
            return f"{expr_text(start).replace(' ', '')}.. {length} of it"
        case _:
            return ":"
