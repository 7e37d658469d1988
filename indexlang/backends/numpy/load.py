"""From a Program to what runs: its Plan, printed and loaded, with errors told as ours.

In: a Program, shapes and dtypes of its inputs. Out: `Compiled`. The one rule: everything is checked, and its memory
found to be there, before anything runs; what only data decide is checked by the code itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

from ...collecting import uncollected
from ...errors import NAMED, Problem, ShapeError, within_depth
from ...machine import memory
from ...plan.limits import NUMPY, Limits
from ...plan.plan import Plan, Recipe
from ...plan.planning import made_of, plan
from ...plan.record import amount
from ...plan.verify import verify
from ...program.ir import Access, Boundary, Program
from ...program.text import expr_text
from ...threads import num_threads
from .at_once import Whole
from .names import Called
from .program import INSTEAD, TICK, source
from .rooms import ROOMS
from .threads import POOL

Run = Callable[..., tuple[Any, ...]]


@dataclass(frozen=True)
class Compiled:
    """What runs at one set of sizes and dtypes; `whole` if all of it is one call of an engine."""

    run: Run
    plan: Plan
    warnings: tuple[Problem, ...]
    whole: Whole | None = None


@uncollected
@within_depth(ShapeError, NAMED)
def compile_program(
    program: Program,
    sizes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    complex_step: bool = False,
    exact: Collection[str] = (),
    limits: Limits = NUMPY,
    engine: Engine | None = None,
    tick: Callable[[int], object] | None = None,
) -> Compiled:
    """Plan a program at these sizes and dtypes, and load its code. Errors: `ShapeError`.

    `exact` are outputs that are not rounded to the type they would be delivered in, because they are only on their way.
    An `engine` does a part of it. After each section `tick` is called with its number, first of all with -1. With
    INDEXLANG_VERIFY=1 each plan is verified, and its code fills fresh memory with nan and states its shapes; an engine
    looks through what it makes.
    """
    planned = plan(program, sizes, dtypes, limits, complex_step, exact)
    checked = checking()
    if checked:
        verify(planned.plan)
    run, told, whole = _loaded(planned.plan, checked, engine, tick)
    return Compiled(run, told, planned.warnings, whole)


@uncollected
@within_depth(ShapeError, NAMED)
def plan_alone(
    program: Program,
    sizes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    exact: Collection[str] = (),
    limits: Limits = NUMPY,
) -> Plan:
    """The plan of a program whose code nobody needs. Errors: `ShapeError`."""
    return plan(program, sizes, dtypes, limits, False, exact).plan


def checking() -> bool:
    """Whether INDEXLANG_VERIFY asks that what is made is looked through."""
    return os.environ.get("INDEXLANG_VERIFY", "") not in ("", "0")


@dataclass(frozen=True)
class Part:
    """What an engine does of a plan: at which steps it is called, by the numbers of their section and step, and the
    functions by their names; how the whole is done in one call, if it is; `plan` is the same plan, with what is told
    of that.
    """

    calls: Mapping[tuple[int, int], Called | None]
    functions: Mapping[str, Callable[..., Any]]
    whole: Whole | None = None
    plan: Plan | None = None


Engine = Callable[[Plan, bool], Part]  # does a part of a plan; true: looks through what it makes


def _loaded(
    plan: Plan, checked: bool, engine: Engine | None, tick: Callable[[int], object] | None = None
) -> tuple[Run, Plan, Whole | None]:
    """The code of a plan, which loads what runs instead when that is needed; what is told of it; if it is one call."""
    positions = sum(prod(table.buffer.shape) for table in plan.tables)
    afford(plan.workspace + 8 * positions)
    given: list[tuple[str, Any]] = [] if tick is None else [(TICK, tick)]
    if plan.instead is not None:
        given.append((INSTEAD, _later(plan.instead, checked, engine)))
    part = Part({}, {}) if engine is None else engine(plan, checked)
    whole = None if checked or tick is not None else part.whole

    def loaded() -> Run:
        code = source(plan, checked, alone=False, calls=part.calls, ticks=tick is not None)
        run = load(code, (*given, *part.functions.items()))
        return run if whole is None else _at_once(whole, run)

    run = loaded() if positions < _MANY else _at_first_call(loaded)
    return Guarded(run, plan.places, plan.shapes), part.plan or plan, whole


def _at_once(whole: Whole, run: Run) -> Run:
    """A plan by one call of its engine, else by its code."""
    made = whole.of_arrays()

    def at_once(*arrays: Any) -> tuple[Any, ...]:
        found = made(*arrays)
        if found is NotImplemented:
            return run(*arrays)
        results: tuple[Any, ...] = found
        return results

    return at_once


_MANY = 1 << 20  # positions of tables that are made at the first call: who only asks for a plan does not wait for them


def _at_first_call(loaded: Callable[[], Run]) -> Run:
    made = cache(within_depth(ShapeError, NAMED)(loaded))
    return lambda *arrays: made()(*arrays)


def _later(recipe: Recipe, checked: bool, engine: Engine | None) -> Run:
    """What is planned and loaded when it is called."""

    @cache
    @uncollected
    @within_depth(ShapeError, NAMED)
    def made() -> Run:
        return _loaded(made_of(recipe), checked, engine)[0]

    return lambda *arrays: made()(*arrays)


def load(code: str, given: Iterable[tuple[str, Run]] = ()) -> Run:
    """The function `run` of a generated source; what it does not define itself is `given`."""
    num_threads()  # which says so where the environment asks for nonsense
    namespace: dict[str, Any] = {"__name__": "indexlang.generated", "POOL": POOL, "workers": num_threads}
    namespace.update(given, ROOMS=ROOMS)
    exec(compile(code, "<generated by indexlang>", "exec"), namespace)  # made of numbers and names of our own
    run: Run = namespace["run"]
    return run


@dataclass(frozen=True)
class Guarded:
    """What runs, with the errors of its checks, and of what NumPy checks, told as ours. `places` are the accesses, with
    their axes, that checks of positions refer to, `known` the shapes of their tensors.
    """

    run: Run
    places: tuple[tuple[Access, int], ...]
    known: Mapping[str, tuple[int, ...]]

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        try:
            return self.run(*arrays)
        except IndexError as error:
            if len(error.args) != 4:
                raise
            _, place, value, _ = error.args
            access, axis = self.places[place]
            sub = access.subscripts[axis]
            inner = sub.expr if isinstance(sub, Boundary) else sub
            shown = expr_text(inner) if inner.span is None else inner.span.text
            values = (
                f"{shown} = {value}",
                f"axis {axis} of {access.tensor} has size {self.known[access.tensor][axis]}",
            )
            rule = f"a position in {access.tensor} is out of range"
            way = "correct the index tensor, or say pad(...), clamp(...), wrap(...) or a where"
            raise ShapeError(Problem("index-out-of-range", rule, sub.span or access.span, values, way)) from None
        except MemoryError as error:
            raise _too_large((str(error),)) from None
        except ValueError as error:
            if "negative integer powers" not in str(error):
                raise
            rule = "an integer to a negative power is no integer"
            raise ShapeError(Problem("negative-power", rule, way_out="write float(...) around the base")) from None


def afford(needed: int) -> None:
    """Refuse what the memory that is left cannot hold, before anything is allocated."""
    if needed < 1 << 26:
        return
    available = memory()
    if available is not None and needed > available:
        raise _too_large((f"needed: {amount(needed, 'B')}", f"available: {amount(available, 'B')}"))


def _too_large(values: tuple[str, ...]) -> ShapeError:
    way = "make the tensors smaller, or go through them in parts"
    return ShapeError(Problem("too-large", "the tensors of the program do not fit into memory", None, values, way))
