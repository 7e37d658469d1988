"""Ellipses and negative axes written out at known ranks; ranks that do not fit are refused, all at once."""

from __future__ import annotations

import re

import numpy as np
import pytest

import indexlang
from indexlang.errors import ShapeError, Source
from indexlang.meaning.resolve import resolve
from indexlang.program.ir import Program
from indexlang.program.text import to_text
from indexlang.sizes.ranks import expand
from indexlang.syntax.parser import parse


def program(text: str) -> Program:
    return resolve(parse(Source(text)))


EXPANDED = [
    ("y[...,o] = x[...,i] * W[i,o]", {"x": 3, "W": 2}, "y[d1,d2,o] = x[d1,d2,i] * W[i,o]"),
    ("y[...,o] = x[...,i] * W[i,o]", {"x": 1, "W": 2}, "y[o] = x[i] * W[i,o]"),
    ("y[i,...] = x[i,...] * s[i]", {"x": 2, "s": 1}, "y[i,d1] = x[i,d1] * s[i]"),
    ("s = x[...]", {"x": 2}, "s = x[d1,d2]"),
    ("h = tanh(x)\ny = h + x", {"x": 1}, "h[d1] = tanh(x[d1])\ny[d1] = h[d1] + x[d1]"),
    ("h = tanh(x)", {"x": 0}, "h[] = tanh(x)"),
    ("y[...,i] = x[...,i] / size(x,-1)", {"x": 2}, "y[d1,i] = x[d1,i] / size(x,1)"),
    ("y[...,d1] = x[...,d1] * d2", {"x": 2, "d2": 0}, "y[d3,d1] = x[d3,d1] * d2"),  # fresh names
    # each statement has axes of its own
    ("y[...] = x[...]\nz[...] = w[...]", {"x": 1, "w": 2}, "y[d1] = x[d1]\nz[d1,d2] = w[d1,d2]"),
    # a gradient has the rank of its tensor
    ("x.grad[...,i] += y.grad[...] * w[i]", {"y.grad": 1, "w": 1, "x": 2}, "x.grad[d1,i] += y.grad[d1] * w[i]"),
]


@pytest.mark.parametrize(("text", "ranks", "expected"), EXPANDED, ids=[f"{t} {r}" for t, r, _ in EXPANDED])
def test_expanded(text: str, ranks: dict[str, int], expected: str) -> None:
    assert to_text(expand(program(text), ranks)) == expected + "\n"


def test_without_an_ellipsis_it_is_the_same_object() -> None:
    given = program("y[i] = x[i] * size(x,0)")
    assert expand(given, {"x": 1}) is given


REFUSED = [
    ("y[i,j] = x[i,j]", {"x": 3}, "rank", ["written as x[i,j]: 2 axes", "the array passed has 3 axes"]),
    ("shape x[N]\ny[...] = x[...]", {"x": 2}, "rank", ["declared as x[N]: 1 axis", "the array passed has 2 axes"]),
    ("y[...,i] = x[...,i] * z[...,i]", {"x": 2, "z": 3}, "ellipsis", ["x has rank 2: 1 in x[...,i]"]),
    ("y[...,i,j] = x[...,i,j]", {"x": 1}, "ellipsis", ["x has rank 1: -1 in x[...,i,j]"]),
    ("y[...] = x[...] * size(x,1)", {"x": 1}, "axis", ["x has 1 axis"]),
]


@pytest.mark.parametrize(("text", "ranks", "code", "values"), REFUSED, ids=[t for t, _, _, _ in REFUSED])
def test_refused(text: str, ranks: dict[str, int], code: str, values: list[str]) -> None:
    with pytest.raises(ShapeError) as caught:
        expand(program(text), ranks)
    found = caught.value.problems[0]
    assert found.code == code and found.span is not None
    assert set(values) <= set(found.values)


def test_all_ranks_are_refused_at_once() -> None:
    with pytest.raises(ShapeError) as caught:
        expand(program("y[i] = x[i] * z[i]"), {"x": 2, "z": 3})
    assert [p.code for p in caught.value.problems] == ["rank", "rank"]


def test_an_array_of_another_rank_is_told_once() -> None:
    text = "shape x[b,i]\ny[b,o] = W[i,o] * x[b,i]\ns[b] = x[b,i] * size(x,1)"
    with pytest.raises(ShapeError) as caught:
        expand(program(text), {"W": 2, "x": 1})
    assert [(p.code, p.span and p.span.text) for p in caught.value.problems] == [("rank", "x[b,i]")]


# What nobody wrote is in no message: neither the names of the indices that stand for an ellipsis, nor those of the
# axes of whole tensors.
NAMELESS = [
    ("y[...,k] = x[...,k] * z[...,k]", {"x": (2, 3, 4), "z": (2, 5, 4)}, "'...' stands for axes of different sizes"),
    ("y[...] = x[...] + z[...]", {"x": (2, 1), "z": (2, 4)}, "write the axes of x out, this one as 0"),
    ("y[b] = x[b,...] * z[...]", {"x": (2, 3, 4), "z": (3, 5)}, "axis 2 of x has size 4"),
    ("shape y[2,3]\ny[...] = x[...]", {"x": (3, 3)}, "'...' stands for axes of different sizes"),
    ("layer f(x, z) -> y:\n    y = x + z", {"x": (2, 3), "z": (2, 4)}, "x and z are put together element by element"),
    ("layer f(x, z) -> y:\n    h = tanh(x)\n    y = h * z", {"x": (2, 3), "z": (2, 1)}, "does not stretch"),
    (
        "layer f(x) -> y:\n    h[b,k] = x[b,k,0]\n    z[b,k] = x[b,0,k]\n    y = h * z",
        {"x": (2, 3, 4)},
        "h and z are put",
    ),
    ("y[...] = x[...,w[...]]", {"x": (2, 3, 4), "w": (2, 4)}, "'...' stands for axes of different sizes"),
]


@pytest.mark.parametrize(("text", "shapes", "part"), NAMELESS, ids=[t for t, _, _ in NAMELESS])
def test_what_nobody_wrote_is_in_no_message(text: str, shapes: dict[str, tuple[int, ...]], part: str) -> None:
    with pytest.raises(ShapeError) as caught:
        indexlang.compile(text)(**{n: np.zeros(s, int if n == "w" else float) for n, s in shapes.items()})
    said = str(caught.value)
    assert part in said
    assert not re.search(r"\bd\d\b|'[ij]'|where [ij]", said), said


def test_a_warning_shows_the_ellipsis() -> None:
    f = indexlang.compile("y[...,i] = x[...,i+1] * w[i]")
    with pytest.warns(indexlang.IndexLangWarning, match=re.escape("in: y[...,i] = x[...,i+1] * w[i]")):
        f(x=np.zeros((2, 3, 4)), w=np.zeros(5))


def test_a_derived_program_speaks_of_the_ellipsis_too() -> None:
    f = indexlang.compile("m[...] max= x[...,k] * w[...]").grad()
    for given in (f, indexlang.compile(f.source)):
        with pytest.raises(ShapeError, match="stands for axes of different sizes"):
            given(x=np.zeros((2, 3)), w=np.zeros(2), **{"m.grad": np.zeros(4)})
