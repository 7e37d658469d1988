"""Calls that have met their shapes and types before: as right, as strict and as much one's own as the first one."""

from __future__ import annotations

import gc
import inspect
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import indexlang
from indexlang import IndexLangError
from indexlang.calls.function import Function
from indexlang.calls.ways import refused
from indexlang.plan.limits import TINY

try:
    import llvmlite  # noqa: F401 (whether there are two backends)
except ImportError:
    BACKENDS = ("numpy",)
else:
    BACKENDS = ("numpy", "native")

RNG = np.random.default_rng(5)
PRODUCT = "y[i,k] = x[i,j] * W[j,k]"
X, W = (RNG.standard_normal(s).astype(np.float32) for s in ((3, 4), (4, 5)))
DY = RNG.standard_normal((3, 5)).astype(np.float32)

both = pytest.mark.parametrize("backend", BACKENDS)


def settled(text: str, backend: str, *given: Any, dy: Any = None, **how: Any) -> Function:
    """A Function that has been called so often that its way is there; `dy` settles its pullback, too."""
    f = indexlang.compile(text, backend=backend, **how)
    for _ in range(3):
        f(*given)
        if dy is not None:
            f.vjp(*given)[1](dy)
    assert f._quick is not refused
    assert dy is None or f._quick_vjp is not refused
    return f


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, in plain objects: every bit of the arrays, or what is said of an error, and what is not."""
    try:
        with np.errstate(all="ignore"):
            return plain(call())
    except IndexLangError as error:
        return type(error), str(error), error.__context__ is None or error.__suppress_context__


def plain(found: Any) -> Any:
    if isinstance(found, dict):
        return [(name, plain(value)) for name, value in found.items()]
    if isinstance(found, tuple):
        return [plain(value) for value in found]
    assert type(found) is np.ndarray
    return found.dtype.str, found.shape, found.tobytes()


class Sub(np.ndarray[Any, Any]):
    pass


class Lent:
    """An array as another library has it."""

    def __dlpack__(self, **how: Any) -> Any:
        return X.__dlpack__(**how)

    def __dlpack_device__(self) -> Any:
        return X.__dlpack_device__()


def shifted(a: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same numbers, not aligned."""
    raw = np.zeros(a.nbytes + 1, np.uint8)
    found = raw[1:].view(a.dtype).reshape(a.shape)
    found[...] = a
    return found


def frozen(a: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    a = a.copy()
    a.flags.writeable = False
    return a


CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "names": ((), {"x": X, "W": W}),
    "names in another order": ((), {"W": W, "x": X}),
    "one by position": ((X,), {"W": W}),
    "given twice": ((X, W), {"W": W}),
    "given twice, and nothing else": ((X,), {"x": X}),
    "all by name, and one more": ((X,), {"x": X, "W": W}),
    "a mapping": (({"x": X, "W": W},), {}),
    "a mapping and a name": (({"x": X},), {"W": W}),
    "a mapping and an array": (({"x": X}, W), {}),
    "nothing": ((), {}),
    "one is missing": ((), {"x": X}),
    "one is missing by position": ((X,), {}),
    "one too many": ((X, W, W), {}),
    "one too many by name": ((), {"x": X, "W": W, "b": W}),
    "another name": ((), {"x": X, "w": W}),
    "other sizes": ((X[:2], W), {}),
    "sizes that do not fit": ((X, W[:2]), {}),
    "another order": ((W, X), {}),
    "another number of axes": ((X[0], W), {}),
    "an axis more": ((X[None], W), {}),
    "no elements": ((X[:0], W), {}),
    "one of float64": ((X.astype(np.float64), W), {}),
    "float16": ((X.astype(np.float16), W.astype(np.float16)), {}),
    "integers": ((X.astype(np.int32), W), {}),
    "complex": ((X * 1j, W), {}),
    "bool": ((X > 0, W), {}),
    "other bytes first": ((X.astype(">f4"), W), {}),
    "words": ((X.astype(str), W), {}),
    "lists": ((X.tolist(), W.tolist()), {}),
    "None": ((None, W), {}),
    "a number": ((3.0, W), {}),
    "a subclass": ((X.view(Sub), W), {}),
    "a masked array": ((np.ma.masked_array(X, X > 0), W), {}),
    "of another library": ((Lent(), W), {}),
    "in columns": ((np.asfortranarray(X), W), {}),
    "every second": ((np.repeat(X, 2, 0)[::2], W), {}),
    "backwards": ((X[::-1].copy()[::-1], W), {}),
    "one row again and again": ((np.broadcast_to(X[0], X.shape), W), {}),
    "not aligned": ((shifted(X), W), {}),
    "read-only": ((frozen(X), frozen(W)), {}),
}


