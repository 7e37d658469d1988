"""Arrays that were given by position, in another order than that of the inputs.

In: the arguments of a call and their shapes, while these are fitted to the program. Out: the error that says the order.
The one rule: it is said only where the sizes do not fit as they were given, and fit in another order without a doubt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import permutations
from typing import Any

from ..errors import IndexLangError, Problem, ShapeError
from ..program.ir import Program
from ..sizes.ranks import expand
from ..sizes.shapes import infer
from .arguments import Form, is_mapping

_MOST = 4  # arrays that are tried in all their orders
_LARGEST = 100  # statements of a program that is tried


@contextmanager
def in_order(args: Sequence[Any], forms: Sequence[Form], program: Program) -> Iterator[None]:
    """Work on inputs of these forms, the first of which were given by position. Errors: `ShapeError`.

    What the sizes alone advise, `where i < 4`, would make a program that runs and computes with the wrong tensors.
    """
    try:
        yield
    except ShapeError as error:
        if is_mapping(args) or not 1 < len(args) <= _MOST or len(program.statements) > _LARGEST:
            raise
        given, rest = [s for s, _ in forms[: len(args)]], [s for s, _ in forms[len(args) :]]
        orders = dict.fromkeys(permutations(given))
        if _fits(program, [*given, *rest]):  # it is something else that is wrong
            raise
        meant = next((order for order in orders if _fits(program, [*order, *rest])), None)
        if meant is None:
            raise
        rule = "the arrays do not fit the inputs in the order in which they were given, and fit them in another one"
        values = (
            f"inputs: {', '.join(program.inputs)}",
            f"given: shapes {', '.join(map(str, given))}",
            f"so: {error.problems[0].rule}",
        )
        shown = ", ".join(f"{n} of shape {s}" for n, s in zip(program.inputs, meant, strict=False))
        way = f"pass {shown}, in this order or by name"
        raise ShapeError(Problem("argument-order", rule, None, values, way)) from None


def _fits(program: Program, shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether a program runs at these shapes, and nothing of them is left out."""
    sizes = dict(zip(program.inputs, shapes, strict=True))
    try:
        return not infer(expand(program, {n: len(s) for n, s in sizes.items()}), sizes).warnings
    except IndexLangError:
        return False
