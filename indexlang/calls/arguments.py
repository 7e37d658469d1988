"""What is passed to a program: arrays by position and by name, and shapes and types of what is not there yet.

In: what a caller passes. Out: arrays by name; a signature. The one rule: all that is wrong with a call is told at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from keyword import iskeyword
from typing import Any

import numpy as np

from ..errors import DerivationError, MeaningError, Problem, ShapeError
from ..meaning.report import near, nearest
from ..program.affine import Affine
from ..program.ir import Access, Program, parts_of, primal_of, walk
from ..sizes.suggested import suggested
from .arrays import Array, as_array, number_type

Form = tuple[tuple[int, ...], "np.dtype[Any]"]
Signature = Mapping[str, Form]

_LONGEST = 60  # characters of a value that an error shows


def direct(args: Sequence[Any], kwargs: Mapping[str, Any], names: Sequence[str]) -> Sequence[Array] | None:
    """The arrays of a plain call, in order: all inputs, each an array of NumPy, by position or by name."""
    arrays: Sequence[Any] = args
    if not args and kwargs:
        arrays = [kwargs.get(name) for name in names]
    elif kwargs:
        return None
    if len(arrays) != len(names) or (kwargs and len(kwargs) != len(arrays)):
        return None
    return arrays if all([type(a) is np.ndarray for a in arrays]) else None


def named(args: Sequence[Any], kwargs: Mapping[str, Any], order: Sequence[str]) -> tuple[dict[str, Any], list[Problem]]:
    """What a call gives, by name: by position in this order, by keyword, or in one mapping; and what is wrong there.

    In a mapping tensors may have any name, those of Python's own parameters among them.
    """
    problems: list[Problem] = []
    first, rest = (args[0], args[1:]) if is_mapping(args) else ({}, args)
    found: dict[str, Any] = {}
    if rest and first:
        rule = "what is given by name and what is given by position do not stand side by side"
        problems.append(Problem("unexpected-input", rule, way_out="put all of it into one mapping"))
    elif len(rest) > len(order):
        known = (f"inputs: {', '.join(order) or 'none'}",)
        rule = f"{len(rest)} arrays were given by position, the program has {len(order)} inputs"
        way = f"pass {len(order)} at most, or all of them by name"
        problems.append(Problem("unexpected-input", rule, None, known, way))
    found.update(zip(order, rest, strict=False))  # of too many the first, so that none is missing besides
    how = "by position" if rest else "in the mapping"
    found.update(first)
    for name, value in kwargs.items():
        if name in found:
            rule = f"'{name}' was given twice, {how} and by name"
            problems.append(Problem("unexpected-input", rule, way_out="give it once"))
        else:
            found[name] = value
    return found, problems


def by_name(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    inputs: Sequence[str],
    optional: Sequence[str],
    ignored: Collection[str],
    convert: Callable[[str, Any], Any] = as_array,
) -> dict[str, Array]:
    """The arrays of a call by name. Errors: `ShapeError` for missing and unexpected ones, and what is no array.

    `convert` makes an array of a name and what is passed.
    """
    known = (f"inputs: {', '.join((*inputs, *optional)) or 'none'}",)
    order = (*inputs, *optional)
    given, problems = named(args, kwargs, order)
    found = {}
    for name, value in given.items():
        if name in order:
            try:
                found[name] = convert(name, value)
            except ShapeError as error:
                problems += error.problems
    strange, meant = no_inputs(given, order, ignored)
    problems += strange
    for name in inputs:
        if name not in given and name not in meant:
            way = f"pass {_by_name(name, '...')}"
            problems.append(Problem("missing-input", f"the input '{name}' is missing", None, known, way))
    if problems:
        raise ShapeError(*problems)
    return found


def no_inputs(
    given: Collection[Any], inputs: Sequence[str], ignored: Collection[str] = ()
) -> tuple[list[Problem], set[str]]:
    """The names that are of no input, and the inputs that are meant by them: these are not missing, too."""
    known = (f"inputs: {', '.join(inputs) or 'none'}",)
    problems: list[Problem] = []
    meant: set[str] = set()
    for name in given:
        if name in inputs or name in ignored:
            continue
        left = [n for n in inputs if n not in given and n not in meant]
        found = near(name, left)
        if found is not None:
            meant.add(found)
        way = "leave it out" if found is None else f"did you mean '{found}'?"
        problems.append(Problem("unexpected-input", f"{shortly(name)} is no input", None, known, way))
    return problems, meant


def forms(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    program: Program,
    ignored: Collection[str],
    expected: Mapping[str, Mapping[int, Affine]],
) -> dict[str, Form]:
    """Shape and type of each input, given as arrays are; float32 where unsaid, int64 for positions.

    `expected` are sizes that the program does not tell. Errors: `ShapeError`.
    """
    inputs = program.inputs
    known = (f"inputs: {', '.join(inputs) or 'none'}",)
    shapes, problems = named(args, kwargs, inputs)
    strange, meant = no_inputs(shapes, inputs, ignored)
    problems += [
        Problem("missing-input", f"the shape of '{n}' is missing", None, known, way)
        for n, way in _examples(shapes, program, expected).items()
        if n not in meant
    ]
    problems += strange
    positions, found = indexing(program), {}
    for name in inputs:
        if name in shapes:
            try:
                found[name] = _form(name, shapes[name], np.int64 if name in positions else np.float32)
            except ShapeError as error:
                problems += error.problems
            except (TypeError, ValueError, OverflowError):
                rule = f"{shapes[name]!r} is no shape for '{name}'"
                way = f"pass {name}=(2, 3), {name}=((2, 3), 'float64'), or an array"
                problems.append(Problem("shape", rule, way_out=way))
    if problems:
        raise ShapeError(*problems)
    return found


def _examples(
    shapes: Mapping[str, Any], program: Program, expected: Mapping[str, Mapping[int, Affine]]
) -> dict[str, str]:
    """What to pass for each input that has no shape: one that fits those that are there."""
    if all(n in shapes for n in program.inputs):
        return {}
    there = {}
    for name in shapes.keys() & set(program.inputs):
        with contextlib.suppress(TypeError, ValueError):  # what is no shape is told of itself
            there[name] = _form(name, shapes[name], np.float32)[0]
    found = {n: f"{s}," if s and "," not in s else s for n, s in suggested(program, there, expected).items()}
    return {n: f"pass {_by_name(n, f'({s})')}, with your sizes" for n, s in found.items() if n not in shapes}


def _by_name(name: str, value: str) -> str:
    """What to pass for an argument: in a mapping where its name is none of Python's."""
    named = name.isidentifier() and not iskeyword(name)
    return f"{name}={value}" if named else f"it in a mapping: {{'{name}': {value}, ...}}"


