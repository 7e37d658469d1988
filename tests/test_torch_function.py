"""`to_torch`: what of torch goes through it, derivatives by the derived program, types, batches, what is refused."""
# ruff: noqa: N803, N806

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: python -m pip install 'indexlang[torch]'")

import torch
from torch import func
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad

import indexlang
from indexlang.errors import MeaningError, ShapeError

LAYER = "y[b,o] = tanh(sum[i](W[i,o]*x[b,i]))"
RNN = """\
layer rnn(x[T,I], h0[K], V[I,K], U[K,K]) -> y[K]:
    shape h[T+1,K]
    h[0,k] = h0[k]
    for t:
        h[t+1,k] = tanh(sum[i](V[i,k]*x[t,i]) + sum[l](U[l,k]*h[t,l]))
    y[k] = h[T,k]
"""
TWO = "y[i] = sin(x[i])*w[i]\nz = sum[i](x[i]*y[i])"
BEST = "y[n] = max[k](x[n,k])\nj[n] = argmax[k](x[n,k])"


def normal(*shape: int, seed: int = 0, dtype: Any = torch.float64, grad: bool = True) -> Any:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.to(dtype).requires_grad_(grad)


def leaves(found: Any) -> list[Any]:
    flat: list[Any] = torch.utils._pytree.tree_leaves(found)
    return flat


def assert_near(found: Any, right: Any, tolerance: float = 1e-10) -> None:
    for one, other in zip(leaves(found), leaves(right), strict=True):
        torch.testing.assert_close(one.detach(), other.detach(), rtol=tolerance, atol=tolerance)


# -- what torch itself checks ----------------------------------------------------------------------

CHECKED: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "layer": (LAYER, {"x": (3, 4), "W": (4, 5)}),
    "rnn": (RNN, {"x": (4, 2), "h0": (3,), "V": (2, 3), "U": (3, 3)}),
    "convolution": ("y[b,i,o] = x[b,pad(i+d,1),c]*W[d,c,o]", {"x": (2, 6, 2), "W": (3, 2, 3)}),
    "pooling": ("y[b,i] max= x[b,2*i+r] where r < 2", {"x": (2, 6)}),
    "scalar": ("y = x[i]*x[i]*w[i]", {"x": (4,), "w": (4,)}),
    "two outputs": (TWO, {"x": (4,), "w": (4,)}),
    "itself": ("y[i] = x[i]", {"x": (4,)}),
    "transposed": ("y[j,i] = x[i,j]", {"x": (4, 3)}),
    "spread": ("y[i,j] = x[i] where j < 3", {"x": (4,)}),
    "any axes": ("y[...,o] = x[...,i]*W[i,o]", {"x": (2, 2, 3), "W": (3, 2)}),
    "running": ("y[t] = x[s]*x[s] where s <= t, t < 5", {"x": (5,)}),
}


def made(name: str) -> tuple[Any, Callable[..., tuple[Any, ...]], list[Any]]:
    text, shapes = CHECKED[name]
    op = indexlang.compile(text, outputs=["y", "z"] if text == TWO else None).to_torch()
    arrays = [normal(*shapes[n], seed=k) for k, n in enumerate(op.function.inputs)]
    return op, lambda *a: tuple(leaves(op(*a))), arrays


@pytest.mark.parametrize("name", CHECKED)
def test_gradients_in_every_direction_are_numerical(name: str) -> None:
    _, outputs, arrays = made(name)
    batched = {"check_batched_grad": True, "check_batched_forward_grad": True}
    assert torch.autograd.gradcheck(outputs, arrays, check_forward_ad=True, **batched)
    assert torch.autograd.gradgradcheck(outputs, arrays, check_fwd_over_rev=True)


@pytest.mark.parametrize("name", CHECKED)
def test_the_operator_is_registered_as_torch_asks(name: str) -> None:
    op, _, arrays = made(name)
    assert set(torch.library.opcheck(op.op, arrays).values()) == {"SUCCESS"}
    torch.library.opcheck(op.operator.keeping((True,) * len(arrays)).overload, arrays)


@pytest.mark.parametrize("name", CHECKED)
def test_compiled_gradients(name: str) -> None:
    _, outputs, arrays = made(name)
    torch._dynamo.reset()
    compiled = torch.compile(outputs, fullgraph=True, backend="aot_eager")
    found, right = (
        torch.autograd.grad(sum((t**2).sum() for t in leaves(f(*arrays))), arrays) for f in (compiled, outputs)
    )
    assert_near(found, right)


