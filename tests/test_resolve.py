"""What programs mean: names, ranges and masks, layers, options, whole tensors, imports, as parts of the Program."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import CASES

import indexlang
from indexlang.errors import IndexLangError, IndexLangWarning, MeaningError, Source
from indexlang.meaning.resolve import layer_names, resolve
from indexlang.oracle import loops
from indexlang.program.ir import (
    Access,
    Boundary,
    Call,
    Const,
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
    walk,
)
from indexlang.program.text import to_text
from indexlang.program.verify import verify
from indexlang.syntax.parser import parse

i, j, k = Index("i"), Index("j"), Index("k")
N0 = Size("x", 0)


def program(text: str, layer: str | None = None, folder: Path | None = None, **options: Any) -> Program:
    found = resolve(parse(Source(text)), layer, options, folder=folder)
    verify(found)
    assert resolve(parse(Source(to_text(found)))) == found
    return found


def only(text: str) -> Statement:
    (stmt,) = program(text).statements
    return stmt


def call(fn: str, *args: Expr) -> Call:
    return Call(fn, args)


def access(tensor: str, *subscripts: Subscript) -> Access:
    return Access(tensor, subscripts)


# -- names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("y[i] = i", i),
        ("y[i] = a * x[i]", call("mul", access("a"), access("x", i))),
        ("y[i] = x[i] * pi", call("mul", access("x", i), Const(np.pi))),
        ("y[i] = x[i] * k[]", call("mul", access("x", i), access("k"))),
        ("y[i] = x[p[]+i]", access("x", call("add", access("p"), i))),
        ("y[i] = x[Phi.k+i]", access("x", call("add", access("Phi.k"), i))),  # no index has a dot
        ("y[i] = x[int(s*i)]", access("x", call("int", call("mul", access("s"), i)))),  # s: a value, not a position
        ("y[i] = x[i] - -2", call("sub", access("x", i), Const(-2))),
        ("y[i] = -2**2 + +x[i]", call("add", call("neg", call("pow", Const(2), Const(2))), access("x", i))),
        ("y[i] = x[i] * (0 == 0)", call("mul", access("x", i), Const(True))),
        (
            "y[i] = 1 < x[i] <= 2",
            call("and", call("lt", Const(1), access("x", i)), call("le", access("x", i), Const(2))),
        ),
        ("y[i] = pow(x[i], 2)", call("pow", access("x", i), Const(2))),
        ("y[i] = x[i] / size(x,-1)", call("div", access("x", i), N0)),
        ("f(u, v) = u - v\ny[i] = f(-x[i], 3)", call("sub", call("neg", access("x", i)), Const(3))),
        ("f(u) = -u\ny[i] = x[i] * f(3)", call("mul", access("x", i), Const(-3))),
        ("gelu(u) = 2*u\ny[i] = gelu(x[i])", call("mul", Const(2), access("x", i))),  # one's own comes first
        ("exp(u) = exp(2*u)\ny[i] = exp(x[i])", call("exp", call("mul", Const(2), access("x", i)))),
    ],
)
def test_names_and_values(text: str, value: Expr) -> None:
    assert only(text).value == value


@pytest.mark.parametrize(
    ("written", "subscripts"),
    [
        ("x[i+0]", (i,)),
        ("x[2*i+k-1]", (call("sub", call("add", call("mul", Const(2), i), k), Const(1)),)),
        ("x[1*i+k]", (call("add", call("mul", Const(1), i), k),)),  # as the author wrote it
        ("x[-1+i+k]", (call("add", call("add", Const(-1), i), k),)),
        ("x[i//2,k%3]", (call("floordiv", i, Const(2)), call("mod", k, Const(3)))),
        ("x[p[i]//size(w,0)+k]", (call("add", call("floordiv", access("p", i), Size("w", 0)), k),)),
        ("x[(i,k)]", (Merged(("i", "k")),)),
        ("x[...,i+k]", (Dots(), call("add", i, k))),
        ("x[pad(i+k)]", (Boundary("pad", call("add", i, k)),)),
        ("x[pad(i+k,1)]", (Boundary("pad", call("add", i, k), Const(1), Const(1)),)),
        ("x[pad(i+k,1,2,-inf)]", (Boundary("pad", call("add", i, k), Const(1), Const(2), Const(-np.inf)),)),
        ("x[pad(i+k,hi=0,lo=2,value=-1)]", (Boundary("pad", call("add", i, k), Const(2), Const(0), Const(-1)),)),
        ("x[clamp(i-k),reflect(k)]", (Boundary("clamp", call("sub", i, k)), Boundary("reflect", k))),
        ("x[wrap(i),k]", (Boundary("wrap", i), k)),
        ("x[argmax[j](p[i,j])+k]", None),
    ],
)  # fmt: skip
def test_subscripts(written: str, subscripts: tuple[Subscript, ...] | None) -> None:
    stmt = only(f"y[i] = w[k] * {written}")
    assert isinstance(stmt.value, Call)
    found = stmt.value.args[1]
    assert isinstance(found, Access)
    assert subscripts is None or found.subscripts == subscripts


def test_a_scalar_tensor_in_a_subscript_is_a_position() -> None:
    found = program("n = argmax[j](x[j])\ny[i] = z[n,i]\n").statements[1]
    assert found.value == access("z", access("n"), i)
    assert found.domain.indices == ("i",)


def test_a_tensor_and_an_index_may_share_a_name_in_different_statements() -> None:
    found = program("s[t,u] = q[t,d] * k[u,d]\ny[k] = s[k,k]\n").statements[1]
    assert found.value == access("s", k, k)


# -- domains -----------------------------------------------------------------------------------------


def lt(a: Expr, b: Expr) -> Call:
    return call("lt", a, b)


@pytest.mark.parametrize(
    ("where", "ranges", "masks"),
    [
        ("j < 3", (Range("j", None, Const(3)),), ()),
        ("3 > j", (Range("j", None, Const(3)),), ()),
        ("+j <= 3", (Range("j", None, Const(4)),), ()),
        ("j > 2", (Range("j", Const(3), None),), ()),
        ("1 <= j < size(x,1)", (Range("j", Const(1), Size("x", 1)),), ()),
        ("j >= 1, size(x,1) > j", (Range("j", Const(1), Size("x", 1)),), ()),
        ("j <= size(x,0)-1", (Range("j", None, N0),), ()),
        ("j < 2, i < 3", (Range("i", None, Const(3)), Range("j", None, Const(2))), ()),  # in the order of the indices
        ("j < min(3, size(x,0))//2", (Range("j", None, call("floordiv", call("min", Const(3), N0), Const(2))),), ()),
        ("j < 2**3", (Range("j", None, Const(8)),), ()),
        ("j == 3", (), (call("eq", j, Const(3)),)),
        ("j <= i", (), (call("le", j, i),)),
        ("j < len[i]", (), (lt(j, access("len", i)),)),
        ("j+1 < 3", (), (lt(call("add", j, Const(1)), Const(3)),)),
        ("1 <= j <= i", (Range("j", Const(1), None),), (call("le", j, i),)),
        ("1 <= j < n", (Range("j", Const(1), None),), (lt(j, access("n")),)),
        ("j < 3 and i < 2", (), (call("and", lt(j, Const(3)), lt(i, Const(2))),)),
        ("not j < 3", (), (call("not", lt(j, Const(3))),)),
        ("n[] > 3", (), (call("gt", access("n"), Const(3)),)),
    ],
)
def test_ranges_and_masks(where: str, ranges: tuple[Range, ...], masks: tuple[Expr, ...]) -> None:
    domain = only(f"y[i] = x[i,j] where {where}").domain
    assert (domain.ranges, domain.masks) == (ranges, masks)


def test_a_range_makes_an_index() -> None:
    stmt = only("x.grad[i] += y.grad[i] where j < size(z,0)")
    assert stmt.domain.indices == ("i", "j")
    assert only("n[] += k where k < 4").reduced == ("k",)


def reductions(text: str) -> list[Reduce]:
    value = only(text).value
    return [p for p in (value.args if isinstance(value, Call) else (value,)) if isinstance(p, Reduce)]


def test_conditions_belong_to_reductions() -> None:
    first, second = reductions("y[i] = sum[k](x[i,k]) / sum[k](z[i,k]) where k < 3, k <= i, i != 2")
    assert first.domain.indices == ("k",)
    assert first.domain.ranges == (Range("k", None, Const(3)),)
    assert first.domain.masks == (call("le", k, i),)
    assert second.domain.indices == ("k2",)
    assert second.domain.masks == (call("le", Index("k2"), i),)
    assert only("y[i] = sum[k](x[i,k]) where i != 2").domain.masks == (call("ne", i, Const(2)),)


def test_of_nested_reductions_the_innermost_has_the_condition() -> None:
    (outer,) = reductions("y[i] = sum[j](A[i,j] * max[k](B[j,k])) where k <= j, j < 2")
    assert outer.domain.ranges == (Range("j", None, Const(2)),)
    assert outer.domain.masks == ()
    assert isinstance(outer.body, Call)
    inner = outer.body.args[1]
    assert isinstance(inner, Reduce)
    assert inner.domain.masks == (call("le", k, j),)


def test_a_reduction_in_a_condition_has_its_own_index() -> None:
    stmt = only("y[i] = x[i] * sum[k](A[i,k]) where x[i] < max[k](x[k])")
    (mask,) = stmt.domain.masks
    assert isinstance(mask, Call)
    assert isinstance(mask.args[1], Reduce)
    assert mask.args[1].domain.indices == ("k2",)


# -- inputs and outputs ------------------------------------------------------------------------------


def interface(text: str, **rest: Any) -> tuple[tuple[str, ...], tuple[str, ...], str | None]:
    found = resolve(parse(Source(text)), **rest)
    assert resolve(parse(Source(to_text(found)))) == found
    return found.inputs, found.outputs, found.name


def test_inputs_and_outputs() -> None:
    chain = "h[b] = W[b,i] * x[i]\ny[b] = h[b] * s\n"
    assert interface(chain) == (("W", "x", "s"), ("y",), None)
    assert interface(chain, outputs=["y"]) == (("W", "x", "s"), ("y",), None)
    assert interface(chain, outputs=["y", "h"]) == (("W", "x", "s"), ("y", "h"), "program")
    assert interface("x.grad[i] += y.grad[i]") == (("x", "y.grad"), ("x.grad",), None)
    assert interface("shape x[N]\nshape t[N+2]\nt[i+1] = 1 where i < 2") == (("x",), ("t",), "program")
    layer = "layer f(x[N], unused) -> y:\n    h[i] = x[i]\n    y[i] = h[i]\n"
    assert interface(layer) == (("x", "unused"), ("y",), "f")
    assert interface(layer, outputs=("h",)) == (("x", "unused"), ("h",), "f")


def test_which_layer() -> None:
    text = "layer f(x) -> y:\n    y = x\n\nlayer g(x) -> y:\n    y = -x\n"
    assert layer_names(parse(Source(text))) == ("f", "g")
    assert program(text, "g").name == "g"
    assert program(text + "\nz = g(a)\n").name is None


# -- headers -----------------------------------------------------------------------------------------


def test_dims_are_sizes() -> None:
    text = "layer f(x[N,3], z[2*M+1], w[N*M]) -> y[M,N,K]:\n    y[i,j,k] = M * x[j,0] * z[i] * w[k]\n"
    found = program(text)
    m = call("floordiv", call("sub", Size("z", 0), Const(1)), Const(2))
    assert found.dims == (("N", N0), ("M", m), ("K", Size("y", 2)))
    assert found.shapes == (
        Shape("x", (N0, Const(3))),
        Shape("z", (call("add", call("mul", Const(2), m), Const(1)),)),
        Shape("w", (call("mul", N0, m),)),
        Shape("y", (m, N0, Size("y", 2))),
    )
    factors = [p for p in walk(found.statements[0].value) if p == m]
    assert len(factors) == 1


def test_a_bare_axis_says_what_a_dim_is_wherever_it_stands() -> None:
    found = program("layer f(z[2*M], x[M]) -> y:\n    y[i] = x[i] * z[2*i]\n")
    assert found.dims == (("M", N0),)


CONV = """\
layer conv(x[B,N,C], K[R,C,O], bias[O]; stride=1, dilation=1, padding=0) -> y[B,I,O]:
    y[b,i,o]  = K[r,c,o] * x[b, pad(stride*i + dilation*r, padding), c]
    y[b,i,o] += bias[o]
