"""What holds between statements, and for a statement as a whole.

In: statements in order, each with what it reads. Out: problems. The one rule: a tensor is defined once by `=`, may be
accumulated into with one operator, and is finished when it is first read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import Span
from ..program.algebra import terms_of
from ..program.ir import DOTS, Access, Call, Expr, Reduce, Statement, indices_of
from ..program.text import Names, expr_text, statement_text
from .report import Report


@dataclass
class Definitions:
    """The tensors defined and read so far."""

    report: Report
    inputs: Mapping[str, Span]  # of the header
    first: dict[str, Span] = field(default_factory=dict)
    combined: dict[str, tuple[str, Span]] = field(default_factory=dict)
    read: dict[str, Span] = field(default_factory=dict)

    def statement(self, target: str, op: str, span: Span, reads: Mapping[str, Span]) -> None:
        """One more statement. `span` is its target's place."""
        if target in reads:
            self.recurrence(target, span, reads[target])
        elif op == "=":
            self.set(target, span)
        else:
            self.accumulate(target, op, span)
        self.first.setdefault(target, span)
        if op != "=":
            self.combined.setdefault(target, (op, span))
        for name, place in reads.items():
            self.read.setdefault(name, place)

    def recurrence(self, target: str, span: Span, read: Span) -> None:
        rule = f"'{target}' is read by the statement that defines it: recurrences are kept for later"
        way = f"give the result another name than {target}"
        self.report.add("recurrence", rule, read, way_out=way, others=(("the target", span),))

    def set(self, target: str, span: Span) -> None:
        if target in self.inputs:
            others = (("the input", self.inputs[target]),)
            rule = f"'{target}' is an input: it has a value already"
            self.report.add(
                "defined-input", rule, span, way_out="use another name, or accumulate with +=", others=others
            )
        elif target in self.first:
            others = (("defined here first", self.first[target]),)
            rule = f"'{target}' is defined already: nothing is ever overwritten"
            self.report.add("redefined", rule, span, way_out="use another name, or accumulate with +=", others=others)
        elif target in self.read:
            self.late(target, span, "defined")

    def accumulate(self, target: str, op: str, span: Span) -> None:
        known = self.combined.get(target)
        if target in self.read:
            self.late(target, span, "accumulated into")
        elif known is not None and known[0] != op:
            others = ((f"by {known[0]} here", known[1]),)
            rule = f"'{target}' is accumulated into by {op} and by {known[0]}"
            self.report.add("mixed-operators", rule, span, way_out="use a tensor for each operator", others=others)

    def late(self, target: str, span: Span, what: str) -> None:
        others = (("read here", self.read[target]),)
        rule = f"'{target}' is {what} after it was read: a tensor is finished when it is first read"
        self.report.add(
            "late-definition", rule, span, way_out="put this statement before the one that reads", others=others
        )


def reads(stmt: Statement, nodes: Iterable[object]) -> dict[str, Span]:
    """The tensors whose values a statement reads, and where first."""
    found: dict[str, Span] = {}
    for part in nodes:
        if isinstance(part, Access) and part is not stmt.target and part.span is not None:
            found.setdefault(part.tensor, part.span)
    return found


# -- the scope of a reduction ------------------------------------------------------------------------


def check_scope(report: Report, stmt: Statement, names: Names) -> None:
    """No term of a sum lacks an index over which the statement sums: it would be counted once for each value of it."""
    terms = terms_of(stmt.value)
    if stmt.op not in ("=", "+=") or not stmt.reduced or len(terms) < 2:
        return
    lacking = [[i for i in stmt.reduced if i not in set(indices_of(term))] for _, term in terms]
    number = next((k for k, missing in enumerate(lacking) if missing), None)
    if number is None:
        return
    term, index = terms[number][1], lacking[number][0]
    if index == DOTS:
        rule = "the statement sums over the axes of '...', but one of its terms does not have them"
    else:
        rule = f"the statement sums over '{index}', but one of its terms does not have it"
    shown = expr_text(term, names)
    values = f"{shown} would be counted once for each value of {index}"
    report.add("scope", rule, term.span or stmt.span, values, way_out=_ways_out(stmt, terms, lacking, names))


def _ways_out(stmt: Statement, terms: list[tuple[int, Expr]], lacking: list[list[str]], names: Names) -> str:
    """The statement as two, and with the sum written out, in its own words."""
    whole = statement_text(stmt, names)
    where = whole.partition(" where ")[2]
    end = f" where {where}" if where and len(where) < 60 else ""
    target = whole.partition(f" {stmt.op} ")[0]
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
