"""Small groups merged to fewer products: the same values as group by group, and nothing leaks from one to another."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from planned import sized

import indexlang as il
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.plan.limits import NATIVE, NUMPY
from indexlang.plan.rewrites.merge_groups import merge_groups
from indexlang.program.ir import Statement
from indexlang.syntax.parser import parse

RNG = np.random.default_rng(8)
TEXT = "y[b,i,j,(g,o)] = K[di,dj,c,(g,o)] * x[b,i+di,j+dj,(g,c)] where g < {groups}"


def statement(text: str) -> Statement:
    return resolve(parse(Source(text))).statements[0]


@pytest.mark.parametrize(
    ("text", "sizes", "together"),
    [
        ("y[i,g,o] = K[g,c,o] * x[i,g,c]", {"i": 300, "g": 12, "c": 4, "o": 4}, 6),
        ("y[i,g,o] = K[g,c,o] * x[i,g,c]", {"i": 300, "g": 7, "c": 4, "o": 4}, 7),
        ("y[i,g,o] = K[g,c,o] * x[i,g,c]", {"i": 300, "g": 11, "c": 4, "o": 4}, None),  # no divisor up to 8
        ("y[i,g,o] = K[g,c,o] * x[i,g,c]", {"i": 300, "g": 12, "c": 4, "o": 32}, None),  # wide enough
        ("y[i,g,o] = K[g,c,o] * x[i,g,c]", {"i": 20, "g": 12, "c": 4, "o": 4}, None),  # few rows
        ("y[g,i,o] = K[g,c,o] * x[g,i,c]", {"i": 300, "g": 12, "c": 4, "o": 4}, None),  # each group by itself in memory
        ("y[i,g] = K[g,c] * x[i,g,c]", {"i": 300, "g": 12, "c": 4}, None),  # nothing but the group
        ("K[g,c,o] = y[i,g,o] * x[i,g,c]", {"i": 3000, "g": 12, "c": 4, "o": 4}, 6),
    ],
)
def test_what_is_merged(text: str, sizes: dict[str, int], together: int | None) -> None:
    stmt = statement(text)
    found = merge_groups(stmt, {i: (0, sizes[i]) for i in stmt.domain.indices}, NUMPY)
    assert (None if found is None else found.note) == (None if together is None else f"{together} g in one product")


@pytest.mark.parametrize(("c", "together"), [(2, 8), (4, 4), (8, 2), (16, None)])
def test_for_nests_groups_fill_a_vector_and_no_more(c: int, together: int | None) -> None:
    stmt = statement("y[i,g,o] = K[g,c,o] * x[i,g,c]")
    found = merge_groups(stmt, {"i": (0, 300), "g": (0, 32), "c": (0, c), "o": (0, c)}, NATIVE)
    assert (None if found is None else found.note) == (None if together is None else f"{together} g in one product")


def looped(x: np.ndarray, k: np.ndarray, n: int) -> np.ndarray:
    """Group by group, tap by tap."""
    c, o, h, w = x.shape[-1] // n, k.shape[-1] // n, x.shape[1] - k.shape[0] + 1, x.shape[2] - k.shape[1] + 1
    y = np.zeros((x.shape[0], h, w, k.shape[-1]), np.result_type(x, k))
    with np.errstate(all="ignore"):
        for g, i, j, a in product(range(n), *map(range, k.shape[:3])):
            y[..., g * o : (g + 1) * o] += x[:, i : i + h, j : j + w, g * c + a, None] * k[i, j, a, g * o : (g + 1) * o]
    return y


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex128, np.int64])
@pytest.mark.parametrize(("n", "c", "o"), [(8, 4, 4), (6, 2, 8), (5, 3, 1), (9, 1, 2), (4, 16, 16), (3, 5, 7)])
def test_grouped_convolution(n: int, c: int, o: int, dtype: type) -> None:
    x = (3 * RNG.standard_normal((2, 14, 15, n * c))).astype(dtype)
    k = (3 * RNG.standard_normal((3, 2, c, n * o))).astype(dtype)
    f = il.compile(TEXT.format(groups=n))
    wide = {np.float16: np.float32}.get(dtype, dtype)
    tolerance = {np.float16: 2e-2, np.float32: 1e-4}.get(dtype, 1e-11)
    np.testing.assert_allclose(
        f(x=x, K=k), looped(x.astype(wide), k.astype(wide), n), rtol=tolerance, atol=30 * tolerance
    )


@pytest.mark.parametrize(("n", "c", "o"), [(8, 4, 4), (6, 2, 8), (4, 16, 16), (3, 5, 7)])
def test_gradients_of_groups(n: int, c: int, o: int) -> None:
    """What is linear: its gradients are the sums over each element's own contributions."""
    x, k = RNG.standard_normal((2, 14, 15, n * c)), RNG.standard_normal((3, 2, c, n * o))
    y, pullback = il.compile(TEXT.format(groups=n)).vjp(x=x, K=k)
    dy = RNG.standard_normal(y.shape)
    found = pullback(dy)
    for tensor, given in (("x", x), ("K", k)):
        way = RNG.standard_normal(given.shape)
        moved = looped(way, k, n) if tensor == "x" else looped(x, way, n)
        np.testing.assert_allclose((found[tensor] * way).sum(), (dy * moved).sum(), rtol=1e-10)
        for _ in range(5):  # an element by itself
            at = tuple(int(RNG.integers(s)) for s in given.shape)
            one = np.zeros_like(given)
            one[at] = 1
            moved = looped(one, k, n) if tensor == "x" else looped(x, one, n)
            np.testing.assert_allclose(found[tensor][at], (dy * moved).sum(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "K"])
