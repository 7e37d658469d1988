"""Which extents of a Plan may change from call to call, and the Plan with these extents marked.

An index varies if it leads every array that has it: the batch of a layer, the first axis of what an elementwise
function is given. An index that stands further back somewhere, or is a part of a position, does not: channels, windows,
the rows of a matrix of weights that are summed.

In: a Plan. Out: an equal Plan whose extents and shapes are `Varying` where they vary. The one rule: it follows from the
Plan alone, so that no call depends on which sizes others had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass, replace
from typing import Any, TypeVar, cast

from ...plan.buffers import mentioned, places_of
from ...plan.places import Buffer, Part, Place
from ...plan.plan import Plan, Section
from ...plan.quantities import Number
from .names import fields_of
from .varying import Varying

Node = TypeVar("Node")
Key = tuple[Buffer, int] | tuple[int, str]  # an axis of an array, or an index of a section by its number


def marked(plan: Plan) -> Plan:
    """The Plan with its varying extents marked."""
    known, refused = _Classes(), set[Key]()
    for number, section in enumerate(plan.sections):
        ends = dict(section.extents)
        for place in places_of(section.steps):
            for axis, index, whole in _axes(place, ends):
                if whole:
                    known.join((place.buffer, axis), (number, index))
                if axis or (not whole and _taken_apart(place, axis)):
                    refused.add((number, index))
    bad = {known.of(key) for key in refused}
    bad |= {known.of((b, k)) for s in plan.sections for b in mentioned(s) for k in range(1, len(b.shape))}
    found: dict[Key, Varying] = {}
    for buffer in plan.inputs:
        own = known.of((buffer, 0))
        if buffer.shape and own in known.all and own not in bad and own not in found:
            found[own] = Varying(buffer.shape[0], len(found) + 1)
    if not found:
        return plan
    buffers = {b: _buffer(b, found.get(known.of((b, 0)))) for s in plan.sections for b in mentioned(s)}
    buffers |= {b: _buffer(b, found.get(known.of((b, 0)))) for b in plan.inputs}
    sizes = {b.name: size for b in buffers if (size := found.get(known.of((b, 0)))) is not None}

    def section_of(number: int, section: Section) -> Section:
        extents = tuple((i, _extent(e, found.get(known.of((number, i))))) for i, e in section.extents)
        return replace(section, extents=extents, steps=_with(section.steps, buffers, sizes))

    return replace(plan, sections=tuple(section_of(k, s) for k, s in enumerate(plan.sections)))


class _Classes:
    """What has one extent, as disjoint sets."""

    def __init__(self) -> None:
        self.above: dict[Key, Key] = {}

    @property
    def all(self) -> frozenset[Key]:
        """One of each set of several."""
        return frozenset(map(self.of, self.above))

    def of(self, key: Key) -> Key:
        """The one that stands for the set of a key."""
        while key in self.above:
            key = self.above[key]
        return key

    def join(self, a: Key, b: Key) -> None:
        """Both have one extent."""
        first, second = self.of(a), self.of(b)
        if first != second:
            self.above[second] = first


def _axes(place: Place, ends: Mapping[str, tuple[int, int]]) -> Iterator[tuple[int, str, bool]]:
    """Axes with each index that has a part in them, and whether that runs through all of it, one by one."""
    shape = place.buffer.shape
    if isinstance(place, Part):
        for axis, index in enumerate(place.indices):
            yield axis, index, ends[index] == (0, shape[axis]) and not place.moved
        return
    for axis, row in enumerate(place.rows):
        for index, coef in row.coefs:
            yield axis, index, (row.const, coef, len(row.coefs), *ends[index]) == (0, 1, 1, 0, shape[axis])


def _taken_apart(place: Place, axis: int) -> bool:
    """Whether positions in an axis are made of several indices, or of multiples of one."""
    return isinstance(place, Part) or [k for _, k in place.rows[axis].coefs] != [1]


def _buffer(buffer: Buffer, size: Varying | None) -> Buffer:
    return buffer if size is None else replace(buffer, shape=(size, *buffer.shape[1:]))


def _extent(ends: tuple[int, int], size: Varying | None) -> tuple[int, int]:
    return ends if size is None else (ends[0], size)


def _with(node: Node, buffers: Mapping[Buffer, Buffer], sizes: Mapping[str, Varying]) -> Node:
    """A node with other buffers in the place of its own, and with numbers that are the sizes of tensors."""
    found: Any = node
    if isinstance(node, Buffer):
        found = buffers.get(node, node)
    elif isinstance(node, Number):
        name, axis = node.size or ("", -1)
        found = replace(node, value=sizes[name]) if axis == 0 and name in sizes else node
    elif isinstance(node, tuple):
        found = tuple(_with(part, buffers, sizes) for part in node)
    elif is_dataclass(node):
        parts = {name: _with(getattr(node, name), buffers, sizes) for name in fields_of(node.__class__)}
        found = found.__class__(**parts)
    return cast(Node, found)
