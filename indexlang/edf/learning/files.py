"""Files that are whole or not there: written beside their place, put in place when all is on the disk.

In: a path and what writes to it. Out: the file. The one rule: at any moment the path holds the old file or the new
one, never a part; a failure removes what was begun.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO

from ..problems import DataError, data_error


def write_whole(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Replace the file by what `write` writes. Errors: `DataError` if it cannot be written; the old file stays."""
    target = Path(path)
    begun = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(begun, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(begun, target)
        _settle(target.parent)
    except OSError as error:
        raise _failure(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(begun)


def _failure(target: Path, error: OSError) -> DataError:
    rule = f"cannot write {target}: {error.strerror or error}"
    kept = ("the file that was there before is unchanged",) if target.exists() else ()
    return data_error("unwritable", rule, *kept, way_out="make room, or choose another folder")


def _settle(folder: Path) -> None:
    """Have the folder's own entry on the disk; systems without that do it by themselves."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
