"""Softmax, and its logarithm, in whatever way a program writes them.

In: a Program without embedded reductions, and how far its indices run. Out: for each statement that is a softmax, its
exponent. The one rule: the sum under it runs over just the points at which the statement has a value, so that the
values add up to one: `exp(u)/z` with `z` the sum of `exp(u)`, `exp(u - l)` and `u - l` with `l` a logsumexp of `u`.

For such a statement two derived statements are enough, whatever it is written with:

    d[b]       = p.grad[b,k] * p[b,k]                     (of the logarithm: p.grad[b,k])
    u.grad[b,k] += p[b,k] * (p.grad[b,k] - d[b])          (p.grad[b,k] - exp(p[b,k]) * d[b])
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from ..program.algebra import Term, product, sum_of, terms_of
from ..program.ir import (
    DOTS,
    Access,
    Call,
    Expr,
    Program,
    Reduce,
    Statement,
    indices_of,
)
from ..program.names import is_plain
from ..ranges.solve import Solution
from ..ranges.statements import Bound
from .alike import called, names_at, run_alike

_MOST = 3  # indices of one sum, which are tried in every order


@dataclass(frozen=True)
class Softmax:
    """What a statement is: exp(exponent) over its sum over `over`, or with `log` the logarithm of that."""

    exponent: Expr
    over: tuple[str, ...]
    masks: tuple[Expr, ...]  # where the exponent counts, besides the statement's own
    through: frozenset[str]  # the tensors that it is written with, and that its derivative passes by
    log: bool


@dataclass(frozen=True)
class _Total:
    """The logarithm of the sum of exp(terms) over `over`, and what is added to it; in the names of its statement."""

    stmt: Statement
    bounds: Mapping[str, Bound]
    terms: tuple[Term, ...]
    over: tuple[str, ...]
    masks: tuple[Expr, ...]
    through: frozenset[str]


@dataclass(frozen=True)
class _Power:
    """exp(terms) where `masks` hold, in the names of the statement that reads it."""

    terms: tuple[Term, ...]
    masks: tuple[Expr, ...]
    through: frozenset[str]


def softmaxes(program: Program, solution: Solution) -> dict[int, Softmax]:
    """The statements that are softmaxes, by number."""
    search = _Search(program, solution)
    found = ((k, search.softmax(k)) for k in range(len(program.statements)))
    return {k: softmax for k, softmax in found if softmax is not None}


class _Search:
    def __init__(self, program: Program, solution: Solution) -> None:
        self.statements, self.solution = program.statements, solution
        count = Counter(s.target.tensor for s in program.statements)
        self.single = {
            s.target.tensor: k
            for k, s in enumerate(program.statements)
            if count[s.target.tensor] == 1 and s.op in ("=", "+=") and is_plain(s.target)
        }

    def softmax(self, number: int) -> Softmax | None:
        stmt = self.statements[number]
        if self.single.get(stmt.target.tensor) != number or stmt.reduced:
            return None
        match stmt.value:
            case Call("exp", (Call("sub" | "add") as inside,)):
                return self.of_terms(number, inside, log=False)
            case Call("sub" | "add"):
                return self.of_terms(number, stmt.value, log=True)
            case Call("div" | "mul"):
                return self.quotient(number)
            case _:
                return None

    def of_terms(self, number: int, value: Expr, log: bool) -> Softmax | None:
        """u - l, and exp(u - l)."""
        terms = tuple(terms_of(value))
        for k, (sign, term) in enumerate(terms):
            total = self.logarithm(term) if sign < 0 else None
            if total is not None:
                power = _Power((*terms[:k], *terms[k + 1 :]), (), frozenset())
                read = term.args[0] if isinstance(term, Call) else term
                assert isinstance(read, Access)
                return self.matched(number, power, total, read, log)
        return None

    def quotient(self, number: int) -> Softmax | None:
        """exp(u) / z."""
        parts = product(self.statements[number].value)
        match parts.factors, parts.divisors:
            case (factor,), (Access() as divisor,) if parts.number == parts.divisor == 1:
                power, total = self.power(factor), self.sum(divisor)
                if power is not None and total is not None:
                    return self.matched(number, power, total, divisor, log=False)
        return None

    def power(self, expr: Expr) -> _Power | None:
        """exp(u), or a tensor of that value."""
        match expr:
            case Call("exp", (inside,)):
                return _Power(tuple(terms_of(inside)), (), frozenset())
            case Access(tensor, subscripts) if tensor in self.single:
                stmt = self.statements[self.single[tensor]]
                mapping = names_at(stmt.target.subscripts, subscripts)
                if mapping is None or stmt.reduced or not isinstance(stmt.value, Call) or stmt.value.fn != "exp":
                    return None
                terms = tuple((s, called(t, mapping)) for s, t in terms_of(stmt.value.args[0]))
                masks = tuple(called(m, mapping) for m in stmt.domain.masks)
                return _Power(terms, masks, frozenset((tensor,)))
            case _:
                return None

    def sum(self, read: Access) -> _Total | None:
        """A tensor that is the sum of exp(u)."""
        if read.tensor not in self.single:
            return None
        number = self.single[read.tensor]
        stmt = self.statements[number]
        power = self.power(stmt.value) if stmt.reduced else None
        if power is None:
            return None
        masks, through = (*stmt.domain.masks, *power.masks), power.through | {read.tensor}
        return _Total(stmt, self.solution.bounds[number], power.terms, stmt.reduced, masks, through)

    def logarithm(self, expr: Expr) -> _Total | None:
        """A tensor that is a logsumexp, the logarithm of a sum of exp(u), and one to which something is added."""
        match expr:
            case Call("log", (Access() as read,)):
                return self.sum(read)
            case Access(tensor) if tensor in self.single:
                number = self.single[tensor]
                stmt = self.statements[number]
                if stmt.reduced:
                    return None
                if isinstance(stmt.value, Reduce):
                    return self.logsumexp(number, stmt.value)
                return self.shifted(number)
            case _:
                return None

    def logsumexp(self, number: int, root: Reduce) -> _Total | None:
        stmt = self.statements[number]
        if root.op != "logsumexp":
            return None
        masks, through = (*stmt.domain.masks, *root.domain.masks), frozenset((stmt.target.tensor,))
        terms = tuple(terms_of(root.body))
        return _Total(stmt, self.solution.bounds[number], terms, root.domain.indices, masks, through)

    def shifted(self, number: int) -> _Total | None:
        """m + log(z): the sum's own terms, and m."""
        stmt = self.statements[number]
        terms = tuple(terms_of(stmt.value))
        for k, (sign, term) in enumerate(terms):
            match term:
                case Call("log", (Access() as read,)) if sign > 0 and not stmt.domain.masks:
                    inner = self.sum(read)
                    mapping = None if inner is None else names_at(read.subscripts, inner.stmt.target.subscripts)
                    if inner is None or mapping is None or set(mapping) != set(stmt.domain.indices):
                        continue
                    if not run_alike(self.solution, self.solution.bounds[number], inner.bounds, mapping):
                        continue
                    rest = ((s, called(t, mapping)) for s, t in (*terms[:k], *terms[k + 1 :]))
                    through = inner.through | {stmt.target.tensor}
                    return _Total(inner.stmt, inner.bounds, (*inner.terms, *rest), inner.over, inner.masks, through)
                case _:
                    pass
        return None

    def matched(self, number: int, power: _Power, total: _Total, read: Access, log: bool) -> Softmax | None:
        """The softmax, if power and total are about the same exponents at the same points."""
        stmt, bounds = self.statements[number], self.solution.bounds[number]
        free = names_at(total.stmt.target.subscripts, read.subscripts)
        if free is None or DOTS in total.over:
            return None
        others = [i for i in stmt.domain.indices if i not in free.values()]
        if len(others) != len(total.over) or len(others) > _MOST:
            return None
        masks = frozenset((*stmt.domain.masks, *power.masks))
        for order in permutations(others):
            mapping = {**free, **dict(zip(total.over, order, strict=True))}
            inner = frozenset(called(m, mapping) for m in total.masks)
            if not inner <= masks or any(set(indices_of(m)) & set(order) for m in masks - inner):
                continue
            if not run_alike(self.solution, total.bounds, bounds, mapping):
                continue
            if _bag((s, called(t, mapping)) for s, t in total.terms) == _bag(power.terms):
                extra = tuple(m for m in power.masks if m not in stmt.domain.masks)
                return Softmax(sum_of(power.terms), order, extra, power.through | total.through, log)
        return None


def _bag(terms: Iterator[Term] | Sequence[Term]) -> dict[Expr, int]:
    """How often each term counts."""
    counts: Counter[Expr] = Counter()
    for sign, term in terms:
        counts[term] += sign
    return {term: n for term, n in counts.items() if n}
