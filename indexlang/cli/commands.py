"""The command line: `indexlang COMMAND`, and `python -m indexlang COMMAND`.

In: arguments. Out: text on standard output, errors on standard error, and the exit status: 0, 1 for an error
in the program or its data, 2 for wrong usage. The one rule: a command prints what the library says, no more.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.engines import BACKENDS, present
from ..backends.native import objects
from ..backends.numpy.load import Compiled, compile_program
from ..calls import measuring
from ..calls.function import Function
from ..derive import grad
from ..errors import IndexLangError, IndexLangWarning, Problem, ShapeError, Source, shown
from ..meaning.report import count, nearest
from ..meaning.resolve import layer_names, resolve
from ..oracle.gradcheck import gradcheck, random_inputs
from ..plan.printing import as_json, steps_text
from ..program.blocks import has_blocks
from ..program.ir import Program, blocks_of
from ..program.latex import to_latex
from ..program.text import block_text, statement_text, to_text
from ..rewrite.gather import gather
from ..rewrite.starting import unsolved
from ..sizes.doubts import doubts
from ..staged.told import pieces
from ..syntax.layout import layout
from ..syntax.parser import parse
from ..syntax.tree import File, For, Item, LayerDef, ShapeDecl, Statement
from . import arguments, completion, doctor
from . import files as cli_files
from .output import complain, described, print_findings, print_json, print_program, print_text, report, table
from .programs import backend_of, derived_of, planned_of, program_of, shapes_of
from .streams import attended, say

Array = NDArray[Any]


def entry() -> None:
    """The console script: `main` on the process's arguments."""
    sys.exit(attended(lambda: main(sys.argv[1:])))


def main(argv: Sequence[str]) -> int:
    """Run one command and give its exit status; wrong usage raises `SystemExit(2)` as argparse does."""
    args = arguments.parse(argv)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nan and inf are computed with
        warnings.simplefilter("always", IndexLangWarning)
        warnings.showwarning = lambda message, *_rest, **_more: complain(str(message))
        try:
            return COMMANDS[args.command](args)
        except IndexLangError as error:
            report(error.problems)
        except MemoryError:
            rule = "the arrays of this program need more memory than there is"
            report([Problem("memory", rule, way_out="make sizes smaller, or pass float32 instead of float64")])
    return 1


# -- the commands --------------------------------------------------------------------------------


def _grad(args: argparse.Namespace) -> int:
    program = derived_of(args, program_of(args))
    if args.form == "gather":
        program = gather(program)
    match args.format:
        case "latex":
            print_text(to_latex(program))
        case "json":
            print_json(_as_json(program))
        case _:
            print_program(to_text(program))
    return 0


def _as_json(program: Program) -> dict[str, object]:
    statements = [
        {
            "text": statement_text(s),
            "target": s.target.tensor,
            "op": s.op,
            "indices": list(s.domain.indices),
            "reduced": list(s.reduced),
            "blocks": [block_text(block) for block in blocks_of(s)],
        }
        for s in program.statements
    ]
    return {
        "inputs": list(program.inputs),
        "outputs": list(program.outputs),
        "statements": statements,
        "source": to_text(program),
    }


def _check(args: argparse.Namespace) -> int:
    if args.text:
        looked = [_looked(None, args.text)]
    else:
        files = cli_files.programs(args.files)
        looked = [_looked(file, None, among=len(files)) for file in files]
    if args.format == "json":
        rows = [
            {"errors": [described(p) for p in errors], "warnings": [described(p) for p in warned]}
            for _, errors, warned in looked
        ]
        alone = bool(args.text) or (len(args.files) == 1 and not os.path.isdir(args.files[0]))
        named = [{"file": name, **row} for (name, _, _), row in zip(looked, rows, strict=True)]
        print_json(rows[0] if alone else named)
    else:
        for name, errors, warned in looked:
            print_findings(name, errors, warned)
    return 1 if any(errors for _, errors, _ in looked) else 0


def _looked(file: str | None, text: Sequence[str] | None, among: int = 1) -> tuple[str, list[Problem], list[Problem]]:
    """The name of a file, its errors and its warnings; one that cannot be read hides nothing of the others."""
    try:
        source, folder = cli_files.source(file, text)
    except IndexLangError as error:
        if among == 1:
            raise
        return file or "", list(error.problems), []
    return source.name, *_findings(source, folder)


