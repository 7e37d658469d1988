"""Programs put together from Python: `given`, `renamed`, `join`."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import CASES, Case
from test_corpus import loops, program_of

import indexlang
from indexlang.calls.function import Function
from indexlang.errors import MeaningError
from indexlang.program.verify import verify

CONV = """\
layer conv(x[B,W,C], K[R,C,O]; stride=1, padding=0) -> y[B,I,O]:
    y[b,i,o] = K[r,c,o] * x[b, pad(stride*i + r, padding), c]
layer double(x[B], w) -> y[B]:
    y[b] = 2 * w * x[b]
"""


def printed_back(f: Any) -> bool:
    verify(f.program)
    return bool(indexlang.compile(str(f)).program == f.program)


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape)


# -- options -------------------------------------------------------------------------------------------


def test_given_other_options_it_is_the_layer_compiled_so(tmp_path: Path) -> None:
    path = tmp_path / "conv.idx"
    path.write_text(CONV)
    f = indexlang.compile(path, layer="conv", padding=1)
    g = f.given(stride=2)
    assert g.options == {"stride": 2, "padding": 1}
    assert g.program == indexlang.compile(path, layer="conv", padding=1, stride=2).program
    assert f.options["stride"] == 1
    assert pickle.loads(pickle.dumps(f)).given({"stride": 2}).program == g.program
    assert indexlang.load(path).conv.given(stride=3).program == indexlang.compile(path, layer="conv", stride=3).program
    x, k = numbers(2, 9, 3), numbers(3, 3, 2)
    np.testing.assert_allclose(g(x=x, K=k), f(x=x, K=k)[:, ::2])


def test_options_that_are_refused() -> None:
    f = indexlang.compile(CONV, layer="conv")
    with pytest.raises(MeaningError, match="dilation"):
        f.given(dilation=2)
    with pytest.raises(MeaningError, match="options is a mapping"):
        f.given(3)  # type: ignore[arg-type]
    with pytest.raises(MeaningError, match="a derived program has no options"):
        f.grad().given(stride=2)


# -- names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names", "printed"),
    [
        ("y[o] = W[o,i] * x[i]", {"x": "image", "i": "pixel"}, "y[o] = W[o,pixel] * image[pixel]\n"),
        ("y[o] = W[o,i] * x[i]", {"x": "W", "W": "x"}, "y[o] = x[o,i] * W[i]\n"),
        ("y[o] = W[o,i] * x[i]", {"o": "i", "i": "o"}, "y[i] = W[i,o] * x[o]\n"),
        ("y[o] = W[o,i] * x[i]", {"o": "i"}, "y[i] = W[i,i_] * x[i_]\n"),
        ("h[i] = x[i]\ny[i] = h[i]**2", {"x": "h"}, "h2[i] = h[i]\ny[i] = h2[i]**2\n"),
        ("y[i] = x[i] where i < size(x,0) - 1", {"x": "Phi.x"}, "y[i] = Phi.x[i] where i < size(Phi.x,0) - 1\n"),
    ],
)
def test_renamed(text: str, names: dict[str, str], printed: str) -> None:
    f = indexlang.compile(text).renamed(names)
    assert str(f) == printed
    assert printed_back(f)


def test_gradients_follow_their_tensors() -> None:
    f = indexlang.compile("h[i] = x[i]**2\nz[i] = h[i] + 1\ny[i] = z[i]**3")
    g = f.grad()
    assert g.renamed({"x": "image"}).outputs == ("image.grad",)
    moved = g.renamed({"x": "z"})  # the inner z, and its gradient, give way together
    assert moved.outputs == ("z.grad",)
    assert printed_back(moved)
    x, dy = numbers(3), numbers(3, seed=1)
    np.testing.assert_allclose(moved(z=x, **{"y.grad": dy})["z.grad"], g(x=x, **{"y.grad": dy})["x.grad"])


def test_a_header_keeps_its_dims() -> None:
    f = indexlang.compile(CONV, layer="conv").renamed({"x": "signal", "b": "n"})
    assert str(f).startswith("layer conv(signal[B,W,C], K[R,C,O]) -> y[B,I,O]:\n    y[n,i,o] = ")
    assert printed_back(f)


@pytest.mark.parametrize(
    ("names", "part"),
    [
        ({"q": "z"}, "'q' is no tensor and no index here"),
        ({"x": "W"}, "two tensors would be called 'W'"),
        ({"x": "a", "W": "a"}, "two tensors would be called 'a'"),
        ({"o": "k", "i": "k"}, "two indices would be called 'k'"),
        ({"x": "a b"}, "is no name for a tensor"),
        ({"x": "where"}, "is no name for a tensor"),
        ({"i": "a.b"}, "is no name for an index"),
        ({"i": "W"}, "called like a tensor"),
        ("x", "names are a dict"),
    ],
)
def test_names_that_are_refused(names: Any, part: str) -> None:
    with pytest.raises(MeaningError, match=part):
        indexlang.compile("y[o] = W[o,i] * x[i]").renamed(names)


# -- joining -------------------------------------------------------------------------------------------


def test_joined_the_second_runs_on_the_first() -> None:
    f = indexlang.compile("h[b,k] = x[b,i] * U[i,k]\nr[b,k] = relu(h[b,k])")
    g = indexlang.compile("s[b,o] = r[b,k] * V[k,o]\nloss = (s[b,o] - t[b,o])**2")
    both = indexlang.join(f, g)
    assert both.inputs == ("x", "U", "V", "t")
    assert both.outputs == ("loss",)
    assert printed_back(both)
    given = {"x": numbers(4, 3), "U": numbers(3, 5, seed=1), "V": numbers(5, 2, seed=2), "t": numbers(4, 2, seed=3)}
    right = g(r=f(x=given["x"], U=given["U"]), V=given["V"], t=given["t"])
    np.testing.assert_allclose(both(**given), right)
    kept = indexlang.join(f, g, keep=["r"])
    assert kept.outputs == ("r", "loss")
    assert printed_back(kept)
    np.testing.assert_allclose(kept(**given)["r"], f(x=given["x"], U=given["U"]))
    whole = indexlang.compile(f"{f}{g}")
    np.testing.assert_allclose(both.value_and_grad("U", **given)[1]["U"], whole.value_and_grad("U", **given)[1]["U"])


def test_inner_names_are_private_and_inputs_of_one_name_are_one() -> None:
    f = indexlang.compile("h[i] = x[i] + c[i]\ny[i] = h[i]**2\nz[i] = h[i]")
    g = indexlang.compile("h[j] = y[j] * c[j]\ny2[j] = exp(-h[j])\nout = h[j] * y2[j]")
    both = indexlang.join(f, g)
    assert both.inputs == ("x", "c")
    assert both.outputs == ("z", "out")
    assert printed_back(both)
    x, c = numbers(3), numbers(3, seed=1)
    values = f(x=x, c=c)
    found = both(x=x, c=c)
    np.testing.assert_allclose(found["z"], values["z"])
    np.testing.assert_allclose(found["out"], g(y=values["y"], c=c))


def test_a_gradient_and_what_it_steps() -> None:
    """Derived programs are joined like others: a step of descent as one program."""
    f = indexlang.compile("loss = (sum[i](W[i]*x[b,i]) - t[b])**2")
    step = indexlang.compile("W_new[i] = W[i] - rate * W.grad[i]")
    both = indexlang.join(f.grad("W", seed=1), step, keep=["W.grad"])
    assert printed_back(both)
    given = {"W": numbers(3), "x": numbers(4, 3, seed=1), "t": numbers(4, seed=2)}
    gradient = f.value_and_grad("W", **given)[1]["W"]
    found = both(**given, rate=0.1)
    np.testing.assert_allclose(found["W.grad"], gradient)
    np.testing.assert_allclose(found["W_new"], given["W"] - 0.1 * gradient)


def test_layers_with_headers_are_joined() -> None:
    f = indexlang.compile(CONV, layer="conv", stride=2)
    g = indexlang.compile("layer head(y[B,I,O], w[O,K]) -> s[B,K]:\n    s[b,k] = w[o,k] * y[b,i,o]")
    both = indexlang.join(f, g)
    assert printed_back(both)
    given = {"x": numbers(2, 9, 3), "K": numbers(3, 3, 2), "w": numbers(2, 4)}
    np.testing.assert_allclose(both(**given), g(y=f(x=given["x"], K=given["K"]), w=given["w"]))
    one = indexlang.join(f, g.renamed({"w": "K2"}))
    assert one.inputs == ("x", "K", "K2")


def test_an_index_of_one_that_is_a_tensor_of_the_other() -> None:
    f, g = indexlang.compile("y[k] = x[k] * 2"), indexlang.compile("z[i] = y[i] * k")
    both = indexlang.join(f, g)
    assert printed_back(both)
    np.testing.assert_allclose(both(x=np.ones(3), k=5.0), [10.0, 10.0, 10.0])


@pytest.mark.parametrize(
    ("first", "second", "keep", "part"),
    [
        ("y[i] = x[i]", "z[i] = w[i]", [], "no output of the first program is an input of the second"),
        ("y[i] = x[i]\nz[i] = x[i]*2", "z[i] = y[i]", [], "'z' is made by the second program, and an output"),
        ("y[i] = x[i]", "x[i] = y[i]", [], "'x' is made by the second program, and an input"),
        ("y[i] = x[i]", "z[i] = y[i]", ["q"], "keep names 'q'"),
        ("y[i] = x[i]", "z[i] = y[i]", 3, "keep names outputs"),
    ],
)
def test_what_is_not_joined(first: str, second: str, keep: Any, part: str) -> None:
    with pytest.raises(MeaningError, match=part):
        indexlang.join(indexlang.compile(first), indexlang.compile(second), keep=keep)
    with pytest.raises(MeaningError, match="Functions are joined"):
        indexlang.join(indexlang.compile(first), second)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_every_program_is_joined_with_a_sum_of_squares(case: Case) -> None:
    f = Function(program_of(case))
    names = [n for n in f.outputs if loops(case)[n].dtype.kind in "fc"]
    if not names:
        pytest.skip("nothing to square")
    axes = ",".join(f"i{k}" for k in range(loops(case)[names[0]].ndim))
    read = f"{names[0]}[{axes}]"
    inner = "g" if names[0] == "h" else "h"  # which many have, too
    second = indexlang.compile(f"{inner}[] = 2\nx_[{axes}] = {read}*{inner}\nloss_[] += x_[{axes}]**2")
    both = indexlang.join(f, second, keep=[names[0]])
    assert printed_back(both)
    found = both(**case.arrays())
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(found["loss_"], np.sum((2 * loops(case)[names[0]]) ** 2), rtol=1e-9)
    for n in f.outputs:
        np.testing.assert_allclose(found[n], loops(case)[n], rtol=1e-9, atol=1e-11)
