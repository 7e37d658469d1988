"""Optimisers: how parameters change by their gradients.

In: parameters and their gradients, a rate. Out: changed parameters. The one rule: all that an optimiser remembers is
in `state`, arrays by name, so that a run can be saved and go on exactly.

Parameters change in place, by one call of a backend that has one, else block by block, so that nothing as large as they
are is made on the way. `groups` give some parameters other settings (the lecture's "Grouping").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...meaning.report import nearest
from ..graphs.parameters import Parameter
from ..problems import data_error, graph_error
from ..settings import FROM_0, PART, Kind, setting
from .groups import Group, groups_of, own_number, several
from .rules import Rule, by_moments, descent
from .together import able, call_of

RANGES: Mapping[str, Kind] = {  # what a setting must be; others may be anything
    "rate": FROM_0,
    "weight_decay": FROM_0,
    "momentum": FROM_0,
    "beta1": PART,
    "beta2": PART,
    "eps": FROM_0,
}
COUNT = "steps"  # of a parameter, in a state
BLOCK = 1 << 16  # elements that are moved at a time: what is made of them stays in the cache

Array = NDArray[Any]


@dataclass
class Optimiser:
    """What all optimisers share: their `rate`, their `groups`, and `steps`, the number of steps so far.

    A new one is a dataclass whose fields are its settings, with a `move`. `REMEMBERS`, of a class itself, is what
    `memory` is asked for of each parameter that moves; without it: whatever that is.
    """

    REMEMBERS: ClassVar[tuple[str, ...] | None] = None
    _COUNTS: ClassVar[bool] = False  # whether `_rule` asks how often each parameter has moved

    rate: float
    groups: Sequence[Group] = ()
    steps: int = field(default=0, init=False)
    state: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = {f.name for f in fields(self)} - {"groups", "steps", "state"}
        self._settings: dict[int, Mapping[str, float]] = {}
        for name in names:
            setattr(self, name, own_number(getattr(self, name)))
        common = {name: getattr(self, name) for name in names}
        self.check(common)
        for group in groups_of(type(self).__name__, self.groups):
            unknown = [s for s in group.settings if s not in names]
            if unknown:
                rule = f"{type(self).__name__} has no setting '{unknown[0]}'"
                way = nearest(unknown[0], names) or "name one of these"
                raise graph_error("group", rule, f"settings: {', '.join(sorted(names))}", way_out=way)
            self.check({**common, **group.settings})
            for parameter in group.parameters:
                if id(parameter) in self._settings:
                    rule = f"the parameter {parameter.name} is in two groups"
                    raise graph_error("group", rule, way_out="take it out of one of them")
                self._settings[id(parameter)] = group.settings

    def check(self, settings: Mapping[str, Any]) -> None:
        """Whether `settings`, by name, can be meant. Errors: `GraphError`."""
        for name, value in settings.items():
            if name in RANGES:
                setting(type(self).__name__, name, value, RANGES[name])

    def step(self, parameters: Iterable[Parameter], factor: float = 1.0) -> None:
        """Move those of the `parameters` that have a gradient; the rates are multiplied by `factor`.

        Errors: `GraphError` where parameters are to be trained and none of them has a gradient.
        """
        trained = [p for p in several("step", parameters) if p.trained]
        moving = [(p, g) for p in trained if (g := p.graph.gradients.get(p.name)) is not None]
        if trained and not moving:
            rule = f"no parameter has a gradient, {trained[0].name} neither: a step would change nothing"
            raise graph_error("no-gradient", rule, way_out="run Forward() and Backward(loss) before each step")
        self.steps += 1
        one = moving and "_rule" in vars(type(self)) and able()
        if not one or not self._at_once(moving, factor):
            for parameter, gradient in moving:
                self.move(parameter, gradient, factor)

    def _at_once(self, moving: Sequence[tuple[Parameter, Array]], factor: float) -> bool:
        """Whether all have moved by one call, as `_rule` says; else nothing has changed, what is remembered neither."""
        known: dict[tuple[int, int], tuple[Rule, Sequence[float]]] = {}
        fresh: dict[str, Array] = {}
        kinds, numbers, gradients, changed = [], list[float](), [], []
        for parameter, gradient in moving:
            name, value = parameter.name, parameter.value
            count = 0
            if self._COUNTS:
                count = self._coming(parameter)
                fresh[f"{name}.{COUNT}"] = np.array(count)
            key = id(self._settings.get(id(parameter))), count
            found = known.get(key)
            if found is None:
                found = known[key] = self._rule(parameter, factor, count)
            kinds.append((found[0], value.shape, value.dtype))
            numbers += found[1]
            gradients.append(gradient)
            changed.append(value)
            for what in found[0].remembered:
                memory = self.state.get(f"{name}.{what}")
                if memory is None:
                    memory = fresh[f"{name}.{what}"] = np.zeros_like(value)
                changed.append(memory)
        call = call_of(tuple(kinds))
        if call is None or call(np.array(numbers, kinds[0][2]), *gradients, *changed) is NotImplemented:
            return False
        self.state |= fresh
        return True

    def _rule(self, parameter: Parameter, factor: float, count: int) -> tuple[Rule, Sequence[float]]:
        """What `move` does of the same class, as statements with their numbers, in the `count`th step of a
        `parameter`. A backend that can runs those of all parameters in one call.
        """
        raise NotImplementedError

    def move(self, parameter: Parameter, gradient: Array, factor: float) -> None:
        """Move one `parameter`, in place, by its `gradient`; the rate is multiplied by `factor`."""
        raise NotImplementedError

    def setting(self, parameter: Parameter, name: str) -> float:
        """The setting of that `name` for one `parameter`: its group's, or the common one."""
        own = self._settings.get(id(parameter))
        value: float = own[name] if own is not None and name in own else getattr(self, name)
        return value

    def memory(self, parameter: Parameter, what: str) -> Array:
        """What is remembered of a `parameter` under the name `what`: an array of its shape, zeros at first."""
        name = f"{parameter.name}.{what}"
        if name not in self.state:
            self.state[name] = np.zeros_like(parameter.value)
        return self.state[name]

    def counted(self, parameter: Parameter) -> int:
        """How often a `parameter` has moved, this time included: one that is trained from later on begins at 1."""
        count = self._coming(parameter)
        self.state[f"{parameter.name}.{COUNT}"] = np.array(count)
        return count

    def _coming(self, parameter: Parameter) -> int:
        """How often a parameter will have moved after this step."""
        before = self.state.get(f"{parameter.name}.{COUNT}")
        if before is None:  # a state that was saved before parameters were counted by themselves
            known = any(n.rpartition(".")[0] == parameter.name for n in self.state)
            return self.steps if known else 1
        return int(before) + 1

    def restore(self, steps: int, state: Mapping[str, Array]) -> None:
        """Go on from a saved state: `steps` so far, and the arrays of `state`."""
        self.steps = steps
        self.state = {name: np.array(array) for name, array in state.items()}


