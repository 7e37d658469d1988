"""How the time from text to derived statements grows: twice the program, twice the time.

In: families of texts. Out: for each the seconds at n and 2n, their ratio, and that of the characters that are written:
where the two are alike, the work is in proportion to what comes of it. The one rule: imports and sizes play no part.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import indexlang

TURNS = 2  # of each size; the least counts


def chain(n: int) -> str:
    """n statements, each of which reads the one before."""
    return "x0[i] = u[i]\n" + "".join(f"x{k + 1}[i] = tanh(x{k}[i])\n" for k in range(n - 1))


def product(n: int) -> str:
    """n factors, whose derivative has n products of n - 1."""
    return f"y[i] = {' * '.join(f'a{k}[i]' for k in range(n))}\n"


def calls(n: int) -> str:
    """n statements by layers that call one another twice."""
    layers, name = ["layer f1(x) -> y:\n    y = tanh(x)\n"], 1
    while name < n:
        layers.append(f"layer f{2 * name}(x) -> y:\n    h = f{name}(x)\n    y = f{name}(h)\n")
        name *= 2
    return "\n".join(layers) + f"\ny = f{name}(x)\n"


def nested(n: int) -> str:
    """A function in a function in a function."""
    return f"y[i] = {'sin(' * n}x[i]{')' * n}\n"


FAMILIES: dict[str, tuple[Callable[[int], str], tuple[int, ...]]] = {
    "statements in a chain": (chain, (1250, 2500, 5000, 10_000)),
    "factors of a product": (product, (25, 50, 100)),
    "statements by doubling calls": (calls, (512, 1024, 2048, 4096)),
    "functions in each other": (nested, (20, 40, 80)),
}


def main() -> None:
    """Print the table."""
    print(f"\n{'from text to derived statements':<32} {'n':>6} {'seconds':>9} {'time':>7} {'written':>8}")
    for name, (text, sizes) in FAMILIES.items():
        before: tuple[float, int] | None = None
        for n in sizes:
            found = measured(text(n))
            ratios = "" if before is None else f" x{found[0] / before[0]:<5.1f} x{found[1] / before[1]:<6.1f}"
            print(f"{name:<32} {n:>6} {found[0]:>9.3f}  {ratios}".rstrip())
            before = found


def measured(text: str) -> tuple[float, int]:
    """Seconds of the processor to compile and derive a text and to print what comes of it; the characters of that."""
    least, written = float("inf"), 0
    for _ in range(TURNS):
        start = time.process_time()
        written = len(str(indexlang.compile(text).grad()))
        least = min(least, time.process_time() - start)
    return least, written
