"""Sums inside of functions and products, of which a term lacks an index that the statement sums over: what is told."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import indexlang
from indexlang import edf
from indexlang.cli import commands
from indexlang.errors import IndexLangWarning, MeaningError, Problem
from indexlang.meaning.resolve import layer_names, resolve
from indexlang.syntax.parser import parse, read

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((*(ROOT / "indexlang" / "library").glob("*.idx"), *(ROOT / "examples").glob("*.idx")))


def told(text: str) -> list[str]:
    """The warnings of a program."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        indexlang.compile(text)
    return [str(w.message) for w in found if issubclass(w.category, IndexLangWarning)]


def ways(text: str) -> tuple[str, str]:
    """The two programs that a warning shows: the inner sum first, and the outer one."""
    (message,) = told(text)
    found = re.search(r"the inner one first, (.*); or the outer one, (.*)$", message)
    assert found is not None
    return found[1], found[2]


DOUBTFUL = {  # the text, the inner sum first, the outer one
    "y[b,o] = relu(W[i,o]*x[b,i] + B[o])": (
        "y[b,o] = relu(sum[i](W[i,o] * x[b,i]) + B[o])",
        "y[b,o] = sum[i](relu(W[i,o] * x[b,i] + B[o]))",
    ),
    "y[b,o] += relu(B[o] - W[i,o]*x[b,i])": (
        "y[b,o] += relu(B[o] - sum[i](W[i,o] * x[b,i]))",
        "y[b,o] += sum[i](relu(B[o] - W[i,o] * x[b,i]))",
    ),
    "y[b,o] = g[o] * (W[i,o]*x[b,i] + B[o]) / 2": (
        "y[b,o] = g[o] * (sum[i](W[i,o] * x[b,i]) + B[o]) / 2",
        "y[b,o] = sum[i](g[o] * (W[i,o] * x[b,i] + B[o]) / 2)",
    ),
    "y[i,o] = max(K[d,c,o]*x[i+d,c] + B[o], 0) where i < 3": (
        "y[i,o] = max(sum[d,c](K[d,c,o] * x[i+d,c]) + B[o], 0) where i < 3",
        "y[i,o] = sum[d,c](max(K[d,c,o] * x[i+d,c] + B[o], 0)) where i < 3",
    ),
    "y[b,t] = 2 * (x[b,s] + c[b]) where s <= t, t < 4": (
        "y[b,t] = 2 * (sum[s](x[b,s]) + c[b]) where t < 4, s <= t",
        "y[b,t] = sum[s](2 * (x[b,s] + c[b])) where t < 4, s <= t",
    ),
    "y[b,o] = tanh(V[k,o] * relu(W[i,k]*x[b,i] + B[k]) + C[o])": (
        "y[b,o] = tanh(sum[k](V[k,o] * relu(sum[i](W[i,k] * x[b,i]) + B[k])) + C[o])",
        "y[b,o] = sum[k,i](tanh(V[k,o] * relu(W[i,k] * x[b,i] + B[k]) + C[o]))",
    ),
    "y[b,o] = relu(W[i,o]*x[b,i] + B[o]) + V[i,o]*x[b,i]": (
        "y[b,o] = relu(sum[i](W[i,o] * x[b,i]) + B[o]) + sum[i](V[i,o] * x[b,i])",
        "y[b,o] = sum[i](relu(W[i,o] * x[b,i] + B[o]) + V[i,o] * x[b,i])",
    ),
    "y[b] = logsumexp[k](W[i,k]*x[b,i] + c[k])": (
        "y[b] = logsumexp[k](sum[i](W[i,k] * x[b,i]) + c[k])",
        "y[b] = sum[i](logsumexp[k](W[i,k] * x[b,i] + c[k]))",
    ),
    "y[b,o] = sigmoid(W[i,o]*x[b,i] + 1)": (
        "y[b,o] = sigmoid(sum[i](W[i,o] * x[b,i]) + 1)",
        "y[b,o] = sum[i](sigmoid(W[i,o] * x[b,i] + 1))",
    ),
    "L = (w[j]*x[n,j] + b - y[n])**2": (
        "L = (sum[j](w[j] * x[n,j]) + b - y[n])**2",
        "L = sum[j]((w[j] * x[n,j] + b - y[n])**2)",
    ),
    "L = abs(w[j]*x[n,j] + b - y[n])": (
        "L = abs(sum[j](w[j] * x[n,j]) + b - y[n])",
        "L = sum[j](abs(w[j] * x[n,j] + b - y[n]))",
    ),
    # without a bias
    "y[b,o] = relu(W[i,o]*x[b,i])": (
        "y[b,o] = relu(sum[i](W[i,o] * x[b,i]))",
        "y[b,o] = sum[i](relu(W[i,o] * x[b,i]))",
    ),
    "y[b,o] = V[h,o]*relu(W[i,h]*x[b,i])": (
        "y[b,o] = V[h,o] * relu(sum[i](W[i,h] * x[b,i]))",
        "y[b,o] = sum[i](V[h,o] * relu(W[i,h] * x[b,i]))",
    ),
    "y[n] = 1/(1+exp(-w[k]*x[n,k]))": (
        "y[n] = 1 / (1 + exp(sum[k](-w[k] * x[n,k])))",
        "y[n] = sum[k](1 / (1 + exp(-w[k] * x[n,k])))",
    ),
    "y[n] = c[n]/(w[k]*x[n,k])": ("y[n] = c[n] / sum[k](w[k] * x[n,k])", "y[n] = sum[k](c[n] / (w[k] * x[n,k]))"),
    "p[t,s] = exp(q[t,d]*k[s,d])": ("p[t,s] = exp(sum[d](q[t,d] * k[s,d]))", "p[t,s] = sum[d](exp(q[t,d] * k[s,d]))"),
    "y[i,o] = relu(K[d,c,o]*x[i+d,c])": (
        "y[i,o] = relu(sum[d,c](K[d,c,o] * x[i+d,c]))",
        "y[i,o] = sum[d,c](relu(K[d,c,o] * x[i+d,c]))",
    ),
    "s[b] = sigmoid(h[b,i]*A[i,j]*g[b,j])": (
        "s[b] = sigmoid(sum[i,j](h[b,i] * A[i,j] * g[b,j]))",
        "s[b] = sum[i,j](sigmoid(h[b,i] * A[i,j] * g[b,j]))",
    ),
    "y[b] = max[k](W[i,k]*x[b,i])": (
        "y[b] = max[k](sum[i](W[i,k] * x[b,i]))",
        "y[b] = sum[i](max[k](W[i,k] * x[b,i]))",
    ),
    "y[b,o] = (W[i,o]*x[b,i] + c[o] > 0)": (
        "y[b,o] = sum[i](W[i,o] * x[b,i]) + c[o] > 0",
        "y[b,o] = sum[i](W[i,o] * x[b,i] + c[o] > 0)",
    ),
    "y[b,o] = where(W[i,o]*x[b,i] > 0, 1, 0)": (
        "y[b,o] = where(sum[i](W[i,o] * x[b,i]) > 0, 1, 0)",
        "y[b,o] = sum[i](where(W[i,o] * x[b,i] > 0, 1, 0))",
    ),
    "h[b,o] = sigmoid(A[i,o]*x[b,i] + a[o]) * tanh(B[i,o]*x[b,i] + c[o])": (
        "h[b,o] = sigmoid(sum[i](A[i,o] * x[b,i]) + a[o]) * tanh(sum[i](B[i,o] * x[b,i]) + c[o])",
        "h[b,o] = sum[i](sigmoid(A[i,o] * x[b,i] + a[o]) * tanh(B[i,o] * x[b,i] + c[o]))",
    ),
    "y[b,o] = relu(W[i,o]*x[b,i] + c[i])": (
        "y[b,o] = relu(sum[i](W[i,o] * x[b,i]) + sum[i](c[i]))",
        "y[b,o] = sum[i](relu(W[i,o] * x[b,i] + c[i]))",
    ),
    "D[n,m] = sqrt((x[n,d] - z[m,d])**2)": (
        "D[n,m] = sqrt(sum[d]((x[n,d] - z[m,d])**2))",
        "D[n,m] = sum[d](sqrt((x[n,d] - z[m,d])**2))",
    ),
    # the mean over n is meant to come last
    "L = softplus(-y[n]*w[d]*x[n,d])": (
        "L = softplus(sum[d](-y[n] * w[d] * x[n,d]))",
        "L = sum[d](softplus(-y[n] * w[d] * x[n,d]))",
    ),
    "L = softplus(-y[n]*(w[d]*x[n,d] + b))": (
        "L = softplus(-y[n] * (sum[d](w[d] * x[n,d]) + b))",
        "L = sum[d](softplus(-y[n] * (w[d] * x[n,d] + b)))",
    ),
    "h[b,k] = tanh(W[i,k]*x[b,i] + U[l,k]*g[b,l] + c[k])": (
        "h[b,k] = tanh(sum[i](W[i,k] * x[b,i]) + sum[l](U[l,k] * g[b,l]) + c[k])",
        "h[b,k] = sum[i,l](tanh(W[i,k] * x[b,i] + U[l,k] * g[b,l] + c[k]))",
    ),
}


