"""The indices that parts of a Plan mention, and the same parts under other names.

In: a kernel, a value, a place. Out: names of indices; the node with others. The one rule: a field that holds indices is
named here once, whatever node it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, cast

from ...plan.places import Buffer

Node = TypeVar("Node")

# Strings in these fields are indices: alone, in tuples, or as the first of a pair.
OF_INDICES = frozenset(
    ("coefs", "indices", "moved", "at", "index", "over", "inner", "among", "along", "points", "rest")
)
OF_INDICES |= {"batch", "rows", "columns", "summed", "mark", "rank"}


def indices_in(node: Any) -> Iterator[str]:
    """Every index that a node mentions."""
    if isinstance(node, Buffer):
        return
    if is_dataclass(node):
        for name in fields_of(node.__class__):
            value = getattr(node, name)
            yield from _strings(value) if name in OF_INDICES else indices_in(value)
    elif isinstance(node, tuple):
        for part in node:
            yield from indices_in(part)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _strings(part)
    else:
        yield from indices_in(value)


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """A node whose indices have other names; those that are not among them keep theirs."""
    found: Any = node
    if isinstance(node, tuple):
        found = tuple(renamed(part, names) for part in node)
    elif is_dataclass(node) and not isinstance(node, Buffer):
        parts: dict[str, Any] = {}
        for name in fields_of(node.__class__):
            value = getattr(node, name)
            parts[name] = _other(value, names) if name in OF_INDICES else renamed(value, names)
        found = found.__class__(**parts)
    return cast(Node, found)


def _other(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return names.get(value, value)
    return tuple(_other(part, names) for part in value) if isinstance(value, tuple) else renamed(value, names)


@cache
def fields_of(kind: Any) -> tuple[str, ...]:
    """The names of what a node is made of."""
    return tuple(f.name for f in fields(kind) if f.init)
