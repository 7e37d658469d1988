"""Searches, selections, elements taken and scattered, as NumPy code, against loops."""

import numpy as np
import pytest
from plans import Case, F, buf, data, fn, load, number, view

from indexlang.plan.kernels import Fading, Label, Map, Order, Ranged, Rank, Running, Scatter, Search, Select, Take
from indexlang.plan.plan import Loop, Run
from indexlang.plan.quantities import Position

# -- what is found ------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["+=", "*=", "max=", "min="])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("along", ["i", "j", "k"])
def test_running(op, backwards, along):
    case = Case(i=3, j=4, k=40)
    x = case.input("x", data(4, 3, 40))
    y = view(buf("y", (3, 4, 40)), "i", "j", "k")
    found = case.run([y], Run(y, "=", Running(op, view(x, "j", "i", "k"), along, backwards)))
    axis = "ijk".index(along)
    array = np.moveaxis(case.arrays[0].transpose(1, 0, 2), axis, 0)
    array = array[::-1] if backwards else array
    made = {"+=": np.cumsum, "*=": np.cumprod, "max=": np.maximum.accumulate, "min=": np.minimum.accumulate}[op](
        array, 0
    )
    np.testing.assert_allclose(found, np.moveaxis(made[::-1] if backwards else made, 0, axis), rtol=1e-12)


@pytest.mark.parametrize("op", ["argmax", "argmin"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("along", ["i", "j", "k"])
@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "uint8"])
def test_running_positions(op, backwards, along, kind):
    case = Case(i=5, j=6, k=35)
    array = data(6, 5, 35, dtype=kind)
    array = np.round(array) if kind.startswith("float") else array // 4
    if kind.startswith("float"):
        array[[1, 3, 5, 5], [2, 2, 0, 4], [3, 9, 30, 0]] = np.nan
        array[:, 1, 4] = array[2, :, 5] = array[3, 3] = -np.inf if op == "argmax" else np.inf
    x = case.input("x", array)
    y = view(buf("y", (5, 6, 35), "int64"), "i", "j", "k")
    found = case.run([y], Run(y, "=", Running(op, view(x, "j", "i", "k"), along, backwards)))
    values = np.moveaxis(array.transpose(1, 0, 2), "ijk".index(along), -1)
    rows = np.moveaxis(found, "ijk".index(along), -1)
    for at in np.ndindex(values.shape):
        begin, end = (at[-1], values.shape[-1]) if backwards else (0, at[-1] + 1)
        assert rows[at] == begin + getattr(np, op)(values[at[:-1]][begin:end])


@pytest.mark.parametrize("kind", ["float64", "float32"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("along", ["i", "j"])
def test_running_logsumexp(kind, backwards, along):
    case = Case(i=9, j=40)
    array = data(9, 40, dtype=kind) * 50
    array[2, 3], array[:4, 1], array[5, 5], array[8] = np.inf, -np.inf, np.nan, 1e4
    x, y = case.input("x", array), view(buf("y", (9, 40), kind), "i", "j")
    found = case.run([y], Run(y, "=", Running("logsumexp", view(x, "i", "j"), along, backwards)))
    axis = "ij".index(along)
    turned = np.flip(array, axis) if backwards else array
    with np.errstate(all="ignore"):
        expected = np.logaddexp.accumulate(turned.astype("float64"), axis).astype(kind)
    np.testing.assert_array_equal(found, np.flip(expected, axis) if backwards else expected)


@pytest.mark.parametrize("op", ["max=", "min=", "argmax", "argmin"])
@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "uint8"])
def test_ranges(op, kind):
    case = Case(i=3, j=19, p=19, q=19)
    array = data(3, 19, dtype=kind)
    array = np.round(array) if kind.startswith("float") else array // 4
    if kind.startswith("float"):
        array[1, ::5] = np.nan
    x = case.input("x", array)
    y = view(buf("y", (3, 19, 19), "int64" if op.startswith("arg") else kind), "i", "p", "q")
    found = case.run([y], Run(y, "=", Ranged(op, view(x, "i", "j"), "j", Position("p"), Position("q"))))
    best = np.argmax if "max" in op else np.argmin
    for i, p, q in np.ndindex(found.shape):
        if p <= q:
            at = p + best(array[i, p : q + 1])
            np.testing.assert_array_equal(found[i, p, q], at if op.startswith("arg") else array[i, at])


