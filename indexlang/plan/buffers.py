"""How long buffers live, how much memory a Plan takes, and which copies in it nothing needs.

In: a Plan. Out: the first and last section of each buffer; bytes; the Plan without those copies. The one rule: a buffer
lives from the section that first mentions it to the last one, by identity; inputs belong to the caller, tables to the
module.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from math import prod
from typing import Any

from ..program.facts import kept
from .blocks import itemsize
from .kernels import Map, Search
from .limits import NESTED, Limits
from .places import Buffer, Part, Place, View
from .plan import Either, Loop, Plan, Run, Section, Step, Within
from .quantities import Apply, Load, Reduced, parts_of
from .views import Extents, Row, plain

Lives = Mapping[Buffer, tuple[int, int]]


def buffers_of(node: Any) -> Iterator[Buffer]:
    """The buffers that a step, a kernel, a value or several of them mention, as often as they do."""
    stack = [node]
    while stack:
        found = stack.pop()
        if isinstance(found, Buffer):
            yield found
        elif isinstance(found, tuple):
            stack += found[::-1]
        else:
            stack += [getattr(found, name) for name in _parts(found.__class__)[::-1]]


def places_of(node: Any) -> Iterator[Place]:
    """The places that a step, a kernel, a value or several of them mention, as often as they do."""
    stack = [node]
    while stack:
        found = stack.pop()
        if isinstance(found, View | Part):
            yield found
        elif isinstance(found, tuple):
            stack += found[::-1]
        else:
            stack += [getattr(found, name) for name in _parts(found.__class__)[::-1]]


@cache
def _parts(kind: Any) -> tuple[str, ...]:
    """The fields of a node that may lead to buffers, by their types."""
    return tuple([f.name for f in fields(kind) if _LEADS(str(f.type))]) if is_dataclass(kind) else ()


_LEADS = re.compile(r"\b(Buffer|Part|Place|Value|Kernel|Step)\b").search


@kept
def mentioned(section: Section) -> tuple[Buffer, ...]:
    """The buffers that a section mentions, each once."""
    return tuple(dict.fromkeys(buffers_of(section.steps)))


def lifetimes(plan: Plan) -> dict[Buffer, tuple[int, int]]:
    """The first and the last section that mention each buffer that the Plan makes; outputs live beyond the last."""
    lives: dict[Buffer, tuple[int, int]] = {}
    for number, section in enumerate(plan.sections):
        for buffer in mentioned(section):
            lives[buffer] = (lives.get(buffer, (number, number))[0], number)
    for place in (*(place for _, place, _ in plan.outputs), *plan.finite):
        if place.buffer in lives:
            lives[place.buffer] = (lives[place.buffer][0], len(plan.sections))
    return {b: ends for b, ends in lives.items() if b.role not in ("input", "table")}


def bytes_of(buffer: Buffer) -> int:
    """What a buffer takes."""
    return prod(buffer.shape) * itemsize(buffer.dtype)


def passing_memory(plan: Plan, kept: Collection[Buffer] = ()) -> int:
    """The bytes of the arrays that are there at once, at most, without those that are `kept` through the call."""
    begins: dict[int, int] = {}
    ends: dict[int, int] = {}
    for buffer, (first, last) in lifetimes(plan).items():
        if buffer in kept:
            continue
        begins[first] = begins.get(first, 0) + bytes_of(buffer)
        ends[last] = ends.get(last, 0) + bytes_of(buffer)
    now, most = 0, 0
    for number, section in enumerate(plan.sections):
        now += begins.get(number, 0)
        most = max(most, now + passing(section, plan.limits))
        now -= ends.get(number, 0)
    return most


def passing(section: Section, limits: Limits) -> int:
    """The bytes of what the expressions of a section make on their way: of a large one, two arrays at once."""
    sizes = {i: hi - lo for i, (lo, hi) in section.extents}
    without = NESTED if limits.nests else frozenset[str]()
    return 2 * max((_largest(step, sizes, without) for step in section.steps), default=0)


def _largest(step: Step, sizes: Mapping[str, int], without: frozenset[str]) -> int:
    """The largest array of a step's expressions, those of some types apart."""
    match step:
        case Loop(index=index, by=by, steps=steps):
            inside = {**sizes, index: min(max(1, by), sizes[index])}
            return max((_largest(s, inside, without) for s in steps), default=0)
        case Within(steps=steps):
            return max((_largest(s, sizes, without) for s in steps), default=0)
        case Either(first=first, second=second):
            return max((_largest(s, sizes, without) for s in (*first, *second)), default=0)
        case Run(kernel=Map(value=Apply(args=args))):
            inner = [p for a in args for p in parts_of(a)]
        case Run(kernel=Map(value=value)):
            inner = [p for p in parts_of(value) if p is not value]
        case Run(kernel=Search(value=value)):
            inner = list(parts_of(value))
        case _:
            return 0
    made = (p for p in inner if isinstance(p, Apply | Reduced) and p.dtype not in without)
    return max((prod(max(0, sizes[i]) for i in p.indices) * itemsize(p.dtype) for p in made), default=0)


