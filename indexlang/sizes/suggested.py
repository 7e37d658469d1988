"""Shapes that a program could run at, for the advice of errors.

In: a Program, and the shapes of some of its inputs. Out: a shape for each other input, in numbers if they are found,
else by the names of indices. The one rule: numbers are only given if the program runs at them.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from ..errors import IndexLangError
from ..program.affine import Affine
from ..program.ir import (
    Access,
    Boundary,
    Const,
    Dots,
    Expr,
    Index,
    Merged,
    Program,
    Size,
    Subscript,
    accesses_of,
    primal_of,
    walk,
)
from ..program.text import dim_names, expr_text
from . import ranks, shapes

Shape = tuple[int, ...]
_TRIES = 40  # the first with each index as long as its place says, the others drawn
_MOST = 300  # statements of a program that is tried more than once


Forms = Mapping[str, Mapping[int, Affine]]  # by input and axis


def suggested(program: Program, given: Mapping[str, Sequence[int]], expected: Forms | None = None) -> dict[str, str]:
    """A shape for each input that is not given: `2,9,8,3`; where none was found, by names: `b,i+di,j+dj,cx`.

    `expected` are sizes of inputs by those of others, which the program does not tell: a cotangent's by the output's.
    """
    missing = [n for n in program.inputs if n not in given]
    accesses = [a for s in program.statements for a in accesses_of(s)]
    found = _found(program, accesses, {n: tuple(s) for n, s in given.items() if n in program.inputs}, expected or {})
    if found is not None:
        return {n: ",".join(map(str, found[n])) for n in missing}
    names = dim_names(program)
    first = {a.tensor: a for a in reversed(accesses)}
    texts = {n: expr_text(replace(first[n], tensor=""), names)[1:-1] for n in missing if n in first}
    return {n: texts.get(n, "...") for n in missing}


def _found(
    program: Program, accesses: Sequence[Access], given: Mapping[str, Shape], expected: Forms
) -> dict[str, Shape] | None:
    try:
        declared = {s.tensor: len(s.dims) for s in program.shapes}
        count = {n: declared.get(n, _rank(n, accesses, given)) for n in program.inputs}
        expanded = ranks.expand(program, count)
        places = [a for s in expanded.statements for a in accesses_of(s)]
        order = dict.fromkeys(i for a in places if a.tensor in count for s in a.subscripts for i in _indices(s))
        drawn = random.Random(0)
        for k in range(_TRIES if len(expanded.statements) <= _MOST else 1):
            extents = {i: 2 + n if k == 0 else drawn.randint(1, 6) for n, i in enumerate(order)} | _ranges(expanded)
            found = _as_expected(_shapes(expanded, places, given, extents, count), expected)
            if all(found[n] == shape for n, shape in given.items()) and _runs(expanded, found):
                return found
    except (IndexLangError, RecursionError):
        return None
    return None


def _ranges(program: Program) -> dict[str, int]:
    """How far indices run by numbers behind `where`."""
    ends = ((r.index, r.hi) for s in program.statements for r in s.domain.ranges)
    return {i: hi.value for i, hi in ends if isinstance(hi, Const) and isinstance(hi.value, int)}


def _as_expected(found: Mapping[str, Shape], expected: Forms) -> dict[str, Shape]:
    """The shapes, with those sizes that others say."""
    shapes = dict(found)
    for name in sorted(expected.keys() & shapes.keys(), key=len):
        for axis, form in expected[name].items():
            with suppress(KeyError, IndexError, ZeroDivisionError, ValueError):  # sizes that data say
                shapes[name] = (*shapes[name][:axis], max(0, form.value(shapes)), *shapes[name][axis + 1 :])
    return shapes


def _runs(program: Program, found: Mapping[str, Shape]) -> bool:
    try:
        return not shapes.infer(program, found).warnings
    except IndexLangError:
        return False


def _rank(tensor: str, accesses: Sequence[Access], given: Mapping[str, Shape]) -> int:
    """How many axes a tensor has; for `...` as many as those that are given tell, else two."""
    if tensor in given:
        return len(given[tensor])
    mine = [a.subscripts for a in accesses if a.tensor == tensor]
    plain = next((s for s in mine if Dots() not in s), None)
    if plain is not None:
        return len(plain)
    dotted = (a for a in accesses if a.tensor in given and Dots() in a.subscripts)
    spread = next((len(given[a.tensor]) - len(a.subscripts) + 1 for a in dotted), 2)
    return max(0, spread - 1 + max((len(s) for s in mine), default=1))


def _indices(subscript: Subscript) -> Iterator[str]:
    match subscript:
        case Index(name=name):
            yield name
        case Merged(indices=names):
            yield from names
        case Boundary(expr=expr):
            yield from Affine.from_expr(expr).indices
        case Dots():
            pass
        case expr:
            yield from Affine.from_expr(expr).indices


def _shapes(
    program: Program,
    places: Sequence[Access],
    given: Mapping[str, Shape],
    extents: dict[str, int],
    count: Mapping[str, int],
) -> dict[str, Shape]:
    """A shape for each input, as large as the indices reach; what the program declares goes before."""
    for access in places:
        for axis, subscript in enumerate(access.subscripts):
            if isinstance(subscript, Index) and access.tensor in given and axis < len(given[access.tensor]):
                extents[subscript.name] = given[access.tensor][axis]
    declared = {s.tensor: s.dims for s in program.shapes}
    given = {**_alike(program, given, declared), **given}
    known: dict[str, Shape] = {}
    for tensor in program.inputs:
        reached = [1] * count[tensor]
        for access in (a for a in places if a.tensor == tensor and len(a.subscripts) == count[tensor]):
            reached = [max(n, _reach(s, extents, known)) for n, s in zip(reached, access.subscripts, strict=True)]
        known[tensor] = given.get(tensor, tuple(reached))
        for axis, dim in enumerate(declared.get(tensor, ())):
            if tensor not in given:
                known[tensor] = _declared(Affine.from_expr(dim), tensor, axis, known)
    return {**known, **_alike(program, known, declared), **given}


def _alike(program: Program, known: Mapping[str, Shape], declared: Collection[str]) -> dict[str, Shape]:
    """The shapes that gradients and tangents have from tensors of `known`, or these from them; a declared one stays."""
    derived = [(n, p) for n in sorted(program.inputs, key=len) if (p := _origin(n, program.inputs)) is not None]
    found: dict[str, Shape] = {}
    for name, primal in reversed(derived):
        if name in known:
            found.setdefault(primal, known[name])
    found |= known
    for name, primal in derived:
        if primal in found and name not in declared:
            found[name] = found[primal]
    return {n: shape for n, shape in found.items() if n not in known or n in dict(derived)}


def _origin(name: str, inputs: Sequence[str]) -> str | None:
    """The input that a gradient or a tangent is of, or what it is of is: `x` for `x.grad.grad`."""
    primal = primal_of(name)
    return primal if primal is None or primal in inputs else _origin(primal, inputs)


def _declared(form: Affine, tensor: str, axis: int, known: Mapping[str, Shape]) -> Shape:
    """The shape with the size that is declared for an axis; of its own size the next that the declaration admits."""
    shape = known[tensor]
    for size in range(shape[axis], shape[axis] + 64):
        tried = (*shape[:axis], size, *shape[axis + 1 :])
        try:
            wanted = form.value({**known, tensor: tried})
        except (KeyError, IndexError, ZeroDivisionError, ValueError):
            return shape
        if wanted == size:
            return tried
        if not any(isinstance(p, Size) and p.tensor == tensor for atom, _ in form.terms for p in walk(atom)):
            return (*shape[:axis], wanted, *shape[axis + 1 :])
    return shape


def _reach(subscript: Subscript, extents: Mapping[str, int], known: Mapping[str, Shape]) -> int:
    """How many elements an axis has that a subscript just does not leave; what data say may be anything."""
    match subscript:
        case Index(name=name):
            return extents.get(name, 1)
        case Merged(indices=names):
            product = 1
            for name in names:
                product *= extents.get(name, 1)
            return product
        case Boundary(kind="pad", expr=expr, lo=lo, hi=hi):
            less = sum(_value(w, {}, known) for w in (lo, hi) if w is not None)
            return max(1, 1 + _value(expr, extents, known) - less)
        case Boundary() | Dots():
            return 3
        case expr:
            return max(1, 1 + _value(expr, extents, known))


def _value(expr: Expr, extents: Mapping[str, int], known: Mapping[str, Shape]) -> int:
    try:
        return Affine.from_expr(expr).value(known, {i: n - 1 for i, n in extents.items()})
    except (KeyError, IndexError, ZeroDivisionError, ValueError):
        return 4
