"""How far a run is, as a checkpoint keeps it.

In: the progress that a checkpoint holds. Out: `Progress`. The one rule: what is not just as a training saves it is
refused, whole, before anything is changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..problems import DataError, data_error
from .checkpoints import generator
from .curves import Epoch, History

_MOST = 1 << 53  # of what is counted


@dataclass(frozen=True)
class Progress:
    """Epochs and, of the one that is not complete, images that are done; what is random; what came of it so far."""

    epoch: int
    done: int
    batch: int
    examples: int
    order: Any  # state of the order's generator, when the epoch began
    noise: Any  # state of the augmentation's generator
    sums: tuple[float, float, float]  # of the epoch so far: losses, right answers, seconds
    history: History
    drop_last: bool | None  # whether a smaller last batch is left out; None where an older checkpoint doesn't say

    def saved(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "epoch": self.epoch,
            "done": self.done,
            "batch": self.batch,
            "examples": self.examples,
            "drop_last": self.drop_last,
            "order": self.order,
            "noise": self.noise,
            "sums": list(self.sums),
            "losses": self.history.losses,
            "epochs": [asdict(e) for e in self.history.epochs],
        }


def progress_of(saved: Mapping[str, Any], path: Path) -> Progress:
    """What was saved. Errors: `DataError` if no training saved it."""
    counts = [saved.get(name) for name in ("epoch", "done", "batch", "examples")]
    if not all(type(n) is int and 0 <= n < _MOST for n in counts):
        raise _damaged(path, "epoch, done, batch and examples are not whole numbers from 0 on")
    epoch, done, batch, examples = (int(n) for n in counts if n is not None)
    if not 1 <= batch <= examples or done >= examples or done % batch:
        raise _damaged(path, f"{done} of {examples} images are done in batches of {batch}")
    drop_last: Any = saved.get("drop_last")
    if drop_last is not None and not isinstance(drop_last, bool):
        raise _damaged(path, "drop_last is neither true nor false")
    sums: Any = saved.get("sums")
    losses: Any = saved.get("losses")
    rows: Any = saved.get("epochs")
    if not _are_numbers(sums, 3):
        raise _damaged(path, "its sums are not three numbers")
    if not _are_numbers(losses):
        raise _damaged(path, "its losses are no numbers")
    if not isinstance(rows, list) or len(rows) != epoch:
        raise _damaged(path, f"it has not a row for each of {epoch} epochs")
    history = History([float(v) for v in losses], [_row(row, k, path) for k, row in enumerate(rows, 1)])
    for name in ("order", "noise"):
        generator(path, np.random.PCG64(0), saved.get(name))
    first, second, third = (float(v) for v in sums)
    state = saved["order"], saved["noise"], (first, second, third)
    return Progress(epoch, done, batch, examples, *state, history, drop_last)


def check_batches(found: Progress, batch: int, examples: int, drop_last: bool, path: Path) -> None:
    """In the middle of an epoch, the batches must be the same. Errors: `DataError`."""
    for name, there, here in (
        ("batch", found.batch, batch),
        ("examples", found.examples, examples),
        ("drop_last", found.drop_last, drop_last),
    ):
        if found.done and there not in (here, None):
            rule = f"{path} was saved in the middle of an epoch with other batches"
            way = f"go on with {name}={there}" if name != "examples" else "go on with the same data"
            raise data_error("other-batches", rule, f"{name}: {there} there, {here} here", way_out=way)


def _row(row: Any, number: int, path: Path) -> Epoch:
    """The row of an epoch."""
    names = list(Epoch.__dataclass_fields__)
    if not isinstance(row, dict) or sorted(row) != sorted(names) or row["epoch"] != number:
        raise _damaged(path, f"the row of epoch {number} is none")
    for name in names:
        missing = row[name] is None and name in ("accuracy", "test_loss", "test_accuracy")
        if not missing and not _is_number(row[name]):
            raise _damaged(path, f"the row of epoch {number} is none: {name} is no number")
    return Epoch(**row)


def _are_numbers(values: Any, count: int | None = None) -> bool:
    if not isinstance(values, list) or (count is not None and len(values) != count):
        return False
    return all(_is_number(v) and math.isfinite(v) for v in values)


def _is_number(value: Any) -> bool:
    """Whether it is a number that a float can be, nan and inf among them."""
    return type(value) is float or (type(value) is int and abs(value) < _MOST)


def _damaged(path: Path, reason: str) -> DataError:
    return data_error("damaged", f"{path} is damaged: it holds no progress of a training", reason)
