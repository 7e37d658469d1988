"""Nests that are wrong are found; right ones, however narrow, pass."""

from __future__ import annotations

import numpy as np
import pytest
from nest_interpreter import WrongError, run

from indexlang.backends.native.check import faults
from indexlang.backends.native.check_bounds import Domain
from indexlang.backends.native.nest import (
    Apply,
    Array,
    Count,
    For,
    Form,
    Literal,
    Nest,
    Read,
    Set,
    Stmt,
    Type,
    When,
    Write,
    form,
)

X = Array("x", "float32", 100)
Y = Array("y", "float32", 100, "output")
B = Array("b", "bool", 10)
ROW, J, D = form("i"), form("j"), form("d")
ONE = Literal(1.0, Type("float32"))


def nest(*body: Stmt, items: tuple[tuple[str, int], ...] = (), arrays: tuple[Array, ...] = (X, Y, B)) -> Nest:
    return Nest("kernel", arrays, items, body)


def loop(var: str, begin: Form | int, end: Form | int, *body: Stmt, by: int = 1) -> For:
    return For(var, (form(0) + begin,), (form(0) + end,), body, by)


def read(at: Form | int, lanes: int = 1, **more: object) -> Set:
    return Set(f"r{lanes}", Read(X, form(0) + at, lanes, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body",
    [
        (read(99),),
        (read(92, 8),),
        (read(96, 8, live=4),),
        (read(99, 8, step=0),),
        (read(99, 4, step=-33),),
        (read(0, 4, step=33),),
        (loop("i", 0, 100, read(ROW)),),
        (loop("i", 0, 100, read(ROW, 4), by=4),),
        (loop("i", 0, 97, read(ROW, 4), by=4),),  # i is at most 96
        (loop("i", 3, 100, read(ROW, 4), by=31),),  # 3, 34, 65, 96
        (loop("i", 0, 100, read(ROW * -1 + 99)),),
        (loop("i", 0, 10, loop("j", 0, 10, read(ROW * 10 + J))),),
        (loop("i", 0, 100, loop("j", ROW, 100, read(J - ROW))),),  # a triangle
        (loop("i", 0, 100, loop("j", 0, ROW * -1 + 100, read(ROW + J))),),
        # windows that are cut at the border: i + d - 3 is inside
        (
            loop("i", 0, 100, For("d", (Form(0), ROW * -1 + 3), (Form(7), ROW * -1 + 103), (read(ROW + D - 3),))),
            loop("i", 0, 100, loop("d", 0, 7, When(ROW + D - 3, (When((ROW + D) * -1 + 102, (read(ROW + D - 3),)),)))),
        ),
        # blocks, the last of which is short
        (loop("i", 0, 100, For("j", (ROW,), (ROW + 24, Form(100)), (read(J),)), by=24),),
        (loop("i", 0, 100, When(ROW * -1 + 92, (read(ROW, 8),), (read(ROW, 8, live=4),)), by=8),),
        (loop("i", 0, 130, When(ROW - 100, (), (read(ROW),))),),
        (loop("i", 5, 5, read(ROW + 1000)),),  # no round
        (When(Form(-1), (read(1000),), (read(0),)),),
        # that there is a d says how far i goes
        (loop("i", 0, 1000, For("d", (ROW - 95,), (Form(5),), (read(ROW), read(D - ROW + 95)))),),
    ],
)
def test_what_stays_inside_passes(body: tuple[Stmt, ...]) -> None:
    assert faults(nest(*body)) == []


@pytest.mark.parametrize(
    "body",
    [
        (read(100),),
        (read(-1),),
        (read(93, 8),),
        (read(96, 8, live=5),),
        (read(98, 4, step=-33),),
        (read(1, 4, step=33),),
        (loop("i", 0, 101, read(ROW)),),
        (loop("i", 0, 101, read(ROW, 4), by=4),),
        (loop("i", -1, 10, read(ROW)),),
        (loop("i", 0, 11, loop("j", 0, 10, read(ROW * 10 + J))),),
        (loop("i", 0, 100, loop("j", ROW - 1, 100, read(J - ROW))),),
        (loop("i", 0, 100, loop("j", 0, ROW * -1 + 101, read(ROW + J))),),
        (loop("i", 0, 100, For("d", (Form(0), ROW * -1 + 2), (Form(7), ROW * -1 + 103), (read(ROW + D - 3),))),),
        (loop("i", 0, 100, loop("d", 0, 7, When(ROW + D - 3, (read(ROW + D - 3),)))),),
        (loop("i", 0, 100, For("j", (ROW,), (ROW + 24, Form(101)), (read(J),)), by=24),),
        (loop("i", 0, 100, When(ROW * -1 + 92, (read(ROW, 8, live=4),), (read(ROW, 8),)), by=8),),
        (loop("i", 0, 100, When(ROW * -1 + 97, (read(ROW, 8),)), by=8),),
    ],
)
def test_what_leaves_its_array_is_found(body: tuple[Stmt, ...]) -> None:
    assert any(f.startswith("x[100] at") for f in faults(nest(*body)))


def test_what_moves_counts_by_its_reach() -> None:
    by = Set("by", Count(Form(3)))
    assert faults(nest(by, Set("r", Read(X, Form(10), 8, 1, 0, "by", (-10, 83))))) == []
    assert "x[100]" in faults(nest(by, Set("r", Read(X, Form(10), 8, 1, 0, "by", (-11, 83)))))[0]
    assert "x[100]" in faults(nest(by, Set("r", Read(X, Form(10), 8, 1, 0, "by", (-10, 84)))))[0]
    assert "not set" in faults(nest(Set("r", Read(X, Form(10), 8, 1, 0, "by", (0, 1)))))[0]
    four = Set("by", Count(Form(3), 4, 1))
    assert faults(nest(four, Set("r", Read(X, Form(0), 4, 0, 0, "by", (3, 7))))) == []
    assert "int64x4" in faults(nest(four, Set("r", Read(X, Form(0), 8, 0, 0, "by", (3, 7)))))[0]


@pytest.mark.parametrize(
    ("says", "body"),
    [
        ("not set", (Write(Y, Form(0), "r"),)),
        ("not set", (loop("i", 0, 3, Set("r", Apply("same", (ONE,), ONE.type))), Write(Y, Form(0), "r"))),
        ("not set", (When(Form(0), (Set("r", Apply("same", (ONE,), ONE.type)),)), Write(Y, Form(0), "r"))),
        ("is float32 and float32x8", (Set("r", Read(X, Form(0))), Set("r", Read(X, Form(0), 8)))),
        ("an input", (Write(X, Form(0), ONE),)),
        ("int64 is written", (Write(Y, Form(0), Literal(1, Type("int64"))),)),
        ("to one element", (Write(Y, Form(0), Literal(1.0, Type("float32", 4)), 0),)),
        ("not an array", (Set("r", Read(Array("x", "float32", 1000), Form(0))),)),
        ("not of the vars", (read(ROW),)),
        ("not of the vars", (loop("i", 0, J, read(0)),)),
        ("not of the vars", (When(ROW, (read(0),)),)),
        ("a var already", (loop("i", 0, 3, loop("i", 0, 3)),)),
        ("step of 0", (loop("i", 0, 3, by=0),)),
        ("5 of 4 lanes", (read(0, 4, live=5),)),
        ("0 of 0 lanes", (read(0, 0),)),
        ("no such operation", (Set("r", Apply("exp", (ONE,), ONE.type)),)),
        ("takes 2 operands", (Set("r", Apply("add", (ONE,), ONE.type)),)),
        ("takes 3 operands", (Set("r", Apply("fma", (ONE, ONE), ONE.type)),)),
        ("together", (Set("r", Apply("add", (ONE, Literal(1.0, Type("float64"))), ONE.type)),)),
        ("together", (Set("r", Apply("add", (ONE, Literal(1.0, Type("float32", 8))), ONE.type)),)),
        ("it gives float32", (Set("r", Apply("add", (ONE, ONE), Type("float64"))),)),
        ("it gives bool", (Set("r", Apply("lt", (ONE, ONE), Type("float32"))),)),
        ("not of float32", (Set("r", Apply("xor", (ONE, ONE), ONE.type)),)),
        ("not of bool", (Set("r", Apply("add", (Literal(True, Type("bool")),) * 2, Type("bool"))),)),
        ("not of int32", (Set("r", Apply("sqrt", (Literal(1, Type("int32")),), Type("int32"))),)),
        ("has not the width", (Set("r", Apply("bits", (ONE,), Type("int64"))),)),
        ("no choice", (Set("r", Apply("select", (ONE, ONE, ONE), ONE.type)),)),
        ("of a scalar", (Set("r", Apply("spread", (Literal(1.0, Type("float32", 4)),), Type("float32", 8))),)),
        ("halved", (Set("r", Apply("total", (Literal(1.0, Type("float32", 6)),), Type("float32"))),)),
        ("no lane 4", (read(0, 4), Set("r", Apply("lane", ("r4", Literal(4, Type("int64"))), ONE.type)))),
        ("no number", (read(0, 4), Set("r", Apply("lane", ("r4", "r4"), ONE.type)))),
        (
            "it gives float32x2",
            (read(0, 4), Set("r", Apply("shuffle", ("r4", *[Literal(1, Type("int64"))] * 2), ONE.type))),
        ),
        ("is no uint8", (Set("r", Apply("same", (Literal(-1, Type("uint8")),), Type("uint8"))),)),
        ("is no int8", (Set("r", Apply("same", (Literal(0.5, Type("int8")),), Type("int8"))),)),
        ("no type", (Set("r", Apply("same", (Literal(0, Type("complex64")),), Type("complex64"))),)),
    ],
)
def test_other_faults_are_found(says: str, body: tuple[Stmt, ...]) -> None:
    assert any(says in f for f in faults(nest(*body))), faults(nest(*body))


def test_items_and_arrays() -> None:
    assert faults(nest(Write(Y, ROW * 10 + J, ONE), items=(("i", 10), ("j", 10)))) == []
    assert "y[100]" in faults(nest(Write(Y, ROW * 10 + J, ONE), items=(("i", 10), ("j", 11))))[0]
    assert faults(nest(items=(("i", 0),))) == ["i has 0 items"]
    assert "a var already" in faults(nest(items=(("i", 2), ("i", 2))))[0]
    assert "one name" in faults(nest(arrays=(X, X)))[0]
    assert "no array" in faults(nest(arrays=(Array("z", "complex64", 3),)))[0]


def test_a_register_keeps_its_type_and_its_life() -> None:
    one = Set("r", Apply("same", (ONE,), ONE.type))
    assert (
        faults(nest(one, loop("i", 0, 3, Set("r", Apply("add", ("r", "r"), ONE.type))), Write(Y, Form(0), "r"))) == []
    )
    assert faults(nest(When(Form(0), (one,), (one,)), one, Write(Y, Form(0), "r"))) == []


def test_the_interpreter_of_tests_raises_where_a_rule_is_broken() -> None:
    room = Array("room", "float32", 4, "workspace")
    given = {"x": np.zeros(100, np.float32), "y": np.zeros(100, np.float32), "b": np.zeros(10, bool)}
    two = (("i", 2),)
    for broken in (
        nest(read(93, 8)),
        nest(loop("i", 0, 101, read(ROW))),
        nest(Write(Y, Form(0), "r")),
        nest(loop("i", 0, 3, read(0)), Write(Y, Form(0), "r1")),
        nest(Set("r", Read(X, Form(0))), Set("r", Read(X, Form(0), 8))),
        nest(Write(X, Form(0), ONE)),
        nest(Write(Y, Form(0), Literal(1, Type("int32")))),
        nest(Set("r", Apply("add", (ONE, Literal(1.0, Type("float64"))), ONE.type))),
        nest(Set("r", Apply("lt", (ONE, ONE), ONE.type))),
        nest(Set("by", Count(Form(3))), Set("r", Read(X, Form(10), moved="by", reach=(0, 3)))),
        nest(Write(Y, Form(0), ONE), items=two),  # two items write to one element
        nest(Set("r", Read(Y, Form(1))), Write(Y, ROW, ONE), items=two),
        nest(Write(Y, ROW, ONE), Set("r", Read(Y, Form(0))), items=two),
        nest(Set("r", Read(room, Form(0))), arrays=(room,)),
        nest(When(ROW * -1, (Write(room, Form(0), ONE),)), Set("r", Read(room, Form(0))), items=two, arrays=(room,)),
    ):
        with pytest.raises(WrongError):
            run(broken, {a.name: given[a.name].copy() for a in broken.arrays if a.role != "workspace"})


def test_bounds_hold_all_values_and_most_are_exact() -> None:
    """Random loops in each other, gone through one by one."""
    random = np.random.default_rng(3)
    exact = total = 0
    for most_of in [1, 2] * 150:
        loops, names = [], list[str]()
        domain = Domain()
        for var in "abc":
            begin = tuple(_form(random, names, most_of) for _ in range(random.integers(1, 3)))
            end = tuple(_form(random, names, most_of) + 4 for _ in range(random.integers(1, 3)))
            loops.append(For(var, begin, end, (), 1 if most_of == 1 else int(random.integers(1, 4))))
            domain = domain.loop(loops[-1])
            names.append(var)
        tests = [_form(random, names, most_of) for _ in range(random.integers(0, 2))]
        for test in tests:
            domain = domain.where(test)
        points = [p for p in _points(loops, {}) if all(t.at(p) >= 0 for t in tests)]
        of = _form(random, names, most_of)
        if points:
            values = [of.at(p) for p in points]
            least, most = domain.least(of), domain.greatest(of)
            assert least is not None
            assert most is not None
            assert least <= min(values)
            assert max(values) <= most
            total += most_of == 1
            exact += most_of == 1 and (least, most) == (min(values), max(values))
    assert total > 50
    assert exact > 0.8 * total


def _form(random: np.random.Generator, names: list[str], most: int) -> Form:
    found = Form(int(random.integers(-3, 4)))
    for name in names:
        found = found + form(name, int(random.integers(-most, most + 1)))
    return found


def _points(loops: list[For], at: dict[str, int]) -> list[dict[str, int]]:
    if not loops:
        return [at]
    first = loops[0]
    values = range(max(f.at(at) for f in first.begin), min(f.at(at) for f in first.end), first.by)
    return [p for k in values for p in _points(loops[1:], {**at, first.var: k})]