def _findings(source: Source, folder: Path) -> tuple[list[Problem], list[Problem]]:
    """The errors and the warnings of a file."""
    problems: list[Problem] = []
    doubtful: list[Problem] = []
    file_items: tuple[Item, ...] = ()
    try:
        file = parse(source)
        file_items = file.items
        names = layer_names(file)
        for layer in (None, *names) if _has_statements(file) or not names else names:
            try:
                program = resolve(file, layer=layer, folder=folder, doubt=doubtful.append)
                certain, passed = unsolved(program)
                problems += certain
                doubtful += [*passed, *doubts(program)]
            except IndexLangError as error:
                problems += error.problems
    except IndexLangError as error:
        problems += error.problems
    if file_items and not any(isinstance(i, Statement | ShapeDecl | For | LayerDef) for i in file_items):
        problems = [p for p in problems if p.code != "no-statement"]  # there to be imported from
    return _once(problems), _once(doubtful)


def _once(problems: Sequence[Problem]) -> list[Problem]:
    """Each problem once, as a layer's comes with all that call it, in the order of the text."""
    found = {_identity(p): p for p in problems}.values()
    return sorted(found, key=lambda p: p.span.start if p.span else -1)


def _identity(problem: Problem) -> object:
    span = problem.span
    return problem.code, problem.rule, None if span is None else (span.source.name, span.start, span.end)


def _has_statements(file: File) -> bool:
    return any(isinstance(item, Statement | ShapeDecl | For) for item in file.items)


def _run(args: argparse.Namespace) -> int:
    function = Function(program_of(args), args.options, backend=backend_of(args))
    given = cli_files.arrays(args.input)
    if not args.grad:
        cli_files.check_given(given, function.inputs, function.optional)
    results = _gradients(function, given, args.wrt) if args.grad else _named(function, function(**given))
    if args.output:
        files = cli_files.targets(args.output, tuple(results))
        cli_files.save(files, results)
        saved = {name for names in files.values() for name in names}
        results = {name: value for name, value in results.items() if name not in saved}
    for name, value in results.items():
        print_text(f"{shown(name)} {list(value.shape)} {value.dtype}")
        print_text(np.array2string(value, threshold=200))
    return 0


def _named(function: Function, values: Any) -> dict[str, Array]:
    """What a call gave, by name."""
    return values if isinstance(values, dict) else {function.outputs[0]: values}


def _gradients(function: Function, given: dict[str, Array], wrt: Sequence[str] | None) -> dict[str, Array]:
    """The outputs and the gradients, for the cotangents among `given`, and ones for outputs that have none."""
    names = grad.gradient_names(function.program)
    seeds = {o: given.pop(names[o]) for o in function.outputs if names[o] in given}
    cli_files.check_given(given, function.inputs, function.optional)
    values, pullback = function.vjp(**given)
    results = _named(function, values)
    for name in seeds:
        if results[name].dtype.kind not in "fc":
            rule = f"'{name}' is {results[name].dtype}: an integer output takes no cotangent"
            raise ShapeError(Problem("cotangent", rule, way_out=f"leave -i {names[name]}=... out"))
    cotangents = {o: seeds.get(o, np.ones_like(v)) for o, v in results.items() if v.dtype.kind in "fc"}
    gradients = pullback(cotangents)
    for name in wrt or ():
        if name not in gradients:
            known = f"gradients: {', '.join(gradients) or 'none'}"
            way = nearest(name, gradients) or "name inputs of floating-point numbers that the outputs depend on"
            raise ShapeError(Problem("wrt", f"'{name}' has no gradient here", None, (known,), way))
    return {**results, **{names[n]: gradients[n] for n in wrt or gradients}}


def _gradcheck(args: argparse.Namespace) -> int:
    program = program_of(args)
    given = {n: _wide(a) for n, a in cli_files.arrays(args.input).items()}
    inputs = random_inputs(program, shapes_of(program, args.shape, given), seed=args.seed, given=given)
    forward = None if has_blocks(program) else _complex_forward(program)  # else the plain loops, step by step
    backward = partial(_backward, backend_of(args))
    rows = gradcheck(program, inputs, forward=forward, backward=backward, wrt=args.wrt, seed=args.seed)
    print_text(table(rows))
    return 0 if all(row.ok for row in rows) else 1


def _wide(array: Array) -> Array:
    """As the type in which numerical gradients are exact."""
    return array.astype({"f": np.float64, "c": np.complex128}.get(array.dtype.kind, array.dtype))


