"""What can be wrong with a file or with the data in it.

In: the rule that was broken, the values that broke it, a way out. Out: an exception.
"""

from __future__ import annotations

from ..errors import IndexLangError, Problem


class DataError(IndexLangError):
    """A file or an array that is missing, damaged or does not fit: data sets, weights, checkpoints."""


def data_error(code: str, rule: str, *values: str, way_out: str | None = None) -> DataError:
    """A `DataError` of one problem."""
    return DataError(Problem(code, rule, None, values, way_out))
