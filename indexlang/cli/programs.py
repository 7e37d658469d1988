"""What a command works on: its program, the shapes and types of the inputs, what runs it.

In: the namespace of a command. Out: a Program, shapes, types, a Function. Errors: `IndexLangError`. The one rule: what
is said of inputs is said of all of them, and of nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ..backends.engines import TARGETS, present, usual
from ..calls.arguments import indexing, no_inputs
from ..calls.checkpointing import checkpoints_of
from ..calls.function import Function
from ..derive import grad, tangents
from ..errors import DerivationError, Problem, ShapeError, warn_of
from ..meaning.report import nearest
from ..meaning.resolve import resolve
from ..program.ir import Program
from ..rewrite.batched import batched, dependents
from ..sizes.suggested import suggested
from ..syntax.parser import parse
from . import files as cli_files

Array = NDArray[Any]
Forms = dict[str, tuple[tuple[int, ...], str]]  # shape and type by input


def backend_of(args: argparse.Namespace) -> str:
    """What runs it. Errors: `MeaningError` where that is not there."""
    return usual() if args.backend in (None, "auto") else present(args.backend, "or leave --backend out")


def program_of(args: argparse.Namespace) -> Program:
    """The program of a FILE, or of statements."""
    source, folder = cli_files.source(args.file, args.text)
    doubts: list[Problem] = []
    program = resolve(
        parse(source),
        layer=args.layer,
        options=args.options,
        outputs=args.outputs,
        folder=folder,
        doubt=doubts.append,
    )
    warn_of(doubts, 2)
    return program


def derived_of(args: argparse.Namespace, program: Program) -> Program:
    """The gradients, or the tangents, of a program, with or without forward statements, over a batch or not.

    Errors: `DerivationError`.
    """
    whole, alone = (tangents.forward, tangents.tangents) if args.mode == "forward" else (grad.backward, grad.derived)
    for _ in range(args.order - 1):
        program = whole(program, args.wrt)
    derived = whole(program, args.wrt) if args.full else alone(program, args.wrt)
    if args.batch is None:
        return derived
    index, names = args.batch
    known = (*program.inputs, *(n for n in derived.inputs if n not in program.inputs))
    unknown = [name for name in names if name not in known]
    if unknown:
        way = nearest(unknown[0], known) or "name inputs of what is printed"
        raise DerivationError(
            Problem("batch", f"'{unknown[0]}' is no input", None, (f"inputs: {', '.join(known)}",), way)
        )
    members = dependents(program, names)  # forward tensors that the derived statements alone take as inputs
    chosen = tuple(n for n in dict.fromkeys((*names, *derived.inputs)) if n in members and n in derived.inputs)
    if not chosen:
        rule = f"what is printed reads none of {', '.join(names)}"
        raise DerivationError(Problem("batch", rule, None, (f"inputs: {', '.join(derived.inputs)}",), "name others"))
    return batched(derived, index, chosen)


def shapes_of(
    program: Program, given: Sequence[tuple[str, tuple[int, ...]]], arrays: Mapping[str, Array] | None = None
) -> dict[str, tuple[int, ...]]:
    """The shapes behind `--shape`, or of arrays: one for each input."""
    shapes, own = dict(given), {name: array.shape for name, array in (arrays or {}).items()}
    for name in shapes:
        if name in own and own[name] != shapes[name]:
            values = (f"the array has shape {list(own[name])}", f"--shape says {list(shapes[name])}")
            rule, way = f"'{name}' is an array of another shape", f"leave --shape {name}=... out"
            raise ShapeError(Problem("shape", rule, None, values, way))
    shapes |= own
    _check_inputs(program, shapes)
    missing = [name for name in program.inputs if name not in shapes]
    if missing:
        rule = f"no shape is given for {', '.join(missing)}"
        known = (f"inputs: {', '.join(program.inputs) or 'none'}",)
        examples = suggested(program, shapes)
        way = f"say {' '.join(f'--shape {name}={examples[name]}' for name in missing)}, with your sizes"
        raise ShapeError(Problem("missing-input", rule, values=known, way_out=way))
    return shapes


def forms_of(args: argparse.Namespace, program: Program) -> Forms:
    """The shapes and types of a program's inputs."""
    types: dict[str, str] = dict(args.dtype)
    default, integers = types.pop("", "float32"), indexing(program)
    _check_inputs(program, types)
    return {
        n: (shape, types.get(n, "int64" if n in integers else default))
        for n, shape in shapes_of(program, args.shape).items()
    }


def _check_inputs(program: Program, given: Collection[str]) -> None:
    """Whether what is said of inputs is said of inputs. Errors: `ShapeError`."""
    problems, _ = no_inputs(given, program.inputs)
    if problems:
        raise ShapeError(*problems)


def planned_of(args: argparse.Namespace) -> tuple[Function, Forms]:
    """The program, or with --grad its derived program, and the shapes and types that were given for its inputs."""
    program = program_of(args)
    emits = args.command == "emit"
    backend = present(TARGETS[args.target], "or leave --target out") if emits else backend_of(args)
    every = checkpoints_of(dict(args.checkpoint), program, backend)
    function, forms = Function(program, backend=backend, checkpoint=every), forms_of(args, program)
    if not args.grad:
        return function, forms
    plan, names = function.plan(**forms), grad.gradient_names(program)
    forms |= {names[n]: (plan.shapes[n], plan.dtypes[n]) for n in program.outputs}
    derived = grad.backward(program, args.wrt)
    return Function(derived, backend=backend, checkpoint=every), {n: forms[n] for n in derived.inputs}
