"""A program cut in two at what the caller gives last: the forward part, and the part that waits for cotangents.

In: a program with inputs and outputs of both kinds. Out: two programs; the tensors that the second needs
of the first are outputs of the first and inputs of the second.

A tensor of which the second part needs only the shape is not kept. The powers under a logsumexp that the second part
reads are kept by the first, which has just computed them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from ..errors import NAMED, DerivationError, within_depth
from ..program.blocks import has_blocks, numbered
from ..program.ir import (
    Access,
    Call,
    Dots,
    Expr,
    Index,
    Program,
    Reduce,
    Shape,
    Size,
    Statement,
    Subscript,
    accesses_of,
    parts_of,
    primal_of,
    reads_of,
    reductions_of,
    statement,
    walk,
)
from ..program.names import Fresh
from ..program.rebuild import transform_expr
from ..ranges.solve import attempt
from .others import others_of


def mentioned(statements: Iterable[Statement], declared: Collection[str]) -> dict[str, None]:
    """The tensors whose values or shapes the statements need, `x` for a gradient `x.grad` of no declared shape too."""
    found: dict[str, None] = {}
    for stmt in statements:
        for part in parts_of(stmt):
            match part:
                case Access(tensor=tensor) | Size(tensor=tensor):
                    found[tensor] = None
                case _:
                    pass
        primal = primal_of(stmt.target.tensor)
        if primal is not None and stmt.target.tensor not in declared:
            found[primal] = None
    return found


@within_depth(DerivationError, NAMED)
def split(program: Program, late: Sequence[str]) -> tuple[Program, Program, tuple[str, ...]]:
    """The part that needs none of the inputs `late`, the rest, and the names of what the rest needs of the first.

    The outputs of the program are outputs of the part that defines them.
    """
    waiting, before = set(late), -1
    while len(waiting) > before:  # a tensor waits if any of its statements does, a later one of its block perhaps
        before = len(waiting)
        waiting |= {s.target.tensor for s in program.statements if not waiting.isdisjoint(_read(s))}
    waiting |= _made_late(program, waiting)
    if not has_blocks(program):  # which keep their statements side by side
        program = _keep_powers(program, waiting)
    first = tuple(s for s in program.statements if s.target.tensor not in waiting)
    second = tuple(s for s in program.statements if s.target.tensor in waiting)
    made = {s.target.tensor for s in first}
    program = _declare(program, second, made)
    needed = mentioned(second, {s.tensor for s in program.shapes})
    for shape in program.shapes:
        if shape.tensor in waiting or _is_shaped(shape, needed):
            needed.update((p.tensor, None) for d in shape.dims for p in walk(d) if isinstance(p, Size))
    kept = tuple(n for n in needed if n in made)
    outputs = tuple(o for o in program.outputs if o in made)
    forward = _part(program, first, (*outputs, *(k for k in kept if k not in outputs)), "forward")
    backward = _part(program, second, tuple(o for o in program.outputs if o in waiting), "backward")
    return forward, backward, kept


def _made_late(program: Program, waiting: Collection[str]) -> set[str]:
    """The products of all others up to a bound that only the second part reads: it makes them as it goes along."""
    made = [s.target.tensor for s in program.statements]
    found = {t for s in program.statements if (t := s.target.tensor) not in waiting and others_of(s) is not None}
    early = {t for s in program.statements if s.target.tensor not in waiting for t in reads_of(s)}
    return {t for t in found if made.count(t) == 1 and t not in early and t not in program.outputs}


def _declare(program: Program, second: Sequence[Statement], made: Collection[str]) -> Program:
    """The program with shapes declared for gradients of tensors that the second part needs for nothing else."""
    declared = {s.tensor for s in program.shapes}
    named = {p.tensor for s in second for p in parts_of(s) if isinstance(p, Access | Size)}
    wanted = {s.target.tensor: primal_of(s.target.tensor) for s in second if s.target.tensor not in declared}
    wanted = {gradient: primal for gradient, primal in wanted.items() if primal in made and primal not in named}
    if not wanted or any(isinstance(p, Dots) for s in program.statements for p in parts_of(s)):
        return program
    solution = attempt(program)
    if solution.problems:
        return program
    found = [Shape(gradient, solution.shape(primal)) for gradient, primal in wanted.items() if primal is not None]
    sizes = {s: {p.tensor for d in s.dims for p in walk(d) if isinstance(p, Size)} for s in found}
    return replace(program, shapes=(*program.shapes, *(s for s in found if sizes[s] <= set(program.inputs))))


def _read(stmt: Statement) -> list[str]:
    return [p.tensor for p in accesses_of(stmt) if p is not stmt.target]


def _part(program: Program, statements: tuple[Statement, ...], outputs: tuple[str, ...], name: str) -> Program:
    defined = {s.target.tensor for s in statements}
    needed = mentioned(statements, {s.tensor for s in program.shapes})
    shapes = tuple(
        s
        for s in program.shapes
        if s.tensor in defined or (name == "forward" and s.tensor in program.inputs) or _is_shaped(s, needed)
    )
    for shape in shapes:
        needed[shape.tensor] = None
        needed.update((p.tensor, None) for d in shape.dims for p in walk(d) if isinstance(p, Size))
    there = {*program.inputs, *(s.target.tensor for s in program.statements)}  # not so each tensor of a gradient
    order = dict.fromkeys((*program.inputs, *(n for n in needed if n in there)))
    inputs = tuple(n for n in order if n in needed and n not in defined)
    return Program(inputs, outputs, numbered(statements), shapes, program.dims, name)


def _is_shaped(shape: Shape, needed: Collection[str]) -> bool:
    """Whether a gradient, or a tangent, that is needed has a declared shape, perhaps not its tensor's."""
    return shape.tensor in needed and primal_of(shape.tensor) is not None


