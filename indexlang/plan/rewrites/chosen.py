"""Products of several factors around matrices that data choose, taken apart: each matrix meets one other factor.

In: a Program with its shapes and types. Out: the same with statements before others that make what these multiply on
the way, where a product in groups comes of it:

    y[b,o] = A[t[b],i,r] * B[t[b],r,o] * x[b,i]          made_1[b,r] = A[t[b],i,r] * x[b,i]
                                                         y[b,o] = made_1[b,r] * B[t[b],r,o]

The one rule: factors meet in the order of the cheapest products. What is made alone has the masks of its own points,
and positions that data say are read at those that were admitted before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from ...program.algebra import factors_of, product_of, terms_of
from ...program.conditions import conjuncts, guard_of
from ...program.ir import Access, Call, Expr, Index, Program, Reduce, Statement, indices_of, parts_of, reads, walk
from ...sizes.dtypes import Known, Types, kind
from ...sizes.shapes import Shapes
from ..blocks import itemsize
from ..limits import Limits
from ..operators import SUMS
from ..order import best_order
from ..prices import is_computed
from .share import inserted


@dataclass(frozen=True)
class Matrices:
    """An access one of whose axes data choose: the indices of these points, and those of the other axes."""

    access: Access
    points: frozenset[str]
    own: frozenset[str]
    count: int  # of matrices


@dataclass(frozen=True)
class Made:
    """Two factors that are multiplied alone, the indices that are kept, the masks there, and what takes their place."""

    value: Expr
    kept: tuple[str, ...]
    masks: tuple[Expr, ...]
    sign: int
    rest: tuple[Expr, ...]
    divisors: tuple[Expr, ...]


def take_apart(program: Program, shapes: Shapes, types: Types, limits: Limits) -> tuple[Program, Shapes, Types]:
    """The program with products around chosen matrices made one after the other."""
    k = 0
    while k < len(program.statements):
        stmt = program.statements[k]
        found = _Statement(stmt, k, shapes, types, limits).made() if _has_chosen(stmt) else None
        if found is None:
            k += 1
            continue
        target = Access("", tuple(map(Index, found.kept)))
        program, shapes, types, made = inserted(program, shapes, types, k, "made", target, found.value, found.masks)
        value = product_of([made, *found.rest], found.divisors)
        value = value if found.sign > 0 else Call("neg", (value,))
        gone = set(indices_of(found.value)) - set(found.kept)
        statements, extents = list(program.statements), list(shapes.extents)
        statements[k + 1] = replace(stmt, value=value, domain=stmt.domain.without(gone))
        extents[k + 1] = {i: e for i, e in extents[k + 1].items() if i not in gone}
        program, shapes = replace(program, statements=tuple(statements)), replace(shapes, extents=tuple(extents))
    return program, shapes, types


def _has_chosen(stmt: Statement) -> bool:
    """Whether data choose what a statement reads or writes."""
    return stmt.op in SUMS and any(isinstance(p, Access) and is_computed(p) for p in parts_of(stmt))


class _Statement:
    """What is known of a statement."""

    def __init__(self, stmt: Statement, number: int, shapes: Shapes, types: Types, limits: Limits) -> None:
        self.stmt, self.limits, self.tensors = stmt, limits, shapes.tensors
        self.extents, self.guarded = shapes.extents[number], shapes.guarded[number]
        self.compute, self.known = types.compute[number], Known(types.tensors, types.weak)
        self.sizes = {i: hi - lo for i, (lo, hi) in self.extents.items()}

    def made(self) -> Made | None:
        """The first two factors to be multiplied alone, where a product in groups comes of it."""
        stmt, summed, free = self.stmt, set(self.stmt.reduced), indices_of(self.stmt.target)
        terms = terms_of(stmt.value)
        plain = not self.guarded and not any(isinstance(p, Reduce) for p in parts_of(stmt)) and self.compute != "bool"
        if not plain or len(terms) != 1 or not summed or min(self.sizes.values()) < 1:
            return None
        ((sign, term),) = terms
        parts = factors_of(term)
        chosen = self.matrices(stmt.target)
        added = chosen is not None and self.pays(chosen)  # all that meets there is one product
        core = [f for f, below in parts if not below and (indices_of(f) if added else summed & set(indices_of(f)))]
        divisors = [f for f, below in parts if below]
        if any(summed & set(indices_of(d)) for d in divisors) or not all(map(self.fits, core)):
            return None
        masks = [c for mask in stmt.domain.masks for c in conjuncts(mask)]
        if len(core) < 3 or any(guard_of(m, stmt) is not None for m in masks):
            return None
        groups = [indices_of(f) for f in core]
        order = best_order(groups, [indices_of(m) for m in masks], free, self.sizes, self.limits)
        pairs = order.pairs
        if not self.groups(core, pairs, free, added) or (not added and self.at_once(core, order.cost)):
            return None
        x, y = pairs[0]
        rest = [f for k, f in enumerate(core) if k not in (x, y)]
        both = dict.fromkeys((*groups[x], *groups[y]))
        needed = {*free, *(i for f in rest for i in indices_of(f))}
        kept = [i for i in both if i in needed]
        kept.sort(key=lambda i: not (i in groups[x] and i in groups[y]))  # what both have is a batch, and outermost
        own = tuple(m for m in masks if set(indices_of(m)) <= set(kept))
        strict = any(map(reads_data, (core[x], core[y])))
        others = [m for m in masks if m not in own]
        if others and (strict or any(set(indices_of(m)) & (both.keys() - set(kept)) for m in others)):
            return None
        if self.is_large(kept):
            return None
        outside = [f for f, below in parts if not below and f not in core]
        value = Call("mul", (core[x], core[y]))
        return Made(value, tuple(kept), own, sign, (*rest, *outside), tuple(divisors))

    def fits(self, factor: Expr) -> bool:
        """Whether a factor is of the type that the statement computes in."""
        found = kind(factor, self.known)
        return found.name == self.compute and not found.weak

    def is_large(self, kept: Sequence[str]) -> bool:
        """Whether an array over indices is larger than what lies in memory anyway, and large at all."""
        accesses = [p for p in (self.stmt.target, *walk(self.stmt.value)) if isinstance(p, Access)]
        most = max(prod(self.sizes[i] for i in indices_of(a)) for a in accesses if not is_computed(a))
        elements = prod(self.sizes[i] for i in kept)
        return elements > self.limits.larger * most and elements * itemsize(self.compute) > self.limits.large

    def matrices(self, access: Expr) -> Matrices | None:
        """An access as matrices that data choose: positions along one axis, an index of its own along each other."""
        if not isinstance(access, Access):
            return None
        axes = [k for k, s in enumerate(access.subscripts) if reads(s)]
        own = [s.name for s in access.subscripts if isinstance(s, Index)]
        if len(axes) != 1 or len(own) != len(access.subscripts) - 1 or len(set(own)) < len(own):
            return None
        points = frozenset(indices_of(access.subscripts[axes[0]]))
        alone = bool(points) and points.isdisjoint(own)
        return Matrices(access, points, frozenset(own), self.tensors[access.tensor][axes[0]]) if alone else None

    def pays(self, found: Matrices) -> bool:
        """Whether enough copies of matrices are saved."""
        points = prod(self.sizes[i] for i in found.points)
        elements = points * prod(self.sizes[i] for i in found.own)
        return elements >= self.limits.grouped * min(points, found.count)

    def at_once(self, core: Sequence[Expr], cost: int) -> bool:
        """Whether one product in groups, of one matrix with all other factors, is as good as any order."""
        found = [m for f in core if (m := self.matrices(f)) is not None and self.pays(m)]
        every = prod(self.sizes[i] for i in {i for f in core for i in indices_of(f)})
        return len(found) == 1 and set(self.stmt.reduced) <= found[0].own | found[0].points and every <= cost

    def groups(self, core: Sequence[Expr], pairs: Sequence[tuple[int, int]], free: Sequence[str], added: bool) -> bool:
        """Whether a pair is a product in groups; or something is summed before what is left is `added` to matrices."""
        left: list[tuple[Matrices | None, frozenset[str]]]
        left = [(self.matrices(f), frozenset(indices_of(f))) for f in core]
        for x, y in pairs:
            rest = [part for k, part in enumerate(left) if k not in (x, y)]
            needed, both = frozenset(free).union(*(i for _, i in rest)), left[x][1] | left[y][1]
            if added and rest and not both <= needed:
                return True
            for (matrices, _), (_, other) in ((left[x], left[y]), (left[y], left[x])):
                if matrices is not None and self.pays(matrices):
                    summed, rows = matrices.own - needed, matrices.own & needed
                    if summed and rows and summed <= other and not rows & other and matrices.points & other:
                        return True
            left = [*rest, (None, both & needed)]
        return False


def reads_data(expr: Expr) -> bool:
    """Whether positions in an expression come from data."""
    return any(is_computed(p) for p in walk(expr) if isinstance(p, Access))
