"""Layers of index equations as modules of torch.

In: a text or a file, and which inputs are parameters. Out: a `torch.nn.Module`. The one rule: it holds parameters and
nothing else; what runs is `Function.to_torch`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from .calls.loading import compile as compiled
from .errors import MeaningError, Problem
from .meaning.report import nearest

__all__ = ["Layer"]


class Layer(torch.nn.Module):  # type: ignore[misc]  # where torch is not installed it is anything
    """A layer as a module: `Layer("conv.idx", layer="conv2d_nobias", parameters={"K": (3, 3, 3, 8)}, padding=1)`.

    `parameters` names the inputs that are parameters, each with its shape or its first values, a tensor. Of a shape
    they are drawn evenly up to 1/sqrt(n), n the product of all axes but the last (of a vector its length), in torch's
    default type. The other arguments are those of `indexlang.compile`. The module is called with the other inputs, by
    name or in their order, and gives what `function.to_torch()` gives; `function` is the compiled layer. Parameters
    have the names of the inputs, in `state_dict`, too. Errors: as `compile`'s and `to_torch`'s; `MeaningError` for
    parameters that are no inputs, or have names that a module has for something else.
    """

    def __init__(
        self,
        text: str | os.PathLike[str],
        /,
        *,
        parameters: Mapping[str, Any],
        layer: str | None = None,
        backend: Literal["auto", "numpy", "native", "jax"] = "auto",
        outputs: Sequence[str] | str | None = None,
        options: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__()
        self.function = compiled(text, layer=layer, backend=backend, outputs=outputs, options=options, **keywords)
        self.op = self.function.to_torch()
        self.takes = tuple(n for n in self.function.inputs if n not in parameters)
        for name, value in parameters.items():
            if name not in self.function.inputs:
                known = (f"inputs: {', '.join(self.function.inputs)}",)
                way = nearest(str(name), self.function.inputs) or "name inputs"
                raise MeaningError(Problem("parameters", f"{name!r} is no input", None, known, way))
            if hasattr(self, name):
                rule, way = f"a module has something else of the name '{name}'", "give the input another name"
                raise MeaningError(Problem("parameters", rule, way_out=way))
            self.register_parameter(name, torch.nn.Parameter(_first(name, value)))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs, of the inputs that are no parameters. Errors: `ShapeError`."""
        if len(args) > len(self.takes):
            rule = f"{len(args)} tensors were given by position, the layer takes {len(self.takes)}"
            raise MeaningError(Problem("unexpected-input", rule, way_out=f"pass {', '.join(self.takes)}"))
        given = dict(zip(self.takes, args, strict=False))
        for name in kwargs:
            if name in given or name in self._parameters:
                what = "a parameter" if name in self._parameters else "given twice"
                raise MeaningError(Problem("unexpected-input", f"'{name}' is {what}", way_out="leave it out"))
        return self.op({**self._parameters, **given, **kwargs})

    def extra_repr(self) -> str:
        """What `print` shows of it."""
        return f"{', '.join(self.takes)} -> {', '.join(self.function.outputs)}"


def _first(name: str, value: Any) -> Any:
    """The first values of a parameter. Errors: `MeaningError`."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    try:
        shape = (value,) if isinstance(value, int) else tuple(map(int, value))
        bound = 1 / math.sqrt(max(1, math.prod(shape[:-1] if len(shape) > 1 else shape)))
        return torch.empty(shape).uniform_(-bound, bound)
    except (TypeError, ValueError, RuntimeError):
        rule, way = f"{value!r} is no shape for '{name}'", f"write {{'{name}': (3, 4)}}, or give a tensor"
        raise MeaningError(Problem("parameters", rule, way_out=way)) from None
