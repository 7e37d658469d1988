"""Mistakes with EDF: each is one error, told of the user's own line, with what was probably meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexlang import IndexLangError, ShapeError, edf
from indexlang.edf import (
    Affine,
    AffineParams,
    BatchNorm,
    Conv,
    ConvParams,
    CrossEntropy,
    Flatten,
    Forward,
    GroupNorm,
    Input,
    MaxPool,
    NormParams,
    Relu,
)
from indexlang.edf.graphs.nodes import Node

Build = Callable[[Node], Node]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    edf.reset()
    yield
    edf.reset()


def run(build: Build, value: np.ndarray) -> Node:
    x = Input("x")
    made = build(x)
    x.value = value
    Forward(made)
    return made


# -- shapes that do not fit: what is written, what it is given, what is proposed, and that the proposal runs -----


def given(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def with_labels(labels: Any) -> Build:
    def build(x: Node) -> Node:
        y = Input("y")
        y.value = labels
        return CrossEntropy(x, y)

    return build


SHAPES: dict[str, tuple[Build, np.ndarray, str, Build, np.ndarray]] = {
    "an affine map of images": (
        lambda x: Affine(AffineParams(128, 3), x),
        given(5, 8, 8, 2),
        "Affine(Phi, Flatten(x))",
        lambda x: Affine(AffineParams(128, 3), Flatten(x)),
        given(5, 8, 8, 2),
    ),
    "and of another size": (
        lambda x: Affine(AffineParams(6, 3), x),
        given(5, 8, 8, 2),
        "Affine(AffineParams(128, 3), Flatten(x))",
        lambda x: Affine(AffineParams(128, 3), Flatten(x)),
        given(5, 8, 8, 2),
    ),
    "another size": (
        lambda x: Affine(AffineParams(6, 3), x),
        given(5, 7),
        "AffineParams(7, 3) takes what x has",
        lambda x: Affine(AffineParams(7, 3), x),
        given(5, 7),
    ),
    "the batch behind": (
        lambda x: Affine(AffineParams(6, 3), x),
        given(6, 5),
        "the batch comes first: x.T",
        lambda x: Affine(AffineParams(6, 3), x),
        given(6, 5).T,
    ),
    "one example": (
        lambda x: Affine(AffineParams(6, 3), x),
        given(6),
        "x[None]",
        lambda x: Affine(AffineParams(6, 3), x),
        given(6)[None],
    ),
    "channels first": (
        lambda x: Conv(ConvParams(3, 4, 3), x),
        given(5, 3, 8, 9),
        "channels are last here, images [batch, height, width, channels]: x.transpose(0, 2, 3, 1)",
        lambda x: Conv(ConvParams(3, 4, 3), x),
        given(5, 3, 8, 9).transpose(0, 2, 3, 1),
    ),
    "channels first, normalised": (
        lambda x: BatchNorm(NormParams(3), x),
        given(5, 3, 8, 9),
        "channels are last here",
        lambda x: BatchNorm(NormParams(3), x),
        given(5, 3, 8, 9).transpose(0, 2, 3, 1),
    ),
    "other channels": (
        lambda x: Conv(ConvParams(3, 4, (3, 2), bias=False), x),
        given(5, 8, 9, 2),
        "ConvParams(2, 4, (3, 2)) takes what x has",
        lambda x: Conv(ConvParams(2, 4, (3, 2), bias=False), x),
        given(5, 8, 9, 2),
    ),
    "no channels": (
        lambda x: Conv(ConvParams(1, 4, 3), x),
        given(5, 8, 9),
        "x[..., None]",
        lambda x: Conv(ConvParams(1, 4, 3), x),
        given(5, 8, 9)[..., None],
    ),
    "one image": (
        lambda x: Conv(ConvParams(3, 4, 3), x),
        given(8, 9, 3),
        "x[None]",
        lambda x: Conv(ConvParams(3, 4, 3), x),
        given(8, 9, 3)[None],
    ),
    "vectors for images": (
        lambda x: Conv(ConvParams(1, 4, 3), x),
        given(5, 64),
        "x.reshape(len(x), height, width, channels)",
        lambda x: Conv(ConvParams(1, 4, 3), x),
        given(5, 64).reshape(5, 8, 8, 1),
    ),
    "a window larger than the image": (
        lambda x: MaxPool(x),
        given(5, 1, 1, 1),
        "take larger images, a smaller window, or padding",
        lambda x: MaxPool(x, padding=1),
        given(5, 1, 1, 1),
    ),
    "one-hot labels": (
        with_labels(np.eye(4, 3)),
        given(4, 3),
        "of one-hot rows, y.argmax(axis=1)",
        with_labels(np.eye(4, 3).argmax(axis=1)),
        given(4, 3),
    ),
    "labels as a column": (
        with_labels(np.zeros((4, 1), int)),
        given(4, 3),
        "y.reshape(-1)",
        with_labels(np.zeros(4, int)),
        given(4, 3),
    ),
    "more labels than examples": (
        with_labels(np.zeros(5, int)),
        given(4, 3),
        "as many labels as examples: 4",
        with_labels(np.zeros(4, int)),
        given(4, 3),
    ),
    "labels that are no whole numbers": (
        with_labels(np.zeros(4)),
        given(4, 3),
        "y.astype(int)",
        with_labels(np.zeros(4).astype(int)),
        given(4, 3),
    ),
    "scores of a map": (
        with_labels(np.zeros(4, int)),
        given(4, 1, 1, 3),
        "Flatten(scores)",
        lambda x: with_labels(np.zeros(4, int))(Flatten(x)),
        given(4, 1, 1, 3),
    ),
}


@pytest.mark.parametrize("case", SHAPES)
def test_a_shape_that_does_not_fit_is_one_error_with_a_proposal_that_runs(case: str) -> None:
    build, value, proposed, mended, other = SHAPES[case]
    with pytest.raises(IndexLangError) as caught:
        run(build, value)
    (problem,) = caught.value.problems
    assert problem.way_out is not None and proposed in problem.way_out
    edf.reset()
    assert np.isfinite(run(mended, other).value).all()


def test_a_shape_that_does_not_fit_is_told_of_the_users_line() -> None:
    x = Input("x")
    x.value = given(5, 8, 8, 3)
    norm = GroupNorm(NormParams(6, name="n"), Relu(x))
    with pytest.raises(ShapeError) as caught:
        Forward(norm)
    span = caught.value.span
    assert span is not None
    assert Path(span.source.name) == Path(__file__)
    assert span.text == 'GroupNorm(NormParams(6, name="n"), Relu(x))'
    assert f"{__file__}:{span.line}:12: error[declared-shape]: GroupNorm1 does not fit" in str(caught.value)
    assert "in normalization.idx, line" in str(caught.value)
    assert "x = Relu1 [5, 8, 8, 3], gamma = n.gamma [6]" in str(caught.value)


def test_a_call_of_several_lines_and_one_whose_text_is_gone() -> None:
    x = Input("x")
    x.value = given(5, 7)
    h = Affine(
        AffineParams(6, 3),
        x,
    )
    with pytest.raises(ShapeError) as caught:
        Forward(h)
    assert caught.value.span is not None and caught.value.span.text == "Affine("
    names: dict[str, Any] = {"x": x}
    exec(compile("from indexlang.edf import *\nh = Affine(AffineParams(6, 3), x)", "gone", "exec"), names)
    with pytest.raises(ShapeError, match=r"linear\.idx:7:.*Affine2 does not fit"):
        Forward(names["h"])


def test_letters_of_several_bytes_before_the_call(tmp_path: Path) -> None:
    path = tmp_path / "größe.py"
    path.write_text("ünï = 1; h = Affine(AffineParams(6, 3), x)\n", encoding="utf-8")
    names: dict[str, Any] = {"Affine": Affine, "AffineParams": AffineParams, "x": Input("x")}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    names["x"].value = given(5, 7)
    with pytest.raises(ShapeError) as caught:
        Forward(names["h"])
    assert caught.value.span is not None and caught.value.span.text == "Affine(AffineParams(6, 3), x)"
    assert "größe.py:1:14" in str(caught.value)
