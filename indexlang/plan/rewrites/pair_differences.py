"""Differences of pairs that are multiplied by matrices: the points are, each by itself, before they are subtracted.

In: a Program with its shapes and types. Out: an equal Program without arrays over pairs and what is summed for them:

    z[i,j,e] = L[d,e] * (x[i,d] - y[j,d]);  D[i,j] = z[i,j,e]**2
    u[i,e] = L[d,e] * x_moved[i,d];  v[j,e] = L[d,e] * y_moved[j,d];  D[i,j] = (u[i,e] - v[j,e])**2

and products of two such differences as sums of products of points (`pair_products`). The one rule: the points are moved
by the mean of one of both first, so that what they have in common cancels before it is multiplied, and a tensor that is
finite only if no pair of points is much closer than both are to the mean is an output of the new Program.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from ...program.algebra import Factor, factors_of, terms_of
from ...program.interface import with_header
from ...program.ir import (
    Access,
    Call,
    Const,
    Expr,
    Index,
    Program,
    Reduce,
    Size,
    Statement,
    Subscript,
    indices_of,
    parts_of,
    statement,
    tensors_in,
    walk,
)
from ...program.names import Renaming
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..contraction import separates
from ..limits import Limits
from ..plan import Trial
from .pair_products import forms, sums
from .pairs_moved import Pair, Points, product_with, squared
from .pairs_named import unnamed


def may_have_pairs(program: Program) -> bool:
    """Whether a statement has a difference of two reads of pairs: what can be seen without sizes."""
    return any(_is_of_pairs(p) for s in program.statements for p in walk(s.value))


def _asks_for_sizes(program: Program) -> bool:
    """Whether something asks for the size of a tensor that is made, which may go."""
    made = {s.target.tensor for s in program.statements}
    dims = (d for shape in program.shapes for d in shape.dims)
    nodes = (*(p for s in program.statements for p in parts_of(s)), *(p for d in dims for p in walk(d)))
    return any(isinstance(p, Size) and p.tensor in made for p in nodes)


def _is_of_pairs(part: Subscript) -> bool:
    match part:
        case Call(fn="sub", args=(Access() as a, Access() as b)):
            first, second = {*indices_of(a)}, {*indices_of(b)}
            return bool(first & second and first - second and second - first)
        case _:
            return False


@dataclass(frozen=True)
class Item:
    """A statement, its number in the program, and new ones to stand before it; none if it is gone."""

    number: int
    stmt: Statement | None
    before: tuple[Statement, ...] = ()


def pairs_apart(program: Program, shapes: Shapes, types: Types, limits: Limits) -> Trial | None:
    """The program with differences of pairs taken apart, and what must be finite; None if it has none worth it."""
    if not may_have_pairs(program) or _asks_for_sizes(program):
        return None
    program, shapes, types = unnamed(program, shapes, types, limits)
    work = Points(program, shapes, types, limits)
    made, items = list[Statement](), _without_differences(program, work)
    ready = max((i.number for i in items if i.before), default=-1)  # what was made for later ones is not there before
    for item in items:
        work.number, stmt = item.number, item.stmt
        found = None if stmt is None or item.number < ready else forms(stmt, work) or sums(stmt, work)
        if stmt is not None and found is None and not _loses_nothing(stmt, work):
            return None
        made += [*item.before, *work.taken(), *(found or ([] if stmt is None else [stmt]))]
    if not work.finite:
        return None
    left = {s.target.tensor for s in made} | {*program.inputs}
    outputs = (*program.outputs, *work.finite)
    declared = tuple(s for s in program.shapes if s.tensor in left)
    new = replace(program, statements=tuple(made), outputs=outputs, shapes=declared)
    return Trial(with_header(new), tuple(work.finite))


# -- a difference that a matrix is multiplied by -------------------------------------------------------


def _without_differences(program: Program, work: Points) -> list[Item]:
    """The statements without tensors over pairs that are nothing but such products, and without their gradients."""
    items = [Item(k, s) for k, s in enumerate(program.statements)]
    for k, stmt in enumerate(program.statements):
        work.number = k
        pair = _mapped(stmt, work)
        if pair is None or not _only_multiplied(stmt, items, work):
            continue
        work.number = k
        value = _apart(stmt, pair, work)
        items[k] = Item(k, None, tuple(work.taken()))
        _put_everywhere(items, stmt.target, [(value, False)], 1)
        for n, other in enumerate(items):
            if other.stmt is None or not _is_weighed(other.stmt, value, work, n):
                continue
            if _only_multiplied(other.stmt, items, work):
                work.number = n
                sign, factors = _weighed(other.stmt, value, work)
                items[n] = Item(n, None, tuple(work.taken()))
                _put_everywhere(items, other.stmt.target, factors, sign)
    return items


def _mapped(stmt: Statement, work: Points) -> Pair | None:
    """The difference in a sum of products of it with what knows nothing of the pair, where its result is large."""
    if stmt.op not in ("=", "+=") or not stmt.reduced or isinstance(stmt.value, Reduce):
        return None
    if len(terms_of(stmt.value)) != 1 or not work.is_plain(stmt):
        return None
    factors = factors_of(terms_of(stmt.value)[0][1])
    found = [pair for f, below in factors if not below and (pair := work.pair(f)) is not None]
    if len(found) != 1:
        return None
    (pair,) = found
    known = {i for f, _ in factors if work.pair(f) != pair for i in indices_of(f)}
    target, own = indices_of(stmt.target), {*pair.rows, *pair.columns}
    summed = {*pair.common} & {*stmt.reduced}
    if known & own or not own <= {*target} or not summed or not summed <= known or {*stmt.reduced} - summed:
        return None
    sizes = work.sizes
    rest = prod(sizes[i] for i in target if i not in (*own, *pair.common))
    if rest < work.limits.larger or prod(sizes[i] for i in summed) > 8 * rest:  # what is asked of pairs costs as much
        return None
    sides = [[i for i in target if i not in gone] for gone in (pair.columns, pair.rows)]
    return pair if separates(sides[0], sides[1], sizes, work.limits) else None


def _only_multiplied(stmt: Statement, items: list[Item], work: Points) -> bool:
    """Whether a tensor is read only as a factor, or as the square that a factor is, over all of its axes."""
    tensor = stmt.target.tensor
    readers = [i for i in items if i.stmt not in (None, stmt) and tensor in tensors_in(i.stmt)]
    if tensor not in work.settled or tensor in work.program.outputs or not readers:
        return False
    return all(_as_factor(i, tensor, work) for i in readers)


def _as_factor(item: Item, tensor: str, work: Points) -> bool:
    stmt, work.number = item.stmt, item.number
    assert stmt is not None
    if isinstance(stmt.value, Reduce) or stmt.op not in ("=", "+=") or len(terms_of(stmt.value)) != 1:
        return False
    nodes = (stmt.value, *stmt.domain.masks)
    reads = [p for node in nodes for p in walk(node) if isinstance(p, Access) and p.tensor == tensor]
    factors = [f for f, below in factors_of(terms_of(stmt.value)[0][1]) if not below]
    bases = [squared(f) or f for f in factors]
    good = [f for f in bases if isinstance(f, Access) and f.tensor == tensor]
    return len(good) == 1 and reads == good and work.is_plain(stmt, masked=True)


def _is_weighed(stmt: Statement, value: Expr, work: Points, number: int) -> bool:
    """Whether a statement multiplies such a difference, at each point, by what is said of pairs."""
    work.number = number
    if stmt.reduced or stmt.op not in ("=", "+=") or isinstance(stmt.value, Reduce) or len(terms_of(stmt.value)) != 1:
        return False
    tensors = [p.tensor for p in walk(value) if isinstance(p, Access)]
    for factor, below in factors_of(terms_of(stmt.value)[0][1]):
        match factor:
            case Call(fn="sub", args=(Access(tensor=a), Access(tensor=b))) if not below and [a, b] == tensors:
                pair = work.pair(factor)
                said = {i for mask in stmt.domain.masks for i in indices_of(mask)}
                return pair is not None and said <= {*pair.rows, *pair.columns} and work.is_plain(stmt, masked=True)
            case _:
                pass
    return False


def _weighed(stmt: Statement, value: Expr, work: Points) -> tuple[int, list[Factor]]:
    """The sign and factors of such a statement; under masks, what is said of pairs is a tensor of its own."""
    ((sign, term),) = terms_of(stmt.value)
    factors = factors_of(term)
    if not stmt.domain.masks:
        return sign, factors
    (pair,) = [found for f, _ in factors if (found := work.pair(f)) is not None]
    own = {*pair.rows, *pair.columns}
    said = [(f, below) for f, below in factors if indices_of(f) and {*indices_of(f)} <= own]
    rest = [(f, below) for f, below in factors if (f, below) not in said]
    target = Access(work.names.fresh("weights"), tuple(Index(i) for i in (*pair.rows, *pair.columns)))
    work.new.append(statement(target, "+=", product_with(said, None, 1), (), stmt.domain.masks))
    return sign, [(target, False), *rest]


def _apart(stmt: Statement, pair: Pair, work: Points) -> Expr:
    """The points multiplied by themselves, and what is asked of pairs; the value in their place."""
    ((sign, term),) = terms_of(stmt.value)
    others = [(f, below) for f, below in factors_of(term) if work.pair(f) != pair]
    moved = work.moved(pair)
    parts: list[Access] = []
    for point, gone in ((moved.first, pair.columns), (moved.second, pair.rows)):
        indices = [i for i in indices_of(stmt.target) if i not in gone]
        if parts and moved.alike:
            parts.append(Access(parts[0].tensor, tuple(map(Index, indices))))
        else:
            parts.append(work.tensor("side", indices, product_with(others, point, sign)))
    key = parts[0].tensor, parts[1].tensor
    work.sides.add(key)
    axes = enumerate(indices_of(parts[0]))
    work.mapped[key] = [n for n, i in axes if i not in (*pair.rows, *pair.common)]
    work.asked[key] = {p.tensor for f, _ in others for p in walk(f) if isinstance(p, Access)}
    known = {i for f, _ in others for i in indices_of(f)}
    weights = work.once("weight", [i for i in pair.common if i in known], product_with(_squares(others), None, 1))
    work.ask(moved, weights, weights, work.limits.lost // 4, stmt.reduced)
    return Call("sub", (parts[0], parts[1]))


def _loses_nothing(stmt: Statement, work: Points) -> bool:
    """Whether such a difference is read as a whole: its squares are summed over all that it has beside the pair."""
    found = [f for f in walk(stmt.value) if isinstance(f, Call) and _is_mapped(f, work)]
    if not found:
        return True
    factors = [f for f, _ in factors_of(terms_of(stmt.value)[0][1])]
    pair = work.pair(found[0])
    squares = [f for f in factors if squared(f) == found[0]]
    if len(found) > 1 or pair is None or not squares:
        return False
    own = {indices_of(pair.first)[n] for n in work.mapped[(pair.first.tensor, pair.second.tensor)]}
    return own <= {*stmt.reduced} and not any({*indices_of(f)} & own for f in factors if f is not squares[0])


def _is_mapped(call: Call, work: Points) -> bool:
    pair = work.pair(call)
    return pair is not None and (pair.first.tensor, pair.second.tensor) in work.mapped


def _squares(factors: list[Factor]) -> list[Factor]:
    return [(Call("pow", (f, Const(2))), below) for f, below in factors]


def _put_everywhere(items: list[Item], target: Access, factors: list[Factor], sign: int) -> None:
    """Factors instead of the reads of a tensor."""
    for n, item in enumerate(items):
        if item.stmt is not None and target.tensor in tensors_in(item.stmt):
            items[n] = replace(item, stmt=_put(item.stmt, target, factors, sign))


def _put(stmt: Statement, target: Access, factors: list[Factor], sign: int) -> Statement:
    ((before, term),) = terms_of(stmt.value)
    made: list[Factor] = []
    for factor, below in factors_of(term):
        base = squared(factor)
        read = base or factor
        if not (isinstance(read, Access) and read.tensor == target.tensor):
            made.append((factor, below))
            continue
        new = dict(zip(indices_of(target), indices_of(read), strict=True))
        moved = [(Renaming({}, new).expr(f), b) for f, b in factors]
        made += moved if base is None else _squares(moved)
        before *= sign if base is None else 1
    value = product_with(made, None, before)
    return statement(stmt.target, stmt.op, value, stmt.domain.ranges, stmt.domain.masks, stmt.span)
