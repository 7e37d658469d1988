"""The callable: calls, buffers, kinds of arrays, threads, errors, pullbacks, optional inputs, what it shows."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import indexlang
from indexlang.calls.function import Function
from indexlang.errors import DerivationError, IndexLangWarning, LanguageSyntaxError, MeaningError, ShapeError

CONVOLUTION = "y[b,i,j,cy] += W[di,dj,cx,cy] * x[b,i+di,j+dj,cx]"
RNG = np.random.default_rng(3)


def convolution(x: np.ndarray, W: np.ndarray) -> np.ndarray:  # noqa: N803 (the statement's name)
    windows = np.lib.stride_tricks.sliding_window_view(x, W.shape[:2], axis=(1, 2))
    return np.einsum("bijcrs,rsco->bijo", windows, W)


# -- calls ---------------------------------------------------------------------------------------------


def test_by_position_and_by_name() -> None:
    f = indexlang.compile("y[i] = a[i] - b[i]")
    a, b = np.array([5.0, 7.0]), np.array([1.0, 2.0])
    assert f.inputs == ("a", "b") and f.outputs == ("y",)
    for found in (f(a, b), f(a=a, b=b), f(b=b, a=a), f(a, b=b), f([5, 7], [1, 2])):
        assert found.tolist() == [4, 5]


def test_one_output_is_an_array_several_are_a_dict() -> None:
    assert isinstance(indexlang.compile("y = x[i]")(x=np.ones(3)), np.ndarray)
    found = indexlang.compile("y = x[i]\nz[i] = 2*x[i]")(x=np.ones(3))
    assert list(found) == ["y", "z"] and found["y"].shape == ()
    chosen = indexlang.compile("h[i] = x[i]\ny = h[i]", outputs=["y", "h"])
    assert list(chosen(x=np.ones(3))) == ["y", "h"]


def test_an_input_is_never_handed_out_itself() -> None:
    x = np.ones(3)
    y = indexlang.compile("y[i] = x[i]")(x=x)
    y[0] = 7
    assert x.tolist() == [1, 1, 1]


ALIASES = [
    "y[i] = x[i]",
    "y[i] = float(x[i])",
    "y[i] = x[i] * 1",
    "y[i] = i where i < 3",
    "y[j,i] = x[i] * (j == 0) where j < 1",
]
ALIASES += [
    "h[i] = x[i]\ny[i] = h[i]",
    "y[i] = x[p[i]]\nz[i] = x[p[i]]",
    "m[i] = i <= 1 where i < 3\ny[i] = m[i] + x[i]",
]


@pytest.mark.parametrize("text", ALIASES)
def test_outputs_are_arrays_of_their_own(text: str) -> None:
    """What a caller writes into one reaches no input, no other output, and no later call."""
    f = indexlang.compile(text, outputs=[line[0] for line in text.splitlines()])
    arrays = {n: np.arange(3) if n == "p" else np.array([1.0, 2.0, 3.0]) for n in f.inputs}
    for dtype in (np.float64, np.int64):
        given = {n: a if n == "p" else a.astype(dtype) for n, a in arrays.items()}
        held = list(given.values())
        first = f(**given)
        found = list(first.values()) if isinstance(first, dict) else [first]
        for k, array in enumerate(found):
            assert not any(np.shares_memory(array, other) for other in (*held, *found[:k]))
        expected = [array.copy() for array in found]
        for array in found:
            array[...] = 0
        again = f(**given)
        for value, array in zip(expected, again.values() if isinstance(again, dict) else [again], strict=True):
            assert np.array_equal(value, array)


WRONG_CALLS = [
    ((), {"a": 1.0}, "missing-input", "the input 'b' is missing"),
    ((), {"a": 1.0, "b": 1.0, "c": 1.0}, "unexpected-input", "'c' is no input"),
    ((1.0, 2.0, 3.0), {}, "unexpected-input", "3 arrays were given by position"),
    ((1.0,), {"a": 1.0, "b": 1.0}, "unexpected-input", "'a' was given twice"),
    ((1.0, "text"), {}, "dtype", "arrays hold numbers"),
    ((1.0, [[1], [1, 2]]), {}, "dtype", "'b' is no array"),
    ((1.0, np.array([None])), {}, "dtype", "arrays hold numbers"),
    ((1.0, np.ma.masked_array([1.0], [True])), {}, "dtype", "masked array"),
    ((1.0, np.ones(2)), {}, "rank", "another number of axes"),
]


@pytest.mark.parametrize(("args", "kwargs", "code", "words"), WRONG_CALLS, ids=[w for *_, w in WRONG_CALLS])
def test_a_wrong_call(args: tuple[Any, ...], kwargs: dict[str, Any], code: str, words: str) -> None:
    f = indexlang.compile("y = a * b[]")
    assert f(2.0, 3.0) == 6
    with pytest.raises(ShapeError, match=words) as caught:
        f(*args, **kwargs)
    assert caught.value.code == code


def test_all_that_is_wrong_with_a_call_is_told() -> None:
    with pytest.raises(ShapeError) as caught:
        indexlang.compile("y = a * b[]")(c=1.0, d=2.0)
    assert [p.code for p in caught.value.problems] == ["unexpected-input"] * 2 + ["missing-input"] * 2


REFUSED_CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((np.ones((2, 3)), np.ones((3, 5))), {}),
    ((np.ones(3), np.ones(3)), {}),
    ((), {"x": np.ones((2, 3)), "w": np.ones((3, 5))}),
    ((), {"x": np.ones((2, 3)), "W": "a"}),
    (([[1, 2], [3]], np.ones((2, 3))), {}),
]


@pytest.mark.parametrize(("args", "kwargs"), REFUSED_CALLS)
def test_no_error_of_our_own_stands_behind_the_callers(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    f = indexlang.compile("y[b,o] = W[i,o] * x[b,i]")
    for call in (f, f.vjp, f.value_and_grad, f.grad(), f.plan, f.plans):
        with pytest.raises(ShapeError) as caught:
            call(*args, **kwargs)
        assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize("name", ["weights", "WEIGHT", "weigth"])
def test_a_name_that_is_nearly_an_inputs_is_one_mistake(name: str) -> None:
    f = indexlang.compile("y[b,o] = weight[i,o] * x[b,i]")
    for call, shape in ((f, np.ones((3, 5))), (f.plan, (3, 5))):
        with pytest.raises(ShapeError, match="did you mean 'weight'") as caught:
            call(x=np.ones((2, 3)), **{name: shape})
        assert [p.code for p in caught.value.problems] == ["unexpected-input"]
    with pytest.raises(ShapeError) as caught:
        f({"x": np.ones((2, 3)), "weight": np.ones((3, 5)), name: 1, 2: 3})
    assert [p.way_out for p in caught.value.problems] == ["leave it out", "leave it out"]


def test_names_that_are_also_names_of_parameters() -> None:
    f = indexlang.compile("y[i] = out[i] * target[i] * self[i]")
    arrays = {"out": np.ones(2), "target": np.full(2, 2.0), "self": np.full(2, 3.0)}
    assert f(arrays["out"], arrays["target"], arrays["self"]).tolist() == [6, 6]
    assert "import numpy" in f.emit("numpy", out=(2,), target=(2,), self=(2,))


# -- kinds of arrays -----------------------------------------------------------------------------------


def views(a: np.ndarray) -> dict[str, np.ndarray]:
    """The same numbers, lying otherwise in memory."""
    twice = np.zeros(tuple(2 * n for n in a.shape), a.dtype)
    every = tuple(slice(None, None, 2) for _ in a.shape)
    twice[every] = a
    flipped = np.ascontiguousarray(a[tuple(slice(None, None, -1) for _ in a.shape)])
    frozen = a.copy()
    frozen.flags.writeable = False
    unaligned = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    unaligned[...] = a
    return {
        "contiguous": a,
        "Fortran's order": np.asfortranarray(a),
        "every second": twice[every],
        "negative strides": flipped[tuple(slice(None, None, -1) for _ in a.shape)],
        "read-only": frozen,
        "unaligned": unaligned,
        "the other byte order": a.astype(a.dtype.newbyteorder()),
        "a subclass": a.view(type("Sub", (np.ndarray,), {})),
    }


@pytest.mark.parametrize("kind", views(np.ones((1, 1, 1, 1))))
def test_any_layout(kind: str) -> None:
    x, W = RNG.standard_normal((2, 5, 6, 3)), RNG.standard_normal((3, 2, 3, 4))  # noqa: N806
    given = {"x": views(x)[kind], "W": views(W)[kind]}
    f = indexlang.compile(CONVOLUTION)
    before = {n: a.copy() for n, a in given.items()}
    np.testing.assert_allclose(f(**given), convolution(x, W), rtol=1e-12, atol=1e-14)
    y, pullback = f.vjp(**given)
    expected = f.vjp(x=x, W=W)[1](np.ones_like(y))
    for name, gradient in pullback(views(np.ones_like(y))[kind]).items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-12, atol=1e-14)
        assert np.array_equal(given[name], before[name])


def test_overlapping_inputs() -> None:
    memory = np.arange(10.0)
    x = np.lib.stride_tricks.sliding_window_view(memory, 4)
    assert np.array_equal(indexlang.compile("y[i] = x[i,j] * w[j]")(x=x, w=memory[:4]), x @ memory[:4])
    zero = np.broadcast_to(np.float64(2.0), (3, 4))
    assert indexlang.compile("y = x[i,j]")(x=zero) == 24


class OnlyDLPack:
    """What any library's array is to NumPy: memory behind a capsule."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()


