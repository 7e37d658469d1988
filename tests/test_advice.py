"""What errors advise is true: each program in it is right, and what is advised for positions runs."""

from __future__ import annotations

import re

import numpy as np
import pytest
import test_mistakes_of_meaning
import test_parser

import indexlang
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.syntax.parser import parse

STATEMENT = re.compile(r"\b(?!write\b|with\b)[A-Za-z_]\w*(?:\.grad)?(?:\[[^\]]*\])? (?:[+*]|max|min)?= .*")
PROSE = re.compile(r"as a statement of its own$|sums over j$|= \.\.\.$|without a space$")

PADDED = (
    "y[s] = x[pad(s-1,1,0,-1e30)] * w[k] + b[s]",
    "y[s] = relu(x[pad(s+k-1,1,1,-1e30)] * w[k]) + b[s]",
    "y[i] = x[pad(i+k,1,value=-inf)] - b[i] where k < 3",
    "y[i] = relu(x[pad(i-1,1,0)]) * w[k] - 2*v[i]",
    "y.grad[i] = x[i] * w[k] + 1",
    "y[(i,j)] = x[i] * w[k] + b[j]",
    "y[...,i] = x[...,k] * w[k,i] + b[i]",
)


def programs(way: str) -> list[str]:
    """The programs in a way out; statements that go together are joined by semicolons."""
    found = (STATEMENT.search(part) for part in re.split(r"; or |, or ", way))
    return [m[0].replace("; ", "\n") for m in found if m is not None and not PROSE.search(m[0])]


def ways() -> list[str]:
    told = [*test_mistakes_of_meaning.TOLD.values(), *test_parser.TOLD.values()]
    for text in PADDED:
        with pytest.raises(indexlang.MeaningError) as caught:
            indexlang.compile(text)
        told.append(str(caught.value))
    return sorted({way for text in told for way in re.findall(r"way out: (.*)", text)})


@pytest.mark.filterwarnings("ignore::indexlang.IndexLangWarning")
def test_programs_that_are_advised_are_right() -> None:
    """How far their indices run the programs say that they are advised for."""
    advised = [program for way in ways() for program in programs(way)]
    assert len(advised) > 25
    for program in advised:
        resolve(parse(Source(program)))


@pytest.mark.parametrize(
    ("written", "advised"),
    [
        ("pad(s-1,1,0,-1e30)", "write pad(s,1,0,value=-1e+30)"),
        ("pad(s-2,size(w,0),0)", "write pad(s+size(w,0)-2,size(w,0),0)"),
        ("pad(s-3,1)", "shift the subscript by 3"),
        ("s-1", "say pad(...) or wrap(...)"),
    ],
)
def test_a_position_before_a_padding_with_a_width(written: str, advised: str) -> None:
    x, w = np.arange(3.0), np.ones(2)
    with pytest.raises(indexlang.ShapeError) as caught:
        indexlang.compile(f"y[s] = x[{written}] * w[k]")(x=x, w=w)
    way = caught.value.problems[0].way_out or ""
    assert advised in way
    if "write " in way:
        assert indexlang.compile(f"y[s] = x[{way.partition('write ')[2]}] * w[k]")(x=x, w=w)[-1] == 4


def test_no_range_below_zero_is_advised() -> None:
    with pytest.raises(indexlang.ShapeError) as caught:
        indexlang.compile("shape y[size(x,0)-size(w,0)]\ny[i] = x[i]")(x=np.ones(2), w=np.ones(3))
    assert caught.value.problems[0].way_out == "make the sizes equal"
