"""`verify` refuses a Plan that cannot be run, and says where; what it lets through runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import plans as plans_by_hand
import pytest
from corpus import CASES
from mutations import changed, everywhere, places
from numpy.typing import NDArray
from test_plan import plans

import indexlang
from indexlang.oracle import loops
from indexlang.plan.kernels import Label, Map, Order, Product, Rank, Scatter, Search, Select, Take
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.plan.places import Buffer, Part, View
from indexlang.plan.plan import Check, Either, Loop, Plan, Run, Section, Within
from indexlang.plan.planning import plan
from indexlang.plan.quantities import Apply, Load, Number, Reduced
from indexlang.plan.verify import PlanError, verify
from indexlang.plan.views import Row

Array = NDArray[Any]
Shapes = dict[str, tuple[int, ...]]
Change = Callable[[Plan], Plan]
Source = tuple[str, Shapes] | tuple[str, Shapes, Limits]
INTEGERS = frozenset({"p", "q"})


def planned(text: str, shapes: Shapes, limits: Limits = NUMPY) -> Plan:
    dtypes = {name: "int64" if name in INTEGERS else "float64" for name in shapes}
    made = plan(indexlang.compile(text).program, shapes, dtypes, limits).plan
    verify(made)
    return made


def first(made: Plan, wanted: type | Callable[[Any], bool], number: int = 0) -> tuple[Any, Any]:
    """Where something of a kind stands in a plan, and what."""
    is_it = (lambda n: isinstance(n, wanted)) if isinstance(wanted, type) else wanted
    return [(path, node) for path, node in places(made) if is_it(node)][number]


def at(wanted: type | Callable[[Any], bool], change: Callable[[Any], Any], number: int = 0) -> Change:
    """The first thing of a kind changed."""

    def mutated(made: Plan) -> Plan:
        path, node = first(made, wanted, number)
        return changed(made, path, change(node))

    return mutated


def buffer(name: str, **fields: Any) -> Change:
    """A buffer changed wherever it is mentioned."""

    def mutated(made: Plan) -> Plan:
        _, node = first(made, lambda n: isinstance(n, Buffer) and n.name == name)
        found: Plan = everywhere(made, node, replace(node, **fields))
        return found

    return mutated


def set_to(**fields: Any) -> Callable[[Any], Any]:
    return lambda node: replace(node, **fields)


def kernel(kind: type, op: str | None = None) -> Callable[[Any], bool]:
    return lambda n: isinstance(n, Run) and isinstance(n.kernel, kind) and op in (None, n.op)


def inside(kind: type, change: Callable[[Any], Any]) -> Change:
    """The first kernel of a kind changed."""
    return at(kernel(kind), lambda run: replace(run, kernel=change(run.kernel)))


def reads(name: str) -> Callable[[Any], bool]:
    return lambda n: isinstance(n, Load) and n.place.buffer.name == name


def moved(row: int, by: int) -> Callable[[Load], Load]:
    """A load whose view is that much further along an axis."""

    def change(load: Load) -> Load:
        assert isinstance(load.place, View)
        rows = list(load.place.rows)
        rows[row] = rows[row].shifted(by)
        return replace(load, place=View(load.place.buffer, tuple(rows)))

    return change


def without(number: int) -> Change:
    """The first section without one of its steps."""
    return at(Section, lambda s: replace(s, steps=(*s.steps[:number], *s.steps[number + 1 :])))


def turned(number: int, other: int) -> Change:
    """Two steps of the first section in the other order."""

    def change(section: Section) -> Section:
        steps = list(section.steps)
        steps[number], steps[other] = steps[other], steps[number]
        return replace(section, steps=tuple(steps))

    return at(Section, change)


def behind(section: Section) -> Section:
    """What stands last in the first branch stands behind both."""
    steps: list[Any] = []
    for step in section.steps:
        steps += [replace(step, first=step.first[:-1]), step.first[-1]] if isinstance(step, Either) else [step]
    return replace(section, steps=tuple(steps))


def untapped(section: Section) -> tuple[Any, ...]:
    """The steps with each loop's own in its place."""
    return tuple(inner for s in section.steps for inner in (s.steps if isinstance(s, Loop) else (s,)))


