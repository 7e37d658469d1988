"""What was written: the syntax tree, one node per construct, every node with its span.

    File        ::= Item*
    Item        ::= Import | FunctionDef | LayerDef | ShapeDecl | Statement | For
    Import      ::= "from" module "import" name ("," name)*
    FunctionDef ::= name "(" name ("," name)* ")" "=" Expr
    LayerDef    ::= "layer" name "(" Header* [";" Option*] ")" "->" Header* ":" (ShapeDecl | Statement | For)*
    For         ::= "for" Expr ("," Expr)* ["reversed"] ":" (Statement | For)*
    ShapeDecl   ::= "shape" Header+
    Header      ::= name ["[" Expr* "]"]
    Statement   ::= Target ("," Target)* op Expr ["where" Expr ("," Expr)*]
    Target      ::= Name | Subscripted
    Expr        ::= Number | Name | Subscripted | Unary | Binary | Compare | Call | Reduction
    Subscript   ::= Expr | Dots | All | Merged    (pad, clamp, wrap and reflect are Calls here)

Names are not resolved: a `Name` may be an index, a dim, an option, a constant or a scalar tensor.
Spans take no part in comparisons, so two layouts of one program are equal trees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import cast

from ..errors import Span

REDUCTIONS = ("sum", "prod", "max", "min", "mean", "logsumexp", "argmax", "argmin")


def _span() -> Span:
    return cast(Span, field(compare=False, repr=False))


@dataclass(frozen=True)
class Number:
    value: int | float
    span: Span = _span()


@dataclass(frozen=True)
class Name:
    """A name without brackets, dotted members included: `s`, `Phi.b`, `i`, `pi`."""

    name: str
    span: Span = _span()


@dataclass(frozen=True)
class Dots:
    """`...` in a subscript list."""

    span: Span = _span()


@dataclass(frozen=True)
class All:
    """`:` in a subscript list: a whole axis of a part."""

    span: Span = _span()


@dataclass(frozen=True)
class Merged:
    """`(i,j,c)` in a subscript list."""

    items: tuple[Expr, ...]
    span: Span = _span()


@dataclass(frozen=True)
class Subscripted:
    """`x[b,i+di]`, and `s[]` with no subscripts."""

    name: str
    subscripts: tuple[Subscript, ...]
    span: Span = _span()


@dataclass(frozen=True)
class Unary:
    """`-x`, `+x`, `not x`; op is "-", "+" or "not"."""

    op: str
    operand: Expr
    span: Span = _span()


@dataclass(frozen=True)
class Binary:
    """op is one of + - * / // % ** and or."""

    op: str
    left: Expr
    right: Expr
    span: Span = _span()


@dataclass(frozen=True)
class Compare:
    """`a < b <= c`: one operator fewer than operands; ops are < <= > >= == !=."""

    ops: tuple[str, ...]
    operands: tuple[Expr, ...]
    span: Span = _span()


@dataclass(frozen=True)
class Call:
    """`f(a, b, key=c)`: a scalar function, a user function, a layer, size(), pad() and its kin."""

    name: str
    args: tuple[Expr, ...]
    keywords: tuple[tuple[str, Expr], ...]
    span: Span = _span()


@dataclass(frozen=True)
class Reduction:
    """`sum[i,j](body)`."""

    op: str
    indices: tuple[str, ...]
    body: Expr
    span: Span = _span()


Expr = Number | Name | Subscripted | Unary | Binary | Compare | Call | Reduction
Subscript = Expr | Dots | All | Merged
Target = Name | Subscripted


@dataclass(frozen=True)
class Statement:
    """op is one of = += *= max= min=; several targets only for calls of layers with several outputs."""

    targets: tuple[Target, ...]
    op: str
    value: Expr
    conditions: tuple[Expr, ...]
    span: Span = _span()


@dataclass(frozen=True)
class For:
    """Statements that run for one step after the other: `for 1 <= t < T:`, `for i < N, j < M reversed:`.

    `ranges` are as written, an index alone or compared with its bounds.
    """

    ranges: tuple[Expr, ...]
    reverse: bool
    body: tuple[Statement | For, ...]
    span: Span = _span()


@dataclass(frozen=True)
class FunctionDef:
    name: str
    params: tuple[str, ...]
    body: Expr
    span: Span = _span()


@dataclass(frozen=True)
class Header:
    """A tensor in a layer's header or a shape line; dims is None where it has no brackets."""

    name: str
    dims: tuple[Expr, ...] | None
    span: Span = _span()


@dataclass(frozen=True)
class ShapeDecl:
    tensors: tuple[Header, ...]
    span: Span = _span()


@dataclass(frozen=True)
class Import:
    module: str
    names: tuple[str, ...]
    span: Span = _span()


@dataclass(frozen=True)
class Option:
    name: str
    default: Expr
    span: Span = _span()


@dataclass(frozen=True)
class LayerDef:
    name: str
    inputs: tuple[Header, ...]
    options: tuple[Option, ...]
    outputs: tuple[Header, ...]
    body: tuple[ShapeDecl | Statement | For, ...]
    span: Span = _span()


Item = Import | FunctionDef | LayerDef | ShapeDecl | Statement | For


def within(items: Iterable[Item], blocks: tuple[For, ...] = ()) -> Iterator[tuple[Statement, tuple[For, ...]]]:
    """All statements in their order, each with the blocks that it stands in, outer ones first."""
    for item in items:
        if isinstance(item, Statement):
            yield item, blocks
        elif isinstance(item, For):
            yield from within(item.body, (*blocks, item))


@dataclass(frozen=True)
class File:
    """Items in order. `comments` are (offset, text) pairs, for `fmt`; they mean nothing."""

    items: tuple[Item, ...]
    span: Span = _span()
    comments: tuple[tuple[int, str], ...] = field(default=(), compare=False, repr=False)
