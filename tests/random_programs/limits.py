"""The limits of the planner that a sample runs under.

In: a name. Out: Limits. The one rule: this is the one place that says how the limits are swept: all as they are, all so
low that small programs go every way, and each drawn between the two. "native ..." are the same for loop nests.
"""

from __future__ import annotations

import os
from dataclasses import fields, replace

from indexlang.plan.limits import NATIVE, NEVER, NUMPY, TINY, Limits

from .words import Dice


def limits_of(name: str) -> Limits:
    """ "default", "tiny", or "mixed:SEED", in which each lies between the two; "native" before it."""
    engine, _, rest = name.partition(" ")
    if rest:
        assert engine == "native"
        return NATIVE if rest == "default" else replace(limits_of(rest), nests=True, least=NEVER, fewest=NEVER)
    if name == "default":
        return NUMPY
    if name == "tiny":
        return TINY
    dice = Dice(name)
    drawn = {}
    for f in fields(Limits):
        ends = sorted((getattr(TINY, f.name), getattr(NUMPY, f.name)))
        between = int((max(ends[0], 1) * max(ends[1], 1)) ** 0.5)
        drawn[f.name] = dice.one_of((ends[0], ends[1], min(max(between, ends[0]), ends[1])))
    return Limits(**drawn)


def drawn(dice: Dice) -> str:
    """A name for a sample of moderate size."""
    return dice.weighted(((60.0, "default"), (15.0, "tiny"), (25.0, f"mixed:{dice.between(0, 999)}")))


def named(limits: str) -> str:
    """The same limits for the backend that INDEXLANG_BACKEND says."""
    return f"native {limits}" if os.environ.get("INDEXLANG_BACKEND") == "native" else limits