COPY = ("y[i] = 2*x[i]", {"x": (4,)})
TAPS = ("y[i+k] += x[i]*w[k]", {"x": (9,), "w": (3,)})
MATRICES = ("y[i,j] = exp(a[i,k])*b[k,j]", {"a": (3, 4), "b": (4, 5)})
GATHER = ("y[i] = x[p[i]]", {"x": (4,), "p": (5,)})
CLAMPED = ("y[i] = x[clamp(p[i]+1)]", {"x": (4,), "p": (5,)})
SCATTER = ("y[p[i],j] += x[i,j]\nshape y[4,2]", {"x": (5, 2), "p": (5,)})
MASKED = ("y[i,j] = a[i,k]*b[k,j] where m[i,k] > 0", {"a": (4, 4), "b": (4, 3), "m": (4, 4)}, TINY)
TILED = ("y[i,j] = a[i,k]*b[k,j] where k <= i", {"a": (4, 4), "b": (4, 3)}, TINY)
ARGMAX = ("y[i] = argmax[j](x[i,j])", {"x": (3, 4)})
RUNNING = ("y[i] = x[j] where 2*j <= i, i < 5", {"x": (5,)})
RANKS = ("y[i] = w[j] where x[j] <= z[i]", {"w": (60,), "x": (60,), "z": (90,)}, TINY)
SEGMENTS = ("y[t,d] = x[s,d] where g[s] == g[t]", {"x": (60, 2), "g": (60,)}, TINY)
HALVES = ("y[i] = x[i//2] where i < 8", {"x": (6,)})
MEETING = ("y[j] += exp(x[i,j])*w[j]", {"x": (60, 4), "w": (4,)}, TINY)
POOL = ("y[b,i] max= x[b,i+d] where d < 2", {"x": (3, 8)}, TINY)

