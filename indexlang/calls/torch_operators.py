"""Programs as operators of torch: kernels on CPU tensors, shapes before anything runs, derivatives, batches.

In: a Function. Out: an operator that autograd, torch.compile, torch.export and torch.func know. The one rule: torch
differentiates none of it: what is derived from a program is an operator again, in reverse, forward and over batches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
import torch
from torch._functorch.autograd_function import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

from ..derive.tangents import tangent_names
from ..errors import DerivationError, Problem, ShapeError
from ..locks import Lock
from ..plan.plan import Plan
from ..program.affine import Affine
from ..program.ir import Program
from ..properties import cached_property
from ..sizes.dtypes import DTYPES
from ..sizes.ranks import expand
from .arguments import Form
from .arrays import Array
from .keeping import keep

Tensors = tuple[Any, ...]
NAMES: Mapping[Any, str] = {getattr(torch, n): n for n in DTYPES if hasattr(torch, n)}
TYPES: Mapping[str, Any] = {n: t for t, n in NAMES.items()}
HALVES = (torch.float16, torch.bfloat16)

_LIBRARY = torch.library.Library("indexlang", "FRAGMENT")
_REGISTERED: dict[str, Operator] = {}
_LOCK = Lock()
_transformed = torch._C._are_functorch_transforms_active
_HERE = uuid4().hex[:16]


class Function(Protocol):
    """What is asked of a `calls.function.Function`."""

    program: Program
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    backend: str
    _exact: frozenset[str]
    _limits: Any
    _text: str
    _expected: Mapping[str, Mapping[int, Affine]]

    @property
    def _reached(self) -> tuple[str, ...]: ...

    @property
    def _gradients(self) -> Mapping[str, str]: ...

    def grad(self, wrt: Sequence[str]) -> Function: ...

    def tangent(self, wrt: Sequence[str]) -> Function: ...

    def batched(self, index: str, tensors: Sequence[str]) -> Function: ...

    def _parts(self, wrt: tuple[str, ...]) -> tuple[Function, Function]: ...

    def _at(self, key: tuple[Form, ...]) -> Any: ...

    def _told(self, key: tuple[Form, ...]) -> Plan: ...

    def _like(self, program: Program, **how: Any) -> Function: ...

    def _made(self, key: object, make: Callable[[], Any]) -> Any: ...


class Operator:
    """A Function as an operator, registered under a name that says what it is, in every process if it is `lasting`.

    With `wrt` it also gives what the gradients by these inputs read, behind the outputs.
    """

    def __init__(self, name: str, function: Function, wrt: tuple[str, ...]) -> None:
        self.name, self.function, self.wrt = name, function, wrt
        self.runs: Function = function
        self.pulls: Function | None = None
        if wrt:
            self.runs, self.pulls = function._parts(wrt)
        # the forward part gives outputs in its own order, and may read fewer inputs
        self.gives = (*function.outputs, *(n for n in self.runs.outputs if n not in function.outputs))
        self.order = tuple(self.runs.outputs.index(n) for n in self.gives)
        self.takes = tuple(function.inputs.index(n) for n in self.runs.inputs)
        self.count = len(function.outputs)
        self.overload: Any = None
        self._keeping: dict[tuple[bool, ...], Operator] = {}
        self._ways: dict[tuple[Any, ...], tuple[Any, tuple[Any, ...]]] = {}

    def __call__(self, *tensors: Any) -> Tensors:
        """The outputs in their order, and what is kept, of all inputs in theirs."""
        if torch.compiler.is_compiling() or watched():
            return _several(self.overload(*tensors))
        return self.differentiable(*tensors)

    def differentiable(self, *tensors: Any) -> Tensors:
        """The same, seen by autograd where there is something to see; called by its kernel, too."""
        if _transformed():
            with enable_single_level_autograd_function():  # what is above this level the dispatcher has done
                return _several(self._calls[1].apply(*tensors))
        if forward_ad._current_level >= 0 or (torch.is_grad_enabled() and any([t.requires_grad for t in tensors])):
            return _several(self._calls[0].apply(*tensors))
        return self.beneath(*tensors)

    def beneath(self, *tensors: Any) -> Tensors:
        """The same, seen by nobody who differentiates."""
        with torch._C._AutoDispatchBelowAutograd():
            return _several(self.overload(*tensors))

    # -- what runs -----------------------------------------------------------------------------

    def kernel(self, *tensors: Any) -> Any:
        """Runs the Function's kernels on CPU tensors, in place of where they lie; 16 bits as float32."""
        way = self._ways.get(key := tuple([(t.shape, t.dtype) for t in tensors]))
        if way is None:
            made = self.delivered(tensors)
            forms = tuple((tuple(tensors[k].shape), _run_in(tensors[k].dtype)) for k in self.takes)
            keep(self._ways, key, way := (self.runs._at(forms).run, tuple(made[n][1] for n in self.gives)))
        run, types = way
        results = run(*[viewed(tensors[k]) for k in self.takes])
        found = tuple([given(results[k], dtype) for k, dtype in zip(self.order, types, strict=True)])
        return found if len(found) > 1 else found[0]

    def shaped(self, *tensors: Any) -> Any:
        """The results as empty tensors, of tensors that have shapes and types alone."""
        forms = self.delivered(tensors)
        found = tuple(tensors[0].new_empty(shape, dtype=dtype) for shape, dtype in map(forms.__getitem__, self.gives))
        return found if len(found) > 1 else found[0]

    def delivered(self, tensors: Sequence[Any]) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and type of each result. Errors: `ShapeError`."""
        half = _half([t.dtype for t in tensors])
        forms = tuple((tuple(map(int, tensors[k].shape)), np.dtype(_known(tensors[k].dtype))) for k in self.takes)
        plan = self.runs._told(forms)
        return {n: (plan.shapes[n], half if plan.dtypes[n] == "float16" else TYPES[plan.dtypes[n]]) for n in self.gives}

    def keeping(self, wanted: tuple[bool, ...]) -> Operator:
        """The operator that keeps what the gradients by the wanted inputs read."""
        found = self._keeping.get(wanted)
        if found is None:
            f = self.function
            names = tuple(n for n, asked in zip(f.inputs, wanted, strict=True) if asked and n in f._reached)
            found = self._keeping[wanted] = operator(f, names, lasting=False)
        return found

    # -- what is derived from it ---------------------------------------------------------------

    @cached_property
    def _calls(self) -> tuple[Any, Any]:
        """The operator with its derivatives, for autograd, and for one level of torch.func."""

        def beneath(*tensors: Any) -> Tensors:
            with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True):  # of the levels beneath, as they are
                return self.beneath(*tensors)

        def forward(ctx: Any, *tensors: Any) -> Tensors:  # torch binds arguments, slowly, where the context is apart
            found = self.beneath(*tensors)
            way["setup_context"](ctx, tensors, found)
            return found

        way = _derivatives(self)
        call = {"forward": forward, "backward": way["backward"], "jvp": way["jvp"]}
        level = {"forward": beneath, **way}
        return (
            type("Call", (torch.autograd.Function,), {n: staticmethod(f) for n, f in call.items()}),
            type("Level", (_SingleLevelFunction,), {n: staticmethod(f) for n, f in level.items()}),
        )

    def needed(self, wanted: Sequence[bool], tensors: Sequence[Any]) -> tuple[str, ...]:
        """The inputs among those that have derivatives."""
        f = self.function
        rows = zip(f.inputs, wanted, tensors, strict=True)
        return tuple(n for n, asked, t in rows if asked and n in f._reached and _smooth(t))

    def gradients(self, wanted: Sequence[bool], tensors: Tensors, kept: Tensors, cotangents: Tensors) -> Tensors:
        """A gradient for each input, or None, from the inputs, what was kept, and a cotangent for each output."""
        f = self.function
        names = self.needed(wanted, tensors)
        rows = zip(f.inputs, tensors, wanted, strict=True)
        grads = {n: torch.zeros_like(t) for n, t, asked in rows if asked and n not in names and _smooth(t)}
        if not names:
            return tuple(map(grads.get, f.inputs))
        there = dict(zip(f.inputs, tensors, strict=True))
        for name, cotangent in zip(f.outputs, cotangents, strict=False):
            # torch's gradients of complex numbers are the conjugates of ours, which are of sum(dy * y)
            found = _conjugate(cotangent) if _smooth(cotangent) else cotangent.double()
            there[f._gradients[name]] = found
        # What is kept has no derivatives: it does where nobody differentiates the gradients.
        if self.pulls is not None and set(names) <= set(self.wrt) and not (watched() or torch.is_grad_enabled()):
            there |= dict(zip(self.gives, kept, strict=True))
            derived = self.pulls
        else:
            derived = f.grad(names)
        made = dict(zip(derived.outputs, operator(derived)(*[there[n] for n in derived.inputs]), strict=True))
        grads |= {n: _conjugate(made[f._gradients[n]]) for n in names}
        return tuple(map(grads.get, f.inputs))

    def tangents(self, tensors: Tensors, moving: Tensors) -> Tensors:
        """A tangent for each output, and None for what is kept; `moving` are those of the inputs, or None."""
        f = self.function
        names = self.needed([t is not None for t in moving], tensors)
        found: dict[str, Any] = {}
        if names:
            derived = f.tangent(names)
            there = dict(zip(f.inputs, tensors, strict=True))
            dots = tangent_names(f.program)
            there |= {dots[n]: t for n, t in zip(f.inputs, moving, strict=True) if t is not None}
            made = dict(zip(derived.outputs, operator(derived)(*[there[n] for n in derived.inputs]), strict=True))
            found = {n: made[dots[n]] for n in f.outputs if dots[n] in made}
        forms = self.delivered(tensors)
        return tuple(found[n] if n in found else self._still(n, forms[n]) for n in self.gives)

    def _still(self, name: str, form: tuple[tuple[int, ...], Any]) -> Any:
        """The tangent of what does not move; what has none is None."""
        shape, dtype = form
        smooth = name in self.function.outputs and (dtype.is_floating_point or dtype.is_complex)
        return torch.zeros(shape, dtype=dtype) if smooth else None

    def over_a_batch(self, info: Any, in_dims: Sequence[int | None], *tensors: Any) -> tuple[Any, Any]:
        """The results over a batch, and where its axis is: the batched program's."""
        g = self.runs
        rows = list(zip(tensors, in_dims, strict=True))
        moved = [t if d is None else t.movedim(d, 0) for t, d in rows]
        single = [t if d is None else t.select(d, 0) for t, d in rows] if info.batch_size else None
        names = tuple(n for n, k in zip(g.inputs, self.takes, strict=True) if in_dims[k] is not None)
        if single is None:
            rule = "a batch of no examples has no shapes to go by"
            raise ShapeError(Problem("shape", rule, way_out="leave vmap out where there are none"))
        ranks_of = {n: single[k].dim() for n, k in zip(g.inputs, self.takes, strict=True)}
        ranks = {n: len(shape) for n, (shape, _) in self.delivered(single).items()}
        both = operator(_batched(g, names, tuple(ranks_of[n] for n in g.inputs)) if names else g)
        made = dict(zip(both.function.outputs, both(*[moved[k] for k in self.takes]), strict=True))
        results = tuple(made[n] for n in self.gives)
        dims = tuple(0 if made[n].dim() > ranks[n] else None for n in self.gives)
        return (results, dims) if len(results) > 1 else (results[0], dims[0])