# -- transformations -------------------------------------------------------------------------------


def squared(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *a: (f(*a) ** 2).sum()


def cubed(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *a: (f(*a) ** 3).sum()


def forward_over_reverse(f: Callable[..., Any]) -> Callable[..., Any]:
    def run(x: Any, W: Any) -> Any:
        with forward_ad.dual_level():
            moving = forward_ad.make_dual(x, x * 2).requires_grad_()
            (slope,) = torch.autograd.grad(squared(f)(moving, W), moving)
            return forward_ad.unpack_dual(slope).tangent

    return run


def stacked(x: Any) -> Any:
    return torch.stack([x, 2 * x])


TRANSFORMED: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "value": lambda f: f,
    "grad": lambda f: func.grad(squared(f), (0, 1)),
    "grad of grad": lambda f: func.grad(cubed(func.grad(squared(f))), (0, 1)),
    "grad of grad of grad": lambda f: func.grad(squared(func.grad(cubed(func.grad(squared(f)))))),
    "jvp": lambda f: lambda x, W: func.jvp(f, (x, W), (2 * x, 3 * W)),
    "jvp of grad": lambda f: lambda x, W: func.jvp(func.grad(squared(f), 1), (x, W), (2 * x, 3 * W)),
    "grad of jvp": lambda f: func.grad(lambda x, W: (func.jvp(lambda W: f(x, W), (W,), (2 * W,))[1] ** 2).sum()),
    "vjp": lambda f: lambda x, W: func.vjp(f, x, W)[1](torch.ones(3, 5, dtype=x.dtype)),
    "hessian": lambda f: func.hessian(squared(f), (0, 1)),
    "jacrev": lambda f: func.jacrev(f, (0, 1)),
    "jacfwd": lambda f: func.jacfwd(f, (0, 1)),
    "vmap": lambda f: lambda x, W: func.vmap(f, (0, None))(stacked(x), W),
    "vmap of other axes": lambda f: (
        lambda x, W: func.vmap(f, (2, 1), 1)(stacked(x).movedim(0, 2), stacked(W).movedim(0, 1))
    ),
    "vmap of vmap": lambda f: lambda x, W: func.vmap(func.vmap(f, (None, 0)), (0, None))(stacked(x), stacked(W)),
    "vmap of grad": lambda f: lambda x, W: func.vmap(func.grad(squared(f), (0, 1)), (0, None))(stacked(x), W),
    "vmap of hessian": lambda f: lambda x, W: func.vmap(func.hessian(squared(f), 1), (0, None))(stacked(x), W),
    "grad of vmap": lambda f: func.grad(lambda x, W: squared(func.vmap(f, (0, None)))(stacked(x), W), (0, 1)),
    "grad of what is not differentiated": lambda f: func.grad(lambda x, W: (torch.no_grad()(f)(x, W) * x.sum()).sum()),
    "forward over reverse": forward_over_reverse,
}
SEEN = {
    "called": lambda op: lambda x, W: op(x=x, W=W),
    "as an operator": lambda op: lambda x, W: op.op(*({"x": x, "W": W}[n] for n in op.function.inputs)),
}


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("name", TRANSFORMED)
def test_transformations(name: str, seen: str) -> None:
    mine = SEEN[seen](indexlang.compile(LAYER).to_torch())
    x, W = normal(3, 4, grad=False), normal(4, 5, seed=1, grad=False)
    right = TRANSFORMED[name](lambda x, W: torch.tanh(x @ W))(x, W)
    assert_near(TRANSFORMED[name](mine)(x, W), right, 1e-9)


COMPILED = ["value", "grad", "jvp", "vmap", "grad of vmap", "vmap of grad", "hessian"]


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_transformations(name: str) -> None:
    op = indexlang.compile(LAYER).to_torch()
    x, W = normal(3, 4, grad=False), normal(4, 5, seed=1, grad=False)
    torch._dynamo.reset()
    found = torch.compile(TRANSFORMED[name](lambda x, W: op(x=x, W=W)), fullgraph=True, backend="aot_eager")(x, W)
    assert_near(found, TRANSFORMED[name](lambda x, W: torch.tanh(x @ W))(x, W), 1e-9)


def test_autograd_around_torch_func() -> None:
    op, x, W = indexlang.compile(LAYER).to_torch(), normal(3, 4), normal(4, 5, seed=1)
    for f in (lambda g: cubed(func.grad(squared(g)))(x, W), lambda g: (func.jvp(g, (x, W), (x, W))[1] ** 3).sum()):
        found, right = (torch.autograd.grad(f(g), (x, W)) for g in (op_of(op), lambda x, W: torch.tanh(x @ W)))
        assert_near(found, right, 1e-9)


def op_of(op: Any) -> Callable[..., Any]:
    return lambda x, W: op(x=x, W=W)


def test_checkpoints_and_batches_of_cotangents() -> None:
    op, x, W = op_of(indexlang.compile(LAYER).to_torch()), normal(3, 4), normal(4, 5, seed=1)
    right = torch.autograd.grad(squared(op)(x, W), (x, W))
    again = torch.utils.checkpoint.checkpoint(op, x, W, use_reentrant=False)
    assert_near(torch.autograd.grad((again**2).sum(), (x, W)), right)
    seeds = normal(2, 3, 5, seed=2, grad=False)
    found = torch.autograd.grad(op(x, W), (x, W), seeds, is_grads_batched=True)
    for k in range(2):
        assert_near([g[k] for g in found], torch.autograd.grad(op(x, W), (x, W), seeds[k]))


def test_a_batch_of_positions() -> None:
    op, E, tok = (
        indexlang.compile("y[t,e] = E[tok[t],e]").to_torch(),
        normal(5, 2),
        torch.tensor([[1, 4, 1], [0, 2, 2]]),
    )
    assert_near(func.vmap(lambda k: op(E=E, tok=k))(tok), E[tok])
    found = func.vmap(func.grad(lambda E, k: squared(op)(E, k)), (None, 0))(E.detach(), tok)
    assert_near(found, func.vmap(func.grad(lambda E, k: (E[k] ** 2).sum()), (None, 0))(E.detach(), tok))


# -- graphs ----------------------------------------------------------------------------------------


class Model(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.op = indexlang.compile(LAYER).to_torch()
        self.W = torch.nn.Parameter(normal(4, 5, seed=1))

    def forward(self, x: Any) -> Any:
        return self.op(x=x, W=self.W)


def test_export() -> None:
    model, x = Model(), normal(3, 4, grad=False)
    program = torch.export.export(model, (x,))
    assert model.op.op in [node.target for node in program.graph.nodes]
    assert_near(program.module()(x), model(x))


def test_a_model_is_copied_and_pickled() -> None:
    model, x = Model(), normal(3, 4)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_near(other(x), model(x))


def test_sizes_may_change_where_compiled() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(op_of(indexlang.compile(LAYER).to_torch()), fullgraph=True, dynamic=True, backend="eager")
    for n in (3, 7):
        x, W = normal(n, 4), normal(4, 5)
        assert_near(compiled(x, W), torch.tanh(x @ W))
    with torch.no_grad():
        assert not compiled(x, W).requires_grad


def test_graphs_that_torch_keeps_for_other_processes(tmp_path: Any) -> None:
    code = (
        "import torch, indexlang; op = indexlang.compile('y[i] = tanh(x[i])*2').to_torch();"
        "x = torch.ones(3, requires_grad=True); torch.compile(op, fullgraph=True)(x=x).sum().backward();"
        "torch.testing.assert_close(x.grad, 2 - 2*torch.tanh(x.detach())**2)"
    )
    where = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], check=True, env=where, capture_output=True)


