"""Points of statements by numbers, in the order in which they run: who comes first wins a tie.

In: statements of one tensor, how far their indices run. Out: a number for each, over its indices. The one rule: steps
of a block count first, in its order, then the lines of a step, then its points, row-major.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

from ..program.affine import Affine, total
from ..program.ir import Index, Statement, blocks_of
from ..ranges.solve import Bound

Bounds = Mapping[str, Bound]
Group = Sequence[tuple[Statement, Bounds]]  # the statements of one tensor with the bounds of their indices


def numbers(group: Group) -> list[Affine]:
    """The numbers of the points of statements, as they run: in a block steps count first, then statements."""
    found: list[Affine] = []
    offset = Affine(0)
    for _, several in groupby(group, lambda one: blocks_of(one[0])[:1]):
        some = list(several)
        paths = [blocks_of(stmt) for stmt, _ in some]
        shared = [level[0] for level in zip(*paths, strict=False) if len({*level}) == 1]
        steps = [i for block in shared for i in block.indices]
        rests = [[i for i in stmt.domain.indices if i not in steps] for stmt, _ in some]
        counts = [_count(rest, bounds) for rest, (_, bounds) in zip(rests, some, strict=True)]
        each, within = sum(counts, Affine(0)), offset
        for (stmt, bounds), rest, count in zip(some, rests, counts, strict=True):
            round_ = turned(stmt)
            found.append(position(steps, bounds, round_) * each + position(rest, bounds, round_) + within)
            within = within + count
        offset = offset + _count(steps, some[0][1]) * each
    return found


def _count(indices: Sequence[str], bounds: Bounds) -> Affine:
    return total(bounds[i].high - bounds[i].low for i in indices)


def turned(stmt: Statement) -> set[str]:
    """The indices whose last value comes first."""
    return {i for block in blocks_of(stmt) if block.reverse for i in block.indices}


def position(indices: Sequence[str], bounds: Bounds, back: Collection[str] = ()) -> Affine:
    """The row-major number of a point in the box of some indices, of which some run back."""
    number = Affine(0)
    for i in indices:
        low, high, here = bounds[i].low, bounds[i].high, Affine(0, ((Index(i), 1),))
        number = number * (high - low) + (high - here - 1 if i in back else here - low)
    return number