@pytest.mark.parametrize("text", DOUBTFUL)
def test_both_meanings_are_shown_and_nothing_is_told_of_them(text: str) -> None:
    assert ways(text) == DOUBTFUL[text]
    assert [told(way) for way in ways(text)] == [[], []]


def test_the_outer_sum_is_what_the_program_computes() -> None:
    rng = np.random.default_rng(0)
    W, x, B = rng.standard_normal((3, 4)), rng.standard_normal((2, 3)), rng.standard_normal(4)  # noqa: N806
    text = "y[b,o] = relu(W[i,o]*x[b,i] + B[o])"
    inner, outer = (indexlang.compile(way)(W=W, x=x, B=B) for way in ways(text))
    with pytest.warns(IndexLangWarning, match="late-sum"):
        computed = indexlang.compile(text)(W=W, x=x, B=B)
    last, first = np.zeros((2, 4)), np.zeros((2, 4))
    for b in range(2):
        for o in range(4):
            for i in range(3):
                last[b, o] += max(W[i, o] * x[b, i] + B[o], 0)
            first[b, o] = max(sum(W[i, o] * x[b, i] for i in range(3)) + B[o], 0)
    assert np.allclose(computed, last)
    assert np.allclose(outer, last)
    assert np.allclose(inner, first)
    assert not np.allclose(first, last)


