"""Memory that calls leave for the next ones, the same for all programs of a process.

New memory costs a fault of a page for every few kilobytes; what was used before is there, and often in the cache. That
goes for what NumPy makes on the way, too: the C library gives larger arrays back to the system as soon as they are let
go, until it has seen an array as large as `SEEN` come and go. One that nobody touches costs nothing.

In: sizes; what is given back. Out: memory of which nothing is known. The one rule: it belongs to one call, or to one
thread of it, until that gives it back: what is taken is no longer here, and an error loses it.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from ...plan.limits import NUMPY
from ...plan.rooms import LINE

Memory = NDArray[np.uint8]

ALONE = 1 << 30  # bytes of what native code passes on in a step of a large network, which is taken again by the next
SEEN = (32 << 20) - (64 << 10)  # bytes: glibc learns from up to 32 MB, with its own words about them


class Rooms:
    """Pieces of memory, `most` bytes of them at most, or a single one of up to `alone` bytes. Lists take and give one
    element at a time, without a lock.
    """

    def __init__(self, most: int, alone: int = 0) -> None:
        self.most, self.alone = most, max(most, alone)
        self._resting: list[Memory] = []

    @property
    def size(self) -> int:
        """The bytes that rest here."""
        return sum(room.size for room in tuple(self._resting))

    def take(self, size: int) -> Memory:
        """Memory of at least so many bytes: the smallest that rests and holds them, or else new one, for which the
        largest of what is too small goes. So calls that follow each other have one piece, whatever each of them needs.
        A single one above `most` is for those alone that need half of it.
        """
        while (found := self._pop(size, max(2 * size, self.most))) is not None:
            if size <= found.size:
                return found
            self._resting.append(found)  # somebody else has taken the one that was meant
        small = [(room.size, k) for k, room in enumerate(tuple(self._resting)) if room.size < size]
        with suppress(IndexError):
            del self._resting[max(small)[1] if small else len(self._resting)]
        whole = np.empty(size + LINE, np.uint8)
        first = -int(whole.ctypes.data) % LINE
        return whole[first : first + size]

    def _pop(self, least: int, most: int) -> Memory | None:
        """The smallest piece of so many bytes, of several the last one given; or another one."""
        fitting = [(room.size, -k) for k, room in enumerate(tuple(self._resting)) if least <= room.size <= most]
        try:
            return self._resting.pop(-min(fitting)[1]) if fitting else None
        except IndexError:
            return self._pop(least, most)

    def give(self, room: Memory) -> None:
        """Leave memory for others; of too much, what has rested longest goes."""
        resting = self._resting
        if room.size <= self.alone:
            resting.append(room)
        while len(resting) > 1 and self.size > self.most:
            try:
                resting.pop(0)
            except IndexError:
                return

    def clear(self) -> None:
        """Let all of it go."""
        self._resting.clear()


ROOMS = Rooms(NUMPY.resting, ALONE)
np.empty(SEEN, np.uint8)
