"""Files of a run, whole or not there, with errors told as ours.

In: a path and what writes to it. Out: the file. The one rule: whatever fails, what was there before is there yet.
"""

from __future__ import annotations

import os

from ...files.whole import Writer, write_all
from ..problems import DataError, data_error


def write_whole(path: str | os.PathLike[str], write: Writer) -> None:
    """Replace the file by what `write` writes, in a folder that is made if it is missing.

    Errors: `DataError` if it cannot be written; the old file stays.
    """
    try:
        write_all({path: write}, folders=True)
    except DataError:
        raise
    except OSError as error:
        raise _failure(path, error.strerror or str(error)) from error
    except ValueError as error:
        if "null" not in str(error):
            raise
        raise _failure(repr(os.fspath(path)), str(error)) from None


def _failure(path: str | os.PathLike[str], reason: str) -> DataError:
    kept = ("the file that was there before is unchanged",) if os.path.isfile(path) else ()
    return data_error(
        "unwritable", f"cannot write {path}: {reason}", *kept, way_out="make room, or choose another folder"
    )
