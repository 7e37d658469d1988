"""Over what a statement sums: terms that do not have an index that is summed.

In: a statement of a resolved body. Out: an error where a term of its sum lacks an index, a doubt where a term of a sum
inside lacks one. The one rule: what is told shows the ways to write it, and each of them means one thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..program.algebra import factors_of, sum_of, terms_of
from ..program.ir import (
    DOTS,
    Access,
    Call,
    Const,
    Domain,
    Expr,
    Reduce,
    Statement,
    Subscript,
    children,
    indices_of,
    primal_of,
    reads,
    tensors_in,
)
from ..program.rebuild import transform_expr
from ..program.text import Names, expr_text, statement_text
from .report import Report

_LONGEST = 200  # characters of an expression that is shown
_SIGNED = ("add", "sub", "neg")
_DECIDED = ("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not")  # at each point, as a condition is


def check_sums(report: Report, stmts: Sequence[Statement], names: Names) -> None:
    """All statements of a body. Derived ones sum as their forward statements do: of gradients nothing is told."""
    derived = any(primal_of(tensor) is not None for stmt in stmts for tensor in tensors_in(stmt))
    for stmt in stmts:
        if stmt.op in ("=", "+=") and stmt.reduced and _in_scope(report, stmt, names) and not derived:
            _doubt(report, stmt, names)


def _in_scope(report: Report, stmt: Statement, names: Names) -> bool:
    """No term of a sum lacks an index over which the statement sums: it would be counted once for each value of it."""
    terms = terms_of(stmt.value)
    lacking = [[i for i in stmt.reduced if i not in set(indices_of(term))] for _, term in terms]
    number = next((k for k, missing in enumerate(lacking) if missing), None)
    if len(terms) < 2 or number is None:
        return True
    term, index = terms[number][1], lacking[number][0]
    if index == DOTS:
        rule = "the statement sums over the axes of '...', but one of its terms does not have them"
    else:
        rule = f"the statement sums over '{index}', but one of its terms does not have it"
    shown = expr_text(term, names)
    values = f"{shown} would be counted once for each value of {index}"
    report.add("scope", rule, term.span or stmt.span, values, way_out=_ways_out(stmt, terms, lacking, names))
    return False


def _ways_out(stmt: Statement, terms: list[tuple[int, Expr]], lacking: list[list[str]], names: Names) -> str:
    """The statement as two, and with the sum written out, in its own words."""
    target, end = _around(stmt, names)
    kept = [t for t, missing in zip(terms, lacking, strict=True) if not missing]
    others = [t for t, missing in zip(terms, lacking, strict=True) if missing]
    statements: list[str] = []
    for group in (kept, others) if kept else ([t] for t in others):
        op = stmt.op if not statements else "+="
        statements.append(f"{target} {op} {_sum(group, names)}{end if group is kept else ''}")
    ways = f"two statements, {'; '.join(statements)}" if kept else f"a statement for each, {'; '.join(statements)}"
    if DOTS not in stmt.reduced:
        summed = [
            (sign, term, tuple(i for i in stmt.reduced if i not in missing))
            for (sign, term), missing in zip(terms, lacking, strict=True)
        ]
        ways += f"; or an explicit sum, {target} {stmt.op} {_explicit(summed, names)}{end}"
    return ways


def _around(stmt: Statement, names: Names) -> tuple[str, str]:
    """The target, and the conditions if they are short."""
    whole = statement_text(stmt, names)
    where = whole.partition(" where ")[2]
    return whole.partition(f" {stmt.op} ")[0], f" where {where}" if where and len(where) < 60 else ""


def _sum(terms: list[tuple[int, Expr]], names: Names) -> str:
    return _joined([(sign, _as_term(term, names)) for sign, term in terms])


def _explicit(terms: list[tuple[int, Expr, tuple[str, ...]]], names: Names) -> str:
    return _joined(
        [
            (sign, f"sum[{','.join(over)}]({expr_text(term, names)})" if over else _as_term(term, names))
            for sign, term, over in terms
        ]
    )


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
    """A sum inside, of which a term lacks an index that is summed over outside, was mostly meant to be over it."""
    found: list[tuple[str, Expr, Expr]] = []  # an index, the term around, and what in it does not have the index
    terms = []
    for sign, around in terms_of(stmt.value):
        term = around
        for i in stmt.reduced:
            inside = _lacking(term, i) if i != DOTS else None
            if inside is not None:
                found.append((i, around, next(t for _, t in terms_of(inside) if i not in indices_of(t))))
                term = _replaced(term, inside, _summed(inside, i))
        terms.append((sign, term))
    if not found:
        return
    over = tuple(dict.fromkeys(i for i, _, _ in found))
    _, term, lone = found[0]
    late = [i for i, around, other in found if other == lone and around is term]
    shown = ", ".join(late)
    text = expr_text(term, names)
    report.doubt(
        "late-sum",
        f"the statement sums over {', '.join(f'{i!r}' for i in late)} last, after a sum of which one term lacks it",
        lone.span or stmt.span,
        f"{text if len(text) < _LONGEST else 'the right side'} is summed over {shown}",
        f"{expr_text(lone, names)} counts once for each value of {shown}",
        way_out=f"say which sum is meant, {_both(stmt, terms, over, names)}",
    )


def _both(stmt: Statement, terms: list[tuple[int, Expr]], over: tuple[str, ...], names: Names) -> str:
    """The statement with its inner sums first, and with all of it summed."""
    value = sum_of(terms)
    for i in over:
        value = _summed(value, i)
    target, end = _around(stmt, names)
    inner, outer = (expr_text(v, names) for v in (value, Reduce("sum", Domain(over), stmt.value)))
    if len(outer) > _LONGEST:
        return f"by sum[{','.join(over)}](...) around the terms inside, or around the whole right side"
    return f"the inner one first, {target} {stmt.op} {inner}{end}; or the outer one, {target} {stmt.op} {outer}{end}"


def _lacking(term: Expr, index: str) -> Expr | None:
    """The innermost sum that has all there is of an index, and a term without it."""
    for found in reversed(tuple(_sums(term, index))):
        terms = [t for _, t in terms_of(found)]
        others = [t for t in terms if index not in indices_of(t)]
        # 1 + x[i], x[i]**2 + eps: a number is no bias, unless it stands beside a product of matrices
        doubtful = any(reads(t) or indices_of(t) for t in others) or (
            others and any(_contracts(t, index) for t in terms)
        )
        if doubtful and not _is_outside(term, found, index):
            return found
    return None


def _sums(term: Expr, index: str) -> Iterator[Call]:
    """The sums below a term in which an index stands, outer ones first."""
    left: list[Subscript] = [term]
    seen = set[int]()
    while left:
        part = left.pop()
        if id(part) in seen or index not in indices_of(part):
            continue
        seen.add(id(part))
        match part:
            case Call(fn=fn) if fn in _SIGNED:
                terms = terms_of(part)
                if len(terms) > 1:
                    yield part
                left += [t for _, t in terms]
            case Call(fn="where", args=args):
                left += args[1:]
            case Call() if _is_deviation(part, index):
                left += [t for _, t in terms_of(part.args[0])]
            case Call(fn=fn) if fn not in _DECIDED:
                left += children(part)
            case Reduce(body=body):
                left.append(body)
            case _:
                pass


def _is_deviation(call: Call, index: str) -> bool:
    """Whether a call is a square, and not of a product of matrices: one sums squares of deviations."""
    match call:
        case Call("pow", (base, Const(value=int(power)))) if power % 2 == 0:
            pass
        case Call("mul", (base, other)) if base == other:
            pass
        case _:
            return False
    return not any(_contracts(t, index) for _, t in terms_of(base))


def _contracts(term: Expr, index: str) -> bool:
    """Whether factors of different indices meet in an index."""
    return len({frozenset(indices_of(f)) for f, _ in factors_of(term) if index in indices_of(f)}) > 1


def _is_outside(term: Expr, inside: Expr, index: str) -> bool:
    """Whether an index stands in a term elsewhere, too: then that sum alone could not be over it."""
    left: list[Subscript] = [term]
    seen = set[int]()
    while left:
        part = left.pop()
        if id(part) in seen or index not in indices_of(part) or part == inside:
            continue
        seen.add(id(part))
        parts = () if isinstance(part, Access) else children(part)
        if not parts:
            return True
        left += parts
    return False


def _replaced(value: Expr, old: Expr, new: Expr) -> Expr:
    return transform_expr(value, lambda part: new if part == old else None)


def _summed(value: Expr, index: str) -> Expr:
    """Each term that has an index summed over it."""
    return sum_of([(sign, _over(term, index)) for sign, term in terms_of(value)])


def _over(term: Expr, index: str) -> Expr:
    if index not in indices_of(term):
        return term
    match term:
        case Reduce("sum", Domain(indices, (), ()), body):
            return Reduce("sum", Domain((*indices, index)), body)
        case _:
            return Reduce("sum", Domain((index,)), term)
