"""The form of each scalar function on jax arrays.

In: a function's name, as in the table of `program/functions.py`. Out: its code, and the small functions that it calls.
The one rule: every row of that table has a form here; arguments have been brought to one dtype before.
"""

from __future__ import annotations

FORMS: dict[str, str] = {
    "add": "({0} + {1})",
    "sub": "({0} - {1})",
    "mul": "({0} * {1})",
    "div": "({0} / {1})",
    "pow": "jnp.power({0}, {1})",
    "neg": "(-{0})",
    "floordiv": "jnp.floor_divide({0}, {1})",
    "mod": "jnp.remainder({0}, {1})",
    "lt": "({0} < {1})",
    "le": "({0} <= {1})",
    "gt": "({0} > {1})",
    "ge": "({0} >= {1})",
    "eq": "({0} == {1})",
    "ne": "({0} != {1})",
    "and": "({0} & {1})",
    "or": "({0} | {1})",
    "not": "(~{0})",
    "where": "jnp.where({0}, {1}, {2})",
    "exp": "jnp.exp({0})",
    "log": "jnp.log({0})",
    "log1p": "jnp.log1p({0})",
    "expm1": "jnp.expm1({0})",
    "sqrt": "jnp.sqrt({0})",
    "rsqrt": "(1 / jnp.sqrt({0}))",
    "sin": "jnp.sin({0})",
    "cos": "jnp.cos({0})",
    "tan": "jnp.tan({0})",
    "asin": "jnp.arcsin({0})",
    "acos": "jnp.arccos({0})",
    "atan": "jnp.arctan({0})",
    "sinh": "jnp.sinh({0})",
    "cosh": "jnp.cosh({0})",
    "tanh": "jnp.tanh({0})",
    "asinh": "jnp.arcsinh({0})",
    "acosh": "jnp.arccosh({0})",
    "atanh": "jnp.arctanh({0})",
    "atan2": "jnp.arctan2({0}, {1})",
    "hypot": "jnp.hypot({0}, {1})",
    "sigmoid": "jax.nn.sigmoid({0})",
    "softplus": "jnp.logaddexp({0}, 0)",
    "silu": "({0} * jax.nn.sigmoid({0}))",
    "erf": "lax.erf({0})",
    "gelu": "(0.5 * {0} * lax.erfc(-{0} * 0.7071067811865476))",
    "abs": "jnp.abs({0})",
    "relu": "jnp.maximum({0}, 0)",
    "max": "jnp.maximum({0}, {1})",
    "min": "jnp.minimum({0}, {1})",
    "sign": "jnp.sign({0})",
    "floor": "jnp.floor({0})",
    "ceil": "jnp.ceil({0})",
    "round": "jnp.round({0})",
    "int": "whole({0}, {kind})",
    "float": "{0}",
}
COMPLEX = {"softplus": "complex_softplus({0})", "sigmoid": "complex_sigmoid({0})", "pow": "complex_power({0}, {1})"}
COMPLEX |= {"silu": "({0} * complex_sigmoid({0}))"}
INTEGER = {"floordiv": "quotient({0}, {1})", "mod": "remainder({0}, {1})", "pow": "power({0}, {1})"}
INTEGER |= dict.fromkeys(("floor", "ceil", "round", "int"), "{0}")

