"""Sizes that nothing names, and that so are indices: `y = h[T]` behind `for t:` sums over all steps.

In: the statements of a body. Out: doubts. The one rule: it is told only of what blocks make, where the index stands
once and looks like a size.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..program.ir import Index, Statement, accesses_of, indices_of, parts_of, steps_of
from ..program.text import expr_text
from .report import Report


def check_capitals(report: Report, statements: Sequence[Statement]) -> None:
    """Doubt each index with a capital that a statement behind a block reduces."""
    stepwise = {s.target.tensor for s in statements if s.block is not None}
    steps = {i for s in statements for i in steps_of(s)}
    made = {i for s in statements for i in indices_of(s.target)}
    for stmt in statements:
        found = [p.name for p in parts_of(stmt) if isinstance(p, Index)]
        meant = {i for i in stmt.reduced if i[0].isupper() and found.count(i) == 1} - steps - made
        for access in accesses_of(stmt)[1:] if stmt.block is None else ():
            for s in access.subscripts:
                name = next((i for i in indices_of(s) if i in meant), None)
                if access.tensor in stepwise and name is not None:
                    rule = f"'{name}' is an index here, which the statement reduces: nothing names it as a size"
                    value = f"{expr_text(access)} stands for all elements"
                    way = f"name the size {_declared(name, statements)}, or in a layer's header"
                    way = f"{way}; where all elements are meant, write {name.lower()}"
                    report.doubt("size-or-index", rule, s.span or access.span, value, way_out=way)


def _declared(name: str, statements: Sequence[Statement]) -> str:
    """Where a size can be named: in the shape of what steps read."""
    made = {s.target.tensor for s in statements}
    for stmt in statements:
        steps = {*steps_of(stmt)}
        for access in accesses_of(stmt)[1:]:
            over = [s.name if isinstance(s, Index) else "" for s in access.subscripts]
            if access.tensor not in made and all(over) and len(steps & {*over}) == 1:
                dims = (name if i in steps else i.upper() for i in over)
                return f"in a line of its own, shape {access.tensor}[{','.join(dims)}]"
    return "in the shape of an input"
