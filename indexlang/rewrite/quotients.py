"""Quotients that have a name: softmax writes `p` for `e / z`.

In: a Program. Out: an equal one in which a derived product reads a quotient from the tensor that holds it. The one
rule: only what the product has in full is replaced, all factors and all divisors of the quotient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..program.algebra import Product, left_over, product
from ..program.conditions import guard_of
from ..program.facts import kept
from ..program.ir import (
    Access,
    Boundary,
    Call,
    Dots,
    Expr,
    Index,
    Merged,
    Program,
    Subscript,
    primal_of,
    walk,
)
from ..program.rebuild import with_value
from .patterns import Patterns, holds, may_hold


def read_quotients(program: Program, floats: frozenset[str]) -> Program:
    """A quotient that a tensor holds is read from it, where a derived product contains it: p for e / z."""
    single = Counter(s.target.tensor for s in program.statements)
    patterns, holders = Patterns(), _Holders()
    statements = []
    for stmt in program.statements:
        value = stmt.value
        if primal_of(stmt.target.tensor) is not None and product(value).divisors:
            guards = [guard for m in stmt.domain.masks if (guard := guard_of(m, stmt)) is not None]
            for holder in holders.within(_tensors(value)):
                if holder.tensors <= _tensors(value):  # some may have been replaced by now
                    shorter = _without(value, holder.target, holder.quotient)
                    if all(
                        left_over(shorter, guard) is not None for guard in guards
                    ):  # what is not zero stays a factor
                        value = shorter
            if value is not stmt.value:
                stmt = with_value(stmt, value)
        statements.append(stmt)
        if (
            stmt.block is None
            and may_hold(stmt, single)
            and (parts := product(value)).number == 1
            and parts.factors
            and parts.divisors
        ):
            pattern = patterns.of(value)
            if pattern is not None and holds(stmt, pattern, single):
                holders.add(_Holder(stmt.target, parts, _tensors(value)))
    return replace(program, statements=tuple(statements))


@dataclass(frozen=True)
class _Holder:
    """A tensor that holds a quotient, and the tensors that this reads."""

    target: Access
    quotient: Product
    tensors: frozenset[str]


class _Holders:
    """All of them by one tensor that each reads: few are looked at, of many."""

    def __init__(self) -> None:
        self.by_tensor: dict[str, list[tuple[int, _Holder]]] = {}
        self.count = 0

    def add(self, holder: _Holder) -> None:
        self.count += 1
        rare = min(holder.tensors, key=lambda t: (len(self.by_tensor.get(t, ())), t))
        self.by_tensor.setdefault(rare, []).append((self.count, holder))

    def within(self, tensors: frozenset[str]) -> Iterator[_Holder]:
        """Those that read only these tensors, in order."""
        found = [h for t in tensors for h in self.by_tensor.get(t, ()) if h[1].tensors <= tensors]
        return (holder for _, holder in sorted(found, key=lambda h: h[0]))


@kept
def _tensors(value: Expr) -> frozenset[str]:
    return frozenset(p.tensor for p in walk(value) if isinstance(p, Access))


def _without(value: Expr, target: Access, quotient: Product) -> Expr:
    """The value with the target's tensor in place of the quotient's factors and divisors, if it has them all."""
    parts = product(value)
    for axes, factors in _matches(quotient.factors, parts.factors, {Dots(): Dots()}):
        for found, divisors in _matches(quotient.divisors, parts.divisors, axes):
            read = Access(target.tensor, tuple(found[s] for s in target.subscripts))
            first = next(k for k, f in enumerate(parts.factors) if k >= len(factors) or f is not factors[k])
            number = parts.number * quotient.divisor
            return replace(
                parts, number=number, factors=(*factors[:first], read, *factors[first:]), divisors=divisors
            ).expr()
    return value


Axes = dict[Subscript, Subscript]
Exprs = tuple[Expr, ...]


def _matches(wanted: Exprs, given: Exprs, axes: Axes) -> Iterator[tuple[Axes, Exprs]]:
    """The ways to find all wanted parts among the given: what their subscripts stand for, and the parts left over."""
    places: dict[str, list[int]] = {}
    for k, part in enumerate(given):
        places.setdefault(_head(part), []).append(k)
    if any(len(places.get(head, ())) < n for head, n in Counter(map(_head, wanted)).items()):
        return

    def search(number: int, axes: Axes, used: frozenset[int]) -> Iterator[tuple[Axes, Exprs]]:
        if number == len(wanted):
            yield axes, tuple([part for k, part in enumerate(given) if k not in used])
            return
        for k in places[_head(wanted[number])]:
            found = None if k in used else _match(wanted[number], given[k], axes)
            if found is not None:
                yield from search(number + 1, found, used | {k})

    yield from search(0, axes, frozenset())


def _head(part: Expr) -> str:
    """What parts that match have in common."""
    return part.tensor if isinstance(part, Access) else part.fn if isinstance(part, Call) else ""


def _match(pattern: Subscript, part: Subscript, axes: Axes) -> Axes | None:
    """What the pattern's plain subscripts stand for if it is to be the part; None if it cannot be."""
    match pattern, part:
        case Access(tensor, ours), Access(other, theirs) if tensor == other and len(ours) == len(theirs):
            for s, t in zip(ours, theirs, strict=True):
                if not isinstance(s, Index):
                    if s != t:
                        return None
                elif isinstance(t, Boundary | Merged | Dots) or axes.get(s, t) != t:
                    return None
                else:
                    axes = {**axes, s: t}
            return axes
        case Call(fn, ours), Call(other, theirs) if fn == other:
            found: Axes | None = axes
            for s, t in zip(ours, theirs, strict=True):
                found = None if found is None else _match(s, t, found)
            return found
        case Index(), _:
            return axes if axes.get(pattern) == part else None
        case _:
            return axes if pattern == part else None
