"""The arguments of the command line.

In: a list of words. Out: an argparse namespace. The one rule: a command is a row of `COMMANDS`, an argument a row
of `ARGUMENTS`, and both are written once.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from ..backends.engines import BACKENDS, TARGETS
from ..errors import shown
from ..meaning.report import nearest
from ..sizes.dtypes import DTYPES
from ..version import __version__
from .streams import say, tell


def said(text: str) -> str:
    """Text of the language in an argument: it is UTF-8, also where the locale knows only ASCII."""
    if text.isascii() or not any("\udc80" <= c <= "\udcff" for c in text):
        return text
    return os.fsencode(text).decode("utf-8", "surrogateescape")


def names(text: str) -> tuple[str, ...]:
    """`x,W`"""
    found = tuple(name.strip() for name in said(text).split(","))
    if not all(found):
        raise argparse.ArgumentTypeError(f"names with commas between them, not '{shown(text)}'")
    if text.endswith((".npy", ".npz")):  # --output y=y.npy, which is short for --outputs
        raise argparse.ArgumentTypeError(f"names of tensors, not '{shown(text)}'; files stand behind -o")
    return found


def shape(text: str) -> tuple[str, tuple[int, ...]]:
    """`x=2,9,8,3`, and `s=` for a scalar."""
    name, equals, sizes = said(text).partition("=")
    found = [size.strip() for size in sizes.split(",")] if sizes.strip() else []
    if not (name and equals) or not all(_digits(size) for size in found):
        rule = f"NAME=SIZE,SIZE,... (NAME= for a scalar), not '{shown(text)}'"
        meant = re.findall(r"\d+", sizes, re.ASCII)  # x=(3,4), x=3x4
        raise argparse.ArgumentTypeError(_with(rule, f"write {name}={','.join(meant)}" if name and meant else None))
    return name, tuple(map(int, found))


def every(text: str) -> tuple[str, int]:
    """`t=16`."""
    name, equals, steps = said(text).partition("=")
    if not (name and equals) or not _digits(steps.strip()):
        raise argparse.ArgumentTypeError(f"INDEX=STEPS, not '{shown(text)}'")
    return name, int(steps)


def dtype(text: str) -> tuple[str, str]:
    """`x=float64` for one input; `float64` for all, under an empty name."""
    name, _, kind = said(text).rpartition("=")
    try:
        found = np.dtype(kind).name
    except (TypeError, ValueError, SyntaxError):
        found = ""
    if not kind or found not in DTYPES:
        rule = f"[NAME=]TYPE, one of {', '.join(DTYPES)}, not '{shown(text)}'"
        raise argparse.ArgumentTypeError(_with(rule, nearest(kind, DTYPES)))
    return name, found


def option(text: str) -> tuple[str, int | float | bool]:
    """`stride=2`, `eps=1e-5`, `causal=true`."""
    name, _, value = said(text).partition("=")
    words = {"true": True, "false": False}
    for kind in (words.__getitem__, int, float) if name and value.isascii() and "_" not in value else ():
        try:
            return name, kind(value.lower())
        except (KeyError, ValueError):
            continue
    raise argparse.ArgumentTypeError(f"NAME=NUMBER, not '{shown(text)}'")


def batch(text: str) -> tuple[str, tuple[str, ...]]:
    """`n:x,y.grad`: an index, and the tensors that get it in front."""
    index, colon, tensors = said(text).partition(":")
    if not (index.strip() and colon and tensors):
        raise argparse.ArgumentTypeError(f"INDEX:TENSOR,TENSOR,... such as n:x,y.grad, not '{shown(text)}'")
    return index.strip(), names(tensors)


def positive(text: str) -> int:
    """A count."""
    if not _digits(text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a number from 1 on, not '{shown(text)}'")
    return int(text)


def whole(text: str) -> int:
    """A number from 0 on."""
    if not _digits(text):
        raise argparse.ArgumentTypeError(f"a number from 0 on, not '{shown(text)}'")
    return int(text)


def _with(rule: str, way: str | None) -> str:
    return rule if way is None else f"{rule}; {way}"


def _digits(text: str) -> bool:
    """Whether this is a number of ours, and one that a machine can have."""
    return text.isascii() and text.isdigit() and len(text) < 19


class _Parser(argparse.ArgumentParser):
    """Its messages go the way of all others."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stdout:
            say(message)
        else:
            tell("\n".join(shown(line) for line in message.split("\n")))

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: error: {message}\n{self.prog} --help tells more\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(c) for c in action.choices]
            rule = f"one of {', '.join(choices)}, not '{value}'"
            raise argparse.ArgumentError(action, _with(rule, nearest(str(value), choices)))

    def strange(self, words: Sequence[str]) -> NoReturn:
        """Refuse words that nothing takes."""
        flag = words[0].partition("=")[0]
        way = self._meant(flag) if flag.startswith("-") else self._behind(words)
        self.error(_with(f"unrecognized arguments: {' '.join(words)}", way))

    def _meant(self, flag: str) -> str | None:
        """The option that a strange one is meant for: by what it is of, `--input` for `-i`, or by its letters."""
        word = flag.lstrip("-").rstrip("s")
        named = (a.option_strings for a in self._actions if a.option_strings and a.dest.rstrip("s") == word)
        short = next(named, None)
        return nearest(flag, self._option_string_actions) if short is None else f"did you mean '{short[0]}'?"

    def _behind(self, words: Sequence[str]) -> str | None:
        """The option behind which words without one are meant to stand."""
        dests = {a.dest for a in self._actions}
        if not all("=" in word for word in words):
            return None
        values = [word.partition("=")[2] for word in words]
        if "input" in dests and all(v.endswith((".npy", ".npz")) or v == "-" for v in values):
            return f"each input has an -i of its own: {' '.join(f'-i {w}' for w in words)}"
        if "shape" in dests and all(re.fullmatch(r"[\d,]*", v, re.ASCII) for v in values):
            return f"each shape has a --shape of its own: {' '.join(f'--shape {w}' for w in words)}"
        if "text" in dests:
            return f"statements stand behind -e, instead of a FILE: {' '.join(shlex.join(['-e', w]) for w in words)}"
        return None


