"""Products of a Plan as NumPy code, against einsum."""

import numpy as np
import pytest
from plans import Case, F, buf, data, fn, load, number, view

from indexlang.plan.kernels import Einsum, Map, Product, Roles
from indexlang.plan.places import Part
from indexlang.plan.plan import Loop, Run


def product_case(sizes, left, right, out, by="matmul", op="=", loops=(), fortran=False, made="direct", apart=""):
    """A product of arrays over the named axes, each a letter."""
    case = Case(**sizes)
    shape = lambda s: tuple(sizes[i] for i in s)  # noqa: E731
    order = "F" if fortran else "C"
    a = case.input("a", np.asarray(data(*shape(left)), order=order))
    b = case.input("b", np.asarray(data(*shape(right), seed=3), order=order))
    batch = tuple(i for i in out if (i in left and i in right) or i in apart)
    rows = tuple(i for i in out if i in left and i not in right and i not in apart)
    columns = tuple(i for i in out if i in right and i not in left and i not in apart)
    summed = tuple(i for i in left if i in right and i not in out)
    y = buf("y", shape(out))
    place = view(y, *out)
    step = Run(place, op, Product(view(a, *left), view(b, *right), Roles(batch, rows, columns, summed), by))
    for index, by_ in reversed(loops):
        step = Loop(index, by_, (step,))
    before = [] if op == "=" and made == "direct" else [Run(place, "=", Map(number(1.0 if op != "=" else 0.0)))]
    found = case.run([place], *before, step)
    expected = np.einsum(f"{left},{right}->{out}", *case.arrays)
    expected = {"=": expected, "+=": 1 + expected, "-=": 1 - expected}[op]
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


SIZES = {"a": 2, "b": 3, "i": 4, "j": 5, "k": 6, "l": 3, "m": 1}
PRODUCTS = [
    ("ik", "kj", "ij"),
    ("ki", "kj", "ij"),
    ("ik", "jk", "ij"),
    ("ki", "jk", "ij"),
    ("ik", "kj", "ji"),
    ("ki", "jk", "ji"),
    ("k", "k", ""),
    ("ik", "k", "i"),
    ("k", "kj", "j"),
    ("ikl", "klj", "ij"),
    ("ilk", "lkj", "ij"),
    ("abk", "kj", "abj"),
    ("ki", "kab", "iab"),
    ("bik", "bkj", "bij"),
    ("bik", "kj", "bij"),
    ("ik", "bkj", "bij", "b"),
    ("abik", "bkj", "abij", "a"),
    ("abik", "akj", "abij", "b"),
    ("bik", "abkj", "abij", "a"),
    ("bk", "bk", "b"),
    ("imk", "kj", "imj"),
    ("im", "mj", "ij"),
    ("mk", "kj", "mj"),
    ("bi", "bj", "bij"),
]
PRODUCTS = [(*p, "") if len(p) == 3 else p for p in PRODUCTS]


@pytest.mark.parametrize(("left", "right", "out", "apart"), PRODUCTS)
@pytest.mark.parametrize("by", ["matmul", "einsum", "einsum apart"])
@pytest.mark.parametrize("op", ["=", "+=", "-="])
def test_products(left, right, out, apart, by, op):
    product_case(SIZES, left, right, out, by, op, apart=apart)
    if op == "=":
        product_case(SIZES, left, right, out, by, apart=apart, fortran=True)
        product_case(SIZES, left, right, out, by, apart=apart, made="before")


@pytest.mark.parametrize(("left", "right", "out", "apart"), PRODUCTS)
@pytest.mark.parametrize("by", ["matmul", "einsum"])
@pytest.mark.parametrize("size", [1, 2])
def test_products_in_blocks(left, right, out, apart, by, size):
    for index in out:
        before = out[: out.index(index)]
        if by == "matmul" and any(
            (i in left) == (index in left) and i not in apart for i in before if not (i in left and i in right)
        ):
            continue  # a block inside of a group is no axis
        product_case(SIZES, left, right, out, by, loops=[(index, size)], apart=apart)


