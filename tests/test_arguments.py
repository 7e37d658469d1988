"""Arguments of a wrong kind: each public callable answers them with an error of its own, and a way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import indexlang

VECTOR, MATRIX = np.ones(3), np.ones((2, 3))
LIBRARY = Path(indexlang.__file__).parent / "library"
TEXT = "layer a(x; k=2) -> y:\n    y[i] = x[i] * k\n\nlayer b(x) -> y:\n    y[i] = x[i]\n"

product = indexlang.compile("y[i] = x[i,j] * v[j]")
square = indexlang.compile("s = x[i] * x[i]")
both = indexlang.compile("y[i] = 2 * x[i]\nz[i] = 3 * x[i]")
added = indexlang.compile("y[t[i]] += x[i]\nz[i] = y[i]")
layers = indexlang.load(LIBRARY / "activations.idx")


class Strange:
    """What is of no use to anybody."""


WRONG = (
    *(None, 3, -1, 2.5, "zz", "", [], {}, object(), Strange(), True, b"x", [3], [None], ["zz"], {"zz": 1}, {3: 4}),
    *((1, 2), VECTOR, float("nan"), len, [[]], {"x": 3}, {"y": None}, 1j, iter([1]), int, [("x",)], "x\0y"),
)

CALLS: dict[str, Callable[[Any], Any]] = {
    "compile": lambda value: indexlang.compile(value),
    "compile layer": lambda value: indexlang.compile(TEXT, layer=value),
    "compile backend": lambda value: indexlang.compile("y[i] = x[i]", backend=value),
    "compile outputs": lambda value: indexlang.compile("y[i] = x[i]", outputs=value),
    "compile recompute": lambda value: indexlang.compile("y[i] = x[i]", recompute=value),
    "compile options": lambda value: indexlang.compile(TEXT, layer="a", options=value),
    "compile option": lambda value: indexlang.compile(TEXT, layer="a", k=value),
    "load": lambda value: indexlang.load(value),
    "layers": lambda value: layers[value],
    "call": lambda value: product(value),
    "call second": lambda value: product(MATRIX, value),
    "call name": lambda value: product(x=value, v=VECTOR),
    "call out": lambda value: product(MATRIX, VECTOR, out=value),
    "call outs": lambda value: both(VECTOR, out=value),
    "call start": lambda value: added(x=VECTOR, t=np.zeros(3, int), y=value),
    "grad": lambda value: product.grad(value),
    "grad form": lambda value: product.grad(form=value),
    "vjp": lambda value: product.vjp(value),
    "pullback": lambda value: product.vjp(MATRIX, VECTOR)[1](value),
    "pullback of two": lambda value: both.vjp(VECTOR)[1](value),
    "value_and_grad": lambda value: square.value_and_grad(value),
    "value_and_grad wrt": lambda value: square.value_and_grad(wrt=value, x=VECTOR),
    "value_and_grad name": lambda value: square.value_and_grad(x=value),
    "plan": lambda value: product.plan(value),
    "plan name": lambda value: product.plan(x=value, v=3),
    "plan dtype": lambda value: product.plan(x=(2, 3), v=(3, value)),
    "plan shape": lambda value: product.plan(x=(2, 3), v=(value, "float32")),
    "plans": lambda value: product.plans(x=value, v=3),
    "emit": lambda value: product.emit(value, x=(2, 3), v=3),
    "emit name": lambda value: product.emit(x=value, v=3),
    "emit vjp": lambda value: product.emit(x=(2, 3), v=3, vjp=value),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_kind_of_argument_is_told_with_a_way_out(call: str) -> None:
    without = []
    for value in WRONG:
        try:
            CALLS[call](value)
        except indexlang.IndexLangError as error:  # anything else is what is looked for
            without += [p.rule for p in error.problems if p.way_out is None]
    assert not without


def test_what_stands_for_a_name_or_a_switch_is_taken() -> None:
    assert indexlang.compile("y[i] = x[i]\nzed[i] = x[i]", outputs="zed").outputs == ("zed",)
    assert indexlang.compile("y[i] = x[i]\nz[i] = x[i]", outputs=iter("z")).outputs == ("z",)
    assert indexlang.compile("y[i] = x[i]", recompute=1).outputs == ("y",)  # type: ignore[arg-type]
    assert "backward" in product.emit(x=(2, 3), v=3, vjp=np.True_)
    assert square.grad({"x"}).outputs == ("x.grad",)  # type: ignore[arg-type]


def test_a_switch_is_no_name() -> None:
    with pytest.raises(indexlang.MeaningError, match="recompute is True or False, not 'no'"):
        indexlang.compile("y[i] = x[i]", recompute="no")  # type: ignore[arg-type]
    with pytest.raises(indexlang.MeaningError, match="vjp is True or False, not"):
        product.emit(x=(2, 3), v=3, vjp="forward")


def test_a_layer_that_is_not_there_is_a_key_error_and_ours() -> None:
    with pytest.raises(KeyError) as caught:
        layers["rellu"]
    assert isinstance(caught.value, indexlang.MeaningError)
    assert str(caught.value).endswith("way out: did you mean 'relu'?")
