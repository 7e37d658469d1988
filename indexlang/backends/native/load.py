"""From a Program to what runs natively. In: a Program, shapes and dtypes. Out: `Compiled`. The one rule: it is NumPy's
way (`backends.numpy.load`), in which nests do what they can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from ...plan.plan import Plan
from ...program.ir import Program
from ..numpy.load import Compiled, Part, checking, compile_program
from ..updates import Update
from . import engine
from .emitting import module_of
from .groups import groups_of
from .in_place import updating
from .peaks import bandwidth, flops
from .program import taken
from .target import Target
from .telling import explained, nests_text


@cache
def machine() -> Target:
    """The machine that code is made for."""
    return engine.host()


def compile_native(
    program: Program,
    sizes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    *,
    tick: Callable[[int], object] | None = None,
    **how: Any,
) -> Compiled:
    """A program at sizes and dtypes, planned for nests. Arguments and errors as `compile_program`.

    For a `tick` each statement is a call of its own, where its nests are its own.
    """
    return compile_program(program, sizes, dtypes, tick=tick, engine=partial(part, apart=tick is not None), **how)


def part(plan: Plan, checked: bool = False, apart: bool = False) -> Part:
    """What native code does of a Plan, compiled, and the Plan as it tells of that."""
    groups = groups_of(plan, machine(), apart)
    return replace(taken(plan, groups, machine(), checked), plan=explained(plan, groups))


def updates(several: Sequence[Update]) -> Callable[..., Any] | None:
    """Updates as one call, which gives NotImplemented for arrays that do not fit; None where nests cannot do them."""
    return updating(several, machine(), checking())


def nests(plan: Plan) -> str:
    """The nests of a Plan, as text."""
    return nests_text(plan, groups_of(plan, machine()))


def emitted(plan: Plan, program: str, version: str) -> str:
    """A Plan as a module of LLVM IR. Errors: `MeaningError` where a part of it is left to NumPy."""
    return module_of(plan, groups_of(plan, machine()), program, version, machine())


def peaks(dtype: str) -> tuple[float, float]:
    """Operations on floats of a type, and bytes read and written, in a second at most."""
    return flops(dtype, machine()), bandwidth(machine())
