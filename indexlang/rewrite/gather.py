"""The gather form: each statement that scatters into an affine position, solved for its target.

In: a Program. Out: a Program of the same value, in which every affine axis of a target is a plain index:

    x.grad[b,2*i+di,c] += y.grad[b,i,o] * W[di,c,o]
    x.grad[b,u,c] += y.grad[b,pad((u-di)//2),o] * W[di,c,o] where (u-di) % 2 == 0

The one rule: the subscripts `A n + c` of a target are solved for as many of its indices n as A has rank, the others
keep running. With the Smith normal form U A V = S the solution is n = V t, S t = U (u - c): an entry of S above 1 is a
divisibility condition, a row of S without an entry a consistency condition (the Kronecker delta of a diagonal).
The range of an index that was solved for becomes a mask, or a `pad` where it is read just once, as a plain index
over a whole axis, in a factor of the value: then a zero is read outside. (Beside a factor that is inf or nan there
that zero is no zero: the two forms agree where the other factors are finite.)

Axes that are index tensors, merged, clamped, wrapped or reflected stay as they are, and so do the statements of other
operators than `=` and `+=`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd, lcm, prod

from ..program.affine import Affine
from ..program.conditions import as_mask
from ..program.interface import default_interface
from ..program.ir import (
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
    Size,
    Statement,
    Subscript,
    indices_of,
    parts_of,
    primal_of,
    statement,
    walk,
)
from ..ranges.inherit import inherit
from ..ranges.solve import solve
from .smith import rank, smith

FRESH = "uvwpqrst"  # names for the positions in the target's axes


def gather(program: Program) -> Program:
    """The program with each scatter solved for its target, where it can be."""
    solution = solve(program)
    taken = _names(program)
    statements: list[Statement] = []
    wanted: list[Bounds | None] = []
    for stmt, found in zip(program.statements, solution.bounds, strict=True):
        gathered = None
        if not any(isinstance(part, Dots) for part in parts_of(stmt)):
            bounds = {i: (b.lo, b.hi) for i, b in found.items()}
            sources = {i: b.sources for i, b in found.items()}
            gathered = _Solver(stmt, bounds, sources, solution.shape(stmt.target.tensor), taken).solved()
        statements.append(stmt if gathered is None else gathered[0])
        wanted.append(None if gathered is None else gathered[1])
    result = inherit(replace(program, statements=tuple(statements)), wanted)
    inputs, outputs = default_interface(result.statements, result.shapes)
    if program.name is None and {*inputs} == {*program.inputs} and {*outputs} == {*program.outputs}:
        return replace(result, inputs=inputs, outputs=outputs)  # in the order of the new text, which stays bare
    return result


def _names(program: Program) -> frozenset[str]:
    """What a fresh index must not be called."""
    names = {name for name, _ in program.dims} | {program.name or ""} | {s.tensor for s in program.shapes}
    for stmt in program.statements:
        names.update(part.tensor for part in parts_of(stmt) if isinstance(part, Access | Size))
    return frozenset({*names, *program.inputs, *program.outputs})


Bounds = Mapping[str, tuple[Expr, Expr]]


@dataclass(frozen=True)
class _Row:
    """An axis to solve: the index that will stand there, its affine subscript's coefficients and the rest."""

    axis: int
    name: str
    coefs: Mapping[str, int]
    rest: Affine


@dataclass(frozen=True)
class _Quotient:
    """`form / divisor`, exact where the divisibility conditions hold."""

    form: Affine
    divisor: int

    def expr(self, first: Sequence[str]) -> Expr:
        top = _written(self.form, first)
        return top if self.divisor == 1 else Call("floordiv", (top, Const(self.divisor)))


