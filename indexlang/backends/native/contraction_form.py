"""Sums of products of two operands, as values.

In: nothing. Out: `Contraction`, what is to be computed; `Schedule`, nests that compute it. The one rule: no case has a
name; what a statement is shows in its strides alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from .nest import Array, Form, Literal, Nest


@dataclass(frozen=True)
class Operand:
    """Elements `offset + sum of stride * index` of an array. An index that is not named has stride 0."""

    array: Array
    offset: int = 0
    strides: tuple[tuple[str, int], ...] = ()


ONE = Operand(Array("", "float32", 1))  # as the right operand: sums of the left one alone


@dataclass(frozen=True)
class Step:
    """One operation after the sum: a row of `operations`, or a function of `functions`, of steps before it by their
    names ("sum" is the sum itself), of elements as they are in memory, of numbers (a float is one of the sum's type).
    """

    name: str
    fn: str
    args: tuple[str | Operand | Literal | float, ...]
    dtype: str = ""  # of the result; that which the arguments say where nothing is said


@dataclass(frozen=True)
class Contraction:
    """target op= sum of left * right over the points at which no bound is negative.

    What the target has no stride along is summed; `=` writes 0 where no point is there. Elements of the target that
    several points share take them all. `epilogue` are steps of one value to the next before it is written; they see
    what the target would hold without them. `results` are the steps that are written, and where; if none is said, the
    last one goes to the target. Others than these leave nothing: the target may then hold anything.
    """

    extents: tuple[tuple[str, int], ...]
    reduced: tuple[str, ...]
    left: Operand
    right: Operand
    target: Operand
    op: str = "="  # = | += | -=
    bounds: tuple[Form, ...] = ()  # each is not negative
    epilogue: tuple[Step, ...] = ()
    results: tuple[tuple[str, Operand], ...] = ()
    dtype: str = "float32"


@dataclass(frozen=True)
class Schedule:
    """Nests in their order: all items of one, then of the next.

    `workspaces` pass values from nest to nest: each is one array for all items (a nest has it as output or as input).
    """

    nests: tuple[Nest, ...]
    workspaces: tuple[Array, ...]
    told: str
    flops: int
    cycles: float