def test_dlpack() -> None:
    x = np.arange(6.0).reshape(2, 3)
    found = indexlang.compile("y[j] = x[i,j]")(x=OnlyDLPack(x))
    assert found.tolist() == [3, 5, 7]


def test_scalars_and_lists() -> None:
    f = indexlang.compile("y[i] = a * x[i]")
    assert f(a=2, x=[1, 2]).tolist() == [2, 4]
    assert f(a=np.float32(2), x=np.ones(2, np.float32)).dtype == np.float32


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_zero_sizes(shape: tuple[int, int]) -> None:
    x = np.ones(shape)
    f = indexlang.compile("y[i] = x[i,j]\nz[i,j] = 2*x[i,j]\nm[j] max= x[i,j]\nn = x[i,j]")
    found = f(x=x)
    assert found["y"].tolist() == [0] * shape[0]
    assert found["z"].shape == shape and found["n"] == 0
    assert found["m"].tolist() == ([-np.inf] if shape[0] == 0 else [1]) * shape[1]
    _, pullback = f.vjp(x=x)
    assert pullback({"z": x})["x"].shape == shape


# -- out -----------------------------------------------------------------------------------------------


def test_out() -> None:
    f = indexlang.compile("y[i] = 2*x[i]\ns = x[i]")
    x, y = np.arange(3.0), np.zeros(6)[::2]
    found = f(x=x, out={"y": y})
    assert found["y"] is y and y.tolist() == [0, 2, 4] and found["s"] == 3
    g = indexlang.compile("y[i] = 2*x[i]")
    assert g(x=x, out=y) is y
    assert g(x, out={"y": y}) is y


