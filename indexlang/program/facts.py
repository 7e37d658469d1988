"""Facts that are found once and kept with the value that they are about.

In: a pure function of a frozen value. Out: the same function, which does its work once for each value. The one rule:
what is kept follows from the value alone and never changes; it is no part of the value, takes no part in comparisons,
and is not copied with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar, cast


class Keeper:
    """A frozen value that keeps facts, under names that begin with an underscore."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}


K = TypeVar("K", bound=Keeper)
R = TypeVar("R")
_ITSELF = object()  # stands for a value among its own facts: without circles, nothing waits for the collector


def kept(fact: Callable[[K], R]) -> Callable[[K], R]:
    """A fact that is found when it is first asked for."""
    name = _name_of(fact)

    @wraps(fact)
    def find(value: K) -> R:
        known = value.__dict__
        found: Any = known.get(name, name)
        if found is name:
            found = fact(value)
            known[name] = _ITSELF if found is value else found
        return cast(R, value) if found is _ITSELF else found

    return find


def kept_upwards(parts: Callable[[K], Iterable[K]]) -> Callable[[Callable[[K], R]], Callable[[K], R]]:
    """`kept` for a fact that follows from the same fact of a value's parts.

    The lowest parts come first, so that `fact` finds what it asks for: no depth of nesting is too deep, and a part that
    stands in several places is looked at once.
    """

    def decorated(fact: Callable[[K], R]) -> Callable[[K], R]:
        name = _name_of(fact)

        @wraps(fact)
        def find(value: K) -> R:
            known = value.__dict__
            found: Any = known.get(name, name)
            if found is name:
                left = [p for p in parts(value) if name not in p.__dict__]
                while left:
                    last = left[-1]
                    lower = [p for p in parts(last) if name not in p.__dict__]
                    if lower:
                        left += lower
                    else:
                        left.pop()
                        if name not in last.__dict__:
                            found = fact(last)
                            last.__dict__[name] = _ITSELF if found is last else found
                found = fact(value)
                known[name] = _ITSELF if found is value else found
            return cast(R, value) if found is _ITSELF else found

        return find

    return decorated


def note(value: K, fact: Callable[[K], R], found: R) -> None:
    """Keep a fact that is known already, because of how the value was made."""
    value.__dict__[_name_of(fact)] = _ITSELF if found is value else found


def _name_of(fact: Callable[..., object]) -> str:
    return f"_{fact.__module__}.{fact.__qualname__}"
