"""What the operators of statements mean: as a reduction over indices, and between two values.

The one rule: `=` and `+=` both add; what differs is only what is there before.
"""

from __future__ import annotations

SUMS = ("=", "+=")
REDUCTIONS = {"=": "sum", "+=": "sum", "*=": "product", "max=": "greatest", "min=": "least"}
COMBINATIONS = {"=": "add", "+=": "add", "*=": "mul", "max=": "max", "min=": "min"}


def combining(op: str, negative: bool = False) -> str:
    """The operator of a step that combines with what is there: sums add, or subtract."""
    return ("-=" if negative else "+=") if op in SUMS else op
