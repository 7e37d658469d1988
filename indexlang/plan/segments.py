"""A reduction of what has the same data as a point: once for each value that occurs, then read by every point.

In: a statement under equalities of data, each with the reduced indices on one side only:

    y[t,d] = x[s,d] where g[s] == g[t]

Out: its value over the free indices. The one rule: what belongs to another value never enters what is read, so
infinities and nan stay where the loops have them; a nan among what is compared is equal to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ..program.affine import Affine
from ..program.conditions import conjuncts
from ..program.ir import Call, Const, Expr, Index, indices_of, reads
from ..rewrite.substitution import Quotient, put
from .building import here
from .costs import SORTING
from .evaluation import Evaluation
from .kernels import Label, Map, Scatter, Take
from .operators import SUMS, combining
from .places import Part, Place, View
from .prices import price
from .quantities import Apply, Load, Number, Reduced, Value
from .ranking import POSITIONS, split_in_order
from .reads import masked, value_of
from .scanning import WINNERS
from .values import cast, position_of, unit
from .views import Row, Scope, plain, row_strides, whole
from .writes import Target


@dataclass(frozen=True)
class Segments:
    """`keys` of the reduced indices `over` that are equal to `bounds` of `others`, for each value of `batch`.

    `own` are the masks of what is reduced alone; `same` if bounds are the keys under other names.
    """

    keys: tuple[Expr, ...]
    bounds: tuple[Expr, ...]
    batch: tuple[str, ...]
    over: tuple[str, ...]
    others: tuple[str, ...]
    own: tuple[Expr, ...]
    same: bool


def segments_of(stmt: Evaluation) -> Segments | None:
    """The equalities by which the statement is a reduction for each value of data, where that costs least."""
    b = stmt.b
    searched = stmt.root is not None
    if _dtype(stmt) == "bool" or b.complex_step or len(stmt.summed) == 0 or any(n <= 0 for n in stmt.sizes.values()):
        return None
    if stmt.root is not None and (stmt.root.op not in WINNERS or _dtype(stmt).startswith("complex")):
        return None
    core, _, _ = split_in_order(stmt)
    value = {i for f in core for i in indices_of(f)}
    found = _segments(stmt, value)
    if found is None or (searched and set(found.over) != set(stmt.summed)):
        return None
    all_points = 2 * b.limits.element * prod(stmt.sizes.values())
    least = all_points if searched else price(stmt.stmt, b.extents, b.limits, b.shapes)
    return found if _cost(stmt, found, value) < least else None


def _dtype(stmt: Evaluation) -> str:
    """The type of what is brought together: a position is one of values."""
    return stmt.compute if stmt.root is None else stmt.b.kind(stmt.value)


def _segments(stmt: Evaluation, value: set[str]) -> Segments | None:
    summed, pairs, own = set(stmt.summed), list[tuple[Expr, Expr]](), list[Expr]()
    for condition in (p for m in stmt.inner for p in conjuncts(m)):
        pair = _pair(stmt, condition)
        if pair is None:
            own.append(condition)
        else:
            pairs.append(pair)
    keyed = {i for key, _ in pairs for i in indices_of(key)}
    bounded = {i for _, bound in pairs for i in indices_of(bound)}
    batch = (keyed - summed) | (bounded & value)
    others = bounded - batch
    reduced = value | keyed
    if not pairs or not others or not summed <= reduced or any(not set(indices_of(m)) <= reduced for m in own):
        return None
    in_memory = stmt.in_memory(list(dict.fromkeys((*stmt.stmt.domain.indices, *stmt.summed))))
    over = tuple(i for key, _ in pairs[:1] for i in indices_of(key) if i in summed)
    over += tuple(i for i in in_memory if i in keyed & summed and i not in over)
    first = tuple(i for _, bound in pairs[:1] for i in indices_of(bound) if i in others)
    free = first + tuple(i for i in in_memory if i in others and i not in first)
    keys, bounds = zip(*pairs, strict=True)
    same = _alike(stmt, keys, bounds, over, free)
    return Segments(keys, bounds, tuple(i for i in in_memory if i in batch), over, free, tuple(own), same)


def _pair(stmt: Evaluation, condition: Expr) -> tuple[Expr, Expr] | None:
    """What is compared: first what is reduced, then what is read by."""
    match condition:
        case Call(fn="eq", args=(left, right)) if reads(left) and reads(right):
            if _common(stmt, left, right) is None:
                return None
            for key, bound in ((left, right), (right, left)):
                if set(stmt.summed) & set(indices_of(key)) and not set(stmt.summed) & set(indices_of(bound)):
                    return key, bound
    return None


def _common(stmt: Evaluation, *sides: Expr) -> str | None:
    """The type in which both sides are what they are, and compared."""
    kinds = {stmt.b.kind(side) for side in sides}
    if len(kinds) == 1:
        (kind,) = kinds
        return None if kind.startswith("complex") else kind
    return "int64" if kinds <= POSITIONS else "float64" if kinds == {"float32", "float64"} else None


def _alike(
    stmt: Evaluation, keys: Sequence[Expr], bounds: Sequence[Expr], over: Sequence[str], others: Sequence[str]
) -> bool:
    """Whether bounds are the keys under other names."""
    if len(over) != len(others) or any(
        stmt.b.extents[s] != stmt.b.extents[t] for s, t in zip(over, others, strict=True)
    ):
        return False
    names = {s: Quotient(Affine.from_expr(Index(t))) for s, t in zip(over, others, strict=True)}
    return all(put(key, names) == bound for key, bound in zip(keys, bounds, strict=True))


def _cost(stmt: Evaluation, found: Segments, value: set[str]) -> int:
    """Multiply-adds of what is numbered, brought together, and read."""
    limits = stmt.b.limits

    def points(indices: set[str]) -> int:
        return prod(stmt.sizes[i] for i in indices)

    numbered = points({*found.batch, *found.over}) + (0 if found.same else points({*found.batch, *found.others}))
    elements = SORTING * len(found.keys) * numbered + 8 * points(value | {*found.batch, *found.over})
    return limits.element * (elements + 4 * points(set(stmt.free))) + 8 * limits.call


def segmented(stmt: Evaluation, target: Target) -> None:
    """The value, once for each value of data, into what is written."""
    target.start(once=True)
    target.put(target.view, _value(stmt, whole(stmt.b.extents)))


def _value(stmt: Evaluation, scope: Scope) -> Value:
    """The value over the free indices, in a scope with all values of each index."""
    b, found = stmt.b, segments_of(stmt)
    assert found is not None
    core, outside, divisors = split_in_order(stmt)
    labels = _labels(stmt, found, scope)
    op = stmt.op if stmt.root is None else WINNERS[stmt.root.op]
    value = _reduced(stmt, found, core, op, _dtype(stmt), scope)
    result: Value
    if stmt.root is None:
        result = _taken(stmt, found, labels, _brought(stmt, found, labels, value, op, scope), stmt.free, scope)
        nothing = stmt.identity
    else:
        result, nothing = _winner(stmt, found, labels, value, op, scope), Number(0, "int64")
    outside = [f for f in outside if f != Const(1)]
    for fn, part in [("mul", f) for f in outside] + [("div", d) for d in divisors]:
        result = Apply(fn, (result, cast(value_of(b, part, scope), stmt.compute)), stmt.compute)
    if (outside or divisors) and (found.own or not found.same):  # nothing is not multiplied
        one = _reduced(stmt, found, [Const(1)], "+=", "int64", scope)
        count = _taken(stmt, found, labels, _brought(stmt, found, labels, one, "+=", scope), stmt.free, scope)
        none = Apply("eq", (count, Number(0, "int64")), "bool")
        result = Apply("select", (none, nothing, result), result.dtype)
    for bound in found.bounds:
        if b.kind(bound).startswith("float"):  # a nan has a sum of its own, which is that of nothing
            said = value_of(b, bound, scope)
            result = Apply("select", (Apply("ne", (said, said), "bool"), nothing, result), result.dtype)
    return stmt.masked_outer(result, scope)


# -- numbers -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Labels:
    """The numbers of the values of keys and of bounds, and the index that runs through them."""

    key: View
    bound: View
    mark: str


def _labels(stmt: Evaluation, found: Segments, scope: Scope) -> _Labels:
    """Numbers of values: of the keys, or of keys and bounds one behind the other."""
    b = stmt.b
    many = prod(stmt.sizes[i] for i in found.over)
    if found.same:
        axes, count = found.over, many
        rows, ends = (tuple(_own(stmt, i) for i in group) for group in (found.over, found.others))
        sources = [_compared(stmt, key, (*found.batch, *axes), scope) for key in found.keys]
    else:
        count = many + prod(stmt.sizes[i] for i in found.others)
        axes, rows = (b.axis(count),), (_flat(stmt, found.over),)
        ends = (_flat(stmt, found.others).shifted(many),)
        pairs = zip(found.keys, found.bounds, strict=True)
        sources = [_behind(stmt, found, pair, (rows[0], ends[0]), axes[0], count, scope) for pair in pairs]
    scope = {**scope, **whole({i: b.extents[i] for i in axes})}
    labels = _numbered(stmt, sources[0], (*found.batch, *axes), axes, scope)
    for source in sources[1:]:
        more = _numbered(stmt, source, (*found.batch, *axes), axes, scope)
        both = b.part("pairs", labels.indices, "int64", scope)
        first = Apply("mul", (Load(labels, "int64"), Number(count, "int64")), "int64")
        b.run(both, "=", Map(Apply("add", (first, Load(more, "int64")), "int64")))
        labels = _numbered(stmt, both, labels.indices, axes, scope)
    batch = tuple(_own(stmt, i) for i in found.batch)
    return _Labels(View(labels.buffer, (*batch, *rows)), View(labels.buffer, (*batch, *ends)), b.axis(count))


def _own(stmt: Evaluation, index: str) -> Row:
    """Where the values of an index stand in an array of just these."""
    return plain(index).shifted(-stmt.b.extents[index][0])


def _flat(stmt: Evaluation, indices: Sequence[str]) -> Row:
    """Where the values of several indices stand in one axis."""
    steps = row_strides([stmt.sizes[i] for i in indices])
    const = -sum(step * stmt.b.extents[i][0] for i, step in zip(indices, steps, strict=True))
    return Row(const, tuple(zip(indices, steps, strict=True)))


def _numbered(stmt: Evaluation, source: Place, axes: Sequence[str], over: Sequence[str], scope: Scope) -> Part:
    """The number of each element's value."""
    labels = stmt.b.part("labels", axes, "int64", scope)
    stmt.b.run(labels, "=", Label(source, tuple(over)))
    return labels


