"""What decides the way of a statement.

In: nothing. Out: `Facts`. The one rule: a way is chosen by facts and limits alone, so that the table of ways is tested
without a program.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What decides how the value of a statement is computed and brought into its target."""

    nested: bool = False  # the engine computes the whole domain as a loop nest
    recurrence: bool = False  # a product of others up to a bound stands inside
    root: bool = False  # an argmax, argmin or logsumexp
    position: bool = False  # an argmax or argmin
    powers: bool = False  # a logsumexp of real values
    scattered: bool = False  # the target's positions come from data or a table
    sums: bool = False  # the operator adds
    reduced: int = 1  # values of the reduced indices
    kept: int = 1  # elements of the target that are written at once
    masked: bool = False  # a mask mentions a reduced index
    products: bool = False  # every term of the value is a product that a contraction can sum
    admitted: bool = False  # products under the masks cost less than the whole domain
    overlapping: bool = False  # a subscript mixes a reduced index with others
    chosen: int = 1  # positions of a window, of which masks choose those that get the value
    points: int = 1  # of the free indices
    spread: bool = False  # a factor is computed over the whole domain: no product of matrices can save that
    powered: bool = False  # a power, or a logsumexp, is of a sum of arrays much smaller than all points
    squared: bool = False  # a factor squares the difference of two arrays much smaller than itself
    separable: bool = False  # a factor adds arrays much smaller than itself
    skewed: bool = False  # a position mixes two indices where it costs less as one of its own
    grouped: bool = False  # data choose matrices of a product, many points the same ones
    running: bool = False  # a bound is all that ties the factors of two indices
    levels: bool = False  # powers of a difference of what is said of two indices, which a bound ties
    ranking: bool = False  # data compare a reduced index with others, and the value does not mention with which
    segments: bool = False  # data of a reduced index equal others, and the value does not mention with which
    scan: bool = False  # the masks bound a reduced index, and the value does not mention by what
