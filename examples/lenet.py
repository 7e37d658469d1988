"""LeNet-5 from its index equations: parameters, predictions, training.

In: digits, and the equations of lenet5.idx. Out: trained parameters. Everything that is differentiated is text;
what is left for Python is the loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import indexlang

from .digits import Digits, Images, Labels

Array = NDArray[np.float32]
Parameters = dict[str, Array]

LAYERS = indexlang.load(Path(__file__).with_name("lenet5.idx"))
SIZES = {
    "C1.W": (5, 5, 6),
    "C3.W": (5, 5, 6, 16),
    "C5.W": (5, 5, 16, 120),
    "F6.W": (120, 84),
    "Out.W": (84, 10),
}


def initial(seed: int) -> Parameters:
    """Weights that keep the signal's size (He et al. 2015), biases of zero."""
    random = np.random.default_rng(seed)
    parameters: Parameters = {}
    for name, shape in SIZES.items():
        spread = np.sqrt(2 / np.prod(shape[:-1]))
        parameters[name] = (spread * random.standard_normal(shape)).astype(np.float32)
        parameters[name.replace(".W", ".b")] = np.zeros(shape[-1], np.float32)
    return parameters


def probabilities(parameters: Parameters, images: Images) -> Array:
    """The softmax of the network's scores."""
    parts = [LAYERS.lenet5(x=images[k : k + 500], **parameters) for k in range(0, len(images), 500)]
    scores: Array = np.concatenate(parts)
    powers: Array = np.exp(scores - scores.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def accuracy(parameters: Parameters, images: Images, labels: Labels) -> float:
    """How many of the images the network names right, in percent."""
    return 100 * float(np.mean(probabilities(parameters, images).argmax(axis=1) == labels))


@dataclass
class Adam:
    """Steps by the mean gradient over its spread (Kingma and Ba 2015)."""

    steps: int = 0
    mean: Parameters = field(default_factory=dict)
    square: Parameters = field(default_factory=dict)

    def step(self, parameters: Parameters, gradients: Parameters, rate: float) -> None:
        """Move every parameter, in place."""
        self.steps += 1
        rate *= float(np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps))
        for name, gradient in gradients.items():
            mean = self.mean.setdefault(name, np.zeros_like(gradient))
            square = self.square.setdefault(name, np.zeros_like(gradient))
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient * gradient - square)
            parameters[name] -= rate * mean / (np.sqrt(square) + 1e-8)


@dataclass
class Training:
    """A run: what it learns from, how, and what has come of it so far."""

    data: Digits
    epochs: int
    batch: int = 50
    rate: float = 2e-3
    seed: int = 0
    curve: list[float] = field(default_factory=list)  # the loss of every batch
    accuracies: list[float] = field(default_factory=list)  # in percent, on the held-out digits, after every epoch

    def __post_init__(self) -> None:
        self.per_epoch = math.ceil(len(self.data.labels) / self.batch)  # the last batch may be smaller
        self.parameters = initial(self.seed)
        self._optimiser = Adam()
        self._random = np.random.default_rng(self.seed)

    def epoch(self) -> Iterator[float]:
        """Once through all digits in a new order; yields the loss of each batch, then tests."""
        order = self._random.permutation(len(self.data.labels))
        for k in range(self.per_epoch):
            chosen = order[k * self.batch : (k + 1) * self.batch]
            x, label = self.data.images[chosen], self.data.labels[chosen]
            loss, gradients = LAYERS.learn.value_and_grad(
                wrt=list(self.parameters), x=x, label=label, **self.parameters
            )
            done = len(self.curve) / (self.epochs * self.per_epoch)
            self._optimiser.step(self.parameters, gradients, self.rate * (1 + np.cos(np.pi * done)) / 2)
            self.curve.append(float(loss))
            yield self.curve[-1]
        self.accuracies.append(accuracy(self.parameters, self.data.test_images, self.data.test_labels))