def test_out_is_no_input() -> None:
    x = np.arange(4.0)
    with pytest.raises(ShapeError, match="shares memory with the input 'x'"):
        indexlang.compile("y[i] = x[size(x,0)-1-i] + x[i]")(x=x, out={"y": x[::-1]})
    assert x.tolist() == [0, 1, 2, 3]


MEMORY = np.zeros(8)
WRONG_BUFFERS = [
    ({"z": MEMORY[:3]}, "'z' is no output"),
    ({"y": MEMORY[:4]}, "another shape"),
    ({"y": [0, 0, 0]}, "must be a NumPy array, not list"),
    ({"y": np.zeros(3, np.int64)}, "another type"),
    ({"y": np.zeros(3, np.float32)}, "another type"),
    ({"y": np.broadcast_to(0.0, 3)}, "read-only"),
    ({"y": np.lib.stride_tricks.as_strided(MEMORY, (3,), (0,))}, "elements of the buffer for 'y' share memory"),
    ({"y": MEMORY[:3], "w": MEMORY[2:5]}, "shares memory"),
    (MEMORY[:3], "several outputs"),
]


@pytest.mark.parametrize(("out", "words"), WRONG_BUFFERS, ids=range(len(WRONG_BUFFERS)))
def test_buffers_that_do_not_fit(out: Any, words: str) -> None:
    f = indexlang.compile("y[i] = 2*x[i]\nw[i] = 3*x[i]")
    with pytest.raises(ShapeError, match=words) as caught:
        f(x=np.ones(3), out=out)
    assert caught.value.code == "out"
    assert not MEMORY.any()


def test_interleaved_buffers_do_not_share_memory() -> None:
    memory = np.zeros((3, 2))
    f = indexlang.compile("y[i] = 2*x[i]\nw[i] = 3*x[i]")
    f(x=np.ones(3), out={"y": memory[:, 0], "w": memory[:, 1]})
    assert memory.tolist() == [[2, 3]] * 3


# -- optional inputs -----------------------------------------------------------------------------------


def test_an_accumulation_starts_from_what_is_passed() -> None:
    f = indexlang.compile("y[i] += x[i]\nm max= x[i]")
    assert f.optional == ("y", "m")
    y = np.array([10.0, 20.0])
    found = f(x=np.array([1.0, 2.0]), y=y, m=5.0)
    assert found["y"].tolist() == [11, 22] and found["m"] == 5
    assert y.tolist() == [10, 20]
    assert f(x=np.array([1.0, 2.0]))["m"] == 2


def test_its_gradient_is_the_outputs() -> None:
    f = indexlang.compile("y[i] += x[i,j]")
    _, pullback = f.vjp(x=np.ones((2, 3)), y=np.zeros(2))
    gradients = pullback(np.array([1.0, 2.0]))
    assert gradients["y"].tolist() == [1, 2] and gradients["x"].tolist() == [[1] * 3, [2] * 3]


def test_value_and_grad_start_there_too() -> None:
    f = indexlang.compile("s += x[i]**2")
    given = {"x": np.array([1.0, 2.0]), "s": np.array(5.0)}
    value, gradients = f.value_and_grad(**given)
    assert value == 10 and gradients["s"] == 1 and gradients["x"].tolist() == [2, 4]
    assert list(f.value_and_grad("s", **given)[1]) == ["s"]
    assert list(f.value_and_grad(given, wrt=["x"])[1]) == ["x"]
    with pytest.raises(DerivationError, match="'s' is no input"):
        f.value_and_grad("s", x=given["x"])


def test_an_input_of_a_started_accumulation_may_be_called_out() -> None:
    f = indexlang.compile("y[i] += 2*out[i]")
    out, start, buffer = np.array([1.0, 2.0]), np.ones(2), np.zeros(2)
    assert f(out=out, y=start).tolist() == f({"out": out, "y": start}).tolist() == [3, 5]
    assert f({"out": out, "y": start}, out=buffer) is buffer and buffer.tolist() == [3, 5]


# -- derivatives ---------------------------------------------------------------------------------------


def test_vjp_of_several_outputs() -> None:
    f = indexlang.compile("y[i] = x[i]**2\ns = x[i]\nk = argmax[i](x[i])")
    values, pullback = f.vjp(x=np.array([1.0, 2.0]))
    assert list(values) == ["y", "s", "k"]
    assert pullback({"y": np.ones(2)})["x"].tolist() == [2, 4]
    assert pullback({"s": 3.0})["x"].tolist() == [3, 3]
    assert pullback({})["x"].tolist() == [0, 0]


