"""Steps of a Plan as lines: loops, branches, checks, and what runs in them.

In: a step. Out: lines in the writer. The one rule: it decides nothing about arrays; what is to be done is in the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from ...plan.kernels import (
    Einsum,
    Fading,
    Grouped,
    Kernel,
    Label,
    Map,
    Order,
    Product,
    Ranged,
    Rank,
    Running,
    Scatter,
    Search,
    Select,
    Take,
)
from ...plan.plan import Check, Either, Leave, Loop, Make, Run, Step, Within
from ...plan.quantities import Apply, Load, Number, Value
from .arrays import Operand, array, axes_here, spread
from .code import ALL, Item, Name, call, text
from .expressions import UFUNCS, truth, value, whole_number
from .finding import fading, label, order, ranged, rank, running, search, select
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
            case Leave():
                leave(w, step)


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
            if not rows_filled(w, target, v):
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
        case Ranged():
            ranged(w, target, kernel)
        case Fading():
            fading(w, target, kernel)
        case Order():
            order(w, target, kernel)
        case Rank():
            rank(w, target, kernel)
        case Label():
            label(w, target, kernel)
        case Search():
            search(w, target, kernel)
        case Select():
            select(w, target, kernel)
        case Scatter():
            scatter(w, target, kernel)


def rows_filled(w: Writer, target: Target, v: Value) -> bool:
    """Rows of what is there filled with a number; false if the value is no such choice."""
    match v:
        case Apply(fn="select", args=(condition, Load(place=place, at=()), Number() as fill)):
            fills = False
        case Apply(fn="select", args=(condition, Number() as fill, Load(place=place, at=()))):
            fills = True
        case _:
            return False
    axes = [i for i in target.axes if i in condition.indices]
    first = target.axes.index(axes[0]) if axes else 0
    rows = bool(axes) and len(axes) < len(target.axes) and list(target.axes[first : first + len(axes)]) == axes
    if place != target.place or target.op != "=" or target.new or v.dtype != target.dtype or not rows:
        return False
    where = spread(value(w, condition, axes), axes, w.scope)
    mask = truth(where) if fills else call("np.logical_not", truth(where))
    w.set(Item(array(target.here), (*[ALL] * first, mask)), value(w, fill, ()).code)
    return True


def either(w: Writer, step: Either) -> None:
    """A branch; what is made in it, and used behind it, is made in front of it."""
    condition = truth(value(w, step.condition, ()))
    with w.inside("branch", f"if {text(condition)}:") as branch:
        steps(w, step.first)
    if step.second:
        with w.inside("branch", "else:", at=branch.at):
            steps(w, step.second)


def leave(w: Writer, step: Leave) -> None:
    """The other Plan's results, where the condition does not hold and there is another Plan."""
    if w.leaving is not None:
        with w.inside("branch", f"if not {text(truth(value(w, step.condition, ())))}:") as branch:
            branch.lines.append(w.leaving)


def check(w: Writer, step: Check) -> None:
    """A call that refuses positions outside."""
    admitted = () if step.admitted is None else (step.admitted,)
    present = frozenset[str]().union(step.position.indices, *(a.indices for a in admitted))
    order = axes_here([i for i in w.scope if i in present], w.scope)
    at = value(w, step.position, order)
    where = [value(w, a, order).code for a in admitted]
    w.run(call(w.use("check"), at.code, step.end, step.place, *where))
