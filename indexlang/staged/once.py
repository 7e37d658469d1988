"""Whether no element of what a block makes is set twice.

In: a Program with blocks, how far its indices run. Out: a problem for each two statements that set one element, and the
pairs of which data decide. The one rule: `=` sets an element once, in a block and around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Problem, ShapeError
from ..program.affine import Affine
from ..program.conditions import as_mask
from ..program.ir import Boundary, Call, Expr, Index, Program, Statement, indices_of, reads, steps_of
from ..program.rebuild import transform_expr
from ..sizes.in_bounds import interval, numeric
from .grids import evaluate, holds, is_known, tensors_in, within
from .order import MOST_POINTS, reached, shortened

_OPPOSITE = {"lt": "ge", "ge": "lt", "le": "gt", "gt": "le", "eq": "ne", "ne": "eq"}
Extents = Mapping[str, tuple[int, int]]
Sizes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Both:
    """Two statements that set one tensor; `axes` tell their elements apart, as far as anything does."""

    first: Statement
    second: Statement
    extents: tuple[Extents, Extents]
    axes: tuple[int, ...]

    @property
    def statements(self) -> tuple[Statement, Statement]:
        return self.first, self.second

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors that decide."""
        nodes = (m for s in self.statements for m in s.domain.masks)
        targets = (t for s in self.statements for t in s.target.subscripts)
        return tuple(sorted({p.tensor for node in (*nodes, *targets) for p in tensors_in(node)}))


def twice(program: Program, extents: Sequence[Extents], sizes: Sizes) -> tuple[list[Problem], list[Both]]:
    """What is set twice, and what data decide."""
    problems: list[Problem] = []
    later: list[Both] = []
    for both in _pairs(program, extents):
        if not _meet(both, {}, sizes):
            continue
        if not both.tensors:
            problems.append(_problem(both))
        elif not _exclude_each_other(both):
            later.append(both)
    return problems, later


def look_once(both: Both, sizes: Sizes, *arrays: NDArray[Any]) -> None:
    """Look at what data said. Errors: `ShapeError`."""
    if _meet(both, dict(zip(both.tensors, arrays, strict=True)), sizes):
        raise ShapeError(_problem(both))


def _pairs(program: Program, extents: Sequence[Extents]) -> Iterator[Both]:
    stepwise = {s.target.tensor for s in program.statements if s.block is not None}
    setting = [(s, e) for s, e in zip(program.statements, extents, strict=True) if s.op == "="]
    for k, (stmt, box) in enumerate(setting):
        if stmt.target.tensor not in stepwise:
            continue
        if stmt.block is not None:
            yield Both(stmt, stmt, (box, box), _axes(stmt, stmt))
        for other, theirs in setting[k + 1 :]:
            if other.target.tensor == stmt.target.tensor:
                yield Both(stmt, other, (box, theirs), _axes(stmt, other))


def _axes(stmt: Statement, other: Statement) -> tuple[int, ...]:
    """The axes in which not both go over everything, or conditions say where."""
    found = []
    masked = {i for s in (stmt, other) for m in s.domain.masks for i in indices_of(m)}
    for k, (a, b) in enumerate(zip(stmt.target.subscripts, other.target.subscripts, strict=True)):
        told = {*indices_of(a), *indices_of(b)} & {*steps_of(stmt), *steps_of(other), *masked}
        if told or not (isinstance(a, Index) and isinstance(b, Index)):
            found.append(k)
    return tuple(found)


