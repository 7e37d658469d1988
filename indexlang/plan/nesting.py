"""Statements that an engine computes as loop nests over their whole domains.

In: a statement and its target, `Limits` of an engine with nests. Out: whether it does; the steps. The one rule: one
value over all points goes into the target at once, and nothing is made on the way but what is read at computed
positions or beyond an edge.
"""

from __future__ import annotations

from contextlib import ExitStack
from math import prod
from typing import Any

from ..program.ir import Call, indices_of, parts_of
from .evaluation import Evaluation
from .operators import SUMS
from .writes import Target

DTYPES = frozenset(("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "bool"))


def nestable(stmt: Evaluation, target: Target) -> bool:
    """Whether the whole domain is gone through at once: what is summed is no product of more than two factors."""
    b = stmt.b
    if not b.limits.nests or b.complex_step or stmt.root is not None or target.dynamic:
        return False
    kinds = {stmt.compute, stmt.dtype, target.buffer.dtype}
    kinds |= {b.kind(p) for p in parts_of(stmt.stmt) if isinstance(p, Call)}
    if not kinds <= DTYPES:
        return False
    if stmt.op not in SUMS or not stmt.contractible() or prod(stmt.sizes[i] for i in stmt.summed) == 1:
        return True
    everything = [*stmt.free, *stmt.summed]
    for _, term in stmt.terms():
        core, _, _ = stmt.split(term)
        own = {i for f in core for i in indices_of(f)}
        repeated = prod(stmt.sizes[i] for i in everything if i not in own)  # of points at which the sums are the same
        if len(core) > 2 or repeated > 1:
            return False
    return True


def nested(stmt: Any, target: Target) -> None:
    """The value over the whole domain."""
    stmt.start(target, ())
    with ExitStack() as stack:
        scope = stmt.enter(stack, target, (), drops=False)
        target.put(target.view, stmt.evaluate(scope))