@both
@pytest.mark.parametrize("name", CALLS)
def test_other_calls_give_what_first_ones_give(backend: str, name: str) -> None:
    args, kwargs = CALLS[name]
    f, usual = settled(PRODUCT, backend, X, W, dy=DY), outcome(lambda: (X @ W, DY @ W.T, X.T @ DY))
    first = indexlang.compile(PRODUCT, backend=backend)
    called, pulled = (outcome(lambda: first(*args, **kwargs)), outcome(lambda: first.vjp(*args, **kwargs)[0]))
    for _ in range(3):  # the third time this is what has been met before
        assert outcome(lambda: f(*args, **kwargs)) == called
        assert outcome(lambda: f.vjp(*args, **kwargs)[0]) == pulled
    assert not (called[0] is indexlang.ShapeError and not called[2])
    y, pullback = f.vjp(X, W)
    for (_, shape, found), (_, expected, value) in zip(
        outcome(lambda: (y, *pullback(DY).values())), usual, strict=True
    ):
        assert shape == expected
        np.testing.assert_allclose(np.frombuffer(found, "f4"), np.frombuffer(value, "f4"), rtol=1e-5, atol=1e-6)


LOSS = "h[i,k] = x[i,j] * W[j,k]\nl = h[i,k] * h[i,k]"


@both
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("wrt", [None, ["W", "x"]])
def test_other_calls_give_the_values_and_gradients_that_first_ones_give(
    backend: str, name: str, wrt: list[str] | None
) -> None:
    args, kwargs = CALLS[name]
    f, first = (indexlang.compile(LOSS, backend=backend) for _ in range(2))
    value, grads = ((X @ W) ** 2).sum(), {"x": 2 * (X @ W) @ W.T, "W": 2 * X.T @ (X @ W)}
    for _ in range(3):
        f.value_and_grad(x=X, W=W, wrt=wrt)
    right = outcome(lambda: first.value_and_grad(*args, wrt=wrt, **kwargs))
    for _ in range(3):
        assert outcome(lambda: f.value_and_grad(*args, wrt=wrt, **kwargs)) == right
    found, by = f.value_and_grad(X, W, wrt=wrt)
    np.testing.assert_allclose(found, value, rtol=1e-5)
    assert list(by) == (wrt or ["x", "W"])
    for n, gradient in by.items():
        np.testing.assert_allclose(gradient, grads[n], rtol=1e-4, atol=1e-5)


@both
def test_gradients_are_by_what_is_named_each_time(backend: str) -> None:
    f = indexlang.compile(LOSS, backend=backend)
    for _ in range(3):
        for wrt in (None, "x", ["W"], ("W", "x"), {"x"}, {"W"}, {"W": 1}.keys(), ["x"]):
            names = ["x", "W"] if wrt is None else [wrt] if wrt == "x" else list(wrt)
            assert list(f.value_and_grad(x=X, W=W, wrt=wrt)[1]) == names
            assert list(f.value_and_grad(wrt, x=X, W=W)[1]) == names
            assert list(f.value_and_grad(wrt, X, W)[1]) == names
        for wrong in ([], "z", ["x", "z"], 3, ["x", 3], ([],)):
            with pytest.raises(indexlang.DerivationError):
                f.value_and_grad(x=X, W=W, wrt=wrong)
        for odd in ({"l.grad": np.ones((), np.float32)}, {"x": X, "l.grad": np.ones((), np.float32)}):
            with pytest.raises(indexlang.ShapeError, match="no input"):
                f.value_and_grad(**{"W": W, **odd})
    g = indexlang.compile("l = wrt[i] * x[i]", backend=backend)
    for _ in range(3):
        assert set(g.value_and_grad(wrt=X[0], x=X[1])[1]) == {"wrt", "x"}
        assert set(g.value_and_grad("x", wrt=X[0], x=X[1])[1]) == {"x"}


