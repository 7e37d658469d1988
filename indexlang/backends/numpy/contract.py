"""Sums of products: pairwise contractions as matrix products on merged axes.

The indices of a pair are batch, M, N or K; an operand is transposed or copied only where its indices do
not merge into one axis as they lie in memory. The copy of a window's view is the lecture's im2col.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from ...kernels import by_stride, merges, order_pairs, roles, row_strides
from .source import Operand, Scope, Writer, aligned

SHIFTED = 64  # at most so many multiply-adds of whole arrays instead of a product of tiny matrices


def widths(indices: Sequence[str], scope: Scope) -> str:
    """Code of the product of the indices' widths."""
    sizes = [scope[i].width for i in indices]
    number = prod(int(s) for s in sizes if s is not None and s.isdigit())
    names = [s for s in sizes if s is not None and not s.isdigit()]
    return " * ".join([*names, str(number)]) if names and number != 1 else " * ".join(names) or str(number)


def extents(scope: Scope) -> dict[str, int]:
    return {i: a.n for i, a in scope.items() if a.width is not None}


def contract(
    writer: Writer, factors: Sequence[Operand], out: Sequence[str], scope: Scope, into: Operand | None = None
) -> tuple[Operand, bool]:
    """Code of the sum over all indices not in `out` of the product of the factors.

    `into` is a contiguous array in the order of `out` that the last product may be written to; the flag
    tells whether it was.
    """
    parts = list(factors)
    for left, right in order_pairs([f.indices for f in parts], out, extents(scope)):
        a, b = parts[left], parts[right]
        rest = [p for k, p in enumerate(parts) if k not in (left, right)]
        needed = set(out).union(*(p.indices for p in rest))
        kept = [i for i in out if i in a.indices or i in b.indices]
        kept += [i for i in (*a.indices, *b.indices) if i in needed and i not in kept]
        kept = list(dict.fromkeys(kept))
        last = into if not rest else None
        result, stored = _pair(writer, a, b, kept, scope, last)
        if stored:
            return result, True
        parts = [*rest, result]
    return _summed(writer, parts[0], out, scope), False


def _named(writer: Writer, code: str, indices: Sequence[str], dtype: str, scope: Scope) -> Operand:
    name = writer.fresh("part")
    writer.line(f"{name} = {code}")
    return Operand(name, tuple(indices), dtype, row_strides([scope[i].n for i in indices]))


def _summed(writer: Writer, a: Operand, kept: Sequence[str], scope: Scope) -> Operand:
    """The operand summed over its indices that are not kept."""
    gone = tuple(k for k, i in enumerate(a.indices) if i not in kept)
    if not gone:
        return a
    left = [i for i in a.indices if i in kept]
    return _named(writer, f"np.add.reduce({a.code}, {gone})", left, a.dtype, scope)


def _pair(
    writer: Writer, a: Operand, b: Operand, out: Sequence[str], scope: Scope, into: Operand | None
) -> tuple[Operand, bool]:
    a = _summed(writer, a, [*out, *b.indices], scope)
    b = _summed(writer, b, [*out, *a.indices], scope)
    part, sizes = roles(a.indices, b.indices, out), extents(scope)
    if part.n and part.m and list(out).index(part.n[0]) < list(out).index(part.m[0]):
        a, b = b, a
        part = roles(a.indices, b.indices, out)
    m, n, k = (prod(sizes[i] for i in group) for group in (part.m, part.n, part.k))
    batch = prod(sizes[i] for i in part.batch)
    if not part.k:
        return _named(writer, f"{aligned(a, out)} * {aligned(b, out)}", out, a.dtype, scope), False
    if batch > 1 and min(m, n) == 1:
        if k <= SHIFTED and batch * max(m, n) >= 1024 and _innermost(a, b) in part.batch:
            return _shifted(writer, a, b, out, part.k, scope), False
        return _einsum(writer, a, b, out, scope), False
    bigger, smaller = (a, b) if m * k >= k * n else (b, a)
    order = by_stride(part.k, bigger.steps()) if bigger.strides else part.k
    if smaller.strides and not merges(order, smaller.steps(), sizes) and merges(order, bigger.steps(), sizes):
        order = order if m * k >= k * n else order
    left = _matrix(writer, a, part.batch, part.m, order, scope, tall=True)
    right = _matrix(writer, b, part.batch, order, part.n, scope, tall=False)
    result = [*part.batch, *part.m, *part.n]
    shape = [widths(g, scope) for g in ([part.batch] if part.batch else []) + [part.m, part.n]]
    if into is not None and result == list(into.indices):
        writer.line(f"np.matmul({left}, {right}, out={into.code}.reshape({', '.join(shape)}))")
        return into, True
    full = ", ".join(str(scope[i].width) for i in result)
    code = f"np.matmul({left}, {right})"
    if len(result) != len(shape) or not (part.m and part.n):
        code += f".reshape({full})" if result else "[0, 0]"
    return _named(writer, code, result, a.dtype, scope), False


