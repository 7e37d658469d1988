"""When two parts are the same computation at other positions: their patterns.

In: an expression. Out: a `Pattern`: a number that equal computations share, and the subscripts at which this one is
done. The one rule: a pattern is built from those of its arguments, each part once, however often it stands somewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from ..program.facts import kept_upwards
from ..program.ir import (
    Access,
    Boundary,
    Call,
    Const,
    Dots,
    Expr,
    Index,
    Merged,
    Reduce,
    Size,
    Statement,
    Subscript,
    children,
    indices_of,
    primal_of,
)


class Pattern(NamedTuple):
    """`number` stands for the computation; `bindings` are its subscripts, in order, each once."""

    number: int
    bindings: tuple[Subscript, ...]
    open: tuple[Subscript, ...] = ()  # indices as numbers that are no plain subscript in it: no name can serve

    @property
    def plain(self) -> bool:
        return all(isinstance(b, Index | Dots) for b in self.bindings)


class Patterns:
    """The patterns of the expressions of one program, while these are alive."""

    def __init__(self) -> None:
        self.numbers: dict[object, int] = {}
        self.found: dict[int, Pattern | None] = {}  # by a call's identity

    def of(self, expr: Expr) -> Pattern | None:
        """The pattern; None where no name can serve."""
        pattern = self._of(expr)
        return None if pattern is None or pattern.open else pattern

    def _of(self, expr: Expr) -> Pattern | None:
        match expr:
            case Access():
                return self._of_access(expr)
            case Call():
                if id(expr) not in self.found:
                    self.found[id(expr)] = self._of_call(expr)
                return self.found[id(expr)]
            case Index():
                return Pattern(self._number("an index"), (), (expr,))
            case Const() | Size():
                return Pattern(self._number(expr), ())
            case Reduce():
                return None

    def _number(self, key: object) -> int:
        return self.numbers.setdefault(key, len(self.numbers))

    def _of_access(self, access: Access) -> Pattern | None:
        if not all(map(_can_be_bound, access.subscripts)):
            return None
        places: dict[Subscript, int] = {}
        key: list[object] = [access.tensor]
        for s in access.subscripts:
            varies = isinstance(s, Dots) or indices_of(s)
            key += [isinstance(s, Dots), places.setdefault(s, len(places))] if varies else [s]
        return Pattern(self._number(tuple(key)), tuple(places))

    def _of_call(self, call: Call) -> Pattern | None:
        parts = [self._of(a) for a in call.args]
        known = [p for p in parts if p is not None]
        if len(known) < len(parts):
            return None
        bindings = dict.fromkeys(b for p in known for b in p.bindings)
        free = dict.fromkeys(i for p in known for i in p.open if i not in bindings)
        places = {s: k for k, s in enumerate((*bindings, *free))}
        inner = tuple((p.number, tuple(places[s] for s in (*p.bindings, *p.open))) for p in known)
        return Pattern(self._number((call.fn, inner)), tuple(bindings), tuple(free))


@kept_upwards(children)
def _can_be_bound(node: Subscript) -> bool:
    """Whether a subscript may stand in a pattern."""
    return not isinstance(node, Reduce | Boundary | Merged) and all([_can_be_bound(p) for p in children(node)])


def may_hold(stmt: Statement, single: Mapping[str, int]) -> bool:
    """Whether a statement's tensor is just its value, if each of its positions has a value of its own."""
    return (
        not stmt.domain.ranges
        and not stmt.domain.masks
        and primal_of(stmt.target.tensor) is None  # nobody reads one gradient to say another
        and single[stmt.target.tensor] == 1
        and stmt.op in ("=", "+=")
    )


def holds(stmt: Statement, pattern: Pattern, single: Mapping[str, int]) -> bool:
    """Whether a statement's tensor is just its value, with this pattern, at each of its positions."""
    return may_hold(stmt, single) and pattern.plain and Counter(stmt.target.subscripts) == Counter(pattern.bindings)
