"""Programs as one function of jax arrays, those with blocks too: their steps as loops of XLA.

In: a Program, sizes and dtypes. Out: `Lowered`. The one rule: what steps make is carried from one to the next; nothing
is written in place but what XLA writes so itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..backends.jax.program import Lowered, lowered
from ..errors import MeaningError, Problem
from ..program.blocks import has_blocks
from ..program.ir import Program


def lowering(
    program: Program,
    sizes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    exact: Collection[str] = (),
    half: str = "float16",
) -> Lowered:
    """The function of a program. Errors: `ShapeError`, and `MeaningError` for what is not lowered yet."""
    if not has_blocks(program):
        return lowered(program, sizes, dtypes, exact=exact, half=half)
    rule = "programs with blocks do not run on jax yet"
    raise MeaningError(Problem("target", rule, way_out="take backend='native' or 'numpy'"))
