"""Sums of products: pair by pair, as matrix products on merged axes, or as passes over whole arrays.

In: the factors as loads over their own indices, the indices to keep. Out: steps, and the value that holds the sum, or
nothing where it stands in its place. The one rule: what is multiplied are matrices as they lie; an operand whose
indices do not merge is copied block by block into a workspace (for a window that is im2col), and nothing else is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod

from .blocks import blocks, even, itemsize
from .building import Building, axes_of, sizes_of, steps_of
from .contraction import MatrixProduct, by_stride, is_matrix, matrix_product, roles
from .kernels import Map, Product, Roles
from .operators import combining
from .order import order_pairs
from .places import Place, View
from .plan import Make
from .quantities import Apply, Load, Number, Reduced, Value
from .values import fixed
from .views import Scope
from .writes import Target


@dataclass(frozen=True)
class Sink:
    """Where a sum goes: the place of its target. `negative` if it is subtracted."""

    target: Target
    place: View
    negative: bool = False


class Pairs:
    """A sum of products being planned, of one dtype; `notes` say what became of each pair."""

    def __init__(self, b: Building, scope: Scope, dtype: str) -> None:
        self.b, self.scope, self.dtype, self.limits = b, scope, dtype, b.limits
        self.sizes = sizes_of(scope)
        self.itemsize = itemsize(dtype)
        self.own: set[Place] = set()  # arrays made here, that may be written over
        self.notes: list[str] = []

    def points(self, indices: Iterable[str]) -> int:
        """How many elements there are at once over the indices."""
        return prod(self.sizes[i] for i in indices)

    def axes(self, x: Value) -> tuple[str, ...]:
        """The axes of a value: of a load in the order in which they stand."""
        if isinstance(x, Load) and not x.at:
            return axes_of(x.place, self.scope)
        return tuple(i for i in self.scope if i in x.indices and not self.scope[i].tap)

    def steps(self, x: Load) -> dict[str, int]:
        return steps_of(x.place, self.scope)

    def held(self, x: Value, indices: Sequence[str], hint: str = "part") -> Load:
        """The value in an array of its own."""
        part = self.b.part(hint, indices, self.dtype, self.scope)
        self.b.run(part, "=", Map(x))
        self.own.add(part)
        return Load(part, self.dtype)

    # -- the order -----------------------------------------------------------------------------

    def run(self, factors: Sequence[Load], out: Sequence[str], sink: Sink | None) -> Value | None:
        """The sum over all indices not in `out`; None if it stands in the sink."""
        parts: list[Value] = list(factors)
        pairs = order_pairs([self.axes(f) for f in factors], out, self.sizes, self.limits)
        for number, (left, right) in enumerate(pairs):
            a, b = parts[left], parts[right]
            assert isinstance(a, Load) and isinstance(b, Load)
            rest = [p for k, p in enumerate(parts) if k not in (left, right)]
            both = (*self.axes(a), *self.axes(b))
            needed = set(out).union(*(self.axes(p) for p in rest))
            kept = list(dict.fromkeys(i for i in (*out, *both) if i in needed and i in both))
            last = number == len(pairs) - 1
            found = self.pair(a, b, kept, sink if last else None)
            if found is None:
                return None
            if not last and not isinstance(found, Load):
                found = self.held(found, self.as_they_lie(kept, a, b))
            parts = [*rest, found]
        result = parts[0]
        return self.summed(result, out) if isinstance(result, Load) else result

    def as_they_lie(self, indices: Sequence[str], *operands: Load) -> list[str]:
        """The indices in the order in which a product of whole operands runs through these; a longer run within."""
        strides = {i: max(abs(s.get(i, 0)) for s in map(self.steps, operands)) for i in indices}
        return sorted(indices, key=lambda i: (-strides[i], self.sizes[i]))

    def summed(self, a: Load, kept: Iterable[str]) -> Load:
        """The operand summed over its indices that are not kept."""
        kept = set(kept)
        gone = tuple(i for i in self.axes(a) if i not in kept)
        if not gone:
            return a
        self.notes.append("sum over axes")
        return self.held(Reduced("sum", a, gone), [i for i in self.axes(a) if i in kept])

    def pair(self, a: Load, b: Load, out: Sequence[str], sink: Sink | None) -> Value | None:
        """The contraction of two operands."""
        a = self.summed(a, (*out, *self.axes(b)))
        b = self.summed(b, (*out, *self.axes(a)))
        part = roles(self.axes(a), self.axes(b), out)
        if not part.summed:
            self.notes.append("product")
            for one, other in ((a, b), (b, a)):
                if one.place in self.own and set(self.axes(one)) == set(out):
                    self.b.run(one.place, "*=", Map(other))
                    return one
            return Apply("mul", (a, b), self.dtype)
        if self.limits.nests and not self.dtype.startswith("complex"):
            return self.nest(a, b, out, part, sink)
        left, right = self.steps(a), self.steps(b)
        thin = min(self.points(part.rows), self.points(part.columns)) == 1
        several = self.points(part.batch) > 1
        if thin and (several or not all(self.fits(part, s, out) for s in (left, right))):
            done = self.unlike_matrices(a, b, out, part, sink)
            if done is not None:
                return done[0]
        place = None
        if sink is not None and set(out) == set(axes_of(sink.place, self.scope)):
            # Several taps at once are columns of one product.
            place = None if any(n for _, n in sink.target.steps) else steps_of(sink.place, self.scope)
        direct = sink is None or (place is not None and sink.target.overwrites and not sink.negative)
        product = matrix_product(left, right, out, place, direct, self.sizes, self.itemsize, self.limits)
        return self.matmul(*((b, a) if product.swapped else (a, b)), product, out, sink)

    def fits(self, part: Roles, steps: dict[str, int], out: Sequence[str]) -> bool:
        """Whether an operand is a matrix as it lies."""
        rows = [i for i in out if i in steps and i not in part.batch]
        return is_matrix(rows, part.summed, steps, self.sizes)

    def nest(self, a: Load, b: Load, out: Sequence[str], part: Roles, sink: Sink | None) -> Value | None:
        """The pair as a loop nest, as both lie."""
        self.notes.append("loop nest of two")
        order = self.as_they_lie([i for i in out if i in {*self.axes(a), *self.axes(b)}], a, b)
        whole = sink is not None and set(order) == set(axes_of(sink.place, self.scope))
        if whole and sink is not None and not (sink.target.overwrites and sink.negative):
            op = "=" if sink.target.overwrites else combining(sink.target.op, sink.negative)
            self.b.run(sink.place, op, Product(a.place, b.place, part, "nest"))
            return None
        made = self.b.part("part", order, self.dtype, self.scope)
        self.b.run(made, "=", Product(a.place, b.place, part, "nest"))
        self.own.add(made)
        return Load(made, self.dtype)

    # -- matrix products -----------------------------------------------------------------------

    def matmul(self, a: Load, b: Load, product: MatrixProduct, out: Sequence[str], sink: Sink | None) -> Value | None:
        """One matrix product, in blocks where it says so; `a` and `b` are its left and right side."""
        self.notes.append(self.told(product))
        result = (*product.batch, *product.m, *product.n)
        kernel = Roles(product.batch, product.m, product.n, product.k)
        if product.blocks or (sink is not None and product.direct and not self.is_whole(sink, result)):
            return self.in_blocks(a, b, product, kernel, result, sink)
        left = self.operand(a, (product.batch, product.m, product.k), product.copy_left, self.scope)
        right = self.operand(b, (product.batch, product.k, product.n), product.copy_right, self.scope)
        if sink is not None and product.direct:
            self.b.run(sink.place, "=", Product(left.place, right.place, kernel))
            return None
        part = self.b.part("part", result, self.dtype, self.scope)
        self.b.run(part, "=", Product(left.place, right.place, kernel))
        self.own.add(part)
        return Load(part, self.dtype)

    def told(self, product: MatrixProduct) -> str:
        """The product in words."""
        m, n, k, batch = (self.points(group) for group in (product.m, product.n, product.k, product.batch))
        copies = [side for side, copied in (("left", product.copy_left), ("right", product.copy_right)) if copied]
        note = f"matmul {f'{batch} x ' if batch > 1 else ''}{m}x{k} by {k}x{n}"
        note += f", {' and '.join(copies)} copied" if copies else ""
        return note + "".join(f", {step} {i} at a time" for i, step in product.blocks)

    def is_whole(self, sink: Sink, result: Sequence[str]) -> bool:
        """Whether the place is all of a buffer that is being made, in the order of the result."""
        whole = all(self.scope[i].whole for i in sink.place.mentioned)
        return (
            whole
            and sink.target.overwrites
            and sink.target.coverable
            and axes_of(sink.place, self.scope) == tuple(result)
        )

    def in_blocks(
        self, a: Load, b: Load, product: MatrixProduct, kernel: Roles, result: Sequence[str], sink: Sink | None
    ) -> Value | None:
        """The product block by block, each operand copied as far outside as its indices allow."""
        place, adds, negative = self.ready(product, result, sink)
        order = {"left": (product.batch, product.m, product.k), "right": (product.batch, product.k, product.n)}
        sides = {"left": (a, product.copy_left), "right": (b, product.copy_right)}
        found: dict[str, Load] = {}
        with ExitStack() as stack:
            inner, done, blocked = self.scope, set[str](), {i for i, _ in product.blocks}
            for step in (None, *product.blocks):
                if step is not None:
                    inner = stack.enter_context(self.b.loop(inner, *step))
                    done.add(step[0])
                for side, (x, copied) in sides.items():
                    if side not in found and blocked & set(self.axes(x)) <= done:
                        found[side] = self.operand(x, order[side], copied, inner)
            made = Product(found["left"].place, found["right"].place, kernel)
            steps, now = steps_of(place, inner), sizes_of(inner)
            direct = product.direct and not adds and not negative and is_matrix(product.m, product.n, steps, now, True)
            if direct and result:
                self.b.run(place, "=", made)
            else:
                part = self.b.part("part", result, self.dtype, inner)
                self.b.run(part, "=", made)
                value: Value = Load(part, self.dtype)
                if negative and not adds:
                    value = Apply("neg", (value,), self.dtype)
                self.b.run(place, combining("+=", negative) if adds else "=", Map(value))
        return None if sink is not None else Load(place, self.dtype)

    def ready(self, product: MatrixProduct, result: Sequence[str], sink: Sink | None) -> tuple[Place, bool, bool]:
        """Where blocks of the result go; whether they are added to what is there; whether they are subtracted."""
        if sink is not None:
            if product.accumulates:
                sink.target.zero(sink.place)
            return sink.place, not sink.target.overwrites, sink.negative
        part = self.b.part("part", result, self.dtype, self.scope)
        self.own.add(part)
        if product.accumulates:
            self.b.run(part, "=", Map(Number(0, self.dtype)))
        else:
            self.b.steps.append(Make(part))
        return part, product.accumulates, False

    def operand(self, x: Load, order: tuple[Sequence[str], ...], copied: bool, scope: Scope) -> Load:
        """The operand as a stack of matrices (batch, rows, columns): as it lies, or copied.

        In a copy the index with the smallest stride stays innermost, so that long runs move.
        """
        if not copied:
            return x
        batch, rows, columns = order
        steps = steps_of(x.place, scope)
        inner = min(steps, key=lambda i: (abs(steps[i]), -scope[i].size, i in rows)) if steps else ""
        groups = (columns, rows) if inner in rows else (rows, columns)
        flat = [i for i in (*batch, *groups[0], *groups[1]) if i in steps]
        key = (x.place, tuple(flat), tuple((i, self.b.extents[i]) for i in x.place.mentioned))
        size = prod(scope[i].size for i in flat) * self.itemsize
        keeps = self.b.depth == 0 and size <= self.b.room and isinstance(x.place, View)
        if isinstance(x.place, View) and keeps and (x.place, *key[1:]) in self.b.copies:
            return Load(self.b.copies[x.place, key[1], key[2]], self.dtype)
        part = self.b.part("copy", flat, self.dtype, scope, "copy" if keeps else "workspace")
        self.b.run(part, "=", Map(x))
        if isinstance(x.place, View) and keeps:
            self.b.copies[x.place, key[1], key[2]] = part
            self.b.room -= size
        return Load(part, self.dtype)

    # -- what is no product of matrices --------------------------------------------------------

    def unlike_matrices(
        self, a: Load, b: Load, out: Sequence[str], part: Roles, sink: Sink | None
    ) -> tuple[Value | None] | None:
        """The pair by one of the ways below; None if none of them fits."""
        left, right = self.steps(a), self.steps(b)
        if self.in_long_runs(part.batch, left, right):
            return (self.einsum(a, b, out, part),)
        few = self.points(part.summed) <= self.limits.window and self.points(out) >= self.limits.long
        if few and self.is_outer(part.summed, left, right) and not self.are_matrices(a, b, part):
            return (self.shifted(a, b, out, part.summed, sink),)
        batch = self.points(part.batch)
        if batch >= max(self.limits.long, 2) and self.is_short(part, left, right):
            return (self.neighbours(*((a, b) if self.points(part.rows) == 1 else (b, a)), out, part),)
        return (self.einsum(a, b, out, part),) if batch > 1 else None

    def are_matrices(self, a: Load, b: Load, part: Roles) -> bool:
        """Whether each of a batch is a matrix by a vector as it lies, large enough for BLAS."""
        one = self.points((*part.rows, *part.columns, *part.summed))
        lies = is_matrix(part.rows, part.summed, self.steps(a), self.sizes)
        lies = lies and is_matrix(part.summed, part.columns, self.steps(b), self.sizes)
        floats = self.dtype.startswith(("float32", "float64", "complex"))
        matrices = self.points((*part.rows, *part.columns)) > 1 and self.points(part.summed) > 1
        return floats and lies and matrices and one >= self.limits.slim

    def is_outer(self, summed: Sequence[str], *sides: dict[str, int]) -> bool:
        """Whether the larger operand's innermost index is kept, so that whole-array operations run along it."""
        big = max(sides, key=self.points)
        return min(big, key=lambda i: abs(big[i])) not in summed

    def in_long_runs(self, batch: Sequence[str], *sides: dict[str, int]) -> bool:
        """Whether a kept index moves both operands by one element, long enough for einsum to go from run to run."""
        return any(self.sizes[i] >= self.limits.run and all(s.get(i) == 1 for s in sides) for i in batch)

    def is_short(self, part: Roles, *sides: dict[str, int]) -> bool:
        """Whether a few neighbours are summed at each of a few positions: einsum starts a loop for each of them."""
        if len(part.summed) != 1 or not 1 < self.sizes[part.summed[0]] <= self.limits.short:
            return False
        positions = self.points((*part.rows, *part.columns))
        whole = self.scope[part.summed[0]].whole
        return whole and 1 < positions <= self.limits.window and all(s[part.summed[0]] == 1 for s in sides)

    def divided(self, order: Sequence[str], work: int, steps: Sequence[tuple[str, int]] = ()) -> str | None:
        """The outermost index of what is written, if blocks of it are worth threads, in what runs once."""
        if work < self.limits.shared or self.b.depth > self.b.once:
            return None
        found = next((i for i in order if self.sizes[i] > 1), None)
        return found if not steps or found == steps[0][0] else None

    def einsum(self, a: Load, b: Load, out: Sequence[str], part: Roles) -> Load:
        """Sums along an axis of two arrays with the same other indices: one pass, no temporary; BLAS where it can."""
        by = "matmul" if self.are_matrices(a, b, part) else "einsum"
        out = [*part.batch, *part.rows, *part.columns] if by == "matmul" else out
        self.notes.append("matrices by vectors" if by == "matmul" else "einsum of two")
        made = self.b.part("part", out, self.dtype, self.scope)
        self.own.add(made)
        outer = self.divided(out, self.points({*self.axes(a), *self.axes(b)}))
        if outer is None:
            self.b.run(made, "=", Product(a.place, b.place, part, by))
            return Load(made, self.dtype)
        self.notes.append("in threads")
        self.b.steps.append(Make(made))
        # Short runs are laid out as einsum goes through them, and brought in order afterwards.
        if by == "einsum" and self.sizes[out[-1]] < self.limits.run:
            by = "einsum apart"
        with self.b.loop(self.scope, outer, even(self.sizes[outer], -(-self.sizes[outer] // 4)), "thread"):
            self.b.run(made, "=", Product(a.place, b.place, part, by))
        return Load(made, self.dtype)

    def shifted(self, a: Load, b: Load, out: Sequence[str], summed: Sequence[str], sink: Sink | None) -> Value | None:
        """A sum over few values as multiply-adds of whole arrays, block by block: the depthwise convolution."""
        self.notes.append(f"{self.points(summed)} multiply-adds of whole arrays")
        total: Place
        if sink is not None and set(axes_of(sink.place, self.scope)) == set(out):
            sets = sink.target.overwrites and not sink.negative
            if not sets:
                sink.target.zero(sink.place)
            total = sink.place
        else:
            sink, sets = None, True
            total = self.b.part("part", out, self.dtype, self.scope)
            self.own.add(total)
            self.b.steps.append(Make(total))
        order = by_stride(axes_of(total, self.scope), steps_of(total, self.scope))
        sides = [self.widened(x, order) for x in (a, b)]
        points = self.points(out)
        steps = blocks(order, self.sizes, points, self.itemsize, self.limits.chunk)
        with ExitStack() as stack:
            outer, inner = self.divided(order, points * self.points(summed), steps), self.scope
            if outer is not None:
                self.notes.append("in threads")
                by = dict(steps).get(outer, even(self.sizes[outer], -(-self.sizes[outer] // 2)))
                inner = stack.enter_context(self.b.loop(inner, outer, by, "thread"))
                steps = tuple(s for s in steps if s[0] != outer)
            inner = stack.enter_context(self.b.loops(inner, steps))
            axes = axes_of(total, inner)
            wide = {x: self.b.part("wide", axes, self.dtype, inner) for x in sides if self.is_narrow(x, order, summed)}
            term = self.b.part("term", axes, self.dtype, inner)
            self.b.steps += map(Make, (*wide.values(), term))
            factors = (Load(wide[x], self.dtype) if x in wide else x for x in sides)
            product = Apply("mul", tuple(factors), self.dtype)
            if sets:
                first = dict.fromkeys(summed, 0)
                for x, repeated in wide.items():
                    self.b.run(repeated, "=", Map(fixed(x, first)))
                self.b.run(total, "=", Map(fixed(product, first)))
            for _ in self.b.from_second(inner, summed, 1 if sets else 0):
                for x, repeated in wide.items():
                    self.b.run(repeated, "=", Map(x))
                self.b.run(term, "=", Map(product))
                self.b.run(total, combining("+=", sink is not None and sink.negative), Map(Load(term, self.dtype)))
        return None if sink is not None else Load(total, self.dtype)

    def is_narrow(self, x: Load, order: Sequence[str], summed: Sequence[str]) -> bool:
        """Whether an operand lacks just a short innermost index: it is repeated over it, else each run is a loop."""
        own = set(self.axes(x)).difference(summed)
        return 1 < self.sizes[order[-1]] <= self.limits.short and own == set(order[:-1]) != set()

    def widened(self, x: Load, order: Sequence[str]) -> Load:
        """A small operand written out along one more index, where its innermost index alone makes only short runs."""
        own = self.axes(x)
        if len(order) < 2 or order[-1] not in own or order[-2] in own:
            return x
        points = self.points(own) * self.sizes[order[-2]]
        if self.sizes[order[-1]] >= self.limits.run or points * self.itemsize > self.limits.block // 4:
            return x
        return self.held(x, (*(i for i in own if i != order[-1]), *order[-2:]))

    def neighbours(self, a: Load, b: Load, out: Sequence[str], part: Roles) -> Load:
        """Sums of a few neighbours, position by position of `b`: a product of whole arrays, then its slices."""
        index, positions = part.summed[0], (*part.rows, *part.columns)
        self.notes.append(f"sums of {self.sizes[index]} at {self.points(positions)} positions")
        total = self.b.part("part", out, self.dtype, self.scope)
        self.own.add(total)
        self.b.steps.append(Make(total))
        order = (*(i for i in self.axes(b) if i in part.batch), index)
        term = self.b.part("term", order, self.dtype, self.scope)
        self.b.steps.append(Make(term))
        terms = [Load(term, self.dtype, ((index, k),)) for k in range(self.sizes[index])]
        with self.b.loops(self.scope, [(i, 0) for i in positions]):
            self.b.run(term, "=", Map(Apply("mul", (a, b), self.dtype)))
            self.b.run(total, "=", Map(Apply("add", (terms[0], terms[1]), self.dtype)))
            for one in terms[2:]:
                self.b.run(total, "+=", Map(one))
        return Load(total, self.dtype)