def _batched(function: Function, names: tuple[str, ...], ranks: tuple[int, ...]) -> Function:
    """The program over a batch of these inputs; where `...` leaves no place for it, its axes are written out."""
    try:
        return function.batched("example", names)
    except DerivationError:
        how: dict[str, Any] = {"always_dict": True, "exact": tuple(function._exact)}
        known = dict(zip(function.inputs, ranks, strict=True))
        plain = function._made(("ranks", ranks), lambda: function._like(expand(function.program, known), **how))
        found: Function = plain.batched("example", names)
        return found


def _derivatives(op: Operator) -> dict[str, Callable[..., Any]]:
    """What an `autograd.Function` is made of, besides its forward run."""
    inputs = len(op.function.inputs)

    def setup_context(ctx: Any, inputs: Tensors, output: Tensors) -> None:
        ctx.mark_non_differentiable(*[t for k, t in enumerate(output) if k >= op.count or not _smooth(t)])
        ctx.save_for_backward(*inputs, *(output if op.wrt else ()))
        if watched():  # else there is no forward mode to save for
            ctx.save_for_forward(*inputs)

    def backward(ctx: Any, *cotangents: Any) -> Tensors:
        saved = ctx.saved_tensors
        return op.gradients(ctx.needs_input_grad, saved[:inputs], saved[inputs:], cotangents[: op.count])

    def jvp(ctx: Any, *moving: Any) -> Tensors:
        return op.tangents(ctx.saved_tensors[:inputs], moving)

    return {"setup_context": setup_context, "backward": backward, "jvp": jvp}