PLAIN = [
    "y[b] = log(x[b,i])",
    "y[b] = x[b,i] * w[i] * c[b]",
    "y[b] = log(1 + x[b,i])",
    "L = relu(1 - y[n]*z[n])",  # the hinge loss
    "L = log(1 + exp(-y[n]*z[n]))",
    "L = softplus(-y[n]*z[n])",
    "L = relu(s[b,k] - s[b,c[b]] + 1)",
    "L = ((x[b] - mu) / sigma)**2",
    "z[b] = exp(s[b,k] - m[b])",
    "z[b] = exp((s[b,k] - m[b]) / T)",
    "y[b,t] = tanh(x[b,s] + c[b]) where s <= t, t < 4",
    "v[b] = (x[b,i] - m[b])**3",
    "v[b] = (x[b,i] - m[b]) * (x[b,i] - m[b]) * (x[b,i] - m[b])",
    "v[c] = ((x[b,c] - m[c]) / s[c])**2",
    "L = abs(x[b,i] - m[b])",
    "L = abs(x[pad(i+k,1)] - x[i]) where k < 3, i < 5",
    "L = sqrt(dx[i]**2 + dy[i]**2 + eps)",
    "y[n] = (V[i,f]*x[n,i])**2 - V[i,f]**2*x[n,i]**2",  # a factorization machine
    "y[b] = x[b,i] * sigmoid(g[i]*x[b,i])",  # i stands outside, too
    "y[b] = relu(x[b,i,c] * (i < n[b]))",  # what chooses is no factor
    "v[n] = (x[n,d] - mu[n])**2",
    "sq(u) = u*u\nv[n] = sq(x[n,d] - mu[n])",
    "c[n] = (x[n,d] - mu[n]) * (y[n,d] - nu[n])",
    "y[b] = w[i] * (x[b,i] + c[b])",
    "y[b] = x[b,i] * sigmoid(x[b,i] + c[b])",
    "y[b] = where(x[b,i] - c[b] > 0, 1, 0)",
    "y[b] = where(m[b] > 0, x[b,i], 0) where i < len[b]",
    "y[b] max= relu(x[b,i] + c[b])",
    "y[b] *= 1 - p[i]*(a[b,i] + c[b])",
    "y[b,o] = relu(sum[i](W[i,o]*x[b,i]) + B[o])",
    "y[b] = mean[d]((x[b,d] - m[b])**2)",
    "y[b,o] = relu(x[b,o] + B[o])",
    "y[b,i] = K[d] * x[b,2*i+d]",
    "y[b] = exp(x[b,...] - m[b])",  # no explicit sum could say it
]


