"""Right sides: factors, activations, embedded reductions, choices, masks.

In: a Scene. Out: text. The one rule: no poles unless asked for, so that every value is finite and has a derivative.
"""

from __future__ import annotations

from .scene import Scene

ACTIVATIONS = (
    *("tanh({})", "tanh({})", "sigmoid({})", "relu({})", "relu({})", "sin({})", "gelu({})", "silu({})"),
    *("softplus({})", "exp(0.3*{})", "({})**2", "abs({})", "log(1 + ({})**2)", "sqrt(1 + ({})**2)", "max({}, 0)"),
    *("1 / (1 + ({})**2)", "where({0} > 0, {0}, 0.1*{0})", "atan({})", "rsqrt(1.5 + sin({}))", "cos({})"),
    *("-{}", "({} + 0.5)", "(1 - {})", "erf({})", "min({}, 0.7)", "log1p(abs({}))", "expm1(0.1*{})", "({})**3"),
)
PAIRS = (
    *("{} * {}", "{} * {}", "{} * {}", "({} + {})", "({} - {})", "({} - {})**2", "{} / (1 + ({})**2)"),
    *("max({}, {})", "min({}, {})", "where({} > 0.1, {}, 0.5)", "{} * ({} > 0)", "atan2({}, 3 + ({})**2)"),
    *("(1.5 + sin({}))**({})", "({} + {}) * 0.5"),
)
REDUCTIONS = ("sum", "sum", "sum", "max", "min", "mean", "logsumexp", "prod")
USER = ("swish_(u) = u * sigmoid(1.702*u)", "cube_(u) = u * (u**2 - 1)", "soft_(u,v) = u / (1 + abs(v))")


