"""Mistakes with EDF: each is one error, told of the user's own line, with what was probably meant."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import indexlang
from indexlang import IndexLangError, IndexLangWarning, ShapeError, edf
from indexlang.edf import (
    Affine,
    AffineParams,
    BatchNorm,
    Conv,
    ConvParams,
    CrossEntropy,
    Flatten,
    Forward,
    GraphError,
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


# -- constructors, options, settings: an error where they are written --------------------------------------------


def in_graph(use: Callable[[Input], object]) -> Callable[[], object]:
    return lambda: use(Input("x"))


def trained(**settings: Any) -> Callable[[], object]:
    def make() -> object:
        x, y = Input("x"), Input("y")
        scores = Affine(AffineParams(2, 3), x)
        data = edf.Dataset("few", given(4, 2), [0, 1, 2, 0], given(2, 2), [0, 1])
        return edf.Training(**{"loss": CrossEntropy(scores, y), "images": x, "labels": y, "data": data, **settings})

    return make


def few(labels: Any) -> edf.Dataset:
    return edf.Dataset("few", given(4, 2), labels, given(0, 2), np.zeros(0, int))


def classified(data: edf.Dataset) -> None:
    x, y = Input("x"), Input("y")
    scores = Affine(AffineParams(2, 3), x)
    edf.Training(CrossEntropy(scores, y), x, y, data, scores)


def assign_parameter() -> None:
    AffineParams(2, 3, name="p").W = np.ones((2, 3))


def assign(what: Callable[[], object], name: str) -> Callable[[], object]:
    return lambda: setattr(what(), name, False)


class Own(edf.CompNode):
    layer = edf.node("relu").layer
    factor: float

    def make(self, *arguments: Any) -> Any:
        self.factor = self._hidden = 2
        return super().make(*arguments)


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "size": (lambda: AffineParams("784", 3), "inputs of AffineParams is a whole number from 1 on, not '784'"),  # type: ignore[arg-type]
    "negative": (lambda: AffineParams(-1, 3), "not -1"),
    "fraction": (lambda: AffineParams(3, 2.0), "outputs of AffineParams"),  # type: ignore[arg-type]
    "truth": (lambda: AffineParams(True, 2), "not True"),
    "bias": (lambda: AffineParams(3, 2, bias="no"), "bias of AffineParams is True or False"),  # type: ignore[arg-type]
    "kernel": (lambda: ConvParams(1, 2, 0), "kernel_size of ConvParams is a whole number from 1 on, not 0"),
    "kernel of one axis": (lambda: ConvParams(1, 2, (3,)), "one for each of two axes"),
    "groups": (lambda: ConvParams(4, 4, 3, groups=0), "groups of ConvParams"),
    "channels": (lambda: NormParams(0), "channels of NormParams"),
    "tokens": (lambda: edf.EmbeddingParams(-2, 3), "tokens of EmbeddingParams"),
    "heads": (lambda: edf.AttentionParams(8, 0), "heads of AttentionParams"),
    "size of a head": (lambda: edf.AttentionParams(8, 2, size=0), "size of AttentionParams"),
    "initialiser": (lambda: AffineParams(3, 2, initial="he"), "by an initialiser, not by 'he'"),  # type: ignore[arg-type]
    "spread": (lambda: edf.Normal(-1), "spread of Normal"),
    "limits": (lambda: edf.Uniform(1, 0), "lower limit 1 is above"),
    "values for a shape": (lambda: edf.Parameter([1.0, 2.0]), r"a tuple of sizes, not \[1.0, 2.0\]\n.*np.array"),  # type: ignore[list-item]
    "shape": (lambda: Input(shape=784), r"not 784\n  way out: write \(784,\)"),  # type: ignore[arg-type]
    "name": (lambda: Input((28, 28, 1)), r"way out: say shape=\(28, 28, 1\)"),  # type: ignore[arg-type]
    "seed": (lambda: edf.Graph(seed=-1), "seed of Graph is a whole number from 0 on, not -1"),
    "dtype": (lambda: edf.Graph(dtype="flot"), "floating-point numbers, not 'flot'"),
    "freezing, misspelled": (
        assign(lambda: AffineParams(2, 3).W, "traned"),
        "Parameter has no .*\n.*\n.*mean 'trained'",
    ),
    "freezing a package": (
        assign(lambda: AffineParams(2, 3), "traned"),
        "AffineParams has no .*\n.*\n.*mean 'trained'",
    ),
    "value, misspelled": (assign(Input, "valu"), "Input has no attribute 'valu'\n  can be set: value\n.*mean 'value'"),
    "any attribute": (
        assign(lambda: AffineParams(2, 3), "foo"),
        "AffineParams has no attribute 'foo'\n  can be set: t",
    ),
    "parameter, misspelled": (assign(lambda: NormParams(2), "gama"), "did you mean 'gamma'"),
    "attribute of a node": (in_graph(lambda x: assign(lambda: Relu(x), "foo")()), "Relu has no attribute 'foo'$"),
    "value of a node": (
        in_graph(lambda x: assign(lambda: Relu(x), "value")()),
        "value of Relu cannot be set\n  way out: it is computed",
    ),
    "name of a package": (assign(lambda: AffineParams(2, 3), "name"), "name of AffineParams cannot be set"),
    "what classes have": (in_graph(lambda x: assign(lambda: Relu(x), "stem")()), "stem of Relu cannot be set"),
    "one's own attribute": (in_graph(lambda x: assign(lambda: Own(x), "facto")()), "Own .*\n.*declare it in the class"),
    "freezing by a word": (lambda: setattr(AffineParams(2, 3), "trained", "no"), "trained of Phi1 is True or False"),
    "assigned parameter": (assign_parameter, r"way out: set p.W.value"),
    "stride": (in_graph(lambda x: Conv(ConvParams(1, 2, 3), x, stride=0)), "stride of Conv is a whole number from 1"),
    "stride of two": (in_graph(lambda x: MaxPool(x, stride=(2, 1))), "stride_h=, stride_w="),
    "dilation": (in_graph(lambda x: Conv(ConvParams(1, 2, 3), x, dilation=0)), "dilation of Conv"),
    "padding": (in_graph(lambda x: Conv(ConvParams(1, 2, 3), x, padding="valid")), "or 'same', not 'valid'"),
    "window": (in_graph(lambda x: edf.LocalResponseNorm(x, window=0)), "window of LocalResponseNorm"),
    "rate": (in_graph(lambda x: edf.Dropout(x, rate=1)), "rate of Dropout is a number from 0 to below 1, not 1"),
    "eps": (in_graph(lambda x: BatchNorm(NormParams(2), x, eps=-1)), "eps of BatchNorm"),
    "unknown option": (in_graph(lambda x: MaxPool(x, windo=3)), "did you mean 'window'"),
    "no parameters": (in_graph(Affine), r"takes 3 inputs, 1 was given\n(.*\n)*.*: Affine\(AffineParams\(4, 3\), x\)"),
    "numbers for parameters": (lambda: Affine(5, 2)(Input()), r"come first: Affine\(AffineParams\(5, 2\), x\)"),  # type: ignore[arg-type,operator]
    "a number for parameters": (in_graph(lambda x: Conv(x, 3)), r": Conv\(ConvParams\(3, 16, 3\), x\)"),  # type: ignore[arg-type]
    "no parameters of a norm": (in_graph(BatchNorm), r"way out: .*BatchNorm\(NormParams\(16\), x\)"),
    "window by position": (in_graph(lambda x: MaxPool(x, 2)), "way out: options go by keyword: window=2$"),  # type: ignore[arg-type]
    "rate by position": (in_graph(lambda x: edf.Dropout(x, 0.5)), "keyword: rate=0.5$"),  # type: ignore[arg-type]
    "stride by position": (in_graph(lambda x: Conv(ConvParams(1, 2, 3), x, 2)), "keyword: stride=2$"),  # type: ignore[arg-type]
    "what no option is": (in_graph(lambda x: edf.Dropout(x, 3)), "keyword; wrap arrays in Input"),  # type: ignore[arg-type]
    "a number for labels": (in_graph(lambda x: CrossEntropy(x, 1)), "keyword; wrap arrays in Input"),  # type: ignore[arg-type]
    "option of one's own class": (
        in_graph(lambda x: edf.node("layer s(x; a=1) -> y:\n    y[...] = a*x[...]\n")(x, 3)),
        "a=3$",
    ),  # type: ignore[arg-type]
    "one input": (lambda: Relu(), "the layer of Relu takes 1 input, 0 were given"),
    "causal": (in_graph(lambda x: edf.Attention(x, x, x, causal="yes")), "causal of Attention is True or False"),
    "array beside a node": (in_graph(lambda x: x + np.ones(3)), "wrap arrays in Input or Parameter"),
    "power": (in_graph(lambda x: x**x), "raised to numbers"),
    "power of a number": (in_graph(lambda x: 2**x), r"way out: .*edf.node\('y\[...\] = 2 \*\* a\[...\]'\)\(x\)"),
    "division by zero": (in_graph(lambda x: x / 0), "x is divided by 0"),
    "unknown layer": (lambda: edf.node("gelo"), "no layer 'gelo'\n  way out: did you mean 'gelu'"),
    "another layer": (lambda: edf.node("relu", layer="tanh"), r"way out: write node\('tanh'\)"),
    "no such layer": (lambda: edf.node("relu", layer="relo"), r"way out: write node\('relu'\)"),
    "a layer by a number": (lambda: edf.node("layer s(x; layer=2) -> y:\n    y = x\n", layer=3), "its name, not by 3"),  # type: ignore[arg-type]
    "option of a class": (lambda: edf.node("conv2d", strid=2), "did you mean 'stride'"),
    "value of an option of a class": (lambda: edf.node("conv2d", stride=0), "stride of Conv2d"),
    "option of a text": (lambda: edf.node("layer s(x; a=1) -> y:\n    y[...] = a*x[...]\n", b=3), "no option 'b'"),
    "layer of a text": (lambda: edf.node("layer s(x) -> y:\n    y = x\n", "q"), "no layer 'q'"),
    "meaning of a text": (lambda: edf.node("layer s(x[N]) -> y[N]:\n    y[i] = z[i]\n"), "z"),
    "a bound of a text": (lambda: edf.node("z[i] = x[j]"), r"^<text>:1:3: error\[unbounded-index\]"),
    "a bound by an option": (
        in_graph(lambda x: edf.node("layer s(x; a=1) -> y:\n    y[i] = a*x[j]\n")(x)),
        "error.unbounded-index",
    ),
    "no layer": (lambda: edf.node(3), "a name of the standard library, not int"),  # type: ignore[arg-type]
    "no node": (lambda: edf.Backward("loss"), "a node is asked for, not str"),  # type: ignore[arg-type]
    "group of nothing": (in_graph(lambda x: edf.Group([Relu(x)])), "Relu1 uses no parameters itself"),
    "every": (lambda: edf.StepRate(every=0), "every of StepRate is a number above 0"),
    "at": (lambda: edf.StepRate(at=3), "at of StepRate is a tuple of epochs"),  # type: ignore[arg-type]
    "floor": (lambda: edf.CosineRate(-0.1), "floor of CosineRate"),
    "after": (lambda: edf.WarmUp(5, 3), "after of WarmUp is a schedule"),  # type: ignore[arg-type]
    "batch": (trained(batch=2.5), "batch of Training is a whole number from 1 on, not 2.5"),
    "epochs": (trained(epochs=-5), "epochs of Training"),
    "evaluation batch": (trained(evaluation_batch=0), "evaluation_batch of Training"),
    "seed of a training": (trained(seed=-1), "seed of Training"),
    "clipping": (trained(clip_norm=-1), "clip_norm of Training is a number above 0"),
    "optimiser": (trained(optimiser=0.1), "optimiser of Training is an optimiser, such as Adam"),
    "labels for an input": (trained(labels=[0, 1, 2, 0]), "labels of Training is an input"),
    "data": (trained(data=given(4, 2)), "data of Training is a Dataset"),
    "labels as text": (lambda: few(["a", "b", "c", "d"]), "few: labels are an array of numbers, not str"),
    "rows of several lengths": (lambda: few([[0], [1, 2], [3], [0]]), "few: labels are no array"),
    "one label": (lambda: few(3), "not a single value"),
    "labels as fractions": (lambda: classified(few([0.0, 1.0, 2.0, 0.5])), "the training labels have float64"),
    "labels beyond the classes": (lambda: classified(few([0, 1, 3, 0])), "number 2 is 3"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_an_error_where_it_is_written(case: str) -> None:
    make, said = MISTAKES[case]
    with pytest.raises(IndexLangError, match=said) as caught:
        make()
    assert len(caught.value.problems) == 1


def test_what_is_no_array() -> None:
    x = Input("x")
    for wrong in ("abc", [[1, 2], [3]], None):
        with pytest.raises(GraphError, match="x got"):
            x.value = wrong  # type: ignore[assignment]
    with pytest.raises(GraphError, match="not by 'x'"):
        edf.Graph.of(x).step(Affine(AffineParams(2, 3), x), {"x": given(1, 2)})  # type: ignore[dict-item]


def test_numbers_of_numpy_are_sizes_and_settings() -> None:
    assert ConvParams(np.int64(1), np.uint8(2), np.int32(3)).W.shape == (3, 3, 1, 2)
    assert type(AffineParams(np.int64(2), 3).W.shape[0]) is int
    assert edf.Adam(np.float32(0.5)).rate == 0.5
    assert run(lambda x: MaxPool(x, window=np.int64(2), ceil_mode=True), given(1, 3, 3, 1)).value.shape == (1, 2, 2, 1)


def test_an_initialiser_and_what_makes_one() -> None:
    made = [AffineParams(3, 2, initial=i, name=f"p{k}") for k, i in enumerate((edf.Zeros, edf.Zeros(), edf.Ones))]
    assert [float(p.W.value.sum()) for p in made] == [0, 0, 6]
    edf.reset(seed=1)
    one = AffineParams(3, 2, initial=edf.He).W.value
    edf.reset(seed=1)
    assert np.array_equal(AffineParams(3, 2, initial=edf.He()).W.value, one)
    own = AffineParams(3, 2, initial=lambda shape, fans, rng: np.full(shape, fans[0]))
    assert (own.W.value == 3).all()
    with pytest.raises(GraphError, match=r"of the shape that it is asked for: \(3, 2\), not \(\)"):
        _ = AffineParams(3, 2, initial=lambda shape, fans, rng: np.float64(1)).W.value  # type: ignore[return-value,arg-type]


def test_what_is_shown_is_short() -> None:
    with edf.Graph() as g:
        assert repr(g) == "<Graph of 0 computed nodes: no input -> nothing>"
        assert g._repr_svg_() is None
        x, y, phi = Input("x"), Input("y"), AffineParams(2, 3, name="p")
        scores = Affine(phi, edf.Dropout(x))
        loss = CrossEntropy(scores, y)
    assert repr(g) == "<Graph of 3 computed nodes: x, y -> CrossEntropy1>"
    assert repr(edf.Group(phi, rate=0.5)) == "Group([p.W, p.B], rate=0.5)"
    data = edf.Dataset("few", given(4, 2), [0, 1, 2, 0], given(2, 2), [0, 1])
    assert repr(data) == "<Dataset few: 4 images of [2], 2 held out>"
    run = edf.Training(loss, x, y, data, scores, epochs=1, show=False)
    assert repr(run.run()).startswith("<History of 1 epochs, 1 steps, loss ")
    assert len(repr(run)) < 1000
    plan = indexlang.compile("y[i] = 2 * x[i]").plan(x=(3,))
    assert repr(plan) == "<Plan of y[3] in 1 steps; print() shows them>"


def test_lists_are_data() -> None:
    data = edf.Dataset("few", [[0.0, 1.0]] * 4, [0, 1, 2, 0], [], [])
    assert data.images.shape == (4, 2) and data.labels.dtype.kind == "i" and data.classes == 3


@pytest.mark.parametrize("pool", [edf.MaxPool, edf.AvgPool, edf.GlobalMaxPool, edf.GlobalAvgPool])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_pool_of_images_with_channels_in_front(pool: Any, channels: int) -> None:
    with edf.Graph() as g:
        x = edf.Input("x")
        h = pool(x)
    x.value = np.ones((2, channels, 8, 8), np.float32)
    if channels == 1 and pool in (edf.MaxPool, edf.AvgPool):
        with pytest.raises(ShapeError, match="channels are last here"):
            g.forward()
        return
    with pytest.warns(IndexLangWarning, match=r"channels-first.*(?s:.*)x has shape .*(?s:.*)x.transpose\(0, 2, 3, 1\)"):
        g.forward(h)
    x.value = x.value.transpose(0, 2, 3, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        g.forward()
        x.value = np.ones((2, 3, 9, 8), np.float32)  # no square, as time series may be
        g.forward()
