"""The safetensors format: a length, a JSON header with each tensor's type, shape and place, and the tensors' bytes.

In: arrays by name and an open file. Out: the file, and the other way round. Errors: `DataError`. The one rule: the
tensors lie side by side, each as long as its type and shape say, and fill the file.

https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from typing import IO, Any

import numpy as np

from .problems import data_error
from .reading import Array, afford, check_shape, fill, json_of

_TYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8", "BF16": "<u2",
}  # fmt: skip
_LONGEST = 100_000_000  # bytes of a header
_TEXTS = "__metadata__"


def write_safetensors(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """Write tensors. Errors: `DataError` for types and names that the format has not."""
    names = {np.dtype(code): name for name, code in _TYPES.items() if name != "BF16"}
    header: dict[str, Any] = {}
    ready = {}
    place = 0
    # the largest elements first, so that each tensor is aligned
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        dtype = array.dtype.newbyteorder("<")
        if dtype not in names:
            raise data_error("dtype", f"safetensors cannot hold {name}: it is {array.dtype}")
        if name == _TEXTS:
            raise data_error("unwritable", f"safetensors cannot hold a tensor with the name {name}")
        ready[name] = np.ascontiguousarray(array, dtype)
        end = place + ready[name].nbytes
        header[name] = {"dtype": names[dtype], "shape": list(array.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for array in ready.values():
        file.write(array.tobytes())


def read_safetensors(path: object, file: IO[bytes], size: int) -> dict[str, Array]:
    """The tensors of an open file of `size` bytes; those of bfloat16 are float32. Errors: `DataError`."""
    start = file.read(8)
    if len(start) < 8:
        raise data_error("truncated", f"{path} is truncated: {size} bytes are less than a header")
    (length,) = struct.unpack("<Q", start)
    if length > min(size - 8, _LONGEST):
        rule = f"{path} is truncated, or no safetensors file"
        raise data_error("truncated", rule, f"its header should have {length} bytes, the file has {size}")
    header = json_of(f"{path} is damaged: its header", file.read(length))
    if not isinstance(header, dict):
        raise data_error("damaged", f"{path} is damaged: its header is no JSON object")
    texts = header.pop(_TEXTS, {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise data_error("damaged", f"{path} is damaged: its metadata are no texts")
    total = size - 8 - length
    entries = {name: _entry(path, name, entry) for name, entry in header.items()}
    _check_places(path, entries, total)
    afford(path, sum(end - begin for _, _, begin, end in entries.values()))
    found = {}
    for name, (code, shape, begin, _) in sorted(entries.items(), key=lambda item: item[1][2:]):
        file.seek(8 + length + begin)
        array = fill(file, shape, np.dtype(_TYPES[code]))
        if array is None:
            raise data_error("truncated", f"{path} is truncated: it ends before {name} does")
        if code == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
        found[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return {name: found[name] for name in entries}


Entry = tuple[str, tuple[int, ...], int, int]


def _check_places(path: object, entries: Mapping[str, Entry], total: int) -> None:
    """Whether tensors lie side by side and fill the file."""
    reached = 0
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: (item[1][2:], item[0])):
        if end > total:
            rule = f"{path} is truncated: {name} ends at byte {end} of the tensors"
            raise data_error("truncated", rule, f"there are {total}")
        if begin != reached:
            rule = f"{path} is damaged: {name} starts at byte {begin}, the tensor before it ends at {reached}"
            raise data_error("damaged", rule)
        reached = end
    if reached != total:
        raise data_error("damaged", f"{path} is damaged: {total - reached} bytes belong to no tensor")


def _entry(path: object, name: str, entry: Any) -> Entry:
    """Type, shape and place of a tensor, checked against each other."""
    match entry:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [int(begin), int(end)]} if all(
            type(n) is int and 0 <= n < 1 << 63 for n in (*shape, begin, end)
        ):
            pass
        case _:
            raise data_error("damaged", f"{path} is damaged: the header's entry of {name} is not as it should be")
    if code not in _TYPES:
        raise data_error("dtype", f"{path}: the tensor {name} has the type {code}, which NumPy has not")
    check_shape(f"{name} in {path}", tuple(shape))
    needed = np.dtype(_TYPES[code]).itemsize * prod(shape)
    if end - begin != needed:
        rule = f"{path} is damaged: {name} of type {code} and shape {shape} takes {needed} bytes"
        raise data_error("damaged", rule, f"the header gives it {end - begin}")
    return code, tuple(shape), begin, end
