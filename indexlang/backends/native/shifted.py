"""What several statements add to one array at shifted positions, as one pass over it.

    x[i] += a[i]; x[i+1] += b[i]    x[0] = x[0] + a[0]; x[p] = x[p] + a[p] + b[p-1] for p inside; x[n] = x[n] + b[n-1]

In: tasks in their order, under names of indices that they share. Out: tasks that go through each box of elements to
which the same of them add. The one rule: each element gets the same values in the same order, so that every bit of the
sums is what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, pairwise
from math import prod

from ...plan.kernels import Map
from ...plan.places import Place, View
from ...plan.quantities import Apply, Load, Number, Reduced, Value, parts_of
from ...plan.views import Row, plain
from .lowering import Task
from .pieces import in_terms

MOST = 48  # boxes of an array: each is code to be made
SMALL = 1 << 16  # elements of an array below which a pass more costs less than code does
SAVED = 1.5  # times the elements that are gone through in boxes, at least

Span = tuple[int, int]
Spans = tuple[Span, ...]


@dataclass(frozen=True)
class Addition:
    """A task that adds to each element of a box, or makes it: which index says the position along each axis ("" where
    none does), how far from its own one that is, and the box.
    """

    task: Task
    value: Value
    axes: tuple[tuple[str, int], ...]
    box: Spans


@dataclass(frozen=True)
class Box:
    """Positions along each axis, and the numbers of the additions to each element there."""

    spans: Spans
    adding: tuple[int, ...]


def gathered(tasks: Sequence[Task]) -> list[Task]:
    """The tasks, with those that add to one array one after the other as one pass over it, where that is worth it."""
    found: list[Task] = []
    names: dict[tuple[int, int, Span], int] = {}
    at = 0
    while at < len(tasks):
        run = list(_run(tasks[at:]))
        boxes = _boxes(run)

        def name(axis: int, span: Span, index: str, at: int = at) -> str:
            number = names.setdefault((at, axis, span), len(tasks) + len(names))
            return f"{index.partition('#')[0]}#{number}"

        found += [_made(run, box, name) for box in boxes] if boxes else tasks[at : at + 1]
        at += len(run) if boxes else 1
    return found


# -- which tasks are added up --------------------------------------------------------------------------------


def _run(tasks: Sequence[Task]) -> Iterator[Addition]:
    """The additions to one array with which tasks begin; the first of them may make all of it."""
    for number, task in enumerate(tasks):
        one = _addition(task) if task.place.buffer == tasks[0].place.buffer else None
        whole = tuple((0, n) for n in task.place.buffer.shape)
        if one is None or (task.op == "=" and (number or one.box != whole)):
            return
        yield one


def _addition(task: Task) -> Addition | None:
    """A task as an addition; None if it is none, or sums up values itself."""
    place, ends = task.place, dict(task.extents)
    if task.op not in ("=", "+=", "-=") or task.taps or task.limits or not isinstance(task.kernel, Map):
        return None
    if not _long(place, ends):
        return None
    rows = place.rows if isinstance(place, View) else tuple(plain(i).shifted(-ends[i][0]) for i in place.indices)
    indices = [i for row in rows for i, _ in row.coefs]
    if any(len(row.coefs) > 1 or any(k != 1 for _, k in row.coefs) for row in rows) or len({*indices}) < len(indices):
        return None
    value = task.kernel.value
    if value.indices - {*indices} or (value.dtype != place.buffer.dtype and not isinstance(value, Number)):
        return None
    for part in parts_of(value):
        if isinstance(part, Reduced):
            return None
        if isinstance(part, Load) and (part.place.buffer == place.buffer or not _long(part.place, ends)):
            return None
    if in_terms(value, {i: plain(i) for i in indices}, ends) is None:
        return None
    axes = tuple((row.coefs[0][0] if row.coefs else "", row.const) for row in rows)
    box = tuple(_moved(ends[i], const) if i else (const, const + 1) for i, const in axes)
    return Addition(task, value, axes, box)


def _long(place: Place, ends: Mapping[str, Span]) -> bool:
    """Whether the axes of a place are as long as its buffer's shape says."""
    return isinstance(place, View) or tuple(hi - lo for lo, hi in map(ends.__getitem__, place.indices)) == (
        place.buffer.shape
    )


