"""Stages as functions of a module that stands alone.

In: `Staged`, the plan of each piece, the writer of the module. Out: the source of functions. The one rule: they do what
the driver and its pieces do, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

from ..backends.numpy import program as numpy
from ..backends.numpy.code import Name
from ..backends.numpy.names import Writer
from ..errors import MeaningError, Problem
from ..plan.plan import Plan
from .driver import HELPERS, Source
from .stages import Staged


def printed(w: Writer, name: Name, staged: Staged, plans: Sequence[Plan], looks: bool) -> list[str]:
    """The functions of the pieces, and the one that goes through the steps. Errors: `MeaningError`.

    Where it `looks`, it refuses inputs of other shapes and types than those that it is for.
    """
    if staged.checks:
        rule = "data tell here whether what a step reads is made by then, and no printed code looks at that"
        way = "call the function, which does; or read at positions that subscripts, sizes and masks tell"
        raise MeaningError(Problem("target", rule, way_out=way))
    names = {helper: w.fresh(helper).text for helper in HELPERS}
    functions: list[str] = []
    called: list[str] = []
    for number, plan in enumerate(plans):
        own = w.fresh(f"piece_{number}")
        called.append(own.text)
        functions += numpy.printed(w, own, plan)
    if looks:
        w.use("fitting")
    source = Source(staged, called=tuple(called), helpers=names)
    source.taken |= {"fitting"}
    shown = numpy.told((t, list(staged.shapes[t]), kind) for t, kind in staged.outputs)
    taken = numpy.told((t, list(staged.shapes[t]), staged.dtypes[t]) for t in staged.inputs)
    doc = fill(f'"""{shown} of {taken}."""', 110, initial_indent="    ", subsequent_indent="    ")
    function = source.function(name.text, looks, doc)
    functions += [text.replace(f"def {h}(", f"def {names[h]}(") for h, text in HELPERS.items() if h in source.used]
    return [*functions, function]
