"""The page RESULTS.md: what `python -m benchmarks` measured, and after it what `cliffs` and `library` did.

In: the text of a part. Out: that part in `results`, and the page of all of them. The one rule: each part is a run of
its own, which says when and with what; writing one leaves the others as they are.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from indexlang.cli import doctor

PARTS = {"cliffs": "Cliffs", "library": "The library beside PyTorch"}  # behind the page, in this order
WHOLE, PARTLY = Path("benchmarks"), Path("out/benchmarks")
PAGE, RESULTS = "RESULTS.md", "results"


def folder(everything: bool) -> Path:
    """Where a run is written: one of a part of the workloads never onto the published page."""
    return WHOLE if everything else PARTLY


def assembled(page: str, parts: Mapping[str, str]) -> str:
    """The page with these parts, by name, behind it instead of those that it has."""
    starts = [page.find(f"\n## {title}\n") for title in PARTS.values()]
    own = page[: min((start for start in starts if start >= 0), default=len(page))].rstrip()
    behind = [f"## {title}\n\n{parts[name].strip()}" for name, title in PARTS.items() if name in parts]
    return "\n\n".join([*([own] if own else []), *behind]) + "\n"


def write_page(page: str, into: Path) -> None:
    """A page of its own, before the parts that are there."""
    found = {name: file.read_text(encoding="utf-8") for name in PARTS if (file := _file(name, into)).exists()}
    into.mkdir(parents=True, exist_ok=True)
    (into / PAGE).write_text(assembled(page, found), encoding="utf-8")


def write_part(name: str, text: str, into: Path) -> None:
    """A part, and the page with it; what stands before it stays."""
    file = _file(name, into)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.strip() + "\n", encoding="utf-8")
    there = into / PAGE
    write_page(there.read_text(encoding="utf-8") if there.exists() else "", into)


def _file(name: str, into: Path) -> Path:
    return into / RESULTS / f"{name}.md"


# -- where it was measured -----------------------------------------------------------------------------------


def how(threads: int, busy: bool) -> str:
    """Words for threads and clocks."""
    told = f"in {threads} thread{'s' if threads > 1 else ''}"
    return f"{told}, by the processor's time, as others used the machine" if busy else told


def when(minutes: float) -> str:
    """A sentence: the day, how long it took, the machine, and the versions."""
    told = ", ".join(f"{name} {number}" for name, number in versions(("numpy", "torch")).items())
    today = date.today()
    return f"Measured on {today.day} {today:%B %Y} in {minutes:.0f} minutes: {'; '.join(machine())}; {told}."


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of Python, and of those packages that are installed."""
    found = {"Python": platform.python_version()}
    for package in dict.fromkeys(packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # not installed, or a checkout that is not
            continue
    return found


def machine() -> list[str]:
    """In general terms: no names, no paths."""
    found = doctor.look(0.0)
    level = f" with {found.level}" if found.level else ""
    blas = f"NumPy's BLAS: {found.blas} {found.version}, {found.kernels or 'unknown'} kernels"
    ours = f"indexlang's backend: {found.backend.partition(',')[0]}"
    return [f"{platform.machine()}{level}, {platform.system()}", f"{found.processors} cores used", blas, ours]
