"""An input whose size is not the one that the program declares for it: where the declared size comes from.

In: the declared shapes of a program, and those that were passed. Out: a Problem. The one rule: a size that stands in
two places may be wrong in either, so both are shown.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import Problem
from ..program.ir import Expr, Shape, Size, walk
from ..program.text import Names, expr_text


def mismatched(
    tensor: str,
    axis: int,
    wanted: int,
    declared: Mapping[str, Shape],
    shapes: Mapping[str, tuple[int, ...]],
    names: Names,
) -> Problem:
    """The axis of an input has another size than the `wanted` one, which its declaration makes of other sizes."""
    shape = declared[tensor]
    dim: Expr = shape.dims[axis]
    text = expr_text(dim, names)
    sources = [s for s in walk(dim) if isinstance(s, Size)]
    others = dict.fromkeys(s.tensor for s in sources if s.tensor != tensor and s.tensor in shapes)
    where, way = "", f"pass {tensor} with size {wanted} there"
    if isinstance(dim, Size):
        where = f", the size of axis {dim.axis} of {dim.tensor}"
        if dim.tensor != tensor:
            way += f", or {dim.tensor} with size {shapes[tensor][axis]} along axis {dim.axis}"

    def shown(name: str) -> str:
        dims = declared[name].dims if name in declared else ()
        written = ",".join(expr_text(d, names).replace(" ", "") for d in dims)
        return f"{name}{f'[{written}]' if dims else ''} has shape {shapes[name]}"

    values = (f"{text} = {wanted}{where}", *map(shown, others), shown(tensor))
    rule = f"axis {axis} of {tensor} is declared as {text}"
    return Problem("declared-shape", rule, dim.span or shape.span, values, f"{way}, or declare another size")
