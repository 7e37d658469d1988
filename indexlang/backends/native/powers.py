"""Powers by products and roots, which cost a fraction of the function.

In: a base, an exponent that is a number. Out: a `Node`, or None. The one rule: what NumPy gives at zeros, negative
numbers, infinities and nan, is given here.
"""

from __future__ import annotations

from ...program.algebra import by_products, by_roots
from .nodes import Node, Nodes


def power(nodes: Nodes, x: Node, exponent: float, kind: str) -> Node | None:
    """A power; None where only the function makes it."""
    if not kind.startswith("float"):
        small = isinstance(exponent, int) and 0 <= exponent <= 16
        return _whole(nodes, x, int(exponent), kind) if small else None
    if exponent == 0.5:
        return nodes.call("sqrt", (x,), kind)
    if exponent == 0:
        return nodes.constant(1.0, kind)
    if whole := by_products(exponent):
        base = x if whole > 0 else nodes.call("div", (nodes.constant(1.0, kind), x), kind)
        return _whole(nodes, base, abs(whole), kind)
    found = by_roots(exponent)
    return quarters(nodes, x, found, kind) if found else None


def _whole(nodes: Nodes, x: Node, exponent: int, kind: str) -> Node:
    """Squares, and what is left."""
    if exponent == 0:
        return nodes.constant(1.0 if kind.startswith("float") else 1, kind)
    if exponent == 1:
        return x
    half = _whole(nodes, nodes.call("mul", (x, x), kind), exponent // 2, kind)
    return nodes.call("mul", (half, x), kind) if exponent % 2 else half


def quarters(nodes: Nodes, x: Node, n: int, kind: str) -> Node:
    """x ** (n / 4), n from -7 to 7."""

    def call(fn: str, *args: Node, dtype: str = kind) -> Node:
        return nodes.call(fn, args, dtype)

    zero, endless = nodes.constant(0.0, kind), nodes.constant(float("inf"), kind)
    base = call("add", x, zero)  # no negative zero
    half = call("sqrt", base)
    rest = abs(n) % 4
    found = base
    if rest:
        root = half if rest == 2 else call("sqrt", half) if rest == 1 else call("mul", half, call("sqrt", half))
        found = root if abs(n) < 4 else call("mul", root, base)
    if n < 0:
        found = call("div", nodes.constant(1.0, kind), found)
    if rest == 0:
        return found
    left = call("eq", x, nodes.constant(float("-inf"), kind), dtype="bool")
    return call("select", left, endless if n > 0 else zero, found)
