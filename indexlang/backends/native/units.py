"""How an axis is cut into the units that a tile of a contraction takes at once.

An axis of a number that varies is cut into units of two sizes that differ by one, as even as they can be: so that the
same two tiles serve every number that is large enough, and no position is computed in vain. Multiples of a unit need
one tile alone.

In: how many elements there are, how many a tile takes at most. Out: the size of units, and where those of each size
are. The one rule: each element is in one unit.
"""

from __future__ import annotations

from dataclasses import dataclass

from .nest import Form
from .varying import varies

WIDEST = 14  # positions of an axis of a number that varies: more of them would be no faster


@dataclass(frozen=True)
class Cut:
    """Units of one size, numbered from `first` to below `past`; unit k begins at k * size + shift."""

    size: int
    first: int
    past: int
    shift: int = 0

    def begin(self, at: Form) -> Form:
        """The first element of a unit."""
        return at * self.size + self.shift


def unit_of(n: int, most: int) -> int:
    """The size of the larger units of an axis, not more than `most`."""
    if not varies(n):
        return balanced(n, most)
    most = min(most, WIDEST)
    count = -(-int(n) // most)
    return -(-int(n) // count)


def balanced(n: int, most: int) -> int:
    """The size of parts that are as equal as can be, none greater than `most`."""
    return -(-n // -(-n // most)) if n > most else n


def evenly(n: int, unit: int, vector: bool = False) -> bool:
    """Whether an axis has units of two sizes that differ by one; one that lies in vectors has whole ones and a rest.

    One that units of one size divide has these alone: half of the code, which is one for all of its multiples.
    """
    return varies(n) and unit > 1 and not vector and int(n) % unit > 0


def cuts(n: int, unit: int, vector: bool = False) -> list[Cut]:
    """The units of an axis, those of the larger size first."""
    if varies(n) and vector:
        full = (n - 1) // unit
        found = [Cut(unit, 0, full), Cut(n - full * unit, full, full + 1, full * (full + 1) * unit - full * n)]
        return found if full else found[1:]
    if not evenly(n, unit, vector):
        full, rest = n // unit, n % unit
        found = [Cut(unit, 0, full), Cut(rest, full, full + 1, full * (unit - rest))]
        return [c for c in found if c.size and c.past]
    count = -(-n // unit)
    larger = n - count * (unit - 1)
    return [Cut(unit, 0, larger), Cut(unit - 1, larger, count, larger)]


def sizes(n: int, unit: int) -> list[tuple[int, int]]:
    """(how many, of which size), of those that there are."""
    if not evenly(n, unit):
        full, rest = divmod(int(n), unit)
        return [(count, m) for count, m in ((full, unit), (1, rest)) if count and m]
    count = -(-int(n) // unit)
    larger = int(n) - count * (unit - 1)
    return [(some, m) for some, m in ((larger, unit), (count - larger, unit - 1)) if some > 0]


def vectors(n: int, lanes: int) -> tuple[int, int]:
    """How many vectors hold so many elements, and how many lanes of the last one are live: 0 if it is always all."""
    count = -(-int(n) // lanes)
    return count, n - (count - 1) * lanes if varies(n) else n % lanes
