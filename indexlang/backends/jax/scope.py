"""A statement while it is lowered: its indices, those that have one value now, what is known of its tensors.

In: a `Sized` statement, the lines around it. Out: `Around`. The one rule: an index that has one value has no axis, and
subscripts know its value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from math import prod

from ...plan.building import Building
from ...plan.subscripts import Subscribed, subscribed
from ...plan.views import Row
from ...program.ir import Access, Expr
from .lines import Arr, Lines


@dataclass(frozen=True)
class Around:
    """Where an expression stands. `arrays` are the tensors that are there, `order` that of the axes of what is made.

    `masks` are the conditions in force, by which positions of data are admitted; `checks` are, for each subscript that
    only data keep inside, code of whether one leaves and of which position does, with the access and its axis.
    """

    w: Lines
    b: Building
    arrays: Mapping[str, str]
    order: tuple[str, ...]
    extents: Mapping[str, tuple[int, int]]
    masks: tuple[Expr, ...] = ()
    at: Mapping[str, int] = field(default_factory=dict)  # indices of one value
    checks: list[tuple[str, str, Access, int]] = field(default_factory=list)
    admitting: bool = True  # whether positions are to be looked at
    read: Callable[[Around, Access], Arr] = field(kw_only=True)  # an access as an array
    stepping: Mapping[str, str] = field(default_factory=dict)  # indices that a loop goes through, with their values
    exact: Mapping[str, str] = field(default_factory=dict)  # tensors whose arrays are not of their computing dtype

    @property
    def sizes(self) -> dict[str, int]:
        """How many values each index has here."""
        return {i: 1 if i in self.at or i in self.stepping else hi - lo for i, (lo, hi) in self.extents.items()}

    def tapped(self, values: Mapping[str, int]) -> Around:
        """The same where some indices have one value each."""
        return replace(self, at={**self.at, **values})

    def open(self, indices: Collection[str]) -> tuple[str, ...]:
        """Those of the indices that have an axis, in the order of axes."""
        return tuple(i for i in self.order if i in indices and i not in self.at and i not in self.stepping)

    def subscribed(self, access: Access, axis: int) -> Subscribed:
        """What a subscript says here."""
        found = subscribed(self.b, access, axis)
        if found.row is None or not any(i in self.at for i, _ in found.row.coefs):
            return found
        const = found.row.const + sum(c * self.at[i] for i, c in found.row.coefs if i in self.at)
        return replace(found, row=Row(const, tuple((i, c) for i, c in found.row.coefs if i not in self.at)))

    def count(self, indices: Collection[str]) -> int:
        """How many points the indices have together here."""
        return prod(self.sizes[i] for i in indices)

    def positions(self, index: str) -> Arr:
        """The values of an index."""
        lo, hi = self.extents[index]
        if index in self.at:
            return Arr(str(self.at[index]), (), "int64", literal=True)
        if index in self.stepping:
            return Arr(self.stepping[index], (), "int64")
        code = f"jnp.arange({lo}, {hi}, dtype={self.w.kind('int64')})"
        return Arr(self.w.let(index, code), (index,), "int64")


def radix(row: Row, extents: Mapping[str, tuple[int, int]]) -> tuple[str, ...] | None:
    """The indices of a row whose positions are numbers of these digits, the first one counting most; else None."""
    reach, found = 1, []
    for index, coef in sorted(row.coefs, key=lambda c: c[1]):
        if coef != reach:
            return None
        lo, hi = extents[index]
        reach *= hi - lo
        found.append(index)
    return tuple(reversed(found))
