"""EDF's graphs: the slides' programs, every node's gradient by the complex step, what is wrong with a graph."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import indexlang
from indexlang import edf
from indexlang.edf import (
    SGD,
    Add,
    Affine,
    AffineParams,
    Attention,
    AttentionParams,
    AvgPool,
    Backward,
    BatchNorm,
    Concat,
    Conv,
    ConvParams,
    CrossEntropy,
    Dropout,
    Embedding,
    EmbeddingParams,
    Flatten,
    Forward,
    Gelu,
    GlobalAvgPool,
    Graph,
    GraphError,
    GroupNorm,
    Input,
    LayerNorm,
    LeakyRelu,
    LocalResponseNorm,
    LogLoss,
    LogSoftmax,
    MaxPool,
    MeanSquaredError,
    NormParams,
    Package,
    Parameter,
    Relu,
    Sigmoid,
    Silu,
    Softmax,
    Softplus,
    Tanh,
)
from indexlang.edf.graphs.computed import CompNode
from indexlang.edf.graphs.nodes import Node
from indexlang.oracle import gradcheck, loops
from indexlang.program.text import to_text


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    edf.reset()
    yield
    edf.reset()


def mlp(inputs: int = 6, hidden: int = 5, classes: int = 3) -> tuple[Input, Input, Any, Any, CompNode, CompNode]:
    """The slides' network."""
    x, y = Input(), Input()
    Phi1, Phi2 = AffineParams(inputs, hidden), AffineParams(hidden, classes)  # noqa: N806 (the slides' names)
    L1 = Relu(Affine(Phi1, x))  # noqa: N806
    Q = Softmax(Sigmoid(Affine(Phi2, L1)))  # noqa: N806
    return x, y, Phi1, Phi2, L1, LogLoss(Q, y)


def batch(count: int, inputs: int = 6, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, inputs)), rng.integers(0, classes, count)


# -- the slides ------------------------------------------------------------------------------------


def by_hand(x: np.ndarray, y: np.ndarray, w1: Any, b1: Any, w2: Any, b2: Any) -> np.ndarray:
    """The slides' losses in plain NumPy."""
    hidden = np.maximum(x @ w1 + b1, 0)
    scores = 1 / (1 + np.exp(-(hidden @ w2 + b2)))
    powers = np.exp(scores)
    return -np.log((powers / powers.sum(1, keepdims=True))[np.arange(len(y)), y])


def test_the_mlp_of_the_slides_runs_as_it_stands() -> None:
    x, y, Phi1, Phi2, L1, ell = mlp()  # noqa: N806
    images, labels = batch(8)
    x.value, y.value = images, labels
    Forward()
    Backward(ell)
    before = [p.value.astype(np.float64) for p in (*Phi1, *Phi2)]
    assert ell.value.shape == (8,)
    assert np.allclose(ell.value, by_hand(images, labels, *before), rtol=1e-5)
    assert np.allclose(L1.value, np.maximum(images @ before[0] + before[1], 0), atol=1e-5)
    assert np.array_equal(ell.grad, np.full(8, 1 / 8, np.float32))
    assert L1.grad.shape == L1.value.shape

    # gradients are those of the average, by differences in float64
    for number, parameter in enumerate((*Phi1, *Phi2)):
        direction = np.random.default_rng(number).standard_normal(parameter.shape)
        ahead, behind = (
            by_hand(images, labels, *[b + s * direction if k == number else b for k, b in enumerate(before)]).mean()
            for s in (1e-6, -1e-6)
        )
        assert np.sum(parameter.grad * direction) == pytest.approx((ahead - behind) / 2e-6, rel=1e-3, abs=1e-5)

    gradients = [p.grad.astype(np.float64) for p in (*Phi1, *Phi2)]
    SGD(0.1)
    for parameter, old, gradient in zip((*Phi1, *Phi2), before, gradients, strict=True):
        assert np.allclose(parameter.value, old - 0.1 * gradient, atol=1e-6)


