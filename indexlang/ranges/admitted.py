"""The extremes of a form over the points of a box that conditions admit, and how far conditions let an index run.

In: a form, the bounds of indices, margins: forms that are not negative where conditions hold. Out: a form of sizes, or
None where these do not tell. The one rule: a margin takes the place of an index, inner ones first or last, whichever
gives less; that a box is empty is no reason to give more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from ..program.affine import Affine, floordiv, greatest, least, not_negative
from ..program.conditions import margins
from ..program.facts import kept
from ..program.ir import Call, Const, Expr, Index, Statement, blocks_of, indices_of
from .forms import Box, Sizes

MOST = 100  # forms that are compared


def margins_of(masks: Iterable[Expr], sizes: Sizes) -> tuple[Affine, ...]:
    """What is not negative where all masks hold."""
    return tuple(dict.fromkeys([sizes.canonical(m) for mask in masks for form in margins(mask) for m in _plain(form)]))


def _plain(form: Affine) -> Iterator[Affine]:
    """A form, and others that are negative nowhere but where it is, without what rounds or chooses in it."""
    yield form
    for atom, times in form.terms:
        rest = form - Affine(0, ((atom, times),))
        match atom:
            case Call(fn="floordiv", args=(a, Const(value=m))) if type(m) is int and m > 0 and indices_of(a):
                whole = Affine.from_expr(a) - (0 if times > 0 else m - 1)
                yield from _plain(rest * m + whole * times)
            case Call(fn="min" | "max" as fn, args=args) if (fn == "min") == (times > 0):
                for a in args:
                    yield from _plain(rest + Affine.from_expr(a) * times)
            case _:
                pass


@kept
def ended_by_line(stmt: Statement) -> Mapping[str, tuple[Expr, ...]]:
    """The indices of blocks that end where an outer step says, `for j < i`, with the conditions of their lines."""
    found: dict[str, tuple[Expr, ...]] = {}
    for block in blocks_of(stmt):
        for i in block.indices:
            masks = tuple(m for m in block.masks if any(_end(form, i) is not None for form in margins(m)))
            if masks:
                found[i] = masks
    return found


def line_conditions(stmt: Statement) -> tuple[Expr, ...]:
    """What the lines of a statement's blocks say beside ranges."""
    return tuple(m for block in blocks_of(stmt) for m in block.masks)


def end(masks: Iterable[Expr], index: str, box: Box, sizes: Sizes) -> Affine | None:
    """Below what an index stays by conditions, for all values of the others."""
    found = []
    for margin in margins_of(masks, sizes):
        coefficient = _end(margin, index)
        if coefficient is not None:
            rest = margin + Affine(0, ((Index(index), coefficient),))
            most = box.extreme(rest, 1)
            if most is not None:
                found.append(floordiv(most, Affine(coefficient)) + 1)
    return least(*found) if found else None


def _end(margin: Affine, index: str) -> int | None:
    """How often an index is taken away in a margin that says where it ends."""
    coefficient = margin.coefficient(index)
    return -coefficient.const if coefficient.is_constant and coefficient.const < 0 else None


def extreme(box: Box, form: Affine, sign: int, given: Sequence[Affine]) -> Affine | None:
    """The greatest (sign 1) or least (-1) value of a form where no margin is negative; None where data decide."""
    plain = box.extreme(form, sign)
    if not given or not form.indices:
        return plain
    found = dict.fromkeys(c for f in _forms(form * sign, given) if (c := box.extreme(f, 1)) is not None)
    if not found:
        return None
    best = _best([*found], _counts(box, [form, *given]))
    return least(*best) if sign > 0 else greatest(*[-b for b in best])


def _forms(form: Affine, given: Sequence[Affine]) -> list[Affine]:
    """Forms that are nowhere less: with margins added, so that indices drop out, those of few margins first."""
    found: dict[Affine, Sequence[Affine]] = {form: given}
    for one in _growing(found):
        left = found[one]
        for k, margin in enumerate(left):
            for times in sorted({t for i in margin.indices if (t := _times(one, margin, i))}):
                found.setdefault(one + margin * times, (*left[:k], *left[k + 1 :]))
    return list(found)


def _growing(found: Mapping[Affine, object]) -> Iterator[Affine]:
    """The forms one by one, also those that come meanwhile, until there are many."""
    number = 0
    while number < len(found) < MOST:
        yield [*found][number]
        number += 1


def _times(form: Affine, margin: Affine, index: str) -> int:
    """How often a margin takes an index away from a form; 0 if it does not."""
    have, taken = form.coefficient(index), margin.coefficient(index)
    if not (have.is_constant and taken.is_constant) or have.const * taken.const >= 0 or have.const % taken.const:
        return 0
    return -(have.const // taken.const)


def _counts(box: Box, forms: Iterable[Affine]) -> list[Affine]:
    """What is not negative of a box with points: one less than the number of values of each index."""
    names = dict.fromkeys(i for f in forms for i in f.indices if i in box.high)
    counts = (box.high[i] - 1 - box.low[i] for i in names)
    return list(dict.fromkeys(c for c in counts if not c.indices and not c.is_constant))


def _best(found: Sequence[Affine], counts: Sequence[Affine]) -> list[Affine]:
    """The forms that no other one is below, in a box with points."""
    kept_: list[Affine] = []
    for form in found:
        if any(_is_above(form, other, counts) for other in kept_):
            continue
        kept_ = [other for other in kept_ if not _is_above(other, form, counts)]
        kept_.append(form)
    return kept_


def _is_above(form: Affine, other: Affine, counts: Sequence[Affine]) -> bool:
    """Whether a form is nowhere below another one."""
    gap = form - other
    if not_negative(gap) or any(not_negative(gap - one) for one in counts):
        return True
    return any(not_negative(gap - one - two) for one, two in combinations(counts, 2))
