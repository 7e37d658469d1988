"""What would run at given sizes: a step for each statement, its kernel, its domain, its work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A statement as it is run. `flops` counts scalar operations, `moved` the bytes of the tensors it names."""

    statement: str
    kernel: str
    extents: Mapping[str, tuple[int, int]]
    flops: int
    moved: int


@dataclass(frozen=True)
class Plan:
    """The steps of a program at one set of sizes, and the source that runs them."""

    steps: tuple[Step, ...]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    source: str
    workspace: int

    def __str__(self) -> str:
        lines = []
        for number, step in enumerate(self.steps, 1):
            domain = " ".join(f"{i}={lo}..{hi - 1}" if lo else f"{i}<{hi}" for i, (lo, hi) in step.extents.items())
            lines.append(f"{number}. {step.statement}")
            lines.append(f"   kernel   {step.kernel}")
            lines.append(f"   domain   {domain or 'one point'}")
            lines.append(f"   work     {amount(step.flops, 'flop')}, {amount(step.moved, 'B')}")
        tensors = ", ".join(f"{t}{list(s)} {self.dtypes[t]}" for t, s in self.shapes.items())
        lines.append(f"tensors   {tensors}")
        flops = amount(sum(s.flops for s in self.steps), "flop")
        lines.append(f"total     {flops}, {amount(self.workspace, 'B')} of tensors and workspace at most")
        return "\n".join(lines)


def amount(number: float, unit: str) -> str:
    """A number with a decimal prefix: 1.2 Mflop."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if abs(number) < 1000:
            return f"{number:.3g} {prefix}{unit}"
        number /= 1000
    return f"{number:.3g} E{unit}"