def _keep_powers(program: Program, waiting: Collection[str]) -> Program:
    """The program with exp(x - logsumexp(x)) under a name where statements that wait read it: softmax."""
    sums: dict[str, Statement] = {
        s.target.tensor: s
        for s in program.statements
        if isinstance(s.value, Reduce) and s.value.op == "logsumexp" and s.target.tensor not in waiting
    }
    names, made = Fresh.of(program), dict[Expr, Statement]()

    def named(part: Subscript) -> Subscript | None:
        match part:
            case Call(fn="exp", args=(Call(fn="sub", args=(Access() as x, Access(tensor=tensor) as total)),)):
                if tensor not in sums or x.tensor in waiting or not _is_softmax(sums[tensor], x, total):
                    return None
                if part not in made:
                    target = Access(names.fresh(f"softmax_{x.tensor.replace('.', '_')}"), x.subscripts)
                    made[part] = statement(target, "=", part)
                return made[part].target
            case _:
                return None

    statements = [
        replace(s, value=transform_expr(s.value, named)) if s.target.tensor in waiting and not _reduces(s) else s
        for s in program.statements
    ]
    if not made:
        return program
    last = max(k for k, s in enumerate(program.statements) if s.target.tensor in sums)
    return replace(program, statements=(*statements[: last + 1], *made.values(), *statements[last + 1 :]))


def _reduces(stmt: Statement) -> bool:
    return bool(reductions_of(stmt))


def _is_softmax(stmt: Statement, x: Access, total: Access) -> bool:
    """Whether `total` is the logsumexp that `stmt` computes of all elements of `x` beside this one."""
    root = stmt.value
    assert isinstance(root, Reduce)
    masked = root.domain.masks or root.domain.ranges or stmt.domain.masks or stmt.domain.ranges
    if masked or not isinstance(root.body, Access) or root.body.tensor != x.tensor:
        return False
    plain = all(isinstance(s, Index) for a in (x, total, root.body, stmt.target) for s in a.subscripts)
    if not plain or len(set(x.subscripts)) < len(x.subscripts):
        return False
    here = dict(zip(stmt.target.subscripts, total.subscripts, strict=True))
    pairs = list(zip(root.body.subscripts, x.subscripts, strict=True))
    free = [(s, t) for s, t in pairs if s in here]
    return len(free) == len(here) and all(here[s] == t for s, t in free)
