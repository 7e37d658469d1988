"""Gradients of each example: `f.grad(keep=["b"])`.

In: a forward Program, an index of its text, the derived program. Out: the derived program in which every gradient that
would be summed over the index has it in front. The one rule: what is at one value of the index is the gradient of that
example alone, as if the cotangents of all others were zero; where examples meet there is no such thing, which is an
error that names the statement. An output may be the sum of what the examples give, if nothing reads it.

Followed is an axis, not a name: `b` may be called otherwise in the next statement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import NAMED, DerivationError, Problem, within_depth
from ..meaning.report import nearest
from ..program.affine import size
from ..program.ir import (
    Dots,
    Expr,
    Index,
    Program,
    Reduce,
    Size,
    Statement,
    accesses_of,
    primal_of,
    reads_of,
    walk,
)
from ..program.names import Fresh, indices_in, indices_within, tensors_of
from ..program.text import expr_text
from ..ranges.solve import solve
from ..rewrite.indexed import Indexed


@within_depth(DerivationError, NAMED)
def kept(forward: Program, derived: Program, index: str) -> Program:
    """The derived program, the index kept in its gradients. Errors: `DerivationError`."""
    names = tuple(indices_in(forward))
    if index not in names:
        values = (f"indices: {', '.join(names) or 'none'}",)
        way = nearest(index, names) or "name an index of the text"
        raise DerivationError(Problem("keep", f"there is no index '{index}'", None, values, way))
    examples = _Examples(forward, index)
    examples.check()
    return examples.keep(derived)


@dataclass
class _Axes:
    """Which axis of a tensor is the examples', and by which index each statement goes over them."""

    axes: dict[str, int] = field(default_factory=dict)
    local: dict[int, str] = field(default_factory=dict)

    def follow(self, program: Program) -> Iterator[tuple[int, str]]:
        """Find all of them; give the numbers of statements in which two indices go over examples, and why."""
        changed = True
        while changed:
            changed = False
            for k, stmt in enumerate(program.statements):
                for access in accesses_of(stmt):
                    for axis, s in enumerate(access.subscripts):
                        if not isinstance(s, Index):
                            continue
                        is_known = self.axes.get(access.tensor) == axis
                        if is_known and s.name != self.local.setdefault(k, s.name):
                            yield k, f"'{self.local[k]}' and '{s.name}' both go over them"
                            return
                        if s.name == self.local.get(k) and not is_known:
                            if self.axes.setdefault(access.tensor, axis) != axis:
                                yield k, f"'{s.name}' goes over two axes of {access.tensor}"
                                return
                            changed = True
                        changed |= is_known and k not in self.local


