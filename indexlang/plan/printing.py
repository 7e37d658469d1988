"""A Plan in words and as data: each step with its place, its kernel and what it reads.

In: a Plan. Out: text, or JSON. The one rule: nothing is told that the Plan does not hold; the text has each step, JSON
all the rest, too: buffers, extents, dtypes.

A view is written as an access, `x[i + k, 2*j]`; an array of a block by its indices, `part<i, j>`. Indices `?1`, `?2`
are the planner's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from .kernels import (
    Einsum,
    Fading,
    Grouped,
    Kernel,
    Label,
    Map,
    Order,
    Product,
    Ranged,
    Rank,
    Running,
    Scatter,
    Search,
    Select,
    Take,
)
from .operators import REDUCTIONS
from .places import Part, Place, View
from .plan import Check, Either, Leave, Loop, Make, Plan, Recipe, Run, Step, Within
from .planning import made_of
from .quantities import Apply, Count, Load, Number, Position, Reach, Reduced, Value
from .views import Row

INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
    "eq": "==", "ne": "!=", "and": "and", "or": "or", "floordiv": "//", "mod": "%",
}  # fmt: skip


HOW = {"serial": "", "backwards": " backwards", "thread": " in threads"}


def steps_text(plan: Plan) -> str:
    """The sections of `plan` with their steps, one a line."""
    lines: list[str] = []
    for table in plan.tables:
        bounds = ", ".join(f"{i}={lo}..{hi - 1}" for i, (lo, hi) in table.extents)
        lines.append(f"table {table.buffer.name}[{bounds}] = {_value(table.value)}")
    for section in plan.sections:
        lines += [f"# {record.statement}" for record in section.records]
        lines += _steps(section.steps, "  ")
    lines += [f"give {tensor} = {_place(place)} as {dtype}" for tensor, place, dtype in plan.outputs]
    if plan.instead is not None:
        lines.append(f"if not finite({', '.join(map(_place, plan.finite))}):")
        lines += [f"  {line}" for line in steps_text(made_of(plan.instead)).splitlines()]
    return "\n".join(lines)


def _steps(steps: Sequence[Step], indent: str) -> Iterator[str]:
    for step in steps:
        match step:
            case Loop(index=index, by=by, steps=inner, how=how, begin=begin, end=end):
                ends = f" from {begin}" * bool(begin) + f" to {end}" * (end is not None)
                sums = "".join(f", {_place(part)} {op} of its own" for part, op in step.sums)
                each = f"by {by}" if by else "one by one"
                yield f"{indent}for {index} {each}{ends}{HOW[how]}{sums}:"
                yield from _steps(inner, indent + "  ")
            case Within(index=index, begin=first, end=last, steps=inner):
                yield f"{indent}{index} from {_value(first)} to {_value(last)}:"
                yield from _steps(inner, indent + "  ")
            case Make(part=part, op=op):
                yield f"{indent}make {_place(part)} {part.buffer.dtype}{f' for {op}' if op else ''}"
            case Run(place=place, op=op, kernel=kernel):
                yield f"{indent}{_place(place)} {op} {_kernel(kernel)}"
            case Either(condition=condition, first=first, second=second):
                yield f"{indent}if {_value(condition)}:"
                yield from _steps(first, indent + "  ")
                if second:
                    yield f"{indent}else:"
                    yield from _steps(second, indent + "  ")
            case Leave(condition=condition):
                yield f"{indent}leave unless {_value(condition)}"
            case Check(position=position, end=end, admitted=admitted):
                where = f" where {_value(admitted)}" if admitted is not None else ""
                yield f"{indent}check 0 <= {_value(position)} < {end}{where}"


def _place(place: Place) -> str:
    match place:
        case View(buffer=buffer, rows=rows):
            return f"{buffer.name}[{', '.join(_row(row) for row in rows)}]"
        case Part(buffer=buffer, indices=indices, moved=moved):
            along = {i: _row(Row(start, ((run, step),))) for i, run, start, step in moved}
            return f"{buffer.name}<{', '.join(along.get(i, i) for i in indices)}>"


def _row(row: Row) -> str:
    text = " + ".join(i if c == 1 else f"{c}*{i}" for i, c in row.coefs)
    if not text:
        return str(row.const)
    return f"{text} {'+' if row.const > 0 else '-'} {abs(row.const)}" if row.const else text


def _kernel(kernel: Kernel) -> str:
    match kernel:
        case Map(value=value):
            return _value(value)
        case Take(source=source, at=at):
            return f"take {_place(source)} at {', '.join(f'{i} = {_value(v)}' for i, v in at)}"
        case Product(left=left, right=right, roles=r, by=by):
            groups = " x ".join(f"({', '.join(g)})" for g in (r.batch, r.rows, r.columns, r.summed))
            return f"{by} {_place(left)} by {_place(right)} over batch x rows x columns x summed {groups}"
        case Grouped(left=left, right=right, roles=r, mark=mark, at=at, points=points):
            groups = " x ".join(f"({', '.join(g)})" for g in (r.rows, r.columns, r.summed))
            what = f"{_place(left)} by {_place(right)} over rows x columns x summed {groups}"
            return f"matmul {what} at {mark} = {_value(at)} for each {', '.join(points)} in groups"
        case Einsum(factors=factors):
            return f"sum of {' * '.join(_value(v) for v in factors)}"
        case Running(op=op, source=source, along=along, backwards=backwards):
            return f"running {REDUCTIONS.get(op, op)} of {_place(source)} along {along}{' backwards' * backwards}"
        case Ranged(op=op, source=source, along=along, begin=begin, end=end):
            return f"{REDUCTIONS.get(op, op)} of {_place(source)} along {along} from {_value(begin)} to {_value(end)}"
        case Fading(source=source, fades=fades, along=along, backwards=backwards):
            return f"fading sum of {_place(source)} by {_place(fades)} along {along}{' backwards' * backwards}"
        case Order(source=source, rank=rank):
            return f"order of {_place(source)} by {rank}"
        case Rank(source=source, value=value, equal=equal):
            return f"how many of {_place(source)} are {'not greater' if equal else 'less'} than {_value(value)}"
        case Label(source=source, over=over):
            return f"a number for each value of {_place(source)} along {', '.join(over)}"
        case Search(op=op, value=value, over=over, admitted=admitted, by=by, best=best):
            where = f" where {_value(admitted)}" if admitted is not None else ""
            known = f", the best in {_place(best)}" if best is not None else ""
            rows = f", rows of {', '.join(kernel.inner)}" if kernel.inner else ""
            return f"{op}[{', '.join(over)}]({_value(value)}){where} by {by}{known}{rows}"
        case Select(value=value, condition=condition, among=among):
            return f"{_value(value)} where {_value(condition)} for each {', '.join(among)}"
        case Scatter(at=at, value=value, points=points, admitted=admitted, by=by):
            what = "1" if value is None else _value(value)
            where = f" where {_value(admitted)}" if admitted is not None else ""
            to = ", ".join(f"{i} = {_value(v)}" for i, v in at)
            return f"scatter {what} over {', '.join(points)} to {to}{where} by {by}"


def _value(value: Value) -> str:
    match value:
        case Number(value=number):
            return repr(number)
        case Reach(row=row, most=most):
            return f"{'greatest' if most else 'least'}({_row(row)})"
        case Position(index=index):
            return index
        case Count(over=over):
            return f"count({', '.join(over)})"
        case Load(place=place, at=at):
            return _place(place) + "".join(f" at {i} {n}" for i, n in at)
        case Apply(fn=fn, args=(a, b)) if fn in INFIX:
            return f"({_value(a)} {INFIX[fn]} {_value(b)})"
        case Apply(fn="cast", args=(a,), dtype=dtype):
            return f"{dtype}({_value(a)})"
        case Apply(fn=fn, args=args):
            return f"{fn}({', '.join(_value(a) for a in args)})"
        case Reduced(op=op, value=inner, over=over):
            return f"{op}[{', '.join(over)}]({_value(inner)})"


def as_json(plan: Plan) -> str:
    """The whole `plan` as JSON: each node an object with its kind, numbers and names as they are."""
    return json.dumps(_data(plan), indent=1)


def _data(node: Any) -> Any:
    if isinstance(node, Recipe):
        return _data(made_of(node))
    if is_dataclass(node) and not isinstance(node, type):
        kept = {f.name: _data(getattr(node, f.name)) for f in fields(node) if f.init and f.name not in ("span",)}
        return {"kind": type(node).__name__, **kept}
    if isinstance(node, tuple | list | frozenset):
        return [_data(part) for part in node]
    if isinstance(node, dict):
        return {str(key): _data(part) for key, part in node.items()}
    if isinstance(node, float) and (node != node or abs(node) == float("inf")):
        return str(node)
    return node if isinstance(node, int | float | str | bool | type(None)) else str(node)
