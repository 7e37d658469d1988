"""Products that several statements have in common, made once.

In: a Program with its shapes and types. Out: the same with statements before others that make what at least two of them
multiply on their way. The one rule: a statement takes part only with a pair of factors that some good order of its own
products begins with, so sharing never makes a product dearer than the best order by more than `Limits.dearer`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import prod
from typing import TypeVar

from ...program.affine import Affine
from ...program.algebra import factors_of, product_of
from ...program.ir import (
    Access,
    Boundary,
    Call,
    Dots,
    Expr,
    Index,
    Merged,
    Program,
    Statement,
    Subscript,
    accesses_of,
    domain_of,
    indices_of,
    walk,
)
from ...program.names import counted, free
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..blocks import itemsize
from ..limits import Limits
from ..order import order_pairs, products_cost
from ..views import Extents


@dataclass(frozen=True)
class Pair:
    """Two factors multiplied over what nobody else needs: what is kept, and the extents of all."""

    factors: frozenset[Access]
    kept: frozenset[str]
    extents: tuple[tuple[str, tuple[int, int]], ...]

    @property
    def depth(self) -> int:
        """Multiply-adds for each element."""
        return prod(hi - lo for i, (lo, hi) in self.extents if i not in self.kept)

    @property
    def work(self) -> int:
        """Multiply-adds."""
        return prod(hi - lo for _, (lo, hi) in self.extents)


def share(program: Program, shapes: Shapes, types: Types, limits: Limits) -> tuple[Program, Shapes, Types]:
    """The program with common products made once."""
    while (found := _best(program, shapes, types, limits)) is not None:
        program, shapes, types = _with(program, shapes, types, *found)
    return program, shapes, types


def keep_products(
    program: Program, shapes: Shapes, types: Types, limits: Limits, early: Collection[int]
) -> tuple[Program, Shapes, Types]:
    """The program with products made once that some of the statements `early` and some of the others have in common.

    They are kept between: where that takes less time than to make them again, in the cache.
    """
    numbers = list(range(len(program.statements)))
    while (
        found := _best(program, shapes, types, limits, {k for k, n in enumerate(numbers) if n in early})
    ) is not None:
        program, shapes, types = _with(program, shapes, types, *found)
        numbers.insert(found[1][0], min(early))
    return program, shapes, types


def _best(
    program: Program, shapes: Shapes, types: Types, limits: Limits, early: Collection[int] | None = None
) -> tuple[Pair, list[int]] | None:
    """The pair that saves most, with the statements that use it; some `early` and some not, if that is said."""
    users: dict[Pair, list[int]] = {}
    for k, stmt in enumerate(program.statements):
        if _takes_part(stmt, shapes, types, k):
            for pair in pairs_of(stmt, shapes.extents[k], limits):
                users.setdefault(pair, []).append(k)
    written: dict[str, int] = {}
    for k, stmt in enumerate(program.statements):
        written[stmt.target.tensor] = k
    best: tuple[int, Pair, list[int]] | None = None
    for pair, numbers in users.items():
        needed = {p.tensor for a in pair.factors for p in walk(a) if isinstance(p, Access)}
        ready = [k for k in numbers if all(written.get(t, -1) < numbers[0] for t in needed)]
        saved = (len(ready) - 1) * pair.work
        size = prod(hi - lo for i, (lo, hi) in pair.extents if i in pair.kept) * itemsize(types.compute[numbers[0]])
        alike = len({types.compute[k] for k in numbers}) == 1
        masked = early is not None or any(program.statements[k].domain.masks for k in ready)
        if early is not None and not (0 < sum(k in early for k in ready) < len(ready) and pair.depth >= limits.deep):
            continue
        if (
            len(ready) > 1
            and alike
            and pair.work >= limits.worth
            and size <= (limits.block if masked else limits.large)
            and (best is None or saved > best[0])
        ):
            best = saved, pair, ready
    return None if best is None else best[1:]


def _takes_part(stmt: Statement, shapes: Shapes, types: Types, number: int) -> bool:
    """Whether a statement is a product of at least three reads of the type it computes in."""
    if stmt.op not in ("=", "+=") or shapes.guarded[number]:
        return False
    split = factored(stmt.value, computed=True)
    kind = types.compute[number]
    return (
        split is not None
        and len(split[0]) > 2
        and kind != "bool"
        and all(types.tensors[a.tensor] == kind and a.tensor not in types.weak for a in split[0])
        and all(hi > lo for lo, hi in shapes.extents[number].values())
    )


def factored(
    value: Expr, divide: bool = False, computed: bool = False
) -> tuple[list[Access], list[Expr], list[Expr]] | None:
    """A product as reads, and what no index runs through: factors and divisors; None if it is no such product.

    With `divide`, divisors may be any reads; with `computed`, factors may be read where data say.
    """

    def opens(call: Call) -> bool:
        return call.fn != "div" or not indices_of(call.args[1]) or (divide and _is_direct(call.args[1]))

    reads: list[Access] = []
    factors: list[Expr] = []
    divisors: list[Expr] = []
    for part, below in factors_of(value, opens):
        if below:
            divisors.append(part)
        elif isinstance(part, Access) and indices_of(part) and (computed or _is_direct(part)):
            reads.append(part)
        elif not indices_of(part):
            factors.append(part)
        else:
            return None
    return reads, factors, divisors


def _is_direct(expr: Expr) -> bool:
    """Whether an expression is a read whose positions say sizes and indices alone."""
    return isinstance(expr, Access) and not any(isinstance(p, Access) for s in expr.subscripts for p in walk(s))


def pairs_of(stmt: Statement, extents: Extents, limits: Limits) -> Iterator[Pair]:
    """The pairs that a good order may begin with; none where the value is no product of reads."""
    split = factored(stmt.value, computed=True)
    if split is None:
        return
    reads = split[0]
    sizes = {i: hi - lo for i, (lo, hi) in extents.items()}
    free = indices_of(stmt.target)
    groups = [indices_of(a) for a in reads]
    masked = {i for mask in stmt.domain.masks for i in indices_of(mask)}  # summed only where masks are let in
    best = products_cost(groups, order_pairs(groups, free, sizes, limits), free, sizes)
    limit = best * (100 + limits.dearer) / 100
    having = Counter(i for group in groups for i in set(group))
    for x, y in combinations(range(len(reads)), 2):
        one, other = set(groups[x]), set(groups[y])
        both = one | other
        kept = frozenset(i for i in both if i in free or i in masked or having[i] > (i in one) + (i in other))
        if masked and not (_is_direct(reads[x]) and _is_direct(reads[y])):
            continue  # what a mask refuses may be read nowhere
        if reads[x] == reads[y] or not (both - kept) & one & other:
            continue
        later = [*(g for k, g in enumerate(groups) if k not in (x, y)), tuple(kept)]
        cost = prod(sizes[i] for i in both) + products_cost(later, order_pairs(later, free, sizes, limits), free, sizes)
        if cost <= limit:
            yield Pair(frozenset((reads[x], reads[y])), kept, tuple(sorted((i, extents[i]) for i in both)))


def _with(
    program: Program, shapes: Shapes, types: Types, pair: Pair, users: Sequence[int]
) -> tuple[Program, Shapes, Types]:
    """The program in which the pair is a tensor of its own."""
    first = users[0]
    split = factored(program.statements[first].value, computed=True)
    assert split is not None
    a, b = (x for x in split[0] if x in pair.factors)
    in_both = {*indices_of(a)} & {*indices_of(b)}
    order = [i for i in dict.fromkeys((*indices_of(a), *indices_of(b))) if i in pair.kept]
    order.sort(key=lambda i: i not in indices_of(program.statements[first].target))  # rows of the first product
    lies = _largest_beside([(program.statements[k], shapes.extents[k]) for k in users], pair)
    runs = dict(pair.extents)
    long = runs[lies[-1]][1] - runs[lies[-1]][0] if lies and lies[-1] in runs else 0
    # As what it will meet: nothing is copied. Shorter axes that this lacks lie outside of its rows.
    order.sort(key=lambda i: lies.index(i) if i in lies else -1 if runs[i][1] - runs[i][0] < long else len(lies))
    order.sort(key=lambda i: i not in in_both)  # what both have is a batch, and outermost
    value = Call("mul", (a, b))
    program, shapes, types, made = inserted(
        program, shapes, types, first, "shared", Access("", tuple(Index(i) for i in order)), value
    )
    statements, boxes = list(program.statements), list(shapes.extents)
    for k in (k + 1 for k in users):
        old = statements[k]
        summed = {i for i, _ in pair.extents} - pair.kept  # a written range would count each point again
        statements[k] = replace(old, value=rebuilt(old.value, pair, made), domain=old.domain.without(summed))
        boxes[k] = {i: boxes[k][i] for i in statements[k].domain.indices}
    return replace(program, statements=tuple(statements)), replace(shapes, extents=tuple(boxes)), types


def _largest_beside(users: Sequence[tuple[Statement, Extents]], pair: Pair) -> tuple[str, ...]:
    """The indices of the largest array, read or made, in which several of those that are kept stand."""
    found: tuple[str, ...] = ()
    most = 0
    for stmt, extents in users:
        for access in accesses_of(stmt):
            names = indices_of(access)
            if any(_is_skew(s, pair.kept) for s in access.subscripts):  # no array lies so
                continue
            size = prod(hi - lo for lo, hi in (extents[i] for i in names))
            if access not in pair.factors and len(pair.kept & set(names)) > 1 and size > most:
                found, most = names, size
    return found


def _is_skew(subscript: Subscript, kept: Collection[str]) -> bool:
    """Whether two indices move a position in opposite directions: `r[s-t+c]`."""
    if isinstance(subscript, Index | Merged | Boundary | Dots):
        return False
    signs = {c > 0 for a, c in Affine.from_expr(subscript).terms if isinstance(a, Index) and a.name in kept}
    return len(signs) == 2


def inserted(
    program: Program,
    shapes: Shapes,
    types: Types,
    number: int,
    hint: str,
    target: Access,
    value: Expr,
    masks: tuple[Expr, ...] = (),
) -> tuple[Program, Shapes, Types, Access]:
    """The program with a tensor of a new name made before a statement, over extents of that; and its access."""
    name = free(counted(hint), types.tensors)
    made = Access(name, target.subscripts)
    stmt = Statement(made, "=", value, domain_of((made, value), (), masks))
    extents = {i: shapes.extents[number][i] for i in stmt.domain.indices}
    kind = types.compute[number]
    shape = tuple(extents[i][1] for i in indices_of(made))  # read by the same indices, which may begin after 0
    return (
        replace(program, statements=_before(program.statements, number, stmt)),
        replace(
            shapes,
            tensors={**shapes.tensors, name: shape},
            extents=_before(shapes.extents, number, extents),
            guarded=_before(shapes.guarded, number, frozenset()),
        ),
        replace(types, tensors={**types.tensors, name: kind}, compute=_before(types.compute, number, kind)),
        made,
    )


Item = TypeVar("Item")


def _before(items: Sequence[Item], number: int, item: Item) -> tuple[Item, ...]:
    return (*items[:number], item, *items[number:])


def rebuilt(value: Expr, pair: Pair, made: Access) -> Expr:
    """The product with the pair's tensor instead of its factors."""
    split = factored(value, computed=True)
    assert split is not None
    reads, factors, divisors = split
    left = set(pair.factors)
    rest: list[Expr] = []
    for x in reads:  # each of the two once
        if x in left:
            left.discard(x)
        else:
            rest.append(x)
    found = product_of([made, *rest])
    for factor in factors:
        found = Call("mul", (factor, found))
    return product_of([found], divisors)
