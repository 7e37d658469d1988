"""The value of a statement as NumPy code: over its whole domain, masked and reduced, or as sums of products.

In: a statement whose sizes and dtypes are known, the free indices, a scope. Out: a `Value` over the free indices. The
one rule: a point that a mask refuses gives the operator's identity, whatever is computed there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from ...plan.kernels import itemsize, row_strides
from ...program.ir import Access, Call, Const, Expr, Reduce, Statement, Subscript, children, indices_of, walk
from .contractions import Contraction
from .reads import base, let_go, read
from .source import Operand, Scope, Writer, aligned, count_code, name_of, shape_code, sizes_of
from .sums import Sink
from .values import Lowering, Value, atom, conjunction, emit
from .writes import REDUCE, SUMS, scale, unit

Term = tuple[int, Expr]  # a sign and a product


class Evaluation:
    """A statement; its target is delivered in `dtype`, its value computed in `compute`."""

    def __init__(
        self, low: Lowering, stmt: Statement, extents: Mapping[str, tuple[int, int]], dtype: str, compute: str
    ) -> None:
        self.low, self.stmt, self.extents = low, stmt, extents
        self.writer: Writer = low.writer
        self.tensor, self.op, self.dtype, self.compute = stmt.target.tensor, stmt.op, dtype, compute
        self.root = stmt.value if isinstance(stmt.value, Reduce) else None
        self.value = stmt.value if self.root is None else self.root.body
        self.free = tuple(i for i in stmt.domain.indices if i in indices_of(stmt.target))
        self.summed = stmt.reduced if self.root is None else self.root.domain.indices
        own = () if self.root is None else self.root.domain.masks
        free = set(self.free)
        self.outer = tuple(m for m in stmt.domain.masks if set(indices_of(m)) <= free)
        self.inner = (*(m for m in stmt.domain.masks if m not in self.outer), *own)
        low.extents, low.masks = extents, (*stmt.domain.masks, *own)
        self.sizes = {i: hi - lo for i, (lo, hi) in extents.items()}
        self.notes: list[str] = []

    def evaluate(self, free: Sequence[str], scope: Scope) -> Value:
        """The value over `free`, masked and reduced over the reduced indices."""
        low, writer = self.low, self.writer
        summed = [i for i in self.summed if scope[i].width is not None]
        axes = [*free, *summed]
        value = emit(low, self.value, axes, scope)
        code, indices, kind = value.code, value.indices, self.compute
        fresh = value.fresh or (isinstance(self.value, Access) and let_go(low, self.value, scope))
        if value.python:
            code = f"np.asarray({code}, np.{name_of(kind)})"
        elif value.dtype != kind:
            code, fresh = f"{atom(code)}.astype(np.{name_of(kind)})", True
        masks = self.inner if summed else low.masks
        if masks:
            value = self.masked(Value(code, kind, indices), masks, axes, scope)
            code, indices, fresh = value.code, value.indices, True
        if not summed:
            return Value(code, kind, indices, fresh=fresh)
        if any(i in indices for i in summed):
            shown = _leading(axes, indices)
            places = [k - len(shown) for k, i in enumerate(shown) if i in summed]
            at = f"({', '.join(map(str, places))})" if len(places) > 1 else str(places[0])
            name = writer.fresh("all")
            writer.line(f"{name} = {code}")
            code = f"{REDUCE[self.op]}.reduce({name}, {at})"
        else:
            code = _dropped(code, axes, indices, summed)
        missing = [i for i in summed if i not in indices]
        if missing and self.op in (*SUMS, "*="):
            count = count_code(missing, scope)
            if count != "1":
                code = f"{atom(code)} ** ({count})" if self.op == "*=" else f"{atom(code)} * ({count})"
        indices = tuple(i for i in indices if i not in summed)
        return self.masked_outer(Value(code, kind, indices, fresh=True), free, scope)

    def unit_type(self) -> str:
        """The dtype whose identity a refused point gives."""
        return self.dtype if self.dtype.startswith(("int", "uint", "bool")) else self.compute

    def masked_outer(self, value: Value, free: Sequence[str], scope: Scope) -> Value:
        """The value where the masks of free indices alone admit it."""
        return self.masked(value, self.outer, free, scope)

    def masked(self, value: Value, masks: Sequence[Expr], axes: Sequence[str], scope: Scope) -> Value:
        """The value where the masks admit it, the operator's identity elsewhere."""
        if not masks:
            return value
        fill = unit(self.op, self.unit_type())
        code = f"np.where({conjunction(self.low, masks, axes, scope)}, {value.code}, {fill})"
        mentioned = {i for m in masks for i in indices_of(m)}
        indices = tuple(i for i in axes if i in value.indices or (i in mentioned and scope[i].width is not None))
        return Value(code, value.dtype, indices, fresh=True)

    # -- sums of products ----------------------------------------------------------------------

    def terms(self) -> list[Term]:
        """The terms of a sum, each with its sign."""
        found: list[Term] = []
        stack: list[Term] = [(1, self.value)]
        while stack:
            sign, expr = stack.pop()
            match expr:
                case Call(fn="add", args=(a, b)):
                    stack += [(sign, b), (sign, a)]
                case Call(fn="sub", args=(a, b)):
                    stack += [(-sign, b), (sign, a)]
                case Call(fn="neg", args=(a,)):
                    stack.append((-sign, a))
                case _:
                    found.append((sign, expr))
        return found

    def contractible(self) -> bool:
        """Whether every term is a product, or a plain read, over the reduced indices."""
        if self.compute == "bool" or not self.summed or self.root is not None:
            return False
        for _, term in self.terms():
            core, outside, divisors = self.split(term)
            if not core or (len(core) == 1 and not (outside or divisors or isinstance(core[0], Access))):
                return False
            if len(core) == 1 and self.overlapping():
                return False
        return True

    def split(self, term: Expr) -> tuple[list[Expr], list[Expr], list[Expr]]:
        """A product as the factors with reduced indices, those without, and divisors without."""
        summed = set(self.summed)
        core: list[Expr] = []
        outside: list[Expr] = []
        divisors: list[Expr] = []
        stack = [term]
        everything = set(indices_of(term))
        while stack:
            expr = stack.pop()
            match expr:
                case Call(fn="mul", args=(a, b)):
                    stack += [b, a]
                case Call(fn="div", args=(a, b)) if self.low.kind(expr) == self.low.kind(a) == self.compute:
                    if not summed & set(indices_of(b)):
                        divisors.append(b)
                        stack.append(a)
                    elif set(indices_of(b)) < everything and summed & set(indices_of(a)):
                        stack += [Call("div", (Const(1), b)), a]
                    else:
                        core.append(expr)
                case Call(fn="neg", args=(a,)):
                    outside.append(Const(-1))
                    stack.append(a)
                case _:
                    (core if summed & set(indices_of(expr)) else outside).append(expr)
        return core, outside, divisors

    def factor(self, expr: Expr, scope: Scope) -> Operand:
        """A factor as an array over its own indices, in the type of the computation."""
        low = self.low
        own = [i for i in self.stmt.domain.indices if i in indices_of(expr) and scope[i].width is not None]
        if isinstance(expr, Access):
            found = read(low, expr, scope)
            if found.dtype == self.compute:
                return found
            return self.held(f"{found.code}.astype(np.{self.compute})", found.indices, scope)
        value = emit(low, expr, own, scope)
        code = f"np.asarray({value.code})" if value.python or not own else value.code
        if value.python or value.dtype != self.compute:
            code = f"{atom(code)}.astype(np.{self.compute})"
        whole = set(value.indices) == set(own)
        if not whole:
            code = f"np.broadcast_to({code}, ({', '.join(str(scope[i].width) for i in own)},))"
        return self.held(code, own, scope, fresh=whole and bool(own) and value.fresh)

    def held(self, code: str, indices: Sequence[str], scope: Scope, fresh: bool = False) -> Operand:
        name = self.writer.fresh("factor")
        self.writer.line(f"{name} = {code}")
        now = sizes_of(scope)
        self.writer.note(name, prod(now[i] for i in indices), self.compute)
        return Operand(name, tuple(indices), self.compute, row_strides([now[i] for i in indices]), fresh)

    def maskable(self) -> int | None:
        """The factor, of two, that has all indices of the masks, where the other one makes the domain larger."""
        if not self.inner or not self.contractible() or len(self.terms()) > 1:
            return None
        core, _, _ = self.split(self.terms()[0][1])
        mentioned = {i for m in self.inner for i in indices_of(m)}
        if len(core) == 2:
            for number, factor in enumerate(core):
                if mentioned <= set(indices_of(factor)) and not set(indices_of(core[1 - number])) <= set(
                    indices_of(factor)
                ):
                    return number
        return None

    def finite(self, expr: Expr, scope: Scope) -> str:
        """Code of whether a factor is finite; it may look at more than what is read."""
        if isinstance(expr, Access):
            array = base(self.low, expr)
            return f"np.isfinite({array or read(self.low, expr, scope).code}).all()"
        return f"np.isfinite({self.factor(expr, scope).code}).all()"

    def contracted(
        self,
        free: Sequence[str],
        scope: Scope,
        term: Expr,
        sink: Sink | None,
        masked: int | None = None,
        given: Mapping[int, Operand] | None = None,
    ) -> Value | None:
        """A term summed, over `free`; None if it stands in the sink already.

        The factor `masked` takes the masks; those `given` stand for others.
        """
        core, outside, divisors = self.split(term)
        factors = [given[k] if given and k in given else self.factor(f, scope) for k, f in enumerate(core)]
        if masked is not None:
            x = factors[masked]
            condition = conjunction(self.low, self.inner, x.indices, scope)
            factors[masked] = self.held(f"np.where({condition}, {x.code}, 0)", x.indices, scope, fresh=True)
        present = {i for f in factors for i in f.indices}
        missing = [i for i in self.summed if i not in present and scope[i].width is not None]
        count = count_code(missing, scope)
        out = [i for i in free if i in present]
        work = Contraction(self.writer, scope, itemsize(self.compute))
        # What the whole sum is multiplied by is applied where it stands, if nothing else stands there.
        alone = (
            sink is not None and sink.target.overwrites and not sink.negative and bool(out) and set(out) == set(free)
        )
        after = [("*", f) for f in outside] + [("/", d) for d in divisors]
        extra = bool(after or self.outer or count != "1")
        result = work.run(factors, out, sink if not extra or (alone and not self.outer) else None)
        self.notes += work.notes
        if result is None and not extra:
            return None
        if result is None:
            assert sink is not None
            place = sink.place
            result = Operand(place.code, place.indices, place.dtype, place.strides, fresh=True)
        if count != "1":
            result = self.counted(result, count)
        for symbol, part in after:
            result = self.scaled(result, symbol, part, free, scope)
        if sink is not None and result.code == sink.place.code:
            return None
        fresh = result.fresh or all(result is not f for f in factors)
        return self.masked_outer(Value(aligned(result, free), self.compute, result.indices, fresh=fresh), free, scope)

    def scaled(self, x: Operand, symbol: str, part: Expr, free: Sequence[str], scope: Scope) -> Operand:
        """The operand multiplied by a factor, or divided by it: in place where it is an array of our own."""
        own = {i for i in indices_of(part) if scope[i].width is not None}
        inside = x.fresh and bool(x.indices) and own <= set(x.indices)
        indices = x.indices if inside else tuple(i for i in free if i in x.indices or i in own)
        other = emit(self.low, part, indices, scope)
        text = other.code
        if not other.python and other.dtype != self.compute:
            text = f"{atom(text)}.astype(np.{self.compute})"
        if inside:
            scale(self.writer, "np.multiply" if symbol == "*" else "np.divide", x, text)
            return x
        code = f"({aligned(x, indices)} {symbol} {atom(text)})"
        if not set(indices) <= {*x.indices, *other.indices}:  # an index of the text that its value does not have
            code = f"np.broadcast_to({code}, {shape_code(indices, scope)})"
        return Operand(code, indices, x.dtype)

    def counted(self, x: Operand, count: str) -> Operand:
        """The operand as many times."""
        if x.fresh and x.indices:
            scale(self.writer, "np.multiply", x, f"({count})")
            return x
        return Operand(f"({x.code} * ({count}))", x.indices, x.dtype)

    def overlapping(self) -> bool:
        """Whether some subscript mixes a reduced index with others."""
        summed = set(self.summed)
        accesses = [p for p in walk(self.value) if isinstance(p, Access)]
        mixed = (indices_of(s) for a in accesses for s in a.subscripts if not isinstance(s, Access))
        return any(len(names) > 1 and summed & set(names) for names in mixed)

    def in_memory(self, group: Sequence[str]) -> list[str]:
        """The indices as they lie in the access that has most of them, outermost first."""
        accesses = [p for p in walk(self.value) if isinstance(p, Access)]
        largest = max(accesses, key=lambda a: len(set(indices_of(a)) & set(group)), default=None)
        first = [] if largest is None else [i for i in indices_of(largest) if i in group]
        return list(dict.fromkeys([*first, *group]))

    def is_view(self, factor: Expr) -> bool:
        """Whether a factor is read where it lies, or close to it: positions are affine."""
        return isinstance(factor, Access) and not any(isinstance(p, Access) for s in factor.subscripts for p in walk(s))


def operations(expr: Subscript) -> int:
    """How many functions of values an expression applies; positions are found before anything runs."""
    if isinstance(expr, Access):
        return 0
    return isinstance(expr, Call) + sum(operations(part) for part in children(expr))


def _leading(axes: Sequence[str], indices: Sequence[str]) -> list[str]:
    """The axes that code over `axes` really has: from the first present index on."""
    present = set(indices)
    for k, i in enumerate(axes):
        if i in present:
            return list(axes[k:])
    return []


def _dropped(code: str, axes: Sequence[str], indices: Sequence[str], summed: Sequence[str]) -> str:
    """Code without the axes of length 1 that the reduced indices left behind."""
    shown = _leading(axes, indices)
    places = [k for k, i in enumerate(shown) if i in summed]
    return f"{atom(code)}[{', '.join('0' if k in places else ':' for k in range(len(shown)))}]" if places else code
