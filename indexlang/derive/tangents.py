"""Forward mode: beside each statement, the statements of its tangent, as a Program.

In: a Program. Out: the Program of its tangents: inputs are its own inputs and `x.dot` for each input asked for, outputs
`y.dot` for each output that depends on them. The one rule, for each occurrence of a tensor on the right: the occurrence
and the target get ".dot", the rest of the statement is the partial derivative, and the domain stays.

    y[b,o] = W[o,i] * x[b,i]            y.dot[b,o] += W.dot[o,i] * x[b,i]
                                        y.dot[b,o] += x.dot[b,i] * W[o,i]

Who wins a maximum, which branch is taken and what a mask refuses is as for gradients. The tangents of a tensor stand
behind all of its statements, as they may read it. In a block each stands behind its own statement, at the same steps,
where an element is whole by then; where one is not, the tangents are blocks of their own behind all statements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ..collecting import uncollected
from ..errors import NAMED, DerivationError, Problem, within_depth
from ..meaning.report import nearest
from ..program.affine import size
from ..program.algebra import product_of
from ..program.blocks import again, numbered, with_ranges
from ..program.conditions import as_mask, guard_of
from ..program.ir import (
    TANGENT,
    Access,
    Boundary,
    Call,
    Const,
    Expr,
    Program,
    Reduce,
    Shape,
    Size,
    Statement,
    Subscript,
    blocks_of,
    indices_of,
    is_tangent,
    parts_of,
    primal_of,
    statement,
    steps_of,
    tensors_in,
)
from ..program.measure import nodes
from ..program.names import Fresh, counted, free, is_plain
from ..program.rebuild import transform_expr, transform_statement
from ..program.signs import NO_NUMBER
from ..ranges.inherit import inherit
from ..ranges.solve import solve
from ..ranges.statements import Bound
from ..rewrite.hoist import hoist_in_order
from ..rewrite.lifted import arranged
from ..rewrite.optimize import optimize
from ..rewrite.scoped import embedded
from ..rewrite.substitution import linear
from ..rewrite.unnamed import read_through
from ..size_limits import MOST_DERIVED, MOST_GROWTH
from . import reductions
from .contributions import Contribution, contributions, is_set_once, with_cotangent
from .dependencies import dependencies, depending, reaching
from .interfaces import interfaced, named_tensors
from .parts import as_before, part_of, unread
from .poles import Poles
from .reductions import separated, without_values
from .shortened import shortened

Bounds = Mapping[str, Bound]
_PLACE = Access("")  # stands for the tangent of an occurrence, while the factors beside it are found


def tangent_names(program: Program) -> dict[str, str]:
    """The name of each tensor's tangent: `x.dot`, with a number where the program has a tensor of that name."""
    tensors = named_tensors(program)
    taken = {*tensors, *(p for t in tensors if (p := primal_of(t)) is not None)}
    names: dict[str, str] = {}
    for tensor in tensors:
        names[tensor] = free(counted(f"{tensor}.{TANGENT}"), taken)
    return names


@uncollected
@within_depth(DerivationError, NAMED)
def forward(program: Program, wrt: Sequence[str] | None = None, values: Sequence[str] = ()) -> Program:
    """The program of the tangents along `wrt` (along all inputs that have derivatives).

    With `values` it gives these tensors, too, in front. Errors: `DerivationError`, if no output depends on an input.
    """
    return _Derivation(program, wrt).program(values)


@within_depth(DerivationError, NAMED)
def tangents(program: Program, wrt: Sequence[str] | None = None) -> Program:
    """The statements of the tangents alone: the tensors of the forward statements that they need are inputs."""
    derivation = _Derivation(program, wrt)
    whole = derivation.program(())
    named = {derivation.names[t] for t in derivation.active}
    inside = {s.target.tensor for s in derivation.flat.statements}
    alone = [k for k, s in enumerate(whole.statements) if s.target.tensor not in inside]
    part = part_of(whole, alone, {s.target.tensor for s in whole.statements if s.target.tensor in named})
    return interfaced(program, part, (*whole.inputs, *sorted(inside)), TANGENT)


