"""Where each index stands in the code: a whole axis, a block of values in a loop, or one value.

In: extents, loop variables. Out: an `Axis` for each index. The one rule: the values of an index are its least one, plus
the variables of all loops over it, plus 0..width-1 where it has an axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ...plan.views import Extents
from .code import Code, Number, plus


@dataclass(frozen=True)
class Axis:
    """How an index runs here. `size` is the most values there are at once, `n` how many in all.

    A tap has no axis (`width` is None); `level` is the innermost body in which the loops over it are.
    """

    lo: int
    n: int
    width: Code | None
    size: int
    at: tuple[Code, ...] = ()
    level: int = 0

    @property
    def whole(self) -> bool:
        return not self.at

    def fixed(self, value: int) -> Axis:
        """One value, counted from the first one here."""
        return replace(self, width=None, size=1, at=(*self.at, Number(value)))

    def within(self, outer: Axis) -> tuple[Code, ...]:
        """The variables of the loops inside of where the index stood as `outer`."""
        return self.at[len(outer.at) :]


Scope = Mapping[str, Axis]


def whole(extents: Extents) -> dict[str, Axis]:
    """Every index as an axis of its whole extent."""
    return {i: Axis(lo, hi - lo, Number(hi - lo), hi - lo) for i, (lo, hi) in extents.items()}


def position(const: int, coefs: Iterable[tuple[str, int]], scope: Scope) -> Code:
    """Code of const + the sum of coef * index at the first values that the indices have here."""
    coefs = tuple(coefs)
    terms = [(coef, code) for index, coef in coefs for code in scope[index].at]
    return plus(const + sum(coef * scope[index].lo for index, coef in coefs), terms)
