"""The two pictures of the demo: how the loss fell, and what the network says about some test digits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from .digits import Images, Labels

mpl.use("Agg")  # pictures go to files, there may be no screen
from matplotlib import pyplot as plt


def losses(path: Path, curve: Sequence[float], per_epoch: int, accuracies: Sequence[float]) -> None:
    """The loss of every batch, smoothed too, and the held-out accuracy after every epoch."""
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    epochs = np.arange(1, len(curve) + 1) / per_epoch
    width = max(1, min(len(curve) // 5, 50))
    smooth = np.convolve(curve, np.ones(width) / width, mode="valid")
    axis.semilogy(epochs, curve, color="0.8", linewidth=0.8, label="each batch")
    axis.semilogy(epochs[width - 1 :], smooth, color="tab:blue", label=f"mean of {width}")
    axis.set(xlabel="epoch", ylabel="cross entropy", xlim=(0, epochs[-1]))
    axis.legend(loc="lower left")
    if accuracies:
        right = axis.twinx()
        right.plot(np.arange(1, len(accuracies) + 1), accuracies, "o-", color="tab:orange", markersize=4)
        right.set_ylabel("held-out accuracy, %", color="tab:orange")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def predictions(path: Path, images: Images, labels: Labels, probabilities: NDArray[np.floating]) -> None:
    """A grid of digits with what the network says; the wrong ones first, marked, with the right answer."""
    said = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(said != labels)
    right = np.flatnonzero(said == labels)
    chosen = np.concatenate([wrong[:16], right])[:40]
    figure, axes = plt.subplots(4, 10, figsize=(10, 5), layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, k in zip(axes.flat, chosen, strict=False):
        axis.imshow(images[k], cmap="gray_r", vmin=0, vmax=1)
        sure = f"{said[k]}  {100 * probabilities[k, said[k]]:.0f} %"
        if said[k] == labels[k]:
            axis.set_title(sure, fontsize=9)
        else:
            axis.set_title(f"{sure}, is {labels[k]}", fontsize=9, color="tab:red")
    figure.savefig(path, dpi=120)
    plt.close(figure)
