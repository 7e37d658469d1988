"""Whether a subscript stays inside of its axis at every point that is really used, all sizes known.

In: a subscript as an affine form of indices, the box that they run through, the masks in force. Out: proof, a point
at which it leaves, or that only the data can tell. The one rule: nothing is inside unless it was shown to be: by
intervals; under masks by eliminating indices (Fourier and Motzkin), or point by point where there are few points.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto
from math import gcd, prod

from ..program.affine import Affine, Sizes
from ..program.conditions import comparisons, margins, value_at
from ..program.ir import Access, Boundary, Call, Const, Expr, Index, Size, indices_of, reads, walk
from ..program.text import expr_text
from ..ranges.uses import Use

Box = Mapping[str, tuple[int, int]]  # lo <= index < hi
MOST_POINTS = 100_000  # that are looked at one by one


class Unknown(Enum):
    """Answers other than a point: it is inside, or only a check at run time can tell."""

    INSIDE = auto()
    AT_RUN_TIME = auto()


def way_back(use: Use, position: int, names: Mapping[Expr, str]) -> str:
    """What to write where a subscript leaves its axis at this position."""
    match use.subscript:
        case Boundary(kind="pad", expr=e, lo=lo) if lo is not None and position < 0:
            way, width = "with a width, positions count from where the padding begins", Affine.from_expr(lo)
            if width.is_constant and width.const + position < 0:
                return f"{way}: shift the subscript by {-position}, and make the padding as wide as is meant"
            moved = replace(use.subscript, expr=(Affine.from_expr(e) + width).to_expr())
            return f"{way}: write {expr_text(Access('', (moved,)), names)[1:-1]}"
        case Boundary(kind="pad"):
            return "make the padding wider, or say a range: where ... < ..."
        case _:
            pass
    if position < 0:
        return "say pad(...) or wrap(...), shift the subscript, or say where the index starts"
    return "say pad(...), or a range: where ... < ..."


def leaves(
    form: Affine, end: int, box: Box, masks: Sequence[Expr], sizes: Sizes
) -> Unknown | tuple[int, Mapping[str, int]]:
    """A position outside of 0..end-1 with the point that has it, or what else is known. `form` has no sizes."""
    if any(box[i][0] >= box[i][1] for i in form.indices):
        return Unknown.INSIDE
    match form.terms:
        case ((Call(fn="floordiv", args=(a, Const(value=int(m)))), 1),) if m > 0:  # a + c*m in an axis m times as long
            found = leaves(Affine.from_expr(a) + form.const * m, end * m, box, masks, sizes)
            return (found[0] // m, found[1]) if isinstance(found, tuple) else found
    reach = interval(form, box)
    if reach is None:
        return Unknown.AT_RUN_TIME
    low, high = reach
    if low >= 0 and high < end:
        return Unknown.INSIDE
    static = [m for m in masks if not reads(m)]
    if _excluded(form, end, box, static, sizes):
        return Unknown.INSIDE
    if not masks and form.is_linear:
        return _corner(form, box, high >= end)
    found = _search(form, end, box, static, sizes)
    return Unknown.AT_RUN_TIME if isinstance(found, tuple) and len(static) < len(masks) else found


def interval(form: Affine, box: Box) -> tuple[int, int] | None:
    """Least and greatest value over a box that is not empty, or bounds of them; None where data decide."""
    low = high = form.const
    for atom, coef in form.terms:
        part = _atom(atom, box)
        if part is None:
            return None
        ends = (coef * part[0], coef * part[1])
        low, high = low + min(ends), high + max(ends)
    return low, high


def _atom(atom: Expr, box: Box) -> tuple[int, int] | None:
    match atom:
        case Index(name=i):
            return box[i][0], box[i][1] - 1
        case Call(fn="floordiv" | "mod" | "min" | "max" as fn, args=(a, b)):
            left, right = interval(Affine.from_expr(a), box), interval(Affine.from_expr(b), box)
            if left is None or right is None:
                return None
            if fn == "min":
                return min(left[0], right[0]), min(left[1], right[1])
            if fn == "max":
                return max(left[0], right[0]), max(left[1], right[1])
            by = right[0]
            if right[1] != by or by <= 0:
                return None
            if fn == "floordiv":
                return left[0] // by, left[1] // by
            same = left[0] // by == left[1] // by
            return (left[0] % by, left[1] % by) if same else (0, by - 1)
        case _:
            return None


def _corner(form: Affine, box: Box, above: bool) -> tuple[int, Mapping[str, int]]:
    """The greatest or least position of a linear form, and its point."""
    point = {}
    for i in form.indices:
        lo, hi = box[i]
        point[i] = hi - 1 if (form.coefficient(i).const > 0) == above else lo
    return form.value({}, point), point


def stays_by(expr: Expr, end: int, masks: Iterable[Expr]) -> bool:
    """Whether masks say of a position of data that it lies in 0..end-1: it is compared with both ends as it stands.

    A remainder does so by itself.
    """
    form = Affine.from_expr(expr)
    match form:
        case Affine(const=0, terms=((Call(fn="mod", args=(_, Const(value=int(by)))), 1),)) if 0 < by <= end:
            return True
    if [abs(c) for atom, c in form.terms if reads(atom)] != [1]:  # what does not stay in 64 bits is outside, too
        return False
    low = high = False
    for fn, a, b in (found for mask in masks for found in comparisons(mask)):
        margin = Affine.from_expr(b) - Affine.from_expr(a)
        margin = (-margin if fn in ("gt", "ge") else margin) - (fn in ("lt", "gt"))
        above, below = margin - form, margin + form
        low = low or (above.is_constant and above.const <= 0)
        high = high or (below.is_constant and below.const < end)
    return low and high


# -- under masks -----------------------------------------------------------------------------------

Constraint = tuple[Mapping[str, int], int]  # sum of coefficient * index + constant >= 0


def _excluded(form: Affine, end: int, box: Box, masks: Iterable[Expr], sizes: Sizes) -> bool:
    """Whether no admitted point of the box lies outside of the axis, by elimination over the rationals."""
    start = _constraint(form)
    if start is None:
        return False
    base: list[Constraint] = []
    for mask in masks:
        for margin in margins(mask):
            constraint = _constraint(numeric(margin, sizes))
            if constraint is not None:
                base.append(constraint)
    if not base:
        return False
    names = {i for c, _ in (start, *base) for i in c}
    for i in names:
        lo, hi = box[i]
        base += [({i: 1}, -lo), ({i: -1}, hi - 1)]
    coefs, const = start
    above: Constraint = coefs, const - end
    below: Constraint = {i: -c for i, c in coefs.items()}, -1 - const
    return all(_impossible([*base, outside]) for outside in (above, below))


def numeric(form: Affine, sizes: Sizes) -> Affine:
    """The form with the sizes put in that are known."""
    found = {p for atom, _ in form.terms for p in walk(atom) if isinstance(p, Size) and p.tensor in sizes}
    return form.substitute({p: Affine(sizes[p.tensor][p.axis]) for p in found}) if found else form


def _constraint(form: Affine) -> Constraint | None:
    coefs = {a.name: c for a, c in form.terms if isinstance(a, Index)}
    return (coefs, form.const) if len(coefs) == len(form.terms) else None


def _impossible(constraints: list[Constraint]) -> bool:
    """Whether no integers satisfy all constraints; False may mean that it cannot tell."""
    current = {_tight(c) for c in constraints}
    names = {i for coefs, _ in current for i, _ in coefs}
    while names:
        cost = {i: _pairs(current, i) for i in names}
        index = min(names, key=lambda i: (cost[i], i))
        if cost[index] > 400:
            return False
        names.discard(index)
        ups = [c for c in current if dict(c[0]).get(index, 0) > 0]
        downs = [c for c in current if dict(c[0]).get(index, 0) < 0]
        rest = {c for c in current if index not in dict(c[0])}
        for a, b in itertools.product(ups, downs):
            p, q = dict(a[0])[index], -dict(b[0])[index]
            joined = {i: q * dict(a[0]).get(i, 0) + p * dict(b[0]).get(i, 0) for i in (*dict(a[0]), *dict(b[0]))}
            rest.add(_tight(({i: c for i, c in joined.items() if c}, q * a[1] + p * b[1])))
        current = rest
        if any(not coefs and const < 0 for coefs, const in current):
            return True
    return any(const < 0 for _, const in current)


Tight = tuple[tuple[tuple[str, int], ...], int]


def _pairs(constraints: Iterable[Tight], index: str) -> int:
    signs = [dict(c).get(index, 0) for c, _ in constraints]
    return sum(s > 0 for s in signs) * sum(s < 0 for s in signs)


def _tight(constraint: Constraint) -> Tight:
    """Divided by the common factor, the constant rounded down: indices are integers."""
    coefs, const = constraint
    by = gcd(*coefs.values()) if coefs else 1
    return tuple(sorted((i, c // by) for i, c in coefs.items())), const // by


def _search(
    form: Affine, end: int, box: Box, masks: Sequence[Expr], sizes: Sizes
) -> Unknown | tuple[int, Mapping[str, int]]:
    """Point by point, where there are few."""
    expr = form.to_expr()
    names = tuple(dict.fromkeys(i for e in (expr, *masks) for i in indices_of(e)))
    if any(i not in box for i in names) or prod(box[i][1] - box[i][0] for i in names) > MOST_POINTS:
        return Unknown.AT_RUN_TIME
    for values in itertools.product(*(range(*box[i]) for i in names)):
        point = dict(zip(names, values, strict=True))
        position = value_at(expr, point)
        if position is None:
            return Unknown.AT_RUN_TIME
        if 0 <= position < end:
            continue
        truths = [value_at(m, point, sizes) for m in masks]
        if not any(t is not None and not t for t in truths):
            return Unknown.AT_RUN_TIME if None in truths else (position, {i: point[i] for i in form.indices})
    return Unknown.INSIDE
