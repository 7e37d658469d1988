"""Blocks of which an inner one ends where a step around it says: ranges, shapes and values are those of each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import triangles
from numpy.typing import NDArray

import indexlang
from indexlang.oracle import loops

Array = NDArray[Any]
BACKENDS = ("numpy", "native")
CHAIN = "(m[i,i+k] + m[i+k+1,i+l] + p[i]*p[i+k+1]*p[i+l+1])"
CHAINS = {
    "base": f"""\
layer chain(p[P]) -> m:
    m[i,i] = 0 where i < P-1
    for 1 <= l < P-1:
        for i < P-1-l:
            m[i,i+l] = min[k]{CHAIN} where k < l
""",
    "declared": f"""\
layer chain(p[P]) -> m:
    shape m[P-1,P-1]
    for 1 <= l < P-1:
        for i < P-1-l:
            m[i,i+l] = min[k]{CHAIN} where k < l
""",
    "one line": f"""\
layer chain(p[P]) -> m[P-1,P-1]:
    m[i,i] = 0
    for 1 <= l < P-1, i < P-1-l:
        m[i,i+l] = min[k]{CHAIN} where k < l
""",
    "by ends": """\
layer chain(p[P]) -> m:
    m[i,i] = 0 where i < P-1
    for i < P-1 reversed:
        for i < j < P-1:
            m[i,j] = min[k](m[i,k] + m[k+1,j] + p[i]*p[k+1]*p[j+1]) where i <= k < j
""",
    "accumulated": f"""\
layer chain(p[P]) -> c:
    m[i,i] = 0 where i < P-1
    for 1 <= l < P-1:
        for i < P-1-l:
            m[i,i+l] min= {CHAIN} where k < l
    c[i,j] = m[i,j] where i <= j
""",
}


def chain(p: Array) -> Array:
    """The least number of products for each chain of matrices, by plain loops."""
    n = len(p) - 1
    m = np.zeros((n, n), np.result_type(p, 0.0))
    for l in range(1, n):  # noqa: E741
        for i in range(n - l):
            ways = (m[i, i + k] + m[i + k + 1, i + l] + p[i] * p[i + k + 1] * p[i + l + 1] for k in range(l))
            m[i, i + l] = min(ways, key=np.real)
    return m


def slope(made: Callable[..., Array], arrays: Mapping[str, Array], moves: Mapping[str, Array]) -> Array:
    """The derivative in a direction, by a complex step."""
    moved: Array = made(**{n: a + 1e-30j * moves[n] if n in moves else a for n, a in arrays.items()})
    return moved.imag / 1e-30


def one(value: Any, name: str) -> Any:
    return value[name] if isinstance(value, dict) else value


def checked(text: str, arrays: Mapping[str, Array], right: Callable[..., Array], backend: str) -> None:
    """Values, gradients and tangents are those of plain loops, and derived texts parse back."""
    f = indexlang.compile(text, backend=backend)
    (name,), value = f.outputs, right(**arrays)
    found = one(f(**arrays), name)
    assert found.shape == value.shape
    np.testing.assert_allclose(found, value)
    np.testing.assert_allclose(loops.run(f.program, arrays)[name], value)
    weights = np.random.default_rng(7).standard_normal(value.shape)
    gradient, tangent = f.grad(), f.tangent()
    gradients = gradient(**arrays, **{f"{name}.grad": weights})
    for n, a in arrays.items():
        unit = np.eye(a.size).reshape(a.size, *a.shape)
        wanted = [np.sum(weights * slope(right, arrays, {n: u})) for u in unit]
        np.testing.assert_allclose(one(gradients, f"{n}.grad").ravel(), wanted, atol=1e-12)
    moves = {n: np.random.default_rng(8).standard_normal(a.shape) for n, a in arrays.items()}
    np.testing.assert_allclose(one(f.jvp(moves, **arrays)[1], f"{name}.dot"), slope(right, arrays, moves), atol=1e-12)
    for derived in (f, gradient, tangent):
        assert indexlang.compile(str(derived)).program == derived.program


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_of_products(name: str, backend: str) -> None:
    checked(CHAINS[name], {"p": np.array([3.0, 1.5, 4.0, 1.25, 5.0, 2.0])}, chain, backend)


@pytest.mark.parametrize("name", CHAINS)
def test_short_chains(name: str) -> None:
    f = indexlang.compile(CHAINS[name], backend="numpy")
    for count in (1, 2, 3, 4):
        p = np.arange(1.0, 1.0 + count)
        np.testing.assert_allclose(f(p=p), chain(p))


def test_a_tensor_that_one_statement_sets_has_the_axis_that_its_step_has_beside_it() -> None:
    text = f"""\
