"""Mistakes of whole lines: their indentation, the headers of layers, imports, shape lines, words of Python.

In: a line, or the place where it went wrong. Out: a Problem, or None where the rule has nothing to say.
"""

from __future__ import annotations

from ..errors import Problem, Span
from .automaton import END
from .lexer import Line
from .stuck import ASSIGNS, CLOSES, EXAMPLE, NAMES, Place

_PYTHON = {
    "for": "leave the loop out: indices run by themselves; for t: stands over lines that need the step before",
    "while": "leave the loop out: indices run by themselves",
    "in": "give an index a range behind the statement: where 0 <= i < n",
    "if": "choose between values by where(condition, a, b), between points by a where behind the statement",
    "elif": "choose between values by where(condition, a, b)",
    "else": "choose between values by where(condition, a, b)",
    "is": "compare with ==",
    "def": f"write f(u) = ... for a function of numbers, or a layer: {EXAMPLE}",
    "class": f"write a layer: {EXAMPLE}",
    "lambda": "write a function in a line of its own: f(u) = ...",
    "return": "leave it out: the outputs of a layer are named behind its arrow",
    "yield": "leave it out: the outputs of a layer are named behind its arrow",
    "pass": "leave it out: a layer has at least one statement",
    "assert": "leave it out: shapes are declared by shape x[N], and checked",
    "del": "leave it out: nothing is kept longer than it is used",
    "global": "leave it out: all names of a program are its tensors and indices",
    "with": "leave it out",
    "print": "leave it out, and print from Python",
}


# -- lines and layers --------------------------------------------------------------------------------------------------


def is_header(line: Line) -> bool:
    """Whether a line was meant to begin a layer."""
    first, *rest = line.tokens or (line.end,)
    if is_loop(line):
        return False
    if rest and rest[-1].kind == ":":
        return True
    return first.kind == "layer" and (not rest or rest[0].kind in NAMES or any(t.kind == "->" for t in rest))


def is_loop(line: Line) -> bool:
    """Whether a line was meant to begin a block."""
    first, *rest = line.tokens or (line.end,)
    if first.kind != "for" or not rest:
        return False
    return rest[0].kind not in ("[", *ASSIGNS, ".") and (rest[-1].kind == ":" or rest[0].kind in (*NAMES, "NUMBER"))


def slice_(span: Span) -> Problem:
    """A `:` in brackets, where no layer takes or gives a part."""
    rule = "there are no slices: an index runs over its axis, or over the range that a where gives it"
    return Problem("slice", rule, span, way_out="write an index, as in x[i+1] where i < 3")


def indented(line: Line) -> Problem:
    rule, way = "a line begins at the first column: only what belongs to a layer is indented", "take the spaces out"
    return Problem("indented", rule, _wide(line.indent), way_out=way)


def uneven(line: Line, wanted: str) -> Problem:
    values = (f"this line begins with {_spaces(line.indent.text)}, the first of the layer with {_spaces(wanted)}",)
    rule, way = "all lines of a layer are indented alike", f"begin it with {_spaces(wanted)}"
    return Problem("uneven-indent", rule, _wide(line.indent), values, way)


def _spaces(text: str) -> str:
    names = {" ": "space", "\t": "tab", "\f": "form feed"}
    counts = [(name, text.count(c)) for c, name in names.items() if c in text]
    return " and ".join(f"{n} {name}{'s' if n > 1 else ''}" for name, n in counts) or "nothing"


def _wide(span: Span) -> Span:
    return Span(span.source, span.start, max(span.end, span.start + 1))


def no_body(header: Line) -> Problem:
    way = "write its statements, or take it out"
    if is_loop(header):
        rule = "a block has at least one statement, indented under its for"
        return Problem("empty-block", rule, header.span, way_out=way)
    rule = "a layer has at least one statement, indented under its header"
    return Problem("empty-layer", rule, header.span, way_out=way)


def inside(span: Span, where: str, what: str) -> Problem:
    """Something that stands in a layer or a block, and cannot."""
    way = "move it in front of the block" if what == "shapes" else "move it out, to the first column"
    if where == "a layer":
        rule = f"a layer holds statements, blocks and shapes, no {what}"
        return Problem("inside-layer", rule, span, way_out=way)
    return Problem("inside-block", f"a block holds statements and blocks, no {what}", span, way_out=way)


