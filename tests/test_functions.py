"""Every row of the table of functions, by the same properties."""

import math
import warnings

import numpy as np
import pytest

import indexlang
from indexlang.backends.numpy.functions import FORMS, support_source
from indexlang.program.functions import FUNCTIONS, Function, partial
from indexlang.program.ir import Access, Call, Const, Expr

NAMESPACE: dict[str, object] = {"np": np}
exec(support_source(FUNCTIONS), NAMESPACE)
exec(support_source(FUNCTIONS, complex_step=True), NAMESPACE)

# Where each function is smooth and defined; the default serves the others.
POINTS = {
    "asin": (-0.9, -0.3, 0.0, 0.5, 0.99),
    "acos": (-0.9, -0.3, 0.0, 0.5, 0.99),
    "atanh": (-0.9, -0.3, 0.0, 0.5, 0.99),
    "acosh": (1.001, 1.5, 7.0, 200.0),
    "log": (1e-3, 0.5, 1.0, 2.5, 300.0),
    "sqrt": (1e-3, 0.5, 1.0, 2.5, 300.0),
    "rsqrt": (1e-3, 0.5, 1.0, 2.5, 300.0),
    "log1p": (-0.9, -0.3, 1e-6, 0.5, 30.0),
    "pow": (0.3, 1.0, 1.7, 2.5),
}
DEFAULT = (-3.3, -1.2, -0.4, 0.3, 0.7, 2.6, 11.0)


def numpy_of(row: Function, *args: object, step: bool = False) -> np.ndarray:
    form = FORMS[row.name]
    text = (form.complex_step if step else None) or form.numpy
    names = [f"a{i}" for i in range(row.arity)]
    with np.errstate(over="ignore"):  # as emitted code runs: an exp that overflows gives the right 0
        return np.asarray(eval(text.format(*names), dict(NAMESPACE, **dict(zip(names, args, strict=True)))))


def value(expr: Expr, tensors: dict[str, complex]) -> complex:
    match expr:
        case Const(v):
            return v
        case Access(name):
            return tensors[name]
        case Call(fn, args):
            return numpy_of(FUNCTIONS[fn], *(value(a, tensors) for a in args))[()]
    raise AssertionError(expr)


def derivative(row: Function, position: int, point: tuple[float, ...], with_out: bool) -> float:
    args = tuple(Access(f"x{i}") for i in range(row.arity))
    tensors = {f"x{i}": np.float64(p) for i, p in enumerate(point)}
    tensors["y"] = numpy_of(row, *tensors.values())[()]
    found = partial(row.name, args, position, Access("y") if with_out else None)
    if found is None or (found.mask is not None and not value(found.mask, tensors)):
        return 0.0
    return value(found.factor, tensors)


def points(row: Function) -> list[tuple[float, ...]]:
    one = POINTS.get(row.name, DEFAULT)
    return [tuple(one[(i + 2 * k) % len(one)] for k in range(row.arity)) for i in range(len(one))]


@pytest.mark.parametrize("row", FUNCTIONS.values(), ids=lambda row: row.name)
@pytest.mark.parametrize("with_out", [False, True], ids=["call", "out"])
def test_derivative_is_the_numerical_one(row: Function, with_out: bool) -> None:
    for point in points(row):
        for position in range(row.arity):
            args = [np.array(p, complex) for p in point]
            args[position] += 1e-200j
            numerical = numpy_of(row, *args, step=True).imag / 1e-200
            assert derivative(row, position, point, with_out) == pytest.approx(numerical, rel=1e-12, abs=1e-14), point


@pytest.mark.parametrize("row", FUNCTIONS.values(), ids=lambda row: row.name)
def test_complex_step_form_has_the_same_value(row: Function) -> None:
    for point in points(row):
        stepped = numpy_of(row, *(np.array(p, complex) for p in point), step=True)
        assert stepped == pytest.approx(numpy_of(row, *map(np.array, point)), rel=1e-13)


