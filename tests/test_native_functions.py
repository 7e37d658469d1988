"""The language's functions as native code: against mpmath, and against the functions of the NumPy backend."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from indexlang.backends.numpy.function_support import SUPPORT
from indexlang.backends.numpy.functions import FORMS
from indexlang.plan.wellformed import BESIDE, TRUTHS
from indexlang.program.functions import FUNCTIONS

pytest.importorskip("llvmlite", reason="native code is made by LLVM")
pytest.importorskip("mpmath", reason="what is right is said by mpmath")

from nest_interpreter import run

from indexlang.backends.native import engine
from indexlang.backends.native.check import faults
from indexlang.backends.native.functions import call, known
from indexlang.backends.native.nest import Literal, Type
from indexlang.backends.native.target import BASELINE
from indexlang.backends.native.writing import Writing
from tools.function_errors import CASES, Argument, Case, computed, errors, nest_of

if not engine.available():
    pytest.skip("LLVM makes no code for this machine", allow_module_level=True)

FLOATS = ("float32", "float64")
INTEGERS = tuple(f"{sign}int{width}" for sign in ("", "u") for width in (8, 16, 32, 64))
BOUND = 2.5  # units in the last place
NAMES = {**FORMS, "square": None, "quarters": None}


def reference(fn: str, *args):
    """The NumPy backend's function."""
    space = {"np": np}
    for text in SUPPORT.values():
        exec(text, space)
    form = {"square": "np.square({0})", "quarters": "_quarters({0}, {1})"}.get(fn) or FORMS[fn].numpy
    names = {f"a{k}": a for k, a in enumerate(args)}
    with np.errstate(all="ignore"):
        return np.asarray(eval(form.format(*names), {**space, **names}))


def special(dtype: str) -> np.ndarray:
    """Zeros, infinities, nan, ends of the range, halves, and their neighbours."""
    info = np.finfo(dtype)
    some = [0.0, 1.0, 0.5, 1.5, 2.0, 2.5, 3.0, 4.0, 7.0, 100.0, 2.0**31, 2.0**62, 2.0**63, np.inf]
    some += [float(info.max), float(info.tiny), float(info.smallest_subnormal), float(info.eps)]
    return np.array([*some, *(-x for x in some), np.nan], dtype)


def pairs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.meshgrid(values, values)
    return a.ravel().copy(), b.ravel().copy()


def same(found: np.ndarray, expected: np.ndarray, close: float) -> np.ndarray:
    """Where numbers are equal but for rounding, signs of zeros included."""
    with np.errstate(all="ignore"):
        near = np.isclose(found, expected, rtol=close, atol=float(np.finfo(found.dtype).tiny), equal_nan=True)
    return near & ((np.signbit(found) == np.signbit(expected)) | np.isnan(expected))


# -- accuracy ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.fn)
def test_errors_in_units_of_the_last_place(case: Case, dtype: str) -> None:
    assert max(float(e.max()) for e in errors(case, dtype, 120)) <= BOUND


@pytest.mark.parametrize("fn", ["exp", "log", "tanh", "gelu", "sin", "asin", "pow", "expm1"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_errors_where_multiply_and_add_round_twice(fn: str, dtype: str) -> None:
    if not engine.host().triple.startswith("x86_64"):
        pytest.skip("of x86-64 only")
    (case,) = (c for c in CASES if c.fn == fn)
    target = replace(BASELINE, triple=engine.host().triple)
    assert max(float(e.max()) for e in errors(case, dtype, 60, lanes=4, target=target)) <= BOUND


@pytest.mark.parametrize("fn", ["exp", "expm1", "log", "log1p", "tanh", "sigmoid", "softplus", "silu", "erf", "gelu"])
def test_single_precision_at_many_points(fn: str) -> None:
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.uniform(-20, 20, 40000), rng.uniform(-1, 1, 40000)]).astype(np.float32)
    x = np.abs(x) if fn.startswith("log") else x
    wide = {"gelu": lambda v: computed("gelu", (v,), "float64"), "erf": lambda v: computed("erf", (v,), "float64")}
    expected = wide.get(fn, lambda v: reference(fn, v))(x.astype(np.float64))
    unit = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
    assert np.max(np.abs(computed(fn, (x,), "float32") - expected) / unit) <= BOUND