def test_a_graph_object_gives_the_same_without_global_state() -> None:
    images, labels = batch(8)
    x, y, Phi1, _, L1, ell = mlp()  # noqa: N806
    x.value, y.value = images, labels
    Forward()
    Backward(ell)
    with Graph(seed=0) as g:
        x2, y2, other, _, inner, loss = mlp()
    assert Graph.of(loss) is g
    x2.value, y2.value = images, labels
    g.forward()
    g.backward(loss)
    assert np.array_equal(loss.value, ell.value)
    assert np.array_equal(other.W.grad, Phi1.W.grad)
    assert np.array_equal(inner.grad, L1.grad)


def test_a_step_in_one_piece_equals_forward_and_backward() -> None:
    with Graph() as g:
        x, y, phi, _, hidden, loss = mlp()
    x.value, y.value = batch(8)
    g.forward()
    g.backward(loss)
    values = loss.value, phi.W.grad, phi.B.grad, hidden.value, hidden.grad
    losses = g.step(loss)
    assert np.allclose(losses, values[0], rtol=1e-6)
    assert np.allclose(phi.W.grad, values[1], atol=1e-7)
    assert np.allclose(phi.B.grad, values[2], atol=1e-7)
    with pytest.raises(GraphError, match="did not keep it"):
        _ = hidden.value
    g.watch(hidden, x)
    g.step(loss)
    assert np.allclose(hidden.value, values[3])
    assert np.allclose(hidden.grad, values[4], atol=1e-7)
    assert x.grad.shape == x.value.shape


def test_batches_of_another_size_are_no_error() -> None:
    with Graph() as g:
        x, y, phi, _, _, loss = mlp()
    images, labels = batch(10)
    alone = []
    for start, stop in ((0, 4), (4, 10), (0, 10)):
        x.value, y.value = images[start:stop], labels[start:stop]
        g.forward()
        g.backward(loss)
        assert loss.value.shape == (stop - start,)
        alone.append(phi.W.grad.copy())
    assert np.allclose(alone[2], 0.4 * alone[0] + 0.6 * alone[1], atol=1e-6)


def test_the_graph_is_one_program_that_prints_and_parses() -> None:
    x, y, *_, ell = mlp()
    x.value, y.value = batch(4)
    Forward()
    program = Graph.of(ell).program(ell)
    assert set(program.inputs) == {"Input1", "Input2", "Phi1.W", "Phi1.B", "Phi2.W", "Phi2.B"}
    f = indexlang.compile(to_text(program))
    given = {n.name: n.value for n in (*Graph.of(ell).inputs, *Graph.of(ell).parameters)}
    assert np.allclose(f(**given), ell.value)


def test_the_default_graph_forgets_what_is_no_longer_named() -> None:
    x, y, *rest = mlp()
    x.value, y.value = batch(4)
    Forward()
    Backward(rest[-1])
    del x, y, rest
    gc.collect()
    x, y, *_rest = mlp()  # as a notebook's cell that is run again
    x.value, y.value = batch(4)
    Forward()
    assert len(edf.default_graph().inputs) == 2


def test_the_default_graph_does_not_grow_by_what_is_gone() -> None:
    g = edf.default_graph()
    first, parameters = Input("image"), AffineParams(3, 2, name="fc")
    for k in range(500):
        x = Input("image")
        h = Relu(Input(), name=f"h{k}")
        phi = AffineParams(3, 2)
    assert g.made == 1501 and len(g._references) < 200 and len(g._owners) < 200
    assert g.successor(first) is x and g.successor(parameters.W) is None
    assert [n.name for n in g.alive()] == ["image", "image", h.sources()[0].name, "h499"]
    assert phi in list(g.owners()) and Input().number == 1501
    kept = Input("Phi501")
    assert AffineParams(3, 2).name == "Phi502" and g.successor(kept) is None
    with edf.Graph() as other:
        AffineParams(3, 2, name="fc")
        for _ in range(100):
            Input()
        with pytest.raises(GraphError, match="has a node 'fc' already"):
            AffineParams(3, 2, name="fc")
    assert len(other.sinks()) == 0 and other.made == 100


