"""The parser: its trees against Python's own parser, its spans against themselves, its mistakes word by word."""

from __future__ import annotations

import ast
import dataclasses
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from corpus import CASES

from indexlang.errors import IndexLangError, LanguageSyntaxError, Problem, Source, Span, render
from indexlang.size_limits import DEEPEST, LONGEST, MOST_PROBLEMS
from indexlang.syntax import automaton, builder
from indexlang.syntax.parser import parse, read
from indexlang.syntax.tree import (
    All,
    Binary,
    Call,
    Compare,
    Dots,
    File,
    FunctionDef,
    Header,
    Import,
    LayerDef,
    Merged,
    Name,
    Number,
    Option,
    Reduction,
    ShapeDecl,
    Statement,
    Subscripted,
    Unary,
)

ROOT = Path(__file__).resolve().parent.parent
FILES = [p for folder in ("examples", "indexlang/library") for p in sorted((ROOT / folder).glob("*.idx"))]
TEXTS = [c.text for c in CASES] + [p.read_text(encoding="utf-8") for p in FILES]
HERE = Span(Source(""), 0, 0)


def make(node: type, *parts: object) -> Any:
    return node(*parts, HERE)


def name(text: str) -> Name:
    return Name(text, HERE)


def items(text: str) -> tuple[Any, ...]:
    return parse(Source(text)).items


def value(text: str) -> Any:
    """The tree of an expression."""
    (statement,) = items(f"y = ({text})")
    return statement.value


def codes(text: str) -> list[str]:
    with pytest.raises(LanguageSyntaxError) as caught:
        parse(Source(text))
    return [problem.code for problem in caught.value.problems]


# -- the tables --------------------------------------------------------------------------------------------------------


def test_the_tables_are_in_step_with_the_grammar() -> None:
    grammar = (ROOT / "grammar" / "indexlang.lark").read_text(encoding="utf-8")
    stored = (ROOT / "grammar" / "indexlang.json").read_text(encoding="utf-8")
    assert automaton.to_json(grammar) == stored, "run make grammar"
    assert automaton.tables() == automaton.build(grammar)


def test_tables_that_are_not_in_step_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grammar = (ROOT / "grammar" / "indexlang.lark").read_text(encoding="utf-8")
    (tmp_path / "indexlang.lark").write_text(grammar.replace('"where"', '"wherever"'), encoding="utf-8")
    (tmp_path / "indexlang.json").write_bytes((ROOT / "grammar" / "indexlang.json").read_bytes())
    monkeypatch.setattr(automaton, "_folder", lambda: tmp_path)
    assert "wherever" in automaton.tables.__wrapped__().words
    (tmp_path / "indexlang.json").unlink()
    assert "wherever" in automaton.tables.__wrapped__().words


def test_every_rule_has_its_builder() -> None:
    rules = automaton.tables().rules
    assert {r.name for r in rules if r.name and not r.passes} == set(builder.BUILDERS)
    assert all(rule.size > 0 for rule in rules)


def test_parsing_does_not_import_lark() -> None:
    code = "import sys, indexlang.syntax.parser as p; p.parse(p.Source('y = x')); print('lark' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# -- trees -------------------------------------------------------------------------------------------------------------


def test_a_statement() -> None:
    (found,) = items("y[b,i] += W[di] * x[b,2*i+di] where di < 3, i != b")
    x = make(
        Subscripted, "x", (name("b"), make(Binary, "+", make(Binary, "*", make(Number, 2), name("i")), name("di")))
    )
    assert found == make(
        Statement,
        (make(Subscripted, "y", (name("b"), name("i"))),),
        "+=",
        make(Binary, "*", make(Subscripted, "W", (name("di"),)), x),
        (
            make(Compare, ("<",), (name("di"), make(Number, 3))),
            make(Compare, ("!=",), (name("i"), name("b"))),
        ),
    )


@pytest.mark.parametrize("op", ["=", "+=", "*=", "max=", "min="])
def test_operators(op: str) -> None:
    for text in (f"m[i] {op} x", f"m[i]{op}x", f"m[i] {op}\tx # {op}"):
        assert items(text)[0].op == op


