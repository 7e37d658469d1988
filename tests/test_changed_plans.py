"""A Plan with one thing changed at random is refused by `verify`, or runs and reads nothing that nobody wrote."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
import pytest
from corpus import CASES, Case
from mutations import mutations
from numpy.typing import NDArray
from test_plan import plans

from indexlang.backends.numpy.load import load
from indexlang.backends.numpy.program import source
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.plan.plan import Plan
from indexlang.plan.verify import PlanError, verify

Array = NDArray[Any]
SEED = int(os.environ.get("INDEXLANG_CHANGES", 0))  # another number: other changes
SOME = Random(SEED).sample(CASES, 40)


def arrays(case: Case, made: Plan) -> list[Array]:
    """Inputs of a plan, those of the case where they fit."""
    known, rng = case.arrays(), np.random.default_rng(0)
    found = []
    for b in made.inputs:
        a = known.get(b.name)
        fits = a is not None and (a.shape, a.dtype.name) == (b.shape, b.dtype)
        found.append(a if fits else rng.integers(0, 2, b.shape).astype(b.dtype))
    return found


def wrong(case: Case, limits: Limits, count: int) -> Iterator[tuple[object, Plan]]:
    """Plans of a case with one thing changed that `verify` does not refuse."""
    for number, (_, made) in enumerate(plans(case, limits)):
        for what, changed_plan in mutations(made, SEED + number, count):
            try:
                verify(changed_plan)
            except PlanError:
                continue
            yield what, changed_plan


@pytest.mark.parametrize("limits", [NUMPY, TINY], ids=["numpy", "tiny"])
@pytest.mark.parametrize("case", SOME, ids=lambda c: c.name)
def test_what_is_not_refused_runs_and_reads_nothing_that_nobody_wrote(case: Case, limits: Limits) -> None:
    """Memory that is not written yet holds nan in one of the two runs."""
    for what, made in wrong(case, limits, 15):
        given = arrays(case, made)
        try:
            checked = load(source(made, checked=True))(*[a.copy() for a in given])
            plain = load(source(made))(*[a.copy() for a in given])
        except IndexError as error:
            if len(error.args) != 4:  # no Check's own
                raise
            continue
        for (_, _, dtype), a, b in zip(made.outputs, checked, plain, strict=True):
            assert (a.shape, a.dtype.name) == (b.shape, dtype), what
            np.testing.assert_array_equal(a, b, err_msg=str(what))
