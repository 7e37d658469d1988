"""What grows with a program grows in proportion to its text: calls are counted, no time is measured.

Each family of texts is compiled, derived and printed at two sizes. The calls of functions, Python's and built in, are
counted; divided by the characters that are written they may not grow.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

import indexlang


def calls(work: Callable[[], Any]) -> tuple[int, Any]:
    """How many functions are called, and what comes out."""
    count = 0

    def note(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        result = work()
    finally:
        sys.setprofile(None)
    return count, result


def chain(n: int) -> str:
    """n statements, each of which reads the one before."""
    return "x0[i] = u[i]\n" + "".join(f"x{k + 1}[i] = tanh(x{k}[i])\n" for k in range(n - 1))


def softmaxes(n: int) -> str:
    """n layers with quotients, each of which reads the one before."""
    layer = "e{k}[b,i] = exp(x{k}[b,i])\ns{k}[b] = e{k}[b,i]\nx{m}[b,i] = e{k}[b,i] / s{k}[b]\n"
    return "x0[b,i] = u[b,i]\n" + "".join(layer.format(k=k, m=k + 1) for k in range(n))


def markov(n: int) -> str:
    """A hidden Markov model, unrolled."""
    step = "a{k}[b,j] = sum[i](a{m}[b,i] * A[i,j]) * e[b,{k},j]\n"
    steps = "".join(step.format(k=k, m=k - 1) for k in range(1, n))
    return f"a0[b,k] = p[k] * e[b,0,k]\n{steps}l[b] = log(sum[k](a{n - 1}[b,k]))\n"


def doubling(n: int) -> str:
    """Layers that call one another twice: 2**n statements."""
    layers = ["layer f0(x) -> y:\n    y = tanh(x)\n"]
    layers += [f"layer f{k}(x) -> y:\n    h = f{k - 1}(x)\n    y = f{k - 1}(h)\n" for k in range(1, n + 1)]
    return "\n".join(layers) + f"\ny = f{n}(x)\n"


def sines(n: int) -> str:
    """A function in a function in a function."""
    return f"y[i] = {'sin(' * n}x[i]{')' * n}\n"


def minima(n: int) -> str:
    """n subscripts that may all bound one index."""
    return f"y[v] = x[{', '.join(['j+v'] * n)}] * w[j]\n"


def product(n: int) -> str:
    """A product of n factors, whose derivative has n products of n - 1."""
    return f"y[i] = {' * '.join(f'a{k}[i]' for k in range(n))}\n"


FAMILIES: dict[str, tuple[Callable[[int], str], int, int]] = {
    "chain": (chain, 100, 200),
    "softmaxes": (softmaxes, 25, 50),
    "markov": (markov, 25, 50),
    "doubling": (doubling, 7, 8),
    "sines": (sines, 40, 80),
    "minima": (minima, 9, 18),
    "product": (product, 25, 50),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_work_grows_as_what_is_written(family: str) -> None:
    text, *sizes = FAMILIES[family]
    per_character = []
    for n in sizes:
        compiling, f = calls(lambda n=n: indexlang.compile(text(n)))  # type: ignore[misc]
        deriving, g = calls(f.grad)
        printing, written = calls(lambda g=g: str(g))  # type: ignore[misc]
        per_character.append((compiling / len(str(f)), (deriving + printing) / len(str(f) + written)))
    for small, large in zip(*per_character, strict=True):
        assert large < 1.3 * small


def test_the_second_derivative_of_a_product() -> None:
    per_character = []
    for n in (10, 20):
        g = indexlang.compile(product(n)).grad()
        deriving, h = calls(g.grad)
        printing, written = calls(lambda h=h: str(h))  # type: ignore[misc]
        per_character.append((deriving + printing) / len(written))
    assert per_character[1] < 1.1 * per_character[0]


def test_a_part_of_a_part_is_computed_once() -> None:
    n = 30
    derived = str(indexlang.compile(sines(n)).grad())
    assert len(re.findall(r"\bsin\(", derived)) == n - 1
    assert len(re.findall(r"\bcos\(", derived)) == n
