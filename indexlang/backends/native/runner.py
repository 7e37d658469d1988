"""A program of steps, each a compiled nest with its arrays placed, which one call runs.

In: steps, how many bytes each argument has, how many the room for what lies between. Out: a `Runner`, called with the
arguments' addresses. Errors: `ValueError` where an array does not fit into its place. The one rule: a call has its own
context, with pointers, room and workspaces, which the next call takes over: calls from several threads meet nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from struct import Struct
from typing import Any, Protocol

import numpy as np

from ... import threads
from ...locks import Lock
from .nest import Array
from .pool import native
from .pool_ir import ITEMS, REFUSES, SHARED, WAKE

LINE = 64  # bytes to which rooms and workspaces are aligned
TOGETHER = 3_000  # ns of work from which others may help in a step
WOKEN = 40_000  # ns of work still to be shared from which they are woken
RELEASED = 5_000  # ns of work from which Python's lock is released
REFUSED = 2  # what a call gives where a step refused to go on

Words = np.ndarray[Any, np.dtype[np.int64]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Argument:
    """In an argument of the call, so many bytes from its beginning."""

    number: int
    offset: int = 0


@dataclass(frozen=True)
class Room:
    """In the room of each call, so many bytes from its beginning, which is aligned to a line."""

    offset: int


@dataclass(frozen=True, eq=False)
class Constant:
    """An array that is there already."""

    array: np.ndarray[Any, Any]


Place = Argument | Room | Constant


class Called(Protocol):
    """What is asked of a nest."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays whose addresses it takes, in this order."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers that it takes behind them."""

    @property
    def count(self) -> int:
        """How many items it has."""


@dataclass(frozen=True)
class Step:
    """A nest, the address of its code, and where its arrays are. Workspaces need no place: each thread has its own.

    `work` is about how many nanoseconds it takes in one thread: it decides whether others help, and are woken.
    `refuses` is the name of the array, of one truth value, in which it says whether nothing behind it is to run.
    """

    nest: Called
    address: int
    places: Mapping[str, Place]
    work: float = float("inf")
    refuses: str = ""

    @property
    def words(self) -> int:
        """How many words its code takes: addresses and numbers."""
        return len(self.nest.arrays) + len(self.nest.numbers)

    @property
    def shared(self) -> bool:
        """Whether others may help."""
        return 1 < self.nest.count <= ITEMS and self.work >= TOGETHER


@dataclass
class Memory:
    """What native code points to; the words of a program, a context and a row are those of `call_ir` and `pool_ir`."""

    program: Words
    template: Words = field(default_factory=lambda: np.zeros((0, 8), np.int64))  # the rows of each context to come
    contexts: list[tuple[Words, Bytes, Bytes]] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)

    def wake(self) -> None:
        """Let others be woken for its steps: it is called so often in a row that they have enough to do."""
        rows = len(self.template)
        for table in (self.template, *(words[8 : 8 + 8 * rows].reshape(rows, 8) for words, _, _ in self.contexts)):
            table[:, 3] |= np.where(table[:, 3] & SHARED, WAKE, 0)


class Runner:
    """`runner(*addresses)` runs the steps one after the other, with Python's lock released.

    `code` is kept alive with it: the libraries in which the steps' functions are.
    """

    def __init__(self, steps: Sequence[Step], arguments: Sequence[int], room: int = 0, code: object = None) -> None:
        self.arguments, self._room = tuple(arguments), room
        self._steps = tuple(steps)
        for step in steps:
            _fits(step, self.arguments, room)
        self._offsets = [_offsets(step.nest, step.places) for step in steps]
        self._slot = max((size for _, size in self._offsets), default=0)
        self._private = any(step.shared and size for step, (_, size) in zip(steps, self._offsets, strict=True))
        self.memory = Memory(np.zeros(16, np.int64), kept=[code])
        self._lock, self._native = Lock(), native()
        self.memory.template = self._rows()
        self._fill_program()
        self._pack = Struct(f"{len(self.arguments)}P").pack
        self._address = self.memory.program.ctypes.data
        self.grow()

    @property
    def work(self) -> float:
        """About how many nanoseconds it takes in one thread."""
        return sum(step.work for step in self._steps)

    def __call__(self, *addresses: int) -> bool:
        """Run the steps, and say whether one refused to go on. Each argument begins at its address; nobody looks what
        is there.
        """
        packed = self._pack(*addresses)
        while not (end := self._native.call(self._address, packed)):
            self.grow()
        return end == REFUSED

    def _rows(self) -> Words:
        """The rows but for pointers, which each context has itself."""
        rows = np.zeros((len(self._steps), 8), np.int64)
        left = reversed(list(accumulate(s.work if s.shared else 0.0 for s in reversed(self._steps))))
        first = 0
        for row, step, (offsets, size), ahead in zip(rows, self._steps, self._offsets, left, strict=True):
            flags = (SHARED if step.shared else 0) | (WAKE if ahead >= WOKEN else 0)
            names = [a.name for a in step.nest.arrays]
            told = names.index(step.refuses) if step.refuses else 0
            flags |= REFUSES if step.refuses else 0
            row[:7] = step.address, 8 * first, step.nest.count, flags, step.words, 0, 8 * (first + told)
            if size:
                row[5] = offsets.ctypes.data
                self.memory.kept.append(offsets)
            first += step.words
        return rows

    def _fill_program(self) -> None:
        found, first = [], 0
        for step in self._steps:
            for k, array in enumerate(step.nest.arrays, first):
                place = step.places.get(array.name)
                if isinstance(place, Argument):
                    found.append((k, place.number, place.offset))
            first += step.words
        patches = np.array(found, np.int64).reshape(-1, 3)
        self.memory.kept.append(patches)
        program = self.memory.program
        program[:4] = len(self._steps), len(patches), patches.ctypes.data, len(self.arguments)
        program[6:8] = self.work >= RELEASED, self._slot if self._private else 0

    def grow(self) -> None:
        """One more context, for a call while the others are busy, or since there are more threads."""
        slots = threads.num_threads() if self._private else 1
        room, workspaces = _aligned(self._room), _aligned(slots * self._slot)
        rows, count = len(self._steps), sum(step.words for step in self._steps)
        words = np.zeros(8 + 8 * rows + count, np.int64)
        start = words.ctypes.data
        pointers = words[8 + 8 * rows :]
        words[1:6] = start + 64, start + 64 + 64 * rows, workspaces.ctypes.data, self._slot, slots
        table = words[8 : 8 + 8 * rows].reshape(rows, 8)
        table[...] = self.memory.template
        table[:, [1, 6]] += start + 64 + 64 * rows
        pointers[...] = [
            word for s in self._steps for word in (*(self._pointer(s, a, room) for a in s.nest.arrays), *s.nest.numbers)
        ]
        with self._lock.held():
            words[6] = self.memory.program[5]
            self.memory.contexts.append((words, room, workspaces))
            self.memory.program[5] = start  # the last, when all of it is there

    def _pointer(self, step: Step, array: Array, room: Bytes) -> int:
        match step.places.get(array.name):
            case Room(offset):
                return int(room.ctypes.data) + offset
            case Constant(given):
                self.memory.kept.append(given)
                return int(given.ctypes.data)
            case _:
                return 0


def _fits(step: Step, arguments: Sequence[int], room: int) -> None:
    """Every array lies inside of its place."""
    for array in step.nest.arrays:
        size = array.size * np.dtype(array.dtype).itemsize
        match step.places.get(array.name):
            case None:
                good = array.role == "workspace"
            case Argument(number, offset):
                good = 0 <= number < len(arguments) and offset >= 0 and offset + size <= arguments[number]
            case Room(offset):
                good = offset >= 0 and offset + size <= room
            case Constant(given):
                contiguous = given.flags.c_contiguous and (given.flags.writeable or array.role == "input")
                good = contiguous and given.dtype == array.dtype and given.size == array.size
        if not good:
            raise ValueError(f"{step.nest.name}: {array.name} does not fit into its place")


def _offsets(nest: Called, places: Mapping[str, Place]) -> tuple[Words, int]:
    """Where each array is in a thread's slot, -1 where it is not; the bytes of the slot, 0 where it needs none."""
    at = _up(8 * (len(nest.arrays) + len(nest.numbers)))
    found = []
    for array in nest.arrays:
        private = array.name not in places
        found.append(at if private else -1)
        at += _up(array.size * np.dtype(array.dtype).itemsize) if private else 0
    needed = any(k >= 0 for k in found)
    found += [-1] * len(nest.numbers)
    return np.array(found, np.int64), at + LINE if needed else 0  # a line apart, so that no two threads share one


def _up(size: int) -> int:
    return -(-size // LINE) * LINE


def _aligned(size: int) -> Bytes:
    """Bytes that begin at a line."""
    raw = np.empty(size + LINE, np.uint8)
    skip = -raw.ctypes.data % LINE
    return raw[skip : skip + size]
