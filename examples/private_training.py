"""Training under differential privacy: the gradient of each example is clipped, noise is added to the sum.

`python -m examples.private_training` trains a small network on points of two rings. The gradients of each example,
their lengths and the clipped sum are one program of the language, derived and joined here: it is printed first.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

import indexlang

Array = NDArray[Any]

LOSS = """\
a[b,k] = U[k,i] * x[b,i]
a[b,k] += c[k]
h[b,k] = tanh(a[b,k])
s[b,o] = V[o,k] * h[b,k]
s[b,o] += d[o]
loss += logsumexp[o](s[b,o]) - s[b,label[b]]
"""

# The length of all gradients of an example together, at most `most` of it, and the sum of what is left.
CLIPPED = """\
square[b] = U.grad[b,k,i]**2
square[b] += c.grad[b,k]**2
square[b] += V.grad[b,o,k]**2
square[b] += d.grad[b,o]**2
scale[b] = min(1, most / sqrt(square[b] + 1e-12))
U.sum[k,i] = scale[b] * U.grad[b,k,i]
c.sum[k] = scale[b] * c.grad[b,k]
V.sum[o,k] = scale[b] * V.grad[b,o,k]
d.sum[o] = scale[b] * d.grad[b,o]
"""

WEIGHTS = ("U", "c", "V", "d")
loss = indexlang.compile(LOSS)
clipped = indexlang.join(loss.grad(WEIGHTS, seed=1, keep=["b"]), indexlang.compile(CLIPPED))


def rings(count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Points of an inner ring, 0, and of an outer one, 1."""
    labels = rng.integers(0, 2, count)
    angles, radii = rng.uniform(0, 2 * np.pi, count), 1 + labels + 0.2 * rng.standard_normal(count)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1), labels


def start(hidden: int, rng: np.random.Generator) -> dict[str, Array]:
    """The first weights."""
    return {
        "U": rng.standard_normal((hidden, 2)),
        "c": rng.standard_normal(hidden),
        "V": rng.standard_normal((2, hidden)) / np.sqrt(hidden),
        "d": np.zeros(2),
    }


def step(
    weights: dict[str, Array], x: Array, label: Array, most: float, noise: float, rate: float, rng: np.random.Generator
) -> dict[str, Array]:
    """The weights after a step along the noisy mean of clipped gradients."""
    sums = clipped(x=x, label=label, most=most, **weights)
    found = {}
    for name, value in weights.items():
        total = sums[f"{name}.sum"] + noise * most * rng.standard_normal(value.shape)
        found[name] = value - rate * total / len(x)
    return found


def main(argv: list[str] | None = None) -> int:
    """Train, and print how the loss falls."""
    parser = argparse.ArgumentParser(prog="examples.private_training", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--most", type=float, default=1.0, help="the length that a gradient is clipped to")
    parser.add_argument("--noise", type=float, default=0.5, help="in multiples of that length")
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    print(clipped)
    rng = np.random.default_rng(args.seed)
    x, label = rings(1000, rng)
    weights = start(16, rng)
    for number in range(args.steps + 1):
        if number % max(1, args.steps // 5) == 0:
            print(f"step {number:4d}: loss {float(loss(x=x, label=label, **weights)) / len(x):.4f}")
        chosen = rng.choice(len(x), min(args.batch, len(x)), replace=False)
        weights = step(weights, x[chosen], label[chosen], args.most, args.noise, args.rate, rng)
    return 0


if __name__ == "__main__":
    sys.exit(main())
