"""What the random programs use of the package beside its public names, in one place."""

from __future__ import annotations

from collections.abc import Mapping

from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.errors import IndexLangError, IndexLangWarning, Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import loops
from indexlang.oracle.loops import expanded
from indexlang.program.ir import (
    Access,
    Boundary,
    Call,
    Const,
    Domain,
    Expr,
    Index,
    Merged,
    Program,
    Range,
    Reduce,
    Shape,
    Size,
    Statement,
    Subscript,
    accesses_of,
    indices_of,
    parts_of,
    reads_of,
    statement,
    walk,
)
from indexlang.program.rebuild import transform_domain, transform_expr
from indexlang.program.text import expr_text, statement_text, to_text
from indexlang.program.verify import verify
from indexlang.rewrite.gather import gather
from indexlang.rewrite.optimize import optimize
from indexlang.sizes.dtypes import infer as infer_types
from indexlang.sizes.shapes import Shapes
from indexlang.sizes.shapes import infer as _infer
from indexlang.syntax.parser import parse

__all__ = [
    "Access",
    "Boundary",
    "Call",
    "Const",
    "Domain",
    "Expr",
    "Function",
    "Index",
    "IndexLangError",
    "IndexLangWarning",
    "Merged",
    "Program",
    "Range",
    "Reduce",
    "Shape",
    "Size",
    "Statement",
    "Subscript",
    "accesses_of",
    "expanded",
    "expr_text",
    "gather",
    "grad",
    "indices_of",
    "infer_sizes",
    "infer_types",
    "loops",
    "optimize",
    "parts_of",
    "program_of",
    "reads_of",
    "statement",
    "statement_text",
    "to_text",
    "transform_domain",
    "transform_expr",
    "verify",
    "walk",
]


def infer_sizes(program: Program, shapes: Mapping[str, tuple[int, ...]]) -> Shapes:
    """Shapes and extents at these shapes of the inputs, ellipses written out. Errors: `ShapeError`."""
    return _infer(expanded(program, {n: len(s) for n, s in shapes.items()}), shapes)


def program_of(text: str) -> Program:
    """A text as a Program."""
    return resolve(parse(Source(text)))
