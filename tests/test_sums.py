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
    "y[b,t] = tanh(x[b,s] + c[b]) where s <= t, t < 4": (
        "y[b,t] = tanh(sum[s](x[b,s]) + c[b]) where t < 4, s <= t",
        "y[b,t] = sum[s](tanh(x[b,s] + c[b])) where t < 4, s <= t",
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
    "z[b] = exp(s[b,k] - m[b])": ("z[b] = exp(sum[k](s[b,k]) - m[b])", "z[b] = sum[k](exp(s[b,k] - m[b]))"),
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
    "y[b,o] = relu(W[i,o] * x[b,i])",
    "y[b] = log(1 + x[b,i])",
    "L = relu(1 - y[n]*z[n])",  # the hinge loss
    "L = log(1 + exp(-y[n]*z[n]))",
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
    text = "swish(u) = u * sigmoid(u)\ny[o] = swish(swish(swish(swish(swish(x[i,o] + b[o])))))"
    (message,) = told(text)
    assert "  the right side is summed over i\n  b[o] counts once for each value of i\n" in message
    assert message.endswith("by sum[i](...) around the terms inside, or around the whole right side")
    assert told(text.replace("= swish", "= sum[i](swish") + ")") == []


def test_an_error_of_scope_is_told_alone() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MeaningError) as caught:
            indexlang.compile("y[b,o] = relu(W[i,o]*x[b,i] + B[o]) + C[o]")
    assert [p.code for p in caught.value.problems] == ["scope"]


@pytest.mark.parametrize("text", ["v[n] = sum[d](exp(x[n,d] - mu[n]))", *DOUBTFUL])
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
        assert out == f"{file}: no errors\n"
        assert err.count("dense.idx:2:35: warning[late-sum]") == 1
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
