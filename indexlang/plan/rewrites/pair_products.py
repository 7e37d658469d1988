"""Products of two differences of the same pairs, as sums of products of points.

In: a statement that sums over what both points have, `(x[i,d] - y[j,d]) * P[d,e] * (x[i,e] - y[j,e])`, or over the pairs,
`G[i,j] * (x[i,d] - y[j,d]) * (x[i,e] - y[j,e])`. Out: the statements in its place. The one rule: a form is taken apart
if no pair is close, by its diagonal; a sum over pairs if in each component the pairs are not close, as they are weighed.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ...program.algebra import Factor, factors_of, terms_of
from ...program.ir import Access, Call, Const, Expr, Index, Reduce, Statement, indices_of, statement, walk
from ...program.names import Renaming
from ..contraction import separates
from .pairs_moved import Pair, Points, product_with, times


def _parts(stmt: Statement, work: Points) -> tuple[int, list[Pair], list[Factor]] | None:
    """The sign, two differences, and the other factors of a product."""
    if stmt.op not in ("=", "+=") or not stmt.reduced or isinstance(stmt.value, Reduce) or not work.is_plain(stmt):
        return None
    if len(terms_of(stmt.value)) != 1:
        return None
    ((sign, term),) = terms_of(stmt.value)
    pairs: list[Pair] = []
    others: list[Factor] = []
    for factor, below in factors_of(term):
        pair = None if below else work.pair(factor)
        if pair is None:
            others.append((factor, below))
        else:
            pairs.append(pair)
    if len(pairs) != 2 or (pairs[0].rows, pairs[0].columns) != (pairs[1].rows, pairs[1].columns):
        return None
    return sign, pairs, others


def forms(stmt: Statement, work: Points) -> list[Statement] | None:
    """A form of the differences of all pairs, by a product of matrices."""
    found = _parts(stmt, work)
    if found is None:
        return None
    sign, (one, two), factors = found
    outer, inner = [*one.rows, *one.columns], [*one.common, *two.common]
    if len(one.common) != 1 or {*inner} != {*stmt.reduced} or {*indices_of(stmt.target)} != {*outer}:
        return None
    d, e = inner
    if d == e or one.first.tensor != two.first.tensor or one.second.tensor != two.second.tensor:
        return None
    turned = Renaming({}, {d: e, e: d})
    if turned.expr(one.first) != two.first or turned.expr(one.second) != two.second:
        return None
    within = [(f, b) for f, b in factors if {*indices_of(f)} & {d, e}]
    around = [(f, b) for f, b in factors if not {*indices_of(f)} & {d, e}]
    if {i for f, _ in within for i in indices_of(f)} != {d, e}:
        return None
    if not separates(indices_of(one.first), indices_of(one.second), work.sizes, work.limits):
        return None
    a, b = work.moved(one), work.moved(two)
    matrix = product_with(within, None, 1)
    turn = turned.expr(matrix)
    size = Call("add", (Call("pow", (matrix, Const(2))), Call("pow", (turn, Const(2)))))
    largest = work.once("large", [d], size)
    parts = work.once("large", [d], Call("sqrt", (Call("mul", (largest, Const(0.5))),)))
    diagonal = work.once("weight", [d], Call("abs", (Renaming({}, {e: d}).expr(matrix),)))
    work.ask(a, diagonal, parts, work.limits.lost, [d])
    both = work.once("both", [d, e], Call("add", (matrix, turn)))
    mapped = work.once("mapped", [*one.rows, e], times(both, a.first))
    half = [
        work.once("half", one.rows, times(Const(0.5), mapped, b.first)),
        work.once("half", one.columns, times(Const(0.5), work.once("mapped", [*one.columns, e], times(both, a.second)), b.second)),
    ]
    product = work.tensor("product", outer, times(mapped, b.second))
    value: Expr = Call("sub", (Call("add", (half[0], half[1])), product))
    if a.same is not None:
        value = Call("where", (a.same, Const(0), value))
    return [replace_value(stmt, product_with(around, value, sign))]


def replace_value(stmt: Statement, value: Expr, op: str = "") -> Statement:
    """A statement of another value."""
    return statement(stmt.target, op or stmt.op, value, (), (), stmt.span)


def gradients(stmt: Statement, work: Points) -> list[Statement] | None:
    """A sum over all pairs, by products of matrices with what is said of pairs."""
    found = _parts(stmt, work)
    if found is None:
        return None
    sign, pairs, factors = found
    one, two = pairs
    outer = {*one.rows, *one.columns}
    if outer != {*stmt.reduced} or {*one.common} & {*two.common}:
        return None
    if {*indices_of(stmt.target)} != {*one.common, *two.common}:
        return None
    said = [(f, b) for f, b in factors if indices_of(f)]
    numbers = [(f, b) for f, b in factors if not indices_of(f)]
    if {i for f, _ in said for i in indices_of(f)} != outer:
        return None
    if not separates(indices_of(one.first), indices_of(one.second), work.sizes, work.limits):
        return None
    moved = [work.moved(p) for p in pairs]
    order = [*one.rows, *one.columns]
    weights = said[0][0] if len(said) == 1 and isinstance(said[0][0], Access) and not said[0][1] else None
    if weights is None:
        weights = work.once("weights", order, product_with(said, None, 1))
    same = next((p.same for p in moved if p.same is not None), None)
    if same is not None:  # a point and itself: 0 times what may be large
        itself = Renaming({}, {one.columns[0]: one.rows[0]}).expr(weights)
        whole, weights = weights, work.once("weights", order, Call("where", (same, Const(0), weights)))
    sizes = work.once("weights", order, Call("abs", (weights,)))
    flags = [_asked(p, sizes, work) for p in dict.fromkeys(moved)]
    if same is not None:
        work.number_is(flags[0], itself)
    rows, columns = (work.once("total", own, weights) for own in (one.rows, one.columns))
    met = [work.once("met", indices_of(p.first), times(weights, p.second)) for p in moved]
    a, b = moved
    first = work.once("left", indices_of(a.first), Call("sub", (times(rows, a.first), met[0])))
    last = work.once("left", indices_of(a.second), times(columns, a.second))
    return [
        replace_value(stmt, product_with(numbers, times(first, b.first), sign)),
        replace_value(stmt, product_with(numbers, times(a.first, met[1]), -sign), "+="),
        replace_value(stmt, product_with(numbers, times(last, b.second), sign), "+="),
    ]


def _asked(moved: Pair, sizes: Access, work: Points) -> Access:
    """That in each component the weighed squares of differences are not much smaller than those of the points."""
    lost = work.limits.lost
    rows, columns = (work.once("total", own, sizes) for own in (moved.rows, moved.columns))
    met = work.once("met", indices_of(moved.first), times(sizes, moved.second))
    squares = [
        work.once("square", moved.common, times(total, x, x))
        for total, x in ((rows, moved.first), (columns, moved.second))
    ]
    twice = work.once("twice", moved.common, times(Const(2), moved.first, met))
    whole = Call("mul", (Call("add", (squares[0], squares[1])), Const(1 - 1 / lost)))
    total: Expr = Call("add", (squares[0], squares[1]))
    kept = Call("le", (twice, whole))
    return work.flag(Call("where", (kept, times(Const(0.0), total), Const(math.inf))))