class _Collect(argparse.Action):
    """Collects pairs into a dict."""

    def __call__(self, parser: object, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        setattr(namespace, self.dest, {**getattr(namespace, self.dest), values[0]: values[1]})


def _argument(*flags: str, **rest: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    return flags, rest


_ONE_OF_MANY: dict[str, Any] = {"action": "append", "default": []}

ARGUMENTS = {
    "file": _argument("file", nargs="?", metavar="FILE", help="a .idx file, or - for standard input"),
    "files": _argument(
        "files", nargs="*", metavar="FILE", help="a .idx file, a folder of such, or - for standard input"
    ),
    "text": _argument(
        "-e", dest="text", type=said, action="append", metavar="STATEMENTS", help="statements instead of a file"
    ),
    "network": _argument("network", metavar="NETWORK", help="such as resnet50, or a Python file that defines one"),
    "shell": _argument("shell", choices=("bash", "zsh", "fish"), help="for which shell"),
    "layer": _argument("--layer", type=said, metavar="L", help="the layer of the file"),
    "option": _argument(
        "-O",
        "--option",
        dest="options",
        type=option,
        action=_Collect,
        default={},
        metavar="NAME=NUMBER",
        help="an option of the layer, such as stride=2",
    ),
    "option of a network": _argument(
        "-O",
        "--option",
        dest="options",
        type=option,
        action=_Collect,
        default={},
        metavar="NAME=NUMBER",
        help="an option of a named network: size=64, width=0.5, classes=10",
    ),
    "shape of an example": _argument(
        "--shape", type=shape, metavar="x=28,28,1", help="the shape of one example of an input", **_ONE_OF_MANY
    ),
    "outputs": _argument("--outputs", type=names, metavar="y,h", help="the tensors that come out"),
    "wrt": _argument("--wrt", type=names, metavar="x,W", help="the tensors to differentiate by"),
    "form": _argument(
        "--form",
        choices=("scatter", "gather"),
        default="scatter",
        help="as the swap rule gives them, or solved for the target",
    ),
    "mode": _argument(
        "--mode",
        choices=("reverse", "forward"),
        default="reverse",
        help="gradients, or forward the tangents",
    ),
    "batch": _argument(
        "--batch", type=batch, metavar="n:x,y.grad", help="an index in front of tensors and of all that depends on them"
    ),
    "order": _argument("--order", type=positive, default=1, metavar="N", help="differentiate N times"),
    "format": _argument("--format", choices=("text", "latex", "json"), default="text", help="how to print"),
    "format of check": _argument("--format", choices=("text", "json"), default="text", help="how to print"),
    "full": _argument("--full", action="store_true", help="with the forward statements that they need"),
    "input": _argument(
        "-i",
        dest="input",
        metavar="x=x.npy",
        help="an input: a .npy file, one array of an archive (x=a.npz:key), a whole archive (a.npz), "
        "or the next .npy file of standard input (x=-)",
        **_ONE_OF_MANY,
    ),
    "output": _argument(
        "-o",
        dest="output",
        metavar="y=y.npy",
        help="where a result goes: a .npy file, an archive (y=a.npz, or a.npz for all), or - for standard output; "
        "those without a file are printed",
        **_ONE_OF_MANY,
    ),
    "grad": _argument("--grad", action="store_true", help="also the gradients, for -i y.grad=dy.npy, else for ones"),
    "grad of a plan": _argument("--grad", action="store_true", help="of the derived program"),
    "vjp": _argument("--vjp", action="store_true", help="of both runs: what the forward one keeps, too"),
    "vjp of source": _argument(
        "--vjp", action="store_true", help="forward(*inputs) and backward(saved, *cotangents) in one module"
    ),
    "shape": _argument("--shape", type=shape, metavar="x=2,9,8,3", help="the shape of an input", **_ONE_OF_MANY),
    "dtype": _argument(
        "--dtype",
        type=dtype,
        metavar="[x=]float64",
        help="the type of all inputs, or of one; float32 where unsaid",
        **_ONE_OF_MANY,
    ),
    "checkpoint": _argument(
        "--checkpoint",
        type=every,
        metavar="t=16",
        help="of the block over t keep every 16th state for gradients, which make the others again",
        **_ONE_OF_MANY,
    ),
    "seed": _argument("--seed", type=whole, default=0, metavar="N", help="another one, other random numbers"),
    "target": _argument("--target", choices=tuple(TARGETS), default="numpy", help="the kind of source"),
    "backend": _argument(
        "--backend",
        choices=("auto", *BACKENDS),
        help="what runs it; where unsaid what INDEXLANG_BACKEND says, else native where llvmlite is installed",
    ),
    "nests": _argument("--nests", action="store_true", help="also the loop nests of the native backend"),
    "measure": _argument("--measure", action="store_true", help="also how long each statement takes, on random arrays"),
    "clear": _argument("action", nargs="?", choices=("clear",), help="empty it"),
    "steps": _argument("--steps", action="store_true", help="also each step of the plan, with the memory it touches"),
    "write": _argument("--write", action="store_true", help="rewrite the file instead"),
    "check": _argument("--check", action="store_true", help="only say, by the exit status, whether it is so already"),
}

_PROGRAM = ("layer", "option", "outputs", "wrt")

COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "grad": ("print the derived statements", (*_PROGRAM, "mode", "form", "order", "batch", "format", "full")),
    "check": ("print every error and warning of files", ("format of check",)),
    "run": ("run the program on arrays", (*_PROGRAM, "input", "output", "grad", "backend")),
    "gradcheck": (
        "compare the derived gradients with numerical ones, at random inputs or yours",
        (*_PROGRAM, "input", "shape", "seed", "backend"),
    ),
    "explain": (
        "print the plan",
        (
            *_PROGRAM,
            "shape",
            "dtype",
            "grad of a plan",
            "vjp",
            "checkpoint",
            "backend",
            "format of check",
            "steps",
            "nests",
            "measure",
        ),
    ),
    "emit": (
        "print the stand-alone source",
        (*_PROGRAM, "shape", "dtype", "grad of a plan", "vjp of source", "checkpoint", "target"),
    ),
    "fmt": ("print files in canonical layout", ("write", "check")),
    "summary": (
        "print each layer's output shape, parameters and multiply-adds",
        ("network", "option of a network", "shape of an example", "format of check"),
    ),
    "doctor": ("tell what this machine has, and what holds it back", ("format of check",)),
    "cache": ("tell where compiled code is kept, and how much", ("clear",)),
    "completion": ("print what completes these commands in a shell", ("shell",)),
}
_WITHOUT_FILE = ("summary", "doctor", "cache", "completion")
_OF_FILES = ("check", "fmt")  # of one or several, and of folders


@dataclass(frozen=True)
class Word:
    """An option, or a word without a dash: how it is written, what stands behind it, which values there are."""

    flags: tuple[str, ...]  # none where it has no dash
    value: str | None
    choices: tuple[str, ...]
    text: str


def words() -> dict[str, tuple[Word, ...]]:
    """What each command takes, as the parser has it."""
    return {name: tuple(map(_word, sub._actions)) for name, sub in _parsers()[1].items()}


def _word(action: argparse.Action) -> Word:
    choices = tuple(map(str, action.choices or ()))
    value = None if action.nargs == 0 else str(action.metavar or " or ".join(choices))
    return Word(tuple(action.option_strings), value, choices, action.help or "")


def _parsers() -> tuple[_Parser, dict[str, _Parser]]:
    """The parser, and that of each command."""
    parser = _Parser(
        prog="indexlang", description="Index equations: their gradients derived and printed, both run on NumPy."
    )
    parser.add_argument("--version", action="version", version=f"indexlang {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    subs: dict[str, _Parser] = {}
    for name, (text, arguments) in COMMANDS.items():
        subs[name] = sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        first = "files" if name in _OF_FILES else "file" if name not in _WITHOUT_FILE else None
        for argument in (*((first, "text") if first else ()), *arguments):
            flags, rest = ARGUMENTS[argument]
            sub.add_argument(*flags, **rest)
    return parser, subs


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The namespace of one command, its name in `command`; wrong usage exits with status 2."""
    parser, subs = _parsers()
    args, strange = parser.parse_known_args(argv)
    files = getattr(args, "files", None) or ([args.file] if getattr(args, "file", None) is not None else [])
    misplaced = [f for f in files if "=" in f] if getattr(args, "text", None) else []  # -e 'y = x' --shape x=3 w=4
    if misplaced or strange:
        subs[args.command].strange([word for word in argv if word in (*misplaced, *strange)] or strange)
    if args.command not in _WITHOUT_FILE and (not files) == (args.text is None):
        subs[args.command].error("give either a FILE or statements behind -e")
    if getattr(args, "file", None) == "-" and any(item.endswith("=-") for item in getattr(args, "input", ())):
        subs[args.command].error("standard input can be read once: for the program, or for arrays")
    if args.command in ("run", "explain", "emit") and args.wrt and not (args.grad or getattr(args, "vjp", False)):
        subs[args.command].error("--wrt says by which tensors to differentiate: give --grad, too")
    if getattr(args, "vjp", False) and (args.grad or args.wrt):
        subs[args.command].error("--vjp is of both runs, by all inputs: leave --grad and --wrt out")
    if getattr(args, "measure", False) and args.vjp:
        subs[args.command].error("--measure is of one run: give --grad instead of --vjp")
    if args.command == "fmt" and args.write and (args.check or not files or "-" in files):
        subs["fmt"].error("--write needs a FILE, and no --check")
    return args
