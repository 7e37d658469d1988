"""The order in which the factors of a sum of products meet, and where conditions are let in.

In: the indices of each factor and of each condition, those to keep, extents. Out: an `Order`: pairs, and their cost.
The one rule: the cheapest by `Limits`. A condition is let in before one of its indices is summed: by the operand that
has them all, and if neither has, by an array over both.

This is variable elimination with conditions as factors of their own (Dechter, "Bucket elimination", 1999); all trees of
pairs are searched over subsets of the factors, as in the ordering of joins (Selinger et al., 1979).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import combinations
from math import prod

from .limits import Limits

Sizes = Mapping[str, int]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Order:
    """Pairs of positions in the list of factors as it shrinks: a product goes to its end. `cost` in multiply-adds."""

    pairs: tuple[Pair, ...]
    cost: int


def order_pairs(factors: Sequence[Sequence[str]], out: Sequence[str], sizes: Sizes, limits: Limits) -> list[Pair]:
    """The order of pairwise products with the fewest multiply-adds; positions count the list as it shrinks."""
    return list(best_order(factors, (), out, sizes, limits).pairs)


def best_order(
    factors: Sequence[Collection[str]],
    conditions: Sequence[Collection[str]],
    out: Sequence[str],
    sizes: Sizes,
    limits: Limits,
) -> Order:
    """The cheapest of all orders up to a few factors; of more, the cheapest pairs meet first until so few are left."""
    groups, admitting = tuple(map(frozenset, factors)), tuple(map(frozenset, conditions))
    mentioned = sorted(frozenset[str]().union(*groups, *admitting))
    return _best(groups, admitting, frozenset(out), tuple((i, sizes[i]) for i in mentioned), limits)


@lru_cache(1 << 12)
def _best(
    factors: tuple[frozenset[str], ...],
    conditions: tuple[frozenset[str], ...],
    out: frozenset[str],
    sizes: tuple[tuple[str, int], ...],
    limits: Limits,
) -> Order:
    """The same; a statement asks several times."""
    return _Search(factors, conditions, out, dict(sizes), limits).found()


@dataclass(frozen=True)
class Met:
    """A set of factors that have met: the indices that are left, and the conditions that have been let in."""

    indices: frozenset[str]
    kept: frozenset[str]
    let_in: frozenset[int]


class _Search:
    """Sets of factors are numbers, with a bit for each factor."""

    def __init__(
        self,
        factors: Sequence[frozenset[str]],
        conditions: Sequence[frozenset[str]],
        out: frozenset[str],
        sizes: Sizes,
        limits: Limits,
    ) -> None:
        self.factors, self.conditions, self.out, self.sizes, self.limits = factors, conditions, out, sizes, limits
        self.all = (1 << len(factors)) - 1
        self.known: dict[int, Met] = {}
        self.best: dict[int, tuple[int, tuple[int, int] | None]] = {}

    def found(self) -> Order:
        """The order, its pairs in the order in which they are made."""
        groups = [1 << k for k in range(len(self.factors))]
        if not groups:
            return Order((), 0)
        total = sum(self.alone(g) for g in groups)
        trees: dict[int, tuple[int, int] | None] = dict.fromkeys(groups)
        if len(groups) > self.limits.exhaustive:
            groups, met = self.fewer(groups)
            total += sum(self.join(a, b) for a, b in met)
            trees |= {a | b: (a, b) for a, b in met}
        self.over(groups)
        total += self.best[self.all][0]
        for made, (_, pair) in self.best.items():
            trees.setdefault(made, pair)
        return Order(tuple(self.listed(trees)), total)

    def fewer(self, groups: Sequence[int]) -> tuple[list[int], list[Pair]]:
        """The groups that are left when the cheapest pairs have met until there are few; and these pairs."""
        alive, met = dict(enumerate(groups)), list[Pair]()  # by when they were made

        def pair(first: int, second: int) -> tuple[int, int, int]:
            return self.points(self.met(alive[first]).kept | self.met(alive[second]).kept), first, second

        waiting = [pair(*both) for both in combinations(alive, 2)]
        heapify(waiting)
        while len(alive) > self.limits.exhaustive:
            _, first, second = heappop(waiting)
            if first in alive and second in alive:
                a, b, new = alive.pop(first), alive.pop(second), len(groups) + len(met)
                met.append((a, b))
                alive[new] = a | b
                for other in alive:
                    if other != new:
                        heappush(waiting, pair(other, new))
        return [*alive.values()], met

    def over(self, groups: Sequence[int]) -> None:
        """The cheapest tree of every set of groups, the small ones first."""
        self.best = {g: (0, None) for g in groups}
        for count in range(2, len(groups) + 1):
            for chosen in combinations(groups, count):
                whole = sum(chosen)
                for a, b in _splits(chosen):
                    cost = self.best[a][0] + self.best[b][0] + self.join(a, b)
                    if whole not in self.best or cost < self.best[whole][0]:
                        self.best[whole] = cost, (a, b)

    def listed(self, trees: Mapping[int, tuple[int, int] | None]) -> list[Pair]:
        """The pairs of the tree of all factors."""
        left, pairs = [1 << k for k in range(len(self.factors))], list[Pair]()

        def make(group: int) -> None:
            pair = trees[group]
            if pair is None:
                return
            for side in pair:
                make(side)
            x, y = sorted(map(left.index, pair))
            pairs.append((x, y))
            left[:] = [*(g for g in left if g not in pair), group]

        make(self.all)
        return pairs

    # -- what is left, and what it costs -------------------------------------------------------------

    def points(self, indices: Iterable[str]) -> int:
        return prod(self.sizes[i] for i in indices)

    def met(self, group: int) -> Met:
        """What is left of a set of factors: an index is summed where nobody else mentions it."""
        if group not in self.known:
            inside = [f for k, f in enumerate(self.factors) if group >> k & 1]
            others = [f for k, f in enumerate(self.factors) if not group >> k & 1]
            self.known[group] = met(inside, others, self.conditions, self.out)
        return self.known[group]

    def alone(self, group: int) -> int:
        """What is done with a factor before it meets any other: masked, and summed over what it alone has."""
        factor, here = self.factors[group.bit_length() - 1], self.met(group)
        return 4 * len(here.let_in) * self.limits.element * self.points(factor)

    def join(self, a: int, b: int) -> int:
        """What the meeting of two sets costs."""
        left, right, here = self.met(a), self.met(b), self.met(a | b)
        both, new = left.kept | right.kept, here.let_in - left.let_in - right.let_in
        cost = self.points(both)
        asked = both & here.kept.union(*(self.conditions[k] for k in new))  # what else there is, is summed before
        for k in new:
            sides = [self.points(side.kept) for side in (left, right) if self.conditions[k] <= side.kept]
            cost += 4 * self.limits.element * (min(sides) if sides else self.points(asked))
        return cost


def met(
    inside: Iterable[frozenset[str]],
    others: Iterable[frozenset[str]],
    conditions: Sequence[frozenset[str]],
    out: frozenset[str],
) -> Met:
    """What is left of factors inside of a product; conditions that have an index that is gone have been let in.

    A condition keeps its indices until all of them are there.
    """
    indices = frozenset[str]().union(*inside)
    needed = out.union(*others)
    gone = indices - needed
    waiting = [c for c in conditions if not c <= indices]
    gone = gone.difference(*waiting)
    let_in = frozenset(k for k, c in enumerate(conditions) if c & gone)
    return Met(indices, indices - gone, let_in)


def _splits(chosen: Sequence[int]) -> Iterable[tuple[int, int]]:
    """All ways to part groups in two, the first one always on the left."""
    first, *rest = chosen
    for count in range(len(rest)):
        for more in combinations(rest, count):
            a = first + sum(more)
            yield a, sum(chosen) - a


def products_cost(factors: Sequence[Sequence[str]], pairs: Sequence[Pair], out: Sequence[str], sizes: Sizes) -> int:
    """The multiply-adds of an order of pairwise products."""
    parts, total = [frozenset(f) for f in factors], 0
    for x, y in pairs:
        both = parts[x] | parts[y]
        total += prod(sizes[i] for i in both)
        rest = [p for k, p in enumerate(parts) if k not in (x, y)]
        parts = [*rest, both & frozenset(out).union(*rest)]
    return total