# -- bits ----------------------------------------------------------------------------------------------


def _given(fn: str, dtype: str) -> tuple[Argument, ...]:
    rng = np.random.default_rng(5)
    values = np.concatenate([special(dtype), rng.uniform(-3, 3, 27).astype(dtype)])
    if fn == "quarters":
        return values, Literal(-3, Type("int64"))
    arity = BESIDE.get(fn) or FUNCTIONS[fn].arity
    return tuple(np.roll(values, 7 * k) for k in range(arity))


def _kind(fn: str, dtype: str) -> str:
    return "bool" if fn in TRUTHS else "int64" if fn == "int" else dtype


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("fn", sorted({*FUNCTIONS, *BESIDE}))
def test_all_lanes_give_the_same_bits(fn: str, dtype: str) -> None:
    if not known(fn, Type(_kind(fn, dtype))):
        assert (fn, dtype) in {("mod", "float64"), ("floordiv", "float64")}
        return
    args = _given(fn, dtype)
    one, *others = (computed(fn, args, _kind(fn, dtype), lanes) for lanes in (1, 2, 8, 32))
    for other in others:
        equal = one.view(f"u{one.itemsize}") == other.view(f"u{one.itemsize}")
        assert (equal | ((one != one) & (other != other))).all()  # the sign of nan says nothing


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("fn", sorted({*FUNCTIONS, *BESIDE}))
def test_the_interpreter_agrees(fn: str, dtype: str) -> None:
    kind = _kind(fn, dtype)
    if not known(fn, Type(kind)):
        return
    args = [a if isinstance(a, Literal) else a[:63] for a in _given(fn, dtype)]
    nest = nest_of(fn, args, kind, 63)
    assert faults(nest) == []
    given = {f"a{k}": a for k, a in enumerate(args) if not isinstance(a, Literal)}
    given["out"] = np.zeros(63, kind)
    run(nest, given)
    found = computed(fn, args, kind)
    if kind in FLOATS:
        assert same(found, given["out"], 4 * float(np.finfo(kind).eps)).all()
    else:
        assert np.array_equal(found, given["out"])


# -- special values --------------------------------------------------------------------------------------

# Where NumPy's way makes 0 * inf, or an intermediate result leaves the range.
ELSEWHERE = {("gelu", np.inf), ("gelu", -np.inf)}
SIGNS = ("gelu", "relu", "erf")  # of zeros: NumPy's own differ from one type or machine to the next


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("fn", [n for n in NAMES if (BESIDE.get(n) or FUNCTIONS[n].arity) == 1 and n not in TRUTHS])
def test_special_values_of_one_argument(fn: str, dtype: str) -> None:
    x = special(dtype)
    if fn in ("sin", "cos", "tan"):
        x = x[~(np.abs(x) > 1e30) | np.isinf(x)]  # NumPy's own rest of a huge float32 is not exact everywhere
    found, expected = computed(fn, (x,), _kind(fn, dtype)), reference(fn, x)
    if fn == "int":
        assert np.array_equal(found, expected)
        return
    close = same(found, expected, 20 * float(np.finfo(dtype).eps))
    if fn in SIGNS:
        close |= (np.abs(found) < np.finfo(dtype).tiny) & (np.abs(expected) < np.finfo(dtype).tiny)
    wrong = x[~close]
    assert all((fn, float(v)) in ELSEWHERE for v in wrong), (wrong, found, expected)


def test_special_values_that_numpy_computes_otherwise() -> None:
    for dtype in FLOATS:
        x = np.array([np.inf, -np.inf, np.nan], dtype)
        assert np.array_equal(computed("gelu", (x,), dtype), [np.inf, np.nan, np.nan], equal_nan=True)
        assert np.array_equal(computed("softplus", (x,), dtype), [np.inf, 0, np.nan], equal_nan=True)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("fn", ["add", "sub", "mul", "div", "pow", "max", "min", "atan2", "hypot", "floordiv", "mod"])
