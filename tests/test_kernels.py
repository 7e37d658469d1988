"""The decisions of lowering, as tables: sizes and strides in, small descriptions out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import pytest

from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.plan import blocks, contraction, order, views
from indexlang.plan.limits import NUMPY
from indexlang.plan.statement import Facts, choose
from indexlang.plan.views import Row
from indexlang.program.ir import Access, Expr, walk
from indexlang.syntax.parser import parse

# -- affine positions ----------------------------------------------------------------------------------

LINEAR = [
    ("2*i+1", Row(1, (("i", 2),))),
    ("size(x,0)-1-i", Row(9, (("i", -1),))),
    ("i+j-i", Row(0, (("j", 1),))),
    ("(i+j)*3-j", Row(0, (("i", 3), ("j", 2)))),
    ("size(x,0)//3*i", Row(0, (("i", 3),))),
    ("4", Row(4, ())),
    ("i//2", None),
    ("i%2", None),
    ("p[i]", None),
    ("int(0.5*i)", None),
]


@pytest.mark.parametrize(("text", "expected"), LINEAR, ids=[t for t, _ in LINEAR])
def test_linear(text: str, expected: Row | None) -> None:
    program = resolve(parse(Source(f"y[i,j] = x[{text}] * a[i] * a[j]")))
    access = next(p for p in _accesses(program.statements[0].value) if p.tensor == "x")
    assert views.linear(access.subscripts[0], {"x": (10,), "p": (3,), "a": (3,)}) == expected  # type: ignore[arg-type]


def _accesses(expr: Expr) -> list[Access]:
    return [p for p in walk(expr) if isinstance(p, Access)]


def test_interval_of_a_row() -> None:
    assert Row(3, (("i", 2), ("j", -1))).interval({"i": (0, 4), "j": (1, 3)}) == (1, 8)
    assert Row(3, ()).interval({}) == (3, 3)


# -- writes --------------------------------------------------------------------------------------------

BOXES = [
    ([(4, 3), (1, 4)], True),  # an array
    ([(4, 3), (1, 5)], False),
    ([(-4, 3), (1, 4)], True),  # flipped
    ([(0, 5)], False),  # broadcast
    ([(0, 1), (1, 5)], True),
    ([(1, 3), (1, 3)], False),  # i+j
    ([(3, 4), (1, 3)], True),  # i*3+j
    ([], True),
]


@pytest.mark.parametrize(("steps", "expected"), BOXES)
def test_injective(steps: list[tuple[int, int]], expected: bool) -> None:
    assert views.injective(steps) is expected
    cells = [sum(s * p for (s, _), p in zip(steps, point, strict=True)) for point in _points([n for _, n in steps])]
    if expected:  # what it says is true
        assert len(set(cells)) == len(cells)


def _points(extents: Sequence[int]) -> list[tuple[int, ...]]:
    return list(itertools.product(*(range(n) for n in extents)))


def row(const: int = 0, **coefs: int) -> Row:
    return Row(const, tuple(coefs.items()))


TAPS = [
    # conv2d's x.grad[b,i+di,j+dj,c]: the kernel's positions
    (
        [row(b=1), row(i=1, di=1), row(j=1, dj=1), row(c=1)],
        {"b": 8, "i": 56, "j": 56, "di": 3, "dj": 3, "c": 64},
        {"di", "dj"},
    ),
    ([row(i=2, k=3)], {"i": 20, "k": 4}, {"k"}),
    ([row(i=2, k=3)], {"i": 3, "k": 40}, {"i"}),
    ([row(i=1), row(i=1)], {"i": 5}, set()),  # a diagonal
    ([row(i=2), row(i=2, const=1)], {"i": 5}, set()),
    ([row(i=1, j=1), row(i=1)], {"i": 5, "j": 4}, set()),  # i is known from the second axis
    ([row(i=1, j=1), row(i=1, j=-1)], {"i": 5, "j": 4}, {"j"}),
    ([row(i=1, j=1, k=1)], {"i": 9, "j": 2, "k": 3}, {"j", "k"}),
    ([row(i=1, k=1)], {"i": 9, "k": 1}, set()),  # one position only
    ([row(i=1, r=1), row(g=16, c=1)], {"i": 9, "r": 3, "g": 4, "c": 16}, {"r"}),  # a merged axis tells its indices
    ([row(g=15, c=1)], {"g": 4, "c": 16}, {"g"}),
]


def test_taps_among_many_indices() -> None:
    names = [f"i{k}" for k in range(40)]
    rows = [Row(0, ((a, 1), (b, 1))) for a, b in itertools.pairwise(names)]
    found = views.taps(rows, dict.fromkeys(names, 3), NUMPY)
    assert 0 < len(found) < 40


FILLED = [
    (row(i=1), 5, True),
    (row(i=1), 6, False),
    (row(i=1, const=1), 5, False),
    (row(g=5, i=1), 15, True),
    (row(i=3, g=1), 15, True),
    (row(g=4, i=1), 13, False),
    (row(one=7, i=1), 5, True),  # an index of one value moves nothing
    (row(late=1, const=-2), 3, True),
    (row(), 1, True),
    (row(), 2, False),
]


@pytest.mark.parametrize(("of", "size", "expected"), FILLED)
def test_fills(of: Row, size: int, expected: bool) -> None:
    assert views.fills(of, {"i": (0, 5), "g": (0, 3), "one": (0, 1), "late": (2, 5)}, size) is expected


@pytest.mark.parametrize(("rows", "extents", "expected"), TAPS)
def test_taps(rows: list[Row], extents: dict[str, int], expected: set[str]) -> None:
    found = views.taps(rows, extents, NUMPY)
    assert set(found) == expected
    # For each value of the taps, no two points meet.
    left = [i for i in extents if i not in found and any(i in dict(r.coefs) for r in rows)]
    if prod(extents[i] for i in left) < 3000:
        seen = set()
        for values in _points([extents[i] for i in left]):
            point = {**dict.fromkeys(found, 0), **dict(zip(left, values, strict=True))}
            cell = tuple(r.const + sum(c * point[i] for i, c in r.coefs) for r in rows)
            assert cell not in seen
            seen.add(cell)


TABLES = [
    (("k",), {"i": 50_000, "k": 40}, False),  # few taps, much in each
    (("k",), {"i": 60, "k": 50}, True),  # many taps, little in each
    (("k",), {"i": 60, "k": 5}, False),
    (("k",), {"i": 200, "k": 100_000}, False),  # a table too long to keep
    ((), {"i": 5, "k": 5}, False),
]


@pytest.mark.parametrize(("loops", "extents", "expected"), TABLES)
def test_tabulated(loops: tuple[str, ...], extents: dict[str, int], expected: bool) -> None:
    assert views.tabulated(loops, [row(i=1, k=1)], extents, NUMPY) is expected


# -- ways ----------------------------------------------------------------------------------------------

WAYS = [
    (Facts(scattered=True, sums=True, products=True, reduced=9), "scatter"),
    (Facts(root=True, position=True, overlapping=True, reduced=4, kept=1000), "window search"),
    (Facts(root=True, position=True, overlapping=True, reduced=4, kept=1000, masked=True), "search"),
    (Facts(root=True, position=True, overlapping=True, reduced=4, kept=10), "search"),
    (Facts(root=True, overlapping=True, reduced=4, kept=1000), "search"),  # logsumexp of complex numbers
    (Facts(root=True, powers=True, overlapping=True, reduced=4, kept=1000), "window"),
    (Facts(root=True, powers=True, overlapping=True, reduced=4, kept=10), "search"),
    (Facts(root=True, powers=True, reduced=1000, kept=1000), "search"),
    (Facts(root=True, position=True, reduced=1000, kept=1000), "search"),
    (Facts(sums=True, products=True, reduced=9, kept=1000, overlapping=True), "contraction"),
    (Facts(sums=True, products=True, reduced=9, masked=True), "whole domain"),
    (Facts(sums=True, products=True, reduced=9, masked=True, admitted=True), "masked contraction"),
    (Facts(sums=True, reduced=9, kept=1000, overlapping=True), "window"),  # average pooling
    (Facts(reduced=4, kept=1000, overlapping=True), "window"),  # max pooling
    (Facts(reduced=4, kept=1000, overlapping=True, masked=True), "window"),
    (Facts(reduced=4, kept=1000), "window"),  # a short axis
    (Facts(reduced=12, kept=1000), "whole domain"),
    (Facts(reduced=400, kept=1000, overlapping=True), "whole domain"),
    (Facts(reduced=4, kept=10, overlapping=True), "whole domain"),
    (Facts(sums=True, reduced=1, kept=1000), "elementwise"),
    (Facts(sums=True, reduced=9, masked=True, scan=True, products=True, admitted=True), "scan"),
    (Facts(sums=True, reduced=9, masked=True, running=True, products=True, admitted=True), "running products"),
    (Facts(chosen=9, points=9 * 300), "selection"),
    (Facts(chosen=9, points=9 * 200), "elementwise"),  # too few for each position
    (Facts(), "elementwise"),
]


@pytest.mark.parametrize(("facts", "expected"), WAYS)
def test_ways(facts: Facts, expected: str) -> None:
    assert choose(facts, NUMPY).name == expected


def test_the_last_way_always_fits() -> None:
    names = ("root", "position", "scattered", "sums", "masked", "products", "admitted", "overlapping")
    for flags in itertools.product([False, True], repeat=len(names)):
        for reduced, kept in itertools.product([1, 10, 1000], repeat=2):
            assert choose(Facts(reduced=reduced, kept=kept, **dict(zip(names, flags, strict=True))), NUMPY)


BLOCKS = [
    (["b", "i"], {"b": 8, "i": 56, "k": 576, "j": 56}, 4, 1 << 20, (("b", 1), ("i", 8))),
    (["b", "i"], {"b": 8, "i": 56, "k": 576, "j": 56}, 4, 8 << 20, (("b", 1),)),
    (["b", "i"], {"b": 8, "i": 56, "k": 576, "j": 56}, 4, 64 << 20, ()),
    (["b"], {"b": 1, "i": 1 << 20}, 8, 1 << 20, ()),  # nothing to divide
    (["i"], {"i": 10}, 1, 4, (("i", 4),)),
    (["i"], {"i": 7}, 1, 4, (("i", 4),)),
    (["i"], {"i": 12}, 1, 5, (("i", 4),)),  # an even division near the greatest step
]


@pytest.mark.parametrize(("axes", "sizes", "itemsize", "budget", "expected"), BLOCKS)
def test_blocks(
    axes: list[str], sizes: dict[str, int], itemsize: int, budget: int, expected: tuple[tuple[str, int], ...]
) -> None:
    assert blocks.blocks(axes, sizes, prod(sizes.values()), itemsize, budget) == expected


@pytest.mark.parametrize(
    ("dtype", "size"), [("float32", 4), ("complex128", 16), ("bool", 1), ("uint8", 1), ("int64", 8)]
)
def test_itemsize(dtype: str, size: int) -> None:
    assert blocks.itemsize(dtype) == size == np.dtype(dtype).itemsize


# -- products ------------------------------------------------------------------------------------------


def test_roles() -> None:
    found = contraction.roles("bhik", "bhkj", "bhij")
    assert (found.batch, found.rows, found.columns, found.summed) == (("b", "h"), ("i",), ("j",), ("k",))


def steps(indices: str, sizes: Mapping[str, int]) -> dict[str, int]:
    """Of a contiguous array."""
    return dict(zip(indices, views.row_strides([sizes[i] for i in indices]), strict=True))


MATRICES = [
    ("ij", "i", "j", True),
    ("ij", "j", "i", True),  # transposed, as BLAS can take it
    ("bij", "bi", "j", True),
    ("bij", "b", "ij", True),
    ("bij", "i", "j", True),
    ("bij", "i", "bj", False),
    ("bij", "bj", "i", False),
    ("ijb", "i", "j", False),  # no unit stride
]


@pytest.mark.parametrize(("indices", "rows", "columns", "expected"), MATRICES)
def test_matrices(indices: str, rows: str, columns: str, expected: bool) -> None:
    sizes = {"b": 3, "i": 4, "j": 5}
    assert contraction.is_matrix(rows, columns, steps(indices, sizes), sizes) is expected


def test_a_window_is_no_matrix() -> None:
    assert not contraction.is_matrix("i", "k", {"i": 1, "k": 1}, {"i": 9, "k": 3})


# The convolution 8x58x58x64, 3x3 -> 64, channels innermost: x as a window view, strides in elements.
SIZES = {"b": 8, "i": 56, "j": 56, "o": 64, "r": 3, "s": 3, "c": 64}
X = {"b": 58 * 58 * 64, "i": 58 * 64, "r": 58 * 64, "j": 64, "s": 64, "c": 1}


def test_a_convolution_forward() -> None:
    found = contraction.matrix_product(steps("rsco", SIZES), X, "bijo", steps("bijo", SIZES), True, SIZES, 4, NUMPY)
    assert found.swapped and found.copy_left and not found.copy_right and found.direct and not found.accumulates
    assert (found.batch, found.m, found.n, found.k) == ((), ("b", "i", "j"), ("o",), ("r", "s", "c"))
    assert [i for i, _ in found.blocks] == ["b", "i"]
    rows = prod(dict(found.blocks).get(i, SIZES[i]) for i in found.m)
    assert rows * 9 * 64 * 4 <= NUMPY.copy


def test_its_derivative_by_the_kernel() -> None:
    found = contraction.matrix_product(steps("bijo", SIZES), X, "rsco", steps("rsco", SIZES), True, SIZES, 4, NUMPY)
    assert found.swapped and found.copy_left and not found.copy_right and found.accumulates
    assert (found.m, found.n, found.k) == (("r", "s", "c"), ("o",), ("b", "i", "j"))


def test_channels_first() -> None:
    """y[b,o,i,j]: b becomes a batch, so that each product lands where it belongs."""
    x = {"b": 64 * 58 * 58, "c": 58 * 58, "i": 58, "r": 58, "j": 1, "s": 1}
    found = contraction.matrix_product(steps("ocrs", SIZES), x, "boij", steps("boij", SIZES), True, SIZES, 4, NUMPY)
    assert (found.batch, found.m, found.n, found.direct, found.swapped) == (("b",), ("o",), ("i", "j"), True, False)
    assert (found.copy_left, found.copy_right) == (False, True)


def test_attention_heads() -> None:
    """y[b,t,h,d] = p[b,h,t,u] * v[b,u,h,d]: a batch of heads, each written with a stride."""
    sizes = {"b": 2, "t": 5, "h": 3, "d": 4, "u": 5}
    found = contraction.matrix_product(
        steps("bhtu", sizes), steps("buhd", sizes), "bthd", steps("bthd", sizes), True, sizes, 4, NUMPY
    )
    assert (found.batch, found.m, found.n, found.k) == (("b", "h"), ("t",), ("d",), ("u",))
    assert found.direct and not found.copy_left and not found.copy_right


def test_a_matmul_is_nothing_but_a_matmul() -> None:
    sizes = {"i": 4, "j": 4, "k": 4}
    for a, b in itertools.product(("ij", "ji"), ("jk", "kj")):
        found = contraction.matrix_product(
            steps(a, sizes), steps(b, sizes), "ik", steps("ik", sizes), True, sizes, 4, NUMPY
        )
        assert (found.swapped, found.copy_left, found.copy_right, found.direct, found.blocks) == (
            False,
            False,
            False,
            True,
            (),
        )
        turned = contraction.matrix_product(
            steps(a, sizes), steps(b, sizes), "ki", steps("ki", sizes), True, sizes, 4, NUMPY
        )
        assert turned.swapped and turned.direct


ORDERS = [
    (["ij", "jk", "kl"], "il", {"i": 2, "j": 1000, "k": 1000, "l": 1000}, (0, 1)),
    (["ij", "jk", "kl"], "il", {"i": 1000, "j": 1000, "k": 1000, "l": 2}, (1, 2)),
    (["bi", "oij", "bj"], "bo", {"b": 100, "o": 3, "i": 50, "j": 50}, None),
]


@pytest.mark.parametrize(("factors", "out", "sizes", "first"), ORDERS)
def test_order_of_pairs(factors: list[str], out: str, sizes: dict[str, int], first: tuple[int, int] | None) -> None:
    found = order.order_pairs(factors, out, sizes, NUMPY)
    assert len(found) == len(factors) - 1
    if first is not None:
        assert found[0] == first


def test_the_order_is_the_cheapest() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        sizes = {i: int(rng.integers(2, 9)) for i in "ijklm"}
        factors = ["".join(rng.choice(list("ijklm"), 2, replace=False)) for _ in range(4)]
        out = "".join(sorted(set("".join(factors[:2])))[:2])
        cost = _cost(factors, out, sizes, order.order_pairs(factors, out, sizes, NUMPY))
        every = [list(p) for p in itertools.product(*(itertools.combinations(range(n), 2) for n in (4, 3, 2)))]
        assert cost == min(_cost(factors, out, sizes, pairs) for pairs in every)


def _cost(factors: list[str], out: str, sizes: Mapping[str, int], pairs: Sequence[tuple[int, int]]) -> int:
    parts, total = [set(f) for f in factors], 0
    parts = [{i for i in p if i in out or any(i in q for q in parts if q is not p)} for p in parts]  # summed alone
    for x, y in pairs:
        a, b = parts[x], parts[y]
        rest = [p for k, p in enumerate(parts) if k not in (x, y)]
        total += prod(sizes[i] for i in a | b)
        parts = [*rest, (a | b) & set(out).union(*rest)]
    return total


def test_many_factors_are_ordered_greedily() -> None:
    factors = [f"{a}{b}" for a, b in itertools.pairwise("abcdefghijkl")]
    sizes = dict.fromkeys("abcdefghijkl", 3)
    assert len(order.order_pairs(factors, "al", sizes, NUMPY)) == 10