@pytest.mark.parametrize("text", PLAIN)
def test_nothing_is_told_of_what_can_be_meant_in_one_way_only(text: str) -> None:
    assert told(text) == []


def test_an_inlined_function_is_looked_through() -> None:
    text = "swish(u) = u * sigmoid(u)\ny[b,o] = swish(W[i,o]*x[b,i] + B[o])"
    first, last = ways(text)
    assert first == "y[b,o] = (sum[i](W[i,o] * x[b,i]) + B[o]) * sigmoid(sum[i](W[i,o] * x[b,i]) + B[o])"
    assert told(first) == told(last) == []


def test_what_is_long_is_not_written_out() -> None:
    text = "swish(u) = u * sigmoid(u)\ny[o] = swish(swish(swish(swish(swish(w[i]*x[i,o] + b[o])))))"
    (message,) = told(text)
    assert "  the right side is summed over i\n  b[o] counts once for each value of i\n" in message
    assert message.endswith("by sum[i](...) around the terms inside, or around the whole right side")
    assert told(text.replace("= swish", "= sum[i](swish") + ")") == []


def test_an_error_of_scope_is_told_alone_and_shows_the_sum_first() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MeaningError) as caught:
            indexlang.compile("y[b,o] = V[h,o] * relu(W[i,h]*x[b,i] + B[h]) + x[b,o]")
    (problem,) = caught.value.problems
    assert problem.code == "scope"
    first, two, explicit = (problem.way_out or "").split("; or ")
    assert first == "the inner sum first, y[b,o] = sum[h](V[h,o] * relu(sum[i](W[i,h] * x[b,i]) + B[h])) + x[b,o]"
    assert two.startswith("two statements, y[b,o] = V[h,o] * relu(W[i,h] * x[b,i] + B[h]); y[b,o] += x[b,o]")
    assert explicit == "an explicit sum, y[b,o] = sum[h,i](V[h,o] * relu(W[i,h] * x[b,i] + B[h])) + x[b,o]"
    assert told(first.removeprefix("the inner sum first, ")) == []


