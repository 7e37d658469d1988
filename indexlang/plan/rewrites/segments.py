"""Products with what belongs to the same value of data: these sums are made first, then multiplied as ever.

In: a Program with its shapes and types. Out: an equal Program:

    y[t,e] = W[d,e] * x[s,d] where g[s] == g[t]         part[t,d] = x[s,d] where g[s] == g[t]
                                                        y[t,e] = W[d,e] * part[t,d]
    a.grad += y.grad[t] * x[s] where g[s] == g[t]       part[t] = x[s] where g[s] == g[t]
                                                        a.grad += y.grad[t] * part[t]

The one rule: where nothing has the value of a point, nothing is multiplied: what is infinite there adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from ...program.algebra import factors_of, product_of, terms_of
from ...program.conditions import conjuncts
from ...program.interface import with_header
from ...program.ir import (
    Access,
    Call,
    Const,
    Expr,
    Index,
    Program,
    Range,
    Reduce,
    Shape,
    Statement,
    indices_of,
    parts_of,
    reads,
    statement,
)
from ...program.names import Fresh
from ...sizes import dtypes as kinds
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..costs import SORTING
from ..limits import Limits
from ..prices import price
from ..views import Extents

_SUMS = ("=", "+=")


@dataclass(frozen=True)
class _Apart:
    """What is summed over `over` into axes of `indices` under masks; the rest of the product, and its masks.

    `sure` if something is summed for each point.
    """

    over: frozenset[str]
    indices: tuple[str, ...]
    factors: tuple[Expr, ...]
    masks: tuple[Expr, ...]
    rest: tuple[Expr, ...]
    divisors: tuple[Expr, ...]
    left: tuple[Expr, ...]
    sign: int
    sure: bool


def sum_segments_first(program: Program, shapes: Shapes, types: Types, limits: Limits) -> Program:
    """The program with such sums as statements of their own."""
    statements, made = list[Statement](), dict[str, Shape]()
    known = kinds.Known(types.tensors, types.weak)
    names: Fresh | None = None
    for stmt, extents, guarded in zip(program.statements, shapes.extents, shapes.guarded, strict=True):
        found = None if guarded else _found(stmt, extents, known, limits, shapes)
        if found is None:
            statements.append(stmt)
            continue
        names = names or Fresh.of(program)
        part, there = names.fresh("part"), "" if found.sure else names.fresh("there")
        statements += _statements(stmt, extents, found, part, there)
        shape = tuple(Const(extents[i][1]) for i in found.indices)
        made |= {name: Shape(name, shape) for name in (part, there) if name}
        target = stmt.target.tensor
        if target not in program.inputs and target not in {s.tensor for s in program.shapes}:
            made[target] = Shape(target, tuple(map(Const, shapes.tensors[target])))
    if not made:
        return program
    return with_header(replace(program, statements=tuple(statements), shapes=(*program.shapes, *made.values())))


def _found(stmt: Statement, extents: Extents, known: kinds.Known, limits: Limits, shapes: Shapes) -> _Apart | None:
    """How a statement is taken apart, where that costs less."""
    conditions = [c for mask in stmt.domain.masks for c in conjuncts(mask)]
    equal = [c for c in conditions if isinstance(c, Call) and c.fn == "eq" and all(map(reads, c.args))]
    if stmt.op not in _SUMS or len(stmt.reduced) < 2 or not equal or any(hi <= lo for lo, hi in extents.values()):
        return None
    if any(isinstance(p, Reduce) for p in parts_of(stmt)) or len(terms_of(stmt.value)) > 1:
        return None
    kind = kinds.kind(stmt.value, known).name
    least, best = price(stmt, extents, limits, shapes.tensors), None
    for found in _ways(stmt, conditions, equal, extents, known):
        same = kinds.kind(product_of(found.factors), known).name == kind and kind.startswith("float")
        if same and (cost := _cost(stmt, found, extents, limits, shapes)) < least:
            least, best = cost, found
    return best


def _ways(
    stmt: Statement, conditions: Sequence[Expr], equal: Sequence[Call], extents: Extents, known: kinds.Known
) -> Iterator[_Apart]:
    """By the indices of either side of an equality."""
    ((sign, term),) = terms_of(stmt.value)
    parts, summed = factors_of(term), set(stmt.reduced)
    for key, bound in ((c.args[k], c.args[1 - k]) for c in equal for k in (0, 1)):
        over = summed & set(indices_of(key))
        own = [c for c in conditions if over & set(indices_of(c))]
        pairs = [_sides(c, over) for c in own if c in equal]
        if not over or over & set(indices_of(bound)) or any(below and over & set(indices_of(p)) for p, below in parts):
            continue
        factors = [p for p, _ in parts if over & set(indices_of(p))]
        rest = [p for p, below in parts if not below and p not in factors]
        if not factors or not any(summed & set(indices_of(p)) for p in rest):
            continue
        value = {i for f in factors for i in indices_of(f)}
        keyed = {i for pair in pairs if pair for i in indices_of(pair[0])}
        bounded = {i for pair in pairs if pair for i in indices_of(pair[1])}
        others = bounded - keyed - value
        masks = [c for c in own if _sides(c, over) is None or c not in equal]
        if not others or any(not set(indices_of(m)) <= value | keyed for m in masks):
            continue
        left = [c for c in conditions if c not in own]
        floats = [b for _, b in filter(None, pairs) if kinds.kind(b, known).kind == "float"]
        left += [Call("eq", (b, b)) for b in floats]  # a nan has nothing that is equal
        yield _Apart(
            frozenset(over),
            tuple(i for i in stmt.domain.indices if i in value | keyed | bounded and i not in over),
            tuple(factors),
            tuple(own),
            tuple(rest),
            tuple(p for p, below in parts if below),
            tuple(left),
            sign,
            not masks and all(_is_own(pair, over, extents) for pair in pairs if pair),
        )


def _sides(condition: Expr, over: set[str]) -> tuple[Expr, Expr] | None:
    """What is compared: first what is summed over."""
    if not isinstance(condition, Call) or len(condition.args) != 2:
        return None
    for key, bound in (condition.args, condition.args[::-1]):
        if over & set(indices_of(key)) and not over & set(indices_of(bound)):
            return key, bound
    return None


def _is_own(pair: tuple[Expr, Expr], over: set[str], extents: Extents) -> bool:
    """Whether an element is compared with those of its own tensor, so that each point is equal to itself."""
    key, bound = pair
    if not isinstance(key, Access) or not isinstance(bound, Access) or key.tensor != bound.tensor:
        return False
    subscripts = list(zip(key.subscripts, bound.subscripts, strict=True))
    if not all(isinstance(a, Index) and isinstance(b, Index) for a, b in subscripts):
        return False
    moved = [(a.name, b.name) for a, b in subscripts if isinstance(a, Index) and isinstance(b, Index) and a != b]
    return {a for a, _ in moved} == over and all(extents[a] == extents[b] for a, b in moved)


def _cost(stmt: Statement, found: _Apart, extents: Extents, limits: Limits, shapes: Shapes) -> int:
    """Multiply-adds of both statements."""

    def points(nodes: Sequence[Expr]) -> int:
        return prod(extents[i][1] - extents[i][0] for i in {i for n in nodes for i in indices_of(n)})

    sides = [pair for m in found.masks if (pair := _sides(m, set(found.over)))]
    elements = sum(SORTING * points([side]) for pair in sides for side in pair)
    elements += 8 * points([*found.factors, *(key for key, _ in sides)])
    elements += 4 * prod(extents[i][1] - extents[i][0] for i in found.indices)
    times = 1 if found.sure else 2
    _, second = _statements(stmt, extents, replace(found, sure=True), "part", "")
    left = {i: e for i, e in extents.items() if i not in found.over}
    tensors = {**shapes.tensors, "part": [extents[i][1] for i in found.indices]}
    return times * (limits.element * elements + 8 * limits.call) + price(second, left, limits, tensors)


def _statements(stmt: Statement, extents: Extents, found: _Apart, part: str, there: str) -> list[Statement]:
    """The sums, whether there is anything in them, and the product."""
    ranges = {i: Range(i, Const(lo) if lo else None, Const(hi)) for i, (lo, hi) in extents.items()}
    axes = tuple(Index(i) for i in found.indices)
    inside = tuple(ranges[i] for i in extents if i in found.indices or i in found.over)
    made = [statement(Access(part, axes), "=", product_of(found.factors), inside, found.masks, stmt.span)]
    masks = found.left
    if there:
        made.append(statement(Access(there, axes), "=", Const(1), inside, found.masks, stmt.span))
        masks = (*masks, Call("gt", (Access(there, axes), Const(0))))
    value = product_of([*found.rest, Access(part, axes)], found.divisors)
    value = Call("neg", (value,)) if found.sign < 0 else value
    outside = tuple(ranges[i] for i in extents if i not in found.over)
    return [*made, statement(stmt.target, stmt.op, value, outside, masks, stmt.span)]