# -- derivatives that are ours ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "x", "slope"),
    [
        ("y = max[i](x[i])", [0.0, 1.0, 1.0], [0, 1, 0]),
        ("y[i] = relu(x[i])", [0.0, 1.0, -1.0], [0, 1, 0]),
        ("y[i] = abs(x[i])", [0.0, 1.0, -1.0], [0, 1, -1]),
        ("y[i] = where(x[i] > 0, log(x[i]), 0)", [0.0, 2.0, -1.0], [0, 0.5, 0]),
        ("y = prod[i](x[i])", [0.0, 2.0, 3.0], [6, 0, 0]),
    ],
)
def test_ties_kinks_and_poles(text: str, x: list[float], slope: list[float]) -> None:
    op = indexlang.compile(text).to_torch()
    assert func.grad(lambda x: op(x=x).sum())(torch.tensor(x)).tolist() == slope
    given = torch.tensor(x, requires_grad=True)
    op(x=given).sum().backward()
    assert given.grad.tolist() == slope


def test_gradients_of_complex_numbers_are_torchs() -> None:
    op = indexlang.compile("y[i] = x[i]*w[i]*w[i]").to_torch()
    x, w = (torch.complex(normal(3), normal(3, seed=k)).detach().requires_grad_() for k in (1, 2))
    for weights in (w, normal(3)):
        assert torch.autograd.gradcheck(op, (x, weights), check_forward_ad=True)
        assert torch.autograd.gradgradcheck(op, (x, weights))
    assert_near(op(x.conj(), w), x.conj() * w * w)
    assert_near(op(x.conj().imag, w), x.conj().imag * w * w)


