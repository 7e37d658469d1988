"""What the text says of signs: which values cannot be negative, and which are above zero.

In: a Program, an expression of it. Out: yes, or no for all that the text does not say. The one rule: a value that is
nan is neither, and may be called either; what underflows to zero is not above it.
"""

from __future__ import annotations

from ..program.algebra import exact
from ..program.conditions import TRUTHS
from ..program.ir import Access, Call, Const, Expr, Program, Reduce, Size

_NOT_NEGATIVE = frozenset(("exp", "sqrt", "rsqrt", "abs", "sigmoid", "softplus", "relu", "cosh"))
_KEEPING = ("add", "mul", "div", "min", "float")  # not negative if all arguments are
_REDUCTIONS = ("sum", "prod", "mean", "argmax", "argmin")


class Signs:
    """The signs of a program's values; a tensor is known by all statements that make it, after a first `=`."""

    def __init__(self, program: Program) -> None:
        self.tensors: set[str] = set()
        negative = {s.target.tensor for s in program.statements if s.block is not None}  # which are read before
        for stmt in program.statements:
            name = stmt.target.tensor
            starts = stmt.op == "=" or name in self.tensors
            if name in negative or not starts or stmt.op not in ("=", "+=", "*=") or not self.not_negative(stmt.value):
                self.tensors.discard(name)
                negative.add(name)
            else:
                self.tensors.add(name)

    def not_negative(self, expr: Expr) -> bool:
        """Whether a real value is zero or above."""
        match expr:
            case Const():
                number = exact(expr)
                return (number is not None and number >= 0) or self.positive(expr)
            case Size():
                return True
            case Access(tensor):
                return tensor in self.tensors
            case Call("pow", (base, n)):
                exponent = exact(n)
                return (exponent is not None and exponent % 2 == 0) or self.not_negative(base)
            case Call("mul", (a, b)) if a == b:
                return True
            case Call("max", args):
                return any(map(self.not_negative, args))
            case Call("where", (_, *branches)):
                return all(map(self.not_negative, branches))
            case Call(fn, args):
                return fn in _NOT_NEGATIVE or fn in TRUTHS or (fn in _KEEPING and all(map(self.not_negative, args)))
            case Reduce(op, _, body):
                return op in _REDUCTIONS and (op.startswith("arg") or self.not_negative(body))
            case _:
                return False

    def positive(self, expr: Expr) -> bool:
        """Whether a real value is above zero, by a number that is added, or a bound."""
        match expr:
            case Const(value):
                return not isinstance(value, bool) and value > 0
            case Call("add", (a, b)):
                return self.not_negative(a) and self.not_negative(b) and (self.positive(a) or self.positive(b))
            case Call("max", args):
                return any(map(self.positive, args))
            case Call("min" | "float", args):
                return all(map(self.positive, args))
            case Call("where", (_, *branches)):
                return all(map(self.positive, branches))
            case Call(fn):
                return fn == "cosh"
            case _:
                return False
