"""LaTeX: what is written, and that braces and brackets close."""

import pytest

from indexlang.program.ir import (
    Access,
    Boundary,
    Call,
    Const,
    Domain,
    Dots,
    Index,
    Merged,
    Program,
    Range,
    Reduce,
    Size,
    Statement,
    Subscript,
    statement,
)
from indexlang.program.latex import statement_latex, to_latex


def call(fn: str, *args: object) -> Call:
    return Call(fn, tuple(Const(a) if isinstance(a, int | float) else a for a in args))  # type: ignore[misc]


def access(tensor: str, *subscripts: Subscript | str) -> Access:
    return Access(tensor, tuple(Index(s) if isinstance(s, str) else s for s in subscripts))


x, y, s = access("x", "i"), access("y", "i"), access("s")
TOTAL = Reduce("sum", Domain(("k",), (), (call("le", Index("k"), Index("i")),)), call("add", access("x", "k"), 1))
AFFINE = call("add", Index("i"), Index("di"))


@pytest.mark.parametrize(
    ("stmt", "latex"),
    [
        (
            statement(
                access("y", "i"),
                "+=",
                call("mul", access("W", "di"), access("x", AFFINE)),
                (Range("di", None, Size("W", 0)),),
            ),
            r"y_{i} \mathrel{+}= \sum_{\mathit{di}} W_{\mathit{di}} \, x_{i + \mathit{di}}"
            r" \quad \text{where } \mathit{di} < \operatorname{size}(W, 0)",
        ),
        (
            statement(access("x.grad", "i"), "+=", call("mul", call("neg", access("y.grad", "i")), call("exp", x))),
            r"x.\mathrm{grad}_{i} \mathrel{+}= -y.\mathrm{grad}_{i} \, \exp\left(x_{i}\right)",
        ),
        (statement(s, "=", call("add", x, y)), r"s = \sum_{i} \left(x_{i} + y_{i}\right)"),
        (statement(s, "max=", x), r"s \mathrel{\max}= \max_{i} x_{i}"),
        (statement(y, "*=", access("x", "i", "j")), r"y_{i} \mathrel{\times}= \prod_{j} x_{i, j}"),
        (
            statement(y, "=", call("div", x, TOTAL)),
            r"y_{i} = \frac{x_{i}}{\sum_{\substack{k \\ k \le i}} \left(x_{k} + 1\right)}",
        ),
        (statement(y, "=", call("pow", call("div", x, 2), 2)), r"y_{i} = \left(\frac{x_{i}}{2}\right)^{2}"),
        (statement(y, "=", call("pow", x, call("neg", s))), r"y_{i} = x_{i}^{-s}"),
        (statement(y, "=", call("sub", x, call("sub", s, x))), r"y_{i} = x_{i} - \left(s - x_{i}\right)"),
        (statement(y, "=", call("sub", x, -2)), r"y_{i} = x_{i} - \left(-2\right)"),
        (statement(y, "=", call("mul", x, 2)), r"y_{i} = x_{i} \cdot 2"),
        (statement(y, "=", call("mul", call("add", x, 1e-5), s)), r"y_{i} = \left(x_{i} + 10^{-5}\right) \, s"),
        (statement(y, "=", call("sigmoid", call("rsqrt", x))), r"y_{i} = \sigma\left(\frac{1}{\sqrt{x_{i}}}\right)"),
        (
            statement(access("y", Merged(("i", "j")), Dots()), "=", access("Δx", "i", "j", Dots())),
            r"y_{(i, j), \ldots} = \mathit{\Delta x}_{i, j, \ldots}",
        ),
        (
            statement(y, "=", access("Phi.w2", Boundary("pad", Index("i"), Const(1), Const(1), Const(-float("inf"))))),
            r"y_{i} = \Phi.w^{(2)}_{\operatorname{pad}(i, 1, \text{value} = -\infty)}",
        ),
        (
            statement(y, "=", call("where", call("not", call("lt", x, 0)), x, float("nan"))),
            r"y_{i} = \begin{cases} x_{i} & \neg \left(x_{i} < 0\right) \\ \text{nan} & \text{otherwise} \end{cases}",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else value.op,
)
def test_statement(stmt: Statement, latex: str) -> None:
    assert statement_latex(stmt) == latex


def test_program_is_aligned() -> None:
    program = Program(("x",), ("y",), (statement(y, "=", x), statement(y, "+=", s)))
    expected = "\\begin{aligned}\ny_{i} &= x_{i} \\\\\ny_{i} &\\mathrel{+}= s\n\\end{aligned}"
    assert to_latex(program) == expected
