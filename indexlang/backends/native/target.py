"""The machine that code is made for: its vectors, its registers, its caches, as one value.

In: what LLVM says of the host. Out: a `Target`. The one rule: a schedule asks this value, never the machine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """`triple`, `cpu` and `features` are LLVM's; sizes are bytes. `fused` if a multiply-add is one instruction."""

    triple: str
    cpu: str
    features: str
    vector: int  # bytes of a vector register
    registers: int
    fused: bool
    l1: int = 32 << 10
    l2: int = 512 << 10

    def lanes(self, itemsize: int) -> int:
        """How many elements a vector holds."""
        return self.vector // itemsize


AVX2 = Target("x86_64-unknown-linux-gnu", "haswell", "", 32, 16, True)
AVX512 = Target("x86_64-unknown-linux-gnu", "skylake-avx512", "", 64, 32, True)
BASELINE = Target("x86_64-unknown-linux-gnu", "x86-64", "", 16, 16, False)
NEON = Target("aarch64-unknown-linux-gnu", "generic", "", 16, 32, True)