@both
def test_values_and_gradients_are_ones_own(backend: str) -> None:
    f, x = indexlang.compile("l = x[i]", backend=backend), np.ones(3)
    held: list[Any] = [x]
    for _ in range(4):
        value, grads = f.value_and_grad(x=x)
        assert value.tolist() == 3 and grads["x"].tolist() == [1, 1, 1]
        for array in (value, grads["x"]):
            assert array.flags.writeable and not any(np.shares_memory(array, other) for other in held)
            held.append(array)
            array[...] = 7


COTANGENTS: dict[str, Any] = {
    "as it should be": DY,
    "by name": {"y": DY},
    "none": {},
    "another name": {"z": DY},
    "another shape": DY.T,
    "another number of axes": DY[0],
    "float64": DY.astype(np.float64),
    "integers": DY.astype(np.int64),
    "complex": DY * 1j,
    "other bytes first": DY.astype(">f4"),
    "lists": DY.tolist(),
    "None": None,
    "words": "dy",
    "a subclass": DY.view(Sub),
    "in columns": np.asfortranarray(DY),
    "not aligned": shifted(DY),
    "one number for all": np.broadcast_to(DY[:1, :1], DY.shape),
    "read-only": frozen(DY),
}


@both
@pytest.mark.parametrize("name", COTANGENTS)
def test_other_cotangents_give_what_first_ones_give(backend: str, name: str) -> None:
    dy = COTANGENTS[name]
    pullback = settled(PRODUCT, backend, X, W, dy=DY).vjp(X, W)[1]
    first = indexlang.compile(PRODUCT, backend=backend).vjp(X, W)[1]
    for _ in range(2):
        assert outcome(lambda: pullback(dy)) == outcome(lambda: first(dy))


@both
def test_a_pullback_of_arrays_that_lie_in_another_way(backend: str) -> None:
    f = settled(PRODUCT, backend, X, W, dy=DY)
    for x in (np.asfortranarray(X), shifted(X), X[::-1].copy()[::-1], frozen(X)):
        found, right = f.vjp(x=x, W=W)[1](DY), f.vjp(x=X, W=W)[1](DY)
        for n, value in right.items():
            np.testing.assert_allclose(found[n], value, rtol=1e-5, atol=1e-6)


@both
def test_calls_of_several_sizes_take_turns(backend: str) -> None:
    f = indexlang.compile(PRODUCT, backend=backend)
    for _ in range(4):
        for rows, dtype in ((1, np.float32), (3, np.float32), (3, np.float64), (7, np.float64)):
            x, w = RNG.standard_normal((rows, 4)).astype(dtype), RNG.standard_normal((4, 2)).astype(dtype)
            y, pullback = f.vjp(x=x, W=w)
            grads = pullback(dy := np.ones_like(y))
            pairs = ((f(x, w), x @ w), (y, x @ w), (grads["x"], dy @ w.T), (grads["W"], x.T @ dy))
            for found, right in pairs:
                assert found.dtype == dtype
                np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-5)


# -- what is given -------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("text", "outputs", "arrays"),
    [
        ("y = x[i] * z[i]", ["y"], ("x", "z")),
        ("y[i] = exp(x[i])", ["y"], ("x",)),
        ("y[i] = exp(x[i])\nz = x[i] * y[i]", ["y", "z"], ("x",)),
        ("y[i] = x[i]\nz[i] = x[i]", ["y", "z"], ("x",)),
        ("y[i] = i where i < 3", ["y"], ()),
        ("y[i] = x[p[i]]", ["y"], ("x", "p")),
    ],
)
def test_results_are_those_of_a_first_call_and_ones_own(
    backend: str, text: str, outputs: list[str], arrays: tuple[str, ...]
) -> None:
    given = {n: np.array([2, 0, 1]) if n == "p" else RNG.standard_normal(3) for n in arrays}
    held = list(given.values())

    def all_of(f: Function) -> list[Any]:
        found: list[Any] = [f(**given)]
        if arrays:
            y, pullback = f.vjp(**given)
            dy = {n: np.full_like(v, 2) for n, v in y.items()} if isinstance(y, dict) else np.full_like(y, 2)
            found += [y, pullback(dy), pullback(dy)]
        return found

    def flat(found: list[Any]) -> list[Any]:
        return [a for one in found for a in (one.values() if isinstance(one, dict) else [one])]

    f = indexlang.compile(text, outputs=outputs, backend=backend)
    right = all_of(f)
    for _ in range(4):
        found = all_of(f)
        assert outcome(lambda: tuple(found)) == outcome(lambda: tuple(right))  # noqa: B023 (called at once)
        for new, old in zip(flat(found), flat(right), strict=True):
            assert new.flags.writeable == old.flags.writeable
            assert new.flags.c_contiguous and new.flags.aligned
            assert not any(np.shares_memory(new, other) for other in held)
        held += flat(found)


