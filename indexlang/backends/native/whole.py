"""A Plan that native code does in one call.

In: a Plan and its groups. Out: which arrays only a group sees; a `Made`, if there is no more to do than one call. The
one rule: what a caller gets is made by the call, whole and of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...plan.buffers import buffers_of
from ...plan.places import Buffer, Place, View
from ...plan.plan import Check, Plan
from .calling import Native
from .groups import Group
from .lowering import Extents
from .making import Made


def elsewhere(plan: Plan, groups: Sequence[Group]) -> dict[Buffer, set[int]]:
    """Who touches each buffer: groups by their numbers; -1 for what is no group."""
    found: dict[Buffer, set[int]] = {}
    own = {number: k for k, group in enumerate(groups) for number in group.numbers}
    for number, section in enumerate(plan.sections):
        for k, step in enumerate(section.steps):
            for buffer in buffers_of(step):
                found.setdefault(buffer, set()).add(own.get((number, k), -1))
                if isinstance(step, Check):  # NumPy's code looks what is wrong
                    found[buffer].add(-1)
    for buffer in (*plan.inputs, *(t.buffer for t in plan.tables), *(p.buffer for _, p, _ in plan.outputs)):
        found.setdefault(buffer, set()).add(-1)
    for place in plan.finite:
        found[place.buffer].add(-1)
    return found


def whole_of(plan: Plan, made: Native, read: Sequence[Buffer], written: Sequence[Buffer]) -> Made | None:
    """The call of a plan that is one group, if its outputs are among what that writes."""
    given = [place.buffer for _, place, kind in plan.outputs if isinstance(place, View) and kind == place.buffer.dtype]
    plain = len(given) == len(plan.outputs) and all(is_all(place, dict(plan.extents)) for _, place, _ in plan.outputs)
    if plan.instead is not None or not plain or not set(read) <= set(plan.inputs):
        return None
    if len(set(given)) < len(given) or not set(given) <= set(written):
        return None
    arguments = [*read, *written]
    return Made(
        made.memory,
        [(b.dtype, b.shape) for b in arguments],
        [(b.dtype, b.shape) for b in plan.inputs],
        [read.index(b) if b in read else -1 for b in plan.inputs],
        [arguments.index(b) for b in given],
        [arguments.index(b) for b in written if b not in given],
        made.grow,
    )


def is_all(place: Place, ends: Extents) -> bool:
    """Whether a place is a buffer as it stands."""
    if not isinstance(place, View):
        return False
    axes = zip(place.rows, place.buffer.shape, strict=True)
    plain = all(r.const == 0 and [(k, ends[i]) for i, k in r.coefs] == [(1, (0, n))] for r, n in axes)
    used = [i for row in place.rows for i, _ in row.coefs]
    return plain and len(set(used)) == len(used)
