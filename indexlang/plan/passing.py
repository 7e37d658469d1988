"""The arrays that a sum of products makes on its way.

In: a statement. Out: the indices of each array. The one rule: what is said here is what `Evaluation.contracted` makes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ..program.ir import indices_of
from .evaluation import Evaluation, is_view
from .order import Met, met


def temporaries(stmt: Evaluation, summed: bool = False) -> Iterator[Sequence[str]]:
    """The indices of computed factors, `summed` where nests sum them at once, and of products before the last one."""
    conditions = [frozenset(indices_of(c)) for c in stmt.conditions()]
    free = frozenset(stmt.free)
    for _, term in stmt.terms():
        core, _, _ = stmt.split(term)
        for k, factor in enumerate(core):
            if not is_view(factor):
                alone = stmt.alone(core, k) if summed else ()
                yield [i for i in indices_of(factor) if i not in alone]
        groups, pairs = [frozenset(indices_of(f)) for f in core], stmt.order(term).pairs

        def left_of(inside: Collection[int], groups: Sequence[frozenset[str]] = groups) -> Met:
            others = [g for k, g in enumerate(groups) if k not in inside]
            return met([groups[k] for k in inside], others, conditions, free)

        parts = [frozenset((k,)) for k in range(len(core))]
        for number, (left, right) in enumerate(pairs):
            sides = [left_of(part) for part in (parts[left], parts[right])]
            both = parts[left] | parts[right]
            here = left_of(both)
            new = here.let_in - sides[0].let_in - sides[1].let_in
            apart = all(any(conditions[k] <= side.kept for side in sides) for k in new)
            asked = here.kept.union(*(conditions[k] for k in new))  # what else there is, is summed before
            made = here.kept if apart else asked & (sides[0].kept | sides[1].kept)
            if number < len(pairs) - 1 or not apart:
                yield tuple(i for i in stmt.stmt.domain.indices if i in made)
            parts = [*(p for k, p in enumerate(parts) if k not in (left, right)), both]