@both
def test_what_the_pullback_reads_again_cannot_be_written_to(backend: str) -> None:
    x = RNG.standard_normal(5)
    f = settled("y[i] = exp(x[i])", backend, x, dy=x)
    y, pullback = f.vjp(x=x)
    with pytest.raises(ValueError, match="read-only"):
        y[0] = 1
    np.testing.assert_allclose(pullback(x)["x"], x * np.exp(x), rtol=1e-12)
    assert f(x).flags.writeable


@both
def test_names_may_be_any(backend: str) -> None:
    f = settled("out[i] = 2 * self[i] + args[i] * kwargs[i]", backend, X[0], X[1], X[2])
    right = 2 * X[0] + X[1] * X[2]
    np.testing.assert_allclose(f(args=X[1], self=X[0], kwargs=X[2]), right, rtol=1e-6)
    g = settled("y[i] = 2 * out[i]", backend, X[0])
    np.testing.assert_allclose(g(out=X[0]), 2 * X[0])


@both
def test_buffers_are_written_and_refused_as_before(backend: str) -> None:
    f = settled(PRODUCT, backend, X, W)
    buffer = np.zeros((3, 5), np.float32)
    assert f(X, W, out=buffer) is buffer
    np.testing.assert_allclose(buffer, X @ W, rtol=1e-5, atol=1e-6)
    for wrong in (frozen(buffer), buffer.T, buffer.astype(np.float64), {"z": buffer}, [1], X):
        first = indexlang.compile(PRODUCT, backend=backend)
        found = outcome(lambda: f(X, W, out=wrong))  # noqa: B023 (called at once)
        assert found == outcome(lambda: first(X, W, out=wrong))  # noqa: B023
        assert found[0] is indexlang.ShapeError


@both
def test_a_derived_program_may_take_a_tensor_for_its_shape_alone(backend: str) -> None:
    g = indexlang.compile("s = x[i]", backend=backend).grad()
    assert "x" in g.inputs
    given = {"x": np.ones(3), "s.grad": np.array(2.0)}
    for _ in range(3):
        assert g(given)["x.grad"].tolist() == g(**given)["x.grad"].tolist() == [2, 2, 2]
    assert g._quick is not refused
    assert g(**{**given, "x": np.ones((3, 2))[:, 0]})["x.grad"].tolist() == [2, 2, 2]
    for wrong in ([1.0, 2.0], np.ones((3, 1)), np.ones(2), None):
        first = indexlang.compile("s = x[i]", backend=backend).grad()
        odd = {**given, "x": wrong}
        assert outcome(lambda: g(**odd)) == outcome(lambda: first(**odd))  # noqa: B023 (called at once)


@both
def test_where_an_accumulation_starts_is_as_before(backend: str) -> None:
    f = settled("y[i] += x[i]", backend, X[0], dy=X[0])
    assert f.optional == ("y",)
    for call in (f, lambda *args, **kwargs: f.vjp(*args, **kwargs)[0]):
        for found in (call(x=X[0], y=X[1]), call(X[0], X[1]), call(X[0], y=X[1])):
            np.testing.assert_allclose(found, X[0] + X[1], rtol=1e-6)
    assert set(f.vjp(x=X[0], y=X[1])[1](X[2])) == {"x", "y"}


@both
def test_a_position_out_of_range_is_told(backend: str) -> None:
    f = settled("y[i] = x[p[i]]", backend, X[0], np.array([0, 3]), dy=X[0, :2])
    for call in (f, f.vjp):
        with pytest.raises(indexlang.ShapeError, match="out of range"):
            call(X[0], np.array([0, 4]))


@both
def test_integers_have_no_gradients(backend: str) -> None:
    f = indexlang.compile(PRODUCT, backend=backend)
    x, w = (a.astype(np.int64) for a in (X, W))
    for _ in range(4):
        y, pullback = f.vjp(x, w)
        assert np.array_equal(y, x @ w)
        with pytest.raises(indexlang.DerivationError, match="integer"):
            pullback(y)
        assert list(f.vjp(X, w)[1](DY)) == ["x"]


