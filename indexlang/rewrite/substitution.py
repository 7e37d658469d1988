"""Indices of an expression replaced by affine forms of others, the affine parts around them put together again.

In: a subscript or an expression, and a `Quotient` for each index that goes. Out: the same with the quotients in place.
The one rule: an affine part stays affine; it has one division at most, and that is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd, lcm

from ..program.affine import Affine
from ..program.conditions import is_integer
from ..program.ir import Access, Boundary, Call, Const, Dots, Expr, Index, Merged, Reduce, Subscript, indices_of

_INTEGER = ("floordiv", "mod", "min", "max")  # what an affine form may have around another one


@dataclass(frozen=True)
class Quotient:
    """`form / divisor`, exact wherever it is used."""

    form: Affine
    divisor: int = 1

    def expr(self, first: Sequence[str] = ()) -> Expr:
        top = written(self.form, first)
        return top if self.divisor == 1 else Call("floordiv", (top, Const(self.divisor)))


def reduced(form: Affine, divisor: int) -> Quotient:
    """`form / divisor` without common factors."""
    common = gcd(divisor, form.const, *(c for _, c in form.terms))
    if common == 1:
        return Quotient(form, divisor)
    return Quotient(Affine(form.const // common, tuple((a, c // common) for a, c in form.terms)), divisor // common)


def combined(parts: Iterable[tuple[int, Affine]]) -> Affine:
    """The sum of forms, each so many times."""
    result = Affine()
    for times, form in parts:
        result = result + form * times
    return result


def linear(expr: Subscript) -> Affine | None:
    """The affine form over indices, with constants that are made of sizes; None if there is none."""
    if isinstance(expr, Boundary | Merged | Dots | Access | Reduce) or not is_integer(expr):
        return None
    form = Affine.from_expr(expr)
    return form if all(isinstance(a, Index) or not indices_of(a) for a, _ in form.terms) else None


def put(expr: Expr, values: Mapping[str, Quotient], first: Sequence[str] = ()) -> Expr:
    """The expression with the values in place of their indices; affine parts are written with `first` in front."""
    if values.keys().isdisjoint(indices_of(expr)):
        return expr
    form = linear(expr)
    if form is not None:
        return _put(form, values).expr(first)
    match expr:
        case Access(subscripts=subscripts):
            return replace(expr, subscripts=tuple(put_subscript(s, values, first) for s in subscripts))
        case Call(fn=fn, args=args):
            changed = replace(expr, args=tuple(put(a, values, first) for a in args))
            whole = fn in _INTEGER and is_integer(changed)
            return written(Affine.from_expr(changed), first) if whole else changed
        case Reduce(domain=domain, body=body):
            masks = tuple(put(m, values, first) for m in domain.masks)
            return replace(expr, body=put(body, values, first), domain=replace(domain, masks=masks))
        case _:
            raise AssertionError("an index is an affine form")


def put_subscript(s: Subscript, values: Mapping[str, Quotient], first: Sequence[str] = ()) -> Subscript:
    """The same for a subscript; no value can stand in a merged axis."""
    match s:
        case Boundary(expr=e, value=value):
            return replace(s, expr=_without_zeros(put(e, values, first)), value=put(value, values, first))
        case Merged() | Dots():
            return s
        case _:
            return _without_zeros(put(s, values, first))


def _without_zeros(position: Expr) -> Expr:
    """A position without the zeros that are added in it, as it is read."""
    match position:
        case Call(fn="add", args=(a, Const(value=0))) | Call(fn="add", args=(Const(value=0), a)):
            return _without_zeros(a)
        case Call(fn="sub", args=(a, Const(value=0))):
            return _without_zeros(a)
        case Call(fn=fn, args=args) if fn in ("add", "sub", "mul", "neg", *_INTEGER):
            return replace(position, args=tuple(map(_without_zeros, args)))
        case _:
            return position


def _put(form: Affine, values: Mapping[str, Quotient]) -> Quotient:
    """An affine form over the new indices: one exact division at most."""
    known = {a.name: c for a, c in form.terms if isinstance(a, Index) and a.name in values}
    divisor = lcm(*(values[i].divisor for i in known))
    parts = [(c * (divisor // values[i].divisor), values[i].form) for i, c in known.items()]
    rest = Affine(form.const, tuple(t for t in form.terms if not (isinstance(t[0], Index) and t[0].name in known)))
    return reduced(combined([*parts, (divisor, rest)]), divisor)


def written(form: Affine, first: Sequence[str] = ()) -> Expr:
    """An affine form as text has it: the indices `first`, the constant, the rest; what is added before what is not."""

    def place(atom: Expr | None) -> tuple[int, int]:
        if isinstance(atom, Index) and atom.name in first:
            return 0, first.index(atom.name)
        return (1, 0) if atom is None or not indices_of(atom) else (2, 0)

    terms: list[tuple[Expr | None, int]] = [*form.terms, (None, form.const)]
    terms = sorted((t for t in terms if t[1]), key=lambda t: place(t[0]))
    if terms and terms[0][1] < 0:  # `n-1-u`, not `-u+n-1`
        terms.sort(key=lambda t: t[1] < 0)
    result: Expr | None = None
    for atom, coef in terms:
        size = abs(coef) if result is not None else coef
        term: Expr = Const(size) if atom is None else atom if size == 1 else _product(size, atom)
        result = term if result is None else Call("add" if coef > 0 else "sub", (result, term))
    return Const(0) if result is None else result


def _product(times: int, atom: Expr) -> Expr:
    return Call("neg", (atom,)) if times == -1 else Call("mul", (Const(times), atom))
