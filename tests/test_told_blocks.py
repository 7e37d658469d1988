"""What is told of programs with blocks: plans print, count all steps, and `explain` shows their pieces."""

from __future__ import annotations

import json

import pytest

import indexlang
from indexlang.cli import commands as cli

TEXT = """for t reversed:
    a[t,k] = V[i,k] * x[t,i]
    h[t,k] = a[t,k] + sum[l](U[l,k] * h[pad(t+1),l])
"""
SHAPES = {"V": (3, 5), "x": (20, 3), "U": (5, 5)}
ARGUMENTS = [part for name, shape in SHAPES.items() for part in ("--shape", f"{name}={','.join(map(str, shape))}")]


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_a_plan_tells_of_steps(backend: str) -> None:
    plan = indexlang.compile(TEXT, backend=backend).plan(**SHAPES)
    before, *inside = plan.steps
    assert before.statement == "a[t,k] = V[i,k] * x[t,i]"
    assert before.flops == 20 * 5 * 3 * 2
    assert all(record.statement.startswith("for t < 20 reversed: ") for record in inside)
    assert all(record.extents[0] == ("t", (0, 20)) for record in inside)
    assert sum(record.flops for record in inside) == 20 * (5 * 5 * 2 + 5)
    assert any("is h[pad(t+1),:]" in record.statement for record in inside)
    told = str(plan)
    assert "for t < 20 reversed: " in told
    assert "tensors   V[3, 5] float32" in told
    joined = [record for record in plan.steps if "together with" in record.kernel]
    assert not any("together with 1." in record.kernel for record in joined)  # which stands outside of the block
    assert repr(plan) == "<Plan of h[20, 5] in 2 pieces; print() shows them>"


@pytest.mark.parametrize("how", [[], ["--grad"], ["--vjp"]])
@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_explain_shows_pieces(backend: str, how: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["explain", "-e", TEXT, *ARGUMENTS, "--backend", backend, *how]
    nests = ["--nests"] if backend == "native" else []
    assert cli.main([*asked, "--steps", *nests]) == 0
    printed = capsys.readouterr().out
    assert "for t < 20 reversed: " in printed
    assert "give a = " in printed
    assert ("nest " in printed) == bool(nests)
    assert cli.main([*asked, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [len(plan["pieces"]) > 1 for plan in (found if "--vjp" in how else [found])].count(True) >= 1