def _moved(span: Span, by: int) -> Span:
    return (span[0] + by, span[1] + by) if by else span  # a length that varies stays what it is


# -- boxes ---------------------------------------------------------------------------------------------------


def _boxes(run: Sequence[Addition]) -> list[Box]:
    """The boxes of an array; none where going through them is not worth it, or one nest does the tasks as they are."""
    if not run or all(one.box == run[0].box for one in run) or prod(run[0].task.place.buffer.shape) < SMALL:
        return []
    before = sum(_points(one.box) for one in run)
    for ways in (_cut(run, range(len(run)), 0), _around(run)):
        found = list(islice(ways, MOST + 1))
        if len(found) <= MOST and SAVED * sum(_points(box.spans) for box in found) <= before:
            return found
    return []


def _points(box: Spans) -> int:
    return prod(max(0, hi - lo) for lo, hi in box)


def _cut(run: Sequence[Addition], adding: Sequence[int], axis: int) -> Iterator[Box]:
    """Boxes to whose elements the same additions are made, along an axis and those behind it."""
    if axis == len(run[0].box):
        yield Box((), tuple(adding))
        return
    spans = {k: run[k].box[axis] for k in adding}
    if len({*spans.values()}) == 1:
        pieces = [(spans[adding[0]], tuple(adding))]
    else:
        ends = sorted({int(end) for span in spans.values() for end in span})
        pieces = [((lo, hi), tuple(k for k in adding if spans[k][0] <= lo < spans[k][1])) for lo, hi in pairwise(ends)]
    for some, group in groupby(pieces, key=lambda piece: piece[1]):
        own = [span for span, _ in group]
        for box in _cut(run, some, axis + 1) if some else ():
            yield Box(((own[0][0], own[-1][1]), *box.spans), box.adding)


def _around(run: Sequence[Addition]) -> Iterator[Box]:
    """The elements to which all additions are made; around them a box for each addition to each side of them."""
    inside = [_both(spans) for spans in zip(*(one.box for one in run), strict=True)]
    if not _points(tuple(inside)):
        return
    yield Box(tuple(inside), tuple(range(len(run))))
    left = [
        (min(lo for lo, _ in spans), max(hi for _, hi in spans)) for spans in zip(*(o.box for o in run), strict=True)
    ]
    for axis, (lo, hi) in enumerate(inside):
        for side in ((left[axis][0], lo), (hi, left[axis][1])):
            slab = [*left[:axis], side, *left[axis + 1 :]]
            for k, one in enumerate(run):
                box = tuple(_both(both) for both in zip(one.box, slab, strict=True))
                if _points(box):
                    yield Box(box, (k,))
        left[axis] = (lo, hi)


def _both(spans: Sequence[Span]) -> Span:
    """What is in all of some spans."""
    if len({*spans}) == 1:
        return spans[0]
    return int(max(lo for lo, _ in spans)), int(min(hi for _, hi in spans))


def _made(run: Sequence[Addition], box: Box, name: Callable[[int, Span, str], str]) -> Task:
    """The task of a box: what is there and what is added, in their order."""
    buffer = run[0].task.place.buffer
    indices = [i for i, _ in run[box.adding[-1]].axes]
    names = [
        name(axis, span, index) if index and span[1] - span[0] > 1 else ""
        for axis, (span, index) in enumerate(zip(box.spans, indices, strict=True))
    ]
    rows = tuple(plain(own) if own else Row(lo, ()) for own, (lo, _) in zip(names, box.spans, strict=True))
    place = View(buffer, rows)
    total: Value | None = None if run[box.adding[0]].task.op == "=" else Load(place, buffer.dtype)
    for k in box.adding:
        one = run[k]
        forms = {i: row.shifted(-const) for (i, const), row in zip(one.axes, rows, strict=True) if i}
        value = in_terms(one.value, forms, dict(one.task.extents))
        assert value is not None, "it could be said in terms of its own indices"
        fn = "sub" if one.task.op == "-=" else "add"
        total = value if total is None else Apply(fn, (total, value), buffer.dtype)
    assert total is not None
    return Task(place, "=", Map(total), tuple((i, span) for i, span in zip(names, box.spans, strict=True) if i))
