"""Reductions of what data compare: the decision as a table, the values against plain loops, nan and infinities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from planned import runs_of, sized

import indexlang
from indexlang.calls.function import Function
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import gradcheck
from indexlang.oracle import loops as reference
from indexlang.plan import statement
from indexlang.plan.kernels import Rank
from indexlang.plan.limits import NUMPY, TINY
from indexlang.program.ir import Program
from indexlang.syntax.parser import parse

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

Arrays = Mapping[str, NDArray[np.generic]]
LIMITS = {"call": 1, "element": 1000}  # few points are worth an order
RNG = np.random.default_rng(5)
CASES: list[tuple[str, dict[str, tuple[int, ...]]]] = [
    (f"y[i] = w[j] where x[j] {fn} x[i]", {"w": (90,), "x": (90,)}) for fn in ("<", "<=", ">", ">=")
] + [
    ("y[i] = w[j] where z[i] >= x[j]", {"w": (60,), "x": (60,), "z": (80,)}),
    ("y[i] = w[j] where z[i] < x[j]", {"w": (60,), "x": (60,), "z": (80,)}),
    ("y[i,d] = w[j,d] where x[j] <= x[i]", {"w": (60, 3), "x": (60,)}),
    ("y[d,i] = w[d,j]*v[j] where x[j] > x[i]", {"w": (3, 60), "v": (60,), "x": (60,)}),
    ("y[b,i] = w[b,j] where x[b,j] <= x[b,i]", {"w": (2, 80), "x": (2, 80)}),
    ("y[i,b] = w[j] where x[j,b] >= x[i,b]", {"w": (80,), "x": (80, 2)}),
    ("y[b,i,c] = w[b,j] where x[j] <= z[i,c]", {"w": (2, 60), "x": (60,), "z": (40, 3)}),
    ("y[i] = w[j,d]*v[d] where x[j] <= x[i]", {"w": (60, 4), "v": (4,), "x": (60,)}),
    ("y[i] = w[j]*z[i]/v[i] where x[j] <= z[i]", {"w": (60,), "x": (60,), "z": (60,), "v": (60,)}),
    ("y[i] = 1 where x[j] < x[i]", {"x": (90,)}),
    ("y[i] = v[i] where x[j] >= x[i]", {"x": (90,), "v": (90,)}),
    ("y[i] = w[j] where x[j] <= x[i], w[j] > 0", {"w": (90,), "x": (90,)}),
    ("y[i] = w[j] where x[j] >= x[i], j % 3 == 1, i > 4", {"w": (90,), "x": (90,)}),
    ("y[i] = w[j] where 2*x[j] + v[j] <= x[i] - 1", {"w": (90,), "x": (90,), "v": (90,)}),
    ("y[i] = w[j] where x[j] <= x[i], 3 <= j, j < 70, 2 <= i", {"w": (90,), "x": (90,)}),
    ("y[i] = v[i]\ny[i] += w[j] where x[j] <= x[i]", {"w": (90,), "x": (90,), "v": (90,)}),
    ("y[i] = (-w[j]) where x[j] <= x[i]", {"w": (90,), "x": (90,)}),
    ("y[i] max= w[j] where x[j] <= x[i]", {"w": (90,), "x": (90,)}),
    ("y[i] min= w[j] where x[j] > x[i]", {"w": (90,), "x": (90,)}),
]
IDS = [t for t, _ in CASES]


def arrays_of(shapes: Mapping[str, tuple[int, ...]], dtype: str) -> dict[str, NDArray[np.generic]]:
    found: dict[str, NDArray[np.generic]] = {}
    for name, shape in shapes.items():
        values = RNG.normal(size=shape) * 2
        if name in ("x", "z"):
            values = np.round(values * 4)  # some are equal
        found[name] = values.astype(dtype) if "int" not in dtype else np.round(np.abs(values) + 1).astype(dtype)
    return found


def planned(text: str) -> Function:
    return sized(indexlang.compile(text), **LIMITS)


def loops(text: str, arrays: Arrays) -> NDArray[np.generic]:
    return reference.run(resolve(parse(Source(text))), dict(arrays))["y"]  # type: ignore[arg-type]


def is_ranked(f: Function, arrays: Arrays) -> bool:
    return any(isinstance(run.kernel, Rank) for run in runs_of(f.plan(**arrays)))


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8"])
@pytest.mark.parametrize(("text", "shapes"), CASES, ids=IDS)
def test_values(text: str, shapes: dict[str, tuple[int, ...]], dtype: str) -> None:
    if dtype == "uint8" and (" - 1" in text or "(-" in text or "v[i]" in text or "*" in text):
        pytest.skip("arithmetic that wraps")
    arrays, f = arrays_of(shapes, dtype), planned(text)
    assert is_ranked(f, arrays) or "int" in dtype
    tolerance = 3e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(f(**arrays), loops(text, arrays), rtol=tolerance, atol=tolerance * 10)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("where", ["x", "w", "z"])
@pytest.mark.parametrize(("text", "shapes"), CASES, ids=IDS)
def test_what_is_not_finite(text: str, shapes: dict[str, tuple[int, ...]], where: str, bad: float) -> None:
    arrays, f = arrays_of(shapes, "float64"), planned(text)
    if where not in arrays or ("z[i]/v" in text and where != "x"):  # a sum waits for what all of it is multiplied by
        pytest.skip("no such factor")
    array = arrays[where].reshape(-1)
    array[array.size // 2], array[5] = bad, bad
    assert is_ranked(f, arrays)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(f(**arrays), loops(text, arrays), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("text", "shapes"), CASES[:1] + CASES[5:10] + CASES[20:], ids=str)
def test_gradients(text: str, shapes: dict[str, tuple[int, ...]]) -> None:
    def backward(program: Program, arrays: Arrays) -> dict[str, NDArray[np.generic]]:
        return Function(program, always_dict=True, limits=replace(NUMPY, **LIMITS))(**arrays)  # type: ignore[no-any-return]

    few = {name: tuple(min(n, 9) for n in shape) for name, shape in shapes.items()}
    arrays = arrays_of(few, "float64")
    for name in {"x", "z"} & set(arrays):  # between what a difference of numbers can reach
        arrays[name] = arrays[name] + RNG.normal(size=arrays[name].shape) / 4
    for found in gradcheck.gradcheck(resolve(parse(Source(text))), arrays, backward=backward):
        assert found.ok, found


@pytest.mark.parametrize("sizes", [(0, 4), (4, 0), (1, 1), (1, 5), (5, 1)])
def test_few_and_no_elements(sizes: tuple[int, int]) -> None:
    text = "y[i] = w[j] where x[j] <= z[i]"
    keys, bounds = sizes
    arrays = arrays_of({"w": (keys,), "x": (keys,), "z": (bounds,)}, "float64")
    for f in (indexlang.compile(text), planned(text), sized(indexlang.compile(text), TINY)):
        np.testing.assert_allclose(f(**arrays), loops(text, arrays))


@pytest.mark.parametrize(
    "text",
    [
        "y[i] = w[j]*v[i+j] where x[j] <= x[i]",  # the value knows where the bound stands
        "y[i] = w[j] where x[j] + v[i+j] <= x[i]",  # so does what is compared
        "y[i] = w[j] where x[j] == x[i]",
        "y[i] = w[j] where x[j] <= x[i], j <= i",
        "y[i] = w[j] where x[j] <= x[i], x[j] >= x[i] - 2",
        "y[i] = w[j] where x[j] <= x[i] or j == 3",
        "y[i] = w[j] where x[j] <= 3*i, i < 40",  # compared in another type
        "y[i] = argmax[j](w[j]) where x[j] <= x[i]",  # the first winner, in the order of j
        "y[i] = w[j] where x[j] <= 2, w[j] < x[i]*x[j]",
    ],
)
def test_what_is_no_running_reduction(text: str) -> None:
    arrays, f = arrays_of({"w": (60,), "x": (60,), "v": (119,)}, "float64"), planned(text)
    arrays = {n: a for n, a in arrays.items() if f"{n}[" in text}
    assert not is_ranked(f, arrays)
    np.testing.assert_allclose(f(**arrays), loops(text, arrays), rtol=1e-12, atol=1e-12)


def test_only_where_it_pays() -> None:
    f = indexlang.compile("y[i] = w[j] where x[j] <= x[i]")
    assert not is_ranked(f, arrays_of({"w": (12,), "x": (12,)}, "float32"))
    assert is_ranked(f, arrays_of({"w": (500,), "x": (500,)}, "float32"))
    g = indexlang.compile("y[b,i] = w[b,j] where x[b,j] <= x[b,i]")  # an order for each of many
    assert not is_ranked(g, arrays_of({"w": (400, 12), "x": (400, 12)}, "float32"))


def test_the_ways_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    f = indexlang.compile("y[i,d] = w[j,d] where x[j] <= x[i], w[j,d] < 2")
    arrays = arrays_of({"w": (700, 3), "x": (700,)}, "float64")
    found = f(**arrays)
    assert is_ranked(f, arrays)
    monkeypatch.setattr(statement, "ranking_of", lambda _: None)
    g = indexlang.compile("y[i,d] = w[j,d] where x[j] <= x[i], w[j,d] < 2")
    np.testing.assert_allclose(found, g(**arrays), rtol=1e-11, atol=1e-11)


def test_a_whole_plan_of_ranks_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    text = "y[b,i] = w[b,j] where x[b,j] > x[b,i]"
    arrays, f = arrays_of({"w": (2, 80), "x": (2, 80)}, "float32"), planned(text)
    np.testing.assert_allclose(f(**arrays), loops(text, arrays), rtol=1e-4, atol=1e-4)
