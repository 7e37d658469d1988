"""What the optimiser writes, rule by rule, and that nothing changes its value, nan and inf included."""

import functools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import indexlang
from indexlang.backends.numpy.functions import FORMS
from indexlang.program.interface import default_interface
from indexlang.program.ir import (
    Access,
    Boundary,
    Call,
    Const,
    Expr,
    Index,
    Program,
    Range,
    Size,
    Statement,
    reads_of,
    statement,
)
from indexlang.program.text import expr_text, statement_text
from indexlang.rewrite.optimize import optimize
from indexlang.rewrite.simplify import simplify, simplify_statement


def call(fn: str, *args: Expr | float) -> Call:
    return Call(fn, tuple(Const(a) if isinstance(a, int | float) else a for a in args))


def access(tensor: str, *indices: str) -> Access:
    return Access(tensor, tuple(Index(i) for i in indices))


g, x, y, z, i = access("y.grad", "i"), access("x", "i"), access("y", "i"), access("z", "i"), Index("i")


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (call("mul", g, 1), "y.grad[i]"),
        (call("mul", g, -1), "-y.grad[i]"),
        (call("mul", g, call("mul", 2, x)), "2 * y.grad[i] * x[i]"),
        (call("mul", g, call("div", 1, x)), "y.grad[i] / x[i]"),
        (call("mul", g, call("div", 0.5, y)), "0.5 * y.grad[i] / y[i]"),
        (call("mul", g, call("mul", y, call("sub", 1, y))), "y.grad[i] * y[i] * (1 - y[i])"),
        (call("mul", g, call("div", call("div", call("neg", z), x), x)), "-y.grad[i] * z[i] / x[i] / x[i]"),
        (call("mul", call("neg", g), call("neg", x)), "y.grad[i] * x[i]"),
        (call("neg", call("neg", g)), "y.grad[i]"),
        (call("sub", g, call("neg", x)), "y.grad[i] + x[i]"),
        (call("add", g, call("mul", -2, x)), "y.grad[i] - 2 * x[i]"),
        (call("add", call("neg", g), x), "x[i] - y.grad[i]"),
        (call("add", x, 0), "x[i]"),
        (call("add", x, -1), "x[i] - 1"),
        (call("pow", x, 1), "x[i]"),
        (call("mul", call("mul", g, x), call("pow", x, 2)), "y.grad[i] * x[i]**3"),
        (call("pow", call("pow", x, 2), 3), "x[i]**6"),
        (call("mul", call("mul", g, 2.0), call("div", x, 4)), "0.5 * y.grad[i] * x[i]"),
        (call("mul", 2, call("mul", 3, g)), "6 * y.grad[i]"),
        (call("not", call("not", call("lt", x, y))), "x[i] < y[i]"),
        (call("where", call("not", call("lt", x, y)), g, 0), "where(x[i] < y[i], 0, y.grad[i])"),
        (call("mul", call("mul", call("mul", -0.75, g), x), 2e-05), "-1.5e-05 * y.grad[i] * x[i]"),
        (call("mul", call("mul", g, call("div", 2, 3)), call("div", x, 7)), "2 * y.grad[i] * x[i] / 21"),
        (call("div", call("mul", g, x), call("mul", 4, z)), "0.25 * y.grad[i] * x[i] / z[i]"),
        (call("div", g, call("mul", call("pow", 0.1, 2), 2)), "50 * y.grad[i]"),
        (call("div", g, call("mul", 0.7, 1)), "y.grad[i] / 0.7"),
        (call("mul", call("mul", g, call("sqrt", 2)), 3), "3 * sqrt(2) * y.grad[i]"),
        (call("mul", call("mul", g, 2), call("mul", math.pi, 3)), "6 * pi * y.grad[i]"),
        (call("add", call("add", 0.1, 0.2), x), "0.3 + x[i]"),
        (call("div", call("div", g, call("pow", x, 2)), call("pow", x, 2)), "y.grad[i] / x[i]**4"),
        (call("div", call("div", g, call("pow", x, 2)), x), "y.grad[i] / x[i]**3"),
        (call("mul", call("mul", g, call("pow", x, -2)), call("pow", x, -3)), "y.grad[i] * x[i]**-5"),
        (call("mul", call("pow", x, 0.5), call("mul", x, g)), "x[i]**1.5 * y.grad[i]"),
        (call("div", call("pow", x, -0.25), call("pow", x, 0.5)), "1 / x[i]**0.75"),
        # what must stay
        (call("mul", call("pow", x, 0.5), call("pow", x, 0.5)), "x[i]**0.5 * x[i]**0.5"),  # nan below 0
        (call("mul", x, call("pow", x, -0.25)), "x[i] * x[i]**-0.25"),  # 0 * inf at 0
        (call("div", call("pow", x, 2), x), "x[i]**2 / x[i]"),
        (call("div", call("div", g, x), x), "y.grad[i] / x[i] / x[i]"),  # x * x may vanish
        (call("mul", call("mul", 1e-25, x), call("mul", 1e-25, z)), "1e-25 * x[i] * 1e-25 * z[i]"),
        (call("mul", call("pow", x, 0), x), "x[i]**0 * x[i]"),
        (call("mul", x, call("mul", 2, math.inf)), "2 * inf * x[i]"),
        (call("mul", g, 0), "0 * y.grad[i]"),
        (call("sub", x, x), "x[i] - x[i]"),
        (call("div", x, x), "x[i] / x[i]"),
        (call("pow", x, 0), "x[i]**0"),
        (call("not", call("lt", x, y)), "not x[i] < y[i]"),
        (call("div", g, call("mul", x, y)), "y.grad[i] / (x[i] * y[i])"),
        (call("div", 1, 3), "1 / 3"),
        (call("mul", x, call("div", 1, 3)), "x[i] / 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_simplified(expr: Expr, text: str) -> None:
    assert expr_text(simplify(expr)) == text


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (call("not", call("le", Index("k"), i)), "k > i"),
        (call("not", call("eq", i, 0)), "i != 0"),
        (call("not", call("lt", i, 3)), "not i < 3"),  # `i >= 3` would be a range, and a promise
        (call("not", call("ge", x, y)), "not x[i] >= y[i]"),  # nan
        (call("not", call("lt", call("div", i, 2), Index("k"))), "not i / 2 < k"),
        (call("lt", call("max", x, 0), 6), "x[i] < 6"),
        (call("gt", call("min", 6, x), 0), "x[i] > 0"),
        (call("ge", call("max", x, 0), 6), "x[i] >= 6"),
        (call("le", call("min", x, 7), 6), "x[i] <= 6"),
        (call("lt", call("max", x, 6), 6), "max(x[i], 6) < 6"),
        (call("le", call("min", x, 5), 6), "min(x[i], 5) <= 6"),
        (call("ge", call("max", x, 7), 6), "max(x[i], 7) >= 6"),
        (call("lt", call("max", i, 0), 6), "not i >= 6"),  # no range
    ],
)
def test_masks_stay_masks(mask: Expr, text: str) -> None:
    stmt = statement(access("x.grad", "i"), "+=", call("mul", g, access("w", "k")), (), (mask,))
    assert statement_text(simplify_statement(stmt)).endswith(" where " + text)


