"""Indices that run over nothing, sizes known: which of them are mistakes.

In: a statement, how far its indices run, the shapes of its tensors. Out: problems. The one rule: an index may run over
nothing, but not over less; a window has a position. What is empty because something that it reads is empty is none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..errors import Problem
from ..program.affine import Affine
from ..program.ir import Boundary, Merged, Range, Size, Statement, indices_of, primal_of, tensors_in, walk
from ..program.text import Names, expr_text
from ..ranges.uses import Use, uses
from .in_bounds import interval, numeric

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Indices:
    """The indices of a statement: `ends` are lo <= index < hi as they come out, less than nothing, too."""

    stmt: Statement
    ends: Mapping[str, tuple[int, int]]
    ranges: Mapping[str, Range]  # as they were written
    shapes: Shapes
    empty: Collection[str]  # tensors that are empty because inputs are
    names: Names
    masked: frozenset[str] = frozenset()  # indices that only conditions end, perhaps below zero

    def count(self, index: str) -> int:
        lo, hi = self.ends[index]
        return hi - lo

    def is_written(self, index: str) -> bool:
        return index in self.ranges and self.ranges[index].hi is not None

    @property
    def others(self) -> list[str]:
        """The tensors that the statement names beside its target."""
        return [t for t in tensors_in(self.stmt) if t != self.stmt.target.tensor]

    @property
    def reads_nothing(self) -> bool:
        """Whether what the statement reads is empty because an input is."""
        return any(t in self.empty for t in self.others)

    @property
    def is_derived(self) -> bool:
        """A derived statement runs where its forward statement ran, in parts of it where it is gathered."""
        return any(primal_of(t) is not None for t in tensors_in(self.stmt))


def empty_indices(given: Indices, rewritten: bool) -> list[Problem]:
    """What is wrong with indices that run over nothing; a program that passes made may well have some."""
    if all(given.count(i) > 0 for i in given.ends) or given.reads_nothing:
        return []
    written = not (rewritten or given.is_derived)
    found = []
    for i in given.ends:
        if given.count(i) > 0:
            continue
        window = next(_windows(given, i), None) if written and i not in given.masked and _is_size(given, i) else None
        if window is not None:
            found.append(_window(given, i, window))
        elif given.is_written(i):
            if written and given.ends[i][1] < 0 and _is_size(given, i):
                found.append(_negative(given, i))
        elif (
            given.count(i) < 0 and i not in given.masked and not any(0 in given.shapes.get(t, ()) for t in given.others)
        ):
            found.append(_outside(given, i))
    return found


def lost_windows(given: Indices) -> list[Problem]:
    """Windows that are written to a declared axis of no elements."""
    stmt = given.stmt
    if given.is_derived or given.reads_nothing:
        return []
    found = []
    for use in uses(stmt):
        inside = [i for i in indices_of(use.subscript) if i in given.ends and given.count(i) > 0]
        if use.is_target and len(inside) > 1 and given.shapes[use.tensor][use.axis] == 0:
            rule = f"the declared shape of '{use.tensor}' has no place for a window"
            values = (
                f"axis {use.axis} of {use.tensor} has size 0",
                f"the window of {', '.join(inside)} is written to it",
            )
            way = "pass larger arrays, or declare a longer axis"
            found.append(Problem("declared-shape", rule, use.span, values, way))
    return found


def _is_size(given: Indices, index: str) -> bool:
    """Whether the end of an index is a size that comes out: not a number of the text, or the end of an interval."""
    if not given.is_written(index):
        return True
    found = given.ranges[index]
    return found.lo is None and found.hi is not None and any(isinstance(p, Size) for p in walk(found.hi))


def _windows(given: Indices, index: str) -> Iterator[Use]:
    """The subscripts that are read at an index and at others around it."""
    for use in uses(given.stmt):
        others = [i for i in indices_of(use.subscript) if i != index]
        known = use.tensor in given.shapes  # a block may read what it is about to make
        found = known and index in indices_of(use.subscript) and not isinstance(use.subscript, Merged)
        if found and not use.is_target and others and all(i in given.ends and given.count(i) > 0 for i in others):
            yield use


def _window(given: Indices, index: str, use: Use) -> Problem:
    others = [i for i in indices_of(use.subscript) if i != index]
    expr = use.subscript.expr if isinstance(use.subscript, Boundary) else use.subscript
    values = []
    box = {**given.ends, index: (0, 1)}
    reach = interval(numeric(Affine.from_expr(expr), given.shapes), box)  # type: ignore[arg-type]
    if reach is not None:
        count = reach[1] - reach[0] + 1
        values.append(f"the window of {', '.join(others)} reaches over {count} element{'s' if count > 1 else ''}")
    values += [_axis(given, use), _ends(given, index)]
    way = f"make {use.tensor} larger or the window smaller"
    if not isinstance(use.subscript, Boundary):
        way += ", or pad it: pad(...)"
    elif _padding(given, use):
        way += ", or pad more"
    rule = f"no value of the index '{index}' keeps its window in bounds"
    return Problem("empty-range", rule, use.span, tuple(values), way)


def _outside(given: Indices, index: str) -> Problem:
    read = (u for u in uses(given.stmt) if not u.is_target and u.tensor in given.shapes)
    use = next((u for u in read if index in indices_of(u.subscript)), None)
    values = [_ends(given, index)]
    if use is not None:
        values.append(f"axis {use.axis} of {use.tensor} has size {given.shapes[use.tensor][use.axis]}")
    rule = f"no value of the index '{index}' keeps its subscripts in bounds"
    way = "make the tensor larger, or say pad(...)"
    return Problem("empty-range", rule, None if use is None else use.span, tuple(values), way)


def _negative(given: Indices, index: str) -> Problem:
    found = given.ranges[index]
    assert found.hi is not None
    end = expr_text(found.hi, given.names)
    values = [f"{end} = {given.ends[index][1]}"]
    known = [p for p in _sizes(found) if p.tensor in given.shapes]
    values += [f"axis {p.axis} of {p.tensor} has size {given.shapes[p.tensor][p.axis]}" for p in known]
    rule, way = f"the range of the index '{index}' ends below zero", f"make the tensor larger, or say max({end}, 0)"
    return Problem("empty-range", rule, found.span or given.stmt.span, tuple(values), way)


def _sizes(found: Range) -> Sequence[Size]:
    return [] if found.hi is None else list(dict.fromkeys(p for p in walk(found.hi) if isinstance(p, Size)))


def _ends(given: Indices, index: str) -> str:
    lo, hi = given.ends[index]
    return f"{index} would run from {lo} to {hi - 1}"


def _axis(given: Indices, use: Use) -> str:
    text = f"axis {use.axis} of {use.tensor} has size {given.shapes[use.tensor][use.axis]}"
    around = _padding(given, use)
    if around is None:
        return text if isinstance(use.subscript, Boundary) else f"{text}, without padding"
    return f"{text}, padded by {around[0]} before it and {around[1]} behind it"


def _padding(given: Indices, use: Use) -> tuple[int, int] | None:
    match use.subscript:
        case Boundary(kind="pad", lo=lo, hi=hi) if lo is not None and hi is not None:
            return Affine.from_expr(lo).value(given.shapes), Affine.from_expr(hi).value(given.shapes)
        case _:
            return None
