"""A Function as a callable on torch tensors.

In: a Function. Out: what takes and gives tensors, with derivatives. The one rule: it only chooses an operator; all
else, derivatives among it, is that operator's (`torch_operators`), so that compiled and exported graphs have it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..errors import Problem, ShapeError
from ..rewrite.starting import starting
from . import arguments
from .arrays import as_array
from .torch_operators import NAMES, operator, registered, watched

TENSORS = (torch.Tensor, torch.nn.Parameter)
TAKEN = frozenset((*NAMES, torch.bfloat16))


class OnTorch:
    """What `Function.to_torch` gives: call it as the Function, with CPU tensors. `op` is the operator of torch."""

    def __init__(self, function: Any) -> None:
        self.function: Any = function
        self.operator = operator(function)
        self.op = self.operator.overload

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """The outputs, of tensors by position, by name, or in one mapping: a tensor, or a dict of several.

        Errors: `ShapeError` for tensors that are missing, do not fit, or lie elsewhere.
        """
        f = self.function
        tensors = [kwargs.get(n) for n in f.inputs] if len(kwargs) == len(f.inputs) and not args else args
        if len(tensors) == len(f.inputs) and all([taken(t) for t in tensors]):
            return self._results(tensors)
        named = arguments.by_name(args, kwargs, f.inputs, f.optional, f._ignored, tensor)
        initial = tuple([name for name in f.optional if name in named])
        if initial:
            return like(f._started(initial))(starting(named, initial))
        return self._results([named[n] for n in f.inputs])

    def _results(self, tensors: Sequence[Any]) -> Any:
        results, f = self.of(tensors), self.function
        return dict(zip(f.outputs, results, strict=True)) if f._always_dict else results[0]

    def __repr__(self) -> str:
        f = self.function
        return f"<indexlang function of torch tensors, {', '.join(f.inputs)} -> {', '.join(f.outputs)}>"

    def __reduce__(self) -> tuple[Callable[[Any], OnTorch], tuple[Any, ...]]:
        return like, (self.function,)

    def of(self, tensors: Sequence[Any]) -> Sequence[Any]:
        """The outputs in their order, of all inputs in theirs."""
        if torch.is_autocast_enabled("cpu"):
            half = torch.get_autocast_dtype("cpu")
            tensors = [t.to(half) if t.is_floating_point() and t.dtype != torch.float64 else t for t in tensors]
        graded = torch.is_grad_enabled()
        wanted = tuple([graded and t.requires_grad and (t.is_floating_point() or t.is_complex()) for t in tensors])
        found: Any
        if torch.compiler.is_exporting():
            found = self.op(*tensors)
        elif torch.compiler.is_compiling():
            found = getattr(torch.ops.indexlang, keeping(self.operator.name, wanted))(*tensors)
        elif any(wanted) and not watched():
            found = self.operator.keeping(wanted)(*tensors)
        else:
            found = self.operator(*tensors)
        found = found if isinstance(found, tuple | list) else (found,)
        return tuple(found[: len(self.function.outputs)])


def like(function: Any) -> OnTorch:
    """The callable of a Function, once."""
    found: OnTorch = function._made(("on torch",), lambda: OnTorch(function))
    return found


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def keeping(name: str, wanted: tuple[bool, ...]) -> str:
    """The name of the operator that keeps what the wanted gradients read: a compiler asks, and takes it as it is."""
    return registered(name).keeping(wanted).name


def taken(value: Any) -> bool:
    """Whether this is a tensor that is taken as it is."""
    return type(value) in TENSORS and value.is_cpu and value.layout is torch.strided and value.dtype in TAKEN


def tensor(name: str, value: Any) -> Any:
    """What a caller passes, as a CPU tensor. Errors: `ShapeError`."""
    if not isinstance(value, torch.Tensor):
        return torch.from_numpy(as_array(name, value))
    if value.device.type not in ("cpu", "meta"):
        rule = f"'{name}' is on {value.device}: kernels run on CPU tensors"
        raise ShapeError(Problem("device", rule, way_out=f"pass {name}.cpu()"))
    if value.layout != torch.strided:
        rule = f"'{name}' is {value.layout}: kernels run on strided tensors"
        raise ShapeError(Problem("device", rule, way_out=f"pass {name}.to_dense()"))
    if value.dtype not in TAKEN:
        rule = f"'{name}' has dtype {value.dtype}: tensors hold numbers that the language has"
        raise ShapeError(Problem("dtype", rule, way_out="convert it to float32"))
    return value
