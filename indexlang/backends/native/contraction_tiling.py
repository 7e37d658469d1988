"""A tile of a contraction at its place: what it knows of where it stands, and how it reads.

In: a `Plan`, the shape of the tile, where it lies. Out: positions in arrays, values of bounds. The one rule: it writes
reads and tests only, no sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

from ...properties import cached_property
from .blocks import Order
from .contraction_form import Contraction
from .nest import Form
from .normal_form import Normal
from .packs import Access, Spot, cast
from .tile import Tile
from .writing import Writing

Position = tuple[int, ...]  # beside the vector axis, from where the tile begins


@dataclass(frozen=True)
class Plan:
    """Everything that is decided."""

    contraction: Contraction
    normal: Normal
    tile: Tile
    order: Order
    accesses: tuple[Access, ...]

    @property
    def touches_target(self) -> bool:
        """Whether the target is read or written, beside what results say."""
        return self.contraction.op != "=" or bool(self.order.split) or not self.contraction.results


@dataclass(frozen=True)
class Shape:
    """A tile: positions of each tile axis, vectors, live lanes of the last one (0 all)."""

    sizes: tuple[tuple[str, int], ...]
    width: int
    live: int


@dataclass
class Tiling:
    """A tile being written. `values`: where each axis stands; `panel`: which panel of the vector axis."""

    plan: Plan
    w: Writing
    shape: Shape
    values: dict[str, Form]
    numbers: Mapping[str, Form]
    panel: Form
    origins: Mapping[str, Form]
    chunks: dict[str, tuple[Form, int]] = field(default_factory=dict)  # of sums: which, and of what size
    free: frozenset[str] = frozenset()  # axes that stand where none of their bounds refuses a point

    @cached_property
    def positions(self) -> list[Position]:
        """All positions beside the vector axis."""
        return list(product(*(range(m) for _, m in self.shape.sizes)))

    @property
    def wide(self) -> int:
        """How many vectors each position has."""
        return self.plan.tile.width if self.plan.tile.dot else self.shape.width

    def cast(self, register: str, dtype: str = "") -> str:
        """A register's value in the dtype of the sums, or another one."""
        return cast(self.w, register, dtype or self.plan.contraction.dtype)

    def place(self, access: Access, p: Position, beyond: int, panel: Form | None = None) -> Form:
        """Where an operand has the lane `beyond` of a position."""
        spot = Spot(self.values, self.numbers, self.panel if panel is None else panel, self.origins)
        return access.at(spot, beyond, {a: k for (a, _), k in zip(self.shape.sizes, p, strict=True) if k})

    def at(self, p: Position) -> Mapping[str, Form]:
        """Where each axis stands at a position."""
        if not any(p):
            return self.values
        return {**self.values, **{a: self.values[a] + k for (a, _), k in zip(self.shape.sizes, p, strict=True) if k}}

    def form(self, bound: Form) -> Form:
        """A bound where the tile begins."""
        return located(bound, self.values)

    def there(self, bound: Form, p: Position, u: int, lanes: int = 0) -> str:
        """Which lanes a bound does not refuse."""
        w, tile = self.w, self.plan.tile
        lanes, step = lanes or tile.lanes, dict(bound.terms).get(tile.vector, 0)
        number = w.count(located(bound, self.at(p)) + u * tile.lanes * step, lanes, step if lanes > 1 else 0)
        return w.apply("ge", number, w.number(0, "int64", lanes))


def located(bound: Form, values: Mapping[str, Form]) -> Form:
    """A form of indices as one of loops."""
    found = Form(bound.const)
    for name, coef in bound.terms:
        found = found + values[name] * coef
    return found


def zero(dtype: str) -> int | float:
    """0 of a dtype."""
    return 0.0 if dtype.startswith("float") else 0
