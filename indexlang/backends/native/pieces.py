"""Values that several points add to an element, as sums at the element: piece by piece, where the same points do.

In: a `Task` with taps. Out: tasks of which each goes through elements of its own and sums what they get. The one rule:
in each piece all points of a box are there, so that nothing need be asked, and nothing outside of an array is read.

    x[2*i+u] += v[i,u]  with u < 3     even x, inside: v[q,0] + v[q-1,2]; the first: v[0,0]; the last: v[n-1,2];
                                       odd x: v[q,1]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product

from ...plan.kernels import Map
from ...plan.places import Part, Place, View
from ...plan.quantities import Apply, Count, Load, Number, Position, Reach, Reduced, Value
from ...plan.views import Row, plain
from .lowering import Task
from .names import indices_in

MOST = 40  # pieces of a task

Span = tuple[int, int]
Forms = Mapping[str, Row]  # indices in terms of others


@dataclass(frozen=True)
class Piece:
    """A run of positions along an axis that get the same taps: how the old indices and the axis follow from the new."""

    forms: tuple[tuple[str, Row], ...]
    axis: Row
    extents: tuple[tuple[str, Span], ...]
    tap: str


def pieces(work: Task) -> list[Task] | None:
    """The tasks; None where they are not found, or too many."""
    if not isinstance(work.kernel, Map) or work.op not in ("+=", "-=") or not isinstance(work.place, View):
        return None
    ends = dict(work.extents)
    used = [i for row in work.place.rows for i, _ in row.coefs]
    axes: list[list[Piece | None]] = []
    for number, row in enumerate(work.place.rows):
        if len(row.coefs) < 2:
            axes.append([None])
            continue
        if len(row.coefs) > 2 or any(used.count(i) > 1 for i, _ in row.coefs):
            return None
        found = list(_along(row, ends, f"q{number}", f"w{number}"))
        if not found:
            return None
        axes.append([*found])
    count = 1
    for axis in axes:
        count *= len(axis)
    if count > MOST:
        return None
    made = [_made(work, work.kernel.value, chosen) for chosen in product(*axes)]
    return None if any(m is None for m in made) else [m for m in made if m is not None]


def _along(row: Row, ends: Mapping[str, Span], position: str, tap: str) -> Iterator[Piece]:
    """The pieces of an axis that two indices run through."""
    (i, a), (u, b) = sorted(row.coefs, key=lambda c: ends[c[0]][0] - ends[c[0]][1])
    if a < 1 or b < 1 or (a > 1 and b > 1):
        return
    (first, last), (low, high) = ends[i], ends[u]
    for rest in range(a):  # positions a*q + const + rest; there u is rest + a*w (or w itself), i is q - b*w
        taps = (-(-(low - rest) // a), -(-(high - rest) // a)) if a > 1 else (low, high)
        if taps[0] >= taps[1]:
            continue
        by = 1 if a > 1 else b
        begin, end = first + by * taps[0], last - 1 + by * (taps[1] - 1)
        own = [(q, _inside(q, by, (first, last), taps)) for q in range(begin, end + 1)]
        for (lo, hi), run in groupby(own, key=lambda p: p[1]):
            if lo >= hi:
                continue
            qs = [q for q, _ in run]
            forms = ((i, Row(0, ((position, 1), (tap, -by)))), (u, Row(rest, ((tap, a),))))
            extents = ((position, (qs[0], qs[-1] + 1)), (tap, (lo, hi)))
            yield Piece(forms, Row(row.const + rest, ((position, a),)), extents, tap)


def _inside(q: int, by: int, span: Span, taps: Span) -> Span:
    """The taps w for which q - by*w is inside of a span."""
    return max(taps[0], -(-(q - span[1] + 1) // by)), min(taps[1], (q - span[0]) // by + 1)


def _made(work: Task, value: Value, chosen: Sequence[Piece | None]) -> Task | None:
    """The task of one piece along each axis."""
    place = work.place
    assert isinstance(place, View)
    forms = {i: row for p in chosen if p is not None for i, row in p.forms}
    ends = dict(work.extents)
    inner = _value(value, forms, ends)
    if inner is None:
        return None
    over = tuple(p.tap for p in chosen if p is not None)
    if not {*over} <= {*indices_in(inner)}:  # a sum over what a value lacks is the value, not so many times
        return None
    left = tuple(t for t in work.taps if t not in forms)
    rows = tuple(row if p is None else p.axis for row, p in zip(place.rows, chosen, strict=True))
    extents = (
        *((i, e) for i, e in work.extents if i not in forms),
        *(e for p in chosen if p is not None for e in p.extents),
    )
    return Task(View(place.buffer, rows), work.op, Map(Reduced("sum", inner, over)), extents, left)


def _value(value: Value, forms: Forms, ends: Mapping[str, Span]) -> Value | None:
    """A value in terms of other indices."""
    match value:
        case Number():
            return value
        case Position(index, dtype):
            return _position(forms[index], dtype) if index in forms else value
        case Count(over) | Reduced(over=over) if {*over} & {*forms}:
            return None
        case Count() | Reach():
            return None if isinstance(value, Reach) else value
        case Load(place, dtype, at):
            new = _place(place, forms, ends)
            return None if at or new is None else Load(new, dtype)
        case Apply(fn, args, dtype):
            found = [_value(a, forms, ends) for a in args]
            return None if any(f is None for f in found) else Apply(fn, tuple(f for f in found if f is not None), dtype)
        case Reduced(op, inner, over):
            body = _value(inner, forms, ends)
            return None if body is None else Reduced(op, body, over)


def _position(row: Row, dtype: str) -> Value:
    found: Value = Number(row.const, dtype)
    for i, coef in row.coefs:
        one = Apply("mul", (Position(i, dtype), Number(coef, dtype)), dtype)
        found = Apply("add", (found, one), dtype)
    return found


def _place(place: Place, forms: Forms, ends: Mapping[str, Span]) -> Place | None:
    if isinstance(place, Part):
        if not {*place.indices} & {*forms}:
            return place
        place = View(place.buffer, tuple(plain(i).shifted(-ends[i][0]) for i in place.indices))
    rows = []
    for row in place.rows:
        found = Row(row.const, ())
        for i, coef in row.coefs:
            found = _plus(found, forms.get(i, plain(i)), coef)
        rows.append(found)
    return View(place.buffer, tuple(rows))


def _plus(a: Row, b: Row, by: int) -> Row:
    coefs = dict(a.coefs)
    for i, coef in b.coefs:
        coefs[i] = coefs.get(i, 0) + by * coef
    return Row(a.const + by * b.const, tuple((i, c) for i, c in coefs.items() if c))
