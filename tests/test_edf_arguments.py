"""What a graph, an optimiser and a training are asked with: what cannot be meant is an error that says what can."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from indexlang import IndexLangWarning, ShapeError, edf
from indexlang.edf import (
    Adam,
    Affine,
    AffineParams,
    CrossEntropy,
    Dataset,
    Graph,
    GraphError,
    Group,
    Input,
    MeanSquaredError,
    Relu,
    Training,
)

RNG = np.random.default_rng(0)
A, B = RNG.random((4, 2)), RNG.random((4, 2))
LABELS = np.array([0, 1, 2, 0])


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    edf.reset()
    yield
    edf.reset()


class Net:
    """A graph of one's own with two inputs."""

    def __init__(self) -> None:
        with Graph(seed=1) as self.g:
            self.x, self.y = Input("x"), Input("y")
            self.phi = AffineParams(2, 3, name="Phi")
            self.s = Affine(self.phi, self.x)
            self.loss = CrossEntropy(self.s, self.y)


def refused(work: Callable[[], object], *parts: str) -> str:
    with pytest.raises(GraphError) as caught:
        work()
    text = str(caught.value)
    assert "way out:" in text, text
    for part in parts:
        assert part in text, text
    return text


# -- values of inputs that are not used, and those that are left out -----------------------------------------


def test_an_input_of_another_graph() -> None:
    net, other = Net(), Net()
    net.g.step(net.loss, {net.x: A, net.y: LABELS})
    own = "give this graph's own input 'x'"
    refused(lambda: net.g.step(net.loss, {other.x: B, net.y: LABELS}), "mixed-graphs", own)
    refused(lambda: net.g.prepare(net.loss, {other.x: B, net.y: LABELS}), own)
    refused(lambda: net.g.evaluate(net.s, given={other.x: B}), own)
    refused(lambda: net.g.shapes({other.x: (4, 2)}), own)
    refused(lambda: net.g.svg({other.x: (4, 2)}), own)
    assert np.array_equal(net.x.value, A.astype(np.float32))
    stranger = Input("stranger")
    refused(lambda: net.g.evaluate(net.s, given={stranger: B}), "inputs of this graph: x, y")


def test_an_input_that_was_made_again() -> None:
    x, y = Input(), Input()
    s = Affine(AffineParams(2, 3), x)
    loss = CrossEntropy(s, y)
    g = edf.default_graph()
    g.step(loss, {x: A, y: LABELS})
    again = Input()
    text = refused(
        lambda: g.step(loss, {again: B, y: LABELS}), "error[unused-input]: Input3 is given, and CrossEntropy1"
    )
    assert "not computed from it, but from Input1" in text and "made:" in text
    refused(lambda: g.evaluate(s, given={again: B}), "unused-input")
    x.value = A  # set for good: still nothing is computed from what is given
    refused(lambda: g.evaluate(s, given={again: B}), "unused-input")
    Relu(again)
    refused(lambda: g.evaluate(s, given={again: B}), "unused-input")
    named = Input("named")
    ends = Relu(named, name="ends")
    g.evaluate(ends, given={named: A})
    del named
    refused(lambda: g.evaluate(ends, given={Input("named"): B}), "'named' was made again")


def test_what_was_given_to_an_earlier_call_is_given_again() -> None:
    net = Net()
    first = net.g.step(net.loss, {net.x: A, net.y: LABELS})
    missing = "y, which is not given: its value is that of an earlier call"
    refused(lambda: net.g.step(net.loss, {net.x: B}), "error[missing-input]", missing, "give y, too, or set y.value")
    refused(lambda: net.g.evaluate(net.loss, given={net.x: B}), missing)
    assert np.array_equal(net.g.step(net.loss), first)  # given nothing: those that were set
    net.g.evaluate(net.s, given={net.x: B})  # which does not need y
    net.y.value = LABELS  # stays
    net.g.step(net.loss, {net.x: B})
    net.g.step(net.loss, {net.x: A})


def test_a_batch_may_have_more_than_a_node_needs() -> None:
    net = Net()
    with net.g:
        adjacent = Input("adjacent")
        far = net.s * adjacent
    batch = {net.x: A, net.y: LABELS}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = net.g.evaluate(net.s, given=batch)
        assert np.array_equal(net.g.evaluate(net.s, given=batch, batch=3), whole)
        adjacent.value = np.ones((4, 3))
        net.g.evaluate(far, given={net.x: B})
    with pytest.warns(IndexLangWarning, match="unused-input") as told:
        assert net.g.evaluate(far, given=batch).shape == (4, 3)
    assert told[0].filename == __file__
    adjacent.clear()
    refused(lambda: net.g.evaluate(far, given=batch), "but from adjacent")
    refused(lambda: net.g.evaluate(far, given={net.x: A}), "adjacent has no value")


