"""What becomes of tasks that are nests together.

In: nests and what belongs to them. Out: frozen dataclasses. The one rule: nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .nest import Array
from .outline import Outline


@dataclass(frozen=True)
class Piece:
    """A piece of an array of a name, from an element on."""

    array: str
    first: int


@dataclass(frozen=True)
class Scheduled:
    """The nests of a task, what passes from one of them to the next, and a line about them."""

    nests: tuple[Outline, ...]
    workspaces: tuple[Array, ...]
    told: str
    pieces: Mapping[str, Piece] = field(default_factory=dict)
