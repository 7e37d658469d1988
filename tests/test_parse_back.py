"""What is printed parses back to the same program: whatever is derived, gathered and derived again."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpus import CASES, Case
from library_cases import CASES as LAYERS
from library_cases import Case as Layer
from random_programs.statements import generate

import indexlang
from indexlang.derive.grad import backward
from indexlang.errors import DerivationError, IndexLangWarning, Source
from indexlang.meaning.resolve import resolve
from indexlang.program.ir import Program
from indexlang.program.text import to_text
from indexlang.program.verify import verify
from indexlang.rewrite.gather import gather
from indexlang.rewrite.hoist import hoist
from indexlang.rewrite.optimize import optimize
from indexlang.syntax.parser import parse

LIBRARY = Path(indexlang.__file__).parent / "library"


def family(program: Program) -> Iterator[tuple[str, Program]]:
    """A program and what comes of it: in one statement each, shorter, gathered, derived and gathered, twice."""
    yield "itself", program
    yield "hoisted", hoist(program)
    yield "shorter", optimize(program)
    yield "gathered", gather(program)
    for name, rule in (("derived", lambda p: p), ("derived and gathered", gather)):
        try:
            first = rule(backward(program))
        except DerivationError:
            return
        yield name, first
        try:
            yield f"{name}, twice", rule(backward(first))
        except DerivationError:
            continue


def assert_parses_back(program: Program) -> None:
    for name, member in family(program):
        verify(member)
        text = to_text(member)
        again = resolve(parse(Source(text)))
        assert to_text(again) == text, name
        assert again == member, f"{name}:\n{text}"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_the_corpus(case: Case) -> None:
    assert_parses_back(resolve(parse(Source(case.text)), case.layer, case.options))


@pytest.mark.parametrize("case", LAYERS, ids=lambda c: c.name)
def test_the_library(case: Layer) -> None:
    f = indexlang.compile(LIBRARY / f"{case.file}.idx", layer=case.layer, **case.options)
    assert_parses_back(f.program)


@pytest.mark.parametrize("number", range(20))
def test_random_programs(number: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexLangWarning)
        assert_parses_back(resolve(parse(Source(generate(f"back:{number}", "tiny").text))))
