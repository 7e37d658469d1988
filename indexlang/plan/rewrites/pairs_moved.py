"""Points of which differences are taken, moved by what they have in common, and whether all pairs keep their digits.

In: a difference of two reads, `x[i,d] - y[j,d]`. Out: statements for both, moved by the mean of the second over what
only that has, and for a tensor that is 0 if no pair is much closer than both are to the mean, by weights, and not
finite if one is, or if anything is not. The one rule: what is asked is asked of all pairs, and nothing hides no number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from ...program.algebra import Factor, product_of
from ...program.ir import Access, Call, Const, Expr, Index, Program, Statement, indices_of, statement, walk
from ...program.names import Fresh, Renaming
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..limits import Limits

# Below it squares have lost digits by themselves.
LEAST = {"float32": 1e-30, "float64": 1e-290}


@dataclass(frozen=True)
class Pair:
    """The difference of two reads: the indices that only the first has, only the second, and that both have."""

    first: Access
    second: Access
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    common: tuple[str, ...]

    @property
    def alike(self) -> bool:
        """Whether both are points of one tensor."""
        return self.first.tensor == self.second.tensor

    @property
    def same(self) -> Expr | None:
        """Where a point meets itself."""
        return Call("eq", (Index(self.rows[0]), Index(self.columns[0]))) if self.alike else None


class Points:
    """What has been made for the differences of a program."""

    def __init__(self, program: Program, shapes: Shapes, types: Types, limits: Limits) -> None:
        self.program, self.shapes, self.types, self.limits = program, shapes, types, limits
        self.names = Fresh.of(program)
        self.finite: list[str] = []
        self.new: list[Statement] = []  # to stand before the statement at hand
        self.known: dict[object, Access] = {}  # what has been made, by what it is
        self.points: dict[object, tuple[str, str]] = {}  # moved tensors, by the tensors and where their axes meet
        self.sides: set[tuple[str, str]] = set()  # tensors that are moved
        self.asked: dict[tuple[str, str], set[str]] = {}  # those of which all pairs are asked, by which matrix weighed
        self.mapped: dict[tuple[str, str], list[int]] = {}  # those that a matrix has made, and which axes are its own
        self.number = 0  # of the statement at hand
        made = [s.target.tensor for s in program.statements]
        self.settled = {t for t in shapes.tensors if made.count(t) + (t in program.inputs) == 1}

    # -- what is there -----------------------------------------------------------------------------

    @property
    def sizes(self) -> Mapping[str, int]:
        """How far the indices of the statement at hand run."""
        return {i: hi - lo for i, (lo, hi) in self.shapes.extents[self.number].items()}

    @property
    def kind(self) -> str:
        """In which type the statement at hand is computed."""
        return self.types.compute[self.number]

    def is_whole(self, access: Access) -> bool:
        """Whether each axis is gone through, all of it, by an index of its own."""
        if access.tensor not in self.shapes.tensors:  # new ones are over whole axes
            return True
        names = [s.name for s in access.subscripts if isinstance(s, Index)]
        if len(names) != len(access.subscripts) or len(set(names)) != len(names):
            return False
        extents = self.shapes.extents[self.number]
        return all(extents.get(i) == (0, n) for i, n in zip(names, self.shapes.tensors[access.tensor], strict=True))

    def is_plain(self, stmt: Statement, masked: bool = False) -> bool:
        """Whether a statement reads what does not change any more, over whole axes, all in one type."""
        if (
            (stmt.domain.masks and not masked)
            or stmt.domain.ranges
            or self.shapes.guarded[self.number]
            or self.kind not in LEAST
        ):
            return False
        found = [p for p in walk(stmt.value) if isinstance(p, Access)]
        old = [p.tensor for p in found if p.tensor in self.shapes.tensors]
        alike = all(self.types.tensors[t] == self.kind for t in (*old, stmt.target.tensor))
        return alike and self.settled.issuperset(old) and all(map(self.is_whole, (*found, stmt.target)))

    def pair(self, factor: Expr) -> Pair | None:
        """The difference of two reads of points, if a factor is one."""
        match factor:
            case Call(fn="sub", args=(Access() as a, Access() as b)):
                first, second = indices_of(a), indices_of(b)
                rows, columns = (tuple(i for i in p if i not in q) for p, q in ((first, second), (second, first)))
                found = Pair(a, b, rows, columns, tuple(i for i in second if i in first))
            case _:
                return None
        if not (rows and columns and found.common):
            return None
        if found.alike and not (len(rows) == len(columns) == 1 and Renaming({}, {rows[0]: columns[0]}).expr(a) == b):
            return None
        return found

    # -- what is made ------------------------------------------------------------------------------

    def taken(self) -> list[Statement]:
        """The statements made since."""
        found, self.new = self.new, []
        return found

    def tensor(self, hint: str, indices: Sequence[str], value: Expr, op: str = "=") -> Access:
        """A new tensor over indices."""
        target = Access(self.names.fresh(hint), tuple(map(Index, indices)))
        self.new.append(statement(target, op, value))
        return target

    def once(self, hint: str, indices: Sequence[str], value: Expr) -> Access:
        """The same, made once for equal values under any names of indices."""
        numbers = {i: f"?{k}" for k, i in enumerate(indices)}
        inner = [i for i in indices_of(value) if i not in numbers]
        named = Renaming({}, {**numbers, **{i: f"?{len(numbers) + k}" for k, i in enumerate(inner)}})
        key = named.expr(value), len(indices)
        if key not in self.known:
            self.known[key] = self.tensor(hint, indices, value)
        return Access(self.known[key].tensor, tuple(map(Index, indices)))

    def moved(self, pair: Pair) -> Pair:
        """The difference of the points moved."""
        a, b = pair.first, pair.second
        if (a.tensor, b.tensor) in self.sides:
            return pair
        key = _key(pair)
        if key not in self.points:
            count = prod(self.sizes[i] for i in pair.columns)
            mean = self.once("mean", pair.common, Call("div", (b, Const(count))))
            first = self.tensor(f"{a.tensor}_moved", indices_of(a), Call("sub", (a, mean)))
            second = first
            if not pair.alike:
                second = self.tensor(f"{b.tensor}_moved", indices_of(b), Call("sub", (b, mean)))
            self.points[key] = first.tensor, second.tensor
            self.sides.add(self.points[key])
        names = self.points[key]
        moved = (Access(names[0], a.subscripts), Access(names[1], b.subscripts))
        return Pair(moved[0], moved[1], pair.rows, pair.columns, pair.common)

    def is_asked(self, pair: Pair, factors: Sequence[Factor]) -> bool:
        """Whether all pairs of such points are asked whether they are close, weighed by what they are multiplied by.

        What a matrix has been multiplied by is asked as a whole.
        """
        key = pair.first.tensor, pair.second.tensor
        key = key if key in self.asked else self.points.get(_key(pair), key)
        said = {p.tensor for f, _ in factors for p in walk(f) if isinstance(p, Access)}
        wanted = self.asked.get(key)
        return wanted is not None and said <= wanted and (key in self.mapped or said == wanted)

    # -- what is asked -----------------------------------------------------------------------------

    def ask(self, moved: Pair, weights: Access, parts: Access, lost: int, summed: Sequence[str]) -> None:
        """That the weighed squares of each pair's difference are not `lost` times smaller than those of both."""
        points = moved.first.tensor, moved.second.tensor
        key = *points, weights.tensor, parts.tensor
        if key in self.known:
            return
        self.known[key] = weights
        less: Expr = Call("sub", (weights, Call("mul", (parts, Const(1 / lost)))))
        less = self.once("weight", indices_of(weights), less)
        squares = []
        for x in (moved.first, moved.second):
            left = [i for i in indices_of(x) if i not in summed]
            squares.append(self.once("square", left, times(less, x, x)))
        twice = self.once("twice", indices_of(moved.first), times(Const(2), weights, moved.first))
        both = (*indices_of(moved.first), *indices_of(moved.second))
        over = [i for i in dict.fromkeys(both) if i not in summed]
        product = self.tensor("product", over, times(twice, moved.second))
        rows = [i for i in indices_of(moved.first) if i not in summed]
        if moved.alike:  # a point and itself are not asked: what stands there is below all others
            mine = self.once("itself", rows, times(twice, moved.first))
            below: Expr = Call("sub", (times(Const(-2), mine), Const(2 * LEAST[self.kind])))
            itself = Renaming({}, {moved.columns[0]: moved.rows[0]}).expr(product)
            assert isinstance(itself, Access)
            self.new.append(statement(itself, "+=", below))
        most = self.tensor("most", rows, Call("sub", (product, squares[1])), "max=")
        gap = Call("sub", (most, squares[0]))
        kept = Call("lt", (gap, Const(-LEAST[self.kind])))
        flag = self.flag(Call("where", (kept, times(Const(0.0), gap), Const(math.inf))))
        for x in squares:
            self.number_is(flag, x)

    def flag(self, value: Expr) -> Access:
        """A new tensor that must be finite."""
        target = Access(self.names.fresh("lost"))
        self.new.append(statement(target, "+=", value))
        self.finite.append(target.tensor)
        return target

    def number_is(self, flag: Access, x: Expr) -> None:
        """What must be finite, too."""
        self.new.append(statement(flag, "+=", times(Const(0.0), x)))


def _key(pair: Pair) -> object:
    """The tensors of a difference, and where their axes meet."""
    a, b = pair.first, pair.second
    where = tuple(b.subscripts.index(s) if s in b.subscripts else -1 for s in a.subscripts)
    return a.tensor, b.tensor, where


def times(*factors: Expr) -> Expr:
    """A product."""
    return product_of(factors)


def product_with(factors: Sequence[Factor], other: Expr | None, sign: int) -> Expr:
    """A product of factors and divisors, another factor, and a sign."""
    parts = [f for f, below in factors if not below] + ([] if other is None else [other])
    value = product_of(parts or [Const(1)], [f for f, below in factors if below])
    return value if sign > 0 else Call("neg", (value,))


def squared(factor: Expr) -> Expr | None:
    """What a factor is the square of."""
    match factor:
        case Call(fn="pow", args=(base, Const(value=2))):
            return base
        case _:
            return None
