"""The Plan: what runs at one set of sizes and dtypes, with every decision made, as one value.

    Plan    ::= Buffer* Table* Section* output* [View* Recipe]   and what of, if these are not finite, another is made
    Recipe  ::= Trial* ...                       a Plan that is not made yet, as what it is made of
    Trial   ::= Program output*                  and which of its outputs must be finite for the others to hold
    Buffer  ::= name shape dtype role            input | tensor | copy | workspace | table
    Table   ::= Buffer (index lo..hi)* Value     what positions alone say, made once
    Section ::= Record* (index lo..hi)* Step*    a statement as it runs, or several that run together
    Step    ::= Loop | Within | Make | Run | Either | Check | Leave
    Loop    ::= index from..to by n how Step*    n values at a time (an axis), or one (n = 0: a tap); how: see below
    Within  ::= index from Value to Value Step*  those values of an index that can matter here: at least one
    Make    ::= Part [op]                        an array of no values yet; where none is, its first Run makes it
    Run     ::= Place op Kernel                  op: = += -= *= /= max= min=
    Either  ::= Value ? Step* : Step*            the fast way where the data allow it
    Check   ::= Value in 0..end                  what only data can tell
    Leave   ::= Value ?                          the other Plan at once, as the outputs would not be finite
    Place   ::= View | Part
    View    ::= Buffer Row*                      elements at affine positions of indices: a strided view
    Part    ::= Buffer index*                    an array over just the values that its indices have here
    Row     ::= const (index, coef)*             the position in one axis
    Kernel  ::= Map(Value) | Product(Place, Place, Roles, by) | Einsum(Value*, apart) | Running(op, Place, along)
              | Ranged(op, Place, along, Value, Value) | Fading(Place, Place, along)
              | Grouped(Place, Place, Roles, mark, at, point*)
              | Take(Place, at*) | Scatter(at*, Value, by) | Search(op, Value, over, by) | Select(Value, Value, among)
              | Order(Place, rank) | Rank(Place, Value, equal) | Label(Place, over*)
    Value   ::= Number | Position(index) | Count(index*) | Reach(Row, most) | Load(Place) | Apply(fn, Value*)
              | Reduced(op, Value, over)

Every index of a Section has its extent there. A Loop restricts it: to a block, which is an axis still, or to one value.
A View says where its elements lie for any values of its indices, whatever the loops; a Part holds a block, from 0 on.

In: nothing. Out: frozen dataclasses, which compare, pickle and print. The one rule: what comes after the Plan decides
nothing about arrays; a backend prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..program.facts import Keeper
from ..program.ir import Access, Program
from .kernels import Kernel
from .limits import NUMPY, Limits
from .places import Buffer, Part, Place
from .quantities import Value
from .record import Record, told


@dataclass(frozen=True)
class Table:
    """A buffer that holds a value of positions and numbers over whole indices, made once for the Plan."""

    buffer: Buffer
    extents: tuple[tuple[str, tuple[int, int]], ...]
    value: Value


@dataclass(frozen=True)
class Loop:
    """Steps for each block of `by` values of an index, or for each value where it is 0: those numbered begin..end-1 of
    its extent (of the block, inside of another loop over it); `end` None is all.

    `how`: serial, backwards (the last block first), or thread (blocks run side by side; arrays that are made inside are
    each thread's own).
    """

    index: str
    by: int
    steps: tuple[Step, ...]
    how: str = "serial"
    begin: int = 0
    end: int | None = None
    sums: tuple[tuple[Part, str], ...] = ()  # each thread has its own; combined by the operator, in order


@dataclass(frozen=True)
class Within:
    """Steps for the values `begin` to below `end` of an index, both single values here: as many of them as there are,
    and at least one. They have an axis, as those of a block have, and no step is repeated.
    """

    index: str
    begin: Value
    end: Value
    steps: tuple[Step, ...]


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


@dataclass(frozen=True)
class Leave:
    """Go over to the Plan that is made of `instead`, if there is one, unless the condition, a single value, holds.

    It stands in no loop, and saves the work on what the end of the Plan would find not to be finite.
    """

    condition: Value


Step = Loop | Within | Make | Run | Either | Check | Leave


@dataclass(frozen=True)
class Section(Keeper):
    """Statements as they run together: what is told of them, how far indices run, the steps."""

    records: tuple[Record, ...]
    extents: tuple[tuple[str, tuple[int, int]], ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Trial:
    """A program, and those of its outputs that must be finite for the others to hold."""

    program: Program
    finite: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe(Keeper):
    """All that a Plan follows from, where few calls need it: `planning.made_of` makes it when it is asked for.

    What the programs give is tried in their order, each without its guards first, until the results hold: `refused` is
    how many ways do not. Those of the last one always do, and its outputs are those of the Plan.
    """

    trials: tuple[Trial, ...]
    sizes: tuple[tuple[str, tuple[int, ...]], ...]
    dtypes: tuple[tuple[str, str], ...]
    limits: Limits
    exact: tuple[str, ...]
    refused: int = 0


@dataclass(frozen=True, repr=False)
class Plan:
    """A Program at one set of sizes and dtypes, with every decision made.

    `outputs` are where the results lie, each with its tensor's name and the dtype in which it is delivered; `places`
    the subscripts to which Checks refer. The results hold if `finite` is, else those of the Plan that is
    made of `instead`.
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
    instead: Recipe | None = None
    limits: Limits = NUMPY  # it was made for; an engine spells by them too

    @property
    def steps(self) -> tuple[Record, ...]:
        """What is told of each statement, in the order in which they run."""
        return tuple(record for section in self.sections for record in section.records)

    def __repr__(self) -> str:
        made = ", ".join(f"{name}{list(self.shapes.get(name, ()))}" for name, _, _ in self.outputs)
        return f"<Plan of {made} in {len(self.steps)} steps; print() shows them>"

    def __str__(self) -> str:
        return told(self.steps, self.shapes, self.dtypes, self.workspace)