for 1 <= l < size(p,0)-1:
    for i < size(p,0)-1-l:
        m[i,i+l] = min[k]{CHAIN} where k < l
"""
    p = np.array([3.0, 1.5, 4.0, 1.25, 5.0])
    for f in (indexlang.compile(text, backend="numpy"), indexlang.compile(text, backend="numpy").tangent()):
        found = f(**{n: p for n in f.inputs})
        assert one(found, f.outputs[0]).shape == (5, 4)


def inside(R: Array, w: Array) -> Array:  # noqa: N803
    """The inside algorithm by plain loops."""
    n = len(w)
    s = np.zeros((n, n, len(R)), np.result_type(R, w))
    for i in range(n):
        s[i, i] = w[i]
    for l in range(1, n):  # noqa: E741
        for i in range(n - l):
            for k in range(l):
                s[i, i + l] += np.einsum("abc,b,c->a", R, s[i, i + k], s[i + k + 1, i + l])
    return s


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_inside_algorithm(backend: str) -> None:
    text = """\
layer inside(R[A,A,A], w[N,A]) -> s:
    s[i,i,a] = w[i,a]
    for 1 <= l < N:
        for i < N-l:
            s[i,i+l,a] += R[a,b,c]*s[i,i+k,b]*s[i+k+1,i+l,c] where k < l
"""
    numbers = np.random.default_rng(3)
    checked(text, {"R": numbers.uniform(0.1, 1, (3, 3, 3)), "w": numbers.uniform(0.1, 1, (4, 3))}, inside, backend)


def test_other_programs_from_a_chain() -> None:
    f = indexlang.compile(CHAINS["base"].replace("-> m:", "-> best:") + "    best = m[0,P-2]\n", backend="numpy")
    p, move = np.array([3.0, 1.5, 4.0, 1.25, 5.0]), np.array([0.5, -1.0, 0.25, 2.0, 1.0])
    gradient, gathered = f.grad(seed=1), f.grad(seed=1, form="gather")
    np.testing.assert_allclose(one(gathered(p=p), "p.grad"), one(gradient(p=p), "p.grad"))
    assert indexlang.compile(str(gathered)).program == gathered.program
    near = [one(gradient(p=p + s * 1e-4 * move), "p.grad") for s in (1, -1)]
    np.testing.assert_allclose(one(f.hvp({"p": move}, p=p), "p"), (near[0] - near[1]) / 2e-4, rtol=1e-6, atol=1e-9)
    found = f.batched("n", ["p"])(p=np.stack([p, 2 * p]))
    np.testing.assert_allclose(found, [chain(p)[0, -1], chain(2 * p)[0, -1]])


def binomials(x: Array) -> Array:
    c = np.zeros((len(x), len(x)), x.dtype)
    for n in range(len(x)):
        c[n, 0] = x[n]
        for k in range(1, n + 1):
            c[n, k] = c[n - 1, k - 1] + c[n - 1, k]
    return c


@pytest.mark.parametrize("backend", BACKENDS)
def test_binomials(backend: str) -> None:
    text = """\
layer binomials(x[N]) -> c:
    c[n,0] = x[n]
    for 1 <= n < N:
        for 1 <= k <= n:
            c[n,k] = c[n-1,k-1] + c[n-1,k]