def test_an_operator_that_may_be_a_name() -> None:
    assert items("max = x") == items("max=x")
    assert items("max=x")[0].targets == (name("max"),)
    assert items("max max= max(x, max)")[0].op == "max="
    assert value("f(x, max=3, min= 4)").keywords == (("max", make(Number, 3)), ("min", make(Number, 4)))
    assert value("max==3") == make(Compare, ("==",), (name("max"), make(Number, 3)))
    assert items("max(u) = u") == (make(FunctionDef, "max", ("u",), name("u")),)
    assert items("layer f(x; max=3) -> y:\n y = x")[0].options == (make(Option, "max", make(Number, 3)),)


def test_keywords_are_names_where_names_are_wanted() -> None:
    assert items("from = layer") == (make(Statement, (name("from"),), "=", name("layer"), ()),)
    assert items("shape[import] = layer(from)")[0].targets == (make(Subscripted, "shape", (name("import"),)),)
    assert items("layer(u) = u") == (make(FunctionDef, "layer", ("u",), name("u")),)
    assert items("from from import import, layer") == (make(Import, "from", ("import", "layer")),)
    assert items("shape shape[N]") == (make(ShapeDecl, (make(Header, "shape", (name("N"),)),)),)


def test_whole_tensors_and_several_targets() -> None:
    (found,) = items("y, k[] = pool(relu(x), stride=2)")
    call = make(Call, "pool", (make(Call, "relu", (name("x"),), ()),), (("stride", make(Number, 2)),))
    assert found == make(Statement, (name("y"), make(Subscripted, "k", ())), "=", call, ())


def test_items() -> None:
    text = "from layers import relu, conv2d\nswish(u,v) = u * v\nshape x[B,2*H], s[]\n"
    assert items(text) == (
        make(Import, "layers", ("relu", "conv2d")),
        make(FunctionDef, "swish", ("u", "v"), make(Binary, "*", name("u"), name("v"))),
        make(
            ShapeDecl,
            (
                make(Header, "x", (name("B"), make(Binary, "*", make(Number, 2), name("H")))),
                make(Header, "s", ()),
            ),
        ),
    )


def test_a_layer() -> None:
    text = "layer conv(x[B,H], K, s[]; stride=1, eps=1e-5) -> y[B], k:\n    shape t[3]\n    y[b] = x[b,h]\nz = 1\n"
    layer, after = items(text)
    assert layer == make(
        LayerDef,
        "conv",
        (make(Header, "x", (name("B"), name("H"))), make(Header, "K", None), make(Header, "s", ())),
        (make(Option, "stride", make(Number, 1)), make(Option, "eps", make(Number, 1e-5))),
        (make(Header, "y", (name("B"),)), make(Header, "k", None)),
        (
            make(ShapeDecl, (make(Header, "t", (make(Number, 3),)),)),
            make(Statement, (make(Subscripted, "y", (name("b"),)),), "=", value("x[b,h]"), ()),
        ),
    )
    assert layer.span.text == text[: text.index("\nz")]
    assert after.targets == (name("z"),)


def test_headers_without_inputs_or_with_options_only() -> None:
    assert items("layer f() -> y:\n y[i] = i")[0].inputs == ()
    assert items("layer f(; n=3) -> y[n]:\n y[i] = i")[0].options == (make(Option, "n", make(Number, 3)),)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("s[]", make(Subscripted, "s", ())),
        ("x[...,i]", make(Subscripted, "x", (make(Dots), name("i")))),
        ("x[(i,j),(k)]", make(Subscripted, "x", (make(Merged, (name("i"), name("j"))), name("k")))),
        ("sum[i,j](x)", make(Reduction, "sum", ("i", "j"), name("x"))),
        ("sum[i]", make(Subscripted, "sum", (name("i"),))),
        ("sum(x)", make(Call, "sum", (name("x"),), ())),
        ("where(c,a,b)", make(Call, "where", (name("c"), name("a"), name("b")), ())),
        ("pad(e, 1, value=-inf)", make(Call, "pad", (name("e"), make(Number, 1)), (("value", value("-inf")),))),
        ("a < b <= c", make(Compare, ("<", "<="), (name("a"), name("b"), name("c")))),
        ("(a < b) < c", make(Compare, ("<",), (make(Compare, ("<",), (name("a"), name("b"))), name("c")))),
        ("Phi.W", name("Phi.W")),
        ("x.grad.grad2[i]", make(Subscripted, "x.grad.grad2", (name("i"),))),
        ("1e-5", make(Number, 1e-5)),
        (".5", make(Number, 0.5)),
        ("5.", make(Number, 5.0)),
        ("1.5E+3", make(Number, 1500.0)),
        ("10000000000000000000000", make(Number, 10**22)),
        ("007", make(Number, 7)),
        ("+x", make(Unary, "+", name("x"))),
    ],
)
def test_expressions(text: str, tree: object) -> None:
    assert value(text) == tree
    assert type(getattr(value(text), "value", None)) is type(getattr(tree, "value", None))