class _Derivation:
    """One derivation: the forward program in the form that is differentiated, and what has come of it so far."""

    def __init__(self, program: Program, wrt: Sequence[str] | None) -> None:
        self.original = program
        self.flat = separated(hoist_in_order(program))
        self.names = {**tangent_names(self.flat), **tangent_names(program)}
        self.fresh = Fresh.of(self.flat)
        self.fresh.taken.update(self.names.values())
        known = dependencies(self.flat)
        reached = reaching(known, self.flat.outputs)
        self.wrt = tuple(n for n in program.inputs if n in reached) if wrt is None else tuple(dict.fromkeys(wrt))
        self.check(reached)
        moving = depending(known, self.wrt)
        self.outputs = tuple(o for o in program.outputs if o in moving)
        self.solution = solve(self.flat)
        found = shortened(self.flat, self.solution, (), {}, self.outputs)
        self.centred = found.centred
        self.active = depending(found.known, self.wrt) & found.reached
        self.wrt = tuple(n for n in self.wrt if n in self.active)
        self.poles = Poles(self.flat)
        self.numbers: dict[str, list[int]] = {}
        for k, stmt in enumerate(self.flat.statements):
            self.numbers.setdefault(stmt.target.tensor, []).append(k)
        self.stepwise = {s.target.tensor for s in self.flat.statements if s.block is not None}
        self.beside = True
        self.statements: list[Statement] = []
        self.bounds: list[Bounds | None] = []
        self.shapes: list[Shape] = []
        self.most = MOST_DERIVED + MOST_GROWTH * sum(nodes(s.value) for s in self.flat.statements)
        self.left = self.most  # nodes

    def check(self, reached: set[str]) -> None:
        problems = []
        known = ", ".join(n for n in self.original.inputs if n in reached) or "none"
        values = (f"inputs with derivatives: {known}",)
        for name in self.wrt:
            if name not in self.original.inputs:
                way = nearest(name, self.original.inputs) or f"leave '{name}' out of wrt"
                problems.append(Problem("no-gradient", f"'{name}' is no input", None, values, way))
            elif name not in reached:
                rule = f"nothing moves with '{name}': no output depends on it but through derivatives that are zero"
                problems.append(Problem("no-gradient", rule, None, values, f"leave '{name}' out of wrt"))
        if not self.wrt:
            rule = "nothing has a tangent here: no output depends on an input but through derivatives that are zero"
            way = "let an output depend on an input by more than positions, comparisons, and functions like floor"
            problems.append(Problem("no-gradient", rule, way_out=way))
        if problems:
            raise DerivationError(*problems)

    def program(self, values: Sequence[str]) -> Program:
        self.beside = not any(self.is_late(t) for t in self.stepwise & self.active)
        for k, stmt in enumerate(self.flat.statements):
            steps = {i: self.solution.bounds[k][i] for i in steps_of(stmt)}
            self.statements.append(stmt)
            self.bounds.append(steps or None)
            if self.beside:
                self.derive_behind(k)
        if not self.beside:
            self.derive_last()
        whole = replace(
            self.flat,
            inputs=(*self.flat.inputs, *(self.names[n] for n in self.wrt)),
            outputs=(*values, *(self.names[o] for o in self.outputs)),
            statements=tuple(self.statements),
            shapes=(*self.flat.shapes, *self.shapes),
        )
        whole = inherit(whole, self.bounds, steps=True)
        whole = replace(whole, statements=with_ranges(whole.statements))
        named = named_tensors(self.original)
        whole = read_through(whole, {d for t, d in self.names.items() if t not in named})
        return self.finished(optimize(whole, tuple(self.active)))

    def finished(self, whole: Program) -> Program:
        """The program without forward statements that nothing reads; sizes of inputs are told by what is left."""
        inside = {s.target.tensor for s in self.flat.statements}
        derived = {s.target.tensor for s in whole.statements if s.target.tensor not in inside}
        numbers = unread(whole, {self.names[t] for t in self.active})
        stmts = [whole.statements[k] for k in numbers]
        read = {p.tensor for s in stmts for p in parts_of(s) if isinstance(p, Access)}
        shaping = {primal_of(s.target.tensor) for s in stmts if not is_tangent(s.target.tensor)}
        sized = {n: self.names[n] for n in self.wrt if n not in read | shaping and self.names[n] in read}
        part = part_of(whole, numbers, derived, sized)
        part = replace(part, statements=numbered(with_ranges(part.statements)))
        part = as_before(part, self.flat, self.solution)
        given = (*self.flat.inputs, *(self.names[n] for n in self.wrt))
        return embedded(interfaced(self.original, part, given, TANGENT))

    # -- statements ------------------------------------------------------------------------------------

    def is_late(self, tensor: str) -> bool:
        """Whether the tangents of what blocks make may need an element that is not whole behind its statement."""
        group = [self.flat.statements[k] for k in self.numbers[tensor]]
        first = group[0]
        if self.is_sum(first):
            return False
        steps = {*steps_of(first)}
        places = {tuple((a, s) for a, s in enumerate(g.target.subscripts) if steps & {*indices_of(s)}) for g in group}
        forms = [form for _, s in next(iter(places)) if (form := linear(s)) is not None]
        told = {i for form in forms for i in form.indices if len(form.indices) == 1}  # the step, by a position alone
        return {g.block for g in group} != {first.block} or len(places) > 1 or not steps <= told

    def is_sum(self, stmt: Statement) -> bool:
        """Whether the tangent of a statement is about it alone."""
        extremum = isinstance(stmt.value, Reduce) and stmt.value.op in ("max", "min")
        return stmt.op in ("=", "+=") and not extremum

    def derive_last(self) -> None:
        """All tangents behind all statements, in their order, blocks as short as they can be."""
        first = len(self.statements)
        chosen: dict[int, tuple[tuple[Expr, ...], Expr | None]] = {}
        for tensor, numbers in self.numbers.items():
            if tensor in self.active:
                chosen |= dict(zip(numbers, self.prepare(tensor), strict=True))
        for k in sorted(chosen):
            self.statement(k, *chosen[k])
        order = arranged(self.statements[first:])
        self.bounds[first:] = [self.bounds[first + k] for k, _ in order]
        self.statements[first:] = [stmt for _, stmt in order]

    def derive_behind(self, k: int) -> None:
        """The tangents that stand behind statement k."""
        stmt = self.flat.statements[k]
        tensor = stmt.target.tensor
        if tensor not in self.active:
            return
        if tensor in self.stepwise and self.is_sum(stmt):
            self.statement(k, (), None)
        elif self.numbers[tensor][-1] == k:
            self.derive(tensor)

    def derive(self, tensor: str) -> None:
        """The tangent of a tensor that has all its statements."""
        for k, (winner, others) in zip(self.numbers[tensor], self.prepare(tensor), strict=True):
            self.statement(k, winner, others)

    def prepare(self, tensor: str) -> list[tuple[tuple[Expr, ...], Expr | None]]:
        """What the tangents of a maximum or a product need; of each statement its winner, and its other factors."""
        group = [(self.flat.statements[k], self.solution.bounds[k]) for k in self.numbers[tensor]]
        first, name = group[0][0], self.names[tensor]
        if self.is_sum(first):
            return [((), None) for _ in group]
        if first.op == "*=":
            found = reductions.product(group, name, self.fresh)
        else:
            found = reductions.extremum(group, name, self.fresh, len(first.target.subscripts))
        for stmt, bounds in found.statements:
            self.add(stmt, bounds)
        self.shapes += found.shapes
        return [(a.masks, a.factor.args[1] if isinstance(a.factor, Call) else None) for a in found.adjoints]

    def statement(self, k: int, winner: tuple[Expr, ...], others: Expr | None) -> None:
        """One statement for each occurrence, in statement k, of a tensor that has a tangent."""
        stmt, bounds = self.flat.statements[k], self.solution.bounds[k]
        single = len(self.numbers[stmt.target.tensor]) == 1 and stmt.op in ("=", "+=") and is_plain(stmt.target)
        holds = (single or (is_set_once(stmt, self.flat.statements) and self.is_whole(k))) and not stmt.reduced
        holds = holds and not any(guard_of(m, stmt) for m in stmt.domain.masks)
        root = isinstance(stmt.value, Reduce) and stmt.value.op == "logsumexp"
        ranges = stmt.domain.ranges
        if isinstance(stmt.value, Reduce):
            ranges = (*ranges, *stmt.value.domain.ranges)
        target = without_values(replace(stmt.target, tensor=self.names[stmt.target.tensor]))
        zero = self.centred.get(k, frozenset())
        place = _PLACE if others is None else product_of([_PLACE, others])
        for part in contributions(stmt.value, place, winner, stmt.target if holds or root else None):
            if part.access.tensor in self.active and part.access.tensor not in zero:
                moved = self.moved(part)
                masks = (*with_cotangent(stmt, moved[0], moved[1]), *moved[0].masks)
                masks = (*masks, *self.inside(stmt, part))
                made = statement(
                    target, "+=", moved[0].factor, ranges, tuple(dict.fromkeys(masks)), stmt.span, stmt.block
                )
                self.check_size(made)
                self.add(made, bounds)

    def is_whole(self, k: int) -> bool:
        """Whether what a statement makes may be read where its tangent stands: no line behind it sets others of it."""
        number = self.numbers[self.flat.statements[k].target.tensor]
        blocks = blocks_of(self.flat.statements[k])[:1]
        return not self.beside or not any(blocks_of(self.flat.statements[n])[:1] == blocks for n in number if n > k)

    def moved(self, part: Contribution) -> tuple[Contribution, Access]:
        """A contribution with the tangent of its access in its place, and that tangent: 0 in a padding."""
        dot = without_values(replace(part.access, tensor=self.names[part.access.tensor]))
        factor = transform_expr(part.factor, lambda p: dot if p is _PLACE or p == _PLACE else None)
        return replace(part, factor=factor), dot

    def inside(self, stmt: Statement, part: Contribution) -> Iterator[Expr]:
        """That a position is no padding, where a number of the text would meet an infinite slope there."""
        padded = [(k, s) for k, s in enumerate(part.access.subscripts) if isinstance(s, Boundary) and s.kind == "pad"]
        slopes = self.poles.slopes(stmt)
        if not padded or not slopes(part.factor, part.masks) & NO_NUMBER:
            return
        for axis, s in padded:
            low = Const(0) if s.lo is None else s.lo
            yield as_mask(Call("ge", (s.expr, low)))
            end: Expr = Size(part.access.tensor, axis)
            yield as_mask(Call("lt", (s.expr, end if low == Const(0) else Call("add", (end, low)))))

    def check_size(self, made: Statement) -> None:
        """What is derived stays in proportion to what it is derived from. Errors: `DerivationError`."""
        self.left -= nodes(made.value) + sum(map(nodes, made.domain.masks))
        if self.left < 0:
            rule = "the tangent of the program becomes too large: that of this statement, above all"
            values = (f"more than {self.most} numbers, names and operations",)
            way = "name parts of it in statements of their own, whose derivatives are products"
            raise DerivationError(Problem("too-large", rule, made.span, values, way))

    def add(self, stmt: Statement, bounds: Bounds) -> None:
        """A derived statement; sizes of forward tensors are said by those of the inputs, where that is short."""

        def rule(part: Subscript) -> Subscript | None:
            if isinstance(part, Size) and part.tensor in self.numbers:
                return self.solution.sizes.canonical(size(part.tensor, part.axis)).to_expr()
            return None

        if self.numbers.keys() & {*tensors_in(stmt)}:
            stmt = transform_statement(stmt, rule)
        if stmt.block is not None and not self.beside:
            stmt = replace(stmt, block=again(stmt.block))
        self.statements.append(stmt)
        self.bounds.append(bounds)
