"""Values as tensors: where the points of a statement are written, and what comes of points that meet.

In: a value over the free indices of a statement, its target. Out: code of the tensor. The one rule: what is written
nowhere holds the operator's identity, so that a tensor is its old value combined with what is placed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from math import prod

from ...plan.operators import identity
from ...plan.subscripts import Subscribed
from ...plan.views import Row
from ...program.ir import Access, indices_of
from .lines import Arr, number
from .reading import TAPS, check, position_of, positions
from .scope import Around, radix

COMBINE = {"=": "({0} + {1})", "+=": "({0} + {1})", "*=": "({0} * {1})"}
COMBINE |= {"max=": "jnp.maximum({0}, {1})", "min=": "jnp.minimum({0}, {1})"}
_SCATTER = {"=": "add", "+=": "add", "*=": "multiply", "max=": "max", "min=": "min"}


def unit(a: Around, op: str, dtype: str) -> str:
    """Code of an operator's identity; the ends of a type that jax may have shorter are asked for where it runs."""
    if op in ("max=", "min=") and dtype == "int64":
        return f"jnp.iinfo({a.w.kind(dtype)}).{'min' if op == 'max=' else 'max'}"
    return number(identity(op, dtype))


class Target:
    """Where a statement writes: `dtype` is that of its tensor as it is computed, `ends` that of its identity."""

    def __init__(self, a: Around, access: Access, op: str, ends: str) -> None:
        self.a, self.access, self.op, self.ends = a, access, op, ends
        self.dtype = a.b.dtypes[access.tensor]
        self.shape = a.b.shapes[access.tensor]
        self.known = [a.subscribed(access, k) for k in range(len(access.subscripts))]

    def full(self) -> str:
        """Code of a tensor that nothing was written to."""
        return f"jnp.full({self.shape}, {unit(self.a, self.op, self.ends)}, {self.a.w.kind(self.dtype)})"

    def combined(self, old: str | None, new: str) -> str:
        return new if old is None else COMBINE[self.op].format(old, new)

    @property
    def taps(self) -> tuple[str, ...] | None:
        """The indices to go through one by one so that no two points meet; None where that is not known."""
        uses = Counter(i for at in self.known if at.row is not None for i, _ in at.row.coefs)
        sizes, found = self.a.sizes, list[str]()
        for k, at in enumerate(self.known):
            if at.row is None or not self.stays(k, at.row) or any(uses[i] > 1 for i, _ in at.row.coefs):
                return None
            if len(at.row.coefs) > 1 and radix(at.row, self.a.extents) is None:
                *short, _ = sorted([i for i, _ in at.row.coefs], key=lambda i: sizes[i])
                found += short
        return tuple(found) if prod(sizes[i] for i in found) <= TAPS else None

    def stays(self, axis: int, row: Row) -> bool:
        """Whether what leaves an axis is dropped, if anything does."""
        boundary = self.known[axis].boundary
        low, high = row.interval(self.a.extents)
        return boundary is None or boundary.kind == "pad" or (low >= 0 and high < self.shape[axis])

    def write(self, make: Callable[[Around], Arr], cheap: bool, old: str | None) -> str:
        """Code of the tensor with what `make` makes of the points; a value that is `cheap` is made for each tap."""
        a, taps = self.a, self.taps
        if taps is None:
            return self.scattered(make(a), old)
        for k, at in enumerate(self.known):
            if not at.safe and at.row is not None:
                check(a, self.access, k, position_of(a, at.row.shifted(at.lo)), at.end)
        if not taps:
            return self.combined(old, self.placed(make(a), self.known))
        whole = None if cheap else make(a)
        for values in product(*(range(*a.extents[i]) for i in taps)):
            point = dict(zip(taps, values, strict=True))
            inner = Target(a.tapped(point), self.access, self.op, self.ends)
            part = make(inner.a) if whole is None else _taken(a, whole, point)
            old = a.w.let("sums", self.combined(old, inner.placed(part, inner.known)))
        assert old is not None
        return old

    # -- no two points meet --------------------------------------------------------------------

    def placed(self, value: Arr, known: Sequence[Subscribed]) -> str:
        """Code of a tensor that holds the values, and elsewhere the identity."""
        a, w = self.a, self.a.w
        rows = [at.row for at in known]
        order, shape, merged = list[str](), list[str](), False
        widths, turned = list[tuple[int, int, int]](), list[int]()
        for k, row in enumerate(rows):
            assert row is not None
            low, high = row.interval(a.extents)
            names = [i for i, _ in row.coefs]
            step = 1
            if len(names) > 1:
                names, merged = list(radix(row, a.extents) or ()), True
            elif names:
                step = abs(row.coefs[0][1])
                turned += [k] if row.coefs[0][1] < 0 else []
            if high < 0 or low >= self.shape[k]:
                return self.full()
            order += names
            count = prod(a.sizes[i] for i in names)
            shape.append(str(count))
            widths.append((low, self.shape[k] - 1 - low - step * (count - 1), step - 1))
        found = w.whole(value, order, a.sizes)
        code = found.code
        if merged or len(order) < len(rows):
            code = w.let("v", f"{code}.reshape(({', '.join(shape)}{',' * (len(shape) == 1)}))")
        if turned:
            code = w.let("v", f"lax.rev({code}, {tuple(turned)})")
        if any(width != (0, 0, 0) for width in widths):
            fill = f"jnp.asarray({unit(a, self.op, self.ends)}, {w.kind(self.dtype)})"
            code = w.let("placed", f"lax.pad({code}, {fill}, {widths})")
        return code

    # -- points may meet -----------------------------------------------------------------------

    def scattered(self, value: Arr, old: str | None) -> str:
        """Code of the tensor with values combined into it at positions, in any order; what lies outside is dropped."""
        a, w = self.a, self.a.w
        own = [i for i in a.order if i not in a.at and i in self.free]
        rows = self.rows()
        places = dict[int, Arr]()
        for k, at in enumerate(self.known):
            if k not in rows:
                size = self.shape[k]
                p, _ = positions(a, self.access, k, at)
                outside = f"(({p.code} < 0) | ({p.code} >= {size}))"
                places[k] = w.solid(w.made(p, f"jnp.where({outside}, {size}, {p.code})", p.axes, "p"))
        order = [i for i in own if any(i in p.axes for p in places.values())]
        assert {*order, *rows.values()} == {*own}, "a free index says where"
        numbers = sorted(places)
        first = numbers[0] if numbers and numbers == list(range(numbers[0], numbers[-1] + 1)) else 0
        before = [rows[k] for k in sorted(rows) if k < first]  # what is taken apart stands in front
        value = w.whole(value, [*before, *order, *(i for i in rows.values() if i not in before)], a.sizes)
        index = ", ".join(w.beside(places[k], order) if k in places else ":" for k in range(len(self.known))) or "..."
        base = old if old is not None else w.let("sums", self.full())
        return f'{base}.at[{index}].{_SCATTER[self.op]}({value.code}, mode="drop")'

    def rows(self) -> dict[int, str]:
        """The axes that are written whole, as they lie, with their indices."""
        uses = Counter(i for s in self.access.subscripts for i in set(indices_of(s)))
        found: dict[int, str] = {}
        for k, at in enumerate(self.known):
            if at.row is None or not at.safe or len(at.row.coefs) != 1 or len(found) + 1 == len(self.known):
                continue
            ((index, coef),) = at.row.coefs
            whole = at.row.interval(self.a.extents) == (0, self.shape[k] - 1) and coef == 1
            if whole and uses[index] == 1:
                found[k] = index
        return found

    @property
    def free(self) -> frozenset[str]:
        return frozenset(indices_of(self.access))


def _taken(a: Around, value: Arr, at: dict[str, int]) -> Arr:
    """The value at one value of some indices."""
    index, axes = [], list(value.axes)
    for i in value.axes:
        index.append(str(at[i] - a.extents[i][0]) if i in at else ":")
        if i in at:
            axes.remove(i)
    if len(axes) == len(value.axes):
        return value
    return a.w.made(value, f"{value.code}[{', '.join(index)}]", axes, "tap")
