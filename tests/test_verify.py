"""`verify` refuses what is no well-formed Program, and says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
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
    Statement,
    Subscript,
    statement,
)
from indexlang.program.verify import verify
from indexlang.syntax.parser import parse

i, j, k = Index("i"), Index("j"), Index("k")
x = Access("x", (i,))


def program(text: str) -> Program:
    return resolve(parse(Source(text)))


def one(value: Expr, *target: Subscript, **rest: object) -> Program:
    """y[target] = value, whatever that may be."""
    inputs = tuple(sorted({"x"} | {p.tensor for p in [value] if isinstance(p, Access)}))
    stmt = statement(Access("y", target or (i,)), "=", value, **rest)  # type: ignore[arg-type]
    return Program(inputs, ("y",), (stmt,), name="f")


def with_domain(domain: Domain) -> Program:
    return Program(("x",), ("y",), (Statement(Access("y", (i,)), "=", x, domain),), name="f")


XK = Access("x", (k,))


def reduce(domain: Domain, body: Expr = XK, op: str = "sum") -> Program:
    return one(Reduce(op, domain, body))


CHAIN = program("h[i] = x[i]\ny[i] = h[i]\n")
SET, READ = CHAIN.statements


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        # the program
        (replace(CHAIN, inputs=("x", "x"), name="f"), "the input x is named twice"),
        (replace(CHAIN, outputs=("y", "y"), name="f"), "the output y is named twice"),
        (replace(CHAIN, outputs=("z",), name="f"), "nothing defines the output z"),
        (replace(CHAIN, inputs=(), name="f"), "x is neither an input nor defined"),
        (replace(CHAIN, outputs=("h", "y")), "a program without a name has inputs or outputs that"),
        (replace(CHAIN, shapes=(Shape("x", (Const(3),)),) * 2), "the shape of x is declared twice"),
        (replace(CHAIN, shapes=(Shape("z", (Const(3),)),)), "the shape of z is declared, but there is no z"),
        (replace(CHAIN, shapes=(Shape("x", (i,)),)), "the shape of x is made of more than sizes"),
        (replace(CHAIN, dims=(("N", Size("x", 0)),) * 2), "the dim N is named twice"),
        (replace(CHAIN, statements=(SET, SET, READ)), "h is set, but it has a value already"),
        (replace(CHAIN, statements=(SET, READ, replace(SET, op="+="))), "h is read before its last statement"),
        (replace(CHAIN, inputs=("x", "h"), name="f"), "h is set, but it has a value already"),
        (replace(CHAIN, statements=(SET, replace(READ, value=Access("y", (i,)))), name="f"), "y is read by its own"),
        (
            replace(CHAIN, statements=(SET, replace(READ, op="+="), replace(READ, op="max="))),
            "y is combined by += and max=",
        ),
        (one(Call("mul", (x, Access("x", (i, i))))), "x has 1 axes and 2 in x[i,i]"),
        (one(Call("mul", (x, Size("x", 1)))), "x has no axis 1"),
        (one(Call("mul", (x, Access("x", (Dots(), i, i))))), "x has too few axes"),
        # its statements
        (Program(("x",), ("y",), (replace(SET, target=Access("y", (i,)), op="-="),), name="f"), "no operator -="),
        (with_domain(Domain(("j", "i"))), "its domain is ('j', 'i')"),
        (with_domain(Domain(())), "its domain is ()"),
        (with_domain(Domain(("i",), (Range("i"),))), "the range of i says nothing"),
        (with_domain(Domain(("i",), (Range("i", None, Const(2.5)),))), "which is no size"),
        (with_domain(Domain(("i",), (Range("i", None, x),))), "which is no size"),
        (one(x, masks=(Call("lt", (i, Const(3))),)), "i < 3 is a range"),
        (one(x, masks=(Call("ge", (Size("x", 0), i)),)), "size(x,0) >= i is a range"),
        (reduce(Domain(("i",)), x), "the index i is used twice"),
        (reduce(Domain(("k",)), x), "sum runs over k, which its body does not have"),
        (reduce(Domain(("k",)), op="median"), "there is no reduction median"),
        (reduce(Domain(("k",), (), (Call("ne", (i, Const(0))),))), "is not about the indices of its sum"),
        (reduce(Domain(("k",), (Range("j", None, Const(3)),))), "there is a range for j, which is no index here"),
        (one(Access("i", (i,))), "i is an index and a tensor"),
        (one(Call("nothing", (x,))), "nothing is applied to 1 arguments"),
        (one(Call("exp", (x, x))), "exp is applied to 2 arguments"),
        (one(Call("neg", (Const(2),))), "a negative number is a number"),
        (one(Access("x", (Call("mul", (i, i)),))), "i * i is no position"),
        (one(Access("x", (Const(0.5),))), "0.5 is no position"),
        (one(Access("x", (Call("floordiv", (i, Const(0))),))), "i // 0 is no position"),
        (one(Access("x", (Call("exp", (i,)),))), "exp(i) is no position"),
        (one(Access("x", (Merged(("i", "i")),))), "no merged axis: (i,i)"),
        (one(Access("x", (i, Dots(), j))), "an ellipsis stands first or last"),
        (one(Access("x", (Dots(), Dots()))), "two ellipses"),
        (one(Access("x", (Boundary("bounce", i),))), "no boundary"),
        (one(Access("x", (Boundary("clamp", i, Const(1), Const(1)),))), "no boundary"),
        (one(Access("x", (Boundary("pad", i, Const(1)),))), "no boundary"),
        (one(Access("x", (Boundary("pad", i, None, None, x),))), "no boundary"),
        (one(Access("x", (Boundary("pad", Call("mul", (i, j))),))), "i * j is no position"),
        (one(Boundary("pad", i)), "a subscript stands as a value"),  # type: ignore[arg-type]
    ],
)
def test_what_is_not_well_formed(wrong: Program, why: str) -> None:
    with pytest.raises(ValueError, match="not a well-formed program") as caught:
        verify(wrong)
    assert why in str(caught.value)


def test_what_is() -> None:
    verify(CHAIN)
    verify(Program(("x", "y"), ("y",), (statement(Access("y", (i,)), "+=", x),), name="f"))
