"""indexlang: layers as index equations, their gradients derived, both directions run on NumPy."""

__version__ = "0.1.0"

from .calls.function import Function
from .calls.loading import compile, load  # noqa: A004 (the name that the contract gives it)
from .errors import DerivationError, IndexLangError, IndexLangWarning, LanguageSyntaxError, MeaningError, ShapeError

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
    "load",
]
