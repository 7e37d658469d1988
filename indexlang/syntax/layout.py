"""A file in its canonical layout, as `indexlang fmt` prints it.

In: a `tree.File`. Out: text with the same tree and the same comments. The one rule: the layout follows from the tree,
from where its comments stand and from which lines are blank, so laying out again changes nothing.

Expressions are spaced as the printer of Programs spaces them, with brackets only where they are needed. One statement
takes one line, unless it is longer than WIDTH and has brackets in which it can be broken. A comment behind a statement
stays behind it, one inside of it moves above it. Blank lines stay, one at most; a layer has one on either side.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from ..program.functions import ADD, AND, ATOM, COMPARE, MUL, NEG, NOT, OR, POW
from .tree import (
    Binary,
    Call,
    Compare,
    Dots,
    Expr,
    File,
    FunctionDef,
    Header,
    Import,
    Item,
    LayerDef,
    Merged,
    Name,
    Number,
    Reduction,
    ShapeDecl,
    Statement,
    Subscript,
    Subscripted,
    Unary,
)

WIDTH = 100
_INDENT = "    "
_FAR = 60  # columns from which on what is in brackets begins on a new line


@dataclass(frozen=True)
class _Group:
    """A part in brackets, which may be broken between its parts.

    Without brackets, some stand around it; or it `wraps`, and gets a pair when it is broken.
    """

    opening: str
    parts: tuple[_Doc, ...]
    closing: str
    wraps: bool = False


_Doc = tuple["str | _Group", ...]


def layout(file: File) -> str:
    """The text of a file."""
    lines: list[str] = []
    for entry in _spaced(_entries(file)):
        if entry.blank and lines:
            lines.append("")
        code = _broken(entry.doc, len(entry.indent)) if entry.doc else ""
        lines.append(entry.indent + "  ".join(part for part in (code, entry.comment) if part))
    return "".join(f"{line}\n" for line in lines)


# -- what stands on which line -----------------------------------------------------------------------------------------


@dataclass
class _Entry:
    """A line of the result: code, a comment, or both. `first` and `last` are its lines in the text."""

    first: int
    last: int
    indent: str
    doc: _Doc = ()
    comment: str = ""
    header: bool = False
    blank: bool = False  # whether a blank line stands above

    @property
    def in_layer(self) -> bool:
        return self.header or bool(self.indent)


def _entries(file: File) -> list[_Entry]:
    """Code and comments, in the order of the result."""
    text = file.span.source.text
    starts = [0, *(k + 1 for k, character in enumerate(text) if character == "\n")]
    comments = list(reversed(file.comments))
    entries: list[_Entry] = []

    def line_of(offset: int) -> int:
        return bisect_right(starts, offset)

    def above(limit: int, indent: str) -> None:
        """The comments in front of an offset; those of a layer are indented in the text."""
        while comments and comments[-1][0] < limit:
            offset, comment = comments.pop()
            line = line_of(offset)
            inside = indent or (entries and entries[-1].in_layer and offset > starts[line - 1])
            entries.append(_Entry(line, line, _INDENT if inside else "", comment=comment))

    for start, end, entry in (piece for item in file.items for piece in _pieces(item)):
        above(start, entry.indent)
        entry.first, entry.last = line_of(start), line_of(end - 1)
        while comments and comments[-1][0] < end:
            entries.append(_Entry(entry.first, entry.first, entry.indent, comment=comments.pop()[1]))
        if comments and line_of(comments[-1][0]) == entry.last:
            entry.comment = comments.pop()[1]
        entries.append(entry)
    above(len(text), "")
    return entries


def _spaced(entries: list[_Entry]) -> list[_Entry]:
    """The entries with the blank lines of the text, and one on either side of a layer."""
    for before, entry in pairwise(entries):
        entry.blank = entry.first - before.last > 1 or (before.in_layer and not entry.indent)
    for k, entry in enumerate(entries):
        if entry.header:
            while k > 0 and not entries[k].blank and not entries[k - 1].doc:  # the comments that belong to it
                k -= 1
            entries[k].blank = True
    return entries


def _pieces(item: Item) -> Iterator[tuple[int, int, _Entry]]:
    """The lines of an item: where each begins and ends, and what it says."""
    if not isinstance(item, LayerDef):
        yield item.span.start, item.span.end, _Entry(0, 0, "", tuple(_item(item)))
        return
    yield item.span.start, item.outputs[-1].span.end, _Entry(0, 0, "", tuple(_header(item)), header=True)
    for part in item.body:
        yield part.span.start, part.span.end, _Entry(0, 0, _INDENT, tuple(_item(part)))


# -- code --------------------------------------------------------------------------------------------------------------


def _item(item: Import | FunctionDef | ShapeDecl | Statement) -> Iterator[str | _Group]:
    match item:
        case Import(module, names):
            yield f"from {module} import {', '.join(names)}"
        case FunctionDef(name, params, body):
            yield f"{name}({', '.join(params)}) = "
            yield from _value(body)
        case ShapeDecl(tensors):
            yield f"shape {', '.join(map(_tensor, tensors))}"
        case Statement(targets, op, value, conditions):
            yield f"{', '.join(map(_tight, targets))} {op} "
            yield from _value(value)
            for k, condition in enumerate(conditions):
                yield ", " if k else " where "
                yield from _expr(condition)


def _header(layer: LayerDef) -> Iterator[str | _Group]:
    inputs = [_tensor(tensor) for tensor in layer.inputs]
    options = [f"{o.name}={_tight(o.default)}" for o in layer.options]
    words = [f"{word}," for word in inputs[:-1]] + inputs[-1:]
    if options:
        words = [*words[:-1], f"{words[-1] if words else ''};", *(f"{o}," for o in options[:-1]), options[-1]]
    yield _Group(f"layer {layer.name}(", tuple((word,) for word in words), ")")
    yield f" -> {', '.join(map(_tensor, layer.outputs))}:"


def _tensor(header: Header) -> str:
    return header.name if header.dims is None else f"{header.name}[{','.join(map(_tight, header.dims))}]"


_LEVELS = {"or": OR, "and": AND, "+": ADD, "-": ADD, "*": MUL, "/": MUL, "//": MUL, "%": MUL, "**": POW}


def _tight(node: Subscript, binding: int = OR) -> str:
    """The text as it stands in subscripts, in brackets if it binds less tightly than `binding`."""
    text, level = _tight_and_level(node)
    return f"({text})" if level < binding else text


def _tight_and_level(node: Subscript) -> tuple[str, int]:
    match node:
        case Number(span=span):
            return span.text, ATOM
        case Name(name):
            return name, ATOM
        case Dots():
            return "...", ATOM
        case Merged(items):
            return f"({','.join(map(_tight, items))})", ATOM
        case Subscripted(name, subscripts):
            return f"{name}[{','.join(map(_tight, subscripts))}]", ATOM
        case Reduction(op, indices, body):
            return f"{op}[{','.join(indices)}]({_tight(body)})", ATOM
        case Call(name, args, keywords):
            given = [*map(_tight, args), *(f"{key}={_tight(value)}" for key, value in keywords)]
            return f"{name}({','.join(given)})", ATOM
        case Unary("not", operand):
            return f"not {_tight(operand, NOT)}", NOT
        case Unary(op, operand):
            return f"{op}{_tight(operand, NEG)}", NEG
        case Compare(ops, operands):
            words = [_tight(operand, ADD) for operand in operands]
            return "".join((words[0], *(f"{op}{word}" for op, word in zip(ops, words[1:], strict=True)))), COMPARE
        case Binary("**", left, right):
            return f"{_tight(left, ATOM)}**{_tight(right, NEG)}", POW
        case Binary(op, left, right):
            level, space = _LEVELS[op], " " if op in ("and", "or") else ""
            return f"{_tight(left, level)}{space}{op}{space}{_tight(right, level + 1)}", level
    raise AssertionError(node)


def _value(node: Expr) -> _Doc:
    """The right side of a statement."""
    parts, _ = _parts(node)
    return parts[0] if len(parts) == 1 else (_Group("", parts, "", wraps=True),)


def _expr(node: Expr, binding: int = OR) -> _Doc:
    """The text as it stands in values, in brackets if it binds less tightly than `binding`."""
    parts, level = _parts(node)
    if level < binding:
        return (_Group("(", parts, ")"),)
    first, *others = parts
    return (*first, *(piece for part in others for piece in (" ", *part)))


def _inside(node: Expr) -> _Doc:
    """The same inside of brackets."""
    parts, _ = _parts(node)
    return parts[0] if len(parts) == 1 else (_Group("", parts, ""),)


def _parts(node: Expr) -> tuple[tuple[_Doc, ...], int]:
    """The text in the parts between which it may be broken, and how tightly it binds."""
    match node:
        case Number() | Name() | Subscripted():
            return ((_tight(node),),), ATOM
        case Reduction(op, indices, body):
            return ((_Group(f"{op}[{','.join(indices)}](", (_inside(body),), ")"),),), ATOM
        case Call(name, args, keywords):
            given = [*map(_inside, args), *((f"{key}=", *_inside(value)) for key, value in keywords)]
            listed = [(*doc, ",") for doc in given[:-1]] + given[-1:]
            return ((_Group(f"{name}(", tuple(listed), ")"),),), ATOM
        case Unary("not", operand):
            return (("not ", *_expr(operand, NOT)),), NOT
        case Unary(op, operand):
            return ((op, *_expr(operand, NEG)),), NEG
        case Compare(ops, operands):
            first, *others = (_expr(operand, ADD) for operand in operands)
            return (first, *((f"{op} ", *doc) for op, doc in zip(ops, others, strict=True))), COMPARE
        case Binary("**", left, right):
            return ((*_expr(left, ATOM), "**", _tight(right, NEG)),), POW
        case Binary(op):
            return _chain(node, _LEVELS[op]), _LEVELS[op]


def _chain(node: Binary, level: int) -> tuple[_Doc, ...]:
    """The operands of a chain of operators that bind alike; all but the first with their operator in front."""
    parts: list[_Doc] = []
    left: Expr = node
    while isinstance(left, Binary) and _LEVELS[left.op] == level:
        parts.append((f"{left.op} ", *_expr(left.right, level + 1)))
        left = left.left
    return (_expr(left, level), *reversed(parts))


# -- lines -------------------------------------------------------------------------------------------------------------


def _flat(doc: _Doc) -> str:
    return "".join(
        part if isinstance(part, str) else f"{part.opening}{' '.join(map(_flat, part.parts))}{part.closing}"
        for part in doc
    )


def _broken(doc: _Doc, indent: int) -> str:
    """The text, broken inside of its brackets if it is too long and has some."""
    text = _flat(doc)
    if indent + len(text) <= WIDTH:
        return text
    writer = _Writer(indent)
    writer.doc(doc, 0)
    return "".join(writer.pieces)


@dataclass
class _Writer:
    """Fills lines up to WIDTH."""

    column: int
    pieces: list[str] = field(default_factory=list)

    def put(self, text: str) -> None:
        self.pieces.append(text)
        self.column += len(text)

    def doc(self, doc: _Doc, behind: int) -> None:
        """Write a text; `behind` more columns must be left behind it on its last line."""
        for k, part in enumerate(doc):
            if isinstance(part, str):
                self.put(part)
                continue
            rest = behind + _up_to_a_group(doc[k + 1 :])
            if self.column + len(_flat((part,))) + rest <= WIDTH:
                self.put(_flat((part,)))
            else:
                self.group(part, rest)

    def group(self, group: _Group, behind: int) -> None:
        group = replace(group, opening="(", closing=")") if group.wraps else group
        self.put(group.opening)
        if self.column > _FAR and group.opening:
            self.put("\n" + 2 * _INDENT)
            self.column = 2 * len(_INDENT)
        start = self.column
        for k, part in enumerate(group.parts):
            last = k == len(group.parts) - 1
            rest = len(group.closing) + behind if last else 0
            if k > 0:
                if self.column + 1 + len(_flat(part)) + rest <= WIDTH:
                    self.put(" ")
                else:
                    self.put("\n" + " " * start)
                    self.column = start
            self.doc(part, rest)
        self.put(group.closing)


def _up_to_a_group(doc: _Doc) -> int:
    """How many columns of a text cannot be broken off its beginning."""
    columns = 0
    for part in doc:
        if not isinstance(part, str):
            return columns + len(part.opening)
        columns += len(part)
    return columns
