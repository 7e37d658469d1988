"""What native code does of a Plan: its tasks as nests, those that follow each other in groups.

In: a Plan, a `Target`. Out: `Group`s of steps. The one rule: steps that follow each other are one call; what no nest
computes is left to NumPy's code, visibly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from ...plan.places import Buffer, View
from ...plan.plan import Plan
from ...plan.views import Row
from . import maps
from .contraction import Contraction, schedule
from .gathering import gathered
from .joining import joined
from .lowering import Task, apart, contraction, task
from .nest import Array, Nest
from .pieces import pieces
from .target import Target

Number = tuple[int, int]  # of a section, and of a step in it
TOGETHER = 24  # tasks that are looked at together, at most
REUSED = 4  # times that each element of the larger factor is used, at least
SMALL = 1 << 10  # points of a sum of products below which it is gone through as it is written


@dataclass(frozen=True)
class Scheduled:
    """The nests of a task, what passes from one of them to the next, and a line about them."""

    nests: tuple[Nest, ...]
    workspaces: tuple[Array, ...]
    told: str


@dataclass(frozen=True)
class Group:
    """Steps that are one call: the arrays that it reads alone and that it writes, and the nests in their order.

    `told` has a line for the steps that begin nests; the others are done together with the one before them.
    """

    numbers: tuple[Number, ...]
    read: tuple[tuple[Buffer, Array], ...]
    written: tuple[tuple[Buffer, Array], ...]
    nests: tuple[Nest, ...]
    workspaces: tuple[Array, ...]
    told: Mapping[Number, str]


def groups_of(plan: Plan, target: Target, apart: bool = False) -> tuple[Group, ...]:
    """What native code does of a Plan; `apart`, no group holds more than what becomes nests together."""
    if plan.complex_step:
        return ()
    arrays = Arrays()
    return tuple(g for run in runs(plan) for g in grouped(run, arrays, target, apart))


def runs(plan: Plan) -> list[list[tuple[Number, Task]]]:
    """Tasks that follow each other without a step between them that is none."""
    found: list[list[tuple[Number, Task]]] = [[]]
    for number, section in enumerate(plan.sections):
        extents = dict(section.extents)
        for k, step in enumerate(section.steps):
            work = task(step, extents)
            if work is None or not work.points:
                found.append([])
            else:
                found[-1].append(((number, k), work))
    return [run for run in found if run]


def grouped(run: Sequence[tuple[Number, Task]], arrays: Arrays, target: Target, alone: bool = False) -> list[Group]:
    """Tasks that follow each other as calls: one, where each of them is native."""
    groups: list[Group] = []
    members: list[tuple[Sequence[tuple[Number, Task]], Scheduled]] = []

    def close() -> None:
        if members:
            inside = [one for some, _ in members for one in some]
            written = tuple(dict.fromkeys(work.place.buffer for _, work in inside))
            read = tuple(dict.fromkeys(b for _, work in inside for b in work.buffers if b not in written))
            nests = tuple(n for _, s in members for n in s.nests)
            workspaces = tuple(w for _, s in members for w in s.workspaces)
            told = {some[0][0]: s.told for some, s in members}
            first, second = (tuple((b, arrays[b]) for b in some) for some in (read, written))
            groups.append(Group(tuple(n for n, _ in inside), first, second, nests, workspaces, told))
            members.clear()

    for some in together(run, arrays):
        for part, found in scheduled(some, arrays, target):
            if found is None:
                close()
            else:
                members.append((part, found))
                if alone:
                    close()
    close()
    return groups


def together(run: Sequence[tuple[Number, Task]], arrays: Arrays) -> list[list[tuple[Number, Task]]]:
    """Sums of products each alone, what lies between them together."""
    found: list[list[tuple[Number, Task]]] = []
    open_list = False
    for number, work in run:
        alone = bool(work.taps) or is_product(work, arrays)
        if alone or not open_list or len(found[-1]) >= TOGETHER:
            found.append([])
        found[-1].append((number, work))
        open_list = not alone
    return found


def is_product(work: Task, arrays: Arrays) -> bool:
    """Whether a task is a sum of products for a schedule of its own: large, its factors read several times."""
    if work.points < SMALL:
        return False
    found = contraction(work, arrays)
    if found is None or not found.reduced:  # what only taps bring together is no product
        return False
    return work.points >= REUSED * max(found.left.array.size, found.right.array.size)


class Arrays(dict[Buffer, Array]):
    """The array of each buffer, each under a name of its own."""

    def __missing__(self, buffer: Buffer) -> Array:
        made = self[buffer] = Array(f"a{len(self)}", buffer.dtype, prod(buffer.shape), "output")
        return made


Parts = list[tuple[Sequence[tuple[Number, Task]], "Scheduled | None"]]


def scheduled(some: Sequence[tuple[Number, Task]], arrays: Arrays, target: Target) -> Parts:
    """The nests of tasks, together if that can be, else one by one; None for what is left to NumPy."""
    (number, first), *others = some
    name = f"k{number[0]}_{number[1]}"
    if others:
        found = mapped(joined([work for _, work in some]), arrays, target, name)
        if found is not None:
            return [(some, found)]
        return [part for one in some for part in scheduled([one], arrays, target)]
    if is_product(first, arrays):
        product = contraction(first, arrays)
        assert product is not None
        made = [schedule(c, target, f"{name}_{k}") for k, c in enumerate(solved(first, product))]
        nests = tuple(n for s in made for n in s.nests)
        return [(some, Scheduled(nests, tuple(w for s in made for w in s.workspaces), "; ".join(s.told for s in made)))]
    works = (pieces(first) if first.taps else None) or apart(first)
    return [(some, mapped(works, arrays, target, name))]


def mapped(works: Sequence[Task], arrays: Arrays, target: Target, name: str) -> Scheduled | None:
    """Values at points, and what is reduced of them, as nests: those of indices of the same names together."""
    extents = {i: e for work in works for i, e in work.extents}
    alike = all(extents[i] == e for work in works for i, e in work.extents)
    if not alike:
        several = [mapped([work], arrays, target, f"{name}_{k}") for k, work in enumerate(works)]
        found = [s for s in several if s is not None]
        if len(found) < len(several):
            return None
        nests = tuple(n for s in found for n in s.nests)
        return Scheduled(nests, tuple(w for s in found for w in s.workspaces), found[0].told)
    made = maps.nests([maps.Work(w.place, w.op, w.kernel) for w in works], extents, arrays, target, name)
    return None if made is None else Scheduled(made.nests, made.workspaces, made.told)


def solved(work: Task, product: Contraction) -> Sequence[Contraction]:
    """A contraction, or several, that share no element of the target."""
    place = work.place
    if not work.taps or not isinstance(place, View):
        return (product,)
    lows = {i: lo for i, (lo, _) in work.extents}
    rows = [Row(r.const + sum(k * lows[i] for i, k in r.coefs), r.coefs) for r in place.rows]
    return gathered(product, rows, place.buffer.shape) or (product,)
