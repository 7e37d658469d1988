"""What statements add to one array at shifted positions, by nests: the bits of sums in the statements' order."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="the native backend needs it")

import indexlang
from indexlang.backends.native import engine, groups, load, shifted
from indexlang.backends.native.target import AVX2, BASELINE, Target

Array = np.ndarray
Taps = list[tuple[tuple[int, ...], float]]

LINE: Taps = [((0,), 1.0), ((2,), 1.0), ((1,), -2.0)]
CROSS: Taps = [((0, 1), 1.0), ((2, 1), 1.0), ((1, 0), 1.0), ((1, 2), 1.0), ((1, 1), -4.0)]
FAR: Taps = [((0, 0), 1.0), ((7, 3), 2.0), ((0, 5), -1.0)]
CUBE: Taps = [
    *(((2 * k if axis == 0 else 1, 2 * k if axis == 1 else 1, 2 * k if axis == 2 else 1), 1.0)
      for axis in range(3) for k in range(2)),
    ((1, 1, 1), -8.0),
]  # fmt: skip
STENCILS = {"line": LINE, "cross": CROSS, "far": FAR, "cube": CUBE}
SHAPES = {
    "line": [(3,), (40,), (70000,)],
    "cross": [(3, 3), (4, 9), (33, 37), (250, 270)],
    "far": [(9, 7), (8, 6), (300, 231)],
    "cube": [(3, 4, 5), (9, 10, 35), (40, 46, 44)],
}
LEVELS: dict[str, Target | None] = {"host": None, "avx2": AVX2, "baseline": BASELINE}


@pytest.fixture(autouse=True)
def looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every plan and nest."""
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code for this machine, and for lesser ones."""
    target, own = LEVELS[request.param], engine.host()
    if target is None:
        return
    if platform.machine() not in ("x86_64", "AMD64") or own.vector < target.vector or (target.fused and not own.fused):
        pytest.skip(f"this machine does not run code for {request.param}")
    monkeypatch.setattr(load, "machine", lambda: target)


@pytest.fixture(params=["all sizes", "large alone"])
def least(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """From which size on arrays are gone through once."""
    if request.param == "all sizes":
        monkeypatch.setattr(shifted, "SMALL", 1)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many tasks were given, and how many tasks are done in their place."""
    found: list[tuple[int, int]] = []

    def gathered(tasks: list) -> list:
        made = shifted.gathered(tasks)
        found.append((len(tasks), len(made)))
        return made

    monkeypatch.setattr(groups, "gathered", gathered)
    return found


def text_of(taps: Taps) -> str:
    indices = "ijk"[: len(taps[0][0])]
    reads = (
        f"{factor}*x[{','.join(f'{i}+{k}' if k else i for i, k in zip(indices, at, strict=True))}]"
        for at, factor in taps
    )
    return f"y[{','.join(indices)}] = {' + '.join(reads)}"


def numbers(shape: tuple[int, ...], seed: int, wild: bool = False) -> Array:
    rng = np.random.default_rng(seed)
    found = rng.standard_normal(shape).astype(np.float32)
    if wild:
        for value in (np.nan, np.inf, -np.inf, -0.0):
            found[rng.random(shape) < 0.1] = value
    return found


def scattered(taps: Taps, shape: tuple[int, ...], dy: Array) -> Array:
    """The gradient, tap after tap."""
    found = np.zeros(shape, np.float32)
    with np.errstate(invalid="ignore"):
        for at, factor in taps:
            found[tuple(slice(k, k + n) for k, n in zip(at, dy.shape, strict=True))] += np.float32(factor) * dy
    return found


def assert_bits(found: Array, wanted: Array) -> None:
    np.testing.assert_array_equal(found, wanted)
    there = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(found[there]), np.signbit(wanted[there]))


CASES = [(name, shape) for name, shapes in SHAPES.items() for shape in shapes]


