"""Files of the command line: arrays in and out, programs in, all of it whole or not at all.

In: what the user wrote behind `-i`, `-o` and FILE. Out: arrays by name, files. The one rule: an output file
appears complete or does not change; nothing that is read can run code.
"""

from __future__ import annotations

import codecs
import io
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..calls.arguments import no_inputs
from ..errors import IndexLangError, Problem, ShapeError, Source, shown
from ..files.npy import read_archive, read_array, write_npz
from ..files.whole import Writer, write_all
from ..meaning.report import nearest
from ..syntax.parser import read
from .arguments import said
from .streams import say_bytes

Array = NDArray[Any]

STANDARD = "-"  # standard input, or output


class FileError(IndexLangError):
    """A file that cannot be read or written."""


def _error(rule: str, *values: str, way_out: str | None = None) -> FileError:
    return FileError(Problem("file", rule, values=values, way_out=way_out))


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def source(file: str | None, text: Sequence[str] | None) -> tuple[Source, Path]:
    """The text of `-e`, of standard input (`-`) or of a file, and the folder from which it imports."""
    if text:
        return Source("\n".join(text) + "\n"), Path()
    assert file is not None
    if file == STANDARD:
        return Source(
            _standard_input().removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape"), "<stdin>"
        ), Path()
    if "=" in file and not os.path.exists(file):
        raise _error(f"{shown(file)} is no file", way_out=f"statements stand behind -e: {shlex.join(['-e', file])}")
    return read(Path(file)), Path(file).parent


def _standard_input() -> bytes:
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise _error(f"cannot read standard input: {_reason(error)}") from None


def programs(paths: Sequence[str]) -> list[str]:
    """The files behind FILE: folders stand for all .idx files in them, hidden folders left out, each file once."""
    found: dict[str, None] = {}
    for path in paths:
        if path == STANDARD or not os.path.isdir(path):
            found[path] = None
            continue
        inside = []
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(f for f in folders if not f.startswith("."))
            inside += [os.path.join(folder, name) for name in sorted(names) if name.endswith(".idx")]
        if not inside:
            raise _error(f"{path} has no .idx files")
        found.update(dict.fromkeys(inside))
    return list(found)


def arrays(given: Iterable[str]) -> dict[str, Array]:
    """The arrays behind `-i`: `x=x.npy`, `x=a.npz:key`, `x=a.npz` (its `x`, or its only array), `a.npz` (all).

    `x=-` is the next array of standard input, where .npy files come one after the other.
    """
    found: dict[str, Array] = {}
    stream: IO[bytes] | None = None
    for item in given:
        name, equals, place = item.partition("=")
        name = said(name)
        if item == STANDARD:
            raise _error("standard input has arrays without names", way_out="say -i NAME=-")
        if place == STANDARD:
            stream = stream or io.BytesIO(_standard_input())
            found[name] = _next(stream)
            continue
        if not equals:
            if not os.path.exists(item) and item.isidentifier():  # -i x
                raise _error(f"'{name}' is the name of no archive", way_out=_made_by(f"{name}.npy", name))
            found.update(_archive(item))
            continue
        path, colon, key = place.rpartition(":")
        if not (colon and path.endswith(".npz")):
            path, key = place, ""
        if not path.endswith(".npz"):
            if not (path.endswith(".npy") or os.path.exists(path)):  # -i x=3
                raise _error(f"{shown(path)} is no file of an array", way_out=_made_by(f"{name}.npy", name))
            found[name] = _load(path)
            continue
        archive = _archive(path)
        key = said(key) or (name if name in archive or len(archive) != 1 else next(iter(archive)))
        if key not in archive:
            raise _error(f"{path} has no array '{key}'", f"arrays: {', '.join(archive) or 'none'}")
        found[name] = archive[key]
    return found


def check_given(given: Mapping[str, Array], inputs: Sequence[str], optional: Sequence[str]) -> None:
    """Whether each input has an array, and nothing else has. Errors: `ShapeError`."""
    order = (*inputs, *optional)
    problems, meant = no_inputs(given, order)
    for name in inputs:
        if name not in given and name not in meant:
            rule, way = f"the input '{name}' is missing", f"say -i {name}={name}.npy"
            problems.append(Problem("missing-input", rule, values=(f"inputs: {', '.join(order)}",), way_out=way))
    if problems:
        raise ShapeError(*problems)


def _next(stream: IO[bytes]) -> Array:
    left = len(stream.read())
    if not left:
        raise _error("standard input has no more arrays", way_out="send a .npy file for each -i NAME=-")
    stream.seek(-left, os.SEEK_CUR)
    if _is_archive(stream):
        raise _error("standard input is an archive of arrays, not .npy files", way_out="give the archive's name")
    return read_array("standard input", stream, left, alone=False)


def _load(path: str) -> Array:
    with _opened(path) as (file, size):
        if _is_archive(file):
            raise _error(f"{path} is an archive of arrays, its name must end in .npz")
        return read_array(path, file, size)