BANDED = """
s[i,j] = q[i,d] * k[j,d] where j <= i, i < j + 4
e[i,j] = exp(s[i,j]) where j <= i, i < j + 4
z[i] = e[i,j]
y[i,f] = e[i,j] * v[j,f] / z[i]
"""


@both
def test_data_for_which_a_plan_does_not_hold(backend: str) -> None:
    """Only a band is computed, and 0 outside of it times infinity is none."""
    limits = replace(TINY, nests=backend == "native")
    f, first = (Function(indexlang.compile(BANDED).program, limits=limits) for _ in range(2))
    q, k, v = RNG.standard_normal((3, 40, 8))
    for _ in range(4):
        f(q, k, v)
        f.vjp(q, k, v)[1](v)
    assert next(iter(f._pulls.values())).instead is not None
    bad = np.where(np.arange(40)[:, None] == 20, np.inf, v)
    assert outcome(lambda: f(q, k, bad)) == outcome(lambda: first(q, k, bad))
    assert outcome(lambda: f.vjp(q, k, bad)[0]) == outcome(lambda: first.vjp(q, k, bad)[0])
    assert outcome(lambda: f.vjp(q, k, v)[1](bad)) == outcome(lambda: first.vjp(q, k, v)[1](bad))
    with np.errstate(all="ignore"):
        assert not np.isfinite(f.vjp(q, k, bad)[0]).any()


@both
def test_where_nothing_has_a_gradient_there_is_none(backend: str) -> None:
    f = settled("y[i] = floor(x[i])", backend, X[0], dy=X[0])
    assert f.vjp(x=X[0])[1](X[1]) == {}


@both
def test_a_pullback_says_what_it_takes(backend: str) -> None:
    f = indexlang.compile(PRODUCT, backend=backend)
    for _ in range(4):
        pullback = f.vjp(X, W)[1]
        pullback(DY)
        assert len(inspect.signature(pullback).parameters) == 1
        with pytest.raises(TypeError):
            pullback()
        with pytest.raises(TypeError):
            pullback(DY, DY)


# -- threads and memory --------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("released", [False, True])
def test_threads_with_other_shapes_do_not_meet(backend: str, released: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if released and backend == "native":
        from indexlang.backends.native import runner

        monkeypatch.setattr(runner, "RELEASED", 0)  # Python's lock, while the kernels run
    f = indexlang.compile(PRODUCT, backend=backend)
    wrong: list[Any] = []

    def run(seed: int) -> None:
        rng = np.random.default_rng(seed)
        x, w = rng.standard_normal((1 + seed % 3, 4)), rng.standard_normal((4, 2))
        dy = rng.standard_normal((len(x), 2))
        for _ in range(300):
            y, pullback = f.vjp(x=x, W=w)
            grads = pullback(dy)
            pairs = ((f(x, w), x @ w), (y, x @ w), (grads["x"], dy @ w.T), (grads["W"], x.T @ dy))
            if not all(a.shape == b.shape and np.allclose(a, b) for a, b in pairs):
                wrong.append(seed)
                return

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=run, args=(k,)) for k in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


@both
def test_calls_keep_no_references(backend: str) -> None:
    f = settled(PRODUCT, backend, X, W, dy=DY)
    bad = W[:2].copy()
    objects = [X, W, DY, bad, None, NotImplemented, np.ndarray, X.dtype, *f.inputs, *f.outputs, f._quick, f._quick_vjp]

    def many() -> None:
        for _ in range(300):
            f(x=X, W=W)
            f(X, W)
            pullback = f.vjp(x=X, W=W)[1]
            pullback(DY)
            for wrong in (lambda: f(x=X, W=bad), lambda: f(X), lambda: pullback(bad), lambda: f.vjp(x=X)):  # noqa: B023
                with pytest.raises(IndexLangError):
                    wrong()

    many()
    gc.collect()
    before = [sys.getrefcount(o) for o in objects]
    many()
    gc.collect()
    after = [sys.getrefcount(o) for o in objects]
    assert all(abs(a - b) < 50 for a, b in zip(after, before, strict=True)), (before, after)


