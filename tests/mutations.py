"""Plans with one thing changed: what a planner that errs might say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from random import Random
from typing import Any

from indexlang.plan.kernels import (
    Fading,
    Grouped,
    Label,
    Order,
    Product,
    Ranged,
    Rank,
    Roles,
    Running,
    Scatter,
    Search,
    Select,
    Take,
)
from indexlang.plan.places import Buffer, Part, View
from indexlang.plan.plan import Check, Either, Loop, Make, Plan, Run, Section, Table
from indexlang.plan.quantities import Apply, Count, Load, Number, Position, Reduced
from indexlang.plan.views import Row

Path = tuple[str | int, ...]
DTYPES = ("bool", "int64", "float32", "float64", "complex128")


@dataclass(frozen=True)
class Mutation:
    """`where` something stands in a plan, what stood there and what stands there now."""

    where: Path
    before: Any
    after: Any

    def __str__(self) -> str:
        kind, where = type(self.before).__name__, ".".join(map(str, self.where))
        return f"{where}: {kind} {'; '.join(differing(self.before, self.after))}"


def differing(before: Any, after: Any) -> list[str]:
    """The fields in which two nodes differ."""
    if type(before) is not type(after) or not is_dataclass(before):
        return [f"{before!r} -> {after!r}"[:200]]
    pairs = ((f.name, getattr(before, f.name), getattr(after, f.name)) for f in fields(before))
    return [f"{name} {str(a)[:160]} -> {str(b)[:160]}" for name, a, b in pairs if a != b]


def places(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Everything that runs in a plan, with the way to it."""
    if is_dataclass(node):
        yield path, node
        for field in fields(node):
            if field.init and field.name not in ("records", "places", "shapes", "dtypes", "limits", "workspace"):
                yield from places(getattr(node, field.name), (*path, field.name))
    elif isinstance(node, tuple):
        yield path, node
        for k, part in enumerate(node):
            yield from places(part, (*path, k))


def changed(node: Any, path: Path, after: Any) -> Any:
    """The tree with another thing at the end of a way."""
    if not path:
        return after
    first, *rest = path
    if isinstance(first, int):
        return (*node[:first], changed(node[first], tuple(rest), after), *node[first + 1 :])
    return replace(node, **{first: changed(getattr(node, first), tuple(rest), after)})