def _compared(stmt: Evaluation, key: Expr, axes: Sequence[str], scope: Scope) -> Place:
    """What is compared, over all of the axes."""
    value = value_of(stmt.b, key, scope)
    match value:
        case Load(place=place, at=()) if place.buffer.dtype == value.dtype and set(place.mentioned) == set(axes):
            return place
        case _:
            part = stmt.b.part("compared", axes, value.dtype, scope)
            stmt.b.run(part, "=", Map(value))
            return part


def _behind(
    stmt: Evaluation,
    found: Segments,
    pair: tuple[Expr, Expr],
    rows: tuple[Row, Row],
    axis: str,
    count: int,
    scope: Scope,
) -> View:
    """Keys, and bounds behind them, in one array."""
    b = stmt.b
    batch = tuple(_own(stmt, i) for i in found.batch)
    kind = _common(stmt, *pair)
    assert kind is not None
    made = b.buffer("compared", [*(stmt.sizes[i] for i in found.batch), count], kind)
    for part, row in zip(pair, rows, strict=True):
        b.run(View(made, (*batch, row)), "=", Map(cast(value_of(b, part, scope), kind)))
    return View(made, (*batch, plain(axis)))


# -- what belongs together -----------------------------------------------------------------------------


def _reduced(stmt: Evaluation, found: Segments, core: Sequence[Expr], op: str, dtype: str, scope: Scope) -> Value:
    """What is brought together: the value of each point, reduced over what nothing is compared by."""
    b = stmt.b
    value = Number(1, dtype) if core == [Const(1)] else cast(value_of(b, core[0], scope), dtype)
    for factor in core[1:]:
        value = Apply("mul", (value, cast(value_of(b, factor, scope), dtype)), dtype)
    value = masked(b, value, found.own, scope, unit(op, dtype))
    left = [i for i in stmt.summed if i not in found.over and (i in value.indices or op == stmt.op)]
    if not left and stmt.root is None:
        return value
    every = stmt.in_memory(list(dict.fromkeys((*stmt.stmt.domain.indices, *stmt.summed))))
    kept = here([i for i in every if i in value.indices and i not in left], scope)
    part = b.part("values", kept, dtype, scope)
    if left:
        value = stmt.reduced(value, left) if op == stmt.op else Reduced("sum", value, tuple(left))
    b.run(part, "=", Map(value))
    return Load(part, dtype)