def test_special_values_of_two_arguments(fn: str, dtype: str) -> None:
    if not known(fn, Type(dtype)):
        return
    a, b = pairs(special(dtype))
    found, expected = computed(fn, (a, b), dtype), reference(fn, a, b)
    close = same(found, expected, 20 * float(np.finfo(dtype).eps))
    if fn in ("max", "min"):
        close |= (found == 0) & (expected == 0)  # which zero, NumPy does not say
    assert close.all(), (a[~close], b[~close], found[~close], expected[~close])


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, -1, -2, -3, -4, 0.5, -0.5, 0.25, 0.75, -1.75, 1.5, 2.5, 10, 1 / 3])
@pytest.mark.parametrize("dtype", FLOATS)
def test_powers_by_a_literal(exponent: float, dtype: str) -> None:
    x = special(dtype)
    found = computed("pow", (x, Literal(exponent, Type(dtype))), dtype)
    expected = x ** np.asarray(exponent, dtype) if exponent != 0.5 else np.sqrt(x)
    close = same(found, expected, 20 * float(np.finfo(dtype).eps))
    close |= (x == 0) & (np.abs(found) == np.abs(expected))  # the sign of a root of -0 depends on the way
    assert close.all(), (x[~close], found[~close], expected[~close])


def _power(x: float, exponent: float) -> float:
    """C's pow."""
    if x == 0:
        return math.inf if exponent < 0 else 0.0
    try:
        return math.nan if -math.inf < x < 0 else math.pow(x, exponent)
    except OverflowError:
        return math.inf


def test_quarters() -> None:
    for n in (-7, -6, -5, -3, -2, -1, 1, 2, 3, 5, 6, 7):
        for dtype in FLOATS:
            x = special(dtype)
            found = computed("quarters", (x, Literal(n, Type("int64"))), dtype)
            expected = np.array([_power(v, n / 4) for v in x.tolist()])
            with np.errstate(all="ignore"):
                assert same(found, expected.astype(dtype), 20 * float(np.finfo(dtype).eps)).all(), n


def test_remainders_of_single_precision_are_exact() -> None:
    rng = np.random.default_rng(11)
    a = (np.exp2(rng.uniform(-149, 127.9, 4000)) * rng.choice([-1, 1], 4000)).astype(np.float32)
    b = (np.exp2(rng.uniform(-149, 127.9, 4000)) * rng.choice([-1, 1], 4000)).astype(np.float32)
    for fn in ("mod", "floordiv"):
        assert np.array_equal(computed(fn, (a, b), "float32"), reference(fn, a, b), equal_nan=True)


# -- integers and bools ----------------------------------------------------------------------------------


def whole(dtype: str) -> np.ndarray:
    info = np.iinfo(dtype)
    some = [info.min, info.min + 1, info.max, info.max - 1, 0, 1, 2, 3, 7, 10, 64, 100]
    return np.array([*some, *(-k for k in some[5:] if info.min < 0)], dtype)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("fn", ["add", "sub", "mul", "floordiv", "mod", "max", "min"])
def test_integers(fn: str, dtype: str) -> None:
    a, b = pairs(whole(dtype))
    assert np.array_equal(computed(fn, (a, b), dtype), reference(fn, a, b))
    for divisor in (3, 8, -5, -1):
        if divisor > 0 or np.iinfo(dtype).min < 0:
            found = computed(fn, (a, Literal(divisor, Type(dtype))), dtype)
            assert np.array_equal(found, reference(fn, a, np.array(divisor, dtype)))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_of_one_argument(dtype: str) -> None:
    x = whole(dtype)
    for fn in ("neg", "abs", "sign", "relu", "floor", "ceil", "round", "square"):
        assert np.array_equal(computed(fn, (x,), dtype), reference(fn, x)), fn
    for exponent in (0, 1, 2, 3, 5, 13, 64):
        found = computed("pow", (x, Literal(exponent, Type(dtype))), dtype)
        assert np.array_equal(found, np.power(x, np.array(exponent, dtype))), exponent
    assert computed("isfinite", (x,), "bool").all()
    assert np.array_equal(computed("not", (x,), "bool"), x == 0)


