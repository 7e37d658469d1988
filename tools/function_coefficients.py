"""`python -m tools.function_coefficients` prints indexlang/backends/native/coefficients.py.

In: nothing. Out: Python. The one rule: each polynomial is a Chebyshev fit that is made with 60 digits and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mpmath as mp
import numpy as np

Fit = tuple[str, str, Callable[[Any], Any], Any, Any, int, str]

HEAD = '''"""Coefficients of polynomials, the highest power first, and constants in two parts.

`python -m tools.function_coefficients` prints this file.

In: nothing. Out: numbers. The one rule: they are written as bits, so that nothing rounds them again.
"""

from __future__ import annotations

from collections.abc import Mapping


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float.fromhex, text.split()))

'''


TAILS = {"float32": ("14.5", 11), "float64": ("39", 23)}  # behind what the tail is 0; how many coefficients


def _tail_from(middle: Any) -> Callable[[Any], Any]:
    """The tail times z + 5, minus 1, where z / (z + 5) is u + middle."""

    def tail(u: Any) -> Any:
        z = 5 * (u + middle) / (1 - u - middle)
        return mp.erfc(z / mp.sqrt(2)) / 2 * mp.exp(z * z / 2) * (z + 5) - 1

    return tail


MIDDLE = {"float32": float(np.float32(0.43)), "float64": 0.47}  # by trial: where least is lost


def _fits() -> Iterator[Fit]:
    """Name, type, function, interval, number of coefficients, what it is."""
    half, root = mp.log(2) / 2 * mp.mpf("1.01"), mp.sqrt(2)
    for dtype, n in (("float32", 5), ("float64", 11)):
        yield "EXP", dtype, _exponential, -half, half, n, "(exp(r) - 1 - r) / r**2"
    for dtype, n in (("float32", 8), ("float64", 20)):
        yield "LOG", dtype, _logarithm, 1 / root - 1, root - 1, n, "(log(1 + f) - f + f**2 / 2) / f**3"
    for dtype, (farthest, count) in TAILS.items():
        middle = mp.mpf(MIDDLE[dtype])
        least, most = (mp.mpf(z) / (mp.mpf(z) + 5) for z in ("0.62", farthest))
        text = "the normal tail behind z over exp(-z**2 / 2), times z + 5, minus 1, in z / (z + 5) - MIDDLE"
        yield "TAIL", dtype, _tail_from(middle), least - middle, most - middle, count, text
    for dtype, n in (("float32", 8), ("float64", 13)):
        yield "ERF", dtype, _erf_near, 0, 1, n, "erf(x) / x - 1 in x**2"
    for dtype, n in (("float32", 6), ("float64", 11)):
        yield "NORMAL", dtype, _normal_near, 0, mp.mpf("0.4"), n, "(the normal distribution - 1/2) / x in x**2"
    quarter = (mp.pi / 4 * mp.mpf("1.01")) ** 2
    for dtype, n in (("float32", 4), ("float64", 7)):
        yield "SIN", dtype, lambda v: _alternating(v, 3), 0, quarter, n, "(sin(r) - r) / r**3 in r**2"
        yield "COS", dtype, lambda v: _alternating(v, 4), 0, quarter, n, "(cos(r) - 1 + r**2 / 2) / r**4 in r**2"
    yield "SINH", "float64", _hyperbolic, 0, 1, 8, "(sinh(x) - x) / x**3 in x**2"
    one = mp.mpf("0.1716")
    yield "ATAN", "float64", lambda v: _arc(v, mp.atan, -mp.mpf(1) / 3), 0, one, 13, "(atan(x) - x) / x**3 in x**2"
    yield (
        "ASIN",
        "float64",
        lambda v: _arc(v, mp.asin, mp.mpf(1) / 6),
        0,
        mp.mpf("0.25"),
        14,
        "(asin(x) - x) / x**3 in x**2",
    )


def _erf_near(v: Any) -> Any:
    return _even(v, lambda x: mp.erf(x) / x - 1, 2 / mp.sqrt(mp.pi) - 1)


def _normal_near(v: Any) -> Any:
    return _even(v, lambda x: mp.erf(x / mp.sqrt(2)) / x / 2, 1 / mp.sqrt(2 * mp.pi))


def _logarithm(f: Any) -> Any:
    if abs(f) > 0.01:
        return (mp.log1p(f) - f + f * f / 2) / f**3
    return mp.fsum((-1) ** (k + 1) * f ** (k - 3) / k for k in range(3, 43))


def _exponential(r: Any) -> Any:
    return mp.fsum(r ** (k - 2) / mp.factorial(k) for k in range(2, 42))


def _even(v: Any, function: Callable[[Any], Any], at_zero: Any) -> Any:
    return function(mp.sqrt(v)) if v > 1e-40 else at_zero


def _alternating(v: Any, first: int) -> Any:
    """What sin or cos is made of from a power on, divided by that power; v is the square."""
    return mp.fsum((-1) ** (k // 2) / mp.factorial(k) * v ** ((k - first) // 2) for k in range(first, first + 50, 2))


def _hyperbolic(v: Any) -> Any:
    return mp.fsum(v ** ((k - 3) // 2) / mp.factorial(k) for k in range(3, 53, 2))


def _arc(v: Any, function: Callable[[Any], Any], at_zero: Any) -> Any:
    return _even(v, lambda x: (function(x) - x) / x**3, at_zero)


def _rounded(number: Any, dtype: str) -> float:
    if dtype == "float64":
        return float(number)
    with mp.workprec(24):
        return float(np.float32(float(+number)))


def _parts(number: Any, bits: tuple[int, ...]) -> list[float]:
    """A number as a sum of parts of so many bits; the last is rounded."""
    found = []
    for count in bits:
        part = mp.mpf(0)
        if number:
            _, exponent = mp.frexp(number)
            scale = mp.mpf(2) ** (count - exponent)
            part = mp.floor(number * scale) / scale if count < 53 else number
        found.append(float(part))
        number = number - mp.mpf(found[-1])
    return found


def _written(name: str, dtype: str, numbers: list[float], note: str) -> str:
    lines = [f'    "{dtype}": _numbers("""']
    lines += ["        " + " ".join(n.hex() for n in numbers[k : k + 4]) for k in range(0, len(numbers), 4)]
    return "\n".join([*lines, '    """),'])


