"""Every fenced block of the documentation is run, and gives what it says.

A page is run from top to bottom in one namespace, by the first words of each fence:

    idx            a program; `f` is the compiled Function of the last one
    idx derived    what the derivation of `f` prints
    idx gather     the same in gather form
    idx file NAME  a file of that name in the folder where the page runs
    text error     the error that the last program gives
    text warning   the warning that the last program gives
    python         code
    pycon          a session: lines after >>> and what they print
    torch          a session that is left out where torch is not installed
    console        commands after $ and what they print
"""

from __future__ import annotations

import doctest
import re
import shlex
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import indexlang
from indexlang.cli import commands as cli
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.syntax.parser import parse

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^( *)```(\w[^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass
class Block:
    kind: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent = match[1]
        body = "".join(line.removeprefix(indent) for line in match[3].splitlines(keepends=True))
        found.append(Block(match[2].strip(), body, text.count("\n", 0, match.start()) + 1))
    return found


class Page:
    """What the blocks above a block have made."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"indexlang": indexlang, "np": np}
        self.text = ""

    def run(self, block: Block, following: Block | None, capsys: pytest.CaptureFixture[str]) -> None:
        match block.kind.split():
            case ["idx"]:
                self.text = block.text
                if following is None or following.kind not in ("text error", "text warning"):
                    self.names["f"] = indexlang.compile(block.text)
            case ["idx", "derived"]:
                assert self.names["f"].grad().source == block.text
            case ["idx", "gather"]:
                assert self.names["f"].grad(form="gather").source == block.text
            case ["idx", "file", name]:
                Path(name).write_text(block.text, encoding="utf-8")
            case ["text", "error"]:
                with pytest.raises(indexlang.IndexLangError) as caught:
                    indexlang.compile(self.text)
                assert f"{caught.value}\n" == block.text
            case ["text", "warning"]:
                with pytest.warns(indexlang.IndexLangWarning) as warned:
                    self.names["f"] = indexlang.compile(self.text)
                assert [f"{w.message}\n" for w in warned] == [block.text]
            case ["python"]:
                exec(compile(block.text, f"line {block.line}", "exec"), self.names)
            case ["pycon"]:
                self.session(block)
            case ["torch"]:
                if find_spec("torch") is not None:
                    self.session(block)
            case ["console"]:
                self.commands(block, capsys)
            case ["text" | "make" | "sh", *_]:
                pass
            case _:
                pytest.fail(f"line {block.line}: a block of an unknown kind: {block.kind}")

    def session(self, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(block.text, self.names, "page", "page", block.line)
        assert test.examples, "no example in the block"
        report: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS, verbose=False)
        runner.run(test, out=report.append, clear_globs=False)
        self.names.update(test.globs)
        assert not runner.failures, "".join(report)

    def commands(self, block: Block, capsys: pytest.CaptureFixture[str]) -> None:
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            words = shlex.split(command)
            if Path(words[0]).name != "indexlang":
                continue
            capsys.readouterr()
            cli.main(words[1:])
            printed = capsys.readouterr()
            assert printed.out + printed.err == expected


@pytest.mark.filterwarnings("error::indexlang.IndexLangWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_is_true(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    state, found = Page(), blocks(page)
    for block, following in zip_longest(found, found[1:]):
        try:
            state.run(block, following, capsys)
        except (AssertionError, indexlang.IndexLangError) as error:
            raise AssertionError(f"{page.name}, the block at line {block.line}:\n{error}") from error


def test_what_the_page_of_how_to_computes_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    """The gradient over time against differences of NumPy's own forward run, the Hessian against its formula."""
    over_time, hessian, *_ = (b for b in blocks(ROOT / "docs" / "howto.md") if b.kind == "python")
    page, way = Page(), np.random.default_rng(1).normal(size=(5, 5))
    page.run(over_time, None, capsys)
    drawn = np.random.default_rng(0)
    x, w, u, begin = (drawn.normal(size=s) for s in ((20, 8, 3), (3, 5), (5, 5), (8, 5)))

    def last(weights: Any) -> Any:
        state = begin
        for t in range(20):
            state = np.tanh(x[t] @ w + state @ weights)
        return state.sum()

    slope = (last(u + 1e-6 * way) - last(u - 1e-6 * way)) / 2e-6
    assert np.isclose(np.sum(page.names["dU"] * way), slope, rtol=1e-5)
    page.run(hessian, None, capsys)
    x, w, v = (page.names[n] for n in "xwv")
    chance = 1 / (1 + np.exp(-(x @ w)))
    assert np.allclose(page.names["hv"], x.T @ (chance * (1 - chance) * (x @ v)))


def test_the_language_page_has_a_block_for_every_section() -> None:
    text = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    sections = re.split(r"^#{2,3} ", text, flags=re.MULTILINE)[1:]
    without = [s.splitlines()[0] for s in sections if "```" not in s and len(s.splitlines()) > 2]  # a heading alone
    assert not without


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))  # without code
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose):
        assert (page.parent / target).exists(), target


