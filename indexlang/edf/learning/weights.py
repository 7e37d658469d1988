"""Parameters in files: .npz, and safetensors.

In: arrays by name, or a graph's parameters. Out: a file, and the other way round. The one rule: a file is read only if
it is whole; whatever else it holds is a `DataError` that says what is wrong.

The safetensors format is a length, a JSON header with each tensor's type, shape and place, and the tensors' bytes.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..graphs.graph import Graph
from ..problems import data_error
from .files import write_whole

Array = NDArray[Any]

_TYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8", "BF16": "<u2",
}  # fmt: skip
_LONGEST = 100_000_000  # bytes of a header


def save(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write all parameters of `graph`, those without gradients included, to `path`, a .npz or .safetensors file.

    Errors: `DataError` if it cannot be written; what was there before then stays.
    """
    write(path, {p.name: p.value for p in graph.parameters})


def load(
    graph: Graph, path: str | os.PathLike[str], *, strict: bool = True, rename: Callable[[str], str] | None = None
) -> tuple[str, ...]:
    """Set the parameters of `graph` from the .npz or .safetensors file at `path`; the names of those that were set.

    `rename` gives the parameter's name for a name of the file. With `strict` the file has all parameters and no more.
    Errors: `DataError`, before anything is changed.
    """
    arrays = {(rename(name) if rename else name): array for name, array in read(path).items()}
    parameters = {p.name: p for p in graph.parameters}
    if strict:
        check(parameters, {n: a.shape for n, a in arrays.items()}, str(path))
    chosen = {n: a for n, a in arrays.items() if n in parameters}
    for name, array in chosen.items():
        if array.shape != parameters[name].shape:
            sizes = (f"{path}: {array.shape}", f"the graph: {parameters[name].shape}")
            raise data_error("other-network", f"the parameter {name} has another shape", *sizes)
    for name, array in chosen.items():
        parameters[name].value = array
    return tuple(chosen)


def check(parameters: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Whether arrays of these shapes are just the parameters. Errors: `DataError` that names the first that differs."""
    rule = f"{where} belongs to another network"
    for name, parameter in parameters.items():
        if name not in shapes:
            raise data_error("other-network", rule, f"the first parameter that differs: {name} is not there")
        if shapes[name] != parameter.shape:
            sizes = f"{name} has shape {parameter.shape} here and {shapes[name]} there"
            raise data_error("other-network", rule, f"the first parameter that differs: {sizes}")
    more = next((name for name in shapes if name not in parameters), None)
    if more is not None:
        raise data_error("other-network", rule, f"the first parameter that differs: {more} is there only")


def read(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The arrays of a .npz or .safetensors file. Errors: `DataError`."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            return _read_safetensors(path, file) if path.suffix == ".safetensors" else read_npz(path, file)
    except OSError as error:
        raise data_error("missing-file", f"cannot read {path}: {error.strerror or error}") from None


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write a .npz or .safetensors file, whole or not at all. Errors: `DataError`."""
    match Path(path).suffix:
        case ".safetensors":
            write_whole(path, lambda file: _write_safetensors(file, arrays))
        case ".npz":
            write_whole(path, lambda file: write_npz(file, arrays))
        case other:
            raise data_error("other-format", f"weights go into .npz or .safetensors files, not '{other}'")


# -- npz -------------------------------------------------------------------------------------------------


def write_npz(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """What numpy.savez writes, for any names, with the same bytes for the same arrays."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def read_npz(path: Path, file: IO[bytes]) -> dict[str, Array]:
    """The arrays of an archive, every checksum looked at."""
    found = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                data = archive.read(entry)
                array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
                found[entry.filename.removesuffix(".npy")] = np.asarray(array)
    except Exception as error:  # a damaged archive makes its readers raise about anything
        raise data_error("damaged", f"{path} is damaged, or no .npz file: {error or type(error).__name__}") from None
    return found


# -- safetensors -----------------------------------------------------------------------------------------


def _write_safetensors(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    names = {np.dtype(code): name for name, code in _TYPES.items() if name != "BF16"}
    header: dict[str, Any] = {}
    ready = {}
    place = 0
    # the largest elements first, so that each tensor is aligned
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        dtype = array.dtype.newbyteorder("<")
        if dtype not in names:
            raise data_error("dtype", f"safetensors cannot hold {name}: it is {array.dtype}")
        ready[name] = np.ascontiguousarray(array, dtype)
        end = place + ready[name].nbytes
        header[name] = {"dtype": names[dtype], "shape": list(array.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for array in ready.values():
        file.write(array.tobytes())


def _read_safetensors(path: Path, file: IO[bytes]) -> dict[str, Array]:
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    if len(start) < 8:
        raise data_error("truncated", f"{path} is truncated: {size} bytes are less than a header")
    (length,) = struct.unpack("<Q", start)
    if length > min(size - 8, _LONGEST):
        rule = f"{path} is truncated, or no safetensors file"
        raise data_error("truncated", rule, f"its header should have {length} bytes, the file has {size}")
    header = _header(path, file.read(length))
    total = size - 8 - length
    found: dict[str, Array] = {}
    places = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        code, shape, begin, end = _entry(path, name, entry)
        if end > total:
            rule = f"{path} is truncated: {name} ends at byte {end} of the tensors"
            raise data_error("truncated", rule, f"there are {total}")
        places.append((begin, end, name))
        file.seek(8 + length + begin)
        array = np.frombuffer(file.read(end - begin), _TYPES[code])
        if code == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
        found[name] = array.astype(array.dtype.newbyteorder("=")).reshape(shape)
    reached = 0
    for begin, end, name in sorted(places):
        if begin != reached:
            rule = f"{path} is damaged: {name} starts at byte {begin}, the tensor before it ends at {reached}"
            raise data_error("damaged", rule)
        reached = end
    if reached != total:
        raise data_error("damaged", f"{path} is damaged: {total - reached} bytes belong to no tensor")
    return found


def _header(path: Path, text: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            raise ValueError("a name stands twice")
        return dict(pairs)

    try:
        header = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise data_error("damaged", f"{path} is damaged: its header is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise data_error("damaged", f"{path} is damaged: its header is no JSON object")
    return header


def _entry(path: Path, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape and place of a tensor, checked against each other."""
    match entry:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [int(begin), int(end)]} if all(
            type(n) is int and n >= 0 for n in (*shape, begin, end)
        ):
            pass
        case _:
            raise data_error("damaged", f"{path} is damaged: the header's entry of {name} is not as it should be")
    if code not in _TYPES:
        raise data_error("dtype", f"{path}: the tensor {name} has the type {code}, which NumPy has not")
    needed = np.dtype(_TYPES[code]).itemsize
    for n in shape:
        needed *= n
    if end - begin != needed:
        rule = f"{path} is damaged: {name} of type {code} and shape {shape} takes {needed} bytes"
        raise data_error("damaged", rule, f"the header gives it {end - begin}")
    return code, tuple(shape), begin, end
