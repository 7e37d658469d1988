"""Integer affine forms: a constant plus atoms with integer coefficients.

In: a subscript or a size as an expression. Out: an `Affine`, and from it the expression as a person would write it.
The one rule: the form is canonical. Two expressions that are equal by the laws of sums, products, `//`, `%`, `min`
and `max` by constants give equal forms, and equal forms over sizes give equal expressions.

Atoms are indices, sizes, products of them, `//`, `%`, `min` and `max` that do not fold, and whatever is not
arithmetic: index tensors, `int(...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..properties import cached_property
from .algebra import multiplied
from .atoms import ONE, is_linear_atom, is_size, moves, multiple, order, product_of_atoms
from .facts import kept_upwards, note
from .ir import Call, Const, Expr, Index, Size, indices_of, walk
from .rebuild import transform_expr

Sizes = Mapping[str, Sequence[int]]
Term = tuple[Expr, int]


@dataclass(frozen=True, eq=False)
class Affine:
    """const + sum of coef * atom; terms in order of occurrence, each atom once, no zero coefficients."""

    const: int = 0
    terms: tuple[Term, ...] = ()

    @staticmethod
    def from_expr(expr: Expr) -> Affine:
        """The form of an expression; what is not arithmetic on integers becomes an atom."""
        form = _form(expr)
        return Affine(0, ((expr, 1),)) if form is None else form

    # -- arithmetic ----------------------------------------------------------------------------

    def __add__(self, other: Affine | int) -> Affine:
        if isinstance(other, int):
            return Affine(self.const + other, self.terms)
        if not other.terms:
            return Affine(self.const + other.const, self.terms)
        coefs = dict(self.terms)
        for atom, coef in other.terms:
            coefs[atom] = coefs.get(atom, 0) + coef
        return Affine(self.const + other.const, tuple((a, c) for a, c in coefs.items() if c))

    def __sub__(self, other: Affine | int) -> Affine:
        return self + (-other)

    def __neg__(self) -> Affine:
        return self * -1

    def __mul__(self, other: Affine | int) -> Affine:
        """The product, multiplied out; products of atoms are atoms."""
        if isinstance(other, int):
            return Affine(self.const * other, tuple((a, c * other) for a, c in self.terms) if other else ())
        if not other.terms:
            return self * other.const
        if not self.terms:
            return other * self.const
        result = self * other.const + Affine(0, other.terms) * self.const
        for atom, coef in self.terms:
            for factor, times in other.terms:
                result = result + Affine(0, ((product_of_atoms((atom, factor)), coef * times),))
        return result

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Affine) or self.const != other.const:
            return False
        return self.terms == other.terms or (len(self.terms) > 1 and self.coefficients == other.coefficients)

    def __hash__(self) -> int:
        found: int | None = self.__dict__.get("_hash")
        if found is None:
            found = self.__dict__["_hash"] = hash((self.const, frozenset(self.terms)))
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {"const": self.const, "terms": self.terms}

    # -- parts ---------------------------------------------------------------------------------

    @property
    def is_constant(self) -> bool:
        return not self.terms

    @cached_property
    def indices(self) -> tuple[str, ...]:
        """The indices in it, also those inside of atoms, in order of occurrence."""
        return tuple(dict.fromkeys(i for atom, _ in self.terms for i in indices_of(atom)))

    @cached_property
    def sizes(self) -> frozenset[Size]:
        """The sizes in it, also those inside of atoms."""
        return frozenset(p for atom, _ in self.terms for p in walk(atom) if isinstance(p, Size))

    @cached_property
    def coefficients(self) -> Mapping[Expr, int]:
        """The terms, by their atoms."""
        return dict(self.terms)

    @cached_property
    def is_of_sizes(self) -> bool:
        """Whether all atoms are sizes and products of sizes."""
        return all([is_size(atom) for atom, _ in self.terms])

    @property
    def is_linear(self) -> bool:
        """Whether every index occurs only as `coefficient * index`, the coefficient free of indices."""
        return all(is_linear_atom(atom) for atom, _ in self.terms)

    def coefficient(self, index: str) -> Affine:
        """What the index is multiplied by; occurrences inside of `//`, `%` and index tensors do not count."""
        result = Affine()
        for atom, coef in self.terms:
            factors = multiplied(atom)
            if Index(index) in factors:
                factors.remove(Index(index))
                result = result + (Affine(0, ((product_of_atoms(factors), coef),)) if factors else coef)
        return result

    def substitute(self, mapping: Mapping[Expr, Affine]) -> Affine:
        """The form with atoms replaced, also inside of arithmetic, and sizes wherever they stand."""
        result = Affine(self.const)
        for atom, coef in self.terms:
            result = result + _substituted(atom, mapping) * coef
        return result

    def value(self, sizes: Sizes, point: Mapping[str, int] | None = None) -> int:
        """The number; indices and sizes must be known, and division by zero raises."""
        total = self.const
        for atom, coef in self.terms:
            total += coef * number(atom, sizes, point or {})
        return total

    # -- as an expression ----------------------------------------------------------------------

    def to_expr(self) -> Expr:
        """`2*i+k-1`, `size(x,0)-1-i`: indices as they occur, then sizes, then the constant, no sign in front."""
        moving: list[Term] = [t for t in self.terms if moves(t[0])]
        fixed = sorted((t for t in self.terms if not moves(t[0])), key=lambda t: (t[1] < 0, order(t[0])))
        const: list[Term] = [(ONE, self.const)] if self.const else []
        first = next((t for t in moving if t[1] > 0), None)
        if not moving or moving[0][1] > 0:
            terms = [*moving, *fixed, *const]
        elif first is not None:
            terms = [first, *(t for t in moving if t is not first), *fixed, *const]
        elif fixed and fixed[0][1] > 0:
            terms = [*fixed, *const, *moving]
        else:
            terms = [*const, *moving, *fixed] if self.const > 0 else [*moving, *fixed, *const]
        if not moving and terms and terms[0][1] < 0 < self.const:
            terms = [*const, *fixed]
        result: Expr | None = None
        for atom, coef in terms:
            if result is None:
                result = multiple(coef, atom)
            else:
                result = Call("add" if coef > 0 else "sub", (result, multiple(abs(coef), atom)))
        return Const(0) if result is None else result


def _arguments_of(expr: Expr) -> tuple[Expr, ...]:
    return expr.args if isinstance(expr, Call) and expr.fn in _ARITHMETIC else ()


@kept_upwards(_arguments_of)
def _form(expr: Expr) -> Affine | None:
    """The form of an expression; None for an atom."""
    match expr:
        case Const(value=value) if isinstance(value, int):
            return Affine(int(value))
        case Call(fn=fn, args=args) if fn in _ARITHMETIC:
            return _ARITHMETIC[fn](*map(Affine.from_expr, args))
        case _:
            return None


def _as_atom(call: Call) -> Call:
    """A call of which it is known that nothing in it folds: not to be found again, at every level of it anew."""
    note(call, _form, None)
    return call


def affine(expr: Expr) -> Affine | None:
    """The form of an expression in which every index stands with a coefficient free of indices, else None."""
    form = Affine.from_expr(expr)
    return form if form.is_linear else None


@lru_cache(1 << 14)
def size(tensor: str, axis: int) -> Affine:
    """`size(tensor, axis)` as a form."""
    return Affine(0, ((Size(tensor, axis), 1),))


def total(forms: Iterable[Affine]) -> Affine:
    """The product of forms."""
    result = Affine(1)
    for form in forms:
        result = result * form
    return result


# -- division, min and max ---------------------------------------------------------------------------


def floordiv(a: Affine, b: Affine) -> Affine:
    """`a // b`: what a positive constant divides comes out."""
    m = b.const
    if not b.is_constant or m <= 0:
        if b.is_constant and a.is_constant and m:
            return Affine(a.const // m)
        return _atom("floordiv", a, b)
    out = Affine(a.const // m, tuple((x, c // m) for x, c in a.terms if c % m == 0))
    rest = Affine(a.const % m, tuple(t for t in a.terms if t[1] % m))
    if rest.is_constant:
        return out
    if not rest.const and len(rest.terms) == 1 and rest.terms[0][1] == 1:
        match rest.terms[0][0]:  # (a // n) // m
            case Call(fn="floordiv", args=(inner, Const(value=n))) if type(n) is int and n > 0:
                return out + floordiv(Affine.from_expr(inner), Affine(n * m))
    return out + _atom("floordiv", rest, b)


def mod(a: Affine, b: Affine) -> Affine:
    """`a % b`: what a positive constant divides drops out."""
    m = b.const
    if not b.is_constant or m <= 0:
        if b.is_constant and a.is_constant and m:
            return Affine(a.const % m)
        return _atom("mod", a, b)
    rest = Affine(a.const % m, tuple(t for t in a.terms if t[1] % m))
    return rest if rest.is_constant else _atom("mod", rest, b)


def least(*forms: Affine) -> Affine:
    """The minimum; forms that are provably not below another one are left out."""
    return _extremum("min", forms)


def greatest(*forms: Affine) -> Affine:
    """The maximum; forms that are provably not above another one are left out."""
    return _extremum("max", forms)


@lru_cache(1 << 12)  # many reads at one position ask the same
def _extremum(fn: str, forms: tuple[Affine, ...]) -> Affine:
    kept: list[Affine] = []
    for form in (part for f in forms for part in _arguments(fn, f)):
        beaten = _is_at_least if fn == "min" else _is_at_most
        if any([beaten(form, other) for other in kept]):
            continue
        kept = [other for other in kept if not beaten(other, form)]
        kept.append(form)
    if len(kept) == 1:
        return kept[0]
    first, *others = sorted((k.to_expr() for k in kept), key=order)
    for expr in others:
        first = _as_atom(Call(fn, (first, expr)))
    return Affine(0, ((first, 1),))


def _arguments(fn: str, form: Affine) -> list[Affine]:
    """The forms of a nested minimum or maximum."""
    match form.const, form.terms:
        case 0, ((Call(fn=inner, args=args), 1),) if inner == fn:
            return [part for a in args for part in _arguments(fn, Affine.from_expr(a))]
    return [form]


def _is_at_least(a: Affine, b: Affine) -> bool:
    """Whether a >= b provably for all sizes >= 0."""
    if a.is_of_sizes and b.is_of_sizes:
        left = a.coefficients
        if a.const < b.const or any([left.get(atom, 0) < coef for atom, coef in b.terms]):
            return False
        right = b.coefficients
        return all([coef > 0 or atom in right for atom, coef in a.terms])
    return not_negative(a - b)


def _is_at_most(a: Affine, b: Affine) -> bool:
    return _is_at_least(b, a)


def not_negative(form: Affine, depth: int = 4) -> bool:
    """Whether a form is provably >= 0 for all sizes >= 0. False may mean that it cannot tell."""
    if all(c > 0 and is_size(a) for a, c in form.terms):
        return form.const >= 0
    if not depth:
        return False
    for more, fewer, times in _quotients(form):  # a//m - b//m is not negative if a - b is not
        if not_negative(more, depth - 1):
            return not_negative(form + fewer * times, depth - 1)
    for atom, coef in form.terms:
        rest = form - Affine(0, ((atom, coef),))
        for bounds in _below(atom, coef):
            if all(not_negative(rest + bound, depth - 1) for bound in bounds):
                return True
    return False


def _quotients(form: Affine) -> Iterator[tuple[Affine, Affine, int]]:
    """Pairs of quotients by one number, of which one counts: a - b, b//m - a//m, and how often both are there."""
    found = [(Affine.from_expr(a.args[0]), a, c) for a, c in form.terms if isinstance(a, Call) and a.fn == "floordiv"]
    for top, atom, times in found:
        for other, less, coef in found:
            if times > 0 > coef and atom.args[1] == less.args[1] and _is_above_zero(atom.args[1]):
                yield top - other, Affine(0, ((less, 1),)) - Affine(0, ((atom, 1),)), min(times, -coef)