def _innermost(a: Operand, b: Operand) -> str | None:
    big = a if len(a.indices) >= len(b.indices) else b
    return min(big.steps(), key=lambda i: abs(big.steps()[i]), default=None)


def _matrix(
    writer: Writer,
    x: Operand,
    batch: Sequence[str],
    rows: Sequence[str],
    columns: Sequence[str],
    scope: Scope,
    tall: bool,
) -> str:
    """Code of the operand as a (stack of) matrices rows x columns.

    Where a copy must be made, the index with the smallest stride stays innermost, so that long runs move.
    """
    sizes, steps = extents(scope), x.steps()
    shape = [widths(g, scope) for g in ([batch] if batch else []) + [rows, columns]]
    flat = (*batch, *rows, *columns)
    turned = False
    if steps:
        fits = merges(rows, steps, sizes) and merges(columns, steps, sizes)
        inner = min(steps, key=lambda i: (abs(steps[i]), i in rows))
        if not fits and inner in rows:
            turned, flat = True, (*batch, *columns, *rows)
            shape = [*shape[:-2], shape[-1], shape[-2]]
    code = x.code
    if flat != x.indices:
        code += f".transpose({', '.join(str(x.indices.index(i)) for i in flat)})"
    if len(flat) != len(shape) or not (rows and columns):
        code += f".reshape({', '.join(shape)})"
    if turned:
        code += ".swapaxes(-1, -2)" if batch else ".T"
    return code


def _shifted(
    writer: Writer, a: Operand, b: Operand, out: Sequence[str], summed: Sequence[str], scope: Scope
) -> Operand:
    """A sum over few values as multiply-adds of whole arrays: the depthwise convolution."""
    counters = [writer.fresh("k") for _ in summed]
    pieces = []
    for x in (a, b):
        lead = [i for i in (*summed, *out) if i in x.indices]
        code = x.code
        if tuple(lead) != x.indices:
            code += f".transpose({', '.join(str(x.indices.index(i)) for i in lead)})"
        places = ["None" if i not in x.indices else ":" for i in out]
        while places and places[0] == "None":
            places.pop(0)
        name = writer.fresh("factor")
        writer.line(f"{name} = {code}")
        at = ", ".join([*counters, *(places if "None" in places else [])])
        pieces.append(f"{name}[{at}]")
    name = writer.fresh("part")
    shape = ", ".join(str(scope[i].width) for i in out)
    writer.line(f"{name} = np.zeros(({shape},), np.{a.dtype})")
    with writer.loops([(v, scope[i].n) for v, i in zip(counters, summed, strict=True)]):
        writer.line(f"{name} += {pieces[0]} * {pieces[1]}")
    return Operand(name, tuple(out), a.dtype, row_strides([scope[i].n for i in out]))


def _einsum(writer: Writer, a: Operand, b: Operand, out: Sequence[str], scope: Scope) -> Operand:
    letters: Mapping[str, str] = {
        i: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[n]
        for n, i in enumerate(dict.fromkeys((*a.indices, *b.indices)))
    }
    spell = ["".join(letters[i] for i in group) for group in (a.indices, b.indices, out)]
    code = f"np.einsum('{spell[0]},{spell[1]}->{spell[2]}', {a.code}, {b.code})"
    return _named(writer, code, out, a.dtype, scope)