def test_only_what_is_asked_for_is_derived() -> None:
    op, x, W = indexlang.compile(LAYER).to_torch(), normal(3, 4, grad=False), normal(4, 5)
    assert_near(torch.autograd.grad(op(x=x, W=W).sum(), W), torch.autograd.grad(torch.tanh(x @ W).sum(), W))
    assert not op(x=x, W=W.detach()).requires_grad
    with torch.no_grad():
        assert not op(x=x, W=W).requires_grad


def test_integers_have_no_gradients() -> None:
    op = indexlang.compile("y[i] = x[i]*w[i]").to_torch()
    x, w = torch.arange(3), normal(3)
    assert_near(torch.autograd.grad(op(x=x, w=w).sum(), w), [x.double()])
    assert op(x=x, w=x).dtype == torch.int64
    best = indexlang.compile(BEST, outputs=["y", "j"]).to_torch()
    found = best(normal(3, 4))
    assert found["y"].requires_grad and not found["j"].requires_grad
    assert torch.autograd.gradcheck(lambda x: best(x)["y"], (normal(3, 4),), check_forward_ad=True)


def test_steps_are_flat() -> None:
    x, w = normal(4), normal(4, seed=1)
    for text in ("y[i] = floor(x[i])*w[i]", "y[i] = floor(x[i]) + 0*w[i]", "y[i] = floor(x[i]) + floor(w[i])"):
        op = indexlang.compile(text).to_torch()
        assert torch.autograd.grad(op(x=x, w=w).sum(), x)[0].tolist() == [0, 0, 0, 0]
        assert func.jacrev(lambda x: op(x=x, w=w.detach()))(x.detach()).abs().max() == 0  # noqa: B023


def test_an_ensemble_and_gradients_of_each_example() -> None:
    op, x = indexlang.compile(LAYER).to_torch(), normal(3, 4, grad=False)
    W = normal(2, 4, 5, seed=1, grad=False)
    assert_near(func.vmap(lambda W: op(x=x, W=W))(W), torch.tanh(x @ W))
    found = func.vmap(func.grad(lambda W, x: squared(op_of(op))(x[None], W)), (None, 0))(W[0], x)
    assert_near(found.sum(0), func.grad(lambda W: (torch.tanh(x @ W) ** 2).sum())(W[0]))


def test_an_accumulation_starts_where_the_caller_says() -> None:
    op = indexlang.compile("y[i] += x[i]**2").to_torch()
    assert torch.autograd.gradcheck(lambda x, y: op(x=x, y=y), (normal(3), normal(3, seed=1)))


def test_what_is_changed_before_the_gradients_is_told() -> None:
    op, w = indexlang.compile("y[i] = exp(x[i])*w[i]").to_torch(), normal(3)
    x = normal(3)
    y = op(x=x, w=w)
    with torch.no_grad():
        x += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


# -- tensors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_halves_are_computed_in_float32(half: Any) -> None:
    op = indexlang.compile("y[b,o] = W[i,o]*x[b,i]").to_torch()
    x, W = normal(2, 300, dtype=half), normal(300, 2, seed=1, dtype=half)
    found = op(x=x, W=W)
    assert found.dtype == half
    torch.testing.assert_close(found, (x.float() @ W.float()).to(half), rtol=0, atol=0.01)
    grads = torch.autograd.grad(found.float().sum(), (x, W))
    assert [g.dtype for g in grads] == [half, half]
    torch.testing.assert_close(grads[0], W.detach().float().sum(1).to(half).expand(2, 300), rtol=0.01, atol=0.01)
    mixed = indexlang.compile("m = mean[i](exp(x[i]))\ny[i] = x[i]/m").to_torch()
    large = torch.full((8,), 20.0, dtype=half)  # exp(20) is no float16
    assert mixed(large).isfinite().all() and mixed(large)[0] > 0


