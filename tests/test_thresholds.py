"""Kernels on both sides of every size at which they change: the same values as over the whole domain at once.

Each case runs in float32 and float64, forward and by every gradient, with fresh memory full of nan: what is never
written shows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations, product
from typing import Any

import dense
import numpy as np
import pytest
from numpy.typing import NDArray

import indexlang as il
from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.plan.limits import NUMPY, Limits

Array = NDArray[Any]
Sizes = Mapping[str, int]

RNG = np.random.default_rng(11)

pytestmark = [
    pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning"),
    pytest.mark.usefixtures("on_numpy"),  # whose sizes these are
]


@pytest.fixture(autouse=True)
def _fresh_memory_is_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = np.empty

    def filled(shape: Any, dtype: Any = float) -> Array:
        made = empty(shape, dtype)
        if made.dtype.kind in "fc":
            made.fill(np.nan)
        return made

    monkeypatch.setattr(np, "empty", filled)


def assert_same(found: Array, expected: Array, dtype: type, what: str) -> None:
    assert (found.shape, found.dtype) == (expected.shape, dtype), what
    scale = np.max(np.abs(expected), initial=1e-3, where=np.isfinite(expected))
    tolerance = 3e-4 if dtype is np.float32 else 1e-10
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale, err_msg=what)


def assert_agrees(text: str, shapes: Mapping[str, tuple[int, ...]], dtype: type = np.float64) -> None:
    """The kernels' outputs and gradients are those of the whole domain."""
    f = il.compile(text)
    arrays = {t: RNG.standard_normal(shapes[t]).astype(dtype) for t in f.inputs}
    expected = dense.run(f.program, arrays)
    outputs, pullback = f.vjp(**arrays)
    outputs = outputs if isinstance(outputs, dict) else {f.outputs[0]: outputs}
    given = {t: RNG.standard_normal(expected[t].shape).astype(dtype) for t in f.outputs}
    forward = f(**arrays)
    for t in f.outputs:
        assert_same(outputs[t], expected[t], dtype, f"{text}: {t}")
        assert_same(forward if len(f.outputs) == 1 else forward[t], expected[t], dtype, f"{text}: {t}")
    gradients = pullback(given if len(given) > 1 else given[f.outputs[0]])
    names = grad.gradient_names(f.program)
    derived = grad.backward(f.program, f.inputs)
    truth = dense.run(derived, {**arrays, **{names[t]: given[t] for t in f.outputs}})
    for t in f.inputs:
        assert_same(gradients[t], truth[names[t]], dtype, f"{text}: {names[t]}")


def assert_products_agree(
    factors: Mapping[str, str], out: str, sizes: Sizes, dtype: type, limits: Limits = NUMPY
) -> None:
    """A product of reads and its gradients are einsum's, in double precision and in one pass."""
    text = f"y[{spelled(out)}] = {'*'.join(f'{t}[{spelled(own)}]' for t, own in factors.items())}"
    shapes = shapes_of(sizes, **factors, y=out)
    arrays = {t: RNG.standard_normal(s).astype(dtype) for t, s in shapes.items()}
    dy = arrays.pop("y")
    y, pullback = Function(il.compile(text).program, limits=limits).vjp(**arrays)
    assert_same(y, _einsum({t: (own, arrays[t]) for t, own in factors.items()}, out), dtype, text)
    for t, gradient in pullback(dy).items():
        others = {"y": (out, dy), **{o: (own, arrays[o]) for o, own in factors.items() if o != t}}
        assert_same(gradient, _einsum(others, factors[t]), dtype, f"{text}: {t}.grad")


def _einsum(factors: Mapping[str, tuple[str, Array]], out: str) -> Array:
    spelling = ",".join(own for own, _ in factors.values())
    return np.einsum(f"{spelling}->{out}", *(a.astype(np.float64) for _, a in factors.values()), optimize=False)


def shapes_of(sizes: Sizes, **tensors: str) -> dict[str, tuple[int, ...]]:
    return {t: tuple(sizes[i] for i in indices) for t, indices in tensors.items()}


def spelled(indices: str) -> str:
    return ",".join(indices)


DTYPES = [np.float32, np.float64]

