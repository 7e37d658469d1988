"""Assembled graphs, compiled: values alone, a training step in one piece, or forward and backward apart.

In: an assembled graph, the loss, what else is wanted. Out: functions from arrays to arrays. The one rule: what is
compiled here is one Program from the inputs to the last gradient, derived by `grad.backward`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...calls.function import Function
from ...collecting import uncollected
from ...derive import grad
from ...errors import Problem, ShapeError
from ...program.ir import Program
from ...rewrite.phases import split
from ..problems import GraphError, graph_error
from .assemble import Assembled
from .nodes import Input, Node
from .parameters import Parameter

Array = NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Derived:
    """A loss with its gradients as one Program; `gradients` is the name of each tensor's gradient."""

    program: Program
    gradients: Mapping[str, str]
    seed: str
    wrt: tuple[str, ...]


@uncollected
def derive(graph: Assembled, program: Program, loss: Node, values: Iterable[str], watched: Iterable[str]) -> Derived:
    """The loss's gradients by all trained parameters and the watched tensors, besides the values that are named.

    `program` is the graph's, its shapes declared.

    Errors: `GraphError` if the loss does not depend on them, `DerivationError` if there is no derivative.
    """
    tensor = graph.tensors[loss]
    forward = replace(program, outputs=(tensor,))
    reached = grad.with_gradients(forward)
    trained = [p.name for p in graph.parameters if p.trained]
    wrt = tuple(dict.fromkeys(n for n in (*trained, *watched) if n in reached and n != tensor))
    if not wrt:
        rule = f"the loss {loss.name} depends on no parameter by a derivative that is not zero"
        way = "compute the loss from parameters that are trained, by more than floor, comparisons and positions"
        raise graph_error("no-gradient", rule, way_out=way)
    shown = tuple(dict.fromkeys((tensor, *values)))
    names = grad.gradient_names(forward)
    return Derived(grad.backward(forward, wrt, shown), names, names[tensor], wrt)


class Step:
    """A training step: values and gradients by one Program, planned as a whole."""

    def __init__(self, derived: Derived) -> None:
        self.derived = derived
        self._function = Function(derived.program, always_dict=True)

    @property
    def program(self) -> Program:
        return self.derived.program

    def __call__(self, given: Arrays, seed: Array) -> dict[str, Array]:
        return call(self._function, {**given, self.derived.seed: seed})

    def prepare(self, given: Arrays, seed: Array) -> None:
        """Plan the step for arrays of these sizes and types."""
        arrays = {**given, self.derived.seed: seed}
        self._function.plan(**{name: arrays[name] for name in self._function.inputs})


class Phases:
    """The same cut in two: what runs before the loss's gradient is known, and what runs behind."""

    def __init__(self, derived: Derived) -> None:
        self.derived = derived
        before, after, kept = split(derived.program, [derived.seed])
        exact = [n for n in kept if n not in derived.program.outputs]  # on their way, not rounded to what is delivered
        self._before = Function(before, always_dict=True, exact=exact)
        self._after = Function(after, always_dict=True)

    def forward(self, given: Arrays) -> dict[str, Array]:
        """All values, those that only the second part needs included."""
        return call(self._before, given)

    def backward(self, given: Arrays, results: Arrays, seed: Array) -> dict[str, Array]:
        """The gradients by tensor."""
        found = call(self._after, {**given, **results, self.derived.seed: seed})
        both = {**results, **found}
        names = self.derived.gradients
        return {t: both[names[t]] for t in self.derived.wrt if names[t] in both}


class Values:
    """The values of a graph, without gradients."""

    def __init__(self, program: Program) -> None:
        self._function = Function(program, always_dict=True)

    def __call__(self, given: Arrays) -> dict[str, Array]:
        return call(self._function, given)


def call(function: Function, given: Arrays) -> dict[str, Array]:
    """The outputs by name, from those of the given arrays that are inputs."""
    results: dict[str, Array] = function(**{name: given[name] for name in function.inputs})
    return results


