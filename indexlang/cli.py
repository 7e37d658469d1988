"""The command line: `indexlang COMMAND`, and `python -m indexlang COMMAND`.

In: arguments. Out: text on standard output, errors on standard error, and the exit status: 0, 1 for an error
in the program or its data, 2 for wrong usage. The one rule: a command prints what the library says, no more.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from . import __version__, cli_files, grad
from .backends.numpy.load import Compiled, compile_program
from .errors import IndexLangError, IndexLangWarning, Problem, Span, render
from .function import Function, indexing
from .gather import gather
from .gradcheck import Row, gradcheck, random_inputs
from .ir import Program
from .latex import to_latex
from .layout import layout
from .parser import parse
from .resolve import layer_names, resolve
from .text import statement_text, to_text

Array = NDArray[Any]
Shapes = dict[str, tuple[int, ...]]


def entry() -> None:
    """The console script: `main` on the process's arguments."""
    for stream in (sys.stdout, sys.stderr):
        if not stream.isatty() and hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8")  # programs are UTF-8, whatever the locale
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough; nothing more may be flushed into the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def main(argv: Sequence[str]) -> int:
    """Run one command and give its exit status; wrong usage raises `SystemExit(2)` as argparse does."""
    parser = _parser()
    args = parser.parse_args(argv)
    if (args.file is None) == (args.text is None):
        parser.error("give a FILE, or statements behind -e")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nan and inf are computed with
        warnings.simplefilter("always", IndexLangWarning)
        warnings.showwarning = _show_warning
        try:
            command: Callable[[argparse.Namespace], int] = args.command
            return command(args)
        except IndexLangError as error:
            _report(error.problems)
        except MemoryError:
            _report([Problem("memory", "the arrays of this program need more memory than there is")])
    return 1


# -- the commands --------------------------------------------------------------------------------


def _grad(args: argparse.Namespace) -> int:
    program = _program(args)
    for _ in range(args.order - 1):
        program = grad.backward(program, args.wrt)
    program = grad.backward(program, args.wrt) if args.full else grad.derived(program, args.wrt)
    if args.form == "gather":
        program = gather(program)
    match args.format:
        case "latex":
            print(to_latex(program))
        case "json":
            statements = [
                {
                    "text": statement_text(s),
                    "target": s.target.tensor,
                    "op": s.op,
                    "indices": list(s.domain.indices),
                    "reduced": list(s.reduced),
                }
                for s in program.statements
            ]
            described = {"inputs": list(program.inputs), "outputs": list(program.outputs), "statements": statements}
            _print_json({**described, "source": to_text(program)})
        case _:
            print(_highlighted(to_text(program)), end="")
    return 0


def _check(args: argparse.Namespace) -> int:
    errors: dict[object, Problem] = {}
    try:
        source, folder = cli_files.source(args.file, args.text)
        file = parse(source)
        names = layer_names(file)
        for layer in (None, *names) if _has_statements(file) or not names else names:
            try:
                resolve(file, layer=layer, folder=folder)
            except IndexLangError as error:
                errors.update((_identity(p), p) for p in error.problems)
    except IndexLangError as error:
        errors.update((_identity(p), p) for p in error.problems)
    found = sorted(errors.values(), key=lambda p: p.span.start if p.span else -1)
    if args.format == "json":
        _print_json({"errors": [_described(p) for p in found], "warnings": []})
    elif found:
        _report(found)
    else:
        print(f"{source.name}: no errors")
    return 1 if found else 0


def _run(args: argparse.Namespace) -> int:
    function = Function(_program(args), args.options)
    given = cli_files.arrays(args.input)
    cotangents = {n: grad.gradient_names(function.program)[n] for n in function.outputs} if args.grad else {}
    seeds = {n: given.pop(c) for n, c in cotangents.items() if c in given}
    if args.grad:
        values, pullback = function.vjp(**given)
        found = values if isinstance(values, dict) else {function.outputs[0]: values}
        ones = {n: np.ones_like(v) for n, v in found.items() if v.dtype.kind in "fc"}
        named = {n: seeds.get(n, ones.get(n)) for n in found if n in seeds or n in ones}
        gradients = pullback(named if len(function.outputs) > 1 else next(iter(named.values()), None))
        chosen = args.wrt or tuple(gradients)
        missing = [n for n in chosen if n not in gradients]
        if missing:
            known = f"gradients: {', '.join(gradients) or 'none'}"
            raise IndexLangError(Problem("wrt", f"'{missing[0]}' has no gradient here", values=(known,)))
        results = {**found, **{_gradient_name(function, n): gradients[n] for n in chosen}}
    else:
        values = function(**given)
        results = values if isinstance(values, dict) else {function.outputs[0]: values}
    if args.output:
        cli_files.save(cli_files.targets(args.output, tuple(results)), results)
    else:
        for name, value in results.items():
            print(f"{name} {list(value.shape)} {value.dtype}")
            print(np.array2string(value, threshold=200, edgeitems=3))
    return 0


