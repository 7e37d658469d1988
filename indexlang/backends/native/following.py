"""What follows a sum of products at each of its elements: operations on the sum before it is written.

In: a `Contraction`, the `Task`s after it. Out: the contraction with as many of them as may be in its epilogue. The one
rule: a task is taken only if it goes over all elements of the sum's target, reads what was made at the same element
alone, and writes nothing that others read elsewhere; what nobody reads afterwards is not written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...plan.buffers import places_of
from ...plan.places import Buffer, Part, Place, View
from ...plan.views import Row
from .contraction_form import Contraction, Operand, Step
from .kernel_nodes import indices_of, typed
from .lowering import Task
from .maps import met
from .meaning import Meaning, UnsupportedError
from .nest import Array, Form, Literal, Type
from .nodes import Access, Call, Constant, Element, Node, Nodes

STEPS = 40  # of an epilogue, at most
Extents = Mapping[str, tuple[int, int]]
Window = tuple[tuple[int, int], ...]  # of each axis the first position, and how many
Argument = str | Operand | Literal


def followed(
    c: Contraction,
    work: Task,
    after: Sequence[Task],
    arrays: Mapping[Buffer, Array],
    touched: Mapping[Buffer, int],
    window: Window | None = None,
) -> tuple[Contraction, int]:
    """The contraction of a task that covers its target with what follows it, and how many tasks that is.

    `touched` says how many steps touch each buffer; of those before the contraction none reads what it holds. With a
    `window`, only the positions in it are made of the target, which nobody else reads than the first task.
    """
    chain = _Chain(c, work, arrays, window)
    own = {work.place.buffer: touched[work.place.buffer] - 1}
    count = 0
    for task in after:
        trial = chain.copy()
        if not trial.take(task) or len(trial.steps) > STEPS:
            break
        chain, count = trial, count + 1
        for buffer in task.buffers:
            own[buffer] = own.get(buffer, touched[buffer]) - 1
    if not count:
        return c, 0
    results = tuple(chain.held[b] for b in chain.held if own[b] or len(chain.held) == 1)
    return replace(c, epilogue=tuple(chain.steps), results=results or (list(chain.held.values())[-1],)), count


def window(work: Task, then: Task) -> Window | None:
    """The part of a task's target that another one reads; None if it is all, or not told."""
    own = [p for p in places_of(then.kernel) if p.buffer == work.place.buffer]
    if not own or any(p != own[0] for p in own) or then.place.buffer == work.place.buffer or then.taps:
        return None
    place, home, ends = own[0], work.place, dict(then.extents)
    if not isinstance(place, View) or not isinstance(home, View):
        return None
    found = [row.interval(ends) for row in place.rows]
    whole = [(0, n - 1) for n in place.buffer.shape]
    several = [len(_from_zero(row, dict(work.extents)).coefs) > 1 for row in home.rows]
    if found == whole or any(f != w and not s for f, w, s in zip(found, whole, several, strict=True)):
        return None
    return tuple((low, high - low + 1) for low, high in found)


def covers(work: Task) -> bool:
    """Whether the points of a task reach each element of its target, where those of a sum of several indices do."""
    return _forms(work.place, dict(work.extents), tuple(work.taps)) is not None


