"""Program to LaTeX: aligned equations, every sum written out.

In: a Program or a statement. Out: LaTeX for math mode. The one rule: what the language leaves to its conventions is
written explicitly: reduced indices stand under a sum (product, maximum, minimum), conditions at the end of the line.
The statements of a block stand behind one brace, before which stand its indices and their order.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from ..errors import NAMED, MeaningError, within_depth
from .blocks import runs
from .functions import ADD, ATOM, COMPARE, FUNCTIONS, MUL, NEG, NOT, OR, POW
from .ir import (
    DOTS,
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
    Size,
    Statement,
    Subscript,
    blocks_of,
    indices_of,
    primal_of,
    steps_of,
)
from .text import dim_names

_OPERATORS = {
    "=": "=",
    "+=": "\\mathrel{+}=",
    "*=": "\\mathrel{\\times}=",
    "max=": "\\mathrel{\\max}=",
    "min=": "\\mathrel{\\min}=",
}
_REDUCTIONS = {
    "sum": "\\sum",
    "prod": "\\prod",
    "max": "\\max",
    "min": "\\min",
    "mean": "\\operatorname*{mean}",
    "logsumexp": "\\operatorname*{logsumexp}",
    "argmax": "\\operatorname*{argmax}",
    "argmin": "\\operatorname*{argmin}",
}
_REDUCTION_OF = {"=": "sum", "+=": "sum", "*=": "prod", "max=": "max", "min=": "min"}
_FRACTIONS = ("div", "rsqrt")  # need brackets under an exponent, but not as a factor
_LETTERS = """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi omega
    Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega
