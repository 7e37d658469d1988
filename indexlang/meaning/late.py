"""Sums that a statement takes last, though they were mostly meant to come first: `relu(W[i,o]*x[b,i] + B[o])`.

In: a term of a right side, the indices that the statement sums over. Out: those that come late, the term with their
sums first; where in the term they do. The one rule: an index comes late only where its sum can come first, which it
cannot while the index stands elsewhere in the term, too.

A *place* is a sum inside of the term, of one summand or several. How it is used decides what makes an index late there:

    linearly            a summand lacks it: `g[o] * (W[i,o]*x[b,i] + B[o])`
    by a power, by abs  a summand lacks it, and another contracts over it: `(w[j]*x[n,j] - y[n])**2`
    by a function       a summand contracts over it: `relu(W[i,o]*x[b,i])`

Under a power and in functions a summand that only lacks an index says nothing: one sums squares and distances of
deviations (`(x[b,i] - m[b])**2`), exponentials of differences, losses (`relu(1 - y[n]*z[n])`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from enum import IntEnum
from itertools import combinations

from ..program.algebra import factors_of, sum_of, terms_of
from ..program.ir import DOTS, Call, Domain, Expr, Reduce, Subscript, indices_of, reads
from ..program.rebuild import transform_expr


class Use(IntEnum):
    """How a place is used by what stands around it."""

    LINEAR = 0
    POWER = 1
    FUNCTION = 2


Place = tuple[Expr, Use, tuple[str, ...]]  # and the indices of reductions around, which count as numbers there

_AVERAGES = ("sum", "mean")  # the reductions that are linear
_MASKS = ("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not")  # as factors they choose


def late_sums(term: Expr, reduced: Sequence[str]) -> tuple[tuple[str, ...], Expr]:
    """The indices that come late in a term, and the term with their sums first."""
    late: list[str] = []
    while (found := _first(term, [i for i in reduced if i not in late])) is not None:
        index, term = found
        late.append(index)
    return tuple(i for i in reduced if i in late), term


def shown_at(term: Expr, index: str) -> Expr:
    """The innermost place at which an index comes late."""
    return next((place[0] for place in _places(term) if index in _late_at(place, (index,))), term)


def _first(term: Expr, indices: Sequence[str]) -> tuple[str, Expr] | None:
    """The index that comes late furthest inside, and the term with its sum first."""
    places = _places(term)
    tried = set[str]()
    for place in places:
        for index in _late_at(place, indices):
            if index in tried:
                continue
            tried.add(index)
            first = _brought_forward(term, index, [p for p in places if index in _late_at(p, indices)])
            if first is not None:
                return index, first
    return None


def _brought_forward(term: Expr, index: str, places: Sequence[Place]) -> Expr | None:
    """The term with an index summed over in the innermost places where it then stands nowhere else.

    In several places only if each of them contracts: `(x[i] - m) * (y[i] - n)` is a sum of products.
    """
    left = list(dict.fromkeys(p for p, _, _ in places))
    contracted = {p for p, _, bound in places if index in _contracted(p, bound)}
    while left:
        inner = [p for p in left if not any(p is not q and _contains(p, q) for q in left)]
        first = term
        for place in inner:
            first = _replaced(first, place, summed(place, index))
        if index not in indices_of(first) and (len(inner) == 1 or contracted.issuperset(inner)):
            return first
        left = [p for p in left if p not in inner]
    return None


def _late_at(place: Place, indices: Collection[str]) -> tuple[str, ...]:
    """The indices that come late at a place, those whose factors stand nearest first."""
    expr, use, bound = place
    terms = [t for _, t in terms_of(expr)]
    contracted = _contracted(expr, bound)
    if use is Use.LINEAR:
        found = dict.fromkeys((*contracted, *indices_of(expr)))
        late = [i for i in found if (others := lacking(terms, i)) and (i in contracted or any(map(_is_bias, others)))]
    else:
        late = [i for i in contracted if use is Use.FUNCTION or lacking(terms, i)]
    return tuple(i for i in late if i in indices and i != DOTS)


def lacking(terms: Sequence[Expr], index: str) -> list[Expr]:
    return [t for t in terms if index not in indices_of(t)]


def _is_bias(term: Expr) -> bool:
    """1 + x[i], x[i]**2 + eps: a number is no bias, unless it stands beside a product of matrices."""
    return bool(reads(term) or indices_of(term))


# -- contractions --------------------------------------------------------------------------------------


def _contracted(place: Expr, bound: tuple[str, ...]) -> dict[str, None]:
    """The indices over which a term of a place contracts."""
    return dict.fromkeys(i for _, t in terms_of(place) for i in _contractions(t, bound))


def _contractions(term: Expr, bound: tuple[str, ...]) -> Iterator[str]:
    """The indices in which factors of different indices meet, those whose factors stand nearest first.

    `(x[n,d] - z[m,d])**2` multiplied out has such factors as well.
    """
    match term:
        case Reduce("sum", Domain(indices), body):
            term, bound = body, (*bound, *indices)
        case _:
            pass
    factors = [f for f, below in factors_of(term) if not below]
    numbered = [(k, _open(f, bound)) for k, f in enumerate(factors) if reads(f) and not _is_mask(f)]
    pairs = sorted(combinations(numbered, 2), key=lambda pair: pair[1][0] - pair[0][0])
    for (_, one), (_, other) in pairs:
        if one.keys() != other.keys():
            yield from (i for i in one if i in other)
    for factor in factors:
        if isinstance(factor, Call) and factor.fn == "pow":
            terms = [_open(t, bound) for _, t in terms_of(factor.args[0]) if reads(t)]
            for one, other in combinations(terms, 2):
                if one.keys() - other.keys() and other.keys() - one.keys():
                    yield from (i for i in one if i in other)


def _open(factor: Expr, bound: Collection[str]) -> dict[str, None]:
    return dict.fromkeys(i for i in indices_of(factor) if i not in bound)


def _is_mask(factor: Expr) -> bool:
    return isinstance(factor, Call) and factor.fn in _MASKS


# -- places --------------------------------------------------------------------------------------------


def _places(term: Expr) -> list[Place]:
    found: list[Place] = []
    left: list[Place] = [(term, Use.LINEAR, ())]
    seen = set[tuple[int, Use, tuple[str, ...]]]()
    while left:
        place, use, bound = left.pop()
        if (id(place), use, bound) in seen:
            continue
        seen.add((id(place), use, bound))
        found.append((place, use, bound))
        for _, summand in terms_of(place):
            left += _inside(summand, use, bound)
    return found[::-1]


def _inside(summand: Expr, use: Use, bound: tuple[str, ...]) -> Iterator[Place]:
    """The places in the factors of a summand."""
    factors = factors_of(summand)
    times = Counter(f for f, below in factors if not below)
    for factor, below in factors:
        if below:
            yield factor, Use.FUNCTION, bound
        elif isinstance(factor, Reduce):
            yield from _reduced(factor, use, bound)
        elif isinstance(factor, Call):
            used = max(use, Use.POWER) if times[factor] > 1 else use
            if factor.fn in ("add", "sub"):
                yield factor, used, bound
            else:
                yield from ((place, how, bound) for place, how in _arguments(factor, used))


def _reduced(part: Reduce, use: Use, bound: tuple[str, ...]) -> Iterator[Place]:
    """The body of a reduction; but a sum of one summand is a summand of the place around it."""
    bound = (*bound, *part.domain.indices)
    if part.op == "sum" and len(terms_of(part.body)) == 1:
        yield from _inside(part.body, use, bound)
    else:
        yield part.body, use if part.op in _AVERAGES else Use.FUNCTION, bound


def _arguments(call: Call, use: Use) -> Iterator[tuple[Expr, Use]]:
    match call:
        case Call("float", (argument,)):
            yield argument, use
        case Call("abs", (argument,)):
            yield argument, max(use, Use.POWER)
        case Call("pow", (base, exponent)) if not indices_of(exponent):
            yield base, max(use, Use.POWER)
        case Call("where", (condition, *values)):
            yield condition, Use.FUNCTION
            yield from ((v, use) for v in values)
        case Call(args=args):
            yield from ((a, Use.FUNCTION) for a in args)


# -- sums brought forward -------------------------------------------------------------------------------


def summed(value: Expr, index: str) -> Expr:
    """Each term that has an index summed over it."""
    return sum_of([(sign, _over(term, index)) for sign, term in terms_of(value)])


def _over(term: Expr, index: str) -> Expr:
    if index not in indices_of(term):
        return term
    match term:
        case Reduce("sum", Domain(indices, (), ()), body):
            return Reduce("sum", Domain((*indices, index)), body)
        case _:
            return Reduce("sum", Domain((index,)), term)


def _replaced(value: Expr, old: Expr, new: Expr) -> Expr:
    return transform_expr(value, lambda part: new if part == old else None)


def _contains(whole: Expr, part: Expr) -> bool:
    found = False

    def look(node: Subscript) -> None:
        nonlocal found
        found = found or (node == part)

    transform_expr(whole, look)  # goes through what stands in several places once
    return found