def test_vjp_leaves_out_integers_and_what_does_not_matter() -> None:
    f = indexlang.compile("y[t,e] = E[tok[t],e] * floor(z[t])")
    _, pullback = f.vjp(E=np.ones((3, 2)), tok=np.array([0, 0]), z=np.ones(2))
    assert list(pullback(np.ones((2, 2)))) == ["E"]
    y, pullback = indexlang.compile("y[i] = floor(x[i])").vjp(x=np.array([1.5]))
    assert y.tolist() == [1] and pullback(np.ones(1)) == {}


def test_what_the_caller_does_to_the_outputs_does_not_reach_the_pullback() -> None:
    y, pullback = indexlang.compile("y[i] = exp(x[i])").vjp(x=np.zeros(2))  # x.grad = y.grad * y
    with pytest.raises(ValueError, match="read-only"):
        y[...] = 7
    assert pullback(np.ones(2))["x"].tolist() == [1, 1]
    y, pullback = indexlang.compile("y[i] = x[i]**2").vjp(x=np.ones(2))  # x.grad does not need y
    y[...] = 7
    assert pullback(np.ones(2))["x"].tolist() == [2, 2]


def test_a_pullback_of_integers_alone_refuses() -> None:
    f = indexlang.compile("y[i] = w[i] * x[i]")
    y, pullback = f.vjp(w=np.array([2, 3]), x=np.array([4, 5]))
    assert y.tolist() == [8, 15]
    with pytest.raises(DerivationError, match="'w' is int64: an integer tensor has no gradient") as error:
        pullback(np.ones(2))
    assert [p.code for p in error.value.problems] == ["integer-gradient"] * 2
    assert list(f.vjp(w=np.array([2, 3]), x=np.array([4.0, 5.0]))[1](np.ones(2))) == ["x"]
    with pytest.raises(DerivationError, match="an integer tensor has no gradient"):
        f.plans(w=((2,), "int32"), x=((2,), "int32"))


def test_vjp_by_position_with_other_types_and_sizes() -> None:
    f = indexlang.compile("y[i] = w[i,j] * x[j]\ns = x[j]")
    rng = np.random.default_rng(0)
    for dtype, n in (("f4", 3), ("f8", 3), ("c16", 2), (">f8", 3), ("f4", 0), ("f4", 3)):
        w, x = rng.standard_normal((2, n)).astype(dtype), rng.standard_normal(n).astype(dtype)
        dy = rng.standard_normal(2)
        for values, pullback in (f.vjp(w, x), f.vjp(x=x, w=w)):
            assert np.allclose(values["y"], w @ x, atol=1e-6) and np.allclose(values["s"], x.sum(), atol=1e-6)
            found = pullback({"y": dy.astype(values["y"].dtype)})
            assert np.allclose(found["w"], np.outer(dy, x), atol=1e-6) and np.allclose(found["x"], dy @ w, atol=1e-6)
            assert found["w"].dtype == w.dtype.newbyteorder("=")
    with pytest.raises(ShapeError, match="'x' is missing"):
        f.vjp(np.ones((2, 2)))
    with pytest.raises(ShapeError, match="'z' is no input"):
        f.vjp(w=np.ones((2, 2)), z=np.ones(2))
    with pytest.raises(ShapeError, match="given twice"):
        f.vjp(np.ones((2, 2)), w=np.ones((2, 2)))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))])
def test_a_function_can_be_copied_and_sent(copied: Callable[[Function], Function]) -> None:
    f = indexlang.compile("layer scaled(x[N]; k=2) -> y[N]:\n    y[i] = k * exp(x[i])", k=3)
    x = np.array([0.0, 1.0])
    f(x)
    f.vjp(x)
    g = copied(f)
    assert (g.source, g.options, g.inputs) == (f.source, {"k": 3}, ("x",))
    assert g(x).tolist() == f(x).tolist()
    back, other = f.grad(), copied(f.grad())
    assert other.source == back.source
    assert other(x=x, **{"y.grad": np.ones(2)})["x.grad"].tolist() == f(x).tolist()
    with pytest.raises(ShapeError, match="must have the shape of"):
        other(x=x, **{"y.grad": np.ones(3)})
    assert b"_parts" not in pickle.dumps(f) and b"_hash" not in pickle.dumps(f)  # true in one process only


def test_a_pullback_runs_again() -> None:
    _, pullback = indexlang.compile("y[i] = x[i]**3").vjp(x=np.array([2.0]))
    assert [pullback(np.array([float(k)]))["x"].item() for k in (1, 2)] == [12, 24]


WRONG_COTANGENTS = [
    ({"z": 1.0}, "'z' is no output"),
    ({"y": np.ones(3)}, "must have its shape"),
    ({"y": np.ones(2) * 1j}, "must be real"),
    (np.ones(2), "several outputs"),
]


