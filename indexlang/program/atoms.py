"""Atoms of affine forms: what an affine form adds up, and does not look into.

In: an expression that is an atom. Out: its order among others, whether it differs from point to point. The one rule:
a product of atoms has one order, indices last.
"""

from __future__ import annotations

from collections.abc import Iterable

from .algebra import multiplied, product_of
from .ir import Access, Call, Const, Expr, Index, Reduce, Size

ONE = Const(1)


def product_of_atoms(atoms: Iterable[Expr]) -> Expr:
    """A product of atoms in one order, indices last."""
    return product_of(sorted((f for a in atoms for f in multiplied(a)), key=order))


def multiple(coef: int, atom: Expr) -> Expr:
    if atom is ONE:
        return Const(coef)
    if coef == 1:
        return atom
    return Call("neg", (atom,)) if coef == -1 else product_of([Const(coef), *multiplied(atom)])


def order(atom: Expr) -> tuple[int, str, int]:
    match atom:
        case Size(tensor=tensor, axis=axis):
            return 0, tensor, axis
        case Index(name=name):
            return 2, name, 0
        case _:
            return 1, repr(atom), 0


def is_size(atom: Expr) -> bool:
    return all(isinstance(f, Size) for f in multiplied(atom))


def moves(atom: Expr) -> bool:
    """Whether an atom differs from point to point."""
    match atom:
        case Index() | Access() | Reduce():
            return True
        case Const() | Size():
            return False
        case Call(args=args):
            return any(moves(a) for a in args)


def is_linear_atom(atom: Expr) -> bool:
    moving = [f for f in multiplied(atom) if moves(f)]
    return not moving or (len(moving) == 1 and isinstance(moving[0], Index))
