"""The Plan: what runs at one set of sizes and dtypes, with every decision made, as one value.

    Plan    ::= Buffer* Table* Section* output* [View* Plan]   and what runs instead where these are not finite
    Buffer  ::= name shape dtype role            input | tensor | copy | workspace | table
    Table   ::= Buffer (index lo..hi)* Value     what positions alone say, made once
    Section ::= Record* (index lo..hi)* Step*    a statement as it runs, or several that run together
    Step    ::= Loop | Make | Run | Either | Check
    Loop    ::= index from..to by n how Step*    n values at a time (an axis), or one (n = 0: a tap); serial | thread
    Make    ::= Part [op]                        an array of no values yet; where none is, its first Run makes it
    Run     ::= Place op Kernel                  op: = += -= *= /= max= min=
    Either  ::= Value ? Step* : Step*            the fast way where the data allow it
    Check   ::= Value in 0..end                  what only data can tell
    Place   ::= View | Part
    View    ::= Buffer Row*                      elements at affine positions of indices: a strided view
    Part    ::= Buffer index*                    an array over just the values that its indices have here
    Row     ::= const (index, coef)*             the position in one axis
    Kernel  ::= Map(Value) | Product(Place, Place, Roles, by) | Einsum(Value*, apart) | Running(op, Place, along)
              | Take(Place, at*) | Scatter(at*, Value, by) | Search(op, Value, over, by) | Select(Value, Value, among)
    Value   ::= Number | Position(index) | Count(index*) | Load(Place) | Apply(fn, Value*) | Reduced(op, Value, over)

Every index of a Section has its extent there. A Loop restricts it: to a block, which is an axis still, or to one value.
A View says where its elements lie for any values of its indices, whatever the loops; a Part holds a block, from 0 on.

In: nothing. Out: frozen dataclasses, which compare, pickle and print. The one rule: what comes after the Plan decides
nothing about arrays; a backend prints it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ..program.facts import Keeper
from ..program.ir import Access
from .limits import NUMPY, Limits
from .record import Record, told
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

# -- values --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Number:
    """A number of the source, or one that sizes say: it takes the type of what it meets."""

    value: int | float | bool
    dtype: str
    indices: ClassVar[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class Position:
    """An index as a number."""

    index: str
    dtype: str = "int64"

    @property
    def indices(self) -> frozenset[str]:
        return frozenset((self.index,))


@dataclass(frozen=True)
class Count:
    """How many values the indices have at once, together: what a sum over indices that a value lacks multiplies by."""

    over: tuple[str, ...]
    dtype: str = "int64"
    indices: ClassVar[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class Load:
    """Elements of a buffer, computed in `dtype`; `at` fixes indices at a value, numbered from 0 in its extent."""

    place: Place
    dtype: str
    at: tuple[tuple[str, int], ...] = ()
    indices: frozenset[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        fixed = {i for i, _ in self.at}
        object.__setattr__(self, "indices", frozenset(i for i in self.place.mentioned if i not in fixed))


@dataclass(frozen=True)
class Apply:
    """A row of the table of functions applied to values. Arguments are brought to `dtype` first, except conditions and
    what is compared. Beside the rows: `cast` to `dtype`; `select` (where the first holds the second, else the third);
    `keep` and `choose` (the same by bits, `keep` with 0); `isfinite`, `square`, `quarters` (a power by quarters of 1).
    """

    fn: str
    args: tuple[Value, ...]
    dtype: str
    indices: frozenset[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", frozenset[str]().union(*(a.indices for a in self.args)))


@dataclass(frozen=True)
class Reduced:
    """A value reduced over indices that it has: sum, product, greatest, least (any and all of conditions)."""

    op: str
    value: Value
    over: tuple[str, ...]

    @property
    def dtype(self) -> str:
        return self.value.dtype

    @property
    def indices(self) -> frozenset[str]:
        return self.value.indices - set(self.over)


Value = Number | Position | Count | Load | Apply | Reduced


@dataclass(frozen=True)
class Table:
    """A buffer that holds a value of positions and numbers over whole indices, made once for the Plan."""

    buffer: Buffer
    extents: tuple[tuple[str, tuple[int, int]], ...]
    value: Value


def parts_of(value: Value) -> Iterator[Value]:
    """The value and everything in it."""
    stack = [value]
    while stack:
        part = stack.pop()
        yield part
        match part:
            case Apply(args=args):
                stack += args
            case Reduced(value=inner):
                stack.append(inner)
            case _:
                pass


# -- kernels -------------------------------------------------------------------------------------------


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

    `by`: matmul (each side's groups merge into one axis as they lie), einsum, or einsum apart (into an array of its own
    that is then copied). An operand may lack indices of the batch.
    """

    left: Place
    right: Place
    roles: Roles
    by: str = "matmul"


