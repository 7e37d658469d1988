"""Mistakes of a line whose words are sound: each has its own code, its rule and its way out.

In: a line and the token at which the automaton stopped. Out: a Problem. The one rule: the rows of `_RULES` are asked
in turn, the more special before the more general, and the last one always answers.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import SequenceMatcher
from itertools import accumulate, pairwise

from ..errors import Problem
from . import line_mistakes
from .automaton import END
from .lexer import Line, Token
from .other_notations import einsum, reduction_meant, symbol_with_index
from .stuck import ASSIGNS, BEGINS_OPERAND, BINARY, CLOSES, ENDS_OPERAND, EXAMPLE, NAMES, OPENS, Place
from .tree import REDUCTIONS

_Rule = Callable[[Place], Problem | None]


def named(line: Line, at: int, expected: frozenset[str]) -> Problem:
    """The mistake at token number `at`, the end of the line included."""
    place = Place(line, at, expected)
    return next(problem for rule in _RULES if (problem := rule(place)) is not None)


_OVER = ("over", "for", "of")  # between a sum and its index, as one says it

_COMPOUND = {"=>": ">=", "=<": "<=", "<>": "!=", ":=": "=", "=+": "+=", "=*": "*="}


def _operator(p: Place) -> Problem | None:
    """`+ =`, `max =`, and operators that the language has not."""
    for first, second in ((p.before, p.here), (p.here, p.after)):
        written = f"{first.text}{second.text}"
        place = first.span.to(second.span)
        together = first.span.end == second.span.start
        if together and written in _COMPOUND:
            rule = f"'{written}' is no operator"
            return p.problem("unknown-operator", rule, f"write {_COMPOUND[written]}", place)
        if second.kind != "=" or p.open or p.outer_before(ASSIGNS) is not None:
            continue
        if written in ("+=", "*=") or (written in ("max=", "min=") and first is not p.token(0)):
            rule = f"{written} is one word"
            return p.problem("split-operator", rule, f"write {written} without a space", place)
        if first.kind in BINARY and together:
            ways = {"-": "write += -(...)", "/": "write *= 1/(...)"}
            way = ways.get(first.kind, "write a statement with = and a new name")
            rule = f"'{written}' is no operator of a statement: there are = += *= max= min="
            return p.problem("unknown-operator", rule, way, place)
    return None


def _assignment(p: Place) -> Problem | None:
    """An operator of a statement where none may stand."""
    if p.here.kind not in ASSIGNS:
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
    if p.outer_before(ASSIGNS) is not None:
        return p.problem("second-assignment", "a statement has one target operator", "write a second statement")
    return None


def _target(p: Place) -> Problem | None:
    """What stands in front of the operator is no target, or there is no operator."""
    if p.open or p.outer_before(ASSIGNS) is not None:
        return None
    tokens = p.line.tokens
    behind = p.outer_after(ASSIGNS)
    if behind == 0:
        return p.problem("target", "a statement begins with what it defines", "write a target in front: y[i] = ...")
    if behind == 1 and tokens[0].kind in ("where", "and", "or", "not"):
        return _reserved(p, tokens[0])
    if behind is not None:
        left = tokens[0].span.to(tokens[behind - 1].span)
        if tokens[0].kind in OPENS:
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
    for less, minus in pairwise(tokens):  # y[i] <- x[i]
        place = less.span.to(minus.span)
        if place.text == "<-" and less is not tokens[0] and minus is not tokens[-1]:
            way = f"write {' '.join(whole.text.replace('<-', '=', 1).split())}"
            return p.problem("unknown-operator", "'<-' is no operator: a statement is made by one =", way, place)
    if tokens[0].kind in BINARY:
        rule = f"no line begins with '{tokens[0].text}': a line goes on only where a bracket is open"
        way = "begin a comment with #" if tokens[0].kind == "//" else "put the whole right side into (...)"
        return p.problem("line-break", rule, way, tokens[0])
    rule = "a statement says what it defines"
    return p.problem("no-operator", rule, "write a target and an operator in front: y[i] = ...", whole)


def _punctuation(p: Place) -> Problem | None:
    match p.here.kind:
        case ":" if p.inside == "[":
            return line_mistakes.slice_(p.here.span)
        case ":":
            return p.problem("colon", "a colon ends the header of a layer, and stands nowhere else", "leave it out")
        case ";":
            rule = "a statement takes a line; semicolons stand in headers of layers only"
            return p.problem("semicolon", rule, "write the statements on lines of their own")
        case "->":
            whole = p.line.tokens[0].span.to(p.line.tokens[-1].span)
            if (meant := einsum(whole.text)) is not None:
                return p.problem("arrow", "a statement names its tensors, and has no arrow", f"write {meant}", whole)
            return p.problem("arrow", "an arrow stands in the header of a layer only", f"write {EXAMPLE}")
        case "...":
            return p.problem("ellipsis", "'...' is a subscript of its own", "write x[...,i]: the other axes")
        case _:
            return None


def _where(p: Place) -> Problem | None:
    if p.here.kind == "where" and p.before.kind in ENDS_OPERAND:
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
        if p.here.kind not in BEGINS_OPERAND or p.expected == {"("}:
            assign = p.token(p.at - 2)
            if assign.kind in ASSIGNS:
                return p.problem("missing-value", f"nothing stands behind '{assign.text}'", "write the value", assign)
            return _reserved(p, p.before)
    return None


def _reserved(p: Place, word: Token) -> Problem:
    rule = f"'{word.text}' is no name: and, or, not and where are words of the language"
    return p.problem("reserved-word", rule, "take another name", word)


def _brackets(p: Place) -> Problem | None:
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
    if here.kind == "," and before.kind in ENDS_OPERAND:
        if p.inside == "(" and p.token(p.open[-1] - 1).kind not in (*NAMES, "where"):
            rule = "there are no pairs: parentheses hold one value"
            way = (
                "merge axes as in x[(i,j)], alone between the commas"
                if len(p.open) > 1
                else "write a statement for each"
            )
            return p.problem("tuple", rule, way)
        if not p.open:
            rule = "a statement has one value on the right"
            way = "leave the comma out" if p.after.kind in ("where", END) else "write a statement for each"
            return p.problem("tuple", rule, way)
    return None


def _reduction(p: Place) -> Problem | None:
    """`sum[j] x[i,j]`, `Σ[j] x[i,j]`: what is reduced stands in parentheses."""
    first = p.opened_before() if p.before.kind == "]" else p.at
    name = p.token(first - 1)
    word = name.text if name.text in REDUCTIONS else reduction_meant(name.text)
    if first == 0 or word is None or p.here.kind not in BEGINS_OPERAND:
        return None
    body = _term(p)
    rule = f"what '{name.text}' reduces stands in parentheses"
    behind = Place(p.line, p.at + (2 if p.here.text in _OVER else 1), p.expected)
    if first == p.at and behind.before.kind == "NAME" and behind.here.kind in BEGINS_OPERAND:
        way = f"write {word}[{behind.before.text}]({_term(behind)})"  # sum k x[i,k], sum over k x[i,k]
    elif first == p.at:
        way = f"write {word}[...]({body}), in the brackets the indices that it runs over"
    else:
        way = f"write {word}{p.token(first).span.to(p.before.span).text}({body})"
    return p.problem("reduction-body", rule, way, name.span.to(p.here.span))


def _term(p: Place) -> str:
    """The term that begins here, as it is written."""
    return " ".join(p.here.span.to(p.term_end().span).text.split())


def _is_group(text: str) -> bool:
    """Whether one pair of parentheses is around all of a text."""
    depths = list(accumulate((c in "([") - (c in ")]") for c in text))
    return text.startswith("(") and 0 not in depths[:-1]


def _reduction_in_parentheses(p: Place) -> Problem | None:
    """`sum(j) x[i,j]`, `sum(j,k)(x[i,j,k])`: the indices of a reduction stand in brackets."""
    first = p.opened_before() if p.before.kind == ")" else 0
    name, indices = p.token(first - 1), p.line.tokens[first + 1 : p.at - 1]
    word = name.text if name.text in REDUCTIONS else reduction_meant(name.text)
    if first == 0 or word is None or p.here.kind not in BEGINS_OPERAND:
        return None
    if any(t.kind not in ("NAME", ",") for t in indices) or (word in ("max", "min") and len(indices) > 1):
        return None  # max(a, b) is a number
    rule = f"the indices that '{name.text}' runs over stand in brackets, and what it reduces in parentheses"
    body = _term(p)
    way = f"write {word}[{''.join(t.text for t in indices)}]{body if _is_group(body) else f'({body})'}"
    return p.problem("reduction-body", rule, way, name.span.to(p.here.span))


def _sum_sign(p: Place) -> Problem | None:
    """`Σ_j x[i,j]`."""
    found = symbol_with_index(p.before.text) if p.at > 0 and p.before.kind == "NAME" else None
    if found is None or p.here.kind not in BEGINS_OPERAND:
        return None
    body = _term(p)
    rule = "a reduction has its index in brackets, and what it reduces in parentheses"
    way = f"write {found[0]}[{found[1]}]({body})"
    return p.problem("reduction-body", rule, way, p.before.span.to(p.here.span))


def _is_nearly_where(p: Place) -> bool:
    """A word behind the value of a statement, and in front of a condition."""
    if p.open or p.here.kind != "NAME" or p.after.kind not in BEGINS_OPERAND or p.outer_before(ASSIGNS) is None:
        return False
    return SequenceMatcher(None, p.here.text.lower(), "where").ratio() > 0.85


def _operand(p: Place) -> Problem | None:
    """Something is missing in front of this token."""
    here, before = p.here, p.before
    if p.at > 0 and before.kind in ENDS_OPERAND:
        if here.kind in BEGINS_OPERAND:
            left, right = p.operand_before(), "(...)" if here.kind == "(" else here.text
            rule = f"an operator is missing between '{left}' and '{here.text}'"
            way = f"write {left} * {right} for a product"
            if _is_nearly_where(p):
                way = f"write where, not {here.text}, for a condition"
            elif (
                (start := p.outer_before(("//",))) is not None
                and before.kind == "NAME"
                and before is p.token(start + 1)
            ):
                way = "begin a comment with #, not with //"
            return p.problem("missing-operator", rule, way, before.span.to(here.span))
        return None
    if here.kind == "not" and before.kind in BINARY:
        rule = "'not' binds less tightly than what stands in front of it"
        return p.problem("missing-brackets", rule, "write (not ...)")
    if p.open == (1,) and p.token(1).kind == "(" and p.expected == frozenset(NAMES):
        return p.problem(
            "parameters", "a function has parameters, and they are names", "write f(u) = ... or f(u,v) = ..."
        )
    if here.kind in (END, *CLOSES, ",", "where", *BINARY):
        if before.kind in ASSIGNS and here.kind in (END, "where"):
            rule = f"nothing stands behind '{before.text}'"
            return p.problem("missing-value", rule, "write the value", before)
        if here.kind == END:
            way = "write a value behind it; a line goes on only where a bracket is open"
            return p.problem("missing-operand", f"nothing stands behind '{before.text}'", way, before)
        if p.at == 0:
            return p.problem(
                "missing-operand", f"nothing stands in front of '{here.text}'", "write a value, or take it out"
            )
        rule = f"a value is missing between '{before.text}' and '{here.text}'"
        return p.problem("missing-operand", rule, "write the value, or take one of them out", before.span.to(here.span))
    return None


def _anything(p: Place) -> Problem:
    shown = "the line cannot end here" if p.here.kind == END else f"'{p.here.text}' cannot stand here"
    names = {
        "NAME": "a name",
        "NUMBER": "a number",
        END: "the end of the line",
        "MAX_OPERATOR": "max=",
        "MIN_OPERATOR": "min=",
    }
    wanted = sorted({names.get(kind, kind) for kind in p.expected if not kind.isidentifier() or kind in names})
    way = "write one of these" if p.here.kind == END else "write one of these, or take it out"
    return Problem("syntax", shown, p.here.span, (f"expected: {'  '.join(wanted)}",), way)


_RULES: tuple[_Rule, ...] = (
    line_mistakes.loop,
    line_mistakes.python,
    line_mistakes.import_,
    line_mistakes.header,
    _operator,
    line_mistakes.shape,
    _assignment,
    _target,
    _punctuation,
    _where,
    _brackets,
    _reduction,
    _reduction_in_parentheses,
    _sum_sign,
    _operand,
    _anything,
)
