"""A Plan by native code: its tasks as nests, compiled, and where NumPy's code calls them.

In: a Plan, a `Target`. Out: `Group`s of steps; of these a `Part`: where which function is called, and the functions.
The one rule: steps that follow each other are one call; what no nest computes is left to NumPy's code, visibly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...plan.buffers import buffers_of
from ...plan.places import Buffer, Place, View
from ...plan.plan import Plan
from ...plan.views import Row
from ..numpy.load import Part, Whole
from ..numpy.names import Called
from . import engine, maps
from .calling import native
from .contraction import Contraction, schedule
from .emit import module
from .gathering import gathered
from .joining import joined
from .lowering import Extents, Task, apart, contraction, task
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

    `told` has a line for the steps that begin nests; the others are done together with the one before them. `arrays`
    are those that the nests have for buffers, the same for all groups of a Plan.
    """

    numbers: tuple[Number, ...]
    read: tuple[Buffer, ...]
    written: tuple[Buffer, ...]
    nests: tuple[Nest, ...]
    workspaces: tuple[Array, ...]
    told: Mapping[Number, str]
    arrays: Mapping[Buffer, Array]


def groups_of(plan: Plan, target: Target, apart: bool = False) -> tuple[Group, ...]:
    """What native code does of a Plan; `apart`, no group holds more than what becomes nests together."""
    if plan.complex_step:
        return ()
    arrays = Arrays()
    return tuple(g for run in runs(plan) for g in grouped(run, arrays, target, apart))


def taken(plan: Plan, groups: Sequence[Group], target: Target) -> Part:
    """Groups compiled, and where they are called."""
    if not groups:
        return Part({}, {})
    arrays = groups[0].arrays
    nests = tuple(n for g in groups for n in g.nests)
    library = engine.compiled(module(nests, target), [n.name for n in nests], target)
    calls: dict[Number, Called | None] = {}
    functions: dict[str, Callable[..., Any]] = {}
    known = _elsewhere(plan, groups)
    whole: Whole | None = None
    for number, group in enumerate(groups):
        name = f"native_{number}"
        read, written = ([(b, arrays[b]) for b in some if known[b] != {number}] for some in (group.read, group.written))
        inside = [arrays[b] for b in (*group.read, *group.written) if known[b] == {number}]
        made = native(name, library, group.nests, read, written, (*inside, *group.workspaces))
        functions[name] = made.call
        calls |= dict.fromkeys(group.numbers, None)
        calls[group.numbers[0]] = Called(name, tuple(b for b, _ in (*read, *written)))
        if len(group.numbers) == sum(len(s.steps) for s in plan.sections) and made.fast is not None:
            whole = _whole(plan, made.fast, [b for b, _ in read], [b for b, _ in written])
    return Part(calls, functions, whole)


def _elsewhere(plan: Plan, groups: Sequence[Group]) -> dict[Buffer, set[int]]:
    """Who touches each buffer: groups by their numbers; -1 for what is no group."""
    found: dict[Buffer, set[int]] = {}
    own = {number: k for k, group in enumerate(groups) for number in group.numbers}
    for number, section in enumerate(plan.sections):
        for k, step in enumerate(section.steps):
            for buffer in buffers_of(step):
                found.setdefault(buffer, set()).add(own.get((number, k), -1))
    for buffer in (*plan.inputs, *(t.buffer for t in plan.tables), *(p.buffer for _, p, _ in plan.outputs)):
        found.setdefault(buffer, set()).add(-1)
    for place in plan.finite:
        found[place.buffer].add(-1)
    return found


def _whole(plan: Plan, fast: Callable[..., Any], read: Sequence[Buffer], written: Sequence[Buffer]) -> Whole | None:
    """The call of a plan that is one group, if its outputs are just what that writes."""
    given = [place.buffer for _, place, kind in plan.outputs if isinstance(place, View) and kind == place.buffer.dtype]
    plain = len(given) == len(plan.outputs) and all(is_all(place, dict(plan.extents)) for _, place, _ in plan.outputs)
    takes = [b for b in plan.inputs if b in read]
    if plan.instead is not None or plan.tables or not plain or len(takes) < len(read):
        return None
    if len(set(given)) < len(given) or set(given) != set(written):
        return None
    numbers = tuple(plan.inputs.index(b) for b in read)
    return Whole(fast, numbers, tuple((b.shape, b.dtype) for b in written), tuple(written.index(b) for b in given))


def is_all(place: Place, ends: Extents) -> bool:
    """Whether a place is a buffer as it stands."""
    if not isinstance(place, View):
        return False
    axes = zip(place.rows, place.buffer.shape, strict=True)
    plain = all(r.const == 0 and [(k, ends[i]) for i, k in r.coefs] == [(1, (0, n))] for r, n in axes)
    used = [i for row in place.rows for i, _ in row.coefs]
    return plain and len(set(used)) == len(used)


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
            groups.append(Group(tuple(n for n, _ in inside), read, written, nests, workspaces, told, arrays))
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
    return found is not None and work.points >= REUSED * max(found.left.array.size, found.right.array.size)


class Arrays(dict[Buffer, Array]):
    """The array of each buffer, each under a name of its own."""

    def __missing__(self, buffer: Buffer) -> Array:
        size = 1
        for n in buffer.shape:
            size *= n
        made = self[buffer] = Array(f"a{len(self)}", buffer.dtype, size, "output")
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
