"""Properties that are found once and kept with what they are about.

functools has the same, with one lock for the values of all instances until Python 3.12: threads wait for each other
there, and a process that was forked meanwhile waits for ever.

In: a method without arguments. Out: a property. The one rule: two threads that ask first may both find it; either
value is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")
R = TypeVar("R")


class cached_property(Generic[T, R]):  # noqa: N801 (the name that functools gives it)
    """A property whose value is kept in the instance's `__dict__`, which is looked at first from then on."""

    def __init__(self, find: Callable[[T], R]) -> None:
        self.find = find
        self.__doc__ = find.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, value: None, owner: type | None = None) -> cached_property[T, R]: ...

    @overload
    def __get__(self, value: T, owner: type | None = None) -> R: ...

    def __get__(self, value: Any, owner: type | None = None) -> Any:
        if value is None:
            return self
        found = value.__dict__[self.name] = self.find(value)
        return found


def public(names: Iterable[str]) -> list[str]:
    """Of what `dir` finds the names for users: Python proposes one of these where a name is misspelled."""
    return [n for n in names if not n.startswith("_") or n.startswith("__")]
