"""What is kept of earlier calls, by sizes and types.

In: a dict, a key, a value. Out: the dict with it. The one rule: it never holds more than so many.
"""

from __future__ import annotations

from typing import Any

MOST_SIZES = 1024  # sets of sizes whose code is kept


def keep(kept: dict[Any, Any], key: object, value: object) -> None:
    """Keep what belongs to a set of sizes; of too many, the first goes."""
    while len(kept) >= MOST_SIZES:
        kept.pop(next(iter(kept)), None)
    kept[key] = value
