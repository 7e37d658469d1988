"""Text to Functions: `compile` for one, `load` for every layer of a file.

In: text or a path. Out: `Function`s. The one rule: what depends on the text alone is done here, once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from ..backends.engines import BACKENDS, present, usual
from ..errors import LanguageSyntaxError, MeaningError, Problem, Source
from ..meaning.report import nearest
from ..meaning.resolve import layer_names
from ..plan.limits import NEVER
from ..properties import public
from ..syntax.parser import parse, read
from .arguments import listed, shortly, switch
from .checkpointing import checkpoints_of
from .function import Function
from .origins import Origin, options_of

Backend = Literal["auto", "numpy", "native", "jax"]


def compile(  # noqa: A001 (the name that the contract gives it)
    text: str | os.PathLike[str],
    /,
    *,
    layer: str | None = None,
    backend: Backend = "auto",
    outputs: Sequence[str] | str | None = None,
    recompute: bool = False,
    checkpoint: Mapping[str, int] | None = None,
    options: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> Function:
    """A text, or the path of a .idx file, as a Function.

    `text` is a path if it is a `Path`, or one line without `=` that ends in .idx. `layer` chooses one of several
    layers; `options` are that layer's, in one mapping or by keyword:
    `compile("conv.idx", layer="conv2d", stride=2)`. `outputs` are the tensors to deliver, instead of the header's, or
    those that nothing reads. `backend` is what runs the Function: "native" (the extra of that
    name), statements as loop nests, compiled for this processor; "jax" (the extra of that name), array operations that
    XLA compiles; or "numpy". Arrays are NumPy's on each. "auto" is what INDEXLANG_BACKEND says,
    else native where llvmlite is installed and can make code, else NumPy; `f.backend` says which. With `recompute` no
    product is kept from the forward run of `vjp` that its pullback can make again: less memory, more time. With
    `checkpoint={"t": 16}` every 16th state of a `for` over t is kept, and gradients make the others again, 16 steps at
    a time: they need the memory of so many steps instead of all, and the time of one more forward run.
    Errors: `LanguageSyntaxError` and `MeaningError` with all that is wrong in the text, or with an argument;
    `ShapeError` where nothing says how far an index runs; `IndexLangError` for a file that cannot be read.
    """
    engine, given = _engine(backend), options_of(options, keywords)
    if not (layer is None or isinstance(layer, str)):
        way = f"an option of this name is given as options={{'layer': {shortly(layer)}}}"
        rule = f"a layer is chosen by its name, not by {shortly(layer)}"
        raise MeaningError(Problem("unknown-layer", rule, way_out=way))
    source, folder = _source(text)
    again = switch("recompute", recompute)
    origin = Origin(source, folder, layer, _outputs(outputs), given)
    found = origin.program(2)
    limits = BACKENDS[engine].limits
    limits = replace(limits, deep=NEVER) if again else limits
    every = checkpoints_of(checkpoint, found.program, engine)
    return Function(found.program, found.options, limits=limits, backend=engine, origin=origin, checkpoint=every)


def _engine(backend: str) -> str:
    """What runs a Function. Errors: `MeaningError` for what is not there."""
    there = get_args(Backend)
    if not isinstance(backend, str) or backend not in there:
        rule = f"a backend is one of {', '.join(there)}, not {shortly(backend)}"
        raise MeaningError(Problem("backend", rule, way_out="leave it out, and what is there is taken"))
    return usual() if backend == "auto" else present(backend)


def _outputs(outputs: Any) -> tuple[str, ...] | None:
    """The names of the tensors to deliver; None where nobody names them. Errors: `MeaningError`."""
    names = None if outputs is None else listed(outputs)
    wrong = outputs if names is None else next((n for n in names if not isinstance(n, str)), None)
    if wrong is None:
        return names
    rule = f"outputs are names of tensors, and {shortly(wrong)} is none"
    raise MeaningError(Problem("undefined-output", rule, way_out="write outputs=['y'], or leave it out"))


def _source(text: str | os.PathLike[str]) -> tuple[Source, Path | None]:
    """A path ends in `.idx`, and is neither a statement nor several lines. Errors: `LanguageSyntaxError`."""
    if not isinstance(text, str | os.PathLike):
        rule = f"a program is a text or the path of a file, not {type(text).__name__}"
        raise LanguageSyntaxError(Problem("text", rule, way_out="write compile('y[i] = x[i]'), or compile('file.idx')"))
    if isinstance(text, os.PathLike) or (text.endswith(".idx") and "\n" not in text and "=" not in text):
        path = Path(text)
        return read(path), path.parent
    return Source(text), None


class NoLayerError(MeaningError, KeyError):
    """A layer that a file does not have: a `KeyError` for who asks a mapping, and with a way out."""

    __str__ = BaseException.__str__  # a KeyError would show the repr


class Layers:
    """The layers of a file, options at their defaults: `layers.conv2d`, or by name, `layers["conv2d"]`."""

    def __init__(self, source: Source, folder: Path | None) -> None:
        self._file, self._folder = parse(source), folder
        self._names = tuple(layer_names(self._file))
        self._functions: dict[str, Function] = {}

    def __dir__(self) -> list[str]:
        return [*public(super().__dir__()), *self._names]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> Function:
        if not isinstance(name, str) or name not in self._names:
            values, way = f"layers: {', '.join(self._names) or 'none'}", nearest(name, self._names)
            rule = f"the file has no layer {shortly(name)}"
            raise NoLayerError(Problem("unknown-layer", rule, values=(values,), way_out=way or "name one of these"))
        if name not in self._functions:
            origin = Origin(self._file.span.source, self._folder, name, None, {})
            found = origin.program(3, self._file)
            self._functions[name] = Function(found.program, found.options, origin=origin)
        return self._functions[name]

    def __getattr__(self, name: str) -> Function:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except NoLayerError as error:
            raise AttributeError(str(error)) from None


def load(path: str | os.PathLike[str]) -> Layers:
    """Every layer of the .idx file at `path`, with its options at their defaults: `load("conv.idx").conv2d`.

    Errors: `LanguageSyntaxError`; `IndexLangError` for a file that cannot be read; a layer's `MeaningError`, or
    `ShapeError` where nothing says how far an index runs, when it is asked for.
    """
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        rule = f"layers are loaded from the path of a file, not from {shortly(path)}"
        raise LanguageSyntaxError(Problem("text", rule, way_out="write load('file.idx'); a text is for compile"))
    return Layers(*_source(Path(path)))
