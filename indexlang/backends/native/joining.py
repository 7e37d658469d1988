"""Tasks that follow each other under the same names of indices, so that nests may do them together.

In: tasks in order, each with index names of its own. Out: the same tasks, renamed. The one rule: two indices get one
name only if they run alike along the same axis of an array that both tasks touch; a name says nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ...plan.places import Buffer, Part, Place, View
from ...plan.quantities import Apply, Count, Load, Number, Position, Reach, Reduced, Value
from ...plan.views import Row
from .lowering import Task, loads


def joined(tasks: Sequence[Task]) -> list[Task]:
    """The tasks under names that they share."""
    found: list[Task] = []
    for number, one in enumerate(tasks):
        names = _alike(found, one)
        ends = dict(one.extents)
        found.append(renamed(one, {i: names.get(i, f"{i}#{number}") for i in ends}))
    return found


def _alike(before: Sequence[Task], one: Task) -> dict[str, str]:
    """The indices of a task that run like those of tasks before it, latest first."""
    names: dict[str, str] = {}
    ends = dict(one.extents)
    for other in reversed(before):
        others = dict(other.extents)
        for buffer, axes in _axes(one):
            for same, theirs in _axes(other):
                if same != buffer:
                    continue
                for own, their in zip(axes, theirs, strict=True):
                    new = own not in names and their not in names.values()
                    if own and their and new and ends[own] == others[their]:
                        names[own] = their
    return names


def _axes(task: Task) -> Iterator[tuple[Buffer, tuple[str, ...]]]:
    """For each access the index along each axis; "" where there is none, or more than that index says."""
    for place in (task.place, *(p.place for p in loads(task.value) if not p.at)):
        if isinstance(place, Part):
            yield place.buffer, place.indices
        else:
            rows = (r.coefs[0] if len(r.coefs) == 1 else ("", 0) for r in place.rows)
            yield place.buffer, tuple(i if k == 1 else "" for i, k in rows)


# -- other names ---------------------------------------------------------------------------------------


def renamed(task: Task, names: Mapping[str, str]) -> Task:
    """A task whose indices have other names."""
    extents = tuple((names[i], e) for i, e in task.extents)
    place, value = _place(task.place, names), _value(task.value, names)
    return Task(place, task.op, value, extents, tuple(names[i] for i in task.taps))


def _place(place: Place, names: Mapping[str, str]) -> Place:
    if isinstance(place, Part):
        return Part(place.buffer, tuple(names.get(i, i) for i in place.indices))
    return View(place.buffer, tuple(_row(row, names) for row in place.rows))


def _row(row: Row, names: Mapping[str, str]) -> Row:
    return Row(row.const, tuple((names.get(i, i), k) for i, k in row.coefs))


def _value(value: Value, names: Mapping[str, str]) -> Value:
    match value:
        case Number():
            return value
        case Position(index, dtype):
            return Position(names.get(index, index), dtype)
        case Count(over, dtype):
            return Count(tuple(names.get(i, i) for i in over), dtype)
        case Reach():
            return replace(value, row=_row(value.row, names))
        case Load(place, dtype, at):
            return Load(_place(place, names), dtype, tuple((names.get(i, i), k) for i, k in at))
        case Apply(fn, args, dtype):
            return Apply(fn, tuple(_value(a, names) for a in args), dtype)
        case Reduced(op, inner, over):
            return Reduced(op, _value(inner, names), tuple(names.get(i, i) for i in over))
