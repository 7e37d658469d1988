"""Shapes that a program has from the lines of its blocks, written out where its text changes.

In: a changed Program, what was solved of the one before. Out: the Program with shapes declared that it would give
otherwise. The one rule: what is said beside an index of a line, or by the line, stays said when either moves.
"""

from __future__ import annotations

from dataclasses import replace

from ..program.ir import Program, Shape, Size
from ..ranges.admitted import line_conditions
from ..ranges.solve import Solution, attempt


def shaped(program: Program, before: Solution) -> Program:
    """The program in which tensors that steps make have the shapes that they had."""
    if not any(line_conditions(s) for s in program.statements):
        return program
    after = attempt(program)
    found = []
    for tensor, forms in before.shapes.items():
        now = after.shapes.get(tensor)
        if now is None or tensor in before.sizes.declared or tensor in before.sizes.primals:
            continue
        same = after.sizes.canonical
        if {k: same(f) for k, f in now.items()} != {k: same(f) for k, f in forms.items()}:
            dims = tuple(
                forms[k].to_expr() if k in forms else Size(tensor, k) for k in range(max(forms, default=-1) + 1)
            )
            found.append(Shape(tensor, dims))
    gone = {s.tensor for s in found}
    return replace(program, shapes=(*(s for s in program.shapes if s.tensor not in gone), *found)) if found else program
