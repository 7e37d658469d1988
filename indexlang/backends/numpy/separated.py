"""Sums of differences taken apart: sum over j of s[i,j]*(x[i,d] - z[j,d]) without an array over i, j and d.

In: a contraction one of whose factors adds or subtracts two arrays of fewer indices than it has itself. Out: two
contractions, and the sum as it stands for values that are not finite. The one rule: both arrays are first moved by the
mean of one of them, so that what they have in common cancels before it is multiplied; and a result that is not finite,
or of which too many digits have cancelled, is computed again without taking anything apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from ...plan.contraction import separates
from ...program.ir import Call, Expr, indices_of
from .source import Operand, Scope, aligned, name_of
from .values import Value
from .writes import Target

LOST = 64  # a result so many times smaller than its parts has lost too many digits

if TYPE_CHECKING:
    from .evaluate import Evaluation
    from .statement import StatementCode


@dataclass(frozen=True)
class Separable:
    """The factor of a product, by its number, and the two arrays it adds; `minus` if it subtracts the second."""

    number: int
    first: Expr
    second: Expr
    minus: bool


def separable(stmt: Evaluation) -> Separable | None:
    """The factor to take apart, if there is one and no other one adds anything."""
    if not stmt.compute.startswith(("float", "complex")) or stmt.inner or not stmt.contractible():
        return None
    if len(stmt.terms()) > 1:
        return None
    core, _, _ = stmt.split(stmt.terms()[0][1])
    sums = [k for k, factor in enumerate(core) if isinstance(factor, Call) and factor.fn in ("add", "sub")]
    if len(sums) != 1 or len(core) < 2:
        return None
    factor = core[sums[0]]
    assert isinstance(factor, Call)
    first, second = factor.args
    groups = [[i for i in stmt.stmt.domain.indices if i in indices_of(e)] for e in (first, second)]
    if any(stmt.low.kind(e) != stmt.compute for e in (first, second)):
        return None
    return (
        Separable(sums[0], first, second, factor.fn == "sub") if separates(groups[0], groups[1], stmt.sizes) else None
    )


def separated(stmt: StatementCode, target: Target, scope: Scope) -> None:
    """Write the sum as two contractions, and as it stands where that is not finite."""
    found, low, writer = separable(stmt), stmt.low, stmt.writer
    assert found is not None
    sign, term = stmt.terms()[0]
    place = target.view(scope)
    first, second = stmt.factor(found.first, scope), stmt.factor(found.second, scope)
    common = [i for i in second.indices if i in first.indices]
    moved = [i for i in second.indices if i not in common]
    count = prod(stmt.sizes[i] for i in moved)
    axes = tuple(second.indices.index(i) for i in moved)
    mean = Operand(writer.fresh("mean"), tuple(common), stmt.compute)
    writer.line(f"{mean.code} = np.add.reduce({second.code}, {axes}) / np.{name_of(stmt.compute)}({count})")
    symbols = ("-", "-") if found.minus else ("+", "-")
    parts = []
    for x, symbol in zip((first, second), symbols, strict=True):
        name = writer.fresh("moved")
        writer.line(f"{name} = {x.code} {symbol} {aligned(mean, x.indices)}")
        parts.append(Operand(name, x.indices, stmt.compute))
    values = []
    for x in parts:
        value = stmt.contracted(place.indices, scope, term, None, given={found.number: x})
        assert value is not None
        values.append(value)
    name, large = writer.fresh("total"), writer.fresh("large")
    writer.line(f"{large} = {values[0].code}")
    writer.line(f"{name} = {large} {'-' if found.minus else '+'} {values[1].code}")
    total = Value(name, stmt.compute, tuple(i for i in place.indices if any(i in v.indices for v in values)))
    known = dict(low.gathered)
    kept = f"{LOST} * np.abs({name}).max() >= np.abs({large}).max()"
    with writer.block(f"if np.isfinite({name}).all() and {kept}:"):
        target.put(place, total, sign < 0)
    low.gathered = dict(known)
    with writer.block("else:"), writer.loops(scope, stmt.blocks(target, "contraction")) as inner:
        stmt.contraction(target, inner, (sign, term))
    low.gathered = known