def operator(function: Function, wrt: tuple[str, ...] = (), lasting: bool = True) -> Operator:
    """The operator of a Function; with `wrt` it keeps what gradients by these inputs read.

    What compilers see is not lasting: torch keeps their graphs for other processes, where what has been derived while
    this one traced, and is named in the graphs, would be missing.
    """
    found: Operator = function._made(("torch", wrt, lasting), lambda: _registered(function, wrt, lasting))
    return found


def registered(name: str) -> Operator:
    """The operator of this name."""
    return _REGISTERED[name]


def _registered(function: Function, wrt: tuple[str, ...], lasting: bool) -> Operator:
    with _LOCK.held():
        name = _name(function, wrt) if lasting else f"{_name(function, wrt)}_{_HERE}"
        if name not in _REGISTERED:
            op = Operator(name, function, wrt)
            _register(op)
            _REGISTERED[name] = op
        return _REGISTERED[name]


def _register(op: Operator) -> None:
    """Tell torch of the operator."""
    takes = ", ".join(f"Tensor a{k}" for k in range(len(op.function.inputs)))
    gives = ", ".join(["Tensor"] * len(op.gives))
    _LIBRARY.define(f"{op.name}({takes}) -> " + (f"({gives})" if len(op.gives) > 1 else gives))
    _LIBRARY.impl(op.name, op.kernel, "CPU")
    _LIBRARY.impl(op.name, _seen_by_autograd(op), "Autograd")
    torch.library.register_fake(f"indexlang::{op.name}", op.shaped, lib=_LIBRARY)
    torch.library.register_vmap(f"indexlang::{op.name}", op.over_a_batch, lib=_LIBRARY)
    op.overload = getattr(torch.ops.indexlang, op.name).default


