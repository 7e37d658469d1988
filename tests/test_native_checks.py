"""Checks of positions by native code: the errors of NumPy's backend, before anything else has run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("llvmlite", reason="the native backend needs it")

import native_counting

import indexlang
from indexlang import ShapeError, threads
from indexlang.backends.native import program, runner
from indexlang.backends.native.groups import groups_of
from indexlang.backends.native.load import machine
from indexlang.backends.native.runner import Argument, Constant, Runner, Step
from indexlang.plan.limits import NATIVE
from indexlang.plan.plan import Check, Plan
from indexlang.plan.planning import plan

Array = NDArray[Any]
RNG = np.random.default_rng(0)

LABELS = "y[n] = x[n,k[n]]\n"
TWO = "y[n] = x[n,k[n]] * w[l[n]]\n"
SHIFTED = "y[n] = w[2*k[n]+1]\n"
MASKED = "y[n] += w[k[n]] where m[n] > 0\n"
MATRIX = "y[b,t,d] = w[k[b,t],d]\n"
MADE = "p[n] = k[n] + l[n]\ny[n] = w[p[n]]\n"
LATER = "p[n] = k[n] + l[n]\nz[n] = 2 * v[n]\ny[n] = w[p[n]] * z[n]\n"
SUMMED = "c[j] += k[n] where j < 2, n < 3\ny[j] = w[c[j]]\n"
WRITTEN = "shape y[11]\ny[k[n]] += x[n]\n"
CHOSEN = "y[n,d] += x[n,c] * w[k[n],c,d]\n"


def given(text: str, bad: tuple[int, ...] = (), kind: str = "int64", n: int = 40) -> dict[str, Array]:
    """Arrays for a program, positions below 5, but for those numbers that are `bad` one after the other."""
    k = RNG.integers(0, 5, n).astype(kind)
    for j, value in enumerate(bad):
        k[3 + 7 * j] = value
    shapes: dict[str, Array] = {
        "x": RNG.standard_normal((n, 5) if text in (LABELS, TWO) else (n, 3) if text == CHOSEN else (n,)),
        "w": RNG.standard_normal((5, 3, 4) if text == CHOSEN else (5, 3) if text == MATRIX else (11,)),
        "k": k.reshape(8, 5) if text == MATRIX else k,
        "l": RNG.integers(0, 5, n),
        "m": RNG.standard_normal(n),
        "v": RNG.standard_normal(n),
    }
    return {name: shapes[name] for name in indexlang.compile(text).inputs}


def said(text: str, backend: Any, arrays: dict[str, Array]) -> str | Array:
    """The result, or the error's text."""
    try:
        found: Array = indexlang.compile(text, backend=backend)(arrays)
    except ShapeError as error:
        return str(error)
    return found


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plans and nests are looked through, and whatever can be shared is, by three threads."""
    monkeypatch.setattr(runner, "TOGETHER", 0)
    monkeypatch.setattr(runner, "WOKEN", 0)
    threads.set_num_threads(3)
    yield
    threads.set_num_threads(None)


def planned(text: str) -> Plan:
    arrays = given(text)
    sizes = {n: a.shape for n, a in arrays.items()}
    return plan(indexlang.compile(text).program, sizes, {n: a.dtype.name for n, a in arrays.items()}, NATIVE).plan


@pytest.mark.parametrize("verified", ["0", "1"])
@pytest.mark.parametrize("bad", [(), (-1,), (11,), (99, -7), (-(2**62),)])
@pytest.mark.parametrize("text", [LABELS, TWO, SHIFTED, MASKED, MATRIX, MADE, LATER, WRITTEN, CHOSEN])
def test_what_is_outside_is_told_as_by_numpy(
    text: str, bad: tuple[int, ...], verified: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", verified)
    arrays = given(text, bad)
    right, found = said(text, "numpy", arrays), said(text, "native", arrays)
    if isinstance(right, str):
        assert "index-out-of-range" in right
        assert found == right
    else:
        np.testing.assert_allclose(np.asarray(found), right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "uint32", "uint64"])
def test_positions_of_any_type_of_integers(kind: str) -> None:
    for bad in ((), (100,), *(() if kind.startswith("u") else ((-100,),))):
        arrays = given(LABELS, bad, kind)
        right, found = said(LABELS, "numpy", arrays), said(LABELS, "native", arrays)
        assert isinstance(right, str) == bool(bad)
        assert np.array_equal(np.asarray(found), np.asarray(right))


def test_what_a_mask_refuses_may_be_outside() -> None:
    arrays = given(MASKED, (99,))
    arrays["m"][3] = -1
    found = said(MASKED, "native", arrays)
    assert not isinstance(found, str)
    np.testing.assert_allclose(found, said(MASKED, "numpy", arrays), rtol=1e-12)


def test_positions_that_a_program_sums_are_checked_once_they_are_there() -> None:
    for k, outside in (([1, 2, 3, 9], False), ([4, 4, 4, 0], True)):
        arrays = {"k": np.array(k), "w": np.arange(11.0)}
        right, found = said(SUMMED, "numpy", arrays), said(SUMMED, "native", arrays)
        assert isinstance(right, str) == outside
        assert np.array_equal(np.asarray(found), np.asarray(right))


@pytest.mark.parametrize("text", [LABELS, TWO, SHIFTED, MASKED, MATRIX, MADE, LATER])
def test_programs_with_checks_are_one_call(text: str) -> None:
    found = planned(text)
    numbers = {(s, k) for s, section in enumerate(found.sections) for k, _ in enumerate(section.steps)}
    (group,) = groups_of(found, machine())
    assert any(isinstance(step, Check) for section in found.sections for step in section.steps)
    assert set(group.numbers) == numbers
    assert group.flags


def test_checks_come_before_all_that_does_not_make_what_they_read() -> None:
    (group,) = groups_of(planned(TWO), machine())
    flags = [k for k, n in enumerate(group.outlines) if {a.name for a in n.arrays} & set(group.flags)]
    assert flags == list(range(len(flags)))
    (group,) = groups_of(planned(LATER), machine())
    first, *_ = (k for k, n in enumerate(group.outlines) if {a.name for a in n.arrays} & set(group.flags))
    assert first > 0  # behind what makes the positions


def test_nothing_runs_behind_a_check_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nests behind it leave what they would write as it is, and the next call is as if nothing had been."""
    called: list[tuple[Array, ...]] = []
    made = program.native

    def native(*args: Any) -> Any:
        found = made(*args)

        def call(*arrays: Array) -> Any:
            arrays[-1].fill(13)
            called.append(arrays)
            return found.call(*arrays)

        return replace(found, call=call, fast=False)  # by the code around the call, which asks whether it was refused

    monkeypatch.setattr(program, "native", native)
    f = indexlang.compile("y[n] = x[n,k[n]]\n", backend="native")
    good, bad = given(LABELS), given(LABELS, (7,))
    right = good["x"][np.arange(40), good["k"]]
    for _ in range(20):
        with pytest.raises(ShapeError, match="index-out-of-range"):
            f(bad)
        assert np.array_equal(f(good), right)
    assert len(called) == 40
    assert all((arrays[-1] == 13).any() for arrays in called[::2])


