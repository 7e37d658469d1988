"""`python -m tools.api_page` prints docs/api.md: every public name with its signature and its docstring.

In: the package. Out: Markdown. The one rule: the page says nothing of its own about a name; a group's sentence says
only what its names have in common.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Any, Literal, get_origin

import indexlang
from indexlang import edf, errors
from indexlang.calls.loading import Layers
from indexlang.calls.transformed import Transformed
from indexlang.edf import networks
from indexlang.edf.graphs.initialisers import Initialiser
from indexlang.edf.learning import curves, data, optimisers, schedules
from indexlang.plan import plan, printing

WIDTH = 110
SHARED = (Transformed,)


@dataclass(frozen=True)
class Group:
    """A heading, a sentence, and objects by the name under which a user has them."""

    title: str
    text: str
    entries: tuple[tuple[str, Any], ...]


def _of(module: Any, names: str) -> tuple[tuple[str, Any], ...]:
    return tuple((name, getattr(module, name)) for name in names.split())


GROUPS = (
    Group(
        "indexlang: programs",
        "Texts and files become Functions.",
        (*_of(indexlang, "compile load"), ("Layers", Layers), *_of(indexlang, "Function join")),
    ),
    Group(
        "indexlang: threads",
        "They are told by the environment, too (`docs/cli.md`).",
        _of(indexlang, "set_num_threads"),
    ),
    Group(
        "indexlang: errors",
        "`docs/errors.md` has every code with an example. `str(error)` is all of it, with places in the text.",
        (
            *_of(
                indexlang, "IndexLangError LanguageSyntaxError MeaningError ShapeError DerivationError IndexLangWarning"
            ),
            *_of(errors, "Problem Span"),
        ),
    ),
    Group(
        "Plans",
        "What `f.plan(...)` gives: `print` it, or take it apart (`docs/performance.md`).",
        (*_of(plan, "Plan"), *_of(printing, "steps_text as_json")),
    ),
    Group(
        "indexlang.edf: as on the slides",
        "All names of this and the next sections come with `from indexlang.edf import *` (`docs/edf.md`).",
        _of(edf, "Forward Backward SGD default_graph reset"),
    ),
    Group(
        "indexlang.edf: graphs and nodes",
        "A node belongs to the graph of the surrounding `with`, else to the default graph.",
        _of(edf, "Graph Node Input Parameter CompNode node"),
    ),
    Group(
        "indexlang.edf: packages of parameters",
        "What is learned, by layer. A package stands first among a node's arguments.",
        _of(edf, "Package AffineParams ConvParams NormParams EmbeddingParams AttentionParams"),
    ),
    Group(
        "indexlang.edf: first values",
        "What a parameter begins with; each is called with a shape, the fans and a random generator.",
        (
            ("Initialiser", Initialiser),
            *_of(edf, "Glorot He LeCun Normal Uniform Constant Zeros Ones"),
        ),
    ),
    Group(
        "indexlang.edf: computed nodes",
        "Classes that call a layer of the standard library. Nodes go by position or by the input's name, options by\n"
        "keyword; `name` is the node's. A default may be another option. Images are [batch, height, width, channels].",
        _of(
            edf,
            "Affine Conv Embedding Attention "
            "Relu LeakyRelu Sigmoid Tanh Gelu Silu Softplus Softmax LogSoftmax "
            "MaxPool AvgPool GlobalMaxPool GlobalAvgPool "
            "BatchNorm LayerNorm GroupNorm LocalResponseNorm Dropout "
            "Flatten Concat Add LogLoss CrossEntropy MeanSquaredError SquaredError",
        ),
    ),
    Group(
        "indexlang.edf: training",
        "Optimisers, schedules, and the loop around them.",
        (
            *_of(edf, "Training"),
            *_of(curves, "History Epoch"),
            *_of(optimisers, "Optimiser"),
            *_of(edf, "GradientDescent Adam AdamW Group clip_norm clip_value"),
            ("Schedule", schedules.Schedule),
            *_of(edf, "ConstantRate StepRate CosineRate WarmUp"),
        ),
    ),
    Group(
        "indexlang.edf: data and weights",
        "A file that is not exactly what it should be is a `DataError`, and nothing is changed by it.",
        (
            *_of(edf, "Dataset read_idx mnist_small"),
            ("learning.data.folder", data.folder),
            *_of(edf, "save_weights load_weights GraphError DataError"),
        ),
    ),
    Group(
        "indexlang.edf.networks",
        "The lecture's networks (`docs/networks.md`).",
        _of(
            networks,
            "build find Network Found network NETWORKS mlp lenet5 lenet5_1998 alexnet vgg googlenet inception "
            "resnet small_resnet basic_block bottleneck_block",
        ),
    ),
)

# Classes that users do not make themselves: their pages say what makes them.
GIVEN = (Layers, indexlang.Function, indexlang.IndexLangError, errors.Problem, errors.Span, plan.Plan, edf.Node)
PLAIN = (str, int, float, bool, type(None))


def page() -> str:
    """The whole page."""
    head = (
        "# The Python API\n\n"
        "Every public name, its arguments, what it gives, and its errors. `make pages` makes this page of the\n"
        "docstrings: `help(name)` says the same. Shapes stand in brackets, `[batch, out]`.\n"
    )
    return head + "".join(_group(group) for group in GROUPS)


def _group(group: Group) -> str:
    return f"\n## {group.title}\n\n{group.text}\n" + "".join(_entry(n, o) for n, o in group.entries)


def _entry(name: str, thing: Any) -> str:
    head = f"\n### {name}\n"
    if isinstance(thing, dict):
        return f"{head}\nThe catalogue: {', '.join(f'`{key}`' for key in thing)}.\n"
    if not isinstance(thing, type) and not inspect.isroutine(thing):
        return f"{head}\n`{name} = {thing!r}`\n"
    if not _is_given(thing):
        head += f"\n```text\n{signature(name.rpartition('.')[2], thing)}\n```\n"
    return "".join([head, f"\n{text(thing)}\n", *(_member(name, n, m) for n, m in members(thing))])


def _is_given(thing: Any) -> bool:
    """Whether users do not make them themselves."""
    return thing in GIVEN or _is_protocol(thing) or (isinstance(thing, type) and issubclass(thing, Exception))


def _is_protocol(thing: Any) -> bool:
    return bool(getattr(thing, "_is_protocol", False))


def members(thing: Any) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class that no class above it has, and what its calls do.

    A class above that is only there to share the work is no name of its own: what it has is told here.
    """
    if not isinstance(thing, type):
        return
    bases = [base for base in thing.__mro__[1:] if base not in SHARED]
    above = {name for base in bases for name in (*vars(base), *inspect.get_annotations(base))}
    own = [pair for kind in (thing, *(b for b in thing.__mro__[1:] if b in SHARED)) for pair in vars(kind).items()]
    for name, member in own:
        called = name == "__call__" and (thing is indexlang.Function or _is_protocol(thing))
        if called or (not name.startswith("_") and name not in above and _is_told(member)):
            yield name, member.__func__ if isinstance(member, staticmethod) else member


