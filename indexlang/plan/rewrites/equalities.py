"""Equalities of indices solved: the points that a mask admits are gone through, not all others with them.

In: a Program without ellipses, its shapes. Out: an equal one, the same object where nothing is to be solved:

    A.grad[i,u] += d.grad[i] where u == i
    A.grad[i,i] += d.grad[i]

    x.grad[u] += y.grad[pad((u-k)//2)] * w[k] where (u - k) % 2 == 0
    x.grad[pad(2*p+k-1)] += y.grad[pad(p-1)] * w[k] where p < 9, k < 3

    y[t] = q[t,d] * k[s,d] where (t - s) % 8 == 0, s <= t
    y[r+8*p] = q[r+8*p,d] * k[r+8*p2,d] where r < 8, p < 128, p2 < 128, p2 <= p

The one rule: the admitted points stay. An equation of indices, or one modulo a number, is solved for an index whose
coefficient is 1; the others, and the quotient, run on. Of two long indices that stand apart a residue runs on, with
both quotients: a batch of products. How far the solved one runs becomes a range of the only index that it is made of, a
`pad` of the target, or a mask. What is left must be at most two thirds of the points.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd, prod

from ...program.affine import Affine
from ...program.conditions import comparisons, conjuncts, margins
from ...program.interface import with_header
from ...program.ir import (
    Access,
    Boundary,
    Call,
    Const,
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
    indices_of,
    parts_of,
    reads,
    statement,
    walk,
)
from ...program.names import Fresh
from ...rewrite.substitution import Quotient, combined, linear, put, put_subscript
from ...sizes.in_bounds import interval, numeric
from ...sizes.shapes import Shapes

FEWEST = 4  # values of each residue from which on a product for each residue pays

Sizes = Mapping[str, Sequence[int]]
Box = Mapping[str, tuple[int, int]]  # lo <= index < hi


def solve_equalities(program: Program, shapes: Shapes) -> Program:
    """The program with its equalities solved, the shapes of the targets concerned declared."""
    statements, fresh = list(program.statements), None
    for k, stmt in enumerate(statements):
        if any(fn == "eq" or not reads(mask) for mask in stmt.domain.masks for fn, _, _ in comparisons(mask)):
            fresh = fresh or Fresh.of(program)
            statements[k] = _Solver(stmt, shapes.extents[k], shapes.tensors, fresh).solved() or stmt
    solved = {new.target.tensor for new, old in zip(statements, program.statements, strict=True) if new is not old}
    if not solved:
        return program
    known = {*program.inputs, *(s.tensor for s in program.shapes)}
    declared = [Shape(t, tuple(map(Const, shapes.tensors[t]))) for t in sorted(solved - known)]
    return with_header(replace(program, statements=tuple(statements), shapes=(*program.shapes, *declared)))


@dataclass(frozen=True)
class _Points:
    """The points that are gone through: how far each index runs, and what the solved ones are, made of these."""

    box: Box
    values: Mapping[str, Affine]

    def put(self, form: Affine) -> Affine:
        """A form over the indices that run."""
        return combined(
            [(1, Affine(form.const)), *((c, self.values.get(_name(a), Affine(0, ((a, 1),)))) for a, c in form.terms)]
        )

    def solved(self, index: str, value: Affine) -> _Points:
        """The points with one index made of the others."""
        values = {i: _Points({}, {index: value}).put(form) for i, form in self.values.items()}
        return _Points({i: b for i, b in self.box.items() if i != index}, {**values, index: value})

    def within(self, index: str, lo: int, hi: int) -> _Points:
        return replace(self, box={**self.box, index: (lo, hi)})

    @property
    def count(self) -> int:
        return prod(max(0, hi - lo) for lo, hi in self.box.values())


@dataclass(frozen=True)
class _Limit:
    """`form >= 0`: the end of a solved index's range, or a mask."""

    form: Affine
    index: str | None = None
    mask: Expr | None = None


