"""Sums of two factors that no matrix product makes: multiply-adds of whole arrays, einsum, sums of a few neighbours.

In: two factors as arrays over their own indices, the indices to keep. Out: code whose result stands in its place, or an
operand that holds it. The one rule: what NumPy runs through in its inner loop is long, or there are few of these loops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod

from ...plan.contraction import Roles, by_stride
from ...plan.kernels import BLOCK, LONG, RUN, SHORT, WINDOW, blocks, even, row_strides
from .source import Operand, Scope, Writer, aligned, count_code, divided, name_of, shape_code, sizes_of
from .writes import Target


@dataclass(frozen=True)
class Sink:
    """Where a sum goes: the view of its target in the scope. `negative` if it is subtracted."""

    target: Target
    place: Operand
    negative: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the place is all of a tensor that is being made, in its own order."""
        return self.target.overwrites and self.place.code == self.target.array.name and not self.target.allocated


class Pointwise:
    """A sum of products being written; `notes` say what became of each pair."""

    def __init__(self, writer: Writer, scope: Scope, itemsize: int) -> None:
        self.writer, self.scope, self.itemsize = writer, scope, itemsize
        self.sizes = sizes_of(scope)
        self.notes: list[str] = []

    def named(self, code: str, indices: Sequence[str], dtype: str) -> Operand:
        name = self.writer.fresh("part")
        self.writer.line(f"{name} = {code}")
        self.writer.note(name, prod(self.sizes[i] for i in indices), dtype)
        return Operand(name, tuple(indices), dtype, row_strides([self.sizes[i] for i in indices]), fresh=True)

    def steps(self, x: Operand) -> Mapping[str, int]:
        """The strides of an operand, as if it were contiguous where they are not known."""
        return x.steps() or dict(zip(x.indices, row_strides([self.sizes[i] for i in x.indices]), strict=True))

    def held(self, x: Operand) -> Operand:
        """The operand under a name, to be sliced in a loop."""
        if x.code.isidentifier():
            return x
        name = self.writer.fresh("side")
        self.writer.line(f"{name} = {x.code}")
        return Operand(name, x.indices, x.dtype, x.strides)

    def sliced(self, x: Operand, blocked: set[str], inner: Scope) -> Operand:
        """The operand at the block of a loop."""
        parts = [f"{inner[i].local}:{inner[i].local} + {inner[i].width}" if i in blocked else ":" for i in x.indices]
        while parts and parts[-1] == ":":
            parts.pop()
        code = f"{x.code}[{', '.join(parts)}]" if parts else x.code
        return Operand(code, x.indices, x.dtype, x.strides)

    def picked(self, x: Operand, taps: Sequence[str], inner: Scope) -> Operand:
        """The operand at the values that a loop gives to the taps, whose axes it loses."""
        if not set(taps) & set(x.indices):
            return x
        parts = [inner[i].local if i in taps else ":" for i in x.indices]
        left = tuple(i for i in x.indices if i not in taps)
        return Operand(f"{x.code}[{', '.join(parts)}]", left, x.dtype)

    def unlike_matrices(
        self, a: Operand, b: Operand, out: Sequence[str], part: Roles, sink: Sink | None
    ) -> tuple[Operand | None] | None:
        """The pair by one of the ways below; None if none of them fits."""
        left, right = self.steps(a), self.steps(b)
        m, k = (prod(self.sizes[i] for i in group) for group in (part.m, part.k))
        batch = prod(self.sizes[i] for i in part.batch)
        if self.in_long_runs(part.batch, left, right):
            return (self.einsum(a, b, out),)
        if k <= WINDOW and prod(self.sizes[i] for i in out) >= LONG and self.is_outer(part.k, left, right):
            return (self.shifted(a, b, out, part.k, sink),)
        if batch >= max(LONG, 2) and self.is_short(part, left, right):
            return (self.short(*((a, b) if m == 1 else (b, a)), out, part),)
        return (self.einsum(a, b, out),) if batch > 1 else None

    def is_outer(self, summed: Sequence[str], *sides: Mapping[str, int]) -> bool:
        """Whether the larger operand's innermost index is kept, so that whole-array operations run along it."""
        big = max(sides, key=lambda s: prod(self.sizes[i] for i in s))
        return min(big, key=lambda i: abs(big[i])) not in summed

    def in_long_runs(self, batch: Sequence[str], *sides: Mapping[str, int]) -> bool:
        """Whether a kept index moves both operands by one element, long enough for einsum to go from run to run."""
        return any(self.sizes[i] >= RUN and all(s.get(i) == 1 for s in sides) for i in batch)

    def is_short(self, part: Roles, *sides: Mapping[str, int]) -> bool:
        """Whether a few neighbours are summed at each of a few positions: einsum starts a loop for each of them."""
        if len(part.k) != 1 or not self.scope[part.k[0]].whole or not 1 < self.sizes[part.k[0]] <= SHORT:
            return False
        positions = prod(self.sizes[i] for i in (*part.m, *part.n))
        return 1 < positions <= WINDOW and all(s[part.k[0]] == 1 for s in sides)

    def shifted(
        self, a: Operand, b: Operand, out: Sequence[str], summed: Sequence[str], sink: Sink | None
    ) -> Operand | None:
        """A sum over few values as multiply-adds of whole arrays, block by block: the depthwise convolution."""
        writer, scope = self.writer, self.scope
        self.notes.append(f"{prod(self.sizes[i] for i in summed)} multiply-adds of whole arrays")
        if sink is not None and set(sink.place.indices) == set(out):
            sets = sink.target.overwrites and not sink.negative
            if sets:
                sink.target.allocate()
            else:
                sink.target.zero(sink.place)
            total = self.held(sink.place)
        else:
            sink, sets = None, True
            total = self.named(f"np.empty({shape_code(out, scope)}, np.{a.dtype})", out, a.dtype)
        order = by_stride(total.indices, self.steps(total))
        sides = [self.held(self.widened(x, order)) for x in (a, b)]
        points = prod(self.sizes[i] for i in out)
        steps = blocks(order, self.sizes, points, self.itemsize)
        now = {**self.sizes, **dict(steps)}
        with ExitStack() as stack:
            outer = divided(order, scope, points * prod(self.sizes[i] for i in summed), steps)
            if outer is None:
                work = writer.workspace(prod(now[i] for i in out), a.dtype)
                inner = stack.enter_context(writer.loops(scope, steps))
            else:
                self.notes.append("in threads")
                step = dict(steps).get(outer, even(self.sizes[outer], -(-self.sizes[outer] // 2)))
                steps = ((outer, step), *(s for s in steps if s[0] != outer))
                inner = stack.enter_context(writer.side_by_side(scope, outer, step))
                work = writer.fresh("work")
                count = prod({**now, outer: step}[i] for i in out)
                writer.note(work, count, a.dtype)
                writer.line(f"{work} = np.empty({count}, np.{name_of(a.dtype)})")
                inner = stack.enter_context(writer.loops(inner, steps[1:]))
            blocked = {i for i, _ in steps}
            here = self.sliced(total, blocked, inner)
            parts = [self.sliced(x, blocked & set(x.indices), inner) for x in sides]
            term = writer.fresh("term")
            shape = shape_code(total.indices, inner)
            writer.line(f"{term} = {work}[:{count_code(total.indices, inner)}].reshape{shape}")
            with writer.loops(inner, [(i, 0) for i in summed]) as taps:
                picked = [self.picked(x, summed, taps) for x in parts]
                pieces = [aligned(self.repeated(x, order, taps), total.indices) for x in picked]
                if sets:
                    first = " == ".join([*(str(taps[i].local) for i in summed), "0"])
                    with writer.block(f"if {first}:"):
                        writer.line(f"np.multiply({pieces[0]}, {pieces[1]}, out={here.code})")
                        writer.line("continue")
                writer.line(f"np.multiply({pieces[0]}, {pieces[1]}, out={term})")
                writer.line(f"{here.code} {'-=' if sink is not None and sink.negative else '+='} {term}")
        return None if sink is not None else total

    def repeated(self, x: Operand, order: Sequence[str], scope: Scope) -> Operand:
        """An operand that lacks just a short innermost index, repeated over it: else each run is an inner loop."""
        if not (x.indices and 1 < self.sizes[order[-1]] <= SHORT and set(x.indices) == set(order[:-1])):
            return x
        code = f"np.repeat({aligned(x, order[:-1])}, {scope[order[-1]].width}, -1).reshape{shape_code(order, scope)}"
        return Operand(code, tuple(order), x.dtype)

    def widened(self, x: Operand, order: Sequence[str]) -> Operand:
        """A small operand written out along one more index, where its innermost index alone makes only short runs."""
        if len(order) < 2 or order[-1] not in x.indices or order[-2] in x.indices:
            return x
        points = prod(self.sizes[i] for i in x.indices) * self.sizes[order[-2]]
        if self.sizes[order[-1]] >= RUN or points * self.itemsize > BLOCK // 4:
            return x
        indices = (*(i for i in x.indices if i != order[-1]), *order[-2:])
        shape = shape_code(indices, self.scope)
        return self.named(f"np.broadcast_to({aligned(x, indices)}, {shape}).copy()", indices, x.dtype)

    def short(self, a: Operand, b: Operand, out: Sequence[str], part: Roles) -> Operand:
        """Sums of a few neighbours, position by position of `b`: a product of whole arrays, then its slices."""
        writer, scope, index = self.writer, self.scope, part.k[0]
        positions = [*part.m, *part.n]
        self.notes.append(f"sums of {self.sizes[index]} at {prod(self.sizes[i] for i in positions)} positions")
        a, b = self.held(a), self.held(b)
        total = self.named(f"np.empty({shape_code(out, scope)}, np.{a.dtype})", out, a.dtype)
        order = (*(i for i in b.indices if i in part.batch), index)
        work = writer.workspace(prod(self.sizes[i] for i in order), a.dtype)
        term = writer.fresh("term")
        writer.line(f"{term} = {work}[:{count_code(order, scope)}].reshape{shape_code(order, scope)}")
        with writer.loops(scope, [(i, 0) for i in positions]) as inner:
            sides = [aligned(self.picked(x, positions, inner), order) for x in (a, b)]
            writer.line(f"np.multiply({sides[0]}, {sides[1]}, out={term})")
            here = writer.fresh("here")
            writer.line(f"{here} = {aligned(self.picked(total, positions, inner), order[:-1])}")
            writer.line(f"np.add({term}[..., 0], {term}[..., 1], out={here})")
            for k in range(2, self.sizes[index]):
                writer.line(f"{here} += {term}[..., {k}]")
        return total

    def einsum(self, a: Operand, b: Operand, out: Sequence[str]) -> Operand:
        """Sums along an axis of two arrays with the same other indices: one pass, no temporary."""
        self.notes.append("einsum of two")
        names = dict.fromkeys((*a.indices, *b.indices))
        letters = dict(zip(names, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", strict=False))
        spell = ["".join(letters[i] for i in group) for group in (a.indices, b.indices, out)]
        code = f"'{spell[0]},{spell[1]}->{spell[2]}'"
        outer = divided(out, self.scope, prod(self.sizes[i] for i in names))
        if outer is None:
            return self.named(f"np.einsum({code}, {a.code}, {b.code})", out, a.dtype)
        a, b = self.held(a), self.held(b)
        made = self.named(f"np.empty({shape_code(out, self.scope)}, np.{name_of(a.dtype)})", out, a.dtype)
        self.notes.append("in threads")
        step = even(self.sizes[outer], -(-self.sizes[outer] // 4))
        with self.writer.side_by_side(self.scope, outer, step) as inner:
            codes = [self.sliced(x, {outer} & set(x.indices), inner).code for x in (a, b, made)]
            # Short runs are laid out as einsum goes through them, and brought in order afterwards.
            made_there = self.sizes[out[-1]] >= RUN
            call = f"np.einsum({code}, {codes[0]}, {codes[1]}"
            self.writer.line(f"{call}, out={codes[2]})" if made_there else f"{codes[2]}[...] = {call})")
        return made
