"""Values of which arrays are a part: their text without the arrays' names, and the same with other names.

In: frozen dataclasses, tuples, numbers, texts. Out: a text and the arrays, or a value. Errors: `TypeError` for a value
of another kind. The one rule: two values have one text only if they are the same but for the names of their arrays.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

from ...plan.places import Buffer
from .nest import Array
from .varying import Varying

T = TypeVar("T")
Named = Array | Buffer


def text_of(value: object) -> tuple[str, tuple[Named, ...]]:
    """The text, and the arrays in the order in which they first occur."""
    found: dict[tuple[type, str], tuple[int, Named]] = {}
    text = repr(_tree(value, found))
    return text, tuple(array for _, array in found.values())


def _tree(value: Any, found: dict[tuple[type, str], tuple[int, Named]]) -> object:
    """What Python writes in one way only."""
    kind: Any = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is Varying:
        return "varying", int(value), value.how, value.plus
    if kind is float:
        return struct.pack("<d", value)
    if kind is tuple or kind is list:
        return tuple([_tree(v, found) for v in value])
    if kind is dict:
        return tuple([(_tree(k, found), _tree(v, found)) for k, v in value.items()])
    if kind is frozenset and all(type(v) is str for v in value):
        return tuple(sorted(value))
    parts = _parts(kind)
    if parts is None:
        raise TypeError(f"a {kind.__name__} has no text of its own")
    if kind is Array or kind is Buffer:
        number, _ = found.setdefault((kind, value.name), (len(found), value))
        return kind.__name__, number, bool(value.name), *[_tree(v, found) for v in parts(value)[1:]]
    return kind.__name__, *[_tree(v, found) for v in parts(value)]


@cache
def _parts(kind: Any) -> Callable[[Any], tuple[Any, ...]] | None:
    """The values of a dataclass's fields."""
    if not is_dataclass(kind):
        return None
    names = [f.name for f in fields(kind) if f.compare]
    if len(names) < 2:
        return lambda value: tuple([getattr(value, name) for name in names])
    return attrgetter(*names)


def renamed(value: T, names: Mapping[str, str]) -> T:
    """The same, with other names of arrays where there are some."""
    other: Any = _renamed(value, names)
    return other  # type: ignore[no-any-return]


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Array):
        return replace(value, name=names.get(value.name, value.name))
    if isinstance(value, tuple):
        return tuple(_renamed(v, names) for v in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    return replace(value, **{f.name: _renamed(getattr(value, f.name), names) for f in fields(value) if f.init})