# -- a value has one order of axes -------------------------------------------------------------------------

PAIRS = [(3, 16, 16, 18), (3, 4, 10, 22), (1, 5, 5, 7), (2, 1, 3, 130), (3, 7, 1, 5), (3, 9, 9, 1)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("k", "b", "c", "i"), PAIRS)
def test_windows_of_a_function_in_any_order_of_axes(k: int, b: int, c: int, i: int, dtype: type) -> None:
    """The function is computed over one order of axes; the product has another."""
    sizes = {"k": k, "b": b, "c": c, "i": i, "o": 8}
    axes = {"b": "b", "c": "c", "i": "i+k"}
    for out, x, w in [("boi", p, "ock") for p in (("b", "c", "i"), ("i", "c", "b"), ("c", "b", "i"))] + [
        (o, ("b", "c", "i"), w) for o, w in zip(permutations("boi"), permutations("ock"), strict=True)
    ]:
        text = f"y[{spelled(out)}] = W[{spelled(w)}] * tanh(x[{','.join(axes[n] for n in x)}])"
        shape = {"W": tuple(sizes[n] for n in w), "x": tuple(sizes[n] + (k - 1) * (n == "i") for n in x)}
        assert_agrees(text, shape, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "size", [(3, 5, 4, 2), (1, 1, 1, 1), (4, 1, 3, 1), (1, 6, 1, 5), (7, 7, 7, 7), (30, 40, 25, 3)]
)
@pytest.mark.parametrize(
    "text",
    [
        "y[b] = x[b,i,j]*w[k]",
        "y[i] = A[i,j]*B[k]",
        "y[] = A[i,j]*B[k]",
        "y[j,i] = A[i,j]*B[k]",
        "y[b,i] = u[b]*x[i,j,b]/(2 + v[i]**2)",
        "y[i,b] = w[j]*x[i,j,b]*u[b]*v[i]",
        "y[j] = relu(v[i])*tanh(x[b,i,j])*A[b,k]*w[k]",
    ],
)
def test_factors_of_other_ranks(text: str, size: tuple[int, ...], dtype: type) -> None:
    """What the whole sum is multiplied with has other indices than the sum."""
    sizes = dict(zip("bijk", size, strict=True))
    reads = re.findall(r"(\w+)\[([^]]*)\]", text.split(" = ")[1])
    assert_agrees(text, {t: tuple(sizes[i] for i in indices.split(",")) for t, indices in reads}, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("j", "count"), [(4, 3), (1, 3), (4, 1), (130, 130)])
def test_an_index_of_the_range_alone(j: int, count: int, dtype: type) -> None:
    a, b = RNG.standard_normal(count).astype(dtype), RNG.standard_normal(5).astype(dtype)
    found = il.compile(f"y[i,j] = a[k]*b[i] where j < {j}")(a=a, b=b)
    assert_same(found, np.repeat((np.sum(a, dtype=np.float64) * b)[:, None], j, 1), dtype, "y")


@pytest.mark.parametrize("n", [1, 5, 300])
@pytest.mark.parametrize(
    "text", ["y[k] = w[k]*x[k-k+2]", "y[k] = w[k]*x[0*k]", "y[k] = w[k]*x[(size(w,0)-size(w,0))*k+1]"]
)
def test_an_index_that_cancels_in_a_subscript(text: str, n: int) -> None:
    assert_agrees(text, {"w": (n,), "x": (n + 2,)})


@pytest.mark.parametrize("n", [1, 5, 20_000])
def test_an_index_that_cancels_in_a_target(n: int) -> None:
    x = RNG.standard_normal(n)
    np.testing.assert_allclose(il.compile("y[0*i] += x[i]")(x=x), [x.sum()])
    np.testing.assert_allclose(il.compile("y[i-i+1] max= x[i]")(x=x), [-np.inf, x.max()])


BATCHES = [
    (1000, 3, 3, 1),
    (1000, 3, 3, 3),
    (1000, 1, 3, 1),
    (1000, 3, 1, 3),
    (300, 8, 8, 1),
    (300, 9, 9, 2),
    (5, 3, 3, 1),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("p", "k", "j", "o"), BATCHES)
