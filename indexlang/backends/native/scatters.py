"""Sums at positions that data give, in a wider type where they may be long.

Data may bring all values to one element. Added one after the other in float32, thousands of them lose three digits.

In: a store at positions. Out: the stores that stand for it. The one rule: wider sums cost no more than the values do;
where most elements get no value, as in a large table, they are added as they come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .axes import points
from .nest import Array
from .nodes import Access, Call, Nodes, Store

LONG = 1 << 12  # values that may meet in one element, from which on they are added in float64


def widened(nodes: Nodes, store: Store, sizes: dict[str, int], name: str, spaces: list[Array]) -> Sequence[Store]:
    """The store, or three: zeros, the sums of what comes, and these added to what is there."""
    if not isinstance(store.value, Call):
        return (store,)
    array, fn = store.access.array, store.value.fn
    if array.dtype != "float32" or fn not in ("add", "sub") or points(store.met, sizes) < LONG:
        return (store,)
    if array.size > points(store.free, sizes):
        return (store,)
    index = f"{name}.all{len(spaces)}"
    sizes |= {index: array.size} if array.size > 1 else {}
    free = (index,) if array.size > 1 else ()
    wide = Array(f"{name}.wide{len(spaces)}", "float64", array.size, "output")
    spaces.append(wide)
    sums, there = (Access(a, 0, tuple((i, 1) for i in free)) for a in (wide, array))
    own = replace(store.access, array=wide)
    here, value = nodes.element(own, store.moved, store.reach), nodes.call("cast", store.value.args[1:], "float64")
    total = nodes.call("cast", (nodes.element(sums),), array.dtype)
    return (
        Store(sums, nodes.constant(0.0, "float64"), free),
        replace(store, access=own, value=nodes.call(fn, (here, value), "float64")),
        Store(there, nodes.call("add", (nodes.element(there), total), array.dtype), free),
    )
