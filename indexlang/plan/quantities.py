"""The values of a Plan: what is computed at each point, as trees.

The grammar stands in `plan`. The one rule: a value knows its indices and its type, and nothing of loops.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from .places import Place
from .views import Row


@dataclass(frozen=True)
class Number:
    """A number of the source, or one that sizes say: it takes the type of what it meets. `size`: of which tensor it is
    the size, and along which axis, where that is told.
    """

    value: int | float | bool
    dtype: str
    size: tuple[str, int] | None = field(default=None, compare=False, repr=False)
    indices: ClassVar[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class Position:
    """An index as a number."""

    index: str
    dtype: str = "int64"

    @property
    def indices(self) -> frozenset[str]:
        return frozenset((self.index,))


@dataclass(frozen=True)
class Count:
    """How many values the indices have at once, together: what a sum over indices that a value lacks multiplies by."""

    over: tuple[str, ...]
    dtype: str = "int64"
    indices: ClassVar[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class Reach:
    """The greatest (`most`) or the least value of an affine position over what its indices have here: one number."""

    row: Row
    most: bool
    dtype: str = "int64"
    indices: ClassVar[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class Load:
    """Elements of a buffer, computed in `dtype`; `at` fixes indices at a value, numbered from 0 in its extent."""

    place: Place
    dtype: str
    at: tuple[tuple[str, int], ...] = ()
    indices: frozenset[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        fixed = {i for i, _ in self.at}
        object.__setattr__(self, "indices", frozenset(i for i in self.place.mentioned if i not in fixed))


@dataclass(frozen=True)
class Apply:
    """A row of the table of functions applied to values. Arguments are brought to `dtype` first, except conditions and
    what is compared. Beside the rows: `cast` to `dtype`; `select` (where the first holds the second, else the third);
    `keep` and `choose` (the same by bits, `keep` with 0); `isfinite`, `square`, `quarters` (a power by quarters of 1).
    """

    fn: str
    args: tuple[Value, ...]
    dtype: str
    indices: frozenset[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", frozenset[str]().union(*(a.indices for a in self.args)))


@dataclass(frozen=True)
class Reduced:
    """A value reduced over indices that it has: sum, product, greatest, least (any and all of conditions)."""

    op: str
    value: Value
    over: tuple[str, ...]

    @property
    def dtype(self) -> str:
        return self.value.dtype

    @property
    def indices(self) -> frozenset[str]:
        return self.value.indices - set(self.over)


Value = Number | Position | Count | Reach | Load | Apply | Reduced


def parts_of(value: Value) -> Iterator[Value]:
    """The value and everything in it."""
    stack = [value]
    while stack:
        part = stack.pop()
        yield part
        match part:
            case Apply(args=args):
                stack += args
            case Reduced(value=inner):
                stack.append(inner)
            case _:
                pass
