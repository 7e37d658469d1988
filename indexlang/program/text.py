"""Program to text: the printer.

In: a Program, a statement, an expression. Out: text of the language. The one rule: printing is exact. What
`resolve` makes of the parsed text is the Program that was printed; brackets stand only where they are needed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping

from ..errors import NAMED, MeaningError, within_depth
from .conditions import is_static
from .functions import ADD, AND, ATOM, COMPARE, CONSTANTS, FUNCTIONS, MUL, NEG, NOT, OR, POW
from .interface import ANONYMOUS, is_told
from .ir import (
    Access,
    Block,
    Boundary,
    Call,
    Const,
    Domain,
    Dots,
    Expr,
    Index,
    Merged,
    Program,
    Range,
    Reduce,
    Shape,
    Size,
    Statement,
    Subscript,
    accesses_of,
    blocks_of,
    indices_of,
    reductions_of,
    walk,
)

Names = Mapping[Expr, str]  # the names of dims, by what they stand for

INDENT = "    "

_NO_NAMES: Names = {}


@within_depth(MeaningError, NAMED)
def to_text(program: Program) -> str:
    """The program as source; a layer with a header where the bare statements would not say its inputs and outputs."""
    names = dim_names(program)
    if program.name is None and is_told(program):
        lines = [_shape_line(s, names) for s in program.shapes]
        lines += _statements(program, names)
    else:
        shapes = {s.tensor: s for s in program.shapes}
        header = set(program.inputs) | set(program.outputs)
        inputs, outputs = (
            ", ".join(_declared(shapes[t], names) if t in shapes else t for t in side)
            for side in (program.inputs, program.outputs)
        )
        lines = [f"layer {program.name or ANONYMOUS}({inputs}) -> {outputs}:"]
        lines += [INDENT + _shape_line(s, names) for s in program.shapes if s.tensor not in header]
        lines += [INDENT + line for line in _statements(program, names)]
    return "\n".join(lines) + "\n"


def dim_names(program: Program) -> Names:
    """The dims that a printed header or shape line introduces, by what they stand for."""
    shown = {part for shape in program.shapes for dim in shape.dims for part in walk(dim)}
    return {expr: name for name, expr in reversed(program.dims) if expr in shown}


def _shape_line(shape: Shape, names: Names) -> str:
    return "shape " + _declared(shape, names)


def _declared(shape: Shape, names: Names) -> str:
    return f"{shape.tensor}[{','.join(_Printer(names, '').expr(d) for d in shape.dims)}]"


def _statements(program: Program, names: Names) -> Iterator[str]:
    """A line for each statement and block; a scalar that needs brackets as a target has them in all its statements."""
    bracketed = {s.target.tensor for s in program.statements if _is_bare(s)}
    open_: tuple[Block, ...] = ()
    for stmt in program.statements:
        path = blocks_of(stmt)
        for level, block in enumerate(path):
            if path[: level + 1] != open_[: level + 1]:
                yield INDENT * level + block_text(block, names)
        open_ = path
        yield INDENT * len(path) + statement_text(stmt, names, bracketed)


def block_text(block: Block, dims: Names = _NO_NAMES) -> str:
    """The line of a block, without those around it."""
    written = {r.index: r for r in block.ranges}
    printer = _Printer(dims, " ")
    told = {i for mask in block.masks for i in indices_of(mask)}
    masks = list(block.masks)
    ranges = []
    for i in block.indices:
        if i in written or i not in told:
            found = printer.range(written.get(i, Range(i)))
            if begin := next((m for m in masks if _begins(m, written.get(i), block)), None):
                masks.remove(begin)
                found = f"{printer.expr(begin)}{found.removeprefix(i)}"  # alone, j < i would be about j, too
            elif end := next((m for m in masks if _ends(m, written.get(i))), None):
                masks.remove(end)
                found += printer.expr(end).removeprefix(i)
            ranges.append(found)
    parts = [*ranges, *(printer.expr(mask) for mask in masks)]
    return f"for {', '.join(parts)}{' reversed' if block.reverse else ''}:"


def _begins(mask: Expr, found: Range | None, block: Block) -> bool:
    """Whether a condition of a block says where an index begins whose end is written: j < i < N."""
    match mask:
        case Call(fn="lt" | "le", args=(low, Index(name))) if found is not None:
            return found.index == name and found.lo is None and not {*indices_of(low)} & {*block.indices}
        case _:
            return False


def _ends(mask: Expr, found: Range | None) -> bool:
    """Whether a condition says where an index ends of which a number says where it begins: 1 <= j <= i."""
    match mask:
        case Call(fn="lt" | "le", args=(Index(name), _)) if found is not None:
            return found.index == name and found.hi is None
        case _:
            return False


def statement_text(stmt: Statement, dims: Names = _NO_NAMES, bracketed: Collection[str] = ()) -> str:
    """One statement on one line; `bracketed` are scalars that have brackets as targets."""
    printer = _Printer(dims, " ")
    value = printer.expr(stmt.value)
    target = printer.access(stmt.target)
    if not target.endswith("]") and (_is_bare(stmt) or target in bracketed):
        target += "[]"
    conditions = list(_conditions(stmt, printer))
    return f"{target} {stmt.op} {value}" + (" where " + ", ".join(conditions) if conditions else "")


def _is_bare(stmt: Statement) -> bool:
    """Whether nothing in a statement has a subscript: without any bracket it would be about whole tensors."""
    return not reductions_of(stmt) and not any([access.subscripts for access in accesses_of(stmt)])


def expr_text(expr: Subscript, dims: Names = _NO_NAMES) -> str:
    """An expression as it stands in a value; a subscript as it stands in brackets."""
    match expr:
        case Merged() | Dots() | Boundary():
            return _Printer(dims, "", position=True).subscript(expr)
        case _:
            return _Printer(dims, " ").expr(expr)


def _conditions(stmt: Statement, printer: _Printer) -> Iterator[str]:
    """The ranges, in the order of the indices, then the masks: the statement's and those of its reductions. What its
    blocks say is not said again.
    """
    reductions = dict.fromkeys(reductions_of(stmt))  # one may stand in several places
    domains: list[Domain] = [stmt.domain, *(reduce.domain for reduce in reductions)]
    said = {r for block in blocks_of(stmt) for r in block.ranges}
    yield from (printer.range(r) for d in domains for r in d.ranges if r not in said)
    told = {m for block in blocks_of(stmt) for m in block.masks}
    yield from (_mask(m, printer) for d in domains for m in d.masks if m not in told)


def _mask(mask: Expr, printer: _Printer) -> str:
    """A mask; a scalar tensor keeps its brackets where, without them, it would be an index with a range."""
    match mask:
        case Call("lt" | "le" | "gt" | "ge" as fn, (Access(name, ()), bound)) if is_static(bound):
            return f"{name}[] {FUNCTIONS[fn].symbol} {printer.expr(bound, ADD)}"
        case Call("lt" | "le" | "gt" | "ge" as fn, (bound, Access(name, ()))) if is_static(bound):
            return f"{printer.expr(bound, ADD)} {FUNCTIONS[fn].symbol} {name}[]"
        case _:
            return printer.expr(mask)


class _Printer:
    """How expressions are written: with `space` around the looser operators, none inside subscripts.

    Where a bare name is an index, in a `position`, or a number, a scalar tensor keeps its brackets.
    """

    def __init__(self, names: Names, space: str, position: bool = False) -> None:
        self.names, self.space, self.position = names, space, position

    def expr(self, expr: Expr, binding: int = OR) -> str:
        """The text, in brackets if it binds less tightly than `binding`."""
        text, strength = self._expr(expr)
        return f"({text})" if strength < binding else text

    def _expr(self, expr: Expr) -> tuple[str, int]:
        if self.names and expr in self.names:
            return self.names[expr], ATOM
        match expr:
            case Const(value):
                return _number(value)
            case Index(name):
                return name, ATOM
            case Size(tensor, axis):
                return f"size({tensor},{axis})", ATOM
            case Access():
                return self.access(expr), ATOM
            case Reduce(op, domain, body):
                return f"{op}[{','.join(domain.indices)}]({_Printer(self.names, self.space).expr(body)})", ATOM
            case Call("int", (a,)):
                return f"int({_Printer(self.names, self.space).expr(a)})", ATOM
            case Call(fn, args):
                return self._call(fn, args)

    def _call(self, fn: str, args: tuple[Expr, ...]) -> tuple[str, int]:
        row = FUNCTIONS[fn]
        level = row.precedence
        match row.symbol, args:
            case None, _:
                return f"{fn}({f',{self.space}'.join([self.expr(a) for a in args])})", ATOM
            case "**", (
                a,
                b,
            ):  # the exponent is written closely, and binds to the right
                return (
                    f"{self.expr(a, ATOM)}**{_Printer(self.names, '', self.position).expr(b, NEG)}",
                    POW,
                )
            case "not", (a,):
                return f"not {self.expr(a, NOT)}", NOT
            case symbol, (a,):
                return f"{symbol}{self.expr(a, NEG)}", NEG
            case _, (a, b):
                return self._infix(fn, a, b), level
            case _:
                raise AssertionError(f"{fn} applied to {len(args)} arguments")

    def _infix(self, fn: str, first: Expr, last: Expr) -> str:
        """An operator between two arguments; what stands before it without brackets is written in one go."""
        pieces: list[str] = []
        while True:
            row = FUNCTIONS[fn]
            space = " " if row.precedence <= AND else self.space
            pieces += [self.expr(last, row.precedence + 1), f"{space}{row.symbol}{space}"]
            binding = ADD if row.precedence == COMPARE else row.precedence
            if not (isinstance(first, Call) and _is_infix(first) and FUNCTIONS[first.fn].precedence >= binding):
                break
            if self.names and first in self.names:
                break
            fn, (first, last) = first.fn, first.args
        pieces.append(self.expr(first, binding))
        return "".join(reversed(pieces))

    def access(self, access: Access) -> str:
        if not access.subscripts:
            return f"{access.tensor}[]" if self.position or access.tensor in CONSTANTS else access.tensor
        if all([type(s) is Index for s in access.subscripts]):
            return f"{access.tensor}[{','.join([s.name for s in access.subscripts if isinstance(s, Index)])}]"
        inside = _Printer(self.names, "", position=True)
        return f"{access.tensor}[{','.join(inside.subscript(s) for s in access.subscripts)}]"

    def subscript(self, subscript: Subscript) -> str:
        match subscript:
            case Dots():
                return "..."
            case Merged(indices):
                return f"({','.join(indices)})"
            case Boundary(kind, e, lo, hi, value):
                args = [self.expr(e)]
                if lo is not None:
                    args.append(self.expr(lo))
                    if hi is not None and hi != lo:
                        args.append(self.expr(hi))
                if value != Const(0):
                    args.append(f"value={self.expr(value)}")
                return f"{kind}({','.join(args)})"
            case _:
                return self.expr(subscript)

    def range(self, r: Range) -> str:
        lo = "" if r.lo is None else f"{self.expr(r.lo, ADD)} <= "
        hi = "" if r.hi is None else f" < {self.expr(r.hi, ADD)}"
        return f"{lo}{r.index}{hi}"


def _is_infix(call: Call) -> bool:
    """Whether a call is written between its two arguments, and binds to the left."""
    return len(call.args) == 2 and FUNCTIONS[call.fn].symbol not in (None, "**")


def _number(value: float | bool) -> tuple[str, int]:
    if isinstance(value, bool):
        return ("0 == 0" if value else "0 != 0"), COMPARE
    if isinstance(value, float) and abs(value) in (math.inf, math.pi):
        text = ("-" if value < 0 else "") + ("inf" if math.isinf(value) else "pi")
    else:
        text = repr(value)
    return text, NEG if text.startswith("-") else ATOM


assert MUL < NEG  # a negative number is a factor without brackets
