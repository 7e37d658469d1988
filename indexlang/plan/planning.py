"""From a Program with sizes and dtypes to its Plan: every decision that needs a size.

In: a Program, the shapes and dtypes of its inputs, `Limits`. Out: a `Plan`. The one rule: it is a pure function; what
cannot be planned is refused with the place and the way out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from math import prod

from ..errors import NAMED, Problem, ShapeError, within_depth
from ..program.blocks import has_blocks
from ..program.facts import kept
from ..program.ir import Access, Program, Reduce, Statement, parts_of, reads_of
from ..program.measure import widest
from ..program.text import dim_names, statement_text
from ..rewrite.hoist import hoist
from ..rewrite.scoped import as_written
from ..size_limits import FEW_FACTORS, MOST_PAIRS
from ..sizes import dtypes as kinds
from ..sizes import ranks, shapes
from .alike import made_alike
from .bitwise import kept_by_bits
from .blocks import itemsize
from .buffers import without_copies
from .building import Building
from .chains.chain import Chain, Facts
from .chains.schedule import schedule
from .chains.steps import chained
from .costs import section_cost
from .disjoint import made_of_parts
from .extending import shared_reach
from .invariant import made_once
from .kernels import Map
from .limits import NUMPY, Limits
from .operators import combining
from .places import View
from .plan import Either, Loop, Plan, Recipe, Run, Section, Step, Trial, Within
from .prices import operations
from .quantities import Apply, Load, Number
from .record import Record
from .rewrites.at_positions import at_each_position
from .rewrites.band_taps import bands_as_taps
from .rewrites.by_data import index_by_data
from .rewrites.cancel import cancel
from .rewrites.choices import running
from .rewrites.chosen import take_apart
from .rewrites.distribute import distribute
from .rewrites.edges import split_edges
from .rewrites.equalities import solve_equalities
from .rewrites.fade_twice import fade_twice
from .rewrites.guards import ways
from .rewrites.inline import inline
from .rewrites.keep_bands import keep_bands
from .rewrites.late_masks import mask_late
from .rewrites.merge_groups import merge_groups
from .rewrites.one_axis import on_one_axis
from .rewrites.others import write_others
from .rewrites.pair_differences import pairs_apart
from .rewrites.passes import in_passes
from .rewrites.pointed import point
from .rewrites.powers import write_powers
from .rewrites.reuse import reuse
from .rewrites.scale import scale
from .rewrites.segments import sum_segments_first
from .rewrites.share import share
from .rewrites.share_quotients import share_quotients
from .rewrites.taps_outside import taps_outside
from .rewrites.unfold import unfold
from .rewrites.winners import by_group
from .rooms import memory
from .sized import Sized
from .statement import StatementPlan, planned
from .together import together
from .views import plain

# Each leaves to the next ones what it makes.
REWRITES = (
    *(fade_twice, mask_late, on_one_axis, inline, distribute, in_passes, at_each_position),
    *(share_quotients, reuse, share, take_apart, scale, unfold, split_edges),
)


@dataclass(frozen=True)
class Planned:
    """A Plan, and what is to be warned of."""

    plan: Plan
    warnings: tuple[Problem, ...]


@within_depth(ShapeError, NAMED)
def plan(
    program: Program,
    sizes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    limits: Limits = NUMPY,
    complex_step: bool = False,
    exact: Collection[str] = (),
) -> Planned:
    """Plan a program at these sizes and dtypes. Errors: `ShapeError`.

    `exact` are outputs that are not rounded to the type they would be delivered in, because they are only on their way.
    """
    assert not has_blocks(program), "a program with blocks runs step by step: its pieces are planned"
    expanded = ranks.expand(program, {name: len(shape) for name, shape in sizes.items()})
    countable(expanded, limits)
    written = shapes.infer(expanded, sizes)  # hoisting replaces plain uses that must agree by ranges
    hoisted = running(hoist(expanded))
    known = written if hoisted is expanded else shapes.infer(hoisted, sizes, rewritten=True)
    flat = solve_equalities(hoisted, known)
    known = known if flat is hoisted else shapes.infer(flat, sizes, rewritten=True)
    typed = kinds.infer(flat, dtypes, complex_step)
    for rewrite in (by_group, index_by_data, point, sum_segments_first):
        found = rewrite(flat, known, typed, limits)
        if found is not flat:
            known, typed = shapes.infer(found, sizes, rewritten=True), kinds.infer(found, dtypes, complex_step)
        flat = found
    if not complex_step and (tapped := bands_as_taps(flat, known, limits)) is not flat:
        flat, known = tapped, shapes.infer(tapped, sizes, rewritten=True)
        typed = kinds.infer(flat, dtypes)
    if not complex_step and (spread := write_powers(flat, known, typed, limits)) is not flat:
        flat, known = spread, shapes.infer(spread, sizes, rewritten=True)
        typed = kinds.infer(flat, dtypes)
    if not complex_step and (moved := taps_outside(flat, known, limits)) is not flat:
        flat, known = moved, shapes.infer(moved, sizes, rewritten=True)
        typed = kinds.infer(flat, dtypes)
    banded = None if complex_step else keep_bands(flat, known, limits) or pairs_apart(flat, known, typed, limits)
    trials = (Trial(flat),)
    if banded is not None:  # what always holds needs nothing instead
        trials = (Trial(banded.program, banded.finite), *(trials if banded.finite else ()))
    recipe = Recipe(trials, tuple(sizes.items()), tuple(dtypes.items()), limits, tuple(sorted(exact)))
    way = Trial(flat) if complex_step else _way(recipe)
    if way.program is not flat:
        known, typed = _inferred(way, recipe)
    return Planned(_made(way, known, typed, recipe, complex_step), written.warnings)


@kept
@within_depth(ShapeError, NAMED)
def made_of(recipe: Recipe) -> Plan:
    """The Plan that a recipe is for. Errors: `ShapeError`."""
    way = _way(recipe)
    return _made(way, *_inferred(way, recipe), recipe)


def every(plan: Plan) -> Iterator[Plan]:
    """A Plan, and those that may run instead."""
    yield plan
    while plan.instead is not None:
        plan = made_of(plan.instead)
        yield plan


def _way(recipe: Recipe) -> Trial:
    """The first program of a recipe that is not refused."""
    found = (Trial(w.program, (*w.finite, *t.finite)) for t in recipe.trials for w in ways(t.program))
    return next(islice(found, recipe.refused, None))


def _inferred(way: Trial, recipe: Recipe) -> tuple[shapes.Shapes, kinds.Types]:
    known = shapes.infer(way.program, dict(recipe.sizes), rewritten=True)
    return known, kinds.infer(way.program, dict(recipe.dtypes))


def _made(way: Trial, known: shapes.Shapes, typed: kinds.Types, recipe: Recipe, complex_step: bool = False) -> Plan:
    """The Plan of one program."""
    work = _Planning(way.program, known, typed, recipe.limits, complex_step)
    found = kept_by_bits(made_alike(made_once(together(without_copies(work.plan(recipe.exact))))))
    wanted = recipe.trials[-1].program.outputs
    return replace(
        found,
        outputs=tuple(o for o in found.outputs if o[0] in wanted),
        finite=tuple(place for tensor, place, _ in found.outputs if tensor in way.finite),
        instead=replace(recipe, refused=recipe.refused + 1) if way.finite else None,
        workspace=memory(found),
        shapes={t: s for t, s in known.tensors.items() if t in work.known.tensors},
        dtypes={t: kinds.computing(d) if t in recipe.exact else d for t, d in typed.tensors.items()},
    )


def countable(program: Program, limits: Limits) -> None:
    """Refuse statements over too many indices, and products of too many factors. Errors: `ShapeError`."""
    for stmt in program.statements:
        if len(stmt.domain.indices) > limits.indices:
            rule = f"a statement runs over at most {limits.indices} indices, this one over {len(stmt.domain.indices)}"
            way = "split it: name a part of it in a statement of its own"
            raise ShapeError(Problem("too-many-indices", rule, stmt.span, (), way))
    left = MOST_PAIRS
    for stmt in program.statements:
        factors = widest(stmt.value, FEW_FACTORS)
        left -= factors**2 if factors > FEW_FACTORS else 0
        if left < 0:
            rule = f"the products of the program have too many factors, this one {factors}"
            way = "name a part of it in a statement of its own, before it is derived"
            raise ShapeError(Problem("too-many-factors", rule, stmt.span, (), way))


class _Planning:
    """A program whose statements are planned one after the other, or as chains."""

    def __init__(
        self,
        program: Program,
        known: shapes.Shapes,
        typed: kinds.Types,
        limits: Limits,
        complex_step: bool,
    ) -> None:
        program, known = cancel(program, known)
        for rewrite in REWRITES:
            program, known, typed = rewrite(program, known, typed, limits)
        self.program, self.known, self.types = write_others(program, known, typed)
        self.dims = dim_names(self.program)
        storage = {t: kinds.computing(d) for t, d in self.types.tensors.items()}
        made = Counter(s.target.tensor for s in self.program.statements)
        single = frozenset(t for t, count in made.items() if count == 1)
        final = single.difference(*(reads_of(s) for s in self.program.statements))
        self.b = Building(dict(self.known.tensors), storage, limits, self.types.weak, complex_step, single, final)
        for tensor in self.program.inputs:
            self.b.buffers[tensor] = self.b.buffer(
                tensor, self.known.tensors[tensor], self.types.tensors[tensor], "input"
            )
        self.inputs = tuple(self.b.buffers[t] for t in self.program.inputs)
        self.wide = {t: b for t, b in self.b.buffers.items() if b.dtype == "float16" and limits.nests}
        self.wide = {t: b for t, b in self.wide.items() if any(_multiplies(s, t) for s in self.program.statements)}
        for tensor, buffer in self.wide.items():
            self.b.buffers[tensor] = self.b.buffer(tensor, buffer.shape, storage[tensor], "tensor")
        self.sized = tuple(
            Sized(s, e, self.types.tensors[s.target.tensor], c, g)
            for s, e, c, g in zip(
                self.program.statements, self.known.extents, self.types.compute, self.known.guarded, strict=True
            )
        )

        if not complex_step:
            self.b.parted = made_of_parts(self.sized, self.b.shapes, self.program.inputs)
        self.b.reach = shared_reach(self.program.statements, self.known.extents, self.b.shapes, limits)

    def plan(self, exact: Collection[str]) -> Plan:
        """The whole."""
        b, program = self.b, self.program
        sections = [self.section(item) for item in self.order()]
        if self.wide and sections:
            sections[0] = self.widened(sections[0])
        outputs = []
        for tensor in program.outputs:
            buffer = b.buffers[tensor]
            place = b.results.get(tensor) or b.everything(buffer)
            kind = buffer.dtype if tensor in exact else self.types.tensors[tensor]
            if "float16" == kind != buffer.dtype and b.limits.nests and sections and isinstance(place, View):
                place, sections[-1] = self.rounded(place, kind, sections[-1])
            outputs.append((tensor, place, kind))
        ends = tuple((i, b.own[i]) for _, place, _ in outputs for i in place.mentioned)
        return Plan(
            *(self.inputs, tuple(outputs), ends, tuple(b.tables.values()), tuple(sections), tuple(b.places)),
            complex_step=b.complex_step,
            limits=b.limits,
        )

    def widened(self, first: Section) -> Section:
        """The first section, which widens what products read several times: nests multiply as arrays lie."""
        axes: dict[str, tuple[int, int]] = {}
        steps: list[Step] = []
        for tensor, buffer in self.wide.items():
            place = self.b.everything(self.b.buffers[tensor])
            axes |= {i: self.b.own[i] for i in place.mentioned}
            steps.append(Run(place, "=", Map(Load(replace(place, buffer=buffer), place.buffer.dtype))))
        return replace(first, extents=(*first.extents, *axes.items()), steps=(*steps, *first.steps))

    def rounded(self, place: View, kind: str, last: Section) -> tuple[View, Section]:
        """An output in the type in which it is delivered, made by the last section: nests round as they write."""
        old = place.buffer
        made = replace(place, buffer=self.b.buffer(old.name, old.shape, kind, "tensor"))
        axes = tuple((i, self.b.own[i]) for i in place.mentioned)
        step = Run(made, "=", Map(Load(place, old.dtype)))
        return made, replace(last, extents=(*last.extents, *axes), steps=(*last.steps, step))

    def order(self) -> list[int | Chain]:
        """The statements' numbers and the chains, as they run."""
        if self.b.complex_step:
            return list(range(len(self.sized)))
        facts = Facts(self.program, self.known, self.b.dtypes, self.types.compute, self.b.kind, self.b.limits)
        return list(schedule(facts))

    def section(self, item: int | Chain) -> Section:
        """A statement or a chain as a section."""
        b, program = self.b, self.program
        b.steps, b.gathered, b.depth, b.section = [], {}, 0, {}
        if isinstance(item, Chain):
            numbers, kernels = item.numbers, chained(b, item)
        else:
            numbers, kernels = (item,), [self.statement(self.sized[item])]
        deepest = _nested(b.steps, b.section)
        if deepest > b.limits.nested:
            rule = f"a statement is done in at most {b.limits.nested} loops inside of each other, this one in {deepest}"
            way = "split it: name a part of it in a statement of its own"
            raise ShapeError(Problem("too-many-indices", rule, program.statements[numbers[-1]].span, (), way))
        records = []
        cost = section_cost(Section((), tuple(b.section.items()), tuple(b.steps))).flops if len(numbers) == 1 else 0
        for k, kernel in zip(numbers, kernels, strict=True):
            stmt = program.statements[k]
            runs = cost if k == numbers[-1] else 0
            records.append(record(stmt, statement_text(as_written(stmt), self.dims), kernel, self.sized[k], b, runs))
        return Section(tuple(records), tuple(b.section.items()), tuple(b.steps))

    def statement(self, sized: Sized) -> str:
        """A statement, its small groups merged where that pays; its kernel in words."""
        b, stmt = self.b, sized.stmt
        tensor = stmt.target.tensor
        if kinds.kind_of(sized.compute) == "complex" and kinds.kind_of(b.dtypes[tensor]) == "float":
            return self.real_part(sized)
        known = tensor in b.buffers or b.dtypes[tensor] != sized.compute or sized.compute == "bool"
        found = None if known or sized.guarded else merge_groups(stmt, sized.extents, b.limits)
        if found is None:
            return planned(b, sized)
        b.shapes[found.name], b.dtypes[found.name] = found.shape, sized.compute
        b.known.learn(found.name, kinds.Kind(sized.compute))
        first, second = (replace(sized, stmt=part, extents=found.extents) for part in (found.first, found.second))
        ways = [planned(b, replace(first, dtype=sized.compute)), planned(b, second)]
        if found.dense is not None and sized.compute.startswith(("float", "complex")):
            self.either_groups(sized, found.dense)
        del b.buffers[found.name], b.shapes[found.name], b.dtypes[found.name]
        return f"{found.note}, {ways[found.dense is not None]}"

    def real_part(self, sized: Sized) -> str:
        """A gradient of a real tensor whose value is complex: computed as it is, its real part brought home."""
        b, tensor = self.b, sized.stmt.target.tensor
        new, delivered = tensor not in b.buffers, b.dtypes[tensor]
        home = b.buffer(tensor, b.shapes[tensor], delivered, "tensor") if new else b.buffers.pop(tensor)
        b.dtypes[tensor] = sized.compute
        way = planned(b, replace(sized, dtype=sized.compute))
        made, b.buffers[tensor], b.dtypes[tensor] = b.buffers[tensor], home, delivered
        part = b.results.pop(tensor, None) or b.everything(made)
        place = View(home, tuple(plain(i) for i in part.mentioned))
        value = Apply("cast", (Load(part, sized.compute),), delivered)
        b.run(place, "=" if new else combining(sized.stmt.op), Map(value))
        return f"{way}, the real part"

    def either_groups(self, sized: Sized, dense: Access) -> None:
        """What is multiplied by the zeros of other groups must be finite; else the statement is run as it stands."""
        b = self.b
        buffer = b.buffers[dense.tensor]
        way = StatementPlan(b, sized)
        finite = way.all_finite([Load(b.everything(buffer), buffer.dtype)])
        with b.either(Apply("not", (finite,), "bool")) as (first, _), b.into(first):
            target = b.buffers[sized.stmt.target.tensor]
            b.run(b.everything(target), "=", Map(Number(0, target.dtype)))
            planned(b, sized)


