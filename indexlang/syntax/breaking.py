"""Long lines, broken inside of their brackets.

In: text with brackets in it, as a `Doc`. Out: one line, or several. The one rule: a line is broken where it must be, or
where its author broke it, the outermost brackets first, subscripts last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

WIDTH = 100
INDENT = "    "
_FAR = 60  # columns from which on what is in brackets begins on a new line
_MUCH = WIDTH // 2  # columns behind some brackets that are better broken themselves
_FEW = 24  # columns that are not worth to be broken


@dataclass(frozen=True)
class Group:
    """A part in brackets, which may be broken between its parts.

    Without brackets, some stand around it; or it `wraps`, and gets a pair when it is broken. Subscripts are `tight`:
    nothing stands between their parts. In front of the parts `kept` the author has broken the line.
    """

    opening: str
    parts: tuple[Doc, ...]
    closing: str
    wraps: bool = False
    tight: bool = False
    kept: frozenset[int] = frozenset()


Doc = tuple["str | Group", ...]


def flat(doc: Doc) -> str:
    """The text in one line."""
    return "".join(part if isinstance(part, str) else _flat(part) for part in doc)


def broken(doc: Doc, indent: int) -> str:
    """The text, broken inside of its brackets if it is too long and has some."""
    text = flat(doc)
    if indent + len(text) <= WIDTH and not any(isinstance(part, Group) and part.kept for part in doc):
        return text
    writer = _Writer(indent)
    writer.doc(doc, 0)
    return "".join(writer.pieces)


def _flat(group: Group) -> str:
    between = "" if group.tight else " "
    return f"{group.opening}{between.join(map(flat, group.parts))}{group.closing}"


@dataclass
class _Writer:
    """Fills lines up to WIDTH."""

    column: int
    pieces: list[str] = field(default_factory=list)

    def put(self, text: str) -> None:
        self.pieces.append(text)
        self.column += len(text)

    def doc(self, doc: Doc, behind: int) -> None:
        """Write a text; `behind` more columns must be left behind it on its last line."""
        for k, part in enumerate(doc):
            if isinstance(part, str):
                self.put(part)
                continue
            rest = _unbroken(doc[k + 1 :], behind, part.tight)
            text = _flat(part)
            fits = self.column + len(text) + rest <= WIDTH or len(text) <= _FEW
            if fits and not part.kept:
                self.put(text)
            else:
                self.group(part, rest)

    def group(self, group: Group, behind: int) -> None:
        group = replace(group, opening="(", closing=")") if group.wraps else group
        self.put(group.opening)
        widest = max((len(flat(part)) for part in group.parts), default=0) if group.tight else 0
        if group.opening and (self.column > _FAR or self.column + widest > WIDTH >= 2 * len(INDENT) + widest):
            self.put("\n" + 2 * INDENT)
            self.column = 2 * len(INDENT)
        start = self.column
        for k, part in enumerate(group.parts):
            last = k == len(group.parts) - 1
            rest = len(group.closing) + behind if last else 0
            between = 0 if group.tight else 1
            if k > 0:
                if k not in group.kept and self.column + between + len(flat(part)) + rest <= WIDTH:
                    self.put(" " * between)
                else:
                    self.put("\n" + " " * start)
                    self.column = start
            self.doc(part, rest)
        self.put(group.closing)


def _unbroken(doc: Sequence[str | Group], behind: int, tight: bool) -> int:
    """How many columns must be left for what stands behind some brackets: up to the next ones that can be broken.

    Subscripts are broken only where that leaves too much, or where nothing but subscripts is in front of them.
    """
    columns = fewest = 0
    for part in doc:
        if isinstance(part, str):
            columns += len(part)
        elif part.tight or len(_flat(part)) <= _FEW:
            fewest = fewest or columns + len(part.opening)
            if tight and len(_flat(part)) > _FEW:
                return columns + len(part.opening)
            columns += len(_flat(part))
        else:
            columns += len(part.opening)
            break
    else:
        columns += behind
    return columns if columns <= _MUCH or not fewest else fewest
