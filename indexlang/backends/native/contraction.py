"""Sums of products of two operands as loop nests: products of matrices, convolutions, and the gradients of both.

In: a `Contraction`: extents, and for each operand how far a step of each index moves. Out: a `Schedule`: nests that run
one after the other. The one rule: no case has a name here; what a statement is shows in its strides alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .blocks import order
from .contraction_form import ONE, Contraction, Operand, Schedule, Step
from .contraction_nest import nest
from .contraction_tiling import Plan
from .fill import fill
from .inner_packs import inner_access
from .nest import Array
from .normal_form import normal_form
from .packs import accesses
from .parts import partial
from .target import Target
from .tile_costs import COSTS
from .tiles import choose

SMALL = 1 << 19  # points that are soon done

__all__ = ["ONE", "Contraction", "Operand", "Schedule", "Step", "schedule"]


def schedule(c: Contraction, target: Target, name: str) -> Schedule:
    """Nests for a contraction on a machine."""
    c = _with_roles(c)
    normal = normal_form(c)
    if normal is None:
        return Schedule((), (), "no element", 0, 0)
    cut = partial(c, normal, name, normal.rounded.points < SMALL)
    if cut is not None:
        first, second = (_scheduled(_with_roles(own), target, f"{name}_{k}") for k, own in enumerate(cut[:2]))
        return Schedule(
            (*first.nests, *second.nests),
            (cut[2], *first.workspaces, *second.workspaces),
            f"in parts: {first.told}; then {second.told}",
            first.flops,
            first.cycles + second.cycles,
        )
    return _scheduled(c, target, name)


def _scheduled(c: Contraction, target: Target, name: str) -> Schedule:
    """Nests for a contraction as it stands."""
    normal = normal_form(c)
    assert normal is not None
    before = []
    if c.op == "=" and any(a.serial for a in normal.axes):
        before.append(fill(normal, f"{name}_zero", 0))
        c = replace(c, op="+=")
    if (c.epilogue or c.results) and any(a.serial for a in normal.axes):
        raise NotImplementedError("an epilogue of elements that several points share")
    itemsize = np.dtype(c.dtype).itemsize
    lanes = target.lanes(itemsize)
    tile = choose(normal, lanes, target.registers)
    found, packs = accesses(normal, tile, name, c.dtype)
    loops = order(normal, tile, target, itemsize)
    for p, how in tile.packs:
        if how != "whole":
            found[p] = inner_access(normal, tile, loops, p, how, f"{name}_{('left', 'right')[p]}", c.dtype)
    plan = Plan(c, normal, tile, loops, tuple(found))
    nests = (*before, *(p.nest for p in packs), nest(plan, name))
    flops = 2 * normal.points
    share = flops / (2 * lanes * COSTS.fmas * tile.cycles) if tile.cycles else 1.0
    count = nests[-1].count
    told = f"{tile}; {count} item{'s' * (count != 1)}; {share:.0%} of peak"
    return Schedule(nests, tuple(p.array for p in packs), told, flops, tile.cycles)


def _with_roles(c: Contraction) -> Contraction:
    """The target is an output, everything else an input, if it is not the target's array."""
    written = {c.target.array.name, *(o.array.name for _, o in c.results)}

    def named(array: Array) -> Array:
        return replace(array, role="output" if array.name in written else "input") if array.name else array

    def operand(o: Operand) -> Operand:
        return replace(o, array=named(o.array))

    steps = tuple(
        replace(s, args=tuple(operand(a) if isinstance(a, Operand) else a for a in s.args)) for s in c.epilogue
    )
    results = tuple((name, operand(o)) for name, o in c.results)
    left, right, home = operand(c.left), operand(c.right), operand(c.target)
    return replace(c, left=left, right=right, target=home, epilogue=steps, results=results)
