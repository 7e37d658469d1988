"""The printer: its style, case by case, and its exactness, against a parser that is not ours."""

import ast
import math
import random

import pytest

from indexlang.program.interface import default_interface
from indexlang.program.ir import (
    Access,
    Boundary,
    Call,
    Const,
    Domain,
    Dots,
    Expr,
    Index,
    Merged,
    Program,
    Range,
    Reduce,
    Shape,
    Size,
    Subscript,
    statement,
)
from indexlang.program.text import expr_text, statement_text, to_text

a, b, c = Index("a"), Index("b"), Index("c")


def call(fn: str, *args: Expr) -> Call:
    return Call(fn, args)


def access(tensor: str, *subscripts: Subscript | str) -> Access:
    return Access(tensor, tuple(Index(s) if isinstance(s, str) else s for s in subscripts))


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (call("sub", a, call("sub", b, c)), "a - (b - c)"),
        (call("sub", call("sub", a, b), c), "a - b - c"),
        (call("mul", call("add", a, b), c), "(a + b) * c"),
        (call("div", a, call("mul", b, c)), "a / (b * c)"),
        (call("pow", call("neg", a), call("neg", b)), "(-a)**-b"),
        (call("neg", call("pow", a, b)), "-a**b"),
        (call("pow", call("pow", a, b), c), "(a**b)**c"),
        (call("pow", a, call("pow", b, c)), "a**b**c"),
        (call("pow", Const(10000), call("div", call("mul", Const(2), a), Size("x", 1))), "10000**(2*a/size(x,1))"),
        (call("neg", call("mul", a, b)), "-(a * b)"),
        (call("mul", call("neg", a), b), "-a * b"),
        (call("neg", call("neg", a)), "--a"),
        (call("sub", a, Const(-2)), "a - -2"),
        (call("pow", Const(-1.5), a), "(-1.5)**a"),
        (call("mul", Const(-1), a), "-1 * a"),
        (call("lt", call("lt", a, b), c), "(a < b) < c"),
        (call("eq", call("mod", call("add", a, b), Const(2)), Const(0)), "(a + b) % 2 == 0"),
        (call("not", call("and", a, b)), "not (a and b)"),
        (call("or", call("and", a, b), call("not", c)), "a and b or not c"),
        (call("add", call("not", a), b), "(not a) + b"),
        (call("where", call("lt", a, b), a, Const(math.inf)), "where(a < b, a, inf)"),
        (call("max", access("x", "a"), Const(0)), "max(x[a], 0)"),
        (call("exp", call("sub", access("x", "a"), access("m", "b"))), "exp(x[a] - m[b])"),
        (Const(math.pi), "pi"),
        (Const(-math.inf), "-inf"),
        (Const(math.nan), "nan"),
        (Const(1e-05), "1e-05"),
        (Const(2.0), "2.0"),
        (access("s"), "s"),
        (access("x", "b", call("add", call("mul", Const(2), a), b), Dots()), "x[b,2*a+b,...]"),
        (access("x", call("int", call("floor", call("mul", access("s"), a)))), "x[int(floor(s*a))]"),
        (access("x", Merged(("a", "b")), access("p", "c")), "x[(a,b),p[c]]"),
        (access("x", call("add", access("s"), a)), "x[s[]+a]"),
        (access("x", Boundary("pad", call("sub", a, b))), "x[pad(a-b)]"),
        (access("x", Boundary("pad", a, Const(1), Const(1))), "x[pad(a,1)]"),
        (access("x", Boundary("pad", a, Const(1), Const(2))), "x[pad(a,1,2)]"),
        (access("x", Boundary("pad", a, Const(1), Const(1), Const(-math.inf))), "x[pad(a,1,value=-inf)]"),
        (access("x", Boundary("pad", a, Const(1), Const(0), Const(3))), "x[pad(a,1,0,value=3)]"),
        (access("x", Boundary("clamp", call("sub", a, Const(1)))), "x[clamp(a-1)]"),
        (Reduce("sum", Domain(("a", "b")), access("x", "a", "b")), "sum[a,b](x[a,b])"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_style(expr: Expr, text: str) -> None:
    assert expr_text(expr) == text


def test_conditions_come_last_ranges_first() -> None:
    inner = Reduce("sum", Domain(("k",), (Range("k", Const(1)),), (call("le", Index("k"), a),)), access("x", "k"))
    stmt = statement(
        access("y", "a", "b"),
        "=",
        call("mul", access("w", "a", "b"), inner),
        (Range("b", Const(1), Size("x", 0)), Range("a", None, Const(3))),
        (call("ne", a, b),),
    )
    expected = "y[a,b] = w[a,b] * sum[k](x[k]) where a < 3, 1 <= b < size(x,0), 1 <= k, a != b, k <= a"
    assert statement_text(stmt) == expected


def test_without_brackets_a_statement_would_be_about_whole_tensors() -> None:
    assert statement_text(statement(access("s"), "=", call("mul", access("a"), access("b")))) == "s[] = a * b"
    assert statement_text(statement(access("s"), "+=", access("x", "i"))) == "s += x[i]"


CONV = statement(
    access("x.grad", "b", call("add", Index("i"), Index("di")), "cx"),
    "+=",
    call("mul", access("y.grad", "b", "i", "cy"), access("W", "di", "cx", "cy")),
)


def test_bare_statements() -> None:
    assert default_interface((CONV,)) == (("x", "y.grad", "W"), ("x.grad",))
    program = Program(("x", "y.grad", "W"), ("x.grad",), (CONV,))
    assert to_text(program) == "x.grad[b,i+di,cx] += y.grad[b,i,cy] * W[di,cx,cy]\n"


def test_a_header_where_inputs_or_outputs_are_others() -> None:
    h = statement(access("h", "i"), "=", access("x", "i"))
    y = statement(access("y", "i"), "=", access("h", "i"))
    assert to_text(Program(("x",), ("y",), (h, y))) == "h[i] = x[i]\ny[i] = h[i]\n"
    expected = "layer program(x) -> y, h:\n    h[i] = x[i]\n    y[i] = h[i]\n"
    assert to_text(Program(("x",), ("y", "h"), (h, y))) == expected
    assert to_text(Program(("x",), ("y",), (h, y), name="f")).startswith("layer f(x) -> y:\n")


def test_dims_print_by_their_names() -> None:
    x, half = Size("x", 0), call("floordiv", Size("z", 0), Const(2))
    shapes = (
        Shape("x", (x, Const(3))),
        Shape("z", (call("mul", Const(2), half),)),
        Shape("t", (call("add", x, half),)),
    )
    y = statement(access("y", "i"), "=", access("x", "i", Const(0)), (Range("i", None, call("sub", x, half)),))
    dims = (("N", x), ("M", half), ("Q", Size("q", 0)))
    text = to_text(Program(("x", "z"), ("y",), (y,), shapes, dims, "f"))
    assert text == "layer f(x[N,3], z[2*M]) -> y:\n    shape t[N+M]\n    y[i] = x[i,0] where i < N - M\n"
    bare = Program(("x", "z"), ("y",), (y,), shapes[:1], dims)
    assert to_text(bare).splitlines()[0] == "shape x[N,3]"


# -- exactness: Python's own parser reads what was printed; its precedences are ours ---------------------

BINARY = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.FloorDiv: "floordiv",
    ast.Mod: "mod",
    ast.Pow: "pow",
}
COMPARE = {ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne"}
NUMBERS = {"inf": math.inf, "nan": math.nan, "pi": math.pi}
TENSORS = ("x", "y.grad", "Phi.W")


def read(node: ast.expr) -> Subscript:
    """An expression of the language from Python's tree."""
    match node:
        case ast.Constant(value=e) if e is ...:
            return Dots()
        case ast.Constant(value=value):
            return Const(value)
        case ast.Name(id=name):
            return Const(NUMBERS[name]) if name in NUMBERS else Access("s") if name == "s" else Index(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = read(operand)
            return Const(-inner.value) if isinstance(inner, Const) else call("neg", inner)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return call("not", read(operand))
        case ast.BinOp(left=left, op=op, right=right):
            return call(BINARY[type(op)], read(left), read(right))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return call(COMPARE[type(op)], read(left), read(right))
        case ast.BoolOp(op=op, values=[first, *rest]):
            found = read(first)
            for value in rest:
                found = call("and" if isinstance(op, ast.And) else "or", found, read(value))
            return found
        case ast.Subscript(value=tensor, slice=inside):
            parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
            return Access(ast.unparse(tensor), tuple(map(read, parts)))
        case ast.Tuple(elts=parts):
            return Merged(tuple(ast.unparse(p) for p in parts))
        case ast.Call(func=ast.Subscript(value=ast.Name(id=op), slice=inside), args=[body]):
            return Reduce(op, Domain(tuple(ast.unparse(inside).strip("()").split(", "))), read(body))
        case ast.Call(func=ast.Name(id="size"), args=[tensor, axis]):
            return Size(ast.unparse(tensor), ast.literal_eval(axis))
        case ast.Call(
            func=ast.Name(id="pad" | "clamp" | "wrap" | "reflect" as kind), args=[e, *bounds], keywords=words
        ):
            lo = read(bounds[0]) if bounds else None
            hi = read(bounds[-1]) if bounds else None
            return Boundary(kind, read(e), lo, hi, read(words[0].value) if words else Const(0))
        case ast.Call(func=ast.Name(id=fn), args=args):
            return call(fn, *map(read, args))
    raise AssertionError(ast.dump(node))


class Writer:
    """Random expressions."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def expr(self, depth: int) -> Expr:
        choice = self.random.choice
        if depth == 0 or self.random.random() < 0.2:
            number = choice([math.pi, -math.pi, math.inf, math.nan, 1e-5, -1e300, 1e22, 0.0, -0.5, 0, 1, -3, 10**20])
            return choice([Index("i"), Index("j"), Size("y.grad", 1), Access("s"), Const(number)])
        match self.random.randrange(8):
            case 0 | 1 | 2:
                fn = choice([*BINARY.values(), *COMPARE.values(), "and", "or", "max", "atan2"])
                return call(fn, self.expr(depth - 1), self.expr(depth - 1))
            case 3:
                inner = self.expr(depth - 1)
                return inner if isinstance(inner, Const) else call("neg", inner)
            case 4:
                return call(choice(["not", "exp", "int"]), self.expr(depth - 1))
            case 5:
                return call("where", *(self.expr(depth - 1) for _ in range(3)))
            case 6:
                return Reduce(choice(["sum", "argmax"]), Domain(("k",)), self.expr(depth - 1))
        subscripts = [self.subscript(depth - 1) for _ in range(choice([1, 2, 3]))]
        if isinstance(subscripts[0], Merged):  # to Python, x[(i,j)] is x[i,j]
            subscripts.append(Index("i"))
        return Access(choice(["x", "y.grad", "Phi.W"]), tuple(subscripts))

    def subscript(self, depth: int) -> Subscript:
        e = self.expr(depth)
        match self.random.randrange(8):
            case 0:
                return Boundary(self.random.choice(["pad", "clamp", "wrap", "reflect"]), e)
            case 1:
                return Boundary("pad", e, self.expr(depth), self.expr(depth), Const(self.random.choice([0, 1.5, -1])))
            case 2:
                return Merged(("i", "j"))
            case 3:
                return Dots()
        return e


def test_printing_is_exact() -> None:
    for seed in range(1000):
        expr = Writer(seed).expr(5)
        text = expr_text(expr).replace("s[]", "s")  # how a scalar stands in a subscript, no syntax of Python's
        assert read(ast.parse(text, mode="eval").body) == expr
