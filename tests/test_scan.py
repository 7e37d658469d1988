"""Reductions up to a bound by one running reduction: the decision as a table, the values against plain loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray
from planned import sized

import indexlang
from indexlang.backends.numpy.support import RUNNING
from indexlang.calls.function import Function
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import gradcheck
from indexlang.oracle import loops as reference
from indexlang.plan import scan, statement
from indexlang.plan.views import Row
from indexlang.program.ir import Program
from indexlang.syntax.parser import parse

pytestmark = [
    pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning"),
    pytest.mark.usefixtures("on_numpy"),  # whose plans tell of scans
]

Arrays = Mapping[str, NDArray[np.generic]]


def first(text: str):  # type: ignore[no-untyped-def]
    return resolve(parse(Source(text))).statements[0]


def row(const: int = 0, **coefs: int) -> Row:
    return Row(const, tuple(coefs.items()))


BOUNDS = [
    ("u <= t", scan.Bound(row(t=1), 1, True)),
    ("u < t", scan.Bound(row(-1, t=1), 1, True)),
    ("t >= u", scan.Bound(row(t=1), 1, True)),
    ("u >= t", scan.Bound(row(t=1), 1, False)),
    ("t < u", scan.Bound(row(1, t=1), 1, False)),
    ("2*u+1 <= t", scan.Bound(row(-1, t=1), 2, True)),
    ("t <= 2*u+1", scan.Bound(row(-1, t=1), 2, False)),
    ("not (u > 2*t+s)", scan.Bound(row(t=2, s=1), 1, True)),
    ("u < size(x,0) - t", scan.Bound(row(4, t=-1), 1, True)),
    ("u == t", None),
    ("u != t", None),
    ("u <= 1.5*t", None),
    ("u <= n[t]", None),
    ("s <= t", None),
    ("u % 2 <= t", None),
]


@pytest.mark.parametrize(("mask", "expected"), BOUNDS, ids=[m for m, _ in BOUNDS])
def test_bounds(mask: str, expected: scan.Bound | None) -> None:
    found = first(f"y[s,t] = x[u] * n[t] where {mask}, s < 3").domain.masks[0]
    assert scan.bound(found, "u", {"x": (5,), "n": (4,)}) == expected


SCANS = [
    ("y[b,t] = x[b,u] where u <= t", "u"),
    ("y[b,t] = x[b,u] where u <= t, u < 2*t", "u"),
    ("y[b,t] = x[b,u] where u <= t and x[b,u] > 0", "u"),
    ("y[t] += x[b,u] where u <= t", "u"),
    ("y[t] += x[u,v] where v <= t, u != 2", "v"),
    ("y[s,t] = x[u] where u <= s + t", "u"),
    ("y[b,t] = x[b,u] where u <= t, u > t - 3", None),  # a window
    ("y[b,t] max= x[b,u] where u <= t, u > t - 3", None),  # an extremum of one, where both sides are asked for
    ("y[b,t] = x[b,u] * z[t] where u <= t", None),  # the value mentions t: what a sum can wait for is taken out before
    ("y[t] += x[u] where u <= s, s <= t", None),  # counts the values of s
    ("y[t] += x[u] where u == t", None),
    ("y[b,t] = x[b,u] where u <= t or u == 5", None),
    ("y[b] += x[b,u] where u <= 3", None),  # nothing is asked for twice
]


@pytest.mark.parametrize(("text", "index"), SCANS, ids=[t for t, _ in SCANS])
def test_what_is_a_scan(text: str, index: str | None) -> None:
    stmt = first(text + (", t < 4" if "[t]" in text or ",t]" in text else ""))
    masks = tuple(m for m in stmt.domain.masks if set(scan.indices_of(m)) & set(stmt.reduced))
    found = scan.scan(masks, scan.indices_of(stmt.value), stmt.reduced, {"x": (5, 6), "z": (4,)})
    assert (found and found.index) == index


# -- values --------------------------------------------------------------------------------------------

RNG = np.random.default_rng(3)
CASES: list[tuple[str, dict[str, tuple[int, ...]]]] = [
    ("y[b,t] = x[b,u] where u <= t", {"x": (3, 7)}),
    ("y[b,t] = x[b,u] where u < t", {"x": (3, 7)}),
    ("y[b,t] = x[b,u] where u >= t", {"x": (3, 7)}),
    ("y[b,t] = x[b,u] where u > t, t < 9", {"x": (3, 7)}),
    ("y[b,t] = x[b,u] where u <= t - 2, t < 12", {"x": (3, 7)}),
    ("y[b,t] = x[b,u] where u + 3 >= t, t < 12", {"x": (3, 7)}),
    ("y[b,t] = x[b,u] where 2*u <= t, t < 15", {"x": (3, 7)}),
    ("y[b,t] = x[b,u] where 2*u + 1 >= t, t < 17", {"x": (3, 7)}),
    ("y[b,t] = x[b,u] where u <= 2*t, t < 5", {"x": (3, 7)}),
    ("y[b,t] = x[b,u] where u < size(x,1) - t, t < 9", {"x": (3, 7)}),
    ("y[b,t] = x[b,u] where u <= t, u <= 3", {"x": (3, 7)}),
    ("y[b,s,t] = x[b,u] where u <= t, u < s, s < 4, t < 5", {"x": (3, 7)}),
    ("y[b,s,t] = x[b,u] where u >= t - s, s < 4, t < 5", {"x": (3, 7)}),
    ("y[t,b] = x[u,b] where u <= t", {"x": (7, 3)}),
    ("y[t,b] = x[u,b] where u >= t", {"x": (5, 40)}),  # rows at a time
    ("y[t,b] = x[u,b] where u < t", {"x": (5, 31)}),
    ("y[t,b] = x[u,b] where u < t", {"x": (5, 32)}),
    ("y[b,t,c] = x[b,u,c] * z[u] where u <= t, u % 3 != 1", {"x": (2, 7, 33), "z": (7,)}),
    ("y[b,t] = x[b,u] * z[t] / w[b] where u < t", {"x": (3, 7), "z": (7,), "w": (3,)}),
    ("y[b,t] = x[b,u] * z[u] where u < t, b < 2, t != 4", {"x": (3, 7), "z": (7,)}),
    ("y[t] += x[b,u] where u <= t", {"x": (3, 7)}),
    ("y[t] += x[b,u] * z[b] where u <= t", {"x": (3, 7), "z": (3,)}),
    ("y[t] += x[b,u] * z[b] where u <= t, x[b,u] > 0", {"x": (3, 7), "z": (3,)}),
    ("y[b,t] max= x[b,u] where u <= t", {"x": (3, 7)}),
    ("y[b,t] max= x[b,u] where u < t", {"x": (3, 7)}),
    ("y[b,t] min= x[b,u] + z[u] where u >= t", {"x": (3, 7), "z": (7,)}),
    ("y[b,t] max= x[b,u] where u <= t, u > t - 5", {"x": (3, 7)}),
    ("y[t,b] min= x[b,u] where u >= t - 1, u < t + 6, t < 9", {"x": (3, 7)}),
    ("y[t,s,b] min= x[b,u]*z[b] where s <= u, u <= t, u < s + 5, s < 8, t < 9", {"x": (3, 7), "z": (3,)}),
    ("y[s,t,b] max= x[b,u] where s <= u, u <= t, u % 3 != 1, s < 8, t < 9", {"x": (3, 7)}),
    ("y[b,t] *= x[b,u] where u <= t", {"x": (3, 7)}),
    ("y[b,t] *= x[b,u] where u < t, u != 2", {"x": (3, 7)}),
    ("y[b,t] = w[b,t]\ny[b,t] += x[b,u] where u < t", {"x": (3, 7), "w": (3, 6)}),
    ("y[2*t+1] = x[u] where u <= t, t < 6", {"x": (7,)}),
    ("y[b,t] = x[b,u+1] - x[b,u] where u <= t, t < 6", {"x": (3, 7)}),
    ("y[b,t] = x[b,pad(u,2,1)] where u <= t, t < 10", {"x": (3, 7)}),
    ("y[b,t] = x[b,u] where u <= t, 2 <= u, u < 6, t < 8", {"x": (3, 7)}),
    ("y[b,t] = exp(x[b,u]) where u >= t, 2 <= u, u < 6, t < 8", {"x": (3, 7)}),
    ("y[b,t] = (-x[b,u]) where u <= t", {"x": (3, 1)}),
    ("y[s,t] = x[v,u] where v <= s, u <= t, s < 3", {"x": (4, 7)}),
    ("y[t,s] = x[v,u] where v >= s, u < t, s < 6", {"x": (4, 7)}),
    ("y[b,s,t] = x[b,v,u]*w[v] where 2*v <= s + 1, u > t, s < 9, v != 1", {"x": (2, 4, 7), "w": (4,)}),
    ("y[s,t] max= x[v,u] where v < s, u >= t + 2, s < 9", {"x": (4, 7)}),
    ("y[s,t,a] = x[v,u,w] where v <= s, u <= t, w >= a, s < 3, a < 4", {"x": (3, 6, 4)}),
    ("y[s,t] = x[v,u,c] where v <= s, u <= t, s < 3", {"x": (4, 7, 3)}),
]


CASES = [
    (text if "t <" in text.replace("t <=", "").replace("u < t", "") else f"{text}, t < 6", shapes)
    for text, shapes in CASES
]


def arrays_of(shapes: Mapping[str, tuple[int, ...]], dtype: str) -> dict[str, NDArray[np.generic]]:
    found: dict[str, NDArray[np.generic]] = {}
    for name, shape in shapes.items():
        values = RNG.normal(size=shape) * 2
        if dtype.startswith("complex"):
            values = values + 1j * RNG.normal(size=shape)
        found[name] = values.astype(dtype) if "int" not in dtype else np.round(values + 4).astype(dtype)
    return found


def run(text: str, arrays: Arrays) -> NDArray[np.generic]:
    return indexlang.compile(text)(**arrays)  # type: ignore[no-any-return]


def loops(text: str, arrays: Arrays) -> NDArray[np.generic]:
    return reference.run(resolve(parse(Source(text))), dict(arrays))["y"]  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "complex128", "int64", "int32"])
@pytest.mark.parametrize(("text", "shapes"), CASES, ids=[t for t, _ in CASES])
def test_values(text: str, shapes: dict[str, tuple[int, ...]], dtype: str) -> None:
    if ("complex" in dtype and ("max=" in text or "min=" in text or ">" in text.split("where")[0] + text[-4:])) or (
        dtype != "float64" and ("exp" in text or "> 0" in text)
    ):
        pytest.skip("no order of complex numbers")
    arrays = arrays_of(shapes, dtype)
    assert "scan" in str(indexlang.compile(text).plan(**arrays)) or (" / " in text and "int" in dtype)
    tolerance = {"float64": 1e-12, "complex128": 1e-12, "float32": 3e-5, "float16": 2e-2}.get(dtype, 0)
    np.testing.assert_allclose(run(text, arrays), loops(text, arrays), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("text", "shapes"), CASES, ids=[t for t, _ in CASES])
def test_the_ways_agree(text: str, shapes: dict[str, tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = arrays_of(shapes, "float64")
    scanned = run(text, arrays)
    monkeypatch.setattr(statement, "scans_of", lambda _: ())
    assert "scan" not in str(indexlang.compile(text).plan(**arrays))
    np.testing.assert_allclose(scanned, run(text, arrays), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("text", "shapes"), CASES, ids=[t for t, _ in CASES])
def test_in_blocks(text: str, shapes: dict[str, tuple[int, ...]]) -> None:
    arrays = arrays_of(shapes, "float64")
    f = sized(indexlang.compile(text), block=64)
    np.testing.assert_allclose(f(**arrays), loops(text, arrays), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(("text", "shapes"), CASES, ids=[t for t, _ in CASES])
def test_what_is_not_finite_reaches_no_further(text: str, shapes: dict[str, tuple[int, ...]], bad: float) -> None:
    arrays = arrays_of(shapes, "float64")
    for array in (a for n, a in arrays.items() if n != "z" or "z[t]" not in text):  # inf * (a + b): a sum waits for z
        array.reshape(-1)[array.size // 2] = bad
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(run(text, arrays), loops(text, arrays), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "text", [t for t, _ in CASES if not set("pzw") & set(t.replace("where", "").replace("exp", ""))], ids=str
)
def test_a_strided_input(text: str) -> None:
    shape = next(s["x"] for t, s in CASES if t == text)
    twice = RNG.normal(size=tuple(2 * n for n in shape))
    x = twice[tuple(slice(None, None, 2) for _ in shape)]
    np.testing.assert_allclose(run(text, {"x": x}), loops(text, {"x": x.copy()}), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("text", "shapes"), CASES, ids=str)
def test_gradients(text: str, shapes: dict[str, tuple[int, ...]]) -> None:
    def backward(program: Program, arrays: Arrays) -> dict[str, NDArray[np.generic]]:
        return Function(program, always_dict=True)(**arrays)  # type: ignore[no-any-return]

    program = resolve(parse(Source(text)))
    for found in gradcheck.gradcheck(program, arrays_of(shapes, "float64"), backward=backward):
        assert found.ok, found


def test_an_empty_axis() -> None:
    text = "y[b,t] = x[b,u] where u <= t, t < 4"
    np.testing.assert_array_equal(run(text, {"x": np.zeros((2, 0))}), np.zeros((2, 4)))
    assert run(text, {"x": np.zeros((0, 3))}).shape == (0, 4)


SEARCHES = [
    ("y[b,t] = argmax[u](x[b,u]) where u <= t, t < 9", "scan"),
    ("y[b,t] = argmin[u](x[b,u]) where u <= t, t < 6", "scan"),
    ("y[b,t] = argmax[u](x[b,u] * x[b,u]) where u >= t, t < 6", "scan"),
    ("y[b,t] = argmin[u](-x[b,u]) where u >= t + 2, t < 9", "scan"),
    ("y[b,t] = argmax[u](x[b,u]) where u < t, 2 <= u, u < 6, t < 9", "scan"),
    ("y[t] = argmax[u](x[u,t]) where u <= t", "search"),
    ("y[b,t] = argmax[u](x[b,u]) where u <= t, x[b,u] > 0, t < 6", "search"),
    ("y[b,t] = argmax[u,v](x[u,v]) where u <= t, b < 3, t < 6", "search"),
    ("y[b,t] = argmax[u](x[b,u]) where u <= t, u > t - 3, t < 6", "scan"),
    ("y[t,b] = argmin[u](x[b,u]*x[b,u]) where u < t, u > t - 4, t < 12", "scan"),
    ("y[b,t] = argmax[u](x[b,u]) where u >= t - 4, t + 2 > u, u < t + 1, 1 <= u, t < 13", "scan"),
    ("y[b,t] = argmin[u](x[b,u]) where 2*u <= 3*t + 1, 3*u >= t, t < 9", "scan"),
    ("y[s,b,t] = argmax[u](x[b,u]) where u <= t, u >= s, s < 5, t < 9", "scan"),
    ("y[s,t,b] = argmin[u](x[b,u]) where s <= u, u <= t, u < s + 2, s < 8, t < 9", "scan"),
    ("y[b,t] = argmax[u](x[b,u]) where u <= t, u > t - 3, x[b,u] > 0, t < 6", "search"),
    ("y[s,t] = argmax[u,v](x[u,v]) where u <= s, v <= t, s < 3, t < 7", "scan"),
    ("y[s,t] = argmax[v,u](x[u,v]) where u <= s, v <= t, s < 4, t < 9", "scan"),
    ("y[t,s] = argmin[u,v](x[u,v]) where u >= s, v < t, s < 4, t < 9", "scan"),
    ("y[t,s] = argmax[v,u](x[u,v]) where u > s, v + 1 < t, s < 4, t < 9", "scan"),
    ("y[s,t] = argmin[u,v](x[u,v]) where 2*u <= s, v >= t, 1 <= u, v < 6, s < 7, t < 7", "scan"),
    ("y[s,t,a] = argmax[u,v,w](x[u,v]*x[u,w]) where u <= s, v <= t, w >= a, s < 3, t < 7, a < 6", "scan"),
    ("y[b,s,t] = argmax[u,v](x[u,v] + x[b,v]) where u >= s, v >= t, s < 3, t < 7", "scan"),
    ("y[s,t] = argmax[u,v](x[u,v]) where u <= s, v <= t, v > t - 3, s < 3, t < 7", "search"),
    ("y[b,t] = logsumexp[u](x[b,u]) where u <= t, t < 9", "scan"),
    ("y[b,t] = logsumexp[u](2*x[b,u]) where u > t, x[b,u] > 0, t < 9", "scan"),
    ("y[b,t] = logsumexp[u,v](x[u,v]) where u <= t, b < 3, t < 6", "search"),
]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8"])
@pytest.mark.parametrize(("text", "way"), SEARCHES, ids=[t for t, _ in SEARCHES])
def test_searches(text: str, way: str, dtype: str) -> None:
    """Winners up to a bound, the first of the best, nan before all, and 0 where there is no point."""
    arrays = arrays_of({"x": (3, 7)}, dtype)
    arrays["x"] = (np.round(np.abs(arrays["x"])) * (1 if dtype == "uint8" else -1)).astype(dtype)  # with ties
    for bad in (None, np.nan, np.inf, -np.inf) if "float" in dtype else (None,):
        if bad is not None:
            arrays["x"][:2, 3], arrays["x"][1, 5] = bad, bad
        f = indexlang.compile(text)
        assert f"kernel   {way}" in str(f.plan(**arrays))
        with np.errstate(all="ignore"):
            expected = loops(text, arrays)
        for found in (f(**arrays), sized(f, block=64)(**arrays)):
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, rtol=2e-3 if dtype == "float16" else 3e-6)


@pytest.mark.parametrize("width", [1, 2, 3, 7, 16, 33, 200])
@pytest.mark.parametrize("bad", [None, np.nan, -np.inf])
def test_windows_of_maxima(width: int, bad: float | None) -> None:
    """The gradient of a maximum under a mask of two sides, by hand; ties and what is not finite included."""
    f = indexlang.compile(f"y[b,t] max= x[b,s] where s <= t, t < s + {width}, t < size(x,1)")
    x, dy = np.round(RNG.normal(size=(3, 100)) * 3), RNG.normal(size=(3, 100))
    if bad is not None:
        x[0, 40:90:7] = x[1, 10:80] = bad
    expected, best = np.zeros(x.shape), np.empty(x.shape)
    for b, t in np.ndindex(x.shape):
        first = max(0, t + 1 - width)
        at = first + int(np.argmax(x[b, first : t + 1]))
        best[b, t] = x[b, at]
        expected[b, at] += dy[b, t]
    y, pullback = f.vjp(x=x)
    np.testing.assert_array_equal(y, best)
    np.testing.assert_allclose(pullback(dy)["x"], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 1), (1, 9), (12, 17)])
def test_corners_of_maxima(shape: tuple[int, int]) -> None:
    f = indexlang.compile("y[i,j] max= x[u,v] where u <= i, v >= j, i < size(x,0), j < size(x,1)")
    x, dy, expected = np.round(RNG.normal(size=shape) * 2), RNG.normal(size=shape), np.zeros(shape)
    for i, j in np.ndindex(shape):
        part = x[: i + 1, j:]
        u, v = np.unravel_index(np.argmax(part), part.shape)
        expected[u, v + j] += dy[i, j]
    np.testing.assert_allclose(f.vjp(x=x)[1](dy)["x"], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 5), (5, 4, 31), (5, 4, 32), (1, 1, 40), (3, 64)])
@pytest.mark.parametrize("backwards", [False, True])
def test_running(shape: tuple[int, ...], backwards: bool) -> None:
    scope: dict[str, Callable[..., NDArray[np.float64]]] = {}
    exec("import numpy as np\n" + RUNNING, scope)  # type: ignore[arg-type]
    x = RNG.normal(size=shape)
    for axis in range(len(shape)):
        turned = np.flip(x, axis) if backwards else x
        expected = np.cumsum(turned, axis)
        found = scope["running"](np.add, x, axis, backwards)
        np.testing.assert_allclose(found, np.flip(expected, axis) if backwards else expected, rtol=1e-12)