def _gradcheck(args: argparse.Namespace) -> int:
    program = _program(args)
    inputs = random_inputs(program, _shapes(program, args.shape), seed=args.seed)
    rows = gradcheck(
        program, inputs, forward=_complex_forward(program), backward=_backward, wrt=args.wrt, seed=args.seed
    )
    print(_table(rows))
    return 0 if all(row.ok for row in rows) else 1


def _explain(args: argparse.Namespace) -> int:
    print(_planned(args).plan)
    return 0


def _emit(args: argparse.Namespace) -> int:
    print(_planned(args).plan.source, end="")
    return 0


def _fmt(args: argparse.Namespace) -> int:
    source, _ = cli_files.source(args.file, args.text)
    formatted = layout(parse(source))
    if args.check:
        if formatted != source.text:
            print(f"{source.name} would be laid out anew", file=sys.stderr)
        return 0 if formatted == source.text else 1
    if args.write:
        if formatted != source.text:
            data = formatted.encode()
            cli_files.replace_all({args.file: lambda file: _fill(file, data)})
        return 0
    print(_highlighted(formatted), end="")
    return 0


def _fill(file: IO[bytes], data: bytes) -> None:
    file.write(data)


# -- programs, shapes and plans ------------------------------------------------------------------


def _program(args: argparse.Namespace) -> Program:
    source, folder = cli_files.source(args.file, args.text)
    return resolve(parse(source), layer=args.layer, options=args.options, outputs=args.outputs, folder=folder)


def _has_statements(file: Any) -> bool:
    return any(type(item).__name__ in ("Statement", "ShapeDecl") for item in file.items)


def _shapes(program: Program, given: Sequence[tuple[str, tuple[int, ...]]]) -> Shapes:
    shapes = dict(given)
    unknown = [name for name in shapes if name not in program.inputs]
    missing = [name for name in program.inputs if name not in shapes]
    known = (f"inputs: {', '.join(program.inputs) or 'none'}",)
    if unknown:
        raise IndexLangError(Problem("unexpected-input", f"'{unknown[0]}' is no input", values=known))
    if missing:
        rule, way = f"the shape of '{missing[0]}' is missing", f"say --shape {missing[0]}=2,3"
        raise IndexLangError(Problem("missing-input", rule, values=known, way_out=way))
    return shapes


def _planned(args: argparse.Namespace) -> Compiled:
    """The program, or with --grad its derived program, planned at the shapes and types that were given."""
    program = _program(args)
    shapes, types = _shapes(program, args.shape), dict(args.dtype)
    default = types.pop(None, "float32")
    integers = indexing(program)
    dtypes = {n: types.get(n, "int64" if n in integers else default) for n in program.inputs}
    compiled = compile_program(program, shapes, dtypes)
    if args.grad:
        names = grad.gradient_names(program)
        derived = grad.backward(program, args.wrt)
        shapes |= {names[n]: compiled.plan.shapes[n] for n in program.outputs}
        dtypes |= {names[n]: compiled.plan.dtypes[n] for n in program.outputs}
        compiled = compile_program(
            derived, {n: shapes[n] for n in derived.inputs}, {n: dtypes[n] for n in derived.inputs}
        )
    for problem in compiled.warnings:
        _report([problem], "warning")
    return compiled