REFUSED: list[tuple[str, Source, Change, str]] = [
    # where elements lie
    ("a view before its buffer", COPY, at(reads("x"), moved(0, -1)), "x is left: -1..2 of 4, in y[i] = 2 * x[i]"),
    ("a view behind its buffer", COPY, at(reads("x"), moved(0, 1)), "x is left: 1..4 of 4, in y[i] = 2 * x[i]"),
    ("a coefficient", COPY, at(Row, set_to(coefs=(("i", 2),)), 1), "is left: 0..6 of 4"),
    ("a row too few", MATRICES, at(View, lambda v: replace(v, rows=v.rows[1:])), "2 axes, and is reached by 1"),
    ("an index of no extent", COPY, at(Row, set_to(coefs=(("nobody", 1),))), "names nobody, which has no extent"),
    ("an axis named twice", MATRICES, at(Part, lambda p: replace(p, indices=p.indices[:1] * 2)), "an index twice"),
    (
        "a row that does not move",
        COPY,
        at(reads("x"), lambda n: replace(n, place=View(n.place.buffer, (Row(0, (("i", 0),)),)))),
        "does not move with its index",
    ),
    ("a buffer too short", COPY, buffer("x", shape=(3,)), "x is left: 0..3 of 3"),
    ("axes of other names", MATRICES, at(Part, lambda p: replace(p, indices=p.indices[::-1]), 1), "have other names"),
    ("a fixed value beyond", COPY, at(reads("x"), set_to(at=(("i", 4),))), "x is read at i number 4"),
    # names and types
    (
        "one name, two buffers",
        COPY,
        at(lambda n: isinstance(n, Buffer) and n.name == "x", set_to(shape=(5,)), 1),
        "x is two",
    ),
    ("an unknown type", COPY, buffer("x", dtype="float128"), "x has no type 'float128', in the input x"),
    ("an input twice", COPY, lambda p: replace(p, inputs=p.inputs * 2), "x is no input, or two"),
    ("two extents of an index", COPY, at(Section, lambda s: replace(s, extents=s.extents * 2)), "has two extents"),
    ("complex into real", COPY, buffer("x", dtype="complex128"), "and takes complex128, in y[i] = 2 * x[i]"),
    ("real into integers", COPY, buffer("y", dtype="int64"), "y is int64 and takes float64"),
    ("an unknown function", COPY, at(Apply, set_to(fn="nothing")), "nothing is no function of 2 values"),
    ("an argument too many", COPY, at(Apply, lambda a: replace(a, args=a.args * 2)), "mul is no function of 4 values"),
    ("a comparison as a number", COPY, at(Apply, set_to(fn="lt")), "the value of lt is float64"),
    (
        "exp of integers",
        ("y[i] = exp(x[i])", {"x": (4,)}),
        at(Apply, set_to(dtype="int64")),
        "the value of exp is int64",
    ),
    ("a number as a condition", MASKED, at(Either, set_to(condition=Number(1, "int64"))), "a condition is int64"),
    (
        "a sum over nothing",
        ("y[i] = exp(x[i,j])", {"x": (3, 4)}),
        at(Reduced, set_to(over=())),
        "which its value has not",
    ),
    (
        "an unknown reduction",
        ("y[i] = exp(x[i,j])", {"x": (3, 4)}),
        at(Reduced, set_to(op="mean")),
        "reduced by 'mean'",
    ),
    (
        "the type of an output",
        COPY,
        lambda p: replace(p, outputs=(("y", p.outputs[0][1], "int8"),)),
        "y is int8 and takes",
    ),
    # what was written before
    (
        "an output of nothing",
        COPY,
        lambda p: replace(p, sections=()),
        "y is read before it is written, in the output y",
    ),
    ("a step left out", MATRICES, without(0), "before it is"),
    ("steps in the other order", MATRICES, turned(0, 1), "before it is"),
    ("a sum that nothing begins", TAPS, without(0), "y is combined with before it is written"),
    (
        "a part only",
        COPY,
        at(kernel(Map), lambda r: replace(r, place=View(r.place.buffer, (Row(0, ()),)))),
        "have no place",
    ),
    (
        "one element only",
        COPY,
        at(Section, set_to(extents=(("i", (0, 3)), ("?1", (0, 4))))),
        "parts of y are read before",
    ),
    (
        "an input written",
        COPY,
        at(Run, lambda r: replace(r, place=replace(r.place, buffer=Buffer("x", (4,), "float64", "input")))),
        "x must not be written",
    ),
    ("a loop without rounds", POOL, at(Loop, set_to(end=0)), "y is read before it is written"),
    ("a part of nobody", TILED, at(Within, set_to(index="nobody")), "a part names nobody"),
    ("a part of a tap", TILED, at(Loop, set_to(index="k", by=0)), "a part of the single value of k"),
    ("a part from a float", TILED, at(Within, set_to(end=Number(1.0, "float64"))), "is float64"),
    ("one branch of two", MASKED, at(Section, behind), "bad is"),
    ("made longer", MATRICES, buffer("factor", shape=(9, 9)), "factor is"),
    # what meets
    ("two threads in an element", TAPS, at(Loop, set_to(how="thread", by=1)), "meet in y"),
    ("two threads in a sum", MEETING, at(Loop, set_to(sums=())), "sums is combined with before it is made"),
    ("taps at once", TAPS, at(Section, lambda s: replace(s, steps=untapped(s))), "two points of a write meet in y"),
    # loops
    ("a loop that leaves its extent", TAPS, at(Loop, set_to(end=4)), "leaves its extent"),
    ("a loop from below", TAPS, at(Loop, set_to(begin=-1)), "leaves its extent"),
    ("a loop over nobody", TAPS, at(Loop, set_to(index="nobody")), "a loop names nobody"),
    (
        "a loop in a loop over a tap",
        TAPS,
        at(Loop, lambda loop: replace(loop, steps=(loop,))),
        "a second loop over the single value",
    ),
    ("a loop of no kind", TAPS, at(Loop, set_to(how="wild")), "goes by"),
    ("taps in threads", TAPS, at(Loop, set_to(how="thread")), "goes by 0, thread"),
    # products
    (
        "roles exchanged",
        MATRICES,
        inside(Product, lambda k: replace(k, roles=replace(k.roles, rows=k.roles.summed, summed=k.roles.rows))),
        "has not the indices of its role",
    ),
    (
        "an index without a role",
        MATRICES,
        inside(Product, lambda k: replace(k, roles=replace(k.roles, summed=()))),
        "no role in a product",
    ),
    (
        "an index of two roles",
        MATRICES,
        inside(Product, lambda k: replace(k, roles=replace(k.roles, batch=k.roles.rows))),
        "a product names an index twice",
    ),
    ("multiplied by hand", MATRICES, inside(Product, set_to(by="hand")), "nothing is multiplied by 'hand'"),
    ("a factor of another type", MATRICES, buffer("b", dtype="float32"), "is float64 and a factor float32"),
    # positions
    (
        "positions that nobody checked",
        GATHER,
        at(Section, lambda s: replace(s, steps=tuple(x for x in s.steps if not isinstance(x, Check)))),
        "positions in x are",
    ),
    ("positions checked too far", GATHER, at(Check, set_to(end=9)), "positions in x are 0..8 of 4"),
    ("positions checked under a mask", GATHER, at(Check, set_to(admitted=Number(True, "bool"))), "positions in x are"),
    (
        "positions clamped too far",
        CLAMPED,
        at(lambda n: isinstance(n, Number) and n.value == 3, set_to(value=4)),
        "positions in x are 0..4 of 4",
    ),
    ("a check of no subscript", GATHER, at(Check, set_to(place=7)), "a check refers to no subscript"),
    (
        "positions of another type",
        GATHER,
        inside(Take, lambda k: replace(k, at=((k.at[0][0], Number(0.0, "float64")),))),
        "a position is float64",
    ),
    ("positions along nobody", GATHER, inside(Take, lambda k: replace(k, at=(("i", k.at[0][1]),))), "which it has not"),
    (
        "points that positions have not",
        SCATTER,
        inside(Scatter, set_to(points=("j",))),
        "a scatter names an index twice",
    ),
    ("points that are not there", SCATTER, inside(Scatter, set_to(points=())), "positions of other points"),
    ("scattered by hand", SCATTER, inside(Scatter, set_to(by="hand")), "is scattered to by 'hand'"),
    ("scattered rows counted", SCATTER, inside(Scatter, set_to(by="count")), "is scattered to by 'count'"),
    ("halves that are not", HALVES, at(lambda n: isinstance(n, Number), set_to(value=1)), "are 0..7 of 6"),
    # searches, selections
    ("a search over what stays", ARGMAX, inside(Search, set_to(over=("i",))), "axes"),
    ("a search over nothing", ARGMAX, inside(Search, set_to(over=())), "takes argmax"),
    ("an unknown search", ARGMAX, inside(Search, set_to(op="mean")), "nothing is searched by 'mean'"),
    (
        "a position in floating point",
        ARGMAX,
        at(Run, lambda r: replace(r, place=replace(r.place, buffer=replace(r.place.buffer, dtype="float64")))),
        "takes argmax",
    ),
    (
        "running winners as a sum",
        RUNNING,
        at(lambda n: type(n).__name__ == "Running", set_to(op="argmax")),
        "takes argmax",
    ),
    ("a running mean", RUNNING, at(lambda n: type(n).__name__ == "Running", set_to(op="mean")), "runs by 'mean'"),
    ("a running sum along nobody", RUNNING, at(lambda n: type(n).__name__ == "Running", set_to(along="i")), "along i"),
    ("an order of another length", RANKS, inside(Order, set_to(rank="i")), "a part of j in order"),
    ("a rank of another type", RANKS, inside(Rank, set_to(value=Number(1.0, "float32"))), "has no rank among"),
    ("a rank of no place", RANKS, inside(Rank, set_to(value=Number(1.0, "float64"))), "of a place have no value"),
    ("numbers of values along nobody", SEGMENTS, inside(Label, set_to(over=())), "values along a part of"),
    ("numbers of values along others", SEGMENTS, inside(Label, set_to(over=("t",))), "values along a part of"),
]


