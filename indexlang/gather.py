"""The gather form of derived statements: each scatter solved for its target.

In: a Program. Out: a Program of the same value.
"""

from __future__ import annotations

from .ir import Program


def gather(program: Program) -> Program:
    """The program with each scatter statement solved for its target, where it can be."""
    return program