def value(expr: Expr, tensors: dict[str, float]) -> float:
    match expr:
        case Const(v):
            return np.float64(v)
        case Access(name):
            return np.float64(tensors[name])
        case Call(fn, args):
            names = [f"a{k}" for k in range(len(args))]
            scope = dict(zip(names, (value(a, tensors) for a in args), strict=True), np=np)
            return eval(FORMS[fn].numpy.format(*names), scope)
    raise AssertionError(expr)


def random_expr(choice: Callable[[Sequence[Any]], Any], depth: int) -> Expr:
    if depth == 0 or choice([True, False, False]):
        return choice([x, y, z, g, Const(choice([1, -1, 2, 3, 0.5, -0.25, 1.5]))])
    a = random_expr(choice, depth - 1)
    match choice(["neg", "pow", "add", "sub", "mul", "mul", "div"]):
        case "neg":
            return call("neg", a)
        case "pow":
            return call("pow", a, choice([1, 2, 3]))
        case fn:
            return call(fn, a, random_expr(choice, depth - 1))


def test_simplifying_keeps_the_value() -> None:
    special = [1.25, -0.5, 3.0, 0.0, math.inf, -math.inf, math.nan]
    for seed in range(600):
        choice = random.Random(seed).choice
        expr = random_expr(choice, 4)
        simple = simplify(expr)
        assert simplify(simple) == simple
        with np.errstate(all="ignore"):
            for _ in range(4):
                tensors = {name: choice(special) for name in ("x", "y", "z", "y.grad")}
                before, after = value(expr, tensors), value(simple, tensors)
                assert np.allclose(before, after, rtol=1e-12, atol=1e-12, equal_nan=True), (
                    f"{expr_text(expr)} {tensors}"
                )