@pytest.mark.parametrize("kind", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("along", ["i", "j", "k"])
def test_fading(along, backwards, kind):
    case = Case(i=3, j=9, k=2)
    x, f = case.input("x", data(9, 3, 2, dtype=kind)), case.input("f", data(3, 9, dtype=kind))
    y = view(buf("y", (3, 9, 2), kind), "i", "j", "k")
    fades = view(f, "i", "j")
    if along == "k":
        f = case.input("g", data(2, 3, dtype=kind))
        fades = view(f, "k", "i")
    found = case.run([y], Run(y, "=", Fading(view(x, "j", "i", "k"), fades, along, backwards)))
    axis = "ijk".index(along)
    given = case.arrays[0].transpose(1, 0, 2)
    by = np.broadcast_to(case.arrays[2].T[:, None, :] if along == "k" else case.arrays[1][:, :, None], given.shape)
    given, by = (np.moveaxis(a, axis, 0)[:: -1 if backwards else 1] for a in (given, by))
    expected = [given[0]]
    for k in range(1, len(given)):
        expected.append(given[k] + by[k - 1] * expected[-1])
    result = np.moveaxis(np.array(expected)[:: -1 if backwards else 1], 0, axis)
    np.testing.assert_allclose(found, result, rtol=1e-5 if kind == "float32" else 1e-12, atol=1e-6)


@pytest.mark.parametrize("op", ["argmax", "argmin"])
@pytest.mark.parametrize("by", ["array", "window"])
@pytest.mark.parametrize("nan", [False, True])
@pytest.mark.parametrize("kind", ["float64", "int64"])
@pytest.mark.parametrize("block", [None, 3, 0])
def test_searches(op, by, nan, kind, block):
    case = Case(i=7, d=3, e=2, j=5)
    array = data(9, 6, dtype=kind).round()
    if nan and kind == "float64":
        array[[4, 4, 6], [2, 3, 0]] = np.nan
    x = case.input("x", array)
    value = load(view(x, (0, {"i": 1, "d": 1}), (0, {"j": 1, "e": 1})))
    y = view(buf("y", (7, 5), "int64"), "i", "j")
    step = Run(y, "=", Search(op, value, ("d", "e"), None, by))
    found = case.run([y], step if block is None else Loop("i", block, (step,)))
    windows = np.lib.stride_tricks.sliding_window_view(array, (3, 2)).reshape(7, 5, 6)
    np.testing.assert_array_equal(found, getattr(np, op)(windows, -1))


@pytest.mark.parametrize("op", ["argmax", "argmin"])
@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "uint8"])
@pytest.mark.parametrize("block", [None, 2, 0])
@pytest.mark.parametrize("size", [1, 3, 255, 256, 70000])
def test_searches_in_rows(op, kind, block, size):
    case = Case(b=3, i=size, j=2, c=4)
    array = data(3, size, 2, 4, dtype=kind)
    array = np.round(array) if kind.startswith("float") else array
    if kind.startswith("float"):
        array[0, -1, 1, 2] = array[0, 0, 0, 3] = array[2, :, 1, 1] = np.nan
        array[1, :, :, 0] = np.inf
    x = case.input("x", array)
    y = view(buf("y", (4, 3), "int64"), "c", "b")
    step = Run(y, "=", Search(op, load(view(x, "b", "i", "j", "c")), ("i", "j"), inner=("c",)))
    found = case.run([y], step if block is None else Loop("b", block, (step,)))
    np.testing.assert_array_equal(found.T, getattr(np, op)(array.reshape(3, -1, 4), 1))


def test_a_window_search_into_bytes_with_known_extrema():
    case = Case(i=7, d=3)
    array = data(9)
    array[5] = np.nan
    x = case.input("x", array)
    windows = np.lib.stride_tricks.sliding_window_view(array, 3)
    best = case.input("best", windows.max(-1))
    y = view(buf("y", (7,), "uint8"), "i")
    kernel = Search("argmax", load(view(x, (0, {"i": 1, "d": 1}))), ("d",), None, "window", view(best, "i"))
    np.testing.assert_array_equal(case.run([y], Run(y, "=", kernel)), windows.argmax(-1))
    np.testing.assert_array_equal(case.run([y], Loop("i", 3, (Run(y, "=", kernel),))), windows.argmax(-1))


