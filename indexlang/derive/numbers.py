"""Points of statements by numbers, in the order in which they run: who comes first wins a tie.

In: statements of one tensor, how far their indices run. Out: a number for each, over its indices. The one rule: steps
of a block count first, in its order, then the lines of a step, then its points, row-major.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

from ..program.affine import Affine, total
from ..program.ir import Index, Statement, blocks_of, steps_of
from ..ranges.statements import Bound

Bounds = Mapping[str, Bound]
Group = Sequence[tuple[Statement, Bounds]]  # the statements of one tensor with the bounds of their indices


def numbers(group: Group) -> list[Affine]:
    """The numbers of the points of statements, as they run: in a block steps count first, then statements."""
    return _within(group, 0)[0]


def _within(group: Group, depth: int) -> tuple[list[Affine], Affine]:
    """The numbers within so many open blocks, and how many there are."""
    found: list[Affine] = []
    count = Affine(0)
    for block, run in groupby(group, lambda one: next(iter(blocks_of(one[0])[depth:]), None)):
        inside = list(run)
        if block is None:
            for stmt, bounds in inside:
                indices = [i for i in stmt.domain.indices if i not in steps_of(stmt)]
                found.append(position(indices, bounds) + count)
                count = count + _count(indices, bounds)
            continue
        own, many = _within(inside, depth + 1)
        bounds = inside[0][1]
        step = position(block.indices, bounds, block.indices if block.reverse else ())
        found += [step * many + number + count for number in own]
        count = count + _count(block.indices, bounds) * many
    return found, count


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