# -- whole programs --------------------------------------------------------------------------------


def optimized(*statements: Statement, outputs: tuple[str, ...] = (), floats: tuple[str, ...] = ()) -> list[str]:
    inputs, natural = default_interface(statements)
    program = Program(inputs, outputs or natural, statements)
    found = optimize(program, floats)
    assert optimize(found, floats) == found
    return [statement_text(s) for s in found.statements]


def test_a_value_that_has_a_name_is_read() -> None:
    assert optimized(
        statement(access("y", "i"), "=", call("exp", x)),
        statement(access("w.grad", "i"), "+=", call("mul", g, call("exp", x))),
        statement(access("v.grad", "i"), "+=", call("exp", access("x", "k")), (), (call("lt", Index("k"), i),)),
        floats=("x",),
    ) == ["y[i] = exp(x[i])", "w.grad[i] += y.grad[i] * y[i]", "v.grad[i] += y[k] where k < i"]


def test_axes_of_the_name_may_stand_in_another_order() -> None:
    exp = call("exp", call("sub", access("x", "b", "i"), access("m", "b")))
    again = call("exp", call("sub", access("x", "c", "d"), access("m", "c")))
    assert optimized(
        statement(access("e", "i", "b"), "=", exp),
        statement(access("x.grad", "c", "d"), "+=", call("mul", access("e.grad", "d", "c"), again)),
        outputs=("x.grad",),
    ) == ["e[i,b] = exp(x[b,i] - m[b])", "x.grad[c,d] += e.grad[d,c] * e[d,c]"]


def test_a_part_that_occurs_twice_is_named_once() -> None:
    part, other = call("tanh", call("mul", x, 2)), call("tanh", call("mul", access("x", "k"), 2))
    assert optimized(
        statement(access("s"), "+=", part),
        statement(access("y", "k"), "=", call("mul", other, access("z", "k"))),
        outputs=("y", "s"),
        floats=("x",),
    ) == ["tanh_x[i] = tanh(x[i] * 2)", "s += tanh_x[i]", "y[k] = tanh_x[k] * z[k]"]


@pytest.mark.parametrize(
    "part",
    [
        call("mul", x, z),  # cheap
        call("exp", Access("x", (Boundary("pad", i),))),  # outside it is exp(0), not 0
        call("exp", Access("x", (call("mul", 2, i),))),  # no name covers it
        call("exp", call("mul", x, Index("j"))),  # j has no size of its own
        call("exp", call("add", access("k", "i"), 2)),  # may be an integer tensor
    ],
    ids=expr_text,
)
def test_what_is_not_named(part: Expr) -> None:
    statements = [
        statement(access("x.grad", "i"), "+=", call("mul", part, access("u", "i", "j"))),
        statement(access("w.grad", "i"), "+=", call("mul", part, access("v", "i", "j"))),
    ]
    assert optimized(*statements) == [statement_text(s) for s in statements]


def test_masked_statements_alone_name_nothing() -> None:
    log = call("log", x)
    statements = [
        statement(access("x.grad", "i"), "+=", call("mul", log, g), (), (call("gt", x, 0),)),
        statement(access("w.grad", "i"), "+=", call("mul", log, z), (Range("i", Const(1)),)),
    ]
    assert optimized(*statements) == [statement_text(s) for s in statements]


@pytest.mark.parametrize(
    ("root", "joined"),
    [
        (access("s", "i"), False),
        (call("pow", access("s", "i"), 2), True),
        (call("add", 1, call("pow", x, 2)), True),
        (call("add", call("mul", 2e-5, access("t", "i")), 1), True),  # a sum of squares
        (call("add", call("mul", -2e-5, access("t", "i")), 1), False),
        (call("exp", x), True),
    ],
    ids=lambda value: "" if isinstance(value, bool) else expr_text(value),
)
def test_roots_are_joined_where_the_sign_is_known(root: Expr, joined: bool) -> None:
    square = statement(access("t", "i"), "=", call("pow", access("x", "i", "k"), 2))
    part = call("div", call("mul", g, call("pow", root, -0.25)), call("pow", root, 0.75))
    found = optimized(square, statement(access("w.grad", "i"), "+=", part), outputs=("t", "w.grad"))[-1]
    assert (".75" not in found) == joined, found