def test_halves_of_both_kinds_do_not_meet() -> None:
    op = indexlang.compile("y[i] = x[i] + z[i]").to_torch()
    with pytest.raises(ShapeError, match="no common type"):
        op(x=torch.ones(2, dtype=torch.float16), z=torch.ones(2, dtype=torch.bfloat16))
    assert op(x=torch.ones(2), z=torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32


def test_autocast_is_that_of_a_linear_layer() -> None:
    op, x, W = op_of(indexlang.compile(LAYER).to_torch()), normal(3, 4, dtype=torch.float32), normal(4, 5)
    W = W.detach().float().requires_grad_()
    for call in (op, torch.compile(op, fullgraph=True, backend="aot_eager")):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert call(x, W).dtype == torch.nn.functional.linear(x, W.T).dtype == torch.bfloat16
            assert call(x.double(), W.double()).dtype == torch.float64
            grads = torch.autograd.grad(call(x, W).sum(), (x, W))
        assert [g.dtype for g in grads] == [torch.float32, torch.float32]


def test_memory_is_shared_and_not_written_to() -> None:
    op = indexlang.compile("y[i] = x[i]").to_torch()
    x = torch.zeros(3)
    op(x=x).add_(1)
    assert x.tolist() == [0, 0, 0]


def test_tensors_that_do_not_lie_in_a_row() -> None:
    op = indexlang.compile("y[i,j] = x[i,j]*w[j]").to_torch()
    x, w = normal(3, 8).T[::2], normal(1).expand(3)
    assert_near(op(x=x, w=w), x * w)
    assert_near(op(x=np.ones((2, 3)), w=w), w.expand(2, 3))


def test_tensors_without_elements_and_without_memory() -> None:
    op = indexlang.compile("y[i] = 2*x[i]").to_torch()
    assert op(x=torch.ones(0)).shape == (0,)
    assert op(x=torch.ones(3, device="meta")).device.type == "meta"
    with torch.inference_mode():
        assert op(x=torch.ones(3)).tolist() == [2, 2, 2]


REFUSED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "missing": ("missing-input", lambda op: op(x=torch.ones(3))),
    "sizes": ("size-mismatch", lambda op: op(x=torch.ones(3), w=torch.ones(4))),
    "sparse": (r"(?s)device.*to_dense", lambda op: op(x=torch.ones(3).to_sparse(), w=torch.ones(3))),
    "type": ("dtype", lambda op: op(x=torch.ones(3).to(torch.float8_e5m2), w=torch.ones(3))),
    "no examples": ("no examples", lambda op: func.vmap(lambda x: op(x=x, w=torch.ones(3)))(torch.ones(0, 3))),
}


@pytest.mark.parametrize("how", REFUSED)
def test_refused(how: str) -> None:
    says, call = REFUSED[how]
    with pytest.raises(ShapeError, match=says):
        call(indexlang.compile("y[i] = x[i]*w[i]").to_torch())


def test_tensors_elsewhere_are_refused() -> None:
    op = indexlang.compile("y[i] = 2*x[i]").to_torch()
    with FakeTensorMode():
        x = torch.empty(3, device="cuda")
    with pytest.raises(ShapeError, match=r"(?s)device.*'x' is on cuda:0.*x\.cpu\(\)"):
        op(x=x)


def test_positions_outside_are_an_error_in_graphs_too() -> None:
    op = indexlang.compile("y[t,e] = E[tok[t],e]").to_torch()
    for call in (op, torch.compile(lambda E, tok: op(E=E, tok=tok), fullgraph=True, backend="aot_eager")):
        with pytest.raises(ShapeError, match=r"(?s)index-out-of-range.*tok\[t\] = 4.*size 4"):
            call(E=torch.ones(4, 2), tok=torch.tensor([0, 4]))


def test_programs_that_are_no_operators() -> None:
    with pytest.raises(MeaningError, match="takes no tensors"):
        indexlang.compile("y[i] = 1 where i < 3").to_torch()
    with pytest.raises(MeaningError, match="checkpoint"):
        indexlang.compile(RNN, checkpoint={"t": 2}).to_torch()