def _is_told(member: Any) -> bool:
    return inspect.isfunction(member) or isinstance(member, property | staticmethod)


def _member(owner: str, name: str, member: Any) -> str:
    if isinstance(member, property):
        return f"\n**`{owner}.{name}`** {text(member)}\n"
    called = owner if name == "__call__" else f"{owner}.{name}"
    return f"\n```text\n{signature(called, member)}\n```\n\n{text(member)}\n"


# -- texts and signatures ------------------------------------------------------------------------------------


def text(thing: Any) -> str:
    """A docstring as Markdown: a layer's header, which stands at its end, is a block."""
    said = inspect.getdoc(thing) or ""
    prose, header, rest = said.partition("\nlayer ")
    return f"{prose.rstrip()}\n\n```text\nlayer {rest}\n```" if header else said


def signature(name: str, thing: Any) -> str:
    """A call as it is written in Python, over several lines where it is long."""
    found = inspect.signature(thing)
    slots = list(_slots([p for p in found.parameters.values() if p.name != "self"], _choices(thing)))
    nothing = found.return_annotation in (Signature.empty, None, "None")
    gives = "" if nothing else f" -> {_type(found.return_annotation)}"
    line = f"{name}({', '.join(slots)}){gives}"
    if len(line) <= WIDTH:
        return line
    lines, current = [], ""
    for slot in slots:
        if current and len(current) + len(slot) + 7 > WIDTH:
            lines.append(current)
            current = ""
        current += f"{slot}, "
    return "\n".join([f"{name}(", *(f"    {part.rstrip()}" for part in (*lines, current)), f"){gives}"])


def _choices(thing: Any) -> dict[str, Any]:
    """The names of a module that stand for choices, which a reader wants to see."""
    return {n: v for n, v in vars(sys.modules[thing.__module__]).items() if get_origin(v) is Literal}


def _slots(parameters: Sequence[Parameter], choices: Mapping[str, Any]) -> Iterator[str]:
    starred = False
    for k, p in enumerate(parameters):
        if p.kind is Parameter.VAR_POSITIONAL or (p.kind is Parameter.KEYWORD_ONLY and not starred):
            starred = True
            if p.kind is Parameter.KEYWORD_ONLY:
                yield "*"
        stars = "*" if p.kind is Parameter.VAR_POSITIONAL else "**" if p.kind is Parameter.VAR_KEYWORD else ""
        kind = "" if p.annotation is Parameter.empty else f": {_type(choices.get(p.annotation, p.annotation))}"
        equals = " = " if kind else "="
        yield f"{stars}{p.name}{kind}" + ("" if p.default is Parameter.empty else f"{equals}{_value(p.default)}")
        following = parameters[k + 1].kind if k + 1 < len(parameters) else None
        if p.kind is Parameter.POSITIONAL_ONLY and following is not Parameter.POSITIONAL_ONLY:
            yield "/"


def _type(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation).removeprefix("typing.")


def _value(default: Any) -> str:
    """A default; classes by their names, what a factory makes as such."""
    if isinstance(default, type):
        return default.__name__
    said = repr(default)
    return "..." if said.startswith("<") and not isinstance(default, PLAIN) else said


if __name__ == "__main__":
    print(page(), end="")