def page() -> str:
    """The file."""
    mp.mp.dps = 60
    tables: dict[str, list[str]] = {}
    for name, dtype, function, low, high, count, note in _fits():
        numbers = [_rounded(c, dtype) for c in mp.chebyfit(function, [low, high], count)]
        tables.setdefault(f"# {note}\n{name}", []).append(_written(name, dtype, numbers, note))
    text = [HEAD]
    for head, rows in tables.items():
        comment, name = head.split("\n")
        text.append("\n".join([comment, f"{name}: Mapping[str, tuple[float, ...]] = {{", *rows, "}\n"]))
    text.append(f"MIDDLE = {MIDDLE!r}\n")
    mp.mp.prec = 1600
    chunks = [int(mp.floor(2 / mp.pi * mp.mpf(2) ** (29 * k))) % 2**29 * mp.mpf(2) ** (-29 * k) for k in range(1, 8)]
    words = [int(mp.floor(2 / mp.pi * mp.mpf(2) ** (64 * k - 55))) % 2**64 for k in range(1, 21)]
    single = ("float32", (15, 53))
    constants: list[tuple[str, list[float]]] = [
        (
            "LN2_FLOAT32",
            [_parts(mp.log(2), single[1])[0], _rounded(mp.log(2) - _parts(mp.log(2), (15,))[0], "float32")],
        ),
        ("LN2_FLOAT64", _parts(mp.log(2), (32, 53))),
        ("HALF_PI", _parts(mp.pi / 2, (53, 53))),
        ("TWO_OVER_PI", [float(c) for c in chunks]),
    ]
    for name, numbers in constants:
        rows = ["    " + " ".join(n.hex() for n in numbers[k : k + 4]) for k in range(0, len(numbers), 4)]
        text.append("\n".join([f'{name} = _numbers("""', *rows, '""")']))
    text.append(f"# The bits of 2 / pi behind 55 zeros, 64 in each word.\nWORDS = ({', '.join(map(hex, words))})")
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    print(page(), end="")
