"""Accesses as arrays: slices, paddings and reshapes where positions are affine, gathers elsewhere.

In: an access, where it stands. Out: an `Arr` over its indices. The one rule: axes are taken one by one where each has
indices of its own; what shares an index, or is computed, is gathered together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from ...plan.subscripts import Subscribed
from ...plan.views import Row
from ...program.ir import Access, Call, Const, Expr, indices_of, reads
from .expressions import called, conjunction, fill_of, value_of
from .functions import form_of
from .lines import Arr, union
from .scope import Around, radix

TAPS = 64  # so many slices are put side by side rather than gathered
_EDGES = {"clamp": "edge", "wrap": "wrap", "reflect": "reflect"}


def read(a: Around, access: Access) -> Arr:
    """The elements of an access over its indices."""
    w, tensor = a.w, access.tensor
    dtype = a.b.dtypes[tensor]
    stored = a.exact.get(tensor, dtype)
    known = [a.subscribed(access, k) for k in range(len(access.subscripts))]
    apart = _apart(a, access, known)
    code, axes = a.arrays[tensor], [f"?{k}" for k in range(len(known))]
    code, shift = padded(a, access, known, apart, code, stored)
    for k, at in enumerate(known):
        if k in apart and at.row is not None:
            size = a.b.shapes[tensor][k] + sum(shift.get(k, (0, 0)))
            row = at.row.shifted(shift.get(k, (0, 0))[0])
            code, axes = affine(a, code, axes, axes.index(f"?{k}"), row, size)
    together = [k for k in range(len(known)) if k not in apart]
    if together:
        code, axes = _gathered(a, access, known, together, code, axes, stored)
    return w.cast(Arr(code, tuple(axes), stored), dtype)


def _apart(a: Around, access: Access, known: Sequence[Subscribed]) -> set[int]:
    """The axes that are taken one by one: affine, with indices that no other axis has."""
    uses = Counter(i for k, at in enumerate(known) for i in set(_indices(a, access, k, at)))
    found = set()
    for k, at in enumerate(known):
        if at.row is None or any(uses[i] > 1 for i, _ in at.row.coefs):
            continue
        low, high = at.row.interval(a.extents)
        size = a.b.shapes[access.tensor][k]
        leaves = low < 0 or high >= size
        if leaves and at.boundary is not None and at.boundary.kind != "pad":
            if size == 0 or (at.boundary.kind == "reflect" and max(-low, high - size + 1) > size - 1):
                continue
            if max(-low, high - size + 1) > 4 * size + 64:
                continue
        found.add(k)
    return found


def _indices(a: Around, access: Access, axis: int, at: Subscribed) -> tuple[str, ...]:
    if at.row is not None:
        return tuple(i for i, _ in at.row.coefs)
    return a.open(indices_of(access.subscripts[axis]))


# -- affine axes ---------------------------------------------------------------------------------------


def padded(
    a: Around, access: Access, known: Sequence[Subscribed], apart: set[int], code: str, dtype: str
) -> tuple[str, dict[int, tuple[int, int]]]:
    """The array with what its affine axes read outside of it: the first one that is out of range says."""
    w, shift = a.w, dict[int, tuple[int, int]]()
    rank = len(known)
    for k in sorted(apart, reverse=True):
        at = known[k]
        assert at.row is not None
        low, high = at.row.interval(a.extents)
        size = a.b.shapes[access.tensor][k]
        before, behind = max(0, -low), max(0, high - size + 1)
        if not at.safe:
            check(a, access, k, position_of(a, at.row.shifted(at.lo)), at.end)
        if not (before or behind):
            continue
        shift[k] = before, behind
        if at.boundary is not None and at.boundary.kind != "pad":
            edges = [(before, behind) if k == n else (0, 0) for n in range(rank)]
            code = w.let("padded", f"jnp.pad({code}, {edges}, mode={_EDGES[at.boundary.kind]!r})")
            continue
        fill = "0" if at.boundary is None else fill_of(a, at.boundary.value, dtype)
        widths = [(before, behind, 0) if k == n else (0, 0, 0) for n in range(rank)]
        code = w.let("padded", f"lax.pad({code}, jnp.asarray({fill}, {w.kind(dtype)}), {widths})")
    return code, shift


def affine(a: Around, code: str, axes: list[str], at: int, row: Row, size: int) -> tuple[str, list[str]]:
    """One axis at the positions of a row, all inside: an axis for each of its indices."""
    w, before = a.w, ":, " * at
    if not row.coefs:
        return w.let("v", f"{code}[{before}{row.const}]"), axes[:at] + axes[at + 1 :]
    low, high = row.interval(a.extents)
    if len(row.coefs) == 1:
        ((index, coef),) = row.coefs
        if (low, high, coef) != (0, size - 1, 1):
            code = w.let("v", f"{code}[{before}{_slice(low, high, coef, size)}]")
        return code, [*axes[:at], index, *axes[at + 1 :]]
    digits = radix(row, a.extents)
    names = [i for i, _ in row.coefs] if digits is None else list(digits)
    new = [*axes[:at], *names, *axes[at + 1 :]]
    if digits is not None:
        if (low, high) != (0, size - 1):
            code = w.let("v", f"{code}[{before}{low}:{high + 1}]")
        return w.let("v", _split(a, code, axes, at, names)), new
    sizes = a.sizes
    *taps, longest = sorted(names, key=lambda i: sizes[i])
    if prod(sizes[i] for i in taps) > TAPS:
        table = position_of(a, row)
        table = w.ordered(table, names)
        where = f"{before}{table.code}"
        return w.let("v", f'{code}.at[{where}].get(mode="promise_in_bounds")'), new
    by = dict(row.coefs)
    slices = []
    for values in product(*(range(*a.extents[i]) for i in taps)):
        first = row.const + sum(by[i] * v for i, v in zip(taps, values, strict=True))
        lo, hi = a.extents[longest]
        low, high = sorted((first + by[longest] * lo, first + by[longest] * (hi - 1)))
        slices.append(w.let("tap", f"{code}[{before}{_slice(low, high, by[longest], size)}]"))
    stacked = w.let("taps", f"jnp.stack([{', '.join(slices)}], axis={at})")
    order = [*axes[:at], "?taps", longest, *axes[at + 1 :]]
    stacked = w.let("taps", _split(a, stacked, order, at, taps))
    return stacked, [*axes[:at], *taps, longest, *axes[at + 1 :]]


def _split(a: Around, code: str, axes: Sequence[str], at: int, names: Sequence[str]) -> str:
    """Code of an array with one axis split into several."""
    shown = ", ".join(str(a.sizes[i]) for i in names)
    return f"{code}.reshape((*{code}.shape[:{at}], {shown}, *{code}.shape[{at + 1}:]))"


def _slice(low: int, high: int, coef: int, size: int) -> str:
    """A slice from one position to another one, in the direction of the coefficient."""
    step = abs(coef)
    if coef > 0:
        return f"{low}:{high + 1}" + (f":{step}" if step > 1 else "")
    return f"{high}:{low - 1 if low else ''}:{-step}"


def position_of(a: Around, row: Row) -> Arr:
    """The positions of a row as an array over its indices."""
    parts = [Arr(str(row.const), (), "int64", literal=True)] if row.const or not row.coefs else []
    for index, coef in row.coefs:
        at = a.positions(index)
        parts.append(at if coef == 1 else a.w.made(at, f"({coef} * {at.code})", at.axes, "p"))
    if len(parts) == 1:
        return a.w.solid(parts[0])
    axes = union(a.order, parts)
    return Arr(a.w.let("p", " + ".join(a.w.beside(p, axes) for p in parts)), axes, "int64")


# -- computed axes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Computed:
    """Positions of an axis, brought inside; and where they are outside, if that says another value."""

    inside: Arr
    outside: Arr | None
    fill: str


def positions(a: Around, access: Access, axis: int, at: Subscribed) -> tuple[Arr, Arr | None]:
    """The positions of an axis, as they are written less a padding's width, by edges brought inside; and where a check
    found them outside at a point that is admitted.
    """
    w, size = a.w, a.b.shapes[access.tensor][axis]
    kind = "" if at.boundary is None else at.boundary.kind
    if at.row is not None:
        found = position_of(a, at.row)
        bad = None if at.safe else check(a, access, axis, position_of(a, at.row.shifted(at.lo)), at.end)
    else:
        turn = {"wrap": size, "reflect": 2 * (size - 1)}.get(kind, 0)
        found = w.solid(w.cast(_saturated(a, at.expr, at.end, turn), "int64"))
        bad = None if at.safe else check(a, access, axis, found, at.end)
        if at.lo:
            found = w.made(found, f"({found.code} - {at.lo})", found.axes, "p")
    match kind:
        case "wrap":
            found = w.made(found, f"({found.code} % {max(size, 1)})", found.axes, "p")
        case "reflect" if size > 1:
            last = size - 1
            found = w.made(found, f"({last} - jnp.abs({last} - {found.code} % {2 * last}))", found.axes, "p")
        case "clamp" | "reflect":
            found = w.made(found, f"jnp.clip({found.code}, 0, {max(size - 1, 0)})", found.axes, "p")
        case _:
            pass
    return found, bad


def _saturated(a: Around, expr: Expr, end: int, turn: int = 0) -> Arr:
    """A computed position whose arithmetic does not wrap: what data say is first brought near enough.

    Where only the remainder by `turn` counts, that is exact.
    """
    if turn:
        return _remainder(a, expr, turn)
    if isinstance(expr, Call) and expr.fn != "int" and reads(expr):
        return _limited(a, expr, end)
    found = value_of(a, expr)
    return _near(a, found, end) if found.dtype == "uint64" else found


def _limited(a: Around, expr: Expr, end: int) -> Arr:
    match expr:
        case Call(fn="mod", args=(inner, Const(value=int(turn)))) if turn > 0 and reads(inner):
            return _remainder(a, inner, turn)
        case Call(fn="add" | "sub" | "mul" | "neg" | "floordiv" | "max" | "min" as fn, args=args) if reads(expr):
            return called(a, form_of(fn, "int"), [_limited(a, x, end) for x in args], "int64")
        case Access() | Call(fn="int"):
            return _near(a, value_of(a, expr), end)
        case _:
            return value_of(a, expr)


def _near(a: Around, found: Arr, end: int) -> Arr:
    return a.w.made(found, f"{a.w.use('near')}({found.code}, {end})", found.axes, "p", "int64")


def _remainder(a: Around, expr: Expr, turn: int) -> Arr:
    """The remainder of a sum of products, of their remainders."""
    match expr:
        case Call(fn="add" | "sub" | "mul" | "neg" as fn, args=args):
            made = called(a, form_of(fn, "int"), [_remainder(a, x, turn) for x in args], "int64")
        case Const(value=int(value)):
            return Arr(str(value % turn), (), "int64", literal=True)
        case _:
            made = a.w.solid(value_of(a, expr))
    return a.w.cast(a.w.made(made, f"({made.code} % {turn})", made.axes, "p"), "int64")


def _gathered(
    a: Around, access: Access, known: Sequence[Subscribed], group: Sequence[int], code: str, axes: list[str], dtype: str
) -> tuple[str, list[str]]:
    """The axes of a group at computed positions, together."""
    w, found = a.w, list[Computed]()
    sizes = a.b.shapes[access.tensor]
    for k in group:
        p, bad = positions(a, access, k, known[k])
        boundary, size = known[k].boundary, sizes[k]
        inside = w.made(p, f"jnp.clip({p.code}, 0, {max(size - 1, 0)})", p.axes, "p")
        if boundary is not None and boundary.kind == "pad":
            out = w.made(p, f"(({p.code} < 0) | ({p.code} >= {size}))", p.axes, "out", "bool")
            found.append(Computed(inside, out, fill_of(a, boundary.value, dtype)))
            if bad is not None:
                found.append(Computed(inside, bad, _nothing(dtype)))
        else:
            found.append(Computed(inside, bad, _nothing(dtype)))
    unique = list({id(c.inside): c.inside for c in found}.values())
    order = union(a.order, [c.inside for c in found])
    places = [axes.index(f"?{k}") for k in group]
    first = places[0]
    if places != list(range(first, first + len(places))):
        turn = [*places, *(k for k in range(len(axes)) if k not in places)]
        code, first = w.let("v", f"{code}.transpose({tuple(turn)})"), 0
        axes = [axes[k] for k in turn]
    rest = axes[:first], axes[first + len(places) :]
    new = [*rest[0], *order, *rest[1]]
    if any(sizes[k] == 0 for k in group):  # there is nothing, and all lies in a padding
        shape = [a.sizes[i] if not i.startswith("?") else sizes[int(i[1:])] for i in new]
        code = w.let("v", f"jnp.zeros({tuple(shape)}, {w.kind(dtype)})")
    else:
        index = ", ".join(w.beside(p, order) for p in unique)
        code = w.let("v", f'{code}.at[{":, " * first}{index}].get(mode="promise_in_bounds")')
    for one in reversed(found):  # the first axis that is out of range says
        if one.outside is not None:
            where = w.beside(one.outside, order)
            tail = len(rest[1])
            where = f"{where}.reshape({where}.shape + {(1,) * tail})" if tail and one.outside.axes else where
            fill = f"jnp.asarray({one.fill}, {w.kind(dtype)})"
            code = w.let("v", f"jnp.where({where}, {fill}, {code})")
    return code, new


def _nothing(dtype: str) -> str:
    """What is read where there is no element, although one is asked for."""
    return "jnp.nan" if dtype.startswith(("float", "complex")) else "0"


def check(a: Around, access: Access, axis: int, position: Arr, end: int) -> Arr | None:
    """Tell of positions outside of 0..end-1 at points that masks admit, those of a pole aside; where they are."""
    w = a.w
    position = w.solid(position)
    out = f"(({position.code} < 0) | ({position.code} >= {end}))"
    bad = Arr(w.let("out", out), position.axes, "bool")
    allowed = conjunction(a, [m for m in a.masks if m not in a.b.poles])
    if allowed is not None:
        over = tuple(k for k, i in enumerate(allowed.axes) if i not in position.axes)
        if over:
            left = tuple(i for i in allowed.axes if i in position.axes)
            allowed = w.made(allowed, f"jnp.any({allowed.code}, axis={over})", left)
        bad = Arr(w.let("out", f"({bad.code} & {w.beside(allowed, bad.axes)})"), bad.axes, "bool")
    if a.admitting:
        found = w.let("found", f"{w.use('first')}({bad.code}, {position.code})")
        if all(c[0] != found for c in a.checks):
            a.checks.append((found, found, access, axis))
    return bad
