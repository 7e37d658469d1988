"""Checkpoints: all that a run needs to go on exactly.

In: parameters, an optimiser, random generators, how far the run is. Out: one file, and the other way round. The one
rule: a file is written whole or not at all, and nothing is changed by one that does not fit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graphs.graph import Graph
from ..problems import data_error
from .files import write_whole
from .optimisers import Optimiser, check_state
from .weights import check, read_npz, write_npz

Array = NDArray[Any]

_VERSION = 1
_PARAMETER, _STATE, _META = "parameters/", "optimiser/", "run.json"


@dataclass(frozen=True)
class Checkpoint:
    """A saved run: arrays, and `progress`, which is whatever JSON the trainer wants back."""

    parameters: Mapping[str, Array]
    optimiser: str
    steps: int
    state: Mapping[str, Array]
    random: Mapping[str, Any]  # the graph's generator
    progress: Mapping[str, Any]


def save(path: str | os.PathLike[str], graph: Graph, optimiser: Optimiser, progress: Mapping[str, Any]) -> None:
    """Write a checkpoint. Errors: `DataError` if it cannot be written; the last one then stays."""
    meta = {
        "version": _VERSION,
        "optimiser": type(optimiser).__name__,
        "steps": optimiser.steps,
        "random": graph.rng.bit_generator.state,
        "progress": dict(progress),
    }
    arrays = {_PARAMETER + p.name: p.value for p in graph.parameters}
    arrays |= {_STATE + name: array for name, array in optimiser.state.items()}
    arrays[_META] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    write_whole(path, lambda file: write_npz(file, arrays))


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint. Errors: `DataError` if it is missing, damaged, or no checkpoint."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            arrays = read_npz(path, file)
    except OSError as error:
        raise data_error("missing-file", f"cannot read {path}: {error.strerror or error}") from None
    try:
        meta = json.loads(arrays.pop(_META).tobytes())
        if meta["version"] != _VERSION:
            raise data_error("other-format", f"{path} is a checkpoint of another version: {meta['version']}")
        return Checkpoint(
            {n.removeprefix(_PARAMETER): a for n, a in arrays.items() if n.startswith(_PARAMETER)},
            meta["optimiser"],
            int(meta["steps"]),
            {n.removeprefix(_STATE): a for n, a in arrays.items() if n.startswith(_STATE)},
            meta["random"],
            meta["progress"],
        )
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError):
        raise data_error("other-format", f"{path} is no checkpoint") from None


def restore(checkpoint: Checkpoint, path: str | os.PathLike[str], graph: Graph, optimiser: Optimiser) -> None:
    """Go on from a checkpoint. Errors: `DataError` if it belongs to something else; nothing is changed then."""
    parameters = {p.name: p for p in graph.parameters}
    check(parameters, {n: a.shape for n, a in checkpoint.parameters.items()}, str(path))
    if checkpoint.optimiser != type(optimiser).__name__:
        values = (f"saved: {checkpoint.optimiser}", f"here: {type(optimiser).__name__}")
        raise data_error("other-network", f"{path} belongs to another optimiser", *values)
    check_state(optimiser, {n: p.shape for n, p in parameters.items()}, checkpoint.state)
    for name, parameter in parameters.items():
        parameter.value = checkpoint.parameters[name]
    optimiser.restore(checkpoint.steps, checkpoint.state)
    graph.rng.bit_generator.state = checkpoint.random
