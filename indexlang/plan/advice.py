"""Why a statement is gone through point by point, and what would help, in words.

In: a statement that no other way fits. Out: a sentence. The one rule: it names what a user can write otherwise.
"""

from __future__ import annotations

from ..program.algebra import factors_of
from ..program.ir import indices_of
from .evaluation import Evaluation
from .operators import SUMS


def advice(stmt: Evaluation) -> str:
    """Why every point is gone through, and what would help."""
    if stmt.op not in SUMS:
        return f"for {stmt.op} has no products: name what lacks an index in a statement of its own"
    everything = {i for i in (*stmt.free, *stmt.summed) if stmt.sizes[i] > 1}
    for _, term in stmt.terms():
        for factor, _ in factors_of(term):
            if everything <= set(indices_of(factor)):
                return "for one factor has all indices: name what in it lacks one in a statement of its own"
    if stmt.inner and stmt.compute != "bool":
        return "for a mask has indices that no two factors have: say it of fewer indices, or in several statements"
    return "for the value is no product of arrays of fewer indices"
