"""Sums of products: pairwise contractions as matrix products on merged axes.

In: the factors as arrays over their own indices, the indices to keep. Out: code whose result stands in its place, or an
operand that holds it. The one rule: what is multiplied are matrices as BLAS takes them; an operand whose indices do not
merge is copied block by block into a workspace (for a window that is im2col), and nothing else is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod

from ...kernels import BLOCK, LONG, RUN, SHORT, WINDOW, blocks, row_strides
from ...products import MatrixProduct, Roles, by_stride, is_matrix, matrix_product, order_pairs, roles
from .source import Operand, Scope, Writer, aligned, count_code, name_of, shape_code, sizes_of
from .store import Target


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


class Contraction:
    """A sum of products being written; `notes` say what became of each pair."""

    def __init__(self, writer: Writer, scope: Scope, itemsize: int) -> None:
        self.writer, self.scope, self.itemsize = writer, scope, itemsize
        self.sizes = sizes_of(scope)
        self.notes: list[str] = []

    def run(self, factors: Sequence[Operand], out: Sequence[str], sink: Sink | None) -> Operand | None:
        """The sum over all indices not in `out`; None if it stands in the sink."""
        parts = list(factors)
        pairs = order_pairs([f.indices for f in parts], out, self.sizes)
        for number, (left, right) in enumerate(pairs):
            a, b = parts[left], parts[right]
            rest = [p for k, p in enumerate(parts) if k not in (left, right)]
            needed = set(out).union(*(p.indices for p in rest))
            kept = [i for i in (*out, *a.indices, *b.indices) if i in needed and i in {*a.indices, *b.indices}]
            last = number == len(pairs) - 1
            found = self.pair(a, b, list(dict.fromkeys(kept)), sink if last else None)
            if found is None:
                return None
            parts = [*rest, found if last else self.held(found)]
        return self.summed(parts[0], out)

    def summed(self, a: Operand, kept: Sequence[str]) -> Operand:
        """The operand summed over its indices that are not kept."""
        gone = tuple(k for k, i in enumerate(a.indices) if i not in kept)
        if not gone:
            return a
        axes = gone[0] if len(gone) == 1 else gone
        left = [i for i in a.indices if i in kept]
        self.notes.append("sum over axes")
        return self.named(f"np.add.reduce({a.code}, {axes})", left, a.dtype)

    def named(self, code: str, indices: Sequence[str], dtype: str) -> Operand:
        name = self.writer.fresh("part")
        self.writer.line(f"{name} = {code}")
        self.writer.note(name, prod(self.sizes[i] for i in indices), dtype)
        return Operand(name, tuple(indices), dtype, row_strides([self.sizes[i] for i in indices]), fresh=True)

    def pair(self, a: Operand, b: Operand, out: Sequence[str], sink: Sink | None) -> Operand | None:
        """The contraction of two operands."""
        a = self.summed(a, [*out, *b.indices])
        b = self.summed(b, [*out, *a.indices])
        part = roles(a.indices, b.indices, out)
        if not part.k:
            self.notes.append("product")
            for one, other in ((a, b), (b, a)):
                if one.fresh and set(one.indices) == set(out):
                    self.writer.line(f"{one.code} *= {aligned(other, one.indices)}")
                    return one
            return Operand(f"({aligned(a, out)} * {aligned(b, out)})", tuple(out), a.dtype)
        m, n, k = (prod(self.sizes[i] for i in group) for group in (part.m, part.n, part.k))
        batch = prod(self.sizes[i] for i in part.batch)
        left, right = self.steps(a), self.steps(b)
        thin = min(m, n) == 1
        unmerged = thin and not all(self.fits(part, s, out) for s in (left, right))
        if (batch > 1 and thin) or unmerged:
            if self.in_long_runs(part.batch, left, right):
                return self.einsum(a, b, out)
            if k <= WINDOW and batch * m * n >= LONG and self.is_outer(part.k, left, right):
                return self.shifted(a, b, out, part.k, sink)
            if batch >= LONG and self.is_short(part, left, right):
                return self.short(*((a, b) if m == 1 else (b, a)), out, part)
            if batch > 1:
                return self.einsum(a, b, out)
        placed = sink is not None and set(out) == set(sink.place.indices)
        place = sink.place.steps() if sink is not None and placed else None
        if sink is not None and any(n for _, n in sink.target.steps):
            place = None  # several taps at once are columns of one product
        direct = sink is None or (placed and sink.target.overwrites and not sink.negative)
        product = matrix_product(left, right, out, place, direct, self.sizes, self.itemsize)
        return self.matmul(*((b, a) if product.swapped else (a, b)), product, out, sink)

    def steps(self, x: Operand) -> Mapping[str, int]:
        """The strides of an operand, as if it were contiguous where they are not known."""
        return x.steps() or dict(zip(x.indices, row_strides([self.sizes[i] for i in x.indices]), strict=True))

    def fits(self, part: Roles, steps: Mapping[str, int], out: Sequence[str]) -> bool:
        rows = [i for i in out if i in steps and i not in part.batch]
        return is_matrix(rows, part.k, steps, self.sizes)

    def is_outer(self, summed: Sequence[str], *sides: Mapping[str, int]) -> bool:
        """Whether the larger operand's innermost index is kept, so that whole-array operations run along it."""
        big = max(sides, key=lambda s: prod(self.sizes[i] for i in s))
        return min(big, key=lambda i: abs(big[i])) not in summed

    def in_long_runs(self, batch: Sequence[str], *sides: Mapping[str, int]) -> bool:
        """Whether a kept index moves both operands by one element, long enough for einsum to go from run to run."""
        return any(self.sizes[i] >= RUN and all(s.get(i) == 1 for s in sides) for i in batch)

    # -- matrix products -----------------------------------------------------------------------

    def matmul(
        self, a: Operand, b: Operand, product: MatrixProduct, out: Sequence[str], sink: Sink | None
    ) -> Operand | None:
        """One matrix product, in blocks where it says so; `a` and `b` are its left and right side."""
        m, n, k = (prod(self.sizes[i] for i in group) for group in (product.m, product.n, product.k))
        batch = prod(self.sizes[i] for i in product.batch)
        copies = [side for side, copied in (("left", product.copy_left), ("right", product.copy_right)) if copied]
        note = f"matmul {f'{batch} x ' if batch > 1 else ''}{m}x{k} by {k}x{n}"
        note += f", {' and '.join(copies)} copied" if copies else ""
        note += "".join(f", {step} {i} at a time" for i, step in product.blocks)
        self.notes.append(note)
        result = (*product.batch, *product.m, *product.n)
        as_it_is = sink is not None and sink.is_whole and tuple(result) == sink.place.indices
        if not product.blocks and (sink is None or as_it_is or not product.direct):
            return self.at_once(a, b, product, result, sink)
        return self.in_blocks(a, b, product, result, out, sink)

    def at_once(
        self, a: Operand, b: Operand, product: MatrixProduct, result: Sequence[str], sink: Sink | None
    ) -> Operand | None:
        left = self.matrix(a, product.batch, product.m, product.k, product.copy_left, self.scope)
        right = self.matrix(b, product.batch, product.k, product.n, product.copy_right, self.scope)
        code = f"np.matmul({left}, {right})"
        inside = any(axis.var is not None for axis in self.scope.values())
        if inside and result:
            return self.into_workspace(left, right, product, result, a.dtype, self.scope)
        if not (len(product.m) == len(product.n) == 1):
            code = f"np.matmul({left}, {right}).reshape{shape_code(result, self.scope)}" if result else f"{code}[0, 0]"
        if sink is not None and sink.is_whole and product.direct and tuple(result) == sink.place.indices:
            self.writer.line(f"{sink.target.array.name} = {code if result else f'np.asarray({code})'}")
            return None
        return self.named(code, result, a.dtype)

    def into_workspace(
        self, left: str, right: str, product: MatrixProduct, result: Sequence[str], dtype: str, scope: Scope
    ) -> Operand:
        """The product inside of a loop: in memory that every round uses again."""
        sizes = sizes_of(scope)
        shape = shape_code(result, scope)
        rows, columns = count_code(product.m, scope), count_code(product.n, scope)
        matrices = f"({''.join(f'{scope[i].width}, ' for i in product.batch)}{rows}, {columns})"
        work = self.writer.workspace(prod(sizes[i] for i in result), dtype)
        name = self.writer.fresh("part")
        self.writer.line(f"{name} = {work}[:{count_code(result, scope)}].reshape{shape}")
        into = name if matrices == shape else f"{name}.reshape{matrices}"
        self.writer.line(f"np.matmul({left}, {right}, out={into})")
        return Operand(name, tuple(result), dtype, row_strides([sizes[i] for i in result]), fresh=True)

    def in_blocks(
        self,
        a: Operand,
        b: Operand,
        product: MatrixProduct,
        result: Sequence[str],
        out: Sequence[str],
        sink: Sink | None,
    ) -> Operand | None:
        writer, scope = self.writer, self.scope
        blocked = {i for i, _ in product.blocks}
        place, direct = self.place(product, result, a.dtype, sink)
        now = {**self.sizes, **dict(product.blocks)}
        sides = []
        for x, rows, columns, copied in (
            (a, product.m, product.k, product.copy_left),
            (b, product.k, product.n, product.copy_right),
        ):
            own = blocked & set(x.indices)
            work = writer.workspace(prod(now[i] for i in x.indices), x.dtype) if copied and own else None
            sides.append((self.held(x) if own else x, rows, columns, copied, own, work))
        codes = ["", ""]
        with ExitStack() as stack:
            inner, done = scope, set[str]()
            for step in (None, *product.blocks):  # each operand as far outside as its indices allow
                if step is not None:
                    inner = stack.enter_context(writer.loops(inner, [step]))
                    done.add(step[0])
                for number, (x, rows, columns, copied, own, work) in enumerate(sides):
                    if not codes[number] and own <= done:
                        part = self.sliced(x, own, inner)
                        code = self.matrix(part, product.batch, rows, columns, copied, inner, work)
                        codes[number] = code if done == blocked else self.outside(code)
            here = self.sliced(place, blocked, inner)
            left, right = codes
            if direct:
                into = self.matrix(here, product.batch, product.m, product.n, False, inner)
                writer.line(f"np.matmul({left}, {right}, out={into})")
            elif result:
                part = self.into_workspace(left, right, product, result, a.dtype, inner)
                self.put(aligned(part, here.indices), here, product, sink)
            else:
                self.put(f"np.matmul({left}, {right})[0, 0]", here, product, sink)
        return None if sink is not None else place

    def place(
        self, product: MatrixProduct, result: Sequence[str], dtype: str, sink: Sink | None
    ) -> tuple[Operand, bool]:
        """Where blocks of the result go, made ready; and whether products may be written there."""
        if sink is None:
            maker = "zeros" if product.accumulates else "empty"
            made = self.named(f"np.{maker}({shape_code(result, self.scope)}, np.{name_of(dtype)})", result, dtype)
            return made, not product.accumulates
        if product.accumulates:
            sink.target.zero(sink.place)
        sink.target.allocate()
        place = sink.place
        if not place.code.isidentifier():
            name = self.writer.fresh("cells")
            self.writer.line(f"{name} = {place.code}")
            place = Operand(name, place.indices, place.dtype, place.strides)
        return place, product.direct and sink.target.overwrites and not product.accumulates

    def put(self, code: str, here: Operand, product: MatrixProduct, sink: Sink | None) -> None:
        """A block of the result brought into place."""
        if sink is not None and sink.target.overwrites:
            self.writer.line(f"{here.code}[...] = {f'-({code})' if sink.negative else code}")
            return
        sign = "-=" if sink is not None and sink.negative else "+="
        name = here.code
        if not name.endswith("]") and not name.isidentifier():
            name = self.writer.fresh("cells")
            self.writer.line(f"{name} = {here.code}")
        self.writer.line(f"{name} {sign} {code}")

    def held(self, x: Operand) -> Operand:
        """The operand under a name, to be sliced in a loop."""
        if x.code.isidentifier():
            return x
        name = self.writer.fresh("side")
        self.writer.line(f"{name} = {x.code}")
        return Operand(name, x.indices, x.dtype, x.strides)

    def outside(self, code: str) -> str:
        """A name for code that a loop further inside uses again and again."""
        if code.isidentifier():
            return code
        name = self.writer.fresh("matrix")
        self.writer.line(f"{name} = {code}")
        return name

    def sliced(self, x: Operand, blocked: set[str], inner: Scope) -> Operand:
        """The operand at the block of a loop."""
        parts = [f"{inner[i].local}:{inner[i].local} + {inner[i].width}" if i in blocked else ":" for i in x.indices]
        while parts and parts[-1] == ":":
            parts.pop()
        code = f"{x.code}[{', '.join(parts)}]" if parts else x.code
        return Operand(code, x.indices, x.dtype, x.strides)

    def matrix(
        self,
        x: Operand,
        batch: Sequence[str],
        rows: Sequence[str],
        columns: Sequence[str],
        copied: bool,
        scope: Scope,
        work: str | None = None,
    ) -> str:
        """Code of the operand as a (stack of) matrices rows x columns.

        Where a copy is made, the index with the smallest stride stays innermost, so that long runs move.
        """
        own = [i for i in batch if i in x.indices]
        steps, turned = self.steps(x), False
        first, second = rows, columns
        if copied and steps:
            inner = min(steps, key=lambda i: (abs(steps[i]), -self.sizes[i], i in rows))
            if inner in rows:
                turned, first, second = True, columns, rows
        flat = (*own, *first, *second)
        code = x.code
        if flat != x.indices:
            code += f".transpose({', '.join(str(x.indices.index(i)) for i in flat)})"
        if work is not None:
            name = self.writer.fresh("copy")
            self.writer.line(f"{name} = {work}[:{count_code(flat, scope)}].reshape{shape_code(flat, scope)}")
            self.writer.line(f"np.copyto({name}, {code})")
            code = name
        elif copied:
            code = f"np.ascontiguousarray({code})"
        stacked = list(batch)
        while stacked and stacked[0] not in own:
            stacked.pop(0)
        if len(first) != 1 or len(second) != 1 or stacked != own:
            lengths = [str(scope[i].width) if i in own else "1" for i in stacked]
            code += f".reshape({', '.join([*lengths, count_code(first, scope), count_code(second, scope)])})"
        if turned:
            code += ".swapaxes(-1, -2)" if own else ".T"
        return code

    # -- other ways ----------------------------------------------------------------------------

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
        work = writer.workspace(prod(now[i] for i in out), a.dtype)
        blocked = {i for i, _ in steps}
        with writer.loops(scope, steps) as inner:
            here = self.sliced(total, blocked, inner)
            parts = [self.sliced(x, blocked & set(x.indices), inner) for x in sides]
            term = writer.fresh("term")
            shape = shape_code(total.indices, inner)
            writer.line(f"{term} = {work}[:{count_code(total.indices, inner)}].reshape{shape}")
            with writer.loops(inner, [(i, 0) for i in summed]) as taps:
                pieces = []
                for x in parts:
                    at = [f"{taps[i].local}" if i in summed else ":" for i in x.indices]
                    left = tuple(i for i in x.indices if i not in summed)
                    piece = Operand(f"{x.code}[{', '.join(at)}]", left, x.dtype)
                    pieces.append(aligned(self.repeated(piece, order, taps), total.indices))
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
        if not 1 < self.sizes[order[-1]] <= SHORT or set(x.indices) != set(order[:-1]):
            return x
        code = f"np.repeat({aligned(x, order[:-1])}, {scope[order[-1]].width}, -1).reshape{shape_code(order, scope)}"
        return Operand(code, tuple(order), x.dtype)

    def is_short(self, part: Roles, *sides: Mapping[str, int]) -> bool:
        """Whether a few neighbours are summed at each of a few positions: einsum starts a loop for each of them."""
        if len(part.k) != 1 or not self.scope[part.k[0]].whole or not 1 < self.sizes[part.k[0]] <= SHORT:
            return False
        positions = prod(self.sizes[i] for i in (*part.m, *part.n))
        return 1 < positions <= WINDOW and all(s[part.k[0]] == 1 for s in sides)

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
            at = [f"{inner[i].local}" if i in positions else ":" for i in b.indices]
            there = Operand(f"{b.code}[{', '.join(at)}]", tuple(i for i in b.indices if i not in positions), b.dtype)
            writer.line(f"np.multiply({aligned(a, order)}, {aligned(there, order)}, out={term})")
            at = [f"{inner[i].local}" if i in positions else ":" for i in out]
            kept = tuple(i for i in out if i not in positions)
            here = writer.fresh("here")
            place = Operand(f"{total.code}[{', '.join(at)}]", kept, a.dtype)
            writer.line(f"{here} = {aligned(place, order[:-1])}")
            writer.line(f"np.add({term}[..., 0], {term}[..., 1], out={here})")
            for k in range(2, self.sizes[index]):
                writer.line(f"{here} += {term}[..., {k}]")
        return total

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

    def einsum(self, a: Operand, b: Operand, out: Sequence[str]) -> Operand:
        """Sums along an axis of two arrays with the same other indices: one pass, no temporary."""
        self.notes.append("einsum of two")
        names = dict.fromkeys((*a.indices, *b.indices))
        letters = dict(zip(names, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", strict=False))
        spell = ["".join(letters[i] for i in group) for group in (a.indices, b.indices, out)]
        return self.named(f"np.einsum('{spell[0]},{spell[1]}->{spell[2]}', {a.code}, {b.code})", out, a.dtype)
