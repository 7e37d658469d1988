"""What may turn out as a warning when sizes are known.

In: a Program. Out: Problems. The one rule: what a declared shape settles is not doubted.
"""

from __future__ import annotations

from ..errors import Problem
from ..program.ir import Access, Program
from ..program.text import dim_names, expr_text
from ..ranges.solve import attempt


def doubts(program: Program) -> list[Problem]:
    """Where an input of undeclared shape may be longer than an index goes."""
    declared, names = {s.tensor for s in program.shapes}, dim_names(program)
    found = []
    for stmt, cuts in zip(program.statements, attempt(program).cuts, strict=True):
        for cut in cuts:
            for tensor, axis in cut.sources:
                if tensor != cut.use.tensor and tensor in program.inputs and tensor not in declared:
                    rule = f"the index '{cut.index}' may end earlier than axis {axis} of {tensor}"
                    inside = expr_text(Access("", (cut.use.subscript,)), names)[1:-1]
                    values = (f"so that {inside} stays in axis {cut.use.axis} of {cut.use.tensor}",)
                    way = f"say so: where {cut.index} < ..., or pad(...)"
                    found.append(Problem("cut-short", rule, cut.use.span or stmt.span, values, way))
                    break
    return found
