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
from .kernels import Einsum, Label, Map, Product
from .naming import renamed
from .places import Buffer, Part
from .plan import Plan, Run, Step
from .views import Extents


@dataclass(frozen=True)
class _Made:
    """An array, the number of the step that makes it, and what its axes are called in which section."""

    buffer: Buffer
    number: int
    section: int
    axes: tuple[str, ...]


def made_alike(plan: Plan) -> Plan:
    """The Plan in which what is made alike by several steps is made by the first."""
    several = [(step, k, dict(s.extents)) for k, s in enumerate(plan.sections) for step in s.steps]
    writes: dict[Buffer, list[int]] = {}
    for number, (step, _, _) in enumerate(several):
        for buffer in written_by((step,)):
            writes.setdefault(buffer, []).append(number)
    first: dict[Hashable, _Made] = {}
    same: dict[Buffer, Buffer] = {}
    left_out: set[int] = set()
    for number, (step, section, extents) in enumerate(several):
        if not isinstance(step, Run) or not _small(step, plan) or len(writes[step.place.buffer]) > 1:
            continue
        step = _by(step, same)  # what it is made of may be alike, too
        assert isinstance(step.place, Part)
        made = _Made(step.place.buffer, number, section, step.place.indices)
        found = first.setdefault(_key(step, extents), made)
        between = range(found.number + 1, number)
        if found is made or (found.section == section and found.axes != made.axes):
            continue  # in one section, an array's axes have one name
        if any(w in between for b in buffers_of(step.kernel) for w in writes.get(b, ())):
            first[_key(step, extents)] = made
        else:
            same[made.buffer] = found.buffer
            left_out.add(number)
    if not left_out:
        return plan
    kept: list[list[Step]] = [[] for _ in plan.sections]
    for number, (step, section, _) in enumerate(several):
        if number not in left_out:
            kept[section].append(_by(step, same))
    sections = zip(plan.sections, kept, strict=True)
    return replace(plan, sections=tuple([replace(s, steps=tuple(steps)) for s, steps in sections]))


def _small(run: Run, plan: Plan) -> bool:
    """Whether a step makes a small array of its own of values, as a product, or of their numbers."""
    place = run.place
    return (
        isinstance(place, Part)
        and not place.moved
        and run.op == "="
        and isinstance(run.kernel, Map | Product | Einsum | Label)
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
