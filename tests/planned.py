"""Programs planned: with other limits than the machine's, and what their steps are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from indexlang.calls.function import Function
from indexlang.plan.limits import NUMPY, Limits
from indexlang.plan.plan import Either, Loop, Plan, Run, Step, Within


def sized(f: Function, base: Limits = NUMPY, /, **limits: int) -> Function:
    """The same function planned with other limits; so are those that are derived from it."""
    always = len(f.outputs) != 1
    return Function(f.program, f.options, always_dict=always, limits=replace(base, **limits))


def steps_of(plan: Plan) -> Iterator[Step]:
    """Every step, those of loops and branches behind the step that holds them."""
    stack = [step for section in reversed(plan.sections) for step in reversed(section.steps)]
    while stack:
        step = stack.pop()
        yield step
        match step:
            case Loop(steps=inner) | Within(steps=inner):
                stack += reversed(inner)
            case Either(first=first, second=second):
                stack += reversed((*first, *second))
            case _:
                pass


def runs_of(plan: Plan) -> list[Run]:
    """The kernels as they run."""
    return [step for step in steps_of(plan) if isinstance(step, Run)]
