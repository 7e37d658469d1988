"""A graph: its nodes, and what can be done with them.

In: nodes made inside of `with Graph():`, or outside of any for the default graph. Out: values and gradients of nodes.
The one rule: whatever runs is compiled once for each set of wanted nodes and each set of sizes.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...collecting import uncollected
from ...errors import ShapeError, warn_of
from ...program.ir import Program
from ..problems import GraphError, graph_error
from ..settings import SIZE, setting
from ..settings import shape as shape_of
from . import asked, drawing, execution, registry, sizes
from . import current as nodes_in_use
from .assemble import Assembled, assemble, topological
from .computed import CompNode, Part
from .execution import Arrays, Phases, Step, Values
from .history import forgetful
from .nodes import Input, Mask, Node, as_array
from .parameters import Parameter

Array = NDArray[Any]
Given = Mapping[Input, ArrayLike]


@dataclass(frozen=True)
class _Run:
    """The last run forward: what it ran on, and what a run backward needs of it."""

    graph: Assembled
    given: Arrays
    loss: Node | None
    results: Arrays


class Graph(registry.Registry):
    """Nodes that are computed together.

    `seed` decides the parameters' first values and the masks of dropout, `dtype` what is computed with, a type of
    floating-point or complex numbers. Nodes that no variable holds stay in the graph, unless `keep` is false, as in the
    default graph. Everything that a run gives can be looked at: `node.value`, `node.grad`. Errors: `GraphError` for
    another dtype.
    """

    def __init__(self, *, seed: int = 0, dtype: Any = np.float32, keep: bool = True) -> None:
        super().__init__(seed, dtype, keep)
        self.rng = np.random.default_rng([self.seed, 0])
        self._tokens: list[Any] = []
        self._watched: weakref.WeakKeyDictionary[Node, None] = weakref.WeakKeyDictionary()
        self._compiled: dict[Any, Any] = {}
        self._compiled_version = -1
        self._run: _Run | None = None
        self._loss: weakref.ref[Node] | None = None

    # -- nodes -----------------------------------------------------------------------------------

    def __enter__(self) -> Graph:
        self._tokens.append(registry.enter(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        registry.leave(self._tokens.pop())

    def add(self, node: registry.Named) -> None:
        super().add(node)
        self._compiled.clear()
        if not self._keep:  # what has run must not keep nodes that are gone otherwise
            self._run = None

    @staticmethod
    def of(node: Node) -> Graph:
        """The graph of `node`. Errors: `GraphError` for what is no node."""
        asked.node(node)
        found = node.graph
        assert isinstance(found, Graph), "every registry of nodes is a graph"
        return found

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, parameters included, each after those that it is computed from."""
        return self.assembled().nodes

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters that some computed node uses, those without gradients included."""
        return self.assembled().parameters

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs that some computed node uses, except masks."""
        return tuple(n for n in self.assembled().inputs if not isinstance(n, Mask))

    def sinks(self) -> tuple[Node, ...]:
        """The computed nodes from which nothing else is computed."""
        if self._keep:
            found: tuple[Node, ...] = self._cached("sinks", self._sinks)
            return found
        gone = self._cached("not meant", self._not_meant)
        return tuple(s for s in self._sinks() if s not in gone)

    def _sinks(self) -> tuple[Node, ...]:
        alive = [n for n in self.alive() if isinstance(n, CompNode | Part)]
        used = {source for n in alive for source in n.sources()}
        return tuple(n for n in alive if n not in used)

    def _not_meant(self) -> weakref.WeakSet[Node]:
        chosen = nodes_in_use.meant(self, self._sinks)
        return weakref.WeakSet(s for s in self._sinks() if s not in chosen)

    def assembled(self, *wanted: Node, training: bool = True) -> Assembled:
        """The wanted nodes (else all) as one Program, and which node is which tensor; with `training` or not."""
        nodes = wanted or self.sinks()
        if not nodes:
            way = "make nodes inside of `with Graph() as g:`, and name g behind the block: g.forward(), SGD(0.1, g)"
            raise graph_error("empty-graph", "the graph has no computed node", way_out=way)
        asked.nodes(self, nodes)
        ranks = tuple(n.rank for n in self.alive() if isinstance(n, Input))
        found: Assembled = self._cached(("assembled", nodes, training, ranks), lambda: self._assemble(nodes, training))
        return found

    def _assemble(self, nodes: Sequence[Node], training: bool) -> Assembled:
        if not self._keep:
            nodes_in_use.check(self, topological(nodes, training), nodes)
        return assemble(nodes, training)

    def program(self, *wanted: Node, training: bool = True) -> Program:
        """The wanted nodes (else all) as a Program from the inputs and parameters; with `training` or not."""
        return self.assembled(*wanted, training=training).program

    def watch(self, *nodes: Node) -> None:
        """Keep the values and gradients of these nodes in every run, also where a step would not."""
        asked.nodes(self, nodes)
        self._watched.update(dict.fromkeys(nodes))
        self.version += 1

    # -- running ---------------------------------------------------------------------------------

    @forgetful
    def forward(self, *wanted: Node, training: bool = True) -> None:
        """Compute the wanted nodes (else all) from the values of the inputs; as in `training` or not.

        Errors: `GraphError` for inputs without values, empty graphs, labels that are no class; for shapes `ShapeError`.
        """
        graph = self.assembled(*wanted, training=training)
        given = self._given(graph)
        if not wanted and not self._keep:
            nodes_in_use.warn_unused(self, graph.inputs, 4)  # below Forward, and what hides our frames
        loss = None if self._loss is None or not training else self._loss()
        if loss is not None and loss in graph.tensors:
            results = self._guarded(graph, given, self._phases(graph, given, loss).forward)
        else:
            loss = None
            results = self._guarded(graph, given, self._values(graph, given, execution.all_tensors(graph)))
        self.values = {t: results[t] for t in execution.all_tensors(graph)}
        self.gradients = {}
        self._update(graph, results)
        self._run = _Run(graph, given, loss, results)

    @forgetful
    def backward(self, loss: Node) -> None:
        """The gradients of the average of `loss` over the batch, as of the last run forward.

        Errors: `GraphError` if it has not been computed, or depends on no parameter.
        """
        asked.nodes(self, (loss,))
        run = self._run
        nodes_in_use.warn_made_again(self, loss, 4)
        if run is None or not run.results or loss not in run.graph.tensors:
            if not self._keep:  # it was left out because what it is computed from was made again
                nodes_in_use.check(self, topological((loss,)), (loss,))
            raise graph_error("not-forward", f"{loss.name} has not been computed", way_out="run Forward() first")
        phases = self._phases(run.graph, run.given, loss)
        value = run.results[run.graph.tensors[loss]]
        seed = execution.averaging(loss, value.shape, value.dtype)
        if run.loss is not loss:
            run = replace(run, loss=loss, results=self._guarded(run.graph, run.given, phases.forward))
            self._run, self._loss = run, weakref.ref(loss)
        self.gradients = {**phases.backward(run.given, run.results, seed), run.graph.tensors[loss]: seed}

    @forgetful
    def step(self, loss: Node, given: Given | None = None, also: Sequence[Node] = ()) -> Array:
        """Forward and backward of `loss` in one piece: its value; gradients of parameters are set.

        `given` are the inputs' values, by input; without it those that were set. Where some are given, others keep what
        `value` was set to; what only an earlier call gave must be given again. Errors: as `forward` and `backward`, and
        for inputs that the loss is not computed from while others are missing.
        Besides these only the values of `also`, and of what is watched, can be looked at afterwards.
        """
        wanted = (loss, *asked.also(also), *self._watched)
        self._set(self._taken(given, wanted))
        graph = self.assembled(*wanted)
        nodes_in_use.warn_made_again(self, loss, 3)
        arrays = self._given(graph)
        step = self._step(graph, arrays, loss, tuple(also))
        self.values, self.gradients, self._run = {}, {}, None  # memory that the new ones can have
        seed = self._start(graph, arrays, loss)
        results = self._guarded(graph, arrays, lambda a: step(a, seed))
        self.values = {t: results[t] for t in dict.fromkeys(graph.tensors[n] for n in wanted) if t in results}
        names = step.derived.gradients
        self.gradients = {t: results[names[t]] for t in step.derived.wrt}
        self.gradients[graph.tensors[loss]] = seed
        self._update(graph, results)
        self._run = _Run(graph, arrays, None, {})
        return self.values[graph.tensors[loss]]

    @forgetful
    def prepare(self, loss: Node, given: Given | None = None, also: Sequence[Node] = ()) -> None:
        """Derive and plan what `step` would run with the same `loss`, `given` and `also`, and run nothing."""
        wanted = (loss, *asked.also(also), *self._watched)
        self._set(self._taken(given, wanted))
        graph = self.assembled(*wanted)
        arrays = self._given(graph)
        self._step(graph, arrays, loss, tuple(also)).prepare(arrays, self._start(graph, arrays, loss))

    def _start(self, graph: Assembled, arrays: Arrays, loss: Node) -> Array:
        """The gradient of the average by each element of the loss."""
        return execution.averaging(loss, self._known(graph, arrays).nodes[loss], self.dtype)

    def not_finite(self, loss: Node) -> GraphError:
        """The error that says where `loss` got nan or inf from: the first node with one whose sources have none."""
        asked.nodes(self, (loss,))
        run = self._run
        if run is None or loss not in run.graph.tensors:
            return execution.not_finite(loss)
        values = self._values(run.graph, run.given, execution.all_tensors(run.graph))(run.given)
        return execution.not_finite(loss, execution.first_bad(run.graph, run.given, values))

    @forgetful
    def evaluate(self, *wanted: Node, given: Given | None = None, batch: int | None = None) -> Any:
        """The values of the wanted nodes when nothing is learned: no dropout, running statistics.

        With `batch` the inputs in `given` are cut into batches of that size. One node gives an array, several a tuple.
        `given` is as for `step`. Errors: `GraphError` without nodes, and for inputs that are missing, or not used.
        """
        if not wanted:
            raise graph_error("output", "say which nodes to evaluate", way_out="write evaluate(scores)")
        arrays = {n: as_array(n.name, a) for n, a in self._taken(given, wanted, training=False).items()}
        graph = self.assembled(*wanted, training=False)
        count = max((len(a) for a in arrays.values() if a.ndim), default=0)
        batch = None if batch is None else setting("evaluate", "batch", batch, SIZE)
        parts = []
        for start in range(0, count, batch) if batch and count else (0,):
            chosen = {n: a[start : start + batch] if a.ndim else a for n, a in arrays.items()} if batch else arrays
            self._set(chosen)
            ready = self._given(graph)
            if graph.program.outputs:
                ready |= self._guarded(graph, ready, self._values(graph, ready, graph.program.outputs))
            parts.append([ready[graph.tensors[n]] for n in wanted])
        columns = zip(*parts, strict=True)
        found = [p[0] if len(p) == 1 else np.concatenate([np.atleast_1d(a) for a in p]) for p in columns]
        return found[0] if len(found) == 1 else tuple(found)

    def shapes(
        self, given: Mapping[Input, Sequence[int]] | None = None, training: bool = False
    ) -> dict[Node, tuple[int, ...]]:
        """The shape of every node, from those of the inputs in `given`, else their values; with `training` or not."""
        graph, shapes = self.assembled(training=training), asked.by_input(self, given)
        known: dict[Node, Sequence[int]] = {}
        for node in graph.inputs:
            if node in shapes:
                known[node] = shape_of(node.name, shapes[node], 0)
            elif not isinstance(node, Mask):
                known[node] = node.value.shape
        return dict(sizes.infer(graph, known).nodes)

    # -- looking ---------------------------------------------------------------------------------

    def dot(self, given: Mapping[Input, Sequence[int]] | None = None) -> str:
        """The graph in the DOT language, with shapes where those of inputs are known, by `given` or their values."""
        return drawing.dot(self._picture(given))

    def svg(self, given: Mapping[Input, Sequence[int]] | None = None) -> str:
        """The graph as an SVG picture, with shapes where those of inputs are known, by `given` or their values."""
        return drawing.svg(self._picture(given))

    def __repr__(self) -> str:
        return drawing.line([n for n in self.alive() if isinstance(n, Node)])

    def _repr_svg_(self) -> str | None:
        return self.svg() if any(isinstance(n, CompNode) for n in self.alive()) else None

    def _picture(self, given: Mapping[Input, Sequence[int]] | None) -> drawing.Picture:
        known = given is not None or all(n.is_set for n in self.inputs)
        return drawing.picture(self.assembled(), self.shapes(given, training=True) if known else {})

    # -- inside ----------------------------------------------------------------------------------

    def _taken(self, given: Given | None, wanted: tuple[Node, ...], training: bool = True) -> dict[Input, ArrayLike]:
        """What a call is given, by input. Errors: `GraphError` where that cannot be meant."""
        asked.nodes(self, wanted)
        needed: tuple[Input, ...] = self._cached(("needed", wanted, training), lambda: self._needed(wanted, training))
        values = asked.by_input(self, given, needed)
        warn_of(asked.complete(self, values, needed, wanted[0]), 4)
        return values

    def _needed(self, wanted: tuple[Node, ...], training: bool) -> tuple[Input, ...]:
        """The inputs that nodes are computed from, except masks."""
        nodes = topological(wanted, training)
        if not self._keep:  # an input that was made again is told of as such
            nodes_in_use.check(self, nodes, wanted)
        return tuple(n for n in nodes if isinstance(n, Input) and not isinstance(n, Mask))

    def _set(self, given: Mapping[Input, ArrayLike]) -> None:
        for node, array in given.items():
            node.value = array
            node.given = True

    def _given(self, graph: Assembled) -> dict[str, Array]:
        """The arrays of all inputs and parameters; masks are drawn anew. Errors: `GraphError` for what is missing."""
        missing = [n.name for n in graph.inputs if not isinstance(n, Mask) and not n.is_set]
        if missing:
            rule = f"the input {missing[0]} has no value" if len(missing) == 1 else "inputs have no values"
            way = f"set {missing[0]}.value before running"
            raise graph_error("missing-input", rule, ", ".join(missing), way_out=way)
        arrays = {n.name: n.value for n in (*graph.inputs, *graph.parameters) if not isinstance(n, Mask)}
        shapes = self._known(graph, arrays).nodes
        for mask in (n for n in graph.inputs if isinstance(n, Mask)):
            mask.draw(shapes[mask], self.rng)
            arrays[mask.name] = mask.value
        return arrays

    def _known(self, graph: Assembled, arrays: Arrays) -> sizes.Known:
        """All shapes, everything checked."""
        known: dict[Node, Sequence[int]] = {n: arrays[n.name].shape for n in graph.inputs if not isinstance(n, Mask)}

        def make() -> sizes.Known:
            found = sizes.infer(graph, known)
            sizes.check(graph, found)
            return found

        result: sizes.Known = self._cached(("shapes", id(graph), tuple(known.values())), make)
        return result

    def _guarded(self, graph: Assembled, given: Arrays, run: Any) -> dict[str, Array]:
        try:
            found: dict[str, Array] = run(given)
        except ShapeError as error:
            raise execution.with_labels(error, graph, given, self._known(graph, given).nodes) from None
        return found

    def _update(self, graph: Assembled, results: Arrays) -> None:
        for tensor, parameter in graph.updates:
            parameter.value = results[tensor]

    def _cached(self, key: Any, make: Any) -> Any:
        if self._compiled_version != self.version:
            self._compiled.clear()
            self._compiled_version = self.version
        found = self._compiled.get(key)
        if found is None:
            found = uncollected(make)()
            self._compiled[key] = found
        return found

    def _values(self, graph: Assembled, arrays: Arrays, shown: Sequence[str]) -> Values:
        known = self._known(graph, arrays)
        outputs = tuple(dict.fromkeys((*graph.program.outputs, *shown)))
        found: Values = self._cached(
            ("values", id(known), outputs), lambda: Values(replace(sizes.declared(graph, known), outputs=outputs))
        )
        return found

    def _phases(self, graph: Assembled, arrays: Arrays, loss: Node) -> Phases:
        known = self._known(graph, arrays)

        def make() -> Phases:
            shown = [*graph.program.outputs, *execution.all_tensors(graph)]
            watched = [*shown, *(n.name for n in self._watched)]
            return Phases(execution.derive(graph, sizes.declared(graph, known), loss, shown, watched))

        found: Phases = self._cached(("phases", id(known), id(loss)), make)
        return found

    def _step(self, graph: Assembled, arrays: Arrays, loss: Node, also: tuple[Node, ...]) -> Step:
        known = self._known(graph, arrays)

        def make() -> Step:
            watched = [graph.tensors[n] for n in self._watched if n in graph.tensors]
            shown = [graph.tensors[n] for n in (*also, *self._watched) if isinstance(n, CompNode | Part)]
            shown += [tensor for tensor, _ in graph.updates]
            return Step(execution.derive(graph, sizes.declared(graph, known), loss, shown, watched))

        found: Step = self._cached(("step", id(known), id(loss)), make)
        return found


registry.set_default(Graph(keep=False))
