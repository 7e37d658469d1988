"""A chain of statements as NumPy code: one loop over blocks, every operation into memory that is there already.

In: a `Chain`. Out: lines, and what is said of each statement. The one rule: an array of a block is made once and used
again as soon as nothing needs what is in it; a tensor is written where it belongs by the operation that makes it.

The loop is a function of a range of the outermost block index. Where there is enough to do, ranges run side by side
in threads, which NumPy lets run; each has sums of its own, and these are added in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import prod

from ...plan.chains.chain import Chain, Store
from ...plan.chains.values import Node
from ...program.ir import Access, Expr, Index, walk
from .chain_values import REDUCTIONS, Operations, fills
from .reads import prepare, read
from .registers import Registers
from .source import Array, Axis, Operand, Scope, Writer, aligned, name_of, sizes_of, whole
from .values import Lowering
from .writes import COMBINE, identity

SHARED = 1 << 20  # operations on elements from which on threads pay
SMALL = 512  # elements below which an array of a block is made anew each time
COSTS = {
    "add": 1,
    "sub": 1,
    "mul": 1,
    "max": 1,
    "min": 1,
    "neg": 1,
    "relu": 1,
    "square": 1,
    "read": 0,
    **dict.fromkeys(REDUCTIONS, 1),
}
USUAL = 8  # additions that another function costs


class ChainCode:
    """A chain being written."""

    def __init__(self, low: Lowering, chain: Chain) -> None:
        self.low, self.chain, self.graph = low, chain, chain.graph
        self.writer: Writer = low.writer
        self.compute = chain.graph.compute
        self.labels = [i for i, _ in chain.blocks]
        self.uses, self.stores = self.needed()
        self.moving: set[Node] = set()  # nodes that differ from block to block
        for node in chain.graph.nodes:  # a node comes after what it reads
            if set(self.labels) & set(node.indices) or not self.moving.isdisjoint(node.args):
                self.moving.add(node)
        self.absorbed = self.products()
        self.operations = Operations(low, chain.graph, self.absorbed, whole(chain.graph.extents))
        self.codes = self.operations.codes
        self.registers = Registers(self.writer)
        self.given: set[str] = set()  # tensors whose memory another one has taken
        self.sums: dict[Node, str] = {}  # what is reduced over block indices: the array in which its parts meet

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

    def lower(self) -> list[str]:
        """Write the code; the kernel of each statement."""
        low = self.low
        low.extents, low.masks, low.guarded = self.graph.extents, (), frozenset()
        everything = whole(self.graph.extents)
        nodes = [n for n in self.graph.nodes if self.uses[n] and n not in self.absorbed]
        for node in nodes:
            for part in walk(node.expr) if node.expr is not None else ():
                if isinstance(part, Access):
                    prepare(low, part)
        for node in nodes:
            if not self.varies(node):
                self.evaluate(node, everything, None)
        self.make_arrays()
        inside = [n for n in nodes if self.varies(n)]
        threads = False
        if self.labels:
            threads = self.loop(inside, everything)
        else:
            with self.apart() as body:
                self.block(inside, everything)
            self.registers.allocate(everything)
            self.writer.lines += body
        count = len(self.chain.numbers)
        how = [f"{step} {i} at a time" for i, step in self.chain.blocks] + ["in threads"] * threads
        return [", ".join([f"chain, {k} of {count}" if count > 1 else "chain", *how]) for k in range(1, count + 1)]

    def make_arrays(self) -> None:
        """The tensors that the loop writes, and those in which parts of sums over some block indices meet."""
        low, writer = self.low, self.writer
        for store in self.chain.stores:
            if not store.first or store.tensor in self.chain.inside:
                continue
            donor = self.donor(store)
            if donor is not None:
                low.arrays[store.tensor] = low.arrays[donor]
                writer.forget(low.arrays[donor].name)
                writer.line(f"# {ascii(f'{store.tensor} is written over {donor}')[1:-1]}")
                continue
            array = Array(writer.fresh(store.tensor), low.shapes[store.tensor], low.dtypes[store.tensor])
            low.arrays[store.tensor] = array
            writer.note(array.name, prod(array.shape), array.dtype)
            if not store.partial:
                writer.line(f"{array.name} = np.empty({array.shape}, np.{name_of(array.dtype)})")
        for node, stores in self.stores.items():
            if stores[0].partial:
                self.sums[node] = writer.fresh("sums")
                if not self.is_private(node):
                    writer.line(self.zero(node, stores[0].op))

    def donor(self, store: Store) -> str | None:
        """A tensor of the same shape that is read for the last time just where this one is written, or before."""
        if store.partial or len(store.axes) != len(store.node.indices):
            return None
        low, plain = self.low, tuple(Index(i) for i in store.axes)
        final = [s for s in self.chain.stores if s.tensor == store.tensor][-1].node
        for tensor in sorted(self.chain.dying - self.given - set(low.extrema.values())):
            reads = [n for n in self.uses if n.expr is not None and tensor in _tensors(n.expr)]
            array = low.arrays[tensor]
            if len(reads) != 1 or reads[0].fn != "read" or reads[0].expr != Access(tensor, plain):
                continue
            if not array.owned or (array.shape, array.dtype) != (low.shapes[store.tensor], self.compute):
                continue
            readers = [n for n in self.uses if reads[0] in n.args]
            readers = [m for n in readers for m in (self.uses if n in self.absorbed else [n]) if m is n or n in m.args]
            if all(n.number <= final.number for n in readers) and reads[0] not in self.stores:
                self.given.add(tensor)
                return tensor
        return None

    def zero(self, node: Node, op: str) -> str:
        """The line that makes the array in which parts of a sum meet."""
        shape = tuple(hi - lo for lo, hi in (self.graph.extents[i] for i in node.indices))
        self.writer.note(self.sums[node], prod(shape), self.compute)
        return f"{self.sums[node]} = {identity(op, shape, self.compute, self.compute)}"

    def is_private(self, node: Node) -> bool:
        """Whether ranges of the outermost block index meet in the same elements."""
        return self.labels[0] not in node.indices

    def loop(self, nodes: Sequence[Node], everything: Scope) -> bool:
        """The loop as a function of a range, and its calls; whether in threads."""
        writer, (outer, step) = self.writer, self.chain.blocks[0]
        name, lo, hi = (writer.fresh(hint) for hint in ("chain", "lo", "hi"))
        threads = self.work(nodes) >= SHARED
        private = [node for node in self.sums if self.is_private(node)]
        if threads:
            writer.line('@np.errstate(all="ignore")')
        with writer.block(f"def {name}({lo}, {hi}):"):
            with self.apart() as body, ExitStack() as stack:
                scope = dict(everything)
                for index, width in self.chain.blocks:
                    scope[index] = self.enter(stack, index, width, lo, hi)
                with self.apart() as inner:
                    self.block(nodes, scope)
                self.registers.narrow(scope)
                writer.lines += inner
            self.registers.allocate(scope)
            for node in private:
                writer.line(self.zero(node, self.stores[node][0].op))
            writer.lines += body
            names = "".join(f"{self.sums[n]}, " for n in private)
            writer.line(f"return ({names})")
        n = self.graph.extents[outer][1]
        if not threads:
            call = f"{name}(0, {n})"
            writer.line(
                f"{''.join(f'{self.sums[node]}, ' for node in private).rstrip(' ')} = {call}" if private else call
            )
        else:
            call, parts = f"{writer.use('share')}({name}, {n}, {step})", writer.fresh("parts")
            writer.line(f"{parts} = {call}" if private else call)
            for k, node in enumerate(private):
                ufunc = COMBINE.get(self.stores[node][0].op, "np.add")
                code = f"{ufunc}.reduce([part[{k}] for part in {parts}])"
                writer.line(f"{self.sums[node]} = {code if node.indices else f'np.asarray({code})'}")
        self.bring_home()
        return threads

    def enter(self, stack: ExitStack, index: str, step: int, lo: str, hi: str) -> Axis:
        """The loop over one block index, entered; the outermost one runs over the range of the function."""
        writer, n = self.writer, self.graph.extents[index][1]
        var = writer.fresh(index)
        first, last = (lo, hi) if index == self.labels[0] else ("0", str(n))
        stack.enter_context(writer.block(f"for {var} in range({first}, {last}, {step}):"))
        width = str(step)
        if n % step:
            width = writer.fresh(f"n_{index}")
            writer.line(f"{width} = min({step}, {last} - {var})")
        return Axis(0, n, var, width, step, var)

    @contextmanager
    def apart(self) -> Iterator[list[str]]:
        """Lines that are kept for later."""
        found: list[str] = []
        kept, self.writer.lines = self.writer.lines, found
        yield found
        self.writer.lines = kept

    def work(self, nodes: Sequence[Node]) -> int:
        """How many additions of elements take as long."""
        return sum(COSTS.get(n.fn, USUAL) * max(self.graph.points(a.indices) for a in (n, *n.args)) for n in nodes)

    def bring_home(self) -> None:
        """What has been summed over all blocks, times what stands before the sum."""
        writer, low = self.writer, self.low
        left = Counter(s.node for stores in self.stores.values() for s in stores if s.partial)
        for store in self.chain.stores:
            if not store.partial:
                continue
            name, node, array = self.sums[store.node], store.node, low.arrays[store.tensor]
            left[node] -= 1
            code = aligned(Operand(name, node.indices, self.compute), store.axes)
            if store.scale is not None:
                code = f"{code} * {self.operations.argument(store.scale, store.axes)}"
            if set(store.axes) != set(node.indices):
                code = f"np.broadcast_to({code}, {array.shape})"
            if not store.first:
                combined = (
                    f"{COMBINE[store.op]}({array.name}, {code})" if store.op in COMBINE else f"{array.name} + {code}"
                )
                writer.line(f"{array.name}[...] = {combined}")
            elif code == name and not left[node]:
                writer.line(f"{array.name} = {name}")
            else:
                writer.line(f"{array.name} = np.array({code}, order='C')")

    # -- a block -------------------------------------------------------------------------------

    def block(self, nodes: Sequence[Node], scope: Scope) -> None:
        """All operations of a block, each as soon as what it reads is there."""
        self.left, self.operations.scope = Counter(self.uses), scope
        for node, stores in self.stores.items():
            if not self.varies(node):
                for store in stores:
                    self.copy(store, node, scope)
        for node in nodes:
            stores = self.stores.get(node, [])
            place = next((s for s in stores if not s.partial), None)
            used = None
            if place is not None and set(place.axes) == set(node.indices) and fills(node):
                used, target = place, self.place(place, scope)
                self.evaluate(node, scope, target)
            else:
                self.evaluate(node, scope, None)
            for store in stores:
                if store.partial:
                    self.add(store, scope)
                elif store is not used:
                    self.copy(store, node, scope)
            read = [b for a in node.args for b in (a.args if a in self.absorbed else (a,))]
            for done in (*read, *([node] * len(stores))):
                self.left[done] -= 1
                if not self.left[done]:
                    self.registers.release(done)

    def place(self, store: Store, scope: Scope) -> Operand:
        """The elements of a tensor that a block writes, under a name, in the order of the chain."""
        access = Access(store.tensor, tuple(Index(i) for i in store.axes))
        return self.operations.named(read(self.low, access, scope), store.node.indices, store.tensor)

    def copy(self, store: Store, node: Node, scope: Scope) -> None:
        """A value written into its tensor."""
        target = self.place(store, scope) if set(store.axes) == set(node.indices) else None
        if target is None:
            access = Access(store.tensor, tuple(Index(i) for i in store.axes))
            found = read(self.low, access, scope)
            self.writer.line(f"{found.code}[...] = {self.operations.argument(node, found.indices)}")
        else:
            self.writer.line(f"{target.code}[...] = {self.operations.argument(node, target.indices)}")

    def add(self, store: Store, scope: Scope) -> None:
        """A part of a sum over block indices added to the others; once, if several tensors need it."""
        node, name = store.node, self.sums[store.node]
        if self.stores[node][0] is not store:
            return
        parts = []
        for i in node.indices:
            axis = scope[i]
            parts.append(":" if axis.whole else f"{axis.var}:{axis.var} + {axis.width}")
        while parts and parts[-1] == ":":
            parts.pop()
        place = f"{name}[{', '.join(parts)}]" if parts else name
        code = self.operations.argument(node, node.indices)
        if store.op not in COMBINE:
            self.writer.line(f"{place} += {code}")
        elif parts:
            self.writer.line(f"{place} = {COMBINE[store.op]}({place}, {code})")
        else:
            self.writer.line(f"{COMBINE[store.op]}({name}, {code}, out={name})")

    # -- one node ------------------------------------------------------------------------------

    def evaluate(self, node: Node, scope: Scope, place: Operand | None) -> None:
        """Write what makes a node: into `place`, into memory of the block, or into an array of its own."""
        operations = self.operations
        if node.at:  # at one position of a window
            scope = {**scope, **{i: Axis(value, 1) for i, value in node.at}}
        match node.fn:
            case "number":
                self.codes[node] = Operand(operations.number(node), (), self.compute)
            case "read":
                assert isinstance(node.expr, Access)
                found = read(self.low, node.expr, scope)
                if node.at and not self.varies(node):  # read in each block: elements far apart are brought together
                    found = replace(found, code=f"np.ascontiguousarray({found.code})")
                self.codes[node] = operations.named(found, node.indices, node.expr.tensor)
            case "other":
                self.codes[node] = operations.other(node, scope)
            case "part":
                self.codes[node] = operations.part(node)
            case _ if place is not None:
                self.codes[node] = place
                operations.into(node, place.code)
            case _ if fills(node) and self.varies(node) and (self.large(node, scope) or node.fn == "spread"):
                dtype = "bool" if node.truth else self.compute
                free = [a for a in node.args if self.left[a] == node.args.count(a)]
                name = self.registers.take(node, dtype, node.indices, free)
                self.codes[node] = Operand(name, node.indices, dtype)
                operations.into(node, name)
            case "spread":
                name = self.writer.fresh("t")
                self.writer.line(f"{name} = {self.codes[node.args[0]].code}.copy()")
                self.codes[node] = Operand(name, node.indices, self.compute)
                operations.spread(node, name)
            case _:
                name = self.writer.fresh("t")
                self.writer.line(f"{name} = {operations.expression(node)}")
                self.codes[node] = Operand(name, node.indices, "bool" if node.truth else self.compute)

    def large(self, node: Node, scope: Scope) -> bool:
        now = sizes_of(scope)
        return bool(node.indices) and prod(now[i] for i in node.indices) >= SMALL


def _tensors(expr: Expr) -> set[str]:
    """The tensors that an expression reads, however deep."""
    return {p.tensor for p in walk(expr) if isinstance(p, Access)}
