"""What a program with blocks runs as.

    Staged ::= buffers Stage*
    Stage  ::= Call | Repeat
    Repeat ::= Block (index lo..hi)+ Stage*           the stages for each step in order, or the last step first
    Call   ::= Program (name Slice)* (name Slice)*    a piece without blocks: what it takes, and where its outputs go
    Slice  ::= tensor Axis*
    Axis   ::= At(position) | Span(start, length) | whole

In: nothing. Out: frozen dataclasses. The one rule: a position is an expression over steps, numbers, and elements of
tensors that are there by then; all else of a piece knows nothing of steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..program.ir import Block, Boundary, Expr, Program
from .once import Both
from .order import Pair


@dataclass(frozen=True)
class At:
    """One position of an axis, which the slice does not have. A padding that it may fall into has a value; where
    `masks` do not hold nothing is read or written, and a position that data say may be any.
    """

    position: Expr | Boundary
    masks: tuple[Expr, ...] = ()


@dataclass(frozen=True)
class Span:
    """So many positions from a first one on."""

    start: Expr
    length: int


Axis = At | Span | None  # None: all of it


@dataclass(frozen=True)
class Slice:
    """A part of a tensor, at the steps that are open."""

    tensor: str
    axes: tuple[Axis, ...]

    @property
    def whole(self) -> bool:
        """Whether it is all of its tensor."""
        return all(axis is None for axis in self.axes)


@dataclass(frozen=True)
class Now:
    """The number of a step, as a value."""

    index: str


@dataclass(frozen=True)
class One:
    """The number 1 in a precision."""

    dtype: str


@dataclass(frozen=True)
class Call:
    """A piece that runs once at a place. `takes` are its inputs, `gives` its outputs, both in its order; `parts` all
    slices that it knows, by the names of its own.
    """

    program: Program
    takes: tuple[tuple[str, Slice | Now | One], ...]
    gives: tuple[tuple[str, Slice], ...]
    parts: tuple[tuple[str, Slice], ...] = ()


@dataclass(frozen=True)
class Repeat:
    """Stages for one step after the other."""

    block: Block
    extents: tuple[tuple[str, tuple[int, int]], ...]
    stages: tuple[Stage, ...]


Stage = Call | Repeat


@dataclass(frozen=True)
class Buffer:
    """A tensor that several stages share: what its elements hold before anything is known of them. Of a `window`, an
    axis and a number, so many positions are kept: position p of the axis is at p modulo so many.
    """

    tensor: str
    shape: tuple[int, ...]
    dtype: str
    start: float | int | bool
    window: tuple[int, int] | None = None

    @property
    def kept(self) -> tuple[int, ...]:
        """The shape of what is kept in memory."""
        axis, length = self.window or (-1, 0)
        return tuple(length if k == axis else n for k, n in enumerate(self.shape))


@dataclass(frozen=True)
class Staged:
    """A program's stages. `outputs` are tensors with the types in which they are delivered."""

    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, str], ...]
    buffers: tuple[Buffer, ...]
    stages: tuple[Stage, ...]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    checks: tuple[Pair | Both, ...] = ()

    def modulo(self, tensor: str, axis: int) -> int | None:
        """Modulo what positions in an axis are in memory, if not each has a place of its own."""
        found = next((b.window for b in self.buffers if b.tensor == tensor), None)
        return found[1] if found is not None and found[0] == axis else None

    def stored(self, tensor: str) -> str:
        """The type in which a tensor is kept."""
        return next((b.dtype for b in self.buffers if b.tensor == tensor), self.dtypes[tensor])

    def kept(self, tensor: str) -> tuple[int, ...]:
        """The shape of a tensor in memory."""
        return next((b.kept for b in self.buffers if b.tensor == tensor), self.shapes[tensor])


def placed(stages: Sequence[Stage], path: tuple[Repeat, ...] = ()) -> Iterator[tuple[Call, tuple[Repeat, ...]]]:
    """The pieces in their order, each with the blocks around it."""
    for stage in stages:
        if isinstance(stage, Call):
            yield stage, path
        else:
            yield from placed(stage.stages, (*path, stage))


def calls(stages: Sequence[Stage]) -> Iterator[Call]:
    """The pieces, in their order."""
    return (call for call, _ in placed(stages))