@pytest.mark.parametrize("word", ["sum", "prod", "max", "min", "mean", "logsumexp", "argmax", "argmin"])
def test_reductions(word: str) -> None:
    assert value(f"{word}[i](x[i])") == make(Reduction, word, ("i",), value("x[i]"))


def test_where_is_a_clause_and_a_function() -> None:
    (found,) = items("y[i] = where(c[i], 1, 2) where where(i < 3, 1, 0) == 1, (i+1) % 2 == 0")
    assert found.value == value("where(c[i], 1, 2)")
    assert found.conditions == (value("where(i < 3, 1, 0) == 1"), value("(i+1) % 2 == 0"))


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["Δ", "Δi", "x̂", "ẏ", "θ₁".replace("₁", "1"), "变量", "नाम", "_", "ℓ", "µ", "xᵢ", "𝐖", "ﬁ", "Phi.Ŵ", "℘"]
)
def test_names_are_those_of_python(text: str) -> None:
    normal = ".".join(ast.parse(part, mode="eval").body.id for part in text.split("."))  # type: ignore[attr-defined]
    assert value(text) == name(normal)
    assert value(f"{text}[{text}]") == make(Subscripted, normal, (name(normal),))
    assert items(f"{text}={text}*{text}")[0].value == make(Binary, "*", name(normal), name(normal))


@pytest.mark.parametrize("text", ["x²", "x₁", "a·b", "x×y", "x−y", "٣", "x\u200b", "€", "x.²"])
def test_what_is_no_name(text: str) -> None:
    assert codes(f"y = {text}")[0] in ("character", "dot")


def test_a_name_that_is_normalised_to_a_keyword_is_one() -> None:
    assert items("y = x 𝐰𝐡𝐞𝐫𝐞 i < 3") == items("y = x where i < 3")


# -- lines -------------------------------------------------------------------------------------------------------------

PLAIN = "y[i] = f(x[i], stride=2)\nlayer g(x) -> y:\n    y = x\n    z = x\nw = x\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        "\ufeff" + PLAIN,
        PLAIN.rstrip("\n"),
        PLAIN.replace("\n", "  \n\n\t\n"),
        PLAIN.replace("\n", " # a comment ( [ \n# another\n       # and one\n"),
        PLAIN.replace("    ", "\t"),
        PLAIN.replace(" = ", "="),
        PLAIN.replace(", stride", ",\n\n  # here\n    stride").replace("[i]", "[ \n i\n]", 1),
        PLAIN.replace(", stride", ",\nstride"),
        PLAIN.replace(" ", "  ").replace("      ", "    "),
    ],
)
def test_the_layout_does_not_matter(text: str) -> None:
    assert items(text) == items(PLAIN)


def test_comments_are_kept_in_order() -> None:
    text = "# one\ny = f(x, # two\n  3)   # three  \n\n#four\n"
    file = parse(Source(text))
    assert [c for _, c in file.comments] == ["# one", "# two", "# three", "#four"]
    assert all(text.startswith(c, offset) for offset, c in file.comments)


def test_a_file_of_comments_has_no_items() -> None:
    assert parse(Source("# nothing yet\n")) == File((), HERE)


@pytest.mark.parametrize("text", ["", "\n", "  \t\n\n", "\ufeff"])
def test_an_empty_text_is_an_error(text: str) -> None:
    assert codes(text) == ["empty"]


# -- expressions as Python reads them ----------------------------------------------------------------------------------

OPS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**"}
SIGNS = {ast.USub: "-", ast.UAdd: "+", ast.Not: "not"}
RELATIONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


