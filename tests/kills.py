"""Kills: `make kill`, or `python -m kills` with `tests` on the path.

A small run with everything that is random in it goes on from its checkpoint, in a process that is killed (SIGKILL) at a
moment drawn by chance, again and again, until it is complete; then another begins. INDEXLANG_KILLS is the number of
kills, INDEXLANG_SEED the seed. After each kill

- the checkpoint can be read, and holds no less than the process had said was saved
- tables are whole, and of what was begun no more is left than one file for the checkpoint and for each table
- the run, when it is complete, is bit for bit the one that nothing disturbs, and nothing that was begun is left

The exit status is 1 where one of these is not so.
"""

from __future__ import annotations

import csv
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from indexlang.edf import (
    Adam,
    Affine,
    AffineParams,
    CosineRate,
    CrossEntropy,
    Dataset,
    Dropout,
    Graph,
    Input,
    Relu,
    Training,
)
from indexlang.edf.learning import checkpoints

COUNT, EPOCHS = 1000, 12
LONGEST = 1.0  # seconds after which a process is killed at the latest


def training(folder: Path | None, seed: int, epochs: int) -> Training:
    """A run of many short epochs."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 80)
    points = (np.eye(3)[labels] * 3 + rng.standard_normal((80, 3))).astype(np.float32)
    data = Dataset("clusters", points[:60], labels[:60], points[60:], labels[60:])
    with Graph(seed=seed):
        x, y = Input("x"), Input("y")
        h = Dropout(Relu(Affine(AffineParams(3, 40, name="first"), x)), rate=0.2)
        scores = Affine(AffineParams(40, 3, name="second"), h)
        loss = CrossEntropy(scores, y)
    how: dict[str, Any] = {"epochs": epochs, "batch": 16, "seed": seed, "folder": folder, "show": False}
    return Training(loss, x, y, data, scores, Adam(0.02), CosineRate(), augment=_noisy, **how)


def _noisy(images: Any, rng: np.random.Generator) -> Any:
    return images + np.float32(0.1) * rng.standard_normal(images.shape, np.float32)


def state(run: Training) -> dict[str, str]:
    """All that a run is, times apart."""
    found = {p.name: p.value.tobytes().hex() for p in run.graph.parameters}
    found |= {f"optimiser {name}": array.tobytes().hex() for name, array in run.optimiser.state.items()}
    found |= {"random": json.dumps(run.graph.rng.bit_generator.state), "steps": str(run.optimiser.steps)}
    progress = run._progress()
    progress["sums"] = progress["sums"][:2]
    rows = [{n: v for n, v in row.items() if "second" not in n} for row in progress["epochs"]]
    return {**found, "progress": json.dumps({**progress, "epochs": rows})}


@dataclass
class Killer:
    """Runs in one folder after the other, and what came of them.

    `run` is compiled: a process that is forked goes on from a checkpoint at once. `whole` is what comes of it.
    """

    folder: Path
    run: Training
    whole: dict[str, str]
    rng: random.Random
    faults: list[str] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    longest: float = LONGEST

    def kill(self, number: int) -> None:
        """One process, killed or complete; another run where it is complete."""
        place = self.folder / f"run{self.counted['runs complete'] + self.counted['runs broken']}"
        if not place.exists():
            place.mkdir()
            (place / "checkpoint.npz").write_bytes((self.folder / "begin.npz").read_bytes())
        before = self._saved(place)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            self._work(place, writer)
        os.close(writer)
        wait = self.rng.uniform(0, self.longest)
        ended = self._waited(reader, wait)
        if not ended:
            os.kill(child, signal.SIGKILL)
        said = self._rest(reader)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code not in (0, -signal.SIGKILL):
            self.faults.append(f"kill {number}: the process ended with {code}")
        self._judge(number, place, max(before, said), complete=code == 0)

    def _work(self, place: Path, writer: int) -> None:
        code = 1
        try:
            run = self.run
            run.folder = place
            save = run.save

            def saved() -> None:
                save()
                os.write(writer, bytes([run._epoch]))

            run.save = saved  # type: ignore[method-assign]
            run.run(resume=True)
            code = 0
        finally:
            os._exit(code)

    def _waited(self, reader: int, wait: float) -> bool:
        """Whether the process ended by itself in this time; what it said is left for later."""
        self.heard = b""
        end = time.monotonic() + wait
        while (left := end - time.monotonic()) > 0:
            if select.select([reader], [], [], left)[0]:
                part = os.read(reader, 1000)
                if not part:
                    return True
                self.heard += part
        return False

    def _rest(self, reader: int) -> int:
        """The last epoch that the process said was saved."""
        while part := os.read(reader, 1000):
            self.heard += part
        os.close(reader)
        return max(self.heard, default=0)

    def _saved(self, place: Path) -> int:
        path = place / "checkpoint.npz"
        return int(checkpoints.load(path).progress["epoch"]) if path.exists() else 0

    def _judge(self, number: int, place: Path, least: int, complete: bool) -> None:
        self.counted["complete" if complete else "killed"] += 1
        try:
            epoch = self._saved(place)
        except Exception as error:
            self.faults.append(f"kill {number}: {error}")
            self.counted["runs broken"] += 1
            return
        self.counted["epochs computed again"] += max(0, least - epoch)
        if epoch < least:
            self.faults.append(f"kill {number}: epoch {least} was saved, {epoch} is there")
        left = list(place.glob(".*.part")) if place.exists() else []
        self.counted["files left"] += len(left)
        if len(left) > 3:
            self.faults.append(f"kill {number}: {len(left)} files are left")
        for name in ("losses.csv", "epochs.csv"):
            if (place / name).exists():
                with open(place / name, newline="") as table:
                    rows = list(csv.reader(table))
                if len({len(row) for row in rows}) != 1:
                    self.faults.append(f"kill {number}: {name} is not whole")
        if complete:
            self._compare(number, place, left)

    def _compare(self, number: int, place: Path, left: list[Path]) -> None:
        self.run.folder = place
        self.run.restore()
        found = state(self.run)
        differ = [name for name in self.whole if self.whole[name] != found.get(name)]
        if differ:
            self.faults.append(f"kill {number}: the run is another one in {', '.join(differ)}")
        if left:
            self.faults.append(f"kill {number}: {left[0].name} is left of a run that is complete")
        with open(place / "epochs.csv", newline="") as table:
            if sum(1 for _ in table) != 1 + self.run.epochs:
                self.faults.append(f"kill {number}: epochs.csv lacks epochs of a run that is complete")
        self.counted["runs complete"] += 1


def killed(
    count: int, seed: int, folder: Path, epochs: int = EPOCHS, longest: float = LONGEST, *, told: bool = False
) -> Killer:
    """So many kills, each within `longest` seconds."""
    run = training(None, seed, epochs)
    checkpoints.save(folder / "begin.npz", run.graph, run.optimiser, run._progress())
    run.run()
    killer = Killer(folder, run, state(run), random.Random(seed), longest=longest)
    while (done := killer.counted["killed"]) < count:
        killer.kill(done)
        if told and done and done % 100 == 0 and killer.counted["killed"] > done:
            print(f"# {done} kills, {len(killer.faults)} faults", flush=True)
    return killer


def main() -> int:
    """Kill, count, and say with the exit status whether all was right."""
    count, seed = int(os.environ.get("INDEXLANG_KILLS") or COUNT), int(os.environ.get("INDEXLANG_SEED") or "0", 16)
    sys.modules["matplotlib"] = None  # type: ignore[assignment]  # a picture takes longer than all the rest
    sys.modules["matplotlib.figure"] = None  # type: ignore[assignment]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = killed(count, seed, Path(folder), told=True)
    told = ", ".join(f"{number:,} {name}" for name, number in found.counted.items())
    print(f"{told}; {len(found.faults)} faults, {time.monotonic() - began:.0f} s")
    for fault in found.faults:
        print(fault)
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