def _archive(path: str) -> dict[str, Array]:
    with _opened(path) as (file, size):
        if not _is_archive(file) and path.endswith(".npy"):
            raise _error(f"{path} is one array, not an archive of arrays", way_out=f"say -i NAME={path}")
        return read_archive(path, file, size)


@contextmanager
def _opened(path: str) -> Iterator[tuple[IO[bytes], int]]:
    """The file, from which any byte can be read, and its size; a pipe's bytes are all read first."""
    _refuse_nul("read", path)
    try:
        with open(path, "rb") as file:
            if file.seekable():
                yield file, os.fstat(file.fileno()).st_size
            else:
                whole = file.read()
                yield io.BytesIO(whole), len(whole)
    except OSError as error:
        way = "write the path of a .npy or .npz file that can be read, as np.save and np.savez make them"
        raise _error(f"cannot read {path}: {_reason(error)}", way_out=way) from None


def _made_by(path: str, name: str) -> str:
    return f"say -i {name}={path}, a file made in Python by np.save('{path}', {name})"


def _refuse_nul(verb: str, path: str) -> None:
    if "\0" in path:
        raise _error(f"cannot {verb} {path}: embedded null byte")


def _is_archive(file: IO[bytes]) -> bool:
    start = file.read(2)
    file.seek(-len(start), os.SEEK_CUR)
    return start == b"PK"


def targets(given: Iterable[str], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The files behind `-o` with the tensors that go into each: `y=y.npy`, `y=all.npz`, `all.npz` (all of them).

    `y=-` and `-` are standard output, which then takes nothing but arrays.
    """
    found: dict[str, tuple[str, ...]] = {}
    for item in given:
        name, equals, path = item.partition("=")
        name = said(name)
        if not equals:
            path, chosen = item, tuple(names)
        else:
            chosen = (name,)
            if name not in names:
                meant = nearest(name, names) or f"say -o {names[0]}={path}, or name others by --outputs"
                rule = f"'{name}' is nothing that is computed here"
                raise _error(rule, f"computed: {', '.join(names)}", way_out=meant)
        if not path.endswith((".npy", ".npz")) and path != STANDARD and not _is_special(path):
            way = "give a name that ends in .npy, or in .npz for an archive"
            way = f"say -o {path}={path}.npy" if path in names and not equals else way
            raise _error(f"{path} is the name of no array file", way_out=way)
        if path != STANDARD:  # a file may have several names
            path = next((p for p in found if p != STANDARD and os.path.realpath(p) == os.path.realpath(path)), path)
        found[path] = (*found.get(path, ()), *chosen)
        if not path.endswith(".npz") and path != STANDARD and len(found[path]) > 1:
            raise _error(f"{path} can hold one array, not {len(found[path])}", way_out="give a name that ends in .npz")
    if STANDARD in found:
        if sys.stdout.isatty():
            raise _error("a terminal cannot show .npy files", way_out="send them to a file or through a pipe")
        left = [name for name in names if not any(name in chosen for chosen in found.values())]
        if left:
            way = f"say -o NAME=FILE for {', '.join(left)}, or choose by --outputs"
            raise _error("standard output takes arrays or text, not both", way_out=way)
    return found


def _is_special(path: str) -> bool:
    """Whether a pipe, a device, or a folder, which cannot be written, has this name."""
    return os.path.exists(path) and not os.path.isfile(path)


def save(files: Mapping[str, Sequence[str]], values: Mapping[str, Array]) -> None:
    """Write all files, or none of them; then what goes to standard output."""

    def writer(path: str, names: Sequence[str]) -> Callable[[IO[bytes]], None]:
        if path.endswith(".npz"):
            return lambda file: write_npz(file, {name: values[name] for name in names})
        return lambda file: np.save(file, values[names[0]], allow_pickle=False)

    replace_all({path: writer(path, names) for path, names in files.items() if path != STANDARD})
    for name in files.get(STANDARD, ()):
        stream = io.BytesIO()
        np.save(stream, values[name], allow_pickle=False)
        say_bytes(stream.getvalue())


def rewrite(path: str, text: str) -> None:
    """Replace a text file."""

    def fill(file: IO[bytes]) -> None:
        file.write(text.encode())

    replace_all({path: fill})


def replace_all(writers: Mapping[str, Writer]) -> None:
    """Let each writer fill a new file beside its target; when all have succeeded, put them in place."""
    for path in writers:
        _refuse_nul("write", path)
    try:
        write_all(writers)
    except OSError as error:
        way = "write the path of a file that can be written"
        folder = os.path.dirname(os.fsdecode(error.filename or ""))
        if folder and not os.path.exists(folder):
            way = f"make the folder first: {shlex.join(['mkdir', '-p', folder])}"
        raise _error(f"cannot write {error.filename}: {_reason(error)}", way_out=way) from None
