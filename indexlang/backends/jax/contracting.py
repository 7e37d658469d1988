"""Sums of products: as einsum, and as convolutions where subscripts add indices.

In: a statement whose terms are products over reduced indices. Out: its value. The one rule: a point that a mask refuses
counts nothing, also where a factor is inf or nan there: then the whole domain is gone through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from string import ascii_letters

from ...plan.evaluation import Evaluation
from ...plan.operators import SUMS
from ...program.conditions import conjuncts
from ...program.ir import Access, Expr, Subscript, children, indices_of
from ...sizes.dtypes import kind_of
from .convolutions import Convolution, backward, convolved, forward
from .expressions import called, conjunction, masked, value_of
from .lines import Arr, union
from .scope import Around

Domain = Callable[[Around, Evaluation], Arr]


def is_contraction(a: Around, ev: Evaluation, taps: Sequence[str]) -> bool:
    """Whether products of arrays make the value, once some indices are gone through one by one."""
    left = [i for i in ev.summed if i not in taps]
    if ev.op not in SUMS or not ev.summed or a.count(left) < 2 or not ev.contractible():
        return False
    if ev.inner and not ev.admissible():
        return False
    for _, term in ev.terms():
        own = [frozenset(indices_of(f)).difference(taps) for f in ev.split(term)[0]]
        if len(own) > 1 and len(set(own)) > 1 and len(frozenset(chain(*own))) <= len(ascii_letters):
            return True
    return False


def _pair(a: Around, ev: Evaluation) -> tuple[Expr, Expr] | None:
    """The two factors of a statement that is a sum of their products and nothing else."""
    if ev.op not in SUMS or ev.inner or kind_of(ev.compute) != "float" or not ev.summed or not ev.contractible():
        return None
    if len(ev.terms()) != 1 or any(a.sizes[i] < 1 for i in ev.free):
        return None
    core = ev.split(ev.terms()[0][1])[0]
    return (core[0], core[1]) if len(core) == 2 else None


def convolution_of(a: Around, ev: Evaluation) -> Convolution | None:
    """How the only term of a statement is a convolution that is read."""
    core = _pair(a, ev)
    return None if core is None else forward(a, ev, core)


def transposed_of(a: Around, ev: Evaluation) -> Convolution | None:
    """How the only term of a statement is a convolution that is written."""
    core = _pair(a, ev)
    if core is None or ev.outer:
        return None
    found = backward(a, ev, core)
    _, outside, divisors = ev.split(ev.terms()[0][1])
    moved = set() if found is None else {i for s in found.axes for i in (s.o, s.r)}
    return None if any(moved & {*indices_of(f)} for f in (*outside, *divisors)) else found


def contracted(a: Around, ev: Evaluation, domain: Domain, convolution: Convolution | None = None) -> Arr:
    """The value over the free indices.

    Under masks the sum of products holds if it is finite: whatever a refused point would have made inf or nan is in it.
    """
    w, order = a.w, a.open(ev.free)
    found = products(a, ev, convolution)
    if ev.conditions() and kind_of(ev.compute) in ("float", "complex"):
        found = w.whole(found, order, a.sizes)
        slow = _in_steps(a, ev, domain)
        code = f"lax.cond(jnp.all(jnp.isfinite({found.code})), lambda: {found.code}, {slow})"
        found = Arr(w.let("v", code), order, ev.compute)
    return masked(a, found, ev.outer, "0")


def _in_steps(a: Around, ev: Evaluation, domain: Domain) -> str:
    """The name of a function that goes through the whole domain, one value of the longest reduced index at a time."""
    w, order = a.w, a.open(ev.free)
    index = max((i for i in ev.summed if i not in a.at), key=lambda i: a.sizes[i])
    lo, hi = a.extents[index]
    parts = (ev.value, *(m for m in ev.stmt.domain.masks))
    there = {access: a.read(a, access) for part in parts for access in _outermost(part)}

    def taken(inner: Around, access: Access) -> Arr:
        found = there[access]
        if index not in found.axes:
            return found
        code = f"lax.dynamic_index_in_dim({found.code}, number, {found.axes.index(index)}, keepdims=False)"
        return w.made(found, code, [i for i in found.axes if i != index], "now")

    with w.function("domain", anew=True) as slow:
        with w.function("step", "number, total", anew=True) as step:
            now = w.let(index, f"jnp.asarray(number + {lo}, {w.kind('int64')})")
            inner = replace(a, admitting=False, stepping={index: now}, read=taken)  # positions have been looked at
            w.line(f"return total + {w.whole(w.cast(domain(inner, ev), ev.compute), order, a.sizes).code}")
        shape = tuple(a.sizes[i] for i in order)
        start = f"jnp.zeros({shape}, {w.kind(ev.compute)})"
        w.line(f"return lax.fori_loop(0, {hi - lo}, {step}, {start})")
    return slow


def _outermost(node: Subscript) -> Iterator[Access]:
    """The accesses of an expression that stand in no other one."""
    if isinstance(node, Access):
        yield node
        return
    for part in children(node):
        yield from _outermost(part)


def _conditions(a: Around, ev: Evaluation) -> list[Expr]:
    """The conditions that refuse something: not those that keep a zero from meeting a pole, which finite results say
    that none has met.
    """
    poles = {part for mask in a.b.poles for part in conjuncts(mask)}
    return [c for c in ev.conditions() if c not in poles]


def _bearer(condition: Expr, core: Sequence[Expr]) -> int | None:
    """The number of the factor that has all indices of a condition."""
    wanted = set(indices_of(condition))
    return next((k for k, f in enumerate(core) if wanted <= set(indices_of(f))), None)


def products(a: Around, ev: Evaluation, convolution: Convolution | None = None) -> Arr:
    """The terms, each summed, together."""
    total: Arr | None = None
    for sign, term in ev.terms():
        found = _term(a, ev, term, convolution)
        if total is None:
            total = a.w.made(found, f"(-{found.code})", found.axes) if sign < 0 else found
        else:
            total = called(a, "({0} + {1})" if sign > 0 else "({0} - {1})", [total, found], ev.compute)
    assert total is not None
    return total


def _term(a: Around, ev: Evaluation, term: Expr, convolution: Convolution | None) -> Arr:
    """A product summed over the reduced indices, those that it lacks included."""
    w = a.w
    core, outside, divisors = ev.split(term)
    present = {i for f in core for i in indices_of(f)}
    missing = a.count([i for i in ev.summed if i not in present and i not in a.at])
    if convolution is not None:
        found = convolved(a, ev, core, convolution)
    else:
        factors = [w.solid(w.cast(value_of(a, f), ev.compute)) for f in core]
        found = _einsum(a, ev, _admitted(a, ev, core, factors))
    if missing != 1:
        found = w.made(found, f"({found.code} * {missing})", found.axes)
    for form, parts in (("({0} * {1})", outside), ("({0} / {1})", divisors)):
        for part in parts:
            found = called(a, form, [found, w.cast(value_of(a, part), ev.compute)], ev.compute)
    return found


def _admitted(a: Around, ev: Evaluation, core: Sequence[Expr], factors: list[Arr]) -> list[Arr]:
    """The factors, zeros in them where the conditions refuse; conditions of several are factors of their own."""
    w, found = a.w, list(factors)
    for condition in _conditions(a, ev):
        one, k = conjunction(a, [condition]), _bearer(condition, core)
        assert one is not None
        if k is None:
            found.append(w.cast(one, ev.compute))
            continue
        found[k] = called(a, "jnp.where({0}, {1}, 0)", [one, found[k]], ev.compute)
    return found


def _einsum(a: Around, ev: Evaluation, factors: Sequence[Arr]) -> Arr:
    w = a.w
    axes = union(a.order, factors)
    letters = dict(zip(axes, ascii_letters, strict=False))
    out = tuple(i for i in axes if i not in ev.summed)
    given = ",".join("".join(letters[i] for i in f.axes) for f in factors)
    shown = ", ".join(f.code for f in factors)
    kind = w.kind(ev.compute)
    made = "".join(letters[i] for i in out)
    code = f'jnp.einsum("{given}->{made}", {shown}, precision=PRECISION, preferred_element_type={kind})'
    return Arr(w.let("products", code), out, ev.compute)
