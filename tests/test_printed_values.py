"""Values of a Plan as NumPy code, against plain NumPy."""

import math

import numpy as np
import pytest
from plans import Case, add, buf, data, fn, load, mul, number, view

from indexlang.plan.kernels import Map
from indexlang.plan.places import Part, View
from indexlang.plan.plan import Loop, Run
from indexlang.plan.quantities import Count, Position, Reduced


def valued(case, value, indices=("i", "j"), dtype=None):
    y = buf("y", [case.extents[i][1] - case.extents[i][0] for i in indices], dtype or value.dtype)
    place = view(y, *((-case.extents[i][0], {i: 1}) for i in indices))
    results = [case.run([place], Run(place, "=", Map(value)))]
    if indices:
        results.append(case.run([place], Loop(indices[0], 2, (Run(place, "=", Map(value)),))))
        results.append(case.run([place], Loop(indices[-1], 0, (Run(place, "=", Map(value)),))))
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-14)
    return results[0]


UNARY = ["neg", "exp", "sqrt", "rsqrt", "tanh", "sigmoid", "relu", "abs", "floor", "sign", "square", "softplus", "gelu"]


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_of_one(name, dtype):
    case = Case(i=5, j=3)
    x = case.input("x", np.abs(data(3, 5, dtype=dtype)) + 1)
    found = valued(case, fn(name, load(view(x, "j", "i")), dtype=dtype))
    g = case.arrays[0].T.astype(float)
    expected = {
        "neg": -g,
        "rsqrt": g**-0.5,
        "sigmoid": 1 / (1 + np.exp(-g)),
        "relu": g,
        "softplus": np.log1p(np.exp(g)),
        "gelu": g * 0.5 * (1 + np.vectorize(math.erf)(g / 2**0.5)),
    }
    want = expected[name] if name in expected else getattr(np, name)(g)
    np.testing.assert_allclose(found, want, rtol=2e-6 if dtype == "float32" else 1e-13)
    assert found.dtype == dtype


@pytest.mark.parametrize("exponent", [2, 3, -2, 0.5, 0.75, -1.25, 1.7, -1])
def test_powers(exponent):
    case = Case(i=5, j=3)
    x = case.input("x", np.abs(data(5, 3)) + 0.1)
    value = fn("pow", load(view(x, "i", "j")), number(exponent))
    np.testing.assert_allclose(valued(case, value), case.arrays[0] ** exponent, rtol=1e-13)
    turned = fn("pow", load(view(x, "i", "j")), fn("neg", number(exponent)))
    np.testing.assert_allclose(valued(case, turned), case.arrays[0] ** -exponent, rtol=1e-13)


def test_numbers_are_weak_and_arrays_strong():
    case = Case(i=4, j=2)
    x = case.input("x", data(4, 2, dtype="float32"))
    value = fn("mul", load(view(x, "i", "j")), fn("exp", number(0.1)), dtype="float32")
    found = valued(case, value)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, case.arrays[0] * np.float32(np.exp(0.1)), rtol=1e-6)
    assert valued(case, fn("exp", number(2.0))).dtype == np.float64
    np.testing.assert_array_equal(
        valued(case, fn("div", number(1, "int64"), number(0, "int64"))), np.full((4, 2), np.inf)
    )
    np.testing.assert_array_equal(
        valued(case, fn("pow", number(2, "int64"), number(5, "int64"), dtype="int64")), np.full((4, 2), 32)
    )


def test_arguments_are_brought_to_the_type_of_the_result():
    case = Case(i=(1, 5), j=3)
    n = case.input("n", data(4, 3, dtype="int32"))
    flags = case.input("flags", data(4, 3, dtype="bool"))
    at = (-1, {"i": 1}), "j"
    value = fn("div", load(view(n, *at), "int64"), Position("i"))
    np.testing.assert_array_equal(valued(case, value), case.arrays[0] / np.arange(1, 5)[:, None])
    value = fn("add", load(view(flags, *at)), load(view(flags, *at)), dtype="int64")
    np.testing.assert_array_equal(valued(case, value), case.arrays[1] * 2)
    value = fn("lt", load(view(n, *at), "int64"), number(2, "int64"), dtype="bool")
    np.testing.assert_array_equal(valued(case, value), case.arrays[0] < 2)
    value = fn("and", load(view(n, *at), "int64"), load(view(flags, *at)), dtype="bool")
    np.testing.assert_array_equal(valued(case, value), (case.arrays[0] != 0) & case.arrays[1])
    value = fn("cast", load(view(flags, *at)), dtype="float32")
    assert valued(case, value).dtype == np.float32


