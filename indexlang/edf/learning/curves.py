"""What came of a run: its losses and accuracies as tables and as pictures.

In: a history. Out: CSV files, and a picture where matplotlib is installed. The one rule: each file is written whole.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from .files import write_whole


@dataclass(frozen=True)
class Epoch:
    """One time through the data, the number `epoch`, counted from 1: what it gave, None where there is nothing to
    measure.

    `loss` is the mean of its batches, `test_loss` that of what is held out; `accuracy` and `test_accuracy` are in
    percent. `rate` is that of its last step; it took `seconds`, evaluation apart, at `images_per_second`.
    """

    epoch: int
    loss: float
    accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    rate: float
    seconds: float
    images_per_second: float


@dataclass(repr=False)
class History:
    """`losses` of every step, and `epochs`, a row for each."""

    losses: list[float] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)

    def __repr__(self) -> str:
        loss = f", loss {self.epochs[-1].loss:.4f}" if self.epochs else ""
        right = f", held out {self.accuracies[-1]:.2f} %" if self.accuracies else ""
        return f"<History of {len(self.epochs)} epochs, {len(self.losses)} steps{loss}{right}>"

    @property
    def accuracies(self) -> list[float]:
        """The accuracy on what was held out, after every epoch."""
        return [e.test_accuracy for e in self.epochs if e.test_accuracy is not None]


def write_tables(folder: Path, history: History) -> None:
    """`losses.csv`, a row for each step, and `epochs.csv`, a row for each epoch."""
    _write_csv(folder / "losses.csv", ["step", "loss"], enumerate(history.losses, 1))
    rows = [asdict(e) for e in history.epochs]
    names = list(Epoch.__dataclass_fields__)
    _write_csv(folder / "epochs.csv", names, ([_cell(r[n]) for n in names] for r in rows))


def _cell(value: float | None) -> float | str:
    return "" if value is None else value


def _write_csv(path: Path, names: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    write_whole(path, lambda file: file.write(text.getvalue().encode()))


def draw(path: Path, history: History) -> bool:
    """The curves as a picture; False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    count = max(len(history.epochs), 1)
    steps = np.arange(1, len(history.losses) + 1) * (count / max(len(history.losses), 1))
    width = max(1, min(len(history.losses) // 5, 50))
    axis.plot(steps, history.losses, color="0.8", linewidth=0.8, label="each batch")
    if len(history.losses) >= width:
        smooth = np.convolve(history.losses, np.ones(width) / width, mode="valid")
        axis.plot(steps[width - 1 :], smooth, color="tab:blue", label=f"mean of {width}")
    if history.losses and min(history.losses) > 0:
        axis.set_yscale("log")
    numbers = [e.epoch for e in history.epochs]
    tested = [(e.epoch, e.test_loss) for e in history.epochs if e.test_loss is not None]
    if tested:
        axis.plot(*zip(*tested, strict=True), "o-", color="tab:green", markersize=4, label="held out")
    axis.set(xlabel="epoch", ylabel="loss")
    axis.legend(loc="lower left")
    if history.accuracies:
        right = axis.twinx()
        known = [e.accuracy for e in history.epochs if e.accuracy is not None]
        if len(known) == len(numbers):
            right.plot(numbers, known, "--", color="tab:orange", linewidth=0.8)
        right.plot(numbers[-len(history.accuracies) :], history.accuracies, "o-", color="tab:orange", markersize=4)
        right.set_ylabel("accuracy, % (dashed: in training)", color="tab:orange")
    data = io.BytesIO()
    figure.savefig(data, dpi=120, format="png")
    write_whole(path, lambda file: file.write(data.getvalue()))
    return True