def test_products_of_equal_sizes_do_not_mix_up_axes():
    for left, right, out, apart in PRODUCTS:
        product_case(dict.fromkeys(SIZES, 3), left, right, out, apart=apart)


def test_a_product_into_a_part_that_is_smaller_at_the_end():
    case = Case(b=2, i=5, j=4, k=3)
    a, w = case.input("a", data(2, 5, 3)), case.input("w", data(3, 4))
    part = Part(buf("part", (2, 2, 4), F, "workspace"), ("b", "i", "j"))
    y = buf("y", (2, 5, 4))
    steps = (
        Run(part, "=", Product(view(a, "b", "i", "k"), view(w, "k", "j"), Roles((), ("b", "i"), ("j",), ("k",)))),
        Run(view(y, "b", "i", "j"), "=", Map(load(part))),
    )
    copy = Part(buf("copy", (2, 2, 3), F, "workspace"), ("b", "i", "k"))
    copied = (
        Run(copy, "=", Map(load(view(a, "b", "i", "k")))),
        Run(part, "=", Product(copy, view(w, "k", "j"), Roles((), ("b", "i"), ("j",), ("k",)))),
        steps[1],
    )
    for body in (steps, copied):
        found, code = case.run([view(y, "b", "i", "j")], Loop("i", 2, body), code=True)
        np.testing.assert_allclose(found, np.einsum("bik,kj->bij", *case.arrays), rtol=1e-12)
        assert "out=" in code


def test_a_convolution_as_a_product_of_a_copied_window():
    case = Case(i=7, d=3, c=2, o=4)
    x, w = case.input("x", data(9, 2)), case.input("w", data(3, 2, 4))
    copy = Part(buf("copy", (3, 3, 2), F, "workspace"), ("i", "d", "c"))
    y = view(buf("y", (7, 4)), "i", "o")
    steps = (
        Run(copy, "=", Map(load(view(x, (0, {"i": 1, "d": 1}), "c")))),
        Run(y, "=", Product(copy, view(w, "d", "c", "o"), Roles((), ("i",), ("o",), ("d", "c")))),
    )
    expected = sum(case.arrays[0][d : d + 7] @ case.arrays[1][d] for d in range(3))
    np.testing.assert_allclose(case.run([y], Loop("i", 3, steps)), expected, rtol=1e-12)


def test_nothing_is_written_into_a_copy():
    case = Case(a=2, b=3, k=4, j=5)
    x, w = case.input("x", data(2, 3, 4)), case.input("w", data(4, 5))
    y = buf("y", (3, 2, 5))  # b and a the other way round: no axis of rows
    roles = Roles((), ("a", "b"), ("j",), ("k",))
    step = Run(view(y, "b", "a", "j"), "=", Product(view(x, "a", "b", "k"), view(w, "k", "j"), roles))
    with pytest.raises(AssertionError, match="no axis of a matrix"):
        case.run([view(y, "b", "a", "j")], step)


def test_einsum_of_several_values():
    case = Case(i=4, j=5, k=3)
    x, v, m = case.input("x", data(5, 4)), case.input("v", data(5, 3)), case.input("m", data(3))
    y = view(buf("y", (4, 3)), "i", "k")
    kernel = Einsum((load(view(x, "j", "i")), fn("exp", load(view(v, "j", "k"))), load(view(m, "k"))))
    expected = np.einsum("ji,jk,k->ik", case.arrays[0], np.exp(case.arrays[1]), case.arrays[2])
    np.testing.assert_allclose(case.run([y], Run(y, "=", kernel)), expected, rtol=1e-12)
    np.testing.assert_allclose(case.run([y], Loop("i", 3, (Run(y, "=", kernel),))), expected, rtol=1e-12)
    s = Part(buf("s", ()), ())
    square = Einsum((load(view(x, "j", "i")),) * 2)
    np.testing.assert_allclose(case.run([s], Run(s, "=", square)), (case.arrays[0] ** 2).sum(), rtol=1e-12)
