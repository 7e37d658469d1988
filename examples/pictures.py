"""The two pictures of the demo: how the loss fell, and what the network says about some test digits.

In: numbers and images. Out: PNG files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from indexlang.files.whole import write_whole

from .digits import Images, Labels

ROWS, COLUMNS = 4, 10


def losses(path: Path, curve: Sequence[float], per_epoch: int, accuracies: Sequence[float]) -> None:
    """The loss of every batch, smoothed too, and the held-out accuracy after every epoch."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    epochs = np.arange(1, len(curve) + 1) / per_epoch
    width = max(1, min(len(curve) // 5, 50))
    smooth = np.convolve(curve, np.ones(width) / width, mode="valid")
    axis.semilogy(epochs, curve, color="0.8", linewidth=0.8, label="each batch")
    axis.semilogy(epochs[width - 1 :], smooth, color="tab:blue", label=f"mean of {width}")
    axis.set(xlabel="epoch", ylabel="cross entropy", xlim=(0, epochs[-1]))
    axis.legend(loc="center right")
    right = axis.twinx()
    right.plot(np.arange(1, len(accuracies) + 1), accuracies, "o-", color="tab:orange", markersize=4)
    right.set_ylabel("held-out accuracy, %", color="tab:orange")
    write_whole(path, lambda file: figure.savefig(file, dpi=120, format="png"))


def predictions(path: Path, images: Images, labels: Labels, probabilities: NDArray[np.float32]) -> None:
    """A grid of digits with what the network says; the wrong ones first, marked, with the right answer.

    The digits may come sorted: those that are right are spread evenly over all of them.
    """
    said = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(said != labels)[: 2 * COLUMNS]
    right = np.flatnonzero(said == labels)
    spread = np.linspace(0, len(right) - 1, min(len(right), ROWS * COLUMNS - len(wrong))).astype(np.int64)
    chosen = np.concatenate([wrong, right[spread]])
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    axes = figure.subplots(ROWS, COLUMNS).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, k in zip(axes, chosen, strict=False):
        axis.imshow(images[k], cmap="gray_r", vmin=0, vmax=1)
        sure = f"{said[k]}  {100 * probabilities[k, said[k]]:.0f} %"
        if said[k] == labels[k]:
            axis.set_title(sure, fontsize=9)
        else:
            axis.set_title(f"{sure}\nis {labels[k]}", fontsize=9, color="tab:red")
    write_whole(path, lambda file: figure.savefig(file, dpi=120, format="png"))
