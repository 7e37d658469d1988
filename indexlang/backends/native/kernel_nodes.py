"""What the kernels of a Plan give at each point, as nodes.

In: a kernel of a Run. Out: a value with its type. Errors: `UnsupportedError`. The one rule: a kernel is what it means
at one point; by which way the Plan would have made it is of no matter here.
"""

from __future__ import annotations

from math import prod

from ...plan.kernels import Einsum, Kernel, Map, Product, Scatter, Search, Select, Take
from ...plan.operators import identity
from ...plan.places import Place
from ...plan.quantities import Apply, Load, Number, Position, Reduced, Value
from .meaning import Meaning, Typed, UnsupportedError, unit
from .nodes import Access, Moved, Node, Store, without


def indices_of(kernel: Kernel, place: Place) -> frozenset[str]:
    """The indices of what is brought to a place; those that the place lacks are brought together by its operator."""
    return value_of(kernel, place).indices if isinstance(kernel, Map | Select | Einsum | Product) else frozenset()


def typed(meaning: Meaning, kernel: Kernel, place: Place) -> Typed:
    """What a kernel gives at a point of its place."""
    match kernel:
        case Take():
            return _taken(meaning, kernel)
        case Search():
            return _searched(meaning, kernel)
        case _:
            return meaning.typed(value_of(kernel, place))


def value_of(kernel: Kernel, place: Place) -> Value:
    """A kernel as a value, where there is one."""
    kind = place.buffer.dtype
    match kernel:
        case Map(value=value):
            return value
        case Select(value=value, condition=condition):
            return Apply("select", (condition, value, Number(0, kind)), kind)
        case Einsum(factors=factors):
            return _multiplied(factors, kind, None, place)
        case Product(left=left, right=right, roles=roles):
            sides = (Load(left, left.buffer.dtype), Load(right, right.buffer.dtype))
            return _multiplied(sides, kind, roles.summed, place)
        case _:
            raise UnsupportedError(type(kernel).__name__)


def _multiplied(factors: tuple[Value, ...], kind: str, summed: tuple[str, ...] | None, place: Place) -> Value:
    """A product of values, summed over some indices: where these are not said, over what the place lacks."""
    value = factors[0]
    for factor in factors[1:]:
        value = Apply("mul", (value, factor), kind)
    lacking = value.indices - set(place.mentioned) if summed is None else value.indices & set(summed)
    return Reduced("sum", value, tuple(sorted(lacking))) if lacking else value


def _taken(meaning: Meaning, kernel: Take) -> Typed:
    """Elements at positions."""
    if any(meaning.length(mark) == 0 for mark, _ in kernel.at):
        return Typed(meaning.nodes.constant(0, kernel.source.buffer.dtype))
    return Typed(meaning.nodes.element(*_at_positions(meaning, meaning.access(kernel.source), kernel.at)))


def _at_positions(
    meaning: Meaning, access: Access, at: tuple[tuple[str, Value], ...]
) -> tuple[Access, Moved, tuple[int, int]]:
    """An access with indices that stand for axes at positions: affine where these are indices, else moved by them."""
    moved: list[tuple[Node, int]] = []
    low = high = 0
    for mark, position in at:
        step = access.step(mark)
        access = without(access, mark)
        if isinstance(position, Position):
            access = meaning.along(access, position.index, step)
        elif step:
            moved.append((meaning.node(position, "int64"), step))
            end = step * (meaning.length(mark) - 1)
            low, high = low + min(end, 0), high + max(end, 0)
    return access, tuple(moved), (low, high + 1) if moved else (0, 1)