@pytest.mark.parametrize(("what", "program", "change", "message"), REFUSED, ids=[r[0] for r in REFUSED])
def test_refused(what: str, program: Source, change: Change, message: str) -> None:
    made = planned(*program)
    wrong = change(made)
    assert wrong != made
    with pytest.raises(PlanError) as caught:
        verify(wrong)
    assert message in str(caught.value)
    assert ", in " in str(caught.value)


def pieced(*steps: Any, **extents: int) -> Plan:
    """A plan of one section; what it gives is y[i]."""
    return plans_by_hand.Case(**extents).plan([VIEW], *steps)


Y = plans_by_hand.buf("y", (8,))
VIEW = plans_by_hand.view(Y, "i")
ONE = Map(Number(1, "float64"))
YES = Number(True, "bool")


def part_of(lo: int, hi: int) -> Loop:
    return Loop("i", 0, (Run(VIEW, "=", ONE),), begin=lo, end=hi)


NO_ELEMENT = {
    "y[i] = x[pad(t[i],value=7)]": {"x": (0,), "t": (2,)},
    "y[i,j] = 2 * x[pad(t[i]),j]": {"x": (0, 3), "t": (2,)},
    "y[i,j] = x[i,pad(t[j])]": {"x": (3, 0), "t": (2,)},
    "y[i,j] = x[pad(t[i]),pad(t[j])]": {"x": (3, 0), "t": (2,)},
    "y[i,d] = W[pad(t[i]),k,d] * x[i,k]": {"W": (0, 32, 32), "t": (500,), "x": (500, 32)},
    "shape y[4,2]\ny[i,j] = x[pad(i//2),j]": {"x": (0, 2)},
    "shape y[0]\ny[pad(t[i])] += x[i]": {"t": (4,), "x": (4,)},
    "y[i] max= x[pad(t[i,j],value=-inf)]": {"x": (0,), "t": (2, 3)},
}


