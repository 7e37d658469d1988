"""From a Program to what runs natively. In: a Program, shapes and dtypes. Out: `Compiled`. The one rule: it is NumPy's
way (`backends.numpy.load`), in which nests do what they can.
"""

from __future__ import annotations

from functools import cache, partial

from ..numpy.load import compile_program
from . import engine
from .program import taken
from .target import Target


@cache
def machine() -> Target:
    """The machine that code is made for."""
    return engine.host()


compile_native = partial(compile_program, engine=lambda plan, checked: taken(plan, machine(), checked))
compile_native.__doc__ = (
    """A program at sizes and dtypes, planned for nests. Arguments and errors as `compile_program`."""
)