def _brought(stmt: Evaluation, found: Segments, labels: _Labels, value: Value, op: str, scope: Scope) -> View:
    """What an operator makes of the values of all points of each number."""
    b, dtype, points = stmt.b, value.dtype, (*found.batch, *found.over)
    rest = tuple(here([i for i in stmt.free if i in value.indices and i not in points], scope))
    marks = [b.axis(stmt.sizes[i]) for i in found.batch]
    own = {i: b.extents[i] for i in (*marks, labels.mark)}
    sums = b.part("sums", (*marks, labels.mark, *rest), dtype, {**scope, **whole(own)})
    b.run(sums, "=", Map(unit(op, dtype)))
    at: list[tuple[str, Value]] = [(m, _position(stmt, i)) for m, i in zip(marks, found.batch, strict=True)]
    adds = op in SUMS and not rest
    counts = adds and value == Number(1, dtype)
    by = "count" if counts or (adds and dtype.startswith("float")) else "join"
    where = (*at, (labels.mark, Load(labels.key, "int64")))
    b.run(sums, combining(op), Scatter(where, None if counts else value, points, rest, None, by, True))
    return View(
        sums.buffer, (*(_own(stmt, i) for i in found.batch), plain(labels.mark), *(_own(stmt, i) for i in rest))
    )


