"""Products of differences of the same pairs, as sums of products of points.

In: a statement that sums over what both points have, `(x[i,d] - y[j,d]) * P[d,e] * (x[i,e] - y[j,e])`, or over pairs,
`G[i,j] * (x[i,d] - y[j,d]) * (x[i,e] - y[j,e])`. Out: the statements in its place. The one rule: a form is taken apart
if no pair is close, by its diagonal; a sum over pairs if in no component the pairs are close, as they are weighed.
"""

from __future__ import annotations

import math

from ...program.algebra import Factor, factors_of, terms_of
from ...program.ir import Access, Call, Const, Expr, Reduce, Statement, indices_of, statement, walk
from ...program.names import Renaming
from ..contraction import separates
from .pairs_moved import Pair, Points, product_with, times


def parts_of(stmt: Statement, work: Points) -> tuple[int, list[Pair], list[Factor]] | None:
    """The sign, one or two differences of the same pairs, and the other factors of a product."""
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
    if not 1 <= len(pairs) <= 2 or {(p.rows, p.columns) for p in pairs} != {(pairs[0].rows, pairs[0].columns)}:
        return None
    return sign, pairs, others


def forms(stmt: Statement, work: Points) -> list[Statement] | None:
    """A form of the differences of all pairs, by a product of matrices."""
    found = parts_of(stmt, work)
    if found is None or len(found[1]) != 2:
        return None
    sign, (one, two), factors = found
    batch = [i for i in one.common if i in two.common]
    outer, inner = [*batch, *one.rows, *one.columns], [i for i in (*one.common, *two.common) if i not in batch]
    if len(inner) != 2 or {*inner} != {*stmt.reduced} or {*indices_of(stmt.target)} != {*outer}:
        return None
    d, e = inner
    if one.first.tensor != two.first.tensor or one.second.tensor != two.second.tensor:
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
    work.asked[(a.first.tensor, a.second.tensor)] = {p.tensor for p in walk(matrix) if isinstance(p, Access)}
    both = work.once("both", [d, e], Call("add", (matrix, turn)))
    mapped = work.once("mapped", [*batch, *one.rows, e], times(both, a.first))
    other = work.once("mapped", [*batch, *one.columns, e], times(both, a.second))
    half = [
        work.once("half", [*batch, *own], times(Const(0.5), x, y))
        for own, x, y in ((one.rows, mapped, b.first), (one.columns, other, b.second))
    ]
    product = work.tensor("product", outer, times(mapped, b.second))
    value: Expr = Call("sub", (Call("add", (half[0], half[1])), product))
    if a.same is not None:
        value = Call("where", (a.same, Const(0), value))
    return [with_value(stmt, product_with(around, value, sign))]


def with_value(stmt: Statement, value: Expr, op: str = "") -> Statement:
    """A statement of another value."""
    return statement(stmt.target, op or stmt.op, value, (), (), stmt.span)


def sums(stmt: Statement, work: Points) -> list[Statement] | None:
    """A sum over pairs of one or two of their differences, by what each point is pulled with by all others."""
    found = parts_of(stmt, work)
    if found is None:
        return None
    sign, pairs, factors = found
    pairs.sort(key=lambda p: p.first.tensor in work.shapes.tensors)  # what more than one statement pulls with
    pair, outer = pairs[0], {*pairs[0].rows, *pairs[0].columns}
    said = [(f, b) for f, b in factors if {*indices_of(f)} & outer]
    others = [(f, b) for f, b in factors if not {*indices_of(f)} & outer]
    batch = {i for f, _ in said for i in indices_of(f)} - outer
    if not outer <= {i for f, _ in said for i in indices_of(f)} or not batch <= {*pair.common}:
        return None
    if not separates(indices_of(pair.first), indices_of(pair.second), work.sizes, work.limits):
        return None
    reduced = outer & {*stmt.reduced}
    if len(pairs) == 2:
        if {*stmt.reduced} - batch != outer or any(indices_of(f) for f, _ in others):
            return None
        if {*pair.common} & {*pairs[1].common} != batch:
            return None
    elif reduced not in ({*pair.rows}, {*pair.columns}) or not work.is_asked(pair, others):
        return None
    moved = [work.moved(p) for p in pairs]
    weights = _weights(said, moved[0], work)
    for p in moved:
        _ask(p, weights, work)
    first = moved[0]
    if len(pairs) == 2:
        left, right = pulled(first, weights, work, True), pulled(first, weights, work, False)
        return [
            with_value(stmt, product_with([*others, (left, False)], moved[1].first, sign)),
            with_value(stmt, product_with([*others, (right, False)], moved[1].second, -sign), "+="),
        ]
    left = pulled(first, weights, work, reduced == {*pair.columns})
    return [with_value(stmt, product_with([(left, False), *others], None, sign))]


def pulled(moved: Pair, weights: Access, work: Points, first: bool) -> Access:
    """The weighed sum of differences for each of the first points, or for each of the second ones."""
    rows, columns, here, there = moved.rows, moved.columns, moved.first, moved.second
    own = rows if first else columns
    batch = [i for i in moved.common if i in indices_of(weights)]
    total = work.once("total", [*batch, *own], weights)
    met = work.once("met", indices_of(here if first else there), times(weights, there if first else here))
    mine = times(total, here if first else there)
    return work.once("pulled", indices_of(met), Call("sub", (mine, met) if first else (met, mine)))


def _weights(said: list[Factor], pair: Pair, work: Points) -> Access:
    """What is said of pairs as one tensor, 0 where a point meets itself: the difference is, whatever stands there."""
    known = {i for f, _ in said for i in indices_of(f)}
    order = [i for i in (*pair.common, *pair.rows, *pair.columns) if i in known]
    (factor, below), *more = said
    alone = not more and not below and isinstance(factor, Access)
    weights = factor if alone else work.once("weights", order, product_with(said, None, 1))
    assert isinstance(weights, Access)
    if pair.same is None:
        return weights
    itself = Renaming({}, {pair.columns[0]: pair.rows[0]}).expr(weights)
    apart = work.once("weights", order, Call("where", (pair.same, Const(0), weights)))
    if apart.tensor not in work.known:
        work.known[apart.tensor] = apart
        work.flag(times(Const(0.0), itself))
    return apart


def _ask(moved: Pair, weights: Access, work: Points) -> None:
    """That in each component the weighed squares of differences are not much smaller than those of the points."""
    key = moved.first.tensor, moved.second.tensor, weights.tensor
    if key in work.known:
        return
    work.known[key] = weights
    lost, sizes = work.limits.lost, work.once("weights", indices_of(weights), Call("abs", (weights,)))
    batch = [i for i in moved.common if i in indices_of(weights)]
    rows, columns = (work.once("total", [*batch, *own], sizes) for own in (moved.rows, moved.columns))
    met = work.once("met", indices_of(moved.first), times(sizes, moved.second))
    squares = [
        work.once("square", moved.common, times(total, x, x))
        for total, x in ((rows, moved.first), (columns, moved.second))
    ]
    twice = work.once("twice", moved.common, times(Const(2), moved.first, met))
    whole = Call("mul", (Call("add", (squares[0], squares[1])), Const(1 - 1 / lost)))
    zero = times(Const(0.0), Call("add", (squares[0], squares[1])))
    work.flag(Call("where", (Call("le", (twice, whole)), zero, Const(math.inf))))
