"""Object code that is kept on the disk, and what is known of schedules: what was made once is loaded when the same is
asked for again.

The folder is that of `INDEXLANG_CACHE`, `off` for none; else the user's folder for what can be made again. It is used
if it is the user's own and nobody else may write to it, as what lies there is run.

In: keys, object code. Out: object code, or nothing. Errors: none: a folder that cannot be read or written keeps
nothing. The one rule: what is loaded is, bit by bit, what was kept, or it goes and is made anew.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from .target import Target

_FORMAT = b"indexlang object 1\n"
_NAME = re.compile(r"[0-9a-f]{64}(\.o|\.\d+-[0-9a-f]{8}\.part)")  # or what was being written
_MOST = 256 << 20  # bytes in the folder
_LEFT = 192 << 20  # after the oldest went
_MANY = 1 << 14  # files in the folder
_FEWER = 12 << 10  # after the oldest went


def key(text: str, target: Target, *more: str) -> str:
    """A name for what a module becomes on a machine, made by a version of LLVM."""
    parts = (text, target.triple, target.cpu, target.features, *more)
    digest = sha256(_FORMAT)
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def load(name: str) -> bytes | None:
    """What was kept under a key."""
    folder = _folder()
    if folder is None:
        return None
    path = folder / f"{name}.o"
    try:
        data = path.read_bytes()
    except OSError:
        return None
    head = len(_FORMAT) + 32
    code = data[head:]
    if data[: len(_FORMAT)] != _FORMAT or data[len(_FORMAT) : head] != _sum(name, code):
        remove(name)
        return None
    with suppress(OSError):
        os.utime(path)  # the oldest go first
    return code


def keep(name: str, code: bytes) -> None:
    """Keep object code under a key."""
    keep_all({name: code})


def keep_all(codes: Mapping[str, bytes]) -> None:
    """Keep object code under keys."""
    folder = _folder(make=True) if codes else None
    if folder is None:
        return
    with suppress(OSError):
        for name, code in codes.items():
            _write(folder / f"{name}.o", _FORMAT + _sum(name, code) + code)
    with suppress(OSError):
        _bound(folder)


def _write(path: Path, data: bytes) -> None:
    """A file that is whole for whoever opens it. Whether it is on the disk by then does not matter: what a machine that
    stopped left of it is told by its sum.
    """
    beside = path.with_name(f"{path.stem}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        with open(beside, "xb") as file:
            file.write(data)
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise


def remove(name: str) -> None:
    """Keep nothing under a key."""
    folder = _folder()
    if folder is not None:
        with suppress(OSError):
            (folder / f"{name}.o").unlink()


@dataclass(frozen=True)
class Kept:
    """Which folder it is, `off` where there is none; how many files of ours are in it, of how many bytes.

    `refused` says that it is not used: it is no folder, somebody else's, or others may write to it.
    """

    folder: str
    files: int = 0
    size: int = 0
    refused: bool = False


def kept() -> Kept:
    """What there is now."""
    folder = _asked()
    if folder is None:
        return Kept("off")
    if _folder() is None:
        return Kept(str(folder), refused=folder.exists())
    files = _files(folder)
    return Kept(str(folder), len(files), sum(size for _, size, _ in files))


def clear() -> int:
    """Remove all files of ours, and nothing else; how many there were."""
    folder, count = _folder(), 0
    for _, _, path in _files(folder) if folder is not None else ():
        with suppress(OSError):
            os.unlink(path)
            count += 1
    return count


def _sum(name: str, code: bytes) -> bytes:
    return sha256(name.encode() + code).digest()


def _folder(make: bool = False) -> Path | None:
    """The folder, where there is one that may be used."""
    folder = _asked()
    if folder is None:
        return None
    try:
        if make:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except (OSError, ValueError):  # there is no such path
        return None
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & stat.S_IWOTH):
        return None
    return folder if stat.S_ISDIR(found.st_mode) else None


def _asked() -> Path | None:
    """The folder that is asked for."""
    named = os.environ.get("INDEXLANG_CACHE", "")
    if named == "off":
        return None
    try:
        return Path(named).expanduser() if named else _usual()
    except (OSError, RuntimeError):  # there is no home
        return None


def _usual() -> Path:
    """The system's own place for what can be made again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "indexlang" / "objects"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "indexlang"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "indexlang"


def _bound(folder: Path) -> None:
    """Remove the oldest where there is too much."""
    files = _files(folder)
    total, count = sum(size for _, size, _ in files), len(files)
    if total <= _MOST and count <= _MANY:
        return
    for _, size, path in sorted(files):
        with suppress(OSError):
            os.unlink(path)
        total, count = total - size, count - 1
        if total <= _LEFT and count <= _FEWER:
            return


def _files(folder: Path) -> list[tuple[float, int, str]]:
    """Our files: when each was used last, its bytes, its path."""
    files = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name):
                with suppress(OSError):  # another process removed it
                    files.append((entry.stat().st_mtime, entry.stat().st_size, entry.path))
    return files
