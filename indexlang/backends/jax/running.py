"""Running reductions: masks that say up to where, or from where on, an index is reduced.

In: a statement. Out: what makes its value, or None. The one rule: one pass over the reduced index holds what each point
asks for; no array has both the reduced index and that of its bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ...plan.evaluation import Evaluation
from ...plan.operators import SUMS
from ...plan.scan import Scan, scan
from ...program.ir import indices_of
from ...sizes.dtypes import kind_of
from .expressions import called, masked, value_of
from .lines import Arr
from .reading import position_of
from .scope import Around
from .writing import unit

_RUNNING = {"=": "lax.cumsum", "+=": "lax.cumsum", "*=": "lax.cumprod", "max=": "lax.cummax", "min=": "lax.cummin"}


def reduce(a: Around, op: str, value: Arr, over: Sequence[str], fill: str) -> Arr:
    """A value reduced by an operator over axes of its own, which has `fill` as its identity."""
    if not over:
        return value
    w, axes = a.w, tuple(value.axes.index(i) for i in over)
    if op in (*SUMS, "*="):
        name = "jnp.sum" if op in SUMS else "jnp.prod"
        code = f"{name}({value.code}, axis={axes}, dtype={w.kind(value.dtype)})"
    else:
        code = f"{w.use('extreme')}({value.code}, {axes}, {fill}, {op == 'min='})"
    return w.made(value, code, [i for i in value.axes if i not in over])


def running(a: Around, ev: Evaluation) -> Callable[[Around], Arr] | None:
    """What makes the value by a running reduction."""
    if ev.root is not None or not ev.inner or kind_of(ev.compute) not in ("int", "float"):
        return None
    found = scan(ev.inner, indices_of(ev.value), ev.summed, a.b.shapes)
    return None if found is None or a.at else lambda inner: _run(inner, ev, found)


def _run(a: Around, ev: Evaluation, found: Scan) -> Arr:
    w, along = a.w, found.index
    ends = ev.dtype if kind_of(ev.dtype) == "int" else ev.compute
    fill = unit(a, ev.op, ends)
    value = masked(a, w.cast(value_of(a, ev.value), ev.compute), found.own, fill)
    value = w.whole(value, [i for i in a.order if i in value.axes or i in ev.summed], a.sizes)
    value = reduce(a, ev.op, value, [i for i in value.axes if i in ev.summed and i != along], fill)
    axis, (lo, hi) = value.axes.index(along), a.extents[along]
    value = w.made(value, f"{_RUNNING[ev.op]}({value.code}, axis={axis}, reverse={not found.upper})", value.axes)
    ats = []
    for b in found.bounds:
        p = position_of(a, b.row if b.upper else replace(b.row, const=-b.row.const, coefs=_negative(b.row.coefs)))
        p = w.made(p, f"({p.code} // {b.by})", p.axes, "p") if b.by != 1 else p
        ats.append(p if b.upper else w.made(p, f"(-{p.code})", p.axes, "p"))
    at, meet = ats[0], "min" if found.upper else "max"
    for other in ats[1:]:
        at = called(a, f"jnp.{meet}imum({{0}}, {{1}})", [at, other], "int64")
    new = [*value.axes[:axis], *at.axes, *value.axes[axis + 1 :]]
    where = f"jnp.clip({at.code} - {lo}, 0, {hi - lo - 1})"
    taken = w.let("v", f'{value.code}.at[{":, " * axis}{where}].get(mode="promise_in_bounds")')
    none = f"({at.code} < {lo})" if found.upper else f"({at.code} >= {hi})"
    none = w.let("none", f"{none}.reshape({none}.shape + {(1,) * (len(value.axes) - axis - 1)})")
    code = w.let("v", f"jnp.where({none}, jnp.asarray({fill}, {w.kind(value.dtype)}), {taken})")
    return masked(a, Arr(code, tuple(new), value.dtype), ev.outer, fill)


def _negative(coefs: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    return tuple((i, -c) for i, c in coefs)
