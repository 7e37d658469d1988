"""Program to an equal Program that says it shorter: small named rules, one after the other.

In: a Program, usually a forward one with its derived statements. Out: a Program with the same inputs, outputs and
values up to rounding. The one rule: no rule asks for a size, and what an author wrote stays as it is; only derived
statements are simplified, and elsewhere only a value that is named already, or used twice, takes its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from ..program.algebra import join_powers, power, product
from ..program.facts import kept
from ..program.ir import (
    Access,
    Call,
    Const,
    Dots,
    Expr,
    Index,
    Program,
    Shape,
    Size,
    Statement,
    Subscript,
    parts_of_domain,
    primal_of,
    reads_of,
    sizes_of,
    tensors_in,
    walk,
)
from ..program.names import Renaming, anonymous
from ..program.rebuild import transform_expr, transform_statement, with_value
from .common_parts import name_common_parts
from .factor import factor_contributions
from .quotients import read_quotients
from .signs import Signs
from .simplify import simplify, simplify_statement

Rule = Callable[[Program, frozenset[str]], Program]


def optimize(program: Program, floats: Collection[str] = ()) -> Program:
    """The program after all rules.

    `floats` names tensors that are floating-point for certain, besides those that have gradients in the program: a
    function's value at an integer tensor is not shared, because its type depends on what stands beside it.
    """
    named = {s.target.tensor for s in program.statements}
    for rule in RULES:
        program = rule(program, frozenset(floats))
    return read_once(program, named)


def simplify_derived(program: Program, floats: frozenset[str]) -> Program:
    """The algebra of `simplify`, for the statements that accumulate gradients."""
    signs = Signs(program)
    derived = (_joined(simplify_statement(s), signs) if _is_derived(s) else s for s in program.statements)
    return _with(program, derived)


def _joined(stmt: Statement, signs: Signs) -> Statement:
    """The statement with roots of one value joined, as far as its sign is known: 1 / x**0.25 / x**0.75 as 1 / x."""
    if not _repeats_a_base(stmt.value):
        return stmt
    parts = product(stmt.value)
    factors, divisors = join_powers(parts.factors, parts.divisors, signs.positive, signs.not_negative)
    if len(factors) + len(divisors) == len(parts.factors) + len(parts.divisors):
        return stmt
    return replace(stmt, value=replace(parts, factors=tuple(factors), divisors=tuple(divisors)).expr())


@kept
def _repeats_a_base(value: Expr) -> bool:
    """Whether powers of one base stand in a product."""
    parts = product(value)
    bases = [power(part)[0] for part in (*parts.factors, *parts.divisors)]
    return len(set(bases)) < len(bases)


def merge_twins(program: Program, floats: frozenset[str]) -> Program:
    """Equal contributions to one gradient become one, times their number."""
    counted: dict[object, tuple[Statement, int]] = {}
    for number, stmt in enumerate(program.statements):
        key = _contribution(stmt) if _is_derived(stmt) and stmt.op == "+=" else number
        first, count = counted.get(key, (stmt, 0))
        counted[key] = first, count + 1
    return _with(program, (s if n == 1 else _times(n, s) for s, n in counted.values()))


def share_definitions(program: Program, floats: frozenset[str]) -> Program:
    """Two tensors with the same single statement become one, the first, if only the program knows the second."""
    declared = {s.tensor for s in program.shapes}
    visible = {*program.inputs, *program.outputs}
    primals = {primal_of(s.target.tensor) for s in program.statements}
    single = _single(program.statements)
    names: dict[str, str] = {}
    firsts: dict[object, str] = {}
    kept = []
    for old in program.statements:
        stmt = old if names.keys().isdisjoint(tensors_in(old)) else Renaming(names).statement(old)
        name = stmt.target.tensor
        if name in single and name not in declared and primal_of(name) is None:
            first = firsts.setdefault(anonymous(stmt), name)
            if first != name and name not in visible and name not in primals:
                names[name] = first
                continue
        kept.append(stmt)
    return _with(replace(program, shapes=tuple(_renamed(s, names) for s in program.shapes)), kept)


def _renamed(shape: Shape, names: Mapping[str, str]) -> Shape:
    """A declared shape whose sizes are those of tensors by their new names."""

    def rule(part: Subscript) -> Subscript | None:
        return replace(part, tensor=names[part.tensor]) if isinstance(part, Size) and part.tensor in names else None

    return replace(shape, dims=tuple(transform_expr(d, rule) for d in shape.dims)) if names else shape


def skip_aliases(program: Program, floats: frozenset[str]) -> Program:
    """A gradient that only repeats another tensor, axis by axis, is read from there."""
    single = _single(program.statements)
    bound = {*program.outputs, *(s.tensor for s in program.shapes)}
    for stmt in program.statements:
        bound.update(p.tensor for p in sizes_of(stmt))
        bound.add(primal_of(stmt.target.tensor) or "")
    aliases: dict[str, Statement] = {}
    kept = []
    for old in program.statements:
        stmt = _redirected(old, aliases)
        name = stmt.target.tensor
        if _is_derived(stmt) and name in single and name not in bound and _repeats(stmt):
            aliases[name] = stmt
        else:
            kept.append(stmt)
    return _with(program, kept)


def drop_dead(program: Program, floats: frozenset[str]) -> Program:
    """Statements go whose tensor no output needs, neither for its values nor for its shape."""
    needed = set(program.outputs)
    declared = {s.tensor: [p.tensor for d in s.dims for p in walk(d) if isinstance(p, Size)] for s in program.shapes}
    left, kept = list(enumerate(program.statements))[::-1], []
    while any(s.target.tensor in needed for _, s in left):  # again where a size is asked for in front of its statement
        dead = []
        for k, stmt in left:
            if stmt.target.tensor in needed:
                kept.append((k, stmt))
                needed.update(declared.get(stmt.target.tensor, ()))
                needed.update(reads_of(stmt))
                needed.update(p.tensor for p in sizes_of(stmt))
                needed.add(primal_of(stmt.target.tensor) or "")
            else:
                dead.append((k, stmt))
        left = dead
    return _with(program, (stmt for _, stmt in sorted(kept, key=lambda pair: pair[0])))


def read_once(program: Program, named: Collection[str]) -> Program:
    """A name that the rules above gave and that is read once in the end goes: its part stands where it is read."""
    kept = {*named, *program.outputs}
    made = {s.target.tensor: s for s in program.statements if s.target.tensor not in kept}
    count: Counter[str] = Counter()
    for stmt in program.statements if made else ():
        if not made.keys().isdisjoint(tensors_in(stmt)):
            nodes = (n for root in (stmt.target, stmt.value, *parts_of_domain(stmt.domain)) for n in walk(root))
            count.update(n.tensor for n in nodes if isinstance(n, Access | Size))
    made = {t: s for t, s in made.items() if count[t] == 2}  # its target, and one read
    statements: list[Statement] = []
    for stmt in program.statements:
        if stmt.target.tensor in made:
            made[stmt.target.tensor] = _in_place(stmt, made)
        statements.append(_in_place(stmt, made))
    read = {t for s in statements if s.target.tensor not in made for t in reads_of(s)}
    return _with(program, (s for s in statements if s.target.tensor not in made or s.target.tensor in read))


def _in_place(stmt: Statement, made: dict[str, Statement]) -> Statement:
    """The statement with the parts of names that are read over just its own indices in place of them."""

    def rule(part: Subscript) -> Subscript | None:
        if not isinstance(part, Access) or part.tensor not in made:
            return None
        source = made[part.tensor]
        axes = dict(zip(source.target.subscripts, part.subscripts, strict=True))
        plain = all(isinstance(s, Index) for s in part.subscripts) and len(set(part.subscripts)) == len(part.subscripts)
        if not plain or {s.name for s in part.subscripts if isinstance(s, Index)} != set(stmt.domain.indices):
            return None
        return transform_expr(source.value, lambda p: axes.get(p) if isinstance(p, Index) else None)

    if made.keys().isdisjoint(reads_of(stmt)):
        return stmt
    return with_value(stmt, transform_expr(stmt.value, rule))


RULES: tuple[Rule, ...] = (
    simplify_derived,
    merge_twins,
    share_definitions,
    name_common_parts,
    share_definitions,
    skip_aliases,
    read_quotients,
    simplify_derived,
    merge_twins,
    factor_contributions,
    drop_dead,
)


def _with(program: Program, statements: Iterable[Statement]) -> Program:
    return replace(program, statements=tuple(statements))


def _is_derived(stmt: Statement) -> bool:
    """Whether a gradient is the target; its values are floating-point, as only such tensors have gradients."""
    return primal_of(stmt.target.tensor) is not None


def _single(statements: tuple[Statement, ...]) -> set[str]:
    """The tensors that one statement makes."""
    return {name for name, count in Counter(s.target.tensor for s in statements).items() if count == 1}


@kept
def _contribution(stmt: Statement) -> object:
    """What tells contributions apart: not the order of the factors."""
    parts = product(stmt.value)
    factors, divisors = (frozenset(Counter(many).items()) for many in (parts.factors, parts.divisors))
    domain = frozenset(stmt.domain.indices), frozenset(stmt.domain.ranges), frozenset(stmt.domain.masks)
    return stmt.target, parts.number / parts.divisor, factors, divisors, domain, stmt.block


def _times(count: int, stmt: Statement) -> Statement:
    return replace(stmt, value=simplify(Call("mul", (Const(count), stmt.value))))


def _repeats(stmt: Statement) -> bool:
    """Whether a statement copies one tensor, each element to one place: equal shapes up to the order of axes."""
    source, target = stmt.value, stmt.target
    plain = source.subscripts if isinstance(source, Access) else ()
    return (
        isinstance(source, Access)
        and stmt.op in ("=", "+=")
        and not stmt.domain.ranges
        and not stmt.domain.masks
        and all(isinstance(s, Index) or (isinstance(s, Dots) and plain == target.subscripts) for s in plain)
        and len(set(plain)) == len(plain)
        and Counter(plain) == Counter(target.subscripts)
    )


def _redirected(stmt: Statement, aliases: dict[str, Statement]) -> Statement:
    """The statement with reads of aliases turned into reads of what they repeat."""

    def rule(part: Subscript) -> Subscript | None:
        if not isinstance(part, Access) or part.tensor not in aliases:
            return None
        alias = aliases[part.tensor]
        assert isinstance(alias.value, Access)
        if alias.target.subscripts == alias.value.subscripts:
            return replace(part, tensor=alias.value.tensor)
        axes = dict(zip(alias.target.subscripts, part.subscripts, strict=True))
        return replace(part, tensor=alias.value.tensor, subscripts=tuple(axes[s] for s in alias.value.subscripts))

    return stmt if aliases.keys().isdisjoint(reads_of(stmt)) else transform_statement(stmt, rule)
