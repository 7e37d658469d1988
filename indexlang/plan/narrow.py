"""Short innermost axes: what makes NumPy's inner loops longer than the few elements that lie there.

In: a statement's value, its indices as they lie in memory. Out: the value with small operands repeated along the
innermost index; the order in which indices are summed. The one rule: what is repeated is small beside the domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from .building import Building, here
from .kernels import Map
from .limits import Limits
from .quantities import Apply, Load, Value
from .views import Scope


def sums(
    order: Sequence[str], over: Sequence[str], sizes: dict[str, int], limits: Limits
) -> tuple[tuple[str, ...], ...]:
    """The indices to sum over, one group after the other: those that lie innermost last, where they are few elements
    and others go further than what is kept between them.
    """
    moving = [i for i in order if sizes[i] > 1]
    inner = list[str]()
    while moving and moving[-1] in over:
        inner.insert(0, moving.pop())
    outer = [i for i in over if i not in inner]
    short = 1 < prod(sizes[i] for i in inner) < limits.slim
    if not short or not moving or prod(sizes[i] for i in moving) < limits.long or not any(i in over for i in moving):
        return (tuple(over),)
    return tuple(outer), tuple(inner)


def widened(b: Building, value: Value, order: Sequence[str], scope: Scope) -> Value:
    """The value, what lacks the innermost index and has the one around it in an array that has both."""
    sizes = {i: scope[i].size for i in order if i in value.indices and not scope[i].tap}
    moving = [i for i in order if sizes.get(i, 1) > 1]
    points = prod(sizes.values())
    if len(moving) < 3 or sizes[moving[-1]] >= b.limits.slim or points < b.limits.least:
        return value
    around, inner = moving[-2:]

    def rule(part: Value) -> Value:
        if not isinstance(part, Apply | Load) or not part.indices:
            return part
        if inner in part.indices or around not in part.indices:
            return Apply(part.fn, tuple(map(rule, part.args)), part.dtype) if isinstance(part, Apply) else part
        axes = here([i for i in order if i in part.indices or i == inner], scope)
        if len(axes) != len(here(part.indices, scope)) + 1 or prod(sizes[i] for i in axes) * b.limits.larger > points:
            return part
        made = b.part("wide", axes, part.dtype, scope)
        b.run(made, "=", Map(part))
        return Load(made, part.dtype)

    return rule(value)
