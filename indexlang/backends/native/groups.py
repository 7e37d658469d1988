"""What native code does of a Plan: its tasks as nests, those that follow each other in groups.

In: a Plan, a `Target`. Out: `Group`s of steps. The one rule: steps that follow each other are one call; what no nest
computes is left to NumPy's code, visibly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from ...plan.limits import NEVER
from ...plan.places import Buffer
from ...plan.plan import Plan
from .batches import Batched, batched
from .chains import Chain, Members, Number, begins, chained, touches, zeroed
from .joining import joined, ordered
from .leading import marked
from .lowering import Task, apart, task
from .maps import Work, refusal
from .nest import Array, Nest
from .outline import Outline
from .overwriting import Pass, overwritten
from .pieces import pieces
from .remembered import contracted
from .remembered import mapped as remembered
from .scheduling import Piece, Scheduled
from .shifted import gathered
from .target import Target

FEW = 4  # taps that are nests of their own
TOGETHER = 24  # tasks that are looked at together, at most


@dataclass(frozen=True)
class Group:
    """Steps that are one call: the arrays that it reads alone and that it writes, and the nests in their order.

    `flags` are the names of workspaces in which nests say that what they check is wrong: then none behind them may run.
    `told` has a line for the steps that begin nests; the others are done together with the one before them. `pieces`
    says of arrays of nests that are none here of which one they are a piece, and from which element on; `lying` of
    arrays that others are made of, where they lie, which ones.
    """

    numbers: tuple[Number, ...]
    read: tuple[tuple[Buffer, Array], ...]
    written: tuple[tuple[Buffer, Array], ...]
    outlines: tuple[Outline, ...]
    workspaces: tuple[Array, ...]
    told: Mapping[Number, str]
    flags: tuple[str, ...] = ()
    pieces: Mapping[str, Piece] = field(default_factory=dict)
    lying: Mapping[str, str] = field(default_factory=dict)

    @property
    def nests(self) -> tuple[Nest, ...]:
        """The nests with their statements."""
        return tuple(n.nest() for n in self.outlines)

    @property
    def offsets(self) -> dict[str, tuple[str, int]]:
        """Of arrays that are pieces which one each is a piece of, and how many bytes from its beginning it lies."""
        sizes = {a.name: np.dtype(a.dtype).itemsize for n in self.outlines for a in n.arrays}
        return {name: (piece.array, piece.first * sizes[name]) for name, piece in self.pieces.items()}


def groups_of(plan: Plan, target: Target, apart: bool = False) -> tuple[Group, ...]:
    """What native code does of a Plan; `apart`, no group holds more than what becomes nests together."""
    if plan.complex_step:
        return ()
    plan = marked(plan)
    arrays, touched, first = Arrays(), touches(plan), begins(plan)
    return tuple(
        g for run in runs(plan) for g in grouped(together(run, arrays, touched), arrays, touched, first, target, apart)
    )


def runs(plan: Plan) -> list[list[tuple[Number, Task]]]:
    """Tasks that follow each other without a step between them that is none; checks come as early as they can."""
    found: list[list[tuple[Number, Task]]] = [[]]
    for number, section in enumerate(plan.sections):
        extents = dict(section.extents)
        for k, step in enumerate(section.steps):
            work = task(step, extents, f"check {number} {k}")
            if work is None or not work.points or (work.checks and _refused(work)):
                found.append([])
            elif work.checks:
                found[-1].insert(_first(work, found[-1]), ((number, k), work))
            else:
                found[-1].append(((number, k), work))
    return [run for run in found if run]


def _refused(work: Task) -> bool:
    """Whether there is no kernel for a task."""
    return bool(refusal(Work(work.place, work.op, work.kernel), dict(work.extents), Arrays()))


def _first(check: Task, run: Members) -> int:
    """Where in a run a check can be: behind the other checks, and what makes something that it reads."""
    reads = set(check.buffers)
    behind = [k for k, (_, one) in enumerate(run) if one.checks or one.place.buffer in reads]
    return behind[-1] + 1 if behind else 0


def grouped(
    run: Sequence[Members | Chain | Batched],
    arrays: Arrays,
    touched: Mapping[Buffer, int],
    first: Mapping[Buffer, Number],
    target: Target,
    alone: bool = False,
) -> list[Group]:
    """Tasks that follow each other as calls: one, where each of them is native."""
    groups: list[Group] = []
    passes: list[Pass] = []

    def again(tasks: Members, changed: Buffer) -> Scheduled | None:
        parts = scheduled(tasks, arrays, {**touched, changed: NEVER}, target)
        return parts[0][1] if len(parts) == 1 else None

    def close() -> None:
        if passes:
            found, lying = overwritten(passes, touched, first, arrays, again)
            inside = [one for p in passes for one in p.members]
            flags = dict.fromkeys(work.place.buffer for _, work in inside if work.checks)
            written = tuple(dict.fromkeys(work.place.buffer for _, work in inside if not work.checks))
            both = dict.fromkeys(b for _, work in inside for b in work.buffers)
            read = tuple(b for b in both if b not in written and b not in flags)
            nests = tuple(n for s in found for n in s.nests)
            workspaces = (*(w for s in found for w in s.workspaces), *(arrays[b] for b in flags))
            heads = [(p.members[0], s.told) for p, s in zip(passes, found, strict=True)]
            told = {number: "" if work.checks else line for (number, work), line in heads}
            given, made = (tuple((b, arrays[b]) for b in some) for some in (read, written))
            numbers, names = tuple(n for n, _ in inside), tuple(arrays[b].name for b in flags)
            pieces = {name: piece for s in found for name, piece in s.pieces.items()}
            groups.append(Group(numbers, given, made, nests, workspaces, told, names, pieces, lying))
            passes.clear()

    for some in run:
        for part, found in scheduled(some, arrays, touched, target):
            if found is None:
                close()
            else:
                passes.append(Pass(part, found, plain=not isinstance(some, Chain | Batched)))
                if alone:
                    close()
    close()
    return groups


def together(run: Members, arrays: Arrays, touched: Mapping[Buffer, int]) -> list[Members | Chain | Batched]:
    """Sums of products with what they do along, sums at taps with the zeros before them, what lies between together."""
    found: list[Members | Chain | Batched] = []
    between: list[tuple[Number, Task]] = []
    at = 0
    while at < len(run):
        if run[at][1].checks:
            found += [between, [run[at]]] if between else [[run[at]]]
            between = []
            at += 1
            continue
        chain = chained(run[at:], arrays, touched)
        tapped = 2 if zeroed(run[at:]) and run[at + 1][1].taps else bool(run[at][1].taps)
        split = None if chain is None else batched(between, chain, arrays, touched)
        between = between if split is None else [one for one in between if one not in split.members]
        if chain is not None or tapped or len(between) >= TOGETHER:
            found += [between] if between else []
            between = []
        if chain is not None or tapped:
            some: Members | Chain | Batched = run[at : at + tapped] if chain is None else (split or chain)
            found.append(some)
            at += tapped if chain is None else len(chain.members)
        else:
            between.append(run[at])
            at += 1
    return [*found, *([between] if between else [])]


class Arrays(dict[Buffer, Array]):
    """The array of each buffer, each under a name of its own."""

    def __missing__(self, buffer: Buffer) -> Array:
        made = self[buffer] = Array(f"a{len(self)}", buffer.dtype, prod(buffer.shape), "output")
        return made


Parts = list[tuple[Members, "Scheduled | None"]]


def scheduled(some: Members | Chain | Batched, arrays: Arrays, touched: Mapping[Buffer, int], target: Target) -> Parts:
    """The nests of tasks, together if that can be, else one by one; None for what is left to NumPy."""
    if isinstance(some, Chain):
        return [(some.members, multiplied(some, target))]
    if isinstance(some, Batched):
        return [(some.members, repeated(some, arrays, target))]
    (number, first), *others = some
    name = f"k{number[0]}_{number[1]}"
    if zeroed(some) and others[0][1].taps:
        found = mapped(made_whole(pieces(others[0][1])), arrays, target, name)
        if found is not None:
            return [(some, found)]
    elif others:
        works, alone = joined([work for _, work in some]), private(some, touched)
        for ways in (gathered(works), works):
            found = mapped(ordered(ways), arrays, target, name, alone)
            if found is not None:
                return [(some, found)]
    if others:
        return [part for one in some for part in scheduled([one], arrays, touched, target)]
    solved = pieces(first) if first.taps else None
    if solved is None and sum(1 for _ in apart(first)) > FEW:  # one nest whose items go through all taps
        found = mapped([replace(first, taps=())], arrays, target, name)
        if found is not None:
            return [(some, found)]
    return [(some, mapped(solved or apart(first), arrays, target, name))]


def multiplied(chain: Chain, target: Target) -> Scheduled:
    """The nests of a sum of products."""
    (section, step), _ = chain.members[0]
    made = [contracted(c, target, f"k{section}_{step}_{k}") for k, c in enumerate(chain.contractions)]
    nests = tuple(n for s in made for n in s.nests)
    return Scheduled(nests, tuple(w for s in made for w in s.workspaces), "; ".join(s.told for s in made))


def repeated(some: Batched, arrays: Arrays, target: Target) -> Scheduled:
    """The nests of one example after the other."""
    (section, step), _ = some.members[-1]
    name = f"k{section}_{step}"
    own = Arrays({**arrays, **some.arrays})
    zeros = [mapped([task], arrays, target, f"{name}_zero") for task in some.zero]
    copying = [mapped([task], own, target, f"{name}_{k}c") for k, task in enumerate(some.tasks)]
    product = contracted(some.contraction, target, name)
    made = [s for s in (*zeros, *copying) if s is not None]
    assert len(made) == len(zeros) + len(copying), "zeros and copies are nests"
    nests = [n for s in made[: len(zeros)] for n in s.nests]
    each = [*(n for s in made[len(zeros) :] for n in s.nests), *product.nests]
    again, changed = list[Outline](), {*some.moves, some.copy.name}
    for nest in each:  # what depends on no example is made once
        if changed & {a.name for a in nest.arrays}:
            again.append(nest)
            changed.update(a.name for a in nest.arrays if a.role != "input")
    pieces: dict[str, Piece] = {}
    for number in range(some.times):

        def array(a: Array, number: int = number) -> Array:
            home = some.moves.get(a.name)
            if home is None:
                return a
            pieces[f"{a.name}{number}"] = Piece(home.name, number * int(a.size))
            return replace(a, name=f"{a.name}{number}")

        for nest in again if number else each:
            nests.append(replace(nest, name=f"{nest.name}@{number}", arrays=tuple(map(array, nest.arrays))))
    workspaces = (some.copy, *(w for s in made for w in s.workspaces), *product.workspaces)
    return Scheduled(tuple(nests), workspaces, f"{product.told}; {some.times} examples one by one", pieces)


def made_whole(works: Sequence[Task] | None) -> Sequence[Task]:
    """Tasks that add to disjoint elements, as those that make them, if these are all; else none."""
    if not works:
        return ()
    reached = sum(prod(hi - lo for i, (lo, hi) in w.extents if i in w.place.mentioned) for w in works)
    return [replace(w, op="=") for w in works] if reached == prod(works[0].place.buffer.shape) else ()


def private(some: Members, touched: Mapping[Buffer, int]) -> frozenset[Buffer]:
    """The buffers that no other step touches than these."""
    found = Counter(b for _, work in some for b in work.buffers)
    return frozenset(b for b, n in found.items() if n == touched[b])


def mapped(
    works: Sequence[Task],
    arrays: Arrays,
    target: Target,
    name: str,
    private: Collection[Buffer] = (),
) -> Scheduled | None:
    """Values at points, and what is reduced of them, as nests: those of indices of the same names together.

    Nobody else reads what `private` buffers hold.
    """
    if not works:
        return None
    extents = {i: e for work in works for i, e in work.extents}
    alike = all(extents[i] == e for work in works for i, e in work.extents)
    if not alike:
        several = [mapped([work], arrays, target, f"{name}_{k}") for k, work in enumerate(works)]
        found = [s for s in several if s is not None]
        if len(found) < len(several):
            return None
        nests = tuple(n for s in found for n in s.nests)
        return Scheduled(nests, tuple(w for s in found for w in s.workspaces), found[0].told)
    made = remembered([Work(w.place, w.op, w.kernel, w.limits) for w in works], extents, arrays, target, name, private)
    return None if made is None else Scheduled(made.nests, made.workspaces, made.told)
