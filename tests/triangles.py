"""Random programs over triangles: blocks of which an inner one ends where a step around it says, and plain loops.

In: a name, any text. Out: a text, arrays, and a function of plain Python that computes what the text means. The one
rule: the loops know nothing of the compiler: they run the subscripts of the text, one step after the other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# what may stand in a sum over k < l, and beside it; all of it is made by then
_INTERVALS = (
    ("m[i,i+k]*m[i+k+1,i+l]", "m[i,i+k]+0.5*m[i+k+1,i+l]", "m[i,i+k]*x[i+k]", "x[i+k]*x[i+k+1]", "m[i+k+1,i+l]*w[k]"),
    ("x[i]", "x[i]*x[i+l]", "m[i,i+l-1]", "m[i+1,i+l]*x[i+l]", "x[i+l]"),
)
_COLUMNS = (
    ("m[i,k]*m[i+k+1,l-k-1]", "m[i+l-k,k]*x[i+l-k]", "x[i+k+1]*m[i,k]", "m[i,l-k-1]*w[k]"),
    ("m[i+1,l-1]-m[i,l-1]", "x[i+l]", "m[i,l-1]*x[i]", "x[i]*x[i+l]"),
)
_ROWS = (
    ("m[i,k]*x[l-k]", "m[i-k-1,0]*m[i,l-k-1]", "x[i-k]*m[i,k]", "m[i,k]*w[k]"),
    ("m[i-1,l-1]", "x[i-l]", "m[i,l-1]*x[i]", "m[i-1,l-1]+x[l]"),
)
_FAMILIES = {  # the outer line, the inner one, the target, what is set before, and what may stand in them
    "intervals": ("1 <= l < N", "i < N-l", "m[i,i+l]", "m[i,i] = x[i]", _INTERVALS),
    "short intervals": ("1 <= l < N-1", "i < N-1-l", "m[i,i+l]", "m[i,i] = x[i] where i < N-1", _INTERVALS),
    "columns": ("1 <= l < N", "i < N-l", "m[i,l]", "m[i,0] = x[i]", _COLUMNS),
    "rows": ("1 <= i < N", "1 <= l <= i", "m[i,l]", "m[i,0] = x[i]", _ROWS),
}


@dataclass(frozen=True)
class Triangle:
    """A program of `x` and perhaps `w`, whose output is `m`."""

    text: str
    arrays: Mapping[str, Array]
    loops: Callable[..., Array]


def generate(name: str) -> Triangle:
    """The program of this name, the same each time."""
    dice = random.Random(name)
    outer, inner, target, base, (terms, others) = _FAMILIES[dice.choice(tuple(_FAMILIES))]
    over, beside = dice.choice(terms), dice.choice((*others, ""))
    op, accumulated = dice.choice(("sum", "sum", "min", "max")), dice.random() < 0.3 and not beside
    count, declared, together = dice.choice((3, 4, 5, 6)), dice.random() < 0.4, dice.random() < 0.4
    edge = count - ("N-1" in outer)
    arrays = {"x": np.random.default_rng(dice.randrange(1 << 30)).uniform(0.5, 1.5, count)}
    if "w[" in over:
        arrays["w"] = np.random.default_rng(dice.randrange(1 << 30)).uniform(
            0.5, 1.5, edge if target == "m[i,l]" else dice.choice((edge, count + 1))
        )
    if accumulated and op == "sum":
        line = f"{target} += {over} where k < l"
    else:
        line = f"{target} = {op}[k]({over}){f' + ({beside})' if beside else ''} where k < l"
    header = ", ".join(("x[N]", *(["w[K]"] if "w" in arrays else [])))
    shape = [f"    shape m[{'N-1,N-1' if 'N-1' in outer else 'N,N'}]"] if declared else []
    steps = [f"    for {outer}, {inner}:"] if together else [f"    for {outer}:", f"        for {inner}:"]
    body = f"{'    ' * (2 if together else 3)}{line}"
    text = "\n".join((f"layer triangle({header}) -> m:", *shape, f"    {base}", *steps, body)) + "\n"

    def loops(x: Array, w: Array | None = None) -> Array:
        m = np.zeros((edge, edge), np.result_type(x, 0.0 if w is None else w))
        for i in range(edge):
            m[(i, i) if target == "m[i,i+l]" else (i, 0)] = x[i]
        row, column = (compile(part, "subscript", "eval") for part in target[2:-1].split(","))
        inside, out = compile(over, "term", "eval"), compile(beside or "0", "term", "eval")
        for l, i in _steps(outer, edge):  # noqa: E741
            known = {"m": m, "x": x, "w": w, "l": l, "i": i}
            found = [eval(inside, {}, {**known, "k": k}) for k in range(l)]
            first = min(found, key=np.real) if op == "min" else max(found, key=np.real) if op == "max" else sum(found)
            m[eval(row, {}, known), eval(column, {}, known)] = first + eval(out, {}, known)
        return m

    return Triangle(text, arrays, loops)


def _steps(outer: str, edge: int) -> Iterator[tuple[int, int]]:
    """The steps, l and i, in their order."""
    if outer.startswith("1 <= i"):
        yield from ((l, i) for i in range(1, edge) for l in range(1, i + 1))  # noqa: E741
    else:
        yield from ((l, i) for l in range(1, edge) for i in range(edge - l))  # noqa: E741
