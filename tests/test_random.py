"""Random programs: a fixed list, and some of a fresh seed in every run. `make fuzz` is the long run.

`INDEXLANG_SEED=... pytest tests/test_random.py` repeats a run; `python -m random_programs SEED:NUMBER`, with `tests` on
the path, tries one program, makes it small, and prints it as a test.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from random_programs.judge import wrong
from random_programs.limits import limits_of
from random_programs.one import Outcome, assert_right, attempt
from random_programs.report import HEAD, as_test
from random_programs.sample import FLOATS, LAYOUTS, Input, Sample, laid
from random_programs.shrink import shrunk
from random_programs.statements import MOST, generate
from random_programs.trial import QUICK, Failure, InvalidError, trial

from indexlang.plan.limits import NUMPY, TINY

FRESH = 25  # groups of programs of a fresh seed
GROUP = 10  # programs
FAILING: frozenset[int] = frozenset()  # of the fixed list: what fails today
FIXED = [k for k in range(40) if k not in FAILING]


def assert_nothing_failed(outcomes: list[Outcome]) -> None:
    failed = [f"{o.name}: {f.stage}, {f.kind}: {f.detail}" for o in outcomes for f in o.failures]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("number", FIXED)
def test_fixed_programs(number: int) -> None:
    assert_nothing_failed([attempt(f"fixed:{number}", "tiny")])


@pytest.mark.parametrize("group", range(FRESH))
def test_fresh_programs(group: int) -> None:
    names = [f"{os.environ['INDEXLANG_SEED']}:{group * GROUP + k}" for k in range(GROUP)]
    assert_nothing_failed([attempt(name, "tiny", QUICK) for name in names])


def test_a_seed_makes_one_program() -> None:
    first, again = generate("s:1"), generate("s:1")
    assert (first.text, first.inputs) == (again.text, again.inputs)
    for name, a in first.arrays().items():
        np.testing.assert_array_equal(a, again.arrays()[name])


@pytest.mark.parametrize("layout", [x for x in LAYOUTS if x != "broadcast"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4), (1, 3, 1)])
def test_layouts_keep_values(layout: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).standard_normal(shape)
    found = laid(values, layout)
    assert found.shape == shape
    np.testing.assert_array_equal(found, values)


def test_arrays_are_what_their_source_says() -> None:
    inputs = {n: Input((2, 3), n, layout="F") for n in FLOATS} | {"k": Input((4,), "below", 3, "uint8")}
    arrays = Sample("", inputs, 5).arrays("float32")
    assert all(arrays[n].dtype == np.float32 and arrays[n].shape == (2, 3) for n in FLOATS)
    assert arrays["k"].dtype == np.uint8
    assert arrays["k"].max() < 3


# -- what would be found -----------------------------------------------------------------------------


def test_a_wrong_element_is_found() -> None:
    right = {"y": np.array([1.0, 2.0, 1e-9])}
    still = lambda noise, seed: right  # noqa: E731
    assert wrong({"y": right["y"].copy()}, right, still) is None
    assert "at [2]" in (wrong({"y": np.array([1.0, 2.0, 2e-9])}, right, still) or "")
    assert "shape" in (wrong({"y": np.ones((3, 1))}, right, still) or "")
    assert "nan" in (wrong({"y": np.array([1.0, np.nan, 1e-9])}, right, still) or "")


def test_what_rounding_may_take_is_not_wrong() -> None:
    right = {"y": np.array([1e-9])}
    moved = lambda noise, seed: {"y": right["y"] + noise}  # noqa: E731
    assert wrong({"y": np.array([1e-9 + 2e-11])}, right, moved) is None


def test_failures_shrink() -> None:
    text = "h[i,j] = tanh(x[i,k]) * w[k,j] where k <= i\nz[a,b] = h[a,b] / v[b] + cos(h[a,b])\n"
    inputs = {"x": Input((5, 5), layout="F"), "w": Input((5, 4)), "v": Input((4,), "ties")}

    def still(sample: Sample) -> bool:
        try:
            return "tanh" in sample.text and not trial(sample, frozenset(("value float64",)))
        except InvalidError:
            return False

    small = shrunk(Sample(text, inputs, limits="tiny"), still, 20)
    assert len(small.text) < 24
    assert all(i.layout == "C" and max(i.shape, default=1) == 1 for i in small.inputs.values())
    assert small.limits == "default"


def test_a_wrong_derivative_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    from indexlang.program import functions

    rows = dict(functions.FUNCTIONS)
    rows["tanh"] = rows["tanh"].__class__(**{**vars(rows["tanh"]), "rules": rows["sin"].rules})
    monkeypatch.setattr(functions, "FUNCTIONS", rows)
    found = trial(Sample("y[i] = tanh(x[i])\n", {"x": Input((3,))}))
    assert "derivative" in {f.kind for f in found}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_printed_test_passes_where_all_is_right(number: int) -> None:
    sample = replace(generate(f"fixed:{number}", "tiny"), limits="tiny")
    names: dict[str, Any] = {}
    exec(HEAD + as_test(sample, Failure("value float64", "wrong", "y is something else"), number), names)
    next(f for name, f in names.items() if name.startswith("test_"))()


@pytest.mark.parametrize(("where", "worst"), [("dense._Whole.run", "said nothing"), ("indexlang.compile", "slow")])
def test_time_is_counted_for_who_takes_it(monkeypatch: pytest.MonkeyPatch, where: str, worst: str) -> None:
    def for_ever(*arguments: Any, **named: Any) -> None:
        while True:
            pass

    monkeypatch.setattr("random_programs.one.CPU", 1)
    monkeypatch.setattr(where, for_ever)
    assert attempt("fixed:1", "tiny").worst == worst


def test_limits_lie_between_tiny_and_those_of_the_engine() -> None:
    for seed in range(5):
        for name, value in vars(limits_of(f"mixed:{seed}")).items():
            ends = sorted((getattr(TINY, name), getattr(NUMPY, name)))
            assert ends[0] <= value <= ends[1]


def test_a_pad_that_is_refused_makes_no_failure() -> None:
    text = "y[i,j,k] = argmax[l](x[j,k]) where i < 8, l < 1\nz = y[k,pad(m,1,value=-0.5),n] where p < 8"
    with pytest.raises(InvalidError):
        assert_right(text, {"x": np.zeros((8, 9))}, "gathered")


def test_programs_make_no_more_than_memory_holds() -> None:
    sample = generate("nov30d:3947")  # whose first drawing writes 300 million elements
    assert sum(math.prod(shape) for shape in sample.shapes.values()) <= MOST
