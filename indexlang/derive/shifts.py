"""What a result does not depend on: a maximum that is subtracted and cancels.

In: a Program without embedded reductions. Out: the tensors made by `max=` and `min=` on which no output depends,
because what is subtracted from an exponent is divided out, or added again: `exp(s - m) / z`, `m + log(z)`.
The one rule: all that depends on such an m is followed, and must either be shifted by it (s - m), or be a multiple of
a power of exp(m), until nothing is left of it; whatever else reads it, and every output on the way, ends the search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from ..program.algebra import exact
from ..program.ir import (
    Access,
    Call,
    Dots,
    Expr,
    Index,
    Program,
    Reduce,
    Statement,
    Subscript,
    reads_of,
    walk,
)

_ZERO = Fraction(0)
_MOST = 64  # tensors that are followed


@dataclass(frozen=True)
class _Weight:
    """How a value depends on one element of m: it is exp(scale*m) times, or shift*m plus, what does not depend on it.

    `place` are the subscripts of that element.
    """

    scale: Fraction = _ZERO
    shift: Fraction = _ZERO
    place: tuple[Subscript, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.scale or self.shift)


@dataclass(frozen=True)
class _Tensor:
    """A tensor's weight; `axes` are those that have the element's subscripts, `rank` is how many axes there are."""

    weight: _Weight
    axes: tuple[int, ...] = ()
    rank: int = 0


_FREE = _Weight()  # of what does not depend on m; where a value depends on it in another way, there is no weight


def cancelled(program: Program) -> frozenset[str]:
    """The tensors made by max= and min= that no output depends on."""
    makers: dict[str, list[int]] = {}
    readers: dict[str, dict[str, None]] = {}
    for k, stmt in enumerate(program.statements):
        makers.setdefault(stmt.target.tensor, []).append(k)
        for name in reads_of(stmt):
            readers.setdefault(name, {})[stmt.target.tensor] = None
    extrema = dict.fromkeys(s.target.tensor for s in program.statements if _is_extremum(s))
    inner = (m for m in extrema if m not in program.outputs and m not in program.inputs)
    return frozenset(m for m in inner if _cancels(m, program, makers, readers))


def _is_extremum(stmt: Statement) -> bool:
    return stmt.op in ("max=", "min=") or (isinstance(stmt.value, Reduce) and stmt.value.op in ("max", "min"))


def _cancels(m: str, program: Program, makers: Mapping[str, list[int]], readers: Mapping[str, dict[str, None]]) -> bool:
    rank = len(program.statements[makers[m][0]].target.subscripts)
    known = {m: _Tensor(_Weight(shift=Fraction(1)), tuple(range(rank)), rank)}
    left = {t: makers[t][-1] for t in readers.get(m, ())}
    for _ in range(_MOST):
        if not left:
            return True
        tensor = min(left, key=left.__getitem__)  # all that it is made of comes before it, but in blocks
        if program.statements[left[tensor]].block is not None:
            return False
        del left[tensor]
        found = _made([program.statements[k] for k in makers[tensor]], known)
        if found is None or (found.weight and tensor in program.outputs):
            return False
        if found.weight:
            known[tensor] = found
            left.update((t, makers[t][-1]) for t in readers.get(tensor, ()))
    return False


def _made(statements: Sequence[Statement], known: Mapping[str, _Tensor]) -> _Tensor | None:
    """What a tensor is by all its statements."""
    found = {_of_statement(s, known) for s in statements}
    tensor = found.pop()
    if found or tensor is None or not tensor.weight:
        return None if found else tensor
    only = statements[0]
    whole = len(statements) == 1 and not (only.reduced or only.domain.masks or only.domain.ranges)
    if all(s.op in ("=", "+=") for s in statements):
        return tensor if whole or not tensor.weight.shift else None
    chosen = all(s.op in ("max=", "min=") for s in statements)
    return tensor if chosen and not tensor.weight.scale else None


def _of_statement(stmt: Statement, known: Mapping[str, _Tensor]) -> _Tensor | None:
    bounds = (b for r in stmt.domain.ranges for b in (r.lo, r.hi) if b is not None)
    inside = [stmt.value.domain] if isinstance(stmt.value, Reduce) else []
    deciding = (*bounds, *stmt.target.subscripts, *(m for d in (stmt.domain, *inside) for m in d.masks))
    weight = None if any(_mentions(d, known) for d in deciding) else _of_expr(stmt.value, known)
    if not weight:
        return None if weight is None else _Tensor(_FREE)
    target = stmt.target.subscripts
    axes = tuple(target.index(s) for s in weight.place if isinstance(s, Index | Dots) and s in target)
    return _Tensor(replace(weight, place=()), axes, len(target)) if len(axes) == len(weight.place) else None


def _mentions(node: Subscript, known: Mapping[str, _Tensor]) -> bool:
    return any(isinstance(p, Access) and p.tensor in known for p in walk(node))


def _of_expr(expr: Expr, known: Mapping[str, _Tensor]) -> _Weight | None:
    match expr:
        case Access(name, subscripts):
            tensor = known.get(name)
            if any(_mentions(s, known) for s in subscripts) or (tensor and tensor.rank != len(subscripts)):
                return None
            return _FREE if tensor is None else replace(tensor.weight, place=tuple(subscripts[a] for a in tensor.axes))
        case Call(fn, args):
            inner: list[_Weight] = []
            for arg in args:
                weight = _of_expr(arg, known)
                if weight is None:
                    return None
                inner.append(weight)
            places = {w.place for w in inner if w}
            if len(places) > 1:
                return None
            found = _of_call(fn, args, inner) if places else _FREE
            return replace(found, place=places.pop()) if found else found
        case Reduce(op, domain, body):
            weight = _of_expr(body, known)
            kept = op == "logsumexp" and weight is not None and not weight.scale
            return weight if not weight or (kept and not {*map(Index, domain.indices)} & {*weight.place}) else None
        case _:
            return _FREE


def _of_call(fn: str, args: Sequence[Expr], inner: Sequence[_Weight]) -> _Weight | None:
    """The weight of a function's value, without its place."""
    first, last = inner[0], inner[-1]
    match fn:
        case "add" | "sub" if first.scale == last.scale:
            shift = first.shift + (last.shift if fn == "add" else -last.shift)
            return None if first.scale and shift else _Weight(first.scale, shift)
        case "neg":
            return _Weight(first.scale, -first.shift)
        case "exp" if not first.scale:
            return _Weight(scale=first.shift)
        case "log" if not first.shift:
            return _Weight(shift=first.scale)
        case "mul" | "div" if not first.shift and not last.shift:
            return _Weight(first.scale + (last.scale if fn == "mul" else -last.scale))
        case "mul" | "div" if (number := exact(args[1])) is not None and number:
            return _Weight(shift=first.shift * (number if fn == "mul" else 1 / number))
        case "mul" if (number := exact(args[0])) is not None:
            return _Weight(shift=last.shift * number)
        case "pow" if not first.shift and not last and (number := exact(args[1])) is not None:
            return _Weight(scale=first.scale * number)
        case "where" if not first and replace(inner[1], place=()) == replace(last, place=()):
            return replace(last, place=())
        case _:
            return None