def test_float16_is_compared_in_the_type_it_is_computed_in():
    case = Case(i=1, j=1)
    x = case.input("x", np.array([[0.1]], np.float16))
    value = fn("eq", load(view(x, "i", "j"), "float32"), number(0.1), dtype="bool")
    assert not valued(case, value)


@pytest.mark.parametrize("name", ["where", "select", "choose", "keep"])
@pytest.mark.parametrize("second", [True, False])
def test_choices(name, second):
    case = Case(i=5, j=70)
    x, m = case.input("x", data(5, 70)), case.input("m", data(70, dtype="bool"))
    x_array = case.arrays[0]
    x_array[:, 3] = np.inf
    other = load(view(x, "i", "j")) if second else number(2.5)
    value = fn(
        name, load(view(m, "j")), mul(load(view(x, "i", "j")), number(3.0)), *([] if name == "keep" else [other])
    )
    expected = np.where(case.arrays[1], x_array * 3, 0 if name == "keep" else x_array if second else 2.5)
    np.testing.assert_array_equal(valued(case, value), expected)


@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("n", [3, 70, 5000])
def test_extremes_with_numbers(name, n):
    case = Case(i=5, j=n)
    x = case.input("x", data(5, n))
    expected = getattr(np, f"{name}imum")(case.arrays[0], 0.25)
    np.testing.assert_array_equal(valued(case, fn(name, load(view(x, "i", "j")), number(0.25))), expected)
    np.testing.assert_array_equal(valued(case, fn(name, number(0.25), load(view(x, "i", "j")))), expected)


def test_positions_and_counts():
    case = Case(i=(2, 7), j=4, k=3)
    value = add(mul(Position("i"), number(10)), Position("j"))
    found = valued(case, fn("mul", value, Count(("k",)), dtype="int64"), dtype="int64")
    np.testing.assert_array_equal(found, (np.arange(2, 7)[:, None] * 10 + np.arange(4)) * 3)
    y = buf("y", (5,))
    place = view(y, (-2, {"i": 1}))
    steps = Loop("i", 2, (Run(place, "=", Map(Count(("i", "k"), "float64"))),))
    np.testing.assert_array_equal(case.run([place], steps), [6, 6, 6, 6, 3])


@pytest.mark.parametrize("op", ["+=", "*=", "max=", "min=", "any", "all", "sum", "greatest"])
@pytest.mark.parametrize("over", [("i",), ("j",), ("i", "j"), ("k",), ("i", "j", "k")])
def test_reductions(op, over):
    case = Case(i=3, j=4, k=2)
    x, v = case.input("x", data(4, 3)), case.input("v", data(2, 4))
    value = mul(load(view(x, "j", "i")), load(view(v, "k", "j")))
    array = np.einsum("ji,kj->ijk", *case.arrays)
    if op in ("any", "all"):
        value, array = fn("gt", value, number(0.3), dtype="bool"), array > 0.3
    reduce = {"+=": "sum", "*=": "prod", "max=": "max", "min=": "min", "greatest": "max"}.get(op, op)
    expected = getattr(array, reduce)(tuple("ijk".index(i) for i in over))
    left = tuple(i for i in ("k", "j", "i") if i not in over)
    expected = expected.transpose(sorted(range(len(left)), key=lambda k: -"ijk".index(left[::-1][k])))
    np.testing.assert_allclose(valued(case, Reduced(op, value, over), left), expected, rtol=1e-13)


