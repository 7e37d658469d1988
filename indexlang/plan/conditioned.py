"""Conditions on indices that no factor has: factors of 0 and 1, so that a masked sum is a product of matrices.

In: a statement that sums one product under masks. Out: the same with a factor for each group of conditions, or None:

    y[i,c] = x[j,c] where j <= i, g[i] == g[j]
    y[i,c] = where(j <= i and g[i] == g[j], 1, 0) * x[j,c] where j <= i, g[i] == g[j]

The one rule: the masks stay, so a refused point adds nothing, whatever the other factors are there; and it must pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from ..program.algebra import product_of
from ..program.conditions import as_factor
from ..program.ir import Call, Expr, Statement, indices_of
from .evaluation import Evaluation
from .operators import SUMS
from .prices import price
from .ranking import ranking_of
from .scanning import scans_of
from .segments import segments_of
from .separating import separable
from .squaring import squared


def conditioned(stmt: Evaluation) -> Statement | None:
    """The statement with its conditions as factors, where no scan serves and that costs less."""
    if stmt.op not in SUMS or not stmt.inner or stmt.root is not None or not stmt.compute.startswith("float"):
        return None
    terms = stmt.terms()
    core, outside, divisors = stmt.split(terms[0][1])
    if len(terms) > 1 or not core or stmt.overlapping() or scans_of(stmt):
        return None
    if ranking_of(stmt) is not None or segments_of(stmt) is not None:
        return None
    present = {i for f in core for i in indices_of(f)}
    apart = _is_taken_apart(stmt)
    missing = [c for c in stmt.conditions() if apart or not set(indices_of(c)) <= present]
    if not missing and len(core) == 1:  # sums of rows of which only some are admitted
        most = prod(stmt.sizes[i] for i in present) // stmt.b.limits.larger
        missing = [c for c in stmt.conditions() if prod(stmt.sizes[i] for i in indices_of(c)) <= most]
    if not missing:
        return None
    extents = stmt.b.extents
    least = price(stmt.stmt, extents, stmt.b.limits, stmt.b.shapes)
    if least < stmt.b.limits.separate * stmt.b.limits.element:
        return None
    factors = [as_factor(group) for group in _groups(missing)]
    value = product_of([*outside, *core, *factors], divisors)
    if terms[0][0] < 0:
        value = Call("neg", (value,))
    new = replace(stmt.stmt, value=value)
    if apart:
        return new
    return new if 5 * price(new, extents, stmt.b.limits, stmt.b.shapes) < 4 * least else None


def _is_taken_apart(stmt: Evaluation) -> bool:
    """Whether a difference in a factor is taken apart once the conditions are factors of fewer indices than it has."""
    groups = [{i for c in group for i in indices_of(c)} for group in _groups(stmt.conditions())]
    largest = max(prod(stmt.sizes[i] for i in group) for group in groups)
    with stmt.everywhere():
        found = squared(stmt) or separable(stmt)
    if found is None:
        return False
    whole = prod(stmt.sizes[i] for i in {*indices_of(found.first), *indices_of(found.second)})
    return largest * stmt.b.limits.larger <= whole


def _groups(conditions: Sequence[Expr]) -> list[list[Expr]]:
    """Conditions that share indices."""
    groups: list[tuple[set[str], list[Expr]]] = []
    for condition in conditions:
        own, together = set(indices_of(condition)), [condition]
        for group in [g for g in groups if g[0] & own]:
            groups.remove(group)
            own, together = own | group[0], [*group[1], *together]
        groups.append((own, together))
    return [together for _, together in groups]
