"""Products whose subscripts add two indices, as convolutions: forward, of weights, and transposed.

In: two factors of a sum. Out: `Convolution`, and its code. The one rule, of positions `a*o + d*r + c` in an axis: read,
with o kept and r summed with the other factor, `a` is the stride, `d` the dilation of the kernel, `c` the padding;
written, with o in one factor and r in the other, `a` is the dilation of the image, and the kernel is turned round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

from ...plan.evaluation import Evaluation
from ...plan.views import Row, plain
from ...program.ir import Access, Const, Expr, indices_of
from .expressions import value_of
from .lines import Arr
from .reading import affine, padded
from .scope import Around, radix
from .writing import Target


@dataclass(frozen=True)
class Spatial:
    """One axis: its positions a*o + d*r + c, o and r from 0 on, in `size` elements; `name` stands for the axis."""

    o: str
    r: str
    a: int
    d: int
    c: int
    size: int
    name: str


@dataclass(frozen=True)
class Convolution:
    """The numbers of the factors that are image and kernel, the axes, and the roles of the other indices."""

    image: int
    kernel: int
    axes: tuple[Spatial, ...]
    batch: tuple[str, ...]
    groups: tuple[str, ...]
    features: tuple[str, ...]  # summed, of both
    made: tuple[str, ...]  # those of the kernel that are kept
    written: bool = False  # whether the positions are those of the target


def forward(a: Around, ev: Evaluation, core: Sequence[Expr]) -> Convolution | None:
    """How two factors are a convolution that is read; None if they are none, or taps are better."""
    for image in (0, 1):
        access, other = core[image], core[1 - image]
        if not isinstance(access, Access):
            continue
        axes = _read(a, ev, access, other)
        if axes:
            return _roles(ev, core, image, axes)
    return None


def _read(a: Around, ev: Evaluation, access: Access, other: Expr) -> tuple[Spatial, ...] | None:
    known = [a.subscribed(access, k) for k in range(len(access.subscripts))]
    uses = Counter(i for k in range(len(known)) for i in set(indices_of(access.subscripts[k])))
    if any(n > 1 for n in uses.values()):
        return None
    found = []
    for k, at in enumerate(known):
        row, size = at.row, a.b.shapes[access.tensor][k]
        if row is None or not at.safe or (at.boundary is not None and at.boundary.kind != "pad"):
            return None
        if len(row.coefs) < 2 or radix(row, a.extents) is not None:
            continue
        pads = at.boundary is None or at.boundary.value in (Const(0), Const(0.0))
        one = _spatial(a, row, size, f"?w{k}", lambda i: i in ev.free and i not in indices_of(other))
        if one is None or not pads or one.r in ev.free or one.r not in indices_of(other):
            return None
        found.append(one)
    return tuple(found)


def _spatial(a: Around, row: Row, size: int, name: str, keeps: Callable[[str], bool]) -> Spatial | None:
    """The axis of a row of two indices; `keeps` says which one is o."""
    if len(row.coefs) != 2 or any(c < 0 for _, c in row.coefs):
        return None
    first, second = row.coefs
    if not keeps(first[0]):
        first, second = second, first
    if not keeps(first[0]):
        return None
    const = row.const + first[1] * a.extents[first[0]][0] + second[1] * a.extents[second[0]][0]
    return Spatial(first[0], second[0], first[1], second[1], const, size, name)


def _roles(
    ev: Evaluation, core: Sequence[Expr], image: int, axes: tuple[Spatial, ...], written: bool = False
) -> Convolution | None:
    """The roles of the indices that are on no axis."""
    spatial = {i for s in axes for i in (s.o, s.r)}
    ours, theirs = (tuple(i for i in indices_of(core[k]) if i not in spatial) for k in (image, 1 - image))
    free = set(ev.free)
    batch = tuple(i for i in ours if i in free and i not in theirs)
    groups = tuple(i for i in ours if i in free and i in theirs)
    features = tuple(i for i in ours if i not in free and i in theirs)
    made = tuple(i for i in theirs if i in free and i not in ours)
    found = Convolution(image, 1 - image, axes, batch, groups, features, made, written)
    useful = (features and (made or batch)) or (made and not groups)
    return found if useful else None


def backward(a: Around, ev: Evaluation, core: Sequence[Expr]) -> Convolution | None:
    """How two factors are a convolution that is written; None if they are none, or taps are better."""
    target = ev.stmt.target
    uses = Counter(i for s in target.subscripts for i in set(indices_of(s)))
    if any(n > 1 for n in uses.values()):
        return None
    for image in sorted((0, 1), key=lambda k: -a.count(indices_of(core[k]))):
        ours, theirs = set(indices_of(core[image])), set(indices_of(core[1 - image]))
        found: list[Spatial] = []
        for k in range(len(target.subscripts)):
            at = a.subscribed(target, k)
            if at.row is None or not at.safe or (at.boundary is not None and at.boundary.kind != "pad"):
                return None
            if len(at.row.coefs) < 2 or radix(at.row, a.extents) is not None:
                continue
            one = _spatial(a, at.row, a.b.shapes[target.tensor][k], f"?t{k}", lambda i: i in ours and i not in theirs)  # noqa: B023
            if one is None or one.r in ours or one.r not in theirs:
                found = []
                break
            found.append(one)
        if found and (made := _roles(ev, core, image, tuple(found), True)) is not None:
            return made
    return None


# -- code ----------------------------------------------------------------------------------------------


def convolved(a: Around, ev: Evaluation, core: Sequence[Expr], c: Convolution) -> Arr:
    """The sum as a convolution: over the free indices, those of the target's axes under the names of these."""
    w = a.w
    image = _image(a, ev, core[c.image], c)
    kernel = _summed(a, w.cast(value_of(a, core[c.kernel]), ev.compute), c)
    names = [s.o if c.written else s.name for s in c.axes]
    sizes = {**a.sizes, **{s.name: s.size for s in c.axes}}
    lhs, left = _laid(a, image, [c.batch, (*c.groups, *c.features), *((n,) for n in names)], sizes)
    rhs, right = _laid(a, kernel, [(*c.groups, *c.made), c.features, *((s.r,) for s in c.axes)], sizes)
    if c.written:
        rhs = w.let("turned", f"lax.rev({rhs}, {tuple(right[2:])})")
    outs = [s.name if c.written else s.o for s in c.axes]
    single = len(c.batch) == 1 == len(c.made) and not c.groups
    order = [*c.batch, *c.groups, *c.made, *outs]
    if single:
        named = {s.name: (s.name,) for s in c.axes if c.written}
        subs = ev.stmt.target.subscripts
        lies = [i for k in range(len(subs)) for i in named.get(f"?t{k}", indices_of(subs[k]))]
        order.sort(key=lies.index)  # as the target lies
        spec = tuple(order.index(i) for i in (*c.batch, *c.made, *outs))
    else:
        spec = tuple(range(2 + len(outs)))
    how = [
        f"window_strides={tuple(1 if c.written else s.a for s in c.axes)}",
        f"padding={[_padding(a, s, c.written) for s in c.axes]}",
    ]
    if c.written and any(s.a != 1 for s in c.axes):
        how.append(f"lhs_dilation={tuple(s.a for s in c.axes)}")
    if any(s.d != 1 for s in c.axes):
        how.append(f"rhs_dilation={tuple(s.d for s in c.axes)}")
    how.append(f"dimension_numbers=lax.ConvDimensionNumbers({left}, {right}, {spec})")
    if c.groups:
        how.append(f"feature_group_count={prod(sizes[i] for i in c.groups)}")
    how.append(f"precision=PRECISION, preferred_element_type={w.kind(ev.compute)}")
    code = w.let("convolved", f"lax.conv_general_dilated({lhs}, {rhs}, {', '.join(how)})")
    if not single:
        shape = tuple(sizes[i] for i in order)
        code = w.let("convolved", f"{code}.reshape({shape})")
    return Arr(code, tuple(order), ev.compute)


