"""What this machine can do at most: the fastest product of matrices and the fastest copy that any library reaches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..libraries import inputs_of
from ..workload import FORWARD, Array, Arrays, Build, Normal, Prepared, Workload

N, LENGTH = 1536, 1 << 24


def _into(call: Callable[..., Any]) -> Build:
    """NumPy, writing into an array that is there."""

    def build(arrays: Arrays, _gradients: bool) -> Prepared:
        given = list(inputs_of(arrays).values())
        out: Array = np.zeros_like(given[0])
        return Prepared(lambda: call(*given, out), lambda _: {"y": out})

    return build


def _torch(call: Callable[..., Any]) -> Build:
    def build(arrays: Arrays, _gradients: bool) -> Prepared:
        import torch

        given = [torch.from_numpy(a) for a in inputs_of(arrays).values()]
        out = torch.zeros_like(given[0])
        return Prepared(lambda: call(torch, *given, out), lambda _: {"y": out.numpy()})

    return build


WORKLOADS = (
    Workload(
        f"sgemm of {N}x{N}",
        {"a": Normal((N, N)), "b": Normal((N, N))},
        (N, N),
        {
            "numpy": _into(lambda a, b, out: np.matmul(a, b, out=out)),
            "torch": _torch(lambda torch, a, b, out: torch.mm(a, b, out=out)),
        },
        flops=2 * N**3,
        modes=(FORWARD,),
    ),
    Workload(
        f"copy of {LENGTH * 4 >> 20} MiB",
        {"a": Normal((LENGTH,))},
        (LENGTH,),
        {
            "numpy": _into(lambda a, out: np.copyto(out, a)),
            "torch": _torch(lambda _torch, a, out: out.copy_(a)),
        },
        modes=(FORWARD,),
    ),
)
