"""Text to tree.

In: a Source. Out: a `tree.File`, or all mistakes of the text, each by its name. The one rule: lines are parsed one by
one, by the tables that lark makes of `grammar/indexlang.lark`, so no mistake hides another.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..collecting import uncollected
from ..errors import NAMED, IndexLangError, LanguageSyntaxError, Problem, Source, Span, within_depth
from ..size_limits import DEEPEST, MOST_PROBLEMS
from . import character_mistakes, line_mistakes, word_mistakes
from .automaton import ACCEPT, tables
from .builder import BUILDERS, LayerHeader, LoopHeader
from .lexer import Line, Lines, lex
from .tree import Call, File, For, FunctionDef, Import, Item, LayerDef, ShapeDecl, Statement


def read(path: str | os.PathLike[str]) -> Source:
    """The text of a file, under the path as its name; what is no UTF-8 in it, `parse` finds."""
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # the latter for a character that no path has
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        shown = "".join(c if c.isprintable() else "\ufffd" for c in os.fspath(path))
        way = "write the path of a text file that can be read, from this folder or from /"
        raise IndexLangError(Problem("file", f"cannot read {shown}: {reason}", way_out=way)) from None
    if os.fspath(path).endswith(".py"):
        rule, way = f"{os.fspath(path)} is Python, and a program is statements in a .idx file", "give the .idx file"
        raise IndexLangError(Problem("file", rule, way_out=f"{way}, or run this one: python {os.fspath(path)}"))
    return Source(data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape"), os.fspath(path))


@uncollected
@within_depth(LanguageSyntaxError, NAMED)
def parse(source: Source) -> File:
    """The tree of a text. Raises `LanguageSyntaxError` with all problems, in the order of the text."""
    source = _clean(source)
    lines = lex(source)
    items, problems = _Parser(lines).run()
    if not items and not problems and not lines.comments:
        problems = [character_mistakes.empty(Span(source, 0, 0))]
    if problems:
        problems = sorted(problems, key=lambda p: p.span.start if p.span else 0)
        if len(problems) > MOST_PROBLEMS:
            more = f"more than {MOST_PROBLEMS} errors: the others are not shown"
            more_way = "mend these first"
            problems = [*problems[:MOST_PROBLEMS], Problem("too-many-errors", more, way_out=more_way)]
        raise LanguageSyntaxError(*problems)
    return File(tuple(items), Span(source, 0, len(source.text)), lines.comments)


def _clean(source: Source) -> Source:
    """The text without a byte-order mark, with one kind of line end; an error if it cannot be UTF-8."""
    text = source.text.removeprefix("\ufeff")
    broken = re.search("[\ud800-\udfff]", text)
    if broken is not None:
        shown = Source(re.sub("[\ud800-\udfff]", "\ufffd", text), source.name)
        utf16 = text.startswith(("\udcff\udcfe", "\udcfe\udcff"))
        if "\0" in text and not utf16:
            raise LanguageSyntaxError(character_mistakes.binary(Span(shown, broken.start(), broken.end())))
        raise LanguageSyntaxError(character_mistakes.encoding(Span(shown, broken.start(), broken.end()), utf16))
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return source if text is source.text else Source(text, source.name)


@dataclass
class _Open:
    """A layer or a block whose body is being read. `header` is None if it is wrong: its body is read for its own
    mistakes. `indent` is that of its first line.
    """

    line: Line
    header: LayerHeader | LoopHeader | None
    body: list[ShapeDecl | Statement | For] = field(default_factory=list)
    indent: str | None = None

    @property
    def is_layer(self) -> bool:
        return line_mistakes.is_header(self.line)

    def holds(self, line: Line) -> bool:
        """Whether a line is one of its own, by its indentation; the first one says what that is."""
        indent, own = line.indent.text, self.line.indent.text
        if self.indent is None:
            return indent.startswith(own) and indent != own
        return indent == self.indent


@dataclass
class _Parser:
    """Lines to items."""

    lines: Lines
    items: list[Item] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    open: list[_Open] = field(default_factory=list)  # the innermost last

    def run(self) -> tuple[list[Item], list[Problem]]:
        self.problems += self.lines.problems
        for line in self.lines.lines:
            if len(self.problems) > MOST_PROBLEMS:
                break
            self.line(line)
        self.close(0)
        return self.items, self.problems

    def line(self, line: Line) -> None:
        self.place(line)
        here, item = self.open[-1] if self.open else None, self.parsed(line)
        if line_mistakes.is_header(line) and here is not None:
            if line.tokens[0].text == "layer":  # else a word of Python, of which has been told
                what = "a layer" if self.open[0].is_layer else "a block"
                self.problems.append(line_mistakes.inside(line.span, what, "layers"))
            self.open.append(_Open(line, None))
        elif line_mistakes.is_header(line):
            self.open.append(_Open(line, item if isinstance(item, LayerHeader) else None))
        elif line_mistakes.is_loop(line):
            self.open.append(_Open(line, item if isinstance(item, LoopHeader) else None))
        elif here is None:
            self.items += [] if item is None else [item]
        elif isinstance(item, Import | FunctionDef):
            what = "imports" if isinstance(item, Import) else "functions"
            self.problems.append(line_mistakes.inside(item.span, "a layer" if here.is_layer else "a block", what))
        elif isinstance(item, ShapeDecl) and not here.is_layer:
            self.problems.append(line_mistakes.inside(item.span, "a block", "shapes"))
        else:
            here.body += [] if item is None else [item]

    def place(self, line: Line) -> None:
        """Close what the indentation of a line ends; what fits nowhere is reported."""
        if not line.indent.text:
            self.close(0)
            return
        if not self.open:
            self.problems.append(line_mistakes.indented(line))
            return
        holding = [k for k, o in enumerate(self.open) if o.holds(line)]
        if not holding:
            inner = next((o for o in reversed(self.open) if o.indent is not None), self.open[-1])
            self.problems.append(line_mistakes.uneven(line, inner.indent or ""))
            return
        self.close(holding[-1] + 1)
        self.open[-1].indent = line.indent.text

    def close(self, level: int) -> None:
        """End the layers and blocks that are being read, but for so many outer ones."""
        while len(self.open) > level:
            done = self.open.pop()
            header = done.header
            if header is not None and done.indent is None:
                self.problems.append(line_mistakes.no_body(done.line))
            elif header is not None and done.body:
                span = header.span.to(done.body[-1].span)
                if isinstance(header, LayerHeader):
                    h = header
                    self.items.append(LayerDef(h.name, h.inputs, h.options, h.outputs, tuple(done.body), span))
                    continue
                inside = tuple(part for part in done.body if isinstance(part, Statement | For))
                block = For(header.ranges, header.reverse, inside, span)
                (self.open[-1].body if self.open else self.items).append(block)

    def parsed(self, line: Line) -> Any:
        """The item or header of a line; None if it has none."""
        if not line.sound:
            return None
        try:
            item = _automaton(line)
        except LanguageSyntaxError as error:
            self.problems += error.problems
            return None
        if len(line.tokens) > DEEPEST and (place := _too_deep(item)) is not None:
            self.problems.append(character_mistakes.too_deep(place, DEEPEST))
            return None
        whole = next((token for token in line.tokens if token.kind == ":"), None)
        if whole is not None and isinstance(item, Statement) and not any(map(_is_call, _parts(item.value))):
            self.problems.append(line_mistakes.slice_(whole.span))  # an axis of a part that no layer takes
            return None
        return item


def _parts(value: Any) -> Iterator[Any]:
    """The nodes of an expression; found without recursion."""
    left = [value]
    while left:
        node = left.pop()
        yield node
        for part in vars(node).values():
            several = part if isinstance(part, tuple) else (part,)
            left += [p for p in (q[1] if isinstance(q, tuple) else q for q in several) if hasattr(p, "span")]


def _is_call(node: Any) -> bool:
    return isinstance(node, Call)


def _automaton(line: Line) -> Any:
    """The tree of one line, by the LALR automaton of the grammar."""
    rules, states = tables().rules, tables().states
    stack = [0]
    values: list[Any] = []
    for k, token in enumerate((*line.tokens, line.end)):
        while True:
            action = states[stack[-1]].get(token.kind)
            if action is None:
                raise LanguageSyntaxError(word_mistakes.named(line, k, tables().terminals & states[stack[-1]].keys()))
            if action > ACCEPT:
                stack.append(action)
                values.append(token)
                break
            if action == ACCEPT:
                return values[-1]
            rule = rules[-1 - action]
            if rule.passes:
                stack[-1] = tables().passed(stack[-2], stack[-1], token.kind)
                continue
            parts: list[Any] = []
            for value in values[-rule.size :]:
                parts += value if isinstance(value, list) else (value,)
            del stack[-rule.size :], values[-rule.size :]
            values.append(parts if rule.name is None else BUILDERS[rule.name](parts))
            stack.append(states[stack[-1]][rule.origin])
    raise AssertionError("the end of a line is shifted")


def _too_deep(item: Any) -> Span | None:
    """The first place where an expression has too many levels; found without recursion."""
    stack: list[tuple[Any, int]] = [(item, 0)]
    while stack:
        node, level = stack.pop()
        if level > DEEPEST:
            place: Span = node.span
            return place
        for part in vars(node).values():
            for child in part if isinstance(part, tuple) else (part,):
                if isinstance(child, tuple):
                    child = child[1]
                if hasattr(child, "span"):
                    stack.append((child, level + 1))
    return None
