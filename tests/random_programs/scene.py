"""The indices of one statement, and the subscripts that they make.

In: axes with their sizes. Out: the text of subscripts, and for each index how far it runs. The one rule: a subscript
is only ever made such that it stays inside its axis, or such that a boundary or a mask keeps it there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from .sample import INTEGERS, Input
from .words import INDICES, INPUTS, MADE, Dice, Scale, fresh


@dataclass
class Tensors:
    """What the program has so far: its inputs, and what its statements have made (`limits` of those with integers)."""

    dice: Dice
    scale: Scale
    sizes: tuple[int, ...]
    inputs: dict[str, Input] = field(default_factory=dict)
    made: dict[str, tuple[int, ...]] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    present: dict[str, tuple[int, int]] = field(default_factory=dict)  # the indices of the statement at hand

    def __post_init__(self) -> None:
        self._inputs, self._made = fresh(self.dice, INPUTS), fresh(self.dice, MADE)

    def new_input(self, shape: tuple[int, ...], limit: int = 0) -> str:
        """An input of this shape; with a limit, of integers below it."""
        dice = self.dice
        name = next(self._inputs)
        if shape and dice.chance(5):  # a tensor may be called like an index of another statement
            name = dice.one_of(INDICES)
        taken = {*self.inputs, *self.made, *self.present}
        if name in taken:
            name = next(n for n in self._inputs if n not in taken)
        layout = dice.weighted(_LAYOUTS)
        if limit:
            fitting = [d for d in INTEGERS if limit - 1 <= np.iinfo(d).max]
            self.inputs[name] = Input(shape, "below", limit, dice.one_of(fitting), layout)
        else:
            self.inputs[name] = Input(shape, dice.weighted(_NUMBERS), layout=layout)
        return name

    def new_made(self) -> str:
        return next(n for n in self._made if n not in self.inputs and n not in self.made)

    def size(self) -> int:
        return self.dice.one_of(self.sizes)


_LAYOUTS = (
    *((50.0, "C"), (9.0, "F"), (9.0, "permuted"), (9.0, "negative"), (9.0, "sliced"), (6.0, "inner")),
    *((5.0, "broadcast"), (2.0, "readonly"), (1.0, "unaligned")),
)
_NUMBERS = (
    *((70.0, "normal"), (9.0, "ties"), (6.0, "sparse"), (6.0, "positive"), (6.0, "small")),
    *((1.5, "offset"), (1.5, "far row")),
)


class Scene:
    """One statement's indices. `outer` are its own, `inner` those of embedded reductions."""

    def __init__(self, dice: Dice, tensors: Tensors) -> None:
        self.dice, self.tensors = dice, tensors
        self.extent: dict[str, tuple[int, int]] = {}
        tensors.present = self.extent
        self.outer: list[str] = []
        self.inner: list[str] = []
        self.uses: dict[str, set[int]] = {}  # the sizes of the axes that an index subscripts plainly
        self.must: set[str] = set()  # indices whose range has to be written
        self.merged: set[str] = set()  # indices that fill an axis together
        self.bound: dict[str, str] = {}  # another way to write where a range ends
        self.conditions: list[str] = []
        self.avoid: set[str] = set()  # the indices that the access at hand has already
        self._names = fresh(dice, INDICES)

    # -- indices -------------------------------------------------------------------------------

    @property
    def points(self) -> int:
        return math.prod(hi - lo for lo, hi in self.extent.values())

    def high(self, index: str) -> int:
        return self.extent[index][1]

    def new(self, size: int, inner: bool = False) -> str | None:
        """A new index 0..size-1, if there is room for it."""
        if self.points * size > self.tensors.scale.points or len(self.extent) > 7:
            return None
        taken = {*self.tensors.inputs, *self.tensors.made, *self.extent}
        name = next(n for n in self._names if n not in taken)
        self.extent[name] = (0, size)
        (self.inner if inner else self.outer).append(name)
        return name

    def others(self, indices: list[str]) -> list[str]:
        """Those that the access at hand has not: diagonals are rare."""
        return [i for i in indices if i not in self.avoid or self.dice.chance(5)]

    def of(self, size: int) -> str | None:
        """An index of this size: one of the statement's, or a new one."""
        same = self.others([i for i in self.outer if self.extent[i] == (0, size)])
        if same and self.dice.chance(55):
            return self.dice.one_of(same)
        return self.new(size) or (self.dice.one_of(same) if same else None)

    def any(self) -> str:
        """One of the statement's indices, a new one if there is none that the access at hand has not."""
        found = self.others(self.outer)
        if not found or self.dice.chance(15):
            made = self.new(self.tensors.size())
            if made:
                return made
        if found or self.outer:
            return self.dice.one_of(found or self.outer)
        made = self.new(1)
        assert made
        return made

    def plain(self, index: str, size: int) -> str:
        self.uses.setdefault(index, set()).add(size)
        return index

    def cut(self) -> None:
        """Let some indices stop early, or begin late: whatever they subscript stays inside."""
        for index in self.outer:
            hi = self.high(index)
            if hi > 2 and index not in self.merged and self.dice.chance(4):
                self.extent[index] = (1, hi) if self.dice.chance(50) else (0, hi - 1)
                self.must.add(index)

    def ranges(self, how: int) -> list[str]:
        """The ranges to write: 0, those that nothing else can give; 1, those that no plain subscript gives; 2, all."""
        found = []
        for index, (lo, hi) in self.extent.items():
            uses = self.uses.get(index, set())
            solved = lo == 0 and index not in self.must and (uses == {hi} or (how == 0 and not uses))
            if how == 2 or not solved:
                end = self.bound.get(index, str(hi))
                found.append(f"{lo} <= {index} < {end}" if lo else f"{index} < {end}")
        return found

    # -- subscripts ----------------------------------------------------------------------------

    def axis(self, size: int, wild: float = 12) -> str:
        """A subscript for an axis of this size."""
        if not self.dice.chance(wild):
            index = self.of(size)
            if index:
                self.avoid.add(index)
                return self.plain(index, size)
        for make in self.dice.shuffled([self.window, self.window, self.bounded, self.gathered, self.stepped]):
            text = make(size)
            if text:
                return text
        return self.affine(size)

    def new_axis(self, wild: float = 12) -> tuple[str, int]:
        """A subscript for an axis that may have any size, and the size."""
        dice = self.dice
        if not dice.chance(wild):
            index = self.any()
            self.avoid.add(index)
            return self.plain(index, self.high(index)), self.high(index)
        if dice.chance(50):
            text, low, high = self.form([self.any(), self.any()])
            return _shifted(text, -low), high - low + 1 + dice.one_of((0, 0, 0, 1))
        size = self.tensors.size()
        return self.axis(size, 100), size

    def form(self, indices: list[str]) -> tuple[str, int, int]:
        """An affine form of some indices, and its least and greatest value."""
        dice = self.dice
        terms, least, greatest = [], 0, 0
        for i in dict.fromkeys(indices):
            lo, hi = self.extent[i]
            by = dice.one_of((1, 1, 1, 2, -1, 3))
            ends = (by * lo, by * max(lo, hi - 1))
            least, greatest = least + min(ends), greatest + max(ends)
            terms.append(("+" if by > 0 else "-") + (i if abs(by) == 1 else f"{abs(by)}*{i}"))
        return "".join(sorted(terms)).removeprefix("+"), least, greatest

    def affine(self, size: int) -> str:
        """A fixed position, or a form of indices that happens to fit."""
        for _ in range(3):
            text, low, high = self.form([self.any(), self.any()][: self.dice.between(1, 2)])
            if high - low < size:
                return _shifted(text, -low + self.dice.between(0, size - 1 - (high - low)))
        return str(self.dice.between(0, size - 1))

    def window(self, size: int) -> str | None:
        """Positions that slide: strides, dilations, flips, pads."""
        dice = self.dice
        step, apart = dice.one_of((1, 1, 1, 2, 3)), dice.one_of((1, 1, 1, 2))
        lo, hi = (dice.between(0, 2), dice.between(0, 2)) if dice.chance(35) else (0, 0)
        taps = [n for n in (1, 2, 3, 3, 4) if apart * (n - 1) < size + lo + hi]
        tap = self._tap(taps)
        if tap is None:
            return None
        place = self.new((size + lo + hi - 1 - apart * (self.high(tap) - 1)) // step + 1)
        if place is None:
            return None
        if dice.chance(15):  # a flipped kernel
            text = f"{_times(step, place)}+{apart * (self.high(tap) - 1)}-{_times(apart, tap)}"
        else:
            text = "+".join(dice.shuffled([_times(step, place), _times(apart, tap)]))
        if lo or hi:
            value = dice.one_of(("", "", "", ",value=1", ",value=-0.5"))
            ends = f",{lo}" if lo == hi and dice.chance(50) else f",{lo},{hi}"
            return f"pad({text}{ends}{value})"
        return text

    def _tap(self, sizes: list[int]) -> str | None:
        """The index of a window's taps; one that there is already, sometimes."""
        fitting = [i for i in self.outer if self.extent[i][0] == 0 and self.high(i) in sizes]
        if fitting and self.dice.chance(30):
            return self.dice.one_of(fitting)
        return self.new(self.dice.one_of(sizes)) if sizes else None

    def bounded(self, size: int) -> str | None:
        """Positions that may leave the axis, under a boundary."""
        dice = self.dice
        text, low, high = self.form([self.any(), self.any()])
        shift = dice.between(-2 - low, max(size - high + 1, -1 - low))
        kind = dice.one_of(("pad", "pad", "clamp", "wrap", "reflect"))
        self.must.update(self.outer)
        return f"{kind}({_shifted(text, shift)})"

    def stepped(self, size: int) -> str | None:
        """Divisions, remainders, reversals, and several indices on one axis."""
        dice, name = self.dice, self.any()
        hi = self.high(name)
        by = dice.one_of((2, 3))
        match dice.between(0, 3):
            case 0 if (hi - 1) // by < size:
                return f"{name}//{by}"
            case 1 if min(by, hi) <= size:
                return f"{name}%{by}"
            case 2 if size > 3:
                parts = [n for n in range(1, size + 1) if size % n == 0]
                first = dice.one_of(parts)
                a, b = self.new(first), self.new(size // first)
                if a and b:
                    self.must.update((a, b))
                    self.merged.update((a, b))
                    return f"({a},{b})"
                if a:
                    self.plain(a, first)
                    self.must.add(a)
                return None
            case _ if hi <= size:
                return f"{size - 1}-{name}"
        return None

    def gathered(self, size: int) -> str | None:
        """Positions from data."""
        dice, tensors = self.dice, self.tensors
        if size < 1:
            return None
        more = None
        if size > 2 and dice.chance(25):
            more = self.new(dice.between(1, 2))
        limit = size - (self.high(more) - 1 if more else 0)
        made = [n for n, below in tensors.limits.items() if below <= limit]
        if made and dice.chance(50):
            name = dice.one_of(made)
            read = self.read(name, [self.axis(n, 0) for n in tensors.made[name]])
        else:
            axes = dice.some(self.outer, 1)[:2] or [self.any()]
            name = tensors.new_input(tuple(self.high(i) for i in axes), limit)
            read = self.read(name, [self.plain(i, self.high(i)) for i in axes])
        if more:
            self.must.add(more)
            return f"{read}+{more}"
        if dice.chance(20):
            return f"{dice.one_of(('clamp', 'wrap', 'reflect', 'pad'))}({read}{dice.one_of(('-1', '+1', ''))})"
        return read

    def read(self, name: str, subscripts: list[str]) -> str:
        self.avoid = set()
        return f"{name}[{','.join(subscripts)}]" if subscripts else name


def _times(by: int, name: str) -> str:
    return name if by == 1 else f"{by}*{name}"


def _shifted(text: str, by: int) -> str:
    if not by:
        return text
    return f"{by}{text}" if text.startswith("-") and by > 0 else f"{text}{by:+d}"
