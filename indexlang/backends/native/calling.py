"""A group of nests as one function of NumPy arrays.

In: compiled nests, the arrays that a call gives, and those that pass values from nest to nest. Out: a `Native`. The one
rule: the quick way checks what it is given; where it says no, the addresses are asked for here.

What passes from nest to nest lies in a room of the call's own. A small one is kept with the code; a large one is taken
from the memory that all programs leave for each other, as there may be code for many sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from ...plan.places import Buffer
from ..numpy.rooms import ROOMS
from .arena import arena
from .nest import Array
from .outline import Outline
from .quick import quick
from .runner import Argument, Constant, Memory, Place, Room, Runner, Step

KEPT = 1 << 20  # bytes of a room up to which it is kept with the code


class Code(Protocol):
    """Code that is there as long as this is alive."""

    def address(self, name: str) -> int:
        """Where a nest's function is."""


@dataclass(frozen=True)
class Native:
    """A group as a function of the arrays that it reads and then those that it writes, all contiguous, which gives True
    where a nest refused to go on; its runner's memory, and what makes room in it for one more call at a time; and
    whether Python's objects are as they are known, so that builtin functions can be made.
    """

    call: Callable[..., Any]
    memory: Memory
    grow: Callable[[], None]
    fast: bool


def native(
    name: str,
    code: Code,
    nests: Sequence[Outline],
    read: Sequence[tuple[Buffer, Array]],
    written: Sequence[tuple[Buffer, Array]],
    inside: Sequence[Array],
    flags: Collection[str] = (),
    pieces: Mapping[str, tuple[str, int]] | None = None,
) -> Native:
    """A group of nests; `inside` are the arrays that nobody else sees, `flags` those in which nests refuse to go on;
    `pieces` says of other arrays of nests of which they are a piece, so many bytes from its beginning.
    """
    homes = {name: home for name, (home, _) in (pieces or {}).items()}
    places: dict[str, Place] = {a.name: Argument(k) for k, (_, a) in enumerate((*read, *written))}
    offsets, room = arena(nests, {a.name: a.size * np.dtype(a.dtype).itemsize for a in inside}, homes)
    last = {a.name: k for k, n in enumerate(nests) for a in n.arrays if a.name in flags}
    refuses = {k: flag for flag, k in last.items()}
    kinds = [(b.dtype, b.shape) for b, _ in (*read, *written)]
    sizes = [a.size * np.dtype(a.dtype).itemsize for _, a in (*read, *written)]
    borrowed = room if room > KEPT else 0
    if borrowed:
        places |= {n: Argument(len(sizes), at) for n, at in offsets.items()}
        kinds, sizes = [*kinds, ("uint8", (room,))], [*sizes, room]
    else:
        places |= {n: Room(at) for n, at in offsets.items()}
    places |= {name: _moved(places[home], by) for name, (home, by) in (pieces or {}).items()}
    steps = [Step(n, code.address(n.name), _own(n, places), n.work, refuses.get(k, "")) for k, n in enumerate(nests)]
    runner = Runner(steps, sizes, 0 if borrowed else room, code)
    fast = quick(name, kinds[: len(read)], kinds[len(read) :], runner)

    def slowly(*arrays: Any) -> bool:
        for x, (dtype, shape) in zip(arrays, kinds, strict=True):
            if x.dtype != dtype or x.shape != shape or not (x.flags.c_contiguous and x.flags.aligned):
                raise AssertionError(f"{name} takes {dtype}{list(shape)}, in order, not {x.dtype}{list(x.shape)}")
        return runner(*(x.ctypes.data for x in arrays))

    def call(*arrays: Any) -> bool | None:
        found: Any = NotImplemented if fast is None else fast(*arrays)
        return slowly(*arrays) if found is NotImplemented else found

    if borrowed:
        return Native(_lent(call, borrowed), runner.memory, runner.grow, False)
    return Native(call, runner.memory, runner.grow, fast is not None)


def _moved(place: Place, by: int) -> Place:
    assert not isinstance(place, Constant)
    return replace(place, offset=place.offset + by)


def _lent(call: Callable[..., Any], size: int) -> Callable[..., Any]:
    """A call that is given a room behind its arrays."""

    def lent(*arrays: Any) -> Any:
        room = ROOMS.take(size)
        found = call(*arrays, room[:size])
        ROOMS.give(room)
        return found

    return lent


def _own(nest: Outline, places: Mapping[str, Place]) -> dict[str, Place]:
    return {a.name: places[a.name] for a in nest.arrays if a.role != "workspace"}
