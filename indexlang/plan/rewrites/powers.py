"""Powers of sums that several sums of products share, written into each: there they are products of powers.

In: a Program without ellipses, its shapes and types, `Limits`. Out: an equal one, the same object where there is none:

    p[b,i,j] = exp(a[b,i] + T[i,j] - y[b,j]);  a.grad[b,i] += g[b,j] * p[b,i,j];  T.grad[i,j] += g[b,j] * p[b,i,j]
    a.grad[b,i] += g[b,j] * exp(a[b,i] + T[i,j] - y[b,j]);  T.grad[i,j] += g[b,j] * exp(a[b,i] + T[i,j] - y[b,j])

The one rule: only where every reader is better off with products (`exponents`), so that the power is not made at all.
"""

from __future__ import annotations

from dataclasses import replace

from ...program.algebra import factors_of, product_of, terms_of
from ...program.ir import (
    Access,
    Call,
    Domain,
    Expr,
    Index,
    Program,
    Reduce,
    Size,
    Statement,
    parts_of,
    reductions_of,
    walk,
)
from ...program.names import Renaming
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..exponents import power_apart, reads_plainly
from ..limits import Limits
from ..operators import SUMS
from ..views import Extents


def may_have_powers(program: Program) -> bool:
    """Whether some logsumexp adds arrays: what can be seen without sizes."""
    parts = (p for s in program.statements for p in parts_of(s))
    return any(isinstance(p, Reduce) and p.op == "logsumexp" and len(terms_of(p.body)) > 1 for p in parts)


def write_powers(program: Program, shapes: Shapes, types: Types, limits: Limits) -> Program:
    """The program with such powers where they are read."""
    for number, stmt in enumerate(program.statements):
        if types.tensors[stmt.target.tensor] in ("float32", "float64") and _is_power(program, stmt):
            found = _written(program, number, shapes, limits)
            if found is not None:  # numbers of statements are others now
                left = [k for k in range(len(program.statements)) if k != number]
                shapes = replace(shapes, extents=tuple(shapes.extents[k] for k in left))
                return write_powers(found, shapes, types, limits)
    return program


def _is_power(program: Program, stmt: Statement) -> bool:
    """Whether a statement makes a power of whole tensors, which nobody outside sees."""
    tensor = stmt.target.tensor
    alone = sum(s.target.tensor == tensor for s in program.statements) == 1 and tensor not in program.outputs
    whole = not (stmt.domain.masks or stmt.domain.ranges or stmt.reduced) and stmt.op in SUMS
    power = isinstance(stmt.value, Call) and stmt.value.fn == "exp" and reads_plainly(stmt.value)
    return alone and whole and power and _plain(stmt.target) and all(s.tensor != tensor for s in program.shapes)


def _written(program: Program, number: int, shapes: Shapes, limits: Limits) -> Program | None:
    """The program without a power, if every statement that reads it is one of products with it."""
    made, statements = program.statements[number], list(program.statements)
    readers = [k for k, s in enumerate(statements) if _mentions(s, made.target.tensor) and k != number]
    for k in readers:
        found = _reader(statements[k], shapes.extents[k], made, limits) if k > number else None
        if found is None:
            return None
        statements[k] = found
    del statements[number]
    return replace(program, statements=tuple(statements)) if readers else None


def _mentions(stmt: Statement, tensor: str) -> bool:
    return any(isinstance(p, Access | Size) and p.tensor == tensor for p in parts_of(stmt))


def _reader(stmt: Statement, extents: Extents, made: Statement, limits: Limits) -> Statement | None:
    """A statement with the power in it, if products sum it."""
    tensor = made.target.tensor
    if stmt.op not in SUMS or stmt.domain.masks or reductions_of(stmt) or len(terms_of(stmt.value)) != 1:
        return None
    factors = factors_of(stmt.value)
    own = [f for f, below in factors if isinstance(f, Access) and f.tensor == tensor and not below]
    if len(own) != 1 or sum(_mentions_in(f, tensor) for f, _ in factors) != 1 or not _plain(own[0]):
        return None
    names = dict(zip(_names(made.target), _names(own[0]), strict=True))
    power = Renaming(indices=names).expr(made.value)
    parts = [(power if f is own[0] else f, below) for f, below in factors]
    value = product_of([f for f, below in parts if not below], [f for f, below in parts if below])
    sizes = {i: hi - lo for i, (lo, hi) in extents.items()}
    free = [i for i in stmt.domain.indices if i not in stmt.reduced]
    if power_apart(terms_of(value)[0][1], free, sizes, limits) is None:
        return None
    return replace(stmt, value=value, domain=Domain(stmt.domain.indices, stmt.domain.ranges))


def _mentions_in(expr: Expr, tensor: str) -> bool:
    return any(isinstance(p, Access) and p.tensor == tensor for p in walk(expr))


def _names(access: Access) -> list[str]:
    return [s.name for s in access.subscripts if isinstance(s, Index)]


def _plain(access: Access) -> bool:
    names = _names(access)
    return len(names) == len(access.subscripts) == len(set(names))