"""
_GREEK = frozenset(_LETTERS.split())

Names = Mapping[Expr, str]
_NO_NAMES: Names = {}


@within_depth(MeaningError, NAMED)
def to_latex(program: Program) -> str:
    """The statements as one `aligned` environment."""
    names = dim_names(program)
    return _aligned(_lines(program.statements, names))


def _aligned(lines: Iterator[str]) -> str:
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def _lines(statements: Sequence[Statement], names: Names, level: int = 0) -> Iterator[str]:
    """A line for each statement, and for each block at a level of blocks."""
    for block, some in runs(statements, level):
        if block is None:
            yield from (statement_latex(s, names, "&") for s in some)
        else:
            inside = _aligned(_lines(some, names, level + 1))
            yield f"{_heading(block, names)}\\quad &\\left\\{{{inside}\\right."


def _heading(block: Block, names: Names) -> str:
    """What stands before the brace of a block."""
    printer, written = _Printer(names), {r.index: r for r in block.ranges}
    told = {i for mask in block.masks for i in indices_of(mask)}
    ranges = [printer.range(written.get(i, Range(i))) for i in block.indices if i in written or i not in told]
    parts = ",\\; ".join((*ranges, *(printer.bracketed(mask, OR) for mask in block.masks)))
    return f"\\text{{for }} {parts}" + " \\text{ reversed}" * block.reverse


def statement_latex(stmt: Statement, dims: Names = _NO_NAMES, align: str = "") -> str:
    """One statement; `align` stands before its operator."""
    printer = _Printer(dims)
    value, level = printer.expr(stmt.value)
    if reduced := tuple(i for i in stmt.reduced if i not in steps_of(stmt)):
        value = printer.reduction(_REDUCTION_OF[stmt.op], Domain(reduced), value, level)
    text = f"{printer.access(stmt.target)} {align}{_OPERATORS[stmt.op]} {value}"
    said = {r for block in blocks_of(stmt) for r in block.ranges}
    ranges = tuple(r for r in stmt.domain.ranges if r not in said)
    masks = tuple(m for m in stmt.domain.masks if all(m not in block.masks for block in blocks_of(stmt)))
    conditions = printer.conditions(Domain(stmt.domain.indices, ranges, masks))
    return text + (" \\quad \\text{where } " + ",\\; ".join(conditions) if conditions else "")


class _Printer:
    def __init__(self, names: Names) -> None:
        self.names = names

    def expr(self, expr: Expr) -> tuple[str, int]:
        """The text and how tightly it binds."""
        if expr in self.names:
            return _name(self.names[expr]), ATOM
        match expr:
            case Const(value):
                return _number(value)
            case Index(name):
                return _name(name), ATOM
            case Size(tensor, axis):
                return f"\\operatorname{{size}}({_name(tensor)}, {axis})", ATOM
            case Access():
                return self.access(expr), ATOM
            case Reduce(op, domain, body):
                return self.reduction(op, domain, *self.expr(body)), MUL
            case Call(fn, args):
                return self.call(fn, args)

    def call(self, fn: str, args: tuple[Expr, ...]) -> tuple[str, int]:
        row = FUNCTIONS[fn]
        match fn, args:
            case "float", (a,):
                return self.expr(a)
            case "pow", (a, b):
                return f"{self.bracketed(a, ATOM)}^{{{self.expr(b)[0]}}}", POW
            case "neg", (a,):
                return f"-{self.bracketed(a, MUL, sign=False)}", NEG
            case "not", (a,):
                return row.latex.format(self.bracketed(a, ATOM)), NOT
            case "mul", (a, b):
                left, right = self.bracketed(a, MUL), self.bracketed(b, MUL, sign=False)
                dot = " \\cdot " if right[0].isdigit() or (right[0] == "(" and right[1] == "-") else " \\, "
                return f"{left}{dot}{right}", MUL
            case _, (a, b) if row.symbol is not None and fn not in ("div", "floordiv"):
                level = row.precedence
                left = self.bracketed(a, ADD if level == COMPARE else level)
                return row.latex.format(left, self.bracketed(b, level + 1, sign=False)), level
            case _:
                return row.latex.format(*(self.expr(a)[0] for a in args)), POW if fn in _FRACTIONS else ATOM

    def bracketed(self, expr: Expr, binding: int, sign: bool = True) -> str:
        """The text, in brackets if it binds less tightly than `binding`, or begins with a sign and must not."""
        text, level = self.expr(expr)
        loose = level < binding or (not sign and text.startswith("-"))
        return f"\\left({text}\\right)" if loose else text

    def reduction(self, op: str, domain: Domain, body: str, level: int) -> str:
        under = [", ".join(_name(i) for i in domain.indices), *self.conditions(domain)]
        below = under[0] if len(under) == 1 else "\\substack{" + " \\\\ ".join(under) + "}"
        return f"{_REDUCTIONS[op]}_{{{below}}} " + (body if level >= MUL else f"\\left({body}\\right)")

    def conditions(self, domain: Domain) -> list[str]:
        return [*map(self.range, domain.ranges), *(self.bracketed(m, OR) for m in domain.masks)]

    def range(self, r: Range) -> str:
        lo = "" if r.lo is None else f"{self.bracketed(r.lo, ADD)} \\le "
        hi = "" if r.hi is None else f" < {self.bracketed(r.hi, ADD)}"
        return f"{lo}{_name(r.index)}{hi}"

    def access(self, access: Access) -> str:
        inside = ", ".join(map(self.subscript, access.subscripts))
        return _name(access.tensor) + (f"_{{{inside}}}" if inside else "")

    def subscript(self, subscript: Subscript) -> str:
        match subscript:
            case Dots():
                return "\\ldots"
            case Merged(indices):
                return f"({', '.join(map(_name, indices))})"
            case Boundary(kind, e, lo, hi, value):
                parts = [e, *(p for p in (lo, None if hi == lo else hi) if p is not None)]
                args = [self.expr(p)[0] for p in parts]
                if value != Const(0):
                    args.append(f"\\text{{value}} = {self.expr(value)[0]}")
                return f"\\operatorname{{{kind}}}({', '.join(args)})"
            case _:
                return self.expr(subscript)[0]


def _name(name: str) -> str:
    """Letters as they are, Greek by name, words as one; the members of a dotted name each for itself."""
    if name == DOTS:
        return "\\ldots"
    return ".".join(map(_word, name.split(".")))


def _word(word: str) -> str:
    if primal_of(f"_.{word}") is not None:
        return f"\\mathrm{{{word}}}"
    if word in _GREEK:
        return f"\\{word}"
    stem = word.rstrip("0123456789")
    if stem and stem != word and (len(stem) == 1 or stem in _GREEK):
        return f"{_word(stem)}^{{({word[len(stem) :]})}}"  # x2: subscripts are taken by the indices
    letters = "".join(_letter(c) for c in word)
    return letters if len(word) == 1 else f"\\mathit{{{letters}}}"


def _letter(char: str) -> str:
    if char == "_":
        return "\\_"
    name = unicodedata.name(char, "").split()
    if len(name) == 4 and name[0] == "GREEK":
        letter = "lambda" if name[3] == "LAMDA" else name[3].lower()
        letter = letter.capitalize() if name[1] == "CAPITAL" else letter
        if letter in _GREEK:
            return f"\\{letter} "
    return char


def _number(value: float) -> tuple[str, int]:
    match value:
        case bool():
            return f"\\text{{{str(value).lower()}}}", ATOM
        case float() if math.isnan(value):
            return "\\text{nan}", ATOM
        case float() if abs(value) in (math.inf, math.pi):
            text = ("-" if value < 0 else "") + ("\\infty" if math.isinf(value) else "\\pi")
        case _:
            mantissa, _, exponent = repr(value).partition("e")
            text = mantissa
            if exponent:
                power = f"10^{{{int(exponent)}}}"
                sign = "-" if mantissa.startswith("-") else ""
                text = sign + power if mantissa.lstrip("-") == "1" else f"{mantissa} \\cdot {power}"
    return text, NEG if text.startswith("-") else (MUL if "\\cdot" in text else ATOM)
