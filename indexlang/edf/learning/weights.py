"""Parameters in files: .npz, and safetensors.

In: arrays by name, or a graph's parameters. Out: a file, and the other way round. The one rule: a file is read only if
it is whole; whatever else it holds is a `DataError` that says what is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...files.npy import read_archive, write_npz
from ...files.reading import opened
from ...files.safetensors import read_safetensors, write_safetensors
from ..graphs import asked
from ..graphs.graph import Graph
from ..graphs.parameters import Parameter
from ..problems import data_error, graph_error
from .files import write_whole

Array = NDArray[Any]


def save_weights(graph: Graph, path: str | os.PathLike[str] | None = None) -> None:
    """Write all parameters of `graph`, those without gradients included, to `path`, a .npz or .safetensors file.

    Errors: `DataError` if it cannot be written; what was there before then stays. `GraphError` without a path.
    """
    path = _path("save_weights", graph, path)
    write(path, {p.name: p.value for p in graph.parameters})


def load_weights(
    graph: Graph,
    path: str | os.PathLike[str] | None = None,
    *,
    strict: bool = True,
    rename: Callable[[str], str] | None = None,
) -> tuple[str, ...]:
    """Set the parameters of `graph` from the .npz or .safetensors file at `path`; the names of those that were set.

    `rename` gives the parameter's name for a name of the file. With `strict` the file has all parameters and no more.
    Errors: `DataError`, before anything is changed; `GraphError` without a path.
    """
    path = _path("load_weights", graph, path)
    arrays: dict[str, Array] = {}
    for name, array in read(path).items():
        own = rename(name) if rename else name
        if own in arrays:
            rule, way = f"two arrays of {path} are renamed to {own}", "let rename give each a name of its own"
            raise data_error("other-network", rule, f"the second: {name}", way_out=way)
        arrays[own] = array
    parameters = {p.name: p for p in graph.parameters}
    if strict:
        check(parameters, arrays, str(path))
    values = {n: fitting(parameters[n], a, str(path)) for n, a in arrays.items() if n in parameters}
    for name, value in values.items():
        parameters[name].value = value
    return tuple(values)


def _path(of: str, graph: object, path: object) -> str | os.PathLike[str]:
    """The path, where both arguments are what they should be. Errors: `GraphError`, as where they are swapped."""
    both = (path, graph)
    named = next((p for p in both if isinstance(p, str | os.PathLike)), "weights.npz")
    way = f"write {of}(graph, {os.fspath(named)!r}), where graph is loss.graph"
    asked.graph(of, graph, way)
    if not isinstance(path, str | os.PathLike):
        raise graph_error("argument", f"{of} takes the path of a file, not {asked.kind(path)}", way_out=way)
    return path


def check(parameters: Mapping[str, Parameter], arrays: Mapping[str, Array], where: str) -> None:
    """Whether arrays are just the parameters. Errors: `DataError` that names the first that differs."""
    rule = f"{where} belongs to another network"
    for name, parameter in parameters.items():
        if name not in arrays:
            raise data_error("other-network", rule, f"the first parameter that differs: {name} is not there")
        if arrays[name].shape != parameter.shape:
            sizes = f"{name} has shape {parameter.shape} here and {arrays[name].shape} there"
            raise data_error("other-network", rule, f"the first parameter that differs: {sizes}")
    more = next((name for name in arrays if name not in parameters), None)
    if more is not None:
        raise data_error("other-network", rule, f"the first parameter that differs: {more} is there only")


def fitting(parameter: Parameter, array: Array, where: str) -> Array:
    """The array as a value of the parameter. Errors: `DataError` if it has another shape, or is beyond its type."""
    if array.shape != parameter.shape:
        sizes = (f"{where}: {array.shape}", f"the graph: {parameter.shape}")
        raise data_error("other-network", f"the parameter {parameter.name} has another shape", *sizes)
    dtype = parameter.graph.dtype
    if array.dtype.kind == "c" and dtype.kind != "c":
        if not np.iscomplexobj(parameter.value):
            rule = f"the parameter {parameter.name} is real, and complex numbers are in {where}"
            raise data_error("other-network", rule, way_out="make the graph with dtype=np.complex64")
        dtype = parameter.value.dtype
    with np.errstate(over="ignore"):
        value: Array = np.array(array, dtype, order="C")
    if not np.array_equal(np.isfinite(value), np.isfinite(array)):
        rule = f"{parameter.name} in {where} has numbers that {dtype} has not"
        raise data_error("other-network", rule, way_out="make the graph with a longer type: dtype=np.float64")
    return value


def read(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The arrays of a .npz or .safetensors file. Errors: `DataError`."""
    with opened(path) as (file, size):
        if Path(path).suffix == ".safetensors":
            return read_safetensors(path, file, size)
        return read_archive(path, file, size)


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write a .npz or .safetensors file, whole or not at all. Errors: `DataError`."""
    match Path(path).suffix:
        case ".safetensors":
            write_whole(path, lambda file: write_safetensors(file, arrays))
        case ".npz":
            write_whole(path, lambda file: write_npz(file, arrays))
        case other:
            rule = f"weights go into .npz or .safetensors files, not '{other}'"
            raise data_error("other-format", rule, way_out="let the name end in .npz or .safetensors")
