"""Nests compiled for several machines against the same Nests run by NumPy, statement by statement."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="the native backend needs it")

from native_targets import compiled, copies, same, targets
from nest_interpreter import run

from indexlang.backends.native import engine
from indexlang.backends.native.check import faults
from indexlang.backends.native.check_bounds import Domain
from indexlang.backends.native.emit import module
from indexlang.backends.native.nest import (
    Apply,
    Array,
    Count,
    For,
    Form,
    Literal,
    Nest,
    Operand,
    Read,
    Set,
    Stmt,
    Type,
    When,
    Write,
    form,
)
from indexlang.backends.native.operations import OPERATIONS
from indexlang.backends.native.target import AVX512, NEON
from indexlang.backends.native.writing import Writing

TARGETS = targets()
SIGNED = ("int8", "int16", "int32", "int64")
INTEGERS = (*SIGNED, "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")
DTYPES = (*INTEGERS, *FLOATS, "bool")


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_CACHE", "off")


def agree(nests: list[Nest], given: list[dict[str, np.ndarray]], near: tuple[str, ...] = ()) -> None:
    """Compiled and interpreted give the same, in every array. Those that are `near` may be rounded twice."""
    expected = [copies(arrays) for arrays in given]
    for nest, arrays in zip(nests, expected, strict=True):
        assert faults(nest) == []
        run(nest, arrays)
    for machine, target in TARGETS.items():
        library = compiled(nests, target)
        for nest, arrays, right in zip(nests, given, expected, strict=True):
            found = copies(arrays)
            engine.call(library, nest, found)
            for name in arrays.keys() - {"anything"}:
                _equal(name, found[name], right[name], name in near, f"{machine}: {name} of {nest}")


def _equal(name: str, found: np.ndarray, right: np.ndarray, near: bool, message: str) -> None:
    if near:
        tolerance = 4 * np.finfo(right.dtype).eps
        np.testing.assert_allclose(found, right, tolerance, tolerance, err_msg=message)
    elif name.startswith(("least", "greatest", "most", "fewest")):  # which 0 is not said
        np.testing.assert_array_equal(found, right, message)
    else:
        same(found, right, message)


# -- operations ------------------------------------------------------------------------------------------


def numbers(dtype: str, size: int, seed: int) -> np.ndarray:
    """Values of a dtype, the peculiar ones among them."""
    random = np.random.default_rng(seed)
    if dtype == "bool":
        return random.random(size) < 0.5
    if dtype in INTEGERS:
        limits = np.iinfo(dtype)
        found = random.integers(limits.min, limits.max, size, dtype, endpoint=True)
        special = [0, 1, limits.max, limits.min, limits.max - 1, 2, 3, 7]
        if dtype in SIGNED:
            special += [-1, -2, limits.min + 1, -7]
    else:
        info = np.finfo(dtype)
        found = (random.standard_normal(size) * 3).astype(dtype)
        special = [0.0, -0.0, np.inf, -np.inf, np.nan, 0.5, 1.5, 2.5, -0.5, -2.5, 1.0, -1.0]
        special += [float(info.max), float(info.tiny), float(info.smallest_subnormal)]
    with np.errstate(all="ignore"):
        found[: size // 2] = np.array(random.choice(special, size // 2)).astype(dtype)
    return found


def rows_of(dtype: str, lanes: int) -> Iterator[tuple[str, int, Type]]:
    """Rows of the table that take such a type: how many operands, and what they give."""
    own, scalar = Type(dtype, lanes), Type(dtype)
    yield from ((fn, 2, Type("bool", lanes)) for fn in ("lt", "le", "gt", "ge", "eq", "ne"))
    yield from ((fn, 1, own) for fn in ("same",))
    yield from ((fn, 2, own) for fn in ("least", "greatest"))
    yield from ((fn, 1, scalar) for fn in ("most", "fewest"))
    if dtype != "bool":
        yield from ((fn, 2, own) for fn in ("add", "sub", "mul"))
        yield from ((fn, 1, own) for fn in ("neg", "abs"))
        yield "total", 1, scalar
        width = 8 * np.dtype(dtype).itemsize
        yield from (
            ("bits", 1, Type(f"{k}{width}", lanes)) for k in ("int", "uint", "float") if width > 8 or k != "float"
        )
    if dtype not in FLOATS:
        yield from ((fn, 2, own) for fn in ("and", "or", "xor"))
        yield "not", 1, own
    if dtype in FLOATS:
        yield from ((fn, 2, own) for fn in ("div", "copysign"))
        yield from ((fn, 1, own) for fn in ("sqrt", "floor", "ceil", "trunc", "nearest"))
        yield "fma", 3, own
        yield "ordered", 1, Type("bool", lanes)


def table(dtype: str, lanes: int, size: int = 48) -> tuple[Nest, dict[str, np.ndarray]]:
    """All rows for a type, each written to an array of its own."""
    w = Writing()
    inputs = [Array(f"in{k}", dtype, size) for k in range(3)]
    outputs = dict[str, Array]()
    k64 = [Literal(k, Type("int64")) for k in range(lanes)]
    with w.loop("i", 0, size, lanes) as i:
        args: list[Operand] = [w.read(a, i, lanes) for a in inputs]
        ends: list[Operand] = [w.read(a, Form(0), lanes, step=0) for a in inputs]

        def write(fn: str, given: tuple[Operand, ...], kind: Type) -> None:
            name = f"{fn}_{kind.dtype}_{len(outputs)}"
            result = w.set(Apply(fn, given, kind), name)
            outputs[name] = Array(name, kind.dtype, size, "output")
            w.write(outputs[name], i, result)

        for fn, count, kind in rows_of(dtype, lanes):
            write(fn, tuple(args[:count]), kind)
            if count == 2:
                write(fn, (args[0], literal(dtype, lanes)), kind)
                write(fn, (literal(dtype, lanes), args[0]), kind)
                write(fn, (args[1], ends[0]), kind)
        if dtype in INTEGERS:
            width = 8 * np.dtype(dtype).itemsize
            by = w.apply("and", args[1], Literal(width - 1, Type(dtype, lanes)))
            zero = Literal(0, Type(dtype, lanes))
            divisor = w.apply("select", w.apply("eq", args[1], zero), literal(dtype, lanes), args[1])
            for fn in ("quotient", "remainder"):
                write(fn, (args[0], divisor), Type(dtype, lanes))
                write(fn, (literal(dtype, lanes), divisor), Type(dtype, lanes))
                write(fn, (args[0], literal(dtype, lanes)), Type(dtype, lanes))
            # a divisor of 0 stops nothing, whatever it gives
            harmless = Array("anything", dtype, size, "output")
            for fn in ("quotient", "remainder"):
                w.write(harmless, i, w.apply(fn, args[0], args[1]))
                w.write(harmless, i, w.apply(fn, args[0], zero))
            outputs["anything"] = harmless
            for fn in ("shl", "shr"):
                write(fn, (args[0], by), Type(dtype, lanes))
                write(fn, (args[0], Literal(3, Type(dtype, lanes))), Type(dtype, lanes))
        mask = w.apply("lt", args[0], args[1])
        write("select", (mask, args[1], args[2]), Type(dtype, lanes))
        one = w.apply("lane", mask, k64[-1], kind=Type("bool"))
        write("select", (one, args[1], args[2]), Type(dtype, lanes))
        first = w.apply("lane", args[0], k64[lanes // 2], kind=Type(dtype))
        write("lane", (args[0], k64[lanes // 2]), Type(dtype))
        write("spread", (first,), Type(dtype, lanes))
        write("spread", (literal(dtype, 1),), Type(dtype, lanes))
        write("shuffle", (args[0], *reversed(k64)), Type(dtype, lanes))
        write("shuffle", (args[0], *[k64[lanes // 2]] * lanes), Type(dtype, lanes))
        write("shuffle", (args[0], *k64[lanes // 2 :]), Type(dtype, lanes - lanes // 2))
    arrays = {a.name: numbers(dtype, size, k) for k, a in enumerate(inputs)}
    arrays |= {a.name: np.zeros(size, a.dtype) for a in outputs.values()}
    return Nest(f"table_{dtype}_{lanes}", (*inputs, *outputs.values()), (), tuple(w.lists[0])), arrays


def literal(dtype: str, lanes: int) -> Literal:
    return Literal(True if dtype == "bool" else -3.25 if dtype in FLOATS else 3, Type(dtype, lanes))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_operation(dtype: str) -> None:
    lanes = (1, 4, 16) if dtype in ("float32", "int32", "bool") else (8,)
    nests, arrays = zip(*(table(dtype, k) for k in lanes), strict=True)
    near = tuple({n for a in arrays for n in a if n.startswith("fma")}) if dtype in FLOATS else ()
    agree(list(nests), list(arrays), near)


def test_the_tables_of_tests_are_whole() -> None:
    nests = [table(dtype, 4)[0] for dtype in DTYPES]
    found = {s.op.fn for n in nests for o in n.body for s in o.body if isinstance(s, Set) and isinstance(s.op, Apply)}  # type: ignore[union-attr]
    assert found | {"cast"} == OPERATIONS


@pytest.mark.parametrize("lanes", [1, 8])
def test_casts(lanes: int) -> None:
    """Every dtype to every other: what both have, and for floats what is rounded."""
    nests, given = [], []
    for own, other in product(DTYPES, DTYPES):
        values = _to_cast(own, other)
        a, b = Array("a", own, values.size), Array("b", other, values.size, "output")
        w = Writing()
        with w.loop("i", 0, values.size, lanes) as i:
            w.write(b, i, w.apply("cast", w.read(a, i, lanes), kind=Type(other, lanes)))
        nests.append(Nest(f"{own}_to_{other}", (a, b), (), tuple(w.lists[0])))
        given.append({"a": values, "b": np.zeros(values.size, other)})
    agree(nests, given)


def _to_cast(own: str, other: str) -> np.ndarray:
    random = np.random.default_rng(7)
    if own in FLOATS and other in FLOATS:
        exponents = random.uniform(-30, 20, 128)
        with np.errstate(over="ignore"):
            return (random.choice([-1, 1], 128) * 2.0**exponents).astype(own)
    if own in FLOATS and other != "bool":
        top = min(float(np.iinfo(other).max) / 2, 2000.0)
        return random.uniform(0 if other[0] == "u" else -top, top, 64).astype(own)
    return numbers(own, 64, 7)


def test_float16_is_rounded_once() -> None:
    """Numbers just beside the middle of two float16, which float32 does not tell from the middle."""
    steps = np.arange(0, 0x7C00, 7, np.uint16)
    low, high = steps.view(np.float16).astype(np.float64), (steps + 1).view(np.float16).astype(np.float64)
    middle = (low + high) / 2
    middle[~np.isfinite(middle)] = 65520.0
    values = np.concatenate([middle, np.nextafter(middle, 0), np.nextafter(middle, np.inf), -middle, [np.nan, np.inf]])
    values = np.resize(values, values.size // 8 * 8 + 8)
    a, b = Array("a", "float64", values.size), Array("b", "float16", values.size, "output")
    w = Writing()
    with w.loop("i", 0, values.size, 8) as i:
        w.write(b, i, w.apply("cast", w.read(a, i, 8), kind=Type("float16", 8)))
    nest = Nest("halves", (a, b), (), tuple(w.lists[0]))
    with np.errstate(all="ignore"):
        right = values.astype(np.float16)
    for target in TARGETS.values():
        found = np.zeros(values.size, np.float16)
        engine.call(compiled([nest], target), nest, {"a": values, "b": found})
        same(found, right)


def test_all_float16_are_read() -> None:
    values = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16).view(np.float16)
    a, b = Array("a", "float16", values.size), Array("b", "float32", values.size, "output")
    c = Array("c", "float16", values.size, "output")
    w = Writing()
    with w.loop("i", 0, values.size, 8) as i:
        wide = w.apply("cast", w.read(a, i, 8), kind=Type("float32", 8))
        w.write(b, i, wide)
        w.write(c, i, w.apply("cast", wide, kind=Type("float16", 8)))
    nest = Nest("halves", (a, b, c), (), tuple(w.lists[0]))
    for target in TARGETS.values():
        found, back = np.zeros(values.size, np.float32), np.zeros(values.size, np.float16)
        engine.call(compiled([nest], target), nest, {"a": values, "b": found, "c": back})
        same(found, values.astype(np.float32))
        same(back, values)


def test_what_leaves_the_range_of_an_integer_does_no_harm() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 3e9, -1.0, 2.0], np.float32)
    nests = []
    for dtype in INTEGERS:
        a, b = Array("a", "float32", 8), Array("b", dtype, 8, "output")
        w = Writing()
        w.write(b, Form(0), w.apply("cast", w.read(a, Form(0), 8), kind=Type(dtype, 8)))
        nests.append(Nest(f"to_{dtype}", (a, b), (), tuple(w.lists[0])))
    library = compiled(nests, TARGETS["host"])
    for nest, dtype in zip(nests, INTEGERS, strict=True):
        found = np.zeros(8, dtype)
        engine.call(library, nest, {"a": values, "b": found})
        assert found[7] == 2


# -- memory ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_reads_and_writes(dtype: str) -> None:
    """Vectors with each step and each number of live lanes; what is not live stays as it was."""
    nests, given = [], []
    for lanes in (3, 8, 16) if dtype in ("float32", "bool") else (8,):
        for step in (0, 1, 2, -1, -3, 7):
            size = abs(step) * (lanes - 1) + 1
            a, b = Array("a", dtype, size + 2), Array("b", dtype, (lanes + 1) * (size + 2), "output")
            full = Array("full", dtype, (lanes + 1) * lanes, "output")
            first = 1 - min(0, step * (lanes - 1))
            w = Writing()
            for live in range(lanes + 1):
                value = w.read(a, Form(first), lanes, step, live)
                w.write(full, Form(live * lanes), value)
                if step:
                    w.write(b, Form(live * (size + 2) + first), value, step, live)
            nests.append(Nest(f"move_{lanes}_{step}".replace("-", "m"), (a, b, full), (), tuple(w.lists[0])))
            given.append({k.name: numbers(dtype, k.size, 3) for k in (a, b, full)})
    agree(nests, given)


def test_moved_accesses() -> None:
    """Accesses that data move: one number for all lanes, and one for each."""
    where = Array("where", "int64", 16)
    x = Array("x", "float32", 80)
    y = Array("y", "float32", 16 * 30, "output")
    w = Writing()
    eight = w.read(where, Form(8), 8)
    with w.loop("i", 0, 8) as i:
        one = w.read(where, i)
        for number, (lanes, step, live) in enumerate([(1, 1, 0), (8, 1, 0), (8, 1, 5), (8, 2, 3), (8, 0, 0)]):
            value = w.read(x, i, lanes, step, live, one, (-0, 50))
            w.write(y, i * 8 + 64 * number, value)
    with w.loop("i", 0, 4) as i:
        w.write(y, i * 8 + 320, w.read(x, i, 8, 0, 0, eight, (0, 50)))
        w.write(y, i * 8 + 352, w.read(x, i, 8, 2, 6, eight, (0, 50)))
    spread = w.read(x, Form(0), 8)
    w.write(y, Form(384), spread, 0, 0, eight, (0, 50))
    w.write(y, Form(440), spread, 1, 3, w.read(where, Form(0)), (0, 30))
    nest = Nest("moved", (where, x, y), (), tuple(w.lists[0]))
    positions = np.random.default_rng(1).integers(0, 30, 16)
    arrays = {"where": positions, "x": numbers("float32", 80, 4), "y": np.zeros(480, np.float32)}
    agree([nest], [arrays])


def test_targets_that_are_not_here_get_code() -> None:
    """Masks and wide vectors of other machines: code is made of them, though it cannot run here."""
    nests = [table(dtype, 16)[0] for dtype in ("float32", "bool", "float16")]
    for k, dtype in enumerate(("float64", "bool", "int8", "float16")):
        array = Array(f"a{k}", dtype, 40, "output")
        nests.append(Nest(f"masked{k}", (array,), (), (
            Set("r", Read(array, Form(3), 16, live=11)), Write(array, Form(20), "r", live=7),
        )))  # fmt: skip
    assert module(nests, AVX512).count(" call ") >= module(nests, NEON).count(" call ") + 8
    assert "llvm.masked" not in module(nests, NEON)
    if TARGETS["host"].triple.startswith("x86_64"):
        assert engine.assembled(module(nests, AVX512), AVX512)


# -- loops, branches, registers --------------------------------------------------------------------------


def hand_written() -> Iterator[tuple[Nest, dict[str, np.ndarray]]]:
    """Nests with what a random one rarely has."""
    x, y = Array("x", "int32", 64), Array("y", "int32", 64, "output")
    room = Array("room", "int32", 8, "workspace")
    arrays = {"x": np.arange(64, dtype=np.int32), "y": np.full(64, -1, np.int32)}
    one = Literal(1, Type("int32"))

    def nest(name: str, body: list[Stmt], *items: tuple[str, int]) -> tuple[Nest, dict[str, np.ndarray]]:
        return Nest(name, (x, y, room), items, tuple(body)), arrays

    w = Writing()  # two registers that change places in each round
    a, b = w.read(x, Form(1)), w.read(x, Form(2))
    with w.loop("i", 0, 7):
        kept = w.apply("same", a)
        w.apply("same", b, register=a)
        w.apply("add", kept, b, register=b)
    w.write(y, Form(0), a)
    w.write(y, Form(1), b)
    yield nest("change", w.lists[0])

    w = Writing()  # loops of no round, one round, unknown rounds; a register goes through all of them
    r = w.read(x, Form(3))
    for number, (begin, end, by) in enumerate([(0, 0, 1), (5, 2, 1), (4, 5, 1), (0, 3, 4), (0, 9, 4)]):
        with w.loop(f"i{number}", begin, end, by) as i:
            w.apply("add", r, w.read(x, i), register=r)
            with w.loop(f"j{number}", i, [i + 2, form(6)]) as j, w.when(j - 2):
                w.apply("add", r, w.read(x, j), register=r)
        w.write(y, Form(number), r)
    yield nest("rounds", w.lists[0])

    w = Writing()  # a branch sets what is there, another sets it twice, what is known takes one way
    r, s = w.read(x, Form(3)), w.read(x, Form(4))
    with w.loop("i", -4, 5) as i:
        with w.apart() as then:
            w.apply("add", r, s, register=r)
        with w.apart() as other:
            w.apply("sub", s, r, register=s)
            w.apply("sub", s, one, register=s)
        w.otherwise(i * 3 - 2, then, other)
        with w.when(i - 2), w.when(i * -1 + 3):
            w.apply("add", s, r, register=s)
        with w.when(Form(-1)):
            w.apply("sub", s, r, register=s)
        with w.when(Form(0)):
            w.apply("add", r, one, register=r)
        w.write(y, i + 4, r)
        w.write(y, i + 20, s)
    yield nest("branches", w.lists[0])

    w = Writing()  # a workspace is written, then read
    i = form("i")
    with w.loop("k", 0, 8) as k:
        w.write(room, k, w.apply("add", w.read(x, i * 8 + k), one))
    w.write(y, i * 8, w.read(room, Form(7), 8, step=-1))
    yield nest("workspace", w.lists[0], ("i", 8))

    w = Writing()  # items of which some have one value only
    at = form("c") * 2 + form("d") + form("a") * 6
    count = w.apply("cast", w.count(at + form("b") * 5 + 2), kind=Type("int32"))
    w.write(y, at, count)
    w.write(y, at + 24, w.apply("cast", w.count(at, 1, 9), kind=Type("int32")))
    yield nest("items", w.lists[0], ("z", 1), ("a", 4), ("b", 1), ("c", 3), ("d", 2))

    w = Writing()  # a triangle, and a window that is cut at the border
    i = form("i")
    total = w.apply("same", w.number(0, "int32"))
    with w.loop("j", i, 8) as j:
        w.apply("add", total, w.read(x, j * 8 + i), register=total)
    w.write(y, i, total)
    with w.loop("d", [form(0), i * -1 + 3], [form(7), i * -1 + 11]) as d:
        w.apply("add", total, w.read(x, i + d - 3), register=total)
    w.write(y, i + 8, total)
    w.write(y, i * 4 + 32, w.apply("cast", w.count(i * -3 + 2, 4, -5), kind=Type("int32", 4)))
    yield nest("triangle", w.lists[0], ("i", 8))


def test_loops_and_branches() -> None:
    nests, arrays = zip(*hand_written(), strict=True)
    agree(list(nests), list(arrays))


class Random:
    """A random Nest: loops in loops, bounds that depend on each other, registers that are set again."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.lanes = int(self.random.choice([1, 4, 8]))
        self.dtype = str(self.random.choice(["float32", "float64", "int32"]))
        self.type = Type(self.dtype, self.lanes)
        self.arrays: list[Array] = []
        self.vars = 0
        self.items = tuple((f"t{k}", int(self.random.integers(1, 4))) for k in range(self.random.integers(0, 3)))
        domain = Domain()
        for var, extent in self.items:
            domain = domain.item(var, extent)
        registers = ["r0", "r1"]
        start = [Set(r, Apply("same", (Literal(k + 1, self.type),), self.type)) for k, r in enumerate(registers)]
        body = self.body(domain, registers, 3) + [self.write(domain, r) for r in registers]
        self.nest = Nest(f"random{seed}", tuple(self.arrays), self.items, (*start, *body))

    def number(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high))

    def form(self, domain: Domain, most: int = 2) -> Form:
        found = Form(self.number(-3, 4))
        for var in domain.depth:
            if self.random.random() < 0.6:
                found = found + form(var, self.number(-most, most + 1))
        return found

    def body(self, domain: Domain, registers: list[str], depth: int) -> list[Stmt]:
        found: list[Stmt] = []
        for _ in range(self.number(1, 4)):
            kind = self.random.random()
            if depth and kind < 0.45:
                self.vars += 1
                begin = tuple(self.form(domain, 1) for _ in range(self.number(1, 3)))
                end = tuple(self.form(domain, 1) + self.number(1, 6) for _ in range(self.number(1, 3)))
                loop = For(f"v{self.vars}", begin, end, (), self.number(1, 4))
                if any(domain.never(e - b - 1) for b in begin for e in end):
                    continue
                inner = self.body(domain.loop(loop), list(registers), depth - 1)
                found.append(For(loop.var, begin, end, tuple(inner), loop.by))
            elif depth and kind < 0.6:
                test = self.form(domain)
                if domain.never(test) or domain.never(test * -1 - 1):
                    continue
                then = self.body(domain.where(test), list(registers), depth - 1)
                other = self.body(domain.where(test * -1 - 1), list(registers), depth - 1)
                found.append(When(test, tuple(then), tuple(other) if self.random.random() < 0.5 else ()))
            else:
                found += self.step(domain, registers)
        return found

    def step(self, domain: Domain, registers: list[str]) -> list[Stmt]:
        """A register is set, or a fresh one begins."""
        at = self.form(domain)
        step, live = self.number(0, 3), self.number(0, self.lanes + 1)
        array, at = self.array(domain, at, step * (self.lanes - 1), "input")
        self.vars += 1
        read, target = f"x{self.vars}", str(self.random.choice(registers))
        if self.random.random() < 0.3:
            target = f"r{self.vars}"
        fn = str(self.random.choice(["add", "sub", "greatest", "least"]))
        found: list[Stmt] = [
            Set(read, Read(array, at, self.lanes, step, live)),
            Set(target, Apply(fn, (str(self.random.choice(registers)), read), self.type)),
        ]
        if target not in registers:
            registers.append(target)
        return found

    def array(self, domain: Domain, at: Form, span: int, role: str) -> tuple[Array, Form]:
        """An array that is as large as an access needs, and the access from where it begins."""
        least, most = domain.least(at), domain.greatest(at)
        assert least is not None
        assert most is not None
        for array in self.arrays:
            if array.role == role == "input" and array.size > most - least + span:
                return array, at - least
        self.arrays.append(Array(f"a{len(self.arrays)}", self.dtype, max(1, most - least + span + 1), role))
        return self.arrays[-1], at - least

    def write(self, domain: Domain, register: str) -> Stmt:
        at, size = Form(0), self.lanes
        for var, extent in reversed(self.items):
            at, size = at + form(var, size), size * extent
        array, at = self.array(domain, at, self.lanes - 1, "output")
        return Write(array, at, register)