def test_the_readme_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in text]


def test_commands_of_the_readme_are_there_when_they_stand_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ (\S+)", text, re.MULTILINE)
    assert set(commands) == {".venv/bin/indexlang"}  # which is made by what stands above
    assert text.index("make demo") < text.index("pip install -e") < text.index("$ .venv/bin/indexlang")


def test_every_code_is_on_the_page_of_errors() -> None:
    said = re.compile(r"""(?:Problem|problem|told|doubt|\w*_error)\(\s*(?:\w+, )?"([a-z]+(?:-[a-z]+)*)",""")
    modules = (ROOT / "indexlang").rglob("*.py")
    codes = {code for module in modules for code in said.findall(module.read_text(encoding="utf-8"))}
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert len(codes) > 100
    assert not {code for code in codes if f"[{code}]" not in text and f"`{code}`" not in text}


def test_every_error_on_the_page_of_errors_has_a_way_out() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    errors = re.findall(
        r"^[^\n]*error\[[a-z-]+\]: .*?(?=^[^\n]*error\[|^>>> |^\$ |^```)", text, re.MULTILINE | re.DOTALL
    )
    assert len(errors) > 200
    without = [e for e in errors if "  way out: " not in e and "\n  " in e.strip()]  # a line alone is cut from more
    assert not without


def test_names_that_the_planner_gives_are_explained() -> None:
    given = re.compile(r'(?:counted\(|fresh\(|named\([\w.]+, |inserted\([^()"]*, )"(\w\w+)"')
    modules = (ROOT / "indexlang" / "plan" / "rewrites").rglob("*.py")
    names = {name for module in modules for name in given.findall(module.read_text(encoding="utf-8"))}
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8").partition("## Names that nobody wrote")[2]
    assert len(names) > 8
    assert not {name for name in names if not re.search(rf"`(\w_)?{name}`", text)}


def test_the_map_has_every_module_once() -> None:
    package = ROOT / "indexlang"
    modules = [p.relative_to(package).with_suffix("").as_posix() for p in package.rglob("*.py") if p.stem != "__init__"]
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").partition("## The map")[2]
    named = re.findall(r"^\| `([\w/]+)` \|", text, re.MULTILINE)
    assert sorted(named) == sorted(modules), "each module has a line in the map of docs/design.md"


def test_the_modules_that_the_design_names_are_there() -> None:
    package, page = ROOT / "indexlang", (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    folders = "|".join(sorted(p.name for p in package.iterdir() if p.is_dir() and p.name not in ("grammar", "library")))
    named = re.findall(rf"`((?:{folders})/[\w/]+)", FENCE.sub("", page))
    assert len(named) > 150
    assert not [name for name in named if not any((package / f"{name}{end}").exists() for end in ("", ".py"))]


@pytest.mark.filterwarnings("error::indexlang.IndexLangWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_equations_in_running_text_and_tables_mean_what_they_say(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for equation in re.findall(r"`([^`\n]*\w\] (?:[+*]|max|min)?= [^`\n]*)`", text):
        # as a number an option stands in a layer only, and a statement that reads its own target in a block
        assert mistakes(equation) <= {"bound", "recurrence"}, equation


def mistakes(text: str) -> set[str]:
    """What is wrong with an equation among words, which may say how far its indices run."""
    try:
        resolve(parse(Source(text)))
    except indexlang.IndexLangError as error:
        return {problem.code for problem in error.problems}
    return set()