@pytest.mark.parametrize(("dy", "words"), WRONG_COTANGENTS, ids=[w for _, w in WRONG_COTANGENTS])
def test_cotangents_that_do_not_fit(dy: Any, words: str) -> None:
    _, pullback = indexlang.compile("y[i] = x[i]**2\ns = x[i]").vjp(x=np.ones(2))
    with pytest.raises(ShapeError, match=words) as caught:
        pullback(dy)
    assert caught.value.code == "cotangent"


def test_value_and_grad() -> None:
    f = indexlang.compile("loss = W[i]**2 * x[i]")
    loss, gradients = f.value_and_grad(wrt=["W"], x=np.array([1.0, 2.0]), W=np.array([3.0, 4.0]))
    assert loss == 41 and list(gradients) == ["W"] and gradients["W"].tolist() == [6, 16]
    assert list(f.value_and_grad("x", x=np.ones(2), W=np.ones(2))[1]) == ["x"]
    assert set(f.value_and_grad(x=np.ones(2), W=np.ones(2))[1]) == {"x", "W"}
    assert f.value_and_grad(x=np.ones(2, np.float32), W=np.ones(2, np.float32))[0].dtype == np.float32


def test_value_and_grad_takes_arrays_by_position_as_a_call_does() -> None:
    f = indexlang.compile("loss = W[i]**2 * x[i]")
    w, x = np.array([3.0, 4.0]), np.array([1.0, 2.0])
    for args in ((w, x), (w.tolist(), x.tolist()), (None, w, x)):
        loss, gradients = f.value_and_grad(*args)
        assert loss == 41 and list(gradients) == ["W", "x"]
    assert list(f.value_and_grad(w, x, wrt="x")[1]) == list(f.value_and_grad(w, wrt=["x"], x=x)[1]) == ["x"]
    assert list(f.value_and_grad(["W"], w, x=x)[1]) == list(f.value_and_grad("W", {"W": w, "x": x})[1]) == ["W"]
    assert f.value_and_grad(np.zeros(0), np.zeros(0))[0] == 0
    with pytest.raises(ShapeError, match="the input 'x' is missing"):
        f.value_and_grad(w)


ORDERED = {
    "call": lambda f, *given: f(*map(np.ones, given)),
    "vjp": lambda f, *given: f.vjp(*map(np.ones, given)),
    "value_and_grad": lambda f, *given: f.value_and_grad(*map(np.ones, given)),
    "plan": lambda f, *given: f.plan(*given),
    "plans": lambda f, *given: f.plans(*given),
    "emit": lambda f, *given: f.emit("numpy", *given),
    "emit vjp": lambda f, *given: f.emit("numpy", *given, vjp=True),
}


@pytest.mark.parametrize("ask", ORDERED.values(), ids=ORDERED)
def test_arrays_in_another_order_are_told_so(ask: Any) -> None:
    f = indexlang.compile("loss = W[i,j] * x[j,k]")
    ask(f, (2, 4), (4, 3))
    with pytest.raises(ShapeError, match=r"pass W of shape \(2, 4\), x of shape \(4, 3\), in this order") as caught:
        ask(f, (4, 3), (2, 4))
    assert caught.value.code == "argument-order" and "where" not in str(caught.value)
    with pytest.raises(ShapeError) as caught:  # no order of these fits
        ask(f, (4, 3), (2, 5))
    assert caught.value.code == "size-mismatch"


def test_a_size_that_another_input_says_is_told_of_both() -> None:
    f = indexlang.load(indexlang.__path__[0] + "/library/conv.idx").conv2d
    with pytest.raises(ShapeError) as caught:  # channels first, as PyTorch has them
        f(np.ones((2, 3, 8, 8)), np.ones((3, 3, 3, 4)), np.ones(4))
    assert caught.value.problems[0].values == (
        "C = 8, the size of axis 3 of x",
        "x[B,H,W,C] has shape (2, 3, 8, 8)",
        "K[R,S,C,O] has shape (3, 3, 3, 4)",
    )
    way = "pass K with size 8 there, or x with size 3 along axis 3, or declare another size"
    assert caught.value.problems[0].way_out == way


def test_of_arrays_by_name_no_order_is_told() -> None:
    f = indexlang.compile("loss = W[i,j] * x[j,k]")
    with pytest.raises(ShapeError) as caught:
        f(W=np.ones((4, 3)), x=np.ones((2, 4)))
    assert caught.value.code == "size-mismatch"


def test_too_many_arrays_are_one_mistake() -> None:
    f = indexlang.compile("y[i] = W[i] * x[i]")
    for ask in (f, f.vjp, f.value_and_grad, f.plan):
        with pytest.raises(ShapeError, match="4 arrays were given by position") as caught:
            ask(*[np.ones(2)] * 4)
        assert len(caught.value.problems) == 1


def test_no_private_name_is_proposed() -> None:
    f = indexlang.compile("y[i] = W[i] * x[i]")
    assert "grad" in dir(f) and not [n for n in dir(f) if n.startswith("_") and not n.startswith("__")]
    layers = indexlang.load(indexlang.__path__[0] + "/library/linear.idx")
    assert "affine" in dir(layers) and not [n for n in dir(layers) if n.startswith("_") and not n.startswith("__")]


def test_several_names_in_one_text_are_shown_as_a_list() -> None:
    f = indexlang.compile("y[i] = W[i] * x[i]")
    for written in ("x,W", "x, W", "x W"):
        with pytest.raises(DerivationError, match=r"way out: name several in a list: \['x', 'W'\]"):
            f.grad(written)