@cache
def randoms() -> list[tuple[Nest, dict[str, np.ndarray]]]:
    found = []
    for seed in range(60):
        nest = Random(seed).nest
        random = np.random.default_rng(seed)
        found.append((nest, {a.name: random.integers(-9, 9, a.size).astype(a.dtype) for a in nest.arrays}))
    return found


def test_random_nests() -> None:
    nests, arrays = zip(*randoms(), strict=True)
    agree(list(nests), list(arrays))


def test_one_text_for_one_nest() -> None:
    nest = Random(1).nest
    assert module([nest], AVX512) == module([Random(1).nest], AVX512)


def test_addresses_that_differ_by_a_constant_share_their_sum() -> None:
    """What a tile reads is one pointer and constants, made once in each round."""
    x, y = Array("x", "float32", 4096), Array("y", "float32", 8, "output")
    w = Writing()
    total = w.apply("same", w.number(0.0, "float32", 8))
    with w.loop("i", 0, 16) as i, w.loop("j", 0, 8) as j:
        for k in range(8):
            w.apply("add", total, w.read(x, i * 128 + j * 8 + k * 100, 8), register=total)
    w.write(y, Form(0), total)
    text = module([Nest("tile", (x, y), (), tuple(w.lists[0]))], AVX512)
    assert text.count("call ptr @llvm.launder") == 1
    assert text.count("mul i64") == 2
    assert text.count(" add i64") == 1


