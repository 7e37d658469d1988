"""What people bring from NumPy, PyTorch and R is answered with what it is here: it compiles, and means the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import indexlang
from indexlang import IndexLangError, IndexLangWarning

Array = np.ndarray[Any, Any]


def softmax(x: Array) -> Array:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def way_out(text: str) -> str:
    with pytest.raises(IndexLangError) as caught:
        indexlang.compile(text)
    assert caught.value.problems[0].way_out is not None
    return caught.value.problems[0].way_out


MEANT: list[tuple[str, str, Callable[[Array], Array]]] = [  # a statement of x[2,3], the call in it, and what it means
    ("y[i] = mean(x[i,j])", "mean(x[i,j])", lambda x: x.mean(1)),
    ("y[i] = sum(x[i,j])", "sum(x[i,j])", lambda x: x.sum(1)),
    ("y[i] = max(x[i,j])", "max(x[i,j])", lambda x: x.max(1)),
    ("y[j] = logsumexp(x[i,j])", "logsumexp(x[i,j])", lambda x: np.log(np.exp(x).sum(0))),
    ("y = mean(x[i,j])", "mean(x[i,j])", lambda x: x.mean()),
    ("y[i,j] = x[i,j] / len(x)", "len(x)", lambda x: x / len(x)),
    ("y[i,j] = x[i,j] / len(x[i,j])", "len(x[i,j])", lambda x: x / len(x)),
    ("y[i,j] = softmax(x[i,j])", "softmax(x[i,j])", softmax),
    ("y[i,j] = softmax[j](x[i,j])", "softmax[j](x[i,j])", softmax),
    ("y[i,j] = softmax[i](x[i,j])", "softmax[i](x[i,j])", lambda x: softmax(x.T).T),
    ("y[i,j] = softmax[j](2 * x[i,j] + 1)", "softmax[j](2 * x[i,j] + 1)", lambda x: softmax(2 * x)),
    ("y[i,j] = softmax(2 * x[i,j] + x[0,j])", "softmax(2 * x[i,j] + x[0,j])", lambda x: softmax(2 * x + x[0])),
    ("y[i,k] = softmax[k](x[i,k])", "softmax[k](x[i,k])", softmax),
    ("y[i,j] = 3 * log_softmax(x[i,j])", "log_softmax(x[i,j])", lambda x: 3 * np.log(softmax(x))),
    ("y[i,j] = 1 - log_softmax[j](x[i,j])", "log_softmax[j](x[i,j])", lambda x: 1 - np.log(softmax(x))),
    ("y[i] = var(x[i,j])", "var(x[i,j])", lambda x: x.var(1)),
    ("y[i] = std[j](x[i,j])", "std[j](x[i,j])", lambda x: x.std(1)),
    ("y = var(x[i,j])", "var(x[i,j])", lambda x: x.var()),
    ("y[i] = average[j](x[i,j])", "average[j](x[i,j])", lambda x: x.mean(1)),
    ("y[i,j] = np.exp(x[i,j])", "np.exp(x[i,j])", np.exp),
    ("y[i] = np.mean(x[i,j])", "np.mean(x[i,j])", lambda x: x.mean(1)),
    ("y[i] = x[i,j].sum()", "x[i,j].sum()", lambda x: x.sum(1)),
    ("y[j,i] = x[j,i].T", "x[j,i].T", lambda x: x.T),
]


@pytest.mark.parametrize(("text", "call", "meant"), MEANT, ids=[text for text, _, _ in MEANT])
def test_the_advice_means_what_was_written(text: str, call: str, meant: Callable[[Array], Array]) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3))
    found = re.search(r"write (.*?)(?:; or .*|, .*axis)?$", way_out(text))
    assert found is not None
    advised = found[1].replace("(...)", call[call.find("(") :])
    np.testing.assert_allclose(indexlang.compile(text.replace(call, advised))(x), meant(x))


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("y[i] <- x[i]", "write y[i] = x[i]"),
        ("y[i] <- -x[i] - 1", "write y[i] = -x[i] - 1"),
        ("y[i] = x[i].T", "exchange these where it is read"),
        ("y[i] = x[i].shape", "write size(x,0)"),
        ("y[i] = random()", "pass random numbers as an input"),
        ("y[i] = x[i] * np.random.randn(3)", "pass random numbers as an input"),
        ("y[i] = dense(x[i])", "write sum[i](W[i,o] * x[i]) + b[o]"),
        ("y[i] = Dense(x[i])", "'from linear import affine'"),
        ("y[i] = softmax(x[i+1])", "write 'from activations import softmax'"),  # of which axis nothing is said
        ("y = x.sum()", "write sum[k](x[k])"),
        ("y[i,j] = transpose(x[i,j])", "exchange the indices, y[j,i] = x[i,j]"),
        ("h[t,k] = tanh(h[t-1,k] + x[t,k])", "put it under for t: and indent it"),
        ("h = h + 1", "give the result another name than h"),
    ],
)
def test_other_ways_out(text: str, way: str) -> None:
    assert way in way_out(text)


def test_softmax_is_offered_as_a_layer_too() -> None:
    assert "; or 'from activations import softmax', and h = softmax(...)" in way_out("y[i] = softmax(x[i])")


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("y[j,i] = W.T[i,j]", "exchange the indices: write W[j,i]"),
        ("y = W.T", "exchange these where it is read"),
        ("y[i] = x[i] / x.shape[0]", "write size(x,0)"),
        ("y[i] = x[i] / x.size", "write size(x,0)"),
    ],
)
def test_attributes_that_became_tensors_are_told(text: str, way: str) -> None:
    with pytest.warns(IndexLangWarning) as caught:
        indexlang.compile(text)
    (message,) = [str(w.message) for w in caught]
    assert "warning[attribute]" in message and way in message


@pytest.mark.filterwarnings("error::indexlang.IndexLangWarning")
@pytest.mark.parametrize(
    "text",
    [
        "shape W.T[N,M]\ny[j,i] = W.T[i,j]",
        "W.T[i,j] = W[j,i]\ny[i] = W.T[i,j]",
        "layer f(x.T[N]) -> y:\n    y[i] = x.T[i]",
    ],
)
def test_tensors_of_such_names_may_be_meant(text: str) -> None:
    indexlang.compile(text)
