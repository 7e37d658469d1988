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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import Problem, warn_of
from ..graphs import asked, execution, sizes
from ..graphs.computed import CompNode
from ..graphs.graph import Graph
from ..graphs.nodes import Input, Mask, Node
from ..problems import data_error, graph_error
from ..settings import ABOVE_0, CHOICE, COUNT, SIZE, setting
from . import checkpoints, curves, parts
from .clipping import clip_norm, clip_value
from .curves import Epoch, History
from .data import Dataset
from .optimisers import GradientDescent, Optimiser
from .progress import bar
from .resuming import Progress, check_batches, progress_of
from .schedules import ConstantRate, Schedule

Array = NDArray[Any]
Augment = Callable[[Array, np.random.Generator], Array]


@dataclass(eq=False)
class Training:
    """A run: mini-batches of `data` in a new order for each of `epochs`, `batch` examples each, down the `loss`.

    `images` and `labels` are the inputs that the data go to, `scores` is the node whose greatest element is the answer.
    `optimiser` moves the parameters, its rate times `schedule`; `clip_value` and `clip_norm` cut gradients first.
    `augment` changes the images of a batch, by the generator that it is given; `seed` decides all that is random.
    Where `batch` does not divide the examples, the last batch of an epoch is smaller; with `drop_last` it is left out.
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
    drop_last: bool = False
    clip_norm: float | None = None
    clip_value: float | None = None
    augment: Augment | None = None
    seed: int = 0
    folder: str | os.PathLike[str] | None = None
    evaluation_batch: int = 500
    show: bool = True

    def __post_init__(self) -> None:
        self.graph = Graph.of(self.loss)
        self._check_settings()
        self.history = History()
        self.stopped = False
        self._order = np.random.default_rng([self.seed, 1])
        self._noise = np.random.default_rng([self.seed, 2])
        self.batch = min(self.batch, len(self.data.labels))
        self._epoch, self._done = 0, 0  # epochs that are done, and images of the one that is not
        self._begun: Any = self._order.bit_generator.state  # of the order, when the epoch began
        self._sums = [0.0, 0.0, 0.0]  # of the epoch so far: losses, right answers, seconds
        self._seen = False  # whether the checkpoint in the folder is this run's
        self._check_inputs()
        self._check_labels()

    def _check_settings(self) -> None:
        """Whether settings can be meant. Errors: `GraphError`."""
        for name, kind in (
            ("epochs", COUNT),
            ("batch", SIZE),
            ("seed", COUNT),
            ("evaluation_batch", SIZE),
            ("drop_last", CHOICE),
        ):
            setattr(self, name, setting("Training", name, getattr(self, name), kind))
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                setattr(self, name, setting("Training", name, getattr(self, name), ABOVE_0))
        parts.check({name: getattr(self, name) for name in parts.WORDS})

    def _check_inputs(self) -> None:
        """Whether the loss is computed from the images, and is a loss. Errors: `GraphError`."""
        wanted = (self.loss,) if self.scores is None else (self.loss, self.scores)
        graph = self.graph.assembled(*wanted)
        needed = graph.inputs
        asked.by_input(self.graph, {self.images: None, self.labels: None}, needed)
        self._fed = tuple(n for n in (self.images, self.labels) if n in needed)  # an autoencoder reads no labels
        if self.images not in self._fed:
            rule = f"{self.loss.name} is not computed from {self.images.name}, which the images go to"
            known = f"it is computed from: {', '.join(n.name for n in needed) or 'no input'}"
            way = f"name the input that it takes images from, or run again the cells that make {self.loss.name}"
            raise graph_error("unused-input", rule, known, way_out=way)
        set_by_user = [n for n in needed if n.is_set and not isinstance(n, Mask)]
        others: dict[Node, Sequence[int]] = {n: n.value.shape for n in set_by_user}
        others |= {n: a[: self.batch].shape for n, a in self._batch(self.data.images, self.data.labels).items()}
        unset = any(n not in others and not isinstance(n, Mask) for n in needed)
        if not unset and self.augment is None:  # else what there will be is seen at the first step
            execution.check_loss(self.loss, sizes.infer(graph, others).nodes[self.loss])

    def _batch(self, images: Array, labels: Array) -> dict[Input, Array]:
        """What a batch gives to the inputs that are read."""
        both = {self.images: images, self.labels: labels}
        return {n: both[n] for n in self._fed}

    def _check_labels(self) -> None:
        """Labels must be classes that the scores have."""
        if self.scores is None or not isinstance(self.loss, CompNode) or self.loss.labels is None:
            return
        shapes = self.graph.shapes({self.images: self.data.images[:1].shape, self.labels: self.data.labels[:1].shape})
        classes = shapes[self.scores][-1]
        for kind, given in (("training", self.data.labels), ("test", self.data.test_labels)):
            if given.size and given.dtype.kind not in "iub":
                rule = f"labels are whole numbers, and the {kind} labels have {given.dtype}"
                raise data_error("labels", rule, way_out="give them as such: labels.astype(int)")
            wrong = np.flatnonzero((given < 0) | (given >= classes))
            if len(wrong):
                rule = f"a {kind} label is outside of the classes: number {wrong[0]} is {given[wrong[0]]}"
                way = "count classes from 0, or compute as many scores as there are classes"
                known = f"{self.scores.name} has {classes} classes: 0 to {classes - 1}"
                raise data_error("labels", rule, known, way_out=way)

    # -- the run ---------------------------------------------------------------------------------

    @property
    def path(self) -> Path | None:
        """Where the checkpoint is."""
        return None if self.folder is None else Path(self.folder) / "checkpoint.npz"

    def run(self, resume: bool = False) -> History:
        """All epochs that are left; with `resume` those that the folder's checkpoint leaves. Ctrl-C ends the step that
        runs, saves, and sets `stopped`; a second one interrupts.

        Without `resume`, a checkpoint that is there is replaced, with a warning; with it, a warning tells of what the
        optimiser's settings were then, if they differ. Errors: `GraphError` if the loss is no number, which names the
        node; `DataError` for files.
        """
        if not resume:
            self._warn_of_replacing()
        elif self._restore(3) and self._epoch >= self.epochs:
            self._show_history()  # of a run that ended between its last checkpoint and these files
        self.stopped = False
        with _interruptible() as asked:
            while self._epoch < self.epochs and not self.stopped:
                self._one_epoch(asked)
        return self.history

    def _warn_of_replacing(self) -> None:
        """Tell of a checkpoint in the folder that this run neither wrote nor goes on from, once."""
        if self._seen or self.path is None or self._epoch >= self.epochs or not self.path.exists():
            return
        self._seen = True
        rule = f"{self.path} is the checkpoint of another run, and will be replaced"
        way = "run(resume=True) goes on from it; or take another folder"
        warn_of([Problem("replaced-checkpoint", rule, None, (), way)], 3)

    def _one_epoch(self, asked: threading.Event) -> None:
        count = len(self.data.labels)
        if self.drop_last:
            count -= count % self.batch
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
                chosen = order[self._done : min(self._done + self.batch, count)]
                self._step(chosen, factor)
                self._done += len(chosen)
                self._sums[2] += time.perf_counter() - start
                progress.advance(len(chosen), self._so_far())
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
        losses = self.graph.step(self.loss, self._batch(images, labels), also)
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
        given = self._batch(self.data.test_images, self.data.test_labels)
        batch = min(self.evaluation_batch, len(self.data.test_labels))
        losses, right = 0.0, 0.0
        for start in range(0, len(self.data.test_labels), batch):
            part = {n: a[start : start + batch] for n, a in given.items()}
            if self.scores is None:
                found = self.graph.evaluate(self.loss, given=part)
            else:
                found, scores = self.graph.evaluate(self.loss, self.scores, given=part)
                right += float(np.sum(_answers(scores) == self.data.test_labels[start : start + batch]))
            losses += float(np.mean(found, dtype=np.float64)) * len(part[self.images])
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
        self._seen = True
        self._show_history()

    def _show_history(self) -> None:
        if self.path is not None:
            curves.write_tables(self.path.parent, self.history)
            curves.draw(self.path.parent / "curves.png", self.history)

    def _progress(self) -> dict[str, Any]:
        first, second, third = self._sums
        noise = self._noise.bit_generator.state
        counts = (self._epoch, self._done, self.batch, len(self.data.labels))
        sums = (first, second, third)
        return Progress(*counts, self._begun, noise, sums, self.history, bool(self.drop_last)).saved()

    def restore(self) -> bool:
        """Go on from the folder's checkpoint; False if there is none yet. Settings of the optimiser that differ from
        the checkpoint's stay, with a warning. Errors: `DataError` if it does not fit.
        """
        return self._restore(3)

    def _restore(self, depth: int) -> bool:
        if self.path is None or not self.path.exists():
            return False
        saved = checkpoints.load(self.path)
        found = progress_of(saved.progress, self.path)
        check_batches(found, self.batch, len(self.data.labels), bool(self.drop_last), self.path)
        checkpoints.restore(saved, self.path, self.graph, self.optimiser)
        self.history, self._sums, self._done, self._epoch = found.history, [*found.sums], found.done, found.epoch
        self._begun = found.order
        self._order.bit_generator.state = found.order
        self._noise.bit_generator.state = found.noise
        self._seen = True
        warn_of(checkpoints.other_settings(saved, self.path, self.optimiser), depth)
        return True


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
    """Ctrl-C sets an event instead of raising, once. It is left as it is outside of the main thread, where the process
    ignores it, as in the background of a shell, and where others than Python handle it.
    """
    asked = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or before is None or before is signal.SIG_IGN:
        yield asked
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    try:
        signal.signal(signal.SIGINT, handle)
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
