"""Powers of sums taken apart: which terms of an exponent go together, and whether products of powers cost less.

In: the terms of an exponent, or of the body of a logsumexp, and how far indices run. Out: an `Exponent`; `deepest`, how
far below 1 sums of such products may lie. The one rule: it asks for indices and sizes alone; what data say is asked
where products are planned (`log_products`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import log, prod

import numpy as np

from ..program.algebra import Factor, Term, factors_of, product_of, sum_of, terms_of
from ..program.ir import Access, Call, Expr, Index, Reduce, indices_of, walk
from .limits import Limits
from .order import best_order

Sizes = Mapping[str, int]

PASSES = 5  # over each group: its greatest values, what is below them, its power
CALLS = 4  # for each group; twice as many for the result


@dataclass(frozen=True)
class Exponent:
    """A sum of `groups`, each of terms that have an index outside of `level`, and `rest`, the terms that have none.

    A group is moved by its greatest values along what is not in `level`; so exp(rest + these) has only indices of
    `level`.
    """

    groups: tuple[Expr, ...]
    rest: tuple[Term, ...]
    level: frozenset[str]


@dataclass(frozen=True)
class Power:
    """A product: the power of an exponent, and other factors, which have no index outside of the exponent's level."""

    exponent: Exponent
    others: tuple[Factor, ...]


def logarithm_apart(body: Expr, free: Sequence[str], sizes: Sizes, limits: Limits) -> Exponent | None:
    """The body of a logsumexp, if sums of products of powers cost less than a power at each point."""
    terms = spread(terms_of(body))
    if not _covers(body, sizes):
        return None
    found = _grouped(terms, free)
    return found if _pays(found, len(terms), [], free, sizes, limits) else None


def power_apart(term: Expr, free: Sequence[str], sizes: Sizes, limits: Limits) -> Power | None:
    """A product that is summed, if its power is better taken apart. What is subtracted last is the level: the logsumexp
    in its gradient.
    """
    factors = factors_of(term)
    powers = [f for f in factors if isinstance(f[0], Call) and f[0].fn == "exp" and not f[1]]
    everything = _moving(sizes)
    tall = [f for f in powers if everything <= set(indices_of(f[0]))]
    if len(tall) != 1 or not _covers(term, sizes):
        return None
    others = tuple(f for f in factors if f is not tall[0])
    exponent = tall[0][0]
    assert isinstance(exponent, Call)
    terms = spread(terms_of(exponent.args[0]))
    outer = {i for f, _ in others for i in indices_of(f)}
    for level in dict.fromkeys(frozenset(indices_of(t)) for sign, t in reversed(terms) if sign < 0):
        if outer <= level:
            found = _grouped(terms, level)
            if _pays(found, len(terms) + len(others), [level], free, sizes, limits):
                return Power(found, others)
    return None


def spread(terms: Sequence[Term]) -> list[Term]:
    """The terms, a sum that is scaled as a whole as its terms scaled: what is rounded is as large."""
    found: list[Term] = []
    for sign, term in terms:
        factors = factors_of(term)
        sums = [k for k, (f, below) in enumerate(factors) if not below and len(terms_of(f)) > 1]
        if len(sums) != 1 or any(indices_of(f) for k, (f, _) in enumerate(factors) if k not in sums):
            found.append((sign, term))
            continue
        (place,) = sums
        for own, part in spread(terms_of(factors[place][0])):
            parts = [*factors[:place], (part, False), *factors[place + 1 :]]
            found.append((sign * own, product_of([f for f, b in parts if not b], [f for f, b in parts if b])))
    return found


def reads_plainly(expr: Expr) -> bool:
    """Whether each tensor is read along indices of its own, and nothing is reduced."""
    parts = list(walk(expr))
    reads = [p for p in parts if isinstance(p, Access)]
    plain = all(isinstance(s, Index) for a in reads for s in a.subscripts)
    return (
        plain
        and all(len({*a.subscripts}) == len(a.subscripts) for a in reads)
        and not any(isinstance(p, Reduce) for p in parts)
    )


def deepest(kind: str, count: int) -> float:
    """How far the logarithm of a sum of `count` products of powers up to 1 may lie below 0.

    What underflows is then less than the square of a rounding of the sum. What is rounded is the distance of elements
    from the greatest ones, which are no smaller themselves. The other half of the range is for what they meet.
    """
    return min(farthest(kind) / 2, farthest(kind) + 2 * log(np.finfo(kind).eps) - log(max(1, count)))


def farthest(kind: str) -> float:
    """How far below 0 an exponent may lie whose power has all its digits."""
    return -log(np.finfo(kind).tiny)


def _moving(sizes: Sizes) -> set[str]:
    return {i for i, n in sizes.items() if n > 1}


def _covers(expr: Expr, sizes: Sizes) -> bool:
    """Whether a value has all indices: one that it lacks would count it several times."""
    return _moving(sizes) <= set(indices_of(expr)) and reads_plainly(expr)


def _grouped(terms: Sequence[Term], level: Collection[str]) -> Exponent:
    """The terms by their indices: one joins the first group that has all of its own, or none but these."""
    groups: list[tuple[set[str], list[Term]]] = []
    rest: list[Term] = []
    for sign, term in terms:
        own = set(indices_of(term))
        if own <= set(level):
            rest.append((sign, term))
            continue
        for indices, parts in groups:
            if own <= indices or indices <= own:
                indices |= own
                parts.append((sign, term))
                break
        else:
            groups.append((own, [(sign, term)]))
    return Exponent(tuple(sum_of(parts) for _, parts in groups), tuple(rest), frozenset(level))


def _pays(
    found: Exponent, done: int, more: Sequence[Collection[str]], free: Sequence[str], sizes: Sizes, limits: Limits
) -> bool:
    """Whether products of powers cost less than `done` operations and a power at each point."""
    everything, points = _moving(sizes), prod(sizes.values())
    groups = [set(indices_of(g)) for g in found.groups]
    arrays = [*groups, *map(set, more)]
    counts = [prod(sizes[i] for i in group) for group in arrays]
    if not groups or any(everything <= group for group in arrays):
        return False
    if points < limits.separate or points < limits.larger * max(counts):
        return False
    cost = best_order(arrays, (), free, sizes, limits).cost + CALLS * limits.call * (2 + len(groups))
    cost += PASSES * limits.element * (sum(counts) + prod(sizes[i] for i in free))
    return cost < limits.element * (2 + done) * points
