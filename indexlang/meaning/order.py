"""Reads in blocks that come too early, as far as the text alone tells it.

In: the statements of a body. Out: problems. The one rule: what sizes or data decide is looked at when they are known;
here speak subscripts that are a number, or an index plus a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..program.affine import Affine
from ..program.guarded import guarded_reads
from ..program.ir import (
    Access,
    Block,
    Boundary,
    Const,
    Expr,
    Index,
    Range,
    Statement,
    Subscript,
    blocks_of,
    indices_of,
    reads,
    steps_of,
)
from .report import Report


def check_order(report: Report, statements: Sequence[Statement]) -> None:
    """Tell of each read that comes before its element is made."""
    stepwise = {s.target.tensor for s in statements if s.block is not None}
    for r, reader in enumerate(statements):
        steps = {*steps_of(reader)}
        for access, guards in guarded_reads(reader):
            if access.tensor not in stepwise or any(reads(g) or steps & {*indices_of(g)} for g in guards):
                continue
            for m, maker in enumerate(statements):
                if maker.target.tensor != access.tensor:
                    continue
                if shared := [*_shared(maker, reader)]:
                    found = _too_early(access, maker, shared, m - r, bool(guards))
                else:
                    found = _BEHIND if m > r and not guards and _surely_later(access, reader, maker) else None
                if found is not None and access.span is not None and maker.span is not None:
                    why, way = found
                    rule = f"'{access.tensor}' is read before it is made: {why}"
                    report.add("order", rule, access.span, way_out=way, others=(("made here", maker.span),))
                    break


def _shared(one: Statement, other: Statement) -> Iterator[Block]:
    for a, b in zip(blocks_of(one), blocks_of(other), strict=False):
        if a != b:
            return
        yield a


def _too_early(
    access: Access, maker: Statement, shared: Sequence[Block], behind: int, guarded: bool
) -> tuple[str, str] | None:
    """Why an element is not there yet, and the way out; nothing where it is, and where the text does not tell."""
    for block in shared:
        for index in block.indices:
            gap = _gap(access, maker, index)
            if gap is None or any(index in indices_of(m) for m in maker.domain.masks):
                return None
            if gap and _are_fewer(block, index, abs(gap)):
                return None
            if gap:
                later = gap < 0 if block.reverse else gap > 0
                turned = f"for {index}:" if block.reverse else f"for {index} reversed:"
                way = f"read an earlier step, or let the steps run the other way: {turned}"
                return ("a later step makes it", way) if later else None
    if (
        guarded
        or maker.domain.masks
        or not all(_meet(a, b, shared) for a, b in zip(access.subscripts, maker.target.subscripts, strict=False))
    ):
        return None  # perhaps another element of this step
    if behind == 0:
        return "this line makes it", "read an earlier step"
    return (
        ("a line below makes it", "read an earlier step, or move the line that makes it in front")
        if behind > 0
        else None
    )


def _are_fewer(block: Block, index: str, gap: int) -> bool:
    """Whether a block surely has no two steps so far apart."""
    found = next((r for r in block.ranges if r.index == index), Range(index))
    lo, hi = found.lo or Const(0), found.hi
    return isinstance(lo, Const) and isinstance(hi, Const) and hi.value - lo.value <= gap


def _meet(read: Subscript, made: Subscript, shared: Sequence[Block]) -> bool:
    """Whether both are the same position at each step, or go over everything."""
    steps = [i for block in shared for i in block.indices]
    if any(_shift(read, i) is not None and _shift(read, i) == _shift(made, i) for i in steps):
        return True
    both = isinstance(read, Index) and isinstance(made, Index)
    return both and {*indices_of(read), *indices_of(made)}.isdisjoint(steps)


_BEHIND = "a line behind the block makes it", "move the line that makes it in front of the one that reads"


def _surely_later(access: Access, reader: Statement, maker: Statement) -> bool:
    """Whether a statement behind a block, or of another one, surely makes an element that is read here."""
    if maker.domain.masks:
        return False
    for read, made in zip(access.subscripts, maker.target.subscripts, strict=False):
        first, second = _first(read, reader), _first(made, maker)
        met = _is_whole(made, maker) or (_is_whole(read, reader) and second is not None)
        if not met and (first is None or first != second):
            return False
    return True


def _is_whole(s: Subscript, stmt: Statement) -> bool:
    """Whether a subscript goes over all of its axis."""
    return isinstance(s, Index) and s.name not in steps_of(stmt) and stmt.domain.range(s.name) == Range(s.name)


def _first(s: Subscript, stmt: Statement) -> Affine | None:
    """The first position of a subscript, where that is a number or an index plus a number."""
    if not isinstance(s, Expr) or reads(s):
        return None
    form = Affine.from_expr(s)
    if not form.terms:
        return form
    atom = form.terms[0][0]
    if len(form.terms) > 1 or form.terms[0][1] != 1 or not isinstance(atom, Index):
        return None
    lo = stmt.domain.range(atom.name).lo
    return Affine(form.const) + (Affine() if lo is None else Affine.from_expr(lo))


def _gap(access: Access, maker: Statement, index: str) -> int | None:
    """How many steps of an index after its own the element that is read is made."""
    for read, made in zip(access.subscripts, maker.target.subscripts, strict=False):
        first, second = _shift(read, index), _shift(made, index)
        if first is not None and second is not None:
            return first - second
    return None


def _shift(s: Subscript, index: str) -> int | None:
    """The number that is added to an index, where a subscript is no more than that."""
    if isinstance(s, Boundary):
        if s.kind != "pad" or s.lo is not None:
            return None
        s = s.expr
    if not isinstance(s, Expr) or reads(s):
        return None
    form = Affine.from_expr(s)
    return form.const if form.terms == ((Index(index), 1),) else None
