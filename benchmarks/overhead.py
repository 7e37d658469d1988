"""What the compiler costs, and what its convolution gains over einsum on sliding windows."""

from __future__ import annotations

import os
import platform

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

import indexlang

from . import doubling
from .rounds import in_processes, interleaved

CONVOLUTION = "y[b,i,j,cy] += W[di,dj,cx,cy] * x[b,i+di,j+dj,cx]"

TIMED = "import time; start = time.perf_counter(); {timed}; print(time.perf_counter() - start)"
FIRST = (
    "import time, numpy as np, indexlang\n"
    "x, W = np.ones((2, 9, 8, 3), 'f4'), np.ones((3, 3, 3, 4), 'f4')\n"
    "start = time.perf_counter()\n"
    f"indexlang.compile({CONVOLUTION!r})(x=x, W=W)\n"
    "print(time.perf_counter() - start)"
)

PLANNED = {"lenet5": (64, "under 0.3 s"), "alexnet": (8, "under 1 s"), "resnet50": (2, "under 3 s")}
PLANNING = """\
import time, numpy as np
from indexlang.edf import CrossEntropy, Input
from indexlang.edf.networks import build
start = time.perf_counter()
network = build("{name}")
with network.graph as graph:
    labels = Input("labels")
    loss = CrossEntropy(network.scores, labels)
drawn = time.perf_counter()
[p.value for p in graph.parameters]
drawn = time.perf_counter() - drawn
shape = ({batch}, *network.x.example)
graph.prepare(loss, {{network.x: np.zeros(shape, np.float32), labels: np.zeros({batch}, np.int64)}})
print(time.perf_counter() - start - drawn)
"""

Array = NDArray[np.float32]


def main(rounds: int) -> None:
    """Print every measurement with its goal."""
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, {os.cpu_count()} CPUs"
    print(f"{versions}; medians of {rounds} turns.\n")
    starting(rounds)
    planning(min(rounds, 3))
    doubling.main()
    print()
    calling(rounds)
    convolution(rounds)


def starting(rounds: int) -> None:
    """Imports, and from the text of the convolution to its first result, each in a fresh process."""
    codes = {module: TIMED.format(timed=f"import {module}") for module in ("numpy", "indexlang")}
    times = in_processes({**codes, "first": FIRST}, rounds)
    extra = times["indexlang"] - times["numpy"]
    row("text to first result, imports done", f"{times['first'] * 1e3:.1f} ms", "under 30 ms")
    row("import indexlang over import numpy", f"{extra * 1e3:.1f} ms", "under 150 ms")


def calling(rounds: int) -> None:
    """A small compiled statement against the same call of NumPy."""
    a, b = np.ones((4, 4), np.float32), np.ones((4, 4), np.float32)
    f = indexlang.compile("C[i,k] = A[i,j] * B[j,k]")
    times = interleaved({"ours": lambda: f(A=a, B=b), "numpy": lambda: np.matmul(a, b)}, rounds, repeat=2000)
    row("a call of a 4x4 matmul over np.matmul", f"{(times['ours'] - times['numpy']) * 1e6:.2f} us", "under 5 us")

    def by_hand() -> tuple[Array, Array, Array]:
        return a @ b, a @ b.T, a.T @ b

    times = interleaved({"ours": lambda: f.vjp(A=a, B=b)[1](a), "numpy": by_hand}, rounds, repeat=2000)
    row(
        "its vjp and pullback over the three products",
        f"{(times['ours'] - times['numpy']) * 1e6:.2f} us",
        "under 14 us",
    )


def planning(rounds: int) -> None:
    """From the nodes of a network to its first training step that can run, parameters drawn, imports done."""
    codes = {name: PLANNING.format(name=name, batch=batch) for name, (batch, _) in PLANNED.items()}
    for name, seconds in in_processes(codes, rounds).items():
        batch, goal = PLANNED[name]
        row(f"{name}, batch {batch}: to the first step that can run", f"{seconds:.2f} s", goal)


def convolution(rounds: int) -> None:
    """8x58x58x64 with 3x3 to 64, forward and backward, against what a user of einsum would write."""
    random = np.random.default_rng(0)
    x = random.standard_normal((8, 58, 58, 64), np.float32)
    kernel = random.standard_normal((3, 3, 64, 64), np.float32)
    dy = random.standard_normal((8, 56, 56, 64), np.float32)
    f = indexlang.compile(CONVOLUTION)
    g = f.grad()

    def window_forward() -> Array:
        windows = sliding_window_view(x, (3, 3), axis=(1, 2))
        found: Array = np.einsum("bijcrs,rsco->bijo", windows, kernel, optimize=True)
        return found

    def window_backward() -> tuple[Array, Array]:
        windows = sliding_window_view(x, (3, 3), axis=(1, 2))
        padded = np.pad(dy, ((0, 0), (2, 2), (2, 2), (0, 0)))
        around = sliding_window_view(padded, (3, 3), axis=(1, 2))
        d_kernel = np.einsum("bijcrs,bijo->rsco", windows, dy, optimize=True)
        return d_kernel, np.einsum("bijors,rsco->bijc", around, kernel[::-1, ::-1], optimize=True)

    def taps_backward() -> tuple[Array, Array]:
        windows = sliding_window_view(x, (3, 3), axis=(1, 2))
        d_x = np.zeros_like(x)
        for r in range(3):
            for s in range(3):
                d_x[:, r : r + 56, s : s + 56] += np.einsum("bijo,co->bijc", dy, kernel[r, s], optimize=True)
        return np.einsum("bijcrs,bijo->rsco", windows, dy, optimize=True), d_x

    given = {"x": x, "W": kernel, "y.grad": dy}
    ours = g(**given)
    for theirs in (window_backward(), taps_backward()):  # the same numbers, or the comparison means nothing
        assert np.allclose(ours["W.grad"], theirs[0], rtol=1e-3, atol=1e-1)
        assert np.allclose(ours["x.grad"], theirs[1], rtol=1e-3, atol=1e-2)
    assert np.allclose(f(x=x, W=kernel), window_forward(), rtol=1e-3, atol=1e-2)

    times = interleaved(
        {
            "forward": lambda: f(x=x, W=kernel),
            "einsum forward": window_forward,
            "backward": lambda: g(**given),
            "einsum backward, windows": window_backward,
            "einsum backward, taps": taps_backward,
        },
        rounds,
    )
    print()
    flops = 2 * dy.size * 9 * 64
    for name, seconds in times.items():
        work = flops if "forward" in name else 2 * flops
        row(f"convolution, {name}", f"{seconds * 1e3:.1f} ms", f"{work / seconds / 1e9:.0f} GF/s")
    print()
    row("forward, times faster than einsum", f"{times['einsum forward'] / times['forward']:.1f}", "at least 3")
    for kind in ("windows", "taps"):
        ratio = times[f"einsum backward, {kind}"] / times["backward"]
        row(
            f"backward, times faster than einsum with {kind}", f"{ratio:.1f}", "at least 3" if kind == "windows" else ""
        )


def row(what: str, measured: str, goal: str) -> None:
    """One line of the report."""
    print(f"{what:<52} {measured:>10}   {goal}".rstrip())
