"""A Plan is a value: the same for the same arguments, it compares, pickles, prints, and is data."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from corpus import CASES, Case
from planned import runs_of
from test_corpus import DIFFERENTIABLE, backward_of, program_of, wrt_of

from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.plan.places import Buffer
from indexlang.plan.plan import Plan
from indexlang.plan.planning import plan
from indexlang.plan.printing import as_json, steps_text
from indexlang.plan.record import Record
from indexlang.plan.verify import verify
from indexlang.program.ir import Program

LIMITS = {"numpy": NUMPY, "tiny": TINY}
EVERY = pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
EACH = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


GRADUAL = [c for c in DIFFERENTIABLE if wrt_of(c)]


@cache
def arguments(case: Case, program: Program) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Sizes and dtypes of a program's inputs; a cotangent has those of its output."""
    arrays = case.arrays()
    forward = program_of(case)
    sizes = {n: a.shape for n, a in arrays.items()}
    dtypes = {n: a.dtype.name for n, a in arrays.items()}
    if any(n not in sizes for n in program.inputs):
        made = plan(forward, {n: sizes[n] for n in forward.inputs}, {n: dtypes[n] for n in forward.inputs}).plan
        sizes = {**{f"{n}.grad": made.shapes[n] for n in forward.outputs}, **made.shapes, **sizes}
        dtypes = {**{f"{n}.grad": floating(made.dtypes[n]) for n in forward.outputs}, **made.dtypes, **dtypes}
    return {n: sizes[n] for n in program.inputs}, {n: dtypes[n] for n in program.inputs}


def floating(dtype: str) -> str:
    return dtype if dtype.startswith(("float", "complex")) else "float64"


@cache
def plans(case: Case, limits: Limits) -> tuple[tuple[Program, Plan], ...]:
    """The plans of a program and of its gradients."""
    programs = (program_of(case), *([backward_of(case)] if case in GRADUAL else []))
    return tuple((program, plan(program, *arguments(case, program), limits).plan) for program in programs)


def parts(node: Any) -> Iterator[Any]:
    """Everything that a plan holds, leaves too."""
    yield node
    if is_dataclass(node):
        for field in fields(node):
            yield from parts(getattr(node, field.name))
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from parts(key)
            yield from parts(value)
    elif isinstance(node, tuple | list | set | frozenset):
        for part in node:
            yield from parts(part)


@EVERY
@EACH
def test_the_same_arguments_give_the_same_plan(case: Case, limits: Limits) -> None:
    for program, made in plans(case, limits):
        sizes, dtypes = arguments(case, program)
        before = copy.deepcopy((sizes, dtypes)), program, pickle.dumps(limits)
        again = plan(program, sizes, dtypes, limits).plan
        assert ((sizes, dtypes), program, pickle.dumps(limits)) == before
        assert again == made
        verify(made)


@EACH
def test_what_is_known_of_a_program_does_not_change_its_plan(case: Case) -> None:
    for program, made in plans(case, TINY):
        sizes, dtypes = arguments(case, program)
        assert plan(pickle.loads(pickle.dumps(program)), dict(sizes), dict(dtypes), replace(TINY)).plan == made


@EVERY
@EACH
def test_it_pickles_and_copies(case: Case, limits: Limits) -> None:
    for _, made in plans(case, limits):
        for again in (pickle.loads(pickle.dumps(made)), copy.copy(made)):
            assert again == made
            assert (str(again), steps_text(again), as_json(again)) == (str(made), steps_text(made), as_json(made))


@EVERY
@EACH
def test_it_prints(case: Case, limits: Limits) -> None:
    for _, made in plans(case, limits):
        text = str(made)
        for number, record in enumerate(made.steps, 1):
            assert f"{number}. {record.statement}\n   kernel   {record.kernel}\n" in text
        steps = steps_text(made).splitlines()
        assert steps and not any("object at 0x" in line or "numpy" in line for line in steps)
        for tensor, _, dtype in made.outputs:
            assert any(line.startswith(f"give {tensor} = ") and line.endswith(f" as {dtype}") for line in steps)
        heads = [line.removeprefix("# ") for line in steps if line.startswith("# ")]
        assert heads == [record.statement for section in made.sections for record in section.records]


@EVERY
@EACH
def test_it_is_data(case: Case, limits: Limits) -> None:
    for _, made in plans(case, limits):
        data = json.loads(as_json(made), parse_constant=refused)
        assert data["kind"] == "Plan"
        assert [b["name"] for b in data["inputs"]] == [b.name for b in made.inputs]
        assert [tensor for tensor, *_ in data["outputs"]] == [tensor for tensor, *_ in made.outputs]
        assert len(data["sections"]) == len(made.sections)


def refused(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@EVERY
@EACH
def test_it_holds_nothing_but_python_s_own_values(case: Case, limits: Limits) -> None:
    for _, made in plans(case, limits):
        for part in parts(made):
            own = type(part) in (int, float, bool, str, complex, type(None), tuple, dict, frozenset)
            assert own or (is_dataclass(part) and type(part).__module__.startswith("indexlang.")), type(part)
            if isinstance(part, tuple | dict | frozenset | Buffer | Record | Plan):
                continue
            if is_dataclass(part) and type(part).__module__.startswith("indexlang.plan"):
                hash(part)


def test_other_arguments_give_another_plan() -> None:
    case = next(c for c in CASES if len(c.arrays()) == 2 and all(a.ndim for a in c.arrays().values()))
    program = program_of(case)
    sizes, dtypes = arguments(case, program)
    made = plan(program, sizes, dtypes).plan
    assert plan(program, sizes, dict.fromkeys(dtypes, "float32")).plan != made
    assert made != replace(made, sections=())
    assert made != replace(made, outputs=tuple((t, p, "float16") for t, p, _ in made.outputs))


def test_arguments_that_cannot_be_changed_will_do() -> None:
    from types import MappingProxyType

    for case in CASES[:20]:
        program = program_of(case)
        sizes, dtypes = arguments(case, program)
        frozen = plan(program, MappingProxyType(sizes), MappingProxyType(dtypes)).plan
        assert frozen == plan(program, sizes, dtypes).plan


def digests() -> dict[str, str]:
    """What the plans of some programs say, as short words."""
    found = {}
    for case in CASES[::4]:
        for number, (_, made) in enumerate(plans(case, TINY)):
            words = steps_text(made) + as_json(made)
            found[f"{case.name} {number}"] = hashlib.sha256(words.encode()).hexdigest()
    return found


@pytest.mark.parametrize("seed", ["1", "2"])
def test_another_process_makes_the_same_plans(seed: str) -> None:
    here = Path(__file__).parent
    code = "import json, test_plan; print(json.dumps(test_plan.digests()))"
    known = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([str(here), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=known, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == digests()


def test_corpus_goes_through_many_kernels() -> None:
    names = {type(run.kernel).__name__ for case in CASES for _, made in plans(case, TINY) for run in runs_of(made)}
    assert names >= {"Map", "Product", "Einsum", "Running", "Take", "Scatter", "Search", "Select"}
