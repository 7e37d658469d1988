"""An index that an equality ties to data becomes a subscript: rows are taken, or written to, instead of compared with.

In: a Program with its shapes and types. Out: an equal Program without these indices:

    y[b,d] = where(t[b] == v, 1, 0) * E[v,d]                 y[b,d] = E[t[b],d] where 0 <= t[b], t[b] < 2000
    E.grad[v,d] += y.grad[b,d] * where(t[b] == v, 1, 0)      E.grad[t[b],d] += y.grad[b,d] where 0 <= t[b], ...
    g[u,v] += w[n] where 3*u + v == t[n]                     g[t[n]//3,t[n]%3] += w[n] where 0 <= t[n] // 3, ...

The one rule: the same points are added up, at every size. Data are integers as they are read, nothing is rounded; what
lies outside of the index's range is refused by a mask, as no value of the index has been equal to it. A choice of 0 by
such an equality is a mask whether or not its index is replaced: what is not chosen adds nothing, also where it is nan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from ...program.affine import Affine
from ...program.algebra import factors_of, product_of, terms_of
from ...program.conditions import as_mask, conjuncts, negation
from ...program.interface import with_header
from ...program.ir import (
    Access,
    Boundary,
    Call,
    Const,
    Domain,
    Dots,
    Expr,
    Index,
    Merged,
    Program,
    Range,
    Reduce,
    Shape,
    Statement,
    Subscript,
    children,
    indices_of,
    parts_of,
    reads,
    statement,
    walk,
)
from ...program.rebuild import transform_expr
from ...rewrite.substitution import Quotient, put, put_subscript, written
from ...sizes import dtypes as kinds
from ...sizes.dtypes import Types
from ...sizes.in_bounds import numeric
from ...sizes.shapes import Shapes
from ..limits import Limits
from ..prices import price
from ..views import Extents

_SUMS = ("=", "+=")


@dataclass(frozen=True)
class Tie:
    """An index, and what a mask says that it is equal to."""

    index: str
    value: Affine
    mask: Expr


def index_by_data(program: Program, shapes: Shapes, types: Types, limits: Limits) -> Program:
    """The program with indices that are equal to data replaced by these, the shapes of the targets declared."""
    statements, known = list(program.statements), kinds.Known(types.tensors, types.weak)
    for k, stmt in enumerate(statements):
        if not any(isinstance(p, Call) and p.fn in ("eq", "ne") and reads(p) for p in parts_of(stmt)):
            continue
        if shapes.guarded[k] or any(isinstance(p, Reduce) for p in parts_of(stmt)):
            continue
        if all(hi > lo for lo, hi in shapes.extents[k].values()):
            statements[k] = indexed(stmt, shapes.extents[k], shapes, known, limits)
    changed = {new.target.tensor for new, old in zip(statements, program.statements, strict=True) if new is not old}
    if not changed:
        return program
    declared = {*program.inputs, *(s.tensor for s in program.shapes)}
    new = [Shape(t, tuple(map(Const, shapes.tensors[t]))) for t in sorted(changed - declared)]
    return with_header(replace(program, statements=tuple(statements), shapes=(*program.shapes, *new)))


def indexed(stmt: Statement, extents: Extents, shapes: Shapes, known: kinds.Known, limits: Limits) -> Statement:
    """A statement with as many indices replaced as pays; the same object if none is."""
    return _Statement(shapes, known, limits).indexed(stmt, extents)


@dataclass(frozen=True)
class _Statement:
    """What is known around a statement."""

    shapes: Shapes
    known: kinds.Known
    limits: Limits

    def indexed(self, stmt: Statement, extents: Extents) -> Statement:
        """The statement with as many indices replaced as pays."""
        best, found = self.masked(stmt, extents)
        if not self.is_typed_as(stmt, best):  # a 0.0 makes integers floating-point numbers
            return stmt
        least = price(found, extents, self.limits, self.shapes.tensors)
        if least < self.limits.separate * self.limits.element:
            return best
        improved = True
        while improved:
            improved = False
            for tie in self.ties(found):
                lo, hi = extents[tie.index]
                if tie.index in _mixed(found) or not (stmt.reduced or hi - lo > self.limits.pointed):
                    continue  # elements are written one by one
                new = self.replaced(found, extents, tie)
                if new is not None and tie.index not in new.domain.indices and self.is_typed_as(stmt, new):
                    left = {i: e for i, e in extents.items() if i != tie.index}
                    cost = price(new, left, self.limits, self.shapes.tensors)
                    if cost * 5 < least * 4:
                        best, found, extents, least, improved = new, new, left, cost, True
                        break
        return best

    def is_typed_as(self, old: Statement, new: Statement) -> bool:
        """Whether both statements leave values of the same type."""
        one, other = (kinds.accumulated(s, kinds.kind(s.value, self.known)) for s in (old, new))
        return (one.name, one.weak) == (other.name, other.weak)

    # -- masks -----------------------------------------------------------------------------------

    def masked(self, stmt: Statement, extents: Extents) -> tuple[Statement, Statement]:
        """The statement with its choices of 0 by such an equality as masks; and with one index in each mask."""
        masks = [c for mask in stmt.domain.masks for c in conjuncts(mask)]
        terms = terms_of(stmt.value)
        if stmt.op in _SUMS and len(terms) == 1:
            ((sign, term),) = terms
            parts = factors_of(term)
            opened = [self.opened(part) if not below else (part, []) for part, below in parts]
            if any(said for _, said in opened):
                masks += [as_mask(c) for _, said in opened for c in said]
                factors = [f for (f, _), (_, below) in zip(opened, parts, strict=True) if not below and f != Const(1)]
                value = product_of(factors or [Const(1)], [f for f, below in parts if below])
                stmt = _with(stmt, Call("neg", (value,)) if sign < 0 else value, masks)
        return stmt, _with(stmt, stmt.value, [digit for m in masks for digit in self.digits(m, extents)])

    def digits(self, mask: Expr, extents: Extents) -> list[Expr]:
        """A number of several indices that is equal to data, as an equality for each of its digits."""
        match mask:
            case Call(fn="eq", args=(a, b)) if all(kinds.kind(e, self.known).kind == "int" for e in (a, b)):
                zero = numeric(Affine.from_expr(a) - Affine.from_expr(b), self.shapes.tensors)
            case _:
                return [mask]
        data = [(atom, -c) for atom, c in zero.terms if reads(atom)]
        if zero.const or len(data) != 1 or abs(data[0][1]) != 1 or not self.is_whole(data[0][0]):
            return [mask]
        ((number, sign),) = data
        terms = [(atom, c * sign) for atom, c in zero.terms if isinstance(atom, Index)]
        terms.sort(key=lambda term: term[1])
        coefs = [c for _, c in terms]
        if len(terms) < 2 or len(terms) + 1 < len(zero.terms) or coefs[0] != 1 or self.is_long(number):
            return [mask]
        found: list[Expr] = []
        for (index, c), above in zip(terms, [*coefs[1:], 0], strict=True):
            lo, hi = extents[index.name]
            if index.name in indices_of(number) or lo < 0 or (above and (above % c or hi > above // c)):
                return [mask]
            digit = number if c == 1 else Call("floordiv", (number, Const(c)))
            found.append(Call("eq", (index, Call("mod", (digit, Const(above // c))) if above else digit)))
        return found

    def opened(self, factor: Expr) -> tuple[Expr, list[Expr]]:
        """A factor without choices of 0 that an equality with data makes, and the conditions of these."""
        said: list[Expr] = []
        while isinstance(factor, Call) and factor.fn == "where":
            condition, first, second = factor.args
            if _is_zero(first):
                condition, first, second = negation(condition), second, first
            conditions = list(conjuncts(condition))
            if not _is_zero(second) or not any(self.tied(c, ()) for c in conditions):
                break
            said += conditions
            factor = first
        return factor, said

    # -- ties ------------------------------------------------------------------------------------

    def ties(self, stmt: Statement) -> Iterator[Tie]:
        """The indices that masks tie to data, and that can be replaced."""
        merged = {i for p in parts_of(stmt) if isinstance(p, Merged) for i in p.indices}
        valued = {*_values(stmt.value), *merged}
        for s in stmt.target.subscripts:
            valued.update(() if isinstance(s, Index) else indices_of(s))
        for mask in stmt.domain.masks:
            yield from (tie for tie in self.tied(mask, valued) if tie.index in stmt.domain.indices)

    def tied(self, mask: Expr, but: Collection[str]) -> list[Tie]:
        """The indices that a mask ties to data, `but` some."""
        match mask:
            case Call(fn="eq", args=(a, b)) if all(kinds.kind(e, self.known).kind == "int" for e in (a, b)):
                zero = Affine.from_expr(a) - Affine.from_expr(b)
            case _:
                return []
        data = [(atom, c) for atom, c in zero.terms if reads(atom)]
        if len(data) != 1 or abs(data[0][1]) != 1 or not self.is_whole(data[0][0]):
            return []
        atom = data[0][0]
        found = []
        for term, c in zero.terms:
            if isinstance(term, Index) and abs(c) == 1 and term.name not in indices_of(atom):
                value = (zero - Affine(0, ((term, c),))) * -c
                plain = value == Affine(0, ((atom, 1),))
                if (plain or not self.is_long(atom)) and term.name not in but:
                    found.append(Tie(term.name, value, mask))
        return found

    def is_whole(self, atom: Expr) -> bool:
        """Whether an atom is an integer as it is read, or a remainder or quotient of one."""
        match atom:
            case Access() | Call(fn="int"):
                return True
            case Call(fn="floordiv" | "mod", args=(a, Const(value=int(by)))) if by > 0:
                return self.is_whole(a)
            case _:
                return False

    def is_long(self, atom: Expr) -> bool:
        """Whether its integers may lie beyond those that indices are computed with."""
        return kinds.kind(atom, self.known).name == "uint64"

    # -- the statement ---------------------------------------------------------------------------

    def replaced(self, stmt: Statement, extents: Extents, tie: Tie) -> Statement | None:
        """The statement with one index replaced."""
        value = written(tie.value)
        lo, hi = extents[tie.index]
        ends: tuple[Expr, ...] = (Call("le", (Const(lo), value)), Call("lt", (value, Const(hi))))
        match value:
            case Call(fn="mod", args=(_, Const(value=int(n)))) if lo <= 0 < n <= hi:
                ends = ()  # as is every remainder
        values = {tie.index: Quotient(tie.value)}
        others = [m for m in stmt.domain.masks if m != tie.mask]
        if any(reads(sub) for m in others for sub in _positions(m, tie.index)):
            return None
        masks = [put(_clamped(m, values), values) for m in others]
        target = replace(stmt.target, subscripts=tuple(put_subscript(s, values) for s in stmt.target.subscripts))
        made = put(stmt.value, values)
        ranges = tuple(r for r in stmt.domain.ranges if r.index != tie.index)
        new = statement(target, stmt.op, made, ranges, tuple(dict.fromkeys((*ends, *masks))), stmt.span)
        rest = {i: e for i, e in extents.items() if i != tie.index}
        said = {r.index for r in ranges} | self.plain(new, rest)
        more = tuple(Range(i, Const(lo) if lo else None, Const(hi)) for i, (lo, hi) in rest.items() if i not in said)
        return statement(target, stmt.op, made, (*ranges, *more), new.domain.masks, stmt.span)

    def plain(self, stmt: Statement, extents: Extents) -> set[str]:
        """The indices that run through the whole of an axis that they stand in by themselves."""
        found = set()
        for access in (p for p in parts_of(stmt) if isinstance(p, Access)):
            for s, size in zip(access.subscripts, self.shapes.tensors[access.tensor], strict=True):
                if isinstance(s, Index) and extents[s.name] == (0, size):
                    found.add(s.name)
        return found


def _with(stmt: Statement, value: Expr, masks: list[Expr]) -> Statement:
    """The statement of another value, over all indices that there were."""
    domain = Domain(stmt.domain.indices, stmt.domain.ranges, tuple(dict.fromkeys(masks)))
    return replace(stmt, value=value, domain=domain)


def _values(expr: Subscript) -> Iterator[str]:
    """The indices that are numbers in an expression, not positions."""
    if isinstance(expr, Index):
        yield expr.name
    elif not isinstance(expr, Access):
        for part in children(expr):
            yield from _values(part)


def _positions(mask: Expr, index: str) -> Iterator[Subscript]:
    """The subscripts in which a mask reads by an index."""
    for access in (p for p in walk(mask) if isinstance(p, Access)):
        yield from (s for s in access.subscripts if index in indices_of(s))


def _clamped(mask: Expr, values: Mapping[str, Quotient]) -> Expr:
    """A mask that reads inside of its axes everywhere: no other mask of data guards it."""

    def rule(part: Subscript) -> Subscript | None:
        if not isinstance(part, Access) or values.keys().isdisjoint(indices_of(part)):
            return None
        return replace(part, subscripts=tuple(map(clamped, part.subscripts)))

    def clamped(s: Subscript) -> Subscript:
        if values.keys().isdisjoint(indices_of(s)) or isinstance(s, Boundary | Merged | Dots):
            return s
        return Boundary("clamp", put(s, values))

    return transform_expr(mask, rule)


def _is_zero(expr: Expr) -> bool:
    return isinstance(expr, Const) and expr.value == 0 and not isinstance(expr.value, bool)


def _mixed(stmt: Statement) -> set[str]:
    """The indices that stand in a position with others, or at an edge, where data would have to be checked."""
    accesses = [p for p in parts_of(stmt) if isinstance(p, Access)]
    return {i for a in accesses for s in a.subscripts if not isinstance(s, Index) for i in indices_of(s)}
