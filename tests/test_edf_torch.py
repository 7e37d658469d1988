"""Training as PyTorch means it: clipping, what is frozen and trained again, the last batch of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from indexlang.edf import (
    Adam,
    AdamW,
    Affine,
    AffineParams,
    CrossEntropy,
    Dataset,
    GradientDescent,
    Graph,
    Input,
    Normal,
    Parameter,
    Tanh,
    Training,
    clip_norm,
    clip_value,
)

torch = pytest.importorskip("torch", reason="the peer that is compared with")

COUNT, INPUTS, HIDDEN, CLASSES = 22, 5, 4, 3


class Both:
    """The same network here and there, of the same first values."""

    def __init__(self) -> None:
        with Graph(seed=3, dtype=np.float64) as self.graph:
            self.x, self.y = Input("x"), Input("y")
            hidden = Tanh(Affine(AffineParams(INPUTS, HIDDEN, name="first"), self.x))
            self.scores = Affine(AffineParams(HIDDEN, CLASSES, name="second"), hidden)
            self.loss = CrossEntropy(self.scores, self.y)
        self.ours = self.graph.parameters
        self.theirs = [torch.nn.Parameter(torch.tensor(p.value.copy())) for p in self.ours]
        rng = np.random.default_rng(1)
        self.images, self.labels = rng.standard_normal((COUNT, INPUTS)), rng.integers(0, CLASSES, COUNT)

    def their_loss(self, chosen: Any) -> Any:
        w, b, v, c = self.theirs
        scores = torch.tanh(torch.tensor(self.images[chosen]) @ w + b) @ v + c
        return torch.nn.functional.cross_entropy(scores, torch.tensor(self.labels[chosen]))

    def assert_same(self) -> None:
        for ours, theirs in zip(self.ours, self.theirs, strict=True):
            assert np.allclose(ours.value, theirs.detach().numpy(), rtol=1e-9, atol=1e-12), ours.name


OPTIMISERS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "momentum": (
        lambda: GradientDescent(0.1, momentum=0.9, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    ),
    "nesterov": (
        lambda: GradientDescent(0.1, momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    ),
    "Adam": (lambda: Adam(0.05, weight_decay=0.01), lambda p: torch.optim.Adam(p, 0.05, weight_decay=0.01)),
    "AdamW": (lambda: AdamW(0.05), lambda p: torch.optim.AdamW(p, 0.05)),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_what_is_frozen_rests_and_goes_on_with_what_it_remembers(name: str) -> None:
    both = Both()
    ours, theirs = OPTIMISERS[name][0](), OPTIMISERS[name][1](both.theirs)
    for step in range(9):
        frozen = 3 <= step < 6
        for parameter, peer in zip(both.ours[:2], both.theirs[:2], strict=True):
            parameter.trained = not frozen
            peer.requires_grad_(not frozen)
        before = both.ours[0].value.copy()
        both.graph.step(both.loss, {both.x: both.images, both.y: both.labels})
        ours.step(both.graph.parameters)
        theirs.zero_grad()
        both.their_loss(slice(None)).backward()
        theirs.step()
        both.assert_same()
        assert np.array_equal(both.ours[0].value, before) == frozen


def test_a_parameter_may_be_frozen_before_its_node_is_made() -> None:
    with Graph(dtype=np.float64) as g:
        x, y, phi = Input("x"), Input("y"), AffineParams(2, 3)
        phi.W.trained = False
        loss = CrossEntropy(Affine(phi, x), y)
    g.step(loss, {x: np.ones((1, 2)), y: [0]})
    assert phi.B.grad.shape == (3,)
    with pytest.raises(ValueError, match="it is not trained"):
        _ = phi.W.grad
    phi.W.trained = True
    g.step(loss)
    assert phi.W.grad.shape == (2, 3)


@pytest.mark.parametrize("drop_last", [False, True])
def test_the_last_batch_of_an_epoch(drop_last: bool) -> None:
    both = Both()
    none = both.images[:0], both.labels[:0]
    data = Dataset("few", both.images, both.labels, *none)
    run = Training(
        both.loss,
        both.x,
        both.y,
        data,
        both.scores,
        GradientDescent(0.1, momentum=0.9),
        epochs=2,
        batch=8,
        drop_last=drop_last,
        seed=4,
        show=False,
    )
    history = run.run()
    optimiser = torch.optim.SGD(both.theirs, 0.1, momentum=0.9)
    rng = np.random.default_rng([4, 1])
    losses, means = [], []
    for _ in range(2):
        order = torch.tensor(rng.permutation(COUNT))
        sizes = []
        for batch in torch.utils.data.DataLoader(order, batch_size=8, drop_last=drop_last):
            optimiser.zero_grad()
            loss = both.their_loss(batch.numpy())
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
            sizes.append(len(batch))
        means.append(np.average(losses[-len(sizes) :], weights=sizes))
    assert sizes == ([8, 8] if drop_last else [8, 8, 6])
    both.assert_same()
    assert np.allclose(history.losses, losses)
    assert np.allclose([e.loss for e in history.epochs], means)


def test_clipping() -> None:
    rng = np.random.default_rng(2)
    with Graph(dtype=np.float64) as g:
        ours = [Parameter(shape, Normal(1.0), name=f"p{k}") for k, shape in enumerate(((3, 2), (4,), (2,)))]
    theirs = [torch.nn.Parameter(torch.tensor(p.value.copy())) for p in ours]
    for parameter, peer in zip(ours[:2], theirs[:2], strict=True):  # the last one has no gradient
        g.gradients[parameter.name] = rng.standard_normal(parameter.shape)
        peer.grad = torch.tensor(parameter.grad.copy())
    for most in (100.0, 1.5, 0.01):
        assert clip_norm(ours, most) == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs, most)), rel=1e-4)
        for parameter, peer in zip(ours[:2], theirs[:2], strict=True):
            assert np.allclose(parameter.grad, peer.grad.numpy(), rtol=2e-4)  # theirs adds 1e-6 to the length
    for most in (0.005, 0.001):
        clip_value(ours, most)
        torch.nn.utils.clip_grad_value_(theirs, most)
        for parameter, peer in zip(ours[:2], theirs[:2], strict=True):
            assert np.allclose(parameter.grad, peer.grad.numpy(), rtol=2e-4)
    assert ours[2].name not in g.gradients