def _complex_forward(program: Program) -> Callable[[Mapping[str, Array]], Mapping[str, Array]]:
    """The program's own kernels, planned so that a tiny imaginary part goes through every function."""
    known: dict[object, Compiled] = {}

    def forward(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        arrays = [inputs[name] for name in program.inputs]
        key = tuple(a.dtype for a in arrays)
        if key not in known:
            shapes = {n: a.shape for n, a in zip(program.inputs, arrays, strict=True)}
            dtypes = {n: a.dtype.name for n, a in zip(program.inputs, arrays, strict=True)}
            known[key] = compile_program(program, shapes, dtypes, complex_step=True)
        return dict(zip(program.outputs, known[key].run(*arrays), strict=True))

    return forward


def _backward(backend: str, derived: Program, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    results: Mapping[str, Array] = Function(derived, always_dict=True, backend=backend)(**inputs)
    return results


def _explain(args: argparse.Namespace) -> int:
    function, forms = planned_of(args)
    if args.nests and function.backend != "native":
        present("native", "or leave --nests out")
        report([Problem("usage", "there are loop nests on the native backend", way_out="give --backend native, too")])
        return 2
    plans = function.plans(**forms) if args.vjp else (function.plan(**forms),)
    times = measuring.measured(function, forms) if args.measure else None
    if args.format == "json":
        text = f"[{', '.join(map(as_json, plans))}]" if args.vjp else as_json(plans[0])
        print_text(text if times is None else f'{{"plan": {text},\n"measured": {json.dumps(asdict(times))}}}')
        return 0
    for number, plan in enumerate(plans):
        if args.vjp:
            print_text(("forward:", "\nbackward, from what was kept:")[number])
        print_text(str(plan))
        for heading, one in pieces(plan) if args.steps or args.nests else ():
            if heading:
                print_text(f"\n{heading}:")
            if args.steps:
                print_text(f"\n{steps_text(one)}")
            if args.nests:
                print_text(f"\n{BACKENDS[function.backend].nests(one)}")
    if times is not None:
        print_text(measuring.text(times))
    return 0


def _emit(args: argparse.Namespace) -> int:
    function, forms = planned_of(args)
    say(function.emit(args.target, forms, vjp=args.vjp))
    return 0


def _fmt(args: argparse.Namespace) -> int:
    files = [None] if args.text else cli_files.programs(args.files)
    laid = [
        (file, source, layout(parse(source))) for file in files for source in [cli_files.source(file, args.text)[0]]
    ]
    if len(laid) > 1 and not (args.check or args.write):
        way = "--check tells which files are laid out otherwise, --write rewrites them"
        report([Problem("usage", "one file is printed, not several", way_out=way)])
        return 2
    other = [(file, source, text) for file, source, text in laid if text != source.text]
    if args.check:
        for _, source, _ in other:
            print_text(f"{shown(source.name)} is not in canonical layout")
        return 1 if other else 0
    if not args.write:
        print_program(laid[0][2])
    for file, _, text in other if args.write else ():
        assert file is not None, "what is written has a file"
        cli_files.rewrite(file, text)
    return 0


def _summary(args: argparse.Namespace) -> int:
    from ..edf import networks, summary  # only here: the other commands start faster without

    for name in ("size", "channels", "classes"):
        if args.options.get(name, 1) < 1:
            rule = f"the option '{name}' must be at least 1, not {args.options[name]}"
            raise ShapeError(Problem("network-option", rule, way_out=f"leave it out, or write -O {name}=10"))
    found = networks.find(args.network, args.options)
    rows = summary.summary(found.graph, found.examples(dict(args.shape)))
    if args.format == "json":
        print_json([asdict(row) for row in rows])
    else:
        print_text(summary.text(rows))
    return 0


def _doctor(args: argparse.Namespace) -> int:
    machine = doctor.look()
    if args.format == "json":
        found = {**asdict(machine), "flags": sorted(machine.flags), "level": machine.level}
        print_json({**found, "advice": [asdict(a) for a in doctor.advice(machine)]})
    else:
        print_text(doctor.text(machine))
    return 0


def _cache(args: argparse.Namespace) -> int:
    if args.action == "clear":
        print_text(f"removed {count(objects.clear(), 'file')}")
        return 0
    print_text(doctor.cache(objects.kept()))
    return 0


def _completion(args: argparse.Namespace) -> int:
    say(completion.script(args.shell))
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "grad": _grad,
    "check": _check,
    "run": _run,
    "gradcheck": _gradcheck,
    "explain": _explain,
    "emit": _emit,
    "fmt": _fmt,
    "summary": _summary,
    "doctor": _doctor,
    "cache": _cache,
    "completion": _completion,
}
