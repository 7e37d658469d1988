"""What the chosen position of each window gets: the gradient of a maximum, position by position.

In: a statement of which few indices stand in masks and the target alone. Out: a Select. The one rule: what is refused
is cleared by bits, which is exact for whatever is not finite, and no pass branches on its elements.
"""

from __future__ import annotations

from contextlib import ExitStack
from math import prod

from ..program.ir import Access, indices_of, walk
from .blocks import blocks, itemsize
from .evaluation import Evaluation
from .kernels import Select
from .operators import SUMS, combining
from .reads import conjunction, value_of
from .values import cast
from .views import whole
from .writes import Target


def chosen(stmt: Evaluation, target: Target) -> tuple[str, ...]:
    """The few indices that only masks and the target mention: `where 2*di+dj == at[i,j]`; none if it is not so.

    Their loops must settle where points of the target meet, and a mask must be able to hide bits of the value.
    """
    b = stmt.b
    if not b.masks or stmt.summed or stmt.root is not None or stmt.op not in SUMS or target.dynamic:
        return ()
    read = {i for e in (stmt.value, *b.masks) for p in walk(e) if isinstance(p, Access) for i in indices_of(p)}
    hidden = {i for m in b.masks for i in indices_of(m)} - {*read, *indices_of(stmt.value)}
    found = tuple(i for i in stmt.free if i in hidden)
    plain = stmt.compute == target.buffer.dtype and stmt.compute != "bool" and itemsize(stmt.compute) in (4, 8)
    few = len(found) < len(stmt.free) and 1 < prod(stmt.sizes[i] for i in found) <= b.limits.window
    return found if plain and few and set(target.taps) <= set(found) else ()


def selected(stmt: Evaluation, target: Target) -> None:
    """Give each value to the positions that the masks choose."""
    b, few = stmt.b, chosen(stmt, target)
    kept = [i for i in indices_of(stmt.stmt.target) if i not in few]
    points = 4 * prod(stmt.sizes[i] for i in kept)  # four arrays of this size
    steps = blocks(kept, stmt.sizes, points, itemsize(stmt.compute), b.limits.block)
    stmt.notes += [*(f"{stmt.sizes[i]} taps over {i}" for i in few), *(f"{step} {i} at a time" for i, step in steps)]
    target.start(once=True)
    with ExitStack() as stack:
        scope = stack.enter_context(b.loops(whole(b.extents), steps))
        own = [m for m in b.masks if set(indices_of(m)) & set(few)]
        rest = [m for m in b.masks if m not in own]
        value = stmt.masked(cast(value_of(b, stmt.value, scope), stmt.compute), rest, scope)
        kernel = Select(value, conjunction(b, own, scope), few)
        b.run(target.view, "=" if target.overwrites else combining(stmt.op), kernel)