def test_arrays_have_to_be_as_the_nest_says() -> None:
    nest, arrays = next(hand_written())
    library = compiled([nest], TARGETS["host"])
    for wrong in (np.zeros(3, np.int32), np.zeros(64, np.int64), np.zeros(128, np.int32)[::2]):
        with pytest.raises(ValueError, match="x has to be int32"):
            engine.call(library, nest, {**arrays, "x": wrong})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("step", [1, -1, 2])
def test_a_division_of_lanes_that_are_not_there_is_refused_by_a_selection(dtype: str, step: int) -> None:
    """They are 0 / 0: no number, as LLVM does not see by itself where the selection is added up."""
    lanes, at = 16 // np.dtype(dtype).itemsize * 2, Form(4 if step < 0 else 0)
    a, b, y = Array("a", dtype, 8), Array("b", dtype, 8), Array("y", dtype, 1, "output")
    kind, mask = Type(dtype, lanes), Type("bool", lanes)
    body = (
        Set("p", Read(a, at, lanes, step, 2)),
        Set("q", Read(b, at, lanes, step, 2)),
        Set("r", Apply("div", ("p", "q"), kind)),
        Set("n", Count(Form(), lanes, 1)),
        Set("there", Apply("lt", ("n", Literal(2, Type("int64", lanes))), mask)),
        Set("s", Apply("select", ("there", "r", Literal(0.0, kind)), kind)),
        Set("t", Apply("add", ("s", Literal(0.0, kind)), kind)),
        Set("u", Apply("total", ("t",), Type(dtype))),
        Write(y, Form(), "u"),
    )
    nest = Nest("divided", (a, b, y), (), body)
    target = engine.host()
    arrays = {"a": np.arange(1, 9, dtype=dtype), "b": np.arange(2, 10, dtype=dtype), "y": np.zeros(1, dtype)}
    engine.call(engine.compiled(module([nest], target), ["divided"], target), nest, arrays)
    chosen = np.arange(8)[at.const :][: 2 * abs(step) : step] if step > 0 else np.array([4, 3])
    assert arrays["y"][0] == pytest.approx((arrays["a"][chosen] / arrays["b"][chosen]).sum(), rel=1e-6)


