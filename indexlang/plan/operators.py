"""What the operators of statements mean: as a reduction over indices, and between two values.

In: an operator. Out: its reduction, its identity, the operator of a step. The one rule: `=` and `+=` both add; what
differs is only what is there before.
"""

from __future__ import annotations

import math

import numpy as np

SUMS = ("=", "+=")
REDUCTIONS = {"=": "sum", "+=": "sum", "*=": "product", "max=": "greatest", "min=": "least"}


def combining(op: str, negative: bool = False) -> str:
    """The operator of a step that combines with what is there: sums add, or subtract."""
    return ("-=" if negative else "+=") if op in SUMS else op


def identity(op: str, dtype: str) -> int | float | bool:
    """What an operator leaves as it is: 0, 1, or the least or greatest value of the dtype."""
    if op not in ("max=", "min="):
        return op == "*=" if dtype == "bool" else int(op == "*=")
    least = op == "max="
    if dtype == "bool":
        return not least
    if dtype.startswith(("float", "complex")):
        return -math.inf if least else math.inf
    return int(np.iinfo(dtype).min if least else np.iinfo(dtype).max)
