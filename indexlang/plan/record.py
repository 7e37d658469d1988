"""What is told of a statement as it is run: its text, its kernel, its domain, its work.

In: records. Out: text. The one rule: numbers are counted from the plan, never measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """A statement as it is run. `flops` counts scalar operations as it is written, `moved` the bytes of the tensors it
    names; `planned` counts the operations that run, 0 where these are told of another statement. `joined` says that
    all of it is done by the kernel of a statement before.
    """

    statement: str
    kernel: str
    extents: tuple[tuple[str, tuple[int, int]], ...]
    flops: int
    moved: int
    planned: int = 0
    joined: bool = False


def told(
    records: Iterable[Record], shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str], workspace: int
) -> str:
    """The statements one by one, the tensors, and the totals."""
    lines, flops = [], 0
    for number, record in enumerate(records, 1):
        domain = " ".join(f"{i}={lo}..{hi - 1}" if lo else f"{i}<{hi}" for i, (lo, hi) in record.extents)
        lines.append(f"{number}. {record.statement}")
        lines.append(f"   kernel   {record.kernel}")
        lines.append(f"   domain   {domain or 'one point'}")
        lines.append(f"   work     {amount(record.flops, 'flop')}, {amount(record.moved, 'B')}")
        if 0 < 2 * record.planned < record.flops:
            fewer = amount(record.flops / record.planned, "").strip()
            lines.append(f"   planned  {amount(record.planned, 'flop')}, {fewer} times fewer")
        flops += record.flops
    lines.append(f"tensors   {', '.join(f'{t}{list(s)} {dtypes[t]}' for t, s in shapes.items())}")
    lines.append(f"total     {amount(flops, 'flop')}, {amount(workspace, 'B')} of tensors and workspace at most")
    return "\n".join(lines)


def amount(number: float, unit: str) -> str:
    """A number with a decimal prefix: 1.2 Mflop."""
    if abs(number) > 1e300:
        return f"more than 1e300 {unit}"
    for prefix in ("", "k", "M", "G", "T", "P"):
        if abs(number) < 1000:
            return f"{number:.3g} {prefix}{unit}"
        number /= 1000
    return f"{number:.3g} E{unit}"
