"""Stand-alone modules of jax: what runs, with where it comes from, and with a look at what it is given.

In: `Lowered`, the text of its program, the version of what makes it. Out: the source of a module with `run(*inputs)`.
The one rule: it gives what a call gives, or an error; never a value for sizes that it was not made for.
"""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import fill

from ...errors import MeaningError, Problem
from .lines import INDENT, Lines
from .program import RESERVED, Lowered, module

FITTING = '''\
def fitting(name, x, shape, kind):
    """x as an array of jax of this shape and type."""
    given = str(getattr(x, "dtype", kind))
    kind = jax.dtypes.canonicalize_dtype(kind)
    if given.endswith(("64", "128")) and jax.dtypes.canonicalize_dtype(given) != given:
        raise ValueError(f"{name} is {given}, which jax cuts short unless jax_enable_x64 is set")
    x = jnp.asarray(x)
    if x.shape != shape or x.dtype != kind:
        raise ValueError(f"{name} is {x.dtype}{list(x.shape)}, and this code is for {kind}{list(shape)}")
    return x
'''
LOOK = '''\
def look(checks):
    """Refuse positions outside of their axes, where they are known: not while jax traces."""
    for bad, position in checks:
        if not isinstance(bad, jax.core.Tracer) and bad:
            raise IndexError(f"position {position} is out of range")
'''


def emitted(what: Lowered, program: str, version: str) -> str:
    """A module whose `run(*inputs)` gives a tuple of the outputs. Errors: `MeaningError`."""
    if what.orders is not None:
        rule = "data tell here whether what a step reads is made by then, and no printed code looks at that"
        way = "call the function, which does; or read at positions that subscripts, sizes and masks tell"
        raise MeaningError(Problem("target", rule, way_out=way))
    w = Lines(taken={*RESERVED, "fitting", "look", "compute", "outputs", "checks"}, depth=1)
    names = [w.fresh(name) for name, _ in what.inputs]
    shown = _shown((name, what.shapes[name], kind) for name, _, kind in what.outputs)
    taken = _shown((name, what.shapes[name], kind) for name, kind in what.inputs)
    w.lines += fill(f'"""{shown} of {taken}."""', 110, initial_indent=INDENT, subsequent_indent=INDENT).splitlines()
    for name, (tensor, kind) in zip(names, what.inputs, strict=True):
        w.line(f"{name} = fitting({tensor!a}, {name}, {what.shapes[tensor]}, {kind!r})")
    w.line(f"outputs, checks = compute({', '.join(names)})")
    if what.places:
        w.line("look(checks)")
    w.line("return outputs")
    run = "\n".join([f"def run({', '.join(names)}):", *w.lines]) + "\n"
    helpers = [FITTING, *([LOOK] if what.places else [])]
    return f"{_origin(program, version)}\n{module([*helpers, what.text, run], what.support)}"


def _shown(forms: Iterable[tuple[str, tuple[int, ...], str]]) -> str:
    return ascii(", ".join(f"{name} {kind}{list(shape)}" for name, shape, kind in forms) or "nothing")[1:-1]


def _origin(program: str, version: str) -> str:
    """What a module was made from, as comments that no text can end."""
    sizes = "for the shapes and types that `run` tells and looks for; emit it anew for others."
    lines = (f"Made by indexlang {version} from", "", *(f"    {line}" for line in program.splitlines()), "", sizes)
    return "".join(f"# {ascii(line)[1:-1]}".rstrip() + "\n" for line in lines)
