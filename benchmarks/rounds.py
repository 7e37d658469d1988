"""Measuring things turn by turn, so that a slow moment of the machine hits all of them alike."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median


def interleaved(things: Mapping[str, Callable[[], object]], rounds: int, repeat: int = 1) -> dict[str, float]:
    """The median seconds of one call of each, over `rounds` turns of `repeat` calls."""
    found: dict[str, list[float]] = {name: [] for name in things}
    for thing in things.values():
        thing()
    for _ in range(rounds):
        for name, thing in things.items():
            start = time.perf_counter()
            for _ in range(repeat):
                thing()
            found[name].append((time.perf_counter() - start) / repeat)
    return {name: median(times) for name, times in found.items()}


def in_processes(codes: Mapping[str, str], rounds: int) -> dict[str, float]:
    """The median of the number that each piece of code prints, each time in a process of its own."""
    found: dict[str, list[float]] = {name: [] for name in codes}
    for turn in range(rounds + 1):
        for name, code in codes.items():
            printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            if turn:  # the first one fills the file caches
                found[name].append(float(printed))
    return {name: median(times) for name, times in found.items()}