def test_calls_that_are_refused_in_several_threads_meet_nowhere() -> None:
    f = indexlang.compile(TWO, backend="native")
    good, bad = given(TWO), given(TWO, (8,))
    right, wrong = f(good), []

    def many(arrays: dict[str, Array]) -> None:
        for _ in range(200):
            try:
                found = f(arrays)
                fine = arrays is good and np.array_equal(found, right)
            except ShapeError as error:
                fine = arrays is bad and "k[n] = 8" in str(error)
            if not fine:
                wrong.append(arrays)

    several = [threading.Thread(target=many, args=(a,)) for a in (good, bad, good, bad)]
    for one in several:
        one.start()
    for one in several:
        one.join()
    assert not wrong


def test_a_label_outside_leaves_parameters_and_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    from indexlang.edf import Adam, Affine, AffineParams, CrossEntropy, Graph, GraphError, Input, Relu

    monkeypatch.setenv("INDEXLANG_BACKEND", "native")
    with Graph(seed=1) as g:
        x, y = Input("x"), Input("y")
        h = Relu(Affine(AffineParams(6, 8, name="a"), x))
        loss = CrossEntropy(Affine(AffineParams(8, 3, name="b"), h), y)
    images, labels = RNG.standard_normal((9, 6)).astype(np.float32), RNG.integers(0, 3, 9)
    optimiser = Adam(0.1)

    def step(labels: Array) -> None:
        g.step(loss, {x: images, y: labels})
        optimiser.step(g.parameters)

    step(labels)
    before = {p.name: p.value.copy() for p in g.parameters} | {n: a.copy() for n, a in optimiser.state.items()}
    with pytest.raises(GraphError, match=r"a label is outside of the classes: y\[4\] = 3"):
        step(np.array([*labels[:4], 3, *labels[5:]]))
    after = {p.name: p.value for p in g.parameters} | optimiser.state
    assert all(np.array_equal(after[n], a) for n, a in before.items())
    assert optimiser.steps == 1
    step(labels)
    assert optimiser.steps == 2


@pytest.mark.parametrize("flag", [0, 1, 255])
def test_a_step_that_refuses_is_the_last_one(flag: int) -> None:
    """Three steps, of which the second one says in `told` whether it refuses to go on."""
    code, told = native_counting.kernels(), np.array([flag])
    plain = native_counting.nest("tally", 4, ("counts", 4, "output"))
    asked = native_counting.nest("tally", 4, ("counts", 4, "output"), ("told", 1, "input"))
    tally = code.address("tally")
    steps = [
        Step(plain, tally, {"counts": Argument(0)}),
        Step(asked, tally, {"counts": Argument(1), "told": Constant(told)}, refuses="told"),
        Step(plain, tally, {"counts": Argument(2)}),
    ]
    run = Runner(steps, [32, 32, 32], 0, code)
    counts = np.zeros((3, 4), np.int64)
    for _ in range(5):
        assert run(*(c.ctypes.data for c in counts)) == bool(flag)
    assert counts.tolist() == [[5] * 4, [5] * 4, [0 if flag else 5] * 4]
    assert len(run.memory.contexts) == 1