@pytest.mark.parametrize("fn", ["lt", "le", "gt", "ge", "eq", "ne"])
@pytest.mark.parametrize("left", ["int8", "int64", "uint64", "float32", "float64", "bool"])
@pytest.mark.parametrize("right", ["int64", "uint64", "float32", "bool"])
def test_comparisons_of_all_types(fn: str, left: str, right: str) -> None:
    def some(dtype: str) -> np.ndarray:
        return np.array([False, True]) if dtype == "bool" else special(dtype) if dtype[0] == "f" else whole(dtype)

    a, b = (v.ravel().copy() for v in np.meshgrid(some(left), some(right)))
    assert np.array_equal(computed(fn, (a, b), "bool"), reference(fn, a, b))


@pytest.mark.parametrize("value", [0, 1, -1, 300, 1 << 63, -(1 << 63), 0.5])
def test_comparisons_with_literals(value: float) -> None:
    for dtype in ("uint8", "int64", "uint64", "float32"):
        x = special(dtype) if dtype[0] == "f" else whole(dtype)
        kind = Type("float64" if isinstance(value, float) else "int64")
        for fn in ("lt", "le", "gt", "ge", "eq", "ne"):
            assert np.array_equal(computed(fn, (x, Literal(value, kind)), "bool"), reference(fn, x, value)), (fn, dtype)
            assert np.array_equal(computed(fn, (Literal(value, kind), x), "bool"), reference(fn, value, x)), (fn, dtype)


def test_choices_and_logic() -> None:
    c, d = (v.ravel().copy() for v in np.meshgrid([False, True, True], [True, False]))
    a, b = np.arange(6.0), np.full(6, np.nan)
    assert np.array_equal(computed("keep", (c, a), "float64"), np.where(c, a, 0))
    for fn in ("where", "select", "choose"):
        assert np.array_equal(computed(fn, (c, a, b), "float64"), np.where(c, a, b), equal_nan=True)
    assert np.array_equal(computed("where", (a, d, c), "bool"), np.where(a, d, c))
    assert np.array_equal(computed("and", (c, d), "bool"), c & d)
    assert np.array_equal(computed("or", (a, d), "bool"), (a != 0) | d)
    assert np.array_equal(computed("not", (b,), "bool"), np.zeros(6, bool))


def test_conversions() -> None:
    x = np.array([0.0, -0.0, 1.5, -1.5, 100.0, np.nan])
    assert np.array_equal(computed("cast", (x,), "bool"), x.astype(bool))
    assert np.array_equal(computed("cast", (x[:5],), "int32"), x[:5].astype(np.int32))
    assert np.array_equal(computed("float", (whole("int64"),), "float64"), whole("int64").astype(float))
    assert np.array_equal(computed("add", (whole("int32"), x[:1].repeat(19)), "float32"), whole("int32").astype("f"))


def test_what_is_not_known() -> None:
    for fn, dtype in (("exp", "float16"), ("exp", "complex64"), ("mod", "float64"), ("exp", "int64"), ("pow", "int64")):
        assert not known(fn, Type(dtype))
        w = Writing()
        w.types["x"] = Type(dtype)
        with pytest.raises(ValueError, match="not written"):
            call(w, fn, ("x", "x"), Type(dtype))
    assert known("pow", Type("int64"), ("x", Literal(3, Type("int64"))))
    assert not known("pow", Type("int64"), ("x", Literal(-3, Type("int64"))))


def test_a_scalar_among_vectors_stands_for_all_lanes() -> None:
    w = Writing()
    w.types.update(x=Type("float32", 8), y=Type("int32"))
    found = call(w, "pow", ("x", "y"), Type("float32", 8))
    assert w.type_of(found) == Type("float32", 8)
