"""A Plan while it is made: the buffers so far, the steps of the section at hand, where each index stands.

In: kernels and the places that they write, in the order in which they run. Out: steps. The one rule: a buffer has a
name of its own, and a step stands where it is made: inside of the loops that are open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ..program.ir import Access, Expr
from ..program.names import Fresh
from ..properties import cached_property
from ..sizes import dtypes as kinds
from .kernels import Einsum, Kernel
from .limits import Limits
from .places import Buffer, Part, Place, View
from .plan import Either, Loop, Run, Step, Table, Within
from .quantities import Load, Value
from .views import Extents, Scope, Span, arrangement, plain, row_strides


@dataclass
class Building:
    """What is known while a program is planned."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]  # in which tensors are computed
    limits: Limits
    weak: frozenset[str] = frozenset()
    complex_step: bool = False
    single: frozenset[str] = frozenset()  # tensors that one statement makes
    final: frozenset[str] = frozenset()  # tensors that one statement makes and none reads
    parted: frozenset[str] = frozenset()  # tensors that statements make part by part
    buffers: dict[str, Buffer] = field(default_factory=dict)  # of tensors defined so far
    results: dict[str, Place] = field(default_factory=dict)  # tensors that are a part of a longer buffer
    tables: dict[object, Table] = field(default_factory=dict)
    places: list[tuple[Access, int]] = field(default_factory=list)  # what a Check's number refers to
    extrema: dict[object, str] = field(default_factory=dict)  # tensors, by what is the greatest or least in them
    prepared: dict[object, tuple[Buffer, tuple[Any, ...]]] = field(default_factory=dict)  # longer copies, by access
    reach: dict[str, dict[int, tuple[str, int, int]]] = field(default_factory=dict)  # by tensor, axis: what edges share
    gathered: dict[object, Part] = field(default_factory=dict)  # elements taken, by what is read where
    sources: dict[Buffer, Buffer] = field(default_factory=dict)  # what elements have been taken from, by what has them
    names: Fresh = field(default_factory=lambda: Fresh(set(), "_"))  # of buffers
    own: dict[str, tuple[int, int]] = field(default_factory=dict)  # the extents of the plan's own indices
    section: dict[str, tuple[int, int]] = field(default_factory=dict)  # the extents of all indices of the section
    # of the statement being planned:
    extents: dict[str, tuple[int, int]] = field(default_factory=dict)
    masks: tuple[Expr, ...] = ()
    guarded: frozenset[tuple[Access, int]] = frozenset()
    steps: list[Step] = field(default_factory=list)
    depth: int = 0  # of loops and branches that are open
    poles: tuple[Expr, ...] = ()
    once: int = 0  # of them, loops over one value
    copies: dict[tuple[View, object, object], Part] = field(default_factory=dict)  # that may be needed again
    room: int = -1  # bytes that may still be kept so

    def __post_init__(self) -> None:
        self.room = self.limits.kept

    @cached_property
    def known(self) -> kinds.Known:
        """The types of all tensors, and of the expressions so far."""
        return kinds.Known(self.dtypes, self.weak)

    def kind(self, expr: Expr) -> str:
        """The dtype of an expression; int64 and float64 for weak ones."""
        return kinds.expr_type(expr, self.known)

    # -- memory --------------------------------------------------------------------------------

    def buffer(self, hint: str, shape: Sequence[int], dtype: str, role: str = "workspace") -> Buffer:
        """A new buffer under a name of its own."""
        return Buffer(self.names.fresh(hint), tuple(shape), dtype, role)

    def part(self, hint: str, indices: Sequence[str], dtype: str, scope: Scope, role: str = "workspace") -> Part:
        """A new array over indices, as large as the scope has values of them at once."""
        return Part(self.buffer(hint, [scope[i].size for i in indices], dtype, role), tuple(indices))

    def table(self, hint: str, indices: Sequence[str], value: Value) -> Load:
        """What positions alone say, made once for the Plan."""
        extents = tuple((i, self.extents[i]) for i in indices)
        key = (value, extents)
        if key not in self.tables:
            made = self.buffer(hint, [hi - lo for _, (lo, hi) in extents], value.dtype, "table")
            self.tables[key] = Table(made, extents, value)
        return Load(View(self.tables[key].buffer, tuple(plain(i).shifted(-lo) for i, (lo, _) in extents)), value.dtype)

    def begin(
        self,
        extents: Extents,
        masks: tuple[Expr, ...],
        guarded: frozenset[tuple[Access, int]] = frozenset(),
        poles: tuple[Expr, ...] = (),
    ) -> None:
        """From here on a statement is planned whose indices run so far; masks at `poles` keep no position inside."""
        self.extents, self.masks, self.guarded, self.poles = dict(extents), masks, guarded, poles
        self.section.update(extents)

    def axis(self, n: int) -> str:
        """An index of the plan's own that runs over 0..n-1."""
        name = f"?{len(self.own) + 1}"
        self.extents[name] = self.own[name] = self.section[name] = (0, n)
        return name

    def everything(self, buffer: Buffer) -> View:
        """All of a buffer."""
        return View(buffer, tuple(plain(self.axis(n)) for n in buffer.shape))

    def forget(self, buffer: Buffer) -> None:
        """A buffer is written anew: copies of what was in it are no use any more."""
        self.copies = {key: part for key, part in self.copies.items() if key[0].buffer != buffer}

    # -- steps ---------------------------------------------------------------------------------

    def run(self, place: Place, op: str, kernel: Kernel) -> None:
        """Combine what a kernel makes into a place."""
        self.steps.append(Run(place, op, kernel))

    def sum(self, part: Part, factors: tuple[Value, ...], scope: Scope) -> None:
        """Sums of a product; short runs are laid out as it goes through them, and brought in order afterwards."""
        short = len(part.indices) > 1 and scope[part.indices[-1]].size < self.limits.run
        self.run(part, "=", Einsum(factors, short))

    @contextmanager
    def apart(self) -> Iterator[list[Step]]:
        """Steps that are kept for a step around them."""
        found: list[Step] = []
        kept, self.steps = self.steps, found
        try:
            yield found
        finally:
            self.steps = kept

    @contextmanager
    def loop(
        self, scope: Scope, index: str, by: int = 0, how: str = "serial", begin: int = 0, end: int | None = None
    ) -> Iterator[Scope]:
        """A loop over blocks of an index, or, where `by` is 0, over single values (taps); the scope inside."""
        span = scope[index]
        once = by == 0 and span.size == 1
        self.depth, self.once = self.depth + 1, self.once + once
        try:
            with self.apart() as found:
                yield {
                    **scope,
                    index: Span(span.n, 1, True) if by == 0 else Span(span.n, min(by, span.size), part=span.part),
                }
        finally:
            self.depth, self.once = self.depth - 1, self.once - once
        self.steps.append(Loop(index, by, tuple(found), how, begin, end))

    @contextmanager
    def within(self, scope: Scope, index: str, begin: Value, end: Value) -> Iterator[Scope]:
        """Steps for some values of an index, as single values say; the scope inside."""
        with self.apart() as found:
            yield {**scope, index: replace(scope[index], part=True)}
        self.steps.append(Within(index, begin, end, tuple(found)))

    @contextmanager
    def loops(self, scope: Scope, steps: Sequence[tuple[str, int]]) -> Iterator[Scope]:
        """Nested loops over indices, each with its step; the scope inside."""
        if not steps:
            yield scope
            return
        (index, by), *rest = steps
        with self.loop(scope, index, by) as inside, self.loops(inside, rest) as inner:
            yield inner

    def from_second(self, scope: Scope, indices: Sequence[str], begin: int = 1) -> Iterator[Scope]:
        """Loops over all values of taps together behind the first `begin` ones, row-major: a scope for each."""
        for depth in reversed(range(len(indices))):
            first = begin if depth == len(indices) - 1 else 1
            if scope[indices[depth]].size <= first:
                continue
            with ExitStack() as stack:
                inner = scope
                for k, index in enumerate(indices):
                    ends = (0, 1) if k < depth else (first, None) if k == depth else (0, None)
                    inner = stack.enter_context(self.loop(inner, index, 0, "serial", *ends))
                yield inner

    @contextmanager
    def either(self, condition: Value) -> Iterator[tuple[list[Step], list[Step]]]:
        """Two lists of steps: `with b.into(first): ...`."""
        first: list[Step] = []
        second: list[Step] = []
        yield first, second
        self.steps.append(Either(condition, tuple(first), tuple(second)))

    @contextmanager
    def into(self, steps: list[Step]) -> Iterator[None]:
        """Steps made here go to the list. What one branch has gathered the other one has not."""
        kept, self.steps, known = self.steps, steps, (dict(self.gathered), dict(self.prepared))
        self.depth += 1
        try:
            yield
        finally:
            self.steps, (self.gathered, self.prepared) = kept, known
            self.depth -= 1


def sizes_of(scope: Scope) -> dict[str, int]:
    """The number of values of each index at once; 1 for taps."""
    return {i: span.size for i, span in scope.items()}


def axes_of(place: Place, scope: Scope) -> tuple[str, ...]:
    """The indices of a place's axes, in the order in which they stand."""
    if isinstance(place, Part):
        return tuple(i for i in place.indices if not scope[i].tap)
    axes = {i for i in place.mentioned if not scope[i].tap}
    return arrangement(place.rows, place.buffer.shape, axes)[0]


def steps_of(place: Place, scope: Scope) -> dict[str, int]:
    """The strides of a place's axes, in elements; an input's are those of a contiguous array."""
    if isinstance(place, Part):
        order = [i for i in place.indices if not scope[i].tap]
        return dict(zip(order, row_strides([scope[i].size for i in order]), strict=True))
    axes = {i for i in place.mentioned if not scope[i].tap}
    return dict(zip(*arrangement(place.rows, place.buffer.shape, axes), strict=True))


def here(indices: Sequence[str] | frozenset[str], scope: Scope) -> list[str]:
    """Those of the indices that have an axis."""
    return [i for i in indices if not scope[i].tap]
