"""Choices of -inf by positions alone as masks: softmax over what `where(s <= t, x, -inf)` leaves.

In: a Program without embedded reductions. Out: an equal one, and what must be finite for that:

    l[t,s] = where(s <= t, x[t,s], -inf)             l[t,s] = x[t,s] where s <= t
    m[t] = logsumexp[r](l[t,r])                      m[t] = logsumexp[r](l[t,r]) where r <= t
    p[t,s] = exp(l[t,s] - m[t])                      p[t,s] = exp(l[t,s] - m[t]) where s <= t
    d[t] = p[t,s] * g[t,s]                           d[t] = p[t,s] * g[t,s] where s <= t

The one rule: -inf adds nothing to a logsumexp or a maximum, and its power is 0, which a mask gives as well, if what
stands beside it is finite. Where a tensor is read in any other way, it stays as it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...program.algebra import factors_of, terms_of
from ...program.conditions import conjuncts
from ...program.ir import (
    Access,
    Call,
    Const,
    Domain,
    Expr,
    Program,
    Reduce,
    Statement,
    accesses_of,
    indices_of,
    walk,
)
from ...program.names import Renaming, is_plain
from ...program.rebuild import transform_expr
from ...sizes.shapes import Shapes
from .asking import can_be_asked, is_finite
from .choices import all_of, compares

Masks = tuple[Expr, ...]
Factors = tuple[tuple[Expr, bool], ...]  # those below are divisors
Beside = tuple[tuple[Expr, bool, int], ...]  # factors and divisors beside a 0, and whose statement's indices they have


@dataclass(frozen=True)
class Excluded:
    """The Program, and by statement what must be finite beside a power that is 0."""

    program: Program
    beside: Mapping[int, Beside]

    @property
    def asked(self) -> frozenset[str]:
        """The tensors of which all must be finite."""
        factors = (f for found in self.beside.values() for f, _, _ in found)
        return frozenset(p.tensor for f in factors for p in walk(f) if isinstance(p, Access))


def without_exclusions(program: Program, shapes: Shapes) -> Excluded:
    """The program with such choices as masks."""
    work = _Excluding(program, shapes)
    for number in range(len(program.statements)):
        work.choice(number)
    for number, masks in tuple(work.zero.items()):
        work.follow(number, masks)
    return Excluded(replace(program, statements=tuple(work.statements)), work.beside)


class _Excluding:
    """The statements so far; `zero` are those whose values are 0 where masks refuse them, with these masks."""

    def __init__(self, program: Program, shapes: Shapes) -> None:
        self.shapes = shapes
        self.count = Counter(s.target.tensor for s in program.statements)
        self.makers = {s.target.tensor: k for k, s in enumerate(program.statements)}
        self.statements, self.outputs = list(program.statements), program.outputs
        self.beside: dict[int, Beside] = {}
        self.zero: dict[int, Masks] = {}

    def readers(self, tensor: str) -> list[int]:
        """The statements that read a tensor."""
        return [k for k, s in enumerate(self.statements) if _reads(s, tensor)]

    def choice(self, number: int) -> None:
        """A choice of -inf as masks, if all that read it can have them."""
        stmt = self.statements[number]
        tensor = stmt.target.tensor
        if self.count[tensor] > 1 or tensor in self.outputs or (choice := _choice(stmt)) is None:
            return
        reached = [self.shapes.extents[number][i] for i in indices_of(stmt.target)]
        if stmt.domain.masks or reached != [(0, n) for n in self.shapes.tensors[tensor]]:
            return  # what it does not reach is 0
        value, conditions = choice
        said = tuple(dict.fromkeys(conditions))
        found: dict[int, tuple[Statement, Beside | None]] = {}
        for k in self.readers(tensor):
            masked = _masked(self.statements[k], stmt.target, said)
            if masked is None:
                return
            new, factors = masked
            pair = {i for m in new.domain.masks for i in indices_of(m)}
            needed = None if factors is None else self.leaves(factors, k, pair)
            if factors is not None and needed is None:
                return
            found[k] = new, needed
        self.statements[number] = _with(replace(stmt, value=value), said)
        for k, (new, needed) in found.items():
            self.statements[k] = new
            if needed is not None:
                self.beside[k] = (*self.beside.get(k, ()), *needed)
                if self.count[new.target.tensor] == 1 and not new.reduced and is_plain(new.target):
                    self.zero[k] = new.domain.masks

    def follow(self, number: int, masks: Masks) -> None:
        """Products of what is 0 there: masks of theirs, too, where nothing infinite is beside it."""
        target = self.statements[number].target
        for k in self.readers(target.tensor):
            stmt = self.statements[k]
            terms = terms_of(stmt.value)
            if k == number or stmt.op not in ("=", "+=") or len(terms) != 1:
                continue
            factors = list(factors_of(terms[0][1]))
            access = next(
                (f for f, below in factors if isinstance(f, Access) and f.tensor == target.tensor and not below), None
            )
            if access is None or (own := _renamed(target, access)) is None:
                continue
            said = tuple(transform_expr(m, Renaming(indices=own).rule) for m in masks)
            factors.remove((access, False))
            needed = self.leaves(factors, k, {i for m in said for i in indices_of(m)})
            if needed is not None:
                self.statements[k] = _with(stmt, said)
                self.beside[k] = (*self.beside.get(k, ()), *needed)

    def leaves(self, factors: Sequence[tuple[Expr, bool]], number: int, pair: set[str]) -> Beside | None:
        """What is finite if all factors are; what runs over all of `pair` is an input, or made of such things.

        None if that cannot be asked.
        """
        found: list[tuple[Expr, bool, int]] = []
        for factor, below in factors:
            if below and isinstance(factor, Const) and factor.value != 0:
                continue
            reads = _leaves(factor)
            if reads is None or (below and len(reads) != 1):
                return None
            for access in reads:
                made = self.makers.get(access.tensor) if pair <= set(indices_of(access)) else None
                inner, where = ([access], number) if made is None else (self.inside(access, made, pair), made)
                if not inner or (below and made is not None):
                    return None
                found += [(a, below, where) for a in inner]
        asked = ((a, self.statements[k], self.shapes.guarded[k]) for a, _, k in found)
        return tuple(found) if all(can_be_asked(stmt, a, guarded) for a, stmt, guarded in asked) else None

    def inside(self, access: Access, made: int, pair: set[str]) -> list[Access] | None:
        """The reads that sums make a tensor of, if none runs over all of a pair of its indices."""
        stmt = self.statements[made]
        inner, axes = _leaves(stmt.value), _renamed(access, stmt.target)
        if stmt.op not in ("=", "+=") or self.count[access.tensor] > 1 or inner is None or axes is None:
            return None
        there = {axes[i] for i in pair}
        return None if any(there <= set(indices_of(a)) for a in inner) else inner


def _choice(stmt: Statement) -> tuple[Expr, Sequence[Expr]] | None:
    """What a statement chooses instead of -inf, and where."""
    value, names = stmt.value, set(indices_of(stmt.target))
    said: list[Expr] = []
    while isinstance(value, Call) and value.fn == "where":
        condition, first, second = value.args
        if not _is_least(first) and not _is_least(second):
            break
        said += all_of(condition, _is_least(second))
        value = first if _is_least(second) else second
    plain = all(compares(c) and set(indices_of(c)) <= names for c in said)
    sets = stmt.op == "=" and not stmt.reduced and is_plain(stmt.target)
    return (value, said) if said and plain and sets else None


def _is_least(expr: Expr) -> bool:
    match expr:
        case Const(value=float(number)) | Call(fn="neg", args=(Const(value=float(number)),)):
            return number == (-math.inf if isinstance(expr, Const) else math.inf)
        case _:
            return False


def _reads(stmt: Statement, tensor: str) -> bool:
    return any(a.tensor == tensor for a in accesses_of(stmt) if a is not stmt.target)


def _masked(stmt: Statement, target: Access, said: Sequence[Expr]) -> tuple[Statement, Factors | None] | None:
    """A statement that reads the tensor under masks, and what stands beside a power of it; None if it reads it in
    another way.
    """
    found = [a for a in accesses_of(stmt) if a.tensor == target.tensor and a is not stmt.target]
    (access, *more) = found
    own = _renamed(target, access)
    if own is None or any(a != access for a in more):
        return None
    masks = tuple(transform_expr(c, Renaming(indices=own).rule) for c in said)
    inside = {c for m in stmt.domain.masks for c in conjuncts(m)}
    if isinstance(stmt.value, Reduce):
        inside |= {c for m in stmt.value.domain.masks for c in conjuncts(m)}
    if set(masks) <= inside:
        return stmt, None
    match stmt.value:
        case Reduce(op="logsumexp" | "max" as op, domain=domain, body=body) if body == access:
            if {i for m in masks for i in indices_of(m)} & set(domain.indices):
                new = Domain(domain.indices, domain.ranges, (*domain.masks, *masks))
                return replace(stmt, value=Reduce(op, new, body, stmt.value.span)), None
            return None
        case Access() if stmt.op == "max=" and stmt.value == access:
            return _with(stmt, masks), None
        case _:
            beside = _beside(stmt, access)
            return None if beside is None or more else (_with(stmt, masks), beside)


def _beside(stmt: Statement, access: Access) -> Factors | None:
    """What stands beside a power of the tensor: terms of its exponent, and what is multiplied by it."""
    terms = terms_of(stmt.value)
    if stmt.op not in ("=", "+=") or len(terms) != 1 or isinstance(stmt.value, Reduce):
        return None
    power: tuple[tuple[int, Expr], ...] | None = None
    found: list[tuple[Expr, bool]] = []
    for factor, below in factors_of(terms[0][1]):
        if isinstance(factor, Call) and factor.fn == "exp" and not below and power is None:
            exponent = tuple(terms_of(factor.args[0]))
            if (1, access) in exponent:
                power = exponent
                found += [(e, False) for _, e in exponent if e != access]
                continue
        found.append((factor, below))
    return tuple(found) if power else None


def _leaves(expr: Expr) -> list[Access] | None:
    """The reads that a value is made of by sums and products alone."""
    match expr:
        case Access():
            return [expr]
        case Const() if is_finite(expr):
            return []
        case Call(fn="add" | "sub" | "mul" | "neg", args=args):
            parts = [_leaves(a) for a in args]
            return None if None in parts else [a for part in parts for a in part or ()]
        case _:
            return None


def _renamed(made: Access, read: Access) -> dict[str, str] | None:
    """What the indices of one access are in another one of the same tensor, where both are plain."""
    if not (is_plain(made) and is_plain(read)):
        return None
    return dict(zip(indices_of(made), indices_of(read), strict=True))


def _with(stmt: Statement, masks: Sequence[Expr]) -> Statement:
    domain = stmt.domain
    return replace(stmt, domain=Domain(domain.indices, domain.ranges, (*domain.masks, *masks)))
