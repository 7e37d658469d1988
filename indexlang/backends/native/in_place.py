"""Updates as one call: a table of nests that change arrays in place.

In: `Update`s, a `Target`. Out: a function of arrays, or None where NumPy's code has to do a part of it. The one rule:
an array is changed behind all that reads it, or by the same step, element by element.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np

from ...plan.buffers import buffers_of, places_of, rebuilt
from ...plan.kernels import Map
from ...plan.limits import NATIVE
from ...plan.places import Buffer, View
from ...plan.plan import Plan, Run, Step
from ...plan.planning import plan
from ...plan.verify import verify
from ..updates import Update
from .arena import arena
from .groups import Group, groups_of
from .outline import loaded
from .program import look_through
from .quick import Kind, quick
from .runner import Argument, Place, Room, Runner
from .runner import Step as Row
from .target import Target
from .whole import is_all

Call = Callable[..., Any]


def updating(updates: Sequence[Update], target: Target, checked: bool = False) -> Call | None:
    """The function; as of `quick`, it gives NotImplemented, and has changed nothing, for arrays that do not fit."""
    made: dict[object, Kernel] = {}
    for update in updates:
        if _form(update) not in made:
            kernel = _kernel(update, f"u{len(made)}", target, checked)
            if kernel is None or update.dtype != updates[0].dtype:
                return None
            made[_form(update)] = kernel
    code = loaded([n for kernel in made.values() for n in kernel.group.outlines], target)
    kinds, places = _arguments(updates)
    steps = [
        Row(nest, code.address(nest.name), made[_form(update)].places(nest.arrays, given), nest.work)
        for update, given in zip(updates, places, strict=True)
        for nest in made[_form(update)].group.outlines
    ]
    sizes = [prod(shape) * np.dtype(kind).itemsize for kind, shape in kinds]
    read = 1 + sum(len(u.read) for u in updates)
    runner = Runner(steps, sizes, max(k.room for k in made.values()), code)
    return quick("update", kinds[:read], kinds[read:], runner)


def _form(update: Update) -> object:
    """What the code for an update depends on."""
    return update.program, update.onto, prod(update.shape), update.dtype


def _arguments(updates: Sequence[Update]) -> tuple[list[Kind], list[dict[str, Place]]]:
    """The types and shapes of the arguments, and where in them the inputs of each update are."""
    dtype = updates[0].dtype
    counts = [len(u.numbers) for u in updates]
    kinds: list[Kind] = [(dtype, (sum(counts),))]
    places: list[dict[str, Place]] = []
    for update, first in zip(updates, accumulate(counts, initial=0), strict=False):
        size = np.dtype(dtype).itemsize
        places.append({n: Argument(0, (first + k) * size) for k, n in enumerate(update.numbers)})
    for names in ([u.read for u in updates], [u.changed for u in updates]):
        for update, own, known in zip(updates, names, places, strict=True):
            for name in own:
                known[name] = Argument(len(kinds))
                kinds.append((dtype, update.shape))
    return kinds, places


@dataclass(frozen=True)
class Kernel:
    """The nests of an update: `named` is the input that each of their arrays is, `inside` where the others lie."""

    group: Group
    named: Mapping[str, str]
    inside: Mapping[str, Place]
    room: int

    def places(self, arrays: Iterable[Any], known: Mapping[str, Place]) -> dict[str, Place]:
        """Where the arrays of a nest are, from where the inputs are."""
        own = {**self.inside, **{array: known[name] for array, name in self.named.items()}}
        return {a.name: own[a.name] for a in arrays if a.role != "workspace"}


def _kernel(update: Update, name: str, target: Target, checked: bool) -> Kernel | None:
    """An update by nests alone."""
    program = update.program
    vector = (prod(update.shape),)
    sizes = {n: () if n in update.numbers else vector for n in program.inputs}
    made = plan(program, sizes, dict.fromkeys(program.inputs, update.dtype), NATIVE).plan
    if checked:
        verify(made)
    changed = changing(made, dict(update.onto))
    groups = () if changed is None else groups_of(changed, target)
    if changed is None or len(groups) != 1:
        return None
    (group,) = groups
    if len(group.numbers) != sum(len(s.steps) for s in changed.sections):
        return None
    if checked:
        look_through(group.outlines)
    given = {b: a for b, a in (*group.read, *group.written)}
    named = {a.name: b.name for b, a in given.items() if b in changed.inputs}
    inside = [*(a for a in given.values() if a.name not in named), *group.workspaces]
    offsets, room = arena(group.outlines, {a.name: a.size * np.dtype(a.dtype).itemsize for a in inside})
    outlines = tuple(replace(n, name=f"{name}_{n.name}") for n in group.outlines)
    return Kernel(replace(group, outlines=outlines), named, {n: Room(at) for n, at in offsets.items()}, room)


def changing(made: Plan, onto: Mapping[str, str]) -> Plan | None:
    """The Plan whose outputs are written over inputs, those that `onto` names; None where one of these is read when it
    has been written over, but by the step that does it, or where an output is no array of its own.
    """
    if made.instead is not None or made.tables or made.places:
        return None
    inputs = {b.name: b for b in made.inputs}
    homes: dict[Buffer, Buffer] = {}
    for tensor, place, kind in made.outputs:
        home = inputs[onto[tensor]]
        like = (home.shape, home.dtype, kind) == (place.buffer.shape, place.buffer.dtype, home.dtype)
        if not like or place.buffer.role == "input" or place.buffer in homes or home in homes.values():
            return None
        if not is_all(place, dict(made.extents)):
            return None
        homes[place.buffer] = home
    written: set[Buffer] = set()
    for step in (step for section in made.sections for step in section.steps):
        touched = set(buffers_of(step))
        now = {home for buffer, home in homes.items() if buffer in touched}
        if touched & written or not _by_element(step, touched & now):
            return None
        written |= now

    def rule(part: Any) -> Any:
        return homes.get(part) if isinstance(part, Buffer) else None

    sections = tuple(replace(s, steps=rebuilt(s.steps, rule)) for s in made.sections)
    outputs = tuple((t, rebuilt(p, rule), kind) for t, p, kind in made.outputs)
    return replace(made, sections=sections, outputs=outputs)


def _by_element(step: Step, changed: Collection[Buffer]) -> bool:
    """Whether a step reads of what it changes just the element that it writes."""
    if not changed:
        return True
    match step:
        case Run(place=View(rows=rows), kernel=Map() as kernel):
            own = (p for p in places_of(kernel) if p.buffer in changed)
            return all(isinstance(p, View) and p.rows == rows for p in own)
        case _:
            return False
