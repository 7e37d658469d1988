"""How many processors and how much memory this process may use.

The one rule: what the system allows counts, not what the machine has: affinity, and the limits of a container, those of
every group of processes that this one is in (`cgroup`, in both of its versions).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from math import ceil
from pathlib import Path

ROOT = Path("/")
_LIMITS = {"cpu": ("cpu.max", "cpu.cfs_quota_us"), "memory": ("memory.max", "memory.limit_in_bytes")}


def processors() -> int:
    """The processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota(root: Path = ROOT) -> float | None:
    """The processors' time that a container gets, in processors; None where nothing limits it."""
    found = []
    for folder in _folders("cpu", root):
        limit, _, period = _text(folder / "cpu.max").partition(" ")
        if not period:
            limit, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if _is_number(limit) and _is_number(period):
            found.append(int(limit) / int(period))
    return min(found, default=None)


def usable() -> int:
    """How many threads can run at a time."""
    return within(processors(), quota())


def within(there: int, limit: float | None) -> int:
    """How many threads can run at a time on so many processors, of whose time so much may be had."""
    return there if limit is None else max(1, min(there, ceil(limit)))


def memory(root: Path = ROOT) -> int | None:
    """The bytes that this process can still have, by the machine and by each limit; None where the system does not say.

    What holds copies of files is counted as free, as the system gives it away when it is needed.
    """
    found = [left for folder in _folders("memory", root) if (left := _left(folder)) is not None]
    available = _row(_text(root / "proc/meminfo"), "MemAvailable:")
    if available is not None:
        found.append(available * 1024)
    elif root == ROOT:
        found += _physical()
    return min(found, default=None)


def _left(folder: Path) -> int | None:
    """What a group of processes may still take."""
    for most, now, files in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _text(folder / most), _text(folder / now)
        if _is_number(limit) and used.isdecimal():
            return max(0, int(limit) - int(used) + (_row(_text(folder / "memory.stat"), files) or 0))
    return None


def _physical() -> list[int]:
    try:
        return [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, OSError, ValueError):
        return []


@cache
def _folders(controller: str, root: Path) -> tuple[Path, ...]:
    """The folders that may limit this process: that of its group and those above it, wherever they are mounted."""
    return tuple(f for f in _found(controller, root) if any((f / name).exists() for name in _LIMITS[controller]))


def _found(controller: str, root: Path) -> Iterator[Path]:
    groups: dict[str, str] = {}
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if (number == "0" and not names) or controller in names.split(","):
            groups["cgroup" if names else "cgroup2"] = path
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in groups:
            continue
        if kind[0] == "cgroup" and controller not in kind[2].split(","):
            continue
        mounted, place = _plain(fields[3]), root / _plain(fields[4]).lstrip("/")
        # A container may see its own group alone, as the top of what is mounted.
        inner = os.path.relpath(groups[kind[0]], mounted)
        parts = [] if inner.startswith("..") else [p for p in inner.split("/") if p != "."]
        yield from (place.joinpath(*parts[:k]) for k in range(len(parts) + 1))


def _plain(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def _text(file: Path) -> str:
    try:
        with open(file, "rb", buffering=0) as raw:
            return (raw.read() or b"").decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) > 0


def _row(text: str, name: str) -> int | None:
    """The number in a row that begins with a name."""
    rows = (line.split() for line in text.splitlines())
    return next((int(r[1]) for r in rows if len(r) > 1 and r[0] == name and r[1].isdecimal()), None)
