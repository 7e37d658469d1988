"""A Plan by native code: its tasks as nests, compiled, and where NumPy's code calls them.

In: a Plan, a `Target`. Out: `Taken`: for each step whose task it is the function that is called, and these functions.
The one rule: steps that follow each other are one call; what no nest computes is left to NumPy's code, visibly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...plan.places import Buffer, View
from ...plan.plan import Plan
from ...plan.views import Row
from ..numpy.load import Part
from ..numpy.names import Called
from . import engine, maps
from .contraction import Contraction, schedule
from .emit import module
from .gathering import gathered
from .lowering import Task, apart, contraction, task
from .nest import Array, Nest
from .runner import runner
from .target import Target

Number = tuple[int, int]  # of a section, and of a step in it
SMALL = 1 << 10  # points of a sum of products below which it is gone through as it is written


@dataclass(frozen=True)
class Scheduled:
    """The nests of a task, what passes from one of them to the next, and a line about them."""

    nests: tuple[Nest, ...]
    workspaces: tuple[Array, ...]
    told: str


@dataclass(frozen=True)
class Taken(Part):
    """Where NumPy's code calls native functions, these by name, and what is told of each step."""

    told: Mapping[Number, str]


@dataclass(frozen=True)
class Group:
    """Steps that are one call: the arrays that it takes, and the nests, one after the other."""

    numbers: tuple[Number, ...]
    buffers: tuple[Buffer, ...]
    nests: tuple[Nest, ...]
    workspaces: tuple[Array, ...]


def taken(plan: Plan, target: Target) -> Taken:
    """The native part of a Plan."""
    if plan.complex_step:
        return Taken({}, {}, {})
    arrays = Arrays()
    groups: list[Group] = []
    told: dict[Number, str] = {}
    open_group: list[tuple[Number, Task, Scheduled]] = []

    def close() -> None:
        if open_group:
            groups.append(grouped(open_group, arrays))
            open_group.clear()

    for number, section in enumerate(plan.sections):
        extents = dict(section.extents)
        for k, step in enumerate(section.steps):
            work = task(step, extents)
            found = None if work is None else scheduled(work, arrays, target, f"k{number}_{k}")
            if work is None or found is None:
                close()
                continue
            told[number, k] = found.told
            open_group.append(((number, k), work, found))
    close()
    if not groups:
        return Taken({}, {}, told)
    nests = tuple(dict.fromkeys(n for g in groups for n in g.nests))
    library = engine.compiled(module(nests, target), [n.name for n in nests], target)
    calls: dict[Number, Called | None] = {}
    functions: dict[str, Callable[..., Any]] = {}
    for group in groups:
        name = f"native_{len(functions)}"
        functions[name] = runner(library, group.nests, [arrays[b] for b in group.buffers], group.workspaces)
        calls |= dict.fromkeys(group.numbers, None)
        calls[group.numbers[0]] = Called(name, group.buffers)
    return Taken(calls, functions, told)


class Arrays(dict[Buffer, Array]):
    """The array of each buffer, each under a name of its own."""

    def __missing__(self, buffer: Buffer) -> Array:
        size = 1
        for n in buffer.shape:
            size *= n
        made = self[buffer] = Array(f"a{len(self)}", buffer.dtype, size, "output")
        return made


def grouped(members: Sequence[tuple[Number, Task, Scheduled]], arrays: Arrays) -> Group:
    """Steps as one call."""
    buffers = tuple(dict.fromkeys(b for _, work, _ in members for b in work.buffers))
    nests = tuple(n for _, _, s in members for n in s.nests)
    workspaces = tuple(w for _, _, s in members for w in s.workspaces)
    return Group(tuple(n for n, _, _ in members), buffers, nests, workspaces)


def scheduled(work: Task, arrays: Arrays, target: Target, name: str) -> Scheduled | None:
    """The nests of a task; None if it is left to NumPy."""
    sizes = {i: hi - lo for i, (lo, hi) in work.extents}
    points = 1
    for n in sizes.values():
        points *= n
    if points == 0:
        return None
    product = contraction(work, arrays)
    if product is not None and points >= SMALL:
        made = [schedule(c, target, f"{name}_{k}") for k, c in enumerate(solved(work, product))]
        nests = tuple(n for s in made for n in s.nests)
        return Scheduled(nests, tuple(w for s in made for w in s.workspaces), "; ".join(s.told for s in made))
    several = []
    for k, one in enumerate(apart(work, sizes)):
        made = maps.nests([maps.Work(one.place, one.op, one.value)], dict(one.extents), arrays, target, f"{name}_{k}")
        if made is None:
            return None
        several.append(made)
    nests = tuple(n for s in several for n in s.nests)
    return Scheduled(nests, tuple(w for s in several for w in s.workspaces), several[0].told)


def solved(work: Task, product: Contraction) -> Sequence[Contraction]:
    """A contraction, or several, that share no element of the target."""
    place = work.place
    if not work.taps or not isinstance(place, View):
        return (product,)
    lows = {i: lo for i, (lo, _) in work.extents}
    rows = [Row(r.const + sum(k * lows[i] for i, k in r.coefs), r.coefs) for r in place.rows]
    return gathered(product, rows, place.buffer.shape) or (product,)
