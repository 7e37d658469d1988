"""Products under conditions: where some point is admitted for sure, nothing asks for it; elsewhere it is asked."""

from __future__ import annotations

import dense
import numpy as np
import pytest
from planned import sized
from random_programs.one import assert_right

import indexlang
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.plan.limits import NUMPY, TINY
from indexlang.syntax.parser import parse

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

N = 9
MASKS = [  # and whether some j is admitted for each i
    ("j <= i", True),
    ("i <= j", True),
    ("i - 2 <= j, j <= i", True),
    ("i < j + 2, j < i + 1", True),
    ("j <= i + 2, j <= 8 - i", True),
    ("j < i", False),
    ("i < j", False),
    ("j + 3 <= i", False),
    ("i - 4 <= j, j <= i - 2", False),
    ("j <= i, i + j >= 9", False),
    ("2*j <= i", False),  # it is, but that is not looked for
    ("j <= i, m[i] > 0", False),
]


@pytest.mark.parametrize("bad", [None, np.inf, np.nan])
@pytest.mark.parametrize("limits", [NUMPY, TINY], ids=["numpy", "tiny"])
@pytest.mark.parametrize(("mask", "always"), MASKS, ids=[m for m, _ in MASKS])
def test_what_meets_no_point_adds_nothing(mask: str, always: bool, limits, bad) -> None:  # type: ignore[no-untyped-def]
    text = f"y[b] = x[b,i]*W[i,j]*z[b,j] where {mask}"
    rng = np.random.default_rng(2)
    arrays = {"x": rng.random((64, N)), "W": rng.random((N, N)), "z": rng.random((64, N)), "m": rng.normal(size=N)}
    f = sized(indexlang.compile(text), limits)
    for i in range(N if bad is not None else 1):
        given = {name: a.copy() for name, a in arrays.items() if name in f.inputs}
        if bad is not None:
            given["x"][i, i], given["x"][i + 1, N - 1 - i] = bad, bad
        with np.errstate(all="ignore"):
            expected = dense.run(resolve(parse(Source(text))), given)["y"]
            np.testing.assert_allclose(f(**given), expected, rtol=1e-12)
    if limits is NUMPY and "masked contraction" in str(f.plan(**given)):
        source = f.emit(**given)
        asked = "logical_or.reduce(mask" in source or "logical_or.reduce(np.logical_and(" in source
        assert asked != always


def test_a_bound_in_blocks_of_what_it_bounds() -> None:
    """Of a block of j there may be no point for some i, though there is one in another block."""
    text = "y[b,e] = x[b,i]*W[i,j]*z[b,j]*v[i,e] where j <= i"
    rng = np.random.default_rng(3)
    given = {"x": rng.random((5, 40)), "W": rng.random((40, 40)), "z": rng.random((5, 40)), "v": rng.random((40, 3))}
    given["v"][4, 1] = given["x"][2, 7] = np.inf
    for limits in ({"copy": 64, "block": 64}, {"tile": 1, "call": 1}, {"large": 256}):
        f = sized(indexlang.compile(text), TINY, **limits)
        with np.errstate(all="ignore"):
            expected = dense.run(resolve(parse(Source(text))), given)["y"]
            np.testing.assert_allclose(f(**given), expected, rtol=1e-12)


ROWS = [
    "y[b,d] = x[b,t,d]/(n[b]+1) where t <= n[b]",
    "y[b,d] = x[b,t,d] where t < n[b]",
    "y[b,d] = x[b,t,d]*c[d] where t >= n[b], t != 3",
    "y[b,d] += -x[b,t,d]/c[d] where t <= n[b], m[t] > 0",
]


