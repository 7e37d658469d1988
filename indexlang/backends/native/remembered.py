"""Schedules by what they are made for: the same work but for names is scheduled once, in a process and on the disk.

In: a contraction or works of a Plan, the machine, a name for the nests. Out: `Remembered`: outlines of the nests. The
one rule: what is remembered has names of its own, and is given out under those that are asked for, so that nobody can
tell whether it was.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Any

from ...locks import Lock
from ...plan.places import Buffer
from . import contraction, engine, maps, objects
from .contraction_form import Contraction
from .meaning import Extents
from .nest import Array, Nest
from .outline import Outline, outline
from .renaming import renamed, text_of
from .sources import SCHEDULING
from .target import Target

MOST = 1024  # schedules that a process remembers
OWN = "k"  # what names of remembered nests and workspaces begin with; given arrays have an "a" and their number

Nests = Callable[[], tuple[Nest, ...]]


@dataclass(frozen=True)
class Remembered:
    """Nests in their order, arrays that they need beside the given ones, what is told of them, and which of the private
    arrays are not touched.
    """

    nests: tuple[Outline, ...]
    workspaces: tuple[Array, ...]
    told: str
    unused: frozenset[str] = frozenset()


def contracted(c: Contraction, target: Target, name: str) -> Remembered:
    """A contraction's schedule."""
    text, arrays = text_of(c)
    own = {a.name: f"a{k}" for k, a in enumerate(arrays) if a.name}
    found = _found(("contraction", text), target, lambda: contraction.schedule(renamed(c, own), target, OWN))
    assert found is not None
    return _under(found, {new: old for old, new in own.items()}, name)


def mapped(
    works: Sequence[maps.Work],
    extents: Extents,
    arrays: Mapping[Buffer, Array],
    target: Target,
    name: str,
    private: Collection[Buffer] = (),
) -> Remembered | None:
    """The schedule of works that run one after the other; None where there is none."""
    text, buffers = text_of((tuple(works), dict(extents), tuple(sorted(private, key=lambda b: b.name))))
    own = {b: Array(f"a{k}", b.dtype, prod(b.shape)) for k, b in enumerate(buffers) if isinstance(b, Buffer)}
    found = _found(("maps", text), target, lambda: maps.nests(works, extents, own, target, OWN, private))
    return None if found is None else _under(found, {a.name: arrays[b].name for b, a in own.items()}, name)


def _under(found: Remembered, given: Mapping[str, str], name: str) -> Remembered:
    """What is remembered, under the names of who asks."""

    def own(old: str) -> str:
        return given.get(old) or name + old.removeprefix(OWN)

    def array(a: Array) -> Array:
        return replace(a, name=own(a.name))

    nests = tuple(replace(n, name=own(n.name), arrays=tuple(map(array, n.arrays))) for n in found.nests)
    return replace(
        found, nests=nests, workspaces=tuple(map(array, found.workspaces)), unused=frozenset(map(own, found.unused))
    )


# -- what is kept ------------------------------------------------------------------------------------------

_lock = Lock()
_kept: OrderedDict[str, str] = OrderedDict()  # the texts of outlines; "null" where there is no schedule


def _found(what: tuple[str, str], target: Target, make: Callable[[], Any]) -> Remembered | None:
    """What is remembered under a key; else it is made, and remembered."""
    key = objects.key(repr(what), target, repr(target), SCHEDULING, engine.version())
    with _lock.held():
        text = _kept.get(key)
        if text is None:
            code = objects.load(key)
            text = None if code is None else code.decode()
        if text is not None:
            _keep(key, text)
            return _read(text, target, make)
        made = make()
        found = None if made is None else _outlined(made, target)
        text = _written(found)
        _keep(key, text)
    objects.keep(key, text.encode())
    return found


def _keep(key: str, text: str) -> None:
    _kept[key] = text
    _kept.move_to_end(key)
    while len(_kept) > MOST:
        _kept.popitem(last=False)


def _outlined(made: Any, target: Target) -> Remembered:
    nests = tuple(outline(nest, target) for nest in made.nests)
    return Remembered(nests, made.workspaces, made.told, frozenset(getattr(made, "unused", ())))


def _written(found: Remembered | None) -> str:
    if found is None:
        return "null"
    nests = [[n.name, [_words(a) for a in n.arrays], n.count, n.work, n.numbers, n.key] for n in found.nests]
    return json.dumps([nests, [_words(a) for a in found.workspaces], found.told, sorted(found.unused)])


def _words(a: Array) -> list[str | int]:
    return [a.name, a.dtype, a.size, a.role]


def _read(text: str, target: Target, make: Callable[[], Any]) -> Remembered | None:
    read = json.loads(text)
    if read is None:
        return None
    nests, workspaces, told, unused = read

    @cache
    def again() -> tuple[Nest, ...]:
        made: tuple[Nest, ...] = make().nests
        assert [outline(n, target).key for n in made] == [key for *_, key in nests], "a schedule is not what it was"
        return made

    def kernel(number: int) -> Callable[[], Nest]:
        return lambda: again()[number]

    outlines = tuple(
        Outline(name, tuple(Array(*a) for a in arrays), count, work, tuple(numbers), key, kernel(k))
        for k, (name, arrays, count, work, numbers, key) in enumerate(nests)
    )
    return Remembered(outlines, tuple(Array(*a) for a in workspaces), told, frozenset(unused))
