"""A file in its canonical layout, as `indexlang fmt` prints it.

In: a `tree.File`. Out: text with the same tree and the same comments. The one rule: the layout follows from the tree,
from where its comments stand, and from what its author did with lines: which are blank, which stand aligned, and where
a header is broken. So laying out again changes nothing.

Expressions are spaced as the printer of Programs spaces them, with brackets only where they are needed. One statement
takes one line, unless it is longer than WIDTH and has brackets in which it can be broken. A comment behind a statement
stays behind it, one inside of it moves above it. Blank lines stay, one at most; a layer has one on either side. Lines
one below the other whose `=` stand in one column keep them so.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..program.functions import ADD, AND, ATOM, COMPARE, MUL, NEG, NOT, OR, POW
from .breaking import INDENT, Doc, Group, broken, flat
from .tree import (
    All,
    Binary,
    Call,
    Compare,
    Dots,
    Expr,
    File,
    For,
    FunctionDef,
    Header,
    Import,
    Item,
    LayerDef,
    Merged,
    Name,
    Number,
    Option,
    Reduction,
    ShapeDecl,
    Statement,
    Subscript,
    Subscripted,
    Unary,
)


def layout(file: File) -> str:
    """The text of a file."""
    lines: list[str] = []
    for entry in _aligned(_spaced(_entries(file)), file.span.source.text):
        if entry.blank and lines:
            lines.append("")
        code = broken(entry.doc, len(entry.indent)) if entry.doc else ""
        lines.append(entry.indent + "  ".join(part for part in (code, entry.comment) if part))
    return "".join(f"{line}\n" for line in lines)


# -- what stands on which line -----------------------------------------------------------------------------------------


@dataclass
class _Entry:
    """A line of the result: code, a comment, or both. `first` and `last` are its lines in the text."""

    first: int
    last: int
    indent: str
    doc: Doc = ()
    comment: str = ""
    header: bool = False
    loop: bool = False
    blank: bool = False  # whether a blank line stands above
    statement: Statement | None = None

    @property
    def in_layer(self) -> bool:
        return self.header or bool(self.indent)

    @property
    def inside(self) -> str:
        """The indentation of what stands in it, or else beside it."""
        return self.indent + INDENT * (self.header or self.loop)


def _entries(file: File) -> list[_Entry]:
    """Code and comments, in the order of the result."""
    text = file.span.source.text
    starts = [0, *(k + 1 for k, character in enumerate(text) if character == "\n")]
    comments = list(reversed(file.comments))
    entries: list[_Entry] = []

    def line_of(offset: int) -> int:
        return bisect_right(starts, offset)

    def above(limit: int, indent: str) -> None:
        """The comments in front of an offset; those of a layer or a block are indented in the text."""
        column = limit - starts[line_of(limit) - 1]
        while comments and comments[-1][0] < limit:
            offset, comment = comments.pop()
            line = line_of(offset)
            own = offset - starts[line - 1]
            behind = entries[-1].inside if entries else ""
            inside = behind if own > column or (not indent and own and limit == len(text)) else indent
            entries.append(_Entry(line, line, inside, comment=comment))

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


def _aligned(entries: list[_Entry], text: str) -> list[_Entry]:
    """The entries with the signs of statements one below the other in one column, if they are so in the text."""
    together: list[_Entry] = []
    column = -1
    for entry in entries:
        if entry.statement is None and not entry.doc and not entry.blank:
            continue  # a comment
        found = -1 if entry.statement is None else _column(entry.statement, text)
        if found != column or found < 0 or entry.blank:
            _align(together)
            together, column = [], found
        if entry.statement is not None:
            together.append(entry)
    _align(together)
    return entries


def _column(stmt: Statement, text: str) -> int:
    """Where the sign ends in its line; -1 if it stands on another line than the statement begins on."""
    last = stmt.targets[-1].span.end
    between = text[last : stmt.value.span.start]
    end = last + len(between) - len(between.lstrip()) + len(stmt.op)
    line = text[: stmt.span.start].rfind("\n") + 1
    return -1 if "\n" in text[stmt.span.start : end] else end - line


def _align(entries: list[_Entry]) -> None:
    """Give the signs of these statements one column."""
    heads = [(flat(_targets(s)), s) for entry in entries if (s := entry.statement) is not None]
    most = max((len(head) + len(s.op) for head, s in heads), default=0)
    for entry, (head, s) in zip(entries, heads, strict=True):
        entry.doc = tuple(_statement(s, most - len(head) - len(s.op)))


def _pieces(item: Item) -> Iterator[tuple[int, int, _Entry]]:
    """The lines of an item: where each begins and ends, and what it says."""
    if not isinstance(item, LayerDef):
        yield from _in_blocks(item, "")
        return
    yield item.span.start, item.outputs[-1].span.end, _Entry(0, 0, "", tuple(_header(item)), header=True)
    for part in item.body:
        yield from _in_blocks(part, INDENT)


def _in_blocks(
    item: Import | FunctionDef | ShapeDecl | Statement | For, indent: str
) -> Iterator[tuple[int, int, _Entry]]:
    """A line, or a block with its lines."""
    if not isinstance(item, For):
        yield item.span.start, item.span.end, _entry(indent, item)
        return
    yield item.span.start, item.ranges[-1].span.end, _Entry(0, 0, indent, tuple(_loop(item)), loop=True)
    for part in item.body:
        yield from _in_blocks(part, indent + INDENT)


def _entry(indent: str, item: Import | FunctionDef | ShapeDecl | Statement) -> _Entry:
    return _Entry(0, 0, indent, tuple(_item(item)), statement=item if isinstance(item, Statement) else None)


# -- code --------------------------------------------------------------------------------------------------------------


def _item(item: Import | FunctionDef | ShapeDecl | Statement) -> Iterator[str | Group]:
    match item:
        case Import(module, names):
            yield f"from {module} import {', '.join(names)}"
        case FunctionDef(name, params, body):
            yield f"{name}({', '.join(params)}) = "
            yield from _value(body)
        case ShapeDecl(tensors):
            yield "shape "
            yield from _listed([_tensor(tensor) for tensor in tensors])
        case Statement():
            yield from _statement(item)


def _statement(stmt: Statement, space: int = 0) -> Iterator[str | Group]:
    """A statement, with so much more space in front of its sign."""
    yield from _targets(stmt)
    yield f"{' ' * space} {stmt.op} "
    yield from _value(stmt.value)
    for k, condition in enumerate(stmt.conditions):
        yield ", " if k else " where "
        yield from _expr(condition)


def _targets(stmt: Statement) -> Doc:
    return _listed([_subscript(target) for target in stmt.targets])


def _listed(docs: Sequence[Doc]) -> Doc:
    """Texts with commas between them."""
    return tuple(piece for k, doc in enumerate(docs) for piece in ((", ",) if k else ()) + doc)


def _header(layer: LayerDef) -> Iterator[str | Group]:
    inputs = [_tensor(tensor) for tensor in layer.inputs]
    options: list[Doc] = [(f"{o.name}={_tight(o.default)}",) for o in layer.options]
    parts: list[Doc] = [(*doc, ",") for doc in (*inputs, *options)]
    if parts:
        parts[-1] = parts[-1][:-1]
    if inputs and options:
        parts[len(inputs) - 1] = (*inputs[-1], ";")
    elif options:
        parts[0] = (";", " ", *parts[0])
    yield Group(f"layer {layer.name}(", tuple(parts), ")", kept=_kept([*layer.inputs, *layer.options]))
    yield " -> "
    yield from _listed([_tensor(tensor) for tensor in layer.outputs])
    yield ":"


def _kept(parts: Sequence[Header | Option]) -> frozenset[int]:
    """In front of which parts the author has broken the line, and not because of a comment."""
    found = set()
    for k, (before, part) in enumerate(pairwise(parts)):
        between = part.span.source.text[before.span.end : part.span.start]
        if "\n" in between and "#" not in between:
            found.add(k + 1)
    return frozenset(found)


def _loop(block: For) -> Iterator[str | Group]:
    yield "for "
    for k, written in enumerate(block.ranges):
        yield ", " if k else ""
        yield from _expr(written)
    yield " reversed:" if block.reverse else ":"


def _tensor(header: Header) -> Doc:
    return (header.name,) if header.dims is None else (_subscripts(header.name, header.dims),)


def _subscripts(name: str, subscripts: Sequence[Subscript]) -> Group:
    parts = [(_tight(subscript) + "," * (k + 1 < len(subscripts)),) for k, subscript in enumerate(subscripts)]
    return Group(f"{name}[", tuple(parts), "]", tight=True)


def _subscript(node: Subscript) -> Doc:
    """The text as it stands in subscripts, which may be broken in its own."""
    return (_subscripts(node.name, node.subscripts),) if isinstance(node, Subscripted) else (_tight(node),)


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
        case All():
            return ":", ATOM
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


def _value(node: Expr) -> Doc:
    """The right side of a statement."""
    parts, _ = _parts(node)
    return parts[0] if len(parts) == 1 else (Group("", parts, "", wraps=True),)


def _expr(node: Expr, binding: int = OR) -> Doc:
    """The text as it stands in values, in brackets if it binds less tightly than `binding`."""
    parts, level = _parts(node)
    if level < binding:
        return (Group("(", parts, ")"),)
    first, *others = parts
    return (*first, *(piece for part in others for piece in (" ", *part)))


def _inside(node: Expr) -> Doc:
    """The same inside of brackets."""
    parts, _ = _parts(node)
    return parts[0] if len(parts) == 1 else (Group("", parts, ""),)


def _parts(node: Expr) -> tuple[tuple[Doc, ...], int]:
    """The text in the parts between which it may be broken, and how tightly it binds."""
    match node:
        case Number() | Name() | Subscripted():
            return (_subscript(node),), ATOM
        case Reduction(op, indices, body):
            return ((Group(f"{op}[{','.join(indices)}](", (_inside(body),), ")"),),), ATOM
        case Call(name, args, keywords):
            given = [*map(_inside, args), *((f"{key}=", *_inside(value)) for key, value in keywords)]
            listed = [(*doc, ",") for doc in given[:-1]] + given[-1:]
            return ((Group(f"{name}(", tuple(listed), ")"),),), ATOM
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


def _chain(node: Binary, level: int) -> tuple[Doc, ...]:
    """The operands of a chain of operators that bind alike; all but the first with their operator in front."""
    parts: list[Doc] = []
    left: Expr = node
    while isinstance(left, Binary) and _LEVELS[left.op] == level:
        parts.append((f"{left.op} ", *_expr(left.right, level + 1)))
        left = left.left
    return (_expr(left, level), *reversed(parts))