@dataclass(frozen=True)
class Einsum:
    """The product of values, summed over what the place lacks in one pass; `apart`: laid out as it is, then moved."""

    factors: tuple[Value, ...]
    apart: bool = False


@dataclass(frozen=True)
class Running:
    """What an operator makes of each element and all before it along an index; or all behind it."""

    op: str
    source: Place
    along: str
    backwards: bool = False


@dataclass(frozen=True)
class Search:
    """argmax, argmin (int64, the row-major position in the box of `over`, the first winner) or logsumexp of a value.

    `admitted` says at which points; none gives 0, for logsumexp -inf. `by`: array (all points at once) or window (one
    position after the other, for all points of the place, whose type holds their number); `best` may hold the extremum.
    """

    op: str
    value: Value
    over: tuple[str, ...]
    admitted: Value | None = None
    by: str = "array"
    best: Place | None = None


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
    `by`: count (bincount), or join (sort the elements once, combine what meets). `alone` if every element of the place
    still holds what it was filled with: then the results are set.
    """

    at: tuple[tuple[str, Value], ...]
    value: Value | None
    points: tuple[str, ...]
    rest: tuple[str, ...]
    admitted: Value | None = None
    by: str = "join"
    alone: bool = False


Kernel = Map | Take | Product | Einsum | Running | Search | Select | Scatter


@dataclass(frozen=True)
class Loop:
    """Steps for each block of `by` values of an index, or for each value where it is 0: those numbered begin..end-1 of
    its extent (of the block, inside of another loop over it); `end` None is all.

    `how`: serial, or thread (blocks run side by side; arrays that are made inside are each thread's own).
    """

    index: str
    by: int
    steps: tuple[Step, ...]
    how: str = "serial"
    begin: int = 0
    end: int | None = None
    sums: tuple[tuple[Part, str], ...] = ()  # each thread has its own; combined by the operator, in order


@dataclass(frozen=True)
class Make:
    """An array over the values that its indices have here, of no values yet. In loops further inside, the Part is the
    part of it that belongs to the values there. With an operator it holds that one's identity.
    """

    part: Part
    op: str = ""


@dataclass(frozen=True)
class Run:
    """Combine what a kernel makes into a place."""

    place: Place
    op: str
    kernel: Kernel


@dataclass(frozen=True)
class Either:
    """The first steps where the condition, a single value, holds; else the second."""

    condition: Value
    first: tuple[Step, ...]
    second: tuple[Step, ...]


@dataclass(frozen=True)
class Check:
    """Refuse positions outside 0..end-1 among those admitted; `place` numbers the subscript for its error."""

    position: Value
    end: int
    place: int
    admitted: Value | None = None


Step = Loop | Make | Run | Either | Check


@dataclass(frozen=True)
class Section(Keeper):
    """Statements as they run together: what is told of them, how far indices run, the steps."""

    records: tuple[Record, ...]
    extents: tuple[tuple[str, tuple[int, int]], ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Plan:
    """A Program at one set of sizes and dtypes, with every decision made.

    `outputs` are where the results lie, each with its tensor's name and the dtype in which it is delivered; `places`
    the subscripts to which Checks refer. The results hold if `finite` is, else those of the Plan `instead`.
    """

    inputs: tuple[Buffer, ...]  # in the order of the arguments
    outputs: tuple[tuple[str, Place, str], ...]
    extents: tuple[tuple[str, tuple[int, int]], ...]  # of the indices of the outputs
    tables: tuple[Table, ...]
    sections: tuple[Section, ...]
    places: tuple[tuple[Access, int], ...] = ()  # and their axes
    complex_step: bool = False
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # of all tensors
    dtypes: Mapping[str, str] = field(default_factory=dict)  # in which they are delivered
    workspace: int = 0  # bytes of what is there at once, at most
    finite: tuple[Place, ...] = ()
    instead: Plan | None = None
    limits: Limits = NUMPY  # it was made for; an engine spells by them too

    @property
    def steps(self) -> tuple[Record, ...]:
        """What is told of each statement, in the order in which they run."""
        return tuple(record for section in self.sections for record in section.records)

    def __str__(self) -> str:
        return told(self.steps, self.shapes, self.dtypes, self.workspace)