def test_a_value_may_lack_axes_of_its_place():
    case = Case(i=3, j=4, k=2)
    x, z = case.input("x", data(4)), case.input("z", np.array(2.0))
    expected = np.broadcast_to(case.arrays[0][:, None] * 2, (3, 4, 2))
    value = mul(load(view(x, "j")), load(view(z)))
    np.testing.assert_array_equal(valued(case, value, ("i", "j", "k")), expected)
    np.testing.assert_array_equal(
        valued(case, load(view(x, "j")), ("i", "j", "k")), np.broadcast_to(expected / 2, (3, 4, 2))
    )
    np.testing.assert_array_equal(valued(case, load(view(z)), ()), 2.0)
    np.testing.assert_array_equal(valued(case, number(-0.0), ("i",)), np.full(3, -0.0))
    assert np.signbit(valued(case, number(-0.0), ("i",))).all()


def test_values_nested_deeply_are_held():
    case = Case(i=3, j=2)
    x = case.input("x", data(3, 2))
    value, expected = load(view(x, "i", "j")), case.arrays[0]
    for _ in range(300):
        value, expected = fn("sin", add(value, number(0.5))), np.sin(expected + 0.5)
    np.testing.assert_allclose(valued(case, value), expected, rtol=1e-12)


def test_numbers_at_the_ends_of_integers():
    case = Case(i=2)
    for kind, value in [("int64", -(2**63)), ("int64", 2**63 - 1), ("uint64", 2**64 - 1)]:
        assert valued(case, number(value, kind), ("i",), kind).tolist() == [value] * 2


@pytest.mark.parametrize("op", ["+=", "-=", "*=", "max=", "min="])
def test_scalars(op):
    case = Case(i=5)
    x = case.input("x", data(5))
    s = buf("s", ())
    start = Run(Part(s, ()), "=", Map(number(1.0)))
    loops = Loop("i", 0, (Run(Part(s, ()), op, Map(load(view(x, "i")))),))
    expected = 1.0
    combine = {"+=": np.add, "-=": np.subtract, "*=": np.multiply, "max=": np.maximum, "min=": np.minimum}[op]
    for value in case.arrays[0]:
        expected = combine(expected, value)
    assert case.run([Part(s, ())], start, loops) == expected
    assert case.run([View(s, ())], Run(View(s, ()), "=", Map(number(1.0))), loops) == expected


@pytest.mark.parametrize(
    ("given", "kind", "op"), [("int64", "uint64", "+="), ("float64", "float32", "*="), ("bool", "float64", "+=")]
)
def test_other_types_are_combined(given, kind, op):
    case = Case(i=5)
    x, before = case.input("x", np.abs(data(5, dtype=given))), case.input("before", data(5, dtype=kind))
    y = view(buf("y", (5,), kind), "i")
    found = case.run([y], Run(y, "=", Map(load(view(before, "i")))), Run(y, op, Map(load(view(x, "i")))))
    both = np.add if op == "+=" else np.multiply
    np.testing.assert_allclose(found, both(case.arrays[1], case.arrays[0]).astype(kind), rtol=1e-6)
    assert found.dtype == kind


def test_tables_are_made_once():
    case = Case(i=(1, 6), j=3)
    table = case.table("t", fn("lt", Position("j"), Position("i"), dtype="bool"), "i", "j")
    x = case.input("x", data(5, 3))
    value = fn("select", table, load(view(x, (-1, {"i": 1}), "j")), number(0.0))
    expected = np.where(np.arange(3) < np.arange(1, 6)[:, None], case.arrays[0], 0)
    np.testing.assert_array_equal(valued(case, value), expected)
    wide = case.table("w", Position("j"), "i", "j")
    np.testing.assert_array_equal(valued(case, wide), np.broadcast_to(np.arange(3), (5, 3)))
    one = case.table("one", fn("cast", number(3, "int64")))
    np.testing.assert_array_equal(valued(case, one), np.full((5, 3), 3.0))


def test_complex_steps_go_through_kinks():
    case = Case(i=6, j=1)
    case.complex_step = True
    given = data(6, 1)
    x = case.input("x", given + 1e-200j * np.arange(1, 7)[:, None])
    kind = "complex128"
    value = fn(
        "mul",
        fn("relu", load(view(x, "i", "j")), dtype=kind),
        fn("floor", load(view(x, "i", "j")), dtype=kind),
        dtype=kind,
    )
    found = valued(case, value)
    np.testing.assert_allclose(
        found.imag / 1e-200, np.where(given > 0, np.floor(given), 0) * np.arange(1, 7)[:, None], atol=1e-12
    )