def check_cotangents(expected: Mapping[str, Mapping[int, Affine]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """A cotangent has the shape of its output, as far as the inputs that are here tell it. Errors: `ShapeError`."""
    for name, axes in expected.items():
        for axis, form in axes.items():
            try:
                size = max(0, form.value(shapes))
            except (KeyError, IndexError, ZeroDivisionError, ValueError):  # sizes that data say
                continue
            if name in shapes and axis < len(shapes[name]) and shapes[name][axis] != size:
                output = primal_of(name) or "the output"  # a cotangent under another name
                values = (f"{output} has size {size} along axis {axis}", f"{name} has shape {shapes[name]}")
                rule = f"'{name}' must have the shape of '{output}'"
                way = f"pass an array of the shape of '{output}', such as np.ones_like({output})"
                raise ShapeError(Problem("gradient-shape", rule, values=values, way_out=way))


def forms_of(arrays: Sequence[Array]) -> tuple[Form, ...]:
    """The shape and type of each array."""
    return tuple([(a.shape, a.dtype) for a in arrays])


def _form(name: str, given: Any, default: type) -> Form:
    """A shape, (shape, dtype), or an array, as shape and dtype. Errors: `TypeError`, `ValueError`, `ShapeError`."""
    dtype: Any = default
    if isinstance(given, int | np.integer):
        given = (given,)
    elif isinstance(given, str | bytes | Mapping):
        raise TypeError
    elif hasattr(given, "shape") and hasattr(given, "dtype"):
        try:
            dtype = np.dtype(given.dtype)
        except TypeError:  # of another library
            given = as_array(name, given)
            dtype = given.dtype
        return tuple(given.shape), number_type(name, dtype)
    elif len(given) == 2 and not isinstance(given[0], int | np.integer):
        given, dtype = given
        if dtype is None or isinstance(given, str | bytes | Mapping):  # NumPy takes None for float64
            raise TypeError
    shape = tuple(_size(n) for n in given)
    return shape, number_type(name, np.dtype(dtype))


def _size(given: Any) -> int:
    if isinstance(given, bool) or int(given) != given or given < 0:
        raise ValueError
    return int(given)


def indexing(program: Program) -> frozenset[str]:
    """The tensors that are read inside of subscripts: index tensors."""
    found = set()
    for stmt in program.statements:
        for part in parts_of(stmt):
            if isinstance(part, Access):
                for sub in part.subscripts:
                    found |= {p.tensor for p in walk(sub) if isinstance(p, Access)}
    return frozenset(found)


def is_mapping(args: Sequence[Any]) -> bool:
    """Whether what is given by position is one mapping of names, instead of keywords."""
    return len(args) > 0 and isinstance(args[0], Mapping)


def wrt_apart(
    args: tuple[Any, ...], inputs: dict[str, Any], wrt: Any, tensors: Sequence[str]
) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """What `value_and_grad` is given, as arrays by position, arrays by name, and `wrt`.

    Names in front are `wrt`, whatever else stands there is an array; the keyword is a tensor's if there is one of this
    name, and nothing is given by position that says otherwise.
    """
    if args and _are_names(args[0]):
        return args[1:], inputs if wrt is None else {**inputs, "wrt": wrt}, args[0]
    if wrt is not None and "wrt" in tensors and not args:
        return args, {**inputs, "wrt": wrt}, None
    return args, inputs, wrt


def _are_names(value: Any) -> bool:
    """Whether this names tensors, and is no array; nothing at all names all of them."""
    if value is None or isinstance(value, str):
        return True
    if not isinstance(value, Collection) or isinstance(value, Mapping) or hasattr(value, "shape"):
        return False
    return all(isinstance(n, str) for n in value)


def listed(names: Any) -> tuple[Any, ...] | None:
    """What stands for names: one of them, or several; None for what is neither."""
    if isinstance(names, str):
        return (names,)
    if isinstance(names, bytes | np.ndarray):
        return None
    try:
        return tuple(names)
    except TypeError:
        return None


def shortly(value: Any) -> str:
    """How an error shows a value of a caller's: in one line, and not all of an array."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def switch(name: str, value: Any) -> bool:
    """A value that is true or false. Errors: `MeaningError`: a name or a list would be true, and nobody means that."""
    if isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    rule = f"{name} is True or False, not {shortly(value)}"
    raise MeaningError(Problem("setting", rule, way_out=f"write {name}=True, or leave it out"))


def plainly(wrt: Any) -> tuple[Any, ...]:
    """What `wrt` says where it is names and nothing else, as something to look up; nothing at all is all names."""
    if wrt is None or type(wrt) is str:
        return (wrt,)
    return tuple(wrt) if type(wrt) in (list, tuple) and all([type(n) is str for n in wrt]) else ()


def names_of(wrt: Sequence[str] | str | None, inputs: Sequence[str]) -> tuple[str, ...] | None:
    """The tensors that `wrt` names. Errors: `DerivationError` where one is no input, or there is none."""
    values = (f"inputs: {', '.join(inputs) or 'none'}",)
    names = listed(wrt)
    if names is None and wrt is not None:
        rule, way = f"wrt names inputs, and {shortly(wrt)} is no name", "name them, or leave wrt out for all inputs"
        raise DerivationError(Problem("no-gradient", rule, values=values, way_out=way))
    for name in names or ():
        if not isinstance(name, str) or name not in inputs:
            way = nearest(name, inputs) or "name inputs, or leave wrt out for all of them"
            several = [part.strip() for part in name.replace(",", " ").split()] if isinstance(name, str) else []
            if len(several) > 1 and all(part in inputs for part in several):
                way = f"name several in a list: {several}"
            rule = f"{shortly(name)} is no input"
            raise DerivationError(Problem("no-gradient", rule, values=values, way_out=way))
    if names is not None and not names:
        raise DerivationError(Problem("no-gradient", "wrt names no tensor", way_out="leave it out for all inputs"))
    return names
