"""What idle threads cost: one product of matrices in a process that holds one library, and in one that holds three.

Out: milliseconds by library and arrangement. This is why each library is measured in a process of its own, stopped
while another one is.
"""

from __future__ import annotations

import json
import subprocess
import sys

N, ROUNDS = 512, 40

CODE = """
import json, sys, time
from statistics import median
import numpy as np
names, n, rounds = sys.argv[1].split(","), int(sys.argv[2]), int(sys.argv[3])
a, b = np.ones((n, n), "f4"), np.ones((n, n), "f4")
calls = {}
if "numpy" in names:
    calls["numpy"] = lambda: np.matmul(a, b)
if "torch" in names:
    import torch
    ta, tb = torch.from_numpy(a), torch.from_numpy(b)
    calls["torch"] = lambda: torch.mm(ta, tb)
if "jax" in names:
    import jax
    ja, jb = jax.numpy.asarray(a), jax.numpy.asarray(b)
    product = jax.jit(jax.numpy.matmul)
    calls["jax"] = lambda: product(ja, jb).block_until_ready()
times = {name: [] for name in calls}
for call in calls.values():
    call()
for _ in range(rounds):
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        times[name].append(time.perf_counter() - start)
print(json.dumps({name: 1e3 * median(found) for name, found in times.items()}))
"""


def measure(peers: tuple[str, ...] = ("numpy", "torch", "jax")) -> dict[str, dict[str, float]]:
    """Milliseconds of a product by library: alone, and called in turn in one process."""
    alone: dict[str, float] = {}
    for peer in peers:
        alone |= _run(peer)
    return {"alone": alone, "in turn": _run(",".join(peers))}


def _run(names: str) -> dict[str, float]:
    command = [sys.executable, "-c", CODE, names, str(N), str(ROUNDS)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found