def test_many_small_products(p: int, k: int, j: int, o: int, dtype: type) -> None:
    """Few neighbours are summed at each of many places; one operand has an axis of one element."""
    sizes = {"p": p, "k": k, "j": j, "o": o}
    for r, x, out in [("pkj", "pjo", "pko"), ("kpj", "pjo", "opk"), ("pjk", "ojp", "kpo"), ("pkj", "opj", "pok")]:
        assert_products_agree({"R": r, "x": x}, out, sizes, dtype)


@pytest.mark.parametrize("n", [3, 33, 130])
def test_a_stack_of_products_is_laid_out_as_its_tensor(n: int) -> None:
    """NumPy lays a stack of products as its operands lie; what is made of it reads strides."""
    text = "y[a,b,m,n] = x[b,a,m,k]*w[b,a,k,n]\nz[a,b,i] = y[a,b,i,i]"
    x, w = RNG.standard_normal((3, 4, n, 5)), RNG.standard_normal((3, 4, 5, n))
    np.testing.assert_allclose(il.compile(text)(x=x, w=w), np.einsum("baik,baki->abi", x, w), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("b", "c"), [(8, 20), (128, 260), (130, 1)])
def test_taps_are_in_no_blocks(b: int, c: int, dtype: type) -> None:
    """A factor that is computed for each tap is large only where all taps are counted."""
    text = f"y[] = 0.5*relu(x[a+b,c])*relu(u[2*a+b])*v[a+c] where a < 25, b < {b}, c < {c}"
    assert_agrees(text, {"x": (24 + b, c), "u": (48 + b,), "v": (24 + c,)}, dtype)


# -- what is written is a view -----------------------------------------------------------------------------

PRODUCTS = [  # left, right, out, some of whose axes do not merge
    ("cba", "b", "ac"),
    ("ebf", "fad", "deab"),
    ("abk", "kcd", "acbd"),
    ("akb", "ckd", "dbca"),
    ("gak", "gkb", "agb"),
    ("ghak", "hgkb", "abhg"),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("copy", [1 << 10, 1 << 14, NUMPY.copy])
@pytest.mark.parametrize(("left", "right", "out"), PRODUCTS)
def test_products_written_where_they_belong(left: str, right: str, out: str, copy: int, dtype: type) -> None:
    """Indices that move to the batch, and blocks, take apart what merged before."""
    names = sorted({*left, *right})
    for size in ((2, 3, 4), (8, 8, 8), (12, 15, 8), (1, 20, 9), (33, 5, 1)):
        sizes = {i: size[k % 3] for k, i in enumerate(names)}
        for order in list(permutations(out))[:: 1 if len(out) < 4 else 7]:
            assert_products_agree({"x": left, "w": right}, "".join(order), sizes, dtype, replace(NUMPY, copy=copy))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(64, 100, 128), (65, 9, 127), (128, 100, 1)])
