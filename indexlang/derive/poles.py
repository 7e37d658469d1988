"""Where a slope may be infinite: the values that expressions can take, as far as the text of a Program shows them.

In: a Program without embedded reductions but at the root; an expression of one of its statements and what holds there.
Out: the signs of its values. The one rule: what is called finite is so at all finite inputs, but for overflow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..program.algebra import fold
from ..program.functions import COMBINATIONS
from ..program.ir import Access, Boundary, Call, Const, Expr, Index, Program, Range, Reduce, Size, Statement, indices_of
from ..program.names import is_plain
from ..program.signs import COUNTS, NUMBERS, POSITIVE, Signs, many, power_of, sign_of, signs_of
from .contributions import Slopes

# What an element is that no point reaches; an infinity that the language or an author wrote is as good as a number.
_UNREACHED = {"=": "0", "+=": "0", "*=": "+", "max=": "-", "min=": "+"}


@dataclass(frozen=True)
class Here:
    """What is known at some points of a statement: signs of expressions, by conditions, and of its indices."""

    facts: Mapping[Expr, Signs] = field(default_factory=dict)
    indices: Mapping[str, Signs] = field(default_factory=dict)


EVERYWHERE = Here()


class Poles:
    """The signs of a program's tensors, and of expressions over them."""

    def __init__(self, program: Program) -> None:
        self.declared = {s.tensor for s in program.shapes}
        self.dims = frozenset(expr for _, expr in program.dims)
        self.tensors: dict[str, Signs] = dict.fromkeys(program.inputs, NUMBERS)
        self.known: dict[Expr, Signs] = {}  # of expressions of which nothing else is known
        stepwise = {s.target.tensor for s in program.statements if s.block is not None}
        self.tensors.update(dict.fromkeys(stepwise, frozenset()))
        while True:  # until earlier steps say nothing new of later ones
            before = dict(self.tensors)
            self._look(program, stepwise)
            if self.tensors == before or not stepwise:
                break

    def _look(self, program: Program, stepwise: Collection[str]) -> None:
        """What the statements say of their targets, from what is known of what they read."""
        for stmt in program.statements:
            value, combine = self.signs(stmt.value, self.here(stmt)), COMBINATIONS[stmt.op]
            if stmt.reduced or not is_plain(stmt.target):
                value = many(value, combine)
            if not self._covers(stmt):
                value |= {_UNREACHED[stmt.op]}
            old = self.tensors.get(stmt.target.tensor)
            if stmt.target.tensor in stepwise:
                old = old or frozenset()
                value |= old | {_UNREACHED[stmt.op]} | (signs_of(combine, old, value) if old and value else frozenset())
            elif old is not None:
                value = signs_of(combine, old, value)
            self.tensors[stmt.target.tensor] = value
            self.known.clear()

    def _covers(self, stmt: Statement) -> bool:
        """Whether each element of the target is surely reached, sizes being positive."""
        domains = [stmt.domain, *([stmt.value.domain] if isinstance(stmt.value, Reduce) else [])]
        if not is_plain(stmt.target) or any(d.masks for d in domains):
            return False
        alone = stmt.target.tensor not in self.declared and stmt.target.tensor not in self.tensors
        free = indices_of(stmt.target)
        return all(self._is_whole(r) and (alone or r.index not in free) for d in domains for r in d.ranges)

    def _is_whole(self, r: Range) -> bool:
        """Whether a written range begins at 0 and has an element."""
        return (r.lo is None or r.lo == Const(0)) and (r.hi is None or self.signs(r.hi, EVERYWHERE) <= POSITIVE)

    def here(self, stmt: Statement, conditions: Iterable[Expr] = ()) -> Here:
        """What is known where the statement's masks and the conditions hold."""
        ranges = stmt.domain.ranges
        if isinstance(stmt.value, Reduce):
            ranges = (*ranges, *stmt.value.domain.ranges)
            conditions = (*stmt.value.domain.masks, *conditions)
        indices = {r.index: self._above(r.lo) for r in ranges if r.lo is not None}
        return self._where((*stmt.domain.masks, *conditions), Here({}, indices))

    def _above(self, low: Expr) -> Signs:
        signs = self.signs(low, EVERYWHERE)
        return signs | {"+"} if signs <= COUNTS else NUMBERS

    def _where(self, conditions: Iterable[Expr], here: Here) -> Here:
        """What is known where conditions hold, too."""
        facts = dict(here.facts)
        for condition in conditions:
            for expr, signs in self._facts(condition, here, True):
                facts[expr] = facts.get(expr, signs) & signs
        return here if facts == here.facts else Here(facts, here.indices)

    def _facts(self, condition: Expr, here: Here, holds: bool) -> Iterator[tuple[Expr, Signs]]:
        """What a condition says of signs where it holds, or where it does not; nan is nobody's case."""
        match condition:
            case Call(fn="not", args=(inner,)):
                yield from self._facts(inner, here, not holds)
            case Call(fn="and" | "or" as fn, args=args) if (fn == "and") == holds:
                for part in args:
                    yield from self._facts(part, here, holds)
            case Call(fn=fn, args=(a, b)) if fn in _MIRRORED:
                fn = fn if holds else _OPPOSITE[fn]
                yield from _compared(fn, a, self.signs(b, here))
                yield from _compared(_MIRRORED[fn], b, self.signs(a, here))
            case _:
                if holds:
                    yield from _compared("ne", condition, frozenset("0"))

    def slopes(self, stmt: Statement) -> Slopes:
        """The signs that expressions of a statement can have where further conditions hold."""
        kept: dict[tuple[Expr, ...], Here] = {}

        def signs(slope: Expr, conditions: tuple[Expr, ...]) -> Signs:
            if conditions not in kept:
                kept[conditions] = self.here(stmt, conditions)
            return self.signs(slope, kept[conditions])

        return signs

    # -- expressions -----------------------------------------------------------------------------------

    def signs(self, expr: Expr, here: Here) -> Signs:
        """The signs of an expression's values."""
        if here.facts or here.indices:
            found = self._signs(expr, here)
            return found & here.facts.get(expr, found) if here.facts else found
        if expr not in self.known:
            self.known[expr] = self._signs(expr, here)
        return self.known[expr]

    def _signs(self, expr: Expr, here: Here) -> Signs:
        match expr:
            case _ if expr in self.dims or isinstance(expr, Size):
                return POSITIVE  # where it is 0 there are no elements
            case Const(value=value):
                return _of_number(value)
            case Index(name):
                return here.indices.get(name, COUNTS)
            case Access(tensor, subscripts):
                found = self.tensors.get(tensor, NUMBERS)
                for s in subscripts:
                    if isinstance(s, Boundary) and s.kind == "pad":
                        found |= self.signs(s.value, here)
                return found
            case Call(fn="where", args=(c, a, b)):
                taken = self.signs(a, self._where((c,), here))
                return taken | self.signs(b, self._where((Call("not", (c,)),), here))
            case Call(fn, args):
                return self._call(fn, args, here)
            case Reduce(op="argmax" | "argmin"):
                return COUNTS
            case Reduce(op="logsumexp", body=body):
                inner = self.signs(body, here)
                return signs_of("log", many(signs_of("exp", inner), "add"))
            case Reduce(op=op, body=body):
                return many(self.signs(body, here), {"sum": "add", "mean": "add", "prod": "mul"}.get(op, op))

    def _call(self, fn: str, args: tuple[Expr, ...], here: Here) -> Signs:
        if (number := fold(fn, *args)) is not None:
            return _of_number(number.value)
        signs = [self.signs(a, here) for a in args]
        match fn, args:
            case "pow", (_, Const(value=value)):
                return power_of(signs[0], value)
            case "pow", (_, Call(fn="neg", args=(Const(value=value),))):
                return power_of(signs[0], -value)
            case "mul", (a, b) if a == b:
                return power_of(signs[0], 2)
            case _:
                return signs_of(fn, *signs)