@pytest.mark.parametrize("op", ["argmax", "argmin", "logsumexp"])
def test_searches_among_admitted_points(op):
    case = Case(i=4, j=6)
    array = data(4, 6)
    array[2] = -np.inf
    x, m = case.input("x", array), case.input("m", data(4, 6, dtype="bool"))
    case.arrays[1][0] = False
    admitted = case.arrays[1]
    y = view(buf("y", (4,), "int64" if op != "logsumexp" else F), "i")
    found = case.run([y], Run(y, "=", Search(op, load(view(x, "i", "j")), ("j",), load(view(m, "i", "j")))))
    for i in range(4):
        points = np.flatnonzero(admitted[i])
        if op == "logsumexp":
            with np.errstate(divide="ignore"):
                np.testing.assert_allclose(found[i], np.log(np.exp(array[i, points]).sum()), rtol=1e-13)
        else:
            assert found[i] == (points[getattr(np, op)(array[i, points])] if len(points) else 0)


def test_a_search_of_nothing():
    case = Case(i=3, j=0)
    x = case.input("x", data(3, 0))
    y = view(buf("y", (3,), "int64"), "i")
    np.testing.assert_array_equal(case.run([y], Run(y, "=", Search("argmax", load(view(x, "i", "j")), ("j",)))), 0)


@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "complex128"])
@pytest.mark.parametrize("op", ["=", "+=", "-="])
@pytest.mark.parametrize("block", [None, 2])
def test_select(kind, op, block):
    case = Case(i=5, j=3, d=2, e=2)
    v = case.input("v", data(5, 3, dtype=kind if kind != "complex128" else F).astype(kind))
    at = case.input("at", np.abs(data(5, 3, dtype="int64")) % 4)
    if kind != "int64":
        case.arrays[0][1, 1] = np.nan
    spot = fn("add", fn("mul", number(2, "int64"), Position("d"), dtype="int64"), Position("e"), dtype="int64")
    condition = fn("eq", spot, load(view(at, "i", "j")), dtype="bool")
    y = view(buf("y", (10, 6), kind), (0, {"i": 2, "d": 1}), (0, {"j": 2, "e": 1}))
    case.extents |= {"p": (0, 10), "q": (0, 6)}
    everything = view(y.buffer, "p", "q")
    step = Run(y, op, Select(load(view(v, "i", "j")), condition, ("d", "e")))
    step = step if block is None else Loop("i", block, (step,))
    before = [] if op == "=" else [Run(everything, "=", Map(number(2)))]
    found = case.run([everything], *before, step)
    expected = np.zeros((10, 6), kind) if op == "=" else np.full((10, 6), 2, kind)
    for i, j in np.ndindex(5, 3):
        d, e = divmod(int(case.arrays[1][i, j]), 2)
        value = case.arrays[0][i, j]
        expected[2 * i + d, 2 * j + e] += -value if op == "-=" else value
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "uint8"])
@pytest.mark.parametrize("equal", [False, True])
def test_order_and_rank(kind, equal):
    case = Case(i=9, j=40, r=40)
    array, bounds = np.round(data(40, dtype=kind)), np.round(data(9, dtype=kind))
    if kind.startswith("float"):
        array[[3, 7]], array[5], bounds[2], bounds[4] = np.nan, -np.inf, np.inf, np.nan
    x, z = case.input("x", array), case.input("z", bounds)
    order, ascending, count = buf("order", (40,), "int64"), buf("ascending", (40,), kind), buf("count", (9,), "int64")
    order, ascending = view(order, "r"), view(ascending, "r")
    steps = (
        Run(order, "=", Order(view(x, "j"), "r")),
        Run(ascending, "=", Take(view(x, "j"), (("j", load(order, "int64")),))),
        Run(view(count, "i"), "=", Rank(ascending, load(view(z, "i"), kind), equal)),
    )
    found = case.run([view(count, "i")], *steps)
    for k, bound in enumerate(bounds):
        expected = np.sum(array <= bound if equal else array < bound)
        if bound != bound:  # nan is above all, and not above itself
            expected = 40 if equal else 38
        assert found[k] == expected