def with_labels(
    error: ShapeError, graph: Assembled, given: Arrays, shapes: Mapping[Node, tuple[int, ...]]
) -> Exception:
    """The error of a position out of range, or no whole number: told of a loss's labels where they are it."""
    if error.code not in ("index-out-of-range", "position-dtype"):
        return error
    for node in graph.computed:
        place = type(node).labels
        if place is None:
            continue
        scores, labels = (node.sources()[k] for k in place)
        problem = _of_labels(labels, given.get(graph.tensors[labels]), scores, shapes)
        if problem is not None:
            return GraphError(problem)
    return error


def _of_labels(
    labels: Node, array: Array | None, scores: Node, shapes: Mapping[Node, tuple[int, ...]]
) -> Problem | None:
    """What is wrong with labels, if anything is."""
    if array is None or array.size == 0:
        return None
    if array.dtype.kind not in "iub":
        rule = f"labels are whole numbers, and {labels.name} has {array.dtype}"
        return Problem("labels", rule, way_out="give them as such: y.astype(int)")
    classes = shapes[scores][-1]
    wrong = np.flatnonzero((array < 0) | (array >= classes))
    if not len(wrong):
        return None
    place = np.unravel_index(int(wrong[0]), array.shape)
    where = ", ".join(map(str, place))
    rule = f"a label is outside of the classes: {labels.name}[{where}] = {array[place]}"
    way = "count classes from 0, or compute as many scores as there are classes"
    return Problem("labels", rule, None, (f"{scores.name} has {classes} classes: 0 to {classes - 1}",), way)


def first_bad(graph: Assembled, given: Arrays, values: Arrays) -> tuple[Node, Array] | None:
    """The first node that has nan or inf while none of its sources has, and its value."""
    for node in graph.nodes:
        array = values.get(graph.tensors[node], given.get(graph.tensors[node]))
        if array is not None and array.dtype.kind in "fc" and not np.isfinite(array).all():
            return node, array
    return None


def not_finite(loss: Node, first: tuple[Node, Array] | None = None) -> GraphError:
    """The error of a loss that is no number; `first` is where that begins, if it is known."""
    rule = f"the loss {loss.name} is nan or inf"
    if first is None:
        return graph_error("not-finite", rule)
    node, array = first
    kind = "input" if isinstance(node, Input) else "parameter" if isinstance(node, Parameter) else "node"
    wrong = ~np.isfinite(array)
    place = np.unravel_index(int(np.argmax(wrong)), array.shape)
    where = f"[{', '.join(map(str, place))}]" if array.ndim else ""
    shown = f"{node.name}{where} = {array[place]}, one of {int(wrong.sum())}"
    way = "look at its sources' values, use a smaller rate, or clip the gradients"
    return graph_error("not-finite", rule, f"the first {kind} that is: {node.name}", shown, way_out=way)


def all_tensors(graph: Assembled) -> list[str]:
    """The tensors of all computed nodes, and of the parts that were asked for."""
    given = {n.name for n in (*graph.inputs, *graph.parameters)}
    return list(dict.fromkeys(t for n, t in graph.tensors.items() if t not in given))


def averaging(loss: Node, shape: tuple[int, ...], dtype: Any) -> Array:
    """The gradient of the average over a batch: what each of its examples counts. Errors: `GraphError`."""
    check_loss(loss, shape)
    return np.full(shape, 1 / shape[0] if shape and shape[0] else 1.0, dtype)


def check_loss(loss: Node, shape: tuple[int, ...]) -> None:
    """Whether a loss can be averaged over the batch. Errors: `GraphError` for several values of an example, as of
    scores that stand in the loss's place: the average of their sum would be minimised without a word.
    """
    if math.prod(shape[1:]) > 1:
        rule = f"a loss is one value for each example, or one for all, and {loss.name} has shape {list(shape)}"
        way = "pass what is computed from the scores, such as CrossEntropy(scores, y) or MeanSquaredError(x, y)"
        raise graph_error("loss-shape", rule, way_out=way)