@pytest.mark.parametrize("text", ROWS)
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_rows_of_which_some_are_admitted(text: str, kind: str) -> None:
    """By a product with 0 and 1, not by a chain; what is refused adds nothing, nor does what stands around no point."""
    rng = np.random.default_rng(4)
    arrays = {"x": rng.random((6, 8, 5)), "c": rng.random(5), "m": rng.normal(size=8)}
    given = {k: a.astype(kind) for k, a in arrays.items() if f"{k}[" in text}
    given["n"] = np.array([-1, 0, 3, 7, 8, 20])
    f = sized(indexlang.compile(text), sum=16, separate=1, slim=2, larger=1, call=1)
    assert "masked contraction" in str(f.plan(**given))
    for spoilt in ("", "x", "c"):
        if spoilt and spoilt not in given:
            continue
        for bad in (np.inf, np.nan):
            again = {name: a.copy() for name, a in given.items()}
            if spoilt:
                again[spoilt].reshape(-1)[[0, again[spoilt].size // 2, -1]] = bad
            with np.errstate(all="ignore"):
                expected = dense.run(resolve(parse(Source(text))), again)["y"]
                np.testing.assert_allclose(f(**again), expected, rtol=1e-12 if kind == "float64" else 1e-5)


@pytest.mark.parametrize("text", ["y[b,d] = x[b,k,d]*v[b,k]", "y[b,d] = v[b,k]*x[b,d,k]", "y[d,b] = x[k,b,d]*v[k,b]"])
@pytest.mark.parametrize("shape", [(7, 2, 3), (7, 9, 8), (7, 1, 80), (40, 80, 1), (1, 9, 8)])
@pytest.mark.parametrize("kind", ["float32", "float64", "complex64", "int64"])
def test_a_batch_of_matrices_by_vectors(text: str, shape: tuple[int, int, int], kind: str) -> None:
    rng = np.random.default_rng(5)
    size = dict(zip("bkd", shape, strict=True))
    axes = {name: text.split(f"{name}[")[1].split("]")[0].split(",") for name in "xv"}
    arrays = {name: (rng.normal(size=[size[i] for i in own]) * 9).astype(kind) for name, own in axes.items()}
    for limits in (NUMPY, TINY):
        f = sized(indexlang.compile(text), limits)
        found, told = f(**arrays), str(f.plan(**arrays))
        wanted = np.einsum(_letters(text), arrays["x"], arrays["v"])
        np.testing.assert_allclose(found, wanted, rtol=1e-4 if kind in ("float32", "complex64") else 1e-12, atol=1e-3)
    large = shape == (7, 9, 8) and kind != "int64" and limits is TINY
    assert not large or "einsum of two" not in told


def _letters(text: str) -> str:
    """The program as einsum writes it, x before v."""
    own = {name: text.split(f"{name}[")[1].split("]")[0].replace(",", "") for name in "yxv"}
    return f"{own['x']},{own['v']}->{own['y']}"


def test_what_is_summed_under_a_condition_needs_no_room() -> None:
    """Only an array that is made on the way counts: a bound is let in where W has both of its indices."""
    f = indexlang.compile("y[b] = x[b,i]*W[i,j]*x[b,j] where j <= i", backend="numpy")
    given = {"x": np.ones((512, 128), np.float32), "W": np.ones((128, 128), np.float32)}
    assert "at a time" not in str(f.plan(**given))
    np.testing.assert_array_equal(f(**given), 128 * 129 / 2)
    # Neither has both: all points, in blocks.
    g = indexlang.compile("y[b] = x[b,i]*z[b,j] where x[b,i] < z[b,j]", backend="numpy")
    rng = np.random.default_rng(6)
    given = {name: rng.random((300, 200)) for name in "xz"}
    assert "at a time" in str(g.plan(**given))
    expected = np.einsum("bij,bi,bj->b", given["x"][:, :, None] < given["z"][:, None], given["x"], given["z"])
    np.testing.assert_allclose(g(**given), expected, rtol=1e-12)


def test_an_index_of_a_loop_is_not_summed_again() -> None:
    text = "y[i,j] = x[k,i] * w[l] where j < 1, l < 2, 1 == j, i + l"
    rng = np.random.default_rng(1)
    assert_right(text, {"x": rng.standard_normal((2, 1)), "w": rng.standard_normal(2)}, "vjp float64")


@pytest.mark.parametrize("odd", [0.0, np.nan, np.inf])
def test_the_sum_is_asked_along_indices_of_the_target_alone(odd: float) -> None:
    rng = np.random.default_rng(7)
    g, p = rng.standard_normal(25), rng.standard_normal((2, 6, 4, 4))
    p[1, 5, 2, 3] += odd  # refused
    text = "y[e] = g[4*a+b+h] * p[h,a,b,c] where e < 3, a < 6, b < 4, h < 2, c < 4, 4 + 4*a + c < 24"
    a, c = np.arange(6)[:, None, None], np.arange(4)
    admitted = np.where(4 + 4 * a + c < 24, p, 0)
    around = np.arange(6)[:, None] * 4 + np.arange(4) + np.arange(2)[:, None, None]
    expected = (g[around][..., None] * admitted).sum()
    np.testing.assert_allclose(sized(indexlang.compile(text), TINY)(g=g, p=p), [expected] * 3, rtol=1e-12)
