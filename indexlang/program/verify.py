"""Whether a Program is well-formed: a check between passes, not for users.

In: a Program. Out: nothing, or a `ValueError` that says what is wrong where. The one rule: what holds here, each pass
may rely on, and each pass must keep.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from .conditions import is_range, is_static
from .functions import COMBINATIONS, FUNCTIONS
from .interface import is_told
from .ir import (
    DOTS,
    Access,
    Boundary,
    Call,
    Const,
    Domain,
    Dots,
    Expr,
    Index,
    Merged,
    Program,
    Range,
    Reduce,
    Size,
    Statement,
    Subscript,
    accesses_of,
    blocks_of,
    indices_of,
    parts_of,
    reads_of,
    reductions_of,
    sizes_of,
    statement,
    steps_of,
    walk,
)
from .text import expr_text, statement_text

REDUCTIONS = ("sum", "prod", "max", "min", "mean", "logsumexp", "argmax", "argmin")
BOUNDARIES = ("pad", "clamp", "wrap", "reflect")


def verify(program: Program) -> None:
    """Raise ValueError with all that is not as it must be."""
    faults = [*_interface(program), *_definitions(program), *_ranks(program), *_blocks(program)]
    for stmt in program.statements:
        faults += (f"{_shown(stmt)}: {fault}" for fault in _statement(stmt))
    if faults:
        raise ValueError("not a well-formed program:\n  " + "\n  ".join(faults))


def _shown(stmt: Statement) -> str:
    """The statement, which may be too wrong to be printed."""
    try:
        return statement_text(stmt)
    except (KeyError, TypeError, AssertionError):
        return repr(stmt)


# -- the whole program -------------------------------------------------------------------------------


def _interface(program: Program) -> Iterator[str]:
    targets = {s.target.tensor for s in program.statements}
    for what, names in (("input", program.inputs), ("output", program.outputs)):
        yield from (f"the {what} {n} is named twice" for n, k in Counter(names).items() if k > 1)
    for name in program.outputs:
        if name not in targets:
            yield f"nothing defines the output {name}"
    known = targets | set(program.inputs)
    for stmt in program.statements:
        for part in parts_of(stmt):
            if isinstance(part, Access | Size) and part.tensor not in known:
                yield f"{part.tensor} is neither an input nor defined"
    if program.name is None and not is_told(program):
        yield "a program without a name has inputs or outputs that its statements do not tell"
    declared = Counter(s.tensor for s in program.shapes)
    yield from (f"the shape of {t} is declared twice" for t, k in declared.items() if k > 1)
    yield from (f"the shape of {t} is declared, but there is no {t}" for t in declared if t not in known)
    yield from (f"the dim {n} is named twice" for n, k in Counter(n for n, _ in program.dims).items() if k > 1)
    for shape in program.shapes:
        for dim in shape.dims:
            if any(not isinstance(p, Const | Size | Call) for p in walk(dim)):
                yield f"the shape of {shape.tensor} is made of more than sizes: {expr_text(dim)}"


def _definitions(program: Program) -> Iterator[str]:
    first: dict[str, str] = {}
    combined: dict[str, str] = {}
    read: set[str] = set()
    stepwise = {s.target.tensor for s in program.statements if s.block is not None}
    for stmt in program.statements:
        target, op = stmt.target.tensor, stmt.op
        if target in reads_of(stmt) and stmt.block is None:
            yield f"{target} is read by its own statement"
        if op == "=" and ((target in first and target not in stepwise) or target in program.inputs):
            yield f"{target} is set, but it has a value already"
        if target in read and target not in stepwise:
            yield f"{target} is read before its last statement"
        if op != "=" and combined.setdefault(target, op) != op:
            yield f"{target} is combined by {combined[target]} and {op}"
        first.setdefault(target, op)
        read.update(reads_of(stmt))


def _blocks(program: Program) -> Iterator[str]:
    blocks = list(dict.fromkeys(b for s in program.statements for b in blocks_of(s)))
    yield from (f"block {b.number} is number {k}" for k, b in enumerate(blocks) if b.number != k)
    for stmt in program.statements:
        for block in blocks_of(stmt):
            for r in (stmt.domain.range(i) for i in block.indices if i in stmt.domain.indices):
                if r != next((w for w in block.ranges if w.index == r.index), Range(r.index)):
                    yield f"{_shown(stmt)}: its range of {r.index} is not that of its block"
            if not {*block.masks} <= {*stmt.domain.masks}:
                yield f"{_shown(stmt)}: it does not have the conditions of its block"
            if missing := [i for i in block.indices if i not in stmt.domain.indices]:
                yield f"{_shown(stmt)}: it does not have the index {missing[0]} of its block"


def _ranks(program: Program) -> Iterator[str]:
    ranks = {s.tensor: len(s.dims) for s in program.shapes}
    accesses = [p for s in program.statements for p in accesses_of(s)]
    for access in accesses:
        if Dots() not in access.subscripts:
            rank = ranks.setdefault(access.tensor, len(access.subscripts))
            if rank != len(access.subscripts):
                yield f"{access.tensor} has {rank} axes and {len(access.subscripts)} in {expr_text(access)}"
    for access in accesses:
        if access.tensor in ranks and len(access.subscripts) - 1 > ranks[access.tensor]:
            yield f"{access.tensor} has too few axes for {expr_text(access)}"
    sizes = [p for s in program.statements for p in sizes_of(s)]
    sizes += [p for s in program.shapes for d in s.dims for p in walk(d) if isinstance(p, Size)]
    for size in sizes:
        if size.tensor in ranks and not -ranks[size.tensor] <= size.axis < ranks[size.tensor]:
            yield f"{size.tensor} has no axis {size.axis}"


# -- one statement -----------------------------------------------------------------------------------


def _statement(stmt: Statement) -> Iterator[str]:
    if stmt.op not in COMBINATIONS:
        yield f"there is no operator {stmt.op}"
    canonical = statement(stmt.target, stmt.op, stmt.value, stmt.domain.ranges, stmt.domain.masks, None, stmt.block)
    if canonical.domain != stmt.domain:
        yield f"its domain is {stmt.domain.indices}, it should be {canonical.domain.indices}, ranges in that order"
    reductions = reductions_of(stmt)
    names = Counter(stmt.domain.indices)
    for r in dict.fromkeys(reductions):  # one may stand in several places
        names.update(r.domain.indices)
    yield from (f"the index {n} is used twice" for n, k in names.items() if k > 1)
    yield from _domain(stmt.domain, steps_of(stmt))
    tensors = {p.tensor for p in accesses_of(stmt)}
    yield from (f"{n} is an index and a tensor" for n in names if n in tensors)
    for r in reductions:
        yield from _reduction(r)
    for part in parts_of(stmt):
        match part:
            case Call(fn, args) if fn not in FUNCTIONS or len(args) != FUNCTIONS[fn].arity:
                yield f"{fn} is applied to {len(args)} arguments"
            case Call("neg", (Const(),)):
                yield "a negative number is a number"
            case Access(subscripts=subscripts):
                for number, s in enumerate(subscripts):
                    yield from _subscript(s, number in (0, len(subscripts) - 1))
                if sum(isinstance(s, Dots) for s in subscripts) > 1:
                    yield f"two ellipses in {expr_text(part)}"
            case _:
                pass
    if any(isinstance(p, Boundary | Merged | Dots) for root in (stmt.value, *stmt.domain.masks) for p in _values(root)):
        yield "a subscript stands as a value"


def _values(node: Subscript) -> Iterator[Subscript]:
    """The nodes of a value that stand in no subscript."""
    yield node
    match node:
        case Call(args=args):
            for a in args:
                yield from _values(a)
        case Reduce(body=body, domain=domain):
            for part in (body, *domain.masks):
                yield from _values(part)
        case _:
            pass


def _reduction(r: Reduce) -> Iterator[str]:
    if r.op not in REDUCTIONS:
        yield f"there is no reduction {r.op}"
    found = {i for part in (r.body, *r.domain.masks) for i in indices_of(part)}
    for i in r.domain.indices:
        if i not in found and r.domain.range(i).hi is None:
            yield f"{r.op} runs over {i}, which its body does not have"
    order = [i for i in r.domain.indices if any(g.index == i for g in r.domain.ranges)]
    if [g.index for g in r.domain.ranges] != order:
        yield f"the ranges of {r.op} are not in the order of its indices"
    yield from _domain(r.domain)
    for mask in r.domain.masks:
        if not set(indices_of(mask)) & set(r.domain.indices):
            yield f"{expr_text(mask)} is not about the indices of its {r.op}"


def _domain(domain: Domain, steps: Collection[str] = ()) -> Iterator[str]:
    """A condition on a step is a guard: only the line of its block gives it a range."""
    for r in domain.ranges:
        if r.index not in domain.indices:
            yield f"there is a range for {r.index}, which is no index here"
        if r.lo is None and r.hi is None:
            yield f"the range of {r.index} says nothing"
        for bound in (r.lo, r.hi):
            if bound is not None and not _is_size(bound):
                yield f"the range of {r.index} ends at {expr_text(bound)}, which is no size"
    yield from (f"{i} has two ranges" for i, k in Counter(r.index for r in domain.ranges).items() if k > 1)
    for mask in domain.masks:
        if is_range(mask) and not {*indices_of(mask)} & {*steps}:
            yield f"{expr_text(mask)} is a range"


def _is_size(expr: Expr) -> bool:
    """Whether an expression is made of sizes and whole numbers."""
    match expr:
        case Const(value):
            return type(value) is int
        case Size():
            return True
        case Call("add" | "sub" | "mul" | "floordiv" | "mod" | "min" | "max" | "neg", args):
            return all(map(_is_size, args))
        case _:
            return False


def _subscript(s: Subscript, at_the_end: bool) -> Iterator[str]:
    match s:
        case Dots():
            if not at_the_end:
                yield "an ellipsis stands first or last"
        case Merged(indices):
            if len(set(indices)) < len(indices) or DOTS in indices:
                yield f"no merged axis: {expr_text(s)}"
        case Boundary(kind, e, lo, hi, value):
            if kind not in BOUNDARIES or (kind != "pad" and lo is not None) or (lo is None) != (hi is None):
                yield f"no boundary: {expr_text(s)}"
            if not isinstance(value, Const) or not all(b is None or _is_size(b) for b in (lo, hi)):
                yield f"no boundary: {expr_text(s)}"
            if not _is_position(e):
                yield f"{expr_text(e)} is no position"
        case _:
            if not _is_position(s):
                yield f"{expr_text(s)} is no position"


def _is_position(expr: Expr) -> bool:
    match expr:
        case Const(value):
            return type(value) is int
        case Index() | Size() | Access() | Reduce(op="argmax" | "argmin") | Call("int"):
            return True
        case Call("add" | "sub" | "neg", args):
            return all(map(_is_position, args))
        case Call("mul", (a, b)):
            return _is_position(a) and _is_position(b) and (is_static(a) or is_static(b))
        case Call("floordiv" | "mod", (a, b)):
            return _is_position(a) and _is_size(b) and not (isinstance(b, Const) and b.value <= 0)
        case _:
            return _is_size(expr)