def _of_number(value: float) -> Signs:
    """The signs of a number of the source: an infinity that somebody wrote is no pole."""
    return frozenset(sign_of(value).replace("<", "-").replace(">", "+"))


_MIRRORED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}
_OPPOSITE = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}


def _compared(fn: str, expr: Expr, other: Signs) -> Iterator[tuple[Expr, Signs]]:
    """What `expr fn other` says of the expression, and of what is inside of an even function."""
    match fn:
        case "gt" if other <= frozenset("0+>"):
            signs = frozenset("+>")
        case "ge" if other <= frozenset("0+>"):
            signs = frozenset("+>") if other <= frozenset("+>") else frozenset("0+>")
        case "lt" if other <= frozenset("<-0"):
            signs = frozenset("<-")
        case "le" if other <= frozenset("<-0"):
            signs = frozenset("<-") if other <= frozenset("<-") else frozenset("<-0")
        case "eq":
            signs = other
        case "ne" if other == frozenset("0"):
            signs = frozenset("<-+>")
        case _:
            return
    if isinstance(expr, Const):
        return
    yield expr, signs
    match expr:
        case Call(fn="abs", args=(inner,)) | Call(fn="pow", args=(inner, Const(value=2 | 4))) if "0" not in signs:
            yield inner, frozenset("<-+>")
