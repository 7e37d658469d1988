"""Zeros where data refuse an element, by bits: a branch at each element, which data take at random, costs far more.

In: a Plan. Out: the Plan in which large arrays of floats are kept by bits where they hold a value or 0. The one rule:
the values are the same, bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

from .kernels import Map
from .limits import Limits
from .places import Place
from .plan import Either, Loop, Plan, Run, Step, Within
from .quantities import Apply, Load, Number, Value, parts_of

Widths = Mapping[str, int]


def kept_by_bits(plan: Plan) -> Plan:
    """The Plan with `keep` where a value or 0 is chosen by what is read."""
    if plan.complex_step:
        return plan
    sections = []
    for section in plan.sections:
        widths = {i: hi - lo for i, (lo, hi) in section.extents}
        sections.append(replace(section, steps=_steps(section.steps, widths, plan.limits)))
    return replace(plan, sections=tuple(sections))


def _steps(steps: tuple[Step, ...], widths: Widths, limits: Limits) -> tuple[Step, ...]:
    return tuple(_step(step, widths, limits) for step in steps)


def _step(step: Step, widths: Widths, limits: Limits) -> Step:
    match step:
        case Loop(index=index, by=by, steps=inner):
            return replace(step, steps=_steps(inner, {**widths, index: min(widths[index], max(1, by))}, limits))
        case Within(steps=inner):
            return replace(step, steps=_steps(inner, widths, limits))
        case Either(first=first, second=second):
            return replace(step, first=_steps(first, widths, limits), second=_steps(second, widths, limits))
        case Run(place=place, op="=", kernel=Map(value=value)):
            return replace(step, kernel=Map(_kept(value, place, widths, limits)))
        case _:
            return step


def _kept(value: Value, place: Place, widths: Widths, limits: Limits) -> Value:
    match value:
        case Apply(fn="select" | "where", args=(condition, chosen, Number(value=other))):
            itself = isinstance(chosen, Load) and chosen.place == place  # whole rows of it are filled
            large = prod(widths[i] for i in place.mentioned) >= limits.filled
            if large and not itself and is_zero(other) and by_data(condition) and keeps(value.dtype):
                return Apply("keep", (condition, chosen), value.dtype)
            return value
        case _:
            return value


def keeps(kind: str) -> bool:
    """Whether elements of a type are words of bits."""
    return kind in ("float32", "float64")


def is_zero(number: float | bool) -> bool:
    """Whether no bit of a number is set."""
    return number == 0 and not str(number).startswith("-")


def by_data(condition: Value) -> bool:
    """Whether a condition of several points depends on what is read."""
    read = (p.place.buffer.role for p in parts_of(condition) if isinstance(p, Load))
    return bool(condition.indices) and any(role != "table" for role in read)
