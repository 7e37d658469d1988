"""Training: mini-batches in a new order for each epoch, evaluation, curves, checkpoints.

In: a loss, data, an optimiser. Out: changed parameters, a history, files in a folder. The one rule: a run that was
stopped, at whatever moment, goes on from its last checkpoint exactly as if it had not been stopped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graphs.computed import CompNode
from ..graphs.graph import Graph
from ..graphs.nodes import Input, Node
from ..problems import data_error, graph_error
from . import checkpoints, curves
from .curves import Epoch, History
from .data import Dataset
from .optimisers import GradientDescent, Optimiser, clip_norm, clip_value
from .progress import bar
from .schedules import ConstantRate, Schedule

Array = NDArray[Any]
Augment = Callable[[Array, np.random.Generator], Array]


@dataclass
class Training:
    """A run: mini-batches of `data` in a new order for each of `epochs`, `batch` examples each, down the `loss`.

    `images` and `labels` are the inputs that the data go to, `scores` is the node whose greatest element is the answer.
    `optimiser` moves the parameters, its rate times `schedule`; `clip_value` and `clip_norm` cut gradients first.
    `augment` changes the images of a batch, by the generator that it is given; `seed` decides all that is random.
    With a `folder`, each epoch ends with a checkpoint there, from which `run(resume=True)` goes on, and curves.
    `evaluation_batch` examples are tested at a time; `show` prints how far it is. `history` is what came of it.
    Errors: `GraphError` for settings, `DataError` for labels that are no class.
    """

    loss: Node
    images: Input
    labels: Input
    data: Dataset
    scores: Node | None = None
    optimiser: Optimiser = field(default_factory=lambda: GradientDescent(0.1))
    schedule: Schedule = field(default_factory=ConstantRate)
    epochs: int = 10
    batch: int = 50
    clip_norm: float | None = None
    clip_value: float | None = None
    augment: Augment | None = None
    seed: int = 0
    folder: str | os.PathLike[str] | None = None
    evaluation_batch: int = 500
    show: bool = True

    def __post_init__(self) -> None:
        self.graph = Graph.of(self.loss)
        self.history = History()
        self.stopped = False
        self._order = np.random.default_rng([self.seed, 1])
        self._noise = np.random.default_rng([self.seed, 2])
        if self.batch < 1 or self.epochs < 0:
            raise graph_error("setting", "a batch has 1 image or more, and there are 0 epochs or more")
        self.batch = min(self.batch, len(self.data.labels))
        self._epoch, self._done = 0, 0  # epochs that are done, and images of the one that is not
        self._begun: Any = self._order.bit_generator.state  # of the order, when the epoch began
        self._sums = [0.0, 0.0, 0.0]  # of the epoch so far: losses, right answers, seconds
        self._check_labels()

    def _check_labels(self) -> None:
        """Labels must be classes that the scores have."""
        if self.scores is None or not isinstance(self.loss, CompNode) or self.loss.labels is None:
            return
        shapes = self.graph.shapes({self.images: self.data.images[:1].shape, self.labels: self.data.labels[:1].shape})
        classes = shapes[self.scores][-1]
        for kind, given in (("training", self.data.labels), ("test", self.data.test_labels)):
            wrong = np.flatnonzero((given < 0) | (given >= classes))
            if len(wrong):
                rule = f"a {kind} label is outside of the classes: number {wrong[0]} is {given[wrong[0]]}"
                raise data_error("labels", rule, f"{self.scores.name} has {classes} classes: 0 to {classes - 1}")

    # -- the run ---------------------------------------------------------------------------------

    @property
    def path(self) -> Path | None:
        """Where the checkpoint is."""
        return None if self.folder is None else Path(self.folder) / "checkpoint.npz"

    def run(self, resume: bool = False) -> History:
        """All epochs that are left; with `resume` those that the folder's checkpoint leaves. Ctrl-C ends the step that
        runs, saves, and sets `stopped`; a second one interrupts.

        Errors: `GraphError` if the loss is no number, which names the node; `DataError` for files.
        """
        if resume:
            self.restore()
        self.stopped = False
        with _interruptible() as asked:
            while self._epoch < self.epochs and not self.stopped:
                self._one_epoch(asked)
        return self.history

    def _one_epoch(self, asked: threading.Event) -> None:
        count = len(self.data.labels) // self.batch * self.batch
        if self._done == 0:
            self._begun = self._order.bit_generator.state
            self._sums = [0.0, 0.0, 0.0]
        self._order.bit_generator.state = self._begun
        order = self._order.permutation(len(self.data.labels))
        rate = 0.0
        with bar(f"epoch {self._epoch + 1}/{self.epochs}", count - self._done, show=self.show) as progress:
            while self._done < count:
                start = time.perf_counter()
                factor = self.schedule(self._epoch + self._done / count, self.epochs)
                rate = factor * self.optimiser.rate
                self._step(order[self._done : self._done + self.batch], factor)
                self._done += self.batch
                self._sums[2] += time.perf_counter() - start
                progress.advance(self.batch, self._so_far())
                if asked.is_set() and self._done < count:
                    self.stopped = True
                    self.save()
                    progress.finish("stopped" + (", saved" if self.folder is not None else ""))
                    return
            test_loss, test_accuracy = self.evaluate()
            loss, right, seconds = self._sums
            accuracy = None if self.scores is None else 100 * right / count
            row = Epoch(
                self._epoch + 1, loss / count, accuracy, test_loss, test_accuracy, rate, seconds, count / seconds
            )
            self.history.epochs.append(row)
            self._epoch, self._done = self._epoch + 1, 0
            self._begun = self._order.bit_generator.state
            self._check_parameters()
            self.save()
            progress.finish(_summary(row))
        self.stopped = asked.is_set()

    def _step(self, chosen: Array, factor: float) -> None:
        images, labels = self.data.images[chosen], self.data.labels[chosen]
        if self.augment is not None:
            images = self.augment(images, self._noise)
        also = () if self.scores is None else (self.scores,)
        losses = self.graph.step(self.loss, {self.images: images, self.labels: labels}, also)
        if not np.isfinite(losses).all():
            raise self.graph.not_finite(self.loss)
        if self.clip_value is not None:
            clip_value(self.graph.parameters, self.clip_value)
        if self.clip_norm is not None:
            clip_norm(self.graph.parameters, self.clip_norm)
        self.optimiser.step(self.graph.parameters, factor)
        mean = float(np.mean(losses, dtype=np.float64))
        self.history.losses.append(mean)
        self._sums[0] += mean * len(chosen)
        if self.scores is not None:
            self._sums[1] += float(np.sum(_answers(self.scores.value) == labels))

    def _check_parameters(self) -> None:
        """A checkpoint must not hold what is no number."""
        for parameter in self.graph.parameters:
            if not np.isfinite(parameter.value).all():
                rule = f"the parameter {parameter.name} has become nan or inf"
                raise graph_error("not-finite", rule, way_out="use a smaller rate, or clip the gradients")

    def evaluate(self) -> tuple[float | None, float | None]:
        """The average loss and the accuracy, in percent, on what was held out."""
        if len(self.data.test_labels) == 0:
            return None, None
        given = {self.images: self.data.test_images, self.labels: self.data.test_labels}
        batch = min(self.evaluation_batch, len(self.data.test_labels))
        losses, right = 0.0, 0.0
        for start in range(0, len(self.data.test_labels), batch):
            part = {n: a[start : start + batch] for n, a in given.items()}
            if self.scores is None:
                found = self.graph.evaluate(self.loss, given=part)
            else:
                found, scores = self.graph.evaluate(self.loss, self.scores, given=part)
                right += float(np.sum(_answers(scores) == part[self.labels]))
            losses += float(np.mean(found, dtype=np.float64)) * len(part[self.labels])
        total = len(self.data.test_labels)
        return losses / total, None if self.scores is None else 100 * right / total

    def _so_far(self) -> str:
        loss, right, _ = (s / self._done for s in self._sums)
        return f"loss {loss:.4f}" + ("" if self.scores is None else f", {100 * right:.2f} %")

    # -- files -----------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the checkpoint, the tables and the picture. Errors: `DataError`; the last checkpoint then stays."""
        if self.path is None:
            return
        checkpoints.save(self.path, self.graph, self.optimiser, self._progress())
        curves.write_tables(self.path.parent, self.history)
        curves.draw(self.path.parent / "curves.png", self.history)

    def _progress(self) -> dict[str, Any]:
        return {
            "epoch": self._epoch,
            "done": self._done,
            "batch": self.batch,
            "examples": len(self.data.labels),
            "order": self._begun,
            "noise": self._noise.bit_generator.state,
            "sums": self._sums,
            "losses": self.history.losses,
            "epochs": [asdict(e) for e in self.history.epochs],
        }

    def restore(self) -> bool:
        """Go on from the folder's checkpoint; False if there is none yet. Errors: `DataError` if it does not fit."""
        if self.path is None or not self.path.exists():
            return False
        found = checkpoints.load(self.path)
        progress = found.progress
        try:
            self._check_progress(progress)
            history = History(list(progress["losses"]), [Epoch(**row) for row in progress["epochs"]])
            sums, done, epoch = list(progress["sums"]), int(progress["done"]), int(progress["epoch"])
            begun, noise = progress["order"], progress["noise"]
        except (KeyError, TypeError):
            raise data_error("other-format", f"{self.path} is no checkpoint of a training") from None
        checkpoints.restore(found, self.path, self.graph, self.optimiser)
        self.history, self._sums, self._done, self._epoch = history, sums, done, epoch
        self._begun = begun
        self._order.bit_generator.state = begun
        self._noise.bit_generator.state = noise
        return True

    def _check_progress(self, progress: Mapping[str, Any]) -> None:
        """In the middle of an epoch, the batches must be the same."""
        for name, here in (("batch", self.batch), ("examples", len(self.data.labels))):
            if progress["done"] and progress[name] != here:
                rule = f"{self.path} was saved in the middle of an epoch with other batches"
                raise data_error("other-batches", rule, f"{name}: {progress[name]} there, {here} here")


def _answers(scores: Array) -> Array:
    found: Array = scores.argmax(axis=-1)
    return found


def _summary(row: Epoch) -> str:
    parts = [f"loss {row.loss:.4f}"]
    if row.accuracy is not None:
        parts.append(f"{row.accuracy:.2f} %")
    if row.test_accuracy is not None:
        parts.append(f"held out {row.test_accuracy:.2f} %")
    elif row.test_loss is not None:
        parts.append(f"held out {row.test_loss:.4f}")
    return ", ".join(parts)


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C sets an event instead of raising, once; outside of the main thread it is left as it is."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    try:
        signal.signal(signal.SIGINT, handle)
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
