"""Mistakes of a line whose words are sound: each has its own code, its rule and its way out.

In: a line and the token at which the automaton stopped. Out: a Problem. The one rule: the rows of `_RULES` are asked
in turn, the more special before the more general, and the last one always answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from .errors import Problem, Span
from .lexer import Line, Token
from .tables import END

_ASSIGNS = ("=", "+=", "*=", "MAX_OPERATOR", "MIN_OPERATOR")
_NAMES = ("NAME", "from", "import", "layer", "shape")
_OPENS, _CLOSES = ("(", "["), (")", "]")
_ENDS_OPERAND = (*_NAMES, "NUMBER", *_CLOSES)
_BEGINS_OPERAND = (*_NAMES, "NUMBER", "(", "where", "not")
_BINARY = ("+", "-", "*", "/", "//", "%", "**", "<", "<=", ">", ">=", "==", "!=", "and", "or")
_EXAMPLE = "layer f(x[N], w[N]; scale=1) -> y[N]:"

_PYTHON = {
    "for": "leave the loop out: indices run by themselves, and y[i] = x[i,j] sums over j",
    "while": "leave the loop out: indices run by themselves",
    "in": "give an index a range behind the statement: where 0 <= i < n",
    "if": "choose between values by where(condition, a, b), between points by a where behind the statement",
    "elif": "choose between values by where(condition, a, b)",
    "else": "choose between values by where(condition, a, b)",
    "is": "compare with ==",
    "def": f"write f(u) = ... for a function of numbers, or a layer: {_EXAMPLE}",
    "class": f"write a layer: {_EXAMPLE}",
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


@dataclass(frozen=True)
class _Place:
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
            if token.kind in _OPENS:
                stack.append(k)
            elif token.kind in _CLOSES:
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
            depth -= token.kind in _CLOSES
            if depth == 0:
                found.append((k, token.kind))
            depth += token.kind in _OPENS
        return tuple(found)

    def outer_before(self, kinds: Iterable[str]) -> int | None:
        """The first outer token of one of the kinds in front of the place."""
        return next((k for k, kind in self.outer if kind in kinds and k < self.at), None)

    def outer_after(self, kinds: Iterable[str]) -> int | None:
        """The same behind the place, or at it."""
        return next((k for k, kind in self.outer if kind in kinds and k >= self.at), None)

    def problem(self, code: str, rule: str, way_out: str, place: Token | Span | None = None) -> Problem:
        span = place if isinstance(place, Span) else (place or self.here).span
        return Problem(code, rule, span, way_out=way_out)


_Rule = Callable[[_Place], Problem | None]


def named(line: Line, at: int, expected: frozenset[str]) -> Problem:
    """The mistake at token number `at`, the end of the line included."""
    place = _Place(line, at, expected)
    return next(problem for rule in _RULES if (problem := rule(place)) is not None)


# -- lines and layers --------------------------------------------------------------------------------------------------


def is_header(line: Line) -> bool:
    """Whether a line was meant to begin a layer."""
    first, *rest = line.tokens or (line.end,)
    if rest and rest[-1].kind == ":":
        return True
    return first.kind == "layer" and (not rest or rest[0].kind in _NAMES or any(t.kind == "->" for t in rest))


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
    rule, way = "a layer has at least one statement, indented under its header", "write its statements, or take it out"
    return Problem("empty-layer", rule, header.span, way_out=way)


def in_a_layer(span: Span, what: str) -> Problem:
    rule, way = f"a layer holds statements and shapes, no {what}", "move it out, to the first column"
    return Problem("inside-layer", rule, span, way_out=way)


# -- the rules ---------------------------------------------------------------------------------------------------------


def _python(p: _Place) -> Problem | None:
    for token in (p.before, p.here):
        if token.kind == "NAME" and token.text in _PYTHON and p.here.kind not in _ASSIGNS:
            return p.problem("python", f"'{token.text}' is a word of Python", _PYTHON[token.text], token)
    return None


def _import(p: _Place) -> Problem | None:
    first, second = p.token(0), p.token(1)
    if first.kind not in ("from", "import") or (second.kind not in (*_NAMES, ".") and p.at == 1 and second.kind != END):
        return None
    if first.kind == "import" and p.outer_after(_ASSIGNS) is not None:
        return None
    rule = "an import names a file and what is taken from it"
    if p.here.text == "as":
        return p.problem("import", rule + ", by their own names", "leave the new name out")
    if p.here.kind == "*":
        return p.problem("import", rule + ", one by one", "write the names, separated by commas")
    return p.problem("import", rule, "write from layers import relu, conv2d")


def _header(p: _Place) -> Problem | None:
    if not is_header(p.line):
        return None
    here, problem = p.here.kind, p.problem
    if p.token(0).kind != "layer":
        if here in (":", "->", END) and not p.open:
            rule = "only the header of a layer ends in a colon, and it begins with the word layer"
            return problem("layer-header", rule, f"write {_EXAMPLE}")
        return None
    if p.at == 1:
        return problem("layer-name", "a layer has a name", f"write {_EXAMPLE}")
    if p.at == 2 and here != "(":
        rule = "the inputs of a layer stand in parentheses behind its name"
        return problem("layer-inputs", rule, f"write {_EXAMPLE}")
    if here == "=" and p.inside == "(" and p.expected and ";" in p.expected:
        rule = "the options of a layer stand behind a semicolon"
        return problem("option-place", rule, f"write ; {p.before.text}=... behind the inputs", p.before)
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


def _shape(p: _Place) -> Problem | None:
    if p.token(0).kind != "shape" or p.open or p.token(1).kind not in _NAMES or p.here.kind == END:
        return None
    rule = "a shape line declares shapes, separated by commas, and nothing else"
    return p.problem("shape-line", rule, "write shape x[B,N], w[N] and its values in statements of their own")


def _operator(p: _Place) -> Problem | None:
    """`+ =`, `max =`, and operators that the language has not."""
    for first, second in ((p.before, p.here), (p.here, p.after)):
        written = f"{first.text}{second.text}"
        place = first.span.to(second.span)
        if second.kind != "=" or p.open or p.outer_before(_ASSIGNS) is not None:
            continue
        if written in ("+=", "*=") or (written in ("max=", "min=") and p.outer and first is not p.token(0)):
            rule = f"{written} is one word"
            return p.problem("split-operator", rule, f"write {written} without a space", place)
        if first.kind in _BINARY and first.span.end == second.span.start:
            ways = {"-": "write += -(...)", "/": "write *= 1/(...)"}
            way = ways.get(first.kind, "write a statement with = and a new name")
            rule = f"'{written}' is no operator of a statement: there are = += *= max= min="
            return p.problem("unknown-operator", rule, way, place)
    return None


def _assignment(p: _Place) -> Problem | None:
    """An operator of a statement where none may stand."""
    if p.here.kind not in _ASSIGNS:
        return None
    shown = p.here.text
    if p.inside == "[":
        return p.problem(
            "assignment-place", "a subscript has no name", "leave the name out: subscripts are told apart by order"
        )
    if p.inside:
        rule = f"'{shown}' stands between a target and its value"
        return p.problem("assignment-place", rule, "compare with ==, or write a statement of its own")
    if p.outer_before(("where",)) is not None:
        return p.problem("assignment-place", "a condition compares", "write ==")
    if p.outer_before(_ASSIGNS) is not None:
        return p.problem("second-assignment", "a statement has one target operator", "write a second statement")
    return None


def _target(p: _Place) -> Problem | None:
    """What stands in front of the operator is no target, or there is no operator."""
    if p.open or p.outer_before(_ASSIGNS) is not None:
        return None
    tokens = p.line.tokens
    behind = p.outer_after(_ASSIGNS)
    if behind == 0:
        return p.problem("target", "a statement begins with what it defines", "write a target in front: y[i] = ...")
    if behind is not None:
        left = tokens[0].span.to(tokens[behind - 1].span)
        if tokens[0].kind in _OPENS:
            way = "leave the brackets around the target out"
        elif len(tokens) > 1 and tokens[1].kind == "(":
            way = "a function is defined by f(u) = ..., on the left only names in its parentheses"
        else:
            way = "bring everything but one tensor to the right side"
        return p.problem("target", "the left side is a tensor, or several divided by commas", way, left)
    equals = next((k for k, kind in p.outer if kind == "=="), None)
    if equals is not None:
        rule = "a statement is made by one equals sign; == compares"
        return p.problem("equals", rule, "write =", tokens[equals])
    if p.here.kind in (":", ";", "->"):
        return None
    whole = tokens[0].span.to(tokens[-1].span)
    rule = "a statement says what it defines"
    return p.problem("no-operator", rule, "write a target and an operator in front: y[i] = ...", whole)


def _punctuation(p: _Place) -> Problem | None:
    match p.here.kind:
        case ":" if p.inside == "[":
            rule = "there are no slices: an index runs over its axis, or over the range that a where gives it"
            return p.problem("slice", rule, "write an index, as in x[i+1] where i < 3")
        case ":":
            return p.problem("colon", "a colon ends the header of a layer, and stands nowhere else", "leave it out")
        case ";":
            rule = "a statement takes a line; semicolons stand in headers of layers only"
            return p.problem("semicolon", rule, "write the statements on lines of their own")
        case "->":
            return p.problem("arrow", "an arrow stands in the header of a layer only", f"write {_EXAMPLE}")
        case "...":
            return p.problem("ellipsis", "'...' is a subscript of its own", "write x[...,i]: the other axes")
        case _:
            return None


def _where(p: _Place) -> Problem | None:
    if p.here.kind == "where" and p.before.kind in _ENDS_OPERAND:
        if p.open:
            rule = "the conditions of a statement stand at its end, outside of brackets"
            return p.problem("where-place", rule, "move them to the end, or choose by where(condition, a, b)")
        if p.token(1).kind == "(" and p.outer_before(("where",)) is None:
            return p.problem("where-place", "a function has no conditions", "choose by where(condition, a, b)")
        return p.problem("where-place", "a statement has one where", "divide the conditions by commas")
    if p.before.kind == "where" and p.at > 0:
        if p.here.kind == END:
            rule, way = "a where has conditions", "write where i < 3, or take it out"
            return p.problem("missing-condition", rule, way, p.before)
        if p.here.kind not in _BEGINS_OPERAND:
            rule = "'where' is no name: it stands before conditions, and is the function where(condition, a, b)"
            return p.problem("reserved-word", rule, "take another name", p.before)
    return None


def _brackets(p: _Place) -> Problem | None:
    here, before = p.here, p.before
    if here.kind == "[":
        if before.kind == "]" and p.at > 0:
            rule = "all subscripts of a tensor stand in one pair of brackets"
            return p.problem("subscript-place", rule, "write x[i,j], not x[i][j]")
        if before.kind in (")", "NUMBER"):
            rule = "only a name has subscripts"
            return p.problem("subscript-place", rule, "give the value a name, in a statement of its own")
        rule = "there are no lists: brackets hold the subscripts of a tensor"
        return p.problem("list", rule, "pass the values as an input")
    if p.inside == "[" and before.kind == ")" and p.expected <= {",", "]"}:
        rule = "merged axes are a subscript of their own"
        return p.problem("merged", rule, "leave (i,j) alone between the commas")
    if here.kind == "," and before.kind in _ENDS_OPERAND:
        if p.inside == "(" and p.token(p.open[-1] - 1).kind not in (*_NAMES, "where"):
            rule = "there are no pairs: parentheses hold one value"
            way = (
                "merge axes as in x[(i,j)], alone between the commas"
                if len(p.open) > 1
                else "write a statement for each"
            )
            return p.problem("tuple", rule, way)
        if not p.open:
            rule = "a statement has one value on the right"
            return p.problem("tuple", rule, "write a statement for each")
    return None


def _operand(p: _Place) -> Problem | None:
    """Something is missing in front of this token."""
    here, before = p.here, p.before
    if p.at > 0 and before.kind in _ENDS_OPERAND:
        if here.kind in _BEGINS_OPERAND:
            rule = f"an operator is missing between '{before.text}' and '{here.text}'"
            joined = before.text if before.kind != ")" else "(...)"
            if here.kind == "(":
                way = f"write {joined} * (...)"
            else:
                way = f"write {joined} * {here.text} for a product" if before.kind != "]" else "write * for a product"
            return p.problem("missing-operator", rule, way, before.span.to(here.span))
        return None
    if here.kind in (END, *_CLOSES, ",", "where", *_BINARY):
        if before.kind in _ASSIGNS and here.kind in (END, "where"):
            rule = f"nothing stands behind '{before.text}'"
            return p.problem("missing-value", rule, "write the value", before)
        if here.kind == END:
            return p.problem(
                "missing-operand", f"nothing stands behind '{before.text}'", "write a value, or take it out", before
            )
        if p.at == 0:
            return p.problem(
                "missing-operand", f"nothing stands in front of '{here.text}'", "write a value, or take it out"
            )
        rule = f"a value is missing between '{before.text}' and '{here.text}'"
        return p.problem("missing-operand", rule, "write the value, or take one of them out", before.span.to(here.span))
    return None


def _anything(p: _Place) -> Problem:
    shown = "the line cannot end here" if p.here.kind == END else f"'{p.here.text}' cannot stand here"
    names = {
        "NAME": "a name",
        "NUMBER": "a number",
        END: "the end of the line",
        "MAX_OPERATOR": "max=",
        "MIN_OPERATOR": "min=",
    }
    wanted = sorted({names.get(kind, kind) for kind in p.expected if not kind.isidentifier() or kind in names})
    return Problem("syntax", shown, p.here.span, (f"expected: {'  '.join(wanted)}",))


_RULES: tuple[Callable[[_Place], Problem | None], ...] = (
    _python,
    _import,
    _header,
    _operator,
    _shape,
    _assignment,
    _target,
    _punctuation,
    _where,
    _brackets,
    _operand,
    _anything,
)
