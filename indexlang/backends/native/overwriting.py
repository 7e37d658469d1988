"""Arrays that are made where another one lies: what is read for the last time gives its memory to what is made of it.

In: the nests of a call, by the tasks that they do. Out: the same, two arrays as one. The one rule: an array is written
over by the task that reads it last, which reads of it just the element that it writes; the pass is scheduled anew, as
one that changes an array, so that nests keep apart what must be apart, and is taken if it has as many nests as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...plan.buffers import bytes_of, places_of, rebuilt
from ...plan.kernels import Map
from ...plan.places import Buffer, View
from .chains import Members, Number
from .lowering import Task
from .nest import Array
from .scheduling import Scheduled

LEAST = 1 << 18  # bytes of an array that is worth it


@dataclass(frozen=True)
class Pass:
    """Tasks that are nests together; whether these are maps and reductions alone, as which they may be made again."""

    members: Members
    made: Scheduled
    plain: bool

    @property
    def tasks(self) -> list[Task]:
        return [task for _, task in self.members]


def overwritten(
    passes: Sequence[Pass],
    touched: Mapping[Buffer, int],
    first: Mapping[Buffer, Number],
    arrays: Mapping[Buffer, Array],
    again: Callable[[Members, Buffer], Scheduled | None],
) -> tuple[list[Scheduled], dict[str, str]]:
    """What each pass is now, and which arrays lie where others are made. `again` schedules a pass whose tasks change a
    buffer; `touched` says how many steps touch each buffer, `first` which one is the first.
    """
    own, lying = list(passes), dict[str, str]()
    for number, one in enumerate(own):
        for old, new in _pairs(one) if one.plain and not one.made.pieces else ():
            before, now = own[:number], own[number]
            begun = any(new in t.buffers for p in before for t in p.tasks)
            if begun or first[new] not in [n for n, _ in now.members] or not _dies(old, (*before, now), touched):
                continue
            if not {arrays[old].name, arrays[new].name} <= {a.name for n in now.made.nests for a in n.arrays}:
                continue  # what stays on the way is in no nest
            changed = _instead(now, old, new)
            made = again(changed.members, new)
            if made is None or made.pieces or len(made.nests) != len(now.made.nests):
                continue
            own[number] = replace(changed, made=made)
            lying[arrays[old].name] = arrays[new].name
            own[:number] = [_lying_in(_instead(p, old, new), arrays[old].name, arrays[new].name) for p in before]
    return [p.made for p in own], lying


def _pairs(one: Pass) -> Iterator[tuple[Buffer, Buffer]]:
    """What a task reads element by element, and what it makes of that: of one shape and type, both in no other pair."""
    tasks, taken = one.tasks, set[Buffer]()
    for k, task in enumerate(tasks):
        new = task.place.buffer
        if task.op != "=" or task.taps or not isinstance(task.kernel, Map) or not isinstance(task.place, View):
            continue
        read = [p for p in places_of(task.kernel) if p.buffer != new]
        for old in dict.fromkeys(p.buffer for p in read):
            like = (old.shape, old.dtype) == (new.shape, new.dtype) and bytes_of(old) >= LEAST
            alike = all(p == View(old, task.place.rows) for p in read if p.buffer == old)
            later = any(old in t.buffers for t in tasks[k + 1 :]) or any(new in t.buffers for t in tasks[:k])
            if like and alike and not later and old.role not in ("input", "table") and not {old, new} & taken:
                taken |= {old, new}
                yield old, new
                break


def _dies(old: Buffer, passes: Sequence[Pass], touched: Mapping[Buffer, int]) -> bool:
    """Whether a buffer is touched in these passes alone, and made before the last of them."""
    known = sum(old in t.buffers for p in passes for t in p.tasks)
    return known == touched[old] and any(t.place.buffer == old for p in passes[:-1] for t in p.tasks)


def _instead(one: Pass, old: Buffer, new: Buffer) -> Pass:
    """The pass with another buffer."""

    def rule(part: Any) -> Buffer | None:
        return new if isinstance(part, Buffer) and part == old else None

    members = [(n, replace(t, place=rebuilt(t.place, rule), kernel=rebuilt(t.kernel, rule))) for n, t in one.members]
    return replace(one, members=members)


def _lying_in(one: Pass, old: str, new: str) -> Pass:
    """The pass whose nests have an array under another name."""

    def array(a: Array) -> Array:
        return replace(a, name=new) if a.name == old else a

    nests = tuple(replace(n, arrays=tuple(map(array, n.arrays))) for n in one.made.nests)
    pieces = {name: replace(p, array=new) if p.array == old else p for name, p in one.made.pieces.items()}
    return replace(one, made=replace(one.made, nests=nests, pieces=pieces))
