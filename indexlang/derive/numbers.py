"""The numbers of points in the order in which they come.

In: statements that make one tensor, with the bounds of their indices. Out: affine forms. The one rule: steps of blocks
count first, in the block's order, then the lines of a step, then the points of a line, row-major.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from ..program.affine import Affine, total
from ..program.ir import Index, Statement, blocks_of, steps_of
from ..ranges.solve import Bound

Bounds = Mapping[str, Bound]
Group = Sequence[tuple[Statement, Bounds]]  # the statements of one tensor with the bounds of their indices


def in_order(group: Group, depth: int = 0) -> tuple[list[Affine], Affine]:
    """The numbers of the points of statements in the order in which they run, within so many open blocks; how many
    numbers there are.
    """
    numbers: list[Affine] = []
    count = Affine(0)
    for block, run in groupby(group, lambda one: next(iter(blocks_of(one[0])[depth:]), None)):
        inside = list(run)
        if block is None:
            for stmt, bounds in inside:
                indices = [i for i in stmt.domain.indices if i not in steps_of(stmt)]
                numbers.append(position(indices, bounds) + count)
                count = count + total(bounds[i].high - bounds[i].low for i in indices)
            continue
        within, many = in_order(inside, depth + 1)
        bounds = inside[0][1]
        step = position(block.indices, bounds)
        steps = total(bounds[i].high - bounds[i].low for i in block.indices)
        step = steps - step - 1 if block.reverse else step
        numbers += [step * many + number + count for number in within]
        count = count + steps * many
    return numbers, count


def position(indices: Sequence[str], bounds: Bounds) -> Affine:
    """The row-major number of a point in the box of some indices."""
    number = Affine(0)
    for i in indices:
        low, high = bounds[i].low, bounds[i].high
        number = number * (high - low) + Affine(0, ((Index(i), 1),)) - low
    return number
