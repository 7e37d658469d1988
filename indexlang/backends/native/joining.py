"""Tasks that follow each other under the same names of indices, so that nests may do them together.

In: tasks in order, each with index names of its own. Out: the same tasks, renamed; in an order that brings together
what goes through the same indices. The one rule: two indices get one name only if they run alike along the same axis of
an array that both tasks touch; a name says nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...plan.buffers import places_of
from ...plan.places import Buffer, Part
from .lowering import Task
from .names import renamed as under

Axes = tuple[Mapping[str, tuple[int, int]], Mapping[Buffer, Sequence[tuple[str, ...]]]]


def joined(tasks: Sequence[Task]) -> list[Task]:
    """The tasks under names that they share."""
    found: list[Task] = []
    known: list[Axes] = []
    for number, one in enumerate(tasks):
        names = _alike(known, one)
        found.append(renamed(one, {i: names.get(i, f"{i}#{number}") for i, _ in one.extents}))
        known.append(_axes_of(found[-1]))
    return found


def ordered(tasks: Sequence[Task]) -> list[Task]:
    """The tasks, under names that they share, with those that go through the same indices next to each other.

    A task stays behind those that make what it touches, and before those that change it.
    """
    left = list(tasks)
    found: list[Task] = []
    touched = {id(t): frozenset(t.buffers) for t in tasks}

    def clash(a: Task, b: Task) -> bool:
        """Whether one of two tasks writes what the other one touches."""
        return a.place.buffer in touched[id(b)] or b.place.buffer in touched[id(a)]

    while left:
        ready = [t for k, t in enumerate(left) if not any(clash(other, t) for other in left[:k])]
        last = _through(found[-1]) if found else None
        chosen = next((t for t in ready if _through(t) == last), ready[0])
        found.append(chosen)
        left = [t for t in left if t is not chosen]
    return found


def _through(task: Task) -> frozenset[str]:
    """The indices of what a task makes."""
    return frozenset(i for i, (lo, hi) in task.extents if i in task.place.mentioned and hi - lo > 1)


def _alike(before: Sequence[Axes], one: Task) -> dict[str, str]:
    """The indices of a task that run like those of tasks before it, latest first."""
    names: dict[str, str] = {}
    ends, accesses = dict(one.extents), list(_axes(one))
    for others, known in reversed(before):
        for buffer, axes in accesses:
            for theirs in known.get(buffer, ()):
                for own, their in zip(axes, theirs, strict=True):
                    new = own not in names and their not in names.values()
                    if own and their and new and ends[own] == others[their]:
                        names[own] = their
    return names


def _axes_of(task: Task) -> Axes:
    """How far each index of a task goes, and its accesses of each buffer."""
    found: dict[Buffer, list[tuple[str, ...]]] = {}
    for buffer, axes in _axes(task):
        found.setdefault(buffer, []).append(axes)
    return dict(task.extents), found


def _axes(task: Task) -> Iterator[tuple[Buffer, tuple[str, ...]]]:
    """For each access the index along each axis; "" where there is none, or more than that index says."""
    for place in (task.place, *places_of(task.kernel)):
        if isinstance(place, Part):
            yield place.buffer, place.indices
        else:
            rows = (r.coefs[0] if len(r.coefs) == 1 else ("", 0) for r in place.rows)
            yield place.buffer, tuple(i if k == 1 else "" for i, k in rows)


def renamed(task: Task, names: Mapping[str, str]) -> Task:
    """A task whose indices have other names."""
    extents = tuple((names[i], e) for i, e in task.extents)
    taps = tuple(names[i] for i in task.taps)
    return Task(under(task.place, names), task.op, under(task.kernel, names), extents, taps)
