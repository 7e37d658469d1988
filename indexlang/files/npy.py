"""NumPy's files of one array, and archives of several: .npy and .npz.

In: a path or an open file. Out: arrays of numbers, by name. The one rule: an array is what its header says, to the
byte; nothing that is read can run code.

NumPy reads headers as Python's literals, of any depth; here they are tokens first, so that what is no header is no
work. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from math import prod
from typing import IO, Any

import numpy as np

from .problems import DataError, data_error
from .reading import Array, afford, check_numbers, check_shape, fill, opened

_START = b"\x93NUMPY"
_LONGEST = 10_000  # bytes of a header
_VALUE = r"""(?:'(?P<text1>[^']*)'|"(?P<text2>[^"]*)"|(?P<truth>True|False)|\((?P<shape>[\d,\sL]*)\))"""
_ENTRY = re.compile(rf"""\s*(?:'(?P<name1>\w+)'|"(?P<name2>\w+)")\s*:\s*{_VALUE}\s*(?P<end>,|\Z)""")
_SIZE = re.compile(r"\d{1,19}")


def read_npy(path: str | os.PathLike[str]) -> Array:
    """The array of a .npy file. Errors: `DataError`."""
    with opened(path) as (file, size):
        return read_array(path, file, size)


def read_array(where: object, file: IO[bytes], size: int, packed: int | None = None, *, alone: bool = True) -> Array:
    """The array that the next `size` bytes of an open file hold; if it is not `alone`, others follow.

    Errors: `DataError`.
    """
    shape, in_columns, dtype, length = _header(where, file, size)
    check_numbers(where, dtype)
    check_shape(where, shape)
    needed = prod(shape) * dtype.itemsize
    if length + needed > size or (alone and length + needed < size):
        rule = f"{where} is {'truncated' if size < length + needed else 'damaged: it is too long'}"
        raise data_error("truncated", rule, f"its header says {needed:,} bytes, there are {size - length:,}")
    afford(where, needed, packed)
    array = fill(file, shape, dtype, "F" if in_columns else "C")
    if array is None:
        raise data_error("truncated", f"{where} is truncated: it ends before its {needed:,} bytes")
    return array


def _header(where: object, file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether columns come first, type, and the bytes of the header itself."""
    start = file.read(8)
    if len(start) < 8 and (_START.startswith(start[:6]) or not start):
        raise data_error("truncated", f"{where} is truncated: {size} bytes are less than a header")
    if not start.startswith(_START):
        pickled = start[:1] == b"\x80"
        way = "save numbers with numpy.save or numpy.savez" if pickled else None
        what = "is a pickle, which is not read, as it can run any code" if pickled else "is no .npy file"
        raise data_error("other-format", f"{where} {what}", way_out=way)
    width = {1: 2, 2: 4, 3: 4}.get(start[6])
    if width is None:
        raise data_error("other-format", f"{where} is a .npy file of another version: {start[6]}.{start[7]}")
    length = int.from_bytes(file.read(width), "little")
    if length > min(size, _LONGEST):
        raise data_error("damaged", f"{where} is damaged: its header should have {length:,} bytes")
    text = file.read(length)
    if len(text) < length:
        raise data_error("truncated", f"{where} is truncated: it ends in its header")
    try:
        shape, in_columns, code = _said(text.decode("utf-8" if start[6] == 3 else "latin-1"))
        dtype = np.dtype(code)
    except (ValueError, TypeError, SyntaxError) as error:
        raise data_error("damaged", f"{where} is damaged: its header is none: {error}") from None
    return shape, in_columns, dtype, 8 + width + length


def _said(text: str) -> tuple[tuple[int, ...], bool, str]:
    """The three entries of a header. Errors: `ValueError`."""
    inner = re.fullmatch(r"\s*\{(.*)\}\s*", text, re.DOTALL)
    if inner is None:
        raise ValueError("it has no braces")
    found: dict[str, Any] = {}
    rest = inner[1].strip()
    if "'descr': [" in rest:
        return (), False, "V1"
    while rest:
        entry = _ENTRY.match(rest)
        if entry is None or (name := entry["name1"] or entry["name2"]) in found:
            raise ValueError("it has another entry than it should")
        if entry["shape"] is not None:
            found[name] = _shape(entry["shape"])
        else:
            text_there = entry["text1"] if entry["text1"] is not None else entry["text2"]
            found[name] = entry["truth"] == "True" if text_there is None else text_there
        rest = rest[entry.end() :].strip()
    match found:
        case {"descr": str(code), "fortran_order": bool(in_columns), "shape": tuple(shape)} if len(found) == 3:
            if not re.fullmatch(r"[<>|=]?(?:[?biufcSUVO]\d{0,9}|[mM]8(?:\[\w{1,9}\])?)", code):
                raise ValueError("its type is none")
            return shape, in_columns, code
    raise ValueError("it has not the entries that it should")


def _shape(text: str) -> tuple[int, ...]:
    parts = [part.strip().removesuffix("L") for part in text.split(",")]
    if parts[-1] == "":
        parts.pop()
    if not all(_SIZE.fullmatch(part) for part in parts):
        raise ValueError("its shape is none")
    return tuple(int(part) for part in parts)


# -- archives --------------------------------------------------------------------------------------------


def read_npz(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The arrays of a .npz file, every checksum looked at. Errors: `DataError`."""
    with opened(path) as (file, size):
        return read_archive(path, file, size)


def read_archive(path: object, file: IO[bytes], size: int) -> dict[str, Array]:
    """The arrays of an open archive of `size` bytes. Errors: `DataError`."""
    found: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            afford(path, sum(e.file_size for e in entries), min(size, sum(e.compress_size for e in entries)))
            for entry in entries:
                _check_packing(path, entry)
                name = entry.filename.removesuffix(".npy")
                if name in found:
                    raise data_error("damaged", f"{path} is damaged: there are two arrays {name}")
                with archive.open(entry) as member:
                    array = read_array(f"{name} in {path}", member, entry.file_size)
                    if member.read(1):  # which also looks at the checksum
                        raise data_error("damaged", f"{name} in {path} is damaged: it is longer than it says")
                found[name] = array
    except (DataError, MemoryError):
        raise
    except Exception as error:  # a damaged archive makes its readers raise about anything
        raise data_error("damaged", f"{path} is damaged, or no .npz file: {error or type(error).__name__}") from None
    return found


def _check_packing(path: object, entry: zipfile.ZipInfo) -> None:
    """Whether an entry is packed as NumPy packs, and to a size that can be."""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise data_error("other-format", f"{entry.filename} in {path} is packed as NumPy packs nothing")
    if entry.compress_type == zipfile.ZIP_STORED and entry.file_size != entry.compress_size:
        raise data_error("damaged", f"{path} is damaged: {entry.filename} has two sizes")
    afford(f"{entry.filename} in {path}", entry.file_size, entry.compress_size)


def write_npz(file: IO[bytes], arrays: Mapping[str, Any]) -> None:
    """What numpy.savez writes, for any names, with the same bytes for the same arrays. Errors: `DataError`."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            if "\0" in name or not _is_text(name):
                raise data_error("unwritable", f"no archive can hold an array with the name {name!r}")
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
