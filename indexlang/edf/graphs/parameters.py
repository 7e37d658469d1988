"""Parameters, and the packages in which they come.

In: shapes and how they begin, or arrays. Out: nodes that are learned. The one rule: a parameter has no batch index,
keeps its shape, and belongs to one package at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...meaning.report import nearest
from ..problems import GraphError, graph_error
from ..settings import CHOICE, SIZE, setting, shape
from .attributes import Declared
from .initialisers import Fans, Glorot, He, Initial, Normal, Ones, Zeros, drawn, fans, initialiser
from .nodes import Array, Node, as_array
from .places import Place, here
from .registry import current


class Parameter(Node):
    """A value that is learned: an array, or a shape and how it begins. It has no batch index.

    `value` is the array, or the shape; `initial` gives a shape its first values (`He()`, `Zeros`, ...), by the numbers
    `fan` = (in, out) that are summed into an element and that it reaches, else those of the shape. `name` is its own,
    if it stands in no package. `trained=False` is for what has no gradient, like running statistics; it may be set at
    any time, and with it training stops, or begins again: no gradient, no step, no decay of the weight.
    """

    package: Package | None
    member: str  # its name in the package
    fresh: bool  # until it is told that nothing is computed from it
    unnamed: bool  # nobody named it

    def __init__(
        self,
        value: Sequence[int] | Array,
        initial: Initial | None = None,
        *,
        name: str | None = None,
        trained: bool = True,
        fan: Fans | None = None,
    ) -> None:
        registry = current()
        self._registry = registry
        self._own_name = None if name is None else registry.name("Parameter", name, self)
        self.fresh, self.unnamed, self.number = True, name is None, registry.made
        registry.learned.add(self)
        self.package = None
        self.member = ""
        self._trained = trained
        self._value: Array | None = None
        self._initial = None if initial is None else initialiser(initial)
        self._seed = registry.next_generator()
        if isinstance(value, np.ndarray):
            self._shape = value.shape
            self.value = value
        else:
            self._shape = shape("Parameter", value, 0)
        self._fans = fan if fan is not None else fans(self._shape)

    @property
    def name(self) -> str:
        """The package's name and the parameter's in it, or its own."""
        if self.package is not None:
            return f"{self.package.name}.{self.member}"
        if self._own_name is None:
            self._own_name = self._registry.name("Parameter", None, self)
        return self._own_name

    @property
    def owner(self) -> Any:
        return self if self.package is None else self.package

    @property
    def trained(self) -> bool:
        """Whether runs backward compute a gradient, and optimisers use it."""
        return self._trained

    @trained.setter
    def trained(self, trained: bool) -> None:
        if trained != self._trained:
            self._trained = bool(setting(self.name, "trained", trained, CHOICE))
            self._registry.version += 1  # what was derived is of other parameters
            self._registry.gradients.pop(self.name, None)

    def _without_gradient(self) -> GraphError:
        if self.trained:
            return super()._without_gradient()
        way = f"set {self.name}.trained = True before the run"
        return graph_error("no-gradient", f"{self.name} has no gradient: it is not trained", way_out=way)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, known before there is a value."""
        return self._shape

    @property
    def rank(self) -> int | None:
        return len(self._shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self._shape, dtype=np.int64))

    @property
    def value(self) -> Array:
        """The value; it is drawn when it is first needed."""
        if self._value is None:
            if self._initial is None:
                rule = f"the parameter {self.name} has neither a value nor a way to begin"
                raise graph_error("no-value", rule, way_out=f"set {self.name}.value, or pass an initialiser")
            first = drawn(self._initial, self._shape, self._fans, np.random.default_rng(self._seed))
            self._value = np.array(first, dtype=self._registry.dtype, order="C")
        return self._value

    @value.setter
    def value(self, value: ArrayLike) -> None:
        array = as_array(self.name, value)
        if array.shape != self._shape:
            sizes = (f"{self.name} has shape {self._shape}", f"the new value has shape {array.shape}")
            rule, way = f"a parameter keeps its shape: {self.name}", "make a new Parameter for another shape"
            raise graph_error("parameter-shape", rule, *sizes, way_out=way)
        dtype = self._registry.dtype
        if array.dtype.kind == "c":
            dtype = np.result_type(dtype, np.complex64)
        self._value = np.array(array, dtype=dtype, order="C")


