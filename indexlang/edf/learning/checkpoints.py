"""Checkpoints: all that a run needs to go on exactly.

In: parameters, an optimiser, random generators, how far the run is. Out: one file, and the other way round. The one
rule: a file is written whole or not at all, and nothing is changed by one that does not fit.

A checkpoint is an archive of arrays: the parameters, what the optimiser remembers, and a text of JSON with the rest,
among it a checksum of each array. Version 1, without checksums, is read, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import Problem
from ...files.npy import read_npz, write_npz
from ...files.reading import json_of
from ..graphs.graph import Graph
from ..problems import DataError, data_error
from .files import write_whole
from .optimisers import Optimiser, check_state
from .weights import check, fitting

Array = NDArray[Any]
Settings = Mapping[str, Mapping[str, Any]]  # "": the common ones; by parameter: those of its group

_VERSION = 2
_PARAMETER, _STATE, _META = "parameters/", "optimiser/", "run.json"
_MOST_STEPS = 1 << 53


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A saved run: arrays, and `progress`, which is whatever JSON the trainer wants back."""

    parameters: Mapping[str, Array]
    optimiser: str
    steps: int
    state: Mapping[str, Array]
    random: Mapping[str, Any]  # the graph's generator
    progress: Mapping[str, Any]
    settings: Settings | None  # of the optimiser; None where an older checkpoint doesn't say


