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


def _sum(name: str, code: bytes) -> bytes:
    return sha256(name.encode() + code).digest()


def _folder(make: bool = False) -> Path | None:
    """The folder, where there is one that may be used."""
    named = os.environ.get("INDEXLANG_CACHE", "")
    if named == "off":
        return None
    try:
        folder = Path(named).expanduser() if named else _usual()
        if make:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except (OSError, RuntimeError, ValueError):  # there is no home, or no such path
        return None
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & stat.S_IWOTH):
        return None
    return folder if stat.S_ISDIR(found.st_mode) else None


def _usual() -> Path:
    """The system's own place for what can be made again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "indexlang" / "objects"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "indexlang"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "indexlang"


def _bound(folder: Path) -> None:
    """Remove the oldest where there is too much."""
    with os.scandir(folder) as entries:
        files = []
        for entry in entries:
            if _NAME.fullmatch(entry.name):
                with suppress(OSError):  # another process removed it
                    files.append((entry.stat().st_mtime, entry.stat().st_size, entry.path))
    total = sum(size for _, size, _ in files)
    if total <= _MOST:
        return
    for _, size, path in sorted(files):
        with suppress(OSError):
            os.unlink(path)
        total -= size
        if total <= _LEFT:
            return
