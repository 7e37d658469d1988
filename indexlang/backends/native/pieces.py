"""Values that several points add to an element, as sums at the element: piece by piece, where the same points do.

In: a `Task` with taps. Out: tasks of which each goes through elements of its own and sums what they get. The one rule:
what is summed at an element are just the points that are there: all of a box in a piece inside, those between two
limits at a border, so that nothing need be asked of each, and nothing outside of an array is read.

    x[i+u] += v[i,u]    with u < 3     inside: v[q,0] + v[q-1,1] + v[q-2,2]; before and after: u from q-n+1 to below q+1
    x[2*i+u] += v[i,u]  with u < 3     even x: v[q-w,2*w] with w from q-n+1 to below q+1; odd x: v[q,1]

Every piece is code to be made. So there is none inside where it would not be much faster than limits are: for few taps,
and where a tap is a sum of its own. Vectors do not lie along what has limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from ...plan.kernels import Map
from ...plan.places import Part, Place, View
from ...plan.quantities import Apply, Count, Load, Number, Position, Reach, Reduced, Value
from ...plan.views import Row, plain
from .lowering import Task
from .names import indices_in
from .nodes import Limit

MOST = 40  # pieces of a task
FEW = 2  # taps that are as fast with limits

Span = tuple[int, int]
Forms = Mapping[str, Row]  # indices in terms of others


@dataclass(frozen=True)
class Piece:
    """A run of positions along an axis that get the same taps, or some of them by a limit: how the old indices and the
    axis follow from the new.
    """

    forms: tuple[tuple[str, Row], ...]
    axis: Row
    extents: tuple[tuple[str, Span], ...]
    tap: str
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True)
class Class:
    """Positions along an axis in `runs`, and all of them as one piece, where there is such a one."""

    runs: tuple[Piece, ...]
    whole: Piece | None


def pieces(work: Task) -> list[Task] | None:
    """The tasks; None where they are not found, or too many."""
    if not isinstance(work.kernel, Map) or work.op not in ("+=", "-=") or not isinstance(work.place, View):
        return None
    ends = dict(work.extents)
    used = [i for row in work.place.rows for i, _ in row.coefs]
    lanes = max((k for k, n in enumerate(work.place.buffer.shape) if n > 1), default=0)
    axes: dict[int, list[Class]] = {}
    for number, row in enumerate(work.place.rows):
        if len(row.coefs) < 2 or _apart(row, ends):
            continue
        if len(row.coefs) > 2 or any(used.count(i) > 1 for i, _ in row.coefs):
            return None
        found = list(_along(row, ends, number, number != lanes))
        if not found:
            return None
        axes[number] = found
    light = not any(isinstance(v, Reduced) for v in _parts(work.kernel.value))
    chosen = list(_chosen([*axes.values()], light))
    if len(chosen) > MOST:
        return None
    made = [_made(work, work.kernel.value, dict(zip(axes, some, strict=True))) for some in chosen]
    return None if any(m is None for m in made) else [m for m in made if m is not None]


def _apart(row: Row, ends: Mapping[str, Span]) -> bool:
    """Whether two indices of a row meet in no position: one steps over all of the other."""
    if len(row.coefs) != 2:
        return False
    (_, a), (u, b) = sorted(row.coefs, key=lambda c: -abs(c[1]))
    return abs(b) * (ends[u][1] - ends[u][0] - 1) < abs(a)


def _chosen(axes: Sequence[Sequence[Class]], light: bool, border: bool = False) -> Iterator[tuple[Piece, ...]]:
    """A piece along each axis, so that together they are all positions; at a border the other axes are as they are."""
    if not axes:
        yield ()
        return
    for one in axes[0]:
        taps = max((hi - lo for p in one.runs for i, (lo, hi) in p.extents if i == p.tap), default=0)
        plain = one.whole is not None and (border or not light or taps <= FEW)
        for piece in (one.whole,) if plain else one.runs:
            assert piece is not None
            for rest in _chosen(axes[1:], light, border or bool(piece.limits)):
                yield (piece, *rest)


def _along(row: Row, ends: Mapping[str, Span], number: int, beside: bool) -> Iterator[Class]:
    """The positions of an axis that two indices run through, class by class; `beside`: vectors lie along another."""
    (i, a), (u, b) = sorted(row.coefs, key=lambda c: ends[c[0]][0] - ends[c[0]][1])
    if a < 1 or b < 1 or (a > 1 and b > 1):
        return
    position, tap = f"q{number}", f"w{number}"
    (first, last), (low, high) = ends[i], ends[u]
    for rest in range(a):  # positions a*q + const + rest; there u is rest + a*w (or w itself), i is q - b*w
        taps = (-(-(low - rest) // a), -(-(high - rest) // a)) if a > 1 else (low, high)
        if taps[0] >= taps[1]:
            continue
        by = 1 if a > 1 else b
        begin, end = first + by * taps[0], last - 1 + by * (taps[1] - 1)
        own = [(q, _inside(q, by, (first, last), taps)) for q in range(begin, end + 1)]
        forms = ((i, Row(0, ((position, 1), (tap, -by)))), (u, Row(rest, ((tap, a),))))
        base = Piece(forms, Row(row.const + rest, ((position, a),)), (), tap)
        if by > 1:  # taps do not go in steps of one with the positions
            runs = [list(run) for (lo, hi), run in groupby(own, key=lambda p: p[1]) if lo < hi]
            yield Class(tuple(_run(base, position, run, ends[i]) for run in runs), None)
            continue
        inside = [k for k, (_, span) in enumerate(own) if span == taps]
        cuts = [0, inside[0], inside[-1] + 1, len(own)] if inside else [0, len(own)]
        runs = [own[lo:hi] for lo, hi in pairwise(cuts) if lo < hi]
        whole = _run(base, position, own, ends[i]) if beside else None
        yield Class(tuple(_run(base, position, run, ends[i]) for run in runs), whole)


def _run(base: Piece, position: str, own: Sequence[tuple[int, Span]], span: Span) -> Piece:
    """Positions that follow each other as a piece, with limits where they have not the same taps."""
    lo, hi = min(taps[0] for _, taps in own), max(taps[1] for _, taps in own)
    at, (first, last) = own[0][0], span
    limit = Limit(base.tap, position, at - last + 1 - lo, at - first + 1 - lo)
    limits = () if all(taps == (lo, hi) for _, taps in own) else (limit,)
    return replace(base, extents=((position, (at, own[-1][0] + 1)), (base.tap, (lo, hi))), limits=limits)


def _parts(value: Value) -> Iterator[Value]:
    """A value, and all in it."""
    yield value
    match value:
        case Apply(args=args):
            for a in args:
                yield from _parts(a)
        case Reduced(value=inner):
            yield from _parts(inner)
        case _:
            pass


def _inside(q: int, by: int, span: Span, taps: Span) -> Span:
    """The taps w for which q - by*w is inside of a span."""
    return max(taps[0], -(-(q - span[1] + 1) // by)), min(taps[1], (q - span[0]) // by + 1)


def _made(work: Task, value: Value, pieces: Mapping[int, Piece]) -> Task | None:
    """The task of one piece along each axis."""
    place = work.place
    assert isinstance(place, View)
    chosen = list(pieces.values())
    forms = {i: row for p in chosen for i, row in p.forms}
    ends = dict(work.extents)
    inner = in_terms(value, forms, ends)
    if inner is None:
        return None
    over = tuple(p.tap for p in chosen)
    if not {*over} <= {*indices_in(inner)}:  # a sum over what a value lacks is the value, not so many times
        return None
    left = tuple(t for t in work.taps if t not in forms)
    rows = tuple(pieces[k].axis if k in pieces else row for k, row in enumerate(place.rows))
    extents = (*((i, e) for i, e in work.extents if i not in forms), *(e for p in chosen for e in p.extents))
    limits = tuple(limit for p in chosen for limit in p.limits)
    return Task(View(place.buffer, rows), work.op, Map(Reduced("sum", inner, over)), extents, left, limits=limits)


def in_terms(value: Value, forms: Forms, ends: Mapping[str, Span]) -> Value | None:
    """A value in terms of other indices; None where it cannot be said. `ends` are those of the old ones."""
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
            found = [in_terms(a, forms, ends) for a in args]
            return None if any(f is None for f in found) else Apply(fn, tuple(f for f in found if f is not None), dtype)
        case Reduced(op, inner, over):
            body = in_terms(inner, forms, ends)
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
