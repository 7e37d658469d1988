"""A statement as lines: its value over its domain, reduced, and written to its target.

In: a `Sized` statement, the tensors that are there. Out: lines, and code of its tensor. The one rule: a point that a
mask refuses gives the operator's identity, whatever is computed there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from ...plan.evaluation import Evaluation
from ...plan.operators import SUMS
from ...program.ir import Access, walk
from ...sizes.dtypes import kind_of
from .contracting import contracted, convolution_of, is_contraction, products, transposed_of
from .convolutions import onto, replace_rows
from .expressions import called, conjunction, masked, value_of
from .lines import Arr
from .reading import TAPS
from .running import reduce, running
from .scope import Around, radix
from .writing import COMBINE, Target, unit

FEW = 16  # points that are combined one by one


@dataclass(frozen=True)
class Way:
    """How a value over the free indices is made; `again` if it may be made for each tap of a write anew."""

    name: str
    make: Callable[[Around], Arr]
    again: bool = False


def statement(a: Around, ev: Evaluation, old: str | None) -> tuple[str, str]:
    """Code of the statement's tensor, from that of its old value; and how it is computed, in words."""
    ends = ev.dtype if kind_of(ev.dtype) in ("int", "bool") else ev.compute
    target = Target(a, ev.stmt.target, ev.op, ends)
    must = ev.free if ev.root is not None else (*ev.free, *ev.summed)
    if any(a.sizes[i] <= 0 for i in must):
        return old or target.full(), "nothing: the domain is empty"
    found = transposed_of(a, ev)
    if found is not None:
        inner = onto(a, found)
        target = replace_rows(Target(inner, ev.stmt.target, ev.op, ends), found)
        return target.write(lambda i: _cast(i, products(i, ev, found), target), False, old), "transposed convolution"
    way = _way(a, ev)
    code = target.write(lambda inner: _cast(inner, way.make(inner), target), way.again, old)
    taps = target.taps
    if taps is None:
        return code, f"{way.name}, scattered"
    return code, f"{way.name}, written by {a.count(taps)} taps over {' '.join(taps)}" if taps else way.name


def _cast(a: Around, value: Arr, target: Target) -> Arr:
    return a.w.cast(value, target.dtype)


def _way(a: Around, ev: Evaluation) -> Way:
    if ev.root is not None:
        return Way("search" if ev.root.op != "logsumexp" else "logsumexp", lambda inner: searched(inner, ev))
    if (found := running(a, ev)) is not None:
        return Way("scan", found)
    if not ev.summed:
        return Way("elementwise", lambda inner: domain(inner, ev), True)
    convolution = convolution_of(a, ev)
    if convolution is not None:
        return Way("convolution", lambda inner: contracted(inner, ev, domain, convolution))
    summed, free = window_taps(a, ev)
    if ev.op in ("max=", "min=") and a.count(ev.summed) <= FEW:
        summed = ev.summed  # combined one by one they keep nan without another look
    if is_contraction(a, ev, (*summed, *free)):
        name, make = "contraction", lambda inner: contracted(inner, ev, domain)
    else:
        name, make = "whole domain", lambda inner: domain(inner, ev)
    if summed:
        one, name = make, f"{name}, {a.count(summed)} taps over {' '.join(summed)}"
        make = lambda inner: window(inner, ev, summed, one)  # noqa: E731
    if free:
        each, name = make, f"{name}, one by one of {' '.join(free)}"
        make = lambda inner: stacked(inner, ev, free, each)  # noqa: E731
    return Way(name, make)


# -- whole domains -------------------------------------------------------------------------------------


def domain(a: Around, ev: Evaluation) -> Arr:
    """The value over the whole domain, masked and reduced."""
    w = a.w
    value = w.cast(value_of(a, ev.value), ev.compute)
    ends = ev.dtype if kind_of(ev.dtype) in ("int", "bool") else ev.compute
    fill = unit(a, ev.op, ends)
    if not ev.summed:
        return masked(a, value, (*ev.outer, *ev.inner), fill)
    value = masked(a, value, ev.inner, fill)
    return masked(a, reduced(a, ev, value, fill), ev.outer, fill)


def reduced(a: Around, ev: Evaluation, value: Arr, fill: str) -> Arr:
    """A value reduced by the statement's operator over the reduced indices, those that it lacks included."""
    w = a.w
    missing = a.count([i for i in ev.summed if i not in value.axes and i not in a.at])
    value = reduce(a, ev.op, value, [i for i in value.axes if i in ev.summed], fill)
    if missing != 1 and ev.op in (*SUMS, "*="):
        value = w.solid(value)
        form = f"({value.code} * {missing})" if ev.op in SUMS else f"lax.integer_pow({value.code}, {missing})"
        value = w.made(value, form, value.axes)
    return value


