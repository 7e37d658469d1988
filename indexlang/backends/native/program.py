"""The native part of a Plan, compiled, and where NumPy's code calls it.

In: a Plan, what native code does of it, a `Target`. Out: a `Part`: where which function is called, and the functions.
The one rule: arrays that only one group touches are in its own memory, and nobody else makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...plan.plan import Check, Plan
from ..numpy.at_once import Whole
from ..numpy.load import Part
from ..numpy.names import Called, Ends
from .calling import native
from .chains import Number
from .check import faults
from .groups import Group
from .outline import Outline, loaded
from .target import Target
from .whole import elsewhere, whole_of


def taken(plan: Plan, groups: Sequence[Group], target: Target, checked: bool = False) -> Part:
    """Groups compiled, and where they are called; `checked`: every nest is looked through before it becomes code."""
    if not groups:
        return Part({}, {})
    nests = tuple(n for g in groups for n in g.outlines)
    if checked:
        look_through(nests)
    made_of = loaded(nests, target)
    calls: dict[Number, Called | None] = {}
    functions: dict[str, Callable[..., Any]] = {}
    known = elsewhere(plan, groups)
    whole: Whole | None = None
    for number, group in enumerate(groups):
        name = f"native_{number}"
        read, written = ([p for p in some if known[p[0]] != {number}] for some in (group.read, group.written))
        inside = [a for b, a in (*group.read, *group.written) if known[b] == {number}]
        made = native(
            name,
            made_of.of(n.name for n in group.outlines),
            group.outlines,
            read,
            written,
            (*inside, *group.workspaces),
            group.flags,
            group.offsets,
        )
        functions[name] = made.call
        calls |= dict.fromkeys(group.numbers, None)
        calls[min(group.numbers)] = Called(name, tuple(b for b, _ in (*read, *written)), tuple(checks_of(plan, group)))
        if len(group.numbers) == sum(len(s.steps) for s in plan.sections) and made.fast:
            whole = whole_of(plan, made, [b for b, _ in read], [b for b, _ in written])
    return Part(calls, functions, whole)


def checks_of(plan: Plan, group: Group) -> Iterator[tuple[Check, Ends]]:
    """The checks among the steps of a group, and how far indices run in their sections."""
    for number, k in group.numbers:
        section = plan.sections[number]
        step = section.steps[k]
        if isinstance(step, Check):
            yield step, section.extents


def look_through(outlines: Sequence[Outline]) -> None:
    """Errors: `AssertionError` with a nest that might touch what is not its own."""
    for one in outlines:
        nest = one.kernel()
        found = faults(nest)
        if found:
            raise AssertionError("\n".join((*found, str(nest))))