@pytest.mark.parametrize("wild", [False, True])
@pytest.mark.parametrize(("name", "shape"), CASES)
def test_gradients_of_stencils(level: None, least: None, name: str, shape: tuple[int, ...], wild: bool) -> None:
    taps = STENCILS[name]
    y, pullback = indexlang.compile(text_of(taps), backend="native").vjp(x=numbers(shape, 1))
    dy = numbers(np.shape(y), 2, wild)
    assert_bits(pullback(dy)["x"], scattered(taps, shape, dy))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_bits(threads: int) -> None:
    shape = (700, 300)
    y, pullback = indexlang.compile(text_of(CROSS), backend="native").vjp(x=numbers(shape, 1))
    dy = numbers(np.shape(y), 2)
    indexlang.set_num_threads(threads)
    try:
        assert_bits(pullback(dy)["x"], scattered(CROSS, shape, dy))
    finally:
        indexlang.set_num_threads(None)


@pytest.mark.parametrize(("shape", "fewer"), [((255, 256), False), ((256, 257), True)])
def test_large_arrays_are_gone_through_once(passes: list[tuple[int, int]], shape: tuple[int, ...], fewer: bool) -> None:
    """The zeros and five additions become one pass inside, and what is at the borders."""
    y, pullback = indexlang.compile(text_of(CROSS), backend="native").vjp(x=numbers(shape, 1))
    pullback(y)
    assert passes[-1] == (6, 21 if fewer else 6)


def test_borders_are_done_apart_where_boxes_are_too_many(passes: list[tuple[int, int]]) -> None:
    shape = (50, 40, 40)
    y, pullback = indexlang.compile(text_of(CUBE), backend="native").vjp(x=numbers(shape, 1))
    dy = numbers(np.shape(y), 2)
    assert_bits(pullback(dy)["x"], scattered(CUBE, shape, dy))
    assert 8 < passes[-1][1] <= shifted.MOST


def by_hand(x: Array, a: Array) -> Iterator[tuple[str, Callable[[], Array]]]:
    """Statements, and what they give."""
    at = np.arange(len(a))

    def added(first: Array, *parts: tuple[int, Array]) -> Array:
        for begin, part in parts:
            first[begin : begin + len(part)] += part.astype(x.dtype)
        return first

    yield "y[i] = 3*x[i]\ny[i+1] += a[i]\ny[i+2] += -a[i]*a[i]", lambda: added(3 * x, (1, a), (2, -(a * a)))
    yield (
        "y[i] = x[i]\ny[i+1] += where(i % 3 == 0, a[i], i)",
        lambda: added(x.copy(), (1, np.where(at % 3 == 0, a, at))),
    )
    yield (
        "y[i] = x[i]\ny[i+2] += a[i]\ny[0] += x[5]\ny[4] += -a[1]",
        lambda: added(x.copy(), (2, a), (0, x[5:6]), (4, -a[1:2])),
    )


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("n", [7, 50, 70000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_statements_of_programs(level: None, least: None, number: int, n: int, dtype: type) -> None:
    rng = np.random.default_rng(n)
    x, a = (rng.integers(-9, 9, k).astype(dtype) for k in (n, n - 2))
    text, wanted = list(by_hand(x, a))[number]
    assert_bits(np.asarray(indexlang.compile(text, outputs=["y"], backend="native")(x=x, a=a)), wanted())


@pytest.mark.parametrize("batch", [3, 8, 5])
def test_batches(least: None, batch: int) -> None:
    """An axis without shifts stays one that may vary from call to call."""
    x = numbers((batch, 190, 110), 1)
    y, pullback = indexlang.compile("y[b,i,j] = x[b,i,j] - x[b,i+1,j] + 2*x[b,i,j+3]", backend="native").vjp(x=x)
    dy = numbers(np.shape(y), 2)
    wanted = np.zeros_like(x)
    wanted[:, :-1, :-3] += dy
    wanted[:, 1:, :-3] -= dy
    wanted[:, :-1, 3:] += 2 * dy
    assert_bits(pullback(dy)["x"], wanted)
