"""What depends on a window's position alone: computed once for each position, not once for each tap.

In: a Program with its shapes and types. Out: the same with tensors over positions:

    y[b,i,o] = W[u,c,o] * relu(x[b,i+u,c])
    at[b,p,c] = relu(x[b,p,c]);  y[b,i,o] = W[u,c,o] * at[b,i+u,c]

    x.grad[b,i+u,c] += y.grad[b,i,o] * W[u,c,o] where x[b,i+u,c] > 0
    taps[b,i+u,c] += y.grad[b,i,o] * W[u,c,o];  x.grad[b,p,c] += taps[b,p,c] where x[b,p,c] > 0

    x.grad[b,i+u,c] += y.grad[b,i,o] * W[u,c,o] * g[b,c]
    taps[b,i+u,c] += y.grad[b,i,o] * W[u,c,o];  x.grad[b,p,c] += taps[b,p,c] * g[b,c]

The one rule: every position is reached by some tap, so nothing is multiplied that would not be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from ...program.algebra import factors_of, product_of
from ...program.conditions import conjuncts
from ...program.ir import (
    Access,
    Call,
    Const,
    Expr,
    Index,
    Program,
    Reduce,
    Statement,
    Subscript,
    domain_of,
    indices_of,
    walk,
)
from ...program.names import counted, free
from ...program.rebuild import transform, transform_expr
from ...sizes import dtypes as kinds
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..limits import Limits
from ..prices import operations, price
from ..views import Extents
from .windows import Window, at_positions, axes_of, keys_of, windows_of


@dataclass(frozen=True)
class Made:
    """A statement that makes a tensor over positions, and the one that reads it."""

    first: Statement
    first_extents: Extents
    shape: tuple[int, ...]
    second: Statement
    second_extents: Extents


def at_each_position(program: Program, shapes: Shapes, types: Types, limits: Limits) -> tuple[Program, Shapes, Types]:
    """The program with what depends on positions alone computed there."""
    work = _Work(program, shapes, types, limits)
    for k, stmt in enumerate(program.statements):
        work.add(stmt, shapes.extents[k], k)
    return work.done() if work.changed else (program, shapes, types)


class _Work:
    """The statements so far, each with its extents, accesses to be checked, and type."""

    def __init__(self, program: Program, shapes: Shapes, types: Types, limits: Limits) -> None:
        self.program, self.shapes, self.types, self.limits = program, shapes, types, limits
        self.known = kinds.Known(types.tensors, types.weak)
        self.tensors, self.kinds = dict(shapes.tensors), dict(types.tensors)
        self.rows: list[tuple[Statement, Extents, int]] = []
        self.made: dict[object, tuple[str, int]] = {}  # tensors over positions, by what makes them; and when
        self.written: dict[str, int] = {}
        self.changed = False

    def add(self, stmt: Statement, extents: Extents, number: int) -> None:
        """A statement, taken apart where that pays."""
        late = None
        if not self.shapes.guarded[number] and all(hi > lo for lo, hi in extents.values()):
            stmt = self.functions(stmt, extents, number)
            late = self.late(stmt, extents, number)
        if late is None:
            self.put(stmt, extents, number)
        else:
            self.add(named(late.second, self.tensor(late, number)), late.second_extents, number)

    def put(self, stmt: Statement, extents: Extents, number: int) -> None:
        self.rows.append((stmt, extents, number))
        self.written[stmt.target.tensor] = len(self.rows)

    def tensor(self, found: Made, number: int) -> str:
        """The name of a tensor over positions: one that is there already if the same statement makes it."""
        key = found.first, tuple(sorted(found.first_extents.items())), self.types.compute[number]
        if key in self.made:
            name, when = self.made[key]
            read = {p.tensor for p in walk(found.first.value) if isinstance(p, Access)}
            if all(self.written.get(t, 0) <= when for t in read):
                return name
        self.changed = True
        name = free(counted("at" if found.first.op == "=" else "taps"), self.tensors)
        self.tensors[name], self.kinds[name] = found.shape, self.types.compute[number]
        self.known.learn(name, kinds.Kind(self.kinds[name], weak=kinds.kind_of(self.kinds[name]) in ("bool", "int")))
        self.put(named(found.first, name), found.first_extents, number)
        self.made[key] = name, len(self.rows)
        return name

    def done(self) -> tuple[Program, Shapes, Types]:
        """The program of the statements."""
        none = frozenset[tuple[Access, int]]()
        changed = [stmt is not self.program.statements[k] for stmt, _, k in self.rows]
        guarded = [none if new else self.shapes.guarded[k] for new, (_, _, k) in zip(changed, self.rows, strict=True)]
        return (
            replace(self.program, statements=tuple(stmt for stmt, _, _ in self.rows)),
            replace(
                self.shapes, tensors=self.tensors, extents=tuple(e for _, e, _ in self.rows), guarded=tuple(guarded)
            ),
            replace(self.types, tensors=self.kinds, compute=tuple(self.types.compute[k] for _, _, k in self.rows)),
        )

    # -- functions -----------------------------------------------------------------------------------

    def functions(self, stmt: Statement, extents: Extents, number: int) -> Statement:
        """The statement with functions of what shares a window's subscripts in statements of their own.

        Each part of the value is looked at once, the largest first: what is around a part reads as many positions
        after the part is a tensor as it did before.
        """
        whole = isinstance(stmt.value, Reduce) or not keys_of([stmt.value], self.tensors)[0]
        left: list[Expr] = [] if whole else [stmt.value]
        made = set[Expr]()
        while left:
            part = left.pop()
            if not isinstance(part, Call) or part in made:
                continue
            found = self.function(stmt, extents, part, number)
            if found is None:
                left += reversed(part.args)
            else:
                stmt = named(found.second, self.tensor(found, number))
                made.add(part)
        return stmt

    def function(self, stmt: Statement, extents: Extents, part: Call, number: int) -> Made | None:
        """A part of a statement, computed once for each position, if that pays."""
        if not operations(part):
            return None
        windows = windows_of([part], extents, self.tensors, stmt.domain.indices)
        if not windows or kinds.expr_type(part, self.known) != self.types.compute[number]:
            return None
        axes = axes_of(_widest_first([part]), windows, self.tensors)
        shape = tuple(a.n if isinstance(a, Window) else extents[a][1] for a in axes)
        points = prod(extents[i][1] - extents[i][0] for i in indices_of(part))
        if points < self.limits.separate or 2 * prod(shape) > points:
            return None
        found = self.computed(stmt, extents, part, windows, axes, shape)
        return found if stmt.op not in ("=", "+=") or self.pays(stmt, extents, found) else None

    def pays(self, stmt: Statement, extents: Extents, found: Made) -> bool:
        """Whether a sum costs no more where products may have lost factors to meet."""
        cost = price(found.first, found.first_extents, self.limits, self.tensors)
        cost += price(found.second, found.second_extents, self.limits, self.tensors)
        return cost <= price(stmt, extents, self.limits, self.tensors)

    def computed(
        self,
        stmt: Statement,
        extents: Extents,
        part: Expr,
        windows: tuple[Window, ...],
        axes: list[str | Window],
        shape: tuple[int, ...],
    ) -> Made:
        """The function in a statement of its own."""
        target = Access("", tuple(Index(a.name if isinstance(a, Window) else a) for a in axes))
        value = at_positions(part, windows, self.tensors)
        assert isinstance(value, Expr)
        read = Access("", tuple(a.read() if isinstance(a, Window) else Index(a) for a in axes))
        first = Statement(target, "=", value, domain_of((target, value), (), ()))
        second = replace(stmt, value=transform_expr(stmt.value, lambda p: read if p == part else None))
        return Made(first, _extents(first, extents, windows), shape, second, extents)

    # -- after the taps ------------------------------------------------------------------------------

    def late(self, stmt: Statement, extents: Extents, number: int) -> Made | None:
        """Factors and masks of positions alone wait until the taps are summed."""
        if stmt.op not in ("+=", "=") or not stmt.reduced or not self.types.compute[number].startswith("float"):
            return None
        parts = factors_of(stmt.value)
        masks = [c for mask in stmt.domain.masks for c in conjuncts(mask)]
        if isinstance(stmt.value, Reduce) or (len(parts) < 2 and not masks):
            return None
        whole = price(stmt, extents, self.limits, self.tensors)
        if whole < self.limits.separate * self.limits.element:
            return None
        best: tuple[float, Made] | None = None
        for one in (*masks, *(f for f, _ in parts)):
            windows = self.around(one, stmt, extents)
            if not windows or not all(w.is_dense(extents) for w in windows):
                continue
            found = self.split(stmt, extents, parts, masks, windows)
            if found is None:
                continue
            cost = price(found.first, found.first_extents, self.limits, self.tensors)
            cost += price(found.second, found.second_extents, self.limits, self.tensors)
            if cost < whole * self.worth(one, stmt, windows) and (best is None or cost < best[0]):
                best = cost, found
        return None if best is None else best[1]

    def worth(self, one: Expr, stmt: Statement, windows: tuple[Window, ...]) -> float:
        """How many times as much it may cost: nests multiply two factors in tiles at taps, more go point by point."""
        inside = {i for w in windows for i in w.indices}
        if self.limits.nests and inside & set(indices_of(stmt.target)):
            return 3.0
        return 0.8 if inside & set(indices_of(one)) else 1.0

    def around(self, one: Expr, stmt: Statement, extents: Extents) -> tuple[Window, ...]:
        """The windows whose positions a factor or mask knows; all of the target's for what knows plain axes of it."""
        indices, target = set(indices_of(one)), stmt.target
        windows = windows_of([one, target], extents, self.tensors, stmt.domain.indices) or windows_of(
            [one], extents, self.tensors, stmt.domain.indices
        )
        plain = {s.name for s in target.subscripts if isinstance(s, Index)}
        known = tuple(w for w in windows if w.indices & indices)
        return windows if not known and indices and indices <= plain else known

    def split(
        self,
        stmt: Statement,
        extents: Extents,
        parts: list[tuple[Expr, bool]],
        masks: list[Expr],
        windows: tuple[Window, ...],
    ) -> Made | None:
        """The statement as taps that are summed, and what is done with their sums."""
        inside = {i for w in windows for i in w.indices}

        def of_positions(node: Subscript) -> bool:
            left = indices_of(at_positions(node, windows, self.tensors))
            return not inside & set(left)

        if not of_positions(stmt.target):
            return None
        alone = [p for p in parts if inside & set(indices_of(p[0])) and not of_positions(p[0])]
        others = [p for p in parts if not inside & set(indices_of(p[0]))]
        placed = [p for p in parts if inside & set(indices_of(p[0])) and of_positions(p[0])]
        here = [m for m in masks if inside & set(indices_of(m))]
        if not alone or not all(map(of_positions, here)):
            return None
        late_masks = masks  # those of other indices, too: they are of the sums, or refuse a whole term
        early = {i for f, _ in alone for i in indices_of(f)}
        wanted = {i for node in (stmt.target, *(f for f, _ in placed), *late_masks) for i in indices_of(node)}
        kept = (early & wanted) - inside
        waiting = [p for p in others if set(indices_of(p[0])) <= kept]
        if not (placed or waiting or masks):
            return None
        now = [p for p in parts if p in alone or (p in others and p not in waiting)]
        early = {i for f, _ in now for i in indices_of(f)}
        kept = (early & wanted) - inside
        if inside - early or set(stmt.domain.indices) - early - wanted:
            return None
        known = _widest_first([stmt.target, *(f for f, _ in placed), *here])
        order = axes_of(known, windows, self.tensors)
        axes = [a for a in order if isinstance(a, Window) or a in kept]
        axes += [w for w in windows if w not in axes]
        axes += [i for i in dict.fromkeys(i for f, _ in now for i in indices_of(f)) if i in kept and i not in axes]
        taps = Access("", tuple(a.read() if isinstance(a, Window) else Index(a) for a in axes))
        first_value = product_of([f for f, below in now if not below] or [Const(1.0)], [f for f, below in now if below])
        first = Statement(taps, "+=", first_value, domain_of((taps, first_value), (), ()))
        sums = Access("", tuple(Index(a.name if isinstance(a, Window) else a) for a in axes))
        rest = [p for p in parts if p not in now]
        value: Expr = product_of([sums, *(f for f, below in rest if not below)], [f for f, below in rest if below])
        moved = at_positions(value, windows, self.tensors)
        target = at_positions(stmt.target, windows, self.tensors)
        conditions = tuple(at_positions(m, windows, self.tensors) for m in late_masks)
        assert isinstance(moved, Expr) and isinstance(target, Access)
        domain = domain_of((target, moved), (), conditions)  # type: ignore[arg-type]
        second = Statement(target, stmt.op, moved, domain, stmt.span)
        shape = tuple(a.n if isinstance(a, Window) else extents[a][1] for a in axes)
        return Made(first, _extents(first, extents, windows), shape, second, _extents(second, extents, windows))


def _widest_first(nodes: Sequence[Subscript]) -> list[Subscript]:
    """The access with the most axes in front of all: what is made lies as it does, and is the same for all readers."""
    accesses = [p for node in nodes for p in walk(node) if isinstance(p, Access)]
    return [*sorted(accesses, key=lambda p: -len(p.subscripts))[:1], *nodes]


def _extents(stmt: Statement, extents: Extents, windows: tuple[Window, ...]) -> Extents:
    """How far the indices of a statement run."""
    positions = {w.name: (0, w.n) for w in windows}
    return {i: positions[i] if i in positions else extents[i] for i in stmt.domain.indices}


def named(stmt: Statement, name: str) -> Statement:
    """The statement with the tensor over positions under its name."""

    def rule(part: Subscript) -> Subscript | None:
        return replace(part, tensor=name) if isinstance(part, Access) and not part.tensor else None

    target = transform(stmt.target, rule)
    assert isinstance(target, Access)
    return replace(stmt, target=target, value=transform_expr(stmt.value, rule))