@pytest.mark.parametrize(
    ("fn", "args", "slopes"),
    [
        ("relu", (0.0,), (0.0,)),
        ("abs", (0.0,), (0.0,)),
        ("sign", (0.0,), (0.0,)),
        ("max", (1.0, 1.0), (1.0, 0.0)),
        ("min", (1.0, 1.0), (1.0, 0.0)),
        ("max", (math.nan, 1.0), (0.0, 1.0)),
        ("min", (1.0, math.nan), (0.0, 1.0)),
        ("pow", (0.0, 0.0), (0.0, 0.0)),
        ("pow", (0.0, 2.0), (0.0, 0.0)),
        ("pow", (0.0, 1.0), (1.0, 0.0)),
        ("where", (1.0, math.inf, 2.0), (0.0, 1.0, 0.0)),
        ("where", (0.0, math.inf, 2.0), (0.0, 0.0, 1.0)),
        ("mod", (-7.5, 2.0), (1.0, 4.0)),
        ("floor", (2.0,), (0.0,)),
        ("sigmoid", (-1000.0,), (0.0,)),
        ("softplus", (1000.0,), (1.0,)),
        ("erf", (50.0,), (0.0,)),
        ("gelu", (-50.0,), (0.0,)),
    ],
)
def test_derivative_at_edges(fn: str, args: tuple[float, ...], slopes: tuple[float, ...]) -> None:
    found = tuple(derivative(FUNCTIONS[fn], k, args, with_out=False) for k in range(len(args)))
    assert found == slopes


def test_constant_wins_a_tie_over_a_tensor() -> None:
    x, zero = Access("x"), Const(0)
    for args, position in (((x, zero), 0), ((zero, x), 1)):
        for fn, symbol in (("max", "gt"), ("min", "lt")):
            found = partial(fn, args, position)
            assert found is not None and found.mask == Call(symbol, (x, zero))


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, 0.5])
def test_power_with_a_constant_exponent(exponent: float) -> None:
    found = partial("pow", (Access("x"), Const(exponent)), 0)
    for x in (0.0, 0.7, 2.0) if exponent >= 1 else (0.7, 2.0):
        expected = exponent * x ** (exponent - 1) if exponent else 0.0
        assert (0.0 if found is None else value(found.factor, {"x": np.float64(x)})) == pytest.approx(expected)


REFERENCES = {
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x > -700 else 0.0,
    "softplus": lambda x: x if x > 700 else math.log1p(math.exp(x)),
    "silu": lambda x: x / (1 + math.exp(-x)) if x > -700 else -0.0,
    "rsqrt": lambda x: 1 / math.sqrt(x),
    "relu": lambda x: max(x, 0.0),
    "gelu": lambda x: 0.5 * x * math.erfc(-x / math.sqrt(2)),
    "sign": lambda x: float((x > 0) - (x < 0)),
    "abs": abs,
    "round": round,
    "int": int,
    "float": float,
    "neg": lambda x: -x,
    "not": lambda x: not x,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "and": lambda a, b: bool(a and b),
    "or": lambda a, b: bool(a or b),
    "where": lambda c, a, b: a if c else b,
    "max": max,
    "min": min,
}


@pytest.mark.parametrize("row", FUNCTIONS.values(), ids=lambda row: row.name)
def test_numpy_form_against_plain_numbers(row: Function) -> None:
    reference = REFERENCES.get(row.name) or getattr(math, row.name)
    extremes = {"sigmoid", "softplus", "silu", "relu", "gelu", "sign", "abs", "erf", "tanh", "atan"}
    for point in points(row) + ([(-1000.0,), (1000.0,), (-9.0,), (1e-300,)] if row.name in extremes else []):
        found = numpy_of(row, *map(np.array, point))
        assert found == pytest.approx(reference(*point), rel=1e-13 if row.name == "gelu" else 4e-15, abs=0), point