def test_a_vector_times_a_turned_array(size: tuple[int, int, int], dtype: type) -> None:
    for order, out in product(permutations(size), ("ac", "ca")):
        assert_products_agree({"x": "cba", "w": "b"}, out, dict(zip("cba", order, strict=True)), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("f", [8, 100])
def test_a_gradient_whose_axes_do_not_merge(f: int, dtype: type) -> None:
    sizes = {"e": 64, "b": 33, "f": f, "a": 16, "d": 8}
    assert_products_agree({"x": "ebf", "w": "fad"}, "deab", sizes, dtype)


@pytest.mark.parametrize("copy", [1 << 10, 1 << 14, NUMPY.copy])
def test_products_on_the_way_to_others(copy: int) -> None:
    for size in ((6, 5, 4, 3, 7), (10, 10, 10, 10, 10), (33, 1, 20, 9, 12)):
        sizes = dict(zip("abcde", size, strict=True))
        for out in ("ae", "eba", "cea"):
            factors = {"x": "cba", "w": "dbc", "u": "ed"}
            assert_products_agree(factors, out, sizes, np.float64, replace(NUMPY, copy=copy))


# -- an index that only a range names ----------------------------------------------------------------------

LARGE = [(200, 100), (128, 128), (127, 129), (1, 16_385), (60, 50)]  # about 16,384 elements and fewer


@pytest.mark.parametrize(("b", "c"), LARGE)
@pytest.mark.parametrize("count", [1, 3, 9])
@pytest.mark.parametrize(
    "text",
    [
        "s[b,c] = sum[k](x[b,c,k] + g[b,c])\ny[i,j] = s[i,j]**2",
        "h[i,j] = tanh(g[i,j])\ny[b,c] = h[b,c] where k < {k}\nz[i,j] = y[i,j] + 1",
        "h[i,j] = tanh(g[i,j])\ny[c] = h[b,c]*g[b,c] where k < {k}\nz[i] = y[i] + 1",
        "h[i,j] = tanh(g[i,j])\ny[c] max= h[b,c] where k < {k}\nz[i] = y[i] + h[0,i]",
        "s[b,c] = 2*g[b,c]*u[b]/v[c] where k < {k}",
        "h[j,i] = g[i,j]\nh[b,c] += g[c,b] where k < {k}\nz[i,j] = h[i,j]*h[i,j]",
    ],
)
def test_an_index_that_only_a_range_names_counts(text: str, b: int, c: int, count: int) -> None:
    """Renaming, scaling and sharing keep it."""
    shapes = {"x": (b, c, count), "g": (b, c), "u": (b,), "v": (c,)}
    assert_agrees(text.replace("{k}", str(count)).replace("/v[c]", "/(2 + v[c]**2)"), shapes, DTYPES[count // 3 % 2])


@pytest.mark.parametrize("n", [3, 70])
@pytest.mark.parametrize(
    "text",
    [
        "y[i,l] = a[i,j]*b[j,k]*c[k,l] where r < 3\nz[i,m] = a[i,j]*b[j,k]*d[k,m] where r < 2",  # shared
        "y[g,i,o] = p[g,i,j]*q[g,j,o] where r < 3",  # merged groups
        "y[i+t,j+u] = w[t,u,o]*p[i,j,o] where r < 3",  # unfolded taps
    ],
)
def test_an_index_that_only_a_range_names_counts_in_products(text: str, n: int) -> None:
    f = il.compile(text)
    ranks = {"a": (n, n), "b": (n, n), "c": (n, n), "d": (n, n), "p": (4 * n, n, 3), "q": (4 * n, 3, 2), "w": (5, 5, 3)}
    if "p[g" in text:
        ranks["p"] = (4, 3 * n, 3)
        ranks["q"] = (4, 3, 2)
    assert_agrees(text, {t: ranks[t] for t in f.inputs})


# -- masks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "h"), [(5, 1), (5, 70), (64, 4), (70, 4), (130, 1), (130, 3)])
@pytest.mark.parametrize(
    "text",
    [
        "s[t,u] = x[t,u,h] where u <= t",
        "s[t] = x[t,u,h] where u != t",
        "s[u,h] = x[t,u,h] where t < u",
        "y[b,t,u] = q[t] - k[u] where b < {h}, u <= t",
        "y[u,t,b] = q[t] where b < {h}, u < {n}, u <= t",
        "y[b,t] = q[t] where b < {h}, b != 2",
        "y[t,b] += q[t]*k[t] where b < {h}, b <= t",
    ],
)
def test_masks_and_indices_that_they_do_not_ask_for(text: str, n: int, h: int, dtype: type) -> None:
    shapes = {"x": (n, n, h), "q": (n,), "k": (n,)}
    assert_agrees(text.replace("{h}", str(h)).replace("{n}", str(n)), shapes, dtype)


# -- sums of a chain ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("a", "b"), [(60, 50), (300, 130), (130, 300), (1100, 70), (40_000, 2), (3, 30_000)])
@pytest.mark.parametrize(
    "text",
    [
        "h[a,b] = tanh(x[a,b])\nu[b] = h[a,b]\nu[b] += h[a,b]*s[b]",
        "h[a,b] = tanh(x[a,b])\nu[b] = h[a,b]\nu[b] += z[a,b]\nv[b] = h[a,b]*s[b]",
        "h[a,b] = tanh(x[a,b])\nv[b] = s[b]*h[a,b]\nu[b] = h[a,b]\nu[b] += 3*h[a,b]\nw[b] = h[a,b]",
        "h[a,b] = tanh(x[a,b])\nu[a] = h[a,b]\nu[a] += 2*h[a,b]\nw[] = h[a,b]\nw[] += h[a,b]*z[a,b]",
        "h[a,b] = tanh(x[a,b])\nu[b] max= h[a,b]\nu[b] max= z[a,b]\nw[b] max= h[a,b]",
    ],
)
def test_sums_that_several_statements_need(text: str, a: int, b: int, dtype: type) -> None:
    """A sum over blocks is made once, whatever it is multiplied with and wherever it goes."""
    assert_agrees(text, {"x": (a, b), "z": (a, b), "s": (b,)}, dtype)


@pytest.mark.parametrize("c", [1, 3, 8, 9])
@pytest.mark.parametrize("n", [20, 300])
def test_a_factor_without_a_short_innermost_axis(c: int, n: int) -> None:
    shapes = {"w": (2, n, 3), "x": (2, n + 2, c)}
    assert_agrees("y[b,i,c] = w[b,i,k] * x[b,i+k,c]", shapes, np.float32)
    assert_agrees(f"y[b,i,c] = -w[b,i,k] * x[b,i+k,c]\ny[b,i,c] += x[b,i,c] where i < {n}", shapes)


@pytest.mark.parametrize("text", ["y[n,i,o] = a[n,o] * b[n,i] * z[n,j]", "W[i,j,o] = a[n,o] * b[n,i] * z[n,j]"])
@pytest.mark.parametrize("n", [1, 7, 40])
def test_a_product_that_becomes_a_factor_lies_as_its_operands(text: str, n: int) -> None:
    assert_agrees(text, {"a": (n, 32), "b": (n, 16), "z": (n, 24)}, np.float32)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("c", [1, 128])
def test_a_loop_over_one_value(m: int, c: int) -> None:
    text = "y[b,i,(c,m)] = K[d,c,m] * x[b,pad(i+d,1),c]"
    assert_agrees(text, {"K": (3, c, m), "x": (4, 56, c)}, np.float32)


@pytest.mark.parametrize("condition", ["u <= t", "u < t", "u <= t + 2", "u >= t", "u <= 2*t", "u <= 5 - t"])
@pytest.mark.parametrize("size", [3, 40])
def test_prefixes_up_to_an_index(condition: str, size: int) -> None:
    assert_agrees(f"y[b,t] = x[b,u] where t < {size}, {condition}", {"x": (6, 40)})


@pytest.mark.parametrize("taps", [2, 254, 255, 256, 300])
def test_positions_in_windows_of_any_length(taps: int) -> None:
    f = il.compile(f"y[i] = argmax[k](x[i+k]) where k < {taps}")
    x = RNG.standard_normal(taps + 40)
    x[-30:] = x.max() + np.arange(30)  # winners at the ends of windows
    found = Function(f.program, limits=replace(NUMPY, sliding=400, long=4))(x=x)
    np.testing.assert_array_equal(found, [np.argmax(x[i : i + taps]) for i in range(41)])


@pytest.mark.parametrize("size", [(2, 3), (4, 16), (60, 16), (200, 16)])
@pytest.mark.parametrize(
    "text", ["y[i,j] = x[i,d]-z[j,d]", "y[i,j] = sum[d](x[i,d]-z[j,d])", "y[i,j] = w[d]*(x[i,d]-z[j,d])"]
)
@pytest.mark.parametrize("where", ["all", "every second", "two"])
def test_differences_of_what_is_far_out(size: tuple[int, int], text: str, where: str) -> None:
    """As exact as term by term: what is near each other far from the rest, too."""
    rng = np.random.default_rng(5)
    x, z = (rng.standard_normal(size).astype(np.float32) for _ in range(2))
    far = {"all": slice(None), "every second": slice(None, None, 2), "two": slice(2)}[where]
    x[far] += 1e6
    z[far] += 1e6
    given = {"w": np.ones(size[1], np.float32)} if "w" in text else {}
    difference = x[:, None].astype(np.float64) - z
    right = difference.sum(-1)
    error = np.abs(il.compile(text)(x=x, z=z, **given) - right)
    assert np.all(error <= 4e-6 * np.abs(difference).sum(-1))