@dataclass
class GradientDescent(Optimiser):
    """Down the gradient, with momentum (Nesterov's too) and weight decay, as torch.optim.SGD means them.

    `rate` is the step for a gradient of 1; `momentum` the part that is kept of the step before, `nesterov`
    looks ahead by it; `weight_decay` times the value is added to the gradient. `groups` are parameters with other
    settings. Errors: `GraphError` for settings that cannot be meant.
    """

    REMEMBERS = ("velocity",)

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def check(self, settings: Mapping[str, Any]) -> None:
        super().check(settings)
        if settings["nesterov"] and not settings["momentum"]:
            raise graph_error("setting", "nesterov needs a momentum", way_out="say momentum=0.9, for example")

    def _rule(self, parameter: Parameter, factor: float, count: int) -> tuple[Rule, Sequence[float]]:
        rate, nesterov = factor * self.setting(parameter, "rate"), self.setting(parameter, "nesterov")
        decay, momentum = self.setting(parameter, "weight_decay"), self.setting(parameter, "momentum")
        return descent(bool(momentum), bool(nesterov), bool(decay)), (rate, decay, momentum)

    def move(self, parameter: Parameter, gradient: Array, factor: float) -> None:
        rate, nesterov = factor * self.setting(parameter, "rate"), self.setting(parameter, "nesterov")
        decay, momentum = self.setting(parameter, "weight_decay"), self.setting(parameter, "momentum")
        remembered = (self.memory(parameter, "velocity"),) if momentum else ()
        for value, slope, *velocities in blocks(parameter.value, gradient, *remembered):
            if decay:
                slope = slope + decay * value
            for velocity in velocities:
                velocity *= momentum
                velocity += slope
                slope = slope + momentum * velocity if nesterov else velocity
            value -= rate * slope


