"""The places of a Plan: arrays, and the elements of them that a step reads or writes.

`Buffer`, `View` and `Part` are told in `plan`, with the Plan's grammar. The one rule: a place says where its elements
lie for any values of its indices, whatever the loops around it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .views import Row


@dataclass(frozen=True)
class Buffer:
    """An array, C-contiguous unless it is an input. `role`: input, tensor, copy, workspace or table.
    A workspace is made before the loops in which it is used and may be larger than what is needed of it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: str = "tensor"

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True)
class View:
    """The elements of a buffer at affine positions of indices, one row for each axis."""

    buffer: Buffer
    rows: tuple[Row, ...]
    mentioned: tuple[str, ...] = field(init=False, compare=False, repr=False)  # its indices, as they occur first

    def __post_init__(self) -> None:
        found = tuple(dict.fromkeys([i for row in self.rows for i, _ in row.coefs]))
        object.__setattr__(self, "mentioned", found)


@dataclass(frozen=True)
class Part:
    """A buffer with an axis for each index, as long as the index had values where the Part was made.

    Along an index in `moved` only some elements are meant: those at start + step*k for each k of another index.
    """

    buffer: Buffer
    indices: tuple[str, ...]
    moved: tuple[tuple[str, str, int, int], ...] = ()  # index, the other index, start, step

    @property
    def mentioned(self) -> tuple[str, ...]:
        """The indices of its axes."""
        other = {i: k for i, k, _, _ in self.moved}
        return tuple(other.get(i, i) for i in self.indices)


Place = View | Part
