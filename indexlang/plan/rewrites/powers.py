"""Powers of sums that several sums of products share, written into each: there they are products of powers.

In: a Program without ellipses, its shapes and types, `Limits`. Out: an equal one, the same object where there is none:

    p[b,i,j] = exp(a[b,i] + T[i,j] - y[b,j]);  a.grad[b,i] += g[b,j] * p[b,i,j];  T.grad[i,j] += g[b,j] * p[b,i,j]
    a.grad[b,i] += g[b,j] * exp(a[b,i] + T[i,j] - y[b,j]);  T.grad[i,j] += g[b,j] * exp(a[b,i] + T[i,j] - y[b,j])

The one rule: only where every reader is better off with products (`exponents`), so that the power is not made at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ...program.algebra import Factor, factors_of, product_of, terms_of
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
    indices_of,
    parts_of,
    reductions_of,
    statement,
    tensors_in,
    walk,
)
from ...program.names import Fresh, Renaming
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..exponents import power_apart, reads_plainly, spread
from ..limits import Limits
from ..operators import SUMS
from ..views import Extents


def may_have_powers(program: Program) -> bool:
    """Whether some logsumexp adds arrays: what can be seen without sizes."""
    parts = (p for s in program.statements for p in parts_of(s))
    return any(isinstance(p, Reduce) and p.op == "logsumexp" and len(spread(terms_of(p.body))) > 1 for p in parts)


def write_powers(program: Program, shapes: Shapes, types: Types, limits: Limits) -> Program:
    """The program with such powers where they are read."""
    statements, names = dict(enumerate(program.statements)), Fresh.of(program)
    before: dict[int, list[Statement]] = {}  # sums of which a statement is a multiple
    made = Counter(s.target.tensor for s in program.statements)
    kept = {*program.outputs, *(s.tensor for s in program.shapes)}
    kept |= {p.tensor for s in program.shapes for d in s.dims for p in walk(d) if isinstance(p, Size)}
    readers = dict[str, set[int]]()
    for k, stmt in statements.items():
        for tensor in tensors_in(stmt):
            readers.setdefault(tensor, set()).add(k)
    for number in range(len(program.statements)):
        stmt = statements[number]
        tensor = stmt.target.tensor
        if tensor in kept or made[tensor] > 1 or types.tensors[tensor] not in ("float32", "float64"):
            continue
        if not _is_power(stmt):
            continue
        reading = [k for k in sorted(readers[tensor]) if k != number and k in statements]
        found = {k: _reader(statements[k], shapes.extents[k], stmt, names, limits) for k in reading if k > number}
        changed = {k: new for k, new in found.items() if new is not None}
        if reading and len(changed) == len(reading):
            for k, (*first, last) in changed.items():
                statements[k] = last
                before.setdefault(k, []).extend(first)
            del statements[number]
            for read in tensors_in(stmt):
                readers.setdefault(read, set()).update(changed)
    if len(statements) == len(program.statements):
        return program
    made_now = (s for k, stmt in statements.items() for s in (*before.get(k, ()), stmt))
    return replace(program, statements=tuple(made_now))


def _is_power(stmt: Statement) -> bool:
    """Whether a statement makes a power of whole tensors."""
    whole = not (stmt.domain.masks or stmt.domain.ranges or stmt.reduced) and stmt.op in SUMS
    power = isinstance(stmt.value, Call) and stmt.value.fn == "exp" and reads_plainly(stmt.value)
    return whole and power and _plain(stmt.target)


def _reader(
    stmt: Statement, extents: Extents, made: Statement, names: Fresh, limits: Limits
) -> tuple[Statement, ...] | None:
    """A statement with the power in it, if products sum it; what multiplies whole sums comes after them."""
    tensor = made.target.tensor
    if stmt.op not in SUMS or stmt.domain.masks or reductions_of(stmt) or len(terms_of(stmt.value)) != 1:
        return None
    factors = factors_of(stmt.value)
    own = [f for f, below in factors if isinstance(f, Access) and f.tensor == tensor and not below]
    named = [p for p in parts_of(stmt) if isinstance(p, Access | Size) and p.tensor == tensor]  # its size, too
    if len(own) != 1 or len(named) != 1 or not _plain(own[0]):
        return None
    renamed = dict(zip(_names(made.target), _names(own[0]), strict=True))
    power = Renaming(indices=renamed).expr(made.value)
    parts = [(power if f is own[0] else f, below) for f, below in factors]
    sizes = {i: hi - lo for i, (lo, hi) in extents.items()}
    free = [i for i in stmt.domain.indices if i not in stmt.reduced]

    def is_apart(some: Sequence[Factor]) -> bool:
        return power_apart(terms_of(_product(some))[0][1], free, sizes, limits) is not None

    if is_apart(parts):
        return (replace(stmt, value=_product(parts), domain=Domain(stmt.domain.indices, stmt.domain.ranges)),)
    late = [(f, below) for f, below in parts if f is not power and indices_of(f) and {*indices_of(f)} <= {*free}]
    early = [part for part in parts if part not in late]
    said = {i for f, _ in early for i in indices_of(f)} >= {*stmt.domain.indices}  # how far each index runs
    if not (late and said and _plain(stmt.target) and not stmt.domain.ranges and is_apart(early)):
        return None
    sums = replace(stmt.target, tensor=names.fresh("sums"))
    return (
        statement(sums, "=", _product(early)),
        statement(stmt.target, stmt.op, _product([(sums, False), *late]), span=stmt.span),
    )


def _product(factors: Sequence[Factor]) -> Expr:
    return product_of([f for f, below in factors if not below], [f for f, below in factors if below])


def _names(access: Access) -> list[str]:
    return [s.name for s in access.subscripts if isinstance(s, Index)]


def _plain(access: Access) -> bool:
    names = _names(access)
    return len(names) == len(access.subscripts) == len(set(names))
