"""The general swap rule: a Program's derived statements, as a Program.

In: a Program. Out: the Program of its gradients: inputs are its own inputs and `y.grad` for each output, outputs
`x.grad` for each input asked for. The one rule, for each occurrence of a tensor on the right: the occurrence and the
target change places, ".grad" is added, the rest of the statement is the partial derivative, and the domain stays
(TTIC 31230, McAllester, "The General Swap Rule").

Statements come in reverse order. What a derived statement needs of the forward pass stands before it; ranges are
inherited, shapes are those of the primals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from ..collecting import uncollected
from ..errors import NAMED, DerivationError, Problem, within_depth
from ..meaning.report import nearest
from ..program.affine import Affine, size
from ..program.blocks import numbered, turned, with_ranges
from ..program.conditions import guard_of
from ..program.ir import (
    DOTS,
    GRAD,
    Access,
    Block,
    Call,
    Const,
    Dots,
    Expr,
    Index,
    Program,
    Reduce,
    Shape,
    Size,
    Statement,
    Subscript,
    blocks_of,
    parts_of,
    primal_of,
    reads_of,
    sizes_of,
    statement,
    walk,
)
from ..program.measure import nodes
from ..program.names import Fresh, counted, free, is_plain, plain
from ..program.rebuild import transform_statement
from ..program.signs import INFINITE
from ..ranges.inherit import inherit
from ..ranges.solve import Solution, solve
from ..ranges.statements import Bound
from ..rewrite.fixed import fix_indices
from ..rewrite.hoist import hoist_in_order
from ..rewrite.lifted import arranged
from ..rewrite.optimize import optimize
from ..rewrite.scoped import embedded
from ..rewrite.unnamed import read_through
from ..size_limits import MOST_DERIVED, MOST_GROWTH
from . import reductions
from .contributions import Contribution, contributions, is_set_once, with_cotangent, without_implied
from .dependencies import accesses, dependencies, depending, reaching
from .interfaces import interfaced, named_tensors
from .parts import as_before
from .poles import Poles
from .reductions import Adjoint, separated, without_values
from .seeds import scalar, seeded
from .shortened import shortened
from .softmax import Softmax, softmaxes

Bounds = Mapping[str, Bound]


def gradient_names(program: Program) -> dict[str, str]:
    """The name of each tensor's gradient: `x.grad`, with a number where the program has a tensor of that name."""
    tensors = named_tensors(program)
    taken = {*tensors, *(p for t in tensors if (p := primal_of(t)) is not None)}
    names: dict[str, str] = {}
    for tensor in tensors:
        names[tensor] = free(counted(f"{tensor}.{GRAD}"), taken)
    return names


@within_depth(DerivationError, NAMED)
def differentiable(program: Program) -> tuple[str, ...]:
    """The inputs that have gradients: some output depends on them otherwise than by a derivative that is zero."""
    reached = with_gradients(program)
    return tuple(n for n in program.inputs if n in reached)


@within_depth(DerivationError, NAMED)
def with_gradients(program: Program) -> frozenset[str]:
    """All tensors on which some output depends otherwise than by a derivative that is zero."""
    flat = separated(hoist_in_order(program))
    return frozenset(reaching(dependencies(flat), flat.outputs))


@uncollected
@within_depth(DerivationError, NAMED)
def backward(
    program: Program,
    wrt: Sequence[str] | None = None,
    values: bool | Sequence[str] = False,
    seed: float | None = None,
) -> Program:
    """The derived program by the tensors `wrt`, inputs or defined ones (by all inputs that have gradients).

    With `values` it gives the outputs too, or the tensors that `values` names. With a `seed` the cotangent of its
    scalar output is that number, and no input.

    Errors: `DerivationError`, if an input has no gradient, or one that the language cannot say.
    """
    return _Derivation(program, wrt).program(values, seed)


