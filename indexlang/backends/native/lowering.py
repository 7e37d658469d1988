"""The steps of a Plan as work for loop nests.

In: a section of a Plan. Out: for each of its steps a `Task`, what nests compute, or nothing where NumPy's code does it.
The one rule: a task means just what its step means; how it is gone through is decided later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod, sqrt

from ...plan.buffers import buffers_of, places_of
from ...plan.kernels import Einsum, Kernel, Map, Product, Running, Scatter, Search, Select, Take
from ...plan.places import Buffer, Part, Place, View
from ...plan.plan import Check, Loop, Run, Step
from ...plan.quantities import Apply, Load, Number, Position, Reduced, Value
from ...plan.views import index_strides, row_strides
from .contraction import Contraction, Operand
from .contraction import Step as After
from .names import indices_in
from .nest import Array, Form
from .nodes import Limit
from .varying import Varying

KERNELS = (Map, Product, Take, Search, Select, Einsum, Running, Scatter)  # of which there may be nests
Extents = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Task:
    """What one step computes: what a kernel gives at each point of the extents, combined into a place. `taps` are gone
    through one by one, as several of their points meet in an element. `limits` say which values of what is summed are
    there, by positions from 0.
    """

    place: Place
    op: str
    kernel: Kernel
    extents: tuple[tuple[str, tuple[int, int]], ...]
    taps: tuple[str, ...] = ()
    checks: bool = False  # its place says whether something is wrong
    limits: tuple[Limit, ...] = ()

    @property
    def points(self) -> int:
        """How many points there are."""
        return prod(hi - lo for _, (lo, hi) in self.extents)

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """The arrays it names, that which is written first."""
        return tuple(dict.fromkeys((self.place.buffer, *buffers_of(self.kernel))))


def task(step: Step, extents: Extents, name: str = "check") -> Task | None:
    """A step as a task; None for what is none. A check goes to a truth value of that name."""
    if isinstance(step, Check):
        return checking(step, extents, name)
    taps: list[str] = []
    while isinstance(step, Loop):
        if step.by != 0 or step.how != "serial" or step.begin or step.end is not None or step.sums:
            return None
        if len(step.steps) != 1:
            return None
        taps.append(step.index)
        (step,) = step.steps
    if not isinstance(step, Run):
        return None
    if not isinstance(step.kernel, KERNELS) or (isinstance(step.kernel, Product) and step.kernel.by != "nest"):
        return None
    places = (step.place, *places_of(step.kernel))
    if any(isinstance(p, Part) and (p.moved or {*taps} & {*p.indices}) for p in places):
        return None
    used = {*taps, *indices_in(step.place), *indices_in(step.kernel)}
    return Task(step.place, step.op, step.kernel, tuple((i, e) for i, e in extents.items() if i in used), tuple(taps))


def checking(step: Check, extents: Extents, name: str) -> Task:
    """A check as a task that tells whether a position is outside."""
    at = step.position
    wrong: Value = Apply(
        "or",
        (Apply("lt", (at, Number(0, "int64")), "bool"), Apply("ge", (at, Number(step.end, "int64")), "bool")),
        "bool",
    )
    if step.admitted is not None:
        wrong = Apply("and", (wrong, step.admitted), "bool")
    used = {*indices_in(wrong)}
    own = tuple((i, e) for i, e in extents.items() if i in used)
    over = tuple(i for i, _ in own if i in wrong.indices)
    found = Reduced("any", wrong, over) if over else wrong
    return Task(View(Buffer(name, (), "bool", "workspace"), ()), "=", Map(found), own, checks=True)


# -- contractions --------------------------------------------------------------------------------------


def contraction(work: Task, arrays: Mapping[Buffer, Array]) -> Contraction | None:
    """A task as a sum of products of two arrays; None if it is no such sum."""
    over: tuple[str, ...] = ()
    steps: list[tuple[str, float]] = []
    conditions: list[Value] = []
    inner: Value
    match work.kernel:
        case Map(value=value):
            steps, value = scaled(value)
            match value:
                case Apply(fn="select", args=(condition, Reduced(op="sum", value=inner, over=over), Number(value=0))):
                    conditions = conjuncts(condition)  # of a sum of all points or none
                case Reduced(op="sum", value=inner, over=over):
                    pass
                case inner if work.taps and not steps:
                    pass
                case _:
                    return None
        case Product(left=a, right=b, roles=roles):
            kind = work.place.buffer.dtype
            inner, over = Apply("mul", (Load(a, kind), Load(b, kind)), kind), roles.summed
        case _:
            return None
    match inner:
        case Apply(fn="select", args=(condition, product, Number(value=0))):
            conditions, inner = [*conditions, *conjuncts(condition)], product
        case _:
            pass
    match inner:
        case Apply(fn="mul", args=(Load() as left, Load() as right), dtype=("float32" | "float64") as dtype):
            pass
        case _:
            return None
    if any(x.place.buffer.dtype != dtype or x.at for x in (left, right)) or work.place.buffer.dtype != dtype:
        return None
    if work.op not in ("=", "+=", "-=") or work.place.buffer in (left.place.buffer, right.place.buffer):
        return None
    extents = dict(work.extents)
    bounds: list[Form] = []
    for condition in conditions:
        found = bound(condition, extents)
        if found is None:
            return None
        bounds += found
    x, y, home = (operand(p, arrays, extents) for p in (left.place, right.place, work.place))
    sizes = tuple((i, hi - lo) for i, (lo, hi) in work.extents)
    after = tuple(After(f"scaled{k}", fn, (f"scaled{k - 1}" if k else "sum", by)) for k, (fn, by) in enumerate(steps))
    if after and work.op != "=":  # they would scale what is there, too
        return None
    return Contraction(sizes, over, x, y, home, op=work.op, bounds=tuple(bounds), epilogue=after, dtype=dtype)


def parted(work: Task) -> tuple[Task, Task] | None:
    """A task whose value is made of one sum: that sum, and what makes the value of it, element by element."""
    if work.op != "=" or work.taps or work.limits or not isinstance(work.kernel, Map):
        return None
    whole, kind = work.kernel.value, work.place.buffer.dtype
    sums = [v for v in values_in(whole) if isinstance(v, Reduced)]
    if len(sums) != 1 or sums[0] is whole or sums[0].op != "sum" or sums[0].dtype != kind:
        return None
    rest = replaced(whole, sums[0], Load(work.place, kind))
    found = []
    for value in (sums[0], rest):
        used = {*indices_in(work.place), *indices_in(value)}
        extents = tuple((i, e) for i, e in work.extents if i in used)
        found.append(Task(work.place, "=", Map(value), extents))
    return found[0], found[1]


def values_in(value: Value) -> Iterator[Value]:
    """A value and what operations in it are applied to, outside of reductions."""
    yield value
    for part in value.args if isinstance(value, Apply) else ():
        yield from values_in(part)


def replaced(value: Value, old: Value, new: Value) -> Value:
    """The value with another one in the place of a part."""
    if value is old:
        return new
    if isinstance(value, Apply):
        return replace(value, args=tuple(replaced(a, old, new) for a in value.args))
    return value


def scaled(value: Value) -> tuple[list[tuple[str, float]], Value]:
    """What numbers a value is multiplied by and divided by at last, and the value before that."""
    match value:
        case Apply(fn=("mul" | "div") as fn, args=(inner, by), dtype=("float32" | "float64")):
            number = constant(by)
            if number is not None:
                steps, first = scaled(inner)
                return [*steps, (fn, number)], first
        case _:
            pass
    return [], value


def constant(value: Value) -> float | None:
    """The value of numbers alone."""
    match value:
        case Number(value=number):
            return number if isinstance(number, Varying) else float(number)
        case Apply(fn="sqrt", args=(a,)):
            found = constant(a)
            return None if found is None or found < 0 else sqrt(found)
        case Apply(fn=("mul" | "add" | "sub") as fn, args=(a, b)):
            x, y = constant(a), constant(b)
            if x is None or y is None:
                return None
            return x * y if fn == "mul" else x + y if fn == "add" else x - y
        case Apply(fn="neg", args=(a,)):
            found = constant(a)
            return None if found is None else -found
        case _:
            return None


def operand(place: Place, arrays: Mapping[Buffer, Array], extents: Extents) -> Operand:
    """Where the elements of a place lie, its indices counted from 0."""
    strides = row_strides(place.buffer.shape)
    array = arrays[place.buffer]
    if isinstance(place, View):
        moves = index_strides(place.rows, strides)
        offset = sum(row.const * stride for row, stride in zip(place.rows, strides, strict=True))
        offset += sum(step * extents[i][0] for i, step in moves.items())
    else:  # an axis counts from 0
        moves, offset = dict(zip(place.indices, strides, strict=True)), 0
    return Operand(array, offset, tuple(moves.items()))


def conjuncts(condition: Value) -> list[Value]:
    """The conditions that hold together."""
    match condition:
        case Apply(fn="and", args=args):
            return [c for a in args for c in conjuncts(a)]
        case _:
            return [condition]


def bound(condition: Value, extents: Extents) -> list[Form] | None:
    """Forms over indices from 0, none of which is negative just where a condition on positions holds."""
    match condition:
        case Apply(fn=("lt" | "le" | "gt" | "ge" | "eq") as fn, args=(a, b)):
            left, right = affine(a, extents), affine(b, extents)
        case _:
            return None
    if left is None or right is None:
        return None
    match fn:
        case "lt":
            return [right - left - 1]
        case "le":
            return [right - left]
        case "gt":
            return [left - right - 1]
        case "ge":
            return [left - right]
        case _:
            return [left - right, right - left]


def affine(value: Value, extents: Extents) -> Form | None:
    """A value of positions as a form over indices from 0."""
    match value:
        case Number(value=int() as number):
            return Form(int(number))
        case Position(index=index):
            return Form(extents[index][0], ((index, 1),))
        case Apply(fn=("add" | "sub") as fn, args=(a, b), dtype="int64"):
            left, right = affine(a, extents), affine(b, extents)
            if left is None or right is None:
                return None
            return left + right if fn == "add" else left - right
        case Apply(fn="neg", args=(a,), dtype="int64"):
            found = affine(a, extents)
            return None if found is None else found * -1
        case Apply(fn="mul", args=(Number(value=int() as number), a), dtype="int64"):
            found = affine(a, extents)
            return None if found is None else found * int(number)
        case Apply(fn="mul", args=(a, Number(value=int() as number)), dtype="int64"):
            found = affine(a, extents)
            return None if found is None else found * int(number)
        case Apply(fn="cast", args=(a,), dtype="int64") if not isinstance(a, Load):
            return affine(a, extents)
        case _:
            return None


def apart(work: Task) -> Sequence[Task]:
    """A task for each value of its taps, one after the other."""
    found = [work]
    for tap in work.taps:
        lo, hi = dict(work.extents)[tap]
        found = [fixed(one, tap, k) for one in found for k in range(lo, hi)]
    return found


def fixed(work: Task, index: str, at: int) -> Task:
    """A task at one value of an index."""
    extents = tuple((i, (at, at + 1) if i == index else e) for i, e in work.extents)
    return Task(work.place, work.op, work.kernel, extents, tuple(t for t in work.taps if t != index))
