"""One statement as NumPy code, by the first way that fits: see `kernels.RULES`.

In: a statement whose sizes and dtypes are known. Out: lines, and the name of the kernel. The one rule: every way
computes the value over the free indices and puts it into the target; a loop runs over taps, blocks or a window's
positions, never over data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

from ...plan.contraction import order_pairs
from ...plan.kernels import BLOCK, LARGE, LONG, WINDOW, Facts, blocks, choose, itemsize
from ...program.ir import Access, Call, Const, Reduce, Subscript, children, indices_of, walk
from .evaluate import Evaluation, Term, operations
from .reads import prepare
from .scans import gone_along, scan_of, scanned
from .scatters import scatter
from .searches import POSITION, search, window_search
from .separated import separable, separated
from .source import Array, Axis, Scope, name_of, whole
from .sums import Sink
from .values import Value, atom, guarded_by_static
from .windows import chosen, select, window
from .writes import SUMS, Target, identity, make_target


class StatementCode(Evaluation):
    """One statement being lowered."""

    def lower(self) -> str:
        """Write the code; the name of the kernel."""
        low, writer = self.low, self.writer
        new = self.tensor not in low.arrays
        if new:
            storage = low.dtypes[self.tensor]
            low.arrays[self.tensor] = Array(writer.fresh(self.tensor), low.shapes[self.tensor], storage)
        array = low.arrays[self.tensor]
        writer.note(array.name, prod(array.shape), array.dtype)
        must = self.free if self.root is not None else (*self.free, *self.summed)
        if any(self.sizes[i] <= 0 for i in must):
            if new:
                writer.line(f"{array.name} = {identity(self.op, array.shape, array.dtype, self.dtype)}")
            return "nothing: the domain is empty"
        if self.root is None or all(self.sizes[i] > 0 for i in self.summed):
            for part in (self.value, *self.stmt.target.subscripts):
                self.prepare(part)
            with guarded_by_static(low):
                for mask in (*self.outer, *self.inner):
                    self.prepare(mask)
        target = make_target(low, self.stmt.target, array, self.op, new, self.dtype)
        way = choose(self.facts(target))
        if way == "window search" and new and self.tensor in low.single:
            array = low.arrays[self.tensor] = replace(array, dtype=POSITION)
            target = make_target(low, self.stmt.target, array, self.op, new, self.dtype)
        if way == "selection":
            select(self, target)
        else:
            self.into(target, way)
        target.finish()
        if self.op in ("max=", "min=") and self.tensor in low.single:
            low.extrema[self.sought(self.op)] = self.tensor
        loops = (
            []
            if way == "selection"
            else [f"{self.sizes[i]} taps over {i}{f', {n} at a time' if n else ''}" for i, n in target.steps]
        )
        return ", ".join([way, *loops, *dict.fromkeys(self.notes)])

    def prepare(self, node: Subscript) -> None:
        """Bring what every access needs into place before any loop."""
        if isinstance(node, Access):
            prepare(self.low, node)
        for child in children(node):
            self.prepare(child)

    def facts(self, target: Target) -> Facts:
        """What decides the way."""
        kept = [i for i in self.free if i not in target.taps]
        return Facts(
            root=self.root is not None,
            position=self.root is not None and self.root.op != "logsumexp",
            scattered=bool(target.dynamic),
            sums=self.op in SUMS and self.root is None,
            reduced=prod(self.sizes[i] for i in self.summed),
            kept=prod(self.sizes[i] for i in kept),
            masked=bool(self.inner),
            products=self.contractible(),
            maskable=self.maskable() is not None,
            overlapping=self.overlapping(),
            spread=self.spread(),
            separable=not target.taps and separable(self) is not None,
            scan=not target.taps and scan_of(self) is not None,
            chosen=prod(self.sizes[i] for i in chosen(self, target)),
            points=prod(self.sizes[i] for i in self.free),
        )

    def spread(self) -> bool:
        """Whether every term computes a factor over the whole domain, whose taps lie in subscripts."""
        if not self.overlapping() or not self.contractible():
            return False
        domain = {i for i in (*self.free, *self.summed) if self.sizes[i] > 1}
        cores = [self.split(term)[0] for _, term in self.terms()]
        return all(any(not isinstance(f, Access) and domain <= set(indices_of(f)) for f in core) for core in cores)

    # -- ways ----------------------------------------------------------------------------------

    def into(self, target: Target, way: str) -> None:
        """The value by this way, in blocks where it would be too large, for each tap."""
        scope = self.moving(target, way)
        steps = (*self.blocks(target, way), *((i, 0) for i in self.repeated(target, way)))
        self.notes += [f"{step or 1} {i} at a time" for i, step in steps]
        now = {**self.sizes, **{i: max(1, n) for i, n in steps}, **{i: max(1, n) for i, n in target.steps}}
        inside = (
            self.free
            if way in ("contraction", "separated contraction", "window", "window search")
            else (*self.free, *self.summed)
        )
        passes = 1 if way in ("contraction", "separated contraction") else 2
        self.writer.note(target.home.name + " values", passes * prod(now[i] for i in inside), self.compute)
        split = any(i in self.summed for i, _ in steps)
        many = way in ("masked contraction", "separated contraction") or (
            way == "contraction" and len(self.terms()) > 1
        )
        target.start(once=not split and not many)
        if steps:
            target.allocate()
        with self.writer.loops(scope, [*steps, *target.steps]) as inner:
            match way:
                case "scatter":
                    self.scattered(target, inner)
                case "contraction":
                    for term in self.terms():
                        self.contraction(target, inner, term)
                case "separated contraction":
                    separated(self, target, inner)
                case "masked contraction":
                    self.masked_contraction(target, inner)
                case "window":
                    window(self, target, inner)
                case _:
                    place = target.view(inner)
                    axes = list(place.indices)
                    if way == "scan" and (found := scan_of(self)) is not None:
                        value = scanned(self, found, axes, inner)
                    elif way == "window search":
                        root = self.root_of()
                        value = window_search(self.low, root, self.value, axes, self.summed, inner, self.best())
                    elif way == "search":
                        value = search(self.low, self.root_of(), self.value, axes, self.summed, inner, self.compute)
                    else:
                        value = self.evaluate(axes, inner)
                    if self.root is not None:
                        value = self.masked_outer(value, axes, inner)
                    target.put(place, value)

    def moving(self, target: Target, way: str) -> Scope:
        """Every index as an axis, but those of one value that are summed or share an axis of the target."""
        scope = whole(self.extents)
        if way not in ("contraction", "separated contraction", "elementwise", "whole domain"):
            return scope
        axes = {max(row.coefs, key=lambda c: self.sizes[c[0]])[0] for row in target.rows if row.coefs}
        for i, axis in scope.items():
            if axis.n == 1 and i not in axes:
                scope[i] = Axis(axis.lo, 1, None, None, 1)
        return scope

    def sought(self, op: str) -> object:
        """What tells whether two statements look for the same extremum in the same places."""
        return op, self.value, self.stmt.target.subscripts, tuple(sorted(self.extents.items())), self.low.masks

    def best(self) -> Access | None:
        """Where an earlier statement has put the extremum whose position is searched."""
        tensor = self.low.extrema.get(self.sought("max=" if self.root_of().op == "argmax" else "min="))
        if tensor is None or self.low.complex_step or self.low.arrays[tensor].dtype != self.low.kind(self.value):
            return None
        return Access(tensor, self.stmt.target.subscripts)

    def root_of(self) -> Reduce:
        assert self.root is not None
        return self.root

    def blocks(self, target: Target, way: str) -> tuple[tuple[str, int], ...]:
        """The indices to go through in blocks, outermost first: kept ones, then reduced ones."""
        kept = [i for i in indices_of(self.stmt.target) if i not in target.taps]
        size = itemsize(self.compute)
        if way == "contraction":
            taps = {i: max(1, n) for i, n in target.steps}
            now, found = {**self.sizes, **taps}, {}
            for group in self.temporaries():
                points = prod(now[i] for i in group)
                if points * size > 2 * BLOCK:
                    few = prod(now[i] for i in kept) * size <= BLOCK
                    order = self.in_memory(group) if few else [i for i in (*kept, *self.summed) if i in group]
                    more = dict(blocks([i for i in order if i not in taps], now, points, size))
                    now.update(more)
                    found.update(more)
            if target.taps:  # the products wait for their sum, and should do so in the cache
                points = prod(now[i] for i in kept) * prod(max(1, n) for _, n in target.steps)
                found.update(blocks(kept, now, points, size, BLOCK // 4))
            return tuple(found.items())
        if way in ("masked contraction", "separated contraction"):
            return ()
        if way == "scan":
            along = gone_along(self)
            points = max(prod(self.sizes[i] for i in group) for group in (along, kept))
            return blocks([i for i in kept if i in along], self.sizes, points, size)
        inside = kept if way in ("window", "window search") else [*kept, *self.summed]
        points = prod(self.sizes[i] for i in inside) * prod(max(1, n) for _, n in target.steps)
        if way in ("window", "window search"):  # what is read for each position counts, too
            read = {p.tensor for p in walk(self.value) if isinstance(p, Access)}
            points += sum(prod(self.low.shapes[tensor]) for tensor in read)
        again = way in ("window", "window search") or target.taps  # the same elements, for each position
        calls = sum(operations(e) for e in (self.value, *self.low.masks))
        passes = calls + (not target.new) + bool(self.summed)  # over arrays of this size
        if points * size <= (BLOCK if again else 2 * BLOCK if passes > 1 else LARGE):
            return ()
        order = kept
        if way not in ("window", "window search") and self.root is None:
            few = prod(self.sizes[i] for i in kept) * size <= BLOCK
            order = self.in_memory(inside) if few else [*kept, *self.summed]
        return blocks(order, self.sizes, points, size)

    def repeated(self, target: Target, way: str) -> tuple[str, ...]:
        """Few indices that only a mask mentions: `where 2*di+dj == at[i,j]` for each position of a window."""
        if way != "elementwise" or not self.low.masks:
            return ()
        read = {
            i for e in (self.value, *self.low.masks) for p in walk(e) if isinstance(p, Access) for i in indices_of(p)
        }
        masked = {i for mask in self.low.masks for i in indices_of(mask)}
        found = [i for i in self.free if i in masked and i not in read and i not in target.taps]
        count = prod(self.sizes[i] for i in found)
        rest = prod(self.sizes[i] for i in self.free) // max(1, count)
        return tuple(found) if 1 < count <= WINDOW and rest >= LONG else ()

    def temporaries(self) -> Iterator[Sequence[str]]:
        """The indices of the arrays that a contraction makes on its way: computed factors, products before the last."""
        for _, term in self.terms():
            core, _, _ = self.split(term)
            parts = [indices_of(f) for f in core]
            for factor, group in zip(core, parts, strict=True):
                if not self.is_view(factor):
                    yield group
            for left, right in order_pairs(parts, self.free, self.sizes)[:-1]:
                rest = [p for k, p in enumerate(parts) if k not in (left, right)]
                needed = set(self.free).union(*rest)
                made = tuple(i for i in dict.fromkeys((*parts[left], *parts[right])) if i in needed)
                yield made
                parts = [*rest, made]

    def scattered(self, target: Target, scope: Scope) -> None:
        """A write through index arrays: the value over all free indices, sorted by its element."""
        axes = list(target.order)
        counts = self.value == Const(1) and not self.summed and not self.low.masks and self.op in SUMS
        if counts:
            scatter(target, "1", True, scope)
            return
        if self.op in SUMS and self.summed and not self.inner and self.contractible() and len(self.terms()) == 1:
            (sign, term) = self.terms()[0]
            value = self.contracted(axes, scope, term, None)
            assert value is not None
            if sign < 0:
                value = Value(f"-{atom(value.code)}", value.dtype, value.indices)
        else:
            value = self.evaluate(axes, scope)
        code, dtype = value.code, self.low.dtypes[self.tensor]
        if set(value.indices) != set(axes) or value.python:
            shape = ", ".join(str(scope[i].width) for i in axes)
            code = f"np.broadcast_to({code}, ({shape},))"
        if value.dtype != dtype:
            code = f"{atom(code)}.astype(np.{name_of(dtype)})"
        scatter(target, code, False, scope)

    def contraction(self, target: Target, scope: Scope, term: Term) -> None:
        """A term summed into its place."""
        place = target.view(scope)
        sign, expr = term
        sink = Sink(target, place, sign < 0) if target.array.dtype == self.compute else None
        value = self.contracted(place.indices, scope, expr, sink)
        if value is not None:
            target.put(place, value, sign < 0)

    def masked_contraction(self, target: Target, scope: Scope) -> None:
        """The masked factor is zero where it is refused: right as long as all that it is multiplied by is finite.

        Where it is not, 0*inf would be nan, and the whole domain is gone through instead.
        """
        number = self.maskable()
        assert number is not None
        sign, term = self.terms()[0]
        core, outside, divisors = self.split(term)
        others = [core[1 - number], *outside, *(Call("div", (Const(1), d)) for d in divisors)]
        others = [e for e in others if any(isinstance(p, Access) for p in walk(e))]
        low, writer = self.low, self.writer
        place = target.view(scope)
        finite = None
        if self.compute.startswith(("float", "complex")):
            finite = " and ".join(self.finite(e, scope) for e in others)

        def fast() -> None:
            value = self.contracted(place.indices, scope, term, None, masked=number)
            assert value is not None
            target.put(place, value, sign < 0)

        if not finite:
            fast()
            return
        known = dict(low.gathered)
        with writer.block(f"if {finite}:"):
            fast()
        low.gathered = dict(known)  # what one branch has read the other one has not
        with writer.block("else:"), writer.loops(scope, self.blocks(target, "whole domain")) as inner:
            place = target.view(inner)
            target.put(place, self.evaluate(list(place.indices), inner))
        low.gathered = known
