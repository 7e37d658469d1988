"""How large expressions are, in what limits count.

In: an expression. Out: a number. The one rule: what stands in two places counts twice, as in the text.
"""

from __future__ import annotations

from .algebra import product
from .facts import kept_upwards
from .ir import Call, Subscript, children, walk

_PRODUCTS = ("mul", "div")


@kept_upwards(children)
def nodes(node: Subscript) -> int:
    """Numbers, names and operations of an expression."""
    return 1 + sum(map(nodes, children(node)))


def widest(expr: Subscript, enough: int) -> int:
    """Different factors and divisors of the largest product in an expression; not looked for where it is no larger."""
    if nodes(expr) <= 2 * enough:
        return 0
    most = 0
    inner: set[int] = set()
    for part in walk(expr):
        if isinstance(part, Call) and part.fn in _PRODUCTS:
            if id(part) not in inner:
                found = product(part)
                most = max(most, len({*found.factors, *found.divisors}))
            inner.update(id(a) for a in part.args)
    return most
