"""The mean of curves that are alike but for their pace: a barycentre under soft dynamic time warping.

`python -m examples.time_warping` draws noisy curves with time bent at random. Their plain mean is blurred; the
curve that is nearest to all of them under `time_warping.idx` has the shape that they have in common. The block over
two indices runs along diagonals, and so does its derivative, from the last one to the first.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import indexlang

Array = NDArray[Any]

FILE = Path(__file__).with_name("time_warping.idx")
SHADES = " .:-=+*#%@"


def shape(at: Array) -> Array:
    """The curve in common, of times from 0 to 1: a narrow peak, a dip, a broad peak."""
    bumps = ((1.0, 0.25, 0.05), (-0.6, 0.5, 0.04), (0.7, 0.75, 0.08))
    return np.asarray(sum(height * np.exp(-(((at - middle) / width) ** 2)) for height, middle, width in bumps))


def drawn(count: int, length: int, noise: float, rng: np.random.Generator) -> Array:
    """Curves, each with times and noise of its own."""
    at = np.linspace(0, 1, length)
    bent = at + rng.uniform(-0.12, 0.12, (count, 1)) * np.sin(np.pi * at)
    bent += rng.uniform(-0.05, 0.05, (count, 1)) * np.sin(2 * np.pi * at)
    return shape(bent) + noise * rng.standard_normal((count, length))


def barycentre(curves: Array, softness: float, steps: int, rate: float) -> tuple[Array, list[float]]:
    """The curve nearest to all, by steps down the gradient with momentum; how far it was at each of them."""
    near = indexlang.compile(FILE, layer="warped", g=softness)
    x, speed, far = curves.mean(axis=0), np.zeros(curves.shape[1]), []
    for _ in range(steps):
        value, gradients = near.value_and_grad(["x"], x=x, y=curves)
        far.append(float(value) / len(curves))
        speed = 0.9 * speed - rate / len(curves) * gradients["x"]
        x = x + speed
    return x, far


def alignment(x: Array, y: Array, softness: float) -> Array:
    """How much each pair of times takes part in the ways from start to end: the derivative by what the pair costs."""
    cost = (x[:, None] - y[None, :]) ** 2
    _, ways = indexlang.compile(FILE, layer="aligned", g=softness).vjp(c=cost[None])
    return np.asarray(ways(np.ones(1))["c"][0])


def shown(curve: Array) -> str:
    """A curve as a line of characters, the higher the darker."""
    level = (curve + 0.7) / 1.8
    return "".join(SHADES[int(np.clip(v * len(SHADES), 0, len(SHADES) - 1))] for v in level)


def main(argv: list[str] | None = None) -> int:
    """Draw curves, and print what they have in common."""
    parser = argparse.ArgumentParser(prog="examples.time_warping", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--curves", type=int, default=12)
    parser.add_argument("--length", type=int, default=80)
    parser.add_argument("--noise", type=float, default=0.05)
    parser.add_argument("--softness", type=float, default=0.05)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    curves = drawn(args.curves, args.length, args.noise, np.random.default_rng(args.seed))
    common = shape(np.linspace(0, 1, args.length))
    found, far = barycentre(curves, args.softness, args.steps, args.rate)
    for number in range(0, args.steps, max(1, args.steps // 5)):
        print(f"step {number:4d}: soft distance to a curve {far[number]:.4f}")
    for curve in curves[:4]:
        print("a curve      ", shown(curve))
    for name, curve in (("the truth    ", common), ("plain mean   ", curves.mean(axis=0)), ("barycentre   ", found)):
        print(name, shown(curve), f" from {curve.min():.2f} to {curve.max():.2f}")
    ways = alignment(found, curves[0], args.softness)
    print("times of the first curve beside every eighth one of the barycentre:")
    print(
        "  ", *(f"{t}~{np.sum(ways[t] * np.arange(args.length)) / ways[t].sum():.0f}" for t in range(0, args.length, 8))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
