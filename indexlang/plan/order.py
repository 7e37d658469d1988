"""The order in which the factors of a sum of products meet.

In: the indices of each factor, those to keep, extents. Out: pairs. The one rule: the fewest multiply-adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import prod

from .limits import Limits

Sizes = Mapping[str, int]


def order_pairs(
    factors: Sequence[Sequence[str]], out: Sequence[str], sizes: Sizes, limits: Limits
) -> list[tuple[int, int]]:
    """The order of pairwise products with the fewest multiply-adds; positions count the list as it shrinks.

    Exhaustive up to a few factors, greedy beyond; each product goes to the end of the list.
    """

    def cost(a: Iterable[str], b: Iterable[str]) -> int:
        return prod(sizes[i] for i in {*a, *b})

    def joined(parts: list[frozenset[str]], x: int, y: int) -> list[frozenset[str]]:
        rest = [p for k, p in enumerate(parts) if k not in (x, y)]
        needed = frozenset(out).union(*rest)
        return [*rest, (parts[x] | parts[y]) & needed]

    def best(parts: list[frozenset[str]]) -> tuple[int, list[tuple[int, int]]]:
        if len(parts) < 2:
            return 0, []
        found: tuple[int, list[tuple[int, int]]] | None = None
        pairs = list(combinations(range(len(parts)), 2))
        if len(parts) > limits.exhaustive:
            pairs = [min(pairs, key=lambda p: cost(parts[p[0]], parts[p[1]]))]
        for x, y in pairs:
            here = cost(parts[x], parts[y])
            later, rest = best(joined(parts, x, y))
            if found is None or here + later < found[0]:
                found = (here + later, [(x, y), *rest])
        assert found is not None
        return found

    return best([frozenset(f) for f in factors])[1]


def products_cost(
    factors: Sequence[Sequence[str]], pairs: Sequence[tuple[int, int]], out: Sequence[str], sizes: Sizes
) -> int:
    """The multiply-adds of an order of pairwise products."""
    parts, total = [frozenset(f) for f in factors], 0
    for x, y in pairs:
        both = parts[x] | parts[y]
        total += prod(sizes[i] for i in both)
        rest = [p for k, p in enumerate(parts) if k not in (x, y)]
        parts = [*rest, both & frozenset(out).union(*rest)]
    return total
