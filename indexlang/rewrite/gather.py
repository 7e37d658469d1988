"""The gather form: each statement that scatters into an affine position, solved for its target.

In: a Program. Out: a Program of the same value, in which every affine axis of a target is a plain index:

    x.grad[b,2*i+di,c] += y.grad[b,i,o] * W[di,c,o]
    x.grad[b,u,c] += y.grad[b,pad((u-di)//2),o] * W[di,c,o] where (u-di) % 2 == 0

The one rule: the subscripts `A n + c` of a target are solved for as many of its indices n as A has rank, the others
keep running. With the Smith normal form U A V = S the solution is n = V t, S t = U (u - c): an entry of S above 1 is a
divisibility condition, a row of S without an entry a consistency condition (the Kronecker delta of a diagonal).
Solved for are the indices of the cotangent, the positions of a window, before its taps: few keep running then.
The range of an index that was solved for becomes a range of the one index that it is made of, else a mask, or a `pad`
where it is read just once, as a plain index over a whole axis, in a factor of the value: then a zero is read outside.
(Beside a factor that is inf or nan there that zero is no zero: the two forms agree where the other factors are finite.)

Axes that are index tensors, merged, clamped, wrapped or reflected stay as they are, with the other axes that have
their indices, and so do axes with an index that is merged on the right, those of which a step says the position (it is
held fixed), the statements of other operators than `=` and `+=`, and each `=` of several that set one tensor.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from math import prod

from ..errors import NAMED, DerivationError, within_depth
from ..program.affine import Affine, floordiv, greatest, least, not_negative
from ..program.algebra import factors_of
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
    Statement,
    Subscript,
    indices_of,
    parts_of,
    primal_of,
    statement,
    steps_of,
    walk,
)
from ..program.names import Fresh, indices_within, tensors_of
from ..program.rebuild import transform_expr
from ..ranges.inherit import inherit
from ..ranges.solve import Solution, solve
from ..ranges.statements import Bound
from .smith import rank, smith
from .substitution import Quotient, combined, linear, put, reduced, written

FRESH = "uvwpqrst"  # names for the positions in the target's axes


@within_depth(DerivationError, NAMED)
def gather(program: Program) -> Program:
    """The program with each scatter solved for its target, where it can be."""
    solution = solve(program)
    taken = {*tensors_of(program), *(name for name, _ in program.dims), program.name or ""}
    count = Counter(s.target.tensor for s in program.statements if s.op == "=")
    settled = {*program.inputs, *(s.tensor for s in program.shapes), *solution.sizes.primals}
    statements: list[Statement] = []
    wanted: list[Mapping[str, Bound] | None] = []
    for stmt, bounds in zip(program.statements, solution.bounds, strict=True):
        gathered = None
        alone = stmt.op != "=" or count[stmt.target.tensor] == 1  # else it would say the elements of others, too
        if alone and not any(isinstance(part, Dots) for part in parts_of(stmt)):
            gathered = _Solver(stmt, bounds, solution, stmt.target.tensor in settled, taken).solved()
        settled.add(stmt.target.tensor)
        statements.append(stmt if gathered is None else gathered[0])
        wanted.append(None if gathered is None else gathered[1])
    result = inherit(replace(program, statements=tuple(statements)), wanted)
    inputs, outputs = default_interface(result.statements, result.shapes)
    if program.name is None and {*inputs} == {*program.inputs} and {*outputs} == {*program.outputs}:
        return replace(result, inputs=inputs, outputs=outputs)  # in the order of the new text, which stays bare
    return result


def _size(solution: Solution, access: Access, axis: int) -> Affine | None:
    """The size of an axis, not by the name that a long one has: a definition gives it before there is the name."""
    for tensor in (access.tensor, primal_of(access.tensor) or access.tensor):
        if axis in solution.shapes.get(tensor, {}):
            return solution.shapes[tensor][axis]
    return solution.sizes.axis(access.tensor, axis)


@dataclass(frozen=True)
class _Margin:
    """A condition: `form >= 0`, as `expr` says it."""

    form: Affine
    expr: Expr


@dataclass(frozen=True)
class _Row:
    """An axis to solve: the index that will stand there, its affine subscript's coefficients and itself."""

    axis: int
    name: str
    coefs: Mapping[str, int]
    form: Affine


