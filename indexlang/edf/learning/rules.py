"""How a parameter moves, as statements of the language.

In: what a step has, such as a momentum or a weight decay. Out: a `Rule`. The one rule: `w` and what is remembered are
changed element by element, so that it can be done in place; numbers that may differ from step to step are inputs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from ...calls import loading
from ...program.ir import Program

NEXT = "next_"  # what the name of an array begins with that comes into another one's place
DESCENT = ("rate", "decay", "momentum")  # the numbers of steps down the gradient
MOMENTS = ("rate", "decay", "kept", "beta1", "rest1", "beta2", "rest2", "correction", "eps")  # and of those by moments


@dataclass(frozen=True, eq=False)
class Rule:
    """A layer of `w`, its gradient `g`, what is `remembered` of both, and some of `numbers`; it makes the next `w`, and
    what is remembered next.
    """

    program: Program
    remembered: tuple[str, ...]
    numbers: tuple[str, ...]

    @property
    def onto(self) -> tuple[tuple[str, str], ...]:
        """Whose place each output takes."""
        return tuple((name, name.removeprefix(NEXT)) for name in self.program.outputs)


@cache
def descent(momentum: bool, nesterov: bool, decay: bool) -> Rule:
    """Down the gradient, as `GradientDescent` says."""
    slope, lines = "g[i] + decay * w[i]" if decay else "g[i]", []
    moved = slope
    if momentum:
        lines.append(f"next_velocity[i] = momentum * velocity[i] + ({slope})")
        moved = f"{slope} + momentum * next_velocity[i]" if nesterov else "next_velocity[i]"
    lines.append(f"next_w[i] = w[i] - rate * ({moved})")
    return _rule(lines, ("velocity",) if momentum else (), DESCENT)


@cache
def by_moments(decay: bool, kept: bool) -> Rule:
    """By the mean gradient over its spread, as `Adam` says; of the value before only a part is `kept` by `AdamW`."""
    slope = "(g[i] + decay * w[i])" if decay else "g[i]"
    lines = [
        f"next_mean[i] = beta1 * mean[i] + rest1 * {slope}",
        f"next_square[i] = beta2 * square[i] + rest2 * ({slope} * {slope})",
        f"next_w[i] = {'kept * ' * kept}w[i] - rate * (next_mean[i] / (sqrt(next_square[i]) * correction + eps))",
    ]
    return _rule(lines, ("mean", "square"), MOMENTS)


def _rule(lines: list[str], remembered: tuple[str, ...], numbers: tuple[str, ...]) -> Rule:
    """A rule of statements, whose header takes what they read."""
    arrays = ("w", "g", *remembered)
    words = {word for line in lines for word in re.findall(r"\w+", line)}
    inputs = [*(f"{a}[N]" for a in arrays), *(n for n in numbers if n in words)]
    outputs = [f"{NEXT}{a}" for a in ("w", *remembered)]
    text = f"layer moved({', '.join(inputs)}) -> {', '.join(outputs)}:\n" + "".join(f"    {line}\n" for line in lines)
    return Rule(loading.compile(text, backend="numpy").program, remembered, numbers)