class Package(Declared):
    """Parameters that go together: `Phi.W`, `Phi.B`. Iterating gives them in order.

    Members are `Parameter`s by keyword; `name` stands before theirs in the graph. Errors: `GraphError` for other
    members, none, and parameters of another package.
    """

    _stem = "Phi"
    place: Place | None  # where its user made it
    fresh: bool  # until a run looks at it
    unnamed: bool  # nobody named it
    number: int  # how many nodes were made before it

    def __init__(self, *, name: str | None = None, **members: Parameter) -> None:
        if not members:
            rule, way = "a parameter package needs a parameter", "write Package(W=Parameter((3, 4)))"
            raise graph_error("package", rule, way_out=way)
        self.place = here()
        self.fresh, self.unnamed = True, name is None
        self.number = current().made
        self._name: str = current().name(self._stem, name, self)
        for member, parameter in members.items():
            if not isinstance(parameter, Parameter):
                rule = f"{self.name}.{member} must be a Parameter, not {type(parameter).__name__}"
                raise graph_error("package", rule, way_out=f"write {member}=Parameter(...)")
            if parameter.package is not None:
                rule = f"the parameter {parameter.name} is in a package already"
                way = "use the package itself in both nodes to share its parameters"
                raise graph_error("shared-parameter", rule, f"it would also be {self.name}.{member}", way_out=way)
            parameter.package, parameter.member = self, member
        self._members = members

    def __getattr__(self, name: str) -> Parameter:
        members: dict[str, Parameter] = self.__dict__.get("_members", {})
        if name in members:
            return members[name]
        shown = f"{type(self).__name__} has no parameter '{name}'"
        if members and not name.startswith("_"):
            first = nearest(name, members) or f"for example {self.name}.{next(iter(members))}.value"
            shown = f"{shown}; its parameters: {', '.join(members)}; {first}"
        raise AttributeError(shown)

    @property
    def name(self) -> str:
        """What stands before the names of the parameters."""
        return self._name

    @property
    def trained(self) -> bool:
        """Whether the parameters that a layer takes are trained; it may be set for all of them at once.

        Errors: `GraphError` if some are, and others are not.
        """
        found = {p.member: p.trained for p in self.arguments()}
        if len(set(found.values())) > 1:
            rule = f"some parameters of {self.name} are trained, others are not"
            told = ", ".join(f"{member}: {'yes' if trained else 'no'}" for member, trained in found.items())
            raise graph_error(
                "package", rule, told, way_out=f"ask one of them: {self.name}.{next(iter(found))}.trained"
            )
        return next(iter(found.values()))

    @trained.setter
    def trained(self, trained: bool) -> None:
        wanted = bool(setting(self.name, "trained", trained, CHOICE))
        for parameter in self.arguments():
            parameter.trained = wanted

    def _undeclared(self, name: str, more: Iterable[str] = ()) -> GraphError:
        return super()._undeclared(name, (*more, *self.__dict__.get("_members", {})))

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.__dict__.get("_members", {}):
            way = f"set {self.name}.{name}.value"
            raise graph_error("package", f"{self.name}.{name} is a parameter, and stays it", way_out=way)
        super().__setattr__(name, value)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def arguments(self) -> tuple[Parameter, ...]:
        """The parameters that a layer takes, trained or not."""
        return tuple(self)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.name}: {', '.join(f'{m}{list(p.shape)}' for m, p in self._members.items())}>"
        )


