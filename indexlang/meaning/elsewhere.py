"""What is called here and is a function of other libraries: `mean(x[i,j])`, `len(x)`, `np.exp(x)`, `random()`.

In: a call of nothing that can be called, and the indices of it that are free to reduce over. Out: the way out, or None.
The one rule: what is proposed compiles in the place of the call, and means what the function means.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from ..syntax import tree
from ..syntax.other_notations import function_meant

_MODULES = ("np", "numpy", "jnp", "torch", "math", "F", "nn", "tf", "scipy", "random", "functional", "linalg")
_RANDOM = ("random", "rand", "randn", "normal", "uniform", "randint", "default_rng", "standard_normal")
_DENSE = ("dense", "fc", "lin", "fullyconnected")
_TURNED = ("transpose", "permute", "swapaxes", "moveaxis", "t")
_LAST = re.compile(r"([^\[\],]*)\]")  # the last subscript of each access
_LONGEST = 60  # characters of an argument that is written out


def instead(node: tree.Call, over: Sequence[str], builtin: Collection[str]) -> str | None:
    """The way out for a call, `over` the indices of its arguments that the statement does not keep."""
    first, _, last = node.name.rpartition(".")
    name = node.name if not first else last
    modules = first.split(".") if first else []
    if modules and not all(m in _MODULES for m in modules):  # x.sum()
        return _method(first, last)
    if len(node.args) == 1 and not node.keywords and (said := _of_one(name, node.args[0], over)) is not None:
        return said
    if name.lower() in _RANDOM:
        return "pass random numbers as an input, such as rng.random(shape) of NumPy"
    if name.lower().replace("_", "") in _DENSE:
        said = "write sum[i](W[i,o] * x[i]) + b[o] for it"
        return f"{said}; or 'from linear import affine', and h = affine(x, W, b) as a statement of its own"
    if name in _TURNED:
        return "exchange the indices, y[j,i] = x[i,j]"
    if modules and name in tree.REDUCTIONS:
        return reduction(name, node, over)
    return f"write {name}(...)" if modules and name in builtin else None


def reduction(name: str, node: tree.Call, over: Sequence[str]) -> str:
    """The way out for a reduction that names no index."""
    text = _text(node.args[0]) if len(node.args) == 1 and not node.keywords else None
    return f"write {name}[{','.join(over)}]({text})" if over and text is not None else f"write {name}[k](...)"


def _of_one(name: str, arg: tree.Expr, over: Sequence[str]) -> str | None:
    """A function of one argument."""
    if name == "len" and isinstance(arg, tree.Name | tree.Subscripted):
        return f"write size({arg.name},0)"
    text = _text(arg)
    if text is None:
        return None
    if name.lower().replace("_", "") in ("softmax", "logsoftmax"):  # of the last axis, which stays
        lasts = set(_LAST.findall(text))
        indices = [i for i in lasts if len(lasts) == 1 and i.isidentifier()]
    else:
        indices = [*over]
    said = function_meant(name, indices, text)
    return None if said is None else f"write {said}"


def _method(tensor: str, name: str) -> str | None:
    if name in tree.REDUCTIONS:
        return f"write {name}[k]({tensor}[k]), with as many indices as {tensor} has axes"
    return f"exchange the indices of {tensor} where it is read" if name in _TURNED else None


def _text(arg: tree.Expr) -> str | None:
    text = " ".join(arg.span.text.split())
    return text if len(text) <= _LONGEST else None