@dataclass
class _Chain:
    """An epilogue being written."""

    contraction: Contraction
    work: Task
    arrays: Mapping[Buffer, Array]
    window: Window | None = None
    steps: list[Step] = field(default_factory=list)
    axes: dict[Buffer, tuple[Form, ...]] = field(default_factory=dict)  # of what was made, by the sum's indices
    held: dict[Buffer, tuple[str, Operand]] = field(default_factory=dict)  # what was made, and where it belongs
    read: dict[str, set[Operand]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.held:
            return
        c, place = self.contraction, self.work.place
        forms = _forms(place, dict(self.work.extents), self.work.taps)
        assert forms is not None
        lows = [low for low, _ in self.window or [(0, 0)] * len(forms)]
        self.axes[place.buffer] = tuple(form - low for form, low in zip(forms, lows, strict=True))
        self.steps = [*c.epilogue]
        long = {i for i, n in c.extents if n > 1}
        strides = tuple((i, s) for i, s in c.target.strides if i in long)
        self.held[place.buffer] = self.steps[-1].name if self.steps else "sum", replace(c.target, strides=strides)
        self.read = {c.left.array.name: {c.left}, c.right.array.name: {c.right}}

    def copy(self) -> _Chain:
        read = {name: {*own} for name, own in self.read.items()}
        return replace(self, steps=[*self.steps], axes={**self.axes}, held={**self.held}, read=read)

    def take(self, task: Task) -> bool:
        """A task more; False if it cannot be."""
        ends = dict(task.extents)
        at = self._indices(task, ends)
        if task.taps or at is None:
            return False
        meaning = Meaning(Nodes(), ends, self.arrays.__getitem__)
        long = {i for i, (lo, hi) in ends.items() if hi - lo > 1}
        free = tuple(i for i in task.place.mentioned if i in long)
        if {*free} != {*at} & long or ({*indices_of(task.kernel, task.place)} & long) - {*free}:
            return False
        try:
            access = meaning.access(task.place)
            value = meaning.put(access, task.op, typed(meaning, task.kernel, task.place), [])
            if met(access, free, meaning.length) or {*free} - access.indices:
                return False
            held = self._argument(value, at, {})
        except UnsupportedError:
            return False
        home = self._operand(access, at)
        if not isinstance(held, str) or self.read.get(home.array.name, {home}) != {home}:
            return False
        buffer = task.place.buffer
        known = self.held.get(buffer)
        axes = None if self._window(task.place) else _along(task.place, ends, at)
        if axes is None or (known is not None and _form(known[1]) != _form(home)):
            return False
        self.axes[buffer] = axes
        self.held.pop(buffer, None)
        self.held[buffer] = held, home
        return True

    def _indices(self, task: Task, ends: Extents) -> dict[str, Form] | None:
        """Where each index of a task stands, by the indices of the sum."""
        for place in (task.place, *places_of(task.kernel)):
            axes = self.axes.get(place.buffer)
            own = None if axes is None else _plain(place, ends, self._window(place))
            if axes is None or own is None:
                continue
            found = {i: form for i, form in zip(own, axes, strict=True) if i}
            if all(i in found for i, (lo, hi) in ends.items() if hi - lo > 1):
                return found
        return None

    def _window(self, place: Place) -> Window | None:
        return self.window if place.buffer == self.work.place.buffer else None

    def _operand(self, access: Access, at: Mapping[str, Form]) -> Operand:
        form = Form(access.first)
        for i, step in access.steps:
            form = form + at[i] * step
        return Operand(access.array, form.const, tuple(sorted(form.terms)))

    def _argument(self, node: Node, at: Mapping[str, Form], known: dict[Node, Argument]) -> Argument:
        """What stands for a node. Errors: `UnsupportedError`."""
        if node not in known:
            known[node] = self._made(node, at, known)
        return known[node]

    def _made(self, node: Node, at: Mapping[str, Form], known: dict[Node, Argument]) -> Argument:
        match node:
            case Constant(value=value, dtype=dtype):
                return Literal(value, Type(dtype))
            case Element(access=access, moved=()):
                own = self._operand(access, at)
                for name, home in self.held.values():
                    if home.array.name == own.array.name:
                        if _form(home) != _form(own):
                            raise UnsupportedError("another element of what is made")
                        return name
                self.read.setdefault(own.array.name, set()).add(own)
                return own
            case Call(fn=fn, args=args, dtype=dtype):
                given = tuple(self._argument(a, at, known) for a in args)
                self.steps.append(Step(f"step_{len(self.steps)}", fn, given, dtype))
                return self.steps[-1].name
            case _:
                raise UnsupportedError("more than one element")


def _form(o: Operand) -> tuple[int, frozenset[tuple[str, int]]]:
    return o.offset, frozenset(o.strides)


def _plain(place: Place, ends: Extents, window: Window | None = None) -> tuple[str, ...] | None:
    """For each axis the index that runs through all of it, or of a window of it; "" for an axis of one element."""
    shape = place.buffer.shape
    if isinstance(place, Part):
        if (
            window
            or place.moved
            or any(ends[i][1] - ends[i][0] != n for i, n in zip(place.indices, shape, strict=True))
        ):
            return None
        return tuple(i if n > 1 else "" for i, n in zip(place.indices, shape, strict=True))
    found = []
    for row, (low, n) in zip(place.rows, window or [(0, n) for n in shape], strict=True):
        own = [(i, k) for i, k in row.coefs if ends[i][1] - ends[i][0] > 1]
        if row.interval(ends) != (low, low + n - 1) or len(own) != (n > 1) or any(k != 1 for _, k in own):
            return None
        found.append(own[0][0] if own else "")
    return tuple(found) if len({*found} - {""}) == sum(map(bool, found)) else None


def _along(place: Place, ends: Extents, at: Mapping[str, Form]) -> tuple[Form, ...] | None:
    """Where each axis of a place stands, if a task goes through all of it."""
    own = _plain(place, ends)
    return None if own is None else tuple(at[i] if i else Form() for i in own)


def _forms(place: Place, ends: Extents, taps: Sequence[str]) -> tuple[Form, ...] | None:
    """The position in each axis by indices from 0, if all positions are met; with taps an axis may have several."""
    own = _plain(place, ends)
    if own is not None:
        return tuple(Form(0, ((i, 1),)) if i else Form() for i in own)
    if not taps or not isinstance(place, View):
        return None
    rows = [_from_zero(row, ends) for row in place.rows]
    for row, n in zip(rows, place.buffer.shape, strict=True):
        if len(row.coefs) < 2 and ((row.const, len(row.coefs)) != (0, int(n > 1)) or not _full(row, n, ends)):
            return None
    return tuple(Form(row.const, row.coefs) for row in rows)


def _from_zero(row: Row, ends: Extents) -> Row:
    """A row of the indices that have several values, counted from 0."""
    const = row.const + sum(k * ends[i][0] for i, k in row.coefs)
    return Row(const, tuple((i, k) for i, k in row.coefs if ends[i][1] - ends[i][0] > 1))


def _full(row: Row, n: int, ends: Extents) -> bool:
    return all(k == 1 and ends[i][1] - ends[i][0] == n for i, k in row.coefs)