def test_a_seed_decides_the_first_values() -> None:
    def first(seed: int) -> np.ndarray:
        with Graph(seed=seed):
            return AffineParams(4, 3).W.value

    assert np.array_equal(first(1), first(1))
    assert not np.array_equal(first(1), first(2))
    with Graph(seed=1):
        a, b = AffineParams(4, 3), AffineParams(4, 3)
    later = b.W.value  # drawn first, the same all the same
    with Graph(seed=1):
        a2, b2 = AffineParams(4, 3), AffineParams(4, 3)
    assert np.array_equal(a.W.value, a2.W.value)
    assert np.array_equal(later, b2.W.value)
    assert not np.array_equal(a.W.value, later)


# -- every node, by the complex step ---------------------------------------------------------------


def labelled(scores: Node) -> CompNode:
    return CrossEntropy(scores, Input("y"))


def norm(channels: int) -> Package:
    return Package(gamma=Parameter((channels,), edf.Ones), beta=Parameter((channels,), edf.Zeros))


def inception(x: Node) -> CompNode:
    a, b = Conv(ConvParams(2, 2, 1), x), Conv(ConvParams(2, 1, 3), x, padding=1)
    return labelled(GlobalAvgPool(Concat(Concat(a, b), x, a, b, x)))


def residual(x: Node) -> CompNode:
    h = Conv(ConvParams(2, 2, 3, bias=False), x, padding=1)
    return labelled(GlobalAvgPool(Relu(Add(h, x) - 0.5 * h + 1) * 2.0))


NODES: dict[str, tuple[Callable[[Node], CompNode], tuple[int, ...], int]] = {
    "affine, tanh": (lambda x: labelled(Affine(AffineParams(4, 3), Tanh(Affine(AffineParams(5, 4), x)))), (4, 5), 3),
    "arithmetic": (
        lambda x: labelled((2 / (1 + Affine(AffineParams(5, 3), x) ** 2) - 1) / (Affine(AffineParams(5, 3), x) + 9)),
        (4, 5),
        3,
    ),
    "affine without bias": (lambda x: labelled(Affine(AffineParams(5, 3, bias=False), x)), (4, 5), 3),
    "affine of a map": (lambda x: labelled(Affine(AffineParams(12, 3), x)), (2, 2, 2, 3), 3),
    "affine of a sequence": (lambda x: MeanSquaredError(Affine(AffineParams(3, 3), x), Sigmoid(x)), (2, 2, 3), 0),
    "softmax, log loss": (lambda x: LogLoss(Softmax(Affine(AffineParams(5, 3), x)), Input("y")), (4, 5), 3),
    "log softmax": (lambda x: MeanSquaredError(LogSoftmax(Affine(AffineParams(5, 5), x)), x), (3, 5), 0),
    "convolution": (lambda x: labelled(GlobalAvgPool(Relu(Conv(ConvParams(2, 3, 3), x, stride=2)))), (2, 5, 5, 2), 3),
    "padding, pooling": (
        lambda x: labelled(Flatten(MaxPool(Conv(ConvParams(1, 2, 3), x, padding="same"), window=2))),
        (2, 4, 4, 1),
        8,
    ),
    "average pooling": (lambda x: labelled(GlobalAvgPool(AvgPool(Conv(ConvParams(1, 3, 2), x)))), (2, 5, 5, 1), 3),
    "groups": (lambda x: labelled(GlobalAvgPool(Conv(ConvParams(4, 4, 3, groups=2), x))), (2, 3, 4, 4), 4),
    "groups without bias": (
        lambda x: labelled(GlobalAvgPool(Conv(ConvParams(2, 4, 2, bias=False, groups=2), x))),
        (2, 3, 3, 2),
        4,
    ),
    "batch norm": (
        lambda x: labelled(GlobalAvgPool(BatchNorm(NormParams(2), Conv(ConvParams(2, 2, 2), x)))),
        (2, 3, 3, 2),
        2,
    ),
    "batch norm of vectors": (lambda x: labelled(BatchNorm(NormParams(3), Affine(AffineParams(4, 3), x))), (5, 4), 3),
    "layer norm": (lambda x: MeanSquaredError(LayerNorm(norm(4), x), Tanh(x)), (2, 3, 4), 0),
    "group norm": (lambda x: MeanSquaredError(GroupNorm(norm(4), x, groups=2), Tanh(x)), (2, 2, 2, 4), 0),
    "local response norm": (
        lambda x: labelled(GlobalAvgPool(LocalResponseNorm(Conv(ConvParams(2, 4, 1), x), window=3))),
        (2, 2, 2, 2),
        4,
    ),
    "concatenation": (inception, (2, 3, 3, 2), 12),
    "residual": (residual, (2, 3, 3, 2), 2),
    "dropout": (lambda x: labelled(Affine(AffineParams(4, 3), Dropout(Affine(AffineParams(5, 4), x)))), (4, 5), 3),
    "smooth functions": (
        lambda x: MeanSquaredError(Gelu(Silu(Softplus(LeakyRelu(Affine(AffineParams(3, 3), x))))), x),
        (3, 3),
        0,
    ),
    "attention": (lambda x: MeanSquaredError(Attention(AttentionParams(4, 2), x), Tanh(x)), (1, 3, 4), 0),
    "causal attention": (
        lambda x: MeanSquaredError(Attention(AttentionParams(4, 2), x, causal=True), Tanh(x)),
        (1, 3, 4),
        0,
    ),
}