class _Solver:
    """One statement."""

    def __init__(
        self,
        stmt: Statement,
        bounds: Mapping[str, Bound],
        solution: Solution,
        settled: bool,
        taken: Set[str],
    ) -> None:
        self.stmt, self.bounds, self.solution, self.settled = stmt, dict(bounds), solution, settled
        self.fresh = Fresh({*taken, *bounds, *indices_within(stmt)})
        self.merged = {i for part in parts_of(stmt) if isinstance(part, Merged) for i in part.indices}
        self.plain: frozenset[str] = frozenset()  # indices that have an axis of the target to themselves
        self.solutions: dict[str, Quotient] = {}

    def solved(self) -> tuple[Statement, Mapping[str, Bound]] | None:
        """The statement solved, with how far its indices run; None if it stays."""
        if self.stmt.op not in ("=", "+="):
            return None
        rows = self.rows()
        if not rows:
            return None
        self.names = [row.name for row in rows]
        subscripts = list(self.stmt.target.subscripts)
        for row in rows:
            subscripts[row.axis] = Index(row.name)
            size = _size(self.solution, self.stmt.target, row.axis)
            assert size is not None, "the shape of a target is known behind its definition"
            self.bounds[row.name] = Bound(Affine(0), size)
        conditions = [c for part, unknown in self.components(rows) for c in self.solve(part, unknown)]
        margins = [m for i in self.solutions if not self.padded(i) for m in self.range(i)]
        masks = []
        for mask in self.stmt.domain.masks:
            changed = put(mask, self.solutions, self.names)
            margin = None if changed == mask else _margin(changed)
            if margin is None:
                masks.append(as_mask(changed))
            else:
                margins.append(margin)
        self.tighten(margins)
        kept = dict.fromkeys(as_mask(m.expr) for m in margins if not self.never_negative(m.form))
        result = statement(
            replace(self.stmt.target, subscripts=tuple(subscripts)),
            self.stmt.op,
            put(self.padding(self.stmt.value), self.solutions, self.names),
            tuple(r for r in self.stmt.domain.ranges if r.index not in self.solutions),
            (*conditions, *kept, *masks),
            self.stmt.span,
            self.stmt.block,
        )
        return result, {i: b for i, b in self.bounds.items() if i not in self.solutions}

    # -- the system ----------------------------------------------------------------------------

    def rows(self) -> list[_Row]:
        """The axes to solve: affine ones, of indices that may be replaced or that stand plainly in the target, too."""
        subscripts, steps = self.stmt.target.subscripts, {*steps_of(self.stmt)}
        first = {s.name: axis for axis, s in reversed([*enumerate(subscripts)]) if isinstance(s, Index)}
        forms = {axis: _position(s) for axis, s in enumerate(subscripts) if axis not in first.values()}
        solved = {axis: form for axis, form in forms.items() if form is not None and _coefficients(form)}
        solved = {axis: form for axis, form in solved.items() if steps.isdisjoint(form.indices)}
        while True:
            staying = {i for axis in forms.keys() - solved.keys() for i in indices_of(subscripts[axis])}
            tied = (self.merged | staying) - first.keys()
            left = {axis: form for axis, form in solved.items() if tied.isdisjoint(form.indices)}
            if len(left) == len(solved):
                break
            solved = left
        self.plain = frozenset(first)
        return [_Row(axis, self.fresh.letter(FRESH), _coefficients(form), form) for axis, form in solved.items()]

    def components(self, rows: Sequence[_Row]) -> Iterator[tuple[list[_Row], tuple[str, ...]]]:
        """The rows that belong together, and the indices to solve them for."""
        for part in _joined(rows, {i for row in rows for i in row.coefs} - self.plain):
            chosen = self.choice(part)
            for smaller in _joined(part, set(chosen)):
                yield smaller, tuple(i for i in chosen if any(i in row.coefs for row in smaller))

    def choice(self, rows: Sequence[_Row]) -> tuple[str, ...]:
        """As many indices as the rank: positions before taps, those whose range a `pad` says, the first ones."""
        unknown = [i for i in dict.fromkeys(i for row in rows for i in row.coefs) if i not in self.plain]
        count = rank([[row.coefs.get(i, 0) for i in unknown] for row in rows]) if unknown else 0
        positions = self.positions()
        best: tuple[tuple[int, int, int], tuple[str, ...]] | None = None
        for chosen in itertools.combinations(unknown, count):
            matrix = [[row.coefs.get(i, 0) for i in chosen] for row in rows]
            if count and rank(matrix) < count:
                continue
            _, s, _ = smith(matrix, count)
            running = sum(1 for i in unknown if i in positions and i not in chosen)
            cost = (running, sum(1 for i in chosen if not self.padded(i)), prod(s[k][k] for k in range(count)))
            if best is None or cost < best[0]:
                best = (cost, chosen)
        assert best is not None
        return best[1]

    def positions(self) -> set[str]:
        """The indices that run far, as far as the text tells: those of the cotangent, else all but few values."""
        factors = [f for f in _reads(self.stmt.value) if primal_of(f.tensor) is not None]
        among = {i for f in factors for i in indices_of(f)} if factors else set(self.bounds)
        return {i for i in among if not (self.bounds[i].high - self.bounds[i].low).is_constant}

    def solve(self, rows: Sequence[_Row], unknown: tuple[str, ...]) -> list[Expr]:
        """Solve one component: note the solutions, give the conditions under which there is one."""
        right = [
            combined([(1, _index(row.name)), (-1, row.form), *((row.coefs.get(i, 0), _index(i)) for i in unknown)])
            for row in rows
        ]
        if not unknown:
            return [self.equation(r) for r in right]
        u, s, v = smith([[row.coefs.get(i, 0) for i in unknown] for row in rows])
        y = [combined(zip(line, right, strict=True)) for line in u]
        n = len(unknown)
        last = s[n - 1][n - 1]
        for j, i in enumerate(unknown):
            self.solutions[i] = reduced(combined((v[j][k] * (last // s[k][k]), y[k]) for k in range(n)), last)
        divided = [Call("mod", (self.written(y[k]), Const(s[k][k]))) for k in range(n) if s[k][k] > 1]
        return [*(Call("eq", (d, Const(0))) for d in divided), *(self.equation(r) for r in y[n:])]

    def equation(self, zero: Affine) -> Expr:
        """`u == e`: what is added equals what is not."""
        if next(c for a, c in zero.terms if isinstance(a, Index) and a.name in self.names) < 0:
            zero = -zero
        more = Affine(max(0, zero.const), tuple(t for t in zero.terms if t[1] > 0))
        return Call("eq", (self.written(more), self.written(more - zero)))

    # -- what becomes of ranges ------------------------------------------------------------------

    def padded(self, index: str) -> bool:
        """Whether a `pad` can say the range of an index: around its only read, in a factor, plain over a whole axis."""
        bound = self.bounds[index]
        if bound.low != Affine(0) or self.reads(index) != 1:
            return False
        reads = (f for f in _reads(self.stmt.value) if Index(index) in f.subscripts)
        return any(_size(self.solution, f, f.subscripts.index(Index(index))) == bound.high for f in reads)

    def reads(self, index: str) -> int:
        nodes: list[Subscript] = [self.stmt.value, *self.stmt.domain.masks]
        return sum(1 for node in nodes for part in walk(node) if part == Index(index))

    def padding(self, value: Expr) -> Expr:
        """The value with a `pad` around the indices whose range it says."""
        padded = {Index(i) for i in self.solutions if self.padded(i) and not self.always_inside(i)}

        def rule(part: Subscript) -> Subscript | None:
            if not isinstance(part, Access) or padded.isdisjoint(part.subscripts):
                return None
            return replace(part, subscripts=tuple(Boundary("pad", s) if s in padded else s for s in part.subscripts))

        return transform_expr(value, rule) if padded else value

    def range(self, index: str) -> Iterator[_Margin]:
        """`lo <= e`, `e < hi` for the solution of an index, times its divisor."""
        solution, bound = self.solutions[index], self.bounds[index]
        form, low, high = solution.form, bound.low * solution.divisor, bound.high * solution.divisor
        yield _Margin(form - low, Call("le", (self.written(low), self.written(form))))
        yield _Margin(high - form - 1, Call("lt", (self.written(form), self.written(high))))

    def always_inside(self, index: str) -> bool:
        return all(self.never_negative(m.form) for m in self.range(index))

    def tighten(self, margins: Sequence[_Margin]) -> None:
        """What bounds one index is its range, where a range says nothing of a shape."""
        for form in (m.form for m in margins):
            indices = [(a.name, c) for a, c in form.terms if isinstance(a, Index)]
            if len(indices) != 1 or not self.has_range(indices[0][0]):
                continue
            (i, coef), bound = indices[0], self.bounds[indices[0][0]]
            rest = form - _index(i) * coef
            if coef > 0:
                self.bounds[i] = Bound(greatest(bound.low, -floordiv(rest, Affine(coef))), bound.high)
            else:
                self.bounds[i] = Bound(bound.low, least(bound.high, floordiv(rest, Affine(-coef)) + 1))

    def has_range(self, index: str) -> bool:
        """Whether a range may be written for an index that keeps running."""
        inside = index in self.stmt.domain.indices and index not in self.plain
        return index not in self.merged and (inside or (self.settled and index in {*self.plain, *self.names}))

    def never_negative(self, form: Affine) -> bool:
        """Whether an affine form is >= 0 at every point, whatever the sizes: at its least corner."""
        for atom, coef in form.terms:
            if isinstance(atom, Index):
                bound = self.bounds.get(atom.name)
                if bound is None:
                    return False
                form = form - _index(atom.name) * coef + (bound.low if coef > 0 else bound.high - 1) * coef
        return not_negative(form)

    def written(self, form: Affine) -> Expr:
        return written(form, self.names)


def _joined(rows: Sequence[_Row], names: set[str]) -> Iterator[list[_Row]]:
    """The rows in groups that share none of some indices, in the order of their first axes."""
    left = list(rows)
    while left:
        part, grown = [left.pop(0)], True
        while grown:
            reach = {i for row in part for i in row.coefs if i in names}
            joined = [row for row in left if not reach.isdisjoint(row.coefs)]
            left = [row for row in left if row not in joined]
            part, grown = [*part, *joined], bool(joined)
        yield sorted(part, key=lambda row: row.axis)


def _position(s: Subscript) -> Affine | None:
    """The place in its axis that a subscript writes to, where it is affine."""
    match s:
        case Boundary(kind="pad", expr=e, lo=lo):
            form = linear(e)
            return form if form is None or lo is None else form - Affine.from_expr(lo)
        case _:
            return linear(s)


def _coefficients(form: Affine) -> dict[str, int]:
    return {a.name: c for a, c in form.terms if isinstance(a, Index)}


def _margin(mask: Expr) -> _Margin | None:
    """A mask that is one comparison of affine forms."""
    match mask:
        case Call(fn="le" | "lt" | "ge" | "gt" as fn, args=(a, b)):
            left, right = linear(a), linear(b)
            if left is None or right is None:
                return None
            difference = right - left if fn in ("le", "lt") else left - right
            return _Margin(difference if fn in ("le", "ge") else difference - 1, mask)
        case _:
            return None


def _reads(value: Expr) -> list[Access]:
    """The reads among the factors of a product; of a quotient those of its numerator."""
    return [factor for factor, below in factors_of(value) if isinstance(factor, Access) and not below]


def _index(name: str) -> Affine:
    return Affine(0, ((Index(name), 1),))