@pytest.mark.parametrize("text", NO_ELEMENT)
def test_nothing_is_taken_along_an_axis_without_an_element(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    f = indexlang.compile(text)
    arrays = {n: np.ones(s, int if n == "t" else float) for n, s in NO_ELEMENT[text].items()}
    expected, pull = f.vjp(**arrays)
    gradients = pull(np.ones_like(expected))
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    g = indexlang.compile(text)
    y, pull = g.vjp(**arrays)
    assert np.array_equal(y, expected)
    assert {n: a.tolist() for n, a in pull(np.ones_like(y)).items()} == {n: a.tolist() for n, a in gradients.items()}
    assert np.array_equal(y, loops.run(f.program, arrays)[f.outputs[0]])


@pytest.mark.parametrize(
    "steps",
    [
        (Either(YES, (part_of(0, 4),), (part_of(0, 8),)),),
        (Either(YES, (part_of(0, 8),), (part_of(0, 4),)),),
        (Either(YES, (part_of(0, 4),), (part_of(4, 8),)),),
        (Loop("i", 4, (Loop("i", 0, (Run(VIEW, "=", ONE),), begin=1),)),),
        (Loop("i", 0, (Run(VIEW, "=", ONE),), begin=2, end=2),),
    ],
)
def test_what_is_written_in_part_is_not_read(steps: tuple[Any, ...]) -> None:
    with pytest.raises(PlanError, match="read before"):
        verify(pieced(*steps, i=8))


@pytest.mark.parametrize(
    "steps",
    [
        (Either(YES, (part_of(0, 8),), (part_of(0, 4), part_of(4, 8))),),
        (Either(YES, (part_of(0, 4),), (part_of(0, 4),)), part_of(4, 8)),
        (Loop("i", 4, (Loop("i", 0, (Run(VIEW, "=", ONE),)),)),),
    ],
)
def test_what_is_written_in_every_case_is_read(steps: tuple[Any, ...]) -> None:
    verify(pieced(*steps, i=8))


def test_threads_share_what_none_of_them_makes() -> None:
    """Whether or not anything has been written before."""
    z = plans_by_hand.buf("z", (3,))
    into = (Run(plans_by_hand.view(z, "j"), "=", ONE),)
    with pytest.raises(PlanError, match="threads over i meet in z"):
        verify(pieced(part_of(0, 8), Loop("i", 2, into, "thread"), i=8, j=3))


def test_a_block_belongs_to_one_section() -> None:
    z = Part(plans_by_hand.buf("z", (2,)), ("i",))
    twice = pieced(Loop("i", 2, (Run(z, "=", ONE), Run(VIEW, "=", ONE))), i=8)
    verify(twice)
    with pytest.raises(PlanError, match="z holds a block of another section"):
        verify(replace(twice, sections=twice.sections * 2))


def test_a_selection_is_added() -> None:
    case = next(c for c in CASES if c.name == "max pooling")
    (made,) = [p for _, p in plans(case, TINY) if any(kernel(Select)(node) for _, node in places(p))]
    with pytest.raises(PlanError, match="a selection is combined by 'max='"):
        verify(at(kernel(Select), set_to(op="max="))(made))
