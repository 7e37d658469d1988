"""Damaged files: `make fuzz-files`, or `python -m damaged_files [KIND:SEED ...]` with `tests` on the path.

INDEXLANG_FUZZ is the number of files, INDEXLANG_SEED the seed of the first. A file of a few kilobytes is written,
damaged, and read; what comes of it is

    refused     a `DataError`, and nothing has changed
    unharmed    the arrays, or the run, that were written
    changed     other numbers, where the format has no checksum, or another text of the same meaning was made on purpose
    silent      other numbers, where they should have been noticed
    crash       another error, more memory than a few times the file, or a change although it was refused

The last two are faults.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import struct
import sys
import tempfile
import time
import traceback
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from damage import Random, another_text, array, damaged, repacked

from indexlang.edf import (
    Adam,
    Affine,
    AffineParams,
    CrossEntropy,
    DataError,
    Dataset,
    Dropout,
    Graph,
    Input,
    Relu,
    Training,
    load_weights,
    read_idx,
    save_weights,
)
from indexlang.edf.learning import checkpoints
from indexlang.files.npy import read_npy, read_npz
from indexlang.files.reading import opened
from indexlang.files.safetensors import read_safetensors, write_safetensors

COUNT = 10_000
MOST_BYTES = 24 << 20  # a file of a few kilobytes asks for less
FAULTS = ("silent", "crash")
KINDS = (
    "npy", "npz", "safetensors", "idx", "idx.gz", "weights", "weights.safetensors", "checkpoint", "checkpoint's text"
)  # fmt: skip

State = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """Files of a kind: the bytes of a good one; what reading it leaves; whether a change of its numbers is noticed."""

    good: bytes
    read: Callable[[Path], State]
    end: str = ""
    notices: bool = False
    untouched: Callable[[], bool] = lambda: True  # whether what was refused has changed nothing; and begin again
    rebuilt: Callable[[bytes, Random], bytes] | None = None  # a file whose checksums are right, of damaged parts


# -- kinds -----------------------------------------------------------------------------------------------

ARRAYS = {
    "first.W": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a": np.array(2.5),
    "labels": np.array([1, -2, 3]),
    "half": np.array([[0.5, -1.0]], np.float16),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 3), np.float32),
}


def packed(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def from_safetensors(path: Path) -> State:
    with opened(path) as (file, size):
        return read_safetensors(path, file, size)


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", 0x0800 | values.ndim, *values.shape) + values.tobytes()


def network(seed: int) -> tuple[Graph, Any, Any, Any, Any]:
    with Graph(seed=seed) as g:
        x, y = Input("x"), Input("y")
        h = Dropout(Relu(Affine(AffineParams(3, 8, name="first"), x)), rate=0.2)
        scores = Affine(AffineParams(8, 3, name="second"), h)
        return g, x, y, scores, CrossEntropy(scores, y)


def training(folder: Path | None) -> Training:
    """A small run with everything that is random in it."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    points = (np.eye(3)[labels] * 3 + rng.standard_normal((60, 3))).astype(np.float32)
    _, x, y, scores, loss = network(5)
    data = Dataset("clusters", points[:40], labels[:40], points[40:], labels[40:])
    return Training(loss, x, y, data, scores, Adam(0.02), epochs=2, batch=16, folder=folder, show=False)


def state(run: Training) -> State:
    return {
        **{p.name: p.value.copy() for p in run.graph.parameters},
        **{f"optimiser {n}": a.copy() for n, a in run.optimiser.state.items()},
        "progress": json.dumps(run._progress()),
        "steps": run.optimiser.steps,
        "random": json.dumps(run.graph.rng.bit_generator.state),
        "order": json.dumps(run._order.bit_generator.state),
    }


def same(a: State, b: State) -> bool:
    """Equal bit for bit, types and shapes included."""
    if a.keys() != b.keys():
        return False
    for name, one in a.items():
        other = b[name]
        if isinstance(one, np.ndarray):
            if (one.dtype, one.shape, one.tobytes()) != (other.dtype, other.shape, other.tobytes()):
                return False
        elif one != other:
            return False
    return True