def test_no_group_sees_another(where: str, value: float) -> None:
    n = 8
    given = {"x": RNG.standard_normal((2, 14, 15, n * 4)), "K": RNG.standard_normal((3, 2, 4, n * 4))}
    given[where][1, 1, 2, 9] = value
    f = il.compile(TEXT.format(groups=n))
    assert "in one product" in str(f.plan(**{t: a.shape for t, a in given.items()}))
    expected = looped(given["x"], given["K"], n)
    assert np.isfinite(expected).any() and not np.isfinite(expected).all()
    np.testing.assert_allclose(f(**given), expected)
    y, pullback = f.vjp(**given)
    dy = RNG.standard_normal(y.shape)
    for g in range(n):  # of each group the gradients are those of that group alone
        part = slice(4 * g, 4 * g + 4)
        alone = il.compile("y[b,i,j,o] = K[di,dj,c,o] * x[b,i+di,j+dj,c]")
        _, one = alone.vjp(x=given["x"][..., part], K=given["K"][..., part])
        expected = one(dy[..., part])
        for tensor, found in pullback(dy).items():
            np.testing.assert_allclose(found[..., part], expected[tensor], rtol=1e-9, atol=1e-9)


def test_added_to_what_is_there() -> None:
    f = sized(il.compile("y[i,g,o] = z[i,g,o]\ny[i,g,o] += K[g,c,o] * x[i,g,c]"), long=1)
    z, k, x = (RNG.standard_normal(s) for s in ((5, 4, 3), (4, 2, 3), (5, 4, 2)))
    np.testing.assert_allclose(f(z=z, K=k, x=x), z + np.einsum("gco,igc->igo", k, x))


@pytest.mark.parametrize("text", ["1 <= i < 3", "1 <= o < 3"])
def test_ranges_that_begin_later(text: str) -> None:
    rng = np.random.default_rng(0)
    x, k = rng.standard_normal((500, 32, 4)), rng.standard_normal((32, 4, 5))
    found = il.compile(f"y[b,g,o] = x[b,g,i] * K[g,i,o] where {text}")(x=x, K=k)
    i = slice(1, 3) if "i <" in text else slice(None)
    expected = np.einsum("bgi,gio->bgo", x[:, :, i], k[:, i])
    if "o <" in text:
        expected = expected[:, :, :3]
        expected[:, :, 0] = 0
    np.testing.assert_allclose(found, expected)