"""
HEADER = "layer conv(x[B,N,C], K[R,C,O], bias[O]) -> y[B,I,O]:\n"


@pytest.mark.parametrize(
    ("options", "position"),
    [
        ({}, "i+r"),
        ({"stride": 2}, "2*i+r"),
        ({"stride": 2, "dilation": 3, "padding": 1}, "pad(2*i+3*r,1)"),
        ({"stride": np.int64(2), "padding": np.array(1)}, "pad(2*i+r,1)"),
    ],
)
def test_options_are_worked_in(options: dict[str, Any], position: str) -> None:
    first = f"    y[b,i,o] = K[r,c,o] * x[b,{position},c]\n"
    assert to_text(program(CONV, **options)) == f"{HEADER}{first}    y[b,i,o] += bias[o]\n"


def test_options_have_defaults_of_earlier_ones() -> None:
    text = "layer f(x[N]; s=2, q=2*s+1, m=max(s, q)//2, on=s > 1) -> y[q]:\n    y[i] = where(on, x[s*i+q-m], s)\n"
    assert to_text(program(text)).splitlines()[1] == "    y[i] = where(0 == 0, x[2*i+5-2], 2)"
    assert to_text(program(text, s=1)).splitlines() == [
        "layer f(x[N]) -> y[3]:",
        "    y[i] = where(0 != 0, x[i+3-1], 1)",
    ]
    assert to_text(program(text, q=-1, m=0, on=False)).splitlines()[1] == "    y[i] = where(0 != 0, x[2*i-1], 2)"


# -- whole tensors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("s = a * b", "s[...] = a[...] * b[...]"),
        ("y = -x + 2", "y[...] = -x[...] + 2"),
        ("y = x", "y[...] = x[...]"),
        ("n = 2*3", "n[] = 2 * 3"),
        ("y[i] = x[i] * s[]\nz = relu(y) * s", "y[i] = x[i] * s\nz[i] = relu(y[i]) * s"),
        ("y[i,j] = x[i,j]\ny += 1", "y[i,j] = x[i,j]\ny[i,j] += 1"),
        ("y[i,j] = x[i,j]\ny *= b\nz[i] = b[i]", "y[i,j] = x[i,j]\ny[i,j] *= b[j]\nz[i] = b[i]"),
        ("f(u) = u*u\ny = f(x > 0)", "y[...] = (x[...] > 0) * (x[...] > 0)"),
        ("n = size(x,0)\ny = x / n", "n[] = size(x,0)\ny[...] = x[...] / n"),
        ("i = x\nz[j] = i[j]\ny = i*i", "i[j] = x[j]\nz[j] = i[j]\ny[j] = i[j] * i[j]"),
    ],
)
def test_whole_tensors(text: str, printed: str) -> None:
    assert to_text(program(text)) == printed + "\n"


@pytest.mark.parametrize(
    ("header", "value", "printed"),
    [
        ("x[B,N], b[N]", "x * b", "y[i,n] = x[i,n] * b[n]"),
        ("x[B,N], c[N], s[]", "x * c - s", "y[b,n] = x[b,n] * c[n] - s"),
        ("x[N,1], z[1,M]", "x * z", "y[n,m] = x[n,0] * z[0,m]"),
        ("x[1,N], z[1,N]", "x * z", "y[i,n] = x[i,n] * z[i,n]"),
        ("x[28,28], z", "x * z", "y[i,j] = x[i,j] * z[i,j]"),
        ("x[N,N]", "x", "y[n,i] = x[n,i]"),
        ("x[Time,N]", "x / sqrt(N)", "y[i,n] = x[i,n] / sqrt(N)"),
    ],
)
def test_broadcasting_by_headers(header: str, value: str, printed: str) -> None:
    assert to_text(program(f"layer f({header}) -> y:\n    y = {value}\n")).splitlines()[1:] == [f"    {printed}"]


# -- layers ------------------------------------------------------------------------------------------

BLOCK = """
layer block(x, K1, b1, K2, b2) -> y:
    h = relu(conv(x, K1, b1, padding=1))
    y = relu(conv(h, K2, b2, padding=1) + x)
