"""Views, parts and loops of a Plan as NumPy code, against loops."""

import itertools

import numpy as np
import pytest
from plans import Case, F, add, buf, data, fn, load, mul, number, view

from indexlang.plan.kernels import Map
from indexlang.plan.places import Part
from indexlang.plan.plan import Check, Either, Loop, Make, Run
from indexlang.plan.quantities import Position, Reduced

# -- views --------------------------------------------------------------------------------------------


def elements(array, rows, extents):
    """What a view reads, index by index in the order of first occurrence."""
    order = list(dict.fromkeys(i for _, coefs in rows for i in coefs))
    found = np.empty([extents[i][1] - extents[i][0] for i in order], array.dtype)
    for point in itertools.product(*(range(*extents[i]) for i in order)):
        at = dict(zip(order, point, strict=True))
        where = tuple(const + sum(coef * at[i] for i, coef in coefs.items()) for const, coefs in rows)
        found[tuple(v - extents[i][0] for i, v in zip(order, point, strict=True))] = array[where]
    return order, found


VIEWS = {
    "whole": ([(0, {"i": 1}), (0, {"j": 1})], {"i": 5, "j": 7}),
    "turned": ([(0, {"j": 1}), (0, {"i": 1})], {"i": 7, "j": 5}),
    "from 1": ([(-1, {"i": 1}), (0, {"j": 1})], {"i": (1, 6), "j": (2, 7)}),
    "inside": ([(1, {"i": 1}), (2, {"j": 1})], {"i": 3, "j": 4}),
    "every second": ([(0, {"i": 2}), (1, {"j": 3})], {"i": 3, "j": 2}),
    "backwards": ([(4, {"i": -1}), (6, {"j": -2})], {"i": 5, "j": 4}),
    "backwards from 1": ([(5, {"i": -1}), (0, {"j": 1})], {"i": (1, 6), "j": 7}),
    "a row": ([(2, {}), (0, {"j": 1})], {"j": 7}),
    "diagonal": ([(0, {"i": 1}), (0, {"i": 1})], {"i": 5}),
    "diagonal apart": ([(0, {"i": 1}), (1, {"i": 1})], {"i": 5}),
    "window": ([(0, {"i": 1, "k": 1}), (0, {"j": 1})], {"i": 3, "k": 3, "j": 7}),
    "window, strides": ([(0, {"i": 2, "k": 1}), (0, {"j": 2, "l": 1})], {"i": 2, "k": 3, "j": 3, "l": 2}),
    "window backwards": ([(2, {"i": 1, "k": -1}), (0, {"j": 1})], {"i": 3, "k": 3, "j": 7}),
    "one element each": ([(0, {"i": 1}), (0, {"j": 1})], {"i": 1, "j": 1}),
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("fortran", [False, True])
def test_a_view_reads_its_elements(name, fortran):
    rows, extents = VIEWS[name]
    case = Case(**extents)
    x = case.input("x", np.asarray(data(5, 7), order="F" if fortran else "C"))
    order, expected = elements(case.arrays[0], rows, case.extents)
    y = buf("y", expected.shape)
    place = view(y, *((-case.extents[i][0], {i: 1}) for i in order))
    found = case.run([place], Run(place, "=", Map(load(view(x, *rows)))))
    np.testing.assert_array_equal(found, expected)
    assert found.flags.c_contiguous


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("by", [0, 1, 3])
@pytest.mark.parametrize("second", [None, 0, 2])
def test_a_view_reads_its_elements_block_by_block(name, by, second):
    rows, extents = VIEWS[name]
    case = Case(**extents)
    x = case.input("x", data(5, 7))
    order, expected = elements(case.arrays[0], rows, case.extents)
    y = buf("y", expected.shape)
    place = view(y, *((-case.extents[i][0], {i: 1}) for i in order))
    steps = (Run(place, "=", Map(load(view(x, *rows)))),)
    if second is not None and len(order) > 1:
        steps = (Loop(order[1], second, steps),)
    np.testing.assert_array_equal(case.run([place], Loop(order[0], by, steps)), expected)


@pytest.mark.parametrize("name", [n for n in VIEWS if "window" not in n])
@pytest.mark.parametrize("op", ["=", "+=", "-=", "*=", "/=", "max=", "min="])
@pytest.mark.parametrize("by", [None, 0, 2])
def test_a_view_is_written_with_every_operator(name, op, by):
    rows, extents = VIEWS[name]
    case = Case(**extents)
    order = list(dict.fromkeys(i for _, coefs in rows for i in coefs))
    v = case.input("v", data(*(hi - lo for lo, hi in (case.extents[i] for i in order)), seed=5))
    before = case.input("before", data(5, 7))
    case.extents |= {"p": (0, 5), "q": (0, 7)}
    y = buf("y", (5, 7))
    everything = view(y, "p", "q")
    value = load(view(v, *((-case.extents[i][0], {i: 1}) for i in order)))
    step = Run(view(y, *rows), op, Map(value))
    step = step if by is None else Loop(order[0], by, (step,))
    found = case.run([everything], Run(everything, "=", Map(load(view(before, "p", "q")))), step)
    expected = case.arrays[1].copy()
    combine = {"=": lambda a, b: b, "+=": np.add, "-=": np.subtract, "*=": np.multiply, "/=": np.divide}
    combine |= {"max=": np.maximum, "min=": np.minimum}
    for point in itertools.product(*(range(*case.extents[i]) for i in order)):
        at = dict(zip(order, point, strict=True))
        where = tuple(const + sum(coef * at[i] for i, coef in coefs.items()) for const, coefs in rows)
        given = case.arrays[0][tuple(k - case.extents[i][0] for i, k in at.items())]
        expected[where] = combine[op](expected[where], given)
    np.testing.assert_array_equal(found, expected)


def test_empty_views_take_nothing():
    case = Case(i=0, j=3)
    x = case.input("x", data(0, 3))
    y, z = buf("y", (0, 3)), buf("z", (3,))
    rows = (-1, {"i": -2}), (0, {"j": 1})
    found, total = case.run(
        [view(y, "i", "j"), view(z, "j")],
        Run(view(y, "i", "j"), "=", Map(load(view(x, *rows)))),
        Run(view(z, "j"), "=", Map(Reduced("+=", load(view(x, *rows)), ("i",)))),
    )
    assert found.shape == (0, 3)
    np.testing.assert_array_equal(total, np.zeros(3))


# -- loops and parts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 4, 7])
@pytest.mark.parametrize("by", [1, 2, 3, 7])
@pytest.mark.parametrize("how", ["serial", "thread"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_part_holds_what_a_block_has(n, by, how, turned):
    case = Case(i=n, j=5)
    x = case.input("x", data(n, 5))
    order = ("j", "i") if turned else ("i", "j")
    sizes = {"i": min(by, n), "j": 5}
    work = Part(buf("work", [sizes[i] for i in order], F, "workspace"), order)
    y = buf("y", (n, 5))
    steps = (
        Run(work, "=", Map(mul(load(view(x, "i", "j")), number(2.0)))),
        Run(work, "+=", Map(number(1.0))),
        Run(view(y, "i", "j"), "=", Map(load(work))),
    )
    found = case.run([view(y, "i", "j")], Loop("i", by, steps, how))
    np.testing.assert_array_equal(found, case.arrays[0] * 2 + 1)


@pytest.mark.parametrize("inner", [0, 1, 2])
@pytest.mark.parametrize("by", [3, 4])
def test_a_part_is_gone_through_where_it_was_made(inner, by):
    case = Case(i=(2, 9), j=5)
    x = case.input("x", data(7, 5))
    work = Part(buf("work", (5, by), F, "workspace"), ("j", "i"))
    y = buf("y", (7, 5))
    read = load(view(x, (-2, {"i": 1}), "j"))
    steps = (
        Make(work),
        Loop("i", inner, (Run(work, "=", Map(add(read, Position("i")))),)),
        Loop("j", inner, (Run(work, "*=", Map(number(3.0))),)),
        Run(view(y, (-2, {"i": 1}), "j"), "=", Map(load(work))),
    )
    found = case.run([view(y, (-2, {"i": 1}), "j")], Loop("i", by, steps))
    np.testing.assert_array_equal(found, (case.arrays[0] + np.arange(2, 9)[:, None]) * 3)


def test_a_part_made_outside_is_read_inside_in_blocks_of_blocks():
    case = Case(i=11, j=3)
    x = case.input("x", data(11, 3))
    copy = Part(buf("copy", (11, 3), F, "copy"), ("i", "j"))
    y = buf("y", (11, 3))
    step = Run(view(y, "i", "j"), "=", Map(load(copy)))
    found = case.run(
        [view(y, "i", "j")], Run(copy, "=", Map(load(view(x, "i", "j")))), Loop("i", 4, (Loop("i", 3, (step,)),))
    )
    np.testing.assert_array_equal(found, case.arrays[0])


@pytest.mark.parametrize("k", [1, 2, 5])
def test_taps_from_a_value_to_a_value(k):
    case = Case(i=6, k=k)
    x = case.input("x", data(6 + k))
    y = buf("y", (6,))
    tap = Map(mul(load(view(x, (0, {"i": 1, "k": 1}))), add(Position("k"), number(1))))
    place = view(y, "i")
    found = case.run(
        [place], Loop("k", 0, (Run(place, "=", tap),), "serial", 0, 1), Loop("k", 0, (Run(place, "+=", tap),), begin=1)
    )
    expected = sum(case.arrays[0][d : d + 6] * (d + 1) for d in range(k))
    np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_part_of_a_block_in_blocks_begins_where_it_is_told():
    case = Case(i=10)
    y, place = buf("y", (10,)), view(buf("y", (10,)), "i")
    found = case.run(
        [place], Run(place, "=", Map(number(0.0))), Loop("i", 3, (Run(place, "=", Map(Position("i"))),), "serial", 2, 9)
    )
    expected = np.arange(10.0)
    expected[[0, 1, 9]] = 0
    np.testing.assert_array_equal(found, expected)
    assert y.shape == (10,)


@pytest.mark.parametrize("by", [1, 2, 4])
def test_moved_parts(by):
    case = Case(i=6, j=9, k=3, r=4)
    x = case.input("x", data(6, 9))
    work = Part(buf("work", (min(by, 6), 9), F, "workspace"), ("i", "j"))
    moved = Part(work.buffer, ("i", "j"), (("j", "r", 1, 2),))
    first = Part(work.buffer, ("i", "j"), (("j", "r", 2, 1),))
    y = buf("y", (6, 9))
    steps = (
        Run(work, "=", Map(load(view(x, "i", "j")))),
        Run(moved, "+=", Map(mul(load(first), number(10.0)))),
        Run(view(y, "i", "j"), "=", Map(load(work))),
    )
    found = case.run([view(y, "i", "j")], Loop("i", by, steps))
    expected = case.arrays[0].copy()
    expected[:, 1:9:2] += expected[:, 2:6] * 10
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("op", ["+=", "max=", "min=", "*="])
@pytest.mark.parametrize("indices", [(), ("j",)])
def test_sums_of_threads_are_brought_together(op, indices):
    case = Case(i=13, j=4)
    x = case.input("x", data(13, 4))
    total = Part(buf("total", [4] * len(indices), F), indices)
    over = tuple(i for i in ("i", "j") if i not in indices)
    part = Map(Reduced(op, load(view(x, "i", "j")), over))
    found = case.run([total], Loop("i", 3, (Run(total, op, part),), "thread", sums=((total, op),)))
    ufunc = {"+=": np.add, "max=": np.maximum, "min=": np.minimum, "*=": np.multiply}[op]
    axis = (0, 1) if not indices else 0
    np.testing.assert_allclose(found, ufunc.reduce(case.arrays[0], axis), rtol=1e-13)
    serial = case.run([total], Make(total, op), Loop("i", 3, (Run(total, op, part),)))
    np.testing.assert_allclose(serial, ufunc.reduce(case.arrays[0], axis), rtol=1e-13)


def test_branches_make_what_is_used_behind_them_in_front():
    for sign in (1, -1):
        case = Case(i=4)
        x = case.input("x", np.abs(data(4)) * sign)
        y, s = buf("y", (4,)), Part(buf("s", ()), ())
        condition = fn("gt", load(s), number(0.0), dtype="bool")
        found = case.run(
            [view(y, "i")],
            Run(s, "=", Map(Reduced("sum", load(view(x, "i")), ("i",)))),
            Either(
                condition,
                (Run(view(y, "i"), "=", Map(number(1.0))),),
                (Run(view(y, "i"), "=", Map(load(view(x, "i")))),),
            ),
        )
        np.testing.assert_array_equal(found, np.ones(4) if sign > 0 else case.arrays[0])


def test_checks_tell_the_position():
    case = Case(i=4, j=3)
    at = case.input("at", np.array([0, 2, 5, 1]))
    y = buf("y", ())
    steps = (Check(load(view(at, "i")), 3, 7), Run(Part(y, ()), "=", Map(number(1.0))))
    with pytest.raises(IndexError) as caught:
        case.run([Part(y, ())], *steps)
    assert caught.value.args[1:] == (7, 5, 3)
    refused = fn("lt", Position("i"), number(2, "int64"), dtype="bool")
    case.run([Part(y, ())], Check(load(view(at, "i")), 3, 7, refused), steps[1])
