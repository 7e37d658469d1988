"""Long sums for few results, in parts: each part is a sum of its own, another contraction adds them up in their order.

In: a `Contraction`, its `Normal`. Out: two contractions and the array between them. The one rule: how many parts there
are is said by extents alone, so that results have the same bits for any number of threads.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from .blocks import reach
from .contraction_form import ONE, Contraction, Operand
from .nest import Array
from .normal_form import LEFT, RIGHT, TARGET, Axis, Normal, apart
from .tile_costs import COSTS, WAY
from .varying import renewed, varies

FEWEST, MOST = 4, 32  # parts
TERMS = 512  # of each
SHARE, LITTLE = 8, 1 << 16  # all parts together have an eighth of the operands' elements at most, or so few


def partial(c: Contraction, normal: Normal, name: str, small: bool) -> tuple[Contraction, Contraction, Array] | None:
    """Parts and their sum; None where the whole is as good. `small` if the whole is soon done."""
    free = apart(normal)
    results = prod(a.n for a in normal.outputs)
    crowded = min(normal.nearest(LEFT), normal.nearest(RIGHT)) >= COSTS.near
    if small or not (crowded or results < 4096) or normal.never or len(free) < len(normal.outputs):
        return None
    found = _cut(normal, max(LITTLE, (reach(normal, LEFT) + reach(normal, RIGHT)) // SHARE) // results)
    if found is None:
        return None
    axis, count = found
    return _parts(c, normal, axis, count, name)


def _cut(normal: Normal, most: int) -> tuple[Axis, int] | None:
    """The summed axis to cut, farthest first, and how many parts it has, `most` at most."""
    terms = int(prod(a.n for a in normal.rounded.sums))
    for axis in sorted(normal.sums, key=lambda a: -abs(a.steps[LEFT])):
        if axis.bounded or not (axis.steps[LEFT] or axis.steps[RIGHT]):
            continue
        for count in range(min(int(axis.n), MOST, most), FEWEST - 1, -1):
            if int(axis.n) % count == 0 and terms // count >= TERMS:
                return axis, renewed(count) if varies(axis.n) else count
    return None


def _parts(c: Contraction, normal: Normal, axis: Axis, count: int, name: str) -> tuple[Contraction, Contraction, Array]:
    extents = {a.name: a.n for a in normal.axes}
    part, inside = f"{axis.name}.part", axis.n // count
    extents |= {part: count, axis.name: inside}
    outputs = sorted(normal.outputs, key=lambda a: -abs(a.steps[TARGET]))
    stride, steps = 1, {}
    for a in reversed(outputs):
        steps[a.name] = stride
        stride *= a.n
    if stride * np.dtype(c.dtype).itemsize % WAY == 0:  # parts a power of two apart would share few sets of the caches
        stride += 2 * COSTS.near
    array = Array(f"{name}_parts", c.dtype, stride * count, "workspace")
    own = Operand(array, 0, (*steps.items(), (part, stride)))

    def view(p: int) -> Operand:
        strides = {a.name: a.steps[p] for a in normal.axes}
        return replace(normal.views[p], strides=(*strides.items(), (part, axis.steps[p] * inside)))

    first = replace(
        c,
        extents=tuple((i, n) for i, n in extents.items()),
        reduced=tuple(a.name for a in normal.sums),
        left=view(LEFT),
        right=view(RIGHT),
        target=own,
        op="=",
        bounds=normal.bounds,
        epilogue=(),
        results=(),
    )
    steps_of = dict(zip(normal.views, range(len(normal.views)), strict=True))
    epilogue = tuple(
        replace(s, args=tuple(view(steps_of[a]) if isinstance(a, Operand) else a for a in s.args)) for s in c.epilogue
    )
    second = replace(
        c,
        extents=(*((a.name, a.n) for a in outputs), (part, count)),
        reduced=(part,),
        left=own,
        right=ONE,
        target=view(TARGET),
        bounds=(),
        epilogue=epilogue,
        results=tuple((name, view(steps_of[o])) for name, o in c.results),
    )
    return first, second, array