def as_tree(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=number):
            return make(Number, number)
        case ast.Name(id=text):
            return name(text)
        case ast.Attribute():
            return name(ast.unparse(node))
        case ast.UnaryOp(op=op, operand=operand):
            return make(Unary, SIGNS[type(op)], as_tree(operand))
        case ast.BinOp(left=left, op=op, right=right):
            return make(Binary, OPS[type(op)], as_tree(left), as_tree(right))
        case ast.BoolOp(op=op, values=[first, *rest]):
            word, found = "and" if isinstance(op, ast.And) else "or", as_tree(first)
            for part in rest:
                found = make(Binary, word, found, as_tree(part))
            return found
        case ast.Compare(left=left, ops=ops, comparators=others):
            return make(Compare, tuple(RELATIONS[type(op)] for op in ops), tuple(map(as_tree, (left, *others))))
        case ast.Subscript(value=tensor, slice=ast.Tuple(elts=parts)):
            return make(Subscripted, ast.unparse(tensor), tuple(map(as_tree, parts)))
        case ast.Subscript(value=tensor, slice=part):
            return make(Subscripted, ast.unparse(tensor), (as_tree(part),))
        case ast.Call(func=function, args=args, keywords=words):
            given = tuple((word.arg, as_tree(word.value)) for word in words)
            return make(Call, ast.unparse(function), tuple(map(as_tree, args)), given)
    raise AssertionError(ast.dump(node))


def random_words(random: random.Random, depth: int) -> Iterator[str]:
    """The words of a random expression that Python and the language read alike."""
    choice = random.choice
    if depth == 0:
        yield choice(["x", "Δi", "x.grad", "2", "0.5", "1e-05", "max", "y", "_"])
        return
    match random.randrange(9):
        case 0 | 1 | 2:
            yield from random_words(random, depth - 1)
            yield choice([*OPS.values(), *RELATIONS.values(), "and", "or"])
            yield from random_words(random, depth - 1)
        case 3:
            yield choice(["-", "+", "-", "not"])
            yield from random_words(random, depth - 1)
        case 4 | 5:
            yield "("
            yield from random_words(random, depth - 1)
            yield ")"
        case 6:
            yield from (choice(["f", "max", "Phi.f"]), "(")
            yield from random_words(random, depth - 1)
            yield from (",", "k", "=")
            yield from random_words(random, depth - 1)
            yield ")"
        case 7:
            yield from (choice(["x", "min", "Phi.W"]), "[")
            yield from random_words(random, depth - 1)
            yield ","
            yield from random_words(random, depth - 1)
            yield "]"
        case 8:
            yield from random_words(random, depth - 1)


def test_expressions_are_those_of_python() -> None:
    wrong = read_ = 0
    for seed in range(3000):
        source = random.Random(seed)
        words = list(random_words(source, source.randrange(6)))
        text = "".join(
            w + source.choice([" "] if f"a{w[-1]}{v[0]}".isidentifier() else ["", " ", "  "])
            for w, v in zip(words, [*words[1:], " "], strict=True)
        )
        try:
            expected = as_tree(ast.parse(f"({text})", mode="eval").body)
        except SyntaxError:
            wrong += 1
            with pytest.raises(LanguageSyntaxError):
                parse(Source(f"y = {text}"))
        else:
            read_ += 1
            assert items(f"y = {text}")[0].value == expected, text
    assert read_ > 2000
    assert wrong > 50


# -- spans -------------------------------------------------------------------------------------------------------------


def nodes(node: Any) -> Iterator[Any]:
    """All nodes of a tree."""
    if dataclasses.is_dataclass(node) and hasattr(node, "span"):
        yield node
        for f in dataclasses.fields(node):
            if f.name not in ("span", "comments"):
                yield from nodes(getattr(node, f.name))
    elif isinstance(node, tuple):
        for part in node:
            yield from nodes(part)


@pytest.mark.parametrize("text", TEXTS)
def test_the_text_of_a_span_is_its_node(text: str) -> None:
    for node in nodes(parse(Source(text))):
        match node:
            case Merged():
                assert value(f"x[{node.span.text}]").subscripts == (node,)
            case Dots():
                assert node.span.text == "..."
            case Subscripted(subscripts=subscripts) if any(isinstance(s, All) for s in subscripts):
                (call,) = items(f"y = f({node.span.text})")  # a part stands in a call of a layer only
                assert call.value.args == (node,)
            case All():
                assert node.span.text == ":"
            case Name() | Number() | Subscripted() | Unary() | Binary() | Compare() | Call() | Reduction():
                assert value(node.span.text) == node
            case Header():
                assert items(f"layer f({node.span.text}) -> y:\n    y = 1")[0].inputs == (node,)
            case Option():
                assert items(f"layer f(; {node.span.text}) -> y:\n    y = 1")[0].options == (node,)
            case File():
                assert node.span.text == text
            case _:
                assert items(node.span.text) == (node,)


