"""Numbers that are not the same at each call: a batch size, and whatever follows from it.

Such a number is an integer like any other: schedules reckon with it, nests hold it, `check` proves with it. Beside its
value it knows how it came about, and what is made of it by arithmetic knows it, too. So a nest tells which of its
numbers follow from the size of a batch, and its code takes these with each call: it is one for all batches for which
the schedule is the same.

In: a value, what tells it from others. Out: `Varying`. The one rule: a mark never changes what is computed; where one
is lost, code is shared less.
"""

from __future__ import annotations

from typing import Any


class Varying(int):
    """An integer that varies: one that code takes, and `plus`, which code knows. `how` is equal for those that came
    about in the same way, whatever their values are.
    """

    how: int
    plus: int

    def __new__(cls, value: int, how: int, plus: int = 0) -> Varying:
        self = super().__new__(cls, value)
        self.how, self.plus = how, plus
        return self

    @property
    def key(self) -> tuple[int, int]:
        """How the number that code takes came about, and its value: if they are equal, it is one."""
        return self.how, int(self) - self.plus

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (int(self),)  # a mark says nothing elsewhere

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Varying):
            return Varying(int(self) + int(other), hash((1, self.how, other.how)), self.plus + other.plus)
        if isinstance(other, int):
            return Varying(int(self) + other, self.how, self.plus + other) if other else self
        return NotImplemented

    __radd__ = __add__

    def __neg__(self) -> Varying:
        return Varying(-int(self), hash((2, self.how)), -self.plus)

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, Varying) and other.key == self.key:
            return self.plus - other.plus
        return self + -other if isinstance(other, int) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return -self + other if isinstance(other, int) else NotImplemented

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Varying):
            return _made(int(self) * int(other), 3, self, other)
        if isinstance(other, int):
            if other in (0, 1):
                return self if other else 0
            return Varying(int(self) * other, hash((4, self.how, other)), self.plus * other)
        return NotImplemented

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        return _made(int.__floordiv__(self, other), 5, self, other) if _several(other) else self

    def __rfloordiv__(self, other: Any) -> Any:
        return _made(int.__rfloordiv__(self, other), 5, other, self)

    def __mod__(self, other: Any) -> Any:
        return _made(int.__mod__(self, other), 6, self, other) if _several(other) else 0

    def __rmod__(self, other: Any) -> Any:
        return _made(int.__rmod__(self, other), 6, other, self)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other


def varies(number: int) -> bool:
    """Whether a number is one of them."""
    return isinstance(number, Varying)


def renewed(value: int, *what: int) -> Varying:
    """A number that a choice among several gives: what it is made of differs from call to call, what it is does not."""
    return Varying(value, hash((7, what)))


def _several(number: Any) -> bool:
    return type(number) is not int or number != 1


def _made(value: Any, by: int, a: Any, b: Any) -> Any:
    """What an operation gives."""
    if value is NotImplemented:
        return value
    hows = tuple((1, x.how, x.plus) if isinstance(x, Varying) else (0, int(x), 0) for x in (a, b))
    return Varying(value, hash((by, hows)))