def _multiplies(stmt: Statement, tensor: str) -> bool:
    """Whether a statement sums what may be products of a tensor's elements."""
    read = reads_of(stmt)
    return tensor in read and len(set(read)) > 1 and bool(stmt.reduced or stmt.op != "=")


def _nested(steps: Iterable[Step], extents: Mapping[str, tuple[int, int]]) -> int:
    """How many loops of several rounds, and branches, stand inside of each other."""
    deepest = 0
    for step in steps:
        match step:
            case Loop(index=index, steps=inner, how=how):
                lo, hi = extents.get(index, (0, 2))
                deepest = max(deepest, _nested(inner, extents) + (how == "thread" or hi - lo > 1))
            case Within(steps=inner):
                deepest = max(deepest, _nested(inner, extents))
            case Either(first=first, second=second):
                deepest = max(deepest, 1 + _nested((*first, *second), extents))
            case _:
                pass
    return deepest


def record(stmt: Statement, text: str, kernel: str, sized: Sized, b: Building, planned_flops: int) -> Record:
    points = prod(max(0, hi - lo) for lo, hi in sized.extents.values())
    value = stmt.value.body if isinstance(stmt.value, Reduce) else stmt.value
    adds = bool(stmt.reduced) or points > prod(b.shapes[stmt.target.tensor])  # several into one element
    work = operations(value) + (stmt.op != "=" or adds or isinstance(stmt.value, Reduce))
    touched = {p.tensor for p in parts_of(stmt) if isinstance(p, Access)}
    moved = sum(prod(b.shapes[t]) * itemsize(b.dtypes[t]) for t in touched)
    return Record(text, kernel, tuple(sized.extents.items()), points * work, moved, planned_flops)
