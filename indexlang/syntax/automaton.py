"""The tables of the parser: what lark makes of the grammar, kept in a file beside it.

In: `grammar/indexlang.lark`. Out: its terminals and its LALR(1) automaton. The one rule: the grammar is the source and
`grammar/indexlang.json` follows from it (`make grammar` writes it). A file that is not in step with the
grammar is not used: lark then makes the tables anew, in a tenth of a second instead of a thousandth.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..properties import cached_property

END = "$END"  # the terminal behind the last token
ACCEPT = 0  # in a table: the line is complete; n > 0 goes to state n, n < 0 reduces by rule -1-n


@dataclass(frozen=True)
class Rule:
    """`size` parts become one. `name` is the builder's function for it; None: the parts join those of the parent.

    If it `passes`, its one part stands for itself.
    """

    origin: str
    size: int
    name: str | None
    passes: bool


@dataclass(frozen=True)
class Tables:
    """`words` are terminals that stand for themselves, `patterns` the others with their regular expressions."""

    words: tuple[str, ...]
    patterns: dict[str, str]
    rules: tuple[Rule, ...]
    states: tuple[dict[str, int], ...]

    @cached_property
    def terminals(self) -> frozenset[str]:
        return frozenset((*self.words, *self.patterns, END))

    def passed(self, below: int, top: int, kind: str) -> int:
        """The state above another one when all rules that pass before a terminal have done so: a dozen of them in a row
        make an expression of a name.
        """
        found = self._passed.get((below, top, kind))
        if found is None:
            found = top
            while (action := self.states[found].get(kind, ACCEPT)) < ACCEPT and self.rules[-1 - action].passes:
                found = self.states[below][self.rules[-1 - action].origin]
            self._passed[below, top, kind] = found
        return found

    @cached_property
    def _passed(self) -> dict[tuple[int, int, str], int]:
        return {}


@cache
def tables() -> Tables:
    """The tables in step with the grammar."""
    grammar = _folder() / "indexlang.lark"
    text = grammar.read_text(encoding="utf-8")
    try:
        stored = json.loads(grammar.with_suffix(".json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return build(text)
    if stored.pop("grammar") != _sum(text):
        return build(text)
    rules = tuple(Rule(*rule) for rule in stored["rules"])
    return Tables(tuple(stored["words"]), stored["patterns"], rules, tuple(stored["states"]))


def _folder() -> Path:
    """Inside the package in an installation, beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "grammar"
    return inside if inside.is_dir() else package.parent / "grammar"


def _sum(text: str) -> int:
    return zlib.crc32(text.encode())


def build(grammar: str) -> Tables:
    """The tables by lark, the same for the same grammar: states and rules are numbered in an order of their own."""
    from lark import Lark
    from lark.lexer import PatternStr
    from lark.parsers.lalr_analysis import Shift

    made: Any = Lark(
        grammar, parser="lalr", lexer="basic", start="line", keep_all_tokens=True, maybe_placeholders=False
    )
    shown = {t.name: t.pattern.value if isinstance(t.pattern, PatternStr) else t.name for t in made.terminals}
    assert not {str(rule.origin.name) for rule in made.rules} & set(shown.values()), "a rule has the name of a word"
    automaton = made.parser.parser._parse_table
    rules = sorted(made.rules, key=lambda r: (r.origin.name, [s.name for s in r.expansion], r.alias or ""))
    number_of_rule = {rule: k for k, rule in enumerate(rules)}
    start, end = automaton.start_states["line"], automaton.end_states["line"]
    numbers = {start: 0}
    order = [start]
    for state in order:
        for _, (action, arg) in sorted(automaton.states[state].items()):
            if action is Shift and arg not in numbers:
                numbers[arg] = len(order)
                order.append(arg)
    states = []
    for state in order:
        actions = {}
        for symbol, (action, arg) in sorted(automaton.states[state].items()):
            actions[shown.get(symbol, symbol)] = numbers[arg] if action is Shift else -1 - number_of_rule[arg]
        states.append(actions | ({END: ACCEPT} if state == end else {}))
    return Tables(
        tuple(sorted(t.pattern.value for t in made.terminals if isinstance(t.pattern, PatternStr))),
        {t.name: t.pattern.value for t in made.terminals if not isinstance(t.pattern, PatternStr)},
        tuple(_rule(rule) for rule in rules),
        tuple(states),
    )


def _rule(rule: Any) -> Rule:
    origin = str(rule.origin.name)
    name = None if origin.startswith("_") else str(rule.alias or origin)
    size = len(rule.expansion)
    return Rule(origin, size, name, bool(rule.options.expand1) and not rule.alias and size == 1)


def to_json(grammar: str) -> str:
    """The content of the file for a grammar."""
    made = asdict(build(grammar))
    made["rules"] = [list(rule.values()) for rule in made["rules"]]
    return json.dumps({"grammar": _sum(grammar)} | made, ensure_ascii=False, separators=(",", ":")) + "\n"


def write() -> None:
    """Put the file in step with the grammar: `make grammar`."""
    grammar = _folder() / "indexlang.lark"
    grammar.with_suffix(".json").write_text(to_json(grammar.read_text(encoding="utf-8")), encoding="utf-8")