@pytest.mark.parametrize("case", NODES)
def test_a_node_has_the_value_of_the_loops_and_the_gradient_of_the_complex_step(case: str) -> None:
    build, shape, classes = NODES[case]
    rng = np.random.default_rng(0)
    with Graph(dtype=np.float64) as g:
        x = Input("x", shape=shape[1:])
        loss = build(x)
    x.value = gradcheck.spread(shape, rng)
    for other in g.inputs:
        if other is not x:
            other.value = rng.integers(0, classes, shape[0])
    for p in g.parameters:
        p.value = p.value + 0.3 * rng.uniform(0, 1, p.shape)
    given = {p.name: p.value for p in g.parameters}  # running statistics change in the run
    g.forward()
    g.backward(loss)
    program = replace(g.program(loss), outputs=(loss.name,))
    given |= {n.name: n.value for n in g.assembled(loss).inputs}
    given = {n: given[n] for n in program.inputs if n in given}
    expected = loops.run(program, given)[loss.name]
    assert np.allclose(loss.value, expected, rtol=1e-10, atol=1e-12)
    trained = {p.name: p.grad for p in g.parameters if p.trained}
    rows = gradcheck.compare(
        lambda a: loops.run(program, a, complex_step=True), given, {loss.name: loss.grad}, trained, most=5
    )
    assert all(row.ok for row in rows), rows
    assert loss.grad.flat[0] == 1 / shape[0]


def test_an_embedding_and_another_output_of_a_layer() -> None:
    cut = edf.node("layer halves(x) -> low, high:\n    low[b,i] = x[b,i] / 2\n    high[b,i] = 3 * x[b,i] / 2\n")
    with Graph(dtype=np.float64) as g:
        tok = Input("tok")
        h = cut(edf.node("y[b,e] = x[b,t,e]")(Embedding(EmbeddingParams(5, 4, name="words"), tok)))
        loss = MeanSquaredError(h, h.part("high"))
    tok.value = np.array([[0, 1, 1], [4, 0, 0]])
    g.forward()
    g.backward(loss)
    E = next(iter(g.parameters)).value  # noqa: N806
    summed = E[tok.value].sum(axis=1)
    assert np.allclose(h.value, summed / 2)
    assert np.allclose(h.part("high").value, 1.5 * summed)
    assert np.allclose(loss.value, (summed**2).mean(axis=1))
    expected = np.zeros_like(E)
    for b in range(2):
        for t in range(3):
            expected[tok.value[b, t]] += 2 * summed[b] / 4 / 2
    assert np.allclose(g.parameters[0].grad, expected)