@dataclass
class Adam(Optimiser):
    """Steps by the mean gradient over its spread (Kingma, Ba 2015).

    `rate` is the size of a step; `beta1` and `beta2` are what is kept of the mean and of the mean square, `eps` is
    added to the spread; `weight_decay` times the value is added to the gradient. `groups` are parameters with other
    settings. Errors: `GraphError` for settings that cannot be meant.
    """

    REMEMBERS = ("mean", "square")
    _COUNTS = True

    rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    def _rule(self, parameter: Parameter, factor: float, count: int) -> tuple[Rule, Sequence[float]]:
        decay = self.setting(parameter, "weight_decay")
        return by_moments(bool(decay), False), self._numbers(parameter, factor, count, decay)

    def _numbers(
        self, parameter: Parameter, factor: float, count: int, decay: float = 0.0, kept: float = 1.0
    ) -> Sequence[float]:
        """The numbers of a step, in the order of `MOMENTS`."""
        beta1, beta2 = self.setting(parameter, "beta1"), self.setting(parameter, "beta2")
        rate = factor * self.setting(parameter, "rate") / (1 - beta1**count)
        correction, eps = 1 / math.sqrt(1 - beta2**count), self.setting(parameter, "eps")
        return rate, decay, kept, beta1, 1 - beta1, beta2, 1 - beta2, correction, eps

    def move(self, parameter: Parameter, gradient: Array, factor: float) -> None:
        self.by_moments(parameter, gradient, factor, self.setting(parameter, "weight_decay"))

    def by_moments(self, parameter: Parameter, gradient: Array, factor: float, decay: float = 0.0) -> None:
        """The step proper of `move`; `decay` times the value is added to the `gradient` of the `parameter`.

        The rate is multiplied by `factor`.
        """
        numbers = self._numbers(parameter, factor, self.counted(parameter), decay)
        rate, decay, _, beta1, rest1, beta2, rest2, correction, eps = numbers
        moments = self.memory(parameter, "mean"), self.memory(parameter, "square")
        for value, slope, mean, square in blocks(parameter.value, gradient, *moments):
            if decay:
                slope = slope + decay * value
            mean *= beta1
            mean += rest1 * slope
            square *= beta2
            square += rest2 * (slope * slope.conj())
            spread = np.sqrt(square)
            spread *= correction
            spread += eps
            np.divide(mean, spread, out=spread)
            spread *= rate
            value -= spread


@dataclass
class AdamW(Adam):
    """Adam with weight decay beside the gradient, not in it (Loshchilov, Hutter 2017): each step first takes `rate`
    times `weight_decay` of the value away. `beta1`, `beta2`, `eps` and `groups` are Adam's, and so are the errors.
    """

    REMEMBERS = Adam.REMEMBERS

    weight_decay: float = 0.01

    def _rule(self, parameter: Parameter, factor: float, count: int) -> tuple[Rule, Sequence[float]]:
        decay = self.setting(parameter, "weight_decay")
        kept = 1 - factor * self.setting(parameter, "rate") * decay
        return by_moments(False, bool(decay)), self._numbers(parameter, factor, count, kept=kept)

    def move(self, parameter: Parameter, gradient: Array, factor: float) -> None:
        rate = factor * self.setting(parameter, "rate")
        value = parameter.value
        value *= 1 - rate * self.setting(parameter, "weight_decay")
        self.by_moments(parameter, gradient, factor)


def blocks(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Parts of arrays of one shape, side by side: views of a block of each; whole where one does not lie in a row."""
    if not all(a.flags.c_contiguous for a in arrays):
        yield arrays
        return
    flat = [a.reshape(-1) for a in arrays]
    for start in range(0, flat[0].size, BLOCK):
        yield tuple([a[start : start + BLOCK] for a in flat])


def check_state(optimiser: Optimiser, parameters: Mapping[str, Parameter], state: Mapping[str, Array]) -> None:
    """Whether a saved state belongs to these parameters, and is complete. Errors: `DataError`."""
    kind = type(optimiser).__name__
    remembers = vars(type(optimiser)).get("REMEMBERS")
    of: dict[str, set[str]] = {}
    for name, array in state.items():
        owner, _, what = name.rpartition(".")
        rule = f"the saved state of {kind} does not fit the parameter {owner}"
        if owner not in parameters:
            raise data_error("other-network", rule, f"saved: shape {array.shape}", "here: no such parameter")
        shape = () if what == COUNT else parameters[owner].shape
        if array.shape != shape:
            raise data_error("other-network", rule, f"saved: shape {array.shape}", f"here: {shape}")
        if array.dtype.kind not in ("iu" if what == COUNT else "fc"):
            raise data_error("other-network", rule, f"{what} is saved as {array.dtype}")
        of.setdefault(owner, set()).add(what)
    for owner, there in of.items():
        if remembers is None:
            continue
        rule = f"the saved state of {kind} does not fit the parameter {owner}"
        lacking = [what for what in remembers if what not in there]
        more = sorted(there - {*remembers, COUNT})
        if lacking or more:
            value = f"{lacking[0]} is not there" if lacking else f"{more[0]} is nothing that {kind} remembers"
            raise data_error("other-network", rule, value)
        count = state.get(f"{owner}.{COUNT}")
        square = state.get(f"{owner}.square")
        if square is not None and bool((square.real < 0).any()):
            raise data_error("other-network", rule, "its mean square is below 0")
        if count is not None and int(count) < 1:
            raise data_error("other-network", rule, f"it has moved {int(count)} times")
