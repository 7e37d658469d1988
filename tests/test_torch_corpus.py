"""The corpus on torch: values, gradients, and those of a batch, as on NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: python -m pip install 'indexlang[torch]'")

import torch
from corpus import Case
from test_corpus import EACH, GRADIENTS, arguments, assert_same, backward_of, cotangents, program_of, run, wrt_of

from indexlang.calls.function import Function
from indexlang.derive import grad

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.IndexLangWarning")


def on_torch(case: Case) -> Any:
    return Function(program_of(case), always_dict=True).to_torch()


def tensors(arrays: dict[str, Any]) -> dict[str, Any]:
    return {n: torch.from_numpy(np.array(a)) for n, a in arrays.items()}


@EACH
def test_is_as_on_numpy(case: Case) -> None:
    if not case.arrays():
        pytest.skip("takes no tensors")
    found, right = on_torch(case)(tensors(case.arrays())), run(program_of(case), case.arrays())
    assert_same({n: t.numpy() for n, t in found.items()}, right, 1e-12)
    assert {n: t.numpy().dtype for n, t in found.items()} == {n: a.dtype for n, a in right.items()}


@GRADIENTS
@pytest.mark.parametrize("twice", [False, True])
def test_gradients_are_the_derived_programs(case: Case, twice: bool) -> None:
    """What is kept of the forward run is read, or, where gradients are derived again, made again."""
    right, names = run(backward_of(case), arguments(case)), grad.gradient_names(program_of(case))
    given = {n: t.requires_grad_(n in wrt_of(case)) for n, t in tensors(case.arrays()).items()}
    values = on_torch(case)(given)
    smooth = [n for n, v in values.items() if v.requires_grad]
    seeds = [torch.from_numpy(np.array(cotangents(case)[names[n]])).to(values[n].dtype).conj() for n in smooth]
    found = torch.autograd.grad(
        [values[n] for n in smooth], [given[n] for n in wrt_of(case)], seeds, create_graph=twice
    )
    made = {
        names[n]: t.detach().resolve_conj().conj().resolve_conj().numpy()
        for n, t in zip(wrt_of(case), found, strict=True)
    }
    assert_same(made, right, 1e-9)


@EACH
def test_a_batch_is_one_example_after_the_other(case: Case) -> None:
    if not case.arrays():
        pytest.skip("takes no tensors")
    op, given = on_torch(case), tensors(case.arrays())
    moving = [n for n, t in given.items() if t.is_floating_point() or t.is_complex()]
    if not moving:
        pytest.skip("only positions")
    both = {n: torch.stack([t, t * 0.5]) if n in moving else t for n, t in given.items()}
    found = torch.func.vmap(lambda some: op(some), ({n: 0 if n in moving else None for n in given},))(both)
    for k in range(2):
        right = op({n: t[k] if n in moving else t for n, t in both.items()})
        assert_same({n: t[k].numpy() for n, t in found.items()}, {n: t.numpy() for n, t in right.items()}, 1e-9)
