"""What can be wrong with a file or with the data in it.

In: the rule that was broken, the values that broke it, a way out. Out: an exception.
"""

from __future__ import annotations

from ..errors import IndexLangError, Problem


class DataError(IndexLangError):
    """A file or an array that is missing, damaged or does not fit: data sets, weights, checkpoints."""


_AGAIN = "save it again, or fetch it again: what is there cannot be relied on"
_WAYS = {  # of codes that leave one way, wherever they are told
    "damaged": _AGAIN,
    "truncated": _AGAIN,
    "missing-file": "correct the path, or put the file there",
    "other-format": "pass a file of the kind that is asked for",
    "dtype": "convert it to floating-point numbers or integers of up to 64 bits",
    "unwritable": "give it another name",
    "file-size": "take a smaller file, or a machine with more memory",
    "other-network": "make what it was saved from in the same way, or pass another file",
}


def data_error(code: str, rule: str, *values: str, way_out: str | None = None) -> DataError:
    """A `DataError` of one problem; the way out is that of its code, if none is given."""
    return DataError(Problem(code, rule, None, values, way_out or _WAYS.get(code)))
