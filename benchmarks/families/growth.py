"""How cost grows: the same computation at several sizes, forward and backward, against the law that it must follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..workload import OTHER, OURS, STEP, Workload
from .conv import Case, workload
from .gemm import attention
from .train import lenet

PEERS = (OURS, OTHER, "numpy", "jax", "torch")


@dataclass(frozen=True)
class Curve:
    """Workloads by size; a law says that time and memory grow with the size to some power."""

    unit: str
    time_power: int
    memory_power: int
    workloads: Mapping[int, Workload]


def _curve(unit: str, time: int, memory: int, sizes: tuple[int, ...], make: Callable[[int], Workload]) -> Curve:
    rows = {}
    for size in sizes:
        row = make(size)
        peers = {name: build for name, build in row.peers.items() if name in PEERS}
        name = row.name if str(size) in row.name else f"{row.name}, {unit} {size}"
        rows[size] = replace(row, name=name, peers=peers, modes=(STEP,))
    return Curve(unit, time, memory, rows)


CURVES = {
    "3x3 convolution, 32 to 32 channels": _curve(
        "side of the image", 2, 2, (16, 32, 64, 128, 256, 512),
        lambda n: workload(Case("convolution", (1, n, n, 32), (3, 3, 32, 32), padding=1)),
    ),
    "attention, 4 heads of 32": _curve(
        "tokens", 2, 2, (32, 64, 128, 256, 512, 1024, 2048), lambda n: attention(1, n, 4, 32)
    ),
    "a step of LeNet-5": _curve("batch", 1, 1, (1, 4, 16, 64, 256), lenet),
}  # fmt: skip
WORKLOADS = tuple(row for curve in CURVES.values() for row in curve.workloads.values())