def scattered(meaning: Meaning, kernel: Scatter, place: Place, op: str) -> Store | None:
    """Values brought to the elements at positions, point by point; None where there are no points."""
    if op == "=":
        raise UnsupportedError("elements at positions replaced")
    if any(meaning.length(i) == 0 for i in (*kernel.points, *kernel.rest, *(m for m, _ in kernel.at))):
        return None
    nodes, kind = meaning.nodes, place.buffer.dtype
    access, moved, reach = _at_positions(meaning, meaning.access(place), kernel.at)
    found = meaning.typed(Number(1, kind) if kernel.value is None else kernel.value)
    node = meaning.cast(found, kind)
    if kernel.admitted is not None:
        other = nodes.constant(identity("+=" if op == "-=" else op, kind), kind)
        node = nodes.call("select", (meaning.truth(meaning.typed(kernel.admitted)), node, other), kind)
    telling = access.indices.union(*(n.indices for n, _ in moved))
    free = [i for i in (*kernel.points, *kernel.rest) if meaning.length(i) > 1]
    extra = [i for i in free if i not in telling]
    if any(i not in node.indices for i in extra):
        raise UnsupportedError("a value at several points of one element")
    value = meaning.put(access, op, Typed(node), extra, moved, reach)
    own = tuple(i for i in free if i in telling)
    met = frozenset(i for i in own if i in kernel.points)
    return Store(access, value, own, met, moved, reach)


def _searched(meaning: Meaning, kernel: Search) -> Typed:
    """The position of the best, or logsumexp."""
    nodes, inner = meaning.nodes, meaning.typed(kernel.value)
    node = meaning.cast(inner, kernel.value.dtype if inner.weak else inner.dtype)
    own = tuple(i for i in kernel.over if meaning.length(i) > 1)
    if any(meaning.length(i) == 0 for i in kernel.over):
        return Typed(nodes.constant(float("-inf") if kernel.op == "logsumexp" else 0, "float64"), weak=True)
    if kernel.op == "logsumexp":
        if any(i not in node.indices for i in own):
            raise UnsupportedError("a sum over what a value lacks")
        return _log_of_sum(meaning, kernel, Typed(node), own)
    node = nodes.call("cast", (node,), "uint8") if node.dtype == "bool" else node
    if not own:
        return Typed(nodes.constant(0, "int64"))
    count = prod(meaning.length(i) for i in own)
    place = "int32" if count < 1 << 31 else "int64"
    if kernel.admitted is None:
        return Typed(_winner(meaning, kernel.op, node, own, place))
    worst = nodes.constant(unit("greatest" if kernel.op == "argmax" else "least", node.dtype), node.dtype)
    admitted = meaning.truth(meaning.typed(kernel.admitted))
    found = _winner(meaning, kernel.op, nodes.call("select", (admitted, node, worst), node.dtype), own, place)
    first = _winner(meaning, "argmax", nodes.call("cast", (admitted,), "uint8"), own, place)
    # A refused point wins only where all that are admitted are the worst there is.
    better = nodes.call("and", (admitted, nodes.call("ne", (node, worst), "bool")), "bool")
    return Typed(nodes.call("select", (nodes.fold("any", better, own, "bool"), found, first), place))


def _winner(meaning: Meaning, op: str, node: Node, own: tuple[str, ...], kind: str) -> Node:
    """The position of the first winner in the box of indices."""
    if any(i not in node.indices for i in own):
        raise UnsupportedError("a search along what a value lacks")
    return meaning.nodes.fold(op, node, own, kind)


def _log_of_sum(meaning: Meaning, kernel: Search, x: Typed, own: tuple[str, ...]) -> Typed:
    """log(sum(exp(x))), beyond what exp can hold."""
    nodes, kind = meaning.nodes, x.dtype
    if not kind.startswith("float"):
        raise UnsupportedError("logsumexp of integers")
    least, zero = nodes.constant(float("-inf"), kind), nodes.constant(0.0, kind)
    value, admitted = x.node, None
    if kernel.admitted is not None:
        admitted = meaning.truth(meaning.typed(kernel.admitted))
        value = nodes.call("select", (admitted, value, least), kind)
        own = tuple(i for i in own if i in value.indices)
    most = nodes.fold("greatest", value, own, kind)
    size = nodes.call("abs", (most,), kind)
    finite = nodes.call("lt", (size, nodes.constant(float("inf"), kind)), "bool")
    shift = nodes.call("select", (finite, most, zero), kind)
    power = meaning.called("exp", [nodes.call("sub", (x.node, shift), kind)], kind)
    if admitted is not None:
        power = nodes.call("select", (admitted, power, zero), kind)
    total = nodes.fold("sum", power, own, kind)
    return Typed(nodes.call("add", (meaning.called("log", [total], kind), shift), kind))