# -- rules for places -------------------------------------------------------------------------------------------------


def python(p: Place) -> Problem | None:
    for token in (p.before, p.here):
        word = token.kind == "NAME" or (token.kind == "for" and p.at > 1)
        if word and token.text in _PYTHON and p.here.kind not in ASSIGNS:
            return p.problem("python", f"'{token.text}' is a word of Python", _PYTHON[token.text], token)
    return None


def loop(p: Place) -> Problem | None:
    """The line of a block."""
    if not is_loop(p.line):
        return None
    index = p.token(1).text if p.token(1).kind in NAMES else "t"
    rule = "a block names its indices, and how far they run by comparisons"
    if ":" in p.expected and (p.here.kind == END or (p.here.text == "reversed" and p.after.kind == END)):
        return p.problem("block-header", "the line of a block ends in a colon", "write : at its end")
    if p.before.kind == ":" and not p.open:
        rule = "the statements of a block stand under its line"
        return p.problem("block-header", rule, "write them on lines of their own, indented")
    way = f"write for {index}: where what is read says it, else for {index} < N: or for 1 <= {index} < N:"
    return p.problem("block-header", rule, way)


def import_(p: Place) -> Problem | None:
    first, second = p.token(0), p.token(1)
    if first.kind not in ("from", "import") or (second.kind not in (*NAMES, ".") and p.at == 1 and second.kind != END):
        return None
    if first.kind == "import" and p.outer_after(ASSIGNS) is not None:
        return None
    rule = "an import names a file and what is taken from it"
    if p.here.text == "as":
        return p.problem("import", rule + ", by their own names", "leave the new name out")
    if p.here.kind == "*":
        return p.problem("import", rule + ", one by one", "write the names, separated by commas")
    return p.problem("import", rule, "write from layers import relu, conv2d")


def header(p: Place) -> Problem | None:
    if not is_header(p.line):
        return None
    here, problem = p.here.kind, p.problem
    if p.token(0).kind != "layer":
        if not p.open and (here in (":", "->") or p.outer_after(("->",)) is not None):
            rule = "only the header of a layer ends in a colon, and it begins with the word layer"
            return problem("layer-header", rule, f"write {EXAMPLE}")
        return None
    if p.at == 1 or p.token(1).kind == "(":
        return problem("layer-name", "a layer has a name", f"write {EXAMPLE}")
    if p.at == 2 and here != "(":
        rule = "the inputs of a layer stand in parentheses behind its name"
        return problem("layer-inputs", rule, f"write {EXAMPLE}")
    if here == "=" and p.inside == "(" and p.expected and ";" in p.expected:
        rule = "the options of a layer stand behind a semicolon"
        return problem("option-place", rule, f"write ; {p.before.text}=... behind the inputs", p.before)
    if len(p.open) == 1 and here in NAMES and p.before.kind in (*NAMES, "NUMBER", *CLOSES):
        rule, place = "the tensors of a header are separated by commas", p.before.span.to(p.here.span)
        return problem("missing-comma", rule, "write a comma between them", place)
    if len(p.open) == 1 and "NAME" in p.expected and here not in (",", ")", ";"):
        return problem("layer-inputs", "an input is a name, with its dims in brackets", f"write {EXAMPLE}")
    if here == ";":
        return problem("option-place", "one semicolon divides inputs from options", "write a comma")
    if here in (",", ")") and p.expected <= {"="}:
        rule, way = "an option has a default", f"write {p.before.text}=1, or move it in front of the semicolon"
        return problem("option-default", rule, way, p.before)
    if "->" in p.expected or (p.before.kind == "->" and here in (":", END)):
        return problem("layer-outputs", "a layer names its outputs behind an arrow", "write -> y: at its end")
    if ":" in p.expected and here == END:
        return problem("layer-colon", "the header of a layer ends in a colon", "write : at its end")
    if p.before.kind == ":" and not p.open:
        rule = "the statements of a layer stand under its header"
        return problem("layer-body", rule, "write them on lines of their own, indented")
    return None


def shape(p: Place) -> Problem | None:
    if p.token(0).kind != "shape" or p.open or p.token(1).kind not in NAMES or p.here.kind == END:
        return None
    rule = "a shape line declares shapes, separated by commas, and nothing else"
    return p.problem("shape-line", rule, "write shape x[B,N], w[N] and its values in statements of their own")
