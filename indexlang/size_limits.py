"""How much a program may be: the limits that keep every text, however it grows, to seconds and to a clear error.

In: nothing. Out: numbers. The one rule: what bounds the work that a text can ask for is a number here, told in
docs/limits.md, and looked at while things grow, so that nothing is made first and found too large then.
"""

from __future__ import annotations

LONGEST = 10_000  # words of a line
DEEPEST = 120  # levels of an expression, and open brackets
MOST_DIGITS = 300  # of an integer in a text or an option: what a float64 holds
MOST_EXPONENT = 1024  # of numbers that are computed when a text is compiled; and bits of their results
MOST_PROBLEMS = 100  # errors of a text that are told
MOST_STATEMENTS = 10_000  # of a program, layers written out
MOST_NODES = 20_000  # numbers, names and operations of a statement, functions written out
MOST_DERIVED = 50_000  # nodes that derived statements may have together, besides MOST_GROWTH for each of the program's
MOST_GROWTH = 10
MOST_POSITIONS = 1 << 62  # elements of a tensor, and positions of an axis: beyond there are no integers of 64 bits
FEW_FACTORS = 16  # of a product up to which it counts for nothing here
MOST_PAIRS = 1 << 17  # of factors, in all products of a program that have more
FRAMES = 6_000  # calls of Python inside of each other that work on the deepest program takes