def _meet(both: Both, tensors: Mapping[str, NDArray[Any]], sizes: Sizes) -> bool:
    """Whether both set one element, as far as the tensors tell."""
    if any(lo >= hi for box in both.extents for lo, hi in box.values()):
        return False
    if both.first is not both.second:
        one, other = (
            _box(stmt, box, both.axes, sizes) for stmt, box in zip(both.statements, both.extents, strict=True)
        )
        if one is not None and other is not None:
            return all(max(a[0], b[0]) < min(a[1], b[1]) for a, b in zip(one, other, strict=True))
    if not tensors:
        both = _shortened(both)
    if both.first is both.second:
        return _again(both.first, both.extents[0], both.axes, tensors, sizes)
    first, second = (
        _set(stmt, box, both.axes, tensors, sizes) for stmt, box in zip(both.statements, both.extents, strict=True)
    )
    common = tuple(slice(min(a, b)) for a, b in zip(first.shape, second.shape, strict=True))
    return bool(np.any(first[common] & second[common]))


def _box(stmt: Statement, extents: Extents, axes: Sequence[int], sizes: Sizes) -> list[tuple[int, int]] | None:
    """From where to where a statement sets all positions in the axes, if these are so many in a row in each, for all of
    the others; however many there are.
    """
    found, seen = [], set[str]()
    for k in axes:
        s = stmt.target.subscripts[k]
        form = None if stmt.domain.masks or not isinstance(s, Expr) or reads(s) else numeric(Affine.from_expr(s), sizes)
        if form is None or any(not isinstance(a, Index) or abs(times) != 1 for a, times in form.terms):
            return None
        if len(form.terms) > 1 or seen & {*form.indices}:
            return None
        seen |= {*form.indices}
        ends = interval(form, extents)
        assert ends is not None, "no data decide"
        found.append((max(ends[0], 0), min(ends[1] + 1, sizes[stmt.target.tensor][k])))
    return found


def _shortened(both: Both) -> Both:
    """The same for the first values of indices, where there are more points than memory is to hold."""
    count = 1
    for stmt, box in zip((both.first, both.second), both.extents, strict=True):
        told = {i for k in both.axes for i in indices_of(stmt.target.subscripts[k])}
        count = max(count, prod(box[i][1] - box[i][0] for i in {*told, *steps_of(stmt)}))
    if count <= 8 * MOST_POINTS:
        return both
    return replace(
        both, extents=(shortened(both.extents[0], both.extents[0]), shortened(both.extents[1], both.extents[1]))
    )


def _again(
    stmt: Statement, extents: Extents, axes: Sequence[int], tensors: Mapping[str, NDArray[Any]], sizes: Sizes
) -> bool:
    """Whether two steps of a statement set one element."""
    steps = [(i, *extents[i]) for i in steps_of(stmt)]
    if prod(hi - lo for _, lo, hi in steps) < 2:
        return False
    if all(any(s == Index(i) for s in stmt.target.subscripts) for i, _, _ in steps):
        return False  # as each step has places of its own
    found = _keys(stmt, extents, axes, tensors, sizes, [i for i, _, _ in steps])
    if found is None:
        return False
    shape, keys, held, values = found
    shape = reached(keys, held, shape)
    number: Any = 0
    for i, lo, hi in steps:
        number = number * (hi - lo) + values[i] - lo
    number = np.broadcast_to(number, held.shape)[held]
    first, last = np.full(shape, np.iinfo(np.int64).max), np.full(shape, -1)
    at = tuple(k[held] for k in keys)
    np.minimum.at(first, at, number)
    np.maximum.at(last, at, number)
    return bool(np.any(first < last))


def _set(
    stmt: Statement, extents: Extents, axes: Sequence[int], tensors: Mapping[str, NDArray[Any]], sizes: Sizes
) -> NDArray[np.bool_]:
    """Which positions in the axes a statement sets; all that it may where that is not known."""
    known = _keys(stmt, extents, axes, tensors, sizes)
    if known is None:
        return np.ones(tuple(min(sizes[stmt.target.tensor][k], MOST_POINTS) for k in axes), bool)
    shape, keys, held, _ = known
    if not keys:
        return np.asarray(bool(held.any()))
    found = np.zeros(reached(keys, held, shape), bool)
    found[tuple(k[held] for k in keys)] = True
    return found