class _Solver:
    """One statement."""

    def __init__(self, stmt: Statement, extents: Box, sizes: Sizes, fresh: Fresh) -> None:
        self.stmt, self.extents, self.sizes, self.fresh = stmt, extents, sizes, fresh
        self.merged = {i for p in parts_of(stmt) if isinstance(p, Merged) for i in p.indices}
        self.plain = {s.name for s in stmt.target.subscripts if isinstance(s, Index)}
        self.masks = [m for mask in stmt.domain.masks for m in conjuncts(mask)]

    def solved(self) -> Statement | None:
        """The statement solved; None if it stays."""
        if any(isinstance(p, Reduce) for p in parts_of(self.stmt)) or any(lo >= hi for lo, hi in self.extents.values()):
            return None
        points: _Points | None = _Points(self.extents, {})
        equations = [e for m in self.masks if (e := self.equation(m)) is not None]
        for zero, modulus in equations:
            points = points and self.solve(points, zero, modulus)
        points = points and self.limited(points)
        points = points and self.banded(points)
        if points is None or not points.values or 3 * points.count > 2 * _Points(self.extents, {}).count:
            return None
        return self.rewritten(self.from_zero(points))

    # -- equations -------------------------------------------------------------------------------

    def equation(self, mask: Expr) -> tuple[Affine, int] | None:
        """A form that is 0, modulo a number if that is not 0; None for masks that do not say so."""
        match mask:
            case Call(fn="eq", args=(Call(fn="mod", args=(e, Const(value=int(m)))), Const(value=int(c)))) if 0 <= c < m:
                form = self.form(e)
                return None if form is None else (form - c, m)
            case Call(
                fn="eq",
                args=(Call(fn="mod", args=(a, Const(value=int(m)))), Call(fn="mod", args=(b, Const(value=int(n))))),
            ) if m == n > 0:
                left, right = self.form(a), self.form(b)
                return None if left is None or right is None else (left - right, m)
            case Call(fn="eq", args=(a, b)):
                left, right = self.form(a), self.form(b)
                return None if left is None or right is None else (left - right, 0)
            case _:
                return None

    def form(self, expr: Subscript) -> Affine | None:
        """An affine form over indices alone."""
        form = linear(expr)
        form = None if form is None else numeric(form, self.sizes)
        return form if form is not None and all(isinstance(a, Index) for a, _ in form.terms) else None

    def solve(self, points: _Points, zero: Affine, modulus: int) -> _Points | None:
        """The points at which a form is 0; None if there are none, or no index can be made of the others."""
        zero = points.put(zero)
        if modulus and (found := self.residues(points, zero, modulus)) is not None:
            return found
        if modulus:
            low, high = _interval(zero, points.box)
            name = self.fresh.fresh("p")
            points = points.within(name, -(-low // modulus), high // modulus + 1)
            zero = zero - _index(name) * modulus
        while zero.terms:
            by = gcd(*(c for _, c in zero.terms))
            if zero.const % by:
                return None
            zero = Affine(zero.const // by, tuple((a, c // by) for a, c in zero.terms))
            movable = [(_name(a), c) for a, c in zero.terms if _name(a) not in self.merged]
            if gcd(*(c for _, c in movable)) != 1:  # none at all, or only multiples of a number that others are not
                return None
            units = [(i, (zero - _index(i) * c) * -c) for i, c in movable if abs(c) == 1]
            if units:
                return points.solved(*min(units, key=lambda unit: self.cost(points, *unit)))
            i, c = min(movable, key=lambda term: abs(term[1]))
            step = Affine(zero.const // c, tuple((a, d // c) for a, d in zero.terms))  # i and multiples of the others
            name = self.fresh.fresh("p")
            low, high = _interval(step, points.box)
            points = points.within(name, low, high + 1).solved(i, _index(name) - (step - _index(i)))
            zero = points.put(zero)
        return None if zero.const else points

    def residues(self, points: _Points, zero: Affine, modulus: int) -> _Points | None:
        """The points with two indices of a product as multiples and a residue that both have: a batch of products."""
        terms = [(_name(a), c % modulus) for a, c in zero.terms if c % modulus]
        if len(terms) != 2 or not self.stmt.reduced or any(c not in (1, modulus - 1) for _, c in terms):
            return None
        (i, c), (j, d) = terms
        if not all(k in points.box and self.is_long(k, modulus) for k in (i, j)) or self.together(i, j):
            return None
        residue = self.fresh.fresh("r")
        points = replace(points, box={residue: (0, modulus), **points.box})
        shift = (-zero.const if d == 1 else zero.const) % modulus  # j is the residue, or what is left to a multiple
        other = _index(residue) if c != d or modulus == 2 else Affine() - _index(residue)
        other = other + shift - (modulus if other.terms[0][1] > 0 and shift > modulus // 2 else 0)
        for index, offset in ((i, _index(residue)), (j, other)):
            lo, hi = points.box[index]
            least, most = _interval(offset, points.box)
            name = self.fresh.fresh("p")
            points = points.within(name, -((most - lo) // modulus), (hi - 1 - least) // modulus + 1)
            points = points.solved(index, _index(name) * modulus + offset)
        return points

    def is_long(self, index: str, modulus: int) -> bool:
        """Whether an index has enough values of each residue for products of matrices."""
        lo, hi = self.extents.get(index, (0, 0))
        return index not in self.merged and hi - lo >= FEWEST * modulus

    def together(self, one: str, other: str) -> bool:
        """Whether a subscript mixes two indices: one of them is better made of the other."""
        roots = (self.stmt.target, self.stmt.value)
        accesses = (p for root in roots for p in walk(root) if isinstance(p, Access))
        return any({one, other} <= set(indices_of(s)) for a in accesses for s in a.subscripts)

    def cost(self, points: _Points, index: str, value: Affine) -> tuple[bool, int, bool]:
        """What speaks against solving for an index: it is new; what becomes of its range; it stands in the target."""
        if index not in self.extents:
            return True, 0, False
        lo, hi = self.extents[index]
        low, high = _interval(value, points.box)
        how = 0 if lo <= low and high < hi else 1 if len(value.terms) == 1 else 2 if index in self.plain else 3
        return False, how, index in self.plain

    # -- ranges ----------------------------------------------------------------------------------

    def limits(self, points: _Points) -> Iterator[_Limit]:
        """What must not be negative: the ends of solved indices' ranges, and the masks that compare affine forms."""
        for i in points.values:
            if i in self.extents:
                lo, hi = self.extents[i]
                yield _Limit(points.values[i] - lo, i)
                yield _Limit(Affine(hi - 1) - points.values[i], i)
        for mask in self.masks:
            for margin in margins(mask) if self.equation(mask) is None else ():
                form = numeric(margin, self.sizes)
                if all(isinstance(a, Index) for a, _ in form.terms):
                    yield _Limit(points.put(form), None, mask)

    def limited(self, points: _Points) -> _Points | None:
        """The points with what limits one index as its range; None if there are none."""
        while True:
            before = points
            for limit in self.limits(points):
                if len(limit.form.terms) == 1:
                    i, c = _name(limit.form.terms[0][0]), limit.form.terms[0][1]
                    (lo, hi), end = points.box[i], limit.form.const // abs(c)
                    if i not in self.merged:
                        points = points.within(i, *((max(lo, -end), hi) if c > 0 else (lo, min(hi, end + 1))))
                elif not limit.form.terms and limit.form.const < 0:
                    return None
            if any(lo >= hi for lo, hi in points.box.values()):
                return None
            if points == before:
                return points

    def left(self, points: _Points) -> list[_Limit]:
        """The limits that the box does not keep."""
        return [limit for limit in self.limits(points) if _interval(limit.form, points.box)[0] < 0]

    def outside(self, points: _Points) -> set[str]:
        """The solved indices that the box does not keep in their ranges."""
        return {limit.index for limit in self.left(points) if limit.index is not None}

    def banded(self, points: _Points) -> _Points:
        """The points with a form that masks hold between two ends as an index, instead of one of the target."""
        left = [limit for limit in self.left(points) if limit.mask is not None]
        for lower, upper in ((a, b) for a in left for b in left):
            linear_part = lower.form - lower.form.const
            if linear_part + upper.form != Affine(upper.form.const):
                continue
            by = gcd(*(c for _, c in linear_part.terms))
            band = Affine(0, tuple((a, c // by) for a, c in linear_part.terms))
            lo, hi = -(lower.form.const // by), upper.form.const // by + 1
            for i, c in ((_name(a), c) for a, c in band.terms if abs(c) == 1 and _name(a) in self.extents):
                if lo >= hi or 2 * (hi - lo) > points.box[i][1] - points.box[i][0] or not self.has_axis(i):
                    continue
                name = self.fresh.fresh("p")
                value = (_index(name) - (band - _index(i) * c)) * c
                found = self.limited(points.within(name, lo, hi).solved(i, value))
                if found is not None and 2 * found.count <= points.count and self.outside(found) == self.pads(found):
                    return self.banded(found)
        return points

    def has_axis(self, index: str) -> bool:
        """Whether an index has axes of the target to itself and runs through the whole of them."""
        shape = self.sizes[self.stmt.target.tensor]
        axes = [n for s, n in zip(self.stmt.target.subscripts, shape, strict=True) if s == Index(index)]
        return index not in self.merged and bool(axes) and all(self.extents[index] == (0, n) for n in axes)

    def pads(self, points: _Points) -> set[str]:
        """The solved indices whose range a `pad` of the target can say."""
        names = {i for i in self.outside(points) if self.has_axis(i)}
        return names if names and self.stays_inside(points, names) else set()

    def stays_inside(self, points: _Points, padded: set[str]) -> bool:
        """Whether all reads and other axes of the target stay inside, also where the target's `pad` drops a point."""
        values = {i: Quotient(form) for i, form in points.values.items()}
        roots = (self.stmt.target, self.stmt.value, *self.masks)
        for part in (p for root in roots for p in walk(root) if isinstance(p, Access)):
            for s, size in zip(part.subscripts, self.sizes[part.tensor], strict=True):
                if part is self.stmt.target and isinstance(s, Index) and s.name in padded:
                    continue
                if reads(s):
                    return False
                if values.keys().isdisjoint(indices_of(s)) or (isinstance(s, Boundary) and s.lo is None):
                    continue
                after = put_subscript(s.expr if isinstance(s, Boundary) else s, values)
                if isinstance(s, Boundary) or isinstance(after, Boundary | Merged | Dots):
                    return False
                reach = interval(numeric(Affine.from_expr(after), self.sizes), points.box)
                if reach is None or reach[0] < 0 or reach[1] >= size:
                    return False
        return True

    # -- the statement ---------------------------------------------------------------------------

    def from_zero(self, points: _Points) -> _Points:
        """The points with new indices that start at 0."""
        for i, (lo, hi) in points.box.items():
            if i not in self.extents and lo:
                moved = _Points({}, {i: _index(i) + lo})
                values = {k: moved.put(form) for k, form in points.values.items()}
                points = replace(points, values=values).within(i, 0, hi - lo)
        return points

    def rewritten(self, points: _Points) -> Statement:
        left, pads = self.left(points), self.pads(points)
        values = {i: Quotient(form) for i, form in points.values.items()}
        first = [i for i in points.box if i not in self.extents]
        said = [m for m in self.masks if self.is_linear(m)]
        needed = {limit.mask for limit in left if limit.mask is not None}
        ends = [limit.form for limit in left if limit.index is not None and limit.index not in pads]
        masks = [
            self.shorter(points, m, first) or put(m, values, first) for m in self.masks if m not in said or m in needed
        ]
        target = [
            Boundary("pad", values[s.name].expr(first))
            if isinstance(s, Index) and s.name in pads
            else put_subscript(s, values, first)
            for s in self.stmt.target.subscripts
        ]
        return statement(
            replace(self.stmt.target, subscripts=tuple(target)),
            self.stmt.op,
            put(self.stmt.value, values, first),
            tuple(Range(i, Const(lo) if lo else None, Const(hi)) for i, (lo, hi) in points.box.items()),
            (*(Call("le", (Const(0), Quotient(form).expr(first))) for form in ends), *masks),
            self.stmt.span,
        )

    def shorter(self, points: _Points, mask: Expr, first: Sequence[str]) -> Expr | None:
        """A comparison of multiples of a number without it: p2 <= p for r + 8*p2 <= r + 8*p."""
        margin = list(margins(mask)) if self.equation(mask) is None else []
        form = numeric(margin[0], self.sizes) if len(margin) == 1 else Affine()
        if not form.terms or not all(isinstance(a, Index) for a, _ in form.terms):
            return None
        form = points.put(form)
        by = gcd(*(c for _, c in form.terms))
        if by < 2:
            return None
        more = Affine(form.const // by, tuple((a, c // by) for a, c in form.terms if c > 0))
        less = Affine(0, tuple((a, -c // by) for a, c in form.terms if c < 0))
        return Call("le", (Quotient(less).expr(first), Quotient(more).expr(first)))

    def is_linear(self, mask: Expr) -> bool:
        """Whether a mask is one of the equations and limits."""
        if self.equation(mask) is not None:
            return True
        forms = [numeric(m, self.sizes) for m in margins(mask)]
        return bool(forms) and all(isinstance(a, Index) for form in forms for a, _ in form.terms)


def _interval(form: Affine, box: Box) -> tuple[int, int]:
    found = interval(form, box)
    assert found is not None, "no data are read"
    return found


def _name(atom: Expr) -> str:
    assert isinstance(atom, Index)
    return atom.name


def _index(name: str) -> Affine:
    return Affine(0, ((Index(name), 1),))
