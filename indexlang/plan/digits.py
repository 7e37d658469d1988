"""Whether a difference keeps its digits, asked of the data.

In: a result, what it is the difference of. Out: a condition, a single value. The one rule: what is not finite, or has
lost too many digits, is found; float32 that is computed in float64 may lose many.
"""

from __future__ import annotations

from math import prod

from .blocks import blocks, itemsize
from .building import Building, sizes_of
from .evaluation import Evaluation
from .kernels import Map
from .places import Part, Place, View
from .plan import Make
from .quantities import Apply, Load, Number, Reduced, Value
from .values import cast
from .views import Row, Scope


def keeps_digits(stmt: Evaluation, total: Value, side: Load, free: list[str], lost: int, itself: Value | None) -> Value:
    """Whether every element is large enough beside what it is the difference of, and that is finite. Where `itself`,
    nothing is lost: the difference is 0.
    """
    kind = stmt.compute
    mine: Value = Apply("mul", (Apply("abs", (total,), kind), Number(lost, kind)), kind)
    kept: Value = Apply("ge", (mine, Apply("abs", (side,), kind)), "bool")
    if itself is not None:
        kept = Apply("or", (itself, kept), "bool")
    good: Value = Reduced("all", kept, tuple(i for i in free if i in kept.indices)) if free else kept
    finite = stmt.all_finite([cast(Apply("mul", (side, Number(8, kind)), kind), stmt.written)])
    return Apply("and", (finite, good), "bool")