def _taken(
    stmt: Evaluation,
    found: Segments,
    labels: _Labels,
    sums: View,
    free: Sequence[str],
    scope: Scope,
    back: bool = False,
) -> Load:
    """What was made for its number, at each bound; or `back` at each key."""
    at, ends = (labels.key, found.over) if back else (labels.bound, found.others)
    order = here([i for i in free if i in (*found.batch, *ends, *sums.mentioned)], scope)
    part = stmt.b.part("ends", order, sums.buffer.dtype, scope)
    stmt.b.run(part, "=", Take(sums, ((labels.mark, Load(at, "int64")),)))
    return Load(part, part.buffer.dtype)


def _winner(stmt: Evaluation, found: Segments, labels: _Labels, value: Value, op: str, scope: Scope) -> Value:
    """The first point of each number that has the best value, or nan, at each bound."""
    points = prod(stmt.sizes[i] for i in stmt.summed)
    best = _brought(stmt, found, labels, value, op, scope)
    every = stmt.in_memory(list(dict.fromkeys((*stmt.stmt.domain.indices, *stmt.summed))))
    back = _taken(stmt, found, labels, best, every, scope, back=True)
    wins: Value = Apply("eq", (value, back), "bool")
    if value.dtype.startswith("float"):
        wins = Apply("or", (wins, Apply("ne", (value, value), "bool")), "bool")
    number: Value = position_of(_flat(stmt, stmt.summed))
    last = Number(points, "int64")
    number = masked(stmt.b, Apply("select", (wins, number, last), "int64"), found.own, scope, last)
    first = _taken(stmt, found, labels, _brought(stmt, found, labels, number, "min=", scope), stmt.free, scope)
    return Apply("select", (Apply("lt", (first, last), "bool"), first, Number(0, "int64")), "int64")


def _position(stmt: Evaluation, index: str) -> Value:
    """Where an index stands among its own values."""
    return position_of(_own(stmt, index))
