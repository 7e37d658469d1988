"""Where a step writes: a name for an array that it makes, or memory that is there.

In: a place, an operator, an operand over the axes of the place. Out: lines. The one rule: what a caller gets is
contiguous and its own; what is there is changed in place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...plan.places import Place
from . import code as py
from .arrays import Operand, aligned, array, operand
from .code import REST, Code, Item, Name, Operator, call, dtype, full, row
from .expressions import UFUNCS, converted
from .names import Writer
from .support import ARRAYS

_SIGNS = {"+=": "+=", "-=": "-=", "*=": "*=", "/=": "/="}


@dataclass
class Target:
    """A place that is written with an operator. `new` if the first thing that is made of it is all of its buffer, once:
    then it can be what an expression gives.
    """

    w: Writer
    place: Place
    op: str
    new: bool = False
    x: Operand | None = None

    def __post_init__(self) -> None:
        w, buffer = self.w, self.place.buffer
        if buffer not in w.made:
            assert self.op == "=", f"{buffer.name} is combined with before it is defined"
            name = w.fresh(buffer.name)
            if w.at_top:
                w.made_of(self.place, name, 0)
                found = operand(w, self.place)
                self.new = isinstance(found.code, Name)
                if self.new:
                    self.x = found
                else:
                    del w.made[buffer]
            if not self.new:
                w.make(self.place, name=name)

    @property
    def here(self) -> Operand:
        """The code of the place."""
        if self.x is None:
            self.x = operand(self.w, self.place)
        return self.x

    @property
    def axes(self) -> tuple[str, ...]:
        return self.here.indices

    @property
    def dtype(self) -> str:
        return self.place.buffer.dtype

    def out(self) -> Operand:
        """The place as memory to be written."""
        if self.new:
            assert isinstance(self.here.code, Name)
            self.w.memory(self.place.buffer, self.here.code, self.w.level)
            self.new = False
        return replace(self.here, code=array(self.here))

    @property
    def rests(self) -> bool:
        """Whether the memory is kept from call to call: then it is there already."""
        return self.place.buffer in self.w.room.at

    # -- putting -------------------------------------------------------------------------------

    def put(self, found: Operand) -> None:
        """Write what an operand holds, or combine it into what is there."""
        x = aligned(found, self.axes)
        if self.new and self._made(x):
            return
        if self.op == "=":
            self._set(x)
        else:
            self._combine(x)

    def _made(self, x: Operand) -> bool:
        """Whether the operand itself becomes the array."""
        w, kind, shape = self.w, dtype(self.dtype), self.place.buffer.shape
        assert isinstance(self.here.code, Name)
        if self.rests and (x.into or not x.fresh):
            return False
        if x.into and x.into[-1].function in ARRAYS and x.axes == self.axes and x.dtype == self.dtype:
            return False  # written by a function of ours, which wants memory
        if x.weak and isinstance(x.code, py.Number):
            made: Code = full(shape, x.code, self.dtype)
        elif x.weak or x.axes != self.axes:
            return False
        elif x.laid and x.dtype == self.dtype and x.axes:
            made = x.code
        elif x.fresh:
            exact = () if x.dtype == self.dtype else (kind,)
            made = call("np.ascontiguousarray" if x.axes else "np.asarray", x.code, *exact)
        else:
            made = call("np.array", x.code, kind, order=py.Text("C"))
        w.set(self.here.code, made)
        w.checks(self.here.code, row(shape))
        return True

    def _set(self, x: Operand) -> None:
        place = self.out()
        if x.into and x.axes == place.axes and x.dtype == self.dtype:
            for fill in x.into:
                if fill.function in ARRAYS:
                    self.w.use(fill.function)
                self.w.run(fill.code(place.code))
        else:
            self.w.set(_assigned(place.code), x.code)

    def _combine(self, x: Operand) -> None:
        w, op = self.w, self.op
        if not x.weak and not _fits(x.dtype, self.dtype):
            x = converted(w, x, self.dtype)
        place = array(self.here)
        if op in _SIGNS and isinstance(place, Item):
            w.set(place, x.code, op)
            return
        if not isinstance(place, Name):
            place = w.hold(place, "cells")
        if op in _SIGNS and w.own_level() == 0:
            w.set(place, x.code, op)
        else:
            w.run(call(UFUNCS[op], place, x.code, out=place))


def _assigned(place: Code) -> Code:
    """What stands on the left of an assignment to elements."""
    return place if isinstance(place, Item) else Item(place, (REST,))


def _fits(given: str, kind: str) -> bool:
    """Whether NumPy combines a dtype into another one, exactly where both are integers."""
    if given != kind and "uint64" in (given, kind):
        return False
    return np.can_cast(np.result_type(given, kind), kind, "same_kind")


def negated(x: Operand) -> Operand:
    """The operand below zero."""
    return replace(x, code=Operator("-", (x.code,)), fresh=True, laid=False, into=())