def _keys(
    stmt: Statement,
    extents: Extents,
    axes: Sequence[int],
    tensors: Mapping[str, NDArray[Any]],
    sizes: Sizes,
    first: Sequence[str] = (),
) -> tuple[tuple[int, ...], list[NDArray[Any]], NDArray[np.bool_], Mapping[str, Any]] | None:
    """The positions in the axes over all points of their indices, those `first` of them, and where they are set; None
    where that is not known.
    """
    shape = tuple(sizes[stmt.target.tensor][k] for k in axes)
    subscripts = [stmt.target.subscripts[k] for k in axes]
    if not all(is_known(s, tensors) for s in subscripts):
        return None
    masks = [m for m in stmt.domain.masks if is_known(m, tensors)]
    names = list(dict.fromkeys((*first, *(i for s in subscripts for i in indices_of(s)))))
    more = list(dict.fromkeys((*names, *(i for m in masks for i in indices_of(m)))))
    if prod(extents[i][1] - extents[i][0] for i in more) > MOST_POINTS:
        masks = [m for m in masks if {*indices_of(m)} <= {*names}]
        more = names
    grid = np.meshgrid(*(np.arange(*extents[i]) for i in more), indexing="ij", sparse=True)
    values = dict(zip(more, grid, strict=True))
    held: Any = np.ones(tuple(g.size for g in grid), bool)
    keys = []
    for s, n in zip(subscripts, shape, strict=True):
        position = evaluate(s, values, tensors, sizes)
        if isinstance(s, Boundary):
            position, inside = within(s, position, values, tensors, sizes, n)
            held = np.logical_and(held, inside)
        held = np.logical_and(held, np.logical_and(position >= 0, position < n))
        keys.append(position)
    for mask in masks:
        held = np.logical_and(held, holds(mask, values, tensors, sizes))
    *keys, held = np.broadcast_arrays(*keys, held)
    return shape, keys, held, values


def _exclude_each_other(both: Both) -> bool:
    """Whether a condition of one is the contrary of a condition of the other, in its names of indices."""
    one, other = both.first.target.subscripts, both.second.target.subscripts
    names: dict[Index, Index] = {}
    for a, b in zip(one, other, strict=True) if one != other else ():
        if not (isinstance(a, Index) and isinstance(b, Index)) or names.setdefault(a, b) != b:
            return False
    free = {i for s in one for i in indices_of(s)}  # of what is summed some may meet one condition, some the other
    masks = [m for m in both.first.domain.masks if free.issuperset(indices_of(m))]
    ours = {c for m in masks for c in _contraries(_renamed(m, names))}
    return not ours.isdisjoint(map(_plainly, both.second.domain.masks))


def _renamed(mask: Expr, names: Mapping[Index, Index]) -> Expr:
    return transform_expr(mask, lambda p: names.get(p) if isinstance(p, Index) else None)


def _contraries(mask: Expr) -> Iterator[Expr]:
    """What never holds where a condition does."""
    yield _plainly(Call("not", (mask,)))
    if isinstance(mask, Call) and mask.fn in _OPPOSITE:
        yield _plainly(Call(_OPPOSITE[mask.fn], mask.args))


def _plainly(mask: Expr) -> Expr:
    """The condition in the one way in which it is compared: `a > b` as `b < a`, not twice the contrary."""
    match mask:
        case Call(fn="not", args=(Call(fn="not", args=(inner,)),)):
            return _plainly(inner)
        case Call(fn="gt" | "ge" as fn, args=(a, b)):
            return as_mask(Call("lt" if fn == "gt" else "le", (b, a)))
        case _:
            return as_mask(mask)


def _problem(both: Both) -> Problem:
    tensor = both.first.target.tensor
    rule = f"'{tensor}' is set twice: no element has two values"
    others = () if both.first.target.span is None else (("set here", both.first.target.span),)
    way = "let their subscripts, ranges or conditions tell them apart, or accumulate with +="
    return Problem("set-twice", rule, both.second.target.span or both.second.span, (), way, others)
