"""Text to lines of tokens.

In: a Source. Out: its lines, each a tuple of tokens with its indentation, its comments, and what is no word of the
language at all. The one rule: a line goes on while a bracket is open, so a bracket that is never closed ends where the
next line begins as only a line can (`y[i] = ...`, `layer f(...)`), and swallows nothing.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from ..errors import Problem, Source, Span
from ..size_limits import DEEPEST, LONGEST, MOST_PROBLEMS
from . import character_mistakes
from .automaton import END, tables

_SOFT = ("for", "from", "import", "layer", "shape")  # keywords that are names where a name is wanted
_ENDS_TARGET = ("NAME", "]", *_SOFT)


class Token(NamedTuple):
    """`kind` is the terminal: the word itself, or NAME, NUMBER, MAX_OPERATOR, MIN_OPERATOR, END."""

    kind: str
    text: str
    span: Span


@dataclass(frozen=True)
class Line:
    """A line, over all lines of the text that it takes. `sound` is False where its errors are known already."""

    tokens: tuple[Token, ...]
    indent: Span
    span: Span
    sound: bool

    @property
    def end(self) -> Token:
        """What stands behind the last token."""
        return Token(END, "", Span(self.span.source, self.span.end, self.span.end))


@dataclass(frozen=True)
class Lines:
    lines: tuple[Line, ...]
    comments: tuple[tuple[int, str], ...]
    problems: tuple[Problem, ...]


def lex(source: Source) -> Lines:
    """All lines; the text has line ends of one character and nothing that UTF-8 cannot hold."""
    return _Lexer(source).run()


@cache
def _scanner() -> re.Pattern[str]:
    """One pattern for all terminals: the longest words first, names last, since each letter may begin one."""
    known = tables()
    words = sorted((w for w in known.words if not w.isidentifier()), key=len, reverse=True)
    parts = [f"(?P<{name}>{pattern})" for name, pattern in known.patterns.items() if name != "NAME"]
    parts += [f"(?P<WORD>{'|'.join(map(re.escape, words))})", f"(?P<NAME>{known.patterns['NAME']})", "(?P<OTHER>.)"]
    return re.compile("|".join(parts), re.DOTALL)


_NAME = r"[^\W\d][\w.]*"
_FLAT = r"[^\[\]()\n#]"  # within a line, between brackets
_BRACKETS = rf"[\[(](?:{_FLAT}|[\[(](?:{_FLAT}|[\[(]{_FLAT}*[\])])*[\])])*[\])]"  # that close, up to three deep
_BEGINS_ONLY_A_LINE = re.compile(  # whatever is open: no expression has these
    rf"[ \t]*(?:{_NAME}[ \t]*{_BRACKETS}[ \t]*(?:=(?!=)|\+=|\*=|max=(?!=)|min=(?!=))"
    rf"|{_NAME}(?:[ \t]*[+*]=|[ \t]+(?:max|min)=(?!=))"
    rf"|(?:layer|shape|from)[ \t]+(?!and\b|or\b|where\b){_NAME})"
)
_DOTS = frozenset("·\u0387")  # parts of Python's identifiers, but who writes a·b means a product
_INDENT = re.compile(r"[ \t\f]*")
_MAY_BEGIN_A_LINE = re.compile(rf"([ \t]*){_NAME}(?:[ \t]*,[ \t]*{_NAME})*[ \t]*=(?!=)")  # or be a keyword argument


@dataclass
class _Lexer:
    source: Source
    scanner: re.Pattern[str] = field(default_factory=_scanner)
    words: frozenset[str] = field(default_factory=lambda: frozenset(tables().words))
    lines: list[Line] = field(default_factory=list)
    comments: list[tuple[int, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def run(self) -> Lines:
        position = 0
        while position < len(self.source.text) and len(self.problems) <= MOST_PROBLEMS:
            position = self.line(position)
        return Lines(tuple(self.lines), tuple(self.comments), tuple(self.problems))

    def span(self, start: int, end: int) -> Span:
        return Span(self.source, start, end)

    def line(self, begin: int, stop: int | None = None) -> int:
        """Read one line from `begin`, the start of a line of the text; the position behind it.

        With `stop`, the line ends there, whatever is open.
        """
        text = self.source.text
        indent = _INDENT.match(text, begin)
        assert indent is not None
        tokens: list[Token] = []
        open_: list[Token] = []
        problems: list[Problem] = []
        comments: list[tuple[int, str]] = []
        likely: int | None = None  # the first line inside the brackets that may be a line of its own
        position, limit = indent.end(), len(text) if stop is None else stop
        first = end = position
        while position < limit:
            if text[position] == " ":  # half of all tokens, and nobody asks for them
                position += 1
                continue
            known = len(problems)
            token = self.token(position, tokens, problems)
            position = token.span.end
            match token.kind:
                case "SPACE":
                    continue
                case "COMMENT":
                    comments.append((token.span.start, token.text.rstrip()))
                    continue
                case "BREAK":
                    if not open_:
                        break
                    if _BEGINS_ONLY_A_LINE.match(text, position):
                        limit = position
                    elif likely is None:
                        other = _MAY_BEGIN_A_LINE.match(text, position)
                        likely = position if other and len(other[1]) <= len(indent[0]) else None
                    continue
                case "(" | "[":
                    open_.append(token)
                case ")" | "]":
                    problems += _close(token, open_)
                case "->":  # behind all brackets of a header
                    problems += [character_mistakes.unclosed(o.span) for o in open_]
                    open_.clear()
                case _:
                    pass
            end = position
            if likely is not None and (len(problems) > known or len(open_) > DEEPEST or len(tokens) == LONGEST):
                return self.line(begin, likely)
            if len(open_) > DEEPEST:
                problems = [character_mistakes.too_deep(token.span, DEEPEST)]
            elif len(tokens) == LONGEST:
                problems = [character_mistakes.too_long(token.span, LONGEST)]
            elif len(problems) <= MOST_PROBLEMS:
                tokens.append(token)
                continue
            position = self.next_line(position)
            open_.clear()
            break
        if open_ and likely is not None and stop is None:
            return self.line(begin, likely)
        problems += [character_mistakes.unclosed(token.span) for token in open_]
        self.comments += comments
        self.problems += problems
        if end > first:
            self.lines.append(Line(tuple(tokens), self.span(begin, first), self.span(first, end), not problems))
        return position

    def token(self, start: int, before: list[Token], problems: list[Problem]) -> Token:
        """The token at `start`, behind those of its line, spaces and line breaks included."""
        match, text = self.scanner.match, self.source.text
        found = match(text, start)
        assert found is not None and found.lastgroup is not None
        kind, word, end = found.lastgroup, found[0], found.end()
        match kind:
            case "WORD":
                kind = word
            case "NAME":
                word = _identifier(word)
                end = start + len(word)
                kind = "NAME" if word else "OTHER"
                if not word.isascii():
                    word = unicodedata.normalize("NFKC", word)
                if word in self.words:
                    kind = word
            case "NUMBER":
                tail = match(text, end)
                if tail is not None and tail.lastgroup == "NAME" and (more := _identifier(tail[0])):
                    end += len(more)
                    problems.append(character_mistakes.number(self.span(start, end), word, more))
            case "MAX_OPERATOR" | "MIN_OPERATOR":
                if not before or before[-1].kind not in _ENDS_TARGET:  # a name and an equals sign
                    kind, word, end = "NAME", word[:-1], end - 1
            case _:
                pass
        if kind == "OTHER":
            problem, end = character_mistakes.stranger(self.source, start)
            problems.append(problem)
        return Token(kind, word, self.span(start, end))

    def next_line(self, position: int) -> int:
        """Where the next line begins behind a position inside of brackets."""
        text = self.source.text
        while (end := text.find("\n", position)) >= 0:
            position = end + 1
            if _BEGINS_ONLY_A_LINE.match(text, position) or _MAY_BEGIN_A_LINE.match(text, position):
                return position
        return len(text)


def _close(token: Token, open_: list[Token]) -> list[Problem]:
    """Close the bracket that the token closes, and those inside it that nothing closes."""
    opening = "(" if token.kind == ")" else "["
    if not any(o.kind == opening for o in open_):
        return [character_mistakes.unmatched(token.span, open_[-1].span if open_ else None)]
    unclosed = []
    while open_[-1].kind != opening:
        unclosed.append(character_mistakes.mismatched(open_.pop().span, token.span))
    open_.pop()
    return unclosed


def _identifier(word: str) -> str:
    """The longest part of a word that is a name: identifiers, joined by dots."""
    if word.isascii() or (all(part.isidentifier() for part in word.split(".")) and not _DOTS & set(word)):
        return word
    end, first = 0, True
    for k, character in enumerate(word):
        if character == "." and not first:
            first = True
        elif character not in _DOTS and (character if first else f"a{character}").isidentifier():
            end, first = k + 1, False
        else:
            break
    return word[:end]