SUPPORT: dict[str, str] = {
    "whole": '''\
def whole(x, kind):
    """x toward zero as an integer: what lies beyond its range as the nearest there is, nan as 0."""
    info = jnp.iinfo(kind)
    top = -float(info.min)
    inside = jnp.where(jnp.abs(x) < top, x, 0).astype(kind)
    return jnp.where(x >= top, info.max, jnp.where(x <= -top, info.min, inside))
''',
    "quotient": '''\
def quotient(a, b):
    """a // b of integers, 0 where b is 0."""
    return jnp.where(b == 0, 0, jnp.floor_divide(a, jnp.where(b == 0, 1, b)))
''',
    "remainder": '''\
def remainder(a, b):
    """a % b of integers, 0 where b is 0."""
    return jnp.where(b == 0, 0, jnp.remainder(a, jnp.where(b == 0, 1, b)))
''',
    "power": '''\
def power(a, n):
    """a ** n of integers, n not negative, by squares."""
    a, n = jnp.broadcast_arrays(a, n)
    found = jnp.ones_like(a)
    for _ in range(63 if n.dtype.itemsize == 8 else 31):
        found = jnp.where(n & 1 == 1, found * a, found)
        a, n = a * a, n >> 1
    return found
''',
    "complex_sigmoid": '''\
def complex_sigmoid(x):
    """1 / (1 + exp(-x)); where exp overflows, its direction is lost."""
    left = jnp.real(x) < 0
    e = jnp.exp(jnp.where(left, x, -x))
    return jnp.where(left, e, 1) / (1 + e)
''',
    "complex_softplus": '''\
def complex_softplus(x):
    """log(1 + exp(x)), without overflow."""
    left = jnp.real(x) < 0
    return jnp.where(left, 0, x) + jnp.log1p(jnp.exp(jnp.where(left, x, -x)))
''',
    "complex_power": '''\
def complex_power(a, n):
    """a ** n by the logarithm; 1 where n is 0."""
    zero = a == 0
    found = jnp.exp(n * jnp.log(jnp.where(zero, 1, a)))
    ends = jnp.where(jnp.real(n) > 0, 0.0, jnp.inf)
    return jnp.where(n == 0, 1, jnp.where(zero, ends, found))
''',
    "near": '''\
def near(x, end):
    """Positions that data say, no further away than that arithmetic on them does not wrap."""
    far = 1 << 40 if x.dtype.itemsize == 8 else 1 << 26
    if end >= far:
        raise OverflowError("computed positions in so long an axis need jax_enable_x64")
    x = jnp.minimum(x, far) if jnp.issubdtype(x.dtype, jnp.unsignedinteger) else jnp.clip(x, -far, far)
    return x.astype(jax.dtypes.canonicalize_dtype("int64"))
''',
    "first": '''\
def first(bad, position):
    """Whether anything is bad, and the position where it first is."""
    bad, position = jnp.ravel(bad), jnp.ravel(position)
    return jnp.any(bad), position[jnp.argmax(bad)]
''',
    "earlier": '''\
def earlier(one, other):
    """What was found first: whether anything is bad, and the position."""
    return one[0] | other[0], jnp.where(one[0], one[1], other[1])
''',
    "extreme": '''\
def extreme(x, axis, start, least):
    """The greatest or least along axes, nan where one is: XLA's own reduction loses it on some processors."""
    found = (jnp.min if least else jnp.max)(x, axis=axis, initial=start)
    return jnp.where(jnp.any(x != x, axis=axis), jnp.nan, found) if jnp.issubdtype(x.dtype, jnp.floating) else found
''',
    "logsumexp": '''\
def logsumexp(x):
    """log(sum(exp(x))) along the last axis, around the greatest value, so that no exp overflows."""
    real = jnp.real(x)
    most = extreme(real, -1, -jnp.inf, False)[..., None]
    around = jnp.where(jnp.isfinite(most), most, 0)
    found = jnp.log(jnp.sum(jnp.exp(x - around), axis=-1)) + around[..., 0]
    return jnp.where(jnp.isinf(most[..., 0]), most[..., 0], found)
''',
    "winner": '''\
def winner(x, admitted, least):
    """The first position of the greatest or least value along the last axis, among those that are admitted."""
    ends = (jnp.inf if least else -jnp.inf) if jnp.issubdtype(x.dtype, jnp.floating) else None
    if ends is None:
        info = jnp.iinfo(x.dtype) if x.dtype != bool else None
        ends = least if info is None else info.max if least else info.min
    kept = jnp.where(admitted, x, ends)
    best = extreme(kept, -1, ends, least)[..., None]
    return jnp.argmax(admitted & ((x == best) | ((x != x) & (best != best))), axis=-1)
''',
}


def form_of(fn: str, kind: str) -> str:
    """The format of a function's code for arguments of a kind: bool, int, float or complex."""
    if kind == "complex" and fn in COMPLEX:
        return COMPLEX[fn]
    if kind == "int" and fn in INTEGER:
        return INTEGER[fn]
    return FORMS[fn]
