"""Sums of products: pairwise contractions as matrix products on merged axes.

In: the factors as arrays over their own indices, the indices to keep. Out: code whose result stands in its place, or an
operand that holds it. The one rule: what is multiplied are matrices as BLAS takes them; an operand whose indices do not
merge is copied block by block into a workspace (for a window that is im2col), and nothing else is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from math import prod

from ...plan.contraction import MatrixProduct, Roles, is_matrix, matrix_product, order_pairs, roles
from ...plan.kernels import row_strides
from .source import Operand, Scope, aligned, count_code, name_of, shape_code, sizes_of, viewed
from .sums import Pointwise, Sink


class Contraction(Pointwise):
    """A sum of products being written; `notes` say what became of each pair."""

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
        left, right = self.steps(a), self.steps(b)
        thin = min(prod(self.sizes[i] for i in group) for group in (part.m, part.n)) == 1
        several = prod(self.sizes[i] for i in part.batch) > 1
        if thin and (several or not all(self.fits(part, s, out) for s in (left, right))):
            done = self.unlike_matrices(a, b, out, part, sink)
            if done is not None:
                return done[0]
        placed = sink is not None and set(out) == set(sink.place.indices)
        place = sink.place.steps() if sink is not None and placed else None
        if sink is not None and any(n for _, n in sink.target.steps):
            place = None  # several taps at once are columns of one product
        direct = sink is None or (placed and sink.target.overwrites and not sink.negative)
        product = matrix_product(left, right, out, place, direct, self.sizes, self.itemsize)
        return self.matmul(*((b, a) if product.swapped else (a, b)), product, out, sink)

    def fits(self, part: Roles, steps: Mapping[str, int], out: Sequence[str]) -> bool:
        rows = [i for i in out if i in steps and i not in part.batch]
        return is_matrix(rows, part.k, steps, self.sizes)

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
        order = ", order='C'" if len(product.batch) > 1 else ""  # else NumPy lays a stack as it finds its operands
        code = f"np.matmul({left}, {right}{order})"
        inside = any(axis.var is not None for axis in self.scope.values())
        if inside and result:
            return self.into_workspace(left, right, product, result, a.dtype, self.scope)
        if not (len(product.m) == len(product.n) == 1):
            code = f"{code}.reshape{shape_code(result, self.scope)}" if result else f"{code}[0, 0]"
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
            into = viewed(here, (product.batch, product.m, product.n), inner) if direct else None
            if into is not None:
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
            return made, product.direct and not product.accumulates
        if product.accumulates:
            sink.target.zero(sink.place)
        sink.target.allocate()
        place = sink.place
        if place.indices and not place.code.isidentifier():  # an element is no view
            name = self.writer.fresh("cells")
            self.writer.line(f"{name} = {place.code}")
            place = Operand(name, place.indices, place.dtype, place.strides)
        return place, product.direct and sink.target.overwrites and not product.accumulates

    def put(self, code: str, here: Operand, product: MatrixProduct, sink: Sink | None) -> None:
        """A block of the result brought into place."""
        if not product.accumulates if sink is None else sink.target.overwrites:
            negative = sink is not None and sink.negative
            self.writer.line(f"{here.code}[...] = {f'-({code})' if negative else code}")
            return
        sign = "-=" if sink is not None and sink.negative else "+="
        name = here.code
        if not name.endswith("]") and not name.isidentifier():
            name = self.writer.fresh("cells")
            self.writer.line(f"{name} = {here.code}")
        self.writer.line(f"{name} {sign} {code}")

    def outside(self, code: str) -> str:
        """A name for code that a loop further inside uses again and again."""
        if code.isidentifier():
            return code
        name = self.writer.fresh("matrix")
        self.writer.line(f"{name} = {code}")
        return name

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
            now = sizes_of(scope)
            self.writer.note("copy of an operand", prod(now[i] for i in flat), x.dtype)
            code = self.writer.kept(f"np.ascontiguousarray({code})", prod(now[i] for i in flat), x.dtype)
        stacked = list(batch)
        while stacked and stacked[0] not in own:
            stacked.pop(0)
        if len(first) != 1 or len(second) != 1 or stacked != own:
            lengths = [str(scope[i].width) if i in own else "1" for i in stacked]
            code += f".reshape({', '.join([*lengths, count_code(first, scope), count_code(second, scope)])})"
        if turned:
            code += ".swapaxes(-1, -2)" if own else ".T"
        return code