class Values:
    """Expressions over a scene's indices. `embedded` says how often a reduction stands inside, in percent."""

    def __init__(self, scene: Scene, embedded: float = 6) -> None:
        self.scene, self.dice, self.tensors = scene, scene.dice, scene.tensors
        self.embedded = embedded

    # -- leaves --------------------------------------------------------------------------------

    def leaf(self, wild: float = 9) -> str:
        """One factor: mostly a tensor."""
        dice = self.dice
        if dice.chance(self.embedded):
            return self.reduction()
        kind = dice.between(0, 99)
        if kind < 4:
            return dice.one_of(("0.7", "2", "1.5", "-0.3"))
        if kind < 7:
            index = self.scene.any()
            self.scene.must.add(index)  # a name that no subscript and no range has would be a scalar
            return dice.one_of((f"({index} + 1)", f"sin({index})", f"{index}"))
        if kind < 9:
            return self.tensors.new_input(())
        if kind < 11:
            return self.over(dice.some(self.scene.outer)[:2], limit=dice.between(2, 9))
        if kind < 50 and self.tensors.made:
            return self.made(wild)
        again = [n for n, i in self.tensors.inputs.items() if i.floating and i.shape]
        if kind < 60 and again:
            name = dice.one_of(again)
            return self.fitted(name, self.tensors.inputs[name].shape, wild)
        return self.new(wild)

    def made(self, wild: float = 9) -> str:
        """A tensor made before, the later ones more often."""
        names = list(self.tensors.made)
        name = names[-1] if self.dice.chance(60) else self.dice.one_of(names)
        text = self.fitted(name, self.tensors.made[name], wild)
        return f"float({text})" if name in self.tensors.limits and self.dice.chance(50) else text

    def fitted(self, name: str, shape: tuple[int, ...], wild: float) -> str:
        return self.scene.read(name, [self.scene.axis(n, wild) for n in shape])

    def new(self, wild: float = 9, rank: int | None = None) -> str:
        """A new input over some of the indices."""
        scene, dice = self.scene, self.dice
        if rank is None and scene.outer and dice.chance(75):
            chosen = dice.some(scene.outer, 1)[:4]
            axes = [(scene.plain(i, scene.high(i)), scene.high(i)) for i in chosen]
            if dice.chance(wild):
                axes[dice.between(0, len(axes) - 1)] = scene.new_axis(100)
        else:
            axes = [scene.new_axis(wild) for _ in range(rank or dice.one_of((1, 2, 2, 3)))]
        name = self.tensors.new_input(tuple(n for _, n in axes))
        return scene.read(name, [text for text, _ in axes])

    def over(self, indices: list[str], limit: int = 0) -> str:
        """A new input over just these indices; of integers below a limit."""
        name = self.tensors.new_input(tuple(self.scene.high(i) for i in indices), limit)
        return self.scene.read(name, [self.scene.plain(i, self.scene.high(i)) for i in indices])

    # -- expressions ---------------------------------------------------------------------------

    def activated(self, value: str) -> str:
        if self.dice.chance(6):
            return f"{self.dice.one_of(('swish_', 'cube_'))}({value})"
        return self.dice.one_of(ACTIVATIONS).replace("{0}", "{}").format(*[value] * 3)

    def factor(self, wild: float = 9) -> str:
        """What stands in a product: a tensor, a function of one, a sum in brackets."""
        kind = self.dice.between(0, 99)
        if kind < 62:
            return self.leaf(wild)
        if kind < 84:
            return self.activated(self.leaf(wild))
        if kind < 94:
            return f"({self.leaf(wild)} {self.dice.one_of('+-')} {self.leaf(wild)})"
        return self.activated(f"({self.leaf(wild)} {self.dice.one_of('+-*')} {self.leaf(wild)})")

    def product(self, count: int, wild: float = 9) -> str:
        """A contraction, as yet without a target."""
        factors = [self.factor(wild) for _ in range(count)]
        text = factors[0]
        for f in factors[1:]:
            text = f"{text} / (1 + {f}**2)" if self.dice.chance(5) else f"{text} * {f}"
        if self.dice.chance(8):
            text = f"{self.dice.one_of(('0.5', '2', '-1', '-0.25'))} * {text}"
        return text

    def expression(self, depth: int, wild: float = 9) -> str:
        if depth == 0 or self.dice.chance(15):
            return self.leaf(wild)
        if self.dice.chance(35):
            return self.activated(self.expression(depth - 1, wild))
        left, right = self.expression(depth - 1, wild), self.expression(depth - 1, wild)
        if self.dice.chance(4):
            return f"soft_({left}, {right})"
        return self.dice.one_of(PAIRS).format(left, right)

    # -- embedded reductions -------------------------------------------------------------------

    def reduction(self, op: str | None = None) -> str:
        """`op[k](...)` over one or two indices of its own, some of them under a mask."""
        scene, dice = self.scene, self.dice
        made = [n for n in (scene.new(self.tensors.size(), True) for _ in range(dice.one_of((1, 1, 2)))) if n]
        if not made:
            return self.new()
        body = self.body(made)
        op = op or dice.one_of(REDUCTIONS)
        for k in made:
            if dice.chance(12):
                self.inner_mask(k, some=op not in ("sum", "prod"))
            if not scene.uses.get(k) or dice.chance(15):
                scene.must.add(k)
        return f"{op}[{','.join(dice.shuffled(made))}]({body})"

    def body(self, inner: list[str]) -> str:
        """What is reduced: it has the inner indices, and some of those outside."""
        scene, dice = self.scene, self.dice
        outer = dice.some(scene.outer)[:3]
        first = self.over(dice.shuffled([*inner, *outer]))
        if dice.chance(30):
            fitting = [(n, s) for n, s in self.tensors.made.items() if any(scene.high(k) in s for k in inner)]
            if fitting:
                first = self.inside(*dice.one_of(fitting), inner)
        kind = dice.between(0, 9)
        if kind < 3:
            return first
        if kind < 5:
            return self.activated(first)
        second = self.over(dice.shuffled([*dice.some(inner), *dice.some(scene.outer)[:1]]) or inner)
        return dice.one_of(("{} * {}", "({} - {})**2", "{} + {}", "tanh({}) * {}", "{} - {}")).format(first, second)

    def inside(self, name: str, shape: tuple[int, ...], inner: list[str]) -> str:
        """A tensor made before with the inner indices where they fit."""
        left, texts = list(inner), []
        for n in shape:
            fitting = [k for k in left if self.scene.high(k) == n]
            if fitting:
                left.remove(fitting[0])
                texts.append(self.scene.plain(fitting[0], n))
            else:
                texts.append(self.scene.axis(n, 0))
        return self.scene.read(name, texts)

    def inner_mask(self, index: str, some: bool) -> None:
        """A mask on an inner index; `some`: it must leave some point."""
        scene, dice = self.scene, self.dice
        scene.must.add(index)
        if scene.outer and dice.chance(70):
            other = dice.one_of(scene.outer)
            scene.must.add(other)
            masks = (f"{index} <= {other}", f"{index} != {other}", f"{other} <= {index}")
            scene.conditions.append(masks[0] if some else dice.one_of(masks))
        else:
            scene.conditions.append(f"{index}%2 == 0")

    # -- masks ---------------------------------------------------------------------------------

    def mask(self) -> str | None:
        """A condition on the statement's indices, sometimes on data."""
        scene, dice = self.scene, self.dice
        if not scene.outer:
            return None
        i, j = dice.one_of(scene.outer), dice.one_of(scene.outer)
        if i == j and len(scene.outer) > 1:
            j = next(k for k in scene.outer if k != i)
        if dice.chance(30):
            return self.data_mask(i, j)
        scene.must.update((i, j))
        if i == j:
            return dice.one_of((f"{i}%2 == 0", f"{i} != 1", f"{i}%3 > 0", f"{i} == 0"))
        lo = dice.between(0, 2)
        return dice.one_of(
            (
                *(f"{i} <= {j}", f"{i} <= {j}", f"{i} < {j}", f"{j} < {i} + {lo + 1}", f"{i} != {j}", f"{i} == {j}"),
                *(f"({i}+{j}) % 2 == 0", f"{i}//2 == {j}//2", f"{i} <= {j} and {j} <= {i} + {lo}", f"{i} == {lo}"),
                *(
                    f"abs({i}-{j}) <= {lo}",
                    f"{i} < {j} or {i} > {j} + {lo}",
                    f"not {i} == {j}",
                    f"{i} + {j} < {lo + 3}",
                ),
            )
        )

    def data_mask(self, i: str, j: str) -> str:
        """Lengths, flags, labels, windows of data."""
        scene, dice, tensors = self.scene, self.dice, self.tensors
        size = scene.high(i)
        match dice.between(0, 3):
            case 0:
                return f"{self.over([i])} > 0.2"
            case 1 if i != j:
                flags = tensors.new_input((size, scene.high(j)), 2)
                return f"{flags}[{scene.plain(i, size)},{scene.plain(j, scene.high(j))}] > 0"
            case 2 if i != j:
                labels = tensors.new_input((size,), scene.high(j))
                scene.must.add(j)
                return f"{labels}[{scene.plain(i, size)}] == {j}"
            case _:
                lengths = tensors.new_input((size,), scene.high(j) + 1)
                scene.must.add(j)
                return f"{j} < {lengths}[{scene.plain(i, size)}]"
