"""What a graph, an optimiser and a training are asked with: what cannot be meant is an error that says what can."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from indexlang import IndexLangWarning, edf
from indexlang.edf import (
    Affine,
    AffineParams,
    CrossEntropy,
    Graph,
    GraphError,
    Input,
    Relu,
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
