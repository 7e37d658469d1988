"""The page of the Python API: it is what the package says, it has every public name, and every argument is told."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import indexlang  # noqa: E402
from indexlang import edf  # noqa: E402
from indexlang.edf import networks  # noqa: E402
from tools import api_page  # noqa: E402 (a folder of the checkout, not a package that is installed)

ENTRIES = [entry for group in api_page.GROUPS for entry in group.entries]
CALLED = [(name, thing) for name, thing in ENTRIES if isinstance(thing, type) or inspect.isroutine(thing)]


def test_the_page_is_what_the_docstrings_say():
    assert (ROOT / "docs" / "api.md").read_text(encoding="utf-8") == api_page.page(), "make pages"


def test_every_public_name_stands_on_the_page_once():
    names = [name for name, _ in ENTRIES]
    public = {*indexlang.__all__, *edf.__all__, *networks.__all__} - {"__version__"}
    assert sorted(set(names)) == sorted(names)
    assert not public - set(names)


@pytest.mark.parametrize(("name", "thing"), CALLED, ids=[name for name, _ in CALLED])
def test_every_argument_is_told(name, thing):
    told = [(name, thing)] if not api_page._is_given(thing) else []
    for called, member in [*told, *api_page.members(thing)]:
        said = inspect.getdoc(member) or ""
        assert said, f"{called} has no docstring"
        if not isinstance(member, property):
            untold = [n for n in arguments(member) if f"`{n}`" not in said and f"`{n}=" not in said]
            assert is_told_by_its_layer(member) or not untold, f"the docstring of {called} says nothing of {untold}"


def arguments(thing):
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [n for n, p in inspect.signature(thing).parameters.items() if n != "self" and p.kind not in kinds]


def is_told_by_its_layer(thing):
    """The header of a node's layer has its inputs and options, with shapes."""
    return isinstance(thing, type) and issubclass(thing, edf.CompNode)


def test_signatures_are_written_as_in_python():
    def short(x: int, /, y: str = "a", *z: int, k: bool, **rest: float) -> list[int]: ...

    def long(
        one: int, *, twenty_two_characters: int = 1, three: str | None = None, and_so_on_for_ever: float = 2.5
    ): ...

    assert api_page.signature("f", short) == "f(x: int, /, y: str = 'a', *z: int, k: bool, **rest: float) -> list[int]"
    assert api_page.signature("indexlang.long", long) == (
        "indexlang.long(\n"
        "    one: int, *, twenty_two_characters: int = 1, three: str | None = None, and_so_on_for_ever: float = 2.5,\n"
        ")"
    )