WAYS_OUT = [  # a statement that is refused, and shapes at which all of its ways out run
    ("l[t,s] = q[t,d]*k[s,d] - m*(t-s) where s <= t", {"q": (5, 3), "k": (4, 3), "m": ()}),
    ("l[t,s] += -m*(t-s) + q[t,d]*k[s,d] where s <= t, t < s+3", {"q": (5, 3), "k": (5, 3), "m": ()}),
    ("y[t] = a[t,s]*b[s] + c[t] where s <= t", {"a": (5, 5), "b": (5,), "c": (5,)}),
    ("y[t] = c[t] - a[t,s]*b[s] where s <= t, t < 4, s < 3", {"a": (5, 5), "b": (5,), "c": (5,)}),
    ("y[t] = a[t,s]*b[s] + d[u] + c[t] where s <= t, u < t, s < 4", {"a": (5, 5), "b": (5,), "c": (5,), "d": (5,)}),
    ("y[t] = a[t,d,e] + c[t,e] where d < e, e < t", {"a": (5, 5, 5), "c": (5, 5)}),
    ("y[t] = a[t,d,e] + b[t,d] - c[t,e] where d < e, d > t", {"a": (5, 5, 5), "b": (5, 5), "c": (5, 5)}),
    ("y[t] = a[t,s]*b[s] + sum[u](d[u]) + c[t] where s <= t, u < t", {"a": (5, 5), "b": (5,), "c": (5,), "d": (5,)}),
    ("y[t] = a[t,s]*b[s] + c[t] where g[t,s] > 0, c[t] > 0", {"a": (5, 4), "b": (4,), "c": (5,), "g": (5, 4)}),
    ("y[t,(a,b)] = q[t,d]*k[a,b,d] + c[t] where a < b", {"q": (5, 2), "k": (3, 4, 2), "c": (5,)}),
    ("y[i,o] = W[i,k]*v[k] + b[o] where i < o", {"W": (3, 4), "v": (4,), "b": (5,)}),
    ("y[i] = -a[j] + b[k] + c[i] where i > j, k < j", {"a": (4,), "b": (5,), "c": (6,)}),
    ("y[t,e] = p[t,s]*v[s,e] - w[e] where s <= t, t % 2 == 0", {"p": (5, 5), "v": (5, 3), "w": (3,)}),
    ("y[t] = sin(a[t,s])*(b[s,u]*c[u] + d[s]) + e[t] where s <= t, u < 3, t*t + s*s*s + t*s < 40, t - 2*s < 9, t+s > 0",
     {"a": (5, 5), "b": (5, 4), "c": (4,), "d": (5,), "e": (5,)}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shapes"), WAYS_OUT, ids=[text for text, _ in WAYS_OUT])
def test_ways_out_of_a_masked_sum_mean_the_same(text: str, shapes: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(MeaningError) as caught:
        indexlang.compile(text)
    (problem,) = caught.value.problems
    assert problem.code == "scope"
    ways = [way.partition(", ")[2] for way in (problem.way_out or "").split("; or ") if "inner sum" not in way]
    rng = np.random.default_rng(0)
    given = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    results = []
    for way in ways:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            f = indexlang.compile(way.replace("; ", "\n"))
        assert set(f.inputs) == set(given)
        results.append(f(**given))
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=1e-12, atol=1e-12)
    assert len(ways) == (
        1 if text.startswith(("y[i,o]", "y[t,(a,b)]")) else 2
    )  # what no statement alone says the shape of


def test_the_second_statement_of_a_way_out_keeps_the_mask() -> None:
    with pytest.raises(MeaningError) as caught:
        indexlang.compile("l[t,s] = q[t,d]*k[s,d] - m*(t-s) where s <= t")
    assert (caught.value.problems[0].way_out or "").split("; or ") == [
        "two statements, l[t,s] = q[t,d] * k[s,d] where s <= t; l[t,s] += -m * (t - s) where s <= t",
        "an explicit sum, l[t,s] = sum[d](q[t,d] * k[s,d]) - m * (t - s) where s <= t",
    ]


def test_all_indices_and_what_lacks_them_are_named() -> None:
    (message,) = told("h[b,k] = tanh(W[i,k]*x[b,i] + U[l,k]*g[b,l] + c[k])")
    assert "over 'i' and 'l' last, after a sum of which one term lacks them\n" in message
    assert "  tanh(W[i,k] * x[b,i] + U[l,k] * g[b,l] + c[k]) is summed over i and l\n" in message
    assert "  c[k] counts once for each value of i and l\n" in message
    (message,) = told("h[b,k] = tanh(W[i,k]*x[b,i] + U[l,k]*g[b,l])")
    assert "  U[l,k] * g[b,l] counts once for each value of i\n" in message
    assert "  W[i,k] * x[b,i] counts once for each value of l\n" in message


SLOPED = [text for text in DOUBTFUL if ">" not in text]


@pytest.mark.parametrize("text", ["v[n] = sum[d](exp(x[n,d] - mu[n]))", *SLOPED])
def test_derived_programs_are_never_doubted(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f = indexlang.compile(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for derived in (f.grad(), f.grad(form="gather"), f.grad().grad()):
            indexlang.compile(derived.source)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_is_told_of_the_library_and_the_examples(path: Path) -> None:
    file = parse(read(path))
    doubts: list[Problem] = []
    for name in layer_names(file):
        resolve(file, layer=name, folder=path.parent, doubt=doubts.append)
    assert doubts == []


LAYER = "layer dense(x[B,I], W[I,O], c[O]) -> y[B,O]:\n    y[b,o] = tanh(W[i,o]*x[b,i] + c[o])\n"


def test_the_command_line_tells_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dense.idx").write_text(LAYER)
    Path("twice.idx").write_text(
        "from dense import dense\nlayer twice(x, W, c) -> y:\n    h = dense(x, W, c)\n    y = dense(h, W, c)\n"
    )
    for file in ("dense.idx", "twice.idx"):
        assert commands.main(["check", file]) == 0
        out, err = capsys.readouterr()
        assert out.endswith(f"\n{file}: no errors, 1 warning\n")
        assert out.count("dense.idx:2:35: warning[late-sum]") == 1
        assert err == ""
    assert commands.main(["check", "dense.idx", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(w["code"], w["line"], w["column"]) for w in found["warnings"]] == [("late-sum", 2, 35)]
    assert commands.main(["grad", "dense.idx"]) == 0
    assert "warning[late-sum]" in capsys.readouterr().err


def test_files_and_nodes_tell_it_where_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "dense.idx"
    path.write_text(LAYER)
    with warnings.catch_warnings(record=True) as found, edf.Graph():
        warnings.simplefilter("always")
        _ = indexlang.load(path).dense
        _ = indexlang.compile(path)
        edf.node(path)(edf.Input(), edf.Input(), edf.Input())
    assert [(w.category, w.filename) for w in found] == [(IndexLangWarning, __file__)] * 3


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("y[i] = sum[j] * x[i,j]", "sum[k](...)"),
        ("y = mean + 1", "mean[k](...)"),
        ("y[i] = relu * x[i]", "relu(...)"),
    ],
)
def test_functions_that_became_tensors_are_told(text: str, way: str) -> None:
    (message,) = told(text)
    assert "warning[function-name]" in message
    assert f"way out: write {way}, or declare" in message


@pytest.mark.parametrize(
    "text",
    [
        "shape mean[N]\ny[i] = x[i] - mean[i]",
        "sum[i] += x[i,j]\ny[i] = 2 * sum[i]",
        "layer f(x[N], max[N]) -> y[N]:\n    y[i] = x[i] * max[i]",
        "x.grad[i] += y.grad[i] * min[i]",
    ],
)
def test_tensors_that_are_declared_or_defined_may_be_called_like_functions(text: str) -> None:
    assert told(text) == []