def kinds(folder: Path) -> dict[str, Kind]:
    """Every kind of file, each with a good one."""
    run = training(None)
    run.epochs = 1
    fresh, first = training(folder), state(training(folder))
    run.run()
    checkpoints.save(folder / "checkpoint.npz", run.graph, run.optimiser, run._progress())
    checkpoint = (folder / "checkpoint.npz").read_bytes()

    def resumed(path: Path) -> State:
        (folder / "checkpoint.npz").write_bytes(path.read_bytes())
        fresh.restore()
        found = state(fresh)
        again()
        return found

    def again() -> bool:
        """Whether the run is as it began; it is from now on."""
        untouched = same(state(fresh), first)
        if not untouched:
            fresh.__dict__.update(training(folder).__dict__)
        return untouched

    g, *kept = network(1)
    other, *more = network(2)
    save_weights(g, folder / "weights.npz")
    save_weights(g, folder / "weights.safetensors")
    before = {p.name: p.value.copy() for p in other.parameters}

    def weighed(path: Path) -> State:
        load_weights(other, path)
        found = {p.name: p.value.copy() for p in other.parameters}
        as_before()
        return found

    def as_before() -> bool:
        untouched = same({p.name: p.value for p in other.parameters}, before)
        for p in other.parameters:
            p.value = before[p.name]
        return untouched

    alive = [*kept, *more]  # nodes are there for as long as somebody holds them
    assert alive
    npz = packed(lambda file: np.savez_compressed(file, **ARRAYS))
    tensors = packed(lambda file: write_safetensors(file, ARRAYS))
    images = idx(np.arange(60, dtype=np.uint8).reshape(5, 4, 3))
    found = Kind(checkpoint, resumed, ".npz", notices=True, untouched=again, rebuilt=repacked)
    return {
        "npy": Kind(array(ARRAYS["first.W"]), lambda path: {"x": read_npy(path)}, ".npy"),
        "npz": Kind(npz, read_npz, ".npz", notices=True, rebuilt=repacked),
        "safetensors": Kind(tensors, from_safetensors, ".safetensors"),
        "idx": Kind(images, lambda path: {"x": read_idx(path)}),
        "idx.gz": Kind(gzip.compress(images), lambda path: {"x": read_idx(path)}, ".gz", notices=True),
        "weights": Kind(
            (folder / "weights.npz").read_bytes(), weighed, ".npz", True, untouched=as_before, rebuilt=repacked
        ),
        "weights.safetensors": Kind(
            (folder / "weights.safetensors").read_bytes(), weighed, ".safetensors", untouched=as_before
        ),
        "checkpoint": found,
        "checkpoint's text": replace(found, rebuilt=another_text),
    }


def expected_of(kind: Kind, path: Path) -> State:
    """What reading the good file gives."""
    path.write_bytes(kind.good)
    found = kind.read(path)
    kind.untouched()
    return found


def attempt(kind: Kind, expected: State, seed: str, path: Path) -> tuple[str, str]:
    """What comes of one damaged file, and of which error."""
    rng = random.Random(seed)
    on_purpose = kind.rebuilt is not None and rng.random() < 0.5
    bad = kind.rebuilt(kind.good, rng) if on_purpose and kind.rebuilt is not None else damaged(kind.good, rng)
    path.write_bytes(bad)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        found = kind.read(path)
    except DataError as error:
        if tracemalloc.get_traced_memory()[1] - before > MOST_BYTES:
            return "crash", "too much memory"
        return ("refused", error.code) if kind.untouched() else ("crash", f"changed, though refused: {error}")
    except BaseException:
        return "crash", traceback.format_exc(limit=-3)
    if tracemalloc.get_traced_memory()[1] - before > MOST_BYTES:
        return "crash", "too much memory"
    if same(found, expected):
        return "unharmed", ""
    numbers = [a for a in found.values() if isinstance(a, np.ndarray)]
    if not all(a.dtype.kind in "biufc" for a in numbers):
        return "crash", "no numbers"
    known = set(found) <= set(expected) and all(same({n: found[n]}, {n: expected[n]}) for n in found)
    if kind.notices and not on_purpose and not known and set(found) == set(expected):
        return "silent", ""
    return "changed", ""


def main(arguments: list[str]) -> int:
    """Try, count, and say with the exit status whether all was right."""
    count = int(os.environ.get("INDEXLANG_FUZZ") or COUNT)
    seed = os.environ.get("INDEXLANG_SEED") or "0"
    counted: Counter[tuple[str, str]] = Counter()
    codes: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        known = kinds(Path(folder))
        expected = {name: expected_of(kind, Path(folder) / f"file{kind.end}") for name, kind in known.items()}
        tracemalloc.start()
        began = time.monotonic()
        names = arguments or [f"{KINDS[k % len(KINDS)]}:{seed}-{k}" for k in range(count)]
        for done, name in enumerate(names):
            if done and done % 1000 == 0:
                print(f"# {done:,} files, {time.monotonic() - began:.0f} s", flush=True)
            kind, good = known[name.partition(":")[0]], expected[name.partition(":")[0]]
            start = time.monotonic()
            outcome, why = attempt(kind, good, name, Path(folder) / f"file{kind.end}")
            slowest = max(slowest, time.monotonic() - start)
            counted[name.partition(":")[0], outcome] += 1
            if outcome == "refused":
                codes[why] += 1
            if outcome in FAULTS:
                print(f"# {outcome}: {name!r}\n{why}", flush=True)
    outcomes = ("refused", "unharmed", "changed", *FAULTS)
    print(f"\n{len(names):,} files of seed {seed}, {time.monotonic() - began:.0f} s, the slowest {slowest:.2f} s\n")
    print(f"{'':22}" + "".join(f"{o:>10}" for o in outcomes))
    for kind_name in KINDS:
        print(f"{kind_name:22}" + "".join(f"{counted[kind_name, o]:10,}" for o in outcomes))
    print("\nrefused as: " + ", ".join(f"{code} {number:,}" for code, number in codes.most_common()))
    return 1 if any(number for (_, o), number in counted.items() if o in FAULTS) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