@within_depth(DerivationError, NAMED)
def cotangent_shapes(program: Program) -> dict[str, dict[int, Affine]]:
    """The sizes that `y.grad` must have for each output y, by axis, as far as the program alone tells them."""
    names, solution = gradient_names(program), solve(program)
    return {names[o]: dict(solution.shapes.get(o, {})) for o in program.outputs}


@within_depth(DerivationError, NAMED)
def derived(program: Program, wrt: Sequence[str] | None = None) -> Program:
    """The derived statements alone: the tensors of the forward statements that they need are inputs."""
    derivation = _Derivation(program, wrt)
    whole = derivation.program(False)
    forward = {s.target.tensor for s in program.statements}
    alone = replace(whole, statements=tuple(s for s in whole.statements if s.target.tensor not in forward))
    return interfaced(program, derivation.without_unread(alone), (*whole.inputs, *sorted(forward)))


class _Derivation:
    """One derivation: the forward program in the form that is differentiated, and what has come of it so far."""

    def __init__(self, program: Program, wrt: Sequence[str] | None) -> None:
        self.original = program
        self.flat = separated(hoist_in_order(program))
        self.names = {**gradient_names(self.flat), **gradient_names(program)}
        self.fresh = Fresh.of(self.flat)
        self.fresh.taken.update(self.names.values())
        known = dependencies(self.flat)
        reached = reaching(known, self.flat.outputs)
        self.wrt = tuple(n for n in program.inputs if n in reached) if wrt is None else tuple(dict.fromkeys(wrt))
        self.check(reached)
        self.solution: Solution = solve(self.flat)
        self.softmax = softmaxes(self.flat, self.solution)
        self.softmax = {k: s for k, s in self.softmax.items() if not s.through & set(self.wrt)}
        found = shortened(self.flat, self.solution, self.wrt, self.softmax)
        known, reached, self.centred = found.known, found.reached, found.centred
        self.active = depending(known, self.wrt) & reached
        self.seeds = tuple(self.names[o] for o in program.outputs if o in self.active)
        self.poles = Poles(self.flat)
        forms = (f for axes in self.solution.shapes.values() for f in axes.values())
        self.named = {p.tensor for f in forms for p in walk(f.to_expr()) if isinstance(p, Size)}
        self.count = Counter(s.target.tensor for s in self.flat.statements)
        self.statements: list[Statement] = []
        self.bounds: list[Bounds] = []
        self.most = MOST_DERIVED + MOST_GROWTH * sum(nodes(s.value) for s in self.flat.statements)
        self.left = self.most  # nodes
        self.shapes: list[Shape] = []

    def check(self, reached: Collection[str]) -> None:
        problems = []
        for name in self.wrt:
            known = ", ".join(n for n in self.original.inputs if n in reached) or "none"
            values = (f"inputs with gradients: {known}",)
            if name not in self.original.inputs and name not in self.names:
                way = nearest(name, self.original.inputs) or f"leave '{name}' out of wrt"
                problems.append(Problem("no-gradient", f"'{name}' is no input", None, values, way))
            elif name not in reached:
                rule = f"'{name}' has no gradient: no output depends on it but through derivatives that are zero"
                problems.append(Problem("no-gradient", rule, None, values, f"leave '{name}' out of wrt"))
        if not self.wrt:
            rule = "nothing has a gradient here: no output depends on an input but through derivatives that are zero"
            way = "let an output depend on an input by more than positions, comparisons, and functions like floor"
            problems.append(Problem("no-gradient", rule, way_out=way))
        if problems:
            raise DerivationError(*problems)

    def program(self, values: bool | Sequence[str], seed: float | None = None) -> Program:
        if seed is not None:
            scalar(self.flat, [o for o in self.original.outputs if o in self.active])
        self.totals()
        prepared: dict[str, list[Adjoint]] = {}
        around: tuple[Block, ...] = ()
        for k in reversed(range(len(self.flat.statements))):
            stmt = self.flat.statements[k]
            tensor = stmt.target.tensor
            if blocks_of(stmt)[:1] != around:
                around = blocks_of(stmt)[:1]
                for other in (s for s in self.flat.statements if around and blocks_of(s)[:1] == around):
                    if self.is_chosen(other) and other.target.tensor not in prepared:  # in front of the whole block
                        prepared[other.target.tensor] = self.prepare(other.target.tensor)
            if tensor not in self.active:
                continue
            if not self.is_chosen(stmt):
                adjoint = Adjoint(replace(stmt.target, tensor=self.names[tensor]))
            else:
                if tensor not in prepared:
                    prepared[tensor] = self.prepare(tensor)
                adjoint = prepared[tensor].pop()
                if stmt.op == "*=" and self.poles.tensors[tensor] & INFINITE:
                    guard = Call("ne", (replace(stmt.target, tensor=self.names[tensor]), Const(0)))
                    adjoint = replace(adjoint, masks=(*adjoint.masks, guard))
            self.derive(k, adjoint)
        if seed is not None:
            self.seed(seed)
        gradients = tuple(self.names[n] for n in self.wrt)
        order = arranged(self.statements)
        self.bounds = [self.bounds[k] for k, _ in order]
        self.statements = self.read_from_steps([s for _, s in order])
        given = (*self.flat.inputs, *self.seeds)
        shown = (self.original.outputs if values else ()) if isinstance(values, bool) else tuple(values)
        whole = replace(
            self.flat,
            inputs=given,
            outputs=(*shown, *gradients),
            statements=(*self.flat.statements, *self.statements),
            shapes=(*self.flat.shapes, *self.shapes),
        )
        whole = inherit(whole, [*(None for _ in self.flat.statements), *self.bounds], steps=True)
        whole = replace(whole, statements=with_ranges(whole.statements, len(self.flat.statements)))
        named = named_tensors(self.original)
        whole = read_through(whole, {g for t, g in self.names.items() if t not in named})
        whole = as_before(self.without_unread(optimize(whole, self.floats())), self.flat, self.solution)
        found = embedded(interfaced(self.original, whole, given))
        return replace(found, statements=numbered(found.statements))

    def is_chosen(self, stmt: Statement) -> bool:
        """Whether the derivative of a statement needs others: of a maximum its winner, of a product all others."""
        extremum = isinstance(stmt.value, Reduce) and stmt.value.op in ("max", "min")
        return stmt.target.tensor in self.active and (stmt.op not in ("=", "+=") or extremum)

    def read_from_steps(self, statements: list[Statement]) -> list[Statement]:
        """The statements outside of blocks with what steps have made already read from there."""
        count = Counter(s.target.tensor for s in statements)
        made: dict[tuple[Expr, tuple[Expr, ...]], int] = {}
        for k, stmt in enumerate(statements):
            if stmt.block is not None and count[stmt.target.tensor] == 1 and is_plain(stmt.target) and not stmt.reduced:
                made.setdefault((stmt.value, stmt.domain.masks), k)
        found = []
        for k, stmt in enumerate(statements):
            j = made.get((stmt.value, stmt.domain.masks)) if stmt.block is None else None
            if j is not None and j < k and self.bounds[j] == self.bounds[k]:
                masks = () if is_plain(stmt.target) else stmt.domain.masks  # what they refuse is zero, or nowhere
                stmt = statement(stmt.target, stmt.op, statements[j].target, stmt.domain.ranges, masks, stmt.span)
            found.append(stmt)
        return found

    def seed(self, number: float) -> None:
        """The cotangent becomes a number."""
        (cotangent,) = self.seeds
        found = seeded(self.statements, cotangent, number)
        if len(found) > len(self.statements):
            self.bounds.insert(0, {})
        self.statements, self.seeds = found, ()

    def without_unread(self, program: Program) -> Program:
        """Forward statements whose values nobody reads go; the shapes of their tensors' gradients are declared."""
        makers: dict[str, list[Statement]] = {}
        gradients: dict[str, dict[str, None]] = {}
        for stmt in program.statements:
            makers.setdefault(stmt.target.tensor, []).append(stmt)
            if (primal := primal_of(stmt.target.tensor)) is not None:
                gradients.setdefault(primal, {})[stmt.target.tensor] = None
        shapes = {s.tensor: s for s in program.shapes}
        uses = Counter(program.outputs)
        parts: tuple[Statement | Shape, ...] = (*program.statements, *program.shapes)
        for part in parts:
            uses.update(_named_in(part))
        declared: dict[str, list[Shape]] = {}
        left = [*makers][::-1]
        while left:
            tensor = left.pop()
            own, shape = gradients.get(tensor, {}), self.shape(tensor)
            if uses[tensor] or tensor in declared or (own and shape is None):
                continue
            declared[tensor] = [Shape(g, shape or ()) for g in own]
            parts = (*makers[tensor], *((shapes[tensor],) if tensor in shapes else ()))
            for part in parts:
                uses.subtract(_named_in(part))
                left += [n for n in _named_in(part) if n in makers]
            for part in declared[tensor]:
                uses.update(_named_in(part))
            if (primal := primal_of(tensor)) in gradients:
                del gradients[primal][tensor]
                left += [primal] if primal in makers else []
        if not declared:
            return program
        more = [s for t in makers for s in declared.get(t, ()) if s.tensor not in declared]
        statements = tuple(s for s in program.statements if s.target.tensor not in declared)
        there = (*(s for s in program.shapes if s.tensor not in declared), *more)
        return replace(program, statements=statements, shapes=there)

    def shape(self, tensor: str) -> tuple[Expr, ...] | None:
        """The shape of a tensor of the forward program over other tensors' sizes; None where these need its own."""
        if tensor in self.named:
            return None
        axes = self.solution.shapes.get(tensor)
        rank = self.solution.sizes.ranks.get(tensor)
        if axes is None or rank is None or set(axes) != set(range(rank)):
            return None
        return tuple(axes[k].to_expr() for k in range(rank))

    def floats(self) -> tuple[str, ...]:
        """Tensors that are floating-point for certain, because they have gradients."""
        return tuple(self.active)

    def totals(self) -> None:
        """An output that is read, too, collects its gradient under a name of its own."""
        read = {c for stmt in self.flat.statements for c in accesses(stmt)}
        for output in self.original.outputs:
            if output not in self.active or output not in read:
                continue
            seed, inner = self.names[output], self.fresh.fresh(f"{output}.{GRAD}")
            self.names[output] = inner
            first = next(s for s in self.flat.statements if s.target.tensor == output)
            axes = plain(first.target.subscripts)
            self.statements.append(statement(Access(inner, axes), "+=", Access(seed, axes)))
            self.bounds.append({})

    def prepare(self, tensor: str) -> list[Adjoint]:
        """The statements that the gradient of a maximum or a product needs, and an adjoint for each of its own."""
        group = [
            (s, b) for s, b in zip(self.flat.statements, self.solution.bounds, strict=True) if s.target.tensor == tensor
        ]
        name = self.names[tensor]
        if group[0][0].op == "*=":
            found = reductions.product(group, name, self.fresh)
        else:
            rank = len(group[0][0].target.subscripts)
            found = reductions.extremum(group, name, self.fresh, rank)
        for stmt, bounds in found.statements:
            self.add(stmt, bounds)
        self.shapes += found.shapes
        return found.adjoints

    def derive(self, k: int, adjoint: Adjoint) -> None:
        """One derived statement for each occurrence in statement k of a tensor that has a gradient."""
        stmt = self.flat.statements[k]
        if k in self.softmax:
            self.derive_softmax(k, self.softmax[k], adjoint.factor)
            return
        single = self.count[stmt.target.tensor] == 1 and stmt.op in ("=", "+=") and is_plain(stmt.target)
        holds = (single or is_set_once(stmt, self.flat.statements)) and not stmt.reduced
        holds = holds and not any(guard_of(m, stmt) for m in stmt.domain.masks)  # whose factors it would swallow
        slopes, out = self.poles.slopes(stmt), stmt.target if holds else None
        self.contribute(k, contributions(stmt.value, adjoint.factor, adjoint.masks, out, slopes), adjoint.factor)

    def contribute(self, k: int, found: Iterable[Contribution], adjoint: Expr) -> None:
        """The derived statements of what statement k contributes to tensors that have gradients."""
        stmt, bounds, zero = self.flat.statements[k], self.solution.bounds[k], self.centred.get(k, frozenset())
        ranges = stmt.domain.ranges
        if isinstance(stmt.value, Reduce):
            ranges = (*ranges, *stmt.value.domain.ranges)
        for part in found:
            if part.access.tensor in self.active and part.access.tensor not in zero:
                target = without_values(replace(part.access, tensor=self.names[part.access.tensor]))
                masks = (*with_cotangent(stmt, part, adjoint), *part.masks)
                made = statement(target, "+=", part.factor, ranges, masks, stmt.span, stmt.block)
                self.check_size(made)
                guarded = without_implied(masks, made, self.poles.slopes(stmt))
                self.add(replace(made, domain=replace(made.domain, masks=guarded)), bounds)

    def check_size(self, made: Statement) -> None:
        """What is derived stays in proportion to what it is derived from. Errors: `DerivationError`."""
        way = "name parts of it in statements of their own, whose derivatives are products"
        masks = made.domain.masks
        self.left -= nodes(made.value) + sum(map(nodes, masks)) * (1 + len(masks) // 4)  # each is compared with others
        if self.left < 0:
            rule = "the derivative of the program becomes too large: that of this statement, above all"
            values = (f"more than {self.most} numbers, names and operations",)
            raise DerivationError(Problem("too-large", rule, made.span, values, way))

    def derive_softmax(self, k: int, softmax: Softmax, adjoint: Expr) -> None:
        """The cotangents that softmax takes the average of, and the derived statements of its exponent."""
        stmt, bounds = self.flat.statements[k], self.solution.bounds[k]
        value, free = stmt.target, [i for i in stmt.domain.indices if i not in softmax.over]
        average = Access(self.fresh.fresh("d"), tuple(Dots() if i == DOTS else Index(i) for i in free))
        weighed = adjoint if softmax.log else Call("mul", (adjoint, value))
        self.add(statement(average, "=", weighed, stmt.domain.ranges, stmt.domain.masks, stmt.span, stmt.block), bounds)
        if softmax.log:
            factor = Call("sub", (adjoint, Call("mul", (Call("exp", (value,)), average))))
        else:
            factor = Call("mul", (value, Call("sub", (adjoint, average))))
        found = contributions(softmax.exponent, factor, softmax.masks, None, self.poles.slopes(stmt))
        self.contribute(k, found, adjoint)

    def add(self, stmt: Statement, bounds: Bounds) -> None:
        """A derived statement; sizes of forward tensors are said by those of the inputs, where that is short."""

        def rule(part: Subscript) -> Subscript | None:
            if isinstance(part, Size) and part.tensor in self.count:
                return self.solution.sizes.canonical(size(part.tensor, part.axis)).to_expr()
            return None

        if any(isinstance(p, Size) and p.tensor in self.count for p in parts_of(stmt)):
            stmt = transform_statement(stmt, rule)
        stmt, bounds = fix_indices(stmt, bounds)
        if stmt.block is not None:
            stmt = replace(stmt, block=turned(stmt.block))
        self.statements.append(stmt)
        self.bounds.append(bounds)


def _named_in(part: Statement | Shape) -> set[str]:
    """The tensors whose values or sizes a statement or a shape needs."""
    if isinstance(part, Shape):
        return {p.tensor for d in part.dims for p in walk(d) if isinstance(p, Size)}
    return {*reads_of(part), *(p.tensor for p in sizes_of(part))}
