"""`python -m tools.function_errors` prints the table of docs/native-functions.md: the largest errors of functions.

In: functions of the native backend, compiled for this machine. Out: Markdown. The one rule: what is right is said by
mpmath, in units in the last place of the exact result; a subnormal number's is that of the smallest normal one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

from indexlang.backends.native import engine
from indexlang.backends.native.emit import module
from indexlang.backends.native.functions import call
from indexlang.backends.native.nest import Array, Literal, Nest, Type
from indexlang.backends.native.target import Target
from indexlang.backends.native.writing import Writing

Numbers = np.ndarray[Any, Any]
Argument = Numbers | Literal


def nest_of(fn: str, args: Sequence[Argument], dtype: str, lanes: int) -> Nest:
    """A function of the elements of arrays, so many at a time; their number is a multiple of that."""
    w = Writing()
    size = max(len(a) for a in args if not isinstance(a, Literal))
    arrays = [Array(f"a{k}", a.dtype.name, size) for k, a in enumerate(args) if not isinstance(a, Literal)]
    out = Array("out", dtype, size, "output")
    with w.loop(w.fresh("i"), 0, size, lanes) as i:
        reads = iter(arrays)
        operands = [a if isinstance(a, Literal) else w.read(next(reads), i, lanes) for a in args]
        w.write(out, i, call(w, fn, operands, Type(dtype, lanes)))
    return Nest("function", (*arrays, out), (), tuple(w.lists[0]))


def computed(fn: str, args: Sequence[Argument], dtype: str, lanes: int = 8, target: Target | None = None) -> Numbers:
    """The function by compiled code."""
    arrays = [a for a in args if not isinstance(a, Literal)]
    size = len(arrays[0])
    padded = [a if isinstance(a, Literal) else np.resize(a, -(-size // lanes) * lanes) for a in args]
    nest = nest_of(fn, padded, dtype, lanes)
    given = {f"a{k}": a for k, a in enumerate(padded) if not isinstance(a, Literal)}
    given["out"] = np.empty(-(-size // lanes) * lanes, dtype)
    library = engine.compiled(module([nest], target or engine.host()), [nest.name], target or engine.host())
    engine.call(library, nest, given)
    return given["out"][:size]


def ulps(found: Numbers, exact: Sequence[Any]) -> Numbers:
    """How many units in the last place numbers are off; inf where a special value is wrong."""
    info = np.finfo(found.dtype)
    half = mp.mpf(2) ** (info.maxexp - info.nmant - 2)
    errors = []
    for number, right in zip(found.tolist(), exact, strict=True):
        if isinstance(right, mp.mpc):
            right = mp.nan
        if abs(right) >= mp.mpf(float(info.max)) + half:
            right = mp.sign(right) * mp.inf
        if mp.isnan(right) or mp.isinf(right) or not np.isfinite(number):
            same = np.isnan(number) if mp.isnan(right) else number == right
            near = mp.isfinite(right) and abs(number) == np.inf and abs(right) > float(info.max) * (1 - 2 * info.eps)
            errors.append(0.0 if same or near else np.inf)
            continue
        exponent = mp.frexp(abs(right))[1] - 1 if right else info.minexp
        unit = mp.mpf(2) ** (max(int(exponent), int(info.minexp)) - info.nmant)
        errors.append(float(abs(mp.mpf(number) - right) / unit))
    return np.array(errors)


# -- points --------------------------------------------------------------------------------------------

Draw = Callable[[np.random.Generator, int, str], tuple[Numbers, ...]]


def between(low: float, high: float) -> Draw:
    return lambda rng, n, dtype: (rng.uniform(low, high, n).astype(dtype),)


def sizes(low: float, high: float, signs: Sequence[float] = (1.0, -1.0)) -> Draw:
    """Powers of two, whose exponents lie between, as far as the type goes."""

    def drawn(rng: np.random.Generator, n: int, dtype: str) -> tuple[Numbers, ...]:
        ends = (-149.0, 127.99) if dtype == "float32" else (-1074.0, 1023.99)
        numbers = np.exp2(rng.uniform(max(low, ends[0]), min(high, ends[1]), n)) * rng.choice(signs, n)
        return (numbers.astype(dtype),)

    return drawn


def both(first: Draw, second: Draw) -> Draw:
    return lambda rng, n, dtype: (*first(rng, n, dtype), *second(rng, n, dtype))


def near_quarters(rng: np.random.Generator, n: int, dtype: str) -> tuple[Numbers, ...]:
    """Next to multiples of pi/2, and what is nearest to one of all."""
    with mp.workprec(200):
        exact = [mp.pi / 2 * int(k) for k in np.exp2(rng.uniform(0, 22, n - 1)).astype(np.int64)]
    worst = 16367173.0 * 2.0**72 if dtype == "float32" else 6381956970095103.0 * 2.0**797
    return (np.array([*map(float, exact), worst]).astype(dtype),)


def powers(rng: np.random.Generator, n: int, dtype: str) -> tuple[Numbers, ...]:
    """Bases, and exponents by which the power stays in range."""
    base = np.exp2(rng.uniform(-20, 20, n))
    top = 700.0 if dtype == "float64" else 85.0
    return base.astype(dtype), (rng.uniform(-top, top, n) / np.log(base)).astype(dtype)


@dataclass(frozen=True)
class Case:
    """A function, what it is for mpmath, and where it is asked."""

    fn: str
    exact: Callable[..., Any]
    draws: tuple[Draw, ...]


def _gelu(x: Any) -> Any:
    return x * mp.erfc(-x / mp.sqrt(2)) / 2


_ALL = sizes(-1074, 1024)
_POSITIVE = sizes(-1074, 1024, (1.0,))
_EXPONENTS = (between(-1, 1), between(-4, 4), between(-110, 95), between(-760, 715), sizes(-1074, 10))
_ANGLES = (between(-0.8, 0.8), between(-10, 10), between(-1e5, 1e5), _ALL, near_quarters)
_UNIT = (between(-1, 1), sizes(-1074, -1e-5))
_PAIRS = (both(sizes(-3, 3), sizes(-3, 3)), both(_ALL, _ALL))
CASES = (
    Case("exp", mp.exp, _EXPONENTS),
    Case("expm1", mp.expm1, _EXPONENTS),
    Case("log", mp.log, (between(0.5, 2), _POSITIVE)),
    Case("log1p", mp.log1p, (between(-0.9, 3), _POSITIVE, sizes(-1074, -1e-3, (-1.0,)))),
    Case("tanh", mp.tanh, _EXPONENTS),
    Case("sigmoid", lambda x: 1 / (1 + mp.exp(-x)), _EXPONENTS),
    Case("softplus", lambda x: mp.log1p(mp.exp(x)), _EXPONENTS),
    Case("silu", lambda x: x / (1 + mp.exp(-x)), _EXPONENTS),
    Case("erf", mp.erf, (between(-1.1, 1.1), between(-6, 6), sizes(-1074, 10))),
    Case("gelu", _gelu, (between(-1.1, 1.1), between(-6, 6), between(-40, 2), sizes(-1074, 10))),
    Case("sqrt", mp.sqrt, (_POSITIVE,)),
    Case("rsqrt", lambda x: 1 / mp.sqrt(x), (_POSITIVE,)),
    Case("sin", mp.sin, _ANGLES),
    Case("cos", mp.cos, _ANGLES),
    Case("tan", mp.tan, _ANGLES),
    Case("asin", mp.asin, _UNIT),
    Case("acos", mp.acos, _UNIT),
    Case("atan", mp.atan, (between(-3, 3), _ALL)),
    Case("atan2", mp.atan2, _PAIRS),
    Case("hypot", mp.hypot, _PAIRS),
    Case("sinh", mp.sinh, _EXPONENTS),
    Case("cosh", mp.cosh, _EXPONENTS),
    Case("asinh", mp.asinh, (between(-3, 3), _ALL)),
    Case("acosh", mp.acosh, (between(1, 3), sizes(0, 1024, (1.0,)))),
    Case("atanh", mp.atanh, _UNIT),
    Case("pow", mp.power, (powers, both(between(0.5, 2), between(-100, 100)), both(_POSITIVE, between(-8, 8)))),
)


def errors(case: Case, dtype: str, n: int, lanes: int = 8, target: Target | None = None) -> Iterator[Numbers]:
    """How far off a function is at n points of each range."""
    rng = np.random.default_rng(n)
    with mp.workprec(1200 if case.fn in ("sin", "cos", "tan") else 160 if case.fn != "pow" else 200):
        for draw in case.draws:
            args = draw(rng, n, dtype)
            exact = [case.exact(*map(mp.mpf, point)) for point in zip(*(a.tolist() for a in args), strict=True)]
            yield ulps(computed(case.fn, args, dtype, lanes, target), exact)


def table(n: int) -> str:
    """The page's table."""
    rows = ["| function | float32 | float64 | points |", "| --- | --- | --- | --- |"]
    for case in CASES:
        worst = [max(float(e.max()) for e in errors(case, dtype, n)) for dtype in ("float32", "float64")]
        rows.append(f"| `{case.fn}` | {worst[0]:.2f} | {worst[1]:.2f} | {n * len(case.draws)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table(int(sys.argv[1]) if len(sys.argv) > 1 else 5000))