@pytest.mark.parametrize("row", FUNCTIONS.values(), ids=lambda row: row.name)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_dtype_stays(row: Function, dtype: str) -> None:
    kinds = {"bool": "bool", "int": "int64", "float": "float64" if dtype == "int64" else dtype, "promote": dtype}
    for shape in ((), (5,)):
        number = 0 if row.name == "atanh" else 1
        assert numpy_of(row, *[np.full(shape, number, dtype)] * row.arity).dtype == kinds[row.result]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("fn", ["sigmoid", "softplus", "silu", "gelu", "erf", "relu", "tanh"])
def test_no_warning_at_extremes(fn: str, dtype: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = numpy_of(FUNCTIONS[fn], np.array([-1000, -100, 0, 100, 1000], dtype))
    assert np.isfinite(found).all() and found.dtype == dtype
    assert np.isnan(numpy_of(FUNCTIONS[fn], np.array(math.nan, dtype)))


def test_error_function_to_rounding() -> None:
    x = np.concatenate([np.linspace(-6, 6, 20001), np.logspace(-300, 0, 300)])
    expected = np.array([math.erf(v) for v in x])
    assert np.allclose(numpy_of(FUNCTIONS["erf"], x), expected, rtol=5e-16, atol=0)
    assert numpy_of(FUNCTIONS["erf"], np.array([np.inf, -np.inf])).tolist() == [1.0, -1.0]


def _units_off(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.dtype == np.float32
    return float(np.max(np.abs(found - expected) / np.spacing(np.abs(expected).astype(np.float32))))


def test_error_function_in_single_precision() -> None:
    x = np.concatenate([np.linspace(-6, 6, 40001), np.logspace(-30, 0.5, 3000)]).astype(np.float32)
    assert _units_off(numpy_of(FUNCTIONS["erf"], x), np.array([math.erf(float(v)) for v in x])) < 4
    ends = numpy_of(FUNCTIONS["erf"], np.array([np.inf, -np.inf, 0.0, -0.0, 1e-40], np.float32))
    assert ends.tolist() == [1.0, -1.0, 0.0, 0.0, pytest.approx(1.128e-40, rel=1e-3)]
    assert np.signbit(ends).tolist() == [False, True, False, True, False]


def test_gelu_in_single_precision() -> None:
    """Exact to some units in its tail, too."""
    x = np.linspace(-13, 13, 60001, dtype=np.float32)
    expected = np.array([0.5 * float(v) * math.erfc(-float(v) / math.sqrt(2)) for v in x])
    assert _units_off(numpy_of(FUNCTIONS["gelu"], x), expected) < 9
    far = np.array([-1e30, -40, 40, 1e30], np.float32)
    assert numpy_of(FUNCTIONS["gelu"], far).tolist() == [0, 0, 40, np.float32(1e30)]


def test_softplus_in_single_precision() -> None:
    x = np.linspace(-80, 80, 60001, dtype=np.float32)
    expected = np.array([math.log1p(math.exp(-abs(float(v)))) + max(float(v), 0) for v in x])
    assert _units_off(numpy_of(FUNCTIONS["softplus"], x), expected) < 4


@pytest.mark.parametrize("fn", ["erf", "gelu"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_many_elements_are_the_same_as_few(fn: str, dtype: str) -> None:
    x = (np.arange(70_000).reshape(2, 5, 7000) / 7000 - 5).astype(dtype)
    for many in (x, x.transpose(2, 0, 1), x[:, :, ::-1]):
        few = np.stack([numpy_of(FUNCTIONS[fn], part) for part in many])
        found = numpy_of(FUNCTIONS[fn], many)
        assert found.dtype == few.dtype and np.array_equal(found, few)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_int_saturates(dtype: str) -> None:
    large = {"float16": 6e4, "float32": 1e30, "float64": 1e300}[dtype]
    x = np.array([1.9, -1.9, math.nan, math.inf, -math.inf, large, -large], dtype)
    far = [60000, -60000] if dtype == "float16" else [2**63 - 1, -(2**63)]
    assert numpy_of(FUNCTIONS["int"], x).tolist() == [1, -1, 0, 2**63 - 1, -(2**63), *far]
    edges = np.array([2.0**63, np.nextafter(2.0**63, 0), -(2.0**63), 9.3e18, -1e19])
    assert numpy_of(FUNCTIONS["int"], edges).tolist() == [2**63 - 1, 2**63 - 1024, -(2**63), 2**63 - 1, -(2**63)]


FOLDED = [
    ("x[i] * (0.0005 / 5)", 0.0001),
    ("x[i] * sqrt(2) * exp(-1)", math.sqrt(2) * math.exp(-1)),
    ("x[i] * (pi**0.5 + 1 / 3)", math.sqrt(math.pi) + 1 / 3),
    ("x[i] * 2**(-3) / 0.3", 0.125 / 0.3),
    ("x[i] * (1 / 0)", math.inf),
    ("x[i] * log(size(x,0))", math.log(4)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize(("text", "factor"), FOLDED)
def test_numbers_are_folded(text: str, factor: float, dtype: str) -> None:
    f = indexlang.compile(f"y[i] = {text}")
    x = np.array([1, -2, 0.5, 4], dtype)
    found = f(x)
    assert found.dtype == dtype
    np.testing.assert_allclose(np.real(found), np.real(x) * factor, rtol=2 * np.finfo(dtype).eps)
    source = f.emit(x=(4,)).split("# y[i]")[-1]
    assert not any(call in source for call in ("np.sqrt", "np.exp", "np.power", "np.log", "np.asarray"))


POWERS = [3, 4, -2, -3, -4, 0.25, 0.75, 1.25, 1.5, 1.75, -0.25, -0.5, -0.75, -1.5, -1.75]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("power", POWERS)
def test_powers_by_products_and_roots(power: float, dtype: str) -> None:
    """In compiled code, as NumPy's powers: alone, and as a factor of a sum."""
    rng = np.random.default_rng(2)
    x = (rng.uniform(0.1, 3, 500) * 10.0 ** rng.integers(-5, 6, 500)).astype(dtype)
    edges = np.array([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan, -1.5, -1.0, 2.0], dtype)
    f = indexlang.compile(f"y[i] = x[i]**({power})\nz = x[i]**({power}) * w[i]")
    with np.errstate(all="ignore"):
        for given in (x, edges, edges[:2], edges[2:4], x[::3]):
            found, expected = f(x=given, w=np.ones_like(given)), np.power(given, given.dtype.type(power))
            np.testing.assert_allclose(found["y"], expected, rtol=3.1 * np.finfo(dtype).eps, atol=0)
        total = f(x=x, w=np.ones_like(x))["z"]
        np.testing.assert_allclose(total, np.sum(np.power(x.astype("f8"), power)), rtol=1e-5)


@pytest.mark.parametrize("row", [row for row in FUNCTIONS.values() if row.analytic], ids=lambda row: row.name)
def test_analytic_functions_do_complex_numbers(row: Function) -> None:
    if row.result == "bool" or row.name in ("where", "float"):
        return
    point = [np.array(0.3 + 0.4j * k, "complex64") for k in range(1, row.arity + 1)]
    found = numpy_of(row, *point)
    assert found.dtype == "complex64"
    for position in range(row.arity):
        ahead, behind = ([np.complex128(p) for p in point] for _ in range(2))
        ahead[position] += 1e-6
        behind[position] -= 1e-6
        numerical = (numpy_of(row, *ahead) - numpy_of(row, *behind)) / 2e-6
        slope = partial(row.name, tuple(Access(f"x{i}") for i in range(row.arity)), position)
        assert slope is not None
        tensors = {f"x{i}": np.complex128(p) for i, p in enumerate(point)}
        assert value(slope.factor, tensors) == pytest.approx(complex(numerical), rel=1e-7)


def test_each_row_has_a_form() -> None:
    assert list(FORMS) == list(FUNCTIONS)


def test_support_brings_what_it_needs() -> None:
    source = support_source(["gelu"])
    assert source.index("_polynomial") < source.index("def _erf_parts") < source.index("def _gelu")
    assert "_sigmoid" not in source
    assert support_source(["exp", "add"]) == ""
