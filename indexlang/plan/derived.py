"""A derived program made ready for its sizes, before it is cut into a forward and a backward part.

In: a Program, the one derived from it, sizes and types of its inputs. Out: the derived Program as it is run in two
parts, where that differs from its text: blocks of bands for whole tensors, taps of windows in front of other axes, and
products that both parts need made once, in the forward part, and kept. The one rule: a product is kept if it fits the
cache and to make it again would take longer than to write and read it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ..errors import NAMED, ShapeError, within_depth
from ..program.blocks import has_blocks
from ..program.ir import Program, reads_of
from ..rewrite.hoist import hoist
from ..sizes import dtypes as kinds
from ..sizes import ranks, shapes
from .limits import Limits
from .plan import Trial
from .rewrites.bands import may_have_bands
from .rewrites.keep_bands import keep_bands
from .rewrites.pair_differences import may_have_pairs, pairs_apart
from .rewrites.powers import may_have_powers, write_powers
from .rewrites.share import factored, keep_products
from .rewrites.taps_outside import may_move_taps, taps_outside

Sizes = Mapping[str, tuple[int, ...]]


@within_depth(ShapeError, NAMED)
def fitted(
    program: Program,
    derived: Callable[[], Program],
    gradients: Mapping[str, str],
    sizes: Sizes,
    dtypes: Mapping[str, str],
    limits: Limits,
) -> Trial | None:
    """The derived program for these sizes; None if its text is as good. `gradients` names each output's cotangent.

    Errors: `ShapeError`.
    """
    if has_blocks(program):  # its pieces are planned one by one
        return None
    asked = (may_have_bands, may_have_pairs, _may_share, may_move_taps, may_have_powers)
    if not any(may(program) for may in asked):
        return None
    expanded = ranks.expand(program, {n: len(s) for n, s in sizes.items()})
    known, typed = shapes.infer(expanded, sizes), kinds.infer(expanded, dtypes)
    late = {gradients[o]: o for o in program.outputs}
    given = {**sizes, **{g: known.tensors[o] for g, o in late.items()}}
    kind = {**dtypes, **{g: _cotangent(typed.tensors[o]) for g, o in late.items()}}
    both = hoist(ranks.expand(derived(), {n: len(s) for n, s in given.items()}))
    sized = shapes.infer(both, given, rewritten=True)
    spread = write_powers(both, sized, kinds.infer(both, kind), limits)
    if changed := spread is not both:
        both, sized = spread, shapes.infer(spread, given, rewritten=True)
    banded = keep_bands(both, sized, limits) or pairs_apart(both, sized, kinds.infer(both, kind), limits)
    finite: tuple[str, ...] = ()
    if banded is not None:
        both, finite = banded.program, banded.finite
        sized = shapes.infer(both, given, rewritten=True)
    moved = taps_outside(both, sized, limits)
    sized = sized if moved is both else shapes.infer(moved, given, rewritten=True)
    kept = _keeping(moved, sized, given, kind, late, limits)
    if kept is not None or moved is not both or changed:
        return Trial(moved if kept is None else kept, finite)
    return banded


def _may_share(program: Program) -> bool:
    """Whether some statement multiplies three tensors: what can be seen without sizes."""
    products = (factored(s.value, computed=True) for s in program.statements if len(reads_of(s)) > 2)
    return any(found is not None and len(found[0]) > 2 for found in products)


def _keeping(
    both: Program, known: shapes.Shapes, sizes: Sizes, dtypes: Mapping[str, str], late: Collection[str], limits: Limits
) -> Program | None:
    """The derived program with products that its forward part makes for the backward part, too."""
    typed = kinds.infer(both, dtypes)
    waiting = set(late)
    for stmt in both.statements:
        if waiting & set(reads_of(stmt)):
            waiting.add(stmt.target.tensor)
    early = frozenset(k for k, s in enumerate(both.statements) if s.target.tensor not in waiting)
    program, made, _ = keep_products(both, known, typed, limits, early)
    if program is both:
        return None
    try:
        again = shapes.infer(program, sizes, rewritten=True)
    except ShapeError:  # a product over a part of its axes would have to say so
        return None
    same = all(dict(a) == dict(b) for a, b in zip(again.extents, made.extents, strict=True))
    return program if same else None


def _cotangent(dtype: str) -> str:
    return dtype if dtype.startswith(("float", "complex")) else "float64"
