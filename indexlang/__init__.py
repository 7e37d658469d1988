"""indexlang: layers as index equations, their gradients derived, both directions run, natively or on NumPy."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .backends.engines import needs
from .calls.function import Function
from .calls.joining import join
from .calls.loading import compile, load  # noqa: A004 (the name that the contract gives it)
from .errors import DerivationError, IndexLangError, IndexLangWarning, LanguageSyntaxError, MeaningError, ShapeError
from .threads import set_num_threads
from .version import __version__

__all__ = [
    "DerivationError",
    "Function",
    "IndexLangError",
    "IndexLangWarning",
    "LanguageSyntaxError",
    "MeaningError",
    "ShapeError",
    "__version__",
    "compile",
    "join",
    "load",
    "set_num_threads",
]


def __dir__() -> list[str]:
    """The names that are meant for users; the folders of the compiler are not."""
    there = ["torch"] if find_spec("torch") is not None else []  # help asks for all that is named here
    return sorted([*__all__, "edf", *there])


if TYPE_CHECKING:
    from . import edf as edf
    from . import torch as torch
else:  # a checker that saw it would take every name for one of the package's

    def __getattr__(name: str) -> Any:
        if name == "edf":  # when it is asked for: graphs and networks are as much to load as the compiler
            return import_module(".edf", __name__)
        if name == "torch":
            needs("torch", "indexlang.torch", "or call what compile gives, with NumPy arrays")
            return import_module(".torch", __name__)
        rule = f"module 'indexlang' has no attribute '{name}'"
        if not name.startswith("_") and hasattr(Function, name):
            rule += f": it belongs to what is compiled, indexlang.compile(text).{name}"
        raise AttributeError(rule)
