"""What each rule of the grammar makes: the nodes of `tree`, with their spans.

In: the parts of a rule, tokens and nodes in the order of the text. Out: a node. The one rule: a function here has the
name of its rule in `grammar/indexlang.lark`. What the grammar cannot say is checked here, and raised as one Problem.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import LanguageSyntaxError, Problem, Span
from ..size_limits import MOST_DIGITS
from .lexer import Token
from .other_notations import function_meant, reduction_meant
from .tree import (
    REDUCTIONS,
    All,
    Binary,
    Call,
    Compare,
    Dots,
    Expr,
    FunctionDef,
    Header,
    Import,
    Merged,
    Name,
    Number,
    Option,
    Reduction,
    ShapeDecl,
    Statement,
    Subscripted,
    Unary,
)

Parts = Sequence[Any]


@dataclass(frozen=True)
class LayerHeader:
    """The first line of a layer; `tree.LayerDef` without its body."""

    name: str
    inputs: tuple[Header, ...]
    options: tuple[Option, ...]
    outputs: tuple[Header, ...]
    span: Span


@dataclass(frozen=True)
class LoopHeader:
    """The first line of a block; `tree.For` without its body."""

    ranges: tuple[Expr, ...]
    reverse: bool
    span: Span


@dataclass(frozen=True)
class Keyword:
    """`name=value` among the arguments of a call."""

    name: Name
    value: Expr

    @property
    def span(self) -> Span:
        return self.name.span.to(self.value.span)


def _nodes(parts: Parts) -> tuple[Any, ...]:
    return tuple(part for part in parts if not isinstance(part, Token))


def _over(parts: Parts) -> Span:
    whole: Span = parts[0].span.to(parts[-1].span)
    return whole


def _error(code: str, rule: str, span: Span, way_out: str, *others: tuple[str, Span]) -> LanguageSyntaxError:
    return LanguageSyntaxError(Problem(code, rule, span, way_out=way_out, others=others))


# -- words -------------------------------------------------------------------------------------------------------------


def name(parts: Parts) -> Name:
    (token,) = parts
    return Name(token.text, token.span)


def number(parts: Parts) -> Number:
    (token,) = parts
    text: str = token.text
    if not text.isdecimal():
        value = float(text)
        if math.isinf(value):
            raise _error("number", f"{text} is larger than any number", token.span, "write inf")
        return Number(value, token.span)
    if len(text) > MOST_DIGITS:
        raise _error("number", f"an integer has at most {MOST_DIGITS} digits", token.span, "write it as in 1e300")
    return Number(int(text), token.span)


def _bare(node: Name, what: str) -> str:
    """The name of something that is no tensor."""
    if "." in node.name:
        way = f"write {node.name.replace('.', '_')}"
        raise _error("dotted-name", f"{what} has no dots in its name", node.span, way)
    return node.name


def _once(nodes: Iterable[Name | Header | Option], what: str) -> tuple[str, ...]:
    """The names of nodes, which must differ."""
    found: dict[str, Span] = {}
    for node in nodes:
        first = found.setdefault(node.name, node.span)
        if first is not node.span:
            rule = f"{what} is named once: '{node.name}' is there already"
            raise _error("repeated-name", rule, node.span, "take it out, or give it another name", ("first", first))
    return tuple(found)


def _bare_once(nodes: Sequence[Name], what: str) -> tuple[str, ...]:
    """The names of things that are no tensors, which must differ."""
    for node in nodes:
        _bare(node, what)
    return _once(nodes, what)


# -- items -------------------------------------------------------------------------------------------------------------


def import_(parts: Parts) -> Import:
    module, *names = _nodes(parts)
    return Import(module.name, _bare_once(names, "what is imported"), _over(parts))


def function(parts: Parts) -> FunctionDef:
    title, *params, body = _nodes(parts)
    return FunctionDef(_bare(title, "a function"), _bare_once(params, "a parameter"), body, _over(parts))


def tensor(parts: Parts) -> Header:
    first, *dims = _nodes(parts)
    return Header(first.name, tuple(dims) if len(parts) > 1 else None, _over(parts))


def option(parts: Parts) -> Option:
    title, default = _nodes(parts)
    return Option(_bare(title, "an option"), default, _over(parts))


def header(parts: Parts) -> LayerHeader:
    (title, *rest), arrow = _nodes(parts), next(k for k, p in enumerate(parts) if _is(p, "->"))
    before = _nodes(parts[:arrow])[1:]
    inputs = tuple(node for node in before if isinstance(node, Header))
    options = tuple(node for node in before if isinstance(node, Option))
    outputs = tuple(rest[len(before) :])
    _once((*inputs, *options), "an input or option")
    _once(outputs, "an output")
    return LayerHeader(_bare(title, "a layer"), inputs, options, outputs, _over(parts))


def declaration(parts: Parts) -> ShapeDecl:
    tensors = _nodes(parts)
    for node in tensors:
        if node.dims is None:
            way = f"write shape {node.name}[N], or {node.name}[] for a scalar"
            raise _error("shape-brackets", "a declared shape stands in brackets", node.span, way)
    return ShapeDecl(tensors, _over(parts))


def loop(parts: Parts) -> LoopHeader:
    for node in _nodes(parts):
        if not isinstance(node, Name | Compare):
            rule, way = "a block names its indices, and how far they run by comparisons", "write for t: or for t < N:"
            raise _error("block-header", rule, node.span, way)
    return LoopHeader(_nodes(parts), any(_is(p, "BACKWARDS") for p in parts), _over(parts))


# -- statements --------------------------------------------------------------------------------------------------------


def statement(parts: Parts) -> Statement:
    at = next(k for k, p in enumerate(parts) if _is(p, "operator"))
    targets, op, (value, *conditions) = _nodes(parts[:at]), parts[at].text, _nodes(parts[at + 1 :])
    if len(targets) > 1 and op != "=":
        rule = f"several targets take the outputs of a layer by =, not by {op}"
        raise _error("several-targets", rule, parts[at].span, "write a statement for each target")
    return Statement(targets, op, value, tuple(conditions), _over(parts))


def operator(parts: Parts) -> Token:
    (token,) = parts
    return Token("operator", token.text, token.span)


def _is(part: Any, kind: str) -> bool:
    return isinstance(part, Token) and part.kind == kind


# -- expressions -------------------------------------------------------------------------------------------------------


def unary(parts: Parts) -> Unary:
    op, operand = parts
    return Unary(op.text, operand, _over(parts))


def binary(parts: Parts) -> Binary:
    left, op, right = parts
    return Binary(op.text, left, right, _over(parts))


def compare(parts: Parts) -> Compare:
    return Compare(tuple(op.text for op in parts[1::2]), tuple(parts[::2]), _over(parts))


def group(parts: Parts) -> Expr:
    inner: Expr = parts[1]
    return inner if isinstance(inner, Number | Name) else replace(inner, span=_over(parts))


def access(parts: Parts) -> Subscripted:
    first, *subscripts = _nodes(parts)
    return Subscripted(first.name, tuple(subscripts), _over(parts))


def dots(parts: Parts) -> Dots:
    return Dots(parts[0].span)


def all_of(parts: Parts) -> All:
    return All(parts[0].span)


def merged(parts: Parts) -> Merged:
    return Merged(_nodes(parts), _over(parts))


def _shown(text: str) -> str:
    return text if len(text) < 40 and "\n" not in text else "..."


def reduction(parts: Parts) -> Reduction:
    head, _, body, _ = parts
    if head.name not in REDUCTIONS:
        rule = f"'{head.name}' is no reduction: brackets and parentheses in a row are those of {', '.join(REDUCTIONS)}"
        way = f"write {head.span.text} * (...), or {head.name}(...) for a function"
        if (meant := reduction_meant(head.name)) is not None:
            way = f"write {meant}{head.span.text[len(head.name) :]}({_shown(body.span.text)})"
        indices = [s.name for s in head.subscripts if isinstance(s, Name)]
        said = function_meant(head.name, indices, " ".join(body.span.text.split()))
        if said is not None and len(indices) == len(head.subscripts):
            way = f"write {said}"
        raise _error("unknown-reduction", rule, head.span, way)
    way = f"write {head.name}[i](...)"
    if not head.subscripts:
        raise _error("reduction-index", f"{head.name}[...](...) names the indices that it runs over", head.span, way)
    for subscript in head.subscripts:
        if not isinstance(subscript, Name):
            rule = f"{head.name}[...](...) runs over indices, not over expressions"
            raise _error("reduction-index", rule, subscript.span, way)
    return Reduction(head.name, _bare_once(head.subscripts, "an index"), body, _over(parts))


def keyword(parts: Parts) -> Keyword:
    return Keyword(parts[0], parts[2])


def call(parts: Parts) -> Call:
    head, *given = parts
    args: list[Expr] = []
    keywords: dict[str, Expr] = {}
    for part in _nodes(given):
        if not isinstance(part, Keyword):
            if keywords:
                rule = "arguments without a name come before those with one"
                raise _error("argument-order", rule, part.span, "move it to the front, or name it")
            args.append(part)
        elif _bare(part.name, "an argument") in keywords:
            rule = f"the argument '{part.name.name}' is given twice"
            raise _error("repeated-name", rule, part.span, "take one of them out")
        else:
            keywords[part.name.name] = part.value
    title = head.text if isinstance(head, Token) else head.name
    return Call(title, tuple(args), tuple(keywords.items()), _over(parts))


BUILDERS: dict[str, Callable[[Parts], Any]] = {
    rule.__name__: rule
    for rule in (
        name, number, import_, function, tensor, option, header, loop, declaration, statement, operator,
        unary, binary, compare, group, access, dots, all_of, merged, reduction, keyword, call,
    )
}  # fmt: skip