# -- arguments of a wrong kind -------------------------------------------------------------------------------

KINDS: dict[str, tuple[Callable[[Net], object], str]] = {
    "evaluate a name": (lambda n: n.g.evaluate("s", given={n.x: A}), "not its name"),  # type: ignore[arg-type]
    "values by position": (lambda n: n.g.evaluate(n.s, {n.x: A}), "evaluate(scores, given={x: images})"),  # type: ignore[arg-type]
    "forward values": (lambda n: n.g.forward({n.x: A}), "x.value"),  # type: ignore[arg-type]
    "Forward of values": (lambda n: edf.Forward({n.x: A}), "x.value"),  # type: ignore[arg-type]
    "a step of a number": (lambda n: n.g.step(3, {n.x: A}), "not int"),  # type: ignore[arg-type]
    "also one node": (lambda n: n.g.step(n.loss, {n.x: A}, n.s), "also=(Affine1,)"),  # type: ignore[arg-type]
    "also a number": (lambda n: n.g.step(n.loss, {n.x: A, n.y: LABELS}, (3,)), "not int"),  # type: ignore[arg-type]
    "a program of a number": (lambda n: n.g.program(3), "not int"),  # type: ignore[arg-type]
    "backward of a name": (lambda n: n.g.backward("loss"), "not its name"),  # type: ignore[arg-type]
    "watch a name": (lambda n: n.g.watch("s"), "not its name"),  # type: ignore[arg-type]
    "watch a package": (lambda n: n.g.watch(n.phi), "Phi.W"),  # type: ignore[arg-type]
    "watch a list": (lambda n: n.g.watch([n.s]), "of its own"),  # type: ignore[arg-type]
    "a class of nodes": (lambda n: n.g.forward(Relu), "Relu(x)"),  # type: ignore[arg-type]
    "what made a number nan": (lambda n: n.g.not_finite(3), "not int"),  # type: ignore[arg-type]
    "a picture of a number": (lambda n: n.g.svg(3), "not as 3"),  # type: ignore[arg-type]
    "a picture of names": (lambda n: n.g.dot({"x": (4, 2)}), "not by 'x'"),  # type: ignore[dict-item]
    "a picture of no shapes": (lambda n: n.g.dot({n.x: 3, n.y: 4}), "write (3,)"),  # type: ignore[dict-item]
    "an array": (lambda n: n.g.evaluate(n.s, given=A), "not as an array of shape (4, 2)"),  # type: ignore[arg-type]
    "a value of a node": (lambda n: n.g.evaluate(n.s, given={n.s: 3}), "<Affine Affine1>"),  # type: ignore[dict-item]
    "no array": (lambda n: n.g.evaluate(n.s, given={n.x: [[1], [1, 2]]}), "no array"),
}


@pytest.mark.parametrize("name", KINDS)
def test_arguments_of_a_wrong_kind(name: str) -> None:
    work, part = KINDS[name]
    refused(lambda: work(Net()), part)


# -- files, optimisers --------------------------------------------------------------------------------------