def save(path: str | os.PathLike[str], graph: Graph, optimiser: Optimiser, progress: Mapping[str, Any]) -> None:
    """Write a checkpoint. Errors: `DataError` if it cannot be written; the last one then stays."""
    arrays = {_PARAMETER + p.name: p.value for p in graph.parameters}
    arrays |= {_STATE + name: array for name, array in optimiser.state.items()}
    meta = {
        "version": _VERSION,
        "optimiser": type(optimiser).__name__,
        "steps": optimiser.steps,
        "settings": settings_of(optimiser),
        "random": graph.rng.bit_generator.state,
        "progress": dict(progress),
        "sums": {name: checksum(array) for name, array in arrays.items()},
    }
    try:
        text = json.dumps(meta, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        rule, way = f"cannot write {path}: its progress is no JSON: {error}", "keep numbers, texts and lists of them"
        raise data_error("unwritable", rule, way_out=way) from None
    arrays[_META] = np.frombuffer(text.encode(), np.uint8)
    write_whole(path, lambda file: write_npz(file, arrays))


def _plain(value: object) -> object:
    """Numbers of NumPy, as some generators have them in their states, for JSON."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"it holds {type(value).__name__}")


def checksum(array: Array) -> str:
    """SHA-256 of an array: its type, its shape and its elements in the order of C, little end first."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    found = sha256(f"{plain.dtype.str} {array.shape} ".encode())
    if plain.size:
        found.update(plain.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint. Errors: `DataError` if it is missing, damaged, of a later version, or no checkpoint."""
    path = Path(path)
    arrays = read_npz(path)
    text = arrays.pop(_META, None)
    if text is None or text.dtype != np.uint8:
        raise data_error("other-format", f"{path} is no checkpoint")
    meta = json_of(f"{path} is damaged: its text", text.tobytes())
    match meta:
        case {"version": int(version)} if type(version) is int:
            if version not in (1, _VERSION):
                way = "read it by the version of indexlang that wrote it"
                rule = f"{path} is a checkpoint of another version: {version}"
                raise data_error("other-format", rule, f"read here: 1 to {_VERSION}", way_out=way)
        case _:
            raise data_error("other-format", f"{path} is no checkpoint")
    match meta:
        case {
            "optimiser": str(optimiser),
            "steps": int(steps),
            "random": dict(random),
            "progress": dict(progress),
        } if type(steps) is int and 0 <= steps <= _MOST_STEPS:
            pass
        case _:
            raise data_error("damaged", f"{path} is damaged: what it says of the run is not as it should be")
    if version > 1:
        _check_sums(path, arrays, meta.get("sums"))
    parameters = {n.removeprefix(_PARAMETER): a for n, a in arrays.items() if n.startswith(_PARAMETER)}
    state = {n.removeprefix(_STATE): a for n, a in arrays.items() if n.startswith(_STATE)}
    if len(parameters) + len(state) != len(arrays):
        raise data_error("damaged", f"{path} is damaged: it holds arrays that belong to no checkpoint")
    return Checkpoint(parameters, optimiser, steps, state, random, progress, _settings(path, meta.get("settings")))


def _settings(path: Path, saved: Any) -> Settings | None:
    """What was saved of an optimiser's settings."""
    if saved is not None and (not isinstance(saved, dict) or not all(isinstance(v, dict) for v in saved.values())):
        raise data_error("damaged", f"{path} is damaged: what it holds are no settings of an optimiser")
    return saved


def settings_of(optimiser: Optimiser) -> dict[str, dict[str, Any]]:
    """An optimiser's settings as far as they are numbers or words, and those of its groups by parameter."""
    names = [f.name for f in fields(optimiser) if f.name not in ("groups", "steps", "state")]
    found = {"": {name: getattr(optimiser, name) for name in names}}
    found |= {p.name: dict(group.settings) for group in optimiser.groups for p in group.parameters}
    plain = (bool, int, float, str)
    return {of: {n: v for n, v in given.items() if isinstance(v, plain)} for of, given in found.items()}


def other_settings(checkpoint: Checkpoint, path: str | os.PathLike[str], optimiser: Optimiser) -> Iterator[Problem]:
    """The warning that a run goes on with other settings of the optimiser than it was saved with, if it does."""
    if checkpoint.settings is None:
        return
    there, here = checkpoint.settings, settings_of(optimiser)
    told = [
        f"{name}{f' of {of}' if of else ''}: {old.get(name, 'none')} there, {new.get(name, 'none')} here"
        for of in dict.fromkeys((*there, *here))
        for old, new in [(there.get(of, {}), here.get(of, {}))]
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    ]
    if told:
        rule = f"{path} was saved with other settings of {type(optimiser).__name__}; those here are used"
        yield Problem("other-settings", rule, None, tuple(told), "give those of the checkpoint to go on as before")


def _check_sums(path: Path, arrays: Mapping[str, Array], sums: Any) -> None:
    """Whether each array is there, and as it was saved."""
    if not isinstance(sums, dict) or sums.keys() != arrays.keys():
        raise data_error("damaged", f"{path} is damaged: it does not hold just the arrays that were saved")
    wrong = next((name for name, array in arrays.items() if checksum(array) != sums[name]), None)
    if wrong is not None:
        raise data_error("damaged", f"{path} is damaged: the checksum of {wrong} is another one")


def restore(checkpoint: Checkpoint, path: str | os.PathLike[str], graph: Graph, optimiser: Optimiser) -> None:
    """Go on from a checkpoint. Errors: `DataError` if it belongs to something else; nothing is changed then."""
    parameters = {p.name: p for p in graph.parameters}
    check(parameters, checkpoint.parameters, str(path))
    if checkpoint.optimiser != type(optimiser).__name__:
        saved = (f"saved: {checkpoint.optimiser}", f"here: {type(optimiser).__name__}")
        raise data_error("other-network", f"{path} belongs to another optimiser", *saved)
    check_state(optimiser, parameters, checkpoint.state)
    random = generator(path, graph.rng.bit_generator, checkpoint.random)
    values = {}
    for name, parameter in parameters.items():
        array = checkpoint.parameters[name]
        values[name] = fitting(parameter, array, str(path))
        if values[name].dtype != array.dtype.newbyteorder("="):
            types = (f"saved: {array.dtype}", f"here: {values[name].dtype}")
            raise data_error("other-network", f"{path} was computed with other numbers", *types)
    for name, value in values.items():
        parameters[name].value = value
    optimiser.restore(checkpoint.steps, checkpoint.state)
    graph.rng.bit_generator.state = random


def generator(where: str | os.PathLike[str], like: np.random.BitGenerator, state: Any) -> Any:
    """A saved state of a generator of this kind. Errors: `DataError` if it is none."""
    trial = type(like)(0)
    try:
        trial.state = state
        found = json.loads(json.dumps(trial.state, default=_plain))
        same = found == json.loads(json.dumps(state, default=_plain))
    except Exception as error:  # NumPy's own, of many kinds
        raise _no_state(where, like, str(error)) from None
    if not same:
        raise _no_state(where, like, "it is not taken as it is")
    return state


def _no_state(where: str | os.PathLike[str], like: np.random.BitGenerator, reason: str) -> DataError:
    rule = f"{where} is damaged: what it holds is no state of a {type(like).__name__} generator"
    return data_error("damaged", rule, reason)
