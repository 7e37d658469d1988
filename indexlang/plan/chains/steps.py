"""A chain of statements as steps: one loop over blocks, every operation into memory that is there already.

In: a `Chain`. Out: steps; each statement's kernel in words. The one rule: an array of a block is used again as soon as
nothing needs it, and a tensor is written where it belongs by what makes it. Threads have sums of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

from ...program.ir import Access, Expr, Index, walk
from ..building import Building
from ..kernels import Einsum, Map
from ..operators import REDUCTIONS, combining
from ..places import Part, Place, View
from ..plan import Loop, Make, Step
from ..quantities import Apply, Load, Number, Reduced, Value
from ..reads import prepare, read, value_of
from ..values import cast, fixed, shifted
from ..views import Row, Scope, Span, plain, whole
from .ahead import cost, made_ahead
from .chain import Chain, Store
from .registers import ELSEWHERE, Registers, fills
from .values import Node


def chained(b: Building, chain: Chain) -> list[str]:
    """Plan a chain; the kernel of each statement in words."""
    return ChainPlan(b, chain).plan()


class ChainPlan:
    """A chain being planned."""

    def __init__(self, b: Building, chain: Chain) -> None:
        self.b, self.chain, self.graph = b, chain, chain.graph
        self.compute = chain.graph.compute
        self.labels = [i for i, _ in chain.blocks]
        self.uses, self.stores = self.needed()
        self.moving: set[Node] = set()  # nodes that differ from block to block
        for node in chain.graph.nodes:  # a node comes after what it reads
            if set(self.labels) & set(node.indices) or not self.moving.isdisjoint(node.args):
                self.moving.add(node)
        self.absorbed = self.products()
        self.ahead = made_ahead(
            self.graph, self.labels, [n for n in self.graph.nodes if self.uses[n]], self.moving, b.limits
        )
        self.moving -= self.ahead
        self.values: dict[Node, Value] = {}
        self.registers = Registers(b)
        self.given: set[str] = set()  # tensors whose memory another one has taken
        self.sums: dict[Node, Part] = {}  # what is reduced over block indices: the array in which its parts meet

    def needed(self) -> tuple[Counter[Node], dict[Node, list[Store]]]:
        """How often each node is needed, and what is stored of it: of each tensor, its last complete value."""
        last = {s.tensor: s for s in self.chain.stores if not s.partial}
        stores: dict[Node, list[Store]] = {}
        uses: Counter[Node] = Counter()
        stack: list[Node] = []
        for store in self.chain.stores:
            if store.partial or (last[store.tensor] is store and store.tensor not in self.chain.inside):
                stores.setdefault(store.node, []).append(store)
                stack += [n for n in (store.node, store.scale) if n is not None]
        uses.update(stack)
        seen = set()
        while stack:
            node = stack.pop()
            if node not in seen:
                seen.add(node)
                uses.update(node.args)
                uses.update(node.args if node.fn == "part" else ())  # its memory stays, for the part is a view
                stack += node.args
        return uses, stores

    def products(self) -> set[Node]:
        """Products that only a sum needs, which multiplies as it adds."""
        sums = (n for n in self.graph.nodes if n.fn == "sum" and self.uses[n])
        return {
            n.args[0]
            for n in sums
            if n.args[0].fn in ("mul", "square")
            and self.uses[n.args[0]] == 1
            and all(a.fn != "number" for a in n.args[0].args)
        }

    def varies(self, node: Node) -> bool:
        """Whether a node differs from block to block."""
        return not self.labels or node in self.moving

    # -- the whole -----------------------------------------------------------------------------

    def plan(self) -> list[str]:
        """Make the steps; the kernel of each statement."""
        b = self.b
        b.begin(self.graph.extents, ())
        nodes = [n for n in self.graph.nodes if self.uses[n] and n not in self.absorbed]
        for node in nodes:
            for part in walk(node.expr) if node.expr is not None else ():
                if isinstance(part, Access):
                    prepare(b, part)
        everything = whole(self.graph.extents)
        for node in nodes:
            if not self.varies(node):
                self.before(node, everything)
        self.make_arrays(everything)
        inside = [n for n in nodes if self.varies(n)]
        threads = bool(self.labels) and self.work(inside) >= b.limits.shared
        self.loop(inside, everything, threads)
        self.bring_home()
        count = len(self.chain.numbers)
        how = [f"{step} {i} at a time" for i, step in self.chain.blocks] + ["in threads"] * threads
        return [", ".join([f"chain, {k} of {count}" if count > 1 else "chain", *how]) for k in range(1, count + 1)]

    def before(self, node: Node, scope: Scope) -> None:
        """Make a node that is the same in all blocks; as a part of what alone needs it, if there is more than one."""
        if node in self.ahead:
            for arg in self.read_by(node):
                if arg.fn == "read":
                    self.values[arg] = self.read(arg, scope)
            passing = node.fn not in REDUCTIONS.values() and self.uses[node] == 1 and node not in self.stores
            if passing and any(node in n.args and n.fn not in REDUCTIONS.values() for n in self.ahead):
                self.values[node] = self.general(node, scope) if node.fn == "other" else self.operation(node)
                return
        self.evaluate(node, scope, None)

    def make_arrays(self, scope: Scope) -> None:
        """The tensors that the loop writes, and those in which parts of sums over some block indices meet."""
        b = self.b
        for store in self.chain.stores:
            if not store.first or store.tensor in self.chain.inside:
                continue
            donor = self.donor(store)
            if donor is not None:
                b.buffers[store.tensor] = b.buffers[donor]
                b.forget(b.buffers[donor])
                continue
            b.buffers[store.tensor] = b.buffer(store.tensor, b.shapes[store.tensor], b.dtypes[store.tensor], "tensor")
        for node, stores in self.stores.items():
            store = stores[0]
            if store.partial:
                alone = len(stores) == 1  # else others read the sum when more has been added to the tensor
                mine = alone and store.first and store.scale is None and store.axes == node.indices
                if mine and b.buffers[store.tensor].dtype == self.compute:
                    self.sums[node] = Part(b.buffers[store.tensor], node.indices)
                else:
                    self.sums[node] = b.part("sums", node.indices, self.compute, scope)
                if not self.is_private(node):
                    b.steps.append(Make(self.sums[node], store.op))

    def donor(self, store: Store) -> str | None:
        """A tensor of the same shape that is read for the last time just where this one is written, or before."""
        if store.partial or len(store.axes) != len(store.node.indices):
            return None
        b, subscripts = self.b, tuple(Index(i) for i in store.axes)
        final = [s for s in self.chain.stores if s.tensor == store.tensor][-1].node
        for tensor in sorted(self.chain.dying - self.given - set(b.extrema.values())):
            reads = [n for n in self.uses if n.expr is not None and tensor in _tensors(n.expr)]
            buffer = b.buffers[tensor]
            if len(reads) != 1 or reads[0].fn != "read" or reads[0].expr != Access(tensor, subscripts):
                continue
            shape, dtype = b.shapes[store.tensor], self.compute
            if buffer.role != "tensor" or (buffer.shape, buffer.dtype) != (shape, dtype) or tensor in b.results:
                continue
            readers = [n for n in self.uses if reads[0] in n.args]
            readers = [m for n in readers for m in (self.uses if n in self.absorbed else [n]) if m is n or n in m.args]
            if all(n.number <= final.number for n in readers) and reads[0] not in self.stores:
                self.given.add(tensor)
                return tensor
        return None

    def is_private(self, node: Node) -> bool:
        """Whether ranges of the outermost block index meet in the same elements."""
        return self.labels[0] not in node.indices

    def loop(self, nodes: Sequence[Node], everything: Scope, threads: bool) -> None:
        """The loops over the block indices around the operations of a block."""
        b, scope = self.b, dict(everything)
        for index, step in self.chain.blocks:
            scope[index] = Span(scope[index].n, min(step, scope[index].n))
        b.depth += bool(self.labels)
        with b.apart() as body:
            self.block(nodes, scope)
        b.depth -= bool(self.labels)
        body[:0] = [Make(part) for part in self.registers.all]
        private = [n for n in self.sums if self.is_private(n)]
        steps: list[Step] = list(body)
        for k, (index, step) in reversed(list(enumerate(self.chain.blocks))):
            if k == 0 and threads:
                sums = tuple((self.sums[n], self.stores[n][0].op) for n in private)
                steps = [Loop(index, step, tuple(steps), "thread", sums=sums)]
            else:
                steps = [Loop(index, step, tuple(steps))]
        if not threads:
            b.steps += [Make(self.sums[n], self.stores[n][0].op) for n in private]
        b.steps += steps

    def work(self, nodes: Sequence[Node]) -> int:
        """How many additions of elements take as long."""
        limits = self.b.limits
        return sum(cost(n, limits) * max(self.graph.points(a.indices) for a in (n, *n.args)) for n in nodes)

    def bring_home(self) -> None:
        """What has been summed over all blocks, times what stands before the sum."""
        b = self.b
        for store in self.chain.stores:
            if not store.partial:
                continue
            part, buffer = self.sums[store.node], b.buffers[store.tensor]
            if part.buffer == buffer:
                continue
            value: Value = Load(part, self.compute)
            if store.scale is not None:
                value = Apply("mul", (value, self.values[store.scale]), self.compute)
            place = View(buffer, tuple(plain(i) for i in store.axes))
            b.run(place, "=" if store.first else combining(store.op), Map(value))

    # -- a block -------------------------------------------------------------------------------

    def block(self, nodes: Sequence[Node], scope: Scope) -> None:
        """All operations of a block, each as soon as what it reads is there."""
        self.left = Counter(self.uses)
        for node, stores in self.stores.items():
            if not self.varies(node):
                for store in stores:
                    self.copy(store, node)
        for node in nodes:
            stores = self.stores.get(node, [])
            place = next((s for s in stores if not s.partial), None)
            used = None
            if place is not None and set(place.axes) == set(node.indices) and fills(node):
                used = place
                self.evaluate(node, scope, self.place(place))
            else:
                self.evaluate(node, scope, None)
            for store in stores:
                if store.partial:
                    self.add(store)
                elif store is not used:
                    self.copy(store, node)
            for done in (*self.read_by(node), *([node] * len(stores))):
                self.left[done] -= 1
                if not self.left[done]:
                    self.registers.release(done)

    def place(self, store: Store) -> View:
        """The elements of a tensor that a block writes."""
        return View(self.b.buffers[store.tensor], tuple(plain(i) for i in store.axes))

    def copy(self, store: Store, node: Node) -> None:
        """A value written into its tensor."""
        self.b.run(self.place(store), "=", Map(self.values[node]))

    def add(self, store: Store) -> None:
        """A part of a sum over block indices added to the others; once, if several tensors need it."""
        if self.stores[store.node][0] is store:
            self.b.run(self.sums[store.node], combining(store.op), Map(self.values[store.node]))

    # -- one node ------------------------------------------------------------------------------

    def evaluate(self, node: Node, scope: Scope, place: Place | None) -> None:
        """Make a node: in `place`, in memory of the block, or in an array of its own."""
        match node.fn:
            case "number":
                self.values[node] = self.number(node)
            case "read":
                self.values[node] = self.read(node, scope)
            case "other":
                self.values[node] = self.own(self.general(node, scope), node, scope)
            case "part":
                (whole_value,) = node.args
                self.values[node] = fixed(self.values[whole_value], dict(self.numbered(node)), self.b.extents)
            case _ if place is not None:
                self.into(node, place)
            case _ if fills(node) and self.varies(node) and (self.large(node, scope) or node.fn == "spread"):
                free = [a for a in node.args if self.left[a] == node.args.count(a) and node.fn not in ELSEWHERE]
                self.into(node, self.registers.take(node, self.dtype(node), node.indices, free, scope))
            case "spread":
                part = self.b.part("t", node.indices, self.compute, scope)
                self.b.run(part, "=", Map(self.values[node.args[0]]))
                self.values[node] = Load(part, self.compute)
                self.spread(node, part)
            case "sum":
                part = self.b.part("t", node.indices, self.compute, scope)
                self.b.sum(part, self.factors(node), scope)
                self.values[node] = Load(part, self.compute)
            case _:
                self.values[node] = self.own(self.operation(node), node, scope)

    def read_by(self, node: Node) -> list[Node]:
        """What the operation of a node reads."""
        return [n for a in node.args for n in (a.args if a in self.absorbed else (a,))]

    def general(self, node: Node, scope: Scope) -> Value:
        """An expression that is left to the general rules."""
        assert node.expr is not None
        value = fixed(value_of(self.b, node.expr, scope), dict(self.numbered(node)), self.b.extents)
        return cast(value, self.dtype(node))

    def dtype(self, node: Node) -> str:
        return "bool" if node.truth else self.compute

    def own(self, value: Value, node: Node, scope: Scope) -> Load:
        """A value in an array of its own."""
        part = self.b.part("t", node.indices, self.dtype(node), scope)
        self.b.run(part, "=", Map(value))
        return Load(part, self.dtype(node))

    def number(self, node: Node) -> Value:
        """A number of the source, or one that sizes say."""
        assert node.expr is not None
        value = value_of(self.b, node.expr, {})
        return value if isinstance(value, Number) else self.b.table("number", (), cast(value, self.compute))

    def read(self, node: Node, scope: Scope) -> Value:
        """Elements of a tensor."""
        assert isinstance(node.expr, Access)
        place = read(self.b, node.expr, scope)
        found = Load(place, self.compute, self.numbered(node))
        # Read in each block, elements far apart are brought together.
        return self.own(found, node, scope) if node.at and not self.varies(node) else found

    def numbered(self, node: Node) -> tuple[tuple[str, int], ...]:
        """The positions of a window at which a node stands, each numbered in its extent."""
        return tuple((i, k - self.graph.extents[i][0]) for i, k in node.at)

    def into(self, node: Node, place: Place) -> None:
        """The operation with its result in a place, which may be the memory of an argument."""
        if node.fn == "spread":
            first = self.values[node.args[0]]
            if not (isinstance(first, Load) and first.place == place):
                self.b.run(place, "=", Map(first))
            self.spread(node, place)
        elif node.fn == "cleared" and self.dtype(node.args[2]) == self.compute:
            condition, kept, other = (self.values[a] for a in node.args)
            self.b.run(place, "=", Einsum((kept, other)))
            finite: Value = Apply("isfinite", (other,), "bool")
            finite = Reduced("all", finite, node.args[2].indices) if node.args[2].indices else finite
            with self.b.either(Apply("not", (finite,), "bool")) as (rare, _), self.b.into(rare):
                self.b.run(place, "=", Map(Apply("keep", (condition, Load(place, self.compute)), self.compute)))
        else:
            self.b.run(place, "=", Map(self.operation(node)))
        self.values[node] = Load(place, self.dtype(node))

    def operation(self, node: Node) -> Value:
        """The operation on the values of the arguments."""
        args = tuple(self.values[a] for a in node.args if a not in self.absorbed)
        match node.fn:
            case "zero":
                return Number(0, self.compute)
            case "finite":
                return Apply(
                    "select", (Apply("isfinite", args, "bool"), args[0], Number(0, self.compute)), self.compute
                )
            case "cleared":
                return Apply("keep", (args[0], Apply("mul", args[1:], self.compute)), self.compute)
            case "sum" | "product" | "greatest" | "least":
                return Reduced(node.fn, args[0], node.over)
            case _:
                return Apply(node.fn, args, self.dtype(node))

    def factors(self, node: Node) -> tuple[Value, ...]:
        """What a sum adds up: the factors of a product that only it needs, or a value."""
        (value,) = node.args
        if value not in self.absorbed:
            return (self.values[value],)
        factors = value.args if value.fn == "mul" else (value.args[0],) * 2
        return tuple(self.values[f] for f in factors)

    def spread(self, node: Node, place: Place) -> None:
        """Values added to elements of an array, where they are to go."""
        _, given = node.args
        value, moved, renamed = self.values[given], [], {}
        for m in node.moves:
            run = self.b.axis(m.count)
            moved.append((m.axis, run, m.start, m.step))
            renamed[m.index] = (run, m.first)
        b = self.b
        if isinstance(place, View):
            rows = []
            for row in place.rows:
                ((index, _),) = row.coefs
                found = [(k, start, step) for i, k, start, step in moved if i == index]
                rows.append(Row(found[0][1], ((found[0][0], found[0][2]),)) if found else row)
            target: Place = View(place.buffer, tuple(rows))
        else:
            target = Part(place.buffer, place.indices, tuple(moved))
        b.run(target, "+=", Map(shifted(value, renamed, b.extents)))

    def large(self, node: Node, scope: Scope) -> bool:
        points = prod(scope[i].size for i in node.indices)
        return bool(node.indices) and points >= self.b.limits.register


def _tensors(expr: Expr) -> set[str]:
    """The tensors that an expression reads, however deep."""
    return {p.tensor for p in walk(expr) if isinstance(p, Access)}
