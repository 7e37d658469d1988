"""Packs: an operand copied in the order in which tiles read it.

In: a `Normal`, its `Tile`. Out: where each operand's elements lie (`Access`), and the nests that copy. The one rule:
lanes of a panel lie side by side, whole panels also where the axis ends before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod

from ...properties import cached_property
from .nest import Array, Form, Nest, Type, form
from .normal_form import Axis, Normal
from .tile import Tile
from .units import vectors
from .varying import varies
from .writing import Writing


@dataclass(frozen=True)
class Spot:
    """Where a tile stands: values of axes, numbers of units, the panel; at `origins` a copy in the nest begins."""

    values: Mapping[str, Form]
    numbers: Mapping[str, Form]
    panel: Form
    origins: Mapping[str, Form]


@dataclass(frozen=True)
class Access:
    """An operand as tiles see it: strides of axes, of units, of places in a tile, of panels and lanes of the vector."""

    array: Array
    offset: int
    steps: tuple[tuple[str, int], ...]
    panel: int
    lane: int
    units: tuple[tuple[str, int], ...] = ()
    places: tuple[tuple[str, int], ...] = ()
    whole: bool = False  # dead lanes may be read
    local: bool = False  # a copy of what lies after the origins

    def at(self, spot: Spot, beyond: int, place: Mapping[str, int] | None = None) -> Form:
        """The position of lane `beyond` of a panel, at a place of the tile."""
        const, coefs = self.offset + beyond * self.lane, dict[str, int]()
        parts = [(spot.panel, self.panel)]
        parts += [(self._from(spot, name, spot.values[name]), step) for name, step in self.steps]
        parts += [(self._from(spot, name, spot.numbers[name]), step) for name, step in self.units]
        for form_of, step in parts:
            const += form_of.const * step
            for var, coef in form_of.terms:
                coefs[var] = coefs.get(var, 0) + coef * step
        for name, k in place.items() if place else ():
            const += k * self._places.get(name, 0)
        return Form(const, tuple((var, coef) for var, coef in coefs.items() if coef))

    @cached_property
    def _places(self) -> dict[str, int]:
        return dict(self.places)

    def _from(self, spot: Spot, name: str, value: Form) -> Form:
        return value - spot.origins[name] if self.local and name in spot.origins else value


@dataclass(frozen=True)
class Pack:
    nest: Nest
    array: Array


def plain_access(normal: Normal, tile: Tile, p: int) -> Access:
    """An operand where it is."""
    view = normal.views[p]
    steps = tuple((a.name, a.steps[p]) for a in normal.axes if a.steps[p] and a.name != tile.vector)
    lane = normal.axis(tile.vector).steps[p] if tile.vector else 0
    return Access(view.array, view.offset, steps, tile.panel * lane, lane, places=steps)


def accesses(normal: Normal, tile: Tile, name: str, dtype: str) -> tuple[list[Access], list[Pack]]:
    """Where each operand is read, and the copies that this takes."""
    found = [plain_access(normal, tile, p) for p in range(len(normal.views))]
    packs = []
    for p in tile.whole:
        packs.append(pack(normal, tile, p, f"{name}_{('left', 'right')[p]}", dtype))
        found[p] = packed_access(normal, tile, p, replace(packs[-1].array, role="input"))
    return found, packs


def _layout(normal: Normal, tile: Tile, p: int) -> tuple[list[Axis], list[Axis]]:
    """Axes outside and inside of panels, outermost first."""
    own = sorted((a for a in normal.axes if a.steps[p] and a.name != tile.vector), key=lambda a: -abs(a.steps[p]))
    outer = [a for a in own if not a.reduced]
    return outer, [a for a in own if a.reduced]


def packed_access(normal: Normal, tile: Tile, p: int, array: Array) -> Access:
    """An operand in its copy."""
    outer, inner = _layout(normal, tile, p)
    stride, steps = tile.panel, []
    for axis in reversed(inner):
        steps.append((axis.name, stride))
        stride *= axis.n
    panel, stride = stride, stride * -(-normal.axis(tile.vector).n // tile.panel)
    for axis in reversed(outer):
        steps.append((axis.name, stride))
        stride *= axis.n
    return Access(array, 0, tuple(steps), panel, 1, places=tuple(steps), whole=True)


def pack(normal: Normal, tile: Tile, p: int, name: str, dtype: str) -> Pack:
    """The nest that copies an operand into panels."""
    outer, inner = _layout(normal, tile, p)
    vector = normal.axis(tile.vector)
    panels = -(-vector.n // tile.panel)
    array = Array(name, dtype, panels * tile.panel * prod(a.n for a in (*outer, *inner)), "workspace")
    out = replace(array, role="output")
    source, goal = plain_access(normal, tile, p), packed_access(normal, tile, p, out)
    w = Writing()
    panel = w.fresh("panel")
    names = {a.name: w.fresh(a.name) for a in (*outer, *inner)}
    spot = Spot({a: form(var) for a, var in names.items()}, {}, form(panel), {})
    loops = [(panel, panels), *((names[a.name], a.n) for a in (*outer, *inner))]
    items = loops[:1]
    for at, loop in enumerate(loops[1:], 1):
        if prod(m for _, m in items) >= 8 or prod(m for _, m in loops[at + 1 :]) * tile.panel < 2048:
            break
        items.append(loop)

    def move(size: int) -> None:
        count, last = vectors(size, tile.lanes)
        for u in range(tile.width):
            if u < count:
                live = last if u == count - 1 else 0
                x = w.read(source.array, source.at(spot, u * tile.lanes), tile.lanes, source.lane, live)
            else:
                kind = Type(dtype, tile.lanes)
                x = w.apply("same", w.number(0.0 if dtype.startswith("float") else 0, dtype, tile.lanes), kind=kind)
            w.write(out, goal.at(spot, u * tile.lanes), cast(w, x, dtype))

    _loops(w, loops[len(items) :], lambda: _either(w, form(panel), panels, vector.n, tile.panel, move))
    return Pack(Nest(f"{name}_pack", (source.array, out), tuple(items), tuple(w.lists[0])), array)


def cast(w: Writing, register: str, dtype: str) -> str:
    """A register's value in another dtype."""
    kind = w.types[register]
    return register if kind.dtype == dtype else w.apply("cast", register, kind=Type(dtype, kind.lanes))


def _loops(w: Writing, loops: list[tuple[str, int]], inside: Callable[[], None]) -> None:
    if not loops:
        inside()
        return
    with w.loop(loops[0][0], 0, loops[0][1]):
        _loops(w, loops[1:], inside)


def _either(w: Writing, panel: Form, panels: int, n: int, size: int, move: Callable[[int], None]) -> None:
    """A whole panel, or the rest."""
    rest = n - (n - 1) // size * size if varies(n) else n % size or size
    if panels == 1 or (rest == size and not varies(n)):
        move(rest)
        return
    with w.apart() as whole:
        move(size)
    with w.apart() as ending:
        move(rest)
    w.otherwise(panel * -1 + (panels - 2), whole, ending)
