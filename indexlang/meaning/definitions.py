"""What holds between statements.

In: statements in order, each with what it reads. Out: problems. The one rule: a tensor is defined once by `=`, may be
accumulated into with one operator, and is finished when it is first read. In a block this holds for each element.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from ..errors import Span
from ..program.ir import Access, Statement
from .report import Report

_NAMES = re.compile(r"[^\W\d]\w*")


@dataclass
class Definitions:
    """The tensors defined and read so far."""

    report: Report
    inputs: Mapping[str, Span]  # of the header
    stepwise: Set[str] = frozenset()  # what blocks make
    first: dict[str, Span] = field(default_factory=dict)
    combined: dict[str, tuple[str, Span]] = field(default_factory=dict)
    read: dict[str, Span] = field(default_factory=dict)

    def statement(
        self, target: str, op: str, span: Span, reads: Mapping[str, Span], block: object | None = None
    ) -> None:
        """One more statement. `span` is its target's place, `block` the outermost one that it stands in."""
        if target in reads and block is None:
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
        rule = f"'{target}' is read by the statement that defines it, and no block says in which order"
        way = f"give the result another name than {target}"
        if read.text != span.text:  # of another step
            shared = [n for n in _NAMES.findall(span.text.partition("[")[2]) if n in _NAMES.findall(read.text)]
            steps = [name for name in shared if not name[0].isupper()]  # else it is a size
            if steps or not shared:
                way = f"put it under for {(*steps, 't')[0]}: and indent it: a block runs step by step"
        self.report.add("recurrence", rule, read, way_out=way, others=(("the target", span),))

    def set(self, target: str, span: Span) -> None:
        if target in self.inputs:
            others = (("the input", self.inputs[target]),)
            rule = f"'{target}' is an input: it has a value already"
            self.report.add(
                "defined-input", rule, span, way_out="use another name, or accumulate with +=", others=others
            )
        elif target in self.first and target not in self.stepwise:
            others = (("defined here first", self.first[target]),)
            rule = f"'{target}' is defined already: nothing is ever overwritten"
            way = "use another name, or accumulate with +="
            if span.text != self.first[target].text:  # other elements
                way = f"declare the shape of {target}, and accumulate into its other elements: {span.text} += ..."
            self.report.add("redefined", rule, span, way_out=way, others=others)
        elif self.is_finished(target, span):
            self.late(target, span, "defined")

    def is_finished(self, target: str, span: Span) -> bool:
        """Whether a tensor was read as a whole; of what blocks make, each element is looked at by itself."""
        return target in self.read and (target not in self.stepwise or "[" not in span.text)

    def accumulate(self, target: str, op: str, span: Span) -> None:
        if self.is_finished(target, span):
            self.late(target, span, "accumulated into")
        else:
            self.one_operator(target, op, span)

    def one_operator(self, target: str, op: str, span: Span) -> None:
        known = self.combined.get(target)
        if known is not None and known[0] != op:
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
