"""Over what a statement sums: terms that do not have an index that is summed.

In: a statement of a resolved body. Out: an error where a term of its sum lacks an index, a doubt where a sum inside
comes late. The one rule: what is told shows the ways to write it, and each of them means one thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..program.algebra import sum_of, terms_of
from ..program.ir import (
    DOTS,
    Access,
    Call,
    Domain,
    Expr,
    Index,
    Reduce,
    Statement,
    indices_of,
    primal_of,
    reads,
    statement,
    steps_of,
    tensors_in,
    walk,
)
from ..program.text import Names, expr_text, statement_text
from .late import lacking, late_sums, shown_at, summed
from .report import Report

_LONGEST = 200  # characters of an expression that is shown


def check_sums(report: Report, stmts: Sequence[Statement], names: Names) -> None:
    """All statements of a body. Derived ones sum as their forward statements do: of gradients nothing is told."""
    derived = any(primal_of(tensor) is not None for stmt in stmts for tensor in tensors_in(stmt))
    for stmt in stmts:
        if (
            stmt.op in ("=", "+=")
            and {*stmt.reduced} - {*steps_of(stmt)}
            and _in_scope(report, stmt, names)
            and not derived
        ):
            _doubt(report, stmt, names)


def _in_scope(report: Report, stmt: Statement, names: Names) -> bool:
    """No term of a sum lacks an index over which the statement sums: it would be counted once for each value of it."""
    terms = terms_of(stmt.value)
    over = [i for i in stmt.reduced if i not in steps_of(stmt)]
    missing = [[i for i in over if i not in set(indices_of(term))] for _, term in terms]
    number = next((k for k, indices in enumerate(missing) if indices), None)
    if len(terms) < 2 or number is None:
        return True
    term, index = terms[number][1], missing[number][0]
    if index == DOTS:
        rule = "the statement sums over the axes of '...', but one of its terms does not have them"
    else:
        rule = f"the statement sums over '{index}', but one of its terms does not have it"
    shown = expr_text(term, names)
    values = f"{shown} would be counted once for each value of {index}"
    report.add("scope", rule, term.span or stmt.span, values, way_out=_ways_out(stmt, terms, missing, names))
    return False


def _ways_out(stmt: Statement, terms: list[tuple[int, Expr]], missing: list[list[str]], names: Names) -> str:
    """The statement as several, and with the sum written out, in its own words; all of them mean the same.

    A condition goes with each term that has the indices of it that are summed; one that no term can say is left out.
    """
    groups: dict[tuple[str, ...], list[tuple[int, Expr]]] = {}
    for term, lacked in sorted(zip(terms, missing, strict=True), key=lambda pair: bool(pair[1])):  # a sum of all first
        groups.setdefault(tuple(i for i in stmt.reduced if i not in lacked), []).append(term)
    ways: list[str] = []
    inside = indices_of(stmt.target)
    behind = [
        i for s in stmt.target.subscripts if not isinstance(s, Index) for i in indices_of(s)
    ]  # no shape says them
    first = next((over for over, group in groups.items() if _says(stmt, group, inside)), None)
    if DOTS in stmt.reduced or (first is not None and all(_says(stmt, group, behind) for group in groups.values())):
        order = sorted(groups, key=lambda over: over != first)
        statements = "; ".join(
            _told(stmt, stmt.op if n == 0 else "+=", _sum(groups[over]), [over], names) for n, over in enumerate(order)
        )
        ways.append(f"two statements, {statements}" if len(groups) == 2 else f"a statement for each, {statements}")
    if DOTS not in stmt.reduced:
        inner = [(sign, late_sums(term, stmt.reduced)[1]) for sign, term in terms]
        first_inside = _explicit(inner, stmt.reduced)
        if inner != terms and _all_said(stmt, first_inside):
            ways.insert(0, f"the inner sum first, {_told(stmt, stmt.op, first_inside, [stmt.reduced], names)}")
        ways.append(f"an explicit sum, {_told(stmt, stmt.op, _explicit(terms, stmt.reduced), [*groups], names)}")
    return "; or ".join(ways)


def _says(stmt: Statement, group: Sequence[tuple[int, Expr]], indices: Iterable[str]) -> bool:
    """Whether the terms alone say how far the indices run: what is read by them, or a range."""
    known = {i for _, term in group for access in walk(term) if isinstance(access, Access) for i in indices_of(access)}
    return {*known, *(r.index for r in stmt.domain.ranges if r.hi is not None)}.issuperset(indices)


def _told(stmt: Statement, op: str, value: Expr, sums: Sequence[tuple[str, ...]], names: Names) -> str:
    """A statement of some of the terms, under the conditions that indices of the target and one of the sums can say."""
    indices = {*indices_of(stmt.target), *(i for over in sums for i in over)}
    masks = (m for m in stmt.domain.masks if _can_say(m, stmt.reduced, sums))
    ranges = (r for r in stmt.domain.ranges if r.index in indices)
    return statement_text(statement(stmt.target, op, value, tuple(ranges), tuple(masks), None, stmt.block), names)


def _all_said(stmt: Statement, value: Expr) -> bool:
    """Whether each condition has a reduction in the value that has all of its indices that are summed."""
    sums = [part.domain.indices for part in walk(value) if isinstance(part, Reduce)]
    own = [i for i in stmt.reduced if any(i in over for over in sums)]
    return all(_can_say(mask, own, [(), *sums]) for mask in stmt.domain.masks)


def _can_say(mask: Expr, reduced: Sequence[str], sums: Sequence[tuple[str, ...]]) -> bool:
    wanted = set(indices_of(mask)).intersection(reduced)
    return any(wanted.issubset(over) for over in sums)


def _explicit(terms: Sequence[tuple[int, Expr]], reduced: Sequence[str]) -> Expr:
    """The terms, each summed over what it has of the indices."""
    shown: list[tuple[int, Expr]] = []
    for sign, term in terms:
        over = tuple(i for i in reduced if i in indices_of(term))
        shown.append((sign, Reduce("sum", Domain(over), term) if over else term))
    return _sum(shown)


def _sum(terms: Sequence[tuple[int, Expr]]) -> Expr:
    """The terms one after the other, a sign before the first one as one writes it: -m*t, not -(m*t)."""
    (sign, term), *others = terms
    return sum_of([(1, term if sign > 0 else _negated(term)), *others])


def _negated(term: Expr) -> Expr:
    match term:
        case Call("mul" | "div" as fn, (first, second)):
            return Call(fn, (_negated(first), second))
        case _:
            return Call("neg", (term,))


# -- sums inside --------------------------------------------------------------------------------------


def _doubt(report: Report, stmt: Statement, names: Names) -> None:
    """A sum inside, which the statement takes last, was mostly meant to come first."""
    terms = terms_of(stmt.value)
    found = [late_sums(term, stmt.reduced) for _, term in terms]
    over = tuple(i for i in stmt.reduced if any(i in late for late, _ in found))
    if not over:
        return
    value = sum_of([(sign, first) for (sign, _), (_, first) in zip(terms, found, strict=True)])
    (around, late), *_ = ((term, late) for (_, term), (late, _) in zip(terms, found, strict=True) if late)
    places = {i: shown_at(around, i) for i in late}
    lone = _lone(places)
    text = expr_text(around, names)
    report.doubt(
        "late-sum",
        f"the statement sums over {_and(map(repr, late))} last, after {_before(lone, late)}",
        next(iter((*lone, *places.values()))).span or stmt.span,
        f"{text if len(text) < _LONGEST else 'the right side'} is summed over {_and(late)}",
        *(f"{expr_text(t, names)} counts once for each value of {_and(missing)}" for t, missing in lone.items()),
        way_out=f"say which sum is meant, {_both(stmt, value, over, names)}",
    )


def _and(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _lone(places: dict[str, Expr]) -> dict[Expr, list[str]]:
    """The terms that lack the indices at their places, as few as can be."""
    found: dict[Expr, list[str]] = {}
    for index, place in places.items():
        others = lacking([t for _, t in terms_of(place)], index)
        if others:
            most = max(others, key=lambda t: (reads(t), sum(i not in indices_of(t) for i in places)))
            found.setdefault(most, []).append(index)
    return found


def _before(lone: dict[Expr, list[str]], late: Sequence[str]) -> str:
    """What is done before the sum."""
    if not lone:
        return "a function of products"
    if [*late] in lone.values():
        return f"a sum of which one term lacks {'it' if len(late) == 1 else 'them'}"
    return "sums of which a term lacks one of them"


def _both(stmt: Statement, value: Expr, over: tuple[str, ...], names: Names) -> str:
    """The statement with its inner sums first, and with all of it summed."""
    for i in over:
        value = summed(value, i)
    whole = Reduce("sum", Domain(over), stmt.value)
    if len(expr_text(whole, names)) > _LONGEST or not _all_said(stmt, value):
        return f"by sum[{','.join(over)}](...) around the terms inside, or around the whole right side"
    inner, outer = (_told(stmt, stmt.op, v, [stmt.reduced], names) for v in (value, whole))
    return f"the inner one first, {inner}; or the outer one, {outer}"