class _Solver:
    """One statement."""

    def __init__(
        self,
        stmt: Statement,
        bounds: Bounds,
        sources: Mapping[str, frozenset[tuple[str, int]]],
        shape: Sequence[Expr],
        taken: frozenset[str],
    ) -> None:
        self.stmt, self.bounds, self.sources, self.shape = stmt, dict(bounds), sources, shape
        names = {p.name for p in parts_of(stmt) if isinstance(p, Index)}.union(stmt.domain.indices, taken, bounds)
        endless = (f"{name}{n or ''}" for n in itertools.chain([0], itertools.count(2)) for name in FRESH)
        self.fresh = (name for name in endless if name not in names)

    def solved(self) -> tuple[Statement, Bounds] | None:
        """The statement solved, with how far its indices run; None if it stays."""
        if self.stmt.op not in ("=", "+="):
            return None
        rows, fixed = self.rows()
        if not rows:
            return None
        self.names = [row.name for row in rows]
        for row in rows:
            self.bounds[row.name] = (Const(0), self.shape[row.axis])
        self.solutions: dict[str, _Quotient] = {}
        conditions: list[Expr] = []
        for part, unknown in self.components(rows, fixed):
            conditions += self.solve(part, unknown)
        inside = [c for i in self.solutions for c in self.range_conditions(i)]
        subscripts = list(self.stmt.target.subscripts)
        for row in rows:
            subscripts[row.axis] = Index(row.name)
        masks = [m for m in (self.simplified(self.replaced(m), m) for m in self.stmt.domain.masks) if m is not None]
        ranges = tuple(r for r in self.stmt.domain.ranges if r.index not in self.solutions)
        result = statement(
            replace(self.stmt.target, subscripts=tuple(subscripts)),
            self.stmt.op,
            self.replaced(self.stmt.value),
            ranges,
            (*conditions, *inside, *masks),
            self.stmt.span,
        )
        return result, {i: b for i, b in self.bounds.items() if i not in self.solutions}

    # -- the system ----------------------------------------------------------------------------

    def rows(self) -> tuple[list[_Row], set[str]]:
        """The axes to solve, and the indices that must keep running."""
        rows, fixed = [], _in_merged(self.stmt)
        for axis, s in enumerate(self.stmt.target.subscripts):
            match s:
                case Index(name=i) if i not in fixed:
                    fixed.add(i)
                    continue
                case Boundary(kind="pad", expr=e, lo=lo):
                    form = _affine(e)
                    shift = Affine.from_expr(lo) if lo is not None else Affine.from_expr(Const(0))
                    form = None if form is None else form - shift
                case Merged() | Boundary() | Dots():
                    form = None
                case _:
                    form = _affine(s)
            coefs = {} if form is None else {a.name: c for a, c in form.terms if isinstance(a, Index)}
            if form is None or not coefs:
                fixed.update(indices_of(s))
                continue
            rest = form - _sum((Index(i), c) for i, c in coefs.items())
            rows.append(_Row(axis, next(self.fresh), coefs, rest))
        return rows, fixed

    def components(self, rows: Sequence[_Row], fixed: set[str]) -> Iterator[tuple[list[_Row], tuple[str, ...]]]:
        """Which indices to solve for, and the rows that they join."""
        unknown = [i for i in dict.fromkeys(i for row in rows for i in row.coefs) if i not in fixed]
        chosen = self.choice(rows, unknown)
        left = list(rows)
        while left:
            part, reach = [left.pop(0)], set()
            grown = True
            while grown:
                reach = {i for row in part for i in row.coefs if i in chosen}
                joined = [row for row in left if reach & set(row.coefs)]
                left = [row for row in left if row not in joined]
                part, grown = [*part, *joined], bool(joined)
            yield sorted(part, key=lambda row: row.axis), tuple(i for i in chosen if i in reach)

    def choice(self, rows: Sequence[_Row], unknown: Sequence[str]) -> tuple[str, ...]:
        """As many indices as the rank: such that are read only as plain ones, with the least divisors, first ones."""
        count = rank([[row.coefs.get(i, 0) for i in unknown] for row in rows]) if unknown else 0
        best: tuple[tuple[int, int], tuple[str, ...]] | None = None
        for chosen in itertools.combinations(unknown, count):
            matrix = [[row.coefs.get(i, 0) for i in chosen] for row in rows]
            if count and rank(matrix) < count:
                continue
            _, s, _ = smith(matrix, count)
            cost = (sum(1 for i in chosen if self.padded(i) is None), prod(s[k][k] for k in range(count)))
            if best is None or cost < best[0]:
                best = (cost, chosen)
        assert best is not None
        return best[1]

    def solve(self, rows: Sequence[_Row], unknown: tuple[str, ...]) -> list[Expr]:
        """Solve one component: note the solutions, give the conditions under which there is one."""
        right = [
            Affine.from_expr(Index(row.name))
            - row.rest
            - _sum((Index(i), c) for i, c in row.coefs.items() if i not in unknown)
            for row in rows
        ]
        if not unknown:
            return [self.equation(row.name, r) for row, r in zip(rows, right, strict=True)]
        u, s, v = smith([[row.coefs.get(i, 0) for i in unknown] for row in rows])
        y = [_combined(zip(line, right, strict=True)) for line in u]
        n = len(unknown)
        last = s[n - 1][n - 1]
        for j, i in enumerate(unknown):
            top = _combined((v[j][k] * (last // s[k][k]), y[k]) for k in range(n))
            self.solutions[i] = _reduced(top, last)
        divisible = [
            Call("eq", (Call("mod", (self.written(y[k]), Const(s[k][k]))), Const(0))) for k in range(n) if s[k][k] > 1
        ]
        return [*divisible, *(Call("eq", (self.written(r), Const(0))) for r in y[n:])]

    def equation(self, name: str, difference: Affine) -> Expr:
        """`u == e` for a row in which nothing is left to solve."""
        return Call("eq", (Index(name), self.written(Affine.from_expr(Index(name)) - difference)))

    # -- what becomes of the value ---------------------------------------------------------------

    def padded(self, index: str) -> tuple[str, int] | None:
        """The tensor and axis whose `pad` can say the range of an index: its one read, plain, in a factor."""
        if self.stmt.domain.range(index) != Range(index):
            return None
        for factor in _factors(self.stmt.value):
            if isinstance(factor, Access) and Index(index) in factor.subscripts:
                axis = factor.subscripts.index(Index(index))
                place = {(factor.tensor, axis), (primal_of(factor.tensor) or factor.tensor, axis)}
                if place & self.sources[index] and self.reads(index) == 1:
                    return factor.tensor, axis
        return None

    def reads(self, index: str) -> int:
        nodes: list[Subscript] = [self.stmt.value, *self.stmt.domain.masks]
        return sum(1 for node in nodes for part in walk(node) if part == Index(index))

    def replaced(self, expr: Expr) -> Expr:
        """An expression with the solutions put in; affine parts stay affine."""
        if not set(indices_of(expr)) & set(self.solutions):
            return expr
        form = _affine(expr)
        if form is not None:
            return self.substituted(form).expr(self.names)
        match expr:
            case Access(subscripts=subscripts):
                return replace(expr, subscripts=tuple(self.subscript(s) for s in subscripts))
            case Call(args=args):
                return replace(expr, args=tuple(self.replaced(a) for a in args))
            case Reduce(domain=domain, body=body):
                masks = tuple(self.replaced(m) for m in domain.masks)
                return replace(expr, body=self.replaced(body), domain=replace(domain, masks=masks))
            case _:
                raise AssertionError("an index is an affine form")

    def subscript(self, s: Subscript) -> Subscript:
        match s:
            case Index(name=i) if i in self.solutions and self.padded(i) is not None:
                e = self.replaced(s)
                return e if self.always_inside(i) else Boundary("pad", e)
            case Boundary(expr=e, value=value):
                return replace(s, expr=self.replaced(e), value=self.replaced(value))
            case Merged() | Dots():
                return s
            case _:
                return self.replaced(s)

    def substituted(self, form: Affine) -> _Quotient:
        """An affine form of the old indices over the new ones: one exact division at most."""
        known = {a.name: c for a, c in form.terms if isinstance(a, Index) and a.name in self.solutions}
        divisor = lcm(*(self.solutions[i].divisor for i in known))
        parts = [(c * (divisor // self.solutions[i].divisor), self.solutions[i].form) for i, c in known.items()]
        rest = form - _sum((Index(i), c) for i, c in known.items())
        return _reduced(_combined([*parts, (divisor, rest)]), divisor)

    # -- ranges as masks -------------------------------------------------------------------------

    def range_conditions(self, index: str) -> Iterator[Expr]:
        """`lo <= e`, `e < hi`, where a `pad` does not say so and where they do not always hold."""
        if self.padded(index) is not None:
            return
        lo, hi = self.bounds[index]
        e = self.solutions[index].expr(self.names)
        below, above = self.margins(index)
        if not self.never_negative(below):
            yield as_mask(Call("le", (lo, e)))
        if not self.never_negative(above):
            yield as_mask(Call("lt", (e, hi)))

    def margins(self, index: str) -> tuple[Affine | None, Affine | None]:
        """Forms that are not negative where the index is in its range: from below, and from above."""
        solution = self.solutions[index]
        lo, hi = (_affine(b) for b in self.bounds[index])
        below = None if lo is None else solution.form - _times(lo, solution.divisor)
        above = None if hi is None else _times(hi, solution.divisor) - solution.form - _constant(1)
        return below, above

    def always_inside(self, index: str) -> bool:
        return all(self.never_negative(margin) for margin in self.margins(index))

    def never_negative(self, form: Affine | None) -> bool:
        """Whether an affine form is >= 0 at every point, whatever the sizes: at its least corner."""
        if form is None:
            return False
        for index in [a for a, _ in form.terms if isinstance(a, Index)]:
            if index.name not in self.bounds:
                return False
            coef = dict(form.terms)[index]
            lo, hi = (_affine(b) for b in self.bounds[index.name])
            least = lo if coef > 0 else None if hi is None else hi - _constant(1)
            if least is None:
                return False
            form = form - _sum([(index, coef)]) + _times(least, coef)
        return form.const >= 0 and all(c >= 0 for _, c in form.terms)

    def simplified(self, mask: Expr, before: Expr) -> Expr | None:
        """A mask that changed: None if it always holds now."""
        match mask:
            case Call(fn="le" | "lt" | "ge" | "gt" as fn, args=(a, b)) if mask != before:
                small, great = (a, b) if fn in ("le", "lt") else (b, a)
                left, right = _affine(small), _affine(great)
                if left is not None and right is not None:
                    margin = right - left if fn in ("le", "ge") else right - left - _constant(1)
                    if self.never_negative(margin):
                        return None
        return mask

    def written(self, form: Affine) -> Expr:
        return _written(form, self.names)


def _in_merged(stmt: Statement) -> set[str]:
    """Indices of merged axes: no expression can stand there."""
    return {i for part in parts_of(stmt) if isinstance(part, Merged) for i in part.indices}


def _factors(value: Expr) -> Iterator[Expr]:
    """The factors of a product; of a quotient those of its numerator."""
    match value:
        case Call(fn="mul", args=args):
            for a in args:
                yield from _factors(a)
        case Call(fn="neg" | "div", args=(a, *_)):
            yield from _factors(a)
        case _:
            yield value


def _affine(expr: Subscript) -> Affine | None:
    """The affine form over indices and sizes, None if there is none."""
    if any(not isinstance(part, Index | Size | Const | Call) for part in walk(expr)):
        return None
    assert not isinstance(expr, Boundary | Merged | Dots)
    form = Affine.from_expr(expr)
    plain = form is not None and all(isinstance(a, Index | Size) for a, _ in form.terms)
    return form if plain else None


def _constant(value: int) -> Affine:
    return Affine.from_expr(Const(value))


def _sum(terms: Iterable[tuple[Expr, int]]) -> Affine:
    return _combined((c, Affine.from_expr(a)) for a, c in terms)


def _combined(parts: Iterable[tuple[int, Affine]]) -> Affine:
    result = _constant(0)
    for times, form in parts:
        result = result + _times(form, times)
    return result


def _times(form: Affine, by: int) -> Affine:
    return form * by


def _reduced(form: Affine, divisor: int) -> _Quotient:
    """`form / divisor` without common factors."""
    common = gcd(divisor, form.const, *(c for _, c in form.terms))
    if common == 1:
        return _Quotient(form, divisor)
    return _Quotient(Affine(form.const // common, tuple((a, c // common) for a, c in form.terms)), divisor // common)


def _written(form: Affine, first: Sequence[str]) -> Expr:
    """An affine form as text has it: the indices `first`, the constant, the rest; what is added before what is not."""

    def place(atom: Expr | None) -> tuple[int, int]:
        if isinstance(atom, Index) and atom.name in first:
            return 0, first.index(atom.name)
        return (1, 0) if atom is None or isinstance(atom, Size) else (2, 0)

    terms: list[tuple[Expr | None, int]] = [*form.terms, (None, form.const)]
    terms = sorted((t for t in terms if t[1]), key=lambda t: place(t[0]))
    if terms and terms[0][1] < 0:  # `n-1-u`, not `-u+n-1`
        terms.sort(key=lambda t: t[1] < 0)
    result: Expr | None = None
    for atom, coef in terms:
        size = abs(coef) if result is not None else coef
        term: Expr = Const(size) if atom is None else atom if size == 1 else _product(size, atom)
        result = term if result is None else Call("add" if coef > 0 else "sub", (result, term))
    return Const(0) if result is None else result


def _product(times: int, atom: Expr) -> Expr:
    return Call("neg", (atom,)) if times == -1 else Call("mul", (Const(times), atom))
