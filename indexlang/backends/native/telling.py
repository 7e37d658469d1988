"""What is told of a Plan that native code computes: of each statement its nests, or why NumPy computes it.

In: a Plan, the `Group`s that native code does of it. Out: the same Plan with other words in its records; the nests as
text. The one rule: nothing but records differs, and they tell what was decided, no more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...plan import kernels
from ...plan.kernels import Kernel
from ...plan.plan import Check, Either, Leave, Loop, Make, Plan, Run, Section, Step, Within
from . import maps
from .chains import Number
from .groups import Arrays, Group
from .lowering import task

NESTED = "loop nest"  # the planner's word for what an engine is to go through
_OF_NESTS = re.compile(
    r"(?P<array>\?\d+(?:#\d+)?|\b\w+\.all\d+\b)|(?P<sum>\b[A-Za-z]\w*\.\d+[br]?\b)|(?P<own>\b(?P<index>\w+)#\d+)"
)
_SPOKEN = {"array": "elements", "sum": "parts", "own": ""}  # axes of whole arrays, pieces of sums, and indices
KERNELS: Mapping[type[Kernel], str] = {
    kernels.Einsum: "products of several factors",
    kernels.Fading: "running products",
    kernels.Grouped: "matrices that data choose",
    kernels.Label: "values that are the same",
    kernels.Order: "sorting",
    kernels.Product: "products of copied blocks",
    kernels.Ranged: "ranges that data choose",
    kernels.Rank: "searches in what is sorted",
    kernels.Running: "running reductions",
    kernels.Scatter: "writes at positions that data give",
    kernels.Search: "searches for a position",
    kernels.Select: "writes to the element that was chosen",
    kernels.Take: "reads at positions that data give",
}


def explained(plan: Plan, groups: Sequence[Group]) -> Plan:
    """The Plan whose records say what computes them."""
    told = {number: spoken(line) for g in groups for number, line in g.told.items()}
    heads = {n: head for g in groups for n, head in zip(g.numbers, _heads(g), strict=True)}
    firsts = _firsts(plan)
    sections = []
    for number, section in enumerate(plan.sections):
        own, others, left = [], [], []
        for k, step in enumerate(section.steps):
            head = heads.get((number, k))
            if head is None:
                left += _left(step, section)
            elif head[0] == number:
                own += [told[head]] if head == (number, k) and told[head] else []
            else:
                others.append(firsts[head[0]])
        records = []
        for record in section.records:
            line = _line(record.kernel, own, others, left)
            records.append(replace(record, kernel=line, joined=bool(others) and not own and not left))
        sections.append(replace(section, records=tuple(records)))
    return replace(plan, sections=tuple(sections))


def spoken(words: str) -> str:
    """What was decided, with the indices of the text: nests number them, and have axes of their own."""
    return _OF_NESTS.sub(lambda m: next(known for name, known in _SPOKEN.items() if m[name]) or m["index"], words)


def _heads(group: Group) -> list[Number]:
    """For each of the steps that one with whose nests it is computed."""
    found: list[Number] = []
    for number in group.numbers:
        found.append(number if number in group.told else found[-1])
    return found


def _firsts(plan: Plan) -> list[int]:
    """By section, the number of its first statement as `explain` counts them."""
    found, count = [], 1
    for section in plan.sections:
        found.append(count)
        count += len(section.records)
    return found


def _line(kernel: str, own: Sequence[str], others: Sequence[int], left: Sequence[str]) -> str:
    """What is told of a statement."""
    native = [*dict.fromkeys(own), *(f"together with {n}." for n in dict.fromkeys(others))]
    said = f"native, {'; '.join(native)}" if native else ""
    if not left:
        return said or f"NumPy, {kernel}"
    plain = "NumPy" if kernel.startswith(NESTED) else f"NumPy, {kernel}"
    line = f"{plain}: native code has no {' and no '.join(dict.fromkeys(left))}"
    return f"{line}; the rest is {said}" if said else line


def _left(step: Step, section: Section) -> list[str]:
    """What a step has that no nest computes; nothing of steps that compute nothing."""
    match step:
        case Make() | Check():
            return []
        case Loop(index=index, by=by, how=how, steps=inner) if by or how != "serial" or len(inner) != 1:
            return [f"loop over {index} around several steps"]
        case Loop(steps=inner):
            found = _refused(step, section)
            return found or [words for one in inner for words in _left(one, section)]
        case Within():
            return ["lengths that data give"]
        case Either() | Leave():
            return ["choices that data make"]
        case Run(kernel=kernel):
            found = _refused(step, section)
            return found or [KERNELS.get(type(kernel), "values of this kind")]


def _refused(step: Step, section: Section) -> list[str]:
    """What is said of a task that has no kernel."""
    extents = dict(section.extents)
    work = task(step, extents)
    if work is None:
        return []
    if not work.points:
        return ["statements without points"]
    words = maps.refusal(maps.Work(work.place, work.op, work.kernel), dict(work.extents), Arrays())
    return [words or "statements of this kind"]


def nests_text(plan: Plan, groups: Sequence[Group]) -> str:
    """The nests that compute statements, under the first of those that each group computes."""
    firsts, lines = _firsts(plan), []
    for group in groups:
        sections = dict.fromkeys(number for number, _ in group.numbers)
        for number in sections:
            lines += [f"# {firsts[number] + k}. {r.statement}" for k, r in enumerate(plan.sections[number].records)]
        names = {a.name: b.name for b, a in (*group.read, *group.written)}
        firsts_of = [n for n in group.outlines if n.name.partition("@")[2] in ("", "0")]  # examples have the same ones
        used = {a.name for n in firsts_of for a in n.arrays}
        for old, new in group.lying.items():
            names[new] = f"{names.pop(old)}, then {names[new]}"
        names |= {a: f"the first example of {names[p.array]}" for a, p in group.pieces.items() if a in used}
        lines.append(f"# {', '.join(f'{array} is {buffer}' for array, buffer in names.items())}")
        lines += [str(one.nest()) for one in firsts_of]
    return "\n".join(lines)
