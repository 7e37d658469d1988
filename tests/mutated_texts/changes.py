"""One change of a text: of a character, a word, a line, a number, or by nesting and repetition.

In: dice, a text, another text. Out: a text. The one rule: a change is small to say, whatever it does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

Change = Callable[[Random, str, str], str]

WORD = re.compile(r"[^\W\d][\w.]*|\d+\.?\d*(?:e[+-]?\d+)?|\*\*|//|<=|>=|==|!=|[-+*]=|->|\.\.\.|\S|\n[ \t]*|[ \t]+")
NAME = re.compile(r"[^\W\d][\w.]*")
NUMBER = re.compile(r"\b\d+\.?\d*(?:e[+-]?\d+)?\b")
OPERAND = re.compile(r"[^\W\d][\w.]*(?:\[[^\[\]\n]*\])?|\d+")
SUBSCRIPTS = re.compile(r"\[([^\[\]\n]*)\]")

CHARACTERS = "abijkxyW0129_.,;:=+-*/%<>!()[]{}#'\"\\@$^&|~? \t\n\r\0\u00a0×−²ΔΣσ∑é\u0301\u200b\u202e\ufeff\U0001d49c"
NUMBERS = (
    *("0", "1", "-1", "2", "3", "7", "64", "65", "127", "128", "1000", "4096", "65536", "1000003"),
    *(str(2**n + d) for n in (31, 32, 53, 62, 63, 64, 100, 1000) for d in (-1, 0, 1)),
    *("0.5", "1e-320", "1e308", "1e309", "1e-400", "1e22", "0.1", "00", "1_000", "9" * 300, "9" * 301, "1e99999"),
    *(
        "inf",
        "nan",
        "pi",
        "size(x,0)",
        "size(y,0)",
        "size(x,-1)",
        "size(x,9)",
        "N",
        "i",
        "(-inf)",
        "(0/0)",
        "(2**1000)",
    ),
)
NAMES = (
    *(
        "self",
        "wrt",
        "out",
        "file",
        "allow_pickle",
        "np",
        "run",
        "layer",
        "shape",
        "from",
        "import",
        "options",
        "dtype",
    ),
    *("x", "y", "i", "j", "k", "W", "nan", "pi", "inf", "x.grad", "y.grad", "x.grad.grad", "y.dot", "N", "size", "sum"),
    *(
        "lambda",
        "None",
        "True",
        "_",
        "__class__",
        "Δi",
        "ﬁ",
        "max",
        "a" * 300,
        "where",
        "and",
        "not",
        "or",
        "if",
        "int",
    ),
)
SUBSCRIPT = (
    *("i+1", "i-1", "2*i", "-i", "i+j", "i//2", "i%3", "(i,j)", "...", "0", "1", "-1", "i//0", "i%0", "2**62*i", "i*j"),
    *("pad(i,1)", "pad(i)", "clamp(i-1)", "wrap(i+5)", "reflect(3*i)", "pad(i,1,value=-inf)", "pad(i,2**62)", "x[i]"),
    *("int(x[i])", "int(1e300)", "int(x[i]*1e30)", "size(y,0)-1-i", "size(x,0)-i", "k[i]", "i*N", "i+0", "i-i", "0*i"),
    *("9223372036854775807*i", "i+9223372036854775807", "int(nan)", "i+i+i", "-3*i-j+7", "(i+1)//2", "(2*i+j)%5"),
)
CLAUSES = (
    *("i < 3", "i < size(y,0)", "i < size(x,0)//2", "j <= i", "(i+j) % 2 == 0", "x[i] > 0", "1 <= i < 2", "i < 2**62"),
    *(
        "i == 0",
        "i != j",
        "i < 0",
        "5 < i < 2",
        "i < 1e9",
        "i < n[0]",
        "0 == 0",
        "0 != 0",
        "not (i < j or j == 2)",
        "3",
    ),
    *("i < -1", "-5 <= i < 3", "i % 1000003 == 7", "i < 10**18", "k < 2", "j < 2", "i*i < 5", "i < x[i]", "nan < i"),
)
AROUND = (
    *("({})", "-{}", "sin({})", "exp({})", "f({})", "relu({})", "{}**2", "1/{}", "{}*{}", "max({},{})", "log({})"),
    *("sum[k]({})", "max[k]({})", "argmax[i]({})", "where({}>0,{},1)", "({}+{})", "{}-{}", "prod[i]({})", "not {}"),
    *("mean[k]({})", "logsumexp[k]({})", "{}**{}", "{}//{}", "{}%2", "int({})", "float({})", "x[int({})]", "sqrt({})"),
)
TIMES = (2, 3, 5, 8, 12, 20, 40, 119, 130, 500)


def changed(dice: Random, text: str, other: str) -> str:
    """The text after one to four changes."""
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 4))):
        text = dice.choice(CHANGES)(dice, text, other)
        if len(text) > LONGEST:
            return text[:LONGEST]
    return text


LONGEST = 6000  # characters of a text


def _replaced(dice: Random, text: str, pattern: re.Pattern[str], new: Callable[[str], str]) -> str:
    """One place that fits the pattern, put anew."""
    found = list(pattern.finditer(text))
    if not found:
        return text
    place = dice.choice(found)
    return text[: place.start()] + new(place[0]) + text[place.end() :]


def _character(dice: Random, text: str, other: str) -> str:
    k = dice.randrange(len(text) + 1)
    n = dice.choice((0, 0, 1, 1, 1, 3, 10))
    return text[:k] + "".join(dice.choice(CHARACTERS) for _ in range(dice.choice((0, 1, 1, 2)))) + text[k + n :]


def _words(dice: Random, text: str, other: str) -> str:
    """A word taken out, doubled, put somewhere else, or one of another text."""
    words = WORD.findall(text) or [" "]
    k, j = dice.randrange(len(words)), dice.randrange(len(words))
    match dice.randrange(5):
        case 0:
            del words[k]
        case 1:
            words[k:k] = [words[k]]
        case 2:
            words[k], words[j] = words[j], words[k]
        case 3:
            words[k] = dice.choice(WORD.findall(other) or ["x"])
        case _:
            words[k] = words[j]
    return "".join(words)


def _lines(dice: Random, text: str, other: str) -> str:
    lines, more = text.split("\n"), other.split("\n")
    k, j = dice.randrange(len(lines)), dice.randrange(len(lines))
    match dice.randrange(5):
        case 0:
            del lines[k]
        case 1:
            lines[k:k] = [lines[j]]
        case 2:
            lines[k], lines[j] = lines[j], lines[k]
        case 3:
            lines[k:k] = [dice.choice(more)]
        case _:
            lines += more
    return "\n".join(lines)


def _number(dice: Random, text: str, other: str) -> str:
    return _replaced(dice, text, NUMBER, lambda _: dice.choice(NUMBERS))


def _name(dice: Random, text: str, other: str) -> str:
    """A name, once or everywhere, becomes another one."""
    names = NAME.findall(text)
    if not names:
        return text
    old, new = dice.choice(names), dice.choice((*NAMES, *names, *names))
    if dice.random() < 0.5:
        return _replaced(dice, text, re.compile(rf"\b{re.escape(old)}\b"), lambda _: new)
    return re.sub(rf"\b{re.escape(old)}\b", lambda _: new, text)


def _subscript(dice: Random, text: str, other: str) -> str:
    """A subscript becomes another one, or there is one more or less."""

    def new(brackets: str) -> str:
        parts = brackets[1:-1].split(",")
        k = dice.randrange(len(parts))
        indices = NAME.findall(parts[k]) or ["i"]
        own = re.sub(r"\bi\b", indices[0], dice.choice(SUBSCRIPT))
        parts[k : k + dice.choice((0, 1, 1, 1, 1, 2))] = [own] * dice.choice((1, 1, 1, 1, 2, 18))
        return f"[{','.join(parts)}]"

    return _replaced(dice, text, SUBSCRIPTS, new)


def _clause(dice: Random, text: str, other: str) -> str:
    """A statement has one condition more."""
    lines = text.split("\n")
    k = dice.randrange(len(lines))
    indices = NAME.findall(lines[k]) or ["i"]
    own = re.sub(r"\bi\b", lambda _: dice.choice(("i", *indices)), dice.choice(CLAUSES))
    lines[k] += f", {own}" if " where " in lines[k] else f" where {own}"
    return "\n".join(lines)


def _nested(dice: Random, text: str, other: str) -> str:
    """An operand inside of functions, many times."""
    around, times = dice.choice(AROUND), dice.choice(TIMES)

    def new(operand: str) -> str:
        for _ in range(times):
            if len(operand) > LONGEST:
                break
            operand = around.replace("{}", operand)
        return operand

    return _replaced(dice, text, OPERAND, new)


def _repeated(dice: Random, text: str, other: str) -> str:
    """An operand with an operator many times."""
    operator, times = dice.choice(("+", "-", "*", "/", "**", " and ", "<", "//", ",", "%")), dice.choice(TIMES)
    return _replaced(dice, text, OPERAND, lambda operand: operator.join([operand] * times))


def _chained(dice: Random, text: str, other: str) -> str:
    """A line again and again, each time with other numbers behind its names: functions, layers, statements."""
    lines = text.split("\n")
    k = dice.randrange(len(lines))
    names = NAME.findall(lines[k])
    if not names:
        return text
    last, times = dice.choice(names), dice.choice(TIMES)
    first = names[1] if names[0] in ("layer", "shape") and len(names) > 1 else names[0]

    def copy(n: int) -> str:
        line = re.sub(rf"\b{re.escape(first)}\b", f"{first}_{n}", lines[k])
        if n and last != first:
            line = re.sub(rf"\b{re.escape(last)}\b", lambda _: f"{first}_{n - 1}", line)
        return line

    lines[k : k + 1] = [copy(n) for n in range(times)]
    return "\n".join(lines)


CHANGES: tuple[Change, ...] = (
    *(_character, _words, _words, _lines, _number, _number, _name, _name, _subscript, _subscript, _clause, _clause),
    *(_nested, _repeated, _chained),
)
