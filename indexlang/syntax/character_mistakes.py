"""Mistakes that a line shows before it is parsed: characters, numbers, brackets, its size, its indentation.

In: the place. Out: a Problem with the way out, and for a stranger also where it ends.
"""

from __future__ import annotations

import re
import unicodedata

from ..errors import Problem, Source, Span
from .other_notations import attribute_meant

_MEANT = {  # what people write, and what the language has for it
    "×": "*",
    "·": "*",
    "⋅": "*",
    "∙": "*",
    "∗": "*",
    "∘": "*",
    "⊙": "*",
    "−": "-",
    "–": "-",
    "—": "-",
    "‐": "-",
    "‑": "-",
    "÷": "/",
    "∕": "/",
    "≤": "<=",
    "⩽": "<=",
    "≥": ">=",
    "⩾": ">=",
    "≠": "!=",
    "→": "->",
    "←": "=",
    "≔": "=",
    "∞": "inf",
    "…": "...",
    "²": "**2",
    "³": "**3",
    "¹": "**1",
    "√": "sqrt(...)",
    "∑": "sum[i](...)",
    "∏": "prod[i](...)",
    "∂": "x.grad",
    "∇": "x.grad",
    "∧": "and",
    "∨": "or",
    "¬": "not",
    "^": "**",
    "@": "* over a shared index: C[i,j] = A[i,k] * B[k,j]",
    "&": "and",
    "|": "or",
    "~": "not",
    "!": "not",
    "{": "( or [",
    "}": ") or ]",
    "⟨": "( or [",
    "⟩": ") or ]",
    "，": ",",
    "；": ";",
    "：": ":",
    "（": "(",
    "）": ")",
    "［": "[",
    "］": "]",
    "＝": "=",
    "＋": "+",
    "＊": "*",
    "＜": "<",
    "＞": ">",
}
_QUOTES = "\"'`“”„‘’‚«»"
_STRING = re.compile(r"\"[^\"\n]*\"?|'[^'\n]*'?|`[^`\n]*`?|[“„«][^”»\n]*[”»]?|[‘‚][^’\n]*’?|.")


_ATTRIBUTE = re.compile(r".*?([^\W\d][\w.]*)\[([^\[\]\n]*)\]\.([^\W\d]\w*)")  # W[i,j].T


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def stranger(source: Source, start: int) -> tuple[Problem, int]:
    """A character that begins no word of the language, and where what it begins ends."""
    text = source.text
    character = text[start]
    if character in "'’′" and start > 0 and (text[start - 1].isalnum() or text[start - 1] in "_)]"):
        rule, way = "a prime is not part of the language", "write x_prime, or x1, or any other name"
        return Problem("character", rule, Span(source, start, start + 1), way_out=way), start + 1
    if character in _QUOTES:
        found = _STRING.match(text, start)
        assert found is not None
        place = Span(source, start, found.end())
        rule = "there are no strings: names stand without quotes"
        return Problem("string", rule, place, way_out="leave the quotes out"), found.end()
    end = start + (2 if text[start : start + 2] in ("&&", "||") else 1)
    place = Span(source, start, end)
    if character == ".":
        rule, way = "a dot joins the parts of a name, and stands between letters only", "write x.grad[i], not x[i].grad"
        if (found := _ATTRIBUTE.match(text, _line_start(text, start))) is not None and found.start(3) == start + 1:
            way = attribute_meant(found[1], found[2], found[3]) or way
        return Problem("dot", rule, place, way_out=way), start + 1
    if character == "\\":
        rule, way = "a line goes on where a bracket is open, not behind a backslash", "put the right side into (...)"
        return Problem("backslash", rule, place, way_out=way), start + 1
    code = f"U+{ord(character):04X}"
    name = unicodedata.name(character, "")
    shown = f"'{place.text}'" if character.isprintable() and not character.isspace() else f"the character {code}"
    values = (f"{code} {name}".rstrip(),) if ord(character) > 126 or not character.isprintable() else ()
    if character.isspace() or unicodedata.category(character) in ("Cf", "Cc"):
        way = "write a space, or nothing"
    elif character in _MEANT:
        way = f"write {_MEANT[character]}"
    elif unicodedata.category(character) in ("No", "Nd"):
        way = "write digits 0 to 9; a power is x**2"
    else:
        way = "take it out: names are made of letters, digits and _"
    return Problem("character", f"{shown} is not part of the language", place, values, way), end


def number(span: Span, digits: str, tail: str) -> Problem:
    """A number that runs into a name: `2x`, `0x1F`, `1_000`."""
    if re.fullmatch(r"[0-9]+", digits) and re.fullmatch(r"(_[0-9]+)+", tail):
        way = f"write {digits}{tail.replace('_', '')}"
    elif digits == "0" and tail[0] in "xXoObB":
        way = "write it in decimal"
    elif re.fullmatch(r"[eE]", tail):
        way = f"write the exponent: {digits}{tail}0"
    elif tail[0] == "_":
        way = "write the digits without _"
    else:
        way = f"write {digits} * {tail}"
    return Problem(
        "number", f"a number ends before a letter: '{digits}{tail}' is neither a number nor a name", span, (), way
    )


def unclosed(opening: Span) -> Problem:
    return Problem("unclosed-bracket", f"this '{opening.text}' is never closed", opening, way_out=_close(opening))


def mismatched(opening: Span, closing: Span) -> Problem:
    rule = f"this '{opening.text}' is not closed before the '{closing.text}' that closes what is around it"
    return Problem("unclosed-bracket", rule, opening, (), _close(opening), (("closed by", closing),))


def _close(opening: Span) -> str:
    return f"close it with '{')' if opening.text == '(' else ']'}'"


def unmatched(closing: Span, opening: Span | None) -> Problem:
    rule = f"this '{closing.text}' closes nothing"
    others = () if opening is None else (("still open", opening),)
    other = "" if opening is None else f", or close '{opening.text}' with '{')' if opening.text == '(' else ']'}'"
    return Problem("unmatched-bracket", rule, closing, (), f"take it out{other}", others)


def too_deep(place: Span, deepest: int) -> Problem:
    rule = f"an expression has at most {deepest} levels of brackets and operators"
    return Problem("too-deep", rule, place, way_out="give a part of it a name, in a statement of its own")


def too_long(place: Span, longest: int) -> Problem:
    rule = f"a line has at most {longest} words"
    return Problem("too-long", rule, place, way_out="divide it into several statements")


def encoding(place: Span, utf16: bool) -> Problem:
    values = ("it looks like UTF-16",) if utf16 else ()
    return Problem("encoding", "a program is UTF-8 text", place, values, "save the file as UTF-8")


def empty(place: Span) -> Problem:
    way = "write a statement, as in y[i] = x[i,j] * w[j]"
    return Problem("empty", "a program has at least one line", place, way_out=way)


def binary(place: Span) -> Problem:
    """Bytes that are no text in any encoding."""
    return Problem("encoding", "a program is UTF-8 text, and this is no text", place, (), "give a .idx file")
