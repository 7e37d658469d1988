"""The sizes of axes as affine forms, each written in one way, and the extremes of a form over a box of indices.

In: a Program. Out: `Sizes`, filled statement by statement while ranges are solved. The one rule: two sizes that any run
of the program must find equal have one canonical form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..program.affine import Affine, floordiv, greatest, least, not_negative, size
from ..program.ir import (
    Call,
    Const,
    Expr,
    Index,
    Program,
    Size,
    indices_of,
    primal_of,
    reads,
    tensors_in,
    walk,
)
from .uses import ranks_in

ZERO = Affine(0)
LONGEST = 16  # parts of a form that is written out


class Sizes:
    """The sizes of axes as forms in one canonical way, and what is known to be equal."""

    def __init__(self, program: Program, known: Mapping[Size, Affine]) -> None:
        self.equal: dict[Expr, Affine] = dict(known.items())
        self.canonicals: dict[Affine, Affine] = {}  # found since something new was noted of a size in them
        self.axes: dict[str, dict[int, Affine]] = {}  # what `axis` gave since then
        self.open: set[str] = set()  # the tensors whose sizes are in these forms
        self.defined: dict[str, dict[int, Affine]] = {}  # sizes that stand for themselves are left out
        self.reached: dict[str, dict[int, Affine]] = {}  # what each definition reaches
        self.declared = {s.tensor: s for s in program.shapes}
        self.aliases: dict[str, str] = {}  # tensors of unknown rank that have another one's shape
        self.dotted: set[str] = set()  # tensors defined through an ellipsis: some of their sizes are only names
        self.targets = {s.target.tensor for s in program.statements} - set(program.inputs)
        self.ranks: dict[str, int] = {t: len(s.dims) for t, s in self.declared.items()}
        present = dict.fromkeys((*program.inputs, *(s.target.tensor for s in program.statements)))
        for stmt in program.statements:
            present.update(dict.fromkeys(tensors_in(stmt)))
            for tensor, rank in ranks_in(stmt).items():
                self.ranks.setdefault(tensor, rank)
        self.order = {t: k for k, t in enumerate(present)}
        self.primals = {  # whose shape a gradient, or a tangent, has that is not declared
            t: p for t in present if t not in self.declared and (p := primal_of(t)) in present and p is not None
        }
        for tensor, shape in self.declared.items():
            if tensor not in self.targets:
                for axis, dim in enumerate(shape.dims):
                    atom = Size(tensor, axis)
                    form = Affine.from_expr(dim)
                    if form.is_constant and atom not in self.equal:
                        self.equal[atom] = form
                        self.forget(tensor)
                    else:
                        self.equate(size(tensor, axis), form)

    def canonical(self, form: Affine) -> Affine:
        """The form over sizes of inputs, each in the one way that stands for all that equal it."""
        if not form.terms:
            return form
        known = self.canonicals.get(form)
        if known is None:
            known = self.canonicals[form] = self._canonical(form)
            if (atom := _single(form)) in self.equal and atom is not None:
                self.equal[atom] = known  # so that chains of equal sizes stay short
        return known

    def _canonical(self, form: Affine) -> Affine:
        for _ in range(64 + len(self.equal) + len(self.defined)):
            atom = _single(form)
            atoms = form.sizes if atom is None else (atom,)
            mapping: dict[Expr, Affine] = {a: f for a in atoms if (f := self._step(a)) is not None}
            if not mapping:
                self.open.update([a.tensor for a in atoms])
                return form
            form = form.substitute(mapping) if atom is None else mapping[atom]
        raise AssertionError("sizes are defined by each other")

    def _step(self, atom: Size) -> Affine | None:
        found = self.equal.get(atom)
        if found is not None:
            return found
        tensor, axis = atom.tensor, atom.axis
        if axis in self.defined.get(tensor, ()):
            return self.defined[tensor][axis]
        if (number := self.number(tensor, axis)) != axis:
            return size(tensor, number)
        other = self.primals.get(tensor) or self.aliases.get(tensor)
        return None if other is None else size(other, axis)

    def axis(self, tensor: str, axis: int) -> Affine | None:
        """The size of an axis; None for one that its tensor's definition has not reached yet."""
        axes = self.axes.get(tensor)
        found = None if axes is None else axes.get(axis)
        if found is None:
            found = self._axis(tensor, self.number(tensor, axis))
            if found is not None:
                self.axes.setdefault(tensor, {})[axis] = found
        return found

    def _axis(self, tensor: str, axis: int) -> Affine | None:
        if tensor in self.defined:
            found = self.defined[tensor].get(axis)
            if found is not None:
                return self.canonical(found)
            named = tensor in self.aliases or tensor in self.dotted or axis in self.reached.get(tensor, ())
            return self.canonical(size(tensor, axis)) if named else None
        if tensor in self.primals or tensor not in self.targets:
            return self.canonical(size(tensor, axis))
        declared = self.declared.get(tensor)
        if declared is None:
            return None
        dim = declared.dims[axis]
        return None if dim == Size(tensor, axis % len(declared.dims)) else self.canonical(Affine.from_expr(dim))

    def circular(self, tensor: str, axes: Mapping[int, Affine]) -> list[int]:
        """The axes whose size, as a definition would say it, depends on itself."""
        needs = {
            axis: {s.axis for s in self.canonical(form).sizes if s.tensor == tensor} for axis, form in axes.items()
        }
        found = []
        for axis, needed in needs.items():
            left, seen = [*needed], set[int]()
            while left:
                other = left.pop()
                if other not in seen:
                    seen.add(other)
                    left += needs.get(other, ())
            if axis in seen:
                found.append(axis)
        return found

    def define(self, tensor: str, axes: Mapping[int, Affine]) -> None:
        """Note what a definition reaches; a long form gets a name, the size itself, so that forms do not grow."""
        self.reached[tensor] = dict(axes)
        self.axes.pop(tensor, None)
        self.forget(tensor)
        self.defined[tensor] = {k: form for k, form in axes.items() if _length(form) <= LONGEST}

    def alias(self, tensor: str, other: str) -> list[int]:
        """Note that a tensor has another one's shape, but for axes of that one whose size depends on the first's."""
        circular = [k for k, form in self.of(other).items() if any(s.tensor == tensor for s in form.sizes)]
        if not circular:
            self.aliases[tensor] = other
        return circular

    def number(self, tensor: str, axis: int) -> int:
        """The axis counted from the front, where the rank is known."""
        rank = self.ranks.get(tensor)
        return axis + rank if axis < 0 and rank is not None else axis

    def of(self, tensor: str) -> dict[int, Affine]:
        """The sizes of all axes of a tensor of known rank."""
        rank = self.ranks.get(tensor)
        if tensor in self.defined and rank is None:
            return self.defined[tensor]
        if rank is None and tensor in self.primals:
            return self.of(self.primals[tensor])
        return {k: self.canonical(size(tensor, k)) for k in range(rank or 0)}

    def equate(self, a: Affine, b: Affine) -> None:
        """Note that two sizes are equal, the second by the first; where neither is one size, nothing can be noted."""
        a, b = self.canonical(a), self.canonical(b)
        if a == b or a.indices or b.indices:
            return
        found = [(atom, other) for one, other in ((b, a), (a, b)) if (atom := _single(one)) and atom not in other.sizes]
        if found:  # the tensor that appears first stands for the others
            atom, other = max(found, key=lambda f: self.order.get(f[0].tensor, 0))
            self.equal[atom] = other
            self.forget(atom.tensor)

    def forget(self, tensor: str) -> None:
        """Something new is known of a tensor's sizes: forms that mention them are to be found again."""
        if tensor in self.open:
            self.canonicals.clear()
            self.axes.clear()
            self.open.clear()


