"""Programs as notebooks show them: the equations typeset, the statements beneath.

In: a Program. Out: LaTeX or HTML for `_repr_latex_` and `_repr_html_`. The one rule: everything is escaped, a
program's text is data.
"""

from __future__ import annotations

from html import escape

from .ir import Program
from .latex import to_latex
from .text import to_text


def latex_of(program: Program) -> str:
    """The equations as displayed LaTeX."""
    return f"$$\n{to_latex(program)}\n$$"


def html_of(program: Program) -> str:
    """The equations, which the notebook typesets, and below them the statements to copy."""
    return f"<div>{escape(latex_of(program))}</div>\n<pre>{escape(to_text(program))}</pre>"