def test_shared_parameters_get_the_sum_of_their_gradients() -> None:
    with Graph(dtype=np.float64) as g:
        x, y, phi = Input("x"), Input("y"), AffineParams(3, 3)
        loss = CrossEntropy(Affine(phi, Tanh(Affine(phi, x))), y)
    x.value, y.value = batch(5, 3)
    g.step(loss)
    w = phi.W.value.copy()
    direction = np.random.default_rng(1).standard_normal(w.shape)
    found = []
    for s in (1e-6, -1e-6):
        phi.W.value = w + s * direction
        found.append(g.evaluate(loss).mean())
    phi.W.value = w
    assert np.sum(phi.W.grad * direction) == pytest.approx((found[0] - found[1]) / 2e-6, rel=1e-6)


# -- training and evaluation -----------------------------------------------------------------------


def test_batch_norm_follows_the_statistics_and_uses_them_in_evaluation() -> None:
    torch = pytest.importorskip("torch", reason="the peer that is compared with")
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, 3, 3, 2)).astype(np.float32)
    with Graph() as g:
        x, phi = Input("x", shape=(3, 3, 2)), NormParams(2)
        out = BatchNorm(phi, x)
    peer = torch.nn.BatchNorm2d(2)
    for k in range(3):
        x.value = images * (k + 1)
        g.forward()
        theirs = peer(torch.tensor(images * (k + 1)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        assert np.allclose(out.value, theirs.detach().numpy(), atol=1e-5)
    assert np.allclose(phi.mean.value, peer.running_mean.numpy(), atol=1e-6)
    assert np.allclose(phi.variance.value, peer.running_var.numpy(), atol=1e-5)
    peer.eval()
    before = phi.mean.value.copy()
    ours = g.evaluate(out, given={x: images})
    theirs = peer(torch.tensor(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert np.allclose(ours, theirs.detach().numpy(), atol=1e-5)
    assert np.array_equal(phi.mean.value, before)


@pytest.mark.parametrize("shape", [(3,), (1, 1, 3)])
def test_batch_norm_of_few_values(shape: tuple[int, ...]) -> None:
    with Graph() as g:
        x, phi = Input("x", shape=shape), NormParams(3)
        out = BatchNorm(phi, x, name="norm")
    x.value = np.ones((1, *shape))
    with pytest.raises(GraphError, match=r"norm normalises .* one value\n  x has shape"):
        g.forward()
    assert np.allclose(g.evaluate(out, given={x: np.full((1, *shape), 2.0)}), 2 / np.sqrt(1 + 1e-5))
    x.value = np.ones((0, *shape))
    g.forward()
    assert out.value.shape == (0, *shape)
    assert (phi.mean.value.tolist(), phi.variance.value.tolist()) == ([0, 0, 0], [1, 1, 1])
    x.value = np.stack([np.zeros(shape), np.full(shape, 2.0)])  # of mean 1, and variance 2 without bias
    g.forward()
    assert np.allclose(phi.mean.value, 0.1)
    assert np.allclose(phi.variance.value, 0.9 + 0.1 * 2)


def test_dropout_is_drawn_anew_in_training_and_absent_in_evaluation() -> None:
    with Graph(seed=3) as g:
        x = Input("x", shape=(1000,))
        out = Dropout(x, rate=0.25)
    x.value = np.ones((2, 1000))
    g.forward()
    first = out.value.copy()
    g.forward()
    assert not np.array_equal(first, out.value)
    assert set(np.unique(first)) == {0, np.float32(1 / 0.75)}
    assert abs(first.mean() - 1) < 0.06
    assert np.array_equal(g.evaluate(out), x.value)
    assert np.array_equal(g.evaluate(2 * out), 2 * x.value)


def test_evaluation_in_batches_needs_no_labels() -> None:
    with Graph() as g:
        x, _, _, _, hidden, _ = mlp()
    images, _ = batch(7)
    whole = g.evaluate(hidden, given={x: images})
    assert np.allclose(g.evaluate(hidden, given={x: images}, batch=3), whole, atol=1e-6)


def test_the_slides_functions_are_about_the_surrounding_graph() -> None:
    with Graph() as g:
        x, y, phi, *_rest = mlp()
        x.value, y.value = batch(4)
        Forward()
        Backward(_rest[-1])
        before = phi.W.value.copy()
        SGD(1.0)
    assert np.allclose(phi.W.value, before - phi.W.grad)
    assert edf.default_graph() is not g


# -- layers of one's own ---------------------------------------------------------------------------


def test_a_node_from_a_file_and_from_a_text(tmp_path: Path) -> None:
    path = tmp_path / "scale.idx"
    path.write_text("layer times(x, w[C]; factor=1) -> y:\n    y[...,c] = factor * w[c] * x[...,c]\n")
    Times = edf.node(path, factor=2)  # noqa: N806
    Same = edf.node(path.read_text())  # noqa: N806
    with Graph(dtype=np.float64) as g:
        x, w = Input("x"), Parameter(np.array([1.0, 2.0, 3.0]), name="w")
        a, b, c = Times(x, w), Same(x, w, factor=3), Times(x=x, w=w, name="named")
    x.value = np.ones((2, 3))
    g.forward()
    assert np.array_equal(a.value[0], [2, 4, 6])
    assert np.array_equal(b.value[0], [3, 6, 9])
    assert (Times.__name__, a.name, c.name) == ("Times", "Times1", "named")


def test_a_mistake_in_ones_own_layer_shows_where_the_class_is_made(tmp_path: Path) -> None:
    path = tmp_path / "two.idx"
    path.write_text("layer two(x) -> y:\n    y[i] = z[i]\n")
    with pytest.raises(indexlang.MeaningError, match=r"two\.idx:2"):
        edf.node(path)(Input())
    with pytest.raises(GraphError, match="several layers"):
        edf.node("layer a(x) -> y:\n    y = x\nlayer b(x) -> y:\n    y = x\n")
    with pytest.raises(GraphError, match="no layer 'nothing'"):
        edf.node("nothing")(Input())
    with pytest.raises(indexlang.MeaningError, match="no option 'slop'"):
        LeakyRelu(Input(), slop=0.1)


# -- what is wrong ---------------------------------------------------------------------------------


def test_a_missing_value_is_named() -> None:
    x, _, *rest = mlp()
    x.value = batch(4)[0]
    with pytest.raises(GraphError, match="the input Input2 has no value"):
        Forward()
    with pytest.raises(GraphError, match="nothing has run"):
        _ = rest[-1].value
    with pytest.raises(GraphError, match=r"run Forward\(\) first"):
        Backward(rest[-1])


def test_a_step_of_the_slides_that_would_change_nothing_is_an_error() -> None:
    x, y, *_, ell = mlp()
    x.value, y.value = batch(4)
    for run in (lambda: None, Forward, lambda: (Forward(), Backward(ell), SGD(0.1), Forward())):
        run()
        with pytest.raises(GraphError, match=r"no parameter has a gradient, Phi1\.W neither"):
            SGD(0.1)


def test_the_slides_functions_outside_of_the_block_of_their_graph() -> None:
    with Graph() as g:
        x, y, *_, ell = mlp()
    x.value, y.value = batch(4)
    g.forward()
    g.backward(ell)
    for call in (Forward, lambda: SGD(0.1)):
        with pytest.raises(GraphError, match="no computed node\n  way out: make nodes inside of `with Graph"):
            call()


def test_a_cycle_is_told_with_its_nodes() -> None:
    with Graph() as g:
        x = Input("x")
        a = Tanh(x, name="a")
        b = Tanh(a, name="b")
    a.rewire(x, b)
    x.value = np.ones(3)
    with pytest.raises(GraphError, match=r"a -> b -> a|b -> a -> b"):
        g.forward(b)


def test_a_parameter_belongs_to_one_package() -> None:
    phi = AffineParams(3, 2, name="first")
    with pytest.raises(GraphError, match=r"first\.W is in a package already"):
        Package(name="second", W=phi.W)


def test_labels_outside_of_the_classes() -> None:
    x, y, *_rest = mlp()
    x.value, y.value = batch(4)
    for wrong in (3, -1):
        y.value = np.array([0, 1, wrong, 2])
        with pytest.raises(GraphError, match=rf"Input2\[2\] = {wrong}\n.*0 to 2"):
            Forward()


def test_sizes_that_do_not_fit_name_the_node() -> None:
    x, y, *_ = mlp()
    x.value, y.value = np.ones((4, 7)), np.zeros(4, int)
    with pytest.raises(
        indexlang.ShapeError, match=r"Affine1 does not fit(?s:.*)x = Input1 \[4, 7\], W = Phi1\.W \[6, 5\]"
    ):
        Forward()
    x.value = np.ones((4, 2, 3))
    with pytest.raises(indexlang.ShapeError, match=r"Affine1 does not fit(?s:.*)x = Input1 \[4, 2, 3\]"):
        Forward()
    x.value, y.value = np.ones((4, 6)), np.zeros(3, int)
    with pytest.raises(indexlang.ShapeError, match=r"LogLoss1 (?s:.*)q = Softmax1 \[4, 3\], y = Input2 \[3\]"):
        Forward()


def test_importing_the_compiler_does_not_import_edf() -> None:
    code = "import sys, indexlang; sys.exit(any(m.startswith('indexlang.edf') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_networks_are_imported_when_they_are_asked_for() -> None:
    code = """if True:
        import sys
        from indexlang import edf
        assert "indexlang.edf.networks" not in sys.modules and "networks" in dir(edf)
        assert edf.networks.build is sys.modules["indexlang.edf.networks"].build
        assert not hasattr(edf, "netwroks")
    """
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
def test_a_node_is_divided_by_a_number_as_its_array_is(dtype: Any) -> None:
    with edf.Graph(dtype=dtype) as g:
        x = Input()
        thirds = x / 3
    x.value = np.random.default_rng(0).standard_normal((100, 5))
    g.forward(thirds)
    assert np.array_equal(thirds.value, x.value / 3)


def test_a_divisor_whose_inverse_is_beyond_all_numbers() -> None:
    with edf.Graph(dtype=np.float64) as g:
        x = Input()
        large = x / 1e-320
    x.value = np.array([1e-300, 0.0])
    g.forward(large)
    assert np.array_equal(large.value, np.array([1e-300 / 1e-320, 0]))


@pytest.mark.parametrize(
    ("graph", "given", "kept"),
    [
        ("float32", "float64", "float32"),
        ("complex64", "float64", "float32"),
        ("complex64", "complex128", "complex64"),
        ("float32", "complex128", "complex64"),
        ("complex64", "float16", "float16"),
        ("complex128", "complex128", "complex128"),
        ("complex128", "float64", "float64"),
        ("complex64", "int64", "int64"),
    ],
)
def test_values_wider_than_the_graphs_are_rounded(graph: str, given: str, kept: str) -> None:
    with edf.Graph(dtype=graph):
        x = Input()
    x.value = np.ones(3, given)
    assert x.value.dtype == kept


def test_arguments_that_do_not_fit() -> None:
    x = Input("x")
    with pytest.raises(GraphError, match="takes 3 inputs, 4 were given"):
        Affine(AffineParams(3, 2), x, x)
    with pytest.raises(GraphError, match="nodes and parameter packages, not ndarray"):
        Relu(np.ones(3))  # type: ignore[arg-type]
    with pytest.raises(GraphError, match="has no input 'z'"):
        Relu(x, z=x)
    with Graph():
        other = Input("x")
    with pytest.raises(GraphError, match="different graphs"):
        Add(x, other)
    with Graph():
        Input("x")
        with pytest.raises(GraphError, match="has a node 'x' already"):
            Input("x")
    for name in ("a b", "x.grad", "x.grad2", "pad", ""):
        with pytest.raises(GraphError, match="cannot be the name"):
            Input(name)
    with pytest.raises(indexlang.IndexLangError, match="goes with nodes and numbers, not with ndarray"):
        np.ones(3) + x
    with pytest.raises(GraphError, match="groups must divide"):
        ConvParams(4, 6, 3, groups=4)
    with pytest.raises(GraphError, match="keeps its shape"):
        AffineParams(3, 2).W.value = np.ones((2, 3))
    with pytest.raises(GraphError, match="no computed node"):
        edf.reset().forward()


def test_a_loss_that_depends_on_no_parameter() -> None:
    with Graph() as g:
        x = Input("x")
        loss = Tanh(x)
    x.value = np.ones(3)
    with pytest.raises(GraphError, match="depends on no parameter"):
        g.step(loss)


# -- pictures --------------------------------------------------------------------------------------


def test_a_graph_draws_itself_with_shapes() -> None:
    with Graph() as g:
        x, y = Input("x", shape=(4, 4, 2)), Input("y")
        h = Conv(ConvParams(2, 2, 3), x, padding=1, name="conv")
        loss = labelled_by(GlobalAvgPool(Relu(h + x)), y)
    dot = g.dot({x: (5, 4, 4, 2), y: (5,)})
    assert '"x" -> "conv"' in dot
    assert '"conv" -> "Add1"' in dot
    assert r'"conv" [label="conv\nConv\n5 × 4 × 4 × 2\nPhi1.W 3 × 3 × 2 × 2' in dot
    tree = ElementTree.fromstring(g.svg({x: (5, 4, 4, 2), y: (5,)}))
    texts = [t.text for t in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert "5 × 4 × 4 × 2" in texts
    assert loss.name in texts
    boxes = [
        {k: float(r.get(k, "")) for k in ("x", "y", "width", "height")}
        for r in tree.iter("{http://www.w3.org/2000/svg}rect")
    ]
    assert len(boxes) == 7
    for number, a in enumerate(boxes):
        for b in boxes[:number]:
            apart = a["x"] >= b["x"] + b["width"] or b["x"] >= a["x"] + a["width"]
            assert apart or a["y"] >= b["y"] + b["height"] or b["y"] >= a["y"] + a["height"]
    assert g._repr_svg_().startswith("<svg")  # without values, without shapes


def labelled_by(scores: Node, y: Node) -> CompNode:
    return CrossEntropy(scores, y)


def test_a_step_can_be_planned_before_it_runs() -> None:
    with Graph(dtype=np.float64) as g:
        x, w = Input("x"), Parameter(np.array([3.0, 5.0]), name="w")
        loss = x * w
    given = {x: np.array([1.0, 2.0])}
    g.prepare(loss, given)
    assert w.value.tolist() == [3, 5] and not g.gradients and not g.values
    assert g.step(loss, given).tolist() == [3, 10]
    assert g.gradients["w"].tolist() == [0.5, 1]  # of the average over both


def test_a_window_that_fits_nowhere_names_its_node() -> None:
    x = Input()
    x.value = np.ones((1, 2, 2, 1), np.float32)
    conv = Conv(ConvParams(1, 4, 3, name="first"), x, name="conv")
    with pytest.raises(indexlang.ShapeError, match="the window of di reaches over 3 elements") as caught:
        Forward(conv)
    assert caught.value.problems[0].values[2] == "axis 1 of x has size 2, without padding"
    assert "x = Input1 [1, 2, 2, 1], K = first.W [3, 3, 1, 4]" in str(caught.value)