def _single(form: Affine) -> Size | None:
    if form.const or len(form.terms) != 1:
        return None
    atom, coef = form.terms[0]
    return atom if coef == 1 and isinstance(atom, Size) else None


def _length(form: Affine) -> int:
    return sum(1 for atom, _ in form.terms for _ in walk(atom))


@dataclass
class Box:
    """Bounds of indices as forms, open ones missing."""

    low: dict[str, Affine] = field(default_factory=dict)
    high: dict[str, Affine] = field(default_factory=dict)

    def extreme(self, form: Affine, sign: int) -> Affine | None:
        """The greatest (sign 1) or least (-1) value of a form over the box; None where data decide."""
        result = Affine(form.const)
        for atom, coef in form.terms:
            part = self._atom(atom, sign if coef > 0 else -sign)
            if part is None:
                return None
            result = result + part * coef
        return result

    def _atom(self, atom: Expr, sign: int) -> Affine | None:
        if not indices_of(atom):
            return None if reads(atom) else Affine(0, ((atom, 1),))
        match atom:
            case Index(name=i):
                if i not in self.high:  # still open, or of another domain
                    return None
                return self.high[i] - 1 if sign > 0 else self.low[i]
            case Call(fn="floordiv", args=(a, Const(value=m))) if type(m) is int and m > 0:
                inner = self.extreme(Affine.from_expr(a), sign)
                return None if inner is None else floordiv(inner, Affine(m))
            case Call(fn="mod", args=(a, Const(value=m))) if type(m) is int and m > 0:
                if sign < 0:
                    return ZERO
                low, high = (self.extreme(Affine.from_expr(a), s) for s in (-1, 1))
                inside = low is not None and high is not None and not_negative(low)
                return least(Affine(m - 1), high) if inside and high is not None else Affine(m - 1)
            case Call(fn="min" | "max" as fn, args=args):
                parts = [self.extreme(Affine.from_expr(a), sign) for a in args]
                known = [p for p in parts if p is not None]
                if len(known) < len(parts):
                    return None
                return least(*known) if fn == "min" else greatest(*known)
            case Call(fn="mul"):  # sizes times one index
                form = Affine(0, ((atom, 1),))
                names = indices_of(atom)
                if not form.is_linear or len(names) != 1 or names[0] not in self.high:
                    return None
                return form.coefficient(names[0]) * (self.high[names[0]] - 1 if sign > 0 else self.low[names[0]])
            case _:
                return None
