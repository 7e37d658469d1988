"""Over what a statement sums: terms that do not have an index that is summed.

In: a statement of a resolved body. Out: an error where a term of its sum lacks an index, a doubt where a sum inside
comes late. The one rule: what is told shows the ways to write it, and each of them means one thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..program.algebra import sum_of, terms_of
from ..program.ir import DOTS, Call, Domain, Expr, Reduce, Statement, indices_of, primal_of, reads, tensors_in
from ..program.text import Names, expr_text, statement_text
from .late import lacking, late_sums, shown_at, summed
from .report import Report

_LONGEST = 200  # characters of an expression that is shown


def check_sums(report: Report, stmts: Sequence[Statement], names: Names) -> None:
    """All statements of a body. Derived ones sum as their forward statements do: of gradients nothing is told."""
    derived = any(primal_of(tensor) is not None for stmt in stmts for tensor in tensors_in(stmt))
    for stmt in stmts:
        if stmt.op in ("=", "+=") and stmt.reduced and _in_scope(report, stmt, names) and not derived:
            _doubt(report, stmt, names)


def _in_scope(report: Report, stmt: Statement, names: Names) -> bool:
    """No term of a sum lacks an index over which the statement sums: it would be counted once for each value of it."""
    terms = terms_of(stmt.value)
    missing = [[i for i in stmt.reduced if i not in set(indices_of(term))] for _, term in terms]
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
    """The statement as two, and with the sum written out, in its own words."""
    target, end = _around(stmt, names)
    kept = [t for t, indices in zip(terms, missing, strict=True) if not indices]
    others = [t for t, indices in zip(terms, missing, strict=True) if indices]
    statements: list[str] = []
    for group in (kept, others) if kept else ([t] for t in others):
        op = stmt.op if not statements else "+="
        statements.append(f"{target} {op} {_sum(group, names)}{end if group is kept else ''}")
    ways = [f"two statements, {'; '.join(statements)}" if kept else f"a statement for each, {'; '.join(statements)}"]
    if DOTS not in stmt.reduced:
        first = [(sign, late_sums(term, stmt.reduced)[1]) for sign, term in terms]
        if first != terms:
            ways.insert(0, f"the inner sum first, {target} {stmt.op} {_explicit(first, stmt.reduced, names)}{end}")
        ways.append(f"an explicit sum, {target} {stmt.op} {_explicit(terms, stmt.reduced, names)}{end}")
    return "; or ".join(ways)


def _around(stmt: Statement, names: Names) -> tuple[str, str]:
    """The target, and the conditions if they are short."""
    whole = statement_text(stmt, names)
    where = whole.partition(" where ")[2]
    return whole.partition(f" {stmt.op} ")[0], f" where {where}" if where and len(where) < 60 else ""


def _sum(terms: list[tuple[int, Expr]], names: Names) -> str:
    return _joined([(sign, _as_term(term, names)) for sign, term in terms])


def _explicit(terms: list[tuple[int, Expr]], reduced: Sequence[str], names: Names) -> str:
    """The terms, each summed over what it has of the indices."""
    shown = []
    for sign, term in terms:
        over = [i for i in reduced if i in indices_of(term)]
        shown.append((sign, f"sum[{','.join(over)}]({expr_text(term, names)})" if over else _as_term(term, names)))
    return _joined(shown)


def _as_term(term: Expr, names: Names) -> str:
    """A term as it stands in a sum: what binds less tightly gets brackets."""
    text = expr_text(Call("add", (term, term)), names)
    return text[: len(text) // 2 - 1] if not isinstance(term, Reduce) else expr_text(term, names)


def _joined(terms: list[tuple[int, str]]) -> str:
    sign, text = terms[0]
    result = text if sign > 0 else f"-{text}"
    for sign, text in terms[1:]:
        result += f" {'+' if sign > 0 else '-'} {text}"
    return result


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
    target, end = _around(stmt, names)
    inner, outer = (expr_text(v, names) for v in (value, Reduce("sum", Domain(over), stmt.value)))
    if len(outer) > _LONGEST:
        return f"by sum[{','.join(over)}](...) around the terms inside, or around the whole right side"
    return f"the inner one first, {target} {stmt.op} {inner}{end}; or the outer one, {target} {stmt.op} {outer}{end}"
