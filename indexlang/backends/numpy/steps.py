"""Steps of a Plan as lines: loops, branches, checks, and what runs in them.

In: a step. Out: lines in the writer. The one rule: it decides nothing about arrays; what is to be done is in the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from ...plan.kernels import Einsum, Grouped, Kernel, Map, Product, Running, Scatter, Search, Select, Take
from ...plan.plan import Check, Either, Loop, Make, Run, Step, Within
from .arrays import Operand, axes_here
from .code import Name, call, text
from .expressions import UFUNCS, truth, value, whole_number
from .finding import running, search, select
from .loops import looped, make, some
from .names import Writer
from .products import einsum, product
from .taking import grouped, scatter, take
from .targets import Target


def steps(w: Writer, several: Sequence[Step]) -> None:
    """Steps, one after the other."""
    for step in several:
        match step:
            case Loop():
                loop(w, step)
            case Within(index, begin, end, inner):
                with some(w, index, whole_number(w, begin), whole_number(w, end)):
                    steps(w, inner)
            case Make(part, op):
                make(w, part, op)
            case Run(place, op, kernel):
                run(w, Target(w, place, op), kernel)
            case Either():
                either(w, step)
            case Check():
                check(w, step)


def loop(w: Writer, step: Loop) -> None:
    """A loop; parts that run side by side have sums of their own, which are brought together behind it."""
    known = len(w.made)
    with looped(w, step.index, step.by, step.how, step.begin, step.end, step.sums) as gathered:
        steps(w, step.steps)
    for buffer in list(islice(reversed(w.made), len(w.made) - known)):  # made in the loop, gone behind it
        if w.made[buffer].level > w.own_level():
            del w.made[buffer]
    for number, (part, op) in enumerate(step.sums):
        each = f"[part[{number}] for part in {text(gathered)}]"
        target = Target(w, part, "=")
        made = call(f"{UFUNCS[op]}.reduce", Name(each))
        target.put(Operand(made, target.axes, part.buffer.dtype, fresh=True))


def run(w: Writer, target: Target, kernel: Kernel) -> None:
    """What a kernel makes, brought into its place."""
    match kernel:
        case Map(value=v):
            target.put(value(w, v, target.axes))
        case Product():
            product(w, target, kernel)
        case Grouped():
            grouped(w, target, kernel)
        case Einsum():
            einsum(w, target, kernel)
        case Take():
            take(w, target, kernel)
        case Running():
            running(w, target, kernel)
        case Search():
            search(w, target, kernel)
        case Select():
            select(w, target, kernel)
        case Scatter():
            scatter(w, target, kernel)


def either(w: Writer, step: Either) -> None:
    """A branch; what is made in it, and used behind it, is made in front of it."""
    condition = truth(value(w, step.condition, ()))
    with w.inside("branch", f"if {text(condition)}:") as branch:
        steps(w, step.first)
    if step.second:
        with w.inside("branch", "else:", at=branch.at):
            steps(w, step.second)


def check(w: Writer, step: Check) -> None:
    """A call that refuses positions outside."""
    admitted = () if step.admitted is None else (step.admitted,)
    present = frozenset[str]().union(step.position.indices, *(a.indices for a in admitted))
    order = axes_here([i for i in w.scope if i in present], w.scope)
    at = value(w, step.position, order)
    where = [value(w, a, order).code for a in admitted]
    w.run(call(w.use("check"), at.code, step.end, step.place, *where))
