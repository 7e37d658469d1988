"""How far each index of each statement runs, without a size in sight.

In: a Program. Out: a `Solution`: for each statement the bounds of its indices, those of embedded reductions included,
and the shape of each tensor, as affine forms over the sizes of the inputs.

The one rule, statement by statement, from the most to the least certain: a written range; the axes of plain uses; then
each subscript with exactly one open index bounds it, for all values of the others. Where a subscript may still leave
its axis, its one index that the target has is shortened. Whatever is chosen here is checked again, by `shapes`, when
the sizes are known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..errors import Problem, ShapeError
from ..program.affine import Affine, greatest, least, size
from ..program.facts import kept
from ..program.ir import (
    Expr,
    Index,
    Program,
    Shape,
    Size,
    blocks_of,
    steps_of,
)
from .admitted import end, ended_by_line
from .forms import Box, Sizes
from .statements import Bound, Claim, Cut, OneStatement, Step
from .steps import made_in_blocks, reaching_further


@dataclass(frozen=True)
class Solution:
    """What `solve` found. `bounds`, `cuts` and `plain` go by statement, `shapes` by tensor and axis.

    `plain` are the sizes of the axes that an index subscripts plainly, before the statement says that they are equal;
    `claims` are these statements, in order: bounds and shapes are right where all of them hold.
    All are forms over the sizes of inputs, and of those tensors before whose own form would be long.
    """

    bounds: tuple[Mapping[str, Bound], ...]
    cuts: tuple[tuple[Cut, ...], ...]
    plain: tuple[Mapping[str, frozenset[Affine]], ...]
    claims: tuple[Claim, ...]
    shapes: Mapping[str, Mapping[int, Affine]]
    problems: tuple[Problem, ...]
    sizes: Sizes
    withheld: bool  # whether some claim was not made because its statement is judged

    def shape(self, tensor: str) -> tuple[Expr, ...]:
        """The shape of a tensor whose rank is known: that of an input are its own sizes."""
        axes = self.sizes.of(tensor)
        return tuple(axes[k].to_expr() for k in range(len(axes)))


def solve(program: Program, known: Mapping[Size, Affine] | None = None) -> Solution:
    """Bounds and shapes; `known` are sizes that are known to equal forms. Errors: `ShapeError`."""
    solution = attempt(program, known)
    if solution.problems:
        raise ShapeError(*solution.problems)
    return solution


def attempt(
    program: Program, known: Mapping[Size, Affine] | None = None, judged: frozenset[int] = frozenset()
) -> Solution:
    """The same, with whatever could be found where there are problems.

    What the statements `judged` use plainly is not taken to be equal because they do.
    """
    solved = _solved(program)
    for given, numbers, solution in tuple(solved):  # another thread may add to it meanwhile
        if given is known and (numbers == judged or not (judged or solution.withheld)):
            return solution
    solution = _attempt(program, known, judged)
    solved.append((known, judged, solution))
    return solution


@kept
def _solved(program: Program) -> deque[tuple[Mapping[Size, Affine] | None, frozenset[int], Solution]]:
    """What was solved for this program: one pass leaves it behind and the next one starts by solving it."""
    return deque(maxlen=4)


def _attempt(program: Program, known: Mapping[Size, Affine] | None, judged: frozenset[int]) -> Solution:
    more = _reached_by_all(program, known)
    if more:
        whole = {s.tensor for s in more}
        kept = [s for s in program.shapes if s.tensor not in whole]
        program = replace(program, shapes=(*kept, *more))
    sizes = Sizes(program, known or {})
    solved = []
    problems: list[Problem] = []
    steps: dict[str, Step] = {}
    made = made_in_blocks(program)
    for k, stmt in enumerate(program.statements):
        if stmt.block is not None and (k == 0 or blocks_of(program.statements[k - 1])[:1] != blocks_of(stmt)[:1]):
            steps = _steps(program, k, sizes)
        one = OneStatement(stmt, sizes, k in judged, made[k], steps)
        one.solve()
        one.define()
        solved.append(one)
        problems += one.problems
    bounds = tuple(one.bounds() for one in solved)
    shapes = {t: {k: sizes.canonical(f) for k, f in axes.items()} for t, axes in sizes.reached.items()}
    cuts, plain = tuple(tuple(one.cuts) for one in solved), tuple(one.sizes_of for one in solved)
    claims = tuple(claim for one in solved for claim in one.claims)
    withheld = any(one.withheld for one in solved)
    return Solution(bounds, cuts, plain, claims, shapes, tuple(problems), sizes, withheld)


def _steps(program: Program, first: int, sizes: Sizes) -> dict[str, Step]:
    """How far the indices of a block run that begins at a statement: what all of its statements say together."""
    outermost, made = blocks_of(program.statements[first])[0], made_in_blocks(program)
    plain: dict[str, Step] = {}
    lows: dict[str, list[Affine]] = {}
    highs: dict[str, list[Affine]] = {}
    ended: dict[str, tuple[tuple[Expr, ...], Affine]] = {}
    beside: dict[str, Affine] = {}
    for k, stmt in enumerate(program.statements[first:], first):
        if blocks_of(stmt)[:1] != (outermost,):
            break
        one = OneStatement(stmt, sizes, True, made[k], {})
        one.solve()
        for i in steps_of(stmt):
            high = one.box.high.get(i)
            use = next((u for u in one.uses if u.subscript == Index(i) and u.tensor not in made[k][i]), None)
            if i in one.masked_ends:
                ended.setdefault(i, (ended_by_line(stmt)[i], one.box.low[i]))
                if use is not None and (whole := one.size(use)) is not None:
                    beside.setdefault(i, whole)
                continue
            if high is None or high.indices:
                continue
            if use is not None and i not in one.fixed:
                plain.setdefault(i, Step(one.box.low[i], high, use))
            highs.setdefault(i, []).append(high)
            lows.setdefault(i, []).append(one.box.low[i])
    found = {i: plain.get(i) or Step(least(*lows[i]), least(*ends)) for i, ends in highs.items()}
    for i, (masks, low) in ended.items():
        box = Box({k: s.low for k, s in found.items()}, {k: s.high for k, s in found.items()})
        if i not in found and (high := end(masks, i, box, sizes)) is not None:
            found[i] = Step(low, high, None, beside.get(i))
    return found


def _reached_by_all(program: Program, known: Mapping[Size, Affine] | None) -> list[Shape]:
    """The shapes of tensors that blocks and several statements set: as far as all of them together reach."""
    wanted = reaching_further(program)
    if not wanted:
        return []
    sizes, made = Sizes(program, known or {}), made_in_blocks(program)
    found: dict[str, dict[int, list[Affine]]] = {}
    steps: dict[str, Step] = {}
    for k, stmt in enumerate(program.statements):
        if stmt.block is not None and (k == 0 or blocks_of(program.statements[k - 1])[:1] != blocks_of(stmt)[:1]):
            steps = _steps(program, k, sizes)
        one = OneStatement(stmt, sizes, True, made[k], steps)
        one.solve()
        if stmt.target.tensor not in wanted:
            one.define()
            continue
        axes = found.setdefault(stmt.target.tensor, {})
        for use in one.uses:
            if use.access is stmt.target and use.is_target:
                reached = one.reached(use)
                if reached is not None and not reached.indices:
                    axes.setdefault(use.axis, []).append(sizes.canonical(reached))
    shapes = []
    for tensor, axes in found.items():
        rank = len(program.statements[wanted[tensor][0]].target.subscripts)
        declared = sizes.declared.get(tensor)
        said = {k: d for k, d in enumerate(declared.dims if declared else ()) if d != Size(tensor, k)}
        others = {k: [f for f in forms if f != sizes.canonical(size(tensor, k))] for k, forms in axes.items()}
        dims = [said.get(k) or greatest(*others[k]).to_expr() for k in range(rank) if k in said or others.get(k)]
        if len(dims) == rank:
            shapes.append(Shape(tensor, tuple(dims)))
    return shapes