def test_a_file_that_cannot_be_read_is_an_error_of_its_own() -> None:
    for ask in (indexlang.load, indexlang.compile):
        with pytest.raises(indexlang.IndexLangError) as caught:
            ask("nowhere.idx")
        assert type(caught.value) is indexlang.IndexLangError and caught.value.code == "file"


def test_value_and_grad_refuses() -> None:
    f = indexlang.compile("y[i] = W[i] * x[i]")
    with pytest.raises(ShapeError, match="needs a scalar, y has shape"):
        f.value_and_grad(x=np.ones(2), W=np.ones(2))
    with pytest.raises(ShapeError, match="one scalar output"):
        indexlang.compile("y = x[i]\nz = x[i]").value_and_grad(x=np.ones(2))
    with pytest.raises(DerivationError, match="an integer tensor has no gradient"):
        indexlang.compile("y = x[i]").value_and_grad("x", x=[1, 2])
    with pytest.raises(DerivationError, match="'z' is no input"):
        indexlang.compile("y = x[i]").value_and_grad("z", x=np.ones(2))
    with pytest.raises(ShapeError, match="'wrt' is no input"):
        indexlang.compile("y = x[i]").value_and_grad("x", wrt="x", x=np.ones(2))


def test_grad_takes_what_it_does_not_need() -> None:
    g = indexlang.compile("y[i] = W[i] * x[i]").grad("W")
    assert list(g(x=np.ones(2), W=np.ones(2), **{"y.grad": np.ones(2)})) == ["W.grad"]
    assert g is indexlang.compile("y[i] = W[i] * x[i]").grad("W") or str(g) == "W.grad[i] += y.grad[i] * x[i]\n"


# -- data that only a call can check -------------------------------------------------------------------


def test_a_position_out_of_range_names_the_place() -> None:
    f = indexlang.compile("y[t,e] = E[tok[t]+1,e]")
    with pytest.raises(ShapeError) as caught:
        f(E=np.ones((3, 2)), tok=np.array([0, 2]))
    assert caught.value.code == "index-out-of-range"
    assert caught.value.problems[0].values == ("tok[t]+1 = 3", "axis 0 of E has size 3")
    assert caught.value.span is not None and caught.value.span.text == "tok[t]+1"
    with pytest.raises(ShapeError, match="= -1"):
        f(E=np.ones((3, 2)), tok=np.array([0, -2]))


OUT_OF_RANGE = [
    ("shape H[3]\nH[k[i]] += x[i]", {"k": [0, 3], "x": [1.0, 1.0]}),
    ("y[i] = x[int(1.5*i)] where i < 3", {"x": [1.0, 2.0, 3.0]}),
    ("y[i] = x[pad(p[i],1)]", {"x": [1.0, 2.0], "p": [0, 4]}),
    ("y[i] = x[i-k[i]] where i < 3, k[i] < 2", {"x": [1.0, 2.0, 3.0], "k": [1, 1, 2]}),
    ("y[i] = x[i+1] where i < 3, m[i] > 0", {"x": [1.0, 2.0, 3.0], "m": [1, 1, 1]}),
    ("shape y[3]\ny[i+1] += x[i] where i < 3, m[i] > 0", {"x": [1.0, 2.0, 3.0], "m": [1, 1, 1]}),
]


@pytest.mark.parametrize(("text", "arrays"), OUT_OF_RANGE, ids=[t for t, _ in OUT_OF_RANGE])
def test_out_of_range(text: str, arrays: dict[str, list[float]]) -> None:
    with pytest.raises(ShapeError, match=r"out of range|leaves its axis"):
        indexlang.compile(text)(**arrays)


def test_only_the_positions_that_are_used_are_checked() -> None:
    f = indexlang.compile("y[i] = x[p[i]] where m[i] > 0")
    x, p = np.array([1.0, 2.0]), np.array([0, 99, -5, 1])
    assert f(x=x, p=p, m=np.array([1, 0, 0, 1])).tolist() == [1, 0, 0, 2]
    assert f(x=np.zeros(0), p=p, m=np.zeros(4)).tolist() == [0, 0, 0, 0]
    g = indexlang.compile("y[i] = x[i+1] where i < 3, m[i] > 0")
    assert g(x=np.array([1.0, 2.0, 3.0]), m=np.array([1, 1, 0])).tolist() == [2, 3, 0]
    h = indexlang.compile("shape y[3]\ny[k[i]] max= x[i] where m[i] > 0")
    assert h(k=np.array([1, 9]), x=np.array([4.0, 5.0]), m=np.array([1, 0]))[1] == 4


def test_what_does_not_fit_into_memory_is_refused_before_it_is_allocated() -> None:
    f = indexlang.compile("y[i,j,k,l] = x[i] * x[j] * x[k] * x[l]")
    with pytest.raises(ShapeError, match="do not fit into memory") as caught:
        f(x=np.ones(10_000))
    assert caught.value.code == "too-large"