def other(rng: Random, node: Any, path: Path, indices: tuple[str, ...], buffers: tuple[Buffer, ...]) -> Any:
    """Something else of the same kind; None where there is nothing to change."""
    index = lambda: rng.choice(indices) if indices else "i"  # noqa: E731
    by = rng.choice((-1, 1, 2))
    options: list[Callable[[], Any]]
    match node:
        case Row(const=const, coefs=coefs):
            options = [lambda: replace(node, const=const + by), lambda: replace(node, coefs=(*coefs, (index(), by)))]
            if coefs:
                k = rng.randrange(len(coefs))
                i, c = coefs[k]
                options += [
                    lambda: replace(node, coefs=(*coefs[:k], *coefs[k + 1 :])),
                    lambda: replace(node, coefs=(*coefs[:k], (i, c + by or 3), *coefs[k + 1 :])),
                    lambda: replace(node, coefs=(*coefs[:k], (index(), c), *coefs[k + 1 :])),
                ]
        case Buffer(shape=shape, dtype=dtype):
            options = [
                lambda: replace(node, dtype=rng.choice([d for d in DTYPES if d != dtype])),
                lambda: replace(node, name=f"{node.name}_"),
                lambda: rng.choice(buffers),
                lambda: replace(node, shape=(*shape, 1)),
                lambda: replace(node, shape=shape[1:] if shape else (2,)),
                lambda: replace(node, shape=tuple(max(0, n + rng.choice((-1, 0, 1))) for n in shape)),
                lambda: replace(node, role=rng.choice(("input", "tensor", "workspace", "table"))),
            ]
        case View(rows=rows):
            options = [lambda: replace(node, rows=rows[1:]), lambda: replace(node, rows=rows[::-1])]
        case Part(indices=own):
            options = [
                lambda: replace(node, indices=own[::-1]),
                lambda: replace(node, indices=own[1:]),
                lambda: replace(node, indices=(*own, index())),
                lambda: replace(node, indices=tuple(index() for _ in own)),
            ]
        case Load(dtype=dtype, at=at):
            options = [
                lambda: replace(node, dtype=rng.choice([d for d in DTYPES if d != dtype])),
                lambda: replace(node, at=(*at, (index(), rng.choice((-1, 0, 5))))),
            ]
        case Number() | Position() | Count():
            options = [lambda: replace(node, dtype=rng.choice(DTYPES))]
            if not isinstance(node, Number):
                options.append(lambda: Position(index()) if isinstance(node, Position) else Count((index(),)))
        case Apply(args=args):
            options = [
                lambda: replace(node, dtype=rng.choice([d for d in DTYPES if d != node.dtype])),
                lambda: replace(node, args=args[1:]),
                lambda: replace(node, args=(*args, args[0])),
                lambda: replace(node, args=args[::-1]) if len(args) > 1 else None,
                lambda: replace(node, fn=rng.choice(("add", "exp", "nothing", "select", "cast"))),
            ]
        case Reduced(over=over):
            options = [
                lambda: replace(node, over=over[1:]),
                lambda: replace(node, over=(*over, index())),
                lambda: replace(node, op=rng.choice(("sum", "any", "mean"))),
            ]
        case Roles():
            groups = [node.batch, node.rows, node.columns, node.summed]
            rng.shuffle(groups)
            options = [
                lambda: Roles(*groups),
                lambda: replace(node, rows=node.rows[::-1]),
                lambda: replace(node, summed=node.summed[1:]),
                lambda: replace(node, summed=(*node.summed, index())),
                lambda: replace(node, columns=(*node.columns, index())),
            ]
        case Product():
            options = [
                lambda: replace(node, by=rng.choice(("matmul", "einsum", "einsum apart", "hand"))),
                lambda: replace(node, left=node.right, right=node.left),
            ]
        case Grouped():
            options = [
                lambda: replace(node, points=node.points[1:]),
                lambda: replace(node, points=(*node.points, index())),
                lambda: replace(node, mark=index()),
                lambda: replace(node, left=node.right, right=node.left),
            ]
        case Running():
            options = [
                lambda: replace(node, along=index()),
                lambda: replace(node, op=rng.choice(("sum", "argmax", "+="))),
            ]
        case Ranged():
            options = [
                lambda: replace(node, along=index()),
                lambda: replace(node, begin=node.end, end=node.begin),
                lambda: replace(node, op=rng.choice(("sum", "argmax", "max="))),
            ]
        case Fading():
            options = [
                lambda: replace(node, along=index()),
                lambda: replace(node, fades=node.source),
            ]
        case Order():
            options = [lambda: replace(node, rank=index())]
        case Rank():
            options = [lambda: replace(node, value=Number(1, rng.choice(DTYPES))), lambda: replace(node, equal=True)]
        case Label():
            options = [lambda: replace(node, over=(index(),)), lambda: replace(node, over=node.over[1:])]
        case Take(at=at):
            options = [lambda: replace(node, at=at[1:]), lambda: replace(node, at=((index(), at[0][1]), *at[1:]))]
        case Scatter(at=at):
            options = [
                lambda: replace(node, points=node.points[1:]),
                lambda: replace(node, rest=(*node.rest, index())),
                lambda: replace(node, at=((index(), at[0][1]), *at[1:])),
                lambda: replace(node, value=None),
                lambda: replace(node, admitted=None if node.admitted else node.value),
                lambda: replace(node, by=rng.choice(("count", "join", "hand"))),
            ]
        case Search():
            options = [
                lambda: replace(node, over=node.over[1:]),
                lambda: replace(node, over=(*node.over, index())),
                lambda: replace(node, by=rng.choice(("array", "window", "hand"))),
                lambda: replace(node, op=rng.choice(("argmax", "logsumexp", "mean"))),
            ]
        case Select():
            options = [lambda: replace(node, among=node.among[1:]), lambda: replace(node, among=(*node.among, index()))]
        case Loop():
            options = [
                lambda: replace(node, by=rng.choice((-1, 0, 1, 3))),
                lambda: replace(node, begin=rng.choice((-1, 1, 9))),
                lambda: replace(node, end=rng.choice((-1, 0, 1, 99))),
                lambda: replace(node, index=index()),
                lambda: replace(node, how=rng.choice(("serial", "backwards", "thread", "wild"))),
                lambda: replace(node, steps=()),
                lambda: replace(node, sums=node.sums[1:]),
            ]
        case Make(op=op):
            options = [lambda: replace(node, op="" if op else "="), lambda: replace(node, op="sum")]
        case Run():
            options = [lambda: replace(node, op=rng.choice(("=", "+=", "*=", "max=", "-=", "?=")))]
        case Either():
            options = [lambda: replace(node, first=()), lambda: replace(node, second=())]
        case Check():
            options = [lambda: replace(node, end=node.end + by), lambda: replace(node, place=99)]
        case Section(extents=extents):
            options = [
                lambda: replace(node, extents=extents[1:]),
                lambda: ends(rng, node),
                lambda: replace(node, extents=(*extents, *extents[:1])),
            ]
        case Table(extents=extents):
            options = [lambda: ends(rng, node), lambda: replace(node, extents=extents[::-1])]
        case Plan(extents=extents):
            options = [
                lambda: ends(rng, node),
                lambda: replace(node, tables=node.tables[1:]),
                lambda: replace(node, outputs=tuple((t, p, rng.choice(DTYPES)) for t, p, _ in node.outputs)),
            ]
        case tuple() if path and path[-1] in ("steps", "first", "second", "sections") and node:
            k = rng.randrange(len(node))
            options = [
                lambda: (*node[:k], *node[k + 1 :]),
                lambda: (*node[: k + 1], *node[k:]),
                lambda: node[::-1] if len(node) > 1 else None,
            ]
        case _:
            return None
    return rng.choice(options)()


