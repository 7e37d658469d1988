"""One chain: statements joined one after the other, as long as each goes through the same block indices.

In: the statements of a program that may run next. Out: a `Chain`. The one rule: a statement joins if every block of
what it makes depends on the same block of what the chain has made, and on tensors that are complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from ...program.algebra import factors_of
from ...program.functions import COMBINATIONS
from ...program.ir import (
    Access,
    Expr,
    Index,
    Reduce,
    Statement,
    accesses_of,
    indices_of,
    reads_of,
    walk,
)
from ...program.names import counted, free
from ..blocks import even, itemsize
from ..operators import REDUCTIONS, identity
from .chain import Chain, Facts, Store, renamed
from .formulas import Formulas
from .landing import Landing, landings
from .statements import (
    is_contraction,
    is_merging,
    is_plain_product,
    is_window,
    size_of,
    touched,
)
from .values import Move, Node, RefusedError


class Joining:
    """A chain being made."""

    def __init__(self, facts: Facts, start: int, labels: tuple[str, ...], begun: set[str], most: int) -> None:
        self.facts, self.labels, self.begun, self.most = facts, labels, begun, most
        self.limits = facts.limits
        self.compute = facts.compute[start]
        self.graph = Formulas(
            list(facts.candidates[start].order),
            dict(facts.shapes.extents[start]),
            self.compute,
            facts.shapes.tensors,
            facts.storage,
            facts.kind,
            facts.limits,
        )
        self.numbers: list[int] = []
        self.stores: list[Store] = []
        self.axes: dict[str, tuple[str | None, ...]] = {}  # the chain's index of each axis of a tensor
        self.read: set[str] = set()
        self.add(start)

    def extend(self, order: Sequence[int], done: set[int]) -> None:
        """Take in what may run now, of the statements that come next."""
        for number in order[1 : self.limits.ahead]:
            stmt = self.facts.program.statements[number]
            if number in done or not self.is_near(stmt):
                continue
            together = [number]
            if not stmt.reduced:  # it takes one pass over the tensor to add everything to it
                writers = self.facts.writers[stmt.target.tensor]
                together = [k for k in writers if k not in done and k not in self.numbers]
            if all(self.is_ready(k, done) for k in together):
                with suppress(RefusedError):
                    self.add(number)

    def is_ready(self, number: int, done: set[int]) -> bool:
        """Whether all that a statement reads is there, in a block at least, and its target is defined."""
        made, statements, writers = self.graph.made, self.facts.program.statements, self.facts.writers
        stmt = statements[number]
        defined = [k for k in writers[stmt.target.tensor] if statements[k].op == "=" and k != number]
        if any(k not in done and k not in self.numbers for k in defined):
            return False
        return all(
            k in done or (k in self.numbers and made[tensor][0] is not None)
            for tensor in reads_of(stmt)
            for k in writers.get(tensor, ())
        )

    def is_near(self, stmt: Statement) -> bool:
        """Whether a statement touches what is in the cache."""
        made, read, large = self.graph.made, self.read, self.facts.large
        return any([t in made or (t in read and t in large) for t in touched(stmt)])

    # -- one statement -------------------------------------------------------------------------

    def add(self, number: int) -> None:
        """Take a statement in. Errors: `RefusedError`, and nothing has changed."""
        facts = self.facts
        stmt, extents = facts.program.statements[number], facts.shapes.extents[number]
        tensor = stmt.target.tensor
        if (
            facts.compute[number] != self.compute
            or facts.storage[tensor] != self.compute
            or facts.shapes.guarded[number]
            or any([hi <= lo for lo, hi in extents.values()])
            or facts.candidates[number].is_contraction
        ):
            raise RefusedError
        names = self.renaming(stmt, extents)
        bounds = {names[i]: extents[i] for i in extents}
        if any(self.graph.extents.get(i, b) != b for i, b in bounds.items()):
            raise RefusedError
        if any(bounds.get(i) != self.graph.extents[i] or bounds[i][0] for i in self.labels):
            raise RefusedError
        if is_merging(stmt) or any(old != new for old, new in names.items()):
            stmt = renamed(stmt, names, extents)
        had = set(self.graph.extents), list(self.graph.order), len(self.graph.nodes)
        self.graph.extents.update(bounds)
        self.graph.order += [i for i in bounds if i not in self.graph.order]
        try:
            landing = landings(stmt.target, self.graph, self.labels)
            axes = tuple(place.axis for place in landing)
            store = self.store(number, stmt, axes) if all(p.is_plain for p in landing) else self.spread(stmt, landing)
            if any(self.in_a_block(node) > self.most for node in self.graph.nodes[had[2] :]):
                raise RefusedError
        except RefusedError:
            self.graph.order[:] = had[1]
            self.graph.forget(had[2])
            for i in set(self.graph.extents) - had[0]:
                del self.graph.extents[i]
            raise
        self.numbers.append(number)
        self.stores.append(store)
        self.graph.made[tensor] = (None if store.partial else store.node, axes)
        for access in accesses_of(stmt):
            if access.tensor not in self.axes:
                self.axes[access.tensor] = tuple([s.name if isinstance(s, Index) else None for s in access.subscripts])
            if access.tensor != tensor:
                self.read.add(access.tensor)

    def in_a_block(self, node: Node) -> int:
        """How many elements of a node there are for one value of all block indices but the last, of that for few."""
        return self.graph.points(i for i in node.indices if i not in self.labels)

    def renaming(self, stmt: Statement, extents: Mapping[str, tuple[int, int]]) -> dict[str, str]:
        """The chain's names of a statement's indices: those of the axes that it runs through."""
        found: dict[str, str] = {}
        accesses = [p for p in accesses_of(stmt) if p.tensor in self.axes]
        accesses.sort(key=lambda a: (a.tensor not in self.graph.made, -size_of(self.facts.shapes.tensors[a.tensor])))
        for access in accesses:
            for sub, name in zip(access.subscripts, self.axes[access.tensor], strict=True):
                if not isinstance(sub, Index) or name is None or sub.name in found or name in found.values():
                    continue
                if self.graph.extents[name] == extents[sub.name]:
                    found[sub.name] = name
        taken = {*found.values(), *self.graph.extents}
        for i in extents:
            if i in found:
                continue
            is_other = i in found.values() or self.graph.extents.get(i, extents[i]) != extents[i]
            found[i] = free(counted(i, "_"), taken) if is_other else i
            taken.add(found[i])
        return found

    def spread(self, stmt: Statement, landing: Sequence[Landing]) -> Store:
        """What a renamed statement makes that writes a small window around each of its points."""
        graph, op = self.graph, stmt.op
        kept = {place.index for place in landing}
        taps = [i for place in landing for i, _ in place.row.coefs if i not in kept] + list(stmt.reduced)
        if op not in ("=", "+=") or isinstance(stmt.value, Reduce) or graph.points(taps) > self.limits.unrolled:
            raise RefusedError
        if (
            graph.points(stmt.reduced) > 1
            or set(taps) & set(self.labels)
            or stmt.domain.masks
            or all(p.is_apart(graph) for p in landing)
        ):
            raise RefusedError

        def moves() -> list[Move] | None:
            found = [place.move(graph) for place in landing if not place.is_plain]
            there = [m for m in found if m is not None]
            return there if len(there) == len(found) else None

        axes = tuple(place.axis for place in landing)
        value = graph.spread(axes, moves, lambda: graph.value(stmt.value), taps)
        first = stmt.target.tensor not in {*graph.made, *self.begun, *self.facts.program.inputs}
        return self.mapped(stmt.target.tensor, axes, op, value, first)

    def store(self, number: int, stmt: Statement, axes: tuple[str, ...]) -> Store:
        """What a renamed statement makes."""
        graph, tensor, op = self.graph, stmt.target.tensor, stmt.op
        masks = stmt.domain.masks
        exact = op in ("max=", "min=") or (op == "=" and self.facts.is_compared(stmt.value))
        formula = graph.exact if exact else graph.value
        known = graph.made.get(tensor)
        first = known is None and tensor not in self.begun and tensor not in self.facts.program.inputs
        if known is not None and (known[0] is None) != (set(stmt.reduced) & set(self.labels) != set()):
            raise RefusedError
        if isinstance(stmt.value, Reduce):
            root = stmt.value
            if root.op != "logsumexp" or stmt.reduced or op not in ("=", "+="):
                raise RefusedError
            if set(root.domain.indices) & set(self.labels):
                raise RefusedError
            self.check_work(root.body, (*axes, *root.domain.indices))
            value = self.masked(graph.value(root.body), root.domain.masks, float("-inf"))
            node = self.masked(graph.logsumexp(value, root.domain.indices), masks, 0)
            return self.mapped(tensor, axes, op, node, first)
        reduced = stmt.reduced
        if not reduced:
            node = self.masked(formula(stmt.value), masks, identity(op, "float64"))
            return self.mapped(tensor, axes, op, node, first)
        if self.is_window(number, stmt) and not set(reduced) & set(self.labels):
            node = self.window(stmt)
            return self.mapped(tensor, axes, op, node, first)
        self.check_work(stmt.value, stmt.domain.indices)
        partial = bool(set(reduced) & set(self.labels))
        # What refuses elements of the result does so when they are there: the sum then multiplies as it adds.
        late = () if partial else tuple(m for m in masks if not set(indices_of(m)) & set(reduced))
        masks = tuple(m for m in masks if m not in late)
        scale: Node | None = None
        if op in ("=", "+="):
            factors, coefficient, divisors = graph.product(stmt.value)
            factors, divisors, reduced = self.summed_before(factors, divisors, masks, reduced)
            over = set(reduced)
            inner = [f for f in factors if over & set(f.indices)]
            below = [d for d in divisors if over & set(d.indices)]
            outer = [f for f in factors if f not in inner], [d for d in divisors if d not in below]
            if masks or (partial and any(set(n.indices) & set(self.labels) for part in outer for n in part)):
                # with masks, a point that they refuse must not meet what stands before the sum
                inner, below, outer = factors, divisors, ([], [])
            value = self.masked(graph.times(inner, 1, below), masks, 0)
            node = graph.reduce("sum", value, reduced)
            if outer[0] or outer[1] or coefficient != 1:
                if partial:
                    scale = graph.times(outer[0], coefficient, outer[1])
                else:
                    node = graph.times([node, *outer[0]], coefficient, outer[1])
        else:
            value = self.masked(formula(stmt.value), masks, identity(op, "float64"))
            node = graph.reduce(REDUCTIONS[op], value, reduced)
        if partial:
            if not set(self.labels) <= set(value.indices):
                raise RefusedError  # the same in several blocks: each of them would count it
            if graph.points(node.indices) > self.most // self.limits.many:
                raise RefusedError  # to add the parts would take as long as to make them
            return Store(tensor, axes, op, node, True, scale, first)
        node = self.masked(node, late, identity(op, "float64"))
        return self.mapped(tensor, axes, op, node, first)

    def summed_before(
        self, factors: list[Node], divisors: list[Node], masks: Sequence[Expr], reduced: tuple[str, ...]
    ) -> tuple[list[Node], list[Node], tuple[str, ...]]:
        """What is left of a product when all is summed that no mask asks for, and what is left to be summed."""
        asked = {i for mask in masks for i in indices_of(mask)} | set(self.labels)
        first = tuple(i for i in reduced if i not in asked)
        parts = [[n for n in group if set(n.indices) & set(first)] for group in (factors, divisors)]
        if not masks or not parts[0]:
            return factors, divisors, reduced
        graph = self.graph
        made = graph.reduce("sum", graph.times(parts[0], 1, parts[1]), first)
        left, below = (
            [n for n in group if n not in own] for group, own in zip((factors, divisors), parts, strict=True)
        )
        return [made, *left], below, tuple(i for i in reduced if i not in first)

    def is_window(self, number: int, stmt: Statement) -> bool:
        """Whether a sum is taken position by position; an axis of several indices has been renamed to one."""
        candidate = self.facts.candidates[number]
        return is_window(stmt, self.graph.extents, self.limits) if is_merging(candidate.stmt) else candidate.is_window

    def window(self, stmt: Statement) -> Node:
        """The sum over a window; what does not differ in it is multiplied once."""
        graph, over = self.graph, set(stmt.reduced)
        core, outside, divisors = [], list[Expr](), list[Expr]()
        for factor, below in factors_of(stmt.value):
            if over & set(indices_of(factor)):
                core.append((factor, below))
            else:
                (divisors if below else outside).append(factor)
        if stmt.domain.masks or not core or any(below for _, below in core):
            return graph.window(
                stmt.op, lambda: self.masked(graph.value(stmt.value), stmt.domain.masks, 0), stmt.reduced
            )
        value = graph.window(stmt.op, lambda: graph.times([graph.value(f) for f, _ in core]), stmt.reduced)
        return graph.times([value, *map(graph.value, outside)], 1, [graph.value(d) for d in divisors])

    def mapped(self, tensor: str, axes: tuple[str, ...], op: str, node: Node, first: bool) -> Store:
        """A value that is complete in its block, combined with what the tensor has already."""
        graph = self.graph
        if not set(node.indices) <= set(axes):
            raise RefusedError
        if tensor in graph.made:
            before, known = graph.made[tensor]
            if before is None or known != axes:
                raise RefusedError
            node = graph.plus(before, node) if op in ("=", "+=") else graph.node(COMBINATIONS[op], (before, node))
        elif not first:
            old = graph.node("read", expr=Access(tensor, tuple(Index(i) for i in axes)))
            node = graph.node(COMBINATIONS[op], (old, node))
        return Store(tensor, axes, op, node, first=first)

    def masked(self, node: Node, masks: Sequence[Expr], otherwise: float) -> Node:
        """The value where all masks hold."""
        condition: Node | None = None
        for mask in masks:
            found = self.graph.value(mask)
            if not found.truth:
                raise RefusedError
            condition = found if condition is None else self.graph.node("and", (condition, found), truth=True)
        if node.truth:
            raise RefusedError
        return node if condition is None else self.graph.keep(condition, node, otherwise)

    def check_work(self, value: Expr, indices: Sequence[str]) -> None:
        """Refuse a reduction that is a contraction, or goes through a window."""
        if is_contraction(value, indices, self.graph.extents):
            raise RefusedError

    # -- the whole -----------------------------------------------------------------------------

    def is_worth_it(self) -> bool:
        """Whether the chain is better than its statements one by one."""
        if len(self.numbers) > 1:
            return not self.is_mostly_rows()
        stmt, extents = self.facts.program.statements[self.numbers[0]], self.facts.shapes.extents[self.numbers[0]]
        is_sum = any(extents[i][1] - extents[i][0] > 1 for i in stmt.reduced)
        if is_sum and self.is_of_rows(stmt, self.numbers[0]):
            return False
        if not isinstance(stmt.value, Access):
            return not is_sum or not is_plain_product(stmt.value) or self.is_long(stmt)
        if is_sum:  # each thread takes a part
            return self.graph.points(self.graph.order) >= self.limits.sum
        return bool(stmt.domain.masks)

    def is_mostly_rows(self) -> bool:
        """Whether all but the sums of rows that masks admit is much smaller than one of these."""
        rows, others = [0], [0]
        for number in self.numbers:
            stmt, extents = self.facts.program.statements[number], self.facts.shapes.extents[number]
            points = size_of([hi - lo for lo, hi in extents.values()])
            (rows if stmt.reduced and self.is_of_rows(stmt, number) else others).append(points)
        return max(others) * self.limits.larger <= max(rows)

    def is_of_rows(self, stmt: Statement, number: int) -> bool:
        """Whether masks admit some rows of one factor: a product with 0 and 1 sums them, and reads each once."""
        if stmt.op not in ("=", "+=") or not stmt.domain.masks or not self.graph.compute.startswith("float"):
            return False
        core = [f for f, _ in factors_of(stmt.value) if set(stmt.reduced) & set(indices_of(f))]
        if (
            len(core) != 1
            or not isinstance(core[0], Access)
            or any(isinstance(p, Access) for s in core[0].subscripts for p in walk(s))
        ):
            return False
        said = {i for mask in stmt.domain.masks for i in indices_of(mask)}
        rest = set(indices_of(core[0])) - said
        rows = bool(said & set(stmt.reduced)) and said <= set(indices_of(core[0])) and not rest & set(stmt.reduced)
        extents = self.facts.shapes.extents[number]
        return rows and size_of([extents[i][1] - extents[i][0] for i in rest]) >= self.limits.slim

    def is_long(self, stmt: Statement) -> bool:
        """Whether a sum of products reads all factors at each of many points: BLAS has no product for that."""
        extents = self.facts.shapes.extents[self.numbers[0]]
        moving = {i for i, (lo, hi) in extents.items() if hi - lo > 1}
        accesses = [p for p in walk(stmt.value) if isinstance(p, Access)]
        return self.graph.points(self.graph.order) >= self.limits.sum and all(
            moving <= set(indices_of(a)) for a in accesses
        )

    def chain(self, done: set[int]) -> Chain:
        """The chain as it is now."""
        facts = self.facts
        staying = {*facts.program.inputs, *facts.program.outputs, *(s.tensor for s in self.stores if s.partial)}
        touched = self.read | {s.tensor for s in self.stores}
        over = {t for t in touched - staying if done.issuperset((*facts.readers.get(t, ()), *facts.writers.get(t, ())))}
        inside = frozenset(s.tensor for s in self.stores if s.tensor in over)
        begun = {s.tensor for s in self.stores} - {s.tensor for s in self.stores if s.first}
        dying = frozenset(over - inside | inside & begun)
        return Chain(tuple(self.numbers), self.steps(), tuple(self.stores), self.graph, inside, dying)

    def steps(self) -> tuple[tuple[str, int], ...]:
        """The block indices, all but the last one value at a time."""
        graph = self.graph
        if not self.labels:
            return ()
        *outer, last = self.labels
        unit = max(graph.points(set(n.indices) - set(self.labels)) for n in graph.nodes)
        most = self.limits.chunk // itemsize(self.compute)
        n = graph.extents[last][1]
        return (*((i, 1) for i in outer), (last, even(n, max(1, most // unit))))
