"""Optimisers on the native backend: all parameters moved by one call, in place, as NumPy and PyTorch move them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("llvmlite", reason="the native backend needs it")

import indexlang
from indexlang import threads
from indexlang.backends.engines import BACKENDS
from indexlang.backends.native import runner
from indexlang.backends.updates import Update
from indexlang.edf import Adam, AdamW, GradientDescent, Graph, Group, Normal, Parameter
from indexlang.edf.learning import checkpoints, together
from indexlang.edf.learning.optimisers import Optimiser

Array = NDArray[Any]
SHAPES: Sequence[tuple[int, ...]] = ((), (7,), (3, 40), (5, 5, 3, 16), (130, 130), (7,))
MAKERS: Mapping[str, Callable[[], Optimiser]] = {
    "plain": lambda: GradientDescent(0.1),
    "decay": lambda: GradientDescent(0.1, weight_decay=0.01),
    "momentum": lambda: GradientDescent(0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda: GradientDescent(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: Adam(0.05),
    "adam with decay": lambda: Adam(0.05, weight_decay=0.1),
    "adamw": lambda: AdamW(0.05, beta1=0.8),
}
PEERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "plain": ("SGD", {"lr": 0.1}),
    "decay": ("SGD", {"lr": 0.1, "weight_decay": 0.01}),
    "momentum": ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adam": ("Adam", {"lr": 0.05}),
    "adam with decay": ("Adam", {"lr": 0.05, "weight_decay": 0.1}),
    "adamw": ("AdamW", {"lr": 0.05, "betas": (0.8, 0.999)}),
}


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plans and nests are looked through, and whatever can be shared is, by three threads."""
    monkeypatch.setenv("INDEXLANG_BACKEND", "native")
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    monkeypatch.setattr(runner, "TOGETHER", 0)
    monkeypatch.setattr(runner, "WOKEN", 0)
    threads.set_num_threads(3)
    together._call_of.cache_clear()
    yield
    together._call_of.cache_clear()
    threads.set_num_threads(None)


