"""Arrays that take the memory of others which are read for the last time where they are made.

    s[i,j] = q[i,d] * k[j,d]                      p[i,j] = q[i,d] * k[j,d]
    p[i,j] = exp(s[i,j]) / z[i]                   p[i,j] = exp(p[i,j]) / z[i]

In: a Plan. Out: an equal one with fewer arrays, and the steps that write where they read. The one rule: only products
are made elsewhere; what nests would keep in registers stays an array of its own, as that takes no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...plan.buffers import buffers_of, bytes_of, places_of
from ...plan.kernels import Map, Product
from ...plan.places import Buffer, Part, Place
from ...plan.plan import Loop, Plan, Run, Step
from ...plan.quantities import Apply, Load, Reduced, Value, parts_of
from .lowering import scaled
from .names import with_buffers

LEAST = 1 << 16  # bytes of an array that is worth it

Number = tuple[int, int]


def reused(plan: Plan) -> tuple[Plan, frozenset[Number]]:
    """The Plan, and which steps, by section and number, write where they read."""
    given = {*plan.inputs, *(t.buffer for t in plan.tables), *(p.buffer for p in plan.finite)}
    given |= {p.buffer for _, p, _ in plan.outputs}
    own = {*plan.inputs, *(t.buffer for t in plan.tables)}
    steps = [((n, k), step) for n, section in enumerate(plan.sections) for k, step in enumerate(section.steps)]
    first: dict[Buffer, Number] = {}
    last: dict[Buffer, Number] = {}
    for number, step in steps:
        for buffer in buffers_of(step):
            first.setdefault(buffer, number)
            last[buffer] = number
    multiplied = {step.place.buffer for _, step in steps if isinstance(step, Run) and _is_product(step)}
    names: dict[Buffer, Buffer] = {}
    found: set[Number] = set()
    for number, step in steps:
        if not isinstance(step, Run) or first[step.place.buffer] != number or step.place.buffer in own:
            continue
        for old in _read_in_place(step):
            if old in multiplied and old not in given and last[old] == number and bytes_of(old) >= LEAST:
                names[old] = step.place.buffer
                found.add(number)
                break
    if not names:
        return plan, frozenset()
    for old in names:
        while names[old] in names:  # which is reused in its turn
            names[old] = names[names[old]]
    sections = tuple(replace(s, steps=with_buffers(s.steps, names)) for s in plan.sections)
    return replace(plan, sections=sections), frozenset(found)


def _is_product(step: Step) -> bool:
    """Whether a step sums products of two arrays."""
    while isinstance(step, Loop) and len(step.steps) == 1:
        (step,) = step.steps
    match step:
        case Run(op="=", kernel=Product()):
            return True
        case Run(op="=", kernel=Map(value=value)):
            inner = scaled(value)[1]
            return isinstance(inner, Reduced) and inner.op == "sum" and _multiplies(inner.value)
        case _:
            pass
    return False


def _multiplies(value: Value) -> bool:
    return isinstance(value, Apply) and value.fn == "mul" and all(isinstance(a, Load) for a in value.args)


def _read_in_place(step: Run) -> Iterator[Buffer]:
    """The arrays that a step reads, like the one that it makes, at the element that it makes alone."""
    home, kernel = step.place, step.kernel
    if step.op != "=" or not isinstance(kernel, Map) or home.buffer in set(buffers_of(kernel)):
        return
    inside = {b for v in parts_of(kernel.value) if isinstance(v, Reduced) for b in buffers_of(v)}
    for load in (v for v in parts_of(kernel.value) if isinstance(v, Load)):
        buffer = load.place.buffer
        if (buffer.dtype, buffer.shape) != (home.buffer.dtype, home.buffer.shape) or buffer in inside:
            continue
        if load.dtype == buffer.dtype and all(_same(p, home) for p in places_of(kernel) if p.buffer == buffer):
            yield buffer


def _same(place: Place, home: Place) -> bool:
    """Whether a place is that one, in another array."""
    return replace(place, buffer=home.buffer) == home and not (isinstance(place, Part) and place.moved)