def test_equal_contributions_are_merged() -> None:
    assert optimized(
        statement(access("x.grad", "i"), "+=", call("mul", g, x)),
        statement(access("x.grad", "i"), "+=", call("mul", x, g)),
        statement(access("x.grad", "i"), "+=", z),
    ) == ["x.grad[i] += 2 * y.grad[i] * x[i]", "x.grad[i] += z[i]"]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([call("mul", g, x), call("neg", call("mul", g, z))], ["y.grad[i] * (x[i] - z[i])"]),
        ([call("mul", g, y), call("mul", call("mul", g, x), y)], ["y.grad[i] * y[i] * (1 + x[i])"]),
        ([call("neg", call("mul", g, x)), call("mul", -2, call("mul", g, z))], ["-y.grad[i] * (x[i] + 2 * z[i])"]),
        (
            [call("mul", g, call("pow", x, 3)), call("mul", call("mul", g, x), z)],
            ["y.grad[i] * x[i] * (x[i]**2 + z[i])"],
        ),
        ([call("mul", 3, call("mul", g, x)), call("mul", 3, call("mul", g, z))], ["3 * y.grad[i] * (x[i] + z[i])"]),
        (
            [call("mul", g, y), call("mul", call("mul", g, x), z), call("mul", call("mul", g, x), call("pow", z, 2))],
            ["y.grad[i] * (y[i] + x[i] * z[i] * (1 + z[i]))"],  # what has most in common comes first
        ),
        (
            [call("div", call("mul", g, x), Size("x", 0)), call("div", call("mul", g, z), Size("x", 0))],
            ["y.grad[i] * (x[i] + z[i]) / size(x,0)"],
        ),
        # what must stay
        ([g, call("mul", g, x)], ["y.grad[i]", "y.grad[i] * x[i]"]),  # no shorter
        ([call("mul", 2, x), call("mul", 2, z)], ["2 * x[i]", "2 * z[i]"]),
        ([call("div", x, y), call("div", z, y)], ["x[i] / y[i]", "z[i] / y[i]"]),  # at 0, inf - inf is nan
    ],
    ids=lambda value: " ".join(value) if isinstance(value[0], str) else "",
)
def test_what_contributions_have_in_common_stands_once(values: list[Expr], texts: list[str]) -> None:
    found = optimized(*(statement(access("x.grad", "i"), "+=", v) for v in values))
    assert found == [f"x.grad[i] += {text}" for text in texts]


def test_contributions_are_put_together_only_where_they_run_alike() -> None:
    w = access("w", "i", "k")
    apart = [
        statement(access("x.grad", "i"), "+=", call("mul", g, x)),
        statement(access("x.grad", "i"), "+=", call("mul", g, z), (), (call("gt", x, 0),)),
        statement(access("x.grad", "i"), "+=", call("mul", g, y), (Range("i", Const(1)),)),
        statement(access("x.grad", "i"), "+=", call("mul", g, w)),
        statement(access("x.grad", "i"), "+=", call("mul", call("mul", g, w), z)),
    ]
    assert optimized(*apart) == [statement_text(s) for s in apart]


def test_a_bracket_is_not_longer_than_a_person_reads() -> None:
    names = "ABCDEFGHIJ"
    many = [statement(access("x.grad", "i"), "+=", call("mul", g, access(n, "i"))) for n in names]
    found = optimized(*many)
    assert len(found) == 3 and all(text.count("+") <= 4 for text in found)
    assert sorted(n for text in found for n in names if f"{n}[i]" in text) == list(names)


def test_a_repeated_gradient_is_read_where_it_is() -> None:
    assert optimized(
        statement(access("h.grad", "i", "j"), "+=", access("y.grad", "j", "i")),
        statement(access("x.grad", "i"), "+=", call("mul", access("h.grad", "i", "j"), access("w", "j"))),
    ) == ["x.grad[i] += y.grad[j,i] * w[j]"]