def _complex_forward(program: Program) -> Callable[[Mapping[str, Array]], Mapping[str, Array]]:
    """The program's own kernels, planned so that a tiny imaginary part goes through every function."""
    known: dict[object, Compiled] = {}

    def forward(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        key = tuple(a.dtype for a in inputs.values())
        if key not in known:
            shapes = {n: inputs[n].shape for n in program.inputs}
            dtypes = {n: inputs[n].dtype.name for n in program.inputs}
            known[key] = compile_program(program, shapes, dtypes, complex_step=True)
        results = known[key].run(*(inputs[n] for n in program.inputs))
        return dict(zip(program.outputs, results, strict=True))

    return forward


def _backward(derived: Program, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    results: Mapping[str, Array] = Function(derived, always_dict=True)(**inputs)
    return results


def _gradient_name(function: Function, name: str) -> str:
    return grad.gradient_names(function.program)[name]


# -- what is printed -----------------------------------------------------------------------------


def _table(rows: Sequence[Row]) -> str:
    head = ("gradient", "against", "checked", "greatest error", "relative", "")
    cells = [
        (f"{r.tensor}.grad", r.method, str(r.checked), f"{r.absolute:.1e}", f"{r.relative:.1e}", "ok" if r.ok else "WRONG")
        for r in rows
    ]
    widths = [max(len(line[k]) for line in (head, *cells)) for k in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in (head, *cells))


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _identity(problem: Problem) -> object:
    span = problem.span
    return problem.code, problem.rule, None if span is None else (span.source.name, span.start, span.end)


def _described(problem: Problem) -> dict[str, object]:
    def place(span: Span) -> dict[str, object]:
        line, column = span.source.position(span.end)
        start = {"file": span.source.name, "line": span.line, "column": span.column}
        return {**start, "end_line": line, "end_column": column}

    return {
        "code": problem.code,
        "rule": problem.rule,
        **(place(problem.span) if problem.span else {}),
        "values": list(problem.values),
        "way_out": problem.way_out,
        "others": [{"label": label, **place(span)} for label, span in problem.others],
    }


def _report(problems: Sequence[Problem], kind: str = "error") -> None:
    for problem in problems:
        print(_coloured(render(problem, kind)), file=sys.stderr)


def _show_warning(message: Warning | str, *rest: object, **more: object) -> None:
    print(_coloured(str(message)), file=sys.stderr)


def _colourful(stream: IO[str]) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


_MESSAGE = (  # what is coloured in an error, and how
    (re.compile(r"(error\[[\w-]+\]:)(.*)"), "\033[1;31m\\1\033[0m\033[1m\\2\033[0m"),
    (re.compile(r"(warning\[[\w-]+\]:)(.*)"), "\033[1;33m\\1\033[0m\033[1m\\2\033[0m"),
    (re.compile(r"^( *\d* \|)", re.MULTILINE), "\033[34m\\1\033[0m"),
    (re.compile(r"( )(\^+)$", re.MULTILINE), "\\1\033[31m\\2\033[0m"),
    (re.compile(r"^(  way out:)", re.MULTILINE), "\033[32m\\1\033[0m"),
)

_PROGRAM = re.compile(
    r"(?P<comment>#.*)|(?P<word>\b(?:layer|shape|from|import|where|and|or|not)\b)|(?P<grad>[^\W\d][\w.]*\.grad\d*)"
)
_STYLE = {"comment": "2", "word": "35", "grad": "36"}


def _coloured(message: str) -> str:
    if _colourful(sys.stderr):
        for pattern, style in _MESSAGE:
            message = pattern.sub(style, message)
    return message


def _highlighted(text: str) -> str:
    if not _colourful(sys.stdout):
        return text
    return _PROGRAM.sub(lambda m: f"\033[{_STYLE[m.lastgroup or '']}m{m[0]}\033[0m", text)


# -- arguments -----------------------------------------------------------------------------------


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"names with commas between them, not {text!r}")
    return names


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, equals, sizes = text.partition("=")
    try:
        shape = tuple(int(size) for size in sizes.split(",") if size.strip())
    except ValueError:
        shape = (-1,)
    if not (name and equals) or min(shape, default=0) < 0:
        raise argparse.ArgumentTypeError(f"NAME=SIZE,SIZE,... (NAME= for a scalar), not {text!r}")
    return name, shape


def _dtype(text: str) -> tuple[str | None, str]:
    name, equals, kind = text.rpartition("=")
    try:
        return (name if equals else None), np.dtype(kind).name
    except TypeError:
        raise argparse.ArgumentTypeError(f"[NAME=]TYPE such as float64, not {text!r}") from None


def _option(text: str) -> tuple[str, int | float | bool]:
    name, equals, value = text.partition("=")
    words = {"true": True, "false": False}
    for kind in (words.__getitem__, int, float):
        try:
            return name, kind(value.lower())
        except (KeyError, ValueError):
            continue
    raise argparse.ArgumentTypeError(f"NAME=NUMBER, not {text!r}")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a number from 1 on, not {text!r}")
    return int(text)


class _Options(argparse.Action):
    """Collects `-O name=value` into a dict."""

    def __call__(self, parser: object, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        setattr(namespace, self.dest, {**getattr(namespace, self.dest), values[0]: values[1]})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="indexlang", description="Index equations: their gradients derived and printed, both run on NumPy."
    )
    parser.add_argument("--version", action="version", version=f"indexlang {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(command=run)
        sub.add_argument("file", nargs="?", metavar="FILE", help="a .idx file, or - for standard input")
        sub.add_argument("-e", dest="text", action="append", metavar="STATEMENTS", help="statements instead of a file")
        return sub

    def layered(sub: argparse.ArgumentParser, wrt: str | None) -> argparse.ArgumentParser:
        sub.add_argument("--layer", metavar="L", help="the layer of the file")
        sub.add_argument("-O", "--option", dest="options", type=_option, action=_Options, default={}, metavar="NAME=NUMBER", help="an option of the layer, such as stride=2")  # fmt: skip
        sub.add_argument("--outputs", type=_names, metavar="y,h", help="the tensors that come out")
        if wrt:
            sub.add_argument("--wrt", type=_names, metavar="x,W", help=wrt)
        return sub

    def sized(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
        sub.add_argument("--shape", type=_shape, action="append", default=[], metavar="x=2,9,8,3", help="the shape of an input")  # fmt: skip
        return sub

    sub = layered(command("grad", _grad, "print the derived statements"), "the tensors to differentiate by")
    sub.add_argument("--form", choices=("scatter", "gather"), default="scatter", help="as the swap rule gives them, or solved for the target")  # fmt: skip
    sub.add_argument("--order", type=_positive, default=1, metavar="N", help="differentiate N times")
    sub.add_argument("--format", choices=("text", "latex", "json"), default="text")
    sub.add_argument("--full", action="store_true", help="with the forward statements that they need")

    sub = command("check", _check, "print every error and warning of the file")
    sub.add_argument("--format", choices=("text", "json"), default="text")

    sub = layered(command("run", _run, "run the program on arrays"), "the gradients to compute")
    sub.add_argument("-i", dest="input", action="append", default=[], metavar="x=x.npy", help="an input: a .npy file, one array of an archive (x=a.npz:key), or a whole archive (a.npz)")  # fmt: skip
    sub.add_argument("-o", dest="output", action="append", default=[], metavar="y=y.npy", help="where a result goes; without it, results are printed")  # fmt: skip
    sub.add_argument("--grad", action="store_true", help="also the gradients, for cotangents of ones or -i y.grad=dy.npy")  # fmt: skip

    sub = sized(layered(command("gradcheck", _gradcheck, "compare the derived gradients with numerical ones, at random inputs"), "the gradients to check"))  # fmt: skip
    sub.add_argument("--seed", type=int, default=0)

    for name, run, text in (("explain", _explain, "print the plan"), ("emit", _emit, "print the stand-alone source")):
        sub = sized(layered(command(name, run, text), "with --grad: the gradients"))
        sub.add_argument("--dtype", type=_dtype, action="append", default=[], metavar="[x=]float64", help="the type of all inputs, or of one; float32 where unsaid")  # fmt: skip
        sub.add_argument("--grad", action="store_true", help="of the derived program")
        if name == "emit":
            sub.add_argument("--target", choices=("numpy",), default="numpy")

    sub = command("fmt", _fmt, "print the file in canonical layout")
    only = sub.add_mutually_exclusive_group()
    only.add_argument("--write", action="store_true", help="rewrite the file instead")
    only.add_argument("--check", action="store_true", help="only say, by the exit status, whether it is so already")
    return parser
