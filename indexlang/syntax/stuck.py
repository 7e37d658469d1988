"""A place in a line where its next token cannot stand, as the rules that name mistakes look at it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import Problem, Span
from ..properties import cached_property
from .lexer import Line, Token

ASSIGNS = ("=", "+=", "*=", "MAX_OPERATOR", "MIN_OPERATOR")
NAMES = ("NAME", "for", "from", "import", "layer", "shape")
OPENS, CLOSES = ("(", "["), (")", "]")
ENDS_OPERAND = (*NAMES, "NUMBER", *CLOSES)
BEGINS_OPERAND = (*NAMES, "NUMBER", "(", "where", "not")
BINARY = ("+", "-", "*", "/", "//", "%", "**", "<", "<=", ">", ">=", "==", "!=", "and", "or")
_DIVIDES = ("+", "-", "<", "<=", ">", ">=", "==", "!=", "and", "or")  # terms, behind an operand
EXAMPLE = "layer f(x[N], w[N]; scale=1) -> y[N]:"


@dataclass(frozen=True)
class Place:
    """The token number `at` of a line, which cannot stand where it stands; `expected` could."""

    line: Line
    at: int
    expected: frozenset[str]

    @property
    def here(self) -> Token:
        return self.token(self.at)

    @property
    def before(self) -> Token:
        return self.token(self.at - 1)

    @property
    def after(self) -> Token:
        return self.token(self.at + 1)

    def token(self, number: int) -> Token:
        tokens = self.line.tokens
        return tokens[number] if 0 <= number < len(tokens) else self.line.end

    @cached_property
    def open(self) -> tuple[int, ...]:
        """The numbers of the brackets that are open in front of the token."""
        stack: list[int] = []
        for k, token in enumerate(self.line.tokens[: self.at]):
            if token.kind in OPENS:
                stack.append(k)
            elif token.kind in CLOSES:
                stack.pop()
        return tuple(stack)

    @property
    def inside(self) -> str:
        """The innermost open bracket, or nothing."""
        return self.token(self.open[-1]).kind if self.open else ""

    @cached_property
    def outer(self) -> tuple[tuple[int, str], ...]:
        """The tokens outside of all brackets: number and kind."""
        depth, found = 0, []
        for k, token in enumerate(self.line.tokens):
            depth -= token.kind in CLOSES
            if depth == 0:
                found.append((k, token.kind))
            depth += token.kind in OPENS
        return tuple(found)

    def outer_before(self, kinds: Iterable[str]) -> int | None:
        """The first outer token of one of the kinds in front of the place."""
        return next((k for k, kind in self.outer if kind in kinds and k < self.at), None)

    def outer_after(self, kinds: Iterable[str]) -> int | None:
        """The same behind the place, or at it."""
        return next((k for k, kind in self.outer if kind in kinds and k >= self.at), None)

    def operand_before(self) -> str:
        """How the operand in front of the place is written; its brackets as (...) and [...]."""
        if self.before.kind not in CLOSES:
            return self.before.text
        opened = self.opened_before()
        name = self.token(opened - 1)
        brackets = "(...)" if self.before.kind == ")" else "[...]"
        return f"{name.text}{brackets}" if opened > 0 and name.kind in (*NAMES, "where") else brackets

    def opened_before(self) -> int:
        """The number of the bracket that the token in front of the place closes."""
        return Place(self.line, self.at - 1, self.expected).open[-1]

    def term_end(self) -> Token:
        """The last token of the term that begins at the place."""
        depth, last = 0, self.here
        for token in self.line.tokens[self.at :]:
            ends = token.kind in (*CLOSES, ",", "where") or (token.kind in _DIVIDES and last.kind in ENDS_OPERAND)
            if depth == 0 and ends:
                break
            depth += (token.kind in OPENS) - (token.kind in CLOSES)
            last = token
        return last

    def problem(self, code: str, rule: str, way_out: str, place: Token | Span | None = None) -> Problem:
        span = place if isinstance(place, Span) else (place or self.here).span
        return Problem(code, rule, span, way_out=way_out)