def test_a_gradient_that_is_wanted_or_partial_stays() -> None:
    alias = statement(access("h.grad", "i"), "+=", g)
    reader = statement(access("x.grad", "i"), "+=", call("mul", access("h.grad", "i"), z))
    assert len(optimized(alias, reader, outputs=("h.grad", "x.grad"))) == 2
    ranged = statement(access("h.grad", "i"), "+=", g, (Range("i", None, Size("y", 0)),))
    assert len(optimized(ranged, reader)) == 2


def test_two_tensors_of_one_definition_become_one() -> None:
    def total(name: str, index: str) -> Statement:
        return statement(access(name, "b"), "+=", call("exp", access("x", "b", index)))

    assert optimized(
        total("t", "k"),
        total("t2", "j"),
        statement(access("y", "b"), "=", call("div", access("t", "b"), access("t2", "b"))),
        floats=("x",),
    ) == ["t[b] += exp(x[b,k])", "y[b] = t[b] / t[b]"]


def test_a_quotient_that_has_a_name_is_read() -> None:
    e, w = access("e", "b", "i"), access("z", "b")
    back = call("div", call("mul", access("e", "c", "j"), access("p.grad", "c", "j")), access("z", "c"))
    other = call("div", call("mul", access("e", "c", "j"), access("p.grad", "c", "j")), access("z", "j"))
    assert optimized(
        statement(access("p", "b", "i"), "=", call("div", e, w)),
        statement(access("x.grad", "c", "j"), "+=", back),
        statement(access("v.grad", "c", "j"), "+=", other),
    ) == [
        "p[b,i] = e[b,i] / z[b]",
        "x.grad[c,j] += p[c,j] * p.grad[c,j]",
        "v.grad[c,j] += e[c,j] * p.grad[c,j] / z[j]",
    ]


def test_dead_statements_go_and_shapes_are_kept_alive() -> None:
    assert optimized(
        statement(access("dead", "i"), "=", call("add", x, 1)),
        statement(access("h", "i"), "=", call("mul", x, 2)),  # only its shape is needed
        statement(access("h.grad", "i"), "+=", call("mul", g, access("w", "i"))),
        statement(access("x.grad", "i"), "+=", call("mul", 2, access("h.grad", "i"))),
        outputs=("x.grad",),
    ) == ["h[i] = x[i] * 2", "h.grad[i] += y.grad[i] * w[i]", "x.grad[i] += 2 * h.grad[i]"]


def test_an_index_that_falls_out_of_the_value_would_still_count() -> None:
    stmt = statement(access("x.grad", "i"), "+=", call("mul", g, call("pow", access("w", "k"), 0)))
    assert set(simplify_statement(stmt).domain.indices) == {"i", "k"}


# -- random programs: every axis has three elements, so that every index runs over 0, 1, 2 -----------------

SIZE = 3
RANKS = {"x": 2, "w": 1, "q": 2, "s": 0}