@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "int8", "uint64", "bool"])
@pytest.mark.parametrize("spread", [1, 3, 1000])
def test_numbers_of_values(kind, spread):
    case = Case(b=3, i=6, j=5)
    array = np.round(data(3, 6, 5, seed=spread) * min(spread, 40 if kind == "int8" else spread))
    array = np.abs(array).astype(kind) if kind.startswith("u") else array.astype(kind)
    if kind.startswith("float"):
        array[0, 1, 2] = array[0, 3, 3] = np.nan
        array[1, 0, 0], array[1, 1, 1], array[2, 0, :2] = -0.0, 0.0, np.inf
    if kind == "uint64":
        array[1, 2] = 2**64 - 1
    for order, over in (("bij", ("i", "j")), ("ibj", ("j",)), ("jbi", ("i", "j"))):
        given = case.input("x", np.ascontiguousarray(array.transpose(["bij".index(k) for k in order])))
        labels = buf("labels", array.shape, "int64")
        (found,) = [
            case.run(
                [view(labels, "b", "i", "j")], Run(view(labels, "b", "i", "j"), "=", Label(view(given, *order), over))
            )
        ]
        rows = array.reshape(3, 30) if len(over) == 2 else array.reshape(18, 5)
        for row, numbers in zip(rows, np.asarray(found).reshape(rows.shape), strict=True):
            same = (row[:, None] == row) | np.eye(len(row), dtype=bool)
            np.testing.assert_array_equal(numbers[:, None] == numbers, same)
            assert numbers.min() >= 0 and numbers.max() < len(row)


# -- taking and scattering ----------------------------------------------------------------------------


@pytest.mark.parametrize("block", [None, 0, 2])
@pytest.mark.parametrize("order", ["ikj", "jki", "kij"])
def test_take_along_one_axis(block, order):
    case = Case(i=5, j=3, k=4, r=6)
    x, at = case.input("x", data(6, 3)), case.input("at", np.abs(data(5, 4, dtype="int32")) % 6)
    y = view(buf("y", [{"i": 5, "j": 3, "k": 4}[i] for i in order]), *order)
    step = Run(y, "=", Take(view(x, "r", "j"), (("r", load(view(at, "i", "k"), "int64")),)))
    found = case.run([y], step if block is None else Loop("i", block, (step,)))
    expected = case.arrays[0][case.arrays[1]]  # i k j
    np.testing.assert_array_equal(found, expected.transpose(["ikj".index(i) for i in order]))


@pytest.mark.parametrize("block", [None, 0, 2])
def test_take_along_several_axes(block):
    case = Case(i=5, j=3, r=6, s=4)
    x = case.input("x", data(6, 3, 4))
    at, to = (
        case.input("at", np.abs(data(5, dtype="int64")) % 6),
        case.input("to", np.abs(data(5, dtype="int64", seed=2)) % 4),
    )
    y = view(buf("y", (3, 5)), "j", "i")
    marks = (("r", load(view(at, "i"))), ("s", load(view(to, "i"))))
    step = Run(y, "=", Take(view(x, "r", "j", "s"), marks))
    found = case.run([y], step if block is None else Loop("i", block, (step,)))
    np.testing.assert_array_equal(found, case.arrays[0][case.arrays[1], :, case.arrays[2]].T)


def test_take_along_an_axis_that_the_source_has_too():
    case = Case(i=5, r=6)
    x, at = case.input("x", data(5, 6)), case.input("at", np.abs(data(5, dtype="int64")) % 6)
    y = view(buf("y", (5,)), "i")
    found = case.run([y], Run(y, "=", Take(view(x, "i", "r"), (("r", load(view(at, "i"))),))))
    np.testing.assert_array_equal(found, case.arrays[0][np.arange(5), case.arrays[1]])


