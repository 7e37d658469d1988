"""Sums of products with what is done along with them: the zeros before, what follows at each element.

In: tasks in order. Out: a `Chain`, or how many of the tasks are to be looked at by themselves. The one rule: a task is
done along only if all elements of the sum's target are made by the contractions of the chain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from ...plan.buffers import buffers_of
from ...plan.kernels import Map
from ...plan.places import Buffer, View
from ...plan.plan import Plan
from ...plan.quantities import Number as Constant
from ...plan.views import Row
from .contraction import Contraction, Operand
from .following import Window, covers, followed, window
from .gathering import gathered
from .lowering import Task, contraction, parted
from .nest import Array

REUSED = 4  # times that each element of the larger factor is used, at least
NARROW = 6  # elements side by side below which they are no vector
SMALL = 1 << 10  # points of a sum of products below which it is gone through as it is written
AFTER = 12  # tasks after a sum that are looked at

Number = tuple[int, int]  # of a section, and of a step in it
Members = Sequence[tuple[Number, Task]]


@dataclass(frozen=True)
class Chain:
    """Steps that follow each other, and the contractions that do them all."""

    members: Members
    contractions: tuple[Contraction, ...]


def touches(plan: Plan) -> Counter[Buffer]:
    """How many steps touch each buffer; whoever gives or gets it counts as one."""
    found = Counter(b for s in plan.sections for step in s.steps for b in dict.fromkeys(buffers_of(step)))
    found.update([*plan.inputs, *(t.buffer for t in plan.tables), *(p.buffer for _, p, _ in plan.outputs)])
    found.update(p.buffer for p in plan.finite)
    return found


def begins(plan: Plan) -> dict[Buffer, Number]:
    """The first step that touches each buffer; whoever gives it does so before all."""
    found: dict[Buffer, Number] = {b: (-1, 0) for b in (*plan.inputs, *(t.buffer for t in plan.tables))}
    for number, section in enumerate(plan.sections):
        for k, step in enumerate(section.steps):
            for buffer in buffers_of(step):
                found.setdefault(buffer, (number, k))
    return found


def chained(run: Members, arrays: Mapping[Buffer, Array], touched: Mapping[Buffer, int]) -> Chain | None:
    """The sum of products with which tasks begin, a zero before it or not; None where there is none."""
    zero = zeroed(run)
    work = run[int(zero)][1]
    product = product_of(work, arrays)
    if product is None:
        return None if zero else _with_its_factors(run, arrays, touched)
    first = int(zero) + 1
    after = [task for _, task in run[first : first + AFTER]]
    if not covers(work) or _solved(work, product) is None:
        return None if zero else Chain(run[:1], tuple(_solved(work, product) or [product]))
    own = {**touched, work.place.buffer: touched[work.place.buffer] - int(zero)}
    product = replace(product, op="=") if zero else product
    part = window(work, after[0]) if after and own[work.place.buffer] == 2 and product.op == "=" else None
    if part is not None:
        found, count = followed(product, work, after, arrays, own, part)
        parts = _solved(work, found, part)
        if count and parts:
            return Chain(run[: first + count], tuple(parts))
    product, count = followed(product, work, after, arrays, own)
    return Chain(run[: first + count], tuple(_solved(work, product) or ()))


def _with_its_factors(run: Members, arrays: Mapping[Buffer, Array], touched: Mapping[Buffer, int]) -> Chain | None:
    """A sum of products that something is done with in the same step, which then comes first of what follows it."""
    parts = parted(run[0][1])
    product = product_of(parts[0], arrays) if parts else None
    if parts is None or product is None or not covers(parts[0]):
        return None
    work, then = parts
    own = {**touched, work.place.buffer: touched[work.place.buffer] + 1}
    product, count = followed(product, work, [then, *(task for _, task in run[1 : 1 + AFTER])], arrays, own)
    return Chain(run[:count], (product,)) if count else None


def product_of(work: Task, arrays: Mapping[Buffer, Array]) -> Contraction | None:
    """A task as a sum of products for a schedule of its own: large, its factors read several times; None if not."""
    if work.points < SMALL:
        return None
    found = contraction(work, arrays)
    if found is None or not (found.reduced or all(map(_multiplies, _solved(work, found) or [found]))):
        return None
    own = {i for i, _ in found.target.strides} - {*work.taps}
    lacking = [i for o in (found.left, found.right) for i, n in found.extents if i in own and n > 1 and not _step(o, i)]
    reused = work.points >= REUSED * max(found.left.array.size, found.right.array.size)
    if (
        not lacking or not reused or _narrow(found, lacking)
    ):  # no element is used again but by neighbours, or hardly a lane is
        return None
    return found


def _narrow(c: Contraction, lacking: Sequence[str]) -> bool:
    """Whether elements lie side by side only along what is summed, and neither there nor along what one of the factors
    lacks there are many: vectors lie along what both have then.
    """
    beside = {i for o in (c.left, c.right) for i, step in o.strides if abs(step) == 1}
    sizes = dict(c.extents)
    return beside <= {*c.reduced} and max(prod(sizes[i] for i in c.reduced), *(sizes[i] for i in lacking)) < NARROW


def _multiplies(c: Contraction) -> bool:
    """Whether what taps bring together is a product: each factor is used along an axis that only the other one has, or
    one of them along an axis beside vectors that both have.
    """
    outputs = [i for i, n in c.extents if n > 1 and _step(c.target, i)]
    lacking = [any(not _step(o, i) for i in outputs) for o in (c.left, c.right)]
    beside = any(_step(c.left, i) == _step(c.right, i) == _step(c.target, i) == 1 for i in outputs)
    return bool(c.reduced) and (all(lacking) or (any(lacking) and beside))


def _step(o: Operand, index: str) -> int:
    return dict(o.strides).get(index, 0)


def zeroed(run: Members) -> bool:
    """Whether the first of some tasks makes all of what the second one adds to zero."""
    if len(run) < 2:
        return False
    (_, first), (_, then) = run[:2]
    match first.kernel:
        case Map(value=Constant(value=value)) if not value:
            same = first.place.buffer == then.place.buffer and first.op == "=" and then.op == "+="
            return same and not first.taps and covers(first)
        case _:
            return False


def _solved(work: Task, product: Contraction, part: Window | None = None) -> Sequence[Contraction] | None:
    """Contractions that share no element of the target, or of a part of it; None where points are not told apart."""
    place = work.place
    if not work.taps:
        return (product,)
    if not isinstance(place, View):
        return None
    lows = {i: lo for i, (lo, _) in work.extents}
    own = part or tuple((0, n) for n in place.buffer.shape)
    rows = [
        Row(row.const + sum(k * lows[i] for i, k in row.coefs) - low, row.coefs)
        for row, (low, _) in zip(place.rows, own, strict=True)
    ]
    return gathered(product, rows, [n for _, n in own])