"""


def test_layers_are_inlined() -> None:
    assert to_text(program(CONV + BLOCK, "block")) == (
        "layer block(x[B,N,C], K1[R,C,O], b1[O], K2[R2,O,O2], b2[O2]) -> y:\n"
        "    shape conv_y[B,I,O]\n"
        "    shape conv_y2[B,I2,O2]\n"
        "    conv_y[b,i,o] = K1[r,c,o] * x[b,pad(i+r,1),c]\n"
        "    conv_y[b,i,o] += b1[o]\n"
        "    h[b,i,o] = relu(conv_y[b,i,o])\n"
        "    conv_y2[b,i,o] = K2[r,c,o] * h[b,pad(i+r,1),c]\n"
        "    conv_y2[b,i,o] += b2[o]\n"
        "    y[b,i,o] = relu(conv_y2[b,i,o] + x[b,i,o])\n"
    )


POOL = """\
layer pool(x[B,N]) -> m[B], k[B]:
    t[b,n] = x[b,n] * x[b,n]
    m[b] max= t[b,n]
    k[b] = argmax[n](x[b,n])
"""


@pytest.mark.parametrize(
    ("call_text", "printed"),
    [
        ("y, z = pool(a)", ["t[b,n]", "y[b]", "z[b]"]),
        ("_, y = pool(a)", ["y[b]"]),  # what nobody wants is not computed
        ("y = pool(a)", ["t[b,n]", "y[b]"]),
        ("y = 2*pool(x=a)", ["t[b,n]", "pool_m[b]", "y[b]"]),
    ],
)
def test_outputs_of_layers(call_text: str, printed: list[str]) -> None:
    found = to_text(program(f"{POOL}\n{call_text}\n")).splitlines()
    targets = [line.split(" ")[0].replace("pool_t", "t") for line in found if not line.startswith("shape")]
    assert targets == printed


@pytest.mark.parametrize("call_text", ["y = pool(a)", "y = 2*pool(x=a)", "for t:\n    y[t,...] = pool(a[t,...])"])
def test_outputs_that_are_left_out_are_told(call_text: str) -> None:
    with pytest.warns(IndexLangWarning, match="'pool' has 2 outputs, and the first is taken"):
        indexlang.compile(f"{POOL}\n{call_text}\n")


def test_an_output_may_be_accumulated_into_by_the_caller() -> None:
    text = "layer f(x[N]) -> y:\n    y[n] {} x[n]\n\nlayer g(a, b) -> z:\n    z = f(a)\n    z += b\n"
    assert [s.op for s in program(text.format("="), "g").statements] == ["=", "+="]
    assert [s.op for s in program(text.format("max="), "g").statements] == ["max=", "=", "+="]  # through a copy


def test_a_layer_that_accumulates_starts_from_what_is_handed_over() -> None:
    text = "layer acc(x[N], y[N]) -> y[N]:\n    y[n] += x[n]\n\nlayer f(a[N], b[N]) -> z:\n    z = acc(a, b)\n"
    assert to_text(program(text, "f")).splitlines()[1:] == ["    z[n] = b[n]", "    z[n] += a[n]"]


def test_a_layer_named_like_a_function() -> None:
    text = "layer relu(x) -> y:\n    y = relu(x)\n\nlayer f(x[N]) -> y:\n    h = relu(x)\n    y[i] = relu(h[i])\n"
    assert to_text(program(text, "f")).splitlines()[1:] == ["    h[...] = relu(x[...])", "    y[i] = relu(h[i])"]


def test_the_shape_of_a_gradient_stays_known() -> None:
    text = "layer d(x[N], y.grad[I]) -> x.grad:\n    x.grad[2*i] += y.grad[i]\n\nlayer f(a, b) -> g:\n    g = d(a, b)\n"
    assert to_text(program(text, "f")) == "layer f(a[N], b[I]) -> g[N]:\n    g[2*i] += b[i]\n"


def test_no_name_of_the_caller_is_captured() -> None:
    text = "layer f(x[N]) -> y[N]:\n    n[i] = x[i]\n    y[i] = n[i]\n"
    found = to_text(program(text + "\nlayer g(i[N], n) -> y:\n    h = f(i)\n    y[N2] = h[N2] * n\n", "g"))
    assert found.splitlines()[1:] == [
        "    shape h[N]",
        "    f_n[i2] = i[i2]",
        "    h[i2] = f_n[i2]",
        "    y[N2] = h[N2] * n",
    ]


# Layers that use each other's names for other things; what a program of them gives is what they give one by one.
NASTY = """\
layer i(x[N,M]) -> y[N,M]:
    n[i] = x[i,j]
    y[i,j] = x[i,j] * n[i]

