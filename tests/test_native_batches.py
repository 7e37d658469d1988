"""Sums of products over a padded copy, example by example: the values of plain loops, the memory of one example."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("llvmlite", reason="the native backend needs it")

import indexlang
from indexlang import threads
from indexlang.backends.native import batches, engine, groups, runner, telling
from indexlang.calls.function import Function
from indexlang.oracle import loops
from indexlang.plan.limits import NATIVE
from indexlang.plan.planning import plan

Array = NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]

CONV = "y[b,i,j,o] = W[d,e,c,o] * x[b,pad(i+d,1),pad(j+e,1),c]"
SHAPES: Shapes = {"x": (3, 7, 8, 9), "W": (3, 3, 9, 10), "bias": (10,), "r": (3, 7, 8, 10), "V": (3, 3, 10, 4)}
SPLIT = {  # what goes example by example, and how many sums of products of each
    "plain": (CONV, 1),
    "bias and relu": (f"{CONV}\nz[b,i,j,o] = relu(y[b,i,j,o] + bias[o])", 1),
    "a residual": (f"{CONV}\nz[b,i,j,o] = y[b,i,j,o] + r[b,i,j,o]", 1),
    "two layers": (f"{CONV}\nz[b,i,j,k] = V[d,e,o,k] * y[b,pad(i+d,1),pad(j+e,1),o]", 2),
    "weights": ("W[d,e,c,o] += r[b,i,j,o] * x[b,pad(i+d,1),pad(j+e,1),c] where d < 3, e < 3", 1),
    "a channel at a time": ("y[b,i,j,c] = W[d,e,c,0] * x[b,pad(i+d,1),pad(j+e,1),c]", 1),
    "an example before": ("y[b,i,o] = W[d,e,c,o] * x[pad(b+d,1),pad(i+e,1),0,c]", 0),
    "examples inside": ("y[i,b,j,o] = W[d,e,c,o] * x[pad(i+d,1),b,pad(j+e,1),c]", 0),
    "read twice": (f"{CONV}\nz[b,i,j,o] = 2 * W[d,e,c,o] * x[b,pad(i+d,1),pad(j+e,1),c]", None),
    "an edge": ("y[b,i,j,o] = W[d,e,c,o] * x[b,reflect(i+d-1),reflect(j+e-1),c] where i < 7, j < 8", None),
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever can go example by example does, is looked through, and is shared by threads."""
    monkeypatch.setattr(batches, "LEAST", 1)
    monkeypatch.setattr(batches, "PIECE", 1)
    monkeypatch.setattr(runner, "TOGETHER", 0)
    monkeypatch.setattr(runner, "WOKEN", 0)
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    yield
    threads.set_num_threads(None)


def given(f: Function, dtype: Any = np.float32) -> dict[str, Array]:
    rng = np.random.default_rng(5)
    return {n: rng.standard_normal(SHAPES[n]).astype(dtype) for n in f.inputs if n in SHAPES}


def split(f: Function, sizes: Shapes) -> list[groups.Group]:
    """The groups of which some nests go example by example."""
    made = plan(f.program, sizes, dict.fromkeys(sizes, "float32"), NATIVE).plan
    return [g for g in groups.groups_of(made, engine.host()) if g.pieces]


@pytest.mark.parametrize("name", SPLIT)
def test_values_are_those_of_loops(name: str) -> None:
    text, count = SPLIT[name]
    f = indexlang.compile(text, backend="native")
    arrays = given(f, np.float64)
    sizes = {n: a.shape for n, a in arrays.items()}
    if count is not None:
        copies = {n.name.split("@")[0] for g in split(f, sizes) for n in g.outlines if n.name.endswith("@1")}
        assert sum("c_" not in n and "pack" not in n for n in copies) == count
    expected = loops.run(f.program, arrays)
    found = f(arrays)
    found = found if isinstance(found, dict) else {f.outputs[0]: found}
    for tensor, value in found.items():
        np.testing.assert_allclose(value, expected[tensor], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["plain", "bias and relu", "two layers"])
def test_gradients_and_bits_for_any_number_of_threads(name: str) -> None:
    f = indexlang.compile(SPLIT[name][0], backend="native")
    arrays = given(f)
    results = []
    for number in (1, 2, 3):
        threads.set_num_threads(number)
        y, pullback = f.vjp(**arrays)
        dy = np.random.default_rng(1).standard_normal(y.shape)
        results.append({"y": y, **pullback(dy.astype(np.float32))})
    for other in results[1:]:
        for tensor, value in results[0].items():
            np.testing.assert_array_equal(other[tensor], value)
    y, pullback = indexlang.compile(SPLIT[name][0], backend="numpy").vjp(
        **{n: a.astype(np.float64) for n, a in arrays.items()}
    )
    for tensor, value in pullback(dy.astype(np.float32).astype(np.float64)).items():
        np.testing.assert_allclose(results[0][tensor], value, rtol=1e-3, atol=1e-3)


def test_another_batch_has_the_same_code() -> None:
    f = indexlang.compile(CONV)
    keys = []
    for n in (3, 4, 5):
        (group,) = split(f, {"x": (n, 7, 8, 9), "W": SHAPES["W"]})
        keys.append({o.key for o in group.outlines})
        assert len(group.pieces) == 2 * n  # of x and of y
    assert keys[0] == keys[1] == keys[2]


def test_the_nests_of_one_example_are_shown() -> None:
    f = indexlang.compile(CONV)
    made = plan(f.program, {n: SHAPES[n] for n in f.inputs}, dict.fromkeys(f.inputs, "float32"), NATIVE).plan
    text = telling.nests_text(made, groups.groups_of(made, engine.host()))
    assert "@0 is the first example of x," in text and "@1" not in text


def test_weights_are_packed_once() -> None:
    (group,) = split(indexlang.compile(CONV), {"x": (4, 30, 30, 128), "W": (3, 3, 128, 128)})
    names = [n.name for n in group.outlines]
    assert sum("left_pack" in n for n in names) == 1 and sum("pack" not in n and "c_" not in n for n in names) == 4


def test_what_is_padded_is_a_number_like_any_other() -> None:
    """0 times inf is nan, at a border, too."""
    f = indexlang.compile(CONV, backend="native")
    arrays = given(f)
    arrays["W"][0, 0, 0, 3] = np.inf
    with np.errstate(invalid="ignore"):
        expected = loops.run(f.program, arrays)["y"]
    np.testing.assert_array_equal(np.isnan(f(arrays)), np.isnan(expected))


def test_the_copy_is_of_one_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    sizes = {"x": (8, 56, 56, 64), "W": (3, 3, 64, 64)}
    (group,) = split(indexlang.compile(CONV), sizes)
    copy = next(w for w in group.workspaces if w.name.endswith("@"))
    assert copy.size == 58 * 58 * 64
    assert not split(indexlang.compile(CONV), {"x": (8, 14, 14, 64), "W": (3, 3, 64, 64)})  # small as it is
