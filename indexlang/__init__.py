"""indexlang: layers as index equations, their gradients derived, both directions run on NumPy."""

from .errors import DerivationError, IndexLangError, IndexLangWarning, LanguageSyntaxError, MeaningError, ShapeError
from .function import Function
from .loading import compile, load  # noqa: A004 (the name that the contract gives it)

__version__ = "0.1.0"

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
