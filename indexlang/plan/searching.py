"""argmax, argmin and logsumexp over the reduced indices, row-major, the first winner.

In: a statement that is all such a reduction. Out: a Search into the target. The one rule: ties and nan are settled as
in a loop over the points: the first of the best wins, and the first nan beats all.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ..program.functions import is_exact
from ..program.ir import Access
from .building import here
from .evaluation import Evaluation
from .kernels import Search
from .quantities import Load, Number, Value
from .reads import conjunction, read, value_of
from .values import cast
from .views import Scope
from .writes import Target


def searched(stmt: Evaluation, target: Target, scope: Scope) -> None:
    """The reduction over an array of the whole domain."""
    b, root = stmt.b, stmt.root_of()
    result = "int64" if root.op != "logsumexp" else stmt.compute
    value: Value = Number(0, "int64")
    admitted = None
    if all(stmt.sizes[i] > 0 for i in stmt.summed):
        value = value_of(b, stmt.value, scope)
        value = cast(value, stmt.compute if root.op == "logsumexp" else value.dtype)
        masks = root.domain.masks
        admitted = conjunction(b, masks, scope) if masks else None
    inner = _rows(stmt, value, scope) if admitted is None and root.op != "logsumexp" else ()
    _put(stmt, target, scope, Search(root.op, value, stmt.summed, admitted, inner=inner), result)


def _rows(stmt: Evaluation, value: Value, scope: Scope) -> tuple[str, ...]:
    """The free indices that lie behind those that are searched, where they make rows that are long enough."""
    over = here(stmt.summed, scope)
    order = stmt.in_memory([i for i in scope if i in value.indices and not scope[i].tap])
    inner = tuple(order[max((order.index(i) for i in over if i in order), default=len(order)) + 1 :])
    found = any(scope[i].size > 1 for i in over) and prod(scope[i].size for i in inner) >= stmt.b.limits.run
    return inner if found else ()


def window_searched(stmt: Evaluation, target: Target, scope: Scope, known: Access | None) -> None:
    """The position of the winner, one position of the window after the other, for all free indices at once."""
    value = value_of(stmt.b, stmt.value, scope)
    best = read(stmt.b, known, scope) if known is not None else None
    kernel = Search(stmt.root_of().op, value, stmt.summed, None, "window", best)
    _put(stmt, target, scope, kernel, position_type(stmt))


def position_type(stmt: Evaluation) -> str:
    """The type of a position in a window, and of how many there are."""
    return "uint8" if prod(stmt.sizes[i] for i in stmt.summed) <= np.iinfo(np.uint8).max else "int64"


def _put(stmt: Evaluation, target: Target, scope: Scope, kernel: Search, dtype: str) -> None:
    free = [i for i in target.view.mentioned if not scope[i].tap]
    if not stmt.outer and target.overwrites and target.buffer.dtype == dtype:
        stmt.b.run(target.view, "=", kernel)
        return
    found = stmt.b.part("found", free, dtype, scope)
    stmt.b.run(found, "=", kernel)
    target.put(target.view, stmt.masked_outer(Load(found, dtype), scope))


def sought(stmt: Evaluation, op: str) -> object:
    """What tells whether two statements look for the same extremum in the same places."""
    return op, stmt.value, stmt.stmt.target.subscripts, tuple(sorted(stmt.b.extents.items())), stmt.b.masks


def best_of(stmt: Evaluation) -> Access | None:
    """Where an earlier statement has put the extremum whose position is searched: it is found by its bits."""
    b = stmt.b
    if not is_exact(stmt.value):
        return None
    tensor = b.extrema.get(sought(stmt, "max=" if stmt.root_of().op == "argmax" else "min="))
    if tensor is None or b.complex_step or b.buffers[tensor].dtype != b.kind(stmt.value):
        return None
    return Access(tensor, stmt.stmt.target.subscripts)