# -- mistakes ----------------------------------------------------------------------------------------------------------


def told() -> dict[str, str]:
    """The programs of mistakes.txt, and what each gives."""
    text = (ROOT / "tests" / "mistakes.txt").read_text(encoding="utf-8")
    found = {}
    for block in re.split(r"^>>> ", text, flags=re.MULTILINE)[1:]:
        first, *rest = block.rstrip("\n").split("\n")
        more = [line[4:] for line in rest if line.startswith("... ")]
        found["\n".join([first, *more])] = "\n".join(rest[len(more) :])
    return found


TOLD = told()
UNTOLD = {"file", "encoding", "too-deep", "too-long", "too-many-errors", "syntax"}  # they have tests of their own


@pytest.mark.parametrize("text", TOLD)
def test_mistakes_are_told(text: str) -> None:
    with pytest.raises(LanguageSyntaxError) as caught:
        parse(Source(text))
    assert str(caught.value) == TOLD[text]


SUMS_AS_ELSEWHERE = {
    "y[i] = sum(j) x[i,j]": "y[i] = sum[j](x[i,j])",
    "y[i] = sum(j,k)(x[i,j] * w[j,k]) + b[i]": "y[i] = sum[j,k](x[i,j] * w[j,k]) + b[i]",
    "y[i] = sum(j) (x[i,j]) * (w[j])": "y[i] = sum[j]((x[i,j]) * (w[j]))",
    "y[i] = sum k x[i,k] * w[k]": "y[i] = sum[k](x[i,k] * w[k])",
    "y[i] = sum over k x[i,pad(k-1,1,0,-1e30)]": "y[i] = sum[k](x[i,pad(k-1,1,0,-1e30)])",
    "y[i] = max(j) x[i,j]": "y[i] = max[j](x[i,j])",
}


@pytest.mark.parametrize("text", SUMS_AS_ELSEWHERE)
def test_a_sum_as_elsewhere_is_answered_with_the_sum_that_it_is(text: str) -> None:
    with pytest.raises(LanguageSyntaxError) as caught:
        parse(Source(text))
    assert caught.value.code == "reduction-body"
    meant = SUMS_AS_ELSEWHERE[text]
    assert (caught.value.problems[0].way_out or "").removeprefix("write ") in meant
    parse(Source(meant))


def test_a_maximum_of_two_numbers_is_none() -> None:
    with pytest.raises(LanguageSyntaxError, match="missing-operator"):
        parse(Source("y[i] = max(a,b) x[i]"))


def test_every_mistake_has_a_way_out() -> None:
    errors = [e for told in TOLD.values() for e in told.split("\n\n")]
    assert not [e for e in errors if "error[" in e and "  way out: " not in e]


def parser_codes() -> set[str]:
    """All codes that the parser's modules mention."""
    modules = sorted((ROOT / "indexlang" / "syntax").glob("*.py"))
    texts = [module.read_text(encoding="utf-8") for module in modules]
    return set(re.findall(r"(?:Problem|problem|_error)\(\s*\"([a-z-]+)\"", "\n".join(texts)))


def test_every_code_is_told_and_documented() -> None:
    codes_told = set(re.findall(r"error\[([a-z-]+)\]", "\n".join(TOLD.values())))
    assert codes_told - {"syntax"} == parser_codes() - UNTOLD
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    missing = [code for code in sorted(parser_codes()) if f"`{code}`" not in page and f"[{code}]" not in page]
    assert not missing


def test_all_mistakes_of_a_text_are_found() -> None:
    text = "y[i] = $x[i]\nz[i] = y[i] +\n\nlayer f(x) -> y:\n    y = x[\n    z[i] = x[i]]\nw == 3\n"
    with pytest.raises(LanguageSyntaxError) as caught:
        parse(Source(text))
    found = [(p.code, p.span.line) for p in caught.value.problems if p.span]
    assert found == [
        ("character", 1), ("missing-operand", 2), ("unclosed-bracket", 5), ("unmatched-bracket", 6), ("equals", 7),
    ]  # fmt: skip
    error = caught.value
    assert error.code == "character"
    assert error.source == Source(text)
    assert error.span == Span(Source(text), 7, 8)