def ends(rng: Random, node: Any) -> Any:
    """One extent a little longer, shorter or further."""
    if not node.extents:
        return None
    k = rng.randrange(len(node.extents))
    i, (lo, hi) = node.extents[k]
    found = rng.choice(((lo, hi + 1), (lo, max(lo, hi - 1)), (lo + 1, hi + 1), (lo - 1, hi)))
    return replace(node, extents=(*node.extents[:k], (i, found), *node.extents[k + 1 :]))


def mutations(plan: Plan, seed: int, count: int) -> Iterator[tuple[Mutation, Plan]]:
    """Plans that differ from one in a single thing, or in a buffer wherever it is mentioned."""
    rng = Random(seed)
    found = list(places(replace(plan, instead=None)))
    buffers = tuple(dict.fromkeys(n for _, n in found if isinstance(n, Buffer)))
    kinds: dict[type, list[tuple[Path, Any]]] = {}
    for path, node in found:
        kinds.setdefault(type(node), []).append((path, node))
    for _ in range(count):
        path, node = rng.choice(kinds[rng.choice(list(kinds))])  # a rare kind as often as a common one
        indices = tuple({i: 0 for s in plan.sections for i, _ in s.extents})
        after = other(rng, node, path, indices, buffers)
        if after is None or after == node:
            continue
        if isinstance(node, Buffer) and rng.random() < 0.5:
            yield Mutation(path, node, after), everywhere(plan, node, after)
        else:
            yield Mutation(path, node, after), changed(plan, path, after)


def everywhere(node: Any, before: Buffer, after: Buffer) -> Any:
    """The tree with another buffer in the place of one."""
    if node == before:
        return after
    if is_dataclass(node) and not isinstance(node, type):
        kept = {f.name: getattr(node, f.name) for f in fields(node) if f.init and f.name not in ("records", "limits")}
        new = {n: everywhere(v, before, after) for n, v in kept.items() if not isinstance(v, str | int | dict)}
        return replace(node, **new)
    if isinstance(node, tuple):
        return tuple(everywhere(part, before, after) for part in node)
    return node
