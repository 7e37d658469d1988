"""What each round of a loop would make alike is made once, before the loop.

In: a Plan. Out: the Plan with those steps outside. The one rule: a step leaves a loop over an index of which it knows
nothing, if nothing in the loop writes what it reads, and nothing else there writes what it makes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from .buffers import buffers_of
from .kernels import Map
from .places import Buffer, Part
from .plan import Either, Loop, Make, Plan, Run, Step, Within
from .quantities import Count, Load, Position, Reach, Reduced, Value, parts_of


def made_once(plan: Plan) -> Plan:
    """The Plan in which loops make nothing again that they have made."""
    sections = tuple(s if (steps := _outside(s.steps)) == s.steps else replace(s, steps=steps) for s in plan.sections)
    return plan if sections == plan.sections else replace(plan, sections=sections)


def _outside(several: tuple[Step, ...]) -> tuple[Step, ...]:
    found: list[Step] = []
    for step in several:
        match step:
            case Loop():
                found += _left(replace(step, steps=_outside(step.steps)))
            case Within():
                found.append(replace(step, steps=_outside(step.steps)))
            case Either(first=first, second=second):
                found.append(replace(step, first=_outside(first), second=_outside(second)))
            case _:
                found.append(step)
    return tuple(found)


def _left(loop: Loop) -> list[Step]:
    """The steps that leave a loop, and the loop."""
    written = Counter(written_by(loop.steps))
    written.update(part.buffer for part, _ in loop.sums)
    before: list[Step] = []
    inside: list[Step] = []
    for step in loop.steps:
        if isinstance(step, Run) and _is_alike(step, loop.index, written):
            del written[step.place.buffer]
            before.append(step)
        else:
            inside.append(step)
    return [*before, replace(loop, steps=tuple(inside))] if before else [loop]


def _is_alike(run: Run, index: str, written: Counter[Buffer]) -> bool:
    """Whether a step of a loop over an index makes the same array in each round."""
    place, kernel = run.place, run.kernel
    if not isinstance(place, Part) or not isinstance(kernel, Map) or run.op != "=" or written[place.buffer] != 1:
        return False
    if index in indices_in(kernel.value) or index in (*place.indices, *place.mentioned):
        return False
    return place.buffer.role in ("workspace", "copy") and not any(written[b] for b in buffers_of(kernel))


def indices_in(value: Value) -> Iterator[str]:
    """Every index of which a value knows anything, those that it sums over included."""
    for part in parts_of(value):
        match part:
            case Load(place=place):
                yield from place.mentioned
                yield from place.indices if isinstance(place, Part) else ()
            case Position(index=index):
                yield index
            case Reach(row=row):
                yield from (i for i, _ in row.coefs)
            case Count(over=over) | Reduced(over=over):
                yield from over
            case _:
                pass


def written_by(several: tuple[Step, ...]) -> Iterator[Buffer]:
    """The buffers that steps write, as often as they do."""
    for step in several:
        match step:
            case Loop(steps=steps, sums=sums):
                yield from written_by(steps)
                yield from (part.buffer for part, _ in sums)
            case Within(steps=steps):
                yield from written_by(steps)
            case Either(first=first, second=second):
                yield from written_by((*first, *second))
            case Make(part=part):
                yield part.buffer
            case Run(place=place):
                yield place.buffer
            case _:
                pass