@both
def test_results_are_held_by_nobody_else(backend: str) -> None:
    f = settled("y[i] = exp(x[i])", backend, X[0], dy=X[0])
    g = settled("y[i] = exp(x[i])\nz = x[i]", backend, X[0], outputs=["y", "z"])

    def holders(call: Callable[[], Any]) -> int:
        found = call()
        return sys.getrefcount(found)

    y, pullback = f.vjp(X[0])
    calls: list[Callable[[], Any]] = [lambda: f(X[0]), lambda: f(x=X[0]), lambda: g(X[0]), lambda: g(X[0])["z"]]
    calls += [lambda: f.vjp(X[0]), lambda: f.vjp(X[0])[0], lambda: f.vjp(X[0])[0].base, lambda: f.vjp(X[0])[1]]
    calls += [lambda: pullback(X[0]), lambda: pullback(X[0])["x"]]
    assert [holders(call) for call in calls] == [holders(lambda: np.empty(3))] * len(calls)
    assert y.base is not None


@both
def test_a_pullback_keeps_its_arrays_and_no_longer_than_it_is_there(backend: str) -> None:
    f = settled("y[i] = exp(x[i])", backend, X[0], dy=X[0])
    x = X[0].copy()
    y, pullback = f.vjp(x)
    kept = [weakref.ref(x), weakref.ref(y)]
    del x, y
    gc.collect()
    np.testing.assert_allclose(pullback(X[1])["x"], X[1] * np.exp(X[0]), rtol=1e-5)
    del pullback
    gc.collect()
    assert [ref() for ref in kept] == [None, None]


@both
def test_a_function_that_nobody_has_is_gone(backend: str) -> None:
    f = settled(PRODUCT, backend, X, W, dy=DY)
    pullback, kept = f.vjp(X, W)[1], [weakref.ref(f), weakref.ref(next(iter(f._pulls.values())))]
    del f
    gc.collect()
    np.testing.assert_allclose(pullback(DY)["W"], X.T @ DY, rtol=1e-5, atol=1e-6)
    del pullback
    gc.collect()
    assert [ref() for ref in kept] == [None, None]


SHORT = """
import resource
import numpy as np, indexlang
f = indexlang.compile("w[i] = 2 * x[i]\\ny[i,j] = x[i] * z[j]", outputs=["w", "y"], backend="native")
x, z, told = np.ones(3000, "f4"), np.ones(6000, "f4"), 0
for _ in range(3):
    f(x, z)
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (48 << 20), resource.RLIM_INFINITY))
for _ in range(3):
    try:
        f(x, z)
    except indexlang.ShapeError as error:
        told += error.code == "too-large" and error.__suppress_context__
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
assert told == 3 and (f(x, z)["y"] == 1).all()
"""


@pytest.mark.skipif("native" not in BACKENDS or sys.platform != "linux", reason="it limits memory as Linux does")
def test_where_memory_ends_it_is_told_and_nothing_is_held() -> None:
    done = subprocess.run([sys.executable, "-c", SHORT], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")


# -- other Pythons -------------------------------------------------------------------------------------


@pytest.mark.skipif("native" not in BACKENDS, reason="the native backend needs llvmlite")
def test_where_numpy_has_another_interface_there_are_no_builtin_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    from indexlang.backends.native import pool, words

    monkeypatch.setattr(words, "_INTERFACE", 0x3000000)
    monkeypatch.setattr(pool, "_kept", [])
    assert not words.has_plain_objects()
    f = settled(PRODUCT, "native", X, W, dy=DY)
    assert pool.native().builtin == 0
    y, pullback = f.vjp(x=X, W=W)
    for found, right in ((f(X, W), X @ W), (y, X @ W), (pullback(DY)["W"], X.T @ DY), (f(X.T.copy().T, W), X @ W)):
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)
    assert outcome(lambda: f(X)) == outcome(lambda: indexlang.compile(PRODUCT, backend="native")(X))


@pytest.mark.skipif("native" not in BACKENDS, reason="the native backend needs llvmlite")
def test_what_is_looked_through_goes_the_usual_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    f = settled(PRODUCT, "native", X, W, dy=DY)
    assert next(iter(f._compiled.values())).whole is None
    np.testing.assert_allclose(f.vjp(X, W)[1](DY)["x"], DY @ W.T, rtol=1e-5, atol=1e-6)