def _is_above_zero(expr: Expr) -> bool:
    return isinstance(expr, Const) and type(expr.value) is int and expr.value > 0


def _below(atom: Expr, coef: int) -> list[tuple[Affine, ...]]:
    """Alternatives: forms that are together below coef * atom (the least of each alternative is)."""
    match atom:
        case Call(fn="floordiv", args=(a, Const(value=m))) if type(m) is int and m > 0:
            form = Affine.from_expr(a)
            found: list[tuple[Affine, ...]] = []
            if coef % m == 0:  # a-m+1 <= m * (a//m) <= a
                found.append(((form if coef < 0 else form - (m - 1)) * (coef // m),))
            if coef > 0 and not_negative(form, 1):
                found.append((Affine(),))
            return found
        case Call(fn="mod", args=(_, Const(value=m))) if type(m) is int and m > 0:
            return [(Affine(min(0, coef * (m - 1))),)]
        case Call(fn="min" | "max" as fn, args=args):
            parts = [Affine.from_expr(a) * coef for a in args]
            together = (fn == "min") == (coef > 0)
            return [tuple(parts)] if together else [(p,) for p in parts]
        case _:
            return []


# -- atoms -------------------------------------------------------------------------------------------


def _atom(fn: str, a: Affine, b: Affine) -> Affine:
    return Affine(0, ((Call(fn, (a.to_expr(), b.to_expr())), 1),))


def _substituted(atom: Expr, mapping: Mapping[Expr, Affine]) -> Affine:
    found = mapping.get(atom)
    if found is not None:
        return found
    match atom:
        case Call(fn=fn, args=args) if fn in _ARITHMETIC:
            forms = [Affine.from_expr(a) for a in args]
            changed = [f.substitute(mapping) for f in forms]
            return _ARITHMETIC[fn](*changed) if changed != forms else Affine(0, ((atom, 1),))
    new = transform_expr(atom, lambda p: mapping[p].to_expr() if isinstance(p, Size) and p in mapping else None)
    return Affine(0, ((new, 1),))


_ARITHMETIC: Mapping[str, Callable[..., Affine]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "neg": lambda a: -a,
    "floordiv": floordiv,
    "mod": mod,
    "min": least,
    "max": greatest,
}

_NUMBERS: Mapping[str, Callable[..., int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "neg": lambda a: -a,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "min": min,
    "max": max,
    "int": int,
}


def number(expr: Expr, sizes: Sizes, point: Mapping[str, int]) -> int:
    """An integer expression of numbers, sizes and indices as a number."""
    match expr:
        case Size(tensor=tensor, axis=axis):
            return sizes[tensor][axis]
        case Index(name=name):
            return point[name]
        case Const(value=value) if isinstance(value, int):
            return int(value)
        case Call(fn=fn, args=args) if fn in _NUMBERS:
            return _NUMBERS[fn](*(number(a, sizes, point) for a in args))
        case _:
            raise ValueError(f"not an integer expression of sizes and indices: {expr}")
