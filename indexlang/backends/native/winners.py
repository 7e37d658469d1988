"""Positions of the greatest and the least, in registers: the first winner, and the first nan before all.

In: a fold by argmax or argmin, a point. Out: a register. The one rule: positions are gone through in the order of the
box, and the one that holds the best so far gives way only to what beats it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

from .meaning import unit
from .nest import Form, Literal, Operand, Type
from .nodes import Fold
from .values import Pieces, Point, Span, Values
from .varying import varies


class Winner:
    """The search of one fold at one point. `axis` is the last of its indices if vectors lie along it, else none."""

    def __init__(self, v: Values, fold: Fold, point: Point, axis: str, lanes: int) -> None:
        self.v, self.w, self.fold, self.point, self.axis = v, v.w, fold, point, axis
        inherited = point.vector in fold.indices
        self.lanes = lanes if axis else point.lanes if inherited else 1
        self.sizes = [v.sizes[i] for i in fold.over]
        self.strides = [prod(self.sizes[k + 1 :]) for k in range(len(self.sizes))]
        self.best = self.at = ""

    @property
    def is_float(self) -> bool:
        return self.fold.value.dtype.startswith("float")

    def one_by_one(self) -> Operand:
        """Every position written out."""
        best: Operand = ""
        at: Operand = Literal(0, Type(self.fold.dtype, self.lanes))
        for number, tap in enumerate(product(*map(range, self.sizes))):
            here = self.point
            for index, k in zip(self.fold.over, tap, strict=True):
                here = here.moved(index, Form(k))
            x = self.v.spread(self.v.value(self.fold.value, here), self.lanes)
            if not number:
                best = x
                continue
            wins = self.beats(x, best)
            best = self.w.apply("select", wins, x, best, kind=self.w.type_of(x))
            place = Literal(number, Type(self.fold.dtype, self.lanes))
            at = self.w.apply("select", wins, place, at, kind=place.type)
        return self.w.apply("same", at) if isinstance(at, Literal) else at

    def looped(self) -> Operand:
        """Loops around the best so far."""
        worst = unit("greatest" if self.fold.op == "argmax" else "least", self.fold.value.dtype)
        kinds = Type(self.fold.value.dtype, self.lanes), Type(self.fold.dtype, self.lanes)
        self.best = self.w.apply("same", Literal(worst, kinds[0]), kind=kinds[0], hint="best")
        self.at = self.w.apply("same", Literal(0, kinds[1]), kind=kinds[1], hint="at")
        self._within(0, self.point)
        return self._across() if self.axis else self.at

    def _within(self, level: int, here: Point) -> None:
        index = self.fold.over[level]
        span = Span(self.v.sizes[index])
        if level < len(self.sizes) - 1:
            self.v.sweep(index, 1, 1, span, lambda at: self._within(level + 1, here.moved(index, at[0][0])))
        else:
            self.v.sweep(index, self.lanes if self.axis else 1, 1, span, lambda at: self._here(index, here, at))

    def _here(self, index: str, around: Point, at: Pieces) -> None:
        for to, live in at:
            here = around.along(index, to, self.lanes, live) if self.axis else around.moved(index, to)
            self.v.prepare([self.fold.value], [here])
            x = self.v.spread(self.v.value(self.fold.value, here), self.lanes)
            wins = self.beats(x, self.best)
            if live:
                wins = self.w.apply("and", wins, self.v.there(self.lanes, live))
            self.w.apply("select", wins, x, self.best, kind=self.w.type_of(x), register=self.best)
            place = self._number(here)
            self.w.apply("select", wins, place, self.at, kind=self.w.type_of(place), register=self.at)

    def _number(self, here: Point) -> Operand:
        """The position in the box."""
        form = Form()
        for index, stride in zip(self.fold.over, self.strides, strict=True):
            form = form + here.at[index] * stride
        lanes = self.lanes if self.axis else 1
        number = self.w.count(form, lanes, int(lanes > 1))
        if self.fold.dtype != "int64":
            number = self.w.apply("cast", number, kind=Type(self.fold.dtype, lanes))
        return self.v.spread(number, self.lanes)

    def beats(self, x: Operand, best: Operand) -> str:
        """Whether a value beats the best so far; nan beats numbers, and nothing beats nan."""
        if not self.is_float:
            return self.w.apply("gt" if self.fold.op == "argmax" else "lt", x, best)
        not_better = self.w.apply("le" if self.fold.op == "argmax" else "ge", x, best)
        kind = Type("bool", self.lanes)
        better = self.w.apply("not", not_better, kind=kind)
        return self.w.apply("and", better, self.w.apply("ordered", best, kind=kind))

    def _across(self) -> str:
        """The winner of the lanes' winners: the best of all, where that stands first."""
        kind = Type("bool", self.lanes)
        most = self.w.apply(
            "most" if self.fold.op == "argmax" else "fewest", self.best, kind=Type(self.fold.value.dtype)
        )
        all_of = self.v.spread(most, self.lanes)
        hit = self.w.apply("eq", self.best, all_of)
        if self.is_float:
            none = self.w.apply("not", self.w.apply("ordered", self.best, kind=kind), kind=kind)
            hit = self.w.apply("or", hit, none)
        last = Literal(unit("least", self.fold.dtype), Type(self.fold.dtype, self.lanes))
        found = self.w.apply("select", hit, self.at, last, kind=last.type)
        return self.w.apply("fewest", found, kind=Type(self.fold.dtype))


def winners(v: Values, wanted: Sequence[tuple[Fold, Point]], axis: str, lanes: int, few: int) -> list[Operand]:
    """The winners of folds at points."""
    found: list[Operand] = []
    for fold, point in wanted:
        own = Winner(v, fold, point, axis if axis == fold.over[-1] else "", lanes)
        size = prod(own.sizes)
        small = size <= few and not own.axis and not varies(size)
        found.append(own.one_by_one() if small else own.looped())
    return found
