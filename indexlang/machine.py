"""How many processors this process may use.

The one rule: what the system allows counts, not what the machine has: affinity, and the limit of a container.
"""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path


def processors() -> int:
    """The processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> float | None:
    """The processors' time that a container gets, in processors; None where nothing limits it."""
    try:
        limit, period = file.read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def usable() -> int:
    """How many threads can run at a time."""
    limit = quota()
    return processors() if limit is None else max(1, min(processors(), ceil(limit)))