@pytest.mark.parametrize("lanes", [8, 16])
def test_no_byte_beyond_the_live_lanes_is_written(lanes: int) -> None:
    """Lanes that were cut from wider ones, some of them written: what lies behind stays, in the array and after it."""
    for own, other in product(DTYPES, DTYPES):
        live = range(1, lanes + 1) if (own, other) in (("int32", "uint8"), ("float64", "int16")) else (1, 3, lanes - 1)
        a = Array("a", own, lanes)
        nests = []
        for n in live:
            w, b = Writing(), Array("b", other, n, "output")
            w.write(b, Form(0), w.apply("cast", w.read(a, Form(0), lanes), kind=Type(other, lanes)), live=n % lanes)
            nests.append(Nest(f"{own}_{other}_{n}", (a, b), (), tuple(w.lists[0])))
            assert faults(nests[-1]) == []
        values = np.ones(lanes, own)
        for machine, target in TARGETS.items():
            library = compiled(nests, target)
            for nest, n in zip(nests, live, strict=True):
                room = np.full(256, 0xA5, np.uint8)
                size = n * np.dtype(other).itemsize
                engine.call(library, nest, {"a": values, "b": room[:size].view(other)})
                np.testing.assert_array_equal(room[size:], 0xA5, f"{machine}: {nest.name}")
