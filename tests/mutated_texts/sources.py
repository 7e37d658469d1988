"""The texts that are changed: those of the corpus, of the library, of the docs, and the mistakes that are told.

In: nothing. Out: Sources. The one rule: a source is what a person may have written, right or wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from corpus import CASES

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Text:
    """A text, what it is compiled with, and shapes that fit it, as far as they are known."""

    text: str
    layer: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


def drawn(dice: Random) -> Text:
    """One of them; the wrong ones seldom, as most changes make a text wrong anyhow."""
    return dice.choice(dice.choices(_kinds(), (45, 20, 15, 15, 5))[0])


@cache
def _kinds() -> tuple[list[Text], ...]:
    """All of them, always in the same order."""
    return _cases(), _library(), _documents(), [Text(t) for t in _GROWING], _mistakes()


def _cases() -> list[Text]:
    shapes = [{n: np.shape(a) for n, a in c.arrays().items()} for c in CASES]
    return [Text(c.text, c.layer, dict(c.options), s) for c, s in zip(CASES, shapes, strict=True)]


def _library() -> list[Text]:
    """Each layer with what stands before it in its file, which it may call."""
    found = []
    for path in sorted((ROOT / "indexlang" / "library").glob("*.idx")):
        uncommented = re.sub(r"(?m)^ *#.*\n", "", path.read_text(encoding="utf-8"))
        parts = re.split(r"\n(?=layer )", uncommented)
        for k, part in enumerate(parts[1:], 1):
            name = re.match(r"layer (\w+)", part)
            assert name is not None
            called = [p for p in parts[1:k] if re.search(rf"\b{re.escape(p[6:].split('(')[0])}\(", part)]
            found.append(Text("\n".join([parts[0], *called, part]) + "\n", name[1]))
    return found


def _documents() -> list[Text]:
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("[!e]*.md"))]  # those of errors are wrong
    blocks = [b for p in paths for b in re.findall(r"```idx\n(.*?)```", p.read_text(encoding="utf-8"), re.DOTALL)]
    return [Text(block) for block in blocks]


def _mistakes() -> list[Text]:
    lines = (ROOT / "tests" / "mistakes.txt").read_text(encoding="utf-8").split("\n")
    found: list[str] = []
    for line in lines:
        if line.startswith(">>> "):
            found.append(line[4:])
        elif line.startswith("... ") and found:
            found[-1] += "\n" + line[4:]
    return [Text(text) for text in found]


# What grows fast where it is copied once more.
_GROWING = (
    "f(u) = u*u\ng(u) = f(f(u))\nh(u) = g(g(u))\ny[i] = h(x[i])",
    "f(u,v) = u*v + v\ny[i] = f(f(x[i], w[i]), f(w[i], x[i]))",
    "layer a(x) -> y:\n  y = relu(x)\nlayer b(x) -> y:\n  h = a(x)\n  y = a(h)\nlayer c(x) -> y:\n  y = b(x)",
    "h[i] = tanh(x[i])\nk[i] = h[i]*h[i]\ny[i] = k[i]*k[i]",
    "y[i] = x[size(x,0)-1-i]\nz[i] = y[i] where i < size(y,0)//2",
    "y[i,j] = x[i+2*j,i//2,j%3] * w[wrap(i-j),pad(i,1)] where i <= j, j < len[i], j < 4",
    "y[(i,j)] *= x[i,j]\nz max= y[k] / argmax[l](y[l])",
    "y.grad[i] += x[i]\nx.grad.grad[i] = y.grad[i]**inf",
    "shape t[N+2,3]\nshape x[N]\nt[i+1,k] = x[i]*k where k < 3\ny[...] = t[...] + s[]",
    "y[n] = x[clamp(int(z[n])+1)] + x[reflect(4*ix[n])]",
)
