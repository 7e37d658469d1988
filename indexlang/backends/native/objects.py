"""Object code that is kept on the disk: what was made once is loaded when the same is asked for again.

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
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ...files.whole import write_whole
from .target import Target

_FORMAT = b"indexlang object 1\n"
_NAME = re.compile(r"[0-9a-f]{64}\.o")
_MOST = 256 << 20  # bytes in the folder
_LEFT = 192 << 20  # after the oldest went


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
    folder = _folder(make=True)
    if folder is None:
        return
    data = _FORMAT + _sum(name, code) + code
    with suppress(OSError):
        write_whole(folder / f"{name}.o", lambda file: file.write(data))
        _bound(folder)


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
    total = sum(size for _, size, _ in files)
    if total <= _MOST:
        return
    for _, size, path in sorted(files):
        with suppress(OSError):
            os.unlink(path)
        total -= size
        if total <= _LEFT:
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