def window_taps(a: Around, ev: Evaluation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The indices that are gone through one by one, as subscripts add them to others: reduced ones, and free ones."""
    found: dict[str, None] = {}
    for part in walk(ev.value):
        if not isinstance(part, Access):
            continue
        for k in range(len(part.subscripts)):
            row = a.subscribed(part, k).row
            if row is not None and len(row.coefs) > 1 and radix(row, a.extents) is None:
                *short, _ = sorted([i for i, _ in row.coefs], key=lambda i: a.sizes[i])
                found.update(dict.fromkeys(short))
    found = {i: None for i in found if i not in a.at}
    if not 1 < a.count(found) <= TAPS:
        return (), ()
    return tuple(i for i in found if i in ev.summed), tuple(i for i in found if i in ev.free)


def window(a: Around, ev: Evaluation, taps: Sequence[str], make: Callable[[Around], Arr]) -> Arr:
    """The value of one position of a window after the other, combined."""
    total: Arr | None = None
    for values in product(*(range(*a.extents[i]) for i in taps)):
        part = a.w.solid(make(a.tapped(dict(zip(taps, values, strict=True)))))
        total = part if total is None else called(a, COMBINE[ev.op], [total, part], total.dtype)
    assert total is not None
    return total


def stacked(a: Around, ev: Evaluation, taps: Sequence[str], make: Callable[[Around], Arr]) -> Arr:
    """The value of one position after the other, side by side."""
    left = [i for i in a.open(ev.free) if i not in taps]
    parts = []
    for values in product(*(range(*a.extents[i]) for i in taps)):
        inner = a.tapped(dict(zip(taps, values, strict=True)))
        parts.append(a.w.whole(make(inner), left, a.sizes).code)
    code = a.w.let("taps", f"jnp.stack([{', '.join(parts)}])")
    if len(taps) > 1:
        shape = tuple(a.sizes[i] for i in (*taps, *left))
        code = a.w.let("taps", f"{code}.reshape({shape})")
    return Arr(code, (*taps, *left), ev.compute)


# -- reductions that are all of a value ----------------------------------------------------------------


def searched(a: Around, ev: Evaluation) -> Arr:
    """argmax, argmin or logsumexp over the reduction's own indices."""
    w, root = a.w, ev.root_of()
    over = root.domain.indices
    kind = ev.b.kind(root.body) if root.op != "logsumexp" else ev.compute
    free = [i for i in a.open(ev.free)]
    if any(a.sizes[i] <= 0 for i in over):
        code = "-jnp.inf" if root.op == "logsumexp" else "0"
        return masked(a, w.solid(Arr(code, (), ev.compute, literal=True)), ev.outer, "0")
    value = w.cast(value_of(a, ev.value), kind)
    admitted = conjunction(a, ev.inner)
    own = [i for i in free if i in value.axes or (admitted is not None and i in admitted.axes)]
    value = _flat(a, value, own, over)
    if root.op == "logsumexp":
        if admitted is not None:
            value = w.made(value, f"jnp.where({_flat(a, admitted, own, over).code}, {value.code}, -jnp.inf)", own)
        code = f"{w.use('logsumexp')}({value.code})"
    elif admitted is not None:
        code = f"{w.use('winner')}({value.code}, {_flat(a, admitted, own, over).code}, {root.op == 'argmin'})"
    else:
        code = f"jnp.{root.op}({value.code}, axis=-1)"
    found = Arr(w.let(root.op, code), tuple(own), "int64" if root.op != "logsumexp" else ev.compute)
    if root.op != "logsumexp":
        found = w.made(found, f"{found.code}.astype({w.kind('int64')})", own)
    return masked(a, w.cast(found, ev.compute), ev.outer, "0")


def _flat(a: Around, value: Arr, free: Sequence[str], over: Sequence[str]) -> Arr:
    """The value with the indices of a reduction as its last axis, row-major."""
    whole = a.w.whole(value, (*free, *over), a.sizes)
    if len(over) == 1:
        return whole
    shape = (*tuple(a.sizes[i] for i in (*free,)), -1)
    return a.w.made(whole, f"{whole.code}.reshape({shape})", (*free, "?over"))
