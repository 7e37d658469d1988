"""Products of all others up to a bound: what the gradient of a running product multiplies by.

In: a statement

    y_others[t,s] *= x[s2] where s <= t, s2 <= t, s != s2

Out: its `Others`, None if it is none. The one rule: nothing but the bound ties what is multiplied to t, and it is the
bound of s, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..program.affine import Affine
from ..program.conditions import conjuncts, margins
from ..program.facts import kept
from ..program.ir import Call, Expr, Index, Reduce, Statement, indices_of, parts_of, reads
from ..program.names import is_plain


@dataclass(frozen=True)
class Others:
    """`other` runs over all that stand with `own` within the bound `outer`: up to it if `upper`, else from it on; less
    the bound itself if `strict`. `masks` are those of the factors, `rest` those without `other`.
    """

    outer: str
    own: str
    other: str
    upper: bool
    strict: bool
    masks: tuple[Expr, ...]
    rest: tuple[Expr, ...]


@kept
def others_of(stmt: Statement) -> Others | None:
    """How a statement is a product of all others up to a bound."""
    plain = stmt.op == "*=" and is_plain(stmt.target) and len(stmt.reduced) == 1
    if not plain or any(isinstance(p, Reduce) for p in parts_of(stmt)):
        return None
    return found(stmt.reduced[0], stmt.value, stmt.domain.masks, indices_of(stmt.target))


def found(other: str, value: Expr, masks: Iterable[Expr], free: Sequence[str]) -> Others | None:
    """The same of a product over `other` alone, under these masks; `free` are the indices around it."""
    parts = [p for m in masks for p in conjuncts(m)]
    mine = [p for p in parts if other in indices_of(p)]
    rest = tuple(p for p in parts if p not in mine)
    for part in mine:
        match part:
            case Call(fn="ne", args=(Index(name=first), Index(name=second))) if (
                other in (first, second) and first != second
            ):
                own = second if first == other else first
                break
    else:
        return None
    bounds = [(p, b) for p in mine if (b := bound(p, other)) is not None and b[0] in free and b[0] != own]
    if len(bounds) != 1:
        return None
    said, (outer, upper, strict) = bounds[0]
    inside = tuple(p for p in mine if p not in (part, said))
    tied = {outer, own} & {i for e in (value, *inside) for i in indices_of(e)}
    if tied or own not in free or other not in indices_of(value):
        return None
    return Others(outer, own, other, upper, strict, inside, rest)


def bound(mask: Expr, index: str) -> tuple[str, bool, bool] | None:
    """What a mask bounds an index by: `index <= t`, or `index >= t`; whether it is the former, and strict."""
    forms = [] if reads(mask) else list(margins(mask))
    if len(forms) != 1 or (isinstance(mask, Call) and mask.fn == "eq"):
        return None
    form: Affine = forms[0]
    match sorted(form.terms, key=lambda term: term[0] != Index(index)):
        case [(Index(name=i), coef), (Index(name=t), step)] if i == index and coef == -step and abs(step) == 1:
            return (t, step == 1, form.const == -1) if form.const in (0, -1) else None
        case _:
            return None
