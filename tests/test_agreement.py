"""What `compile` refuses is what `indexlang check` does: over every program of the tests, right or wrong."""

from __future__ import annotations

from pathlib import Path

import corpus
import numpy as np
import pytest
import test_mistakes_of_meaning
import test_parser

import indexlang
from indexlang.cli.commands import main
from indexlang.errors import Source
from indexlang.meaning.resolve import layer_names
from indexlang.syntax.parser import parse

UNBOUNDED = (
    "y[i] = x[i+j]",
    "y[i] = 1",
    "y[i] = i",
    "shape t[N+size(y,0)]\nshape x[N]\nt[i] = x[i]\ny[i] = t[i]",
    "s[] += x[i+j]\ny[k] = s[] * x[k]",
    "layer f(x) -> y:\n    y[i] = x[i+j]",
)
TEXTS = [*UNBOUNDED, *test_mistakes_of_meaning.TOLD, *test_parser.TOLD, *{case.text for case in corpus.CASES}]


def compiled(text: str) -> str:
    """What `compile` says is wrong."""
    try:
        file = parse(Source(text))
        for layer in layer_names(file) if not_alone(text) else (None,):
            indexlang.compile(text, layer=layer)
    except indexlang.IndexLangError as error:
        return str(error)
    return ""


def not_alone(text: str) -> bool:
    """Whether a layer has to be chosen."""
    try:
        indexlang.compile(text)
    except indexlang.IndexLangError as error:
        return {problem.code for problem in error.problems} == {"several-layers"}
    return False


@pytest.mark.filterwarnings("ignore::indexlang.IndexLangWarning")
def test_what_is_compiled_is_what_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    differing = []
    for text in TEXTS:
        wrong = main(["check", "-e", text])
        told = capsys.readouterr()
        if bool(wrong) != bool(compiled(text)):
            differing.append((text, told.out + told.err, compiled(text)))
    assert not differing


@pytest.mark.parametrize("text", UNBOUNDED)
def test_what_nobody_can_call_is_refused_at_once(text: str) -> None:
    with pytest.raises(indexlang.ShapeError):
        indexlang.compile(text)
    if text.startswith("layer"):
        return
    assert main(["check", "-e", text]) == 1


def test_a_layer_of_a_file_that_nobody_can_call(tmp_path: Path) -> None:
    (tmp_path / "net.idx").write_text(UNBOUNDED[-1], encoding="utf-8")
    layers = indexlang.load(tmp_path / "net.idx")
    with pytest.raises(indexlang.ShapeError):
        layers["f"]


def test_what_callers_say_where_to_start_is_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    """`y += 1` runs as far as the y that is passed; `check` tells it as a warning."""
    assert main(["check", "-e", "y[i] += 1"]) == 0
    assert "warning[unbounded-index]" in "".join(capsys.readouterr())
    f = indexlang.compile("y[i] += 1")
    np.testing.assert_array_equal(f(y=np.arange(3.0)), [1, 2, 3])
    with pytest.raises(indexlang.ShapeError, match="unbounded-index"):
        f()
