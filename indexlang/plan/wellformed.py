"""Whether each part of a Plan says something by itself: its operators, its types, its indices.

In: a Plan. Out: what is wrong, with the place. The one rule: a step is looked at alone; what was written before it, and
in which loops it stands, is `verify`'s.

Values are brought together upwards only: from bool over integers and floating-point numbers to complex ones; what goes
down says so by a `cast`. Positions are int64, conditions bool.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from ..program.functions import COMBINATIONS, FUNCTIONS
from ..sizes.dtypes import DTYPES, kind_of
from .kernels import (
    Einsum,
    Fading,
    Grouped,
    Kernel,
    Label,
    Map,
    Order,
    Product,
    Ranged,
    Rank,
    Running,
    Scatter,
    Search,
    Select,
    Take,
)
from .places import Buffer, Part, Place, View
from .plan import Check, Either, Leave, Loop, Make, Plan, Run, Step, Within
from .quantities import Apply, Count, Load, Number, Position, Reach, Reduced, Value, parts_of
from .views import Extents

OPERATORS = frozenset(COMBINATIONS)
ARITHMETIC = frozenset({"+=", "-=", "*=", "/="})
COMBINING = OPERATORS | ARITHMETIC
REDUCING = frozenset({"sum", "product", "greatest", "least", "any", "all"})
BESIDE = {"cast": 1, "isfinite": 1, "square": 1, "keep": 2, "quarters": 2, "select": 3, "choose": 3}  # and their arity
CHOOSING = frozenset({"where", "select", "keep", "choose"})  # whose first argument is a condition
DOWN = frozenset({"cast", "int", "float"})
TRUTHS = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not", "isfinite"})
POSITIONS = frozenset({"argmax", "argmin"})
SEARCHING = POSITIONS | {"logsumexp"}
ROLES = frozenset({"input", "tensor", "copy", "workspace", "table"})
_ORDER = ("bool", "int", "float", "complex")


def problems(plan: Plan) -> Iterator[tuple[str, str]]:
    """What is wrong in a plan, and where."""
    found = _Reading(plan.complex_step)
    for buffer in plan.inputs:
        yield from found.told(found.buffer(buffer), f"the input {buffer.name}")
        if buffer.role != "input" or plan.inputs.count(buffer) > 1:
            yield f"{buffer.name} is no input, or two", "the inputs"
    for table in plan.tables:
        where = f"the table {table.buffer.name}"
        yield from found.told(found.scope(table.extents), where)
        yield from found.told(found.table(table.buffer, table.value), where)
    for section in plan.sections:
        where = "; ".join(r.statement for r in section.records)
        yield from found.told(found.scope(section.extents), where)
        yield from found.told(found.steps(section.steps, len(plan.places)), where)
    yield from found.told(found.scope(plan.extents), "the outputs")
    for tensor, place, dtype in plan.outputs:
        yield from found.told(found.place(place), f"the output {tensor}")
        yield from found.told(found.type(tensor, dtype), f"the output {tensor}")
        yield from found.told(found.fits(place.buffer.dtype, dtype, tensor), f"the output {tensor}")
    for place in plan.finite:
        yield from found.told(found.place(place), "what must be finite")


class _Reading:
    """What is known on the way: the buffers so far, by name, and the extents of the section."""

    def __init__(self, complex_step: bool) -> None:
        self.complex_step = complex_step  # then complex numbers stand for real ones
        self.buffers: dict[str, Buffer] = {}
        self.extents: Extents = {}

    def told(self, found: Iterable[str], where: str) -> Iterator[tuple[str, str]]:
        return ((message, where) for message in found)

    def scope(self, extents: tuple[tuple[str, tuple[int, int]], ...]) -> Iterator[str]:
        self.extents = dict(extents)
        if len(self.extents) < len(extents):
            yield "an index has two extents"

    # -- names ---------------------------------------------------------------------------------

    def known(self, indices: Collection[str], who: str) -> Iterator[str]:
        """Indices have an extent, and are named once."""
        yield from (f"{who} names {i}, which has no extent" for i in indices if i not in self.extents)
        if len(set(indices)) < len(indices):
            yield f"{who} names an index twice"

    def buffer(self, buffer: Buffer) -> Iterator[str]:
        if self.buffers.setdefault(buffer.name, buffer) != buffer:
            yield f"{buffer.name} is two buffers"
        if buffer.role not in ROLES:
            yield f"{buffer.name} has no role {buffer.role!r}"
        if any(n < 0 for n in buffer.shape):
            yield f"{buffer.name} has a negative size"
        yield from self.type(buffer.name, buffer.dtype)

    def type(self, who: str, dtype: str) -> Iterator[str]:
        if dtype not in DTYPES:
            yield f"{who} has no type {dtype!r}"

    def place(self, place: Place) -> Iterator[str]:
        name = place.buffer.name
        yield from self.buffer(place.buffer)
        if isinstance(place, View):
            for row in place.rows:
                yield from self.known([i for i, _ in row.coefs], name)
                if any(c == 0 for _, c in row.coefs):
                    yield f"{name} has a row that does not move with its index"
            return
        yield from self.known(place.indices, name)
        for index, run, _, step in place.moved:
            yield from self.known([run], name)
            if index not in place.indices or step < 1:
                yield f"{name} is moved along {index}, which it has not"

    # -- values --------------------------------------------------------------------------------

    def fits(self, dtype: str, into: str, who: str) -> Iterator[str]:
        """A type goes into another one of its kind, or further up."""
        if dtype in DTYPES and into in DTYPES and _ORDER.index(kind_of(dtype)) > _ORDER.index(kind_of(into)):
            yield f"{who} is {into} and takes {dtype}"

    def value(self, value: Value) -> Iterator[str]:
        for part in parts_of(value):
            match part:
                case Number(dtype=dtype):
                    yield from self.type("a number", dtype)
                case Reach(row=row, dtype=dtype):
                    yield from self.known([i for i, _ in row.coefs], "a reach")
                    if dtype != "int64":
                        yield f"a reach is {dtype}"
                case Position(index=index, dtype=dtype):
                    yield from self.known([index], "a position")
                    yield from self.is_position(part)
                case Count(over=over):
                    yield from self.known(over, "a count")
                    yield from self.is_position(part)
                case Load(place=place, dtype=dtype, at=at):
                    yield from self.place(place)
                    yield from self.type(f"what is read of {place.buffer.name}", dtype)
                    yield from self.fits(place.buffer.dtype, dtype, f"what is read of {place.buffer.name}")
                    yield from self.fixed(place, at)
                case Apply():
                    yield from self.apply(part)
                case Reduced(op=op, value=inner, over=over):
                    yield from self.known(over, "a reduction")
                    if op not in REDUCING:
                        yield f"nothing is reduced by {op!r}"
                    if not over or not set(over) <= inner.indices:
                        yield f"a reduction runs over {list(over)}, which its value has not"
                    if set(over) & value.indices:
                        yield f"a reduction runs over {list(over)}, which the value around it has, too"
                    if op not in ("least", "greatest") and (op in ("any", "all")) != (inner.dtype == "bool"):
                        yield f"{op} of {inner.dtype}"

    def fixed(self, place: Place, at: tuple[tuple[str, int], ...]) -> Iterator[str]:
        """Indices that are fixed are the place's own, at a value of theirs."""
        for index, number in at:
            lo, hi = self.extents.get(index, (0, 0))
            if index not in place.mentioned or not 0 <= number < hi - lo:
                yield f"{place.buffer.name} is read at {index} number {number}, which it has not"

    def apply(self, part: Apply) -> Iterator[str]:
        fn, args, dtype = part.fn, part.args, part.dtype
        arity = BESIDE.get(fn, FUNCTIONS[fn].arity if fn in FUNCTIONS else -1)
        if arity != len(args):
            yield f"{fn} is no function of {len(args)} values"
            return
        yield from self.type(f"the value of {fn}", dtype)
        if (fn in TRUTHS) != (dtype == "bool") and fn not in CHOOSING | DOWN:
            yield f"the value of {fn} is {dtype}"
        real = fn in FUNCTIONS and FUNCTIONS[fn].result == "float" and kind_of(dtype) in ("bool", "int")
        broken = (
            fn in FUNCTIONS and not FUNCTIONS[fn].analytic and kind_of(dtype) == "complex" and not self.complex_step
        )
        if real or broken or (fn == "int" and dtype != "int64"):
            yield f"the value of {fn} is {dtype}"
        if fn in CHOOSING and fn != "where":
            yield from self.is_condition(args[0])
        data = args[1:] if fn in CHOOSING else () if fn in TRUTHS | DOWN | {"abs"} else args
        for arg in data:
            yield from self.fits(arg.dtype, dtype, f"the value of {fn}")

    def is_position(self, value: Value) -> Iterator[str]:
        if value.dtype != "int64":
            yield f"a position is {value.dtype}"

    def is_condition(self, value: Value) -> Iterator[str]:
        if value.dtype != "bool":
            yield f"a condition is {value.dtype}"

    def table(self, buffer: Buffer, value: Value) -> Iterator[str]:
        yield from self.buffer(buffer)
        yield from self.value(value)
        yield from self.fits(value.dtype, buffer.dtype, buffer.name)
        if buffer.role != "table":
            yield f"{buffer.name} is no table"

    # -- steps ---------------------------------------------------------------------------------

    def steps(self, steps: Iterable[Step], places: int) -> Iterator[str]:
        for step in steps:
            match step:
                case Loop():
                    yield from self.loop(step)
                    yield from self.steps(step.steps, places)
                case Within(index=index, begin=begin, end=end, steps=inner):
                    yield from self.known([index], "a part")
                    for value in (begin, end):
                        yield from self.value(value)
                        yield from self.is_position(value)
                    yield from self.steps(inner, places)
                case Make(part=part, op=op):
                    yield from self.place(part)
                    if op not in OPERATORS | {""} or part.moved:
                        yield f"{part.buffer.name} is made by {op!r}"
                case Run(place=place, op=op, kernel=kernel):
                    yield from self.place(place)
                    if op not in COMBINING or (op in ARITHMETIC and place.buffer.dtype == "bool"):
                        yield f"nothing is combined by {op!r} in {place.buffer.dtype}"
                    yield from self.kernel(kernel, place, op)
                case Either(condition=condition, first=first, second=second):
                    yield from self.value(condition)
                    yield from self.is_condition(condition)
                    yield from self.steps((*first, *second), places)
                case Leave(condition=condition):
                    yield from self.value(condition)
                    yield from self.is_condition(condition)
                case Check(position=position, place=number, admitted=admitted):
                    yield from self.value(position)
                    yield from self.is_position(position)
                    yield from self.admitted(admitted)
                    if not 0 <= number < places:
                        yield "a check refers to no subscript"

    def loop(self, loop: Loop) -> Iterator[str]:
        yield from self.known([loop.index], "a loop")
        if loop.how not in ("serial", "backwards", "thread") or loop.by < 0 or (loop.by == 0 and loop.how == "thread"):
            yield f"a loop goes by {loop.by}, {loop.how}"
        for part, op in loop.sums:
            yield from self.place(part)
            if loop.how != "thread" or op not in OPERATORS or not isinstance(part, Part):
                yield f"{part.buffer.name} is brought together by {op!r}"

    def admitted(self, value: Value | None) -> Iterator[str]:
        if value is not None:
            yield from self.value(value)
            yield from self.is_condition(value)

    def at(self, at: tuple[tuple[str, Value], ...], among: Collection[str], who: str) -> Iterator[str]:
        """Positions along indices that a place has."""
        yield from self.known([i for i, _ in at], who)
        for index, value in at:
            yield from self.value(value)
            yield from self.is_position(value)
            if index not in among:
                yield f"{who} is reached at a position along {index}, which it has not"

    def kernel(self, kernel: Kernel, place: Place, op: str) -> Iterator[str]:
        name, dtype = place.buffer.name, place.buffer.dtype
        match kernel:
            case Map(value=value):
                yield from self.value(value)
                if not (isinstance(value, Number) and dtype == "bool" and value.value in (0, 1)):
                    yield from self.fits(value.dtype, dtype, name)
            case Take(source=source, at=at):
                yield from self.place(source)
                yield from self.at(at, source.mentioned, source.buffer.name)
                yield from self.fits(source.buffer.dtype, dtype, name)
            case Product():
                yield from self.product(kernel, place)
            case Grouped():
                yield from self.grouped(kernel, place, op)
            case Einsum(factors=factors):
                for value in factors:
                    yield from self.value(value)
                    yield from self.fits(value.dtype, dtype, name)
                if not factors:
                    yield f"{name} is a product of nothing"
            case Running(op=by, source=source, along=along):
                yield from self.place(source)
                yield from self.running(by, source.buffer.dtype, dtype, name)
                if by not in OPERATORS | SEARCHING or along not in source.mentioned:
                    yield f"{source.buffer.name} runs by {by!r} along {along}"
            case Ranged(op=by, source=source, along=along, begin=begin, end=end):
                yield from self.place(source)
                yield from self.running(by, source.buffer.dtype, dtype, name)
                for value in (begin, end):
                    yield from self.value(value)
                if by not in ("max=", "min=", *POSITIONS) or along not in source.mentioned:
                    yield f"{source.buffer.name} is searched by {by!r} along {along}"
            case Fading(source=source, fades=fades, along=along):
                for side in (source, fades):
                    yield from self.place(side)
                    yield from self.fits(side.buffer.dtype, dtype, name)
                    if along not in side.mentioned:
                        yield f"{side.buffer.name} does not run along {along}"
            case Order(source=source, rank=rank):
                yield from self.place(source)
                yield from self.known([rank], "an order")
                yield from self.ranked(source, dtype, name)
            case Rank(source=source, value=value):
                yield from self.place(source)
                yield from self.value(value)
                yield from self.ranked(source, dtype, name)
                if value.dtype != source.buffer.dtype:
                    yield f"{value.dtype} has no rank among {source.buffer.dtype}"
            case Label(source=source, over=over):
                yield from self.place(source)
                yield from self.known(over, "a number of values")
                yield from self.ranked(source, dtype, name)
            case Search(value=value, over=over, best=best):
                yield from self.value(value)
                yield from self.admitted(kernel.admitted)
                yield from self.known((*over, *kernel.inner), "a search")
                if kernel.inner and (kernel.admitted is not None or kernel.by != "array" or kernel.op not in POSITIONS):
                    yield f"rows are not searched for {kernel.op} by {kernel.by!r}, or under a mask"
                if best is not None:
                    yield from self.place(best)
                if kernel.by == "window" and (kernel.op == "logsumexp" or kernel.admitted is not None):
                    yield f"a window is not searched for {kernel.op}, or under a mask"
                made = kind_of(value.dtype) if kernel.op == "logsumexp" else "int"
                if kernel.op not in SEARCHING or kernel.by not in ("array", "window"):
                    yield f"nothing is searched by {kernel.op!r}, {kernel.by!r}"
                elif made != kind_of(dtype) or op != "=" or not over:
                    yield f"{name} is {dtype} and takes {kernel.op}"
            case Select(value=value, condition=condition, among=among):
                yield from self.value(value)
                yield from self.admitted(condition)
                yield from self.known(among, "a selection")
                if op not in ("=", "+=", "-="):
                    yield f"a selection is combined by {op!r}, to which nothing is not 0"
                yield from self.fits(value.dtype, dtype, name)
            case Scatter(at=at, value=chosen, points=points, rest=rest, by=by):
                yield from self.at(at, place.mentioned, name)
                yield from self.known((*points, *rest), "a scatter")
                yield from self.admitted(kernel.admitted)
                if chosen is not None:
                    yield from self.value(chosen)
                    yield from self.fits(chosen.dtype, dtype, name)
                yield from self.known([*(i for i, _ in at), *rest], name)
                counts = op == "+=" and not rest if by == "count" else by in ("join", "apart") and chosen is not None
                named = [v.index for _, v in at if isinstance(v, Position)]
                counts = counts and (by != "apart" or set(points) <= set(named))
                if not at or not counts:
                    yield f"{name} is scattered to by {by!r}, {op}"

    def grouped(self, kernel: Grouped, place: Place, op: str) -> Iterator[str]:
        """A product in groups has its points where the mark says, and adds to what has it."""
        r, name, where = kernel.roles, place.buffer.name, kernel.left if kernel.mark in kernel.left.mentioned else place
        points, inside = set(kernel.points), r.columns if where is kernel.left else r.summed
        yield from self.known((*r.batch, *r.rows, *r.columns, *r.summed), name)
        for side in (kernel.left, kernel.right):
            yield from self.place(side)
            yield from self.fits(side.buffer.dtype, place.buffer.dtype, name)
        yield from self.at(((kernel.mark, kernel.at),), where.mentioned, where.buffer.name)
        added = op == "+=" and kernel.left.buffer.dtype == place.buffer.dtype
        if r.batch or not points or not points <= set(inside) or not (where is kernel.left or added):
            yield f"{name} is no product in groups over {list(kernel.points)}"

    def running(self, by: str, source: str, dtype: str, name: str) -> Iterator[str]:
        """What runs goes into the type of its place; positions are int64."""
        if by in POSITIONS:
            if dtype != "int64" or (kind_of(source) == "complex" and not self.complex_step):
                yield f"{name} is {dtype} and takes {by} of {source}"
            return
        yield from self.fits(source, dtype, name)
        if by == "logsumexp" and (kind_of(source) != "float" or self.complex_step):
            yield f"{name} takes {by} of {source}"

    def ranked(self, source: Place, dtype: str, name: str) -> Iterator[str]:
        """What is put in order can be compared; positions and numbers of elements are int64."""
        if dtype != "int64" or kind_of(source.buffer.dtype) == "complex":
            yield f"{name} is {dtype} and takes ranks of {source.buffer.dtype}"

    def product(self, kernel: Product, place: Place) -> Iterator[str]:
        """A product's roles share out the indices of both sides."""
        r, name = kernel.roles, place.buffer.name
        if kernel.by not in ("matmul", "einsum", "einsum apart", "nest"):
            yield f"nothing is multiplied by {kernel.by!r}"
        yield from self.known((*r.batch, *r.rows, *r.columns, *r.summed), "a product")
        for side, own in ((kernel.left, {*r.rows, *r.summed}), (kernel.right, {*r.columns, *r.summed})):
            yield from self.place(side)
            if side.buffer.dtype != place.buffer.dtype:
                yield f"{name} is {place.buffer.dtype} and a factor {side.buffer.dtype}"
            if not own <= set(side.mentioned):
                yield f"{side.buffer.name} has not the indices of its role"