"""
    checked(text, {"x": np.arange(1.0, 7.0)}, binomials, backend)
    assert "for 1 <= k <= n:" in str(indexlang.compile(text))


@pytest.mark.parametrize("number", range(24))
def test_random_triangles(number: int) -> None:
    made = triangles.generate(f"triangle {number}")
    checked(made.text, made.arrays, made.loops, BACKENDS[number % 2])


def test_a_subscript_of_an_inner_step_never_cuts_its_range() -> None:
    f = indexlang.compile("for i < size(x,0):\n    for j < i:\n        s[i,j] = x[i-j]\n", backend="numpy")
    x = np.arange(1.0, 6.0)
    wanted = [[x[i - j] if j < i else 0 for j in range(4)] for i in range(5)]
    np.testing.assert_array_equal(f(x=x), wanted)


def test_leaving_an_axis_under_an_inner_line_is_an_error() -> None:
    f = indexlang.compile("for i < 5:\n    for j < i:\n        s[i,j] = x[j]\n", backend="numpy")
    with pytest.raises(indexlang.ShapeError) as found:
        f(x=np.ones(3))
    assert found.value.code == "out-of-range"


def test_a_condition_ends_an_index_that_nothing_else_ends() -> None:
    f = indexlang.compile("y[i] += x[i-k] where k <= i, i < size(x,0)", backend="numpy")
    np.testing.assert_array_equal(f(x=np.arange(1.0, 6.0)), np.cumsum(np.arange(1.0, 6.0)))


def test_a_condition_does_not_end_an_index_of_the_target() -> None:
    f = indexlang.compile("y[i,l] += x[i+k] where k < l, i < size(x,0)-l, l < size(x,0)", backend="numpy")
    with pytest.raises(indexlang.ShapeError) as found:
        f(x=np.ones(5))
    assert found.value.code == "unbounded-index"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_minimum_begun_with_whole_numbers_starts_from_infinity(backend: str) -> None:
    text = "layer f(p[P]) -> m[P,P]:\n    m[i,i] = 0\n    for 1 <= l < P:\n        m[l,0] min= m[l-1,0] + p[l]\n"
    for kind in (np.float64, np.float32):
        found = indexlang.compile(text, backend=backend)(p=np.array([1, 2, 4], kind))
        np.testing.assert_array_equal(found, [[0, np.inf, np.inf], [2, 0, np.inf], [6, np.inf, 0]])
        assert found.dtype == kind


# How far a sum goes where conditions keep its subscripts inside, by rows: the last value of k at i of n.
SUMS: dict[str, tuple[str, Callable[[int, int], int]]] = {
    "half": ("x[i-k] where 2*k <= i", lambda i, n: i // 2),
    "half, rounded": ("x[i-k] where k <= i//2", lambda i, n: i // 2),
    "below half, rounded": ("x[i-k] where k < i//2", lambda i, n: i // 2 - 1),
    "a third, from the second on": ("x[i-k] where 3*k+1 <= i", lambda i, n: (i - 1) // 3),
    "a few": ("x[i-k] where k < min(i,3)", lambda i, n: min(i, 3) - 1),
    "less than the more of two": ("x[i-k] where max(k,2*k-2) <= i", lambda i, n: min(i, (i + 2) // 2)),
    "to the end": ("x[i+k] where 2*k+i < size(x,0)", lambda i, n: (n - 1 - i) // 2),
    "one behind": ("x[i-k+1] where 2*k <= i, i+1 < size(x,0)", lambda i, n: i // 2),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n", [1, 2, 7, 8])
@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("block", [False, True])
def test_a_sum_goes_as_far_as_conditions_say(name: str, n: int, block: bool, backend: Any) -> None:
    said, last = SUMS[name]
    line = f"y[i] += {said}, i < size(x,0)" if not block else f"y[i] += {said}"
    text = f"shape y[size(x,0)]\nfor i < size(x,0):\n    {line}\n" if block else f"{line}\n"
    x = np.random.default_rng(n).normal(size=n)
    right, by_x = np.zeros(n), np.zeros(n)
    for i in range(n):
        for k in range(last(i, n) + 1):
            at = i + k if "i+k" in said else i - k + ("k+1]" in said)
            if "i+1 <" in said and i + 1 >= n:
                continue
            right[i] += x[at]
            by_x[at] += i + 1
    y, pullback = indexlang.compile(text, backend=backend).vjp(x=x)
    np.testing.assert_allclose(y, right, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(pullback(np.arange(1.0, n + 1))["x"], by_x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("said", "last", "inner"),
    [
        ("k <= i, l < k", lambda i: i, lambda i, k: k - 1),
        ("k <= i, k+l <= i", lambda i: i, lambda i, k: i - k),
        ("2*k <= i, l < k", lambda i: i // 2, lambda i, k: k - 1),
    ],
)
def test_a_sum_that_ends_where_another_one_says(
    said: str, last: Callable[[int], int], inner: Callable[[int, int], int], backend: Any
) -> None:
    x = np.random.default_rng(7).normal(size=7)
    right = [sum(x[i - k] * x[i - m] for k in range(last(i) + 1) for m in range(inner(i, k) + 1)) for i in range(7)]
    f = indexlang.compile(f"y[i] += x[i-k] * x[i-l] where {said}, i < size(x,0)", backend=backend)
    np.testing.assert_allclose(f(x=x), right, rtol=1e-12, atol=1e-12)
