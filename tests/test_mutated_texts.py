"""Mutated texts: a fixed list of them. `make fuzz-text` is the long run.

`python -m mutated_texts SEED:NUMBER`, with `tests` on the path, tries one text and makes it small.
"""

from __future__ import annotations

from random import Random

import pytest
from mutated_texts.attempt import attempt, made, tried
from mutated_texts.changes import LONGEST
from mutated_texts.sources import Text, drawn


@pytest.mark.parametrize("group", range(8))
def test_each_text_is_an_answer_or_an_error(group: int) -> None:
    for k in range(12):
        failure, _ = attempt(f"fixed:{group * 12 + k}")
        assert failure is None, f"fixed:{group * 12 + k}: {failure.stage}, {failure.signature}\n{failure.detail}"


def test_a_name_is_one_text() -> None:
    assert made("s:1") == made("s:1")
    assert len({made(f"s:{k}").text for k in range(50)}) > 40
    assert all(len(made(f"s:{k}").text) <= LONGEST for k in range(50))


def test_the_sources_come_far() -> None:
    reached = [tried(drawn(Random(k)), Random(k))[1] for k in range(8)]
    assert reached.count("vjp") >= 4


def test_what_is_no_error_of_ours_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("indexlang.calls.function.to_text", broken)
    failure, _ = tried(Text("y[i] = x[i]"), Random(0))
    assert failure is not None
    assert (failure.stage, failure.signature.split()[0]) == ("print", "KeyError")
