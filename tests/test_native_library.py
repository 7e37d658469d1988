"""Layers and networks by nests: what NumPy's backend gives, forward, backward, and after some steps of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from library_cases import CASES, Case
from numpy.typing import NDArray

pytest.importorskip("llvmlite", reason="the native backend needs it")

import indexlang
from indexlang import edf, threads
from indexlang.calls.function import Function
from indexlang.edf import (
    Adam,
    Affine,
    AffineParams,
    Attention,
    AttentionParams,
    CrossEntropy,
    GradientDescent,
    Graph,
    Input,
    MeanSquaredError,
    Relu,
    networks,
)

Array = NDArray[Any]

LIBRARY = Path(indexlang.__file__).parent / "library"
NEAR = {"float32": 3e-5, "float64": 1e-11}


@pytest.fixture(autouse=True)
def looked_through(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every plan and nest is."""
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    threads.set_num_threads(2)
    yield
    threads.set_num_threads(None)


def assert_same(found: Any, right: Any, near: float) -> None:
    found, right = ({"": a} if not isinstance(a, dict) else a for a in (found, right))
    assert set(found) == set(right)
    for name, value in right.items():
        assert found[name].shape == value.shape, name
        assert found[name].dtype == value.dtype, name
        size = np.max(np.abs(value), initial=1) if value.dtype.kind == "f" else 0
        np.testing.assert_allclose(found[name], value, rtol=near, atol=near * float(size), err_msg=name)


# -- layers ------------------------------------------------------------------------------------------


def compiled(case: Case, backend: Any) -> Function:
    return indexlang.compile(LIBRARY / f"{case.file}.idx", layer=case.layer, backend=backend, **case.options)


def pulled(f: Function, arrays: dict[str, Array]) -> tuple[Any, Any]:
    y, pullback = f.vjp(**arrays)
    rng = np.random.default_rng(0)
    values = y if isinstance(y, dict) else {f.outputs[0]: y}
    return y, pullback({n: rng.standard_normal(v.shape).astype(v.dtype) for n, v in values.items() if v.dtype != int})


ONCE = {c.layer: c for c in CASES}
EACH = [(c, "float32" if ONCE[c.layer] is c else "float64") for c in CASES]
TWICE = [(c, "float64") for c in ONCE.values() if sum(c.layer == other.layer for other in CASES) == 1]


@pytest.mark.parametrize(("case", "dtype"), [*EACH, *TWICE], ids=lambda c: c if isinstance(c, str) else c.name)
def test_a_layer_is_numpys(case: Case, dtype: str) -> None:
    arrays = {n: a.astype(dtype) if a.dtype == np.float64 else a for n, a in case.arrays().items()}
    f, right = compiled(case, "native"), compiled(case, "numpy")
    assert f.backend == "native"
    assert_same(f(**arrays), right(**arrays), NEAR[dtype])
    for found, value in zip(pulled(f, arrays), pulled(right, arrays), strict=True):
        assert_same(found, value, NEAR[dtype])


# -- networks ----------------------------------------------------------------------------------------

Made = tuple[Graph, Input, Input, Any]


def classifier(name: str, **options: Any) -> Callable[[], Made]:
    def made() -> Made:
        net = networks.build(name, **options)
        with net.graph:
            y = Input("labels")
            loss = CrossEntropy(net.scores, y)
        return net.graph, net.x, y, loss

    return made


def mlp() -> Made:
    with Graph(seed=3) as g:
        x, y = Input(), Input()
        hidden = Relu(Affine(AffineParams(17, 33), x))
        return g, x, y, CrossEntropy(Affine(AffineParams(33, 5), hidden), y)


def attention() -> Made:
    with Graph(seed=4) as g:
        x, y = Input(), Input()
        return g, x, y, MeanSquaredError(Attention(x, AttentionParams(12, 3), causal=True), y)


NETWORKS = {
    "mlp": (mlp, (19, 17), 5),
    "lenet": (classifier("lenet5"), (6, 32, 32, 1), 10),
    "resnet": (classifier("resnet18", size=32, width=0.0625, blocks=(1, 1, 1, 1), classes=5), (2, 32, 32, 3), 5),
    "attention": (attention, (3, 9, 12), 0),
}


def trained(name: str, backend: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> list[Array]:
    """The losses of some steps, and the parameters after them."""
    monkeypatch.setenv("INDEXLANG_BACKEND", backend)
    make, shape, classes = NETWORKS[name]
    edf.reset()
    g, x, y, loss = make()
    rng = np.random.default_rng(2)
    found = []
    optimiser = Adam(0.001) if name == "mlp" else GradientDescent(0.01, momentum=0.9)
    for _ in range(steps):
        x.value = rng.standard_normal(shape).astype(np.float32)
        y.value = rng.integers(0, classes, shape[0]) if classes else rng.standard_normal(shape).astype(np.float32)
        found.append(np.asarray(g.step(loss)))
        optimiser.step(g.parameters)
    return [*found, *(p.value for p in g.parameters)]


@pytest.mark.parametrize("name", NETWORKS)
def test_training_goes_numpys_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = trained(name, "numpy", 3, monkeypatch)
    found = trained(name, "native", 3, monkeypatch)
    for a, b in zip(found, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5 * max(1, float(np.max(np.abs(b)))))
