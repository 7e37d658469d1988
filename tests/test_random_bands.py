"""Random programs of which a band is read, against whole arrays: values, and gradients by the derived statements.

Masks of many kinds on one or two statements, any operator, factors over any of the indices, targets with windows,
merged and mirrored axes, and diagonals. The seed is a new one each time; a failure prints it.
"""

from __future__ import annotations

import os
import random
import secrets
from dataclasses import dataclass, field, replace
from typing import Any

import dense
import numpy as np
import pytest
from numpy.typing import NDArray
from planned import sized

import indexlang as il
from indexlang.derive.grad import backward
from indexlang.plan.limits import NUMPY, TINY

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

SEED = os.environ.get("INDEXLANG_SEED") or secrets.token_hex(3)
SMALL = replace(NUMPY, banded=16, tile=2, call=16)
NEAR = (
    "s <= t, t < s + 3",
    "abs(t - s) <= 2",
    "t//4 == s//4",
    "s <= t, t <= s",
    "t < s, s < t + 4",
    "2*t <= s, s <= 2*t + 2",
    "t == s",
    "t//4 == s//4, s <= t",
    "t//4 == s//4 + 1",
)
VALUES = ("{a} * {b}", "exp({a} * {b} / 9)", "tanh({a}) * {b}")


@dataclass
class Writer:
    """A program, and the indices of what it reads."""

    dice: random.Random
    sizes: dict[str, int]
    read: dict[str, list[str]] = field(default_factory=dict)

    def new(self, among: str, share: float, *always: str) -> str:
        """A new tensor, read at some of these indices."""
        own = [*always, *(i for i in among if i not in always and self.dice.random() < share)]
        self.dice.shuffle(own)
        name = f"x{len(self.read)}"
        self.read[name] = own
        return f"{name}[{','.join(own) or 0}]"

    def target(self, free: list[str]) -> tuple[str, str]:
        """The target, and the shape that must be declared for it."""
        subscripts, shape, declared = list[str](), list[int](), False
        while free:
            i = free.pop()
            way, n = self.dice.random(), self.sizes[i]
            if way < 0.12 and free:
                j = free.pop()
                subscripts.append(f"({i},{j})")
                shape.append(n * self.sizes[j])
            elif way < 0.24 and free:
                j, declared = free.pop(), True
                subscripts.append(self.dice.choice((f"{i}+{j}", f"pad({i}+{j}-1)", f"clamp({i}+{j}-1)")))
                shape.append(n + self.sizes[j] - 1)
            elif way < 0.36:
                subscripts += [f"{n - 1}-{i}"] if way < 0.3 else [i, i]
                shape += [n] if way < 0.3 else [n, n]
            else:
                subscripts.append(i)
                shape.append(n)
        return ",".join(subscripts) or "0", f"shape y[{','.join(map(str, shape))}]\n" if declared else ""

    def program(self) -> str:
        """One statement under a mask, or one that makes scores, and one that reads them."""
        dice = self.dice
        mask = dice.choice(NEAR)
        more = dice.choice(
            ("", "", ", 2*t > 3", f", 3*s < {3 * self.sizes['s'] - 4}", f", {self.new('ts', 0.5)} > -0.5")
        )
        scores, first = self.new("de", 0.4, "t"), ""
        lead = dice.choice(("", "h"))
        if dice.random() < 0.7:
            a, b = self.new("d", 0.8, *lead, "t"), self.new(lead + "d", 0.8, "s")
            axes = dice.sample([*lead, "t", "s"], 2 + len(lead))
            op = dice.choice(("=", "=", "=", "+=", "max=", "*="))
            under = f" where {mask}{more}" if dice.random() < 0.75 else ""
            scores = f"p[{','.join(axes)}]"
            first = f"{scores} {op} {dice.choice(VALUES).format(a=a, b=b)}{under}\n"
        factors = [scores, *(self.new("tsde", 0.45) for _ in range(dice.choice((0, 1, 1, 2))))]
        value = " * ".join(dice.sample(factors, len(factors)))
        used = [i for i in "tsdeh" if f"[{i}" in value or f",{i}" in value]
        free = [i for i in used if dice.random() < 0.45]
        target, shape = self.target(dice.sample(free, len(free)))
        masked = [f"{mask}{more}"] if {"t", "s"} <= set(used) and (not first or dice.random() < 0.5) else []
        ranges = [f"{i} < {self.sizes[i]}" for i in used]
        op = dice.choice(("=", "=", "=", "+=", "max=", "*="))
        return f"{shape}{first}y[{target}] {op} {value} where {', '.join([*masked, *ranges])}"


def close(found: NDArray[Any], right: NDArray[Any], what: str) -> None:
    """Finite in the same places, and near there: in another order inf and nan may be one another."""
    finite = np.isfinite(right)
    np.testing.assert_array_equal(np.isfinite(found), finite, err_msg=what)
    size = np.abs(right[finite]).max(initial=1)
    np.testing.assert_allclose(np.asarray(found)[finite], right[finite], rtol=1e-6, atol=1e-7 * size, err_msg=what)


@pytest.mark.parametrize("number", range(60))
def test_values_and_gradients(number: int) -> None:
    seed = f"{SEED}:{number}"
    dice = random.Random(seed)
    rows = dice.choice((12, 16, 17, 24))
    sizes = {"t": rows, "s": dice.choice((rows, rows, rows + 3, rows - 2)), "d": 2, "e": dice.choice((1, 3)), "h": 2}
    writer = Writer(dice, sizes)
    text = writer.program()
    what = f"INDEXLANG_SEED={SEED}, number {number}:\n{text}"
    f = il.compile(text)
    rng = np.random.default_rng(number)
    given = {n: rng.standard_normal([sizes[i] for i in own] or 1) for n, own in writer.read.items() if n in f.inputs}
    with np.errstate(all="ignore"):
        right = dense.run(f.program, given)["y"]
        smooth = np.isfinite(right).all()
        dy = rng.standard_normal(right.shape)
        derived = backward(f.program, None) if smooth else None
        known = {**given, "y": right, "y.grad": dy}
        gradients = {} if derived is None else dense.run(derived, {n: known[n] for n in derived.inputs})
        for limits in (SMALL, TINY):
            g = sized(f, limits)
            close(g(**given), right, what)
            if smooth:
                y, pull = g.vjp(**given)
                close(y, right, what)
                for name, gradient in pull(dy).items():
                    close(gradient, gradients[f"{name}.grad"], f"{name}.grad, {what}")