class AffineParams(Package):
    """W [in, out] and B [out], for `inputs` and `outputs` features; no B if `bias` is false.

    `initial` gives W its first values, `Glorot()` by default; B begins with zeros. `name` is the package's.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bias: bool = True,
        *,
        initial: Initial | None = None,
        name: str | None = None,
    ) -> None:
        size = tuple(setting("AffineParams", n, v, SIZE) for n, v in (("inputs", inputs), ("outputs", outputs)))
        members = {"W": Parameter(size, Glorot() if initial is None else initial)}
        if setting("AffineParams", "bias", bias, CHOICE):
            members["B"] = Parameter((outputs,), Zeros)
        super().__init__(name=name, **members)


class ConvParams(Package):
    """W [rows, columns, in/groups, out] and B [out], for `in_channels` and `out_channels`; no B if `bias` is false.

    `kernel_size` is a number, or one for each axis; `groups` of channels see only their own. `initial` gives W its
    first values, `He()` by default; B begins with zeros. `name` is the package's. Errors: `GraphError` if groups do not
    divide.
    """

    groups: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        bias: bool = True,
        groups: int = 1,
        *,
        initial: Initial | None = None,
        name: str | None = None,
    ) -> None:
        numbers = {"in_channels": in_channels, "out_channels": out_channels, "groups": groups}
        in_channels, out_channels, groups = (setting("ConvParams", n, v, SIZE) for n, v in numbers.items())
        if in_channels % groups or out_channels % groups:
            rule = f"{groups} groups must divide the channels"
            sizes = f"{in_channels} channels in, {out_channels} channels out"
            most = math.gcd(in_channels, out_channels)
            way = f"take groups={most}" + (", or a number that divides it" if most > 1 else "")
            raise graph_error("groups", rule, sizes, way_out=way)
        size = _kernel_size(kernel_size)
        begin = He() if initial is None else initial
        members = {"W": Parameter((*size, in_channels // groups, out_channels), begin)}
        if setting("ConvParams", "bias", bias, CHOICE):
            members["B"] = Parameter((out_channels,), Zeros)
        self.groups = groups
        super().__init__(name=name, **members)


def _kernel_size(given: int | Sequence[int]) -> tuple[int, int]:
    """Rows and columns of a kernel. Errors: `GraphError`."""
    sizes = tuple(given) if isinstance(given, tuple | list) else (given, given)
    if len(sizes) != 2:
        rule = f"kernel_size of ConvParams is a whole number, or one for each of two axes, not {given!r}"
        raise graph_error("setting", rule, way_out="write kernel_size=3, or kernel_size=(3, 5)")
    rows, columns = (setting("ConvParams", "kernel_size", s, SIZE) for s in sizes)
    return rows, columns


class NormParams(Package):
    """A scale `gamma` and a shift `beta` for each of the `channels`, and running statistics `mean` and `variance`,
    which are not trained; all are [channels]. `name` is the package's.
    """

    def __init__(self, channels: int, *, name: str | None = None) -> None:
        size = (setting("NormParams", "channels", channels, SIZE),)
        super().__init__(
            name=name,
            gamma=Parameter(size, Ones),
            beta=Parameter(size, Zeros),
            mean=Parameter(size, Zeros, trained=False),
            variance=Parameter(size, Ones, trained=False),
        )

    def arguments(self) -> tuple[Parameter, ...]:
        """The scale and the shift."""
        return self.gamma, self.beta


class EmbeddingParams(Package):
    """E [tokens, features]: a row of `features` numbers for each of the `tokens`.

    `initial` gives E its first values, `Normal(1.0)` by default. `name` is the package's.
    """

    def __init__(self, tokens: int, features: int, *, initial: Initial | None = None, name: str | None = None) -> None:
        size = tuple(setting("EmbeddingParams", n, v, SIZE) for n, v in (("tokens", tokens), ("features", features)))
        super().__init__(name=name, E=Parameter(size, Normal(1.0) if initial is None else initial))


class AttentionParams(Package):
    """Wq, Wk, Wv [features, heads, size] and Wo [heads, size, features]; they begin as by `Glorot()`.

    `features` is the size of a position, `heads` the number of heads, `size` that of one, by default features / heads;
    `name` is the package's. Errors: `GraphError` if heads do not divide the features.
    """

    def __init__(self, features: int, heads: int, size: int | None = None, *, name: str | None = None) -> None:
        features = setting("AttentionParams", "features", features, SIZE)
        heads = setting("AttentionParams", "heads", heads, SIZE)
        if size is None and features % heads:
            way = f"take heads={math.gcd(heads, features)}, or say the size of one: size={max(1, features // heads)}"
            raise graph_error("heads", f"{heads} heads must divide {features} features", way_out=way)
        size = features // heads if size is None else setting("AttentionParams", "size", size, SIZE)
        inner = heads * size
        members = {w: Parameter((features, heads, size), Glorot(), fan=(features, inner)) for w in ("Wq", "Wk", "Wv")}
        members["Wo"] = Parameter((heads, size, features), Glorot(), fan=(inner, features))
        super().__init__(name=name, **members)
