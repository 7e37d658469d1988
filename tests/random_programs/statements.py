"""Statements and programs: a seed to a Sample.

In: a seed. Out: a Sample whose text the language must accept, and in which every read and write stays inside. The one
rule: a range is left out only where the language finds the same one.
"""

from __future__ import annotations

import math
import re

from .house import IndexLangError, Program, infer_sizes, program_of
from .idioms import IDIOMS
from .limits import drawn, named
from .sample import LAYOUTS, Sample
from .scene import Scene, Tensors
from .values import USER, Values
from .words import INDICES, SCALES, Dice

STYLES = (
    *((30.0, "contraction"), (14.0, "pointwise"), (10.0, "reduction"), (10.0, "embedded"), (8.0, "argument")),
    *((8.0, "sum"), (8.0, "wild"), (6.0, "accumulate")),
)

MOST = 8_000_000  # elements of all inputs, and of all that is made: diagonals ask for more than a statement has points
FACTORS = 500  # of an element: the gradient of each is the product of all others, a square of points
SWEPT = 10_000  # points of a statement below which limits are swept
LENGTHS = ((35.0, 1), (33.0, 2), (20.0, 3), (12.0, 4))


class RefusedError(Exception):
    """A text that the generator holds for legal and the language refuses."""

    def __init__(self, sample: Sample, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.sample, self.error = sample, error


class Writer:
    """A program, statement by statement."""

    def __init__(self, seed: int | str, scale: str | None = None) -> None:
        self.dice = dice = Dice(seed)
        shares = [(s.share, s) for s in SCALES]
        self.scale = next(s for s in SCALES if s.name == scale) if scale else dice.weighted(shares)
        sizes = tuple(dice.one_of(self.scale.sizes) for _ in range(dice.between(2, 4)))
        self.tensors = Tensors(dice, self.scale, sizes)
        self.lines: list[str] = list(USER)
        self.open: dict[str, str] = {}  # tensors that may be accumulated into, and how
        self.read: set[str] = set()

    def sample(self) -> Sample:
        dice = self.dice
        idiom = dice.chance(12)
        if idiom:
            self.tensors.present = dict.fromkeys(INDICES, (0, 0))  # idioms have their own
            self.lines += dice.one_of(IDIOMS)(self.tensors)
            self.known()
        for _ in range(min(dice.weighted(LENGTHS), self.scale.statements) - idiom):
            self.statement()
        text = self.text(self.lines)
        program = program_of(text)
        inputs = {n: self.tensors.inputs[n] for n in program.inputs}
        if dice.chance(15):
            text = self.headed(program)
        limits = drawn(dice) if self.scale.points < SWEPT else "default"
        layout = dice.weighted([(70.0, "C"), *((5.0, x) for x in LAYOUTS[1:7])])
        return Sample(text, inputs, dice.between(0, 10**6), named(limits), layout, dict(self.tensors.made))

    def text(self, lines: list[str]) -> str:
        used = [u for u in USER if any(u[: u.index("(") + 1] in line for line in lines if line not in USER)]
        return "\n".join([*used, *(line for line in lines if line not in USER)]) + "\n"

    def headed(self, program: Program) -> str:
        """As a layer, whose outputs may be read inside."""
        more = [n for n in self.tensors.made if n not in program.outputs and self.dice.chance(30)]
        inputs, outputs = self.dice.shuffled(program.inputs), [*program.outputs, *more]
        functions = [line for line in self.text(self.lines).split("\n") if line in USER]
        body = [f"    {line}" for line in self.lines if line not in USER]
        header = f"layer net_({', '.join(inputs)}) -> {', '.join(self.dice.shuffled(outputs))}:"
        return "\n".join([*functions, header, *body]) + "\n"

    def known(self) -> None:
        """What the lines so far have made, as the language has it."""
        program = program_of(self.text(self.lines))
        shapes = infer_sizes(program, {n: self.tensors.inputs[n].shape for n in program.inputs}).tensors
        self.tensors.made = {s.target.tensor: tuple(shapes[s.target.tensor]) for s in program.statements}

    # -- one statement -------------------------------------------------------------------------

    def statement(self) -> None:
        dice = self.dice
        style = dice.weighted(STYLES)
        scene = Scene(dice, self.tensors)
        values = Values(scene, 30 if style == "embedded" else 5)
        onto = [n for n in self.open if n not in self.read]
        if style == "accumulate" and onto:
            return self.accumulate(dice.one_of(onto), scene, values)
        op, value = self.value(style, scene, values)
        if style == "argument" and not value.startswith("arg"):  # there was no room for another index
            style = "pointwise"
        return self.finish(style, op, value, scene, values)

    def value(self, style: str, scene: Scene, values: Values) -> tuple[str, str]:
        dice = self.dice
        sums = dice.one_of(("=", "=", "=", "+="))
        if self.tensors.made and dice.chance(70):
            first = values.made()
        else:
            first = values.new(18, dice.one_of((1, 2, 2, 3, 3, 4)))
        match style:
            case "contraction" | "accumulate":
                first = values.activated(first) if dice.chance(25) else first
                parts = dice.shuffled([first, values.product(dice.one_of((1, 1, 1, 2, 2, 3)))])
                return sums, " * ".join(parts)
            case "pointwise":
                pattern = dice.one_of(("{} + {}", "{} * {}", "({} - {})", "max({}, {})", "{} / (2 + ({})**2)"))
                return sums, pattern.format(first, values.expression(2, 6))
            case "reduction":
                value = first if dice.chance(50) else f"{first} {dice.one_of('+-*')} {values.leaf()}"
                return dice.one_of(("max=", "max=", "min=", "*=")), value
            case "embedded":
                pattern = dice.one_of(("{} - {}", "exp(0.2*({} - {}))", "{} * {}", "({} - {})**2", "{} / (1 + {}**2)"))
                return sums, pattern.format(first, values.reduction())
            case "argument":
                return "=", values.reduction(dice.one_of(("argmax", "argmax", "argmin")))
            case "sum":
                terms = [first, *(values.product(dice.one_of((1, 2))) for _ in range(dice.between(1, 2)))]
                return sums, dice.one_of([" + ", " - "]).join(terms)
            case _:
                return dice.one_of(("=", "+=", "*=", "max=", "min=")), values.expression(3, 30)

    def finish(self, style: str, op: str, value: str, scene: Scene, values: Values) -> None:
        """The masks, the target, the ranges."""
        dice = self.dice
        scene.cut()
        if dice.chance(4):  # an index that only its range mentions counts how often
            scene.new(dice.between(1, 3))
        for _ in range(dice.one_of((0, 0, 0, 1, 1, 2)) if style not in ("pointwise", "argument") else 0):
            mask = values.mask()
            if mask:
                scene.conditions.append(mask)
        if style == "argument":
            chosen = [i for i in scene.outer if scene.uses.get(i)]
        elif style in ("pointwise", "embedded") and dice.chance(75):
            chosen = dice.shuffled(scene.outer)
        else:
            chosen = self.chosen(scene)
        factors = math.prod(scene.high(i) - scene.extent[i][0] for i in scene.outer if i not in chosen)
        if op == "*=" and factors > FACTORS:
            op = "+="
        name = self.tensors.new_made()
        left, declared = self.target(name, chosen, scene, plain=style == "argument" or dice.chance(72))
        if op in ("=", "+="):  # a top-level sum must have all the reduced indices in all terms
            value = self.whole(value, [i for i in scene.outer if i not in chosen], scene, values)
        lines = [f"shape {name}[{','.join(map(str, declared))}]"] if declared else []
        self.add(lines, f"{left} {op} {value}", scene, name)
        if op in ("max=", "min=") and (scene.conditions or set(left) & set("*+-(01")):
            del self.tensors.made[name]  # it may hold an infinity, which is fine as an output
        if style == "argument" and name in self.tensors.made:
            inner = value[value.index("[") + 1 : value.index("]")].split(",")
            self.tensors.limits[name] = max(1, math.prod(scene.high(i) - scene.extent[i][0] for i in inner))
        elif name in self.tensors.made and (op != "=" or dice.chance(50)):
            self.open[name] = "+=" if op == "=" else op

    def chosen(self, scene: Scene) -> list[str]:
        """The indices of a target: in layers most are kept, and at least one."""
        dice = self.dice
        kept = [i for i in scene.outer if dice.chance(62)]
        return dice.shuffled(kept) if kept or dice.chance(30) else dice.some(scene.outer)

    def whole(self, value: str, reduced: list[str], scene: Scene, values: Values) -> str:
        if not reduced or not _is_sum(value):
            return value
        if self.dice.chance(50):
            return self.dice.one_of(("tanh({})", "relu({})", "sin({})", "gelu({})")).format(value)
        return f"({value}) * {values.over(self.dice.some(scene.outer)[:2])}"

    def target(self, name: str, chosen: list[str], scene: Scene, plain: bool) -> tuple[str, list[int]]:
        """The left side, and the shape to declare if it needs one."""
        dice = self.dice
        texts, sizes = list(chosen), [scene.high(i) for i in chosen]
        declared = False
        if chosen and not plain:
            at = dice.between(0, len(chosen) - 1)
            i, other = chosen[at], dice.one_of(scene.outer)
            text, low, high = scene.form([i, other])
            match dice.between(0, 8):
                case 0 | 1:  # transposed convolutions
                    texts[at], sizes[at] = _moved(text, -low), high - low + 1
                case 2:  # diagonals
                    texts.append(i)
                    sizes.append(sizes[at])
                case 3:
                    texts[at] = f"{dice.one_of(('pad', 'clamp', 'wrap', 'reflect'))}({_moved(text, -1)})"
                    sizes[at], declared = max(1, min(high, self.scale.sizes[-1])), True
                case 4:
                    limit = self.tensors.size()
                    made = [n for n, below in self.tensors.limits.items() if below <= limit]
                    axes = [i] if not made or dice.chance(60) else []
                    if axes:
                        index = self.tensors.new_input((scene.high(i),), limit)
                        texts[at] = scene.read(index, [scene.plain(i, scene.high(i))])
                        sizes[at], declared = limit, True
                case 5:
                    texts.insert(at, "0" if dice.chance(60) else "1")
                    sizes.insert(at, int(texts[at]) + 1)
                case 6 if len(chosen) > 1:  # merged axes
                    rest = [k for k in chosen if k != i][:2]
                    if all(scene.extent[k][0] == 0 for k in (i, *rest)):
                        texts = [f"({','.join((i, *rest))})", *(k for k in chosen if k != i and k not in rest)]
                        sizes = []
                case 7:
                    texts[at] = f"{2}*{i}+{dice.between(0, 1)}"
                case _:
                    texts[at] = f"{scene.high(i) - 1}-{i}"
        if declared:  # the shape may be larger than what is reached
            scene.must.update(scene.outer)
        return scene.read(name, texts) if texts else f"{name}[]", sizes if declared else []

    def accumulate(self, name: str, scene: Scene, values: Values) -> None:
        """A further statement into a tensor that nothing has read yet: biases."""
        indices = []
        shape = self.tensors.made.pop(name)  # it is not read here
        for size in shape:
            index = scene.new(size)
            if index is None:
                self.tensors.made[name] = shape
                return
            indices.append(scene.plain(index, size))
        kept = self.dice.some(indices)
        value = values.over(kept)
        if self.dice.chance(40):
            value = values.activated(value)
        if self.dice.chance(30):
            value = f"{value} * {values.leaf(0)}"
        reduced = [i for i in scene.outer if i not in indices]
        if self.open[name] == "+=":
            value = self.whole(value, reduced, scene, values)
        target = scene.read(name, indices) if indices else f"{name}[]"  # of whole tensors without any bracket
        self.add([], f"{target} {self.open[name]} {value}", scene, name)

    # -- ranges --------------------------------------------------------------------------------

    def add(self, before: list[str], line: str, scene: Scene, name: str) -> None:
        """Add the statement with the fewest ranges under which it runs as far as was meant."""
        for how in (0, 1, 2) if self.dice.chance(60) else (1, 2) if self.dice.chance(75) else (2,):
            where = [*scene.ranges(how), *scene.conditions]
            lines = [*self.lines, *before, line + (" where " + ", ".join(where) if where else "")]
            text = self.text(lines)
            try:
                program = program_of(text)
                shapes = {n: self.tensors.inputs[n].shape for n in program.inputs}
                found = infer_sizes(program, shapes)
            except Exception as error:
                if how == 2 or not isinstance(error, IndexLangError):
                    known = Sample(text, dict(self.tensors.inputs), shapes=dict(self.tensors.made))
                    raise RefusedError(known, error) from error
                continue
            if all(found.extents[-1].get(i, e) == e for i, e in scene.extent.items()) or how == 2:
                self.lines = lines
                self.tensors.made[name] = tuple(found.tensors[name])
                words = set(re.findall(r"[^\W\d][\w.]*", line))
                self.read |= {n for n in self.tensors.made if n != name and n in words}
                return


def _is_sum(value: str) -> bool:
    """Whether a text is a sum at its top level."""
    depth = 0
    for at, c in enumerate(value):
        depth += (c in "([") - (c in ")]")
        if depth == 0 and c in "+-" and value[at - 1 : at] == " ":
            return True
    return value.startswith(("-", "(")) or " + " in value


def _moved(text: str, by: int) -> str:
    return text if not by else f"{by}{text}" if text.startswith("-") and by > 0 else f"{text}{by:+d}"


def generate(seed: int | str, scale: str | None = None) -> Sample:
    """The sample of a seed; `scale` is a name of SCALES. Errors: `RefusedError`."""
    sample = Writer(seed, scale).sample()
    made = sum(map(math.prod, sample.shapes.values()))
    return sample if sample.elements() <= MOST and made <= MOST else generate(f"{seed} again", scale)
