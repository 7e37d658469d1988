"""What several statements would make alike is made once.

In: a Plan. Out: the Plan without those steps. The one rule: a small array that a step outside of all loops makes of
the same values as an earlier one is the earlier one, if nothing else writes either of them, and nothing in between what
both are made of.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from .buffers import buffers_of, bytes_of, places_of, rebuilt
from .invariant import indices_in, written_by
from .kernels import Einsum, Map, Product
from .naming import renamed
from .places import Buffer, Part
from .plan import Plan, Run, Section
from .views import Extents


@dataclass(frozen=True)
class _Made:
    """An array, and the number of the step that makes it."""

    buffer: Buffer
    number: int


def made_alike(plan: Plan) -> Plan:
    """The Plan in which what is made alike by several steps is made by the first."""
    several = [(step, dict(section.extents)) for section in plan.sections for step in section.steps]
    writes: dict[Buffer, list[int]] = {}
    for number, (step, _) in enumerate(several):
        for buffer in written_by((step,)):
            writes.setdefault(buffer, []).append(number)
    first: dict[Hashable, _Made] = {}
    same: dict[Buffer, Buffer] = {}
    left_out: set[int] = set()
    for number, (step, extents) in enumerate(several):
        if not isinstance(step, Run) or not _small(step, plan) or len(writes[step.place.buffer]) > 1:
            continue
        step = _by(step, same)  # what it is made of may be alike, too
        found = first.setdefault(_key(step, extents), _Made(step.place.buffer, number))
        if found.number == number:
            continue
        between = range(found.number + 1, number)
        if any(w in between for b in buffers_of(step.kernel) for w in writes.get(b, ())):
            first[_key(step, extents)] = _Made(step.place.buffer, number)
        else:
            same[step.place.buffer] = found.buffer
            left_out.add(number)
    if not left_out:
        return plan
    sections, number = list[Section](), 0
    for section in plan.sections:
        steps = [s for k, s in enumerate(section.steps, number) if k not in left_out]
        number += len(section.steps)
        sections.append(replace(section, steps=_by(tuple(steps), same)))
    return replace(plan, sections=tuple(sections))


def _small(run: Run, plan: Plan) -> bool:
    """Whether a step makes a small array of its own of values or as a product."""
    place = run.place
    return (
        isinstance(place, Part)
        and not place.moved
        and run.op == "="
        and isinstance(run.kernel, Map | Product | Einsum)
        and place.buffer.role == "workspace"
        and bytes_of(place.buffer) <= plan.limits.block
    )


def _by(node: Any, same: dict[Buffer, Buffer]) -> Any:
    """Steps that read other arrays in the place of some."""
    return rebuilt(node, lambda part: same.get(part) if isinstance(part, Buffer) else None) if same else node


def _key(run: Run, extents: Extents) -> Hashable:
    """What a step makes, whatever its indices are called: equal if the arrays are."""
    assert isinstance(run.place, Part)
    known = [*run.place.indices]
    for place in places_of(run.kernel):
        known += [*place.mentioned, *(place.indices if isinstance(place, Part) else ())]
    match run.kernel:
        case Map(value=value):
            known += indices_in(value)
        case Einsum(factors=factors):
            known += (i for value in factors for i in indices_in(value))
        case _:
            pass
    names = {index: f"#{k}" for k, index in enumerate(dict.fromkeys(known))}
    buffer = run.place.buffer
    runs = tuple(extents.get(index) for index in names)
    return buffer.shape, buffer.dtype, runs, tuple(names[i] for i in run.place.indices), renamed(run.kernel, names)