# -- copies that nothing needs -------------------------------------------------------------------------


def without_copies(plan: Plan) -> Plan:
    """The Plan in which a workspace that is only made to become a tensor is that tensor."""
    lives = lifetimes(plan)
    sections = tuple(_without_copies(s, k, lives) for k, s in enumerate(plan.sections))
    return plan if sections == plan.sections else replace(plan, sections=sections)


def _without_copies(section: Section, number: int, lives: Lives) -> Section:
    """The section; what lives beyond it on the side where it would be renamed stays."""
    first = {b for b in mentioned(section) if lives.get(b, (-1, -1))[0] == number}
    passing = {b for b in first if lives[b][1] == number}
    steps = _direct(section.steps, dict(section.extents), first, passing)
    return section if steps == section.steps else replace(section, steps=steps)


def _direct(several: tuple[Step, ...], extents: Extents, first: set[Buffer], passing: set[Buffer]) -> tuple[Step, ...]:
    """Steps that run once: what copies one that is `passing` into one that is `first` mentioned here is left out."""
    steps = list(several)
    k = 0
    while k < len(steps):
        step = steps[k]
        if isinstance(step, Loop) and _runs_once(step, extents):
            around = set(buffers_of((*steps[:k], *steps[k + 1 :])))
            before = set(buffers_of(tuple(steps[:k])))
            inner = _direct(step.steps, extents, first - before, passing - around)
            steps[k] = step if inner == step.steps else replace(step, steps=inner)
        elif (found := _copy(step, extents)) is not None and found[0] in passing and found[1] in first:
            given, made = found
            before = set(buffers_of(tuple(steps[:k])))
            if given in before and made not in before and given not in set(buffers_of(tuple(steps[k + 1 :]))):
                steps[: k + 1] = [_renamed(s, given, made) for s in steps[:k]]
                continue
        k += 1
    return tuple(steps)


def _runs_once(loop: Loop, extents: Extents) -> bool:
    """Whether a loop, inside of no other one over its index, has one value."""
    lo, hi = extents[loop.index]
    return loop.by == 0 and hi - lo == 1 and loop.how == "serial"


def _copy(step: Step, extents: Extents) -> tuple[Buffer, Buffer] | None:
    """A workspace and the buffer into which all of it is copied as it lies."""
    match step:
        case Run(place, "=", Map(Load(source, dtype, ()))):
            given, made = source.buffer, place.buffer
            like = (given.shape, given.dtype, dtype) == (made.shape, made.dtype, made.dtype)
            order = _whole(place, extents)
            same = given.role == "workspace" and like and order is not None and order == _whole(source, extents)
            if isinstance(place, Part) and isinstance(source, Part):  # axes of one element have their names, too
                same = same and place.indices == source.indices
            return (given, made) if same else None
        case _:
            return None


def _whole(place: Place, extents: Extents) -> tuple[str, ...] | None:
    """The index of each axis that has elements behind each other, where a place is all of its buffer."""
    rows: tuple[Row, ...]
    if isinstance(place, View):
        rows = place.rows
    else:
        moved = {i: Row(start, ((k, step),)) for i, k, start, step in place.moved}
        rows = tuple(moved.get(i, plain(i).shifted(-extents[i][0])) for i in place.indices)
    order = []
    for row, size in zip(rows, place.buffer.shape, strict=True):
        running = [(i, by) for i, by in row.coefs if extents[i][1] - extents[i][0] != 1]
        low, high = row.interval(extents)
        if (low, high) != (0, size - 1) or len(running) != (size != 1) or any(by != 1 for _, by in running):
            return None
        order += [i for i, _ in running]
    return tuple(order)


def _renamed(node: Any, given: Buffer, made: Buffer) -> Any:
    """The node with another buffer in the place of one."""
    return rebuilt(node, lambda part: made if isinstance(part, Buffer) and part == given else None)


def rebuilt(node: Any, rule: Callable[[Any], Any]) -> Any:
    """The node, or steps, with what a rule gives in the place of parts that lead to buffers; None leaves them."""
    if isinstance(node, tuple):
        parts = tuple([rebuilt(n, rule) for n in node])
        return node if all(map(operator.is_, parts, node)) else parts
    found = rule(node)
    if found is not None:
        return found
    changed = {}
    for name in _parts(node.__class__):
        part = getattr(node, name)
        if (new := rebuilt(part, rule)) is not part:
            changed[name] = new
    return replace(node, **changed) if changed else node