def test_not_more_than_some_mistakes_are_told() -> None:
    assert codes("y == x\n" * 1000) == ["equals"] * MOST_PROBLEMS + ["too-many-errors"]
    assert codes("y = )\n" * 1000) == ["unmatched-bracket"] * MOST_PROBLEMS + ["too-many-errors"]


MANY = 1_000_000
SECONDS = 10


@pytest.mark.parametrize(
    "word", ["(", "[", "f(", "x[", "-", "x**", "not ", "x+", "x ", "x,", "$", "2x ", "é² ", "'", "(]"]
)
def test_monsters(word: str) -> None:
    begin = time.perf_counter()
    assert codes("y = " + word * MANY)
    assert time.perf_counter() - begin < SECONDS


@pytest.mark.parametrize("line", ["y = f(x\n", "(", "layer f(x\n", "y[i = x[\n", " y\n", "layer f(x) -> y:\n"])
def test_many_monsters(line: str) -> None:
    begin = time.perf_counter()
    assert codes(line * 5_000)
    assert time.perf_counter() - begin < SECONDS


def deep(levels: int) -> list[str]:
    """Expressions of so many levels."""
    return [
        "+".join(["x"] * levels),
        "**".join(["x"] * levels),
        "-" * (levels - 1) + "x",
        "not " * (levels - 1) + "x",
        "f(" * (levels - 1) + "x" + ")" * (levels - 1),
        "x[" * (levels - 1) + "i" + "]" * (levels - 1),
        "sum[i](" * (levels - 1) + "x" + ")" * (levels - 1),
    ]


def test_the_deepest_expressions() -> None:
    for text in deep(DEEPEST):
        assert len(items(f"y = {text}")) == 1
    for text in deep(DEEPEST + 2):
        assert codes(f"y = {text}") == ["too-deep"]
    assert codes("y = " + "+".join(["x[i]"] * 1000)) == ["too-deep"]
    brackets = "(" * DEEPEST + "x" + ")" * DEEPEST
    assert value(brackets[1:-1]) == name("x")
    assert codes(f"y = ({brackets})") == ["too-deep"]


def test_the_longest_lines() -> None:
    arguments = (LONGEST - 6) // 2
    assert len(value("f(" + ",".join(["x"] * (arguments - 1)) + ")").args) == arguments - 1
    assert codes("y = f(" + ",".join(["x"] * LONGEST) + ")\nz = 3 +") == ["too-long", "missing-operand"]


def test_any_line_is_a_tree_or_an_error() -> None:
    words = [
        "x",
        "y",
        "[",
        "]",
        "(",
        ")",
        "=",
        "+=",
        "max=",
        ",",
        "+",
        "-",
        "**",
        "<",
        "where",
        "not",
        "and",
        ":",
        ";",
        "->",
    ]
    words += ["layer", "shape", "from", "import", "2", "...", "sum", "\n", "\n    ", " ", " ", "#", ".", "$", "if"]
    good = 0
    for seed in range(4000):
        source = random.Random(seed)
        text = "".join(source.choice(words) + source.choice(["", " "]) for _ in range(source.randrange(1, 12)))
        problems: tuple[Problem, ...] = ()
        try:
            parse(Source(text))
        except LanguageSyntaxError as error:
            problems = error.problems
        good += not problems
        assert all(p.span is not None and 0 <= p.span.start <= len(text) and render(p) for p in problems)
    assert good > 20


# -- files -------------------------------------------------------------------------------------------------------------


def test_read(tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    path.write_bytes(b"\xef\xbb\xbfy = \xce\x94\r\n")
    assert read(path) == Source("y = Δ\r\n", str(path))
    assert read(str(path)) == read(path)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "is a directory"), (tmp_path / "no.idx", "no such file or directory")):
        with pytest.raises(IndexLangError) as caught:
            read(path)
        assert caught.value.code == "file"
        assert str(caught.value).startswith(f"error[file]: cannot read {path}: {reason}\n  way out: ")


def test_what_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    path.write_bytes(b"y = x\nz = \xff\xfe\n")
    with pytest.raises(LanguageSyntaxError) as caught:
        parse(read(path))
    told = "error[encoding]: a program is UTF-8 text\n 2 | z = ��\n   |     ^\n  way out: save the file as UTF-8"
    assert str(caught.value) == f"{path}:2:5: {told}"
    path.write_bytes("y = x\n".encode("utf-16"))
    with pytest.raises(LanguageSyntaxError, match="it looks like UTF-16"):
        parse(read(path))