def test_a_domain_larger_than_memory_is_gone_through_in_blocks() -> None:
    n = 4096
    x = RNG.standard_normal((n, 2))
    f = indexlang.compile("y[i] = exp(-(x[i,0]-x[j,0])**2 - (x[i,1]-x[j,1])**2)")
    assert f.plan(x=x).workspace < 100 << 20  # the domain alone would be 134 MB
    k = 17
    expected = np.exp(-((x[k, 0] - x[:, 0]) ** 2) - (x[k, 1] - x[:, 1]) ** 2).sum()
    assert f(x=x)[k] == pytest.approx(expected, rel=1e-12)


# -- threads -------------------------------------------------------------------------------------------


def test_threads() -> None:
    f = indexlang.compile(CONVOLUTION)
    cases = [(RNG.standard_normal((1, 4 + k % 3, 5, 2)), RNG.standard_normal((2, 2, 2, 3))) for k in range(24)]
    expected = [convolution(x, W) for x, W in cases]
    found: dict[int, np.ndarray] = {}
    failures: list[BaseException] = []
    barrier = threading.Barrier(8)

    def work(first: int) -> None:
        try:
            barrier.wait(30)
            for k in range(first, len(cases), 8):
                x, W = cases[k]  # noqa: N806
                found[k] = f(x=x, W=W)
                f.vjp(x=x, W=W)[1](found[k])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    for k, value in enumerate(expected):
        np.testing.assert_allclose(found[k], value, rtol=1e-12)


def test_threads_that_derive_and_plan_at_once() -> None:
    failures: list[BaseException] = []
    x = np.array([0.5, 1.0, 2.0])

    def work(k: int) -> None:
        try:
            for factor in range(8 * k, 8 * k + 8):
                f = indexlang.compile(f"y[i] = {factor} * exp(x[i] - mean[j](x[j]))")
                y, pullback = f.vjp(x=x)
                assert np.allclose(y, factor * np.exp(x - x.mean()))
                assert np.allclose(pullback(np.ones(3))["x"], y - y.mean())
        except BaseException as error:
            failures.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(before)
    assert not failures
    assert gc.isenabled()


# -- what it shows -------------------------------------------------------------------------------------


def test_text_plan_and_repr() -> None:
    f = indexlang.compile(CONVOLUTION)
    assert str(f) == f.source == CONVOLUTION + "\n"
    assert repr(f) == "<indexlang.Function W, x -> y>"
    shown = str(f.plan(x=(8, 58, 58, 64), W=((3, 3, 64, 64), "float32")))
    assert CONVOLUTION in shown and "flop" in shown
    numpy = indexlang.compile(CONVOLUTION, backend="numpy")
    assert "matmul" in str(numpy.plan(x=(8, 58, 58, 64), W=((3, 3, 64, 64), "float32")))
    assert f.plan(x=np.zeros((1, 4, 4, 1)), W=np.zeros((2, 2, 1, 1))).shapes["y"] == (1, 3, 3, 1)
    assert "y" in f.latex() and "<pre>" in f._repr_html_() and f._repr_latex_().startswith("$$")
    with pytest.raises(ShapeError, match="the shape of 'W' is missing"):
        f.plan(x=(1, 4, 4, 1))
    with pytest.raises(ValueError, match="target"):
        f.emit("fortran")


@pytest.mark.parametrize(
    "shapes",
    [
        {"x": None}, {"x": "23"}, {"x": (2, -3)}, {"x": (2, 2.5)}, {"x": ((2, 3), "floats")}, {"x": (2, None)},
        {"x": {2, "a"}}, {"x": object()},
    ],
)  # fmt: skip
def test_what_is_no_shape(shapes: dict[str, Any]) -> None:
    with pytest.raises(ShapeError, match="is no shape for 'x'") as error:
        indexlang.compile("y[i] = x[i,j]").plan(**shapes)
    assert error.value.code == "shape"


class Foreign:
    """An array of another library: its type is none of NumPy's."""

    shape, dtype = (3,), "other.float32"

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.ones(3, "float32")


def test_a_plan_for_an_array_of_another_library() -> None:
    f = indexlang.compile("y[i] = x[i]")
    assert f.plan(x=Foreign()).dtypes["y"] == "float32" == f(x=Foreign()).dtype


def test_shapes_of_any_kind() -> None:
    f = indexlang.compile("y[i] = x[i]")
    for given in (3, np.int64(3), (3,), [3], ((3,), "float32"), ((3,), np.float32), np.ones(3, np.float32)):
        plan = f.plan(x=given)
        assert (plan.shapes["x"], plan.dtypes["x"]) == ((3,), "float32")
        assert plan is f.plan(x=3)  # made once
    assert f.plan(x=np.ones(3, ">f8")).dtypes["x"] == "float64"
    assert f(np.ones(3, ">f8")).dtype == np.dtype("float64")


def test_what_is_no_program() -> None:
    with pytest.raises(LanguageSyntaxError, match="not NoneType"):
        indexlang.compile(None)  # type: ignore[arg-type]
    with pytest.raises(LanguageSyntaxError, match="not int"):
        indexlang.compile(3)  # type: ignore[arg-type]
    with pytest.raises(MeaningError, match="a backend is one of auto, numpy, native, jax, not 'gpu'"):
        indexlang.compile("y = 1", backend="gpu")
    f = indexlang.compile("y[i] = x[i]")
    with pytest.raises(DerivationError, match="a form is 'scatter' or 'gather', not 'reverse'"):
        f.grad(form="reverse")
    with pytest.raises(DerivationError, match="not None"):
        f.grad(form=None)  # type: ignore[arg-type]
    with pytest.raises(DerivationError, match="3 is no input"):
        f.grad(wrt=[3])  # type: ignore[list-item]


