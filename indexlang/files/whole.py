"""Files that are whole or not there: written beside their place, put in place when all is on the disk.

A file keeps its mode and, where that is allowed, its owner; of a symbolic link, the file that it leads to is replaced;
what is no file but a device or a pipe is written to. Whoever writes holds a lock on what is beside the place, which the
system lets go when a process ends in whatever way: what nobody holds was left by one that was killed, and goes.

In: paths and what writes to them. Out: the files. Errors: `OSError`, with the path as its `filename`. The one rule: at
any moment a path holds the old file or the new one, never a part; a failure removes what was begun.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, TypeVar

try:
    import fcntl
except ImportError:  # a system where a file that is open cannot be removed, anyway
    fcntl = None  # type: ignore[assignment]

P = TypeVar("P", bound="str | os.PathLike[str]")
Writer = Callable[[IO[bytes]], object]
_LONGEST = 180  # bytes of a name, which is part of another one


def write_whole(path: str | os.PathLike[str], write: Writer, *, folders: bool = False) -> None:
    """Replace a file by what `write` writes; with `folders`, the folders above it are made where they are missing."""
    write_all({path: write}, folders=folders)


def write_all(writers: Mapping[P, Writer], *, folders: bool = False) -> None:
    """Replace files: all of them are written beside their places before the first is put in place."""
    with ExitStack() as held:
        begun = [held.enter_context(_Begun(path, folders)) for path in writers]
        for one, write in zip(begun, writers.values(), strict=True):
            with _of(one.path):
                one.fill(write)
        for one in begun:
            with _of(one.path):
                one.settle()


@contextmanager
def _of(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors name the file that was asked for."""
    try:
        yield
    except OSError as error:
        error.filename = os.fspath(path)
        raise


class _Begun:
    """A file that is written beside its place, until the block ends."""

    def __init__(self, path: str | os.PathLike[str], folders: bool) -> None:
        self.path = path
        self.place = Path(os.path.realpath(path))
        self.folders = folders
        self.fresh: Path | None = None
        self.file: IO[bytes] | None = None

    def __enter__(self) -> _Begun:
        return self

    def __exit__(self, *details: object) -> None:
        if self.file is not None:
            with suppress(OSError):  # what could not be written when the block ended is not wanted any more
                self.file.close()
        if self.fresh is not None:
            with suppress(OSError):
                os.unlink(self.fresh)

    def fill(self, write: Writer) -> None:
        """Write, and have it on the disk."""
        old = _status(self.place)
        if old is not None and not stat.S_ISREG(old.st_mode):
            with open(self.place, "wb") as device:
                write(device)
            return
        if old is not None and not os.access(self.place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if self.folders:
            _make(self.place.parent)
        _clean(self.place)
        self._begin(0o666 if old is None else 0o600)
        assert self.file is not None
        write(self.file)
        self.file.flush()
        if old is not None:
            _keep(self.file.fileno(), old)
        os.fsync(self.file.fileno())

    def _begin(self, mode: int) -> None:
        while True:
            fresh = self.place.with_name(f".{_stem(self.place)}.{os.getpid()}-{secrets.token_hex(4)}.part")
            self.fresh = fresh
            number = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
            self.file = os.fdopen(number, "wb")
            _lock(number, wait=True)
            if fcntl is None or _is_at(number, fresh):  # somebody may have taken it for left between the two
                return
            self.file.close()

    def settle(self) -> None:
        """Put it in place."""
        if self.fresh is None or self.file is None:
            return
        if fcntl is None:  # an open file cannot be moved either there
            self.file.close()
        os.replace(self.fresh, self.place)
        self.fresh = None
        _sync(self.place.parent)


def _status(place: Path) -> os.stat_result | None:
    try:
        return os.stat(place)
    except FileNotFoundError:
        return None


def _stem(place: Path) -> str:
    """What the names of files beside this place begin with."""
    name = os.fsencode(place.name)
    return place.name if len(name) <= _LONGEST else sha256(name).hexdigest()[:32]


def _keep(number: int, old: os.stat_result) -> None:
    """Owner and mode of the old file for the new one."""
    if not hasattr(os, "fchmod"):
        return
    new = os.fstat(number)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with suppress(OSError):
            os.fchown(number, old.st_uid, old.st_gid)
    os.fchmod(number, stat.S_IMODE(old.st_mode))


def _make(folder: Path) -> None:
    """The folder and those above it, each of them on the disk."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        _sync(one.parent)


def _sync(folder: Path) -> None:
    """Have the folder's own entry on the disk; systems without that do it by themselves."""
    try:
        number = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        with suppress(OSError):
            os.fsync(number)
    finally:
        os.close(number)


# -- what killed processes left --------------------------------------------------------------------------


def _clean(place: Path) -> None:
    """Remove what was begun for this place and is nobody's."""
    left = re.compile(rf"\.{re.escape(_stem(place))}\.\d+-[0-9a-f]{{8}}\.part")
    try:
        with os.scandir(place.parent) as entries:
            names = [e.name for e in entries if left.fullmatch(e.name)]
    except OSError:
        return
    for name in names:
        with suppress(OSError):
            _remove(place.with_name(name))


def _remove(path: Path) -> None:
    """Remove a file that nobody holds. Errors: `OSError` where somebody does."""
    number = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        _lock(number, wait=False)
        if fcntl is not None:
            os.unlink(path)
    finally:
        os.close(number)
    if fcntl is None:
        os.unlink(path)


def _lock(number: int, wait: bool) -> None:
    """Hold an open file until it is closed, or the process ends. File systems without locks hold nothing."""
    if fcntl is None:
        return
    try:
        fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        if not wait:
            raise


def _is_at(number: int, path: Path) -> bool:
    try:
        there, here = os.stat(path), os.fstat(number)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
