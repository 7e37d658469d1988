"""The kernels of a Plan: what a Run makes of values and places.

The grammar stands in `plan`. The one rule: a kernel has just the axes of its place; each says what it gives, and by
which way where there are several.
"""

from __future__ import annotations

from dataclasses import dataclass

from .places import Place
from .quantities import Value


@dataclass(frozen=True)
class Map:
    """A value at each point of the place."""

    value: Value


@dataclass(frozen=True)
class Take:
    """Elements of a place along some of its indices, which stand for axes, at positions that values give."""

    source: Place
    at: tuple[tuple[str, Value], ...]


@dataclass(frozen=True)
class Roles:
    """The indices of a pair: in both and kept, in the left, in the right, in both and summed."""

    batch: tuple[str, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    summed: tuple[str, ...]


@dataclass(frozen=True)
class Product:
    """place[batch, rows, columns] = sum over summed of left[batch, rows, summed] * right[batch, summed, columns].

    `by`: matmul (each side's groups merge into one axis as they lie), einsum, einsum apart (into an array of its own
    that is then copied), or nest (by an engine's loops, from the strides as they are). An operand may lack indices of
    the batch.
    """

    left: Place
    right: Place
    roles: Roles
    by: str = "matmul"


@dataclass(frozen=True)
class Grouped:
    """Products of matrices that data choose: one for all `points` at which `at`, a position along `mark`, is the same.

    Where the left operand has `mark`, points are columns: place[points, rows] = sum over summed of
    left[at, rows, summed] * right[points, summed]. Where the place has it, they are summed: left[points, rows] *
    right[points, columns] is added to place[at, rows, columns].
    """

    left: Place
    right: Place
    roles: Roles
    mark: str
    at: Value
    points: tuple[str, ...]


@dataclass(frozen=True)
class Einsum:
    """The product of values, summed over what the place lacks in one pass; `apart`: laid out as it is, then moved."""

    factors: tuple[Value, ...]
    apart: bool = False


@dataclass(frozen=True)
class Running:
    """What an operator makes of each element and all before it along an index; or all behind it.

    `argmax` and `argmin` say where among these the first winner stands along the whole index (int64); `logsumexp` is
    computed in float64.
    """

    op: str
    source: Place
    along: str
    backwards: bool = False


@dataclass(frozen=True)
class Ranged:
    """The greatest (or the least) of what stands from `begin` to `end` along an index, counted from 0; `argmax` and
    `argmin` say where the first of these stands (int64). What there is between no ends says nothing.
    """

    op: str
    source: Place
    along: str
    begin: Value
    end: Value


@dataclass(frozen=True)
class Fading:
    """A running sum that fades: each element and what has come before it along an index, which is multiplied by the
    fade that stands there. So place[t] = source[t] + fades[t-1] * place[t-1]; from the end if `backwards`.
    """

    source: Place
    fades: Place
    along: str
    backwards: bool = False


@dataclass(frozen=True)
class Order:
    """The positions along the only axis of a source in ascending order of its elements, nan last, equal ones in any
    order: the place has `rank` in its stead.
    """

    source: Place
    rank: str


@dataclass(frozen=True)
class Rank:
    """How many elements of a source, which ascend along its only axis, are less than a value; or not greater, if
    `equal`. Elements and values are of one type; nan is above all.
    """

    source: Place
    value: Value
    equal: bool


@dataclass(frozen=True)
class Label:
    """A number for each element of a source, by its value among those along `over`: from 0, and less than there are
    elements; equal elements have the same number, others another one. A nan is equal to none.
    """

    source: Place
    over: tuple[str, ...]


@dataclass(frozen=True)
class Search:
    """argmax, argmin (int64, the row-major position in the box of `over`, the first winner) or logsumexp of a value.

    `admitted` says at which points; none gives 0, for logsumexp -inf. `by`: array (all points at once) or window (one
    position after the other, for all points of the place, whose type holds their number); `best` may hold the extremum.
    `inner` are indices of the place that lie behind those of `over`: then whole rows of them are compared.
    """

    op: str
    value: Value
    over: tuple[str, ...]
    admitted: Value | None = None
    by: str = "array"
    best: Place | None = None
    inner: tuple[str, ...] = ()


@dataclass(frozen=True)
class Select:
    """A value where a condition holds, nothing elsewhere, for each position of `among`: indices of the place and of the
    condition that the value lacks. What is refused is cleared by bits: exact for whatever is not finite.
    """

    value: Value
    condition: Value
    among: tuple[str, ...]


@dataclass(frozen=True)
class Scatter:
    """Values brought to the elements that positions say: `at` gives, for indices of the place that stand for axes,
    the position of each point of `points`; the other indices of the place are `rest`.

    Without a value each point counts 1. Points that are not `admitted` are dropped; their positions are inside, too.
    `by`: count (bincount), join (sort the elements once, combine what meets), or apart (no two points meet, as each
    index of the points is a position itself). `alone` if every element of the place still holds what it was filled
    with: then the results are set.
    """

    at: tuple[tuple[str, Value], ...]
    value: Value | None
    points: tuple[str, ...]
    rest: tuple[str, ...]
    admitted: Value | None = None
    by: str = "join"
    alone: bool = False


Kernel = (
    Map
    | Take
    | Product
    | Grouped
    | Einsum
    | Running
    | Ranged
    | Fading
    | Order
    | Rank
    | Label
    | Search
    | Select
    | Scatter
)
