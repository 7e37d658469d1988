"""Products and what runs between them, block by block in one loop: no array over all indices on the way.

In: a Plan. Out: the same, sections between the first and the last mention of a large tensor as one, if each of their
steps goes through an outer axis of it alike: attention, a head after the other. The one rule: a block of what one step
makes there is just what the block of another one reads, and what they write outside has the index of the block.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .buffers import buffers_of, bytes_of, lifetimes, places_of, rebuilt
from .invariant import indices_in
from .kernels import Einsum, Kernel, Map, Product
from .limits import Limits
from .naming import renamed
from .places import Buffer, Part, Place, View
from .plan import Loop, Make, Plan, Run, Section, Step
from .quantities import Count, Load, Reach, Reduced, Value, parts_of
from .views import plain


def together(plan: Plan) -> Plan:
    """The Plan with such sections as one; as it is, where an engine goes through whole domains."""
    if plan.limits.nests:
        return plan
    lives = lifetimes(plan)
    given = {place.buffer for place in (*(place for _, place, _ in plan.outputs), *plan.finite)}
    large = [b for b in lives if bytes_of(b) > plan.limits.block and b not in given]
    for buffer in sorted(large, key=lambda b: (-bytes_of(b), b.name)):
        first, last = lives.get(buffer, (0, 0))
        own = {b for b, (begin, end) in lives.items() if first <= begin and end <= last and b not in given}
        found = _joined(plan.sections[first : last + 1], buffer, own, plan.limits) if first < last else None
        if found is not None:
            plan = replace(plan, sections=(*plan.sections[:first], found, *plan.sections[last + 1 :]))
            lives = lifetimes(plan)
    return plan


def _joined(sections: Sequence[Section], buffer: Buffer, own: Collection[Buffer], limits: Limits) -> Section | None:
    """Sections as one, whose loops leave only a block of a buffer; None if they do not all go through it alike.

    Nothing outside of them needs their `own` buffers.
    """
    names = _names(sections[0], buffer)
    extents: dict[str, tuple[int, int]] = {}
    steps: list[Step] = []
    for given in sections:
        section = _alike(given, buffer, names) if names and all(map(_is_plain, given.steps)) else None
        if section is None or any(extents.setdefault(i, e) != e for i, e in section.extents):
            return None
        steps += section.steps
    chosen, before, threads, left = list[str](), list[Step](), False, bytes_of(buffer)
    for index, size in zip(names, buffer.shape, strict=True):
        if size == 1:
            continue
        block = _Block(index, steps)
        inside = block.steps() if left > limits.block and limits.chunk <= 8 * (left // size) else None
        if inside is None or any(set(chosen) & _known(s) for s in block.before):
            break
        steps, before, threads, left = inside, [*before, *block.before], threads or block.threads, left // size
        chosen.append(index)
    if not chosen:
        return None
    part = Part(_cut(replace(buffer, role="workspace"), names, chosen), tuple(names))
    outside = set(buffers_of(tuple(before)))
    places = set(places_of(tuple(steps)))
    viewed = {p.buffer for p in places if isinstance(p, View)} - {buffer}
    blocks = {p.buffer for p in places if isinstance(p, Part) and not set(chosen).isdisjoint(p.indices)} - outside
    if any(b in viewed or b not in own for b in blocks):  # of which a View, or what comes later, needs all
        return None

    def in_a_block(node: Any) -> Any:
        match node:
            case View(buffer=b) if b == buffer:
                return part
            case Part(buffer=b, indices=indices) if b not in outside:
                return replace(node, buffer=_cut(b, indices, chosen))
            case _:
                return None

    whole: tuple[Step, ...] = (Make(part), *(rebuilt(s, in_a_block) for s in steps))
    for index in reversed(chosen):
        whole = (Loop(index, 1, whole, "thread" if threads and index == chosen[0] else "serial"),)
    how = f", together by {', '.join(chosen)}"
    records = tuple(replace(r, kernel=r.kernel + how) for section in sections for r in section.records)
    return Section(records, tuple(extents.items()), (*before, *whole))


def _names(section: Section, buffer: Buffer) -> list[str]:
    """The index of each axis of a buffer in a section, where all of it is always meant in the same way."""
    found = {place for place in places_of(section.steps) if place.buffer == buffer}
    if len(found) != 1:
        return []
    (place,) = found
    return list(place.mentioned) if place == View(buffer, tuple(map(plain, place.mentioned))) else []


def _alike(section: Section, buffer: Buffer, names: Sequence[str]) -> Section | None:
    """The section with these names of the indices that stand for the axes of a buffer; None if that cannot be."""
    if buffer not in buffers_of(section.steps):
        return section
    own = _names(section, buffer)
    if not own:
        return None
    new = {i: name for i, name in zip(own, names, strict=True) if i != name}
    known = set[str]().union(*map(_known, section.steps))
    if known & set(new.values()):
        return None
    extents = tuple((new.get(i, i), e) for i, e in section.extents if i not in new.values())
    return replace(section, steps=renamed(section.steps, new), extents=extents) if new else section


def _cut(buffer: Buffer, indices: Sequence[str], chosen: Sequence[str]) -> Buffer:
    """An array that is made for one value of the chosen indices."""
    return replace(buffer, shape=tuple(1 if i in chosen else n for i, n in zip(indices, buffer.shape, strict=True)))


@dataclass
class _Block:
    """Steps for one value of an index at a time. `before`: those that know nothing of it; `threads`: loops ran so."""

    index: str
    several: Sequence[Step]
    before: list[Step] = field(default_factory=list)
    threads: bool = False
    axes: dict[Buffer, int] = field(default_factory=dict)  # of what is written: which one the index is

    def steps(self) -> list[Step] | None:
        """The steps in the block; None if one of them does not go through the index as it is."""
        if not all(map(_is_plain, self.several)):
            return None
        inside = [s for s in self.several if self.index in _known(s)]
        self.before = [s for s in self.several if self.index not in _known(s)]
        for place in _written(inside):
            axis = self.axis(place)
            if axis is None or self.axes.setdefault(place.buffer, axis) != axis:
                return None
        made = Counter(place.buffer for place in _written(self.before, made=False))
        apart = all(isinstance(place, Part) and made[place.buffer] < 2 for place in _written(self.before))
        if not apart or not self.axes.keys().isdisjoint(buffers_of(tuple(self.before))):
            return None
        return self.inner(inside)

    def axis(self, place: Place) -> int | None:
        """The axis of a place that is the index, where no other one knows it."""
        rows = place.rows if isinstance(place, View) else tuple(map(plain, place.indices))
        knowing = [k for k, row in enumerate(rows) if self.index in dict(row.coefs)]
        alike = len(knowing) == 1 and rows[knowing[0]] == plain(self.index)
        return knowing[0] if alike and not (isinstance(place, Part) and place.moved) else None

    def inner(self, several: Iterable[Step]) -> list[Step] | None:
        """Steps in the block."""
        found: list[Step] = []
        for step in several:
            match step:
                case Loop(index=index, by=by, begin=0, end=None, how="serial" | "thread", sums=(), steps=inner):
                    steps = self.inner(inner)
                    if steps is None or (index == self.index and by != 1):
                        return None
                    self.threads |= step.how == "thread"
                    found += steps if index == self.index else [replace(step, steps=tuple(steps), how="serial")]
                case Make() | Run():
                    if isinstance(step, Run) and not self.is_alike(step.kernel):
                        return None
                    found.append(step)
                case _:
                    return None
        return found

    def is_alike(self, kernel: Kernel) -> bool:
        """Whether a kernel makes of a block what it makes of all, and reads no other block of what is written here."""
        match kernel:
            case Product(roles=roles):
                alike = self.index in roles.batch
            case Map() | Einsum():
                alike = not any(self.gathers(part) for value in _values(kernel) for part in parts_of(value))
            case _:
                return False
        return alike and all(self.axis(p) == self.axes.get(p.buffer, self.axis(p)) for p in places_of(kernel))

    def gathers(self, part: Any) -> bool:
        """Whether a part of a value needs several values of the index at once, or a certain one."""
        match part:
            case Reduced(over=over) | Count(over=over):
                return self.index in over
            case Reach(row=row):
                return self.index in dict(row.coefs)
            case Load(at=at):
                return self.index in dict(at)
            case _:
                return False


def _known(step: Step) -> set[str]:
    """The indices of which a step knows anything."""
    found: set[str] = set()
    match step:
        case Loop(index=index, steps=steps):
            found = {index}.union(*map(_known, steps))
        case Make(part=part):
            found = set(part.indices)
        case Run(kernel=kernel):
            for place in places_of(step):
                found |= {*place.mentioned, *(place.indices if isinstance(place, Part) else ())}
            found.update(i for value in _values(kernel) for i in indices_in(value))
        case _:
            pass
    return found


def _values(kernel: Kernel) -> tuple[Value, ...]:
    """The values of which a kernel makes something."""
    match kernel:
        case Map(value=value):
            return (value,)
        case Einsum(factors=factors):
            return factors
        case _:
            return ()


def _is_plain(step: Step) -> bool:
    """Whether a step holds nothing but kernels that are looked at here."""
    match step:
        case Loop(steps=steps):
            return all(map(_is_plain, steps))
        case Run(kernel=kernel):
            return isinstance(kernel, Map | Product | Einsum)
        case _:
            return isinstance(step, Make)


def _written(several: Iterable[Step], made: bool = True) -> Iterator[Place]:
    """The places that steps write; and those that they make."""
    for step in several:
        match step:
            case Loop(steps=steps):
                yield from _written(steps, made)
            case Run(place=place):
                yield place
            case Make(part=place) if made:
                yield place
            case _:
                pass