class _Examples:
    def __init__(self, program: Program, index: str) -> None:
        self.program, self.index = program, index
        self.found = _Axes()
        for k, stmt in enumerate(program.statements):
            if index in indices_within(stmt):
                self.found.local[k] = index

    def check(self) -> None:
        """Whether no statement lets examples meet. Errors: `DerivationError` with all that do."""
        for k, both in self.found.follow(self.program):
            raise DerivationError(self.meet(self.program.statements[k], both))
        read = {t for s in self.program.statements for t in reads_of(s)}
        problems = []
        for k, stmt in enumerate(self.program.statements):
            why = self.meeting(k, stmt, read)
            if why is not None:
                problems.append(self.meet(stmt, why))
        if problems:
            raise DerivationError(*problems)

    def meeting(self, k: int, stmt: Statement, read: set[str]) -> str | None:
        """How examples meet in a statement, if they do."""
        axes, local = self.found.axes, self.found.local.get(k)
        for access in accesses_of(stmt):
            axis = axes.get(access.tensor)
            if axis is not None and (axis >= len(access.subscripts) or access.subscripts[axis] != Index(local or "")):
                return f"axis {axis} of {access.tensor} is read, or written, by more than an index"
            if axis is not None and Dots() in access.subscripts[:axis]:
                return "'...' hides their axis"
        for part in walk(stmt.value):
            if isinstance(part, Size) and axes.get(part.tensor) == part.axis:
                return "their number is a number of the statement"
        if local is None or Index(local) in stmt.target.subscripts:
            return None
        root = stmt.value
        inside = root.domain.indices if isinstance(root, Reduce) and root.op == "sum" else ()
        summed = local in (*stmt.domain.indices, *inside) and stmt.op in ("=", "+=")
        return None if summed and stmt.target.tensor not in read else f"they are brought together over '{local}'"

    def meet(self, stmt: Statement, why: str) -> Problem:
        rule = f"there are no gradients for each '{self.index}': here examples meet, as {why}"
        way = f"leave keep out, or write what each '{self.index}' gives, and at most its sum as an output"
        return Problem("keep", rule, stmt.span, (), way)

    def keep(self, derived: Program) -> Program:
        """The derived program with the index in front of what is summed over it."""
        forward = {s.target.tensor for s in self.program.statements} | set(self.program.inputs)
        here = _Axes(self.axes(derived))
        for k, why in here.follow(derived):
            raise DerivationError(self.meet(derived.statements[k], why))
        for k, stmt in enumerate(derived.statements):
            at = ((a, here.axes[a.tensor]) for a in accesses_of(stmt) if a.tensor in here.axes)
            if any(a.subscripts[axis : axis + 1] != (Index(here.local.get(k, "")),) for a, axis in at):
                raise DerivationError(self.meet(stmt, "a condition leaves one of them"))
        gaining: set[str] = set()
        for k, stmt in enumerate(derived.statements):
            tensor = stmt.target.tensor
            there = k in here.local or not gaining.isdisjoint(reads_of(stmt))
            if there and tensor not in forward and tensor not in here.axes:
                gaining.add(tensor)
        if not gaining:
            return derived
        names = Fresh.of(derived)
        indices: list[str | None] = []
        for k, stmt in enumerate(derived.statements):
            tensor, there = stmt.target.tensor, not gaining.isdisjoint(reads_of(stmt))
            if tensor in gaining and not (k in here.local or there):
                raise DerivationError(self.meet(stmt, "a part of the output is no example's"))
            mine = tensor in gaining or there
            index = self.index if self.index not in indices_within(stmt) else names.fresh(self.index)
            indices.append(here.local.get(k, index) if mine else None)
        return Indexed(gaining, self.count(derived, here), self.index.upper()).program(derived, indices)

    def count(self, derived: Program, here: _Axes) -> Expr:
        """How many examples there are. Errors: `DerivationError`, where statements do not agree on it."""
        solution = solve(derived)
        canonical = solution.sizes.canonical
        ends = {canonical(solution.bounds[k][i].high): k for k, i in reversed(here.local.items())}
        if len(ends) > 1:
            shown = " and ".join(f"{expr_text(e.to_expr())}" for e in reversed(ends))
            rule = f"there are no gradients for each '{self.index}': it runs to {shown}"
            way = f"call those that are not the same by other names than '{self.index}'"
            raise DerivationError(Problem("keep", rule, derived.statements[min(ends.values())].span, (), way))
        (end,) = ends
        first = (t for t in self.program.inputs if t in derived.inputs)
        told = [size(t, here.axes[t]) for t in (*first, *derived.inputs) if t in here.axes]
        return next((s for s in told if canonical(s) == end), end).to_expr()

    def axes(self, derived: Program) -> dict[str, int]:
        """The examples' axes in the derived program, a gradient's behind those that it has gained."""
        axes = dict(self.found.axes)
        ranks = {
            a.tensor: len(a.subscripts) for p in (derived, self.program) for s in p.statements for a in accesses_of(s)
        }
        for tensor in tensors_of(derived):
            origin = tensor
            while origin not in axes and (primal := primal_of(origin)) is not None:
                origin = primal
            if origin in axes:
                axes[tensor] = axes[origin] + ranks.get(tensor, 0) - ranks.get(origin, ranks.get(tensor, 0))
        return axes
