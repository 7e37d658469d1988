"""What the examples that train have in common: arguments, distortions of images, the run, its last line.

In: a network and data. Out: checkpoints, curves and weights in a folder, the accuracy on the held-out images. The one
rule: the same arguments give the same weights, bit for bit.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexlang.edf import Adam, CosineRate, CrossEntropy, DataError, Dataset, Graph, Input, Training, networks
from indexlang.edf.learning import data as files
from indexlang.edf.learning import weights
from indexlang.edf.learning.optimisers import Optimiser

Array = NDArray[Any]


def shifted(images: Array, rng: np.random.Generator, most: int = 2) -> Array:
    """Each image moved by up to `most` pixels, zeros behind it."""
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    i, j = rng.integers(0, 2 * most + 1, (2, len(images)))
    return np.ascontiguousarray(np.moveaxis(windows[np.arange(len(images)), i, j], 1, -1))


def mirrored(images: Array, rng: np.random.Generator) -> Array:
    """Half of the images, left for right."""
    flip = rng.random(len(images)) < 0.5
    return np.where(flip[:, None, None, None], images[:, :, ::-1], images)


def arguments(text: str, prog: str, **defaults: Any) -> argparse.ArgumentParser:
    """The arguments of a training."""
    parser = argparse.ArgumentParser(prog=prog, description=text.splitlines()[0])
    parser.add_argument("--data", metavar="FOLDER", help="four IDX files: images and labels, to learn and to test")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rate", type=float, help="the first step size; it falls to zero along half a cosine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where checkpoints, curves and weights go")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    parser.add_argument("--at-least", type=float, default=0, metavar="PERCENT", help="fail below this accuracy")
    parser.set_defaults(**defaults)
    return parser


def run(
    args: argparse.Namespace,
    network: str,
    augment: Callable[[Array, np.random.Generator], Array] | None,
    optimiser: Callable[[float], Optimiser] = Adam,
    load: Callable[[], Dataset] | None = None,
    **options: Any,
) -> int:
    """Train, test, save: the exit status."""
    try:
        data = load() if load is not None and not args.data else files.folder(args.data)
        mean, spread = data.images.mean(), data.images.std()  # of what is learned from, also for what is held out
        images, test = (data.images - mean) / spread, (data.test_images - mean) / spread
        data = Dataset(data.name, images, data.labels, test, data.test_labels)
        net = networks.build(
            network, size=images.shape[1], channels=images.shape[3], graph=Graph(seed=args.seed), **options
        )
        with net.graph:
            labels = Input("labels", ())
            loss = CrossEntropy(net.scores, labels)
        print(f"{network} on {data.name}: {sum(p.size for p in net.graph.parameters if p.trained):,} parameters")
        training = Training(
            loss,
            net.x,
            labels,
            data,
            net.scores,
            optimiser=optimiser(args.rate),
            schedule=CosineRate(),
            epochs=args.epochs,
            batch=args.batch,
            augment=augment,
            seed=args.seed,
            folder=args.out,
        )
        start = time.perf_counter()
        history = training.run(resume=args.resume)
        if training.stopped:
            print(f"stopped; go on with --resume --out {args.out}")
            return 130
        weights.save_weights(net.graph, args.out / "weights.npz")
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    percent = history.epochs[-1].test_accuracy or 0.0
    seconds = time.perf_counter() - start
    print(f"Test accuracy: {percent:.2f} % of {len(data.test_labels):,} images, after {seconds:.0f} s")
    print(f"Curves, checkpoint and weights: {args.out}")
    if percent < args.at_least:
        print(f"error: the accuracy is below {args.at_least} %", file=sys.stderr)
        return 1
    return 0
