"""The families of workloads: a module each, with its rows in `WORKLOADS`."""

from __future__ import annotations

from importlib import import_module

from ..workload import Workload

FAMILIES = {
    "gemm": "products of matrices and tensors",
    "conv": "convolutions",
    "memory": "moving memory",
    "special": "no kernel in frameworks",
    "tiny": "tiny calls",
    "train": "whole training steps",
}
LIMITS = "limits"


def rows(family: str) -> tuple[Workload, ...]:
    """The workloads of a family."""
    found: tuple[Workload, ...] = import_module(f"{__name__}.{family}").WORKLOADS
    return found


def find(family: str, name: str) -> Workload:
    """A workload by its names."""
    return next(w for w in rows(family) if w.name == name)