layer scale(x[N,M], n[]; N2=2, k=N2+1) -> y[N,M]:
    y[a,b] = x[a,b] * n * k / N

layer two(h[A,B]) -> m[A], y[A,B]:
    m[i] max= h[i,j]
    t[i,j] = exp(h[i,j] - m[i])
    y[i,j] = t[i,j] / sum[m2](t[i,m2])

layer rows(m[K], y[K,L]) -> x[K,L]:
    x[b,j] = y[b,j] + m[b]
    x[b,j] += 1

layer win(x[N,M]; r=1, p=r) -> y[N,M]:
    y[n,m] = x[n,pad(m+d,p)] where d < 2*p+1

layer acc(x[N,M], y[N,M]) -> y[N,M]:
    y[i,j] += 2*x[i,j]

layer twice(x, n; r=1) -> z:
    h = i(win(x, p=r))
    z = scale(h, n, N2=r) + relu(-x)
"""
KINDS = {  # a matrix, a vector, a scalar; in and out
    "i": ("m", "m"),
    "scale": ("ms", "m"),
    "two": ("m", "vm"),
    "rows": ("vm", "m"),
    "win": ("m", "m"),
    "acc": ("mm", "m"),
    "twice": ("ms", "m"),
}
OPTIONS = {"win": ("", "r=2", "p=0"), "scale": ("", "N2=3", "k=5"), "twice": ("", "r=2", "r=0")}


@pytest.mark.parametrize("seed", range(60))
def test_inlined_layers_compute_what_they_compute_alone(seed: int) -> None:
    rnd = random.Random(seed)
    names = rnd.sample(["x", "y", "h", "n", "i", "j", "b", "m", "k", "N", "t", "a", "two_y", "i_n"], 10)
    known = dict(zip("msv", ([n] for n in names), strict=False))
    rng = np.random.default_rng(seed)
    values: dict[str, Any] = {n: rng.standard_normal(s) for n, s in zip(names, ((2, 3), (), (2,)), strict=False)}
    given, lines, fresh = dict(values), [], iter(names[3:])
    layers = parse(Source(NASTY))
    for out in fresh:
        name = rnd.choice([*KINDS])
        takes, gives = KINDS[name]
        args = [rnd.choice(known[kind]) for kind in takes]
        option = rnd.choice(OPTIONS.get(name, ("",)))
        outs = [out] if gives != "vm" else ["_", out] if rnd.random() < 0.3 else [out, next(fresh, "_")]
        lines.append(f"{', '.join(outs)} = {name}({', '.join([*args, option] if option else args)})")
        key, _, number = option.partition("=")
        alone = resolve(layers, name, {key: int(number)} if option else {})
        results = loops.run(alone, dict(zip(alone.inputs, (values[a] for a in args), strict=True)))
        for target, result, kind in zip(outs, alone.outputs, gives, strict=True):
            if target != "_":
                values[target] = results[result]
                known[kind].append(target)
    wanted = [n for n in values if n not in given]
    declared = rnd.choice(("{0}[P,Q], {1}[], {2}[P]", "{0}, {1}[], {2}[P]", "{0}, {1}[], {2}")).format(*names)
    body = "\n".join(f"    {line}" for line in lines)
    found = program(f"{NASTY}\nlayer main({declared}) -> {', '.join(wanted)}:\n{body}\n", "main")
    results = loops.run(found, {n: given[n] for n in found.inputs})
    for name in wanted:
        np.testing.assert_allclose(results[name], values[name], rtol=1e-12, err_msg=name)


# -- imports -----------------------------------------------------------------------------------------


def test_layers_and_functions_are_imported(tmp_path: Path) -> None:
    (tmp_path / "a.idx").write_text("from b import twice\n\nlayer f(x) -> y:\n    y = twice(x)\n")
    (tmp_path / "b.idx").write_text("twice(u) = 2*u\n\nlayer unused(x) -> y:\n    y[i] = wrong(x[i])\n")
    found = program("from a import f\nfrom b import twice\nz = f(x)\nw[i] = twice(z[i])\n", folder=tmp_path)
    assert to_text(found) == "z[...] = 2 * x[...]\nw[i] = 2 * z[i]\n"


def test_a_file_beside_comes_before_the_standard_library(tmp_path: Path) -> None:
    text = "from linear import linear\ny = linear(x, W)\n"
    assert "W[i,o] * x[...,i]" in to_text(program(text, folder=tmp_path))
    assert "W[i,o] * x[...,i]" in to_text(program(text))
    (tmp_path / "linear.idx").write_text("layer linear(x, W) -> y:\n    y = x * W\n")
    assert to_text(program(text, folder=tmp_path)) == "y[...] = x[...] * W[...]\n"
    (tmp_path / "linear.idx").write_text("layer linear(x, W) -> y:\n    y = x + W\n")  # read anew when it changes
    assert to_text(program(text, folder=tmp_path)) == "y[...] = x[...] + W[...]\n"


# -- texts that nobody would write -------------------------------------------------------------------


def test_broken_texts_are_errors_or_programs() -> None:
    """Words taken out, doubled, exchanged: what is no error is a well-formed program that prints as it is read."""
    words = [c.text.replace("[", " [ ").replace("]", " ] ").replace(",", " , ").split(" ") for c in CASES]
    pool = sorted({w for text in words for w in text})
    rnd = random.Random(3)
    sound = 0
    for _ in range(900):
        text = list(rnd.choice(words))
        for _ in range(rnd.choice((1, 1, 2, 3))):
            place = rnd.randrange(len(text))
            text[place : place + 1] = rnd.choice(([], [text[place]] * 2, [rnd.choice(pool)], [rnd.choice(text)]))
            text = text or [""]
        try:
            found = resolve(parse(Source(" ".join(text))))
        except IndexLangError:
            continue
        sound += 1
        verify(found)
        assert resolve(parse(Source(to_text(found)))) == found
    assert sound > 50


def test_a_layer_of_the_library_is_offered() -> None:
    with pytest.raises(MeaningError, match="from activations import softmax"):
        resolve(parse(Source("y[n,i] = softmax(x[n,i])")))
