"""Products along diagonals: a position that mixes two indices as an index of its own.

In: a sum of products one access of which, a factor or the target, has a position like s-t+c. Out: steps. A factor that
is multiplied at each point is multiplied at every position instead, and what is needed of that is a view:

    y[t,e] = q[t,d] * r[s-t+n-1,d] * v[s,e]        part[t,u] = q[t,d] * r[u,d], read as part[t,s-t+n-1]

Else what has both indices is laid out along the diagonals, among zeros:

    r.grad[s-t+n-1,d] += p[t,s] * q[t,d]           laid[t,s-t+n-1] = p[t,s], r.grad[u,d] += laid[t,u] * q[t,d]

The one rule: zeros stand where no point is, so everything that they meet is finite, or all runs as it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from ..program.algebra import factors_of
from ..program.ir import Access, Boundary, Expr, Merged, indices_of, reads, walk
from .blocks import itemsize
from .building import here
from .evaluation import Evaluation
from .kernels import Map
from .operators import SUMS
from .order import best_order
from .pairs import Pairs
from .places import View
from .quantities import Apply, Load, Number, Value
from .reads import read, value_of
from .subscripts import subscribed
from .views import Row, Scope, plain, whole
from .writes import Target

MIXED = "+"  # the position, as long as it has no name: none that an index may have


@dataclass(frozen=True)
class Skew:
    """`moved` is replaced by the position `row` of it and `other`; `group` are the factors that are multiplied at every
    position (`reading`), or laid out. `mixed` is the factor with the position, -1 for the target.
    """

    reading: bool
    moved: str
    other: str
    row: Row
    mixed: int
    group: tuple[int, ...]
    cost: int


def skew_of(stmt: Evaluation, target: Target) -> Skew | None:
    """The cheapest way along diagonals, if that costs less than the statement as it is."""
    if stmt.op not in SUMS or stmt.root is not None or not stmt.is_float or stmt.inner or stmt.outer:
        return None
    if target.dynamic or target.folds or stmt.b.complex_step or len(terms := stmt.terms()) > 1:
        return None
    factors, _ = _split(terms[0][1])
    groups = [set(indices_of(f)) for f in factors]
    if not stmt.sizes or min(stmt.sizes.values()) < 1:
        return None
    if set(stmt.sizes) - set[str]().union(*groups, indices_of(stmt.stmt.target)):
        return None
    found = _position(stmt, factors, target)
    if found is None:
        return None
    mixed, row = found
    if (mixed >= 0) == bool(target.taps):
        return None
    (one, _), (two, _) = row.coefs
    least = stmt.b.limits.window if mixed < 0 else stmt.b.limits.short
    if min(stmt.sizes[one], stmt.sizes[two]) < least:
        return None
    ways = [s for pair in ((one, two), (two, one)) for s in _skews(stmt, groups, mixed, row, *pair)]
    best = min(ways, key=lambda s: s.cost, default=None)
    return best if best is not None and best.cost < _whole(stmt, groups, target, mixed) else None


def _split(term: Expr) -> tuple[list[Expr], list[tuple[str, Expr]]]:
    """A product as what indices run through, and numbers around it."""
    factors: list[Expr] = []
    around: list[tuple[str, Expr]] = []
    for part, below in factors_of(term, lambda call: call.fn != "div" or not indices_of(call.args[1])):
        if indices_of(part) and not below:
            factors.append(part)
        else:
            around.append(("div" if below else "mul", part))
    return factors, around


def _position(stmt: Evaluation, factors: Sequence[Expr], target: Target) -> tuple[int, Row] | None:
    """The one access that mixes two indices in a position, which stand in no other place of it."""
    found: list[tuple[int, Access, int]] = []
    for number, root in ((-1, stmt.stmt.target), *enumerate(factors)):
        for access in (p for p in walk(root) if isinstance(p, Access)):
            mixing = [k for k, s in enumerate(access.subscripts) if len(set(indices_of(s))) > 1]
            if mixing and access is not root:
                return None
            found += [(number, access, k) for k in mixing]
    if len(found) != 1:
        return None
    number, access, axis = found[0]
    sub = access.subscripts[axis]
    if isinstance(sub, Boundary | Merged) or reads(sub) or (access, axis) in stmt.b.guarded:
        return None
    row = subscribed(stmt.b, access, axis).row
    rest = {i for k, s in enumerate(access.subscripts) if k != axis for i in indices_of(s)}
    if row is None or len(row.coefs) != 2 or any(abs(c) != 1 or i in rest for i, c in row.coefs):
        return None
    return number, row


def _skews(
    stmt: Evaluation, groups: Sequence[set[str]], mixed: int, row: Row, moved: str, other: str
) -> Iterator[Skew]:
    """The ways in which one of both indices goes."""
    limits, free = stmt.b.limits, set(indices_of(stmt.stmt.target))
    sizes = {**stmt.sizes, MIXED: stmt.sizes[moved] + stmt.sizes[other] - 1}
    rest_of_mixed = (free if mixed < 0 else groups[mixed]) - {moved, other}
    factors = [k for k in range(len(groups)) if k != mixed]

    def points(indices: set[str]) -> int:
        return prod(sizes[i] for i in indices)

    def order(parts: Sequence[set[str]], out: set[str]) -> int:
        return best_order(parts, (), tuple(out), sizes, limits).cost if len(parts) > 1 else 0

    if mixed >= 0:
        group = [k for k in factors if other in groups[k] and moved not in groups[k] and groups[k] & rest_of_mixed]
        rest = [groups[k] for k in factors if k not in group]
        needed = free.union(*rest)
        inside = rest_of_mixed.union(*(groups[k] for k in group))
        alone = (rest_of_mixed & set[str]().union(*(groups[k] for k in group))) - needed
        made = (inside & needed) | {other, MIXED}
        if alone and other in needed and len(made) == 2 and points(made) * itemsize(stmt.compute) <= limits.large:
            cost = order([*(groups[k] for k in group), rest_of_mixed | {MIXED}], made)
            cost += order([(made - {MIXED}) | {moved}, *rest], free)
            yield Skew(True, moved, other, row, mixed, tuple(group), cost)
        if moved in free:
            return
    with_moved = [k for k in factors if moved in groups[k]]
    for group in (with_moved, factors) if with_moved != factors else (factors,):
        rest = [groups[k] for k in factors if k not in group]
        inside = set[str]().union(*(groups[k] for k in group))
        if not {moved, other} & inside:
            continue
        kept = inside & (rest_of_mixed | (free - {moved, other} if mixed < 0 else free)).union(*rest, {moved, other})
        laid = (kept - {moved}) | {other, MIXED}
        out = (free - {moved, other}) | {MIXED} if mixed < 0 else free
        if points(laid) * itemsize(stmt.compute) > limits.large or len(laid) > 2:
            continue
        cost = order([groups[k] for k in group], kept) + 3 * limits.element * points(laid)
        cost += order([laid, *rest, *([rest_of_mixed | {MIXED}] if mixed >= 0 else [])], out)
        cost += limits.element * (sum(map(points, rest)) + points(rest_of_mixed | {MIXED})) + 4 * limits.call
        yield Skew(False, moved, other, row, mixed, tuple(group), cost)


def _whole(stmt: Evaluation, groups: Sequence[set[str]], target: Target, mixed: int) -> int:
    """Multiply-adds of the statement as it is: taps one by one, or a product that is none of matrices."""
    limits = stmt.b.limits
    if mixed >= 0:
        return limits.element // 2 * prod(stmt.sizes[i] for i in groups[mixed])
    points = prod(stmt.sizes[i] for i in stmt.free)
    return limits.element * points + limits.call * prod(stmt.sizes[i] for i in target.taps)


class Skewing:
    """A statement along diagonals being planned."""

    def __init__(self, stmt: Evaluation, target: Target) -> None:
        found = skew_of(stmt, target)
        assert found is not None
        self.stmt, self.target, self.found, self.b = stmt, target, found, stmt.b
        ((self.sign, term),) = stmt.terms()
        self.factors, self.around = _split(term)
        low, high = found.row.interval(self.b.extents)
        self.low, self.u = low, self.b.axis(high - low + 1)
        self.scope: Scope = whole(self.b.extents)
        self.loads = {
            k: stmt.factor(f, self.scope) if k != found.mixed else self.at_every_position(f)
            for k, f in enumerate(self.factors)
        }

    def at_every_position(self, factor: Expr) -> Load:
        """The factor with the position, along all of its positions."""
        assert isinstance(factor, Access)
        place = read(self.b, factor, self.scope)
        if isinstance(place, View) and place.buffer.dtype != self.stmt.compute:
            held = self.stmt.b.buffer("factor", place.buffer.shape, self.stmt.compute)
            everything = self.b.everything(place.buffer)
            self.b.run(View(held, everything.rows), "=", Map(Load(everything, self.stmt.compute)))
            place = replace(place, buffer=held)
        assert isinstance(place, View)
        return Load(self.straight(place), self.stmt.compute)

    def straight(self, place: View) -> View:
        """A view with the position as its own index."""
        rows = tuple(plain(self.u).shifted(self.low) if len(r.coefs) > 1 else r for r in place.rows)
        return View(place.buffer, rows)

    def along(self, indices: Sequence[str], hint: str) -> tuple[View, View]:
        """A new array over the other index and positions, and its diagonals."""
        own = [i for i in indices if i not in (self.u, self.found.moved, self.found.other)]
        ends = {i: self.b.extents[i] for i in (*own, self.found.other, self.u)}
        buffer = self.b.buffer(hint, [hi - lo for lo, hi in ends.values()], self.stmt.compute)
        rows = tuple(plain(i).shifted(-lo) for i, (lo, _) in ends.items())
        return View(buffer, rows), View(buffer, (*rows[:-1], self.found.row.shifted(-self.low)))

    def product(self, factors: Sequence[Load], out: Sequence[str]) -> Value:
        """A sum of products over what is not in `out`."""
        work = Pairs(self.b, self.scope, self.stmt.compute)
        value = work.run(factors, out, None)
        self.stmt.notes += work.notes
        assert value is not None
        return value

    def inside(self, numbers: Sequence[int], needed: set[str]) -> list[str]:
        """The indices of some factors that are needed."""
        every = (*self.stmt.stmt.domain.indices, self.u)
        return [i for i in every if i in needed and any(i in self.loads[k].indices for k in numbers)]

    def rest(self) -> list[Load]:
        found = self.found
        return [load for k, load in self.loads.items() if k not in (*found.group, found.mixed)]

    # -- the two ways --------------------------------------------------------------------------------

    def read(self) -> None:
        """The product at every position, read along its diagonals."""
        found, rest = self.found, self.rest()
        numbers = (*found.group, found.mixed)
        needed = {found.other, self.u, *self.stmt.free}.union(*(x.indices for x in rest))
        everywhere, diagonals = self.along(self.inside(numbers, needed), "part")
        made = self.product([self.loads[k] for k in numbers], list(everywhere.mentioned))
        self.b.run(everywhere, "=", Map(made))
        self.put(self.product([Load(diagonals, self.stmt.compute), *rest], self.out(self.target.view)))

    def laid(self) -> tuple[list[Load], View]:
        """What is laid out along the diagonals, and what it is multiplied by; where the result goes."""
        found, rest = self.found, self.rest()
        place = self.target.view if found.mixed >= 0 else self.straight(self.target.view)
        rest += [self.loads[found.mixed]] if found.mixed >= 0 else []
        needed = {found.moved, found.other, *place.mentioned}.union(*(x.indices for x in rest))
        kept = self.inside(found.group, needed)
        everywhere, diagonals = self.along(kept, "laid")
        value = self.product([self.loads[k] for k in found.group], kept)
        self.b.run(everywhere, "=", Map(Number(0, self.stmt.compute)))
        self.b.run(diagonals, "=", Map(value))
        return [Load(everywhere, self.stmt.compute), *rest], place

    def met_by_zeros(self) -> list[Load]:
        """What the zeros are multiplied by."""
        return [*self.rest(), *([self.loads[self.found.mixed]] if self.found.mixed >= 0 else [])]

    def add(self) -> None:
        """What is laid out, multiplied and summed."""
        factors, place = self.laid()
        self.put(self.product(factors, self.out(place)), place)

    def out(self, place: View) -> list[str]:
        return here(place.mentioned, self.scope)

    def put(self, value: Value, place: View | None = None) -> None:
        """The result with the numbers around it."""
        for fn, part in self.around:
            value = Apply(fn, (value, value_of(self.b, part, self.scope)), self.stmt.compute)
        self.target.put(place or self.target.view, value, self.sign < 0)