def test_options_and_layers(tmp_path: Any) -> None:
    path = tmp_path / "two.idx"
    path.write_text(
        "layer f(x[N]; a=2, b=a+1) -> y[N]:\n    y[i] = a*x[i] + b\n\nlayer g(x) -> y:\n    y = f(x, a=5)\n"
    )
    layers = indexlang.load(path)
    assert list(layers) == ["f", "g"] and "f" in dir(layers) and len(layers) == 2
    assert layers.f.options == {"a": 2, "b": 3} and layers.g.options == {}
    assert layers["g"](x=[1]).tolist() == [11]
    f = indexlang.compile(path, layer="f", a=10)
    assert f.options == {"a": 10, "b": 11} and f(x=[1]).tolist() == [21]
    with pytest.raises(AttributeError, match="no layer 'h'\n  layers: f, g"):
        layers.h  # noqa: B018
    with pytest.raises(KeyError):
        layers["h"]
    with pytest.raises(ValueError, match="backend"):
        indexlang.compile("y = 1", backend="cuda")


def test_a_warning_is_given_once_for_each_set_of_sizes() -> None:
    f = indexlang.compile("y[i] = x[i] * z[i+1]")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            f(x=np.ones(5), z=np.ones(4))
    assert [w.category for w in caught] == [IndexLangWarning]
    assert "test_function.py" in caught[0].filename


# -- names of tensors and options ------------------------------------------------------------------


ANY = ("self", "wrt", "out", "file", "args", "kwargs", "inputs", "target", "shapes", "form", "np")


@pytest.mark.parametrize("name", ANY)
def test_a_tensor_may_have_any_name(name: str) -> None:
    f = indexlang.compile(f"y = {name}[i]*{name}[i]")
    x = np.array([1.0, 2.0, 3.0])
    assert f({name: x}) == f(x) == f(**{name: x}) == 14
    y, pull = f.vjp({name: x})
    np.testing.assert_array_equal(pull(2.0)[name], [4, 8, 12])
    for value, grads in (f.value_and_grad({name: x}), f.value_and_grad({name: x}, wrt=[name])):
        assert value == y == 14
        np.testing.assert_array_equal(grads[name], [2, 4, 6])
    np.testing.assert_array_equal(f.value_and_grad(**{name: x})[1][name], [2, 4, 6])
    np.testing.assert_array_equal(f.value_and_grad(name, **{name: x})[1][name], [2, 4, 6])
    shapes = {str(f.plan({name: (3,)})), str(f.plan((3,))), str(f.plan(**{name: (3,)}))}
    assert len(shapes) == 1
    assert f.emit("numpy", {name: (3,)}) == f.emit("numpy", (3,))
    assert [str(p) for p in f.plans({name: (3,)})] == [str(p) for p in f.plans(**{name: (3,)})]
    g = f.grad()
    np.testing.assert_array_equal(g({name: x, "y.grad": 1.0})[f"{name}.grad"], [2, 4, 6])


def test_a_mapping_and_buffers() -> None:
    f = indexlang.compile("y[i] = 2*out[i]")
    buffer = np.zeros(2)
    assert f({"out": np.array([1.0, 2.0])}, out=buffer) is buffer
    np.testing.assert_array_equal(buffer, [2, 4])
    np.testing.assert_array_equal(f(out=np.array([1.0, 2.0])), [2, 4])


@pytest.mark.parametrize("name", ["layer", "backend", "outputs", "recompute", "options", "text"])
def test_an_option_may_have_any_name(name: str) -> None:
    text = f"layer f(x[N]; {name}=1) -> y[N]:\n    y[i] = x[i]*{name}"
    assert indexlang.compile(text, options={name: 3})(x=np.ones(1)) == [3]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda f: f({"x": 1.0}, 2.0), "side by side"),
        (lambda f: f({"x": np.ones(2)}, x=np.ones(2)), "given twice, in the mapping and by name"),
        (lambda f: f({"x": np.ones(2), 3: 4}), "3 is no input"),
        (lambda f: f.plan({"x": (2,), 3: 4}), "3 is no input"),
        (lambda f: f.plan((2,), (3,)), "the program has 1 inputs"),
        (lambda f: f.plan(3.5), "is no shape"),
        (lambda f: indexlang.compile("y = x[i]", options=3), "options is a mapping"),
        (lambda f: indexlang.compile("y = x[i]", options={3: 3}), "options is a mapping"),
        (lambda f: indexlang.compile("y = x[i]", options={"a": 3}, a=3), "given twice"),
        (lambda f: indexlang.compile("y = x[i]", layer=3), "by its name, not by 3\n  way out: .*options={'layer': 3}"),
    ],
)
def test_what_is_wrong_with_a_mapping(call: Callable[[indexlang.Function], object], said: str) -> None:
    with pytest.raises(indexlang.IndexLangError, match=said):
        call(indexlang.compile("y[i] = 2*x[i]"))
