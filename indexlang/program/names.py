"""Names of tensors and indices: new ones, others in their place, and what is left without them.

In: a Program, a statement, an expression. Out: names that occur nowhere in it; the same with other names; what two of
them have in common if they differ in names alone. The one rule: a renaming never makes one of two. What has a name
that something else is to get moves out of its way.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count

from .functions import CONSTANTS, FUNCTIONS
from .ir import (
    DOTS,
    Access,
    Block,
    Call,
    Const,
    Domain,
    Dots,
    Expr,
    Index,
    Merged,
    Program,
    Reduce,
    Shape,
    Size,
    Statement,
    Subscript,
    accesses_of,
    indices_of,
    primal_of,
    reductions_of,
    sizes_of,
    walk,
)
from .rebuild import transform, transform_domain, transform_expr

# -- names -------------------------------------------------------------------------------------------

RESERVED = frozenset(("size", "pad", "clamp", "wrap", "reflect", "and", "or", "not", "where", *CONSTANTS))


def is_name(name: object) -> bool:
    """Whether a tensor may have this name: identifiers with dots between them, and no words of the language."""
    return isinstance(name, str) and all(part.isidentifier() and part not in RESERVED for part in name.split("."))


# -- new names ---------------------------------------------------------------------------------------


def counted(wish: str, between: str = "") -> Iterator[str]:
    """`x`, `x2`, `x3` and so on; `x2` goes on as `x2_2`."""
    stem = f"{wish}_" if wish[-1:].isdigit() else f"{wish}{between}"
    return chain([wish], (f"{stem}{k}" for k in count(2)))


def lettered(letters: str) -> Iterator[str]:
    """Each letter, then each with a number from 2 on."""
    return (f"{letter}{k or ''}" for k in chain([0], count(2)) for letter in letters)


def free(wishes: Iterable[str], taken: Container[str]) -> str:
    """The first of the names that is not taken."""
    return next(name for name in wishes if name not in taken)


class Fresh:
    """Names that are not taken; each is taken from then on."""

    def __init__(self, taken: set[str], between: str = "") -> None:
        self.taken, self.between = taken, between
        self.left: dict[str, Iterator[str]] = {}  # of each wish, so that many equal ones take no longer

    @classmethod
    def of(cls, program: Program) -> Fresh:
        """Names that occur nowhere in a program."""
        return cls({*FUNCTIONS, *(name for name, _ in program.dims), *tensors_of(program), *indices_in(program)})

    def fresh(self, wish: str) -> str:
        """`wish`, or `wish` with the first number from 2 on that makes it new."""
        if wish not in self.taken:
            name = wish
        else:
            name = free(self.left.setdefault(wish, counted(wish, self.between)), self.taken)
        self.taken.add(name)
        return name

    def letter(self, letters: str) -> str:
        """One of the letters, or one with a number."""
        name = free(lettered(letters), self.taken)
        self.taken.add(name)
        return name


def tensors_of(program: Program) -> dict[str, None]:
    """All tensors of a program, inputs and outputs first."""
    found = dict.fromkeys((*program.inputs, *program.outputs, *(s.tensor for s in program.shapes)))
    for stmt in program.statements:
        found.update(dict.fromkeys([access.tensor for access in accesses_of(stmt)]))
        found.update(dict.fromkeys([size.tensor for size in sizes_of(stmt)]))
    for dim in (d for s in program.shapes for d in s.dims):
        found.update(dict.fromkeys([p.tensor for p in walk(dim) if isinstance(p, Size)]))
    return found


def indices_in(program: Program) -> dict[str, None]:
    """All indices of a program, those of embedded reductions included."""
    return dict.fromkeys(i for stmt in program.statements for i in indices_within(stmt))


def indices_within(stmt: Statement) -> tuple[str, ...]:
    """All indices of a statement, those of its embedded reductions behind its own."""
    inner = (i for r in reductions_of(stmt) for i in r.domain.indices)
    return tuple(dict.fromkeys((*stmt.domain.indices, *inner)))


# -- other names -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Renaming:
    """What names of tensors and indices become. Names that it does not have stay.

    It does what it is told: made by `apart`, or for indices that are to be one.
    """

    tensors: Mapping[str, str] = field(default_factory=dict)
    indices: Mapping[str, str] = field(default_factory=dict)

    def rule(self, part: Subscript) -> Subscript | None:
        """For `transform`."""
        match part:
            case Call() | Const():  # what there is most of
                return None
            case Index(name, span) if name in self.indices:
                return Index(self.indices[name], span)
            case Access(tensor, subscripts, span) if tensor in self.tensors:
                return Access(self.tensors[tensor], subscripts, span)
            case Size(tensor, axis, span) if tensor in self.tensors:
                return Size(self.tensors[tensor], axis, span)
            case Merged(names, span) if not self.indices.keys().isdisjoint(names):
                return Merged(tuple(self.indices.get(i, i) for i in names), span)
            case Reduce(op, domain, body, span) if not self.indices.keys().isdisjoint(domain.indices):
                return Reduce(op, self._named(domain), body, span)
            case _:
                return None

    def _named(self, domain: Domain) -> Domain:
        ranges = {r.index: r for r in (replace(r, index=self.indices.get(r.index, r.index)) for r in domain.ranges)}
        indices = dict.fromkeys(self.indices.get(i, i) for i in domain.indices)
        return Domain(tuple(indices), tuple(ranges.values()), domain.masks)

    def expr(self, expr: Expr) -> Expr:
        return transform_expr(expr, self.rule)

    def access(self, access: Access) -> Access:
        found = transform(access, self.rule)
        assert isinstance(found, Access)
        return found

    def domain(self, domain: Domain) -> Domain:
        return self._named(transform_domain(domain, self.rule))

    def statement(self, stmt: Statement) -> Statement:
        """The statement; its indices keep their order."""
        parts = self.access(stmt.target), stmt.op, self.expr(stmt.value), self.domain(stmt.domain)
        return Statement(*parts, stmt.span, self.block(stmt.block))

    def block(self, block: Block | None) -> Block | None:
        """The block with the indices that its statements have now."""
        if block is None:
            return None
        indices = tuple(self.indices.get(i, i) for i in block.indices)
        found = self.domain(Domain(block.indices, block.ranges, block.masks))
        outer = self.block(block.outer)
        return replace(block, indices=indices, ranges=found.ranges, masks=found.masks, outer=outer)

    def shape(self, shape: Shape) -> Shape:
        return Shape(self.tensors.get(shape.tensor, shape.tensor), tuple(map(self.expr, shape.dims)), shape.span)


def apart(present: Iterable[str], wanted: Mapping[str, str], taken: Collection[str] = ()) -> dict[str, str]:
    """New names for those that are present: the wanted ones, and others for names that these are, or that are taken.

    Errors: `ValueError` if two are to have one name, or a name that is taken.
    """
    names = tuple(dict.fromkeys(present))
    found = {name: wanted[name] for name in names if name in wanted}
    if len({*found.values()}) < len(found) or not {*found.values()}.isdisjoint(taken):
        raise ValueError(f"no two names may become one: {found}")
    used = {*taken, *found.values()}
    occupied = {*used, *names}
    for name in names:
        if name not in found and name in used:
            found[name] = free(counted(f"{name}_"), occupied)
            occupied.add(found[name])
    return {old: new for old, new in found.items() if old != new}


def renamed(
    program: Program, tensors: Mapping[str, str], indices: Mapping[str, str], taken: Collection[str] = ()
) -> Program:
    """The program with other names; gradients follow their tensors. Indices get none of a tensor, and none of `taken`.

    Errors: `ValueError` if two tensors would become one.
    """
    known = tensors_of(program)
    new = dict(tensors)
    for tensor in known:
        primal = primal_of(tensor)
        if tensor not in new and primal in new:
            new[tensor] = new[primal] + tensor[len(primal) :]
    names = apart(known, new)
    if not {*names}.isdisjoint({*program.inputs, *program.outputs} - new.keys()):
        raise ValueError(f"no two tensors may become one: {new}")
    solid = {*taken, *(names.get(t, t) for t in known), *(name for name, _ in program.dims)}
    renaming = Renaming(names, apart(indices_in(program), indices, solid))
    return Program(
        tuple(names.get(t, t) for t in program.inputs),
        tuple(names.get(t, t) for t in program.outputs),
        tuple(map(renaming.statement, program.statements)),
        tuple(map(renaming.shape, program.shapes)),
        tuple((name, renaming.expr(e)) for name, e in program.dims),
        program.name,
    )


def out_of_the_way(program: Program, taken: Collection[str], shown: Collection[str]) -> dict[str, str]:
    """New names for the tensors that have one of `taken`, but for those that are `shown`; gradients follow theirs."""
    own, found = tensors_of(program), dict[str, str]()
    for tensor in own:
        above = tensor
        while above not in found and (primal := primal_of(above)) is not None:
            above = primal
        if tensor in taken and tensor not in shown and above not in found:
            behind = [t[len(tensor) :] for t in own if _descends(t, tensor)]
            used = {*own, *taken, *found.values()}
            found[tensor] = next(n for n in counted(tensor) if not any(n + end in used for end in behind))
    return found


def _descends(tensor: str, other: str) -> bool:
    """Whether a tensor is another one, its gradient, or a gradient of that."""
    primal = primal_of(tensor)
    return tensor == other or (primal is not None and _descends(primal, other))


# -- without names -----------------------------------------------------------------------------------


def numbered(expr: Expr) -> Expr:
    """The expression with numbers for its free indices, so that equal ones over other indices are equal."""
    return Renaming(indices=_numbers(indices_of(expr))).expr(expr)


def anonymous(stmt: Statement, first: Sequence[str] = ()) -> Statement:
    """The statement with numbers for its indices, `first` the first of them, and no name for its target."""
    nameless = replace(stmt, target=replace(stmt.target, tensor=""))
    return Renaming(indices=_numbers((*first, *indices_within(stmt)))).statement(nameless)


def _numbers(indices: Iterable[str]) -> dict[str, str]:
    return {i: str(k) for k, i in enumerate(dict.fromkeys(indices)) if i != DOTS}


# -- targets of plain indices ------------------------------------------------------------------------


def plain(subscripts: Sequence[Subscript]) -> tuple[Subscript, ...]:
    """Plain indices for the axes of a target, its own where they are plain and different."""
    fresh = (i for i in lettered("ijklmnopqrstuvwxyz") if all(i not in indices_of(s) for s in subscripts))
    seen: set[str] = set()
    found: list[Subscript] = []
    for s in subscripts:
        if isinstance(s, Dots) or (isinstance(s, Index) and s.name not in seen):
            seen.update(indices_of(s))
            found.append(s)
        else:
            found.append(Index(next(fresh)))
    return tuple(found)


def is_plain(target: Access) -> bool:
    """Whether each axis has an index of its own."""
    names = [s.name if isinstance(s, Index) else DOTS if isinstance(s, Dots) else None for s in target.subscripts]
    return None not in names and len(set(names)) == len(names)