def hardly_cancels(
    stmt: Evaluation,
    made: Value,
    side: Load,
    total: Place,
    scope: Scope,
    met: tuple[str, str] | None,
    shared: frozenset[str],
) -> Value:
    """A difference put into `total`, and whether it keeps its digits: each row and column must, and no more elements
    than by chance may have lost many, nor pairs in all that they have along the indices `shared` by both sides.

    All is asked of a block while the cache holds it. Where the indices `met` are equal nothing is lost: the difference
    is 0.
    """
    b, limits = stmt.b, stmt.b.limits
    apart = stmt.compared("ne", met, scope)
    kind = "float64" if stmt.compute in ("float64", "complex128") else "float32"
    free = [i for i in total.mentioned if not scope[i].tap]
    points = prod(scope[i].size for i in free)
    steps = blocks(free, sizes_of(scope), points, itemsize(stmt.compute), limits.chunk)
    gone = {i for i, _ in steps}
    other = side if gone & side.indices else _size(stmt, side, free, kind, scope)
    levels = [limits.lost << k for k in (2, 8, 14)]
    counts = [b.part("count", (), "int64", scope) for _ in levels]
    rest = [i for i in free if i not in shared]
    along = tuple(i for i in free if i in shared) if len(rest) > 1 else ()  # of a single one the rows are asked
    close = b.part("count", (), "int64", scope)
    pairs = [(_rests(index, total, free), _rests(index, side.place, free)) for index in free or [""]]
    largest = [[b.part("largest", left, kind, scope) for left, _ in pair] for pair in pairs]
    combined = [(part, "+=") for part in counts] + [(part, "max=") for parts in largest for part in parts]
    combined += [(close, "+=")] if along else []
    if steps:
        b.steps += [Make(total)] if isinstance(total, Part) else []
        b.steps += [Make(part, op) for part, op in combined]
    with b.loops(scope, steps) as inner:
        nothing, diagonal = Number(0, stmt.compute), _diagonal(b, total, met, gone) if met else None
        if apart is None or diagonal is not None:
            b.run(total, "=", Map(made))
        else:
            b.run(total, "=", Map(Apply("select", (apart, made, nothing), stmt.compute)))
        if diagonal is not None:  # what is not finite there is so elsewhere, too
            b.run(diagonal, "=", Map(nothing))
        mine = _size(stmt, Load(total, stmt.compute), free, kind, inner)
        other = _size(stmt, side, free, kind, inner) if gone & side.indices else other
        for pair, parts in zip(pairs, largest, strict=True):
            for x, (_, over), part in zip((mine, other), pair, parts, strict=True):
                b.run(part, "max=" if steps else "=", Map(Reduced("greatest", x, over) if over else x))
        if along:
            near, far = (_greatest(stmt, x, along, kind, inner) for x in (mine, other))
            limit: Value = Apply("mul", (far, Number(1 / levels[0], kind)), kind)
            others = apart if met is not None and {*met} <= {*rest} else None
            b.run(close, "+=" if steps else "=", Map(_smaller(near, limit, rest, others)))
        few, grown = len(other.indices) < len(mine.indices), 1  # what has fewer elements is scaled
        for lost, part in zip(levels, counts, strict=True):
            if not few:
                b.run(mine.place, "*=", Map(Number(lost // grown, kind)))
            against = Apply("mul", (other, Number(1 / lost, kind)), kind) if few else other
            b.run(part, "+=" if steps else "=", Map(_smaller(mine, against, free, apart)))
            grown = lost
    enough = Number(limits.lost, kind)
    good: Value | None = None
    for index, parts in zip(free or [""], largest, strict=True):
        mine, other = (Load(part, kind) for part in parts)
        kept: Value = Apply("ge", (Apply("mul", (enough, mine), kind), other), "bool")
        if good is None:  # one index tells it of all elements
            kept = Apply("and", (kept, Apply("isfinite", (mine,), "bool")), "bool")
        kept = Reduced("all", kept, (index,)) if index in kept.indices else kept
        good = kept if good is None else Apply("and", (good, kept), "bool")
    assert good is not None
    for lost, part in zip(levels, counts, strict=True):
        by_chance = 2 + 4 * prod(scope[i].n for i in free) // lost
        good = Apply("and", (good, Apply("le", (Load(part, "int64"), Number(by_chance, "int64")), "bool")), "bool")
    if along:
        few_pairs = 4 * prod(scope[i].n for i in rest)
        by_chance = few_pairs >> min(60, (levels[0].bit_length() - 1) * prod(scope[i].n for i in along))
        good = Apply("and", (good, Apply("le", (Load(close, "int64"), Number(by_chance, "int64")), "bool")), "bool")
    return good


def _greatest(stmt: Evaluation, x: Load, over: tuple[str, ...], kind: str, scope: Scope) -> Load:
    """The greatest along the indices that it has of some."""
    assert isinstance(x.place, Part)
    own = tuple(i for i in over if i in x.indices)
    part = stmt.b.part("largest", [i for i in x.place.indices if i not in own], kind, scope)
    stmt.b.run(part, "=", Map(Reduced("greatest", x, own) if own else x))
    return Load(part, kind)


def _rests(index: str, place: Place, free: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """What is left of an array's indices beside one, and over which others its greatest are looked for."""
    own = [i for i in free if i in place.mentioned]
    return [i for i in own if i == index], tuple(i for i in own if i != index)


def _diagonal(b: Building, place: Place, met: tuple[str, str], gone: set[str]) -> View | None:
    """Where two indices of an array are equal, if that is a view of it: both run equally far."""
    kept, other = met[::-1] if met[1] in gone else met
    if not isinstance(place, View) or b.extents[kept] != b.extents[other]:
        return None
    rows = []
    for row in place.rows:
        if len(row.coefs) > 1:
            return None
        rows.append(Row(row.const, tuple((kept if i == other else i, by) for i, by in row.coefs)))
    return View(place.buffer, tuple(rows))


def _smaller(mine: Load, other: Value, free: list[str], apart: Value | None) -> Value:
    """How many elements are smaller than others."""
    smaller: Value = Apply("lt", (mine, other), "bool")
    if apart is not None:
        smaller = Apply("and", (smaller, apart), "bool")
    over = tuple(i for i in free if i in smaller.indices)
    count = cast(smaller, "int64")
    return Reduced("sum", count, over) if over else count


def _size(stmt: Evaluation, x: Load, free: list[str], kind: str, scope: Scope) -> Load:
    """How large each element is, the longest axis innermost: NumPy is slow in finding the greatest of a few."""
    axes = sorted((i for i in free if i in x.indices), key=lambda i: scope[i].size)
    part = stmt.b.part("size", axes, kind, scope)
    stmt.b.run(part, "=", Map(Apply("abs", (x,), kind)))
    return Load(part, kind)
