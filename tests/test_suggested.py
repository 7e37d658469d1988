"""The advice of an error that misses shapes: shapes at which the program runs, beside those that were given."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import indexlang
from indexlang.sizes.suggested import suggested

LIBRARY = Path(indexlang.__file__).parent / "library"
CONV = "y[b,i,j,cy] += W[di,dj,cx,cy] * x[b,i+di,j+dj,cx]"


def shape(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(",")) if text else ()


@pytest.mark.parametrize(
    ("text", "given"),
    [
        (CONV, {}),
        (CONV, {"x": (2, 4, 4, 3)}),
        (CONV, {"x": (2, 1, 4, 3)}),  # the window is smaller than the one that is tried first
        (CONV, {"W": (3, 3, 1, 6)}),
        ("y[b,(i,j)] = x[b,i,j] * W[(i,j)]", {}),
        ("y[b,(i,j)] = x[b,i,j] * W[(i,j)]", {"x": (2, 3, 5)}),
        ("y[i] = x[2*i+k] * w[k] where k < 3", {}),
        ("y[i] = x[i-3] where 3 <= i < 8", {}),
        ("y[i] = x[pad(i+k,1)] * w[k]", {"w": (3,)}),
        ("y[n,e] = E[t[n],e]", {}),
        ("y[...] = x[...] + b[...]", {"b": (4, 2, 3)}),
        ("y[i] = x[i] * z", {}),
        ("y[i] = x[i] * w[size(x,0)-1-i]", {}),
        ("y[2*t] = x[t,t]", {}),
    ],
)
def test_what_is_suggested_runs(text, given):
    f = indexlang.compile(text)
    found = {n: shape(s) for n, s in suggested(f.program, given).items()}
    assert list(found) == [n for n in f.inputs if n not in given]
    f(**{n: np.zeros(s, "int64" if n == "t" else "float32") for n, s in {**given, **found}.items()})


@pytest.mark.parametrize(
    ("file", "layer"),
    [
        ("conv", "conv2d"),
        ("conv", "conv2d_groups"),
        ("linear", "fully_connected"),
        ("normalization", "groupnorm"),
        ("normalization", "running_statistics"),
        ("pooling", "maxpool2d"),
        ("sequences", "multi_head_attention"),
        ("sequences", "lstm_cell"),
    ],
)
def test_what_is_suggested_for_a_layer_fits_its_header(file, layer):
    f = indexlang.compile(LIBRARY / f"{file}.idx", layer=layer)
    f.plan(**{n: shape(s) for n, s in suggested(f.program, {}).items()})


def test_where_no_shape_is_found_the_indices_say_which_axis_is_which():
    assert suggested(indexlang.compile(CONV).program, {"x": (2, 8)}) == {"W": "di,dj,cx,cy"}
    long = indexlang.compile("\n".join(f"y{k}[i] = x[i+{k}] - x[i]" for k in range(3)))
    assert suggested(long.program, {}).keys() == {"x"}


def test_the_errors_say_it():
    f = indexlang.compile(CONV)
    with pytest.raises(indexlang.ShapeError, match=r"pass W=\(2,3,3,5\), with your sizes") as caught:
        f.plan(x=(2, 8, 8, 3))
    f.plan(x=(2, 8, 8, 3), W=(2, 3, 3, 5))
    assert len(caught.value.problems) == 1
    with pytest.raises(indexlang.ShapeError, match=r"pass w=\(2,\)"):
        indexlang.compile("y[i] = w[i]").plan()
    with pytest.raises(indexlang.ShapeError, match="is no shape for 'x'"):
        f.plan(x="a")


@pytest.mark.parametrize("derived", ["grad", "tangent", "second", "gather", "wrt"])
@pytest.mark.parametrize("given", [{}, {"x": (2, 9, 9, 3)}, {"x": (2, 9, 9, 3), "K": (3, 4, 3, 2)}])
def test_what_is_advised_for_derived_layers_can_be_passed(derived, given):
    """As it stands, names with a dot in a mapping; each size that is not given may be any, but they belong together."""
    f = indexlang.load(LIBRARY / "conv.idx").conv2d
    f = {
        "grad": f.grad,
        "tangent": f.tangent,
        "second": lambda: f.grad().grad(),
        "gather": lambda: f.grad(form="gather"),
        "wrt": lambda: f.grad("K"),
    }[derived]()
    with pytest.raises(indexlang.ShapeError) as caught:
        f.plan(given)
    advised = {}
    for problem in caught.value.problems:
        way = problem.way_out.removeprefix("pass ").removesuffix(", with your sizes")
        mapping = re.fullmatch(r"it in a mapping: (\{.*), \.\.\.\}", way)
        advised |= eval(f"{mapping[1]}}}" if mapping else f"dict({way})")
    assert advised.keys() == set(f.inputs) - given.keys()
    f({n: np.zeros(s) for n, s in {**given, **advised}.items() if n in f.inputs})


def test_the_shape_of_a_tangent_tells_that_of_its_tensor():
    f = indexlang.compile("y[i] = x[i+k] * w[k]").tangent()
    found = suggested(f.program, {"x.dot": (9,)})
    assert found["x"] == "9" and found["w"] == found["w.dot"]