OTHERS: dict[str, tuple[Callable[[Net], object], str]] = {
    "save, swapped": (lambda n: edf.save_weights("w.npz", n.g), "save_weights(graph, 'w.npz')"),  # type: ignore[arg-type]
    "load, swapped": (lambda n: edf.load_weights("w.npz", n.g), "load_weights(graph, 'w.npz')"),  # type: ignore[arg-type]
    "load, a path alone": (lambda n: edf.load_weights("w.npz"), "load_weights(graph, 'w.npz')"),  # type: ignore[arg-type]
    "load, a graph alone": (lambda n: edf.load_weights(n.g), "the path of a file, not NoneType"),
    "save, a node": (lambda n: edf.save_weights(n.loss, "w.npz"), "loss.graph"),  # type: ignore[arg-type]
    "a step of a graph": (lambda n: Adam(0.1).step(n.g), "step(graph.parameters)"),  # type: ignore[arg-type]
    "a step of one": (lambda n: Adam(0.1).step(n.phi.W), "step([Phi.W])"),  # type: ignore[arg-type]
    "a step of nodes": (lambda n: Adam(0.1).step([n.s]), "not <Affine Affine1>"),  # type: ignore[list-item]
    "a cut of a graph": (lambda n: edf.clip_norm(n.g, 1), "clip_norm(graph.parameters)"),  # type: ignore[arg-type]
    "values of a graph": (lambda n: edf.clip_value(n.g, 1), "clip_value(graph.parameters)"),  # type: ignore[arg-type]
    "a group alone": (lambda n: Adam(groups=Group([n.s], rate=0.1)), "groups=[Group(...)]"),  # type: ignore[arg-type]
    "a group of a number": (lambda n: Group(3), "not 3"),  # type: ignore[arg-type]
    "a cut at a text": (lambda n: edf.clip_norm(n.g.parameters, "1"), "not '1'"),  # type: ignore[arg-type]
    "no groups": (lambda n: Adam(groups=[n.phi]), "groups=[Group([Phi], rate=0.01)]"),  # type: ignore[list-item]
    "SGD of a node": (lambda n: edf.SGD(0.1, n.loss), "loss.graph"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", OTHERS)
def test_files_and_optimisers(name: str) -> None:
    work, part = OTHERS[name]
    refused(lambda: work(Net()), part)


def test_cuts_take_what_can_be_gone_through_once() -> None:
    net = Net()
    net.g.step(net.loss, {net.x: A, net.y: LABELS})
    edf.clip_norm((p for p in net.g.parameters), 1e-3)  # type: ignore[arg-type]
    assert np.sqrt(sum(np.sum(p.grad**2) for p in net.g.parameters)) <= 1.001e-3


def test_a_step_of_the_slides_behind_the_block() -> None:
    net = Net()
    net.g.step(net.loss, {net.x: A, net.y: LABELS})
    refused(lambda: edf.SGD(0.1), "empty-graph", "SGD(0.1, g)")
    x = Input("x")
    h = Affine(AffineParams(2, 3), x)
    refused(lambda: edf.SGD(0.2), "no-gradient", "write SGD(0.2, g)")
    assert h.name
    before = net.phi.W.value.copy()
    edf.SGD(0.1, net.g)
    assert np.allclose(net.phi.W.value, before - 0.1 * net.phi.W.grad)
    with net.g:
        edf.SGD(0.1)


# -- trainings ----------------------------------------------------------------------------------------------

DATA = Dataset("few", A, LABELS, B, LABELS)
PARTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "a class of schedules": ({"schedule": edf.CosineRate}, ("the class CosineRate", "write schedule=CosineRate();")),
    "a schedule's name": ({"schedule": "cosinerate"}, ("write schedule=CosineRate();",)),
    "a rate as a schedule": ({"schedule": 0.1}, ("not 0.1", "the rate is the optimiser's")),
    "an optimiser's name": ({"optimiser": "adam"}, ("not 'adam'", "write optimiser=Adam();")),
    "a class of optimisers": ({"optimiser": edf.GradientDescent}, ("write optimiser=GradientDescent(0.1);",)),
    "a rate as an optimiser": ({"optimiser": 0.05}, ("write optimiser=GradientDescent(0.05);",)),
    "a schedule as an optimiser": ({"optimiser": edf.CosineRate()}, ("schedule=CosineRate(...)",)),
    "a class of schedules as an optimiser": ({"optimiser": edf.CosineRate}, ("schedule=CosineRate()",)),
    "an optimiser as scores": ({"scores": Adam()}, ("optimiser=Adam(...)",)),
    "a number that augments": ({"augment": 3}, ("augment=f",)),
    "a tuple of arrays": (
        {"data": (np.zeros((100, 8, 8)), np.zeros(100))},
        ("a tuple of an array of shape (100, 8, 8), an array of shape (100,)", "data=Dataset("),
    ),
    "an array as an input": ({"images": A}, ("an array of shape (4, 2)", "images=x")),
}


def trained(net: Net, **settings: Any) -> Training:
    asked = {"loss": net.loss, "images": net.x, "labels": net.y, "data": DATA, "epochs": 1, "show": False, **settings}
    return Training(**asked)


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_a_training(name: str) -> None:
    settings, parts = PARTS[name]
    text = refused(lambda: trained(Net(), **settings), *parts, "the other arguments stay")
    assert "write Training(" not in text


def test_a_class_of_schedules_behind_a_warm_up() -> None:
    refused(lambda: edf.WarmUp(1, edf.CosineRate), "after=CosineRate()")  # type: ignore[arg-type]


def test_a_loss_is_one_value_for_each_example() -> None:
    net = Net()
    shape = "error[loss-shape]"
    refused(lambda: trained(net, loss=net.s, scores=net.loss), shape, "Affine1 has shape [4, 3]")
    refused(lambda: trained(net, loss=net.s), shape)
    refused(lambda: net.g.step(net.s, {net.x: A}), shape)
    net.x.value, net.y.value = A, LABELS
    net.g.forward()
    refused(lambda: edf.Backward(net.s), shape, "CrossEntropy(scores, y)")
    edf.Backward(net.loss)
    with net.g:
        column = Affine(AffineParams(2, 1), net.x) ** 2
    net.g.step(column, {net.x: A})  # one value, too


def test_a_training_on_inputs_of_something_else() -> None:
    net, other = Net(), Net()
    refused(lambda: trained(net, images=other.x), "mixed-graphs", "this graph's own input 'x'")
    refused(lambda: trained(net, labels=other.y), "mixed-graphs", "this graph's own input 'y'")
    with net.g:
        again = Input("again")
    refused(lambda: trained(net, images=again), "unused-input", "it is computed from: x, y")


def test_a_training_that_reads_no_labels() -> None:
    with Graph(seed=1):
        x, y, scale = Input("x"), Input("y"), Input("scale")
        loss = MeanSquaredError(Affine(AffineParams(2, 2), x) * scale, x)
    scale.value = np.ones((4, 2))
    history = Training(loss, x, y, DATA, epochs=2, show=False).run()
    assert len(history.epochs) == 2 and not y.is_set


# -- settings and attributes --------------------------------------------------------------------------------

WAYS: dict[str, tuple[Callable[[Net], object], str]] = {
    "a rate as a text": (lambda n: edf.SGD("0.1", n.g), "write rate=0.1"),  # type: ignore[arg-type]
    "a rate below 0": (lambda n: edf.SGD(-1, n.g), "write rate=1"),
    "a size below 0": (lambda n: AffineParams(-1, 3), "write inputs=1"),
    "a size with a fraction": (lambda n: AffineParams(2.5, 3), "write inputs=2"),  # type: ignore[arg-type]
    "a size as a text": (lambda n: AffineParams("7", 3), "write inputs=7"),  # type: ignore[arg-type]
    "a window below 0": (lambda n: edf.MaxPool(n.x, window=-1), "write window=1"),
    "a padding in capitals": (lambda n: edf.Conv(edf.ConvParams(1, 2, 3), n.x, padding="Same"), "write padding='same'"),
    "a part above 1": (lambda n: edf.Dropout(n.x, rate=1.5), "write rate=0.5"),
    "nothing like a number": (lambda n: trained(n, batch="all"), "write batch=1"),
    "a value of a computed node": (lambda n: setattr(n.s, "value", A), "set x.value, of the inputs"),
    "a layer that is not there": (lambda n: edf.node("relu7"), "did you mean 'relu'?"),
}


@pytest.mark.parametrize("name", WAYS)
def test_ways_out_of_settings(name: str) -> None:
    work, part = WAYS[name]
    refused(lambda: work(Net()), part)


def test_a_package_says_which_parameters_it_has() -> None:
    phi = Net().phi
    for name, way in (("b", "did you mean 'B'?"), ("w", "did you mean 'W'?"), ("value", "for example Phi.W.value")):
        with pytest.raises(AttributeError) as caught:
            getattr(phi, name)
        assert str(caught.value) == f"AffineParams has no parameter '{name}'; its parameters: W, B; {way}"
    assert not hasattr(phi, "_repr_html_")


@pytest.mark.parametrize(
    "build",
    [
        lambda x: edf.Conv(edf.ConvParams(1, 4, 3), x),
        lambda x: edf.Conv(edf.ConvParams(3, 4, 3), x),
        edf.MaxPool,
        edf.GlobalAvgPool,
        edf.LocalResponseNorm,
    ],
)
def test_images_without_channels(build: Callable[[Input], Any]) -> None:
    x = Input("x")
    made = build(x)
    x.value = np.ones((5, 8, 8))
    with pytest.raises(ShapeError, match=r"x\[\.\.\., None\]"):
        edf.Forward(made)


def test_one_number_for_a_batch() -> None:
    net = Net()
    with pytest.raises(ShapeError):
        net.g.evaluate(net.s, given={net.x: 3}, batch=2)
    with pytest.raises(ShapeError):
        net.g.step(net.loss, {net.x: A, net.y: 3})


def test_one_image_without_a_batch() -> None:
    x = Input("x")
    made = edf.MaxPool(x)
    x.value = np.ones((8, 8, 3))
    with pytest.raises(ShapeError, match=r"x\[None\]"):
        edf.Forward(made)