def _seen_by_autograd(op: Operator) -> Callable[..., Any]:
    def autograd(*tensors: Any) -> Any:
        found = op.differentiable(*tensors)
        return found if len(found) > 1 else found[0]

    return autograd


def _name(function: Function, wrt: tuple[str, ...]) -> str:
    """What the operator is called: the same in every process, so that exported programs find it."""
    said: tuple[object, ...] = (function._text, function.inputs, function.outputs, wrt, sorted(function._exact))
    sizes = sorted((n, k, str(form)) for n, axes in function._expected.items() for k, form in axes.items())
    digest = sha256(repr((*said, sizes, function.backend, function._limits.deep)).encode()).hexdigest()[:16]
    word = re.sub(r"\W", "_", function.program.name or "program", flags=re.ASCII)
    return f"{word}_{digest}"


def watched() -> bool:
    """Whether forward mode or a transformation of torch.func is at work."""
    return forward_ad._current_level >= 0 or bool(_transformed())


def viewed(tensor: Any) -> Array:
    """The elements of a CPU tensor, not copied; those of 16 bits as float32."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.itemsize == 2 and tensor.dtype in HALVES:
        tensor = tensor.float()
    if tensor.is_neg() or tensor.is_conj():
        tensor = tensor.resolve_conj().resolve_neg()
    found: Array = tensor.numpy()
    return found


def given(array: Array, dtype: Any) -> Any:
    """A result as a tensor of this type, not copied if it lies in a row and is nobody else's."""
    if not (array.flags.c_contiguous and array.flags.writeable):
        array = array.copy(order="C")
    tensor = torch.from_numpy(array)
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def _run_in(dtype: Any) -> np.dtype[Any]:
    return np.dtype("float32" if dtype in HALVES else NAMES[dtype])


def _known(dtype: Any) -> str:
    """The language's name of a type: bfloat16 is another float16."""
    return "float16" if dtype == torch.bfloat16 else NAMES[dtype]


def _half(dtypes: Sequence[Any]) -> Any:
    """What has 16 bits here. Errors: `ShapeError` where both kinds meet."""
    found = {d for d in dtypes if d in HALVES}
    if len(found) > 1:
        rule = "float16 and bfloat16 have no common type of 16 bits"
        raise ShapeError(Problem("dtype", rule, way_out="convert one of them"))
    return next(iter(found), torch.float16)


def _smooth(tensor: Any) -> bool:
    return bool(tensor.is_floating_point() or tensor.is_complex())


def _conjugate(tensor: Any) -> Any:
    return torch.conj_physical(tensor) if tensor.is_complex() else tensor


def _several(found: Any) -> Tensors:
    return found if isinstance(found, tuple) else tuple(found) if isinstance(found, list) else (found,)
