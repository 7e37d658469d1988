"""What is larger than 64-bit integers can count, found before anything is computed with it.

In: shapes, boxes and positions in numbers. Out: problems. The one rule: behind these checks a number of elements, a
position and a step between elements fit into 64 bits, whatever planning and kernels make of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod

from ..errors import Problem, Span
from ..program.affine import Affine
from ..program.ir import Statement
from ..ranges.uses import Use
from ..size_limits import MOST_POSITIONS

_POWER = MOST_POSITIONS.bit_length() - 1
_STEPS = MOST_POSITIONS >> 4  # of elements of 16 bytes


def too_large(tensor: str, shape: Sequence[int], span: Span | None) -> Iterator[Problem]:
    """A tensor has fewer elements than there are positions, also beside an axis of no element."""
    if prod(max(1, n) for n in shape) >= MOST_POSITIONS:
        rule = f"a tensor has less than 2**{_POWER} elements"
        shown = " * ".join(map(str, shape))
        yield Problem("too-large", rule, span, (f"{tensor} would have {shown}",), "make it smaller")


def endless(stmt: Statement, box: Mapping[str, tuple[int, int]]) -> Iterator[Problem]:
    """An index runs through fewer values than there are positions."""
    for index, (lo, hi) in box.items():
        if max(abs(lo), abs(hi)) >= MOST_POSITIONS:
            rule = f"an index stays below 2**{_POWER}"
            values = (f"{index} would run from {lo} to {hi - 1}",)
            yield Problem("too-large", rule, stmt.span, values, f"say where {index} < ...")


def overflowing(form: Affine, shape: Sequence[int], use: Use) -> Iterator[Problem]:
    """A position is made of numbers of which sums and products with sizes fit: a large one before an index that only
    has one value would pass all checks of positions.
    """
    size, elements = shape[use.axis], prod(max(1, n) for n in shape)
    for number in (form.const, *(coef for _, coef in form.terms)):
        if abs(number) >= MOST_POSITIONS or (abs(number) > max(1, size) and abs(number) * elements >= _STEPS):
            rule = "a number in a position is too large for the tensor"
            values = (f"{number}", f"axis {use.axis} of {use.tensor} has size {size}")
            yield Problem("overflow", rule, use.span, values, "write a smaller number")
            return