def _padding(a: Around, s: Spatial, written: bool) -> tuple[int, int]:
    """The elements around an axis."""
    o, r = a.sizes[s.o], a.sizes[s.r]
    if written:
        return s.c + s.d * (r - 1), s.size - (s.a * (o - 1) + 1) - s.c
    return -s.c, s.c + s.a * (o - 1) + s.d * (r - 1) - (s.size - 1)


def _image(a: Around, ev: Evaluation, factor: Expr, c: Convolution) -> Arr:
    """The image, its axes of positions whole; what no other has is summed."""
    w = a.w
    if c.written:
        return _summed(a, w.cast(value_of(a, factor), ev.compute), c)
    assert isinstance(factor, Access)
    known = [a.subscribed(factor, k) for k in range(len(factor.subscripts))]
    there = {s.name: s.size for s in c.axes}
    stored = a.exact.get(factor.tensor, a.b.dtypes[factor.tensor])
    others = {k for k in range(len(known)) if f"?w{k}" not in there}
    code, shift = padded(a, factor, known, others, a.arrays[factor.tensor], stored)
    axes = [f"?{k}" for k in range(len(known))]
    for k in sorted(others):
        row, before = known[k].row, shift.get(k, (0, 0))
        assert row is not None
        size = a.b.shapes[factor.tensor][k] + sum(before)
        code, axes = affine(a, code, axes, axes.index(f"?{k}"), row.shifted(before[0]), size)
    axes = [f"?w{i[1:]}" if i.startswith("?") else i for i in axes]
    return _summed(a, w.cast(Arr(code, tuple(axes), stored), ev.compute), c)


def _summed(a: Around, value: Arr, c: Convolution) -> Arr:
    """A factor summed over the indices that it alone has."""
    kept = {*c.batch, *c.groups, *c.features, *c.made, *(i for s in c.axes for i in (s.o, s.r, s.name))}
    gone = tuple(k for k, i in enumerate(value.axes) if i not in kept)
    if not gone:
        return value
    code = f"jnp.sum({value.code}, axis={gone}, dtype={a.w.kind(value.dtype)})"
    return a.w.made(value, code, [i for i in value.axes if i in kept])


def _laid(a: Around, value: Arr, roles: Sequence[Sequence[str]], sizes: dict[str, int]) -> tuple[str, tuple[int, ...]]:
    """Code of a factor with one axis for each role, and which axis that is: as it lies, where each is one index."""
    if all(len(r) == 1 for r in roles):
        return value.code, tuple(value.axes.index(r[0]) for r in roles)
    turned = a.w.ordered(value, [i for r in roles for i in r])
    shape = tuple(prod(sizes[i] for i in r) for r in roles)
    return a.w.let("laid", f"{turned.code}.reshape({shape})"), tuple(range(len(roles)))


def onto(a: Around, c: Convolution) -> Around:
    """Where the target's axes of positions have indices of their own."""
    names = tuple(s.name for s in c.axes)
    extents = {**a.extents, **{s.name: (0, s.size) for s in c.axes}}
    return replace(a, order=(*a.order, *names), extents=extents)


def replace_rows(target: Target, c: Convolution) -> Target:
    """The target whose axes of positions are whole."""
    for s in c.axes:
        axis = int(s.name[2:])
        target.known[axis] = replace(target.known[axis], row=plain(s.name))
    return target
