"""From a Program to what runs natively. In: a Program, shapes and dtypes. Out: `Compiled`. The one rule: it is NumPy's
way (`backends.numpy.load`), in which nests do what they can.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ...plan.plan import Plan
from ..numpy.load import Compiled, compile_program
from . import engine
from .program import Taken, taken
from .target import Target


@cache
def machine() -> Target:
    """The machine that code is made for."""
    return engine.host()


def compile_native(*args: Any, **how: Any) -> Compiled:
    """A program at sizes and dtypes, planned for nests. Arguments and errors as `compile_program`."""
    return compile_program(*args, **how, engine=_taken)


def _taken(plan: Plan) -> Taken:
    return taken(plan, machine())