def random_program(seed: int) -> Program:
    """Forward statements, then derived ones that read all of it, with parts that come again and again."""
    rng = random.Random(seed)
    ranks = dict(RANKS)

    def read(names: str) -> Expr:
        tensor = rng.choice(list(ranks))
        return access(tensor, *(rng.choice(names) for _ in range(ranks[tensor])))

    def expr(names: str, depth: int) -> Expr:
        if depth == 0:
            return read(names)
        a = expr(names, depth - 1)
        match rng.choice(["exp", "tanh", "square", "mul", "mul", "add", "sub", "div", "neg", "where"]):
            case "square":
                return call("pow", a, 2)
            case "div":
                return call("div", a, call("add", 2, call("tanh", read(names))))
            case "exp" | "tanh" | "neg" as fn:
                return call(fn, a)
            case "where":
                return call("where", call("lt", read(names), read(names)), a, expr(names, depth - 1))
            case fn:
                return call(fn, a, expr(names, depth - 1))

    statements = []
    for k in range(rng.randint(1, 4)):
        free = rng.choice(["", "i", "ij"])
        names = free + rng.choice(["", "k"]) or "k"
        masks = (call("le", Index(names[0]), Index(names[-1])),) if rng.random() < 0.2 else ()
        statements.append(statement(access(f"h{k}", *free), "+=", expr(names, rng.randint(1, 3)), (), masks))
        ranks[f"h{k}"] = len(free)
    parts = [s.value for s in statements]
    for _ in range(rng.randint(1, 6)):
        free = rng.choice(["", "i", "ij"])
        primal = rng.choice([t for t, r in ranks.items() if r == len(free) and ".grad" not in t])
        factors = [rng.choice(parts) if rng.random() < 0.4 else expr("ijk", 2) for _ in range(rng.randint(1, 3))]
        value = functools.reduce(lambda a, b: call(rng.choice(["mul", "mul", "mul", "div"]), a, b), factors)
        masks = (call("not", call("lt", read("ijk"), 0)),) if rng.random() < 0.2 else ()
        name = f"{primal}.grad"
        if any(name in reads_of(s) for s in statements):
            continue  # it has been read: complete
        derived = statement(access(name, *free), "+=", value, (), masks)
        if name in reads_of(derived):
            continue
        statements += [derived] * rng.choice([1, 1, 1, 2])
        ranks[name] = len(free)
    inputs, _ = default_interface(tuple(statements))
    outputs = dict.fromkeys(s.target.tensor for s in statements if rng.random() < 0.6) or {"h0": None}
    return Program(inputs, tuple(outputs), tuple(statements))


def run(program: Program, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The program by whole arrays: an axis for each index."""
    tensors = dict(tensors)

    def spread(expr: Expr, names: tuple[str, ...]) -> np.ndarray:
        match expr:
            case Const(v):
                return np.float64(v)
            case Index(name):
                return np.arange(SIZE).reshape([SIZE if n == name else 1 for n in names])
            case Access(tensor, subscripts):
                return tensors[tensor][tuple(spread(s, names) for s in subscripts)]
            case Call(fn, args):
                words = [f"a{k}" for k in range(len(args))]
                scope = dict(zip(words, (spread(a, names) for a in args), strict=True), np=np)
                return eval(FORMS[fn].numpy.format(*words), scope)
        raise AssertionError(expr)

    for stmt in program.statements:
        names, target = stmt.domain.indices, stmt.target
        box = (SIZE,) * len(names)
        value = np.broadcast_to(spread(stmt.value, names), box)
        for mask in stmt.domain.masks:
            value = np.where(np.broadcast_to(spread(mask, names), box), value, 0.0)
        sums = tensors.setdefault(target.tensor, np.zeros((SIZE,) * len(target.subscripts)))
        cells = [np.broadcast_to(spread(s, names), box) for s in target.subscripts]
        np.add.at(sums[None], (np.zeros(box, int), *cells), value)
    return {name: tensors[name] for name in program.outputs}


def test_optimized_programs_have_the_same_values() -> None:
    rewritten = 0
    for seed in range(300):
        program = random_program(seed)
        shorter = optimize(program, ("x", "w", "q", "s"))
        rewritten += len(shorter.statements) != len(program.statements)
        rng = np.random.default_rng(seed)
        tensors = {name: rng.uniform(0.2, 1.0, (SIZE,) * RANKS[name.removesuffix(".grad")]) for name in RANKS}
        with np.errstate(all="ignore"):
            before, after = run(program, tensors), run(shorter, tensors)
        for name in program.outputs:
            assert np.allclose(before[name], after[name], rtol=1e-10, atol=0, equal_nan=True), (seed, name)
    assert rewritten > 100


def test_what_is_made_twice_is_asked_for_its_size_by_the_name_that_stays() -> None:
    text = "y[b,j,j] max= x[b,2*j+di] where di < 2\nz[b,j,j] max= x[b,2*j+di] where di < 2"
    back = indexlang.compile(text).grad()
    x = np.random.default_rng(3).standard_normal((2, 6))
    dy, dz = np.random.default_rng(4).standard_normal((2, 2, 3, 3))
    expected = np.zeros_like(x)
    for b in range(2):
        for j in range(3):
            expected[b, 2 * j + x[b, 2 * j : 2 * j + 2].argmax()] += dy[b, j, j] + dz[b, j, j]
    given = {"x": x, "y.grad": dy, "z.grad": dz}
    np.testing.assert_allclose(back({n: given[n] for n in back.inputs})["x.grad"], expected)
