"""What meets in one element: scattered rows, numbers and counts, against plain loops; elements taken along axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray
from planned import sized

import indexlang as il
from indexlang.backends.numpy.support import GROUP, JOIN, TAKEN
from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import loops
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.program.ir import Program
from indexlang.syntax.parser import parse

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

RNG = np.random.default_rng(7)
Arrays = Mapping[str, NDArray[np.generic]]

TIMES = [  # how often each cell occurs
    [1, 1, 1],
    [3],
    [0, 5, 1, 0, 2],
    [31, 32, 33, 34],
    [1, 65, 0, 2, 100],
    [64],
    [],
]


def support() -> Callable[..., tuple[NDArray[np.generic], NDArray[np.int64]]]:
    scope: dict[str, object] = {}
    exec("import numpy as np\n" + GROUP + JOIN, scope)
    return scope["join"]  # type: ignore[return-value]


@pytest.mark.parametrize("ufunc", [np.add, np.multiply, np.maximum, np.minimum])
@pytest.mark.parametrize("first", [0, 65000, 65535, 70000])
@pytest.mark.parametrize("times", TIMES, ids=str)
def test_join(times: list[int], first: int, ufunc: np.ufunc) -> None:
    cells = RNG.permutation(np.repeat(np.arange(first, first + len(times)), times))
    for axis, shape in ((0, (cells.size, 3)), (0, (cells.size, 2, 2)), (1, (3, cells.size)), (1, (2, cells.size, 2))):
        values = RNG.integers(-2, 3, shape).astype(float)
        if not cells.size:
            continue
        found, hit = support()(ufunc, values, cells, axis)
        np.testing.assert_array_equal(np.sort(hit), np.unique(cells))
        for k, cell in enumerate(hit):
            expected = ufunc.reduce(values.take(np.flatnonzero(cells == cell), axis), axis)
            np.testing.assert_array_equal(found.take(k, axis), expected)
        rows = RNG.integers(0, cells.size, cells.size)
        same, again = support()(ufunc, values, cells, axis, rows=rows)
        full, _ = support()(ufunc, values.take(rows, axis), cells, axis)
        np.testing.assert_array_equal(again, hit)
        np.testing.assert_array_equal(same, full)


def program(text: str) -> Program:
    return resolve(parse(Source(text)))


def run(p: Program, arrays: Arrays) -> dict[str, NDArray[np.generic]]:
    return Function(p, always_dict=True)(**{n: arrays[n] for n in p.inputs})  # type: ignore[no-any-return]


CASES = [
    "shape E[7,3]\nE[tok[b,t],e] += v[b,t,e]",
    "shape E[7,3]\nE[tok[b,t],e] max= v[b,t,e]",
    "shape E[7,3]\nE[tok[b,t],e] min= v[b,t,e]",
    "shape E[7,3]\nE[tok[b,t],e] *= v[b,t,e]",
    "shape E[3,7]\nE[e,tok[b,t]] += v[b,t,e]",
    "shape E[7]\nE[tok[b,t]] += v[b,t,e]",
    "shape E[7]\nE[tok[b,t]] max= v[b,t,e]",
    "shape E[7]\nE[tok[b,t]] += 1",
    "shape E[7,7]\nE[tok[b,t],tok[b,u]] += v[b,t,e] * v[b,u,e]",
    "shape E[7,3]\nE[tok[b,t],e] += v[b,t,e] where v[b,t,e] > 0",
    "shape E[7,3]\nE[tok[b,t],e] += v[b,t,e] where tok[b,t] != 2, t != 1",
    "shape E[7,3]\nE[tok[b,t],e] = v[b,t,e] where tok[b,t] > 90",
    "shape E[7,3]\nE[clamp(tok[b,t]-2),e] += v[b,t,e]",
    "E[k,e] = w[k,e]\nE[tok[b,t],e] += v[b,t,e]",
    "E[k,e] = w[k,e]\nE[tok[b,t],e] max= v[b,t,e]",
]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int8", "complex128"])
@pytest.mark.parametrize("text", CASES)
def test_values(text: str, dtype: str) -> None:
    if dtype == "complex128" and ("max=" in text or "min=" in text or "> 0" in text):
        return
    for shape in ((1, 1), (2, 3), (3, 30), (2, 90)):
        tok = RNG.integers(0, 7, shape)
        if shape[1] > 30:
            tok[:, ::2] = 4  # one cell far more often than others
        arrays = {"tok": tok, "v": RNG.integers(-2, 3, (*shape, 3)).astype(dtype), "w": np.ones((7, 3), dtype)}
        if "*=" in text and dtype.startswith("int"):
            arrays["v"] = np.sign(arrays["v"])
        p = program(text)
        expected = loops.run(p, {n: arrays[n] for n in p.inputs})["E"]  # type: ignore[misc]
        np.testing.assert_allclose(run(p, arrays)["E"], expected, rtol=1e-6)


@pytest.mark.parametrize("bad", [None, np.inf, np.nan])
@pytest.mark.parametrize("limits", [NUMPY, TINY], ids=["numpy", "tiny"])
@pytest.mark.parametrize(
    "text",
    [
        "E[tok[b,t],e] += u[b,e]",
        "E[tok[b,t],e] += u[b,e]*g[e] where t < tok[b,0]",
        "E[tok[b,t],e] += s[t,e]",
        "E[tok[b,t],e] max= s[t,e] where tok[b,t] != 2",
        "E[tok[b,t],e] += g[e]",
        "E[tok[b,t],e] min= u[b,e]",
    ],
)
def test_several_points_have_the_same_value(text: str, limits: Limits, bad: float | None) -> None:
    p = program("shape E[7,3]\n" + text)
    for shape in ((1, 1), (2, 3), (3, 30), (0, 3), (2, 0)):
        sizes = {"u": (shape[0], 3), "s": (shape[1], 3), "g": (3,)}
        arrays = {n: RNG.normal(size=size) for n, size in sizes.items()} | {"tok": RNG.integers(0, 7, shape)}
        if bad is not None and all(shape):
            arrays["u"][-1, 1] = arrays["s"][0, 2] = bad
        arrays = {n: arrays[n] for n in p.inputs}
        with np.errstate(all="ignore"):
            expected = loops.run(p, arrays)["E"]
            found = sized(Function(p), limits)(**arrays)
        np.testing.assert_allclose(found, expected, rtol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8", "float32", "bool"])
def test_what_nothing_reaches_is_the_extreme_of_the_type(dtype: str) -> None:
    p = program("shape a[3]\nshape b[3]\na[k[i]] max= x[i]\nb[k[i]] min= x[i]\nc[j] = a[j]\nd[j] = b[j]")
    arrays = {"k": np.array([0, 2]), "x": np.array([1, 0]).astype(dtype)}
    limits = np.iinfo(dtype) if "int" in dtype else None
    least, greatest = (limits.min, limits.max) if limits else ((False, True) if dtype == "bool" else (-np.inf, np.inf))
    for found in (run(p, arrays), loops.run(p, arrays)):  # type: ignore[arg-type]
        for name in ("a", "c"):
            if name in found:
                np.testing.assert_array_equal(found[name], np.array([1, least, 0]).astype(dtype))
        for name in ("b", "d"):
            if name in found:
                np.testing.assert_array_equal(found[name], np.array([1, greatest, 0]).astype(dtype))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("text", [t for t in CASES if "e] * v" not in t])
def test_what_is_not_finite(text: str, bad: float) -> None:
    v = RNG.normal(size=(3, 40, 3))
    v[1, 7, 1] = bad
    tok = RNG.integers(0, 4, (3, 40))
    arrays = {"tok": tok, "v": v, "w": np.ones((7, 3))}
    p = program(text)
    with np.errstate(all="ignore"):
        expected = loops.run(p, {n: arrays[n] for n in p.inputs})["E"]  # type: ignore[misc]
        np.testing.assert_allclose(run(p, arrays)["E"], expected, rtol=1e-12)


def test_the_gradient_of_a_table() -> None:
    p = program("y[b,t,e] = E[tok[b,t],e]")
    for dtype in ("float32", "float64"):
        arrays = {"E": RNG.normal(size=(9, 4)).astype(dtype), "tok": RNG.integers(0, 9, (4, 50)) // 2 * 2}
        dy = RNG.integers(-3, 4, (4, 50, 4)).astype(dtype)
        expected = np.zeros((9, 4), dtype)
        for b, t in np.ndindex(4, 50):
            expected[arrays["tok"][b, t]] += dy[b, t]
        found = run(grad.backward(p, ("E",)), {**arrays, "y.grad": dy})["E.grad"]
        np.testing.assert_array_equal(found, expected)


def test_many_values_in_one_cell_are_summed_pair_by_pair() -> None:
    """One after the other, 0.1 would lose two digits more."""
    p = program("shape E[2,3]\nE[tok[b],e] += v[b,e]")
    v = np.full((1 << 16, 3), 0.1, np.float32)
    found = run(p, {"tok": np.zeros(1 << 16, np.int64), "v": v})["E"]
    np.testing.assert_allclose(found[0], (1 << 16) * np.float64(np.float32(0.1)), rtol=1e-6)


def test_positions_beyond_every_integer_read_an_edge() -> None:
    z = np.array([1e30, -1e30, np.nan, np.inf, -np.inf, 2.7, -0.5])
    p = program("y[i] = x[clamp(int(z[i]))]")
    arrays = {"x": np.arange(5.0), "z": z}
    for found in (run(p, arrays), loops.run(p, arrays)):  # type: ignore[arg-type]
        assert found["y"].tolist() == [4, 0, 0, 4, 0, 2, 0]
    scattered = program("shape y[5]\ny[clamp(int(z[i]))] += 1")
    assert run(scattered, arrays)["y"].tolist() == [4, 0, 1, 0, 2]


@pytest.mark.parametrize("op", ["+=", "*=", "max=", "min="])
def test_blocks_of_a_reduced_index_meet_in_their_elements(op: str) -> None:
    s, at = RNG.normal(size=(90_000, 7)), np.array([0, 3, 3, 1, 0, 3, 1])
    if op == "*=":
        s = 1.57 + s * 0.001
    p = program(f"shape y[4]\ny[p[j]] {op} sin(s[i,j])")
    ufunc = {"+=": np.add, "*=": np.multiply, "max=": np.maximum, "min=": np.minimum}[op]
    expected = [ufunc.reduce(np.sin(s[:, at == k]), None) for k in (0, 1, 3)]
    np.testing.assert_allclose(run(p, {"s": s, "p": at})["y"][[0, 1, 3]], expected, rtol=1e-9)


@pytest.mark.parametrize("layout", ["C", "F", "strided"])
@pytest.mark.parametrize("rest", [(), (3,), (2, 3)])
def test_elements_along_the_first_axes(layout: str, rest: tuple[int, ...]) -> None:
    scope: dict[str, Callable[..., NDArray[np.generic]]] = {}
    exec(TAKEN, scope)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, 10, *rest))
    x = {"C": x, "F": np.asfortranarray(x), "strided": x[:, ::2]}[layout]
    for shapes in (((6,), (6,)), ((2, 1), (2, 3)), ((), (3,)), ((0,), (0,)), ((2, 1), (1, 3))):
        at = [rng.integers(0, n, s) for n, s in zip(x.shape, shapes, strict=False)]
        np.testing.assert_array_equal(scope["taken"](x, *at), x[tuple(at)])


def test_a_sum_of_products_is_scattered_at_once() -> None:
    f = il.compile("shape y[70,64]\ny[t[b,i],c] += u[b,i,o]*W[c,o]")
    rng = np.random.default_rng(3)
    t, u, w = rng.integers(0, 70, (8, 1024)), rng.standard_normal((8, 1024, 40)), rng.standard_normal((64, 40))
    given = {"t": t, "u": u, "W": w}
    assert "for " not in f.emit(**given).split("def run")[1]  # though the domain has 160 MB
    expected = np.zeros((70, 64))
    np.add.at(expected, t, u @ w.T)
    np.testing.assert_allclose(f(**given), expected, rtol=1e-9, atol=1e-9)
    few = sized(f, TINY)(t=t[:2, :9], u=u[:2, :9], W=w)
    expected = np.zeros((70, 64))
    np.add.at(expected, t[:2, :9], u[:2, :9] @ w.T)
    np.testing.assert_allclose(few, expected, rtol=1e-9, atol=1e-9)
