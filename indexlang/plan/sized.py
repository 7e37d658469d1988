"""A statement with its sizes and dtypes: one record, asked once.

In: a Statement, and what `sizes` found out about it. Out: `Sized`. The one rule: who plans a statement asks this
record, so that nothing is found out twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..program.ir import Access, Statement


@dataclass(frozen=True)
class Sized:
    """A statement, how far its indices run, the dtype its target is delivered in, the one its value is computed in, and
    the subscripts (with their axis) that only data keep inside.
    """

    stmt: Statement
    extents: Mapping[str, tuple[int, int]]
    dtype: str
    compute: str
    guarded: frozenset[tuple[Access, int]] = frozenset()
