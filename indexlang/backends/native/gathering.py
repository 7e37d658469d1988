"""Sums that meet in an element, solved for the element: a gradient of a window as a sum over its taps.

In: a `Contraction` and the rows of its target. Out: contractions of which each goes to elements of its own. The one
rule: the same products are summed into the same elements; where a position would leave an operand, a bound says so.

    x[p] += y[i] * W[u] with p = i + u          x[p] = sum over u of y[p-u] * W[u] where 0 <= p-u < n
    x[p] += y[i] * W[u] with p = 2*i + u        the same for even and for odd p: u = 2*w + e, p = 2*q + e, i = q - w
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from ...plan.views import Row
from .contraction import Contraction, Operand
from .nest import Form
from .normal_form import serial

MOST = 16  # classes of positions, each a contraction of its own


@dataclass(frozen=True)
class Change:
    """Indices in terms of others, `by` forms; how far the new ones run; the bounds of the old ones."""

    by: Mapping[str, Form]
    extents: tuple[tuple[str, int], ...]
    bounds: tuple[Form, ...]


def gathered(c: Contraction, rows: Sequence[Row], shape: Sequence[int]) -> list[Contraction] | None:
    """Contractions whose targets no two points share; None where the rows are not solved.

    `rows` say the position in each axis of the target, its indices counted from 0.
    """
    sizes = dict(c.extents)
    found = [c]
    used = [i for row in rows for i, _ in row.coefs]
    for axis, (row, size) in enumerate(zip(rows, shape, strict=True)):
        moving = [(i, k) for i, k in row.coefs if sizes[i] > 1]
        if len(moving) < 2 or _digits(moving, sizes, size):
            continue
        if any(used.count(i) > 1 for i, _ in moving):
            return None
        changes = _changes(replace(row, coefs=tuple(moving)), size, sizes, f"p{axis}", f"w{axis}")
        if changes is None or len(found) * len(changes) > MOST:
            return None
        found = [_changed(one, change) for one in found for change in changes]
    return found


def _digits(moving: Sequence[tuple[str, int]], sizes: Mapping[str, int], size: int) -> bool:
    """Whether indices are the digits of the position: each element has one point, and none has no point."""
    return prod(sizes[i] for i, _ in moving) == size and not serial([(i, k, sizes[i]) for i, k in moving])


def _changes(row: Row, size: int, sizes: Mapping[str, int], position: str, tap: str) -> list[Change] | None:
    """The ways to say the indices of a row by the position in the axis, one for each class of positions."""
    index, coef = max(row.coefs, key=lambda c: (sizes[c[0]], abs(c[1])))
    others = [c for c in row.coefs if c[0] != index]
    n = sizes[index]
    if abs(coef) == 1:
        own = Form(-row.const, ((position, 1), *((i, -k) for i, k in others))) * coef
        keep = tuple((i, sizes[i]) for i, _ in others)
        return [Change({index: own}, ((position, size), *keep), (own, own * -1 + (n - 1)))]
    if len(others) != 1 or others[0][1] != 1 or coef < 0:
        return None
    ((other, _),) = others
    found = []
    for rest in range(coef):
        first = -((row.const + rest) // coef)  # the least q at which the position is not negative
        last = (size - 1 - row.const - rest) // coef
        taps = -(-(sizes[other] - rest) // coef)
        own = Form(first, ((position, 1), (tap, -1)))
        by = {index: own, other: Form(rest, ((tap, coef),))}
        extents = ((position, max(0, last - first + 1)), (tap, max(0, taps)))
        found.append(Change(by, extents, (own, own * -1 + (n - 1))))
    return found


def _changed(c: Contraction, change: Change) -> Contraction:
    """A contraction over other indices."""
    new = {i for i, _ in change.extents}
    extents = (*((i, n) for i, n in c.extents if i not in change.by and i not in new), *change.extents)
    target = _operand(c.target, change)
    moved = {i for i, _ in target.strides}
    bounds = (*(_form(b, change) for b in c.bounds), *change.bounds)
    reduced = tuple(i for i, _ in extents if i not in moved)
    left, right = _operand(c.left, change), _operand(c.right, change)
    steps = tuple(
        replace(s, args=tuple(_operand(a, change) if isinstance(a, Operand) else a for a in s.args)) for s in c.epilogue
    )
    results = tuple((name, _operand(o, change)) for name, o in c.results)
    c = replace(c, extents=extents, reduced=reduced, left=left, right=right, target=target, bounds=bounds)
    return replace(c, epilogue=steps, results=results)


def _operand(o: Operand, change: Change) -> Operand:
    form = _form(Form(o.offset, o.strides), change)
    return replace(o, offset=form.const, strides=form.terms)


def _form(of: Form, change: Change) -> Form:
    found = Form(of.const)
    for i, coef in of.terms:
        found = found + (change.by[i] * coef if i in change.by else Form(0, ((i, coef),)))
    return found
