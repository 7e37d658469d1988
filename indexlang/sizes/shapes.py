"""Sizes enter: how far each index runs and how large each tensor is, every subscript checked.

In: a Program of known ranks and the sizes of its inputs. Out: `Shapes`, or a `ShapeError` with all that does not fit.
The one rule: what `ranges` solved without sizes is only put into numbers here; then each plain use must agree and
each subscript must stay in its axis wherever it is used, before anything runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import NAMED, Problem, ShapeError, within_depth
from ..program.affine import Affine
from ..program.ir import (
    GRAD,
    TANGENT,
    Access,
    Boundary,
    Dots,
    Index,
    Merged,
    Program,
    Statement,
    accesses_of,
    indices_of,
    primal_of,
    reads_of,
    reductions_of,
    sizes_of,
    tensors_in,
)
from ..program.text import dim_names, expr_text, statement_text
from ..ranges.solve import Solution, solve
from ..ranges.steps import made_in_blocks
from ..ranges.uses import Use, called, plain_uses, uses
from .in_bounds import Unknown, interval, leaves, numeric, way_back
from .integers import wrapping
from .mismatched import mismatched
from .ranks import contracted
from .too_large import endless, overflowing, too_large
from .windows import Indices, empty_indices, lost_windows

Sizes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Shapes:
    """`tensors` by name; `extents` by statement: lo <= index < hi, never hi < lo, embedded reductions included.

    `guarded` are, by statement, the accesses of which some axes stay inside only thanks to masks that read data, or
    that could not be shown to keep them inside: a backend must check these where it runs.
    """

    tensors: Mapping[str, tuple[int, ...]]
    extents: tuple[Mapping[str, tuple[int, int]], ...]
    guarded: tuple[frozenset[tuple[Access, int]], ...]
    warnings: tuple[Problem, ...]


@within_depth(ShapeError, NAMED)
def infer(program: Program, sizes: Sizes, rewritten: bool = False) -> Shapes:
    """Shapes and extents at the given sizes of the inputs. Errors: `ShapeError`.

    What passes made of a program that was found right, `rewritten`, may have windows that run over nothing.
    """
    passed = {s.target.tensor for s in program.statements} & set(sizes) - set(program.inputs)
    if passed:  # tensors that the program accumulates into and the caller gives
        program = replace(program, inputs=(*program.inputs, *sorted(passed)))
    numbers = _Numbers(program, sizes, rewritten)
    numbers.inputs()
    numbers.raise_problems()
    solution = solve(program)
    numbers.claims(solution)
    numbers.raise_problems()
    numbers.ahead(solution)
    for k, stmt in enumerate(program.statements):
        numbers.statement(stmt, solution, k)
        numbers.raise_problems()
    numbers.claims(solution)  # those about tensors whose own size stands for a long form
    numbers.raise_problems()
    return Shapes(numbers.shapes, tuple(numbers.extents), tuple(numbers.guarded), tuple(numbers.warnings))


class _Numbers:
    """What is known so far, in numbers."""

    def __init__(self, program: Program, sizes: Sizes, rewritten: bool) -> None:
        self.program, self.rewritten = program, rewritten
        self.given = sizes
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.extents: list[dict[str, tuple[int, int]]] = []
        self.nothing: set[str] = set()  # tensors that are empty because inputs are
        self.guarded: list[frozenset[tuple[Access, int]]] = []
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.declared = {s.tensor: s for s in program.shapes}
        self.names = dim_names(program)

    def raise_problems(self) -> None:
        if self.problems:
            raise ShapeError(*self.problems)

    # -- inputs --------------------------------------------------------------------------------

    def inputs(self) -> None:
        """Each input has its rank, its declared shape, and a gradient the shape of its tensor."""
        ranks: dict[str, Access] = {}
        for stmt in self.program.statements:
            for access in accesses_of(stmt):
                if access.tensor not in ranks and Dots() not in access.subscripts:
                    ranks[access.tensor] = access
        for tensor in self.program.inputs:
            if tensor not in self.given:
                rule = f"the shape of '{tensor}' is missing"
                self.problems.append(Problem("missing-input", rule, way_out="pass a shape for each input"))
                continue
            shape = tuple(self.given[tensor])
            used, declared = ranks.get(tensor), self.declared.get(tensor)
            rank = len(declared.dims) if declared else len(used.subscripts) if used else len(shape)
            if len(shape) != rank:
                span = declared.span if declared else used.span if used else None
                values = (f"{tensor} has {rank} axes in the program", f"given: shape {shape}")
                way = f"pass an array with {rank} axes" if rank != 1 else "pass an array with 1 axis"
                self.problems.append(Problem("rank", f"'{tensor}' has another number of axes", span, values, way))
                continue
            self.shapes[tensor] = shape
            self.problems += too_large(tensor, shape, declared.span if declared else used.span if used else None)
            if 0 in shape:
                self.nothing.add(tensor)
        if self.problems:
            return
        for tensor in self.program.inputs:
            declared = self.declared.get(tensor)
            for axis, dim in enumerate(declared.dims if declared else ()):
                wanted = self.number(Affine.from_expr(dim))
                if declared is not None and wanted is not None and wanted != self.shapes[tensor][axis]:
                    problem = mismatched(tensor, axis, wanted, self.declared, self.shapes, self.names)
                    self.problems.append(problem)
            primal = None if tensor in self.declared else primal_of(tensor)
            if primal in self.shapes and self.shapes[primal] != self.shapes[tensor]:
                self.problems.append(self.other_shape(tensor, primal))

    def other_shape(self, tensor: str, primal: str) -> Problem:
        values = (f"{primal} has shape {self.shapes[primal]}", f"{tensor} has shape {self.shapes[tensor]}")
        way = f"let {tensor} have shape {self.shapes[primal]}"
        return Problem("gradient-shape", f"'{tensor}' must have the shape of '{primal}'", None, values, way)

    def number(self, form: Affine) -> int | None:
        """A form of sizes as a number; None where it speaks of a tensor without a shape yet."""
        if form.is_constant:
            return form.const
        try:
            return form.value(self.shapes)
        except (KeyError, IndexError):
            return None
        except ZeroDivisionError:
            self.problems.append(Problem("zero-division", "a size is divided by zero", way_out="pass larger arrays"))
            return 0
        except ValueError:  # y[int(2.5),i]: what rounds is no form of sizes
            shown = expr_text(form.to_expr(), self.names)
            rule = f"a length is made of sizes and whole numbers, not of {shown}"
            self.problems.append(Problem("undeclared-shape", rule, way_out="declare the shape by whole numbers"))
            return 0

    # -- statements ----------------------------------------------------------------------------

    def statement(self, stmt: Statement, solution: Solution, k: int) -> None:
        box: dict[str, tuple[int, int]] = {}
        bounds = solution.bounds[k]
        domains = (stmt.domain, *(r.domain for r in reductions_of(stmt)))
        ranges = {r.index: r for d in domains for r in d.ranges}
        masked = frozenset(i for i, bound in bounds.items() if bound.masked)
        given = Indices(stmt, box, ranges, self.shapes, self.nothing, self.names, masked)
        everywhere, alone = uses(stmt), plain_uses(stmt)
        made = made_in_blocks(self.program)[k]
        if stmt.target.tensor in self.declared or stmt.target.tensor in solution.sizes.primals:
            self.define(stmt, solution)  # its size is known before what the statement reaches
            if stmt.target.tensor not in self.shapes:
                return
        for i, bound in bounds.items():
            lo, hi = self.number(bound.low), self.number(bound.high)
            assert lo is not None and hi is not None, "bounds are forms of sizes that are known by now"
            if not (given.is_written(i) or i in masked):
                self.agree(i, [u for u in alone.get(i, ()) if u.tensor not in made.get(i, ())], bound.sources)
            box[i] = (lo, hi)
        self.problems = empty_indices(given, self.rewritten) or self.problems  # which say why a shape is negative
        self.problems += endless(stmt, box)
        if not (self.problems or self.rewritten):
            self.problems += wrapping(stmt, box, self.shapes)
        if self.problems:
            return
        box = {i: (lo, max(lo, hi)) for i, (lo, hi) in box.items()}
        self.extents.append(box)
        self.define(stmt, solution)
        if stmt.target.tensor in self.declared and not self.rewritten:
            self.problems += lost_windows(given)
        guarded: set[tuple[Access, int]] = set()
        empty = {i for i, (lo, hi) in box.items() if lo >= hi}
        for use in everywhere:
            if empty.isdisjoint(use.scope) or isinstance(use.subscript, Merged):  # less than one group is none
                self.check(stmt, use, box, guarded)
        self.guarded.append(frozenset(guarded))
        for cut in solution.cuts[k]:
            self.warn_of_cut(stmt, cut.index, cut.use, cut.sources, box)

    def claims(self, solution: Solution) -> None:
        """Sizes that the solution takes to be equal are equal; the first that are not falsify what comes after."""
        for claim in solution.claims:
            one, other = self.number(claim.size), self.number(claim.other)
            if one is not None and other is not None and one != other:
                self.problems.append(self.mismatch(claim.index, claim.first, one, claim.second, other))
                return

    def agree(self, index: str, alone: Sequence[Use], sources: Collection[tuple[str, int]]) -> None:
        """All plain uses of an index have one size; what the target has counts if the index runs along it."""
        first: tuple[Use, int] | None = None
        for use in alone:
            if use.tensor not in self.shapes or (use.is_target and (use.tensor, use.axis) not in sources):
                continue
            size = self.shapes[use.tensor][use.axis]
            if first is None:
                first = use, size
            elif size != first[1]:
                self.problems.append(self.mismatch(index, *first, use, size))
                return

    def mismatch(self, index: str, first: Use, one: int, second: Use, other: int) -> Problem:
        name = called(index, (first, second))
        rule = f"the index '{index}' runs over axes of different sizes"
        way = "make the sizes equal" + (f", or say where {index} < {min(one, other)}" if min(one, other) > 0 else "")
        if name != index:
            rule, way = "'...' stands for axes of different sizes", "make the sizes equal"
        if name is None:
            rule = f"{first.tensor} and {second.tensor} are put together element by element, and differ in a size"
        values = (
            f"axis {first.axis} of {first.tensor} has size {one}",
            f"axis {second.axis} of {second.tensor} has size {other}",
        )
        if 1 in (one, other):
            small = (first if one == 1 else second).tensor
            zero = (
                f"write 0 for {index} in {small}" if name == index else f"write the axes of {small} out, this one as 0"
            )
            way = f"an axis of size 1 does not stretch: {zero}"
            if name == index and self.is_reduced(index, first, second):
                way = f"make the sizes equal, or {zero}: an axis of size 1 does not stretch"
        return Problem("size-mismatch", rule, second.span, values, way)

    def is_reduced(self, index: str, *found: Use) -> bool:
        """Whether an index is reduced where these uses stand: then what stretches is hardly meant."""
        stmts = [s for s in self.program.statements if all(u.access in accesses_of(s) for u in found)]
        return any(index not in indices_of(s.target) for s in stmts)

    def ahead(self, solution: Solution) -> None:
        """The shapes of tensors whose sizes are asked for before they are made, and those that these are made of."""
        makers: dict[str, Statement] = {}
        for stmt in self.program.statements:
            makers.setdefault(stmt.target.tensor, stmt)
        made: set[str] = set()
        for stmt in self.program.statements:
            made.add(stmt.target.tensor)
            asked = [p.tensor for p in sizes_of(stmt) if p.tensor not in made]
            if stmt.block is not None:  # what is read from earlier steps
                asked += [t for t in reads_of(stmt) if t not in made and t in makers]
            while asked:
                tensor = asked[-1]
                if tensor not in self.shapes:
                    primal = solution.sizes.primals.get(tensor)
                    if primal in makers and primal not in self.shapes and asked.count(primal) < 2:  # its turn is now
                        asked.append(primal)
                        continue
                    forms = solution.shapes.get(tensor, {}).values()
                    needed = {p.tensor for f in forms for p in f.sizes} - self.shapes.keys() - {*asked}
                    if needed & makers.keys():
                        asked += sorted(needed & makers.keys())
                        continue
                    self.define(makers[tensor], solution)
                asked.pop()

    def define(self, stmt: Statement, solution: Solution) -> None:
        tensor = stmt.target.tensor
        if tensor in self.shapes:
            return
        primals = solution.sizes.primals
        primal = primals.get(tensor)
        while primal in primals and primal not in self.shapes:  # it is computed later, and shaped as its own primal
            primal = primals[primal]
        if primal is not None and primal in self.shapes:
            self.shapes[tensor] = self.shapes[primal]
            return
        forms = solution.shapes[tensor]
        if primal is not None and len(forms) < len(stmt.target.subscripts):
            rule = f"'{tensor}' has the shape of '{primal}', which is computed after it"
            way = f"write the statements of '{primal}' first"
            self.problems.append(Problem("undeclared-shape", rule, stmt.target.span, way_out=way))
            return
        shape = []
        for axis in range(len(stmt.target.subscripts)):
            size = self.number(forms[axis])
            assert size is not None, "shapes are forms of sizes that are known by now"
            if size < 0 and tensor in self.declared and self.nothing.isdisjoint(tensors_in(stmt)):
                values = (f"axis {axis} would have size {size}",)
                rule = f"the declared shape of '{tensor}' is negative"
                way = "pass larger arrays, or declare another size"
                self.problems.append(Problem("declared-shape", rule, self.declared[tensor].span, values, way))
            shape.append(max(0, size))
        self.shapes[tensor] = tuple(shape)
        self.problems += too_large(tensor, shape, stmt.target.span)
        if 0 in shape and not self.nothing.isdisjoint(tensors_in(stmt)):
            self.nothing.add(tensor)
        for name in (f"{tensor}.{GRAD}", f"{tensor}.{TANGENT}"):
            if name not in self.declared and self.shapes.get(name, self.shapes[tensor]) != self.shapes[tensor]:
                self.problems.append(self.other_shape(name, tensor))

    # -- subscripts ----------------------------------------------------------------------------

    def check(
        self, stmt: Statement, use: Use, box: Mapping[str, tuple[int, int]], guarded: set[tuple[Access, int]]
    ) -> None:
        """A subscript stays in its axis wherever it is used."""
        size = self.shapes[use.tensor][use.axis]
        match use.subscript:
            case Index(name=i) if box[i][0] >= 0 and box[i][1] <= size:
                return
            case Dots():
                return
            case Merged(indices=names):
                self.check_merged(use, names, box, size)
                return
            case Boundary(kind="pad", expr=e, lo=None):
                return
            case Boundary(kind="pad", expr=e, lo=lo, hi=hi) if lo is not None and hi is not None:
                before, behind = self.number(Affine.from_expr(lo)), self.number(Affine.from_expr(hi))
                if before is None or behind is None or before < 0 or behind < 0:
                    widths = (f"{before} before and {behind} behind",)
                    rule, way = "a padding has no negative width", "write widths from 0 on"
                    self.problems.append(Problem("padding", rule, use.span, widths, way))
                    return
                end, expr = before + size + behind, e
            case Boundary(kind=kind):
                if size == 0:
                    rule = f"{kind} needs an element to read, and axis {use.axis} of {use.tensor} has none"
                    self.problems.append(Problem("empty-axis", rule, use.span, (), "say pad(...), which reads 0 there"))
                return
            case expr:
                end = size
        form = numeric(Affine.from_expr(expr), self.shapes)
        self.problems += overflowing(form, self.shapes[use.tensor], use)
        found = leaves(form, end, box, use.masks, self.shapes)
        if found is Unknown.AT_RUN_TIME:
            if interval(form, box) is not None:  # what reads data is checked there anyway
                guarded.add((use.access, use.axis))
        elif isinstance(found, tuple):
            self.problems.append(self.outside(stmt, use, found[0], found[1], end))

    def check_merged(self, use: Use, names: Sequence[str], box: Mapping[str, tuple[int, int]], size: int) -> None:
        product = 1
        for i in names:
            product *= box[i][1] - box[i][0]
            if box[i][0] != 0:
                rule = f"the index '{i}' of a merged axis must start at 0, not at {box[i][0]}"
                self.problems.append(Problem("merged-start", rule, use.span, (), "shift the index"))
        if product != size:
            extents = " * ".join(str(box[i][1] - box[i][0]) for i in names)
            axis = f"axis {use.axis} of {use.tensor}"
            values = (f"({','.join(names)}) = {extents} = {product}", f"{axis} has size {size}")
            rule = "the indices of a merged axis must fill it exactly"
            way = f"let {axis} have size {product}, or an index run as far as fills it: where i < ..."
            self.problems.append(Problem("merged-size", rule, use.span, values, way))

    def outside(self, stmt: Statement, use: Use, position: int, point: Mapping[str, int], end: int) -> Problem:
        text = self.text(use)
        at = ", ".join(f"{i} = {v}" for i, v in point.items())
        shown = f"{text} = {position}" + (f" at {at}" if at else "")
        values = (shown, f"axis {use.axis} of {use.tensor} has size {self.shapes[use.tensor][use.axis]}")
        code = "negative-position" if position < 0 else "out-of-range"
        rule = f"a subscript of {use.tensor} leaves its axis"
        if position < 0:
            rule += ": negative positions do not wrap round"
        return Problem(code, rule, use.span or stmt.span, values, way_back(use, position, self.names))

    def text(self, use: Use) -> str:
        """A subscript as it stands in its brackets."""
        return expr_text(Access("", (use.subscript,)), self.names)[1:-1]

    def warn_of_cut(
        self,
        stmt: Statement,
        index: str,
        use: Use,
        sources: Sequence[tuple[str, int]],
        box: Mapping[str, tuple[int, int]],
    ) -> None:
        """A plain index of one tensor that a subscript of another one has shortened."""
        for tensor, axis in sources:
            size = self.shapes[tensor][axis]
            if tensor != use.tensor and size > box[index][1]:
                rule = f"the index '{index}' ends earlier than axis {axis} of {tensor}"
                values = (
                    f"axis {axis} of {tensor} has size {size}, {index} ends at {box[index][1] - 1}",
                    f"so that {self.text(use)} stays in axis {use.axis} of {use.tensor}",
                    f"in: {statement_text(contracted(stmt), self.names)}",
                )
                way = f"say so: where {index} < {box[index][1]}, or pad(...)"
                self.warnings.append(Problem("cut-short", rule, use.span, values, way))
                return
