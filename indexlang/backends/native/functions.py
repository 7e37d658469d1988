"""stub"""

from __future__ import annotations

from collections.abc import Sequence

from .nest import Literal, Operand, Type
from .writing import Writing


def known(fn: str, kind: str) -> bool:
    return fn == "exp" and kind.startswith("float")


def call(w: Writing, fn: str, args: Sequence[Operand], kind: Type) -> Operand:
    x = args[0]
    if isinstance(x, Literal):
        x = w.apply("same", x, kind=kind)
    f64 = kind.dtype == "float64"
    whole = Type("int64" if f64 else "int32", kind.lanes)
    n = lambda v: Literal(v, kind)
    c = w.apply("least", w.apply("greatest", x, n(-700.0 if f64 else -87.0)), n(709.0 if f64 else 88.0))
    magic = 1.5 * 2.0 ** (52 if f64 else 23)
    s = w.apply("fma", c, n(1.4426950408889634), n(magic))
    k = w.apply("sub", s, n(magic))
    r = w.apply("fma", k, n(-0.693359375), c)
    r = w.apply("fma", k, n(2.12194440054690581e-4), r)
    import math

    p = n(1 / math.factorial(13 if f64 else 7))
    for j in range(12 if f64 else 6, -1, -1):
        p = w.apply("fma", p, r, n(1 / math.factorial(j)))
    bits = w.apply("shl", w.apply("bits", s, kind=whole), Literal(52 if f64 else 23, whole))
    e = w.apply("add", w.apply("bits", p, kind=whole), bits)
    return w.apply("bits", e, kind=kind)