@pytest.fixture
def by_numpy(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parameters that NumPy's code moves from now on."""
    moved: list[str] = []
    for kind in (GradientDescent, Adam, AdamW):

        def move(self: Any, parameter: Parameter, *rest: Any, old: Any = kind.move) -> None:
            moved.append(parameter.name)
            old(self, parameter, *rest)

        monkeypatch.setattr(kind, "move", move)
    return moved


def parameters(dtype: Any = np.float32, shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[Parameter]:
    with Graph(dtype=dtype, seed=3):
        return [Parameter(shape, Normal(1.0), name=f"p{k}") for k, shape in enumerate(shapes)]


def slopes(of: Sequence[Parameter], rng: np.random.Generator) -> None:
    """New gradients."""
    for p in of:
        p.graph.gradients[p.name] = np.asarray(rng.standard_normal(p.shape)).astype(p.value.dtype)


def trained(make: Callable[[], Optimiser], of: Sequence[Parameter], steps: int = 5) -> Optimiser:
    """What some steps leave, each with another rate."""
    optimiser, rng = make(), np.random.default_rng(1)
    for k in range(steps):
        slopes(of, rng)
        optimiser.step(of, 1 / (k + 1))
    return optimiser


def assert_same(found: Mapping[str, Array], right: Mapping[str, Array]) -> None:
    """The same names in the same order, and but for rounding the same elements of the same types."""
    assert list(found) == list(right)
    for name, array in right.items():
        assert found[name].dtype == array.dtype, name
        near = 8 * np.finfo(array.dtype).eps if array.dtype.kind == "f" else 0
        np.testing.assert_allclose(found[name], array, rtol=near, atol=near, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", MAKERS)
def test_all_parameters_are_moved_by_one_call_as_numpy_moves_them(
    case: str, dtype: Any, monkeypatch: pytest.MonkeyPatch, by_numpy: list[str]
) -> None:
    ours, theirs = parameters(dtype), parameters(dtype)
    arrays = [p.value for p in ours]
    found = trained(MAKERS[case], ours)
    assert not by_numpy
    assert all(p.value is a for p, a in zip(ours, arrays, strict=True)), "in place"
    monkeypatch.setenv("INDEXLANG_BACKEND", "numpy")
    right = trained(MAKERS[case], theirs)
    assert len(by_numpy) == 5 * len(SHAPES)
    assert_same({p.name: p.value for p in ours}, {p.name: p.value for p in theirs})
    assert_same(found.state, right.state)
    assert found.steps == right.steps == 5


@pytest.mark.parametrize("case", MAKERS)
def test_parameters_move_like_those_of_pytorch(case: str, by_numpy: list[str]) -> None:
    torch = pytest.importorskip("torch", reason="the peer that is compared with")
    ours = parameters(np.float64)
    theirs = [torch.nn.Parameter(torch.tensor(p.value.copy())) for p in ours]
    name, settings = PEERS[case]
    optimiser, peer = MAKERS[case](), getattr(torch.optim, name)(theirs, **settings)
    rng = np.random.default_rng(2)
    for _ in range(4):
        slopes(ours, rng)
        for p, q in zip(ours, theirs, strict=True):
            q.grad = torch.tensor(p.grad.copy())
        optimiser.step(ours)
        peer.step()
    assert not by_numpy
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.value, q.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_groups_have_their_own_settings(by_numpy: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stepped() -> list[Parameter]:
        of = parameters()
        groups = [Group([of[1]], rate=0.5, weight_decay=0.1), Group([of[2], of[4]], beta1=0.5)]
        trained(lambda: Adam(0.05, groups=groups), of)
        return of

    ours = stepped()
    assert not by_numpy
    monkeypatch.setenv("INDEXLANG_BACKEND", "numpy")
    assert_same({p.name: p.value for p in ours}, {p.name: p.value for p in stepped()})


def test_a_parameter_that_is_trained_from_later_on_begins_at_one(
    by_numpy: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stepped() -> tuple[list[Parameter], Optimiser]:
        of, optimiser, rng = parameters(), Adam(0.05), np.random.default_rng(4)
        of[2].trained = False
        for k in range(5):
            of[2].trained = k >= 3
            slopes(of, rng)
            optimiser.step(of)
        return of, optimiser

    ours, found = stepped()
    assert not by_numpy
    assert int(found.state["p2.steps"]) == 2
    assert int(found.state["p1.steps"]) == 5
    monkeypatch.setenv("INDEXLANG_BACKEND", "numpy")
    theirs, right = stepped()
    assert_same({p.name: p.value for p in ours}, {p.name: p.value for p in theirs})
    assert_same({n: found.state[n] for n in sorted(found.state)}, {n: right.state[n] for n in sorted(right.state)})


def test_no_rate_and_no_setting_of_a_step_is_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    row = BACKENDS["native"]
    assert row.updates is not None

    class Counting:
        updates = staticmethod(lambda several, old=row.updates: made.append(len(several)) or old(several))

    monkeypatch.setitem(BACKENDS, "native", Counting)  # type: ignore[misc]
    monkeypatch.setattr(together, "usual", lambda: "native")
    of, optimiser = parameters(), Adam(0.05)
    for k in range(6):
        optimiser.rate, optimiser.beta1, optimiser.eps = 0.05 * k, 0.1 * k, 1e-8 * 10**k
        slopes(of, np.random.default_rng(k))
        optimiser.step(of, 1 - 0.1 * k)
        Adam(0.3).step(of)
    assert made == [len(SHAPES)]


def test_a_run_goes_on_from_its_checkpoint_bit_for_bit(tmp_path: Path, by_numpy: list[str]) -> None:
    def stepped(of: Sequence[Parameter], optimiser: Optimiser, steps: range) -> None:
        for k in steps:
            slopes(of, np.random.default_rng(k))
            optimiser.step(of)

    path = tmp_path / "c.npz"
    whole, first, second = parameters(), parameters(), parameters()
    one, two, three = Adam(0.05), Adam(0.05), Adam(0.05)
    stepped(whole, one, range(6))
    stepped(first, two, range(3))
    save = {f"parameters/{p.name}": p.value for p in first} | {f"optimiser/{n}": a for n, a in two.state.items()}
    np.savez(path, **save)
    with np.load(path) as saved:
        for p in second:
            p.value = saved[f"parameters/{p.name}"]
        three.restore(two.steps, {n: saved[f"optimiser/{n}"] for n in two.state})
    stepped(second, three, range(3, 6))
    assert not by_numpy
    for p, q in zip(whole, second, strict=True):
        assert np.array_equal(p.value, q.value), p.name
    assert {n: checkpoints.checksum(a) for n, a in one.state.items()} == {
        n: checkpoints.checksum(a) for n, a in three.state.items()
    }


@pytest.mark.parametrize("case", ["complex", "empty", "lying otherwise", "twice"])
def test_what_is_no_call_is_moved_by_numpy_and_counted_once(case: str, by_numpy: list[str]) -> None:
    of = parameters(np.complex64 if case == "complex" else np.float32, [(3, 4), (2, 5)] + [(0, 3)] * (case == "empty"))
    optimiser, rng = Adam(0.1), np.random.default_rng(5)
    given = [*of, of[0]] if case == "twice" else of
    for _ in range(2):
        slopes(of, rng)
        if case == "lying otherwise":
            of[1].graph.gradients[of[1].name] = np.asfortranarray(of[1].grad)
        optimiser.step(given)
    assert by_numpy == [p.name for p in given] * 2
    assert int(optimiser.state["p0.steps"]) == (4 if case == "twice" else 2)
    assert int(optimiser.state["p1.steps"]) == 2


def test_a_way_to_move_of_ones_own_is_taken() -> None:
    class Signs(GradientDescent):
        def move(self, parameter: Parameter, gradient: Array, factor: float) -> None:
            value = parameter.value
            value -= np.sign(gradient)

    of = parameters(shapes=[(2, 3)])
    before = of[0].value.copy()
    slopes(of, np.random.default_rng(6))
    Signs(0.1).step(of)
    assert np.array_equal(of[0].value, before - np.sign(of[0].grad))


def test_a_step_without_gradients_changes_nothing() -> None:
    of, optimiser = parameters(shapes=[(2, 3)]), Adam(0.1)
    before = of[0].value.copy()
    with pytest.raises(indexlang.edf.GraphError, match="no-gradient"):
        optimiser.step(of)
    assert np.array_equal(of[0].value, before)
    assert optimiser.steps == 0
    assert not optimiser.state


# -- programs that are run in place ----------------------------------------------------------------------------


def updated(text: str, onto: Mapping[str, str], **arrays: Array) -> Any:
    """The call of one update, run on arrays; None if there is none."""
    program = indexlang.compile(text).program
    make = BACKENDS["native"].updates
    assert make is not None
    update = Update(program, tuple(onto.items()), (), (6,), "float32")
    call = make([update])
    if call is not None:
        both = (*update.read, *update.changed)
        assert call(np.empty(0, np.float32), *(arrays[n] for n in both)) is None
    return call


def test_what_is_read_when_it_has_been_written_over_is_refused() -> None:
    swap = "layer swap(a[N], b[N]) -> x, y:\n    x[i] = b[i]\n    y[i] = a[i]\n"
    assert updated(swap, {"x": "a", "y": "b"}) is None
    turned = "layer turned(a[N]) -> x:\n    x[i] = a[N-1-i]\n"
    assert updated(turned, {"x": "a"}) is None
    before = "layer before(a[N]) -> x[N]:\n    x[i] max= a[j] where j <= i\n"
    assert updated(before, {"x": "a"}) is None


def test_what_is_read_before_it_is_written_over_is_right() -> None:
    a, b = np.arange(6, dtype=np.float32), np.ones(6, np.float32)
    good = "layer good(a[N], b[N]) -> x, y:\n    x[i] = a[i] + b[i]\n    y[i] = 2 * x[i] * b[i]\n"
    assert updated(good, {"x": "a", "y": "b"}, a=a, b=b) is not None
    assert a.tolist() == [1, 2, 3, 4, 5, 6]
    assert b.tolist() == [2, 4, 6, 8, 10, 12]
    summed = "layer summed(a[N]) -> x:\n    x[i] = a[i] + sum[j](a[j])\n"
    assert updated(summed, {"x": "a"}, a=a) is not None
    assert a.tolist() == [22, 23, 24, 25, 26, 27]


def test_two_results_cannot_take_one_place() -> None:
    text = "layer two(a[N]) -> x, y:\n    x[i] = a[i] + 1\n    y[i] = a[i] + 2\n"
    assert updated(text, {"x": "a", "y": "a"}) is None