def test_take_one_element_and_nothing():
    case = Case(i=5, r=6, z=0)
    x, at = case.input("x", data(6, 5)), case.input("at", np.array(4))
    empty = case.input("empty", data(0, 5))
    y = view(buf("y", (5,)), "i")
    found = case.run([y], Run(y, "=", Take(view(x, "r", "i"), (("r", load(view(at))),))))
    np.testing.assert_array_equal(found, case.arrays[0][4])
    found = case.run([y], Run(y, "=", Take(view(empty, "z", "i"), (("z", load(view(at))),))))
    np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize("op", ["+=", "-=", "*=", "max=", "min="])
@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("static", [False, True])
def test_scatter(op, rest, axes, masked, static):
    case = Case(i=7, k=5, j=3, r=4, s=3)
    tail = ("j",) if rest else ()
    sizes = (4, 3)[:axes]
    v = case.input("v", data(7, 5, *((3,) if rest else ())))
    y = buf("y", (*((3,) if rest else ()), *sizes))
    spots = [np.add.outer(np.arange(7), np.arange(5)) % n for n in sizes]
    if static:
        ats = [
            fn("mod", fn("add", Position("i"), Position("k"), dtype="int64"), number(n, "int64"), dtype="int64")
            for n in sizes
        ]
        ats = [case.table(f"t{n}", at, "i", "k") for n, at in enumerate(ats)]
    else:
        ats = [load(view(case.input(f"at{n}", spot), "i", "k")) for n, spot in enumerate(spots)]
    admitted = fn("gt", Position("k"), number(1, "int64"), dtype="bool") if masked else None
    place = view(y, *tail, *("r", "s")[:axes])
    kernel = Scatter(
        tuple(zip(("r", "s"), ats, strict=False)), load(view(v, "i", "k", *tail)), ("i", "k"), tail, admitted
    )
    found = case.run([place], Run(place, "=", Map(number(0.5))), Run(place, op, kernel))
    expected = np.full(y.shape, 0.5)
    combine = {"+=": np.add, "-=": np.subtract, "*=": np.multiply, "max=": np.maximum, "min=": np.minimum}[op]
    for i, k in np.ndindex(7, 5):
        if masked and k <= 1:
            continue
        where = tuple(spot[i, k] for spot in spots)
        where = (slice(None), *where) if rest else where
        expected[where] = combine(expected[where], case.arrays[0][i, k])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("by", ["count", "join"])
@pytest.mark.parametrize("n", [0, 9])
def test_scatter_counts(weighted, by, n):
    case = Case(i=n, r=4, s=3)
    at, to = case.input("at", np.arange(n) % 4), case.input("to", np.arange(n) // 2 % 3)
    v = case.input("v", data(n))
    place = view(buf("y", (4, 3), F), "r", "s")
    marks = (("r", load(view(at, "i"))), ("s", load(view(to, "i"))))
    kernel = Scatter(marks, load(view(v, "i")) if weighted else None, ("i",), (), None, by, True)
    found = case.run([place], Run(place, "=", Map(number(0.0))), Run(place, "+=", kernel))
    expected = np.zeros((4, 3))
    np.add.at(expected, (case.arrays[0], case.arrays[1]), case.arrays[2] if weighted else 1)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("op", ["+=", "-=", "max="])
@pytest.mark.parametrize("block", [None, 2])
def test_scatter_of_points_that_never_meet(alone, op, block):
    case = Case(i=5, r=6, p=(0, 5), q=(0, 6))
    v, at = case.input("v", data(5)), case.input("at", np.abs(data(5, dtype="int64")) % 6)
    y = buf("y", (5, 6))
    everything = view(y, "p", "q")
    begin = Run(everything, "=", Map(number(0.0 if op != "max=" else -np.inf)))
    where = (("p", Position("i")), ("q", load(view(at, "i"))))
    step = Run(everything, op, Scatter(where, load(view(v, "i")), ("i",), (), None, "apart", alone))
    found = case.run([everything], begin, step if block is None else Loop("i", block, (step,)))
    expected = np.full((5, 6), 0.0 if op != "max=" else -np.inf)
    expected[np.arange(5), case.arrays[1]] = -case.arrays[0] if op == "-=" else case.arrays[0]
    np.testing.assert_array_equal(found, expected)
